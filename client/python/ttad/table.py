# SPDX-License-Identifier: Apache-2.0
"""Rows of a reply as text for people."""

from __future__ import annotations

import time
import unicodedata
from typing import Any, Dict, Sequence

MAX_CELL = 60  # characters
YEAR_10000_MS = 253402300800000


def clean(text: str) -> str:
    """Text from outside as one line that cannot steer a terminal."""
    return "".join(c if unicodedata.category(c)[0] != "C" else "?" for c in text)


def cell(value: Any) -> str:
    """One value as text."""
    if value is None or value in ("", {}, []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (dict, list)):
        value = (
            ", ".join(f"{k}={cell(v)}" for k, v in value.items())
            if isinstance(value, dict)
            else ", ".join(cell(v) for v in value)
        )
    text = clean(str(value))
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def clock(ms: Any) -> str:
    """A time in milliseconds as UTC, or dashes."""
    if not isinstance(ms, (int, float)) or not 0 <= ms < YEAR_10000_MS:
        return "---------- --:--:--"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms / 1e3))


def table(rows: Sequence[Dict[str, Any]], columns: Sequence[str]) -> str:
    """Rows under their column names; numbers to the right, times (ts_ms) as `time`, UTC."""
    cells = [
        [clock(row.get(c)) if c == "ts_ms" else cell(row.get(c)) for c in columns] for row in rows
    ]
    right = [c != "ts_ms" and all(_is_number(row.get(c)) for row in rows) for c in columns]
    names = ["time" if c == "ts_ms" else clean(c) for c in columns]
    widths = [max([len(c), *(len(row[i]) for row in cells)]) for i, c in enumerate(names)]
    lines = []
    for row in [names, *cells]:
        padded = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def pairs(values: Dict[str, Any]) -> str:
    """A dict as lines `key  value`; what is inside it as `key.inner  value`."""
    flat: Dict[str, Any] = {}
    for key, value in values.items():
        inner = value.items() if isinstance(value, dict) else ()
        flat.update({f"{key}.{k}": v for k, v in inner} or {key: value})
    width = max((len(k) for k in flat), default=0)
    return "\n".join(f"{clean(k).ljust(width)}  {cell(v)}" for k, v in flat.items())


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
