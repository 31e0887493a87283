# SPDX-License-Identifier: Apache-2.0
"""Models as PyTorch exports them: do they load, answer as ONNX Runtime does, and adapt?

    python3 tests/zoo.py [--ttad build/release/ttad] [--only ViT,BERT] [--exporter script,dynamo]
                         [--table docs/zoo.md] [--keep build/zoo]

Needs torch, transformers, onnx, onnxruntime and, for the dynamo exporter, onnxscript.  Every model
is a class of `transformers` in its own size, or with fewer layers of the same kind (--layers), with
random weights: those of normalisations are moved away from 1 and 0, for exporters merge initializers
that are equal.  Asked are a frozen pass of two inputs, and a few batches of Tent on what is selected
of normalisations.  Exits with 1 if one that loads answers differently, or cannot be adapted.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
import warnings

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOLERANCE = 1e-4  # of the largest logit
ROWS = 4
SOURCE = "version: 1\npreset: source\n"
TENT = """version: 1
preset: tent
select: {kinds: [bn, ln, gn], members: [weight, bias]}
optimizer: {kind: sgd, lr: 0.001}
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


def stir(model, torch):
    """Move normalisations away from where they begin, running statistics too."""
    for m in model.modules():
        if getattr(m, "weight", None) is None or "Norm" not in type(m).__name__:
            continue
        with torch.no_grad():
            m.weight.add_(0.1 * torch.randn_like(m.weight))
            if getattr(m, "bias", None) is not None:
                m.bias.add_(0.1 * torch.randn_like(m.bias))
            if getattr(m, "running_mean", None) is not None:
                m.running_mean.add_(0.1 * torch.randn_like(m.running_mean))
                m.running_var.mul_(1 + 0.2 * torch.rand_like(m.running_var))


def export(model, inputs, path, exporter, torch):
    """Write an ONNX file in which the batch may vary and normalisations are kept."""

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *args):
            return self.model(**dict(zip(inputs, args))).logits

    wrapped, args, names = Logits().eval(), tuple(inputs.values()), list(inputs)
    if exporter == "dynamo":
        batch = torch.export.Dim("batch", min=1, max=4096)
        torch.onnx.export(wrapped, args, path, input_names=names, output_names=["logits"],
                          dynamo=True, optimize=False, external_data=False, verbose=False,
                          dynamic_shapes={"args": tuple({0: batch} for _ in names)})
    else:
        torch.onnx.export(wrapped, args, path, input_names=names, output_names=["logits"],
                          dynamo=False, opset_version=17, do_constant_folding=False,
                          training=torch.onnx.TrainingMode.PRESERVE,
                          dynamic_axes={n: {0: "batch"} for n in names + ["logits"]})


def run(args, *words):
    """(exit status, what was printed) of ttad."""
    done = subprocess.run([str(args.ttad), *map(str, words)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=600)
    return done.returncode, done.stdout.strip()


def answer(args, path, inputs):
    """What ONNX Runtime says, and what ttad does."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {i.name for i in session.get_inputs()}
    want = session.run(None, {k: v.numpy() for k, v in inputs.items() if k in given})[0]
    rows = [v.numpy().astype(np.float32).reshape(ROWS, -1) for v in inputs.values()]
    only = rows[0].reshape(inputs[next(iter(inputs))].shape)
    np.save(args.keep / "x.npy", np.concatenate(rows, 1) if len(rows) > 1 else only)
    status, said = run(args, "adapt", path, "--policy", args.keep / "source.yaml", "--inputs",
                       args.keep / "x.npy", "--batch", 2, "--outputs", args.keep / "y.npy")
    if status:
        return None, said
    got = np.load(args.keep / "y.npy")
    return float(np.abs(got - want).max() / np.abs(want).max()), ""


def adapt(args, path):
    """What ttad says of a run that learns; or why it did not."""
    status, said = run(args, "adapt", path, "--policy", args.keep / "tent.yaml", "--inputs",
                       args.keep / "x.npy", "--batch", 2, "--json")
    if status:
        return None, said
    return json.loads(said.splitlines()[-1]), ""


def one(args, name, exporter, torch, transformers):
    """A row of the table, as a dict."""
    row = {"model": name, "exporter": exporter, "loads": "", "error": "", "adapts": "", "why": ""}
    path = str(args.keep / f"{name}-{exporter}.onnx")
    torch.manual_seed(0)
    try:
        model, inputs = FAMILIES[name](transformers, torch, args.layers)
        stir(model, torch)
        export(model.eval(), inputs, path, exporter, torch)
    except Exception as e:  # whatever an exporter throws is its own word
        row["why"] = f"not exported: {type(e).__name__}: {str(e).splitlines()[0][:120]}"
        return row
    error, why = answer(args, path, inputs)
    if error is None:
        row["loads"], row["why"] = "no", why.splitlines()[-1]
        return row
    row["loads"], row["error"] = "yes", f"{error:.1e}"
    if error > TOLERANCE:
        row["why"] = f"answers differ by more than {TOLERANCE}"
    said, why = adapt(args, path)
    row["adapts"] = "no" if said is None else f"{said['samples_adapted']} of {said['samples']} samples"
    row["why"] = row["why"] or (why.splitlines()[-1] if why else "")
    return row


def table(rows):
    lines = ["| model | exporter | loads | largest difference | adapts | |",
             "| --- | --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(str(r[k]).replace("|", "\\|") for k in (
        "model", "exporter", "loads", "error", "adapts", "why")) + " |" for r in rows]
    return "\n".join(lines) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--ttad", type=pathlib.Path, default=ROOT / "build/release/ttad")
    p.add_argument("--only", default=",".join(FAMILIES))
    p.add_argument("--exporter", default="script,dynamo")
    p.add_argument("--layers", type=int, default=0, help="of each stage; 0: the family's own")
    p.add_argument("--table", type=pathlib.Path, help="replace what is below the line '<!-- zoo -->'")
    p.add_argument("--keep", type=pathlib.Path, default=ROOT / "build/zoo")
    args = p.parse_args()
    warnings.filterwarnings("ignore")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    args.keep.mkdir(parents=True, exist_ok=True)
    (args.keep / "source.yaml").write_text(SOURCE)
    (args.keep / "tent.yaml").write_text(TENT)
    rows = []
    for name in args.only.split(","):
        for exporter in args.exporter.split(","):
            began = time.monotonic()
            rows.append(one(args, name, exporter, torch, transformers))
            print(f"{name} {exporter} {time.monotonic() - began:.0f} s: "
                  f"{ {k: v for k, v in rows[-1].items() if v} }", file=sys.stderr, flush=True)
    text_ = table(rows)
    print(text_)
    if args.table:
        head = args.table.read_text().partition("<!-- zoo -->\n")[0]
        args.table.write_text(head + "<!-- zoo -->\n" + text_)
    bad = [r for r in rows if r["loads"] == "yes" and (r["why"] or r["adapts"] == "no")]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
