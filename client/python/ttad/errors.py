# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as exceptions.  Every one is a TtadError with a `code`."""

from __future__ import annotations

from typing import Any, Dict, List, Type


class TtadError(Exception):
    """The server refused a request, or the client could not complete it.

    code      the server's code (BAD_SHAPE, BUSY, ...), or from here: TIMEOUT, DISCONNECTED,
              BAD_REPLY, BAD_ARGUMENT, CLOSED
    id        the request's id, "" where it is not known
    mistakes  of reload and load: everything that was wrong, "file:line:col: text" each
    """

    default_code = "INTERNAL"

    def __init__(self, message: str, code: str = "", id: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.id = id
        self.mistakes: List[str] = []

    def __str__(self) -> str:
        return f"{self.code}: {self.args[0]}"


class BadRequest(TtadError):
    """Header, tensor or shape is not what the server takes; the same request can never succeed."""

    default_code = "BAD_HEADER"


class NotFound(TtadError):
    """No such model, stream or version."""

    default_code = "NO_STREAM"


class Busy(TtadError):
    """Queue or credit is used up; `retry_after` (seconds) is the server's proposal."""

    default_code = "BUSY"

    def __init__(
        self, message: str, code: str = "", id: str = "", retry_after: float = 0.0
    ) -> None:
        super().__init__(message, code, id)
        self.retry_after = retry_after


class DeadlineMissed(TtadError):
    """The server could not answer within the request's deadline_ms."""

    default_code = "DEADLINE"


class Draining(TtadError):
    """The server is shutting down and takes no new requests."""

    default_code = "DRAINING"


class WrongShard(TtadError):
    """Another server owns the stream."""

    default_code = "WRONG_SHARD"


class Unauthorized(TtadError):
    """The caller may not do this."""

    default_code = "UNAUTHORIZED"


class Internal(TtadError):
    """The server failed."""

    default_code = "INTERNAL"


class Timeout(TtadError, TimeoutError):
    """No reply within the timeout.  The server may still carry the request out."""

    default_code = "TIMEOUT"


class Disconnected(Timeout):
    """Nothing takes requests at the endpoint; or the connection broke, and the request was one
    that is not safe to send again (it may have been carried out)."""

    default_code = "DISCONNECTED"


class Cancelled(TtadError):
    """The request was dropped by a cancel() before its turn came; nothing was done for it."""

    default_code = "CANCELLED"


class BadReply(TtadError):
    """What came back is not a message of the protocol."""

    default_code = "BAD_REPLY"


class BadArgument(TtadError, ValueError):
    """Refused here, before anything was sent."""

    default_code = "BAD_ARGUMENT"


class Closed(TtadError):
    """The client was closed."""

    default_code = "CLOSED"


_BY_CODE: Dict[str, Type[TtadError]] = {
    "BAD_HEADER": BadRequest,
    "BAD_TENSOR": BadRequest,
    "BAD_SHAPE": BadRequest,
    "TOO_LARGE": BadRequest,
    "NOT_FINITE": BadRequest,
    "NO_MODEL": NotFound,
    "NO_STREAM": NotFound,
    "BUSY": Busy,
    "DEADLINE": DeadlineMissed,
    "CANCELLED": Cancelled,
    "DRAINING": Draining,
    "WRONG_SHARD": WrongShard,
    "UNAUTHORIZED": Unauthorized,
    "INTERNAL": Internal,
}


def from_reply(header: Dict[str, Any]) -> TtadError:
    """The exception for an error reply; an unknown code gives a plain TtadError."""
    code = str(header.get("code", "INTERNAL"))
    message = str(header.get("error", "the server gave no reason"))
    request_id = str(header.get("id", ""))
    if code == "BUSY":
        wait = header.get("retry_after_ms", 0)
        seconds = max(0.0, float(wait)) / 1e3 if isinstance(wait, (int, float)) else 0.0
        return Busy(message, code, request_id, retry_after=seconds)
    error = _BY_CODE.get(code, TtadError)(message, code, request_id)
    mistakes = header.get("mistakes")
    if isinstance(mistakes, list):
        error.mistakes = [str(line) for line in mistakes]
    return error
