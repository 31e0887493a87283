# SPDX-License-Identifier: Apache-2.0
"""What came of the demo: accuracies, promises, the table, and the rollbacks out of the record."""

from __future__ import annotations

import json
import pathlib
import sqlite3
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

STREAMS = ("frozen", "guarded", "unguarded")
ACTS = ("clean", "drift", "hostile")

# What the demo promises, in points of accuracy.
GAIN_UNDER_DRIFT = 10
LOSS_WITH_GUARD = 3
LOSS_WITHOUT = 20

ROLLBACKS_SQL = """\
SELECT stream, rule, signal, round(statistic, 4) AS statistic, threshold, n,
       from_step, to_step, to_reason, batches_affected AS batches, sentence
  FROM v_rollbacks
 WHERE dry_run = 0
 ORDER BY decision_id"""


@dataclass
class Step:
    """One batch as one stream answered it.  correct: [n] bool; None where nobody knows labels."""

    act: str
    phase: str
    n: int
    correct: Optional[np.ndarray]
    rolled_back_to: str = ""
    guard: str = ""
    adapted: bool = False


@dataclass
class Trace:
    """All batches of a run, by stream; the same batches in the same order for each."""

    steps: Dict[str, List[Step]] = field(default_factory=lambda: {s: [] for s in STREAMS})

    def accuracy(self, stream: str, **where: str) -> float:
        """Share of right answers over the steps whose fields are as given; NaN over none."""
        hits = [
            s.correct
            for s in self.steps[stream]
            if s.correct is not None
            and all(getattr(s, key) == value for key, value in where.items())
        ]
        return float(np.concatenate(hits).mean()) if hits else float("nan")


def act_row(trace: Trace, act: str) -> Dict[str, Any]:
    """One entry of `acts`.  The hostile act is scored on the honest images after the attack."""
    where = {"act": act, "phase": "after"} if act == "hostile" else {"act": act}
    row: Dict[str, Any] = {"name": act}
    for stream in STREAMS:
        row[stream] = trace.accuracy(stream, **where)
    row["adapting"] = row["guarded"]  # what a user runs: learning, with its guards on
    if act == "hostile":
        for phase in ("before", "after"):
            row[phase] = {s: trace.accuracy(s, act=act, phase=phase) for s in STREAMS}
    return row


@dataclass(frozen=True)
class Promise:
    """What must be, what is (in points of accuracy where it is one), and whether that is enough."""

    text: str
    value: float
    kept: bool

    def __str__(self) -> str:
        return f"{'kept  ' if self.kept else 'BROKEN'}  {self.text}: {self.value:.3g}"


def promises(acts: Sequence[Dict[str, Any]], rollbacks: Sequence[Dict[str, Any]]) -> List[Promise]:
    """What the demo claims, judged.  A number that is missing (NaN) keeps no promise."""
    by_name = {a["name"]: a for a in acts}
    drift, hostile = by_name["drift"], by_name["hostile"]
    gain = 100 * (drift["adapting"] - drift["frozen"])
    lost = {s: 100 * (hostile["before"][s] - hostile["after"][s]) for s in STREAMS}
    guarded = [r for r in rollbacks if r["stream"] == "guarded"]
    return [
        Promise(
            f"under drift, adapting is at least {GAIN_UNDER_DRIFT} points above frozen",
            gain,
            gain >= GAIN_UNDER_DRIFT,
        ),
        Promise(
            f"the attack costs the guarded stream at most {LOSS_WITH_GUARD} points",
            lost["guarded"],
            lost["guarded"] <= LOSS_WITH_GUARD,
        ),
        Promise(
            f"it costs the unguarded stream at least {LOSS_WITHOUT} points",
            lost["unguarded"],
            lost["unguarded"] >= LOSS_WITHOUT,
        ),
        Promise(
            "the guard has rolled the guarded stream back at least once",
            len(guarded),
            len(guarded) >= 1,
        ),
    ]


def table(acts: Sequence[Dict[str, Any]]) -> str:
    """Accuracy in percent, one line an act."""
    head = f"{'accuracy, %':<24}{'frozen':>9}{'adapting':>10}{'guarded':>9}{'unguarded':>11}"
    lines = [head, "-" * len(head)]

    def line(name: str, row: Dict[str, float]) -> str:
        cells = [
            (row["frozen"], 9),
            (row["guarded"], 10),
            (row["guarded"], 9),
            (row["unguarded"], 11),
        ]
        return f"{name:<24}" + "".join(f"{100 * value:>{width}.1f}" for value, width in cells)

    for act in acts:
        if act["name"] == "hostile":
            lines.append(line("before the attack", act["before"]))
            lines.append(line("hostile, honest after", act["after"]))
        else:
            lines.append(line(act["name"], act))
    return "\n".join(lines)


def query(database: pathlib.Path, sql: str) -> List[Dict[str, Any]]:
    """Rows of a query on the record, opened read-only."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]
    finally:
        connection.close()


def show_rows(rows: Sequence[Dict[str, Any]]) -> str:
    """Rows one under the other, as `sqlite3 -line` shows them: sentences are long."""
    if not rows:
        return "(no rows)"
    width = max(len(key) for key in rows[0])
    blocks = [
        "\n".join(
            f"{key:>{width}} = {'' if value is None else value}" for key, value in row.items()
        )
        for row in rows
    ]
    return "\n\n".join(blocks)


def write_results(
    path: pathlib.Path,
    acts: Sequence[Dict[str, Any]],
    rollbacks: Sequence[Dict[str, Any]],
    kept: Sequence[Promise],
    about: Dict[str, Any],
) -> None:
    """results.json; a number that is not there is null."""
    body = {
        "acts": acts,
        "rollbacks": rollbacks,
        "promises": [{"text": p.text, "value": p.value, "kept": p.kept} for p in kept],
        **about,
    }
    path.write_text(json.dumps(_finite(body), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
