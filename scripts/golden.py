# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tta: what each method of adaptation must compute.

    pip install torch==2.13.0 onnx
    python3 scripts/golden.py

A restatement of the methods in PyTorch and float64, on models/fashion_resnet.onnx.  See
tests/golden/README.md for the format.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "golden" / "tta"
MODEL = ROOT / "models" / "fashion_resnet.onnx"
sys.path.insert(0, str(ROOT / "models"))

import drift  # noqa: E402
import fashion  # noqa: E402
import train  # noqa: E402

IMAGES, BATCH = 160, 32
CORRUPTION, STRENGTH, SEED = drift.NOISE, 1, 11

SGD = {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9}

# name, batches, and what differs from: source statistics, nothing learnt, one step, the answer
# from before it.  method is the same for a policy file.
CASES = [
    ("source", 4, {}, "{preset: source}"),
    ("norm", 4, {"stats": "batch"}, "{preset: norm}"),
    ("norm_blend", 4, {"stats": "blend", "alpha": 0.1}, "{preset: norm_blend}"),
    ("norm_ema", 4, {"stats": "running", "learn_momentum": 0.1, "order": "after"},
     "{preset: norm_ema}"),
    ("ema_half_life", 4, {"stats": "ema", "half_life": 100},
     "{preset: norm, stats: {mode: ema, half_life: 100}}"),
    ("tent_adam", 4, {"stats": "batch", "optimizer": "adam", "lr": 0.001}, "{preset: tent}"),
    ("tent_sgd", 4, {"stats": "batch", **SGD},
     "{preset: tent, optimizer: {kind: sgd, lr: 0.02, momentum: 0.9}}"),
    ("tent_sgd_nesterov", 4, {"stats": "batch", **SGD, "nesterov": True},
     "{preset: tent, optimizer: {kind: sgd, lr: 0.02, momentum: 0.9, nesterov: true}}"),
    ("tent_steps2", 3, {"stats": "batch", **SGD, "steps": 2, "order": "last"},
     "{preset: tent, steps: 2, predict: {order: last}, "
     "optimizer: {kind: sgd, lr: 0.02, momentum: 0.9}}"),
    ("tent_episodic", 3, {"stats": "batch", **SGD, "episodic": True, "order": "after"},
     "{preset: tent, reset: {scope: request}, predict: {order: after}, "
     "optimizer: {kind: sgd, lr: 0.02, momentum: 0.9}}"),
]


class Norm(nn.Module):
    """Batch normalisation that says which statistics it uses."""

    def __init__(self, bn):
        super().__init__()
        self.weight, self.bias, self.eps = bn.weight, bn.bias, bn.eps
        self.register_buffer("mean", bn.running_mean.clone())
        self.register_buffer("var", bn.running_var.clone())
        self.mode, self.share = "source", 0.0

    def forward(self, x):
        batch_mean = x.mean((0, 2, 3))
        biased = x.var((0, 2, 3), unbiased=False)
        unbiased = x.detach().var((0, 2, 3), unbiased=True)
        mixed_mean = (1 - self.share) * self.mean + self.share * batch_mean.detach()
        mixed_var = (1 - self.share) * self.var + self.share * unbiased
        if self.mode in ("ema", "learn"):
            self.mean, self.var = mixed_mean, mixed_var
        mean, var = {"source": (self.mean, self.var), "running": (self.mean, self.var),
                     "batch": (batch_mean, biased), "learn": (batch_mean, biased),
                     "blend": (mixed_mean, mixed_var), "ema": (mixed_mean, mixed_var)}[self.mode]
        normal = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + self.eps)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]


def replace_norms(module):
    """Put a Norm in place of every BatchNorm2d; returns {name: Norm}."""
    found = {}
    for name, bn in list(module.named_modules()):
        if isinstance(bn, nn.BatchNorm2d):
            parent, _, last = name.rpartition(".")
            found[name] = Norm(bn)
            setattr(module.get_submodule(parent), last, found[name])
    return found


class Method:
    """One method over a fresh network: step(x) is one batch, and gives its answer."""

    def __init__(self, options, dtype, memory_format=torch.contiguous_format):
        self.options, self.dtype, self.memory_format = options, dtype, memory_format
        self.start()

    def start(self):
        o = self.options
        self.net = train.load(MODEL).requires_grad_(False)
        self.norms = replace_norms(self.net)
        self.net.to(self.dtype).to(memory_format=self.memory_format)
        self.theta = {f"{name}.{member}": getattr(norm, member).requires_grad_("optimizer" in o)
                      for name, norm in self.norms.items() for member in ("weight", "bias")}
        self.optimizer = None
        if o.get("optimizer") == "adam":
            self.optimizer = torch.optim.Adam(self.theta.values(), o["lr"])
        elif o.get("optimizer") == "sgd":
            self.optimizer = torch.optim.SGD(self.theta.values(), o["lr"], o["momentum"],
                                             nesterov=o.get("nesterov", False))

    def run(self, x, mode, share=0.0):
        for norm in self.norms.values():
            norm.mode, norm.share = mode, share
        return self.net(x)

    def answer(self, x):
        o = self.options
        share = o.get("alpha", 0.0)
        if "half_life" in o:
            share = 1 - 2 ** (-len(x) / o["half_life"])
        return self.run(x, o.get("stats", "source"), share)

    def step(self, x):
        o = self.options
        x = x.to(self.dtype).contiguous(memory_format=self.memory_format)
        if o.get("episodic"):
            self.start()
        if "learn_momentum" in o:
            self.run(x, "learn", o["learn_momentum"])
        if self.optimizer is None:
            return self.answer(x).detach()
        answers = []
        for _ in range(o.get("steps", 1)):
            z = self.answer(x)
            loss = -(z.softmax(1) * z.log_softmax(1)).sum(1).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            answers.append(z.detach())
        order = o.get("order", "before")
        return {"before": lambda: answers[0], "last": lambda: answers[-1],
                "after": lambda: self.answer(x).detach()}[order]()

    def state(self):
        """What is compared at the end: adapted parameters, running statistics if they move."""
        kept = {f"final/{name}": p.detach() for name, p in self.theta.items()}
        if self.options.get("stats") in ("running", "ema"):
            for name, norm in self.norms.items():
                kept[f"stats/{name}.running_mean"] = norm.mean
                kept[f"stats/{name}.running_var"] = norm.var
        return kept


def play(method, batches):
    logits = torch.stack([method.step(x) for x in batches])
    return {"logits": logits, **method.state()}


def worst(exact, others, pick):
    """The largest difference of any of the float32 runs from the exact one, over pick's keys."""
    return max((float((exact[key] - other[key].double()).abs().max())
                for other in others for key in exact if key.startswith(pick)), default=0.0)


def write_safetensors(path, tensors):
    """Format: 8 bytes of length, JSON, the numbers.  Float32 only."""
    header, blobs, at = {}, [], 0
    for name in sorted(tensors):
        blob = tensors[name].float().contiguous().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape),
                        "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def case(name, first, nbatches, options, method, images):
    rows = images[first:first + nbatches * BATCH]
    x = (torch.from_numpy(rows).permute(0, 3, 1, 2).double() / 255 - fashion.MEAN) / fashion.STD
    moved = x + 1e-7 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    exact = play(Method(options, torch.float64), x.split(BATCH))
    singles = [play(Method(options, torch.float32), x.split(BATCH)),
               play(Method(options, torch.float32, torch.channels_last), x.split(BATCH)),
               play(Method(options, torch.float32), moved.split(BATCH))]
    errors = [max(float((exact["logits"][b] - s["logits"][b].double()).abs().max())
                  for s in singles) for b in range(nbatches)]
    agree = min(float((exact["logits"].argmax(2) == s["logits"].argmax(2)).double().mean())
                for s in singles)
    shown = {"optimizer": "none", "lr": 0, **{k: v for k, v in options.items() if k != "stats"}}
    engine = "tent" if name.startswith("tent") else name
    report = {"name": name, "engine": engine, "model": "models/fashion_resnet.onnx",
              "images": "images.npy", "corruption": CORRUPTION, "first": first, "batch": BATCH,
              "batches": nbatches, "mean": fashion.MEAN, "std": fashion.STD, "method": method,
              "stats": options.get("stats", "source"), **shown,
              "fp32_logit_error_per_batch": [f"{e:.1e}" for e in errors],
              "fp32_param_error": f"{worst(exact, singles, 'final/'):.1e}",
              "fp32_stats_error": f"{worst(exact, singles, 'stats/'):.1e}",
              "fp32_argmax_agreement": f"{agree:.4f}"}
    (OUT / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    write_safetensors(OUT / f"{name}.safetensors", exact)
    return report


def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    images = np.load(ROOT / "models" / "fashion_test_images.npy")[:IMAGES]
    images = drift.corrupt(images, CORRUPTION, STRENGTH, SEED)
    np.save(OUT / "images.npy", images)
    for k, (name, nbatches, options, method) in enumerate(CASES):
        first = k % 3 * 8  # not always the same rows in a batch
        report = case(name, first, nbatches, options, method, images)
        print(f"{name:18} logits {max(map(float, report['fp32_logit_error_per_batch'])):.1e}  "
              f"parameters {report['fp32_param_error']}  statistics {report['fp32_stats_error']}  "
              f"same argmax {report['fp32_argmax_agreement']}")


if __name__ == "__main__":
    main()
