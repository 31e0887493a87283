# SPDX-License-Identifier: Apache-2.0
"""One DEALER socket with several requests under way, each with its own deadline and its tries.

A monitor beside the socket tells of a lost connection, with which everything is lost that was sent
and not answered: it is sent again, under its id, as soon as there is a connection.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional, Union

import zmq

from .errors import BadArgument, BadReply, Busy, Cancelled, Closed, Disconnected, Draining
from .errors import Timeout, TtadError, from_reply
from .wire import Frame, Message, decode, decode_header

COPY_BELOW = 64 * 1024  # bytes; smaller frames are cheaper to copy than to share
CREDIT = 8  # requests on the wire, until the daemon has told
PAUSE_FIRST, PAUSE_MOST = 0.01, 1.0  # seconds; the least pause doubles with every refusal
TRY_MOST = 60.0
HEARTBEAT_MS, HEARTBEAT_END_MS = 2000, 6000
QUEUED, SENT, PAUSED = "queued", "sent", "paused"
COUNTED = ("infer", "feedback", "stream")  # what takes credit: a worker answers it


@dataclass(eq=False)
class _Pending:
    op: str
    frames: List[Frame]
    deadline: float  # monotonic seconds: give up
    twice: bool  # may be sent again though it may have arrived
    share: bool  # the caller's memory may be sent from directly
    try_seconds: float  # of the next try
    state: str = QUEUED
    due: float = 0.0  # sent: when this try counts as lost; paused: when to send it again
    pause: float = PAUSE_FIRST
    tries: int = 0
    refusal: Optional[TtadError] = None  # the newest BUSY or DRAINING
    tracker: Optional[zmq.MessageTracker] = None
    result: Union[Message, TtadError, None] = None


@dataclass
class Channel:
    """Requests out, replies in, in whatever order they come.  Belongs to one thread at a time.

    retry        send again what was BUSY, or lost
    try_seconds  until the first try counts as lost; doubles each time

    Every call raises BadArgument while another thread is in one: two threads on one ZeroMQ socket
    hang, or end the process.
    """

    context: zmq.Context
    endpoint: str
    retry: bool = True
    try_seconds: float = 5.0
    _socket: Optional[zmq.Socket] = field(default=None, init=False)
    _monitor: Optional[zmq.Socket] = field(default=None, init=False)
    _connected: bool = field(default=False, init=False)
    _credit: int = field(default=CREDIT, init=False)
    _pending: Dict[str, _Pending] = field(default_factory=dict, init=False)
    _closed: bool = field(default=False, init=False)
    _in_use: threading.Lock = field(default_factory=threading.Lock, init=False)
    late: int = field(default=0, init=False)  # replies that nobody waited for any more

    def submit(
        self,
        id: str,
        op: str,
        frames: List[Frame],
        timeout: float,
        twice: bool = True,
        share: bool = True,
    ) -> None:
        """Take a request to be sent.

        twice   it may be carried out twice, or the daemon sees to it that it is not
        share   the caller does not touch the tensors until result() is back

        Raises BadArgument when a request with that id is under way, Closed.
        """
        if self._closed:
            raise Closed("the client is closed", id=id)
        if id in self._pending:
            raise BadArgument(f"a request with id '{id}' is under way", id=id)
        entry = _Pending(op, frames, time.monotonic() + timeout, twice, share, self.try_seconds)
        if not share:
            entry.frames = [bytes(f) for f in frames]
        with self._alone(id):
            self._open()
            self._pending[id] = entry
            self._turn()

    def result(self, id: str) -> Message:
        """The reply to a request of submit(), waited for until its deadline.

        Raises what the server answered, Timeout, Disconnected, BadReply; BadArgument for an
        unknown id.
        """
        entry = self._pending.get(id)
        if entry is None:
            raise BadArgument(f"no request with id '{id}' is under way", id=id)
        with self._alone(id):
            try:
                while entry.result is None:
                    self._turn()
                    if entry.result is None:
                        self._sleep()
            finally:
                self._forget(id, entry)
        if isinstance(entry.result, TtadError):
            raise entry.result
        return entry.result

    def cancel(self, id: str) -> None:
        """Do not send this one any more; one that is not on the wire ends with Cancelled."""
        entry = self._pending.get(id)
        if entry is None or entry.result is not None:
            return
        with self._alone(id):
            entry.twice = False
            if entry.state != SENT:
                entry.result = Cancelled("cancelled before it was sent", id=id)

    def close(self) -> None:
        """Drop what is under way and close the socket."""
        with self._alone():
            self._closed = True
            self._pending.clear()
            self._drop_socket()

    @contextlib.contextmanager
    def _alone(self, id: str = "") -> Iterator[None]:
        """No other thread is in a call meanwhile; raises BadArgument where one is."""
        if not self._in_use.acquire(blocking=False):
            raise BadArgument(
                "another thread is using this client: a client belongs to one thread at a time, "
                "connect() one for each",
                id=id,
            )
        try:
            yield
        finally:
            self._in_use.release()

    # ---- a turn -----------------------------------------------------------------------------

    def _open_requests(self) -> List[_Pending]:
        return [p for p in self._pending.values() if p.result is None]

    def _on_the_wire(self) -> int:
        return sum(p.state == SENT and p.op in COUNTED for p in self._open_requests())

    def _sendable(self) -> List[_Pending]:
        """What is to be sent now, in order; credit for it is there."""
        queued = [p for p in self._open_requests() if p.state == QUEUED]
        room = self._credit - self._on_the_wire() if self.retry else len(queued)
        counted = [p for p in queued if p.op in COUNTED][: max(0, room)]
        return [p for p in queued if p.op not in COUNTED or p in counted]

    def _turn(self) -> None:
        """Hear, receive, expire and send what there is."""
        self._open()
        broke = self._hear()  # before anything goes over the next connection
        while self._receive():
            pass
        if broke:
            self._lost()  # but for what was still to be received
        now = time.monotonic()
        for id, entry in self._pending.items():
            if entry.result is None:
                self._expire(id, entry, now)
        for entry in self._sendable():
            if not self._send(entry):
                break

    def _sleep(self) -> None:
        """Until something arrives, can be sent, or is due."""
        waiting = self._open_requests()
        due = [p.deadline for p in waiting] + [p.due for p in waiting if p.state != QUEUED]
        poller = zmq.Poller()
        poller.register(self._open(), zmq.POLLIN | (zmq.POLLOUT if self._sendable() else 0))
        poller.register(self._monitor, zmq.POLLIN)
        poller.poll(max(0, int((min(due) - time.monotonic()) * 1e3 + 0.999)))

    def _expire(self, id: str, entry: _Pending, now: float) -> None:
        if now >= entry.deadline:
            if entry.state == PAUSED and entry.refusal is not None:
                entry.result = entry.refusal
            elif entry.state == QUEUED and not self._connected:
                entry.result = Disconnected(f"nothing takes requests at {self.endpoint}", id=id)
            elif entry.state == QUEUED:
                entry.result = Timeout(f"other requests at {self.endpoint} have its credit", id=id)
            else:
                entry.result = Timeout(
                    f"no reply from {self.endpoint}, sent {entry.tries} times", id=id
                )
        elif entry.state == PAUSED and now >= entry.due:
            entry.state = QUEUED
        elif entry.state == SENT and now >= entry.due:
            entry.state = QUEUED
            entry.try_seconds = min(2 * entry.try_seconds, TRY_MOST)

    # ---- the connection ---------------------------------------------------------------------

    def _hear(self) -> bool:
        """What the monitor has told since the last time; True: the connection was lost."""
        broke = False
        while self._monitor is not None and self._monitor.poll(0):
            event = self._monitor.recv_multipart()
            self._connected = (
                int.from_bytes(event[0][:2], sys.byteorder) == zmq.EVENT_HANDSHAKE_SUCCEEDED
            )
            broke = broke or not self._connected
        return broke

    def _lost(self) -> None:
        for id, entry in self._pending.items():
            if entry.result is None and entry.state == SENT:
                entry.state = QUEUED
                if not (self.retry and entry.twice):
                    entry.result = Disconnected(
                        f"the connection to {self.endpoint} broke after '{entry.op}' was sent; "
                        "it may have been carried out",
                        id=id,
                    )
        self._credit = CREDIT

    # ---- replies ----------------------------------------------------------------------------

    def _receive(self) -> bool:
        """Receive a message; False: there is none."""
        try:
            frames = self._open().recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        parts = [f.buffer for f in frames]
        try:
            header = decode_header(parts)
        except BadReply as e:
            id = self._oldest()
            if id is None:
                self.late += 1
            else:
                e.id = id
                self._pending[id].result = e
            return True
        self._judge(header, parts)
        return True

    def _judge(self, header: Dict[str, object], parts: List[memoryview]) -> None:
        op, id = header.get("op"), str(header.get("id") or "")
        if op == "error" and not id:
            id = self._oldest() or ""
        entry = self._pending.get(id)
        if entry is not None and op != "error" and isinstance(op, str) and op != entry.op:
            entry = None  # an answer that came twice, under an id whose labels are under way
        if entry is None or entry.result is not None:
            self.late += 1
        elif op == "error":
            self._refused(entry, from_reply(header))
        else:
            self._answered(id, entry, header, parts)

    def _oldest(self) -> Optional[str]:
        """What names no request was sent for the oldest: replies come in order, as a rule."""
        return next(
            (i for i, p in self._pending.items() if p.result is None and p.state == SENT), None
        )

    def _answered(
        self, id: str, entry: _Pending, header: Dict[str, object], parts: List[memoryview]
    ) -> None:
        try:
            entry.result = decode(parts)
        except BadReply as e:
            e.id = id
            entry.result = e
            return
        said = header.get("parameters")
        credit = said.get("credit") if isinstance(said, dict) else None
        if isinstance(credit, int) and not isinstance(credit, bool):
            self._credit = max(1, self._on_the_wire() + credit)

    def _refused(self, entry: _Pending, error: TtadError) -> None:
        if not self.retry or not isinstance(error, (Busy, Draining)):
            entry.result = error
            return
        # Pauses grow, and differ between clients that were refused together.
        wait = max(error.retry_after if isinstance(error, Busy) else 0.0, entry.pause)
        entry.refusal, entry.state = error, PAUSED
        entry.due = time.monotonic() + wait * (1 + random.random() / 2)
        entry.pause = min(2 * entry.pause, PAUSE_MOST)
        if entry.due >= entry.deadline:
            entry.result = error
        if isinstance(error, Busy):
            self._credit = max(1, self._on_the_wire())

    # ---- sending ----------------------------------------------------------------------------

    def _send(self, entry: _Pending) -> bool:
        """False: there is no connection, or its queue is full."""
        large = any(len(f) >= COPY_BELOW for f in entry.frames)
        try:
            if entry.share and large:
                entry.tracker = self._open().send_multipart(
                    entry.frames, zmq.NOBLOCK, copy=False, track=True
                )
            else:
                self._open().send_multipart(entry.frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        entry.tries += 1
        entry.state = SENT
        again = self.retry and entry.twice
        entry.due = time.monotonic() + entry.try_seconds if again else entry.deadline
        return True

    def _forget(self, id: str, entry: _Pending) -> None:
        """Done with a request.  If its memory is still being sent, the socket has to go."""
        self._pending.pop(id, None)
        if entry.tracker is None or entry.tracker.done:
            return
        if isinstance(entry.result, Message) and entry.tries == 1:
            return  # what was answered has been read whole
        self._drop_socket()
        self._lost()

    def _open(self) -> zmq.Socket:
        if self._socket is None:
            s = self.context.socket(zmq.DEALER)
            s.setsockopt(zmq.LINGER, 0)
            s.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for a daemon that is not there
            s.setsockopt(zmq.SNDHWM, 64)
            s.setsockopt(zmq.RCVHWM, 64)
            s.setsockopt(zmq.RECONNECT_IVL, 50)
            s.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            s.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
            s.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_END_MS)
            self._monitor = s.get_monitor_socket(
                zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
            )
            self._monitor.setsockopt(zmq.LINGER, 0)
            self._socket = s
            try:
                s.connect(self.endpoint)
            except zmq.ZMQError as e:
                self._drop_socket()
                raise BadArgument(f"endpoint '{self.endpoint}': {e}") from None
        return self._socket

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._socket.close(0)
        self._socket = self._monitor = None
        self._connected = False
