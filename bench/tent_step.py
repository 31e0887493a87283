# SPDX-License-Identifier: Apache-2.0
"""One step of Tent: ttad and PyTorch by turns, on the same model, batch and threads.

    pip install torch==2.13.0 onnx
    make bench                              (models/fashion_resnet.onnx, batch 64)
    make bench MODEL=resnet20_cifar10.onnx
    python3 bench/tent_step.py --model MODEL.onnx --batch 16 --threads 1

The model is a CIFAR ResNet with option A shortcuts (ResNet-20, -56, ...) or the demo's; the
architecture is rebuilt here and takes the file's weights.

A step is forward under batch statistics, mean entropy, backward, one update of all
batch-norm weights and biases by SGD.  PyTorch gets every advantage it has without compiling: no
gradients but those that Tent needs, the fused optimizer, and the better of the two memory
layouts.  Each round runs both layouts and then ttad, so that whatever else the machine does
hits all three.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
LR = 2.5e-4  # as bench/tent_step.c has it
WARMUP = 3  # steps of each run that are not counted
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Block(nn.Module):
    """Two convolutions; where it shrinks, the shortcut takes every other pixel and pads channels
    with zeros on both sides (option A of He et al. 2016)."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.stride, self.grow = stride, (cout - cin) // 2

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grow, self.grow))
        return F.relu(out + x)


class ResNet(nn.Module):
    """He et al.'s networks for CIFAR: 6 * blocks + 2 layers."""

    def __init__(self, blocks, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self.stage(16, 16, blocks, 1)
        self.layer2 = self.stage(16, 32, blocks, 2)
        self.layer3 = self.stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def stage(cin, cout, blocks, stride):
        return nn.Sequential(Block(cin, cout, stride),
                             *[Block(cout, cout, 1) for _ in range(blocks - 1)])

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def load(path):
    """(network, shape of an image) with the file's weights."""
    graph = onnx.load(path).graph
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
               for t in graph.initializer}
    shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][1:]
    if "linear.weight" not in weights or "layer1.0.conv1.weight" not in weights:
        raise SystemExit(f"{path}: not one of the networks that this script can rebuild")
    if any(".shortcut." in name for name in weights):
        sys.path.insert(0, str(ROOT / "models"))
        import train
        return train.load(path), shape
    blocks = sum(name.startswith("layer1.") and name.endswith(".conv1.weight") for name in weights)
    net = ResNet(blocks, len(weights["linear.bias"]))
    own = net.state_dict()
    missing = [name for name in own
               if name not in weights and not name.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"{path}: lacks {', '.join(missing)}")
    net.load_state_dict({name: weights[name] for name in own if name in weights}, strict=False)
    return net, shape


class Tent:
    """The authors' configuration: batch statistics, nothing trainable but norms."""

    def __init__(self, path, args, layout):
        self.net, shape = load(path)
        self.net.eval().requires_grad_(False)
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(True)
                module.track_running_stats = False
                module.running_mean = module.running_var = None
        self.net.to(memory_format=layout)
        theta = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(theta, LR, fused=True)
        draw = torch.Generator().manual_seed(0)
        self.x = torch.randn(args.batch, *shape, generator=draw).contiguous(memory_format=layout)

    def step(self):
        z = self.net(self.x)
        log_p = z.log_softmax(1)
        loss = -(log_p.exp() * log_p).sum(1).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def median_ms(self, steps):
        times = []
        for k in range(WARMUP + steps):
            start = time.perf_counter()
            self.step()
            if k >= WARMUP:
                times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)


def run_ttad(binary, args):
    """median_ms of one run of the C side."""
    command = [binary, args.model, "--batch", str(args.batch), "--threads", str(args.threads),
               "--steps", str(args.steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["median_ms"])


def show(result, args):
    print(f"Tent step of {result['model']}, batch {args.batch}, {args.threads} threads, median of "
          f"{args.rounds} rounds of {args.steps} steps")
    print(f"  PyTorch {torch.__version__} ({result['layout']}): {result['torch_ms']:.2f} ms, best "
          f"round {result['torch_best_ms']:.2f}")
    if "ttad_ms" in result:
        print(f"  ttad: {result['ttad_ms']:.2f} ms, best round {result['ttad_best_ms']:.2f}; "
              f"{result['ratio']:.2f} of PyTorch's")


def main():
    parser = argparse.ArgumentParser(description="time a step of Tent, ttad beside PyTorch")
    parser.add_argument("--model", default=str(ROOT / "models" / "fashion_resnet.onnx"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=20, help="of each run, after the warm-up")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ours", metavar="BINARY", help="bench/tent_step of ttad",
                        default=str(ROOT / "build" / "release" / "bench" / "tent_step"))
    parser.add_argument("--json", action="store_true", help="one line for scripts")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    have_ttad = os.access(args.ours, os.X_OK)
    torch_side = {name: Tent(args.model, args, layout) for name, layout in LAYOUTS.items()}
    times = {name: [] for name in (*LAYOUTS, *(["ttad"] if have_ttad else []))}
    for k in range(args.rounds):
        for name, tent in torch_side.items():
            times[name].append(tent.median_ms(args.steps))
        if have_ttad:
            times["ttad"].append(run_ttad(args.ours, args))
        if not args.json:
            shown = "  ".join(f"{name} {t[-1]:.2f}" for name, t in times.items())
            print(f"round {k + 1}/{args.rounds}, ms: {shown}", flush=True)

    medians = {name: statistics.median(t) for name, t in times.items()}
    layout = min(LAYOUTS, key=medians.get)
    result = {"model": pathlib.Path(args.model).name, "batch": args.batch,
              "threads": args.threads, "torch": torch.__version__, "layout": layout,
              "torch_ms": round(medians[layout], 3),
              "torch_best_ms": round(min(min(times[name]) for name in LAYOUTS), 3)}
    if have_ttad:
        result["ttad_best_ms"] = round(min(times["ttad"]), 3)
        result["ttad_ms"] = round(medians["ttad"], 3)
        result["ratio"] = round(medians["ttad"] / medians[layout], 3)
    if args.json:
        print(json.dumps(result))
    else:
        show(result, args)
    if not have_ttad:
        raise SystemExit(f"{args.ours}: not there, so PyTorch was timed alone; 'make bench' "
                         "builds it")


if __name__ == "__main__":
    main()
