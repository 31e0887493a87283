# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a CIFAR-10 model under corruptions: frozen, norm and Tent, as a Markdown table.

    python3 bench/corruptions.py MODEL.onnx IMAGES [--batch 200] [--ttad build/release/ttad]

IMAGES holds one uint8 array [N, 32, 32, 3] a corruption (fog.npy, ...) and labels.npy.
Each row starts from the source parameters.  Inputs are normalised as ImageNet's are.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

PREPROCESS = ("preprocess: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225],"
              " layout: nhwc}\n")


def adapt(args, policy, images):
    """The summary of one run of ttad adapt, as a dict."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(f"preset: {policy}\n{PREPROCESS}")
        file.flush()
        done = subprocess.run(
            [args.ttad, "adapt", args.model, "--policy", file.name, "--inputs", images, "--labels",
             args.images / "labels.npy", "--batch", str(args.batch), "--threads",
             str(args.threads), "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("images", type=pathlib.Path)
    p.add_argument("--batch", type=int, default=200)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--ttad", default="build/release/ttad")
    args = p.parse_args()
    print("| images | frozen | norm | tent |\n| --- | --- | --- | --- |")
    for images in sorted(args.images.glob("*.npy")):
        if images.stem == "labels":
            continue
        norm, tent = adapt(args, "norm", images), adapt(args, "tent", images)
        print(f"| {images.stem} | {100 * norm['accuracy_frozen']:.2f} "
              f"| {100 * norm['accuracy_adapted']:.2f} | {100 * tent['accuracy_adapted']:.2f} |",
              flush=True)


if __name__ == "__main__":
    main()
