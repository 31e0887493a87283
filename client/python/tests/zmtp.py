# SPDX-License-Identifier: Apache-2.0
"""A ZMTP 3.1 peer by hand: it sends whatever bytes a test wants, which libzmq would not."""

import socket
import struct
import time

MORE, LONG, COMMAND = 1, 2, 4
GREETING = (
    b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
)


class Cut(Exception):
    """The other side ended the connection."""


def frame(body, flags=0, size=None):
    """One frame; size: a length to claim instead of the true one."""
    n = len(body) if size is None else size
    if n > 255 or flags & LONG:
        return struct.pack(">BQ", flags | LONG, n) + body
    return struct.pack(">BB", flags, n) + body


def message(*frames):
    """The frames of one message."""
    last = len(frames) - 1
    return b"".join(frame(f, MORE if i < last else 0) for i, f in enumerate(frames))


def metadata(**properties):
    rows = b""
    for name, value in properties.items():
        key = name.replace("_", "-").encode()
        rows += bytes([len(key)]) + key + struct.pack(">I", len(value)) + value
    return rows


def command(name, body=b""):
    return frame(bytes([len(name)]) + name + body, COMMAND)


def ready(socket_type=b"DEALER", identity=b""):
    return command(b"READY", metadata(Socket_Type=socket_type, Identity=identity))


class Peer:
    """A connection to ipc://PATH or tcp://HOST:PORT; handshake=False leaves that to the test."""

    def __init__(self, endpoint, handshake=True, socket_type=b"DEALER", identity=b"", timeout=10):
        kind, _, where = endpoint.partition("://")
        if kind == "ipc":
            self.socket = socket.socket(socket.AF_UNIX)
            where = where.encode()
            where = b"\0" + where[1:] if where[:1] == b"@" else where
        else:
            host, _, port = where.rpartition(":")
            self.socket, where = socket.socket(socket.AF_INET), (host, int(port))
        self.socket.settimeout(timeout)
        self._have = b""
        try:
            self.socket.connect(where)
            if handshake:
                self._greet(socket_type, identity)
        except BaseException:
            self.socket.close()
            raise

    def _greet(self, socket_type, identity):
        self.send(GREETING)
        if self._take(64)[:1] != b"\xff":
            raise AssertionError("no greeting came")
        self.send(ready(socket_type, identity))
        flags, body = self.frame()
        if not (flags & COMMAND and body.startswith(b"\x05READY")):
            raise AssertionError(f"no READY came: {body!r}")

    def send(self, data):
        """All of it.  Raises Cut, or TimeoutError when the other side does not read."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Cut(str(e)) from None

    def frame(self):
        """The next frame: flags and body."""
        flags = self._take(1)[0]
        n = struct.unpack(">Q", self._take(8))[0] if flags & LONG else self._take(1)[0]
        return flags, self._take(n)

    def message(self):
        """The next message; PING is answered on the way."""
        frames = []
        while True:
            flags, body = self.frame()
            if flags & COMMAND:
                if body.startswith(b"\x04PING"):
                    self.send(command(b"PONG", body[7:]))
                continue
            frames.append(body)
            if not flags & MORE:
                return frames

    def wait_cut(self, seconds):
        """Whether the other side ends the connection within that time; what it sends is dropped.
        Nothing is answered, PING neither."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                if not self.socket.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False

    def _take(self, n):
        while len(self._have) < n:
            try:
                more = self.socket.recv(max(65536, n - len(self._have)))
            except ConnectionResetError as e:
                raise Cut(str(e)) from None
            if not more:
                raise Cut("the other side closed")
            self._have += more
        got, self._have = self._have[:n], self._have[n:]
        return got

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
