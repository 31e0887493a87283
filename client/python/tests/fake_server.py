# SPDX-License-Identifier: Apache-2.0
"""A server that says what a test wants: a ROUTER socket in a thread, and an XPUB for events."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Optional

import zmq

Reply = List[bytes]
Handler = Callable[[Dict[str, Any], List[bytes]], List[Reply]]


def frames(header: Any, *tensors: bytes) -> Reply:
    """A reply as the protocol wants it."""
    return [b"TTAD/1", json.dumps(header).encode(), *tensors]


def error(request: Dict[str, Any], code: str, retry_after_ms: int = 0) -> List[Reply]:
    """A refusal."""
    return [
        frames(
            {
                "op": "error",
                "id": request.get("id", ""),
                "error": f"because of {code.lower()}",
                "code": code,
                "retry_after_ms": retry_after_ms,
            }
        )
    ]


class FakeServer:
    """handler(header, tensors) gives the replies to one request, in order; [] stays silent."""

    def __init__(self, handler: Handler) -> None:
        self.dir = tempfile.mkdtemp(prefix="ttad-test-")
        self.endpoint = f"ipc://{self.dir}/data.sock"
        self.events_endpoint = f"ipc://{self.dir}/events.sock"
        self.requests: List[Dict[str, Any]] = []
        self.raw: List[List[bytes]] = []
        self.failure: Optional[BaseException] = None
        self._handler = handler
        self._context = zmq.Context()
        self._stop = threading.Event()
        self.publisher = self._context.socket(zmq.XPUB)
        self.publisher.bind(self.events_endpoint)
        self.live()

    def live(self) -> None:
        """Listen, as a daemon that starts."""
        self._router = self._context.socket(zmq.ROUTER)
        self._router.bind(self.endpoint)
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def die(self) -> None:
        """Break the connections, as a daemon that is killed."""
        self._stop.set()
        self._thread.join()
        self._router.close(0)

    def wait_requests(self, n: int) -> None:
        """Until so many have come."""
        end = time.monotonic() + 5
        while len(self.requests) < n:
            if time.monotonic() > end:
                raise AssertionError(f"{len(self.requests)} requests came, want {n}")
            time.sleep(0.005)

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._router.poll(20):
                continue
            try:
                who, *message = self._router.recv_multipart()
                header = json.loads(message[1])
                self.requests.append(header)
                self.raw.append(message)
                for reply in self._handler(header, message[2:]):
                    self._router.send_multipart([who, *reply])
            except BaseException as e:  # the test must hear of it
                self.failure = e

    def publish(self, topic: str, seq: int, data: Any) -> None:
        """Send one event; bytes go out as they are."""
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.publisher.send_multipart([topic.encode(), seq.to_bytes(8, "big"), body])

    def wait_subscribed(self) -> None:
        """Until a subscription has arrived."""
        if not self.publisher.poll(5000):
            raise AssertionError("nobody subscribed")
        self.publisher.recv()

    def close(self) -> None:
        """End the thread and remove the sockets."""
        self.die()
        self.publisher.close(0)
        self._context.term()
        shutil.rmtree(self.dir)
        if self.failure is not None:
            raise AssertionError(f"the fake server failed: {self.failure!r}")
