# SPDX-License-Identifier: Apache-2.0
"""What streams cost the daemon in memory: many that adapt, then many that come and go.

    python3 bench/streams.py MODEL.onnx IMAGES.npy [--streams 1000] [--batches 6] [--rows 16]
                             [--churn 10000] [--ttad build/release/ttad]

IMAGES.npy is uint8 [N, H, W, C].  Streams adapt with Tent and keep checkpoints.  Memory is the
daemon's resident set; what one stream needs (model, plan, activations, the record's buffers) is
measured first, after as many batches, and taken off.  The churn opens a stream, adapts one batch, closes it, and goes on to the next name.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "client" / "python"))
import ttad  # noqa: E402

POLICY = """version: 1
preset: tent
preprocess: {layout: nhwc}
monitor: {window: 64, shadow: {every: 0}}
guards:
  - {name: one_class, signal: class_collapse, above: 0.99, clear: 0.9, min_samples: 8, action: rollback}
recovery: {warmup_samples: 0, soak_samples: 32}
snapshots: {every_updates: 2}
"""


def resident(pid):
    """Bytes of the process that are in memory."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no VmRSS")


class Daemon:
    """The daemon in a folder of its own, for as long as the with block."""

    def __init__(self, args, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "tent.yaml").write_text(POLICY)
        (self.folder / "ttad.yaml").write_text(json.dumps({
            "listen": {name: f"ipc://{folder}/{name}.sock" for name in ("data", "control", "events")},
            "models": [{"name": "model", "path": os.path.abspath(args.model)}],
            "policies": [{"name": "tent", "path": f"{folder}/tent.yaml"}],
            "state_dir": f"{folder}/state", "log_level": "err", "threads_per_worker": 1,
            "limits": {"max_streams": 20000}}))
        self.process = subprocess.Popen([args.ttad, "serve", "--config", self.folder / "ttad.yaml"])

    def endpoint(self, name):
        return f"ipc://{self.folder}/{name}.sock"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)


def many(client, daemon, args, images):
    """Bytes of so many open streams."""
    rows = [images[i:i + args.rows] for i in range(0, len(images) - args.rows, args.rows)]
    for i in range(args.streams * args.batches):  # so that the record's buffers are full, too
        client.infer(images[i % len(images)][None], stream="first")
    alone = resident(daemon.process.pid)
    adapted, began = 0, time.monotonic()
    for turn in range(args.batches):
        for k in range(args.streams):
            answer = client.infer(rows[(turn + k) % len(rows)], stream=f"stream-{k}")
            adapted += answer.adapted
        print(f"  turn {turn + 1} of {args.batches}: {resident(daemon.process.pid) / 2**20:.1f} MiB, "
              f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    held = [s["bytes"] for s in client.streams() if s["stream_id"] != "first"]
    print(f"  a stream says that it holds {sum(held) / len(held) / 1024:.1f} KiB", file=sys.stderr)
    print(f"{args.streams} streams, {adapted} batches of {args.rows} adapted: "
          f"{(resident(daemon.process.pid) - alone) / 2**20:.1f} MiB beyond the {alone / 2**20:.1f} MiB "
          f"of one stream")


def churn(client, daemon, args, images):
    """Bytes that streams leave behind when they close."""
    marks = []
    for k in range(args.churn):
        name = f"churn-{k}"
        client.stream(name, "open")
        client.infer(images[:1], stream=name)
        client.stream(name, "close")
        if (k + 1) % (args.churn // 10) == 0:
            marks.append(resident(daemon.process.pid))
            print(f"  {k + 1} opened and closed: {marks[-1] / 2**20:.1f} MiB", file=sys.stderr,
                  flush=True)
    half = marks[len(marks) // 2 - 1]
    print(f"{args.churn} streams opened, adapted, closed: {marks[0] / 2**20:.1f} MiB after a tenth, "
          f"{half / 2**20:.1f} MiB after half, {marks[-1] / 2**20:.1f} MiB at the end: "
          f"{(marks[-1] - half) / (args.churn / 2):.0f} bytes a stream in the second half")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("images", type=pathlib.Path)
    p.add_argument("--streams", type=int, default=1000)
    p.add_argument("--batches", type=int, default=6)
    p.add_argument("--rows", type=int, default=16)
    p.add_argument("--churn", type=int, default=10000)
    p.add_argument("--ttad", default="build/release/ttad")
    args = p.parse_args()
    images = np.load(args.images, mmap_mode="r")[:1024]
    for job, wanted in ((many, args.streams), (churn, args.churn)):
        if not wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="ttad") as folder, Daemon(args, folder) as daemon, \
                ttad.connect(data=daemon.endpoint("data"),
                             control=daemon.endpoint("control"), timeout=60) as client:
            job(client, daemon, args, np.ascontiguousarray(images))


if __name__ == "__main__":
    main()
