# SPDX-License-Identifier: Apache-2.0
"""The real daemon for a long time, with everything going on at once, and held to what it promises.

    python3 tests/soak.py --ttad build/release/ttad --minutes 30 [--seed 1] [--kill-every SECONDS]

Clients (tests/soak_client.py) keep a dozen streams under seven policies busy: clean images, drift,
static and other attacks, so that guards trip; labels; deadlines, cancels, orders at random, streams
that close and open again.  Meanwhile: the disk is full, fails, or is slow for some seconds
(tests/support/faulty.c), policies change by SIGHUP and by `reload`, some of them broken, a second
model comes and goes, clients are killed in mid request, peers are hostile, and if wanted the daemon
itself is killed.  Then, or all the time:

* every request gets one reply; each error is one of the codes, and one that this op may have;
  INTERNAL only while the disk was made to fail;
* resident memory without compiled plans is flat in the second half (with 10 minutes or more);
  plans, 16 a worker at most, come and go with policies, models and sizes of batches;
* no error is in the log but about what was done to it; nothing of a sanitizer;
* counters only grow, and count what the clients counted; the daemon is ready again after each fault;
* the record passes PRAGMA integrity_check, and has every decision that a reply or event named;
* the drain ends with status 0.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "client" / "python"), str(ROOT / "tests")]

import zmq  # noqa: E402

import kill_checks as checks  # noqa: E402
import ttad  # noqa: E402
from tests import hostile  # noqa: E402

PREPROCESS = (
    "preprocess: {scale: 0.00392156862745098, mean: [0.2860], std: [0.3530], layout: nhwc}\n"
)
QUICK = """\
version: 1
preset: tent
monitor: {window: 64, shadow: {every: 8, stats: [source]}}
guards:
  - {name: one, signal: class_share, above: 0.9, min_samples: 32, consecutive: 1, action: rollback,
     on_inconclusive: continue, cooldown_samples: 32}
recovery: {warmup_samples: 0, soak_samples: 48, soak_evidence: 1, cooldown_samples: 32,
           probation_samples: 32, max_rollbacks: 16}
snapshots: {every_updates: 3}
"""
TENT = (ROOT / "policies" / "tent.yaml").read_text() + PREPROCESS
POLICIES = {
    "tent": TENT,
    "quick": QUICK + PREPROCESS,
    "background": TENT + "adapt: background\n",
    "captured": QUICK + PREPROCESS + "capture: {mode: on, max_bytes: 4194304}\n",
    "norm": (ROOT / "policies" / "norm.yaml").read_text() + PREPROCESS,
    "ema": "version: 1\npreset: norm_ema\nsnapshots: {every_updates: 50}\n" + PREPROCESS,
    "source": "version: 1\npreset: source\n" + PREPROCESS,
}
CONFIG = """\
listen: {{data: "{ends[data]}", control: "{ends[control]}", events: "{ends[events]}",
         http: "unix:{dir}/http.sock"}}
models: [{{name: fashion, path: "{model}"}}]
policies: [{policies}]
workers: 2
threads_per_worker: 1
limits: {{max_batch_rows: 64, max_message_bytes: 8388608, memory_bytes: 33554432, connections: 96}}
"""
STREAMS = {
    "strict-a": [("tent-0", "tent"), ("quick-0", "quick"), ("back-0", "background"),
                 ("capt-0", "captured")],
    "strict-b": [("quick-1", "quick"), ("norm-0", "norm"), ("source-0", "source"),
                 ("ema-0", "ema")],
    "sdk-a": [("tent-1", "tent"), ("back-1", "background"), ("capt-1", "captured"),
              ("quick-2", "quick"), ("second-0", "second")],
}  # fmt: skip
FAULTS = {  # what the disk does, by name; {db}, {state}
    "full": ["write,open,truncate {db} errno=28"],
    "full, snapshots": ["write,open,mkdir,rename {state}/snapshots errno=28"],
    "EIO": ["write,fsync {db} errno=5"],
    "EIO, snapshots": ["write,fsync {state}/snapshots errno=5"],
    "slow": ["fsync {state} delay_ms=400"],
    "full, captures": ["write,open,mkdir {db}.captures errno=28"],
}
ATTACKS = ("lies", "bad_headers", "endless_message", "tiny_frames", "churn", "subscriptions",
           "stalled_messages", "never_reads", "ping_flood")  # fmt: skip
SETTLE_S = 75  # after a fault: the daemon looks at its folder at least once a minute again
SANITIZER = re.compile(r"runtime error:|Sanitizer|LeakSanitizer")


class Daemon:
    """ttad serve in a folder, with a disk that fails when told to."""

    def __init__(self, options, folder):
        self.options, self.dir = options, folder
        self.ends = {n: f"ipc://{folder}/{n}.sock" for n in ("data", "control", "events")}
        self.database = folder / "state" / "ttad.sqlite"
        self.lives = 0
        for name, text in POLICIES.items():
            (folder / f"{name}.yaml").write_text(text)
        self.config = folder / "ttad.yaml"
        self.config.write_text(CONFIG.format(
            dir=folder, ends=self.ends, model=ROOT / "models/fashion_resnet.onnx",
            policies=", ".join(f"{{name: {n}, path: {n}.yaml}}" for n in POLICIES)))
        shutil.copy(ROOT / "models/fashion_resnet.onnx", folder / "second.onnx")
        self.fail()

    def fail(self, rules=()):
        fresh = self.dir / "faults.new"
        fresh.write_text("".join(
            r.format(db=self.database, state=self.dir / "state") + "\n" for r in rules))
        fresh.replace(self.dir / "faults")

    def start(self):
        self.lives += 1
        (self.dir / "life").write_text(str(self.lives))
        shim = self.options.ttad.parent / "tests" / "support" / "faulty.so"
        env = {**os.environ, "TT_FAULTS": str(self.dir / "faults"), "OMP_NUM_THREADS": "1",
               "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        env["LD_PRELOAD"] = str(shim)
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self.options.ttad), "serve", "--config", str(self.config)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)  # fmt: skip
        with self.client() as c:
            c.ping(timeout=120)

    def client(self):
        return ttad.connect(**self.ends, timeout=60, name="soak")

    def http(self, path):
        """Status and text of a GET."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(self.dir / "http.sock"))
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            got = b""
            while more := s.recv(65536):
                got += more
        head, _, body = got.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    def rss_kb(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("the daemon died")


class Listener(threading.Thread):
    """What events named."""

    def __init__(self, daemon, told):
        super().__init__(daemon=True)
        self.told, self.over = told, threading.Event()
        self.kinds = collections.Counter()
        self.socket = zmq.Context.instance().socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.socket.connect(daemon.ends["events"])

    def run(self):
        while not self.over.is_set():
            if self.socket.poll(50):
                frames = self.socket.recv_multipart()
                self.kinds[frames[0].decode()] += 1
                self.told.event(frames)
        self.socket.close()


class Child:
    """A client process, and the newest of what it said."""

    def __init__(self, kind, **o):
        self.kind, self.said, self.final = kind, {}, False
        self.decisions, self.internal, self.odd, self.text = [], [], [], ""
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/soak_client.py"), kind, json.dumps(o)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            if not line.startswith("{"):
                self.text += line
                continue
            self.said = json.loads(line)
            self.final = self.said["final"]
            for name in ("decisions", "internal", "odd"):
                getattr(self, name).extend(self.said.pop(name))


def metrics(text):
    """{name with labels: value}."""
    rows = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            rows[name] = float(value)
    return rows


class Soak:
    def __init__(self, options, folder):
        self.o, self.rng = options, random.Random(options.seed)
        self.daemon, self.told = Daemon(options, folder), checks.Told()
        self.start = time.monotonic()
        self.memory = [[]]  # of each life: (seconds, KiB without compiled plans)
        self.rss = []  # KiB
        self.trouble = []  # (from, to, what) in wall time: what explains an error
        self.counts = collections.Counter()
        self.before, self.broken = {}, []
        self.passing = []  # children that come and go

    def now(self):
        return time.monotonic() - self.start

    # ---- what is done to it -----------------------------------------------------------------

    def fault(self):
        name = self.rng.choice(list(FAULTS))
        began = time.time()
        self.daemon.fail(FAULTS[name])
        self.sleep(self.rng.uniform(2, 6))
        self.daemon.fail()
        end = time.monotonic() + SETTLE_S + self.o.patience
        while not (status := self.ask("status"))["ready"]:
            if time.monotonic() > end:
                raise AssertionError(f"not ready after '{name}' was over: {status['reasons']}")
            self.sleep(0.5)
        self.trouble.append((began, time.time(), f"disk: {name}"))
        self.counts["disk faults"] += 1

    def reload(self):
        above = self.rng.choice(("0.30", "0.35", "0.40"))
        text = TENT.replace("above: 0.35", f"above: {above}")
        path, how = self.daemon.dir / "tent.yaml", self.rng.choice(("SIGHUP", "op"))
        broken = self.rng.random() < 0.4
        began = time.time()
        path.write_text(text + ("objetive: [entropy]\n" if broken else ""))
        if how == "SIGHUP":
            self.daemon.process.send_signal(signal.SIGHUP)
            self.sleep(1)
        else:
            try:
                self.ask("reload")
                if broken:
                    self.broken.append("a broken policy was reloaded")
            except ttad.TtadError as e:
                if not broken or "tent.yaml:" not in str(e):
                    self.broken.append(f"reload: {e}")
        self.sleep(0.5)
        if broken:
            path.write_text(text)
            self.trouble.append((began, time.time(), "reload of a mistake"))
        self.counts["reloads of a mistake" if broken else "reloads"] += 1

    def second_model(self):
        have = {m["name"] for m in self.ask("models")}
        try:
            if "second" in have:
                self.ask("unload", "second")
            else:
                self.ask("load", "second", str(self.daemon.dir / "second.onnx"))
        except ttad.Busy:
            pass
        self.counts["loads and unloads"] += 1

    def victim(self):
        child = Child("victim", seed=1, folder=str(self.daemon.dir), name="victim",
                      **self.daemon.ends)  # fmt: skip
        end = time.monotonic() + 60
        while "up" not in child.text and time.monotonic() < end:
            self.sleep(0.1)
        self.sleep(self.rng.uniform(0, 1))
        child.process.kill()
        child.process.wait()
        self.counts["clients killed"] += 1

    def attack(self):
        name = self.rng.choice(ATTACKS)
        self.passing.append(Child(name, folder=str(self.daemon.dir), seconds=2))
        self.counts["hostile peers"] += 1

    def kill(self):
        began = time.time()
        self.daemon.process.kill()
        self.daemon.process.wait()
        self.memory.append([])
        self.before = {}
        self.daemon.start()
        self.trouble.append((began, time.time(), "kill -9"))
        self.counts["kill -9"] += 1

    def ask(self, op, *args):
        with self.daemon.client() as c:
            return getattr(c, op)(*args)

    # ---- what is looked at ------------------------------------------------------------------

    def sleep(self, seconds):
        """Look at the daemon each second meanwhile."""
        end = time.monotonic() + seconds
        while True:
            self.look()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.2))

    def look(self):
        row = self.memory[-1]
        if self.daemon.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.daemon.process.returncode}")
        if row and self.now() - row[-1][0] < 1:
            return
        self.measure(row)
        for c in self.clients:
            if c.odd:
                raise AssertionError(f"{c.kind}: {c.odd[0]}")
            if c.process.poll() is not None:
                raise AssertionError(f"{c.kind} ended: {c.text[-2000:]}")
        if self.now() - self.shown >= 10:
            self.progress()

    def measure(self, row):
        """Memory, and every number of /metrics."""
        rss = self.daemon.rss_kb()
        status, text = self.daemon.http("/metrics")
        rows = metrics(text)
        checks.equal(status, 200, "/metrics")
        plans = rows['ttad_memory_bytes{of="plans"}'] / 1024
        row.append((self.now(), rss - plans))
        self.rss.append(rss)
        for name, value in rows.items():
            family = name.partition("{")[0]
            grows = family.endswith(("_total", "_count", "_bucket", "_sum"))
            if value != value or value < 0 or (grows and value < self.before.get(name, 0)):
                raise AssertionError(f"{name} is {value}, was {self.before.get(name)}")
        self.before = rows

    def progress(self):
        self.shown = self.now()
        for child in [c for c in self.passing if c.process.poll() is not None]:
            self.passing.remove(child)
            child.thread.join()
            if child.process.returncode:
                raise AssertionError(f"{child.kind}: {child.text[-1500:]}")
        total = self.sums()
        done = ", ".join(f"{k} {v}" for k, v in sorted(self.counts.items()))
        print(f"  {self.now():5.0f} s  {sum(total['ops'].values())} replies, adapted "
              f"{total['adapted']}, rolled back {total['rolled_back']}, "
              f"RSS {self.rss[-1] / 1024:.1f} MiB, without plans "
              f"{self.memory[-1][-1][1] / 1024:.1f}; {done}", flush=True)

    def sums(self):
        total = {"codes": collections.Counter(), "ops": collections.Counter(),
                 "skipped": collections.Counter(), "adapted": 0, "rolled_back": 0,
                 "connections lost": 0, "cut short": 0}  # fmt: skip
        for c in self.clients:
            for key, value in total.items():
                if isinstance(value, collections.Counter):
                    value.update(c.said.get(key, {}))
                else:
                    total[key] += c.said.get(key, 0)
        return total

    # ---- all of it --------------------------------------------------------------------------

    def run(self):
        self.clients, self.shown = [], 0.0
        self.daemon.start()
        self.listener = Listener(self.daemon, self.told)
        self.listener.start()
        folder = str(self.daemon.dir)
        self.clients = [
            Child(name.partition("-")[0], name=name, folder=folder, streams=streams,
                  seed=f"{self.o.seed}/{name}", pause=self.o.pause, kills=bool(self.o.kill_every),
                  **self.daemon.ends)
            for name, streams in STREAMS.items()
        ]  # fmt: skip
        seconds, killed = self.o.minutes * 60, self.now()
        self.sleep(min(5, seconds / 4))
        troubles = []
        while self.now() < seconds:
            if not troubles:
                troubles = [self.fault, self.reload, self.second_model, self.victim, self.attack,
                        self.attack]  # fmt: skip
                self.rng.shuffle(troubles)
            troubles.pop()()
            if self.o.kill_every and self.now() - killed > self.o.kill_every:
                self.kill()
                killed = self.now()
            self.sleep(min(self.rng.uniform(0, 2 * self.o.every), max(0, seconds - self.now())))
        self.finish()

    def finish(self):
        """Nothing more is done to it: everything is answered, and then it ends."""
        self.daemon.fail()
        self.sleep(1)
        (self.daemon.dir / "over").touch()
        for c in self.clients:
            c.process.wait(LAST_S + self.o.patience)
            c.thread.join()
            if c.odd or not c.final or c.process.returncode:
                raise AssertionError(f"{c.kind}: {c.odd} {c.text[-2000:]}")
            for number, stream, op, old, new in c.decisions:
                self.told.decision(number, stream, op, old, new)
        for c in self.passing:
            c.process.wait(60)
        checks.equal(self.daemon.http("/v2/health/ready")[0], 200, "ready at the end")
        self.count_requests()
        self.daemon.process.send_signal(signal.SIGTERM)
        checks.equal(self.daemon.process.wait(60 + self.o.patience), 0, "status after SIGTERM")
        self.listener.over.set()
        self.listener.join()
        checks.record(self.daemon, self.told)
        self.check_log()
        self.check_internal()
        checks.equal(self.broken, [], "reloads")
        self.table()

    def count_requests(self):
        """The daemon has counted at least what its clients have, of this life."""
        if self.daemon.lives > 1:
            return
        rows = metrics(self.daemon.http("/metrics")[1])
        total = self.sums()
        for op, n in total["ops"].items():
            got = sum(v for k, v in rows.items()
                      if k.startswith("ttad_requests_total{") and f'op="{op}"' in k)
            if got < n:
                raise AssertionError(f"ttad_requests_total of {op} is {got}, clients had {n}")
        adapted = sum(v for k, v in rows.items()
                      if k.startswith("ttad_batches_total{") and 'result="adapted"' in k)
        if adapted < total["adapted"]:
            raise AssertionError(f"{adapted} batches adapted, clients know of {total['adapted']}")

    def explained(self, when):
        return any(a - 1 <= when <= b + SETTLE_S for a, b, _ in self.trouble)

    def check_internal(self):
        bad = [text for c in self.clients for when, text in c.internal if not self.explained(when)]
        checks.equal(bad, [], "INTERNAL though nothing was done to the disk")

    def check_log(self):
        bad = []
        for line in (self.daemon.dir / "log").read_text(errors="replace").splitlines():
            m = re.match(r"ts=(\S+)Z level=(\w+)", line)
            if SANITIZER.search(line) or not m:
                bad.append(line)
            elif m[2] == "error":
                when = datetime.datetime.fromisoformat(m[1] + "+00:00").timestamp()
                if not self.explained(when):
                    bad.append(line)
        checks.equal(bad[:20], [], "the log")

    def flat(self):
        """(seconds, MiB in 10 minutes) of each life that was long enough: how far the least that
        was resident in the last third lies above the least in the one before.  Peers may hold
        limits.memory_bytes for a while, and give them back; a leak raises the least, too."""
        rows = []
        for life in self.memory:
            third = len(life) // 3
            if third > 10:
                early, late = (min(v for _, v in part)
                               for part in (life[third : 2 * third], life[2 * third :]))
                seconds = life[-1][0] - life[0][0]
                rows.append((seconds, (late - early) / 1024 * 600 / (seconds / 3)))
        return rows

    def table(self):
        total, flat = self.sums(), self.flat()
        last = [v for _, v in self.memory[-1]]
        kinds = collections.Counter(r[0] for r in checks.ask(
            self.daemon, "SELECT actor || ': ' || action FROM decision"))
        rows = [
            ("seconds", f"{self.now():.0f}, load {os.getloadavg()[0]:.1f}"),
            ("replies", f"{sum(total['ops'].values())}: {dict(total['ops'])}"),
            ("codes", dict(total["codes"])),
            ("batches adapted", f"{total['adapted']}; not: {dict(total['skipped'])}"),
            ("done to it", dict(self.counts)),
            ("connections lost", f"{total['connections lost']}; cut short {total['cut short']}"),
            ("decisions", f"{dict(kinds)}; named by replies or events {len(self.told.decisions)}, "
                          "lost 0"),
            ("events", sum(self.listener.kinds.values())),
            ("record", f"integrity_check ok, {self.daemon.database.stat().st_size / 2**20:.1f} MiB"),
            ("resident, MiB", f"first {self.rss[0] / 1024:.1f}, peak {max(self.rss) / 1024:.1f}, "
                              f"last {self.rss[-1] / 1024:.1f}"),
            ("without plans", f"at a half {last[len(last) // 2] / 1024:.1f}, last "
                              f"{last[-1] / 1024:.1f}"),
            ("growth", ", ".join(f"{s:+.2f} MiB in 10 min (life of {t:.0f} s)" for t, s in flat)),
        ]  # fmt: skip
        for name, value in rows:
            print(f"{name:18} {value}")
        for t, s in flat:
            if t >= 600 and not self.o.sanitized and s > self.o.flat:
                raise AssertionError(f"memory grows by {s:.2f} MiB in 10 min, bound {self.o.flat}")


LAST_S = 120


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--ttad", type=pathlib.Path, required=True)
    p.add_argument("--minutes", type=float, default=30)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--kill-every", type=float, default=0, help="seconds; 0: the daemon lives")
    p.add_argument("--every", type=float, default=3, help="seconds between what is done to it")
    p.add_argument("--pause", type=float, default=0.02, help="most that a client waits, seconds")
    p.add_argument("--flat", type=float, default=1.0, help="MiB that memory may grow in 10 min")
    p.add_argument("--patience", type=float, default=30, help="seconds more, for slow builds")
    p.add_argument("--sanitized", action="store_true", help="a sanitizer's memory is no measure")
    o = p.parse_args()
    o.ttad = o.ttad.resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ttad-soak-"))
    soak = Soak(o, folder)
    print(f"seed {o.seed}, {o.minutes:g} minutes, {sum(map(len, STREAMS.values()))} streams, in "
          f"{folder}", flush=True)
    try:
        soak.run()
    except BaseException:
        print(f"seed {o.seed}, after {soak.now():.0f} s; kept: {folder}", flush=True)
        raise
    finally:
        for c in getattr(soak, "clients", []) + soak.passing:
            if c.process.poll() is None:
                c.process.kill()
        process = getattr(soak.daemon, "process", None)
        if process and process.poll() is None:
            process.kill()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
