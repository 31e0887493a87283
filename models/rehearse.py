# SPDX-License-Identifier: Apache-2.0
"""The demo's three acts in PyTorch, without guard and daemon, to choose its constants by.

    pip install torch==2.13.0 onnx
    python3 models/rehearse.py            (--batches prints every batch)

Plays the images of fashion_tune_*, so that no constant is chosen on images that the demo
scores: a clean act, a drifting one, and one in which a stretch of static comes between honest
images.  Beside the stream that adapts go the frozen model (source statistics) and its shadow
(source parameters, the batch's own statistics).
"""

import argparse
import copy
import math
import pathlib

import numpy as np
import torch
from torch import nn

import drift
import train

HERE = pathlib.Path(__file__).parent
BATCH, WINDOW = 50, 512  # images; of the class collapse
CLEAN, DRIFT, HONEST, STATIC, AFTER = 20, 50, 10, 40, 14  # batches


def batch_statistics(net):
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    return net


class Stream:
    """Tent, with what a monitor would see of it."""

    def __init__(self, args):
        self.frozen = train.load(HERE / "fashion_resnet.onnx").requires_grad_(False)
        self.shadow, self.net = batch_statistics(self.frozen), batch_statistics(self.frozen)
        self.theta = [p for m in self.net.modules() if isinstance(m, nn.BatchNorm2d)
                      for p in (m.weight.requires_grad_(), m.bias.requires_grad_())]
        self.source = self.flat()
        self.optimizer = (torch.optim.Adam(self.theta, args.lr) if args.optimizer == "adam" else
                          torch.optim.SGD(self.theta, args.lr, args.momentum))
        self.recent = []

    def flat(self):
        return torch.cat([p.detach().flatten() for p in self.theta])

    def step(self, images, labels):
        x = train.preprocess(images)
        z = self.net(x)
        p = z.softmax(1)
        loss = -(p * z.log_softmax(1)).sum(1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            frozen, shadow = self.frozen(x).argmax(1), self.shadow(x).argmax(1)
        mine = z.argmax(1)
        self.recent = (self.recent + list(p.detach()))[-WINDOW:]
        mean_p = torch.stack(self.recent).mean(0)
        row = {"disagreement": (mine != shadow).double().mean().item(),
               "drift": ((self.flat() - self.source).norm() / self.source.norm()).item(),
               "collapse": 1 + (mean_p * mean_p.log()).sum().item() / math.log(len(mean_p)),
               "entropy": loss.item()}
        for name, answer in (("frozen", frozen), ("norm", shadow), ("tent", mine)):
            hits = None if labels is None else (answer.numpy() == labels).mean()
            row[name] = hits
        return row


def acts(images, labels, seed):
    """(act, images, labels or None) in order."""
    rng = np.random.default_rng(seed)
    total = (CLEAN + DRIFT + HONEST + AFTER) * BATCH
    rounds = -(-total // len(images))
    order = np.concatenate([rng.permutation(len(images)) for _ in range(rounds)])
    honest = iter(order[:total].reshape(-1, BATCH))
    for _ in range(CLEAN):
        rows = next(honest)
        yield "clean", images[rows], labels[rows]
    for k in range(DRIFT):
        rows = next(honest)
        yield "drift", drift.drift(images[rows], k / (DRIFT - 1), seed, rows), labels[rows]
    for _ in range(HONEST):
        rows = next(honest)
        yield "before", images[rows], labels[rows]
    for k in range(STATIC):
        yield "static", drift.static(BATCH, seed, k * BATCH), None
    for _ in range(AFTER):
        rows = next(honest)
        yield "after", images[rows], labels[rows]


def mean(rows, key):
    values = [row[key] for row in rows if row[key] is not None]
    return float(np.mean(values)) if values else math.nan


def summary(rows):
    """One line an act; disagreement and collapse also as a guard would see them."""
    print("act     batches  frozen   norm   tent  disagreement: mean  max  max of 5  "
          "collapse  param drift")
    for act in ("clean", "drift", "before", "static", "after"):
        some = [row for row in rows if row["act"] == act]
        each = np.array([row["disagreement"] for row in some])
        five = np.convolve(each, np.ones(5) / 5, "valid")
        print(f"{act:7} {len(some):7}  {mean(some, 'frozen'):6.3f} {mean(some, 'norm'):6.3f} "
              f"{mean(some, 'tent'):6.3f}  {each.mean():18.3f}  {each.max():.2f}  {five.max():8.3f}"
              f"  {max(row['collapse'] for row in some):8.3f}  {some[-1]['drift']:11.3f}")


def main():
    parser = argparse.ArgumentParser(description="rehearse the demo on the tuning images")
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="a new stream for each act")
    parser.add_argument("--batches", action="store_true", help="print every batch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = np.load(HERE / "fashion_tune_images.npy")
    labels = np.load(HERE / "fashion_tune_labels.npy")
    stream, rows = Stream(args), []
    for act, x, y in acts(images, labels, args.seed):
        if args.fresh and rows and act in ("drift", "before") and rows[-1]["act"] != act:
            stream = Stream(args)
        rows.append({"act": act, **stream.step(x, y)})
        if args.batches:
            shown = " ".join(f"{key} {value:.3f}" for key, value in rows[-1].items()
                             if key != "act" and value is not None)
            print(f"{len(rows):3} {act:7} {shown}", flush=True)
    summary(rows)


if __name__ == "__main__":
    main()
