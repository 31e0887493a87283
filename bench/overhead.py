# SPDX-License-Identifier: Apache-2.0
"""What the daemon costs beside the step itself, and how long a ping takes while workers are busy.

        make
    python3 bench/overhead.py MODEL.onnx IMAGES.npy [--batch 64] [--rounds 12] [--seconds 10]

IMAGES.npy is uint8 [N, H, W, C].  One thread a step, Tent with SGD under guards, everything
recorded.  A round is some batches through the daemon and as many steps of `ttad bench`, which is
the engine with nothing around it.  Two ways to see the daemon's own cost, which are medians:

    wall  of each batch, at the client: what of its time was not the step that the reply tells of
    CPU   of a round: what the daemon's process took beside what `ttad bench` took for as many steps

Time on the wall is that of whoever else wants the processors, too; CPU time hardly is.  Pings go
one after another over one socket, while every worker always has batches waiting.  Who pings is on
the daemon's machine here, and not to be in its way: the scheduler is asked to prefer it (only root
may).  What this machine makes of two such processes that pass each other a byte is the last row: less
than that no ping takes.  Each is measured in turns, one after another, and percentiles are medians
over these: a processor that the machine takes away for a while spoils a turn, not the result.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "client" / "python"))
import ttad  # noqa: E402
from tests.hostile import PING  # noqa: E402
from tests.zmtp import Peer  # noqa: E402

POLICY = """version: 1
preset: tent
optimizer: {{kind: sgd, lr: 0.00025}}
preprocess: {{layout: {layout}}}
monitor: {{shadow: {{every: 0}}}}
guards:
  - {{name: distance, signal: param_drift, above: 0.5, action: rollback}}
  - {{name: collapse, signal: class_collapse, above: 0.99, action: hold}}
"""
OURS = ROOT / "build" / "release"


class Daemon:
    """ttad serve in a folder of its own, for as long as the with block."""

    def __init__(self, args, workers):
        self.args, self.workers = args, workers

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ttad-bench-")
        folder = pathlib.Path(self.folder.name)
        for layout in ("nhwc", "nchw"):
            (folder / f"{layout}.yaml").write_text(POLICY.format(layout=layout))
        self.ends = {n: f"ipc://{folder}/{n}.sock" for n in ("data", "control", "events")}
        (folder / "ttad.yaml").write_text(json.dumps({
            "listen": self.ends, "models": [{"name": "model", "path": str(self.args.model)}],
            "policies": [{"name": n, "path": f"{n}.yaml"} for n in ("nhwc", "nchw")],
            "workers": self.workers, "threads_per_worker": 1, "log_level": "err",
            "state_dir": "state"}))
        self.process = subprocess.Popen([self.args.ttad, "serve", "--config", folder / "ttad.yaml"])
        with self.client() as client:
            client.ping(timeout=30)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        self.folder.cleanup()

    def client(self):
        return ttad.connect(**self.ends, timeout=60)

    def cpu_ms(self):
        """Of all its threads, user and system."""
        tick = 1e3 / os.sysconf("SC_CLK_TCK")
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) * tick


def bare(args):
    """(wall, CPU) of one step with nothing around it, ms."""
    done = subprocess.run([args.ttad, "bench", args.model, "--batch", str(args.batch),
                           "--threads", "1", "--steps", str(args.steps), "--json"],
                          capture_output=True, text=True, check=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    step = json.loads(done.stdout)["batches"][0]["step"]
    return step["ms"], step["cpu_ms"]


def cost(args, kinds):
    """{kind: what its rounds measured}, the kinds and the bare step by turns."""
    rows = {kind: {"wall": [], "step": [], "share": [], "cpu": []} for kind in kinds}
    alone = []
    with Daemon(args, 1) as daemon, daemon.client() as client:
        for kind, images in kinds.items():  # plans are made, streams opened
            client.infer(images[: args.batch], kind, policy=kind_layout(kind))
        for turn in range(args.rounds):
            for kind, images in kinds.items():
                row, cpu = rows[kind], daemon.cpu_ms()
                for k in range(args.steps):
                    at = (turn * args.steps + k) * args.batch % (len(images) - args.batch)
                    x = images[at : at + args.batch]
                    start = time.perf_counter()
                    answer = client.infer(x, kind)
                    wall = (time.perf_counter() - start) * 1e3
                    if not answer.adapted:
                        raise SystemExit(f"a batch was not learnt from: {answer.skipped}")
                    row["wall"].append(wall)
                    step = (answer.infer_us + answer.adapt_us) / 1e3
                    row["step"].append(step)
                    row["share"].append(wall / step - 1)
                time.sleep(0.1)  # the record's commit is of this round, too
                row["cpu"].append((daemon.cpu_ms() - cpu) / args.steps)
            alone.append(bare(args))
            print(f"  round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
    return rows, alone


def kind_layout(kind):
    return "nhwc" if kind == "uint8" else "nchw"


def show_cost(args, rows, alone):
    cpu = statistics.median(c for _, c in alone)
    print(f"\n| {args.batch} images | client's wall, ms | step in it, ms | own cost, wall | "
          "daemon's CPU, ms | bare step's CPU, ms | own cost, CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    worst = 0.0
    for kind, row in rows.items():
        m = {k: statistics.median(v) for k, v in row.items()}
        own = statistics.median(d / c - 1 for d, (_, c) in zip(row["cpu"], alone))
        worst = max(worst, m["share"], own)
        print(f"| {kind} | {m['wall']:.2f} | {m['step']:.2f} | {m['share']:.1%} | {m['cpu']:.2f} | "
              f"{cpu:.2f} | {own:+.1%} |")
    return worst


class Flood(threading.Thread):
    """Batches for one stream, always some of them under way."""

    def __init__(self, daemon, name, x, over):
        super().__init__(daemon=True)
        self.daemon_, self.name_, self.x, self.over, self.done = daemon, name, x, over, 0

    def run(self):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # as workers do
        with self.daemon_.client() as client:
            under_way = []
            while not self.over.is_set():
                while len(under_way) < 4:
                    under_way.append(client.submit(self.x, self.name_, policy="nhwc"))
                client.result(under_way.pop(0))
                self.done += 1


def lift():
    """Ask to run before others as soon as there is something to do; whether that was granted."""
    try:
        os.nice(-19)
    except OSError:
        return False
    return True


def timed(ask, seconds):
    """Milliseconds of each of as many ask() as fit, one after another, a moment apart."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        ask()
        times.append((time.perf_counter() - start) * 1e3)
        time.sleep(0.002)
    return times[10:]


def ping(endpoint, seconds):
    """Times of pings over a plain socket, without libzmq's thread in between."""
    with Peer(endpoint) as peer:
        return timed(lambda: (peer.send(PING), peer.message()), seconds)


def echo(_, seconds):
    """Times of a byte to another process and back."""
    here, there = socket.socketpair()
    other = os.fork()
    if not other:
        here.close()
        while byte := there.recv(1):
            there.send(byte)
        os._exit(0)
    there.close()
    try:
        return timed(lambda: here.send(b".") and here.recv(1), seconds)
    finally:
        here.close()
        os.waitpid(other, 0)


def lifted(job, endpoint, seconds):
    """What job(endpoint, seconds) returns in a process of its own, and whether that was lifted."""
    here, there = multiprocessing.Pipe(duplex=False)

    def run():
        ok = lift()
        there.send((job(endpoint, seconds), ok))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    there.close()  # so that recv() ends when the process does
    try:
        return here.recv()
    finally:
        process.join()


TURNS = 9


def ask_pings(args, images):
    """{(socket, what the workers did): [(times, whether who asked was lifted) of each turn]}."""
    got = {}

    def turns(what, jobs):
        for _ in range(TURNS):
            for name, job in jobs.items():
                times = lifted(job, daemon.ends.get(name), args.seconds / TURNS)
                got.setdefault((name, what), []).append(times)

    sockets = {"control": ping, "data": ping}
    with Daemon(args, args.workers) as daemon:
        turns("idle", sockets)
        over = threading.Event()
        floods = [Flood(daemon, f"s{k}", images[: args.batch], over) for k in range(args.workers)]
        for f in floods:
            f.start()
        while min(f.done for f in floods) < 1:
            time.sleep(0.05)
        before = sum(f.done for f in floods)
        turns("busy", {**sockets, "plain echo": echo})
        busy = sum(f.done for f in floods) - before
        over.set()
        for f in floods:
            f.join()
    return got, busy


def at(turns, q):
    """The median over turns of a percentile."""
    return statistics.median(
        sorted(t)[min(len(t) - 1, int(len(t) * q))] for t, _ in turns)


def show_pings(args, got, busy):
    print(f"\n{args.workers} workers, a thread each; while pings were measured, they answered {busy} "
          f"batches of {args.batch}\n")
    print("| ping on | workers | pings | p50, ms | p99, ms | p99 of the turns, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (name, what), turns in got.items():
        each = " ".join(f"{x:.2f}" for x in sorted(at([t], 0.99) for t in turns))
        print(f"| {name} | {what} | {sum(len(t) for t, _ in turns)} | {at(turns, .5):.3f} | "
              f"{at(turns, .99):.3f} | {each} |")
    if not all(ok for turns in got.values() for _, ok in turns):
        print("\nwho pinged was not preferred to the workers: times are the scheduler's, too")
    return max(at(got[name, "busy"], 0.99) for name in ("control", "data"))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model", type=lambda f: pathlib.Path(f).resolve())
    p.add_argument("images", type=pathlib.Path)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--rounds", type=int, default=12, help="0: only pings")
    p.add_argument("--steps", type=int, default=8, help="batches of each kind in a round")
    p.add_argument("--seconds", type=float, default=18, help="of pings on each socket")
    p.add_argument("--workers", type=int, default=os.cpu_count())
    p.add_argument("--ttad", default=OURS / "ttad")
    args = p.parse_args()
    images = np.load(args.images)
    nchw = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    load = os.getloadavg()[0]
    worst = 0.0
    if args.rounds:
        worst = show_cost(args, *cost(args, {"uint8": images, "float32": nchw}))
    p99 = show_pings(args, *ask_pings(args, images))
    print(f"\nload {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")
    print(f"own cost below 5 %: {'yes' if worst < 0.05 else 'no'} ({worst:.1%}); "
          f"ping p99 below 1 ms: {'yes' if p99 < 1 else 'no'} ({p99:.2f} ms)")
    return 0 if worst < 0.05 and p99 < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
