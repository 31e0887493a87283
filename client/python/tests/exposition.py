# SPDX-License-Identifier: Apache-2.0
"""A strict reader of Prometheus' text format 0.0.4: what it allows and a good exporter does not do
is an error, too."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
NUMBER = re.compile(r"[+-]Inf|NaN|-?\d+(\.\d+)?(e[+-]?\d+)?")
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def _labels(text):
    at, ret = 0, {}
    while at < len(text):
        m = LABEL.match(text, at)
        if not m or m[1] in ret:
            raise ValueError(f"labels {text!r}, at {at}")
        ret[m[1]], at = m[2], m.end()
    return ret


def parse(text):
    """{family: (type, {(name, ((label, value), ...)): number})}; ValueError: line and reason."""
    families, samples = {}, None
    if not text.endswith("\n"):
        raise ValueError("the last line does not end")
    lines = iter(enumerate(text[:-1].split("\n"), 1))
    for n, line in lines:
        if line.startswith("# HELP "):
            name, _, help = line[7:].partition(" ")
            _, typed = next(lines, (0, ""))
            m = re.fullmatch(rf"# TYPE {re.escape(name)} (counter|gauge|histogram)", typed)
            if not m or not re.fullmatch(NAME, name) or not help or name in families:
                raise ValueError(f"{n}: {line!r}, {typed!r}")
            kind, samples = m[1], {}
            families[name] = (kind, samples)
            continue
        m = SAMPLE.fullmatch(line)
        if not m or samples is None or not NUMBER.fullmatch(m[3]):
            raise ValueError(f"{n}: {line!r}")
        if m[1] not in [name + part for part in PARTS[kind]]:
            raise ValueError(f"{n}: {m[1]} is not of {name}")
        key = (m[1], tuple(sorted(_labels(m[2] or "").items())))
        if key in samples:
            raise ValueError(f"{n}: twice: {line!r}")
        samples[key] = float(m[3])
        if kind != "gauge" and not samples[key] >= 0:
            raise ValueError(f"{n}: {line!r} of a {kind}")
    for name, (kind, samples) in families.items():
        if kind == "histogram":
            _check_histogram(name, samples)
    return families


def _check_histogram(name, samples):
    series = {}
    for (part, labels), value in samples.items():
        rest = tuple(p for p in labels if p[0] != "le")
        one = series.setdefault(rest, {"buckets": [], "_sum": None, "_count": None})
        if part == name + "_bucket":
            one["buckets"].append((float(dict(labels)["le"]), value))
        else:
            one[part[len(name) :]] = value
    for labels, one in series.items():
        bounds, counts = zip(*one["buckets"])
        if list(bounds) != sorted(set(bounds)) or bounds[-1] != float("inf"):
            raise ValueError(f"{name}{labels}: bounds {bounds}")
        if list(counts) != sorted(counts) or counts[-1] != one["_count"] or one["_sum"] is None:
            raise ValueError(f"{name}{labels}: counts {counts}, {one['_count']}, {one['_sum']}")


def value(families, name, **labels):
    """One sample of a counter or gauge; 0 if it is not there."""
    return families[name][1].get((name, tuple(sorted(labels.items()))), 0.0)


def falls(before, after):
    """Samples of counters and histograms that are less than before, or gone."""
    return [
        key
        for name, (kind, samples) in before.items()
        if kind != "gauge"
        for key, number in samples.items()
        if not after[name][1].get(key, -1) >= number
    ]
