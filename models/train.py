# SPDX-License-Identifier: Apache-2.0
"""Trains the demo model, a small residual network on Fashion-MNIST, and writes it as ONNX.

    pip install torch==2.13.0 onnx
    python3 models/train.py --data DIR      (DIR: see models/fashion.py)

Nobody who runs ttad needs this: fashion_resnet.onnx is in the repository.

The images are only flipped and shifted in training.  Noise, blur, fog and contrast are what
the demo's stream drifts into, so the model must not have seen them.
"""

import argparse
import pathlib
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import fashion

SEED = 7
CHANNELS = (16, 32, 64)
BATCH, LR, DECAY = 128, 0.1, 5e-4
SHIFT = 2  # pixels, at most, either way


class Block(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))"""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Sequential()
        if stride != 1 or cin != cout:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False),
                                          nn.BatchNorm2d(cout))
            # This bias and bn2's are added up, so they get the same gradients.  Were they to
            # start alike they would stay alike, and the exporter would store them as one.
            nn.init.normal_(self.shortcut[1].bias, std=0.1)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class Net(nn.Module):
    """[n, 1, 28, 28] to [n, 10]: a convolution, three stages of one block, mean, linear."""

    def __init__(self):
        super().__init__()
        a, b, c = CHANNELS
        self.conv1 = nn.Conv2d(1, a, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(a)
        self.layer1 = nn.Sequential(Block(a, a, 1))
        self.layer2 = nn.Sequential(Block(a, b, 2))
        self.layer3 = nn.Sequential(Block(b, c, 2))
        self.linear = nn.Linear(c, len(fashion.CLASSES))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def preprocess(images):
    """uint8 [n, 28, 28, 1] to the model's input, float32 [n, 1, 28, 28]."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return (x / 255 - fashion.MEAN) / fashion.STD


def augment(images, rng):
    """Flip half of them, shift each by up to SHIFT pixels; zeros come in."""
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    y, x = rng.integers(0, 2 * SHIFT + 1, (2, n))
    rows = y[:, None] + np.arange(height)
    cols = x[:, None] + np.arange(width)
    flip = rng.random(n) < 0.5
    cols[flip] = cols[flip, ::-1]
    return padded[np.arange(n)[:, None, None], rows[:, :, None], cols[:, None, :]]


@torch.no_grad()
def accuracy(net, images, labels):
    net.eval()
    hits = sum((net(preprocess(images[i:i + 500])).argmax(1).numpy() == labels[i:i + 500]).sum()
               for i in range(0, len(images), 500))
    return hits / len(images)


def train(net, sets, epochs):
    images, labels = sets["train"]
    rng = np.random.default_rng(SEED)
    steps = epochs * (len(images) // BATCH)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": DECAY}, {"params": others}],
                                lr=LR, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        net.train()
        start, total = time.monotonic(), 0.0
        order = rng.permutation(len(images))[:len(images) // BATCH * BATCH].reshape(-1, BATCH)
        for rows in order:
            x = preprocess(augment(images[rows], rng)).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(net(x), torch.from_numpy(labels[rows]).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}  loss {total / len(order):.4f}  held-out "
              f"{accuracy(net, *sets['tune']):.4f}  {time.monotonic() - start:.0f} s", flush=True)


def export(net, path):
    """Eval mode and PRESERVE keep BatchNormalization as nodes: that is what adapts."""
    net = net.to(memory_format=torch.contiguous_format).eval()
    torch.onnx.export(net, torch.zeros(2, 1, 28, 28), path, dynamo=False, opset_version=13,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["image"], output_names=["logits"],
                      dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}})


def load(path):
    """The network with the weights of an ONNX file that export() wrote."""
    import onnx
    from onnx import numpy_helper
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
              for t in onnx.load(path).graph.initializer}
    net = Net()
    missing, unexpected = net.load_state_dict(stored, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise SystemExit(f"{path}: lacks {missing}, has unknown {unexpected}")
    return net.eval()


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description="train the demo model")
    parser.add_argument("--data", required=True, help="folder of the npm package fashion-mnist")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=here / "fashion_resnet.onnx")
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    sets = fashion.split(args.data)
    net = Net().to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in net.parameters())} parameters, {len(sets['train'][0])} images")
    train(net, sets, args.epochs)
    export(net, args.out)
    for name in ("tune", "scored", "test"):
        print(f"accuracy, {name}: {accuracy(load(args.out), *sets[name]):.4f}")


if __name__ == "__main__":
    main()
