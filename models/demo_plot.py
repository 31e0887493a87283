# SPDX-License-Identifier: Apache-2.0
"""The demo's plot: accuracy over time, and where the guard went back."""

from __future__ import annotations

import pathlib
from typing import List, NamedTuple, Sequence, Tuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from demo_report import Step, Trace  # noqa: E402

WINDOW = 250  # images behind a point
LEAST = 100  # images, before a line begins

# The operations page's hues: far apart in normal, protan, deutan and tritan sight; and the lines
# differ in dashes, too.
BLUE, RED, SLATE, INK = "#0b6aa8", "#b3260b", "#4a5360", "#1a1d21"
LINES = (
    ("frozen", "frozen", SLATE, (0, (5, 2)), 1.6),
    ("unguarded", "adapting, no guard", RED, (0, (1.5, 1)), 2.0),
    ("guarded", "adapting, guarded", BLUE, "-", 2.2),
)
AMBER = "#b97e00"
TITLES = {"clean": "CLEAN", "drift": "DRIFT", "hostile": "HOSTILE"}
PHASES = {
    "before": "honest images",
    "attack": "static, and few honest images",
    "after": "the same honest images",
}
SHADES = {"clean": "#ffffff", "drift": "#eef1f4", "hostile": "#ffffff"}


class Span(NamedTuple):
    """A stretch of batches that share something; in images since the start."""

    name: str
    start: int
    end: int


def spans(steps: Sequence[Step], key: str) -> List[Span]:
    """Consecutive steps with the same act or phase."""
    found: List[Span] = []
    at = 0
    for step in steps:
        name = getattr(step, key)
        if found and found[-1].name == name:
            found[-1] = found[-1]._replace(end=at + step.n)
        else:
            found.append(Span(name, at, at + step.n))
        at += step.n
    return found


def moving(steps: Sequence[Step]) -> Tuple[np.ndarray, np.ndarray]:
    """(x, y): images so far, percent right of the last WINDOW that somebody knows labels of."""
    x, y, at = [], [], 0
    recent: np.ndarray = np.zeros(0, bool)
    for step in steps:
        at += step.n
        if step.correct is None:
            continue
        recent = np.concatenate([recent, step.correct])[-WINDOW:]
        if len(recent) >= LEAST:
            x.append(at)
            y.append(100 * recent.mean())
    return np.array(x), np.array(y)


def stopped(steps: Sequence[Step]) -> List[Span]:
    """Where the stream answered without learning."""
    marked = [Step(s.act, "learns" if s.adapted else "holds", s.n, None) for s in steps]
    return [span for span in spans(marked, "phase") if span.name == "holds"]


def rollbacks_at(steps: Sequence[Step]) -> List[int]:
    """Where, in images, each rollback happened."""
    ends = np.cumsum([s.n for s in steps])
    return [int(end) for step, end in zip(steps, ends) if step.rolled_back_to]


def draw(trace: Trace, files: Sequence[pathlib.Path], subtitle: str) -> None:
    """Write the plot to each of the files; the ending tells the format."""
    plt.rcParams.update(
        {
            "font.size": 10,
            "svg.hashsalt": "ttad",
            "svg.fonttype": "path",
            "font.family": "DejaVu Sans",
            "hatch.linewidth": 0.6,
        }
    )
    figure, axes = plt.subplots(figsize=(11, 5.4), dpi=110)
    steps = trace.steps["guarded"]
    end = sum(s.n for s in steps)
    _bands(axes, steps)
    tails = []
    for stream, label, colour, dashes, width in LINES:
        x, y = moving(trace.steps[stream])
        axes.plot(x, y, color=colour, linestyle=dashes, linewidth=width, solid_capstyle="butt")
        tails.append((label, colour, float(y[-1])))
    _end_labels(axes, tails, end)
    _mark_rollbacks(axes, steps)
    _mark_stopped(axes, steps)
    _frame(axes, figure, end, subtitle)
    for path in files:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _bands(axes: "plt.Axes", steps: Sequence[Step]) -> None:
    for act in spans(steps, "act"):
        axes.axvspan(act.start, act.end, color=SHADES.get(act.name, "#ffffff"), zorder=0, lw=0)
        axes.axvline(act.start, color="#c3c9cf", lw=1, zorder=1)
        axes.text(
            (act.start + act.end) / 2,
            1.055,
            TITLES.get(act.name, act.name),
            ha="center",
            va="bottom",
            transform=axes.get_xaxis_transform(),
            fontsize=10,
            weight="bold",
            color=INK,
        )
    for phase in spans(steps, "phase"):
        attack = phase.name == "attack"
        if phase.name in TITLES:
            continue
        if attack:
            axes.axvspan(
                phase.start,
                phase.end,
                facecolor="#f7e3de",
                edgecolor="#d9a99d",
                hatch="///",
                lw=0,
                zorder=0.5,
            )
        axes.text(
            (phase.start + phase.end) / 2,
            1.012,
            PHASES.get(phase.name, phase.name),
            ha="center",
            va="bottom",
            transform=axes.get_xaxis_transform(),
            fontsize=9,
            color=RED if attack else SLATE,
            weight="bold" if attack else "normal",
        )


def _mark_rollbacks(axes: "plt.Axes", steps: Sequence[Step]) -> None:
    """A line each; one caption for those that stand together."""
    at = rollbacks_at(steps)
    for x in at:
        axes.axvline(x, color=BLUE, lw=1.2, ls=(0, (3, 2)), zorder=2)
        axes.plot(
            [x],
            [0.07],
            marker="<",
            color=BLUE,
            ms=8,
            clip_on=False,
            zorder=5,
            transform=axes.get_xaxis_transform(),
        )
    if not at:
        return
    text = "guard rolls back" if len(at) == 1 else f"guard rolls back, {len(at)} times"
    axes.annotate(
        text,
        (min(at), 0.07),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-10, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        color=BLUE,
        weight="bold",
        fontsize=9.5,
        bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85},
    )


def _mark_stopped(axes: "plt.Axes", steps: Sequence[Step]) -> None:
    """A ribbon along the bottom while the guarded stream only answers."""
    found = stopped(steps)
    for span in found:
        axes.axvspan(span.start, span.end, ymin=0, ymax=0.022, color=AMBER, lw=0, zorder=3)
    if found:
        widest = max(found, key=lambda s: s.end - s.start)
        axes.annotate(
            "answers, does not learn",
            (widest.start, 0.022),
            xycoords=axes.get_xaxis_transform(),
            xytext=(14, 4),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=9,
            color="#7d5200",
            weight="bold",
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85},
            zorder=4,
        )


def _end_labels(axes: "plt.Axes", tails: Sequence[Tuple[str, str, float]], end: int) -> None:
    """Names beside the ends of the lines, pushed apart where they would touch."""
    gap, below = 5.5, -np.inf
    for label, colour, y in sorted(tails, key=lambda t: t[2]):
        if not np.isfinite(y):
            continue
        place = max(y, below + gap)
        below = place
        axes.annotate(
            f"{label}\n{y:.0f} %",
            (end, place),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            weight="bold",
            fontsize=9.5,
            linespacing=1.05,
            annotation_clip=False,
        )


def _frame(axes: "plt.Axes", figure: "plt.Figure", end: int, subtitle: str) -> None:
    axes.set_xlim(0, end)
    axes.set_ylim(0, 100)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel("images answered")
    axes.set_ylabel(f"accuracy over the last {WINDOW} images, %")
    axes.xaxis.set_major_formatter(lambda v, _: f"{int(v):,}".replace(",", " "))
    axes.grid(axis="y", color="#dde1e5", lw=0.8, zorder=0.2)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.subplots_adjust(left=0.07, right=0.855, top=0.80, bottom=0.11)
    figure.text(
        0.07,
        0.945,
        "The same images through one daemon, three streams",
        fontsize=13,
        weight="bold",
        color=INK,
    )
    figure.text(0.07, 0.905, subtitle, fontsize=9.5, color=SLATE)
