# SPDX-License-Identifier: Apache-2.0
"""The clients of tests/soak.py, each a process:

    python3 tests/soak_client.py strict|sdk|victim|ATTACK JSON

A line of JSON on stdout every second says what happened so far; it ends when the file `over` is
there.  `strict` speaks the protocol by hand, so that it sees every reply; `sdk` is the Python client;
`victim` is killed while it waits; the rest are those of client/python/tests/hostile.py.
"""

import collections
import json
import pathlib
import random
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / p) for p in ("client/python", "tests", "models")]

import numpy as np  # noqa: E402
import zmq  # noqa: E402

import drift  # noqa: E402
import ttad  # noqa: E402
from kill_client import Wire  # noqa: E402
from ttad import wire  # noqa: E402

ROWS = (1, 8, 16, 16, 16, 32)
LOST_S = 90  # without a reply for longer than this, one is lost
REST = {"BUSY", "DRAINING"}  # may answer whatever asks for a worker
GONE = {"NO_STREAM", "NO_MODEL"}
MAY = {  # what may be refused, and how, though the daemon and its disk are well
    "infer": REST | {"DEADLINE", "CANCELLED", "NO_MODEL"},
    "feedback": REST | GONE | {"BAD_HEADER"},  # the answer is not remembered any more
    "stream": REST | GONE,
    "cancel": GONE,
    "rollback": REST | GONE | {"BAD_HEADER"},  # a version that is no longer there
    "snapshot": REST | GONE | {"BAD_HEADER"},
    "snapshots": REST | GONE,
    "freeze": REST | GONE | {"BAD_HEADER"},  # is frozen
    "thaw": REST | GONE | {"BAD_HEADER"},  # is not
    "load": REST | {"BAD_HEADER"},  # there already
    "unload": REST | {"NO_MODEL"},
    "reload": {"BAD_HEADER"},
}


class Images:
    """Batches as time goes by: clean, drifting, noisy, under attack."""

    def __init__(self, rng):
        images = np.load(ROOT / "models/fashion_tune_images.npy")
        labels = np.load(ROOT / "models/fashion_tune_labels.npy").astype(np.int64)
        self.rng, self.pools = rng, []
        for k in range(6):
            rows = np.random.default_rng(k).integers(len(images), size=128)
            self.pools.append((drift.drift(images[rows], k / 5, 1, rows), labels[rows]))
        self.static = drift.static(128, 1)

    def batch(self, at):
        """Images and labels at so many seconds; the labels are None where there are none."""
        n = self.rng.choice(ROWS)
        phase = int(at / 5) % 10
        if phase == 7 and self.rng.random() < 0.8:
            return self.take(self.static, n), None
        images, labels = self.pools[min(phase, 5)]
        if phase == 8 and self.rng.random() < 0.9:  # one image again and again
            k = self.rng.randrange(len(images))
            return np.repeat(images[k : k + 1], n, axis=0), None
        rows = [self.rng.randrange(len(images)) for _ in range(n)]
        return images[rows], labels[rows]

    def take(self, images, n):
        return images[[self.rng.randrange(len(images)) for _ in range(n)]]


class Client:
    """What all have: streams, counts, lines."""

    def __init__(self, o):
        self.o, self.rng = o, random.Random(o["seed"])
        self.folder = pathlib.Path(o["folder"])
        self.images = Images(self.rng)
        self.codes, self.ops = collections.Counter(), collections.Counter()
        self.said = {"adapted": 0, "rolled_back": 0, "skipped": collections.Counter(), "cut short": 0, "connections lost": 0}
        self.decisions, self.odd, self.internal = [], [], []
        self.start, self.told = time.monotonic(), 0.0
        self.n = 0

    def over(self):
        return (self.folder / "over").exists()

    def tell(self, final=False):
        if not final and time.monotonic() - self.told < 1:
            return
        self.told = time.monotonic()
        print(json.dumps({
            "codes": self.codes, "ops": self.ops, **self.said, "decisions": self.decisions,
            "odd": self.odd, "internal": self.internal, "final": final}), flush=True)
        self.decisions, self.internal, self.odd = [], [], []

    def count(self, op, code, text=""):
        """An op was answered with that code."""
        self.ops[op] += 1
        self.codes[code] += 1
        if code == "INTERNAL":  # is one of the codes; soak.py wants a reason for it
            self.internal.append([time.time(), f"{op}: {text}"])
        elif code != "OK" and code not in MAY.get(op, ()):
            self.odd.append(f"{op}: {code}: {text}")

    def answered(self, p):
        self.said["adapted"] += bool(p["adapted"])
        self.said["rolled_back"] += bool(p["rolled_back_to"])
        if p["skipped"]:
            self.said["skipped"][p["skipped"]] += 1

    def decided(self, op, stream, reply):
        if "decision_id" in reply:
            self.decisions.append([reply["decision_id"], stream, op, reply["from_version"],
                                   reply["version"]])  # fmt: skip

    def run(self):
        try:
            while not self.over():
                self.turn()
                self.tell()
                time.sleep(self.rng.uniform(0, self.o["pause"]))
            self.finish()
        except Exception as e:
            self.odd.append(f"{type(e).__name__}: {e}")
        self.tell(final=True)

    def finish(self):
        pass


class Strict(Client):
    """Three under way, each id is answered once; what a killed daemon took along is sent again."""

    def __init__(self, o):
        super().__init__(o)
        self.context = zmq.Context()
        self.data = Wire(o["data"], self.context)
        self.control = Wire(o["control"], self.context)
        self.monitors = [(s, s.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED))
                         for s in (self.data, self.control)]  # fmt: skip
        self.under_way = {}  # id: [op, stream, when, life, frames, socket, labels, twice]
        self.done = collections.OrderedDict()  # newest ids that were answered: were they sent twice

    def life(self):
        """How many daemons there have been."""
        return (self.folder / "life").read_text()

    def send(self, socket, op, stream, tensors=(), labels=None, id=None, **rest):
        self.n += 1
        id = id or f"{self.o['name']}-{self.n}"
        message = (op, tensors, rest)
        self.under_way[id] = [op, stream, time.monotonic(), self.life(), message, socket, labels,
                              False]  # fmt: skip
        socket.send(op, id, tensors, **rest)
        return id

    def receive(self, ms):
        broke = set()
        for socket, monitor in self.monitors:
            while monitor.poll(0):
                monitor.recv_multipart()
                broke.add(socket)
                self.said["connections lost"] += 1
        for socket in (self.data, self.control):
            while got := socket.receive(ms if socket is self.data else 0):
                self.take(got)
        now = time.monotonic()
        for id, (op, stream, when, life, _, socket, _, _) in list(self.under_way.items()):
            if socket in broke or (life != self.life() and now - when > 1):
                self.again(id)
            elif now - when > LOST_S:
                raise AssertionError(f"lost: no reply to {op} '{id}' of {stream} in {LOST_S} s")

    def again(self, id):
        """The reply went with a connection, or with a killed daemon."""
        row = self.under_way[id]
        op, message, socket = row[0], row[4], row[5]
        if op != "infer":  # it may have been done: not asked again
            del self.under_way[id]
            self.done[id] = True
            return
        row[2], row[3], row[7] = time.monotonic(), self.life(), True
        socket.send(op, id, message[1], **message[2])

    def take(self, got):
        id = got.get("id", "")
        if id not in self.under_way:
            if not self.done.get(id):
                raise AssertionError(f"a second reply, or one to nobody: {str(got)[:300]}")
            return  # of a request that was sent twice
        op, stream, _, _, message, _, labels, twice = self.under_way.pop(id)
        self.done[id] = twice
        while len(self.done) > 4096:
            self.done.popitem(last=False)
        if got["op"] == "error":
            self.count(op, got["code"], got["error"])
            if got["code"] == "BUSY":
                time.sleep(min(got["retry_after_ms"], 200) / 1e3)
            return
        if got["op"] != op:
            raise AssertionError(f"{op} '{id}' was answered as {got['op']}")
        self.count(op, "OK")
        if op == "infer":
            p = got["parameters"]
            self.answered(p)
            n = message[1][0].shape[0]
            if got["outputs"][0]["shape"] != [n, 10] or p["stream_id"] != stream:
                raise AssertionError(f"{n} rows of {stream} were answered with {got}")
            if labels is not None and not twice and self.rng.random() < 0.3:
                self.label(id, stream, labels)
        self.decided(op, stream, got)

    def label(self, id, stream, labels):
        # the reply has the id of the request that the labels are for, of which none may come any more
        if id not in self.under_way:
            self.done.pop(id, None)
            self.send(self.data, "feedback", stream, [labels], id=id,
                      inputs=[wire.describe("label", labels)], parameters={"stream_id": stream})

    def infer(self, stream, policy):
        x, labels = self.images.batch(time.monotonic() - self.start)
        p = {"stream_id": stream, "policy": policy}
        if self.rng.random() < 0.02:
            p["deadline_ms"] = self.rng.choice((1, 20, 500))
            if self.rng.random() < 0.5:
                p["on_deadline"] = "refuse"
        return self.send(self.data, "infer", stream, [x], labels, model_name="fashion",
                         inputs=[wire.describe("image", x)], parameters=p)

    def turn(self):
        stream, policy = self.rng.choice(self.o["streams"])
        id = self.infer(stream, policy)
        what = self.rng.random()
        p = {"stream_id": stream}
        if what < 0.01:
            self.send(self.data, "cancel", stream, parameters={**p, "request_id": id})
        elif what < 0.015:
            self.send(self.data, "stream", stream, action="reset", parameters=p)
        elif what < 0.02:
            self.send(self.data, "stream", stream, action="close", parameters=p)
        elif what < 0.06:
            op = self.rng.choice(("snapshot", "rollback", "freeze", "thaw", "thaw", "thaw", "snapshots"))
            self.send(self.control, op, stream, parameters=p)
        elif what < 0.08:
            op = self.rng.choice(("ping", "status", "models", "streams"))
            self.send(self.control, op, stream)
        while True:
            self.receive(5)
            if len(self.under_way) < 4:
                return

    def finish(self):
        for stream, _ in self.o["streams"]:
            self.send(self.control, "thaw", stream, parameters={"stream_id": stream})
        while self.under_way:
            self.receive(20)


class Sdk(Client):
    """The Python client, over restarts."""

    def __init__(self, o):
        super().__init__(o)
        self.client = ttad.connect(o["data"], o["control"], o["events"], timeout=LOST_S,
                                   name=o["name"])  # fmt: skip

    def do(self, op, call, *args, **more):
        try:
            got = call(*args, **more)
        except ttad.Disconnected:
            if not self.o["kills"]:
                raise
            self.said["cut short"] += 1  # it may have been done when the daemon was killed
            return None
        except ttad.TtadError as e:
            self.count(op, e.code, str(e))
            return None
        self.count(op, "OK")
        return got

    def turn(self):
        stream, policy = self.rng.choice(self.o["streams"])
        x, labels = self.images.batch(time.monotonic() - self.start)
        model = "second" if policy == "second" else "fashion"
        a = self.do("infer", self.client.infer, x, stream, model=model,
                    policy="tent" if policy == "second" else policy)  # fmt: skip
        if a:
            self.answered(a.parameters)
            if a.logits.shape != (len(x), 10) or not np.isfinite(a.logits).all():
                raise AssertionError(f"{len(x)} rows were answered with {a.logits}")
            if labels is not None and self.rng.random() < 0.3:
                self.do("feedback", self.client.feedback, a.id, labels, stream)
        what = self.rng.random()
        if what < 0.02:
            op = self.rng.choice(("snapshot", "rollback", "freeze", "thaw", "thaw", "thaw"))
            reply = self.do(op, getattr(self.client, op), stream)
            if reply:
                self.decided(op, stream, reply)
        elif what < 0.025:
            action = self.rng.choice(("close", "reset", "describe"))
            self.do("stream", self.client.stream, stream, action)

    def finish(self):
        for stream, _ in self.o["streams"]:
            self.do("thaw", self.client.thaw, stream)
        self.client.close()


class Victim(Client):
    """Batches until it is killed."""

    def run(self):
        client = ttad.connect(self.o["data"], self.o["control"], self.o["events"])
        x = self.images.pools[0][0][:64]
        print("up", flush=True)
        while True:
            ids = [client.submit(x, self.o["name"], policy="quick") for _ in range(6)]
            client.result(ids[0])
            for i in ids[1:]:
                client.result(i)


def main():
    kind, o = sys.argv[1], json.loads(sys.argv[2])
    kinds = {"strict": Strict, "sdk": Sdk, "victim": Victim}
    if kind in kinds:
        kinds[kind](o).run()
        return
    from tests import hostile

    print(hostile.ATTACKS[kind](o["folder"], o["seconds"]), flush=True)


if __name__ == "__main__":
    main()
