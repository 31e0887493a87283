# SPDX-License-Identifier: Apache-2.0
"""Client of ttad, the test-time adaptation daemon.

import numpy as np, ttad

with ttad.connect() as client:
    answer = client.infer(np.zeros((64, 3, 32, 32), np.float32), stream="cam-7")
    print(answer.version, answer.logits.argmax(1))
    client.feedback(answer.id, labels, stream="cam-7")   # any time later
"""

from .client import Answer, Client, connect
from .errors import (
    BadArgument,
    BadReply,
    BadRequest,
    Busy,
    Cancelled,
    Closed,
    DeadlineMissed,
    Disconnected,
    Draining,
    Internal,
    NotFound,
    Timeout,
    TtadError,
    Unauthorized,
    WrongShard,
)
from .events import Events
from .wire import Event

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "BadArgument",
    "BadReply",
    "BadRequest",
    "Busy",
    "Cancelled",
    "Client",
    "Closed",
    "DeadlineMissed",
    "Disconnected",
    "Draining",
    "Event",
    "Events",
    "Internal",
    "NotFound",
    "Timeout",
    "TtadError",
    "Unauthorized",
    "WrongShard",
    "connect",
    "__version__",
]
