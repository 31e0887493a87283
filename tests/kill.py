# SPDX-License-Identifier: Apache-2.0
"""Kill the daemon again and again under load, and hold it to what it has told its clients.

    python3 tests/kill.py --ttad build/release/ttad --kills 200 [--seed 1] [--model M --images X.npy]

Each round starts `ttad serve` over the same folder, lets several clients work on streams of their
own, and ends it with SIGKILL at a random moment: under load, while it starts, or while it drains.
The clients keep what replies and events named, and retry what was not answered under the same id.
After each restart:

* a stream serves the newest version that it had named, or one further for each unanswered batch;
  a number of a step is never given to two versions;
* every decision that was named is in the record, with what was said of it; every snapshot is on the
  disk, whole, with its row; the record passes PRAGMA integrity_check; no temporary is left;
* no batch was learnt from twice: the steps that a stream is ahead of its last answer are no more
  than the unanswered batches that are then answered as `replayed`.

`quiet` streams only learn, so for them all of it is an equation: the last step is the number of
distinct ids.  At the end a new daemon is fed the same batches without being killed, and every
version that was ever named must have the same name there.  `busy` streams are attacked (and rolled
back by their guard), rolled back, reset, frozen, thawed, snapshotted and closed.
"""

import argparse
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "client" / "python"), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import zmq  # noqa: E402

import kill_checks as checks  # noqa: E402
import kill_client as client  # noqa: E402

POLICY = """\
preset: tent
preprocess: {preprocess}
monitor: {{window: 64, shadow: {{every: 8, stats: [source]}}}}
{guards}
recovery: {{warmup_samples: 0, soak_samples: 48, soak_evidence: 1, cooldown_samples: 32,
           probation_samples: 32, max_rollbacks: 16}}
snapshots: {{every_updates: 3}}
"""
GUARD = (
    "guards:\n  - {name: one, signal: class_share, above: 0.9, min_samples: 32, consecutive: 1, "
    "action: rollback, on_inconclusive: continue, cooldown_samples: 32}"
)
CONFIG = """\
listen: {{data: "ipc://{dir}/data.sock", control: "ipc://{dir}/control.sock",
         events: "ipc://{dir}/events.sock"}}
models: [{{name: m, path: "{model}"}}]
policies: [{{name: quiet, path: quiet.yaml}}, {{name: busy, path: busy.yaml}}]
state_dir: {state}
workers: 2
threads_per_worker: 1
log_level: warn
limits: {{max_batch_rows: 32, snapshots_keep: 100000}}
"""


class Daemon:
    """ttad serve over a folder; ended by its own process id."""

    def __init__(self, options, state):
        self.options, self.state = options, state
        self.dir, self.context = options.dir, zmq.Context.instance()
        self.database = self.dir / state / "ttad.sqlite"
        self.config = self.dir / f"{state}.yaml"
        self.config.write_text(CONFIG.format(dir=self.dir, model=options.model, state=state))
        pre = "{layout: nchw}" if options.float_images else "{scale: 0.0039215686, layout: nhwc}"
        for name, guards in (("quiet", "guards: []"), ("busy", GUARD)):
            text = POLICY.format(preprocess=pre, guards=guards)
            (self.dir / f"{name}.yaml").write_text(text)
        self.process = None

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self.options.ttad), "serve", "--config", str(self.config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def wait_ready(self):
        """Until it answers a ping."""
        end = time.monotonic() + 60
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                log = (self.dir / "log").read_text(errors="replace")[-3000:]
                raise AssertionError(f"ttad did not start: {log}")
            wire = client.Wire(self.endpoint("control"), self.context)
            wire.send("ping", "0")
            got = wire.receive(100)
            wire.close()
            if got:
                return

    def endpoint(self, name):
        return f"ipc://{self.dir}/{name}.sock"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        assert status == 0, f"ttad ended with status {status} after SIGTERM"


class Listener(threading.Thread):
    """What events named."""

    def __init__(self, daemon, told):
        super().__init__(daemon=True)
        self.told, self.over = told, threading.Event()
        self.socket = daemon.context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        for topic in (b"decision", b"state", b"daemon"):
            self.socket.setsockopt(zmq.SUBSCRIBE, topic)
        self.socket.connect(daemon.endpoint("events"))

    def run(self):
        while self.socket.poll(20) or not self.over.is_set():
            if self.socket.poll(0):
                self.told.event(self.socket.recv_multipart())
        self.socket.close()


class Run:
    """All rounds over one folder."""

    def __init__(self, options):
        self.options, self.random = options, random.Random(options.seed)
        self.told = checks.Told()
        self.daemon = Daemon(options, "state")
        batches = client.Batches(options.images, options.float_images)
        self.streams = [
            client.Stream(
                f"{kind}-{i}", kind, batches, self.told, random.Random(f"{options.seed}/{kind}/{i}")
            )
            for i in range(options.streams)
            for kind in ("quiet", "busy")
        ]
        self.kills = {"under load": 0, "starting": 0, "draining": 0}

    def moment(self):
        """Which kind of kill this round gets: always all three in a short run, too."""
        n = sum(self.kills.values())
        if n % 6 == 2:
            return "starting"
        return "draining" if n % 6 == 4 else "under load"

    def wait_load(self, workers):
        """Until so many replies have come, however fast the machine is, and a moment more."""
        end = time.monotonic() + 20
        wanted = sum(s.replies for s in self.streams) + self.random.randrange(self.options.load)
        while sum(s.replies for s in self.streams) < wanted and time.monotonic() < end:
            if any(w.failure for w in workers):
                return
            time.sleep(0.001)
        time.sleep(self.random.uniform(0, 0.03))

    def one_round(self):
        how = self.moment()
        self.daemon.start()
        if how == "starting":
            time.sleep(self.random.uniform(0, self.options.start_s))
        else:
            self.daemon.wait_ready()
            listener = Listener(self.daemon, self.told)
            listener.start()
            over = threading.Event()
            workers = [client.Worker(s, self.daemon, over) for s in self.streams]
            for w in workers:
                w.start()
            checks.record(self.daemon, self.told)
            self.wait_load(workers)
            if how == "draining":
                self.daemon.process.send_signal(signal.SIGTERM)
                time.sleep(self.random.uniform(0, 0.15))
        self.daemon.kill()
        if how != "starting":
            over.set()
            for w in workers:
                w.join()
                if w.failure:
                    raise w.failure
            listener.over.set()
            listener.join()
        self.kills[how] += 1
        checks.files(self.daemon, self.told)

    def finish(self):
        """One more start, that is not killed: everything is answered, and compared."""
        self.daemon.start()
        self.daemon.wait_ready()
        for s in self.streams:
            s.settle(self.daemon)
        checks.record(self.daemon, self.told)
        checks.disk(self.daemon, self.told)
        self.daemon.stop()
        for s in self.streams:
            if s.kind == "quiet":
                checks.equal(s.newest, len(s.learnt), f"{s.name}: steps, and distinct ids")

    def compare(self):
        """The quiet streams again, on a daemon that is not killed."""
        other = Daemon(self.options, "reference")
        other.start()
        other.wait_ready()
        versions = 0
        for s in self.streams:
            if s.kind == "quiet":
                versions += s.replay(other)
        other.stop()
        return versions

    def table(self, same, seconds):
        t = self.told
        rows = [
            ("kills", f"{sum(self.kills.values())}: {self.kills}"),
            ("requests", f"{sum(s.requests for s in self.streams)}, retried after a kill "
                         f"{sum(s.retried for s in self.streams)}, of these already learnt from "
                         f"{sum(s.replayed for s in self.streams)}"),
            ("batches learnt from", sum(len(s.learnt) for s in self.streams)),
            ("acknowledged decisions", f"{len(t.decisions)}, rollbacks by a guard {t.rollbacks}"),
            ("snapshots named", len(t.snapshots)),
            ("versions named", sum(len(s.chain) for s in self.streams)),
            ("the same in a run without kills", same),
            ("lost", 0), ("doubled", 0), ("seconds", round(seconds)),
        ]  # fmt: skip
        for name, value in rows:
            print(f"{name:34} {value}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--ttad", type=pathlib.Path, required=True)
    p.add_argument("--kills", type=int, default=200)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--streams", type=int, default=2, help="of each kind")
    p.add_argument("--load", type=int, default=80, help="replies before a kill, at most")
    p.add_argument("--start-s", type=float, default=0.25, help="latest kill while starting")
    p.add_argument("--model", type=pathlib.Path, default=ROOT / "models/fashion_resnet.onnx")
    p.add_argument("--images", type=pathlib.Path, default=ROOT / "models/fashion_test_images.npy")
    o = p.parse_args()
    o.ttad, o.model = o.ttad.resolve(), o.model.resolve()
    o.images = np.load(o.images)
    o.float_images = o.images.dtype != np.uint8
    o.dir = pathlib.Path(tempfile.mkdtemp(prefix="ttad-kills-"))
    run, started = Run(o), time.monotonic()
    print(f"seed {o.seed}, {o.kills} kills, {2 * o.streams} streams, in {o.dir}", flush=True)
    try:
        for i in range(o.kills):
            run.one_round()
            if (i + 1) % max(1, o.kills // 20) == 0:
                steps = " ".join(f"{s.name}:{s.newest}" for s in run.streams)
                print(f"  {i + 1} kills, {time.monotonic() - started:.0f} s, {steps}", flush=True)
        run.finish()
        run.table(run.compare(), time.monotonic() - started)
    except BaseException:
        if run.daemon.process and run.daemon.process.poll() is None:
            run.daemon.kill()
        print(f"seed {o.seed}, after {sum(run.kills.values())} kills; kept: {o.dir}", flush=True)
        raise
    shutil.rmtree(o.dir)


if __name__ == "__main__":
    main()
