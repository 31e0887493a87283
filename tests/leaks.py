# SPDX-License-Identifier: Apache-2.0
"""The daemon under Valgrind: serve, drain, exit, and nothing is lost or touched that must not be.

    make leaks

Streams under several policies adapt, are labelled, snapshotted, rolled back, frozen, thawed, closed
and opened again; a model is loaded and unloaded, policies are reloaded, one of them with a mistake;
requests are refused, a peer vanishes in mid message.  After SIGTERM the exit status is Valgrind's:
99 if a block is definitely or possibly lost, or for any error of memory on the way.  Nothing is
suppressed.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "client" / "python"), str(ROOT / "tests")]

import numpy as np  # noqa: E402

import soak  # noqa: E402
import ttad  # noqa: E402
from tests.hostile import MAGIC  # noqa: E402
from tests.zmtp import Peer, message  # noqa: E402

VALGRIND = [
    "valgrind", "--quiet", "--fair-sched=yes", "--leak-check=full", "--show-leak-kinds=definite,possible",
    "--errors-for-leak-kinds=definite,possible", "--error-exitcode=99", "--num-callers=30",
]  # fmt: skip


def refused(call, *args, **more):
    """The error that this gives."""
    try:
        call(*args, **more)
    except ttad.TtadError as e:
        return e
    raise AssertionError(f"{call.__name__}{args} was not refused")


def adapt(client, images, labels):
    """Each policy a stream, with all that can be done to it."""
    for name in soak.POLICIES:
        x = images[:16]
        for k in range(4):
            a = client.infer(x, name, model="fashion", policy=name, id=f"{name}-{k}")
        client.infer(x, name, id=f"{name}-3")  # a retry
        client.feedback(a.id, labels[:16], name)
        client.snapshot(name)
        client.rollback(name)
        client.infer(np.repeat(images[:1], 40, axis=0), name)
        client.freeze(name)
        client.infer(x[:1], name)
        client.thaw(name)
        client.snapshots(name)
    for _ in range(6):  # one class: the guard trips
        a = client.infer(np.repeat(images[:1], 16, axis=0), "quick")
    for name in ("tent", "captured"):
        client.stream(name, "close")
        client.infer(images[:8], name, policy=name)
        client.stream(name, "reset")


def change(client, daemon, images):
    """Models and policies, while it serves."""
    client.load("second", str(daemon.dir / "second.onnx"))
    client.infer(images[:8], "second", model="second", policy="tent")
    client.unload("second")
    refused(client.infer, images[:8], "second")
    refused(client.load, "third", str(daemon.dir / "tent.yaml"))
    (daemon.dir / "tent.yaml").write_text(soak.TENT.replace("above: 0.35", "above: 0.3"))
    client.reload()
    client.infer(images[:8], "tent")
    (daemon.dir / "tent.yaml").write_text(soak.TENT + "objetive: []\n")
    refused(client.reload)


def annoy(client, daemon, images):
    """What is refused, and who goes away."""
    refused(client.infer, images[:100], "tent")
    refused(client.infer, images[:2], "nobody", policy="none")
    refused(client.rollback, "nobody")
    ids = [client.submit(images[:16], "tent") for _ in range(4)]
    ids.append(client.submit(images[:2], "tent", deadline_ms=1, on_deadline="refuse"))
    client.cancel(ids[3], "tent")
    with Peer(daemon.ends["data"]) as peer:
        peer.send(message(MAGIC, b'{"op":"ping"}')[:-5])
    for i in ids:
        try:
            client.result(i)
        except (ttad.Cancelled, ttad.DeadlineMissed):
            pass
    for path in ("/metrics", "/v2/health/ready", "/nothing"):
        daemon.http(path)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--ttad", type=pathlib.Path, required=True)
    p.add_argument("--plain", action="store_true", help="without Valgrind, to try this script")
    o = p.parse_args()
    o.ttad, began = o.ttad.resolve(), time.monotonic()
    images = np.load(ROOT / "models/fashion_tune_images.npy")[:128]
    labels = np.load(ROOT / "models/fashion_tune_labels.npy")[:128].astype(np.int64)
    with tempfile.TemporaryDirectory(prefix="ttad-leaks-") as folder:
        daemon = soak.Daemon(o, pathlib.Path(folder))
        log = open(daemon.dir / "log", "wb")
        daemon.process = subprocess.Popen(
            [*([] if o.plain else VALGRIND), str(o.ttad), "serve", "--config", str(daemon.config)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                 "OMP_WAIT_POLICY": "passive",  # else it starts itself once more, without valgrind
                 "OPENBLAS_CORETYPE": "Prescott"})  # fmt: skip
        try:
            with ttad.connect(**daemon.ends, timeout=300, try_timeout=300) as client:
                client.ping()
                with client.events(timeout=0.1) as events:
                    adapt(client, images, labels)
                    change(client, daemon, images)
                    annoy(client, daemon, images)
                    told = sum(1 for _ in events)
                n = client.status()["answered"]
            daemon.process.send_signal(signal.SIGTERM)
            status = daemon.process.wait(300)
        finally:
            if daemon.process.poll() is None:
                daemon.process.kill()
        said = (daemon.dir / "log").read_text(errors="replace")
        if status:
            print("\n".join(s for s in said.splitlines() if not s.startswith("ts=")))
            raise SystemExit(f"exit status {status}" + " (Valgrind's)" * (status == 99))
        found = [s for s in said.splitlines() if s.startswith("==")]
        if found:
            raise SystemExit("\n".join(found))
    looked = "leaks: not looked for, without Valgrind" if o.plain else "leaks: none"
    print(f"{looked}; {n} requests, {told} events, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
