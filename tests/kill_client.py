# SPDX-License-Identifier: Apache-2.0
"""Clients for tests/kill.py: each has one stream, and knows what it has been told of it."""

import threading

import numpy as np
import zmq

from kill_checks import equal
from ttad import wire

ROWS = 16
DEPTH = 3  # batches under way


class Wire:
    """A DEALER that speaks the protocol, without retries of its own."""

    def __init__(self, endpoint, context):
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def send(self, op, request_id, tensors=(), **rest):
        self.socket.send_multipart(wire.encode({"op": op, "id": request_id, **rest}, tensors))

    def receive(self, ms):
        """The next reply's header, or None."""
        if not self.socket.poll(ms):
            return None
        return wire.decode_header(self.socket.recv_multipart())

    def close(self):
        self.socket.close()


class Batches:
    """A batch for each id: the same each time, unlike that of any other id."""

    def __init__(self, images, is_float):
        self.images, self.is_float = images, is_float

    def tensor(self, n, attack):
        if attack:  # one image, again and again: one class
            rows = np.repeat(np.array([n % len(self.images)]), ROWS)
        else:
            rows = np.random.default_rng(n).integers(len(self.images), size=ROWS)
        x = self.images[rows]
        return x if self.is_float or x.ndim == 4 else x[..., None]

    def request(self, n, attack):
        x = self.tensor(n, attack)
        return x, [wire.describe("image", x)]


class Worker(threading.Thread):
    """Drive a stream until the daemon is gone and nothing more comes from it."""

    def __init__(self, stream, daemon, over):
        super().__init__(daemon=True)
        self.stream, self.daemon_, self.over, self.failure = stream, daemon, over, None

    def run(self):
        try:
            self.stream.work(self.daemon_, self.over)
        except Gone:
            pass
        except BaseException as e:
            self.failure = e


class Gone(Exception):
    """The daemon does not answer any more."""


class Stream:
    """A stream as its only client knows it."""

    def __init__(self, name, kind, batches, told, rng):
        self.name, self.kind, self.batches, self.told, self.rng = name, kind, batches, told, rng
        self.chain = {}  # step: the version of that number, as it was named
        self.step, self.newest = 0, 0  # that serves; of the newest version that there ever was
        self.ahead = 0  # steps of batches that were learnt from and not answered
        self.unanswered = []  # ids, in the order they were sent, with whether each is an attack
        self.learnt = {}  # ids in the order in which they were learnt from
        self.order = None  # what was asked for and not answered: it may have been done
        self.frozen = False  # it was ordered and answered
        self.attacks = 0  # that are still to come, until the guard trips
        self.n = self.requests = self.replies = self.retried = self.replayed = 0
        self.data = self.control = self.over = None

    # ---- the wire -------------------------------------------------------------------------

    def parameters(self, **more):
        return {"stream_id": self.name, "policy": self.kind, **more}

    def wait(self, wire_):
        """The next reply.  Raises Gone once the daemon was killed and nothing is left to read."""
        for _ in range(3000):
            got = wire_.receive(20)
            if got is not None:
                self.replies += 1
                return got
            if self.over is not None and self.over.is_set():
                raise Gone
        raise AssertionError(f"{self.name}: no reply in a minute")

    def ask(self, wire_, op, **rest):
        self.requests += 1
        wire_.send(op, f"{self.name}-op-{self.requests}", **rest)
        return self.wait(wire_)

    def connect(self, daemon, over):
        self.data = Wire(daemon.endpoint("data"), daemon.context)
        self.control = Wire(daemon.endpoint("control"), daemon.context)
        self.over = over

    def disconnect(self):
        self.data.close()
        self.control.close()

    # ---- what it must be ------------------------------------------------------------------

    def name_version(self, step, version):
        """A reply named it: a step has one version for ever."""
        before = self.chain.setdefault(step, version)
        equal(version, before, f"{self.name}: the version of step {step}")

    def check_serving(self, step, version):
        """After a restart, at most the unanswered batches are ahead of what was told."""
        sent = len(self.unanswered)
        ahead = step - self.newest
        if self.order or any(attack for _, attack in self.unanswered):
            known = set(self.chain.values())
            if 0 < ahead <= sent or version in known or step == self.newest:
                self.step = step  # went back, or not yet
            else:
                raise AssertionError(
                    f"{self.name}: serves step {step}, version {version}, which nobody was told "
                    f"of; newest {self.newest}, {sent} unanswered"
                )
        elif ahead > 0:
            if self.ahead + ahead > sent:
                raise AssertionError(
                    f"{self.name}: doubled: {ahead} steps ahead of what was told, {sent} batches "
                    "were unanswered"
                )
            self.step = step
        else:
            equal(step, self.step, f"{self.name}: lost: the step that serves after a restart")
        self.newest = max(self.newest, step)
        self.ahead += max(0, ahead)
        self.name_version(step, version)

    def open(self):
        """Hear what serves, retry what was not answered."""
        action = {"action": "open"}
        got = self.ask(self.data, "stream", model_name="m", parameters=self.parameters(), **action)
        if refused(got):
            raise Gone
        self.check_serving(got["step"], got["version"])
        if self.frozen and self.order != "thaw":
            equal(got["state"], "frozen", f"{self.name}: the state after a freeze")
        self.order = None
        retries = list(self.unanswered)
        for n, attack in retries:
            self.retried += 1
            self.send_batch(n, attack)
            if self.answer(retry=True) == "replayed":
                self.ahead -= 1  # this one made one of the steps
        if self.ahead > 0 or (self.kind == "quiet" and self.ahead < 0):
            raise AssertionError(
                f"{self.name}: doubled: {self.ahead} more steps were made by the unanswered "
                f"batches {retries} than were known as learnt from"
            )
        self.ahead = 0

    # ---- batches --------------------------------------------------------------------------

    def send_batch(self, n, attack):
        x, inputs = self.batches.request(n, attack)
        self.requests += 1
        self.data.send(
            "infer", f"{self.name}-{n}", [x], model_name="m", inputs=inputs,
            parameters=self.parameters(),
        )  # fmt: skip

    def answer(self, retry=False):
        """Take the answer to the oldest unanswered batch; why nothing was learnt, or ""."""
        got = self.wait(self.data)
        if refused(got):
            raise Gone
        n, _ = self.unanswered[0]
        equal(got["id"], f"{self.name}-{n}", f"{self.name}: order of the answers")
        p = got["parameters"]
        equal(p["step"], self.step, f"{self.name}: the step that answers {n}")
        self.name_version(p["step"], p["version"])
        self.unanswered.pop(0)
        if p["adapted"]:
            if n in self.learnt:
                raise AssertionError(f"{self.name}: doubled: batch {n}")
            self.learnt[n] = True
            self.newest += 1
            self.step = self.newest
        elif p["skipped"] == "replayed":
            if not retry:
                raise AssertionError(f"{self.name}: batch {n} was never sent before")
            self.replayed += 1
            self.learnt[n] = True
        elif self.kind == "quiet":
            raise AssertionError(f"{self.name}: batch {n} was not learnt from: {p['skipped']}")
        if p["rolled_back_to"]:
            self.told.rolled_back(self.name, p["rolled_back_to"])
            self.attacks = 0
            self.went_to(p["rolled_back_to"])
        return p["skipped"] or ""

    def went_to(self, version):
        steps = [k for k, v in self.chain.items() if v == version]
        if not steps:  # restored, and never named before: it has a number of its own
            got = self.ask(self.data, "stream", action="describe", parameters=self.parameters())
            if refused(got):
                raise Gone
            equal(got["version"], version, f"{self.name}: the version that was restored")
            steps = [got["step"]]
            self.name_version(got["step"], version)
        self.step = max(steps)

    def batches_now(self, count, attack=False):
        """Send them with several under way; an attack one by one."""
        for _ in range(count):
            self.n += 1
            self.unanswered.append((self.n, attack))
            self.send_batch(self.n, attack)
            while len(self.unanswered) >= (1 if attack else DEPTH):
                self.answer()
        while self.unanswered:
            self.answer()

    # ---- orders ---------------------------------------------------------------------------

    def order_now(self, op, **more):
        """Ask for it; it may be refused in this state."""
        self.order = op
        got = self.ask(self.control, op, parameters={"stream_id": self.name, **more})
        if got.get("code") == "DRAINING":
            raise Gone
        self.order = None
        if refused(got):
            return None
        if "decision_id" in got:
            self.told.decision(got["decision_id"], self.name, op, got["from_version"],
                               got["version"])  # fmt: skip
            self.chain.setdefault(got["step"], got["version"])
        return got

    def something(self):
        """An order, or an attack."""
        what = self.rng.choice(
            ["attack", "attack", "snapshot", "snapshot", "list", "rollback", "rollback to",
             "reset", "freeze", "close"]
        )  # fmt: skip
        if what == "attack":
            self.attacks = 10
        elif what == "snapshot":
            got = self.order_now("snapshot")
            if got and got["state"] != "base":
                self.told.snapshot(self.name, got["version"])
        elif what == "list":
            got = self.order_now("snapshots")
            for v in got["snapshots"] if got else ():
                if v["stored"]:
                    self.told.snapshot(self.name, v["version"])
        elif what == "rollback":
            self.go_back(self.order_now("rollback"))
        elif what == "rollback to":
            mine = self.told.snapshots_of(self.name)
            if mine:
                self.go_back(self.order_now("rollback", version=self.rng.choice(mine)))
        elif what == "reset":
            self.order = "reset"
            got = self.ask(self.data, "stream", action="reset", parameters=self.parameters())
            if got.get("code") == "DRAINING":
                raise Gone
            self.order = None
            if not refused(got):
                equal(got["step"], 0, f"{self.name}: the step after a reset")
                self.step = 0
                self.name_version(0, got["version"])
        elif what == "freeze":
            self.freeze()
        elif what == "close":
            self.close()

    def go_back(self, got):
        if got:
            self.step = got["step"]
            self.name_version(got["step"], got["version"])

    def freeze(self):
        if not self.order_now("freeze"):
            return
        self.frozen = True
        self.batches_now(3)
        if self.order_now("thaw"):
            self.frozen = False

    def close(self):
        self.order = "close"
        got = self.ask(self.data, "stream", action="close", parameters=self.parameters())
        if refused(got):
            raise Gone
        self.order = None
        self.open()

    # ---- rounds ---------------------------------------------------------------------------

    def work(self, daemon, over):
        self.connect(daemon, over)
        try:
            self.open()
            while True:
                if self.kind == "busy":
                    if self.frozen and self.order_now("thaw"):
                        self.frozen = False
                    while self.attacks > 0:
                        self.attacks -= 1
                        self.batches_now(1, attack=True)
                    self.something()
                self.batches_now(self.rng.randrange(1, 10))
        finally:
            self.disconnect()

    def settle(self, daemon):
        """Everything is answered, and one more batch names the newest version."""
        self.connect(daemon, None)
        self.open()
        self.batches_now(2)
        self.disconnect()

    def replay(self, daemon):
        """The same batches in the same order on another daemon; how many versions were compared.

        For a quiet stream: all that was learnt from, in the order of its ids."""
        other = Stream(self.name, self.kind, self.batches, self.told, self.rng)
        other.connect(daemon, None)
        other.open()
        for n in sorted(self.learnt):
            other.unanswered.append((n, False))
            other.send_batch(n, False)
            other.answer()
        other.disconnect()
        for step, version in self.chain.items():
            equal(version, other.chain.get(step), f"{self.name}: step {step} without kills")
        return len(self.chain)


def refused(reply):
    return reply.get("op") == "error"
