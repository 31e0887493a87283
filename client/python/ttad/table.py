# SPDX-License-Identifier: Apache-2.0
"""Rows of a reply as text for people."""

from __future__ import annotations

import unicodedata
from typing import Any, Dict, List, Sequence

MAX_CELL = 60


def clean(text: str) -> str:
    """Text from outside as one line that cannot steer a terminal."""
    return "".join(c if unicodedata.category(c)[0] != "C" else "?" for c in text)


def cell(value: Any) -> str:
    """One value as text."""
    if value is None or value == "":
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


def columns_of(rows: Sequence[Dict[str, Any]], first: Sequence[str]) -> List[str]:
    """The keys of all rows: those of `first` that occur, in its order, then the others."""
    seen = {key: None for row in rows for key in row}
    return [key for key in first if key in seen] + [key for key in seen if key not in first]


def table(rows: Sequence[Dict[str, Any]], columns: Sequence[str]) -> str:
    """Rows under their column names; numbers to the right."""
    cells = [[cell(row.get(c)) for c in columns] for row in rows]
    right = [all(_is_number(row.get(c)) for row in rows) for c in columns]
    widths = [max([len(c), *(len(row[i]) for row in cells)]) for i, c in enumerate(columns)]
    lines = []
    for row in [[clean(c) for c in columns], *cells]:
        padded = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(row, widths, right)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def pairs(values: Dict[str, Any]) -> str:
    """A dict as lines `key  value`."""
    width = max((len(k) for k in values), default=0)
    return "\n".join(f"{clean(k).ljust(width)}  {cell(v)}" for k, v in values.items())


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
