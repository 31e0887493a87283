# SPDX-License-Identifier: Apache-2.0
"""ttad beside PyTorch and ONNX Runtime, by turns, on the same models, batches and threads.

    pip install torch==2.13.0 onnx==1.23.2 onnxruntime==1.31.1
    make bench                                       (an hour or two; writes docs/performance.md)
    python3 bench/compare.py --models resnet20 --batch 1,16 --rounds 3                (a minute)
    python3 bench/compare.py --models families --batch 1,16 --rounds 3 (with transformers, an hour)

Each engine is a process of its own.  In a round each measures once, one after another, a frozen
pass, then a step of Tent (SGD on the scales and shifts of normalisations); a figure is the median
over rounds of the medians of a turn, so whatever else the machine does hits all of them.  PyTorch
is run with its images contiguous and channels last, and the better one counts.  Peak memory is that
of the process, less what it was before the model was loaded, and less the weights.  Networks have
seeded random weights and are exported by PyTorch to build/bench.  What one engine cannot do is told
in its own words.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnxruntime
    import torch

    import compare_models as models
    from compare_report import ms, report, write_document
except ImportError as missing:
    raise SystemExit(f"{missing}\n\n{__doc__}") from None

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKER = pathlib.Path(__file__).with_name("compare_worker.py")
BATCHES = (1, 16, 64, 200)
CLOSE = 0.02  # relative difference of logits that is taken for the same network


class Failed(Exception):
    """An engine said why it cannot."""


class Engine:
    """A process that measures once for each line that it is sent."""

    def __init__(self, name, command, args):
        self.name, self.folder, self.times = name, args.cache, {"frozen": [], "step": []}
        self.peak = {}
        self.said = tempfile.TemporaryFile("w+")
        env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
        self.process = subprocess.Popen(
            [str(c) for c in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=env,
        )

    def why(self):
        """The last line that it wrote to stderr."""
        code = self.process.wait()
        self.said.seek(0)
        lines = [line for line in self.said.read().splitlines() if line.strip()]
        if not lines:
            return f"{self.name}: exit status {code}"
        return lines[-1].strip().replace(f"{self.folder}/", "")

    def turn(self, task, runs):
        try:
            self.process.stdin.write(f"{task} {runs}\n")
            self.process.stdin.flush()
        except OSError:
            raise Failed(self.why()) from None
        line = self.process.stdout.readline()
        if not line:
            raise Failed(self.why())
        said = json.loads(line)
        timing = said.get(task) if isinstance(said.get(task), dict) else said
        self.peak[task] = said["peak_bytes"]
        return timing["ms"]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.said.close()


class Cell:
    """One model at one batch size."""

    def __init__(self, args, model, batch):
        self.args, self.model, self.batch = args, model, batch
        self.file = models.export(model, args.cache)
        self.result = {"model": model, "batch": batch, "engines": {}}

    def commands(self, folder):
        t, rows = self.args.threads, folder / "x.npy"
        np.save(rows, models.rows_of(self.model, self.batch).numpy())
        base = [sys.executable, "-W", "ignore", WORKER]
        ret = {
            "ttad": [
                self.args.ttad,
                "bench",
                self.file,
                "--batch",
                self.batch,
                "--threads",
                t,
                "--turns",
            ],
            "contiguous": [*base, "torch", self.model, self.batch, t],
        }
        if self.model in models.CONVOLUTIONAL:
            ret["channels_last"] = [*ret["contiguous"], "--layout", "channels_last"]
        ret["onnxruntime"] = [
            *base,
            "onnxruntime",
            self.model,
            self.batch,
            t,
            "--file",
            self.file,
            "--rows",
            rows,
        ]
        return ret

    def measure(self):
        with tempfile.TemporaryDirectory(prefix="ttad-compare-") as folder:
            engines = {
                name: Engine(name, command, self.args)
                for name, command in self.commands(pathlib.Path(folder)).items()
            }
            try:
                for task in ("frozen", "step"):
                    able = {
                        n: e
                        for n, e in engines.items()
                        if n not in self.failed() and (task, n) != ("step", "onnxruntime")
                    }
                    self.rounds(task, able)
                self.frozen_memory(engines["ttad"])
            finally:
                for engine in engines.values():
                    engine.close()
        return self.result

    def failed(self):
        return [n for n, e in self.result["engines"].items() if "error" in e]

    def rounds(self, task, engines):
        """Measure a task by turns; the worse layout of PyTorch drops out after the first round."""
        runs = {}
        for k in range(self.args.rounds + 1):
            for name, engine in list(engines.items()):
                try:
                    ms = engine.turn(task, runs.get(name, 1))
                except Failed as why:
                    self.result["engines"].setdefault(name, {})["error"] = str(why)
                    del engines[name]
                    continue
                if k == 0:  # to warm up, and to see how many runs a turn has room for
                    again = engine.turn(task, 1) if ms < 1e3 * self.args.seconds else ms
                    runs[name] = max(1, min(200, int(1e3 * self.args.seconds / again)))
                else:
                    engine.times[task].append(ms)
            self.drop_worse(task, engines, k)
        for name, engine in engines.items():
            if engine.times[task]:
                self.result["engines"].setdefault(name, {})[task] = {
                    "ms": statistics.median(engine.times[task]),
                    "rounds": engine.times[task],
                    "runs": runs[name],
                    "peak_bytes": engine.peak[task],
                }

    @staticmethod
    def drop_worse(task, engines, k):
        pair = [engines.get(n) for n in ("contiguous", "channels_last")]
        if k != 2 or not all(pair) or not all(e.times[task] for e in pair):
            return
        slow, fast = sorted(pair, key=lambda e: -min(e.times[task]))
        if min(slow.times[task]) > 1.2 * min(fast.times[task]):
            del engines[slow.name]

    def frozen_memory(self, engine):
        """What ttad needs where nothing is learnt: a plan without gradients."""
        mine = self.result["engines"].get("ttad", {})
        if "frozen" not in mine:
            return
        policy = pathlib.Path(self.args.cache) / "source.yaml"
        policy.write_text("preset: source\n")
        command = [*engine.process.args, "--policy", str(policy)]
        alone = Engine("ttad", command, self.args)
        try:
            alone.turn("frozen", 1)
            mine["frozen"]["peak_bytes"] = alone.peak["frozen"]
        except Failed as why:
            mine["error"] = str(why)
        finally:
            alone.close()


def largest_fit(args, model, batch, cells):
    """Why this batch would not fit into memory, by what a smaller one took; or None."""
    before = [c for c in cells if c["model"] == model and c["batch"] < batch]
    peaks = [
        (e[t]["peak_bytes"] or 0) * batch / c["batch"]
        for c in before[-1:]
        if c["batch"] > 1
        for e in c["engines"].values()
        for t in ("frozen", "step")
        if t in e
    ]
    want = sum(sorted(peaks)[-2:])  # engines stay loaded beside each other
    with open("/proc/meminfo", encoding="ascii") as f:
        free = next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
    if want > args.memory * free:
        return f"needs {want / 1e9:.1f} GB or so, of {free / 1e9:.1f} that are free"
    return None


# ---- the same network? ------------------------------------------------------------------------


def relative(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def check_same(args, model):
    """Logits of four rows: how far ttad's and ONNX Runtime's are from PyTorch's."""
    file = models.export(model, args.cache)
    with tempfile.TemporaryDirectory(prefix="ttad-compare-") as folder:
        rows, out = f"{folder}/x.npy", {
            n: f"{folder}/{n}.npy" for n in ("torch", "onnxruntime", "ttad")
        }
        x = models.rows_of(model, 4).numpy()
        np.save(rows, x)
        for name in ("torch", "onnxruntime"):
            subprocess.run(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    WORKER,
                    name,
                    model,
                    "4",
                    "1",
                    "--file",
                    file,
                    "--rows",
                    rows,
                    "--logits",
                    out[name],
                ],
                stdin=subprocess.DEVNULL,
                check=True,
            )
        pathlib.Path(f"{folder}/source.yaml").write_text("preset: source\n")
        np.save(rows, x.astype(np.float32))
        done = subprocess.run(
            [
                args.ttad,
                "adapt",
                file,
                "--policy",
                f"{folder}/source.yaml",
                "--inputs",
                rows,
                "--outputs",
                out["ttad"],
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        want = np.load(out["torch"])
        ret = {"onnxruntime": relative(np.load(out["onnxruntime"]), want)}
        if done.returncode:
            ret["ttad"] = done.stderr.strip().splitlines()[-1]
        else:
            ret["ttad"] = relative(np.load(out["ttad"]), want)
    wrong = {n: d for n, d in ret.items() if not isinstance(d, str) and not d < CLOSE}
    if wrong:
        raise SystemExit(f"{model}: not PyTorch's logits: {wrong}")
    return ret


# ---- a run ---------------------------------------------------------------------------------------


def describe_machine(args):
    said = subprocess.run(
        [
            args.ttad,
            "bench",
            ROOT / "models" / "fashion_resnet.onnx",
            "--batch",
            "1",
            "--steps",
            "1",
            "--threads",
            str(args.threads),
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(said.stdout)
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in open("/proc/cpuinfo", encoding="utf-8")
            if line.startswith("model name")
        ),
        "unknown processor",
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        {
            "cpu": cpu,
            "processors": os.cpu_count(),
            "memory_gb": memory,
            "kernels": said["machine"].split(", compiler")[0],
        },
        said["sgemm_gflop_per_second"],
    )


def parse():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--models", default=",".join(models.MODELS), help="of " + ", ".join(models.NETWORKS) + "; families: those of transformers"
    )
    p.add_argument(
        "--batch", default=",".join(map(str, BATCHES)), help="sizes, with commas between"
    )
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1.0, help="of a turn, one run at least")
    p.add_argument(
        "--memory", type=float, default=0.6, help="share of the free memory to use at most"
    )
    p.add_argument("--ttad", default=str(ROOT / "build" / "release" / "ttad"))
    p.add_argument(
        "--cache", default=str(ROOT / "build" / "bench"), help="folder of exported models"
    )
    p.add_argument("--json", metavar="FILE", help="write everything that was measured there, too")
    p.add_argument(
        "--write",
        metavar="FILE",
        type=pathlib.Path,
        help="a document to write the tables into, between its two marks",
    )
    args = p.parse_args()
    if args.models == "families":
        args.models = ",".join(models.FAMILIES)
    args.models, args.batch = args.models.split(","), [int(b) for b in args.batch.split(",")]
    for name in args.models:
        if name not in models.NETWORKS:
            p.error(f"no model '{name}', want some of {', '.join(models.NETWORKS)}")
    if min(args.batch) < 1 or args.rounds < 1 or args.threads < 1 or args.seconds <= 0:
        p.error("--batch, --rounds, --threads and --seconds want numbers above 0")
    if not os.access(args.ttad, os.X_OK):
        p.error(f"{args.ttad} is not there; 'make' builds it")
    return args


def commit():
    done = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "of no commit"


def main():
    args = parse()
    whole = (args.models, args.batch) == (list(models.MODELS), list(BATCHES))
    command = ["make", "bench"] if args.write and whole else ["bench/compare.py", *sys.argv[1:]]
    machine, sgemm = describe_machine(args)
    run = {
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "sgemm": sgemm,
        "threads": args.threads,
        "rounds": args.rounds,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "commit": commit(),
        "command": " ".join(command),
        "load": [os.getloadavg()[0]] * 2,
        "same": {},
        "cells": [],
    }
    for model in args.models:
        run["same"][model] = check_same(args, model)
        for batch in args.batch:
            why = largest_fit(args, model, batch, run["cells"])
            if why:
                run["cells"].append({"model": model, "batch": batch, "engines": {}, "skipped": why})
                continue
            cell = Cell(args, model, batch).measure()
            run["cells"].append(cell)
            said = "  ".join(
                f"{n} " + "/".join(ms(e[t]["ms"]) for t in ("frozen", "step") if t in e)
                for n, e in cell["engines"].items()
                if "error" not in e
            )
            print(
                f"{model} {batch}: {said or 'nothing'}, ms frozen/step", file=sys.stderr, flush=True
            )
            run["load"][1] = os.getloadavg()[0]
            if args.json:
                pathlib.Path(args.json).write_text(json.dumps(run, indent=1))
    text = report(run)
    print(text)
    if args.write:
        write_document(args.write, text, all(m in models.FAMILIES for m in args.models))


if __name__ == "__main__":
    main()
