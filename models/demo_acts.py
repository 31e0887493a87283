# SPDX-License-Identifier: Apache-2.0
"""The three acts of the demo as batches of images, the same in every run."""

from __future__ import annotations

import pathlib
from typing import Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

import drift

BATCH = 50
CLEAN_IMAGES = 1000
HONEST_IMAGES = 1000  # of the hostile act, shown before the attack and again after it
ATTACK_BATCHES = 75
STATIC_RUN = 4  # batches of static, between single batches of honest images
DRIFT_BEGINS = 0.125  # of drift.schedule's time; before that it is clean
SEED = 1


class Batch(NamedTuple):
    """images: uint8 [n, 28, 28, 1]; labels: [n], None where there are none."""

    act: str
    phase: str
    images: np.ndarray
    labels: Optional[np.ndarray]


def load(name: str, folder: pathlib.Path) -> Tuple[np.ndarray, np.ndarray]:
    """The images and labels of a set, "test" or "tune"."""
    return (
        np.load(folder / f"fashion_{name}_images.npy"),
        np.load(folder / f"fashion_{name}_labels.npy").astype(np.int64),
    )


def cut(order: np.ndarray) -> List[np.ndarray]:
    """Indices in whole batches."""
    return [order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]


def strongest(t: float) -> str:
    """What is wrong with the images at that time."""
    strengths = drift.schedule(t)
    kind = max(strengths, key=lambda k: strengths[k])
    return kind if strengths[kind] > 0 else "clean"


def batches(images: np.ndarray, labels: np.ndarray) -> Iterator[Batch]:
    """All of them, in order."""
    rng = np.random.default_rng(SEED)
    n = len(images)
    for rows in cut(rng.permutation(n)[:CLEAN_IMAGES]):
        yield Batch("clean", "clean", images[rows], labels[rows])
    parts = cut(rng.permutation(n))
    for k, rows in enumerate(parts):
        t = DRIFT_BEGINS + (1 - DRIFT_BEGINS) * (k + 0.5) / len(parts)
        yield Batch("drift", strongest(t), drift.drift(images[rows], t, SEED, rows), labels[rows])
    rows = rng.permutation(n)
    honest = cut(rows[:HONEST_IMAGES])
    yield from (_honest("before", part, images, labels) for part in honest)
    between = cut(rows[HONEST_IMAGES:] if n >= 2 * HONEST_IMAGES else rows)
    for k in range(ATTACK_BATCHES):
        if k % (STATIC_RUN + 1) == STATIC_RUN:
            yield _honest("attack", between[k // (STATIC_RUN + 1) % len(between)], images, labels)
        else:
            yield Batch("hostile", "attack", drift.static(BATCH, SEED, k * BATCH), None)
    yield from (_honest("after", part, images, labels) for part in honest)


def _honest(phase: str, rows: np.ndarray, images: np.ndarray, labels: np.ndarray) -> Batch:
    """Images as they are at the end of the drift."""
    return Batch("hostile", phase, drift.drift(images[rows], 1, SEED, rows), labels[rows])
