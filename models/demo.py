# SPDX-License-Identifier: Apache-2.0
"""ttad in a minute: a model that drifts, adapts, is led astray, and is rolled back.

    make demo            or: /usr/bin/python3 models/demo.py --ttad build/release/ttad

The same images go to three streams of one daemon: one frozen, one that adapts with guards, one
that adapts without.  Three acts: clean images; fog, noise, contrast and blur; an attack, and
honest images again.  Writes accuracy.svg, accuracy.png and results.json to --out and leaves the
daemon's record, snapshots, log and configuration there.

Exit status: 0 all promises kept, 1 not, 2 it could not run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys
import time
from typing import Dict, List, Tuple

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "client" / "python"))

import ttad  # noqa: E402

import demo_acts  # noqa: E402
import demo_report as report  # noqa: E402
from demo_acts import Batch  # noqa: E402
from demo_daemon import Daemon, DaemonFailed  # noqa: E402
from demo_report import STREAMS, Step, Trace  # noqa: E402

POLICIES = {"frozen": "observe", "guarded": "guarded", "unguarded": "unguarded"}
FEEDBACK_LAG = 3  # batches after which the labels of one become known


class Progress:
    """One line that is rewritten on a terminal; else a line for each phase."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._start = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._phase = ""

    def show(self, done: int, batch: Batch, trace: Trace) -> None:
        """After every batch."""
        name = batch.act if batch.act == batch.phase else f"{batch.act}, {batch.phase}"
        recent = "  ".join(f"{s} {self._recent(trace, s):>4}" for s in STREAMS)
        guard = trace.steps["guarded"][-1].guard
        line = (
            f"[{100 * done // self._total:3d} %] {time.monotonic() - self._start:5.1f} s  "
            f"{name:<18}{recent}  guard {guard}"
        )
        if self._terminal:
            print(f"\r\033[K{line}", end="" if done < self._total else "\n", flush=True)
        elif done == self._total or (done % 20 == 0):
            print(line, flush=True)

    @staticmethod
    def _recent(trace: Trace, stream: str) -> str:
        known = [s.correct for s in trace.steps[stream][-5:] if s.correct is not None]
        return f"{100 * np.concatenate(known).mean():.0f} %" if known else "-"


def run(daemon: Daemon, batches: List[Batch]) -> Trace:
    """Send every batch to every stream, and the labels a little later."""
    trace = Trace()
    progress = Progress(len(batches))
    with daemon.client() as client:
        for k, batch in enumerate(batches):
            ids = {
                s: client.submit(batch.images, s, policy=POLICIES[s], id=f"{s}-{k}")
                for s in STREAMS
            }
            for stream in STREAMS:
                trace.steps[stream].append(step_of(client.result(ids[stream]), batch))
            send_labels(client, batches, k - FEEDBACK_LAG)
            progress.show(k + 1, batch, trace)
        for k in range(len(batches) - FEEDBACK_LAG, len(batches)):
            send_labels(client, batches, k)
    return trace


def step_of(answer: ttad.Answer, batch: Batch) -> Step:
    """What is kept of an answer."""
    correct = None if batch.labels is None else answer.logits.argmax(1) == batch.labels
    return Step(
        batch.act,
        batch.phase,
        len(batch.images),
        correct,
        answer.rolled_back_to,
        answer.guard,
        answer.adapted,
    )


def send_labels(client: ttad.Client, batches: List[Batch], k: int) -> None:
    """The labels of batch k, for all streams; an attacker gives none."""
    if k < 0 or batches[k].labels is None:
        return
    for stream in STREAMS:
        client.feedback(f"{stream}-{k}", batches[k].labels, stream)


def tell(
    out: pathlib.Path, trace: Trace, rollbacks: List[Dict[str, object]], tune: bool, seconds: float
) -> bool:
    """Table, evidence, plot, results.json; returns whether every promise was kept."""
    acts = [report.act_row(trace, act) for act in report.ACTS]
    kept = report.promises(acts, rollbacks)
    which = (
        "the TUNE set, for choosing constants: these are not the demo's results"
        if tune
        else "held-out test images; every constant was chosen on other images (--tune)"
    )
    print(f"\n{report.table(acts)}\n\n({which})\n")
    print(f"What the guard did, from the record ({out / 'ttad.sqlite'}):\n")
    print("\n".join("  " + line for line in report.ROLLBACKS_SQL.splitlines()) + "\n")
    print(report.show_rows(rollbacks) + "\n")
    for promise in kept:
        print(promise)
    files = [out / "accuracy.svg", out / "accuracy.png"]
    import demo_plot  # matplotlib takes a second to load

    demo_plot.draw(trace, files, subtitle(tune))
    report.write_results(
        out / "results.json",
        acts,
        rollbacks,
        kept,
        {
            "images": "tune" if tune else "test",
            "batch": demo_acts.BATCH,
            "seed": demo_acts.SEED,
            "seconds": seconds,
            "ttad_client": ttad.__version__,
        },
    )
    print(f"\n{seconds:.0f} s.  Plot: {files[0]}   figures: {out / 'results.json'}")
    return all(p.kept for p in kept)


def subtitle(tune: bool) -> str:
    """What the plot shows, in a line."""
    images = "tune set" if tune else "held-out images"
    return (
        f"small residual network on Fashion-MNIST, {images}; Tent on batch normalisation, "
        f"batches of {demo_acts.BATCH}, no labels used to adapt"
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="the demo: drift, adaptation, attack, rollback")
    parser.add_argument(
        "--ttad",
        type=pathlib.Path,
        default=pathlib.Path("build/release/ttad"),
        help="the daemon's program (%(default)s)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("build/demo"),
        help="folder for what it writes (%(default)s)",
    )
    parser.add_argument(
        "--tune", action="store_true", help="run on the tune set, on which constants are chosen"
    )
    return parser.parse_args()


def play(args: argparse.Namespace) -> Tuple[Trace, List[Dict[str, object]]]:
    """Start the daemon, show it every batch, end it, and read its record."""
    images, labels = demo_acts.load("tune" if args.tune else "test", HERE)
    batches = list(demo_acts.batches(images, labels))
    with Daemon(args.ttad, args.out, HERE) as daemon:
        print(
            f"ttad is up; {len(batches)} batches of {demo_acts.BATCH} images to three streams",
            flush=True,
        )
        try:
            trace = run(daemon, batches)
        except ttad.TtadError:
            dead = daemon.died()
            if dead:
                raise DaemonFailed(dead) from None
            raise
    return trace, report.query(daemon.database, report.ROLLBACKS_SQL)


def main() -> int:
    """Returns the exit status."""
    args = arguments()
    start = time.monotonic()
    for ending in (signal.SIGINT, signal.SIGTERM):  # both end the daemon, too
        signal.signal(ending, signal.default_int_handler)
    if not args.ttad.exists():
        print(f"demo: {args.ttad} is not there: run make first", file=sys.stderr)
        return 2
    try:
        trace, rollbacks = play(args)
        kept = tell(args.out, trace, rollbacks, args.tune, time.monotonic() - start)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the daemon has ended", file=sys.stderr)
        return 130
    except (DaemonFailed, ttad.TtadError, OSError) as e:
        print(f"\ndemo: {e}", file=sys.stderr)
        return 2
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
