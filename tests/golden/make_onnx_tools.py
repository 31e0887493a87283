#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the small ONNX files of tests/golden/onnx that look as other tools than PyTorch write them:
classifiers that end in probabilities, outputs that nobody asks for, operators of ai.onnx.ml.

    python3 tests/golden/make_onnx_tools.py tests/golden/onnx

Beside each model that can be read, NAME.3.npy holds the probabilities (or scores, where it has only
these) that onnxruntime answers to a batch as make_onnx.py has it.
"""
import os

import numpy as np
import onnxruntime
from make_onnx import OUT, T, h, ints, nh, save, x, y

ML = "ai.onnx.ml"
ROWS = 3
OWN = np.random.default_rng(21)
node = h.make_node


def some(*shape):
    return (OWN.standard_normal(shape) * .7).astype(np.float32)


def weight(name, *shape):
    return nh.from_array(some(*shape), name)


def one(name="one", v=1.0):
    return nh.from_array(np.float32([v]), name)


def ml(op, ins, outs, name, **attrs):
    return node(op, ins, outs, name, domain=ML, **attrs)


def floats(name, *shape):
    return h.make_tensor_value_info(name, T.FLOAT, shape)


def label(name="label"):
    return h.make_tensor_value_info(name, T.INT64, ("n",))


def answer(file, output="y"):
    session = onnxruntime.InferenceSession(os.path.join(OUT, file + ".onnx"),
                                           providers=["CPUExecutionProvider"])
    dims = [ROWS] + session.get_inputs()[0].shape[1:]
    values = np.sin(0.37 * np.arange(int(np.prod(dims)))).astype(np.float32).reshape(dims)
    out = session.run([output], {"x": values})[0]
    if isinstance(out, list):  # of dictionaries
        out = np.float32([[row[k] for k in sorted(row)] for row in out])
    np.save(os.path.join(OUT, f"{file}.{ROWS}.npy"), out)


def rows(file, nodes, weights, outputs=None, shape=("n", 4), save_answer=True, **kw):
    save(file, nodes, [x(shape=shape)], outputs or [y()], weights, **kw)
    if save_answer:
        answer(file)


def dense(o, name="head", classes=3):
    return node("Gemm", ["x", name + ".weight", name + ".bias"], [o], name)


def dense_weights(name="head", classes=3):
    return [weight(name + ".weight", 4, classes), weight(name + ".bias", classes)]


def linear(outs, classes=3, name="classifier", opposed=False, **attrs):
    c, b = some(classes, 4), some(classes)
    if opposed:
        c[0], b[0] = -c[1], -b[1]
    given = dict(classlabels_ints=list(range(classes)), coefficients=c.reshape(-1).tolist(),
                 intercepts=b.tolist(), multi_class=0, post_transform="NONE")
    given.update(attrs)
    return ml("LinearClassifier", ["x"], outs, name,
              **{k: v for k, v in given.items() if v is not None})


def probabilities():
    rows("end_softmax", [dense("z"), node("Softmax", ["z"], ["y"], "softmax", axis=-1)],
         dense_weights())
    # the older form, as Keras' MobileNet has it: over a map of one pixel, reshaped behind it
    rows("end_softmax_map",
         [node("Conv", ["x", "conv.weight"], ["c"], "conv", kernel_shape=[3, 3]),
          node("GlobalAveragePool", ["c"], ["g"], "pool"),
          node("Softmax", ["g"], ["p"], "softmax", axis=1), node("Flatten", ["p"], ["y"], "line")],
         [weight("conv.weight", 3, 2, 3, 3)], shape=("n", 2, 6, 6))
    rows("end_logsoftmax", [dense("z"), node("LogSoftmax", ["z"], ["y"], "softmax", axis=-1)],
         dense_weights())
    rows("end_sigmoid", [dense("z"), node("Sigmoid", ["z"], ["y"], "sigmoid")],
         dense_weights(classes=1))
    rows("end_pair", [dense("z"), node("Sigmoid", ["z"], ["p"], "sigmoid"),
                      node("Sub", ["one", "p"], ["q"], "other"),
                      node("Concat", ["q", "p"], ["y"], "both", axis=1)],
         dense_weights(classes=1) + [one()])
    rows("end_exp", [dense("z"), node("LogSoftmax", ["z"], ["l"], "log", axis=1),
                     node("Exp", ["l"], ["y"], "exp")], dense_weights())
    # one against the rest, as scikit-learn's SGDClassifier: what keeps a sum of 0 from dividing
    rows("end_sum", [dense("z"), node("Sigmoid", ["z"], ["p"], "sigmoid"),
                     node("ReduceSum", ["p", "axis"], ["s"], "sum"),
                     node("Cast", ["s"], ["b"], "b", to=T.BOOL), node("Not", ["b"], ["nb"], "nb"),
                     node("Cast", ["nb"], ["empty"], "empty", to=T.FLOAT),
                     node("Add", ["p", "empty"], ["p2"], "p2"),
                     node("Mul", ["empty", "three"], ["mask"], "mask"),
                     node("Add", ["s", "mask"], ["s2"], "s2"), node("Div", ["p2", "s2"], ["y"], "y")],
         dense_weights() + [ints("axis", [1]), one("three", 3)])
    # what looks like one of these, and is not
    rows("end_no_pair", [dense("z"), node("Sigmoid", ["z"], ["p"], "sigmoid"),
                         node("Sub", ["two", "p"], ["q"], "other"),
                         node("Concat", ["q", "p"], ["y"], "both", axis=1)],
         dense_weights(classes=1) + [one("two", 2)])
    rows("end_signed", [dense("z"), ml("Normalizer", ["z"], ["y"], "sum", norm="L1")],
         dense_weights(), domains=[ML])
    rows("end_labels", [dense("z"), node("Sigmoid", ["z"], ["y"], "sigmoid")], dense_weights(),
         save_answer=False)


def keras_norm(i, o, axes, name, w="weight", b="bias", deviation=None, negated=None, **kw):
    """x * s + (bias - mean * s) with s = weight / deviation; axes None: as a GlobalAveragePool."""
    p = name + "."
    mean = lambda i, o: (node("GlobalAveragePool", [i], [o], o) if axes is None else
                         node("ReduceMean", [i], [o], o, axes=axes))
    return [mean(i, p + "mean"), node("Neg", [negated or p + "mean"], [p + "neg"], p + "neg"),
            node("Sub", [i, p + "mean"], [p + "d"], p + "d"),
            node("Mul", [p + "d", p + "d"], [p + "sq"], p + "sq"), mean(p + "sq", p + "var"),
            node("Add", [p + "var", "eps"], [p + "e"], p + "e"),
            node("Sqrt", [p + "e"], [p + "root"], p + "root"),
            node("Reciprocal", [deviation or p + "root"], [p + "r"], p + "r"),
            node("Mul", [p + "r", p + w], [p + "s"], p + "s"),
            node("Mul", [i, p + "s"], [p + "xs"], p + "xs"),
            node("Mul", [p + "neg", p + "s"], [p + "ms"], p + "ms"),
            node("Add", [p + "ms", p + b], [p + "b"], p + "b"),
            node("Add", [p + "xs", p + "b"], [o], name)]


def norm_weights(name, *shape):
    return [weight(name + ".weight", *shape), weight(name + ".bias", *shape)]


def keras():
    eps = one("eps", 1e-3)
    norms = [eps, *norm_weights("first", 1, 1, 6), *norm_weights("second", 6)]
    line = node("Flatten", ["a2"], ["y"], "line")
    rows("keras_norms", keras_norm("x", "a", None, "first") + keras_norm("a", "a2", [2], "second")
         + [line], norms, shape=("n", 4, 6))
    # the same, with a mean computed twice
    twice = [node("ReduceMean", ["x"], ["x.mean"], "x.mean", axes=[-1]),
             node("ReduceMean", ["a"], ["a.mean"], "a.mean", axes=[-1])]
    rows("keras_norms_apart",
         twice[:1] + keras_norm("x", "a", None, "first", negated="x.mean")
         + twice[1:] + keras_norm("a", "a2", [2], "second", negated="a.mean") + [line], norms,
         shape=("n", 4, 6))
    # a group of three of six channels, which are last
    rows("keras_groups",
         [node("Reshape", ["x", "groups"], ["g"], "split"),
          *keras_norm("g", "h", [1, 3], "norm"), node("Reshape", ["h", "flat"], ["y"], "join")],
         [eps, ints("groups", [-1, 4, 2, 3]), ints("flat", [-1, 4, 6]),
          *norm_weights("norm", 1, 1, 2, 3)], shape=("n", 4, 6))
    # the mean is of another, the deviation is, the weight is one of rows, the mean is over rows
    rows("keras_not",
         keras_norm("x", "a", [2], "first") + keras_norm("a", "b", [2], "mean", negated="first.mean")
         + keras_norm("b", "c", [2], "deviation", deviation="first.root")
         + keras_norm("c", "d", [2], "rows") + keras_norm("d", "y", [1], "over"),
         [eps, *norm_weights("first", 6), *norm_weights("mean", 6), *norm_weights("deviation", 6),
          *norm_weights("rows", 4, 1), *norm_weights("over", 6)], shape=("n", 4, 6))


def gelu():
    """.5 x (1 - erf(-x / sqrt(2))), and the same with another sign or number."""
    def one_gelu(i, o, negated=True, root=2 ** -.5):
        return [node("Neg", [i], [o + ".n"], o + ".n"),
                h.make_node("Constant", [], [o + ".c"], o + ".c", value_float=root),
                node("Mul", [o + ".n" if negated else i, o + ".c"], [o + ".i"], o + ".i"),
                node("Erf", [o + ".i"], [o + ".e"], o + ".e"),
                node("Sub", ["one", o + ".e"], [o + ".q"], o + ".q"),
                node("Mul", ["half", i], [o + ".h"], o + ".h"),
                node("Mul", [o + ".h", o + ".q"], [o], o)]

    rows("keras_gelu", one_gelu("x", "a") + one_gelu("a", "b", False) + one_gelu("b", "y", root=.5),
         [one(), one("half", .5)])


def column():
    # one of two scores, as LinearSVC has it; the answer has both
    rows("ml_column",
         [linear(["label", "s"], 2, opposed=True), ml("ArrayFeatureExtractor", ["s", "one"], ["y"], "c")],
         [ints("one", [1])], [label(), floats("y", "n", 1)], domains=[ML])


def turned():
    """A network whose channels are last, and the same with them at 1."""
    bn = [nh.from_array((1 + np.abs(some(4))).astype(np.float32), "bn.weight"),
          weight("bn.bias", 4), weight("bn.mean", 4),
          nh.from_array((1 + np.abs(some(4))).astype(np.float32), "bn.var")]
    weights = [weight("conv1.weight", 4, 6, 3, 3), *bn, weight("conv2.weight", 5, 4, 1, 1),
               weight("head.weight", 5, 3)]
    conv = lambda i, w, o, k: node("Conv", [i, w + ".weight"], [o], w, kernel_shape=[k, k])
    norm = node("BatchNormalization", ["c", "bn.weight", "bn.bias", "bn.mean", "bn.var"], ["b"], "bn")
    turn = lambda i, o, perm: node("Transpose", [i], [o], o, perm=perm)
    first, last = [0, 3, 1, 2], [0, 2, 3, 1]
    scale = some(4)
    act = lambda i, o: [node("Mul", [i, "scale"], [o + ".s"], o + ".s"),
                        node("Sigmoid", [o + ".s"], [o + ".g"], o + ".g"),
                        node("Mul", [i, o + ".g"], [o], o)]
    rows("keras_turned",
         [turn("x", "x1", first), conv("x1", "conv1", "c", 3), norm, turn("b", "bl", last),
          *act("bl", "al"), turn("al", "a", first), conv("a", "conv2", "d", 1),
          turn("d", "dl", last), node("ReduceMean", ["dl"], ["m"], "mean", axes=[1, 2], keepdims=0),
          node("MatMul", ["m", "head.weight"], ["y"], "head")],
         weights + [nh.from_array(scale, "scale")], shape=("n", 4, 5, 6))
    rows("keras_turned_apart",
         [turn("x", "x1", first), conv("x1", "conv1", "c", 3), norm, *act("b", "a"),
          conv("a", "conv2", "d", 1),
          node("ReduceMean", ["d"], ["m"], "mean", axes=[2, 3], keepdims=0),
          node("MatMul", ["m", "head.weight"], ["y"], "head")],
         weights + [nh.from_array(scale.reshape(4, 1, 1), "scale")], shape=("n", 4, 5, 6))


def outputs():
    # a label by operators that are not supported, features, and the logits by their name
    rows("outputs_logits",
         [dense("hidden", "body", 5), node("Relu", ["hidden"], ["r"], "relu"),
          node("MatMul", ["r", "head.weight"], ["logits"], "head"),
          node("ArgMax", ["logits"], ["best"], "best", axis=1, keepdims=0),
          ml("LabelEncoder", ["best"], ["label"], "names", classes_strings=["a", "b", "c"])],
         dense_weights("body", 5) + [weight("head.weight", 5, 3)],
         [h.make_tensor_value_info("label", T.STRING, ("n",)), floats("hidden", "n", 5),
          floats("logits", "n", 3)], save_answer=False, domains=[ML])
    rows("outputs_label", [dense("y"), node("ArgMax", ["y"], ["label"], "best", axis=1, keepdims=0)],
         dense_weights(), [label(), floats("y", "n", 3)])
    rows("outputs_two", [dense("y"), dense("other", "last", 5)],
         dense_weights() + dense_weights("last", 5), [floats("y", "n", 3), floats("other", "n", 5)])
    rows("outputs_none", [dense("z"), node("ArgMax", ["z"], ["label"], "best", axis=1, keepdims=0)],
         dense_weights(), [label()], save_answer=False)


def classifiers():
    both = [label(), floats("y", "n", 3)]
    two = [label(), floats("y", "n", 2)]
    rows("ml_softmax",
         [linear(["label", "p"], post_transform="SOFTMAX", multi_class=1),
          ml("Normalizer", ["p"], ["y"], "sum", norm="L1")], [], both, domains=[ML])
    rows("ml_logistic_two", [linear(["label", "y"], 2, post_transform="LOGISTIC", opposed=True)], [],
         two, domains=[ML])
    rows("ml_logistic",
         [linear(["label", "p"], post_transform="LOGISTIC"),
          ml("Normalizer", ["p"], ["y"], "sum", norm="L1")], [], both, domains=[ML])
    rows("ml_scores",
         [linear(["label", "y"], classlabels_ints=None, classlabels_strings=["a", "b", "c"])], [],
         [h.make_tensor_value_info("label", T.STRING, ("n",)), floats("y", "n", 3)], domains=[ML])
    zipped = h.make_value_info("y", h.make_sequence_type_proto(h.make_map_type_proto(
        T.INT64, h.make_tensor_type_proto(T.FLOAT, None))))
    rows("ml_zipmap",
         [linear(["label", "p"], post_transform="SOFTMAX"),
          ml("ZipMap", ["p"], ["y"], "zip", classlabels_int64s=[0, 1, 2])], [], [label(), zipped],
         domains=[ML])
    # four of six features, scaled, of length 1; zeros stay zeros
    rows("ml_pipeline",
         [ml("ArrayFeatureExtractor", ["x", "columns"], ["f"], "select"),
          ml("Scaler", ["f"], ["s"], "scaler", offset=[.1, -.2, .3, 0.0], scale=[2.0, 1.0, .5, 3.0]),
          node("Relu", ["s"], ["r"], "relu"), ml("Normalizer", ["r"], ["u"], "unit", norm="L2"),
          ml("Scaler", ["u"], ["v"], "shift", offset=[.5], scale=[-1.0]),
          node("MatMul", ["v", "head.weight"], ["y"], "head")],
         [ints("columns", [[5, 0, 2, 3]]), weight("head.weight", 4, 3)], shape=("n", 6),
         domains=[ML])


def refused():
    def bad(file, nodes, weights=(), outs=None, **kw):
        rows(file, nodes, list(weights), outs, save_answer=False, domains=[ML], **kw)

    scaler = lambda **kw: [ml("Scaler", ["x"], ["y"], "scaler", **kw)]
    bad("ml_scaler_short", scaler(offset=[1.0, 2.0], scale=[1.0]))
    bad("ml_scaler_bare", scaler(offset=[1.0]))
    bad("ml_scaler_ints", scaler(offset=[1, 2, 3, 4], scale=[1.0]))
    bad("ml_scaler_more", scaler(offset=[0.0], scale=[1.0], gain=2.0))
    bad("ml_scaler_nothing", [ml("Scaler", [], ["y"], "scaler", offset=[1.0], scale=[1.0])])
    bad("ml_norm_max", [ml("Normalizer", ["x"], ["y"], "norm", norm="MAX")])
    bad("ml_norm_default", [ml("Normalizer", ["x"], ["y"], "norm")])
    features = lambda at: ([ml("ArrayFeatureExtractor", ["x", "at"], ["y"], "select")],
                           [ints("at", at)])
    bad("ml_feature_far", *features([0, 4]))
    bad("ml_feature_negative", *features([-1]))
    bad("ml_feature_none", *features(np.zeros(0, np.int64)))
    bad("ml_feature_computed", [ml("ArrayFeatureExtractor", ["x", "x"], ["y"], "select")])

    def classifier(file, **kw):
        bad(file, [linear(["label", "y"], **kw)])

    classifier("ml_coefficients", coefficients=[1.0] * 11)
    classifier("ml_coefficients_more", coefficients=[1.0] * 24)
    classifier("ml_coefficients_none", coefficients=None)
    classifier("ml_intercepts_none", intercepts=None)
    classifier("ml_labels", classlabels_ints=[0, 1])
    bad("ml_logistic_apart", [linear(["label", "y"], 2, post_transform="LOGISTIC")])
    classifier("ml_probit", post_transform="PROBIT")
    bad("ml_labels_used", [linear(["y", "scores"])], outs=[h.make_tensor_value_info("y", T.INT64, None)])
    bad("ml_flat", [node("ReduceSum", ["x"], ["r"], "sum", keepdims=0),
                    ml("LinearClassifier", ["r"], ["label", "y"], "classifier",
                       coefficients=[1.0, 2.0], intercepts=[0.0, 0.0], classlabels_ints=[0, 1])])
    bad("ml_trees", [ml("TreeEnsembleClassifier", ["x"], ["label", "y"], "forest",
                        classlabels_int64s=[0, 1, 2])])
    bad("ml_zipmap_inside", [linear(["label", "p"]), ml("ZipMap", ["p"], ["m"], "zip",
                                                        classlabels_int64s=[0, 1, 2]),
                             node("Identity", ["m"], ["y"], "same")])
    bad("ml_unknown", [ml("Imputer", ["x"], ["y"], "fill", imputed_value_floats=[0.0])])


probabilities()
outputs()
classifiers()
refused()
keras()
turned()
gelu()
column()
