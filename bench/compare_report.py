# SPDX-License-Identifier: Apache-2.0
"""The tables of bench/compare.py, from what it measured."""

import math
import statistics

import compare_models as models

BEGIN, END = "<!-- bench/compare.py writes from here -->", "<!-- to here -->"
BEGIN_FAMILIES = "<!-- bench/compare.py --models families writes from here -->"


def torch_of(cell, task):
    """(layout, its figures) of the faster one, or (None, None)."""
    both = [
        (e[task]["ms"], n, e[task])
        for n, e in cell["engines"].items()
        if n in ("contiguous", "channels_last") and task in e
    ]
    return min(both)[1:] if both else (None, None)


def figures(cell, engine, task):
    return cell["engines"].get(engine, {}).get(task)


def ms(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def mb(value):
    return "-" if value is None else f"{value / 1e6:.1f}" if value < 1e8 else f"{value / 1e6:.0f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| --- | ---: |" + " ---: |" * (len(head) - 2)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def step_row(cell):
    layout, theirs = torch_of(cell, "step")
    mine = figures(cell, "ttad", "step")
    row = [models.NETWORKS[cell["model"]][0], str(cell["batch"])]
    if not theirs:
        return [*row, "-", "-", "-", "-", "-", "-"]
    row += [f"{ms(theirs['ms'])}{' (last)' if layout == 'channels_last' else ''}"]
    if not mine:
        return [*row, "-", "-", mb(theirs["peak_bytes"]), "-", "-"]
    share = mine["peak_bytes"] / theirs["peak_bytes"] if theirs["peak_bytes"] > 0 else math.nan
    return [
        *row,
        ms(mine["ms"]),
        f"{theirs['ms'] / mine['ms']:.2f}",
        mb(theirs["peak_bytes"]),
        mb(mine["peak_bytes"]),
        f"{share:.2f}",
    ]


def frozen_row(cell):
    layout, theirs = torch_of(cell, "frozen")
    ort, mine = figures(cell, "onnxruntime", "frozen"), figures(cell, "ttad", "frozen")
    row = [models.NETWORKS[cell["model"]][0], str(cell["batch"])]
    row += [
        f"{ms(theirs['ms'])}{' (last)' if layout == 'channels_last' else ''}" if theirs else "-"
    ]
    row += [ms(ort["ms"]) if ort else "-", ms(mine["ms"]) if mine else "-"]
    best = frozen_ratio(cell)
    row += [f"{best:.2f}" if best else "-"]
    return row + [mb(e["peak_bytes"]) if e else "-" for e in (theirs, ort, mine)]


def frozen_ratio(cell):
    """How many times as fast ttad is as the faster of the others; None: there is nothing to say."""
    mine = figures(cell, "ttad", "frozen")
    others = [
        e["ms"] for e in (torch_of(cell, "frozen")[1], figures(cell, "onnxruntime", "frozen")) if e
    ]
    return min(others) / mine["ms"] if mine and others else None


def means(cells):
    """Geometric means of the frozen ratios, by family."""
    ret = []
    for what, wanted in (("convolutional networks", True), ("transformers", False)):
        ratios = [
            r
            for c in cells
            if (c["model"] in models.CONVOLUTIONAL) == wanted
            for r in [frozen_ratio(c)]
            if r
        ]
        if ratios:
            ret.append(
                f"{what} {math.exp(statistics.mean(map(math.log, ratios))):.2f} "
                f"({len(ratios)} cells, {min(ratios):.2f} to {max(ratios):.2f})"
            )
    return ret


def label(name, error):
    return error if error.startswith(name) else f"{name}: {error}"


def notes(run):
    """What could not be measured, and why; each sentence once."""
    said = {}
    for cell in run["cells"]:
        for name, e in cell["engines"].items():
            if "error" in e:
                said.setdefault((cell["model"], label(name, e["error"])), []).append(cell["batch"])
        if "skipped" in cell:
            said.setdefault((cell["model"], cell["skipped"]), []).append(cell["batch"])
    return [
        f"* {models.NETWORKS[m][0]}, batch {', '.join(map(str, b))}: `{why}`"
        for (m, why), b in said.items()
    ]


def report(run):
    cells, m = [c for c in run["cells"] if c["engines"]], run["machine"]
    parts = [
        f"{m['cpu']}, {run['threads']} of {m['processors']} processors, {m['memory_gb']:.0f} GB; "
        f"ttad {run['commit']} ({m['kernels']}), sgemm {run['sgemm']:.0f} GFLOP/s; "
        f"PyTorch {run['torch']}, ONNX Runtime {run['onnxruntime']}; {run['date']}, "
        f"load before and after {run['load'][0]:.1f} and "
        f"{run['load'][1]:.1f}; medians of {run['rounds']} rounds by `{run['command']}`.",
        "A step of Tent: SGD on the scales and shifts of all normalisations; ms, and how many "
        'times as fast as PyTorch ttad is ("last": PyTorch was faster with channels last). '
        "Memory: peak beyond the weights, "
        "and its ratio to PyTorch's.",
        table(
            [
                "model",
                "batch",
                "PyTorch, ms",
                "ttad, ms",
                "times as fast",
                "PyTorch, MB",
                "ttad, MB",
                "of PyTorch's",
            ],
            map(step_row, cells),
        ),
        "A frozen pass; how many times as fast as the faster one of the others ttad is.",
        table(
            [
                "model",
                "batch",
                "PyTorch, ms",
                "ONNX Runtime, ms",
                "ttad, ms",
                "times as fast",
                "PyTorch, MB",
                "ONNX Runtime, MB",
                "ttad, MB",
            ],
            map(frozen_row, cells),
        ),
    ]
    if means(cells):
        parts.append("Geometric means of the frozen pass: " + "; ".join(means(cells)) + ".")
    if run["same"]:
        parts.append(
            "Largest difference of a frozen pass's logits to PyTorch's, over the largest logit: "
            + "; ".join(
                f"{models.NETWORKS[n][0]} ttad {d['ttad']:.1e}, ONNX Runtime {d['onnxruntime']:.1e}"
                for n, d in run["same"].items()
                if not isinstance(d["ttad"], str)
            )
            + "."
        )
    if notes(run):
        parts.append("Not measured:\n\n" + "\n".join(notes(run)))
    return "\n\n".join(parts)


def write_document(path, text, families):
    """Put it between the two marks that are there for it."""
    old, begin = path.read_text(), BEGIN_FAMILIES if families else BEGIN
    if begin not in old or END not in old.split(begin, 1)[1]:
        raise SystemExit(f"{path}: has no '{begin}' and '{END}' to write between")
    head, rest = old.split(begin, 1)
    path.write_text(f"{head}{begin}\n\n{text}\n\n{END}{rest.split(END, 1)[1]}")
