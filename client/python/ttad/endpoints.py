# SPDX-License-Identifier: Apache-2.0
"""Where a daemon listens unless its configuration says otherwise."""

from __future__ import annotations

import os

ROOT_DIR = "/run/ttad"


def default_dir() -> str:
    """The directory of the daemon's sockets: /run/ttad for root, else $XDG_RUNTIME_DIR/ttad."""
    if os.geteuid() == 0:
        return ROOT_DIR
    return os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "ttad")


def default_endpoint(name: str) -> str:
    """The default endpoint of a socket; name is data, control or events."""
    return f"ipc://{os.path.join(default_dir(), name)}.sock"
