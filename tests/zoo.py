# SPDX-License-Identifier: Apache-2.0
"""Models as PyTorch exports them: do they load, answer as ONNX Runtime does, and adapt?

    python3 tests/zoo.py [--ttad build/release/ttad] [--only ViT,BERT] [--exporter script,dynamo]
                         [--write docs/zoo.md] [--keep build/zoo]

Needs torch, transformers, onnx, onnxruntime and, for the dynamo exporter, onnxscript.  Every model
is a class of `transformers` with random weights: convolutional networks in their own size, encoders
with two layers a stage of their own width (--whole: all of them; --layers N: so many).  Asked are

  a frozen pass, against ONNX Runtime;
  the parameters that are selected of normalisations, against the modules that PyTorch has: as many
  scalars, each with its place in the graph;
  two steps of Tent on them, against the same two steps in PyTorch: how far what they changed of the
  logits differs from what PyTorch's changed, as a part of it.

`script` is the older exporter, `dynamo` the newer, both with the batch free and with normalisations
kept.  `script-default` and `dynamo-default` are the same with the exporters' own options and fresh
weights: constants folded, weights renamed and transposed, equal ones merged, BatchNormalization
folded into convolutions; of those, what has lost its normalisations is to say so.  Exits with 1 if a model is refused, or differs.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import time
import warnings

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOLERANCE = 1e-4  # of the largest logit
DRIFT = 0.02  # of what two steps changed, beyond what rounding differed before them
ROWS = 4
STEPS = 2
# Steps that move the logits by more than rounding and stay in step: statistics over a few pixels make
# a deep network's second step chaotic, and EfficientNet's fresh logits are close to 0.
RATES = {"bn": 1e-4, "ln": 1e-2, "EfficientNet": 0.1}
BEGIN, END = "<!-- tests/zoo.py writes from here -->", "<!-- to here -->"
SOURCE = "version: 1\npreset: source\n"
TENT = """version: 1
preset: tent
select: {{kinds: [bn, ln, gn], members: [weight, bias]}}
optimizer: {{kind: sgd, lr: {rate}, momentum: 0}}
"""


def vision(name, size=64, **config):
    """Makes (model, inputs by name) of an image classifier of `transformers`."""

    def make(transformers, torch, layers):
        shape = {k: v for k, v in config.items()}
        if layers:
            shape.update(few(name, layers))
        c = getattr(transformers, f"{name}Config")(**shape)
        c.num_labels = 10
        if hasattr(c, "image_size"):
            c.image_size = size
        model = getattr(transformers, f"{name}ForImageClassification")(c)
        return model, {"pixel_values": torch.randn(ROWS, 3, size, size)}

    return make


def text(name, tokens=32, **config):
    """Makes (model, inputs by name) of a text classifier of `transformers`."""

    def make(transformers, torch, layers):
        shape = dict(config)
        if layers:
            shape.update(few(name, layers))
        c = getattr(transformers, f"{name}Config")(**shape)
        c.num_labels = 10
        model = getattr(transformers, f"{name}ForSequenceClassification")(c)
        ids = torch.randint(5, 1000, (ROWS, tokens))
        mask = torch.ones_like(ids)
        mask[1, tokens // 2 :] = 0
        return model, {"input_ids": ids, "attention_mask": mask}

    return make


def few(name, layers):
    """A smaller model of the same kind."""
    return {
        "ViT": {"num_hidden_layers": layers},
        "DeiT": {"num_hidden_layers": layers},
        "Bert": {"num_hidden_layers": layers},
        "Roberta": {"num_hidden_layers": layers},
        "DistilBert": {"n_layers": layers},
        "Swin": {"depths": [layers] * 4},
        "ConvNext": {"depths": [layers] * 4},
        "RegNet": {"depths": [layers] * 4},
        "ResNet": {"depths": [layers] * 4},
    }.get(name, {})


FAMILIES = {
    "ResNet-50": vision("ResNet"),
    "MobileNetV1": vision("MobileNetV1"),
    "MobileNetV2": vision("MobileNetV2"),
    "EfficientNet": vision("EfficientNet", width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280),
    "ConvNeXt": vision("ConvNext"),
    "RegNet": vision("RegNet"),
    "ViT": vision("ViT"),
    "DeiT": vision("DeiT"),
    "Swin": vision("Swin", size=224),
    "BERT": text("Bert"),
    "DistilBERT": text("DistilBert"),
    "RoBERTa": text("Roberta"),
}


ENCODERS = ("ViT", "DeiT", "Swin", "BERT", "DistilBERT", "RoBERTa")  # whose layers are all alike

# What an exporter cannot do otherwise, and with what it can; told in the table.
HELP = {("Swin", "dynamo"): "eager attention"}  # scaled_dot_product_attention's reshape fails


def norms(model):
    """The normalisations of a model that have parameters."""
    return [m for m in model.modules()
            if "Norm" in type(m).__name__ and getattr(m, "weight", None) is not None]


def stir(model, torch):
    """Move normalisations away from where they begin, running statistics too."""
    with torch.no_grad():
        for m in norms(model):
            m.weight.add_(0.1 * torch.randn_like(m.weight))
            if getattr(m, "bias", None) is not None:
                m.bias.add_(0.1 * torch.randn_like(m.bias))
            if getattr(m, "running_mean", None) is not None:
                m.running_mean.add_(0.1 * torch.randn_like(m.running_mean))
                m.running_var.mul_(1 + 0.2 * torch.rand_like(m.running_var))


def export(model, inputs, path, exporter, torch):
    """Write an ONNX file in which the batch may vary and, but by default, normalisations are kept."""

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *args):
            return self.model(**dict(zip(inputs, args))).logits

    wrapped, args, names = Logits().eval(), tuple(inputs.values()), list(inputs)
    kind, _, default = exporter.partition("-")
    if kind == "dynamo":
        batch = torch.export.Dim("batch", min=1, max=4096)
        own = {} if default else {"optimize": False}
        torch.onnx.export(wrapped, args, path, input_names=names, output_names=["logits"],
                          dynamo=True, external_data=False, verbose=False,
                          dynamic_shapes={"args": tuple({0: batch} for _ in names)}, **own)
    else:
        own = {} if default else {"do_constant_folding": False,
                                  "training": torch.onnx.TrainingMode.PRESERVE}
        torch.onnx.export(wrapped, args, path, input_names=names, output_names=["logits"],
                          dynamo=False, opset_version=17,
                          dynamic_axes={n: {0: "batch"} for n in names + ["logits"]}, **own)


def run(args, *words):
    """What ttad printed; its last line is raised when it fails."""
    done = subprocess.run([str(args.ttad), *map(str, words)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(done.stdout.strip().splitlines()[-1])
    return done.stdout.strip()


def onnxruntime_logits(path, inputs):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {i.name for i in session.get_inputs()}
    return session.run(None, {k: np.asarray(v) for k, v in inputs.items() if k in given})[0]


def ttad_logits(args, path, policy, inputs, times):
    """The answers to the same batch, so many times."""
    rows = [np.asarray(v).astype(np.float32) for v in inputs.values()]
    x = rows[0] if len(rows) == 1 else np.concatenate([r.reshape(ROWS, -1) for r in rows], 1)
    np.save(args.keep / "x.npy", np.concatenate([x] * times))
    run(args, "adapt", path, "--policy", args.keep / policy, "--inputs", args.keep / "x.npy",
        "--batch", ROWS, "--outputs", args.keep / "y.npy")
    return np.load(args.keep / "y.npy").reshape(times, ROWS, -1)


def batch_normalised(model):
    return any(hasattr(m, "running_mean") for m in norms(model))


def rate_of(model):
    family = type(model).__name__.removesuffix("ForImageClassification")
    return RATES.get(family, RATES["bn" if batch_normalised(model) else "ln"])


def torch_logits(model, inputs, torch):
    """Tent in PyTorch (Wang et al. 2021): logits before each step, and after the last."""
    model.eval().requires_grad_(False)
    adapted = []
    for m in norms(model):
        m.train(getattr(m, "running_mean", None) is not None)  # statistics of the batch
        adapted += [p.requires_grad_() for p in m.parameters(recurse=False)]
    optimizer = torch.optim.SGD(adapted, lr=rate_of(model))
    answers = []
    for _ in range(STEPS + 1):
        logits = model(**inputs).logits
        answers.append(logits.detach().numpy().copy())
        loss = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.stack(answers)


def entropy(logits):
    z = logits - logits.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return float(-(p * np.log(p)).sum(1).mean())


def selected(args, path):
    """(kinds and how many tensors of each, scalars) of what Tent selects."""
    said = json.loads(run(args, "inspect", path, "--policy", args.keep / "tent.yaml", "--json"))
    chosen = [p for p in said["parameters"] if p["selected"]]
    if not all(p["place"]["node"] and p["place"]["operator"] for p in said["parameters"] if p["uses"]):
        raise RuntimeError("a parameter has no place")
    kinds = [p["kind"] for p in chosen]
    return (" ".join(f"{k} {kinds.count(k)}" for k in dict.fromkeys(kinds)),
            sum(p["scalars"] for p in chosen))


def examine(args, row, model, inputs, path, torch):
    """Fill a row; raises what ttad says of a file that it does not take."""
    want = onnxruntime_logits(path, inputs)
    got = ttad_logits(args, path, "source.yaml", inputs, 1)[0]
    error = float(np.abs(got - want).max() / np.abs(want).max())
    row["loads"], row["error"] = "yes", f"{error:.1e}"
    if not error <= TOLERANCE:
        row["why"] = f"answers differ by more than {TOLERANCE}"
    scalars = sum(p.numel() for m in norms(model) for p in m.parameters(recurse=False))
    kinds, found = selected(args, path)
    row["selected"] = f"{kinds}: {found}"
    if found != scalars:
        row["why"] = f"PyTorch's normalisations have {scalars} scalars"
    ours = ttad_logits(args, path, "tent.yaml", inputs, STEPS + 1)
    theirs = torch_logits(model, inputs, torch)
    moved, theirs_moved = ours[-1] - ours[0], theirs[-1] - theirs[0]
    drift = float(np.abs(moved - theirs_moved).max())
    rounding = float(np.abs(ours[0] - theirs[0]).max())  # of the statistics, before any step
    size = float(np.abs(theirs_moved).max())
    row["entropy"] = f"{entropy(ours[0]):.4f} → {entropy(ours[-1]):.4f}"
    row["drift"] = f"{drift / size:.1e}"
    if not (np.isfinite(ours).all() and drift <= DRIFT * size + rounding and np.abs(moved).max() > 0):
        row["why"] = "the steps differ from PyTorch's"


def one(args, name, exporter, torch, transformers):
    """A row of the table, as a dict."""
    row = {"model": name, "exporter": exporter, "loads": "no", "error": "", "selected": "",
           "entropy": "", "drift": "", "why": ""}
    path = str(args.keep / f"{name}-{exporter}.onnx")
    helped = HELP.get((name, exporter.partition("-")[0]))
    torch.manual_seed(0)
    small = 2 if not args.whole and (exporter.endswith("-default") or name in ENCODERS) else 0
    model, inputs = FAMILIES[name](transformers, torch, args.layers or small)
    row["model"] += f", {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M"
    (args.keep / "tent.yaml").write_text(TENT.format(rate=rate_of(model)))
    if not exporter.endswith("-default") or batch_normalised(model):
        stir(model, torch)  # fresh statistics fold into logits of 0
    if helped:
        model.set_attn_implementation("eager")
        row["exporter"] += f", {helped}"
    try:
        export(model.eval(), inputs, path, exporter, torch)
    except Exception as e:  # whatever an exporter throws is its own word
        row["why"] = f"not exported: {type(e).__name__}: {str(e).splitlines()[0][:120]}"
        return row
    try:
        examine(args, row, model, inputs, path, torch)
    except RuntimeError as e:
        if exporter.endswith("-default") and "the exporter folded it" in str(e):
            row["selected"] = "none: folded; refused with how to export"
            return row
        row["why"] = str(e).replace(f"ttad adapt: {path}: ", "").replace(f"ttad inspect: {path}: ", "")
    return row


def table(rows):
    lines = ["| model | exporter | loads | to ONNX Runtime | selected: scalars | entropy, two steps "
             "| to PyTorch's steps | |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(str(v).replace("|", "\\|") for v in r.values()) + " |" for r in rows]
    return "\n".join(lines)


def versions(args, torch, transformers):
    import onnx
    import onnxruntime
    import onnxscript

    size = (f"{args.layers} layers a stage" if args.layers else "whole models" if args.whole else
            "encoders, and all under the exporters' defaults, have two layers a stage")
    return (f"{datetime.date.today()}: PyTorch {torch.__version__}, transformers "
            f"{transformers.__version__}, onnx {onnx.__version__}, onnxscript {onnxscript.__version__}, "
            f"ONNX Runtime {onnxruntime.__version__}; {size}.")


def write(path, text, begin=BEGIN):
    old = path.read_text()
    head, found, rest = old.partition(begin)
    if not found or END not in rest:
        sys.exit(f"{path}: has no '{begin}' and '{END}' to write between")
    path.write_text(f"{head}{begin}\n\n{text}\n\n{END}{rest.split(END, 1)[1]}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--ttad", type=pathlib.Path, default=ROOT / "build/release/ttad")
    p.add_argument("--only", default=",".join(FAMILIES))
    p.add_argument("--exporter", default="script,dynamo,script-default,dynamo-default")
    p.add_argument("--layers", type=int, default=0, help="of each stage; 0: see above")
    p.add_argument("--whole", action="store_true", help="every model in its own size")
    p.add_argument("--write", type=pathlib.Path, help="a document to write the table into")
    p.add_argument("--keep", type=pathlib.Path, default=ROOT / "build/zoo")
    args = p.parse_args()
    for name in args.only.split(","):
        if name not in FAMILIES:
            p.error(f"--only: no family '{name}', want some of {', '.join(FAMILIES)}")
    warnings.filterwarnings("ignore")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    args.keep.mkdir(parents=True, exist_ok=True)
    (args.keep / "source.yaml").write_text(SOURCE)
    rows = []
    for name in args.only.split(","):
        for exporter in args.exporter.split(","):
            began = time.monotonic()
            rows.append(one(args, name, exporter, torch, transformers))
            print(f"{name} {exporter} {time.monotonic() - began:.0f} s: "
                  f"{ {k: v for k, v in rows[-1].items() if v} }", file=sys.stderr, flush=True)
    text_ = versions(args, torch, transformers) + "\n\n" + table(rows)
    print(text_)
    if args.write:
        write(args.write, text_)
    return 1 if any(r["why"] for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
