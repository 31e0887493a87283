# SPDX-License-Identifier: Apache-2.0
"""The daemon's events, in order, with what was missed."""

from __future__ import annotations

import time
from typing import Iterator, Optional, Sequence

import zmq

from .errors import BadArgument, Closed
from .wire import Event, decode_event


class Events:
    """An iterator over events.  Belongs to one thread; close() it, or use it in a `with`.

    Sequence numbers run over all topics, and only a subscriber to all of them can tell a gap
    from an event of a topic that it did not ask for: `missed` is counted then, else 0.
    """

    def __init__(
        self,
        context: zmq.Context,
        endpoint: str,
        topics: Sequence[str] = (),
        timeout: Optional[float] = None,
    ) -> None:
        """topics: prefixes, none = all.  timeout: seconds of silence after which iteration ends."""
        self._all = not topics or "" in topics
        self._timeout = timeout
        self._last: Optional[int] = None
        self._socket: Optional[zmq.Socket] = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        for topic in topics or ("",):
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode("utf-8"))
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as e:
            self.close()
            raise BadArgument(f"endpoint '{endpoint}': {e}") from None

    def next(self, timeout: Optional[float] = None) -> Optional[Event]:
        """The next event, or None after `timeout` seconds (None: never).  Raises BadReply."""
        if self._socket is None:
            raise Closed("the subscription is closed")
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            wait = None if until is None else max(0, int((until - time.monotonic()) * 1e3 + 0.999))
            if not self._socket.poll(wait, zmq.POLLIN):
                return None
            event = decode_event(self._socket.recv_multipart())
            if self._last is None or event.seq != self._last:  # overlapping topics: once is enough
                return self._count(event)

    def _count(self, event: Event) -> Event:
        expected = event.seq if self._last is None else self._last + 1
        self._last = event.seq
        return event._replace(missed=max(0, event.seq - expected) if self._all else 0)

    def __iter__(self) -> Iterator[Event]:
        while True:
            event = self.next(self._timeout)
            if event is None:
                return
            yield event

    @property
    def closed(self) -> bool:
        """Has it been closed?"""
        return self._socket is None

    def close(self) -> None:
        """End the subscription."""
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
