# SPDX-License-Identifier: Apache-2.0
"""The networks of bench/compare.py, with seeded random weights, and their ONNX files.

The first five are written out here; FAMILIES are classes of `transformers` in their own sizes, which
is only needed where one of them is asked for.

Scales and shifts of normalisations are drawn, too: fresh ones are all equal, and exporters merge
equal initializers.  Running statistics are those of a batch of noise, so that activations keep
their size through any depth."""

import math
import pathlib

import torch
from torch import nn
from torch.nn import functional as F

SEED = 20260701
NORMS = (nn.BatchNorm2d, nn.LayerNorm)


class BasicBlock(nn.Module):
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
    """He et al. 2016 for CIFAR: 6 * blocks + 2 layers."""

    def __init__(self, blocks, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16] * (blocks + 1) + [32] * blocks + [64] * blocks
        self.blocks = nn.Sequential(
            *[BasicBlock(a, b, 1 if a == b else 2) for a, b in zip(widths, widths[1:])]
        )
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class WideBlock(nn.Module):
    """Norm and activation before each convolution; a convolution on the shortcut where the shape
    changes."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.shortcut = None if cin == cout else nn.Conv2d(cin, cout, 1, stride, 0, bias=False)

    def forward(self, x):
        y = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(y))))
        return out + (self.shortcut(y) if self.shortcut else x)


class WideResNet(nn.Module):
    """Zagoruyko and Komodakis 2016 for CIFAR: 6 * blocks + 4 layers, widen times as wide."""

    def __init__(self, blocks, widen, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        rows, cin = [], 16
        for cout, stride in ((16 * widen, 1), (32 * widen, 2), (64 * widen, 2)):
            for k in range(blocks):
                rows.append(WideBlock(cin, cout, stride if k == 0 else 1))
                cin = cout
        self.blocks = nn.Sequential(*rows)
        self.bn = nn.BatchNorm2d(cin)
        self.linear = nn.Linear(cin, classes)

    def forward(self, x):
        x = F.relu(self.bn(self.blocks(self.conv1(x))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.heads, self.size = heads, dim // heads

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = (
            f(x).view(n, t, self.heads, self.size).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(n, t, d))


class Layer(nn.Module):
    """Of an encoder: norms before (ViT) or after (BERT) attention and the two products."""

    def __init__(self, dim, heads, before):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.before = before

    def feed(self, x):
        return self.down(F.gelu(self.up(x)))

    def forward(self, x):
        if self.before:
            x = x + self.attention(self.norm1(x))
            return x + self.feed(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.feed(x))


class ViT(nn.Module):
    """Dosovitskiy et al. 2021, small: patches of 16 x 16 of an image of 224 x 224."""

    def __init__(self, dim=384, depth=12, heads=6, classes=1000):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.place = nn.Parameter(torch.randn(1, 197, dim) * 0.02)
        self.layers = nn.Sequential(*[Layer(dim, heads, True) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.layers(x))[:, 0])


class Bert(nn.Module):
    """Devlin et al. 2019, base, over 128 tokens, with a classifier on the first one."""

    def __init__(self, dim=768, depth=12, heads=12, words=30522, length=128, classes=4):
        super().__init__()
        self.words, self.places = nn.Embedding(words, dim), nn.Embedding(length, dim)
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.Sequential(*[Layer(dim, heads, False) for _ in range(depth)])
        self.pool, self.head = nn.Linear(dim, dim), nn.Linear(dim, classes)

    def forward(self, ids):
        x = self.layers(self.norm(self.words(ids) + self.places.weight))
        return self.head(torch.tanh(self.pool(x[:, 0])))


class Classifier(nn.Module):
    """A classifier of `transformers` for images or tokens, in its own size, of which only the
    logits are wanted."""

    def __init__(self, name, **config):
        super().__init__()
        config_class, net_class = classes(name)
        config = config_class(**config)
        config.num_labels = 1000 if hasattr(config, "num_channels") else 4
        self.net = net_class(config)

    def forward(self, x):
        return self.net(x).logits


def classes(name):
    """The classes of `transformers` that a family is made by."""
    import transformers

    task = "Sequence" if name == "DistilBert" else "Image"
    return (
        getattr(transformers, f"{name}Config"),
        getattr(transformers, f"{name}For{task}Classification"),
    )


def import_classes(name):
    """Read the code that a model is made of, so that it is not taken for the model's memory."""
    if name in FAMILIES:
        classes(FAMILIES[name][1].__defaults__[0])


def family(title, name, shape=(3, 224, 224), words=0, **config):
    return title, lambda name=name: Classifier(name, **config), shape, words


#        name: how it is called, how it is made, the shape of a row, in tokens
MODELS = {
    "resnet20": ("ResNet-20", lambda: ResNet(3), (3, 32, 32), 0),
    "resnet56": ("ResNet-56", lambda: ResNet(9), (3, 32, 32), 0),
    "wrn28_10": ("WideResNet-28-10", lambda: WideResNet(4, 10), (3, 32, 32), 0),
    "vit_small": ("ViT-small/16, 224", ViT, (3, 224, 224), 0),
    "bert_base": ("BERT-base, 128 tokens", Bert, (128,), 30522),
}
FAMILIES = {
    "resnet50": family("ResNet-50", "ResNet"),
    "mobilenet_v1": family("MobileNetV1", "MobileNetV1"),
    "mobilenet_v2": family("MobileNetV2", "MobileNetV2"),
    "efficientnet_b0": family(
        "EfficientNet-B0",
        "EfficientNet",
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
    ),
    "regnet": family("RegNet-Y", "RegNet"),
    "convnext": family("ConvNeXt-T", "ConvNext"),
    "swin": family("Swin-T", "Swin"),
    "deit": family("DeiT-B", "DeiT"),
    "distilbert": family("DistilBERT, 128 tokens", "DistilBert", (128,), 30522),
}
NETWORKS = {**MODELS, **FAMILIES}
CONVOLUTIONAL = ("resnet20", "resnet56", "wrn28_10", *list(FAMILIES)[:5])


def rows_of(name, n, seed=0):
    """A batch of n rows: images of noise, or tokens."""
    _, _, shape, words = NETWORKS[name]
    draw = torch.Generator().manual_seed(seed)
    if words:
        return torch.randint(0, words, (n, *shape), generator=draw)
    return torch.randn(n, *shape, generator=draw)


def make(name):
    """The network, in eval(), always with the same weights."""
    torch.manual_seed(SEED)
    net = NETWORKS[name][1]()
    norms = [m for m in net.modules() if isinstance(m, NORMS)]
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(m.weight, std=math.sqrt(2 / m.weight[0].numel()))
        for m in norms:
            m.weight.copy_(1 + 0.1 * torch.randn_like(m.weight))
            m.bias.copy_(0.1 * torch.randn_like(m.bias))
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = None  # so that one batch's statistics become the running ones
        if any(isinstance(m, nn.BatchNorm2d) for m in norms):
            net.train()(rows_of(name, 8, SEED))
    return net.eval()


def export(name, folder):
    """The path of its ONNX file, made where there is none."""
    version = torch.__version__
    if name in FAMILIES:
        import transformers

        version += f"-{transformers.__version__}"
    path = pathlib.Path(folder) / f"{name}-{version}-{SEED}.onnx"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    keep = {}
    if name in CONVOLUTIONAL:  # by default exporters fold batch normalisation into convolutions
        keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    part = path.with_suffix(".part")
    torch.onnx.export(
        make(name),
        rows_of(name, 2),
        str(part),
        opset_version=17,
        dynamo=False,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}},
        **keep,
    )
    part.rename(path)
    return path
