# SPDX-License-Identifier: Apache-2.0
"""What a flood does to others: the wait of a client that sends one row at a time.

    python3 bench/fair.py [--ttad build/release/ttad] [--floods 4] [--rows 64] [--requests 200]

Starts a daemon with the demo's model, measures a stream of one row alone, beside one flooded stream,
and beside several, and prints medians and p99 in ms.  A worker is not interrupted: the wait is for the
batch that is under way, whose time alone is printed, too.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "client" / "python"))
import ttad  # noqa: E402

POLICY = "preset: tent\npreprocess: {{layout: nhwc}}\nadapt: {adapt}\nbrownout: {{queue_ms: 0}}\n"
CONFIG = """\
listen: {{data: "ipc://{dir}/data.sock", control: "ipc://{dir}/control.sock",
  events: "ipc://{dir}/events.sock"}}
models: [{{name: m, path: "{model}"}}]
policies: [{{name: tent, path: tent.yaml}}]
threads_per_worker: 1
limits: {{credit: 64, queue_per_stream: 8, queue_total: 256}}
"""


def client(folder):
    ends = [f"ipc://{folder}/{name}.sock" for name in ("data", "control", "events")]
    return ttad.connect(*ends, timeout=120)


def flood(folder, stream, x, stop, counts):
    """Keep that stream's queue full until told to stop."""
    with client(folder) as c:
        ids = [c.submit(x, stream) for _ in range(8)]
        while not stop.is_set():
            c.result(ids.pop(0))
            counts[stream] = counts.get(stream, 0) + 1
            ids.append(c.submit(x, stream))
        for i in ids:
            c.result(i)


def measure(folder, images, args, floods):
    stop, counts = threading.Event(), {}
    threads = [
        threading.Thread(
            target=flood, args=(folder, f"flood-{k}", images[: args.rows], stop, counts)
        )
        for k in range(floods)
    ]
    for t in threads:
        t.start()
    taken = []
    with client(folder) as c:
        for _ in range(10):
            c.infer(images[:1], "calm")
        counts.clear()
        for k in range(args.requests):
            start = time.perf_counter()
            c.infer(images[k % 100 : k % 100 + 1], "calm")
            taken.append(1e3 * (time.perf_counter() - start))
        flooded = sum(counts.values())
        stop.set()
    for t in threads:
        t.join()
    return np.median(taken), np.percentile(taken, 99), flooded


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ttad", default=str(ROOT / "build" / "release" / "ttad"))
    parser.add_argument("--floods", type=int, default=4)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--adapt", choices=("inline", "background"), default="inline")
    args = parser.parse_args()
    images = np.load(ROOT / "models" / "fashion_tune_images.npy")[:256]
    model = ROOT / "models" / "fashion_resnet.onnx"
    with tempfile.TemporaryDirectory(prefix="ttad-fair-") as folder:
        path = pathlib.Path(folder)
        (path / "tent.yaml").write_text(POLICY.format(adapt=args.adapt))
        (path / "ttad.yaml").write_text(CONFIG.format(dir=folder, model=model))
        daemon = subprocess.Popen(
            [args.ttad, "serve", "--config", str(path / "ttad.yaml")],
            stderr=open(path / "log", "w"),
        )
        try:
            with client(folder) as c:
                c.ping(timeout=30)
                alone = []
                for _ in range(20):
                    start = time.perf_counter()
                    c.infer(images[: args.rows], "flood-0")
                    alone.append(1e3 * (time.perf_counter() - start))
            print(f"one batch of {args.rows} rows alone: {np.median(alone):.1f} ms")
            for floods in (0, 1, args.floods):
                median, p99, flooded = measure(folder, images, args, floods)
                print(
                    f"one row beside {floods} floods: median {median:.1f} ms, p99 {p99:.1f} ms; "
                    f"{flooded} batches of the floods during {args.requests} requests"
                )
        finally:
            daemon.terminate()
            daemon.wait(60)


if __name__ == "__main__":
    main()
