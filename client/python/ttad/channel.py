# SPDX-License-Identifier: Apache-2.0
"""One DEALER socket with several requests under way, each with its own deadline."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Union

import zmq

from .errors import BadArgument, BadReply, Busy, Closed, Timeout, TtadError, from_reply
from .wire import Frame, Message, decode, decode_header

COPY_BELOW = 64 * 1024  # bytes; smaller frames are cheaper to copy than to share
BACKOFF_FIRST = 0.01  # seconds; doubles with every BUSY
BACKOFF_MOST = 1.0


@dataclass
class _Pending:
    frames: List[Frame]
    deadline: float  # monotonic seconds
    retry: bool  # send again on BUSY
    share: bool  # the caller's memory may be sent from directly
    again_at: Optional[float] = None  # after BUSY: when to send it again
    unsent: bool = False  # there was no connection, or its queue was full
    backoff: float = BACKOFF_FIRST
    busy: Optional[Busy] = None  # the newest BUSY
    tracker: Optional[zmq.MessageTracker] = None
    result: Union[Message, TtadError, None] = None


@dataclass
class Channel:
    """Requests out, replies in, in whatever order they come.  Belongs to one thread."""

    context: zmq.Context
    endpoint: str
    _socket: Optional[zmq.Socket] = field(default=None, init=False)
    _pending: Dict[str, _Pending] = field(default_factory=dict, init=False)
    _closed: bool = field(default=False, init=False)
    late: int = field(default=0, init=False)  # replies that nobody waited for any more

    def submit(
        self, id: str, frames: List[Frame], timeout: float, retry: bool, share: bool
    ) -> None:
        """Send a request.  share: the caller does not touch the tensors until result() is back.

        Raises BadArgument when a request with that id is under way, Closed.
        """
        if self._closed:
            raise Closed("the client is closed", id=id)
        if id in self._pending:
            raise BadArgument(f"a request with id '{id}' is under way", id=id)
        entry = _Pending(frames, time.monotonic() + timeout, retry, share)
        if not share:
            entry.frames = [bytes(f) for f in frames]
        self._pending[id] = entry
        self._send(entry)

    def result(self, id: str) -> Message:
        """The reply to a request of submit(), waited for until its deadline.

        Raises what the server answered, Timeout, BadReply; BadArgument for an unknown id.
        """
        entry = self._pending.get(id)
        if entry is None:
            raise BadArgument(f"no request with id '{id}' is under way", id=id)
        try:
            while entry.result is None:
                self._turn(id, entry)
        except BaseException:
            self._forget(id, entry)
            raise
        del self._pending[id]
        if isinstance(entry.result, TtadError):
            raise entry.result
        return entry.result

    def close(self) -> None:
        """Drop what is under way and close the socket."""
        self._closed = True
        self._pending.clear()
        self._drop_socket()

    def _turn(self, id: str, entry: _Pending) -> None:
        """Send what is due again, then wait for a reply or for the next thing to do."""
        now = time.monotonic()
        if now >= entry.deadline:
            if entry.busy is not None:
                raise entry.busy
            why = "nothing takes requests at" if entry.unsent else "no reply from"
            raise Timeout(f"{why} {self.endpoint}", id=id)
        for other in self._pending.values():
            if other.again_at is not None and other.again_at <= now:
                self._send(other)
        due = [p.again_at for p in self._pending.values() if p.again_at is not None]
        wait = min([entry.deadline, *due]) - now
        unsent = [p for p in self._pending.values() if p.unsent]
        events = zmq.POLLIN | (zmq.POLLOUT if unsent else 0)
        ready = self._open().poll(max(1, int(wait * 1e3 + 0.999)), events)
        if ready & zmq.POLLOUT and unsent:
            self._send(unsent[0])
        if ready & zmq.POLLIN:
            self._receive()

    def _receive(self) -> None:
        frames = self._open().recv_multipart(zmq.NOBLOCK, copy=False)
        parts = [f.buffer for f in frames]
        header = decode_header(parts)
        entry = self._pending.get(str(header.get("id", "")))
        if entry is None and header.get("op") == "error" and not header.get("id"):
            # The server could not even read the id.  It answers in order: it was the oldest.
            entry = next((p for p in self._pending.values() if p.result is None), None)
        if entry is None or entry.result is not None:
            self.late += 1
            return
        entry.tracker = None
        if header.get("op") == "error":
            self._refused(entry, from_reply(header))
            return
        try:
            entry.result = decode(parts)
        except BadReply as e:
            e.id = str(header["id"])
            entry.result = e

    def _refused(self, entry: _Pending, error: TtadError) -> None:
        if not (isinstance(error, Busy) and entry.retry):
            entry.result = error
            return
        entry.busy = error
        entry.again_at = time.monotonic() + max(error.retry_after, entry.backoff)
        entry.backoff = min(2 * entry.backoff, BACKOFF_MOST)
        if entry.again_at >= entry.deadline:
            entry.result = error

    def _send(self, entry: _Pending) -> None:
        entry.again_at, entry.unsent = None, False
        large = any(len(f) >= COPY_BELOW for f in entry.frames)
        try:
            if entry.share and large:
                entry.tracker = self._open().send_multipart(
                    entry.frames, zmq.NOBLOCK, copy=False, track=True
                )
            else:
                self._open().send_multipart(entry.frames, zmq.NOBLOCK)
        except zmq.Again:
            entry.unsent = True

    def _forget(self, id: str, entry: _Pending) -> None:
        """Give up on a request.  If its memory is still being sent, the socket has to go."""
        self._pending.pop(id, None)
        if entry.tracker is None or entry.tracker.done:
            return
        self._drop_socket()
        for other in self._pending.values():
            if other.result is None:
                self._send(other)  # same id: the server does not adapt twice

    def _open(self) -> zmq.Socket:
        if self._socket is None:
            s = self.context.socket(zmq.DEALER)
            s.setsockopt(zmq.LINGER, 0)
            s.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for a daemon that is not there
            s.setsockopt(zmq.SNDHWM, 64)
            s.setsockopt(zmq.RCVHWM, 64)
            s.setsockopt(zmq.RECONNECT_IVL, 50)
            s.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            try:
                s.connect(self.endpoint)
            except zmq.ZMQError as e:
                s.close(0)
                raise BadArgument(f"endpoint '{self.endpoint}': {e}") from None
            self._socket = s
        return self._socket

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None
