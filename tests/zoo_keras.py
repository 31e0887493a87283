# SPDX-License-Identifier: Apache-2.0
"""Models as Keras and tf2onnx export them: do they load, answer as ONNX Runtime does, and adapt?

    python3 tests/zoo_keras.py [--ttad build/release/ttad] [--only ResNet50,ViT]
                               [--write docs/zoo.md] [--keep build/zoo]

Needs tensorflow, keras 3, tf2onnx and onnxruntime; without them it says what is missing and does
nothing.  Models are those of keras.applications, and some of Keras' layers, with random weights and
running statistics.  Asked is what tests/zoo.py asks, the two steps of Tent against the same two in
TensorFlow.  `export` is Keras' own model.export, `from_keras` tf2onnx', `kept` the recipe of
docs/exporters.md, which is run as it stands there.  Exits with 1 if a model is refused that should
not be, or differs.
"""

import argparse
import datetime
import os
import pathlib
import re
import sys
import time
import warnings

import numpy as np
import zoo

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = zoo.ROOT
BEGIN = "<!-- tests/zoo_keras.py writes from here -->"
RECIPE = "<!-- tests/zoo_keras.py runs what follows -->"
CLASSES = 10
RATES = {"bn": 1e-4, "ln": 1e-2, "gn": 1e-2,
         "MobileNetV3Small": 0.1, "Xception": 0.1,  # whose logits are close to 0
         "InceptionV3": 1e-5}  # whose steps are large


def application(name, size=64):
    def make(keras):
        model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3),
                                                  classes=CLASSES)
        return model, {model.inputs[0].name: images(size)}

    return make


def images(size):
    return np.random.default_rng(1).standard_normal((zoo.ROWS, size, size, 3)).astype(np.float32)


def places(keras, token):
    """A layer that adds an embedding of each position, behind a class token or not."""

    class Places(keras.layers.Layer):
        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
            self.table = self.add_weight(shape=(1, shape[1] + token, shape[-1]), name="table")

        def call(self, x):
            first = keras.ops.tile(self.token, [keras.ops.shape(x)[0], 1, 1])
            return (keras.ops.concatenate([first, x], 1) if token else x) + self.table

    return Places()


def vit(keras):
    """A vision transformer of two layers: patches, a class token, attention."""
    layers = keras.layers
    given = keras.Input((32, 32, 3), name="image")
    x = places(keras, True)(layers.Reshape((64, 64))(layers.Conv2D(64, 4, 4)(given)))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(4, 16)(y, y)
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.Dense(64)(layers.Dense(128, activation="gelu")(y))
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.Model(given, layers.Dense(CLASSES)(x[:, 0])), {"image": images(32)}


def bert(keras):
    """An encoder of two layers over words, with a mask of those that are there."""
    layers, rng, tokens = keras.layers, np.random.default_rng(2), 24
    words = keras.Input((tokens,), dtype="int32", name="words")
    mask = keras.Input((tokens,), dtype="int32", name="mask")
    x = places(keras, False)(layers.Embedding(1000, 64)(words))
    x = layers.LayerNormalization(epsilon=1e-12)(x)
    seen = layers.Reshape((1, tokens))(mask)
    for _ in range(2):
        y = layers.MultiHeadAttention(4, 16)(x, x, attention_mask=seen)
        x = layers.LayerNormalization(epsilon=1e-12)(x + y)
        y = layers.Dense(64)(layers.Dense(128, activation="gelu")(x))
        x = layers.LayerNormalization(epsilon=1e-12)(x + y)
    y = layers.Dense(CLASSES, activation="softmax")(layers.Dense(64, activation="tanh")(x[:, 0]))
    there = np.ones((zoo.ROWS, tokens), np.int32)
    there[1, tokens // 2:] = 0
    return keras.Model([words, mask], y), {
        "words": rng.integers(1, 1000, (zoo.ROWS, tokens)).astype(np.int32), "mask": there}


def groups(keras):
    """A small convolutional network with GroupNormalization."""
    layers = keras.layers
    given = keras.Input((32, 32, 3), name="image")
    x = given
    for width in (16, 32, 64):
        x = layers.Conv2D(width, 3, 2, padding="same")(x)
        x = layers.Activation("swish")(layers.GroupNormalization(8)(x))
    y = layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(given, y), {"image": images(32)}


def sequence(keras):
    return np.random.default_rng(3).standard_normal((zoo.ROWS, 64, 6)).astype(np.float32)


def conv1d(keras):
    """Convolutions along a sequence, with BatchNormalization."""
    layers = keras.layers
    given = keras.Input((64, 6), name="series")
    x = given
    for width, padding in ((16, "same"), (32, "causal"), (32, "valid")):
        x = layers.Conv1D(width, 5, padding=padding)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling1D()(layers.MaxPooling1D(2)(x))
    y = layers.Dense(CLASSES, activation="softmax")(layers.BatchNormalization()(x))
    return keras.Model(given, y), {"series": sequence(keras)}


def two_classes(keras):
    """A perceptron that ends in one Sigmoid."""
    layers = keras.layers
    given = keras.Input((20,), name="features")
    x = layers.LayerNormalization()(layers.Dense(32, activation="relu")(given))
    return keras.Model(given, layers.Dense(1, activation="sigmoid")(x)), {
        "features": np.random.default_rng(4).standard_normal((zoo.ROWS, 20)).astype(np.float32)}


def recurrent(kind):
    def make(keras):
        given = keras.Input((64, 6), name="series")
        x = keras.layers.LayerNormalization()(getattr(keras.layers, kind)(16)(given))
        y = keras.layers.Dense(CLASSES, activation="softmax")(x)
        return keras.Model(given, y), {"series": sequence(keras)}

    return make


FAMILIES = {name: application(name) for name in (
    "ResNet50", "ResNet50V2", "MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0",
    "EfficientNetV2B0", "DenseNet121", "NASNetMobile", "ConvNeXtTiny", "VGG16")}
FAMILIES |= {"Xception": application("Xception", 96), "InceptionV3": application("InceptionV3", 160),
             "ViT": vit, "encoder with a mask": bert, "GroupNormalization": groups,
             "Conv1D": conv1d, "one Sigmoid": two_classes,
             "LSTM": recurrent("LSTM"), "GRU": recurrent("GRU")}
UNSUPPORTED = {"LSTM": "operator 'LSTM'", "GRU": "operator 'Loop'"}  # what the refusal is to say

# What tf2onnx does not know, and so is exported by the recipe alone.
CAPTURED = {"EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"}  # whose constants become inputs
UNKNOWN = {"ViT": "Erfc", "encoder with a mask": "Erfc", "ConvNeXtTiny": "StatefulPartitionedCall"}


def normalisations(keras, model):
    kinds = {keras.layers.BatchNormalization: "bn", keras.layers.LayerNormalization: "ln",
             keras.layers.GroupNormalization: "gn"}
    return [(kinds[type(x)], x) for x in model._flatten_layers() if type(x) in kinds]


def stir(keras, model):
    """Move normalisations away from where they begin, running statistics too."""
    rng = np.random.default_rng(0)
    for kind, layer in normalisations(keras, model):
        if layer.gamma is not None:
            layer.gamma.assign(1 + .1 * rng.standard_normal(layer.gamma.shape))
        if layer.beta is not None:
            layer.beta.assign(.1 * rng.standard_normal(layer.beta.shape))
        if kind == "bn":
            layer.moving_mean.assign(.1 * rng.standard_normal(layer.moving_mean.shape))
            layer.moving_variance.assign(1 + .2 * rng.random(layer.moving_variance.shape))


def recipe():
    """What docs/exporters.md has: its export_with_batchnorm."""
    text = (ROOT / "docs/exporters.md").read_text().partition(RECIPE)[2]
    names = {}
    exec(re.search("```python\n(.*?)```", text, re.S)[1], names)
    return names["export_with_batchnorm"]


def export(keras, model, path, how):
    import tensorflow as tf
    import tf2onnx
    from tf2onnx.handler import tf_op
    from tf2onnx.optimizer import back_to_back_optimizer

    call, folds = keras.layers.BatchNormalization.call, dict(back_to_back_optimizer._func_map)
    if how == "from_keras":
        signature = [tf.TensorSpec((None, *i.shape[1:]), i.dtype, name=i.name) for i in model.inputs]
        tf2onnx.convert.from_keras(model, input_signature=signature, output_path=path)
    elif how == "kept":
        recipe()(model, path)
        for version in tf_op.get_opsets()[""]:  # the others are to go without it
            version.pop("Erfc", None)
    else:
        model.export(path, format="onnx", verbose=False)
    keras.layers.BatchNormalization.call = call
    back_to_back_optimizer._func_map.update(folds)


def centred(y):
    """Logits, but for a number a row, of what a model answers: of these, or of probabilities."""
    y = np.asarray(y, np.float64)
    if y.shape[1] == 1:  # of the second of two classes
        y = np.concatenate([1 - y, y], 1)
    if (y >= 0).all() and np.allclose(y.sum(1), 1, atol=1e-5):
        y = np.log(np.maximum(y, 1e-38))
    return y - y.mean(1, keepdims=True)


def batch_statistics(layer, x, training=None, mask=None):
    import tensorflow as tf

    mean, var = tf.nn.moments(x, list(range(len(x.shape) - 1)))
    return tf.nn.batch_normalization(x, mean, var, layer.beta, layer.tent_gamma, layer.epsilon)


def tensorflow_logits(keras, model, inputs, rate):
    """Tent in TensorFlow: centred logits before each step, and after the last."""
    import tensorflow as tf

    adapted, call = [], keras.layers.BatchNormalization.call
    for kind, layer in normalisations(keras, model):
        if kind == "bn":  # a scale that Keras leaves out is one in the file
            layer.tent_gamma = (layer.gamma.value if layer.gamma is not None else
                                tf.Variable(tf.ones_like(layer.moving_mean)))
            adapted += [layer.tent_gamma, layer.beta.value]
        else:
            adapted += [layer.gamma.value, layer.beta.value]
    keras.layers.BatchNormalization.call = batch_statistics
    answers = []
    given = list(inputs.values())
    for _ in range(zoo.STEPS + 1):
        with tf.GradientTape() as tape:
            y = model(given if len(given) > 1 else given[0], training=False)
            answers.append(centred(y.numpy()))
            if y.shape[1] == 1:
                y = tf.concat([1 - y, y], 1)
            p = y if np.allclose(y.numpy().sum(1), 1, atol=1e-5) else tf.nn.softmax(y)
            loss = -tf.reduce_mean(tf.reduce_sum(p * tf.math.log(p), 1))
        for v, g in zip(adapted, tape.gradient(loss, adapted)):
            v.assign_sub(rate * g)
    keras.layers.BatchNormalization.call = call
    return np.stack(answers)


def examine(args, keras, row, model, inputs, path, want):
    """Fill a row; raises what ttad says of a file that it does not take."""
    got = centred(zoo.ttad_logits(args, path, "source.yaml", inputs, 1)[0])
    error = float(np.abs(got - want).max() / np.abs(want).max())
    row["loads"], row["error"] = "yes", f"{error:.1e}"
    if not error <= zoo.TOLERANCE:
        row["why"] = f"answers differ by more than {zoo.TOLERANCE}"
    norms = normalisations(keras, model)
    kinds, found = zoo.selected(args, path)
    row["selected"] = f"{kinds}: {found}"
    if found != sum(2 * layer.beta.shape[0] for _, layer in norms):
        row["why"] = "Keras' normalisations have more scalars, or fewer"
    weights = model.get_weights()
    theirs = tensorflow_logits(keras, model, inputs, args.rate)
    model.set_weights(weights)
    answers = zoo.ttad_logits(args, path, "tent.yaml", inputs, zoo.STEPS + 1)
    ours = np.stack([centred(y) for y in answers])
    moved, theirs_moved = ours[-1] - ours[0], theirs[-1] - theirs[0]
    drift = float(np.abs(moved - theirs_moved).max())
    rounding = float(np.abs(ours[0] - theirs[0]).max())
    size = float(np.abs(theirs_moved).max())
    row["entropy"] = f"{zoo.entropy(answers[0]):.4f} → {zoo.entropy(answers[-1]):.4f}"
    row["drift"] = f"{drift / size:.1e}"
    if not (np.isfinite(ours).all() and drift <= zoo.DRIFT * size + rounding
            and zoo.entropy(answers[-1]) < zoo.entropy(answers[0])):
        row["why"] = "the steps differ from TensorFlow's"


def told(args, name, has_bn, how, error):
    """What a refusal comes to in the table, and whether it is one that should be."""
    if "no parameter matches" in error and (has_bn and how != "kept"):
        return "none: folded; refused with how to export", "export_with_batchnorm" not in error
    if "no parameter matches" in error and name == "VGG16":
        return "none: it has none; refused", False
    return "", not (name in UNSUPPORTED and UNSUPPORTED[name] in error and "opset" in error)


def one(args, keras, name, how, model, inputs):
    row = {"model": f"{name}, {model.count_params() / 1e6:.1f} M", "export": how, "loads": "no",
           "error": "", "selected": "", "entropy": "", "drift": "", "why": ""}
    path = str(args.keep / f"keras-{name.replace(' ', '_')}-{how}.onnx")
    kinds = [k for k, _ in normalisations(keras, model)]
    args.rate = RATES.get(name, RATES["bn" if "bn" in kinds else kinds[0] if kinds else "ln"])
    (args.keep / "tent.yaml").write_text(zoo.TENT.format(rate=args.rate))
    try:
        export(keras, model, path, how)
    except Exception as e:  # whatever an exporter throws is its own word
        row["why"] = f"not exported: {type(e).__name__}: {str(e).splitlines()[0][:120]}"
        return row, True
    try:
        want = centred(zoo.onnxruntime_logits(path, inputs))
    except Exception as e:  # an exporter may leave what is no operator of ONNX
        if name in CAPTURED and how == "export" and "Required inputs" in str(e):
            row["why"] = "a layer's constants are inputs of the file"
            return row, False
        if name in UNKNOWN and how != "kept" and UNKNOWN[name] in str(e):
            row["why"] = f"tf2onnx leaves {UNKNOWN[name]}, no operator of ONNX, in the file"
            return row, False
        row["why"] = str(e)[:200]
        return row, True
    try:
        examine(args, keras, row, model, inputs, path, want)
    except RuntimeError as e:
        error = str(e).replace(path + ": ", "").partition(": ")[2]
        row["selected"], wrong = told(args, name, "bn" in kinds, how, error)
        row["why"] = "" if row["selected"] else error
        return row, wrong
    return row, bool(row["why"])


def rows_of(args, keras, name):
    keras.utils.set_random_seed(0)
    model, inputs = FAMILIES[name](keras)
    model(list(inputs.values()) if len(inputs) > 1 else next(iter(inputs.values())))
    stir(keras, model)
    has_bn = any(k == "bn" for k, _ in normalisations(keras, model))
    for how in ["export", "from_keras"] + ["kept"] * (has_bn or name in UNKNOWN):
        if how in args.export.split(","):
            began = time.monotonic()
            row, wrong = one(args, keras, name, how, model, inputs)
            print(f"{name} {how} {time.monotonic() - began:.0f} s{' WRONG' * wrong}: "
                  f"{ {k: v for k, v in row.items() if v} }", file=sys.stderr, flush=True)
            yield row, wrong


def table(rows):
    lines = ["| model | export | loads | to ONNX Runtime | selected: scalars | entropy, two steps "
             "| to TensorFlow's steps | |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(str(v).replace("|", "\\|") for v in r.values()) + " |" for r in rows]
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--ttad", type=pathlib.Path, default=ROOT / "build/release/ttad")
    p.add_argument("--only", default=",".join(FAMILIES))
    p.add_argument("--export", default="export,from_keras,kept")
    p.add_argument("--write", type=pathlib.Path, help="a document to write the table into")
    p.add_argument("--keep", type=pathlib.Path, default=ROOT / "build/zoo")
    args = p.parse_args()
    for name in args.only.split(","):
        if name not in FAMILIES:
            p.error(f"--only: no family '{name}', want some of {', '.join(FAMILIES)}")
    warnings.filterwarnings("ignore")
    try:
        import keras
        import onnxruntime
        import tensorflow
        import tf2onnx
    except ImportError as e:
        print(f"zoo_keras: {e}: no table of Keras' models (needs tensorflow, keras, tf2onnx, "
              "onnxruntime)", file=sys.stderr)
        return 0
    args.keep.mkdir(parents=True, exist_ok=True)
    (args.keep / "source.yaml").write_text(zoo.SOURCE)
    rows = [r for name in args.only.split(",") for r in rows_of(args, keras, name)]
    text = (f"{datetime.date.today()}: TensorFlow {tensorflow.__version__}, Keras "
            f"{keras.__version__}, tf2onnx {tf2onnx.__version__}, ONNX Runtime "
            f"{onnxruntime.__version__}.\n\n{table([r for r, _ in rows])}")
    print(text)
    if args.write:
        zoo.write(args.write, text, BEGIN)
    return 1 if any(wrong for _, wrong in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
