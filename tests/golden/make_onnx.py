#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the small ONNX files of tests/golden/onnx, which the tests of the importer read.

Needs the Python packages numpy, onnx and onnxruntime (any recent release):

    python3 tests/golden/make_onnx.py tests/golden/onnx

Beside each model that can be read, NAME.N.npy holds what onnxruntime answers to a batch of N whose
value i (counted through the whole array) is sin(0.37 * i).  The files are committed; the same
script with the same seed writes the same models.
"""
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "onnx")
RNG = np.random.default_rng(7)


def w(name, *shape, dtype=np.float32):
    return nh.from_array((RNG.standard_normal(shape) * 0.3).astype(dtype), name)


def ints(name, values, dtype=np.int64):
    return nh.from_array(np.array(values, dtype=dtype), name)


def x(name="x", shape=("n", 2, 6, 6), dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


def save(file, nodes, inputs, outputs, weights=(), opset=13, domains=(), **kw):
    graph = h.make_graph(nodes, file, inputs, outputs, list(weights))
    imports = [h.make_opsetid("", opset)] + [h.make_opsetid(d, 1) for d in domains]
    model = h.make_model(graph, opset_imports=imports, producer_name="make_onnx", ir_version=8)
    for key, value in kw.items():
        setattr(model, key, value)
    with open(os.path.join(OUT, file + ".onnx"), "wb") as f:
        f.write(model.SerializeToString(deterministic=True))


def floats(t):
    """The initializer as float32, with which a runtime that is strict about types takes it."""
    if t.data_type == T.BFLOAT16:
        bits = np.frombuffer(t.raw_data, np.uint16).astype(np.uint32) << 16
        return nh.from_array(bits.view(np.float32).reshape(list(t.dims)), t.name)
    if t.data_type in (T.FLOAT16, T.DOUBLE):
        return nh.from_array(nh.to_array(t).astype(np.float32), t.name)
    return t


def answer(file, batches=(1, 3)):
    model = onnx.load(os.path.join(OUT, file + ".onnx"))
    weights = [floats(t) for t in model.graph.initializer]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    for i in reversed(range(len(model.graph.node))):  # a runtime refuses them even when unused
        if model.graph.node[i].name.startswith("dead_"):
            del model.graph.node[i]
    session = onnxruntime.InferenceSession(model.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    for n in batches:
        dims = [n] + shape[1:]
        values = np.sin(0.37 * np.arange(int(np.prod(dims)))).astype(np.float32).reshape(dims)
        out = session.run(None, {"x": values})[0]
        np.save(os.path.join(OUT, f"{file}.{n}.npy"), out)


def y(name="y", shape=None):
    return h.make_tensor_value_info(name, T.FLOAT, shape)


def bn_weights(p, c):
    return [nh.from_array((1 + 0.1 * RNG.standard_normal(c)).astype(np.float32), p + ".weight"),
            w(p + ".bias", c), w(p + ".running_mean", c),
            nh.from_array((0.5 + RNG.random(c)).astype(np.float32), p + ".running_var")]


def tiny_nodes():
    return [
        h.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], "conv", kernel_shape=[3, 3],
                    pads=[1, 1, 1, 1]),
        h.make_node("BatchNormalization",
                    ["c", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"], ["b"], "bn"),
        h.make_node("Relu", ["b"], ["r"], "relu"),
        h.make_node("GlobalAveragePool", ["r"], ["g"], "pool"),
        h.make_node("Flatten", ["g"], ["f"], "flatten"),
        h.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], "fc", transB=1),
    ]


def tiny_weights(dtype=np.float32):
    return [w("conv.weight", 4, 2, 3, 3, dtype=dtype), w("conv.bias", 4, dtype=dtype),
            *bn_weights("bn", 4), w("fc.weight", 3, 4, dtype=dtype), w("fc.bias", 3, dtype=dtype)]


def simple(file, op, opset=13, attrs=None, **kw):
    save(file, [h.make_node(op, ["x"], ["y"], "/layer2/" + op, **(attrs or {}))], [x()], [y()],
         opset=opset, **kw)


def good():
    save("tiny", tiny_nodes(), [x()], [y(shape=("n", 3))], tiny_weights())
    save("fixed", tiny_nodes(), [x(shape=(4, 2, 6, 6))], [y()], tiny_weights())
    save("half", tiny_nodes(), [x()], [y()], tiny_weights(np.float16))
    save("double", tiny_nodes(), [x()], [y()], tiny_weights(np.float64))
    # bfloat16 as 16 bits of raw_data, and floats in the typed list
    bias = np.array([1.0, -2.5, 0.15625], np.float32)
    bf = T(name="fc.bias", data_type=T.BFLOAT16, dims=[3],
           raw_data=(bias.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    weights = tiny_weights()[:-1] + [bf]
    weights[6] = h.make_tensor("fc.weight", T.FLOAT, [3, 4], [0.25 * i for i in range(12)])
    save("bfloat", tiny_nodes(), [x()], [y()], weights)
    # weights listed among the inputs, as files of IR 3 do
    ws = tiny_weights()
    save("old", tiny_nodes(), [x()] + [x(t.name, list(t.dims)) for t in ws], [y()], ws, opset=9)

    # what exporters write for x.view(x.size(0), -1), for a pad and for x[:, :, ::2]
    c = lambda name, v, d=np.int64: h.make_node(
        "Constant", [], [name], name, value=nh.from_array(np.array(v, d)))
    nodes = [
        h.make_node("Slice", ["x", "s0", "s1", "s2", "s3"], ["even"], "slice"),
        h.make_node("ConstantOfShape", ["four"], ["zeros"], "zeros",
                    value=nh.from_array(np.zeros(1, np.int64))),
        h.make_node("Concat", ["pads", "zeros"], ["all_pads"], "concat0", axis=0),
        h.make_node("Reshape", ["all_pads", "two_columns"], ["rows"], "reshape0"),
        h.make_node("Slice", ["rows", "minus_one", "far", "zero", "minus_one"], ["turned"], "turn"),
        h.make_node("Transpose", ["turned"], ["columns"], "transpose0", perm=[1, 0]),
        h.make_node("Reshape", ["columns", "flat"], ["list"], "reshape1"),
        h.make_node("Cast", ["list"], ["pads64"], "cast0", to=T.INT64),
        h.make_node("Pad", ["even", "pads64"], ["padded"], "pad"),
        h.make_node("Shape", ["padded"], ["shape"], "shape"),
        h.make_node("Gather", ["shape", "zero_scalar"], ["batch"], "gather", axis=0),
        h.make_node("Unsqueeze", ["batch", "zero"], ["batch1"], "unsqueeze"),
        h.make_node("Concat", ["batch1", "flat"], ["to"], "concat1", axis=0),
        h.make_node("Reshape", ["padded", "to"], ["f"], "reshape2"),
        h.make_node("Dropout", ["f"], ["d", "mask"], "dropout"),
        h.make_node("Identity", ["d"], ["i"], "identity"),
        h.make_node("Cast", ["i"], ["k"], "cast1", to=T.FLOAT),
        h.make_node("MatMul", ["k", "proj.weight"], ["m"], "proj"),
        h.make_node("Add", ["proj.bias", "m"], ["y"], "proj_add"),
    ]
    consts = [c("s0", [0]), c("s1", [2 ** 63 - 1]), c("s2", [2]), c("s3", [2]), c("four", [4]),
              c("pads", [1, 0, 0, 0]), c("two_columns", [-1, 2]), c("minus_one", [-1]),
              c("far", [-(2 ** 63) + 1]), c("zero", [0]), c("zero_scalar", 0), c("flat", [-1])]
    save("arithmetic", consts + nodes, [x()], [y()],
         [w("proj.weight", 2 * 3 * 7, 3), w("proj.bias", 3)])

    # rows are merged with time: 3 * batch, and back
    nodes = [
        h.make_node("Shape", ["x"], ["s"], "s"),
        h.make_node("Gather", ["s", "i0"], ["n"], "n"), h.make_node("Gather", ["s", "i1"], ["t"], "t"),
        h.make_node("Mul", ["n", "t"], ["nt"], "nt"),
        h.make_node("Unsqueeze", ["nt", "a0"], ["nt1"], "nt1"),
        h.make_node("Concat", ["nt1", "five"], ["to"], "to", axis=0),
        h.make_node("Reshape", ["x", "to"], ["r"], "merge"),
        h.make_node("Relu", ["r"], ["q"], "relu"),
        h.make_node("Shape", ["q"], ["qs"], "qs"),
        h.make_node("Gather", ["qs", "i0"], ["rows"], "rows"),
        h.make_node("Div", ["rows", "t"], ["back"], "back"),
        h.make_node("Unsqueeze", ["back", "a0"], ["back1"], "back1"),
        h.make_node("Concat", ["back1", "rest"], ["to2"], "to2", axis=0),
        h.make_node("Reshape", ["q", "to2"], ["y"], "split"),
    ]
    save("merged", nodes, [x(shape=("n", 3, 5))], [y()],
         [ints("i0", 0), ints("i1", 1), ints("a0", [0]), ints("five", [5]), ints("rest", [3, 5])])

    # nodes that nothing uses, also of operators that do not exist; constants of every form
    nodes = [
        h.make_node("Foo", ["x"], ["foo"], "dead_foo"),
        h.make_node("Relu", ["foo"], ["foo2"], "dead_relu"),
        h.make_node("Conv", ["x", "unused"], ["dead"], "dead_conv"),
        h.make_node("Relu", ["x"], ["r"], "relu"),
        h.make_node("Relu", ["r"], ["only_its_shape"], "dropped_after_folding"),
        h.make_node("Shape", ["only_its_shape"], ["shape"], "shape"),
        h.make_node("Constant", [], ["half"], "half", value_float=0.5),
        h.make_node("Mul", ["r", "half"], ["m"], "mul"),
        h.make_node("Reshape", ["m", "shape"], ["y"], "reshape"),
    ]
    save("dead", nodes, [x()], [y()], [w("unused", 4, 2, 3, 3)])

    # a weight behind a Transpose and a factor, integers that are computed with, a fraction cut off
    nodes = [
        h.make_node("Transpose", ["weight"], ["weight_t"], "turn"),
        h.make_node("Mul", ["weight_t", "scale"], ["scaled"], "scale"),
        h.make_node("Mul", ["x", "ten"], ["x10"], "times_ten"),
        h.make_node("Cast", ["x10"], ["whole"], "whole", to=T.INT64),
        h.make_node("Add", ["whole", "steps"], ["moved"], "move"),
        h.make_node("Cast", ["moved"], ["floats"], "floats", to=T.FLOAT),
        h.make_node("MatMul", ["floats", "scaled"], ["y"], "product"),
    ]
    own = np.random.default_rng(8)
    weight = nh.from_array(own.standard_normal((3, 4)).astype(np.float32), "weight")
    save("numbers", nodes, [x(shape=("n", 4))], [y()],
         [weight, nh.from_array(np.float32(0.5), "scale"), nh.from_array(np.float32(10), "ten"),
          ints("steps", [0, 1, -2, 3])])

    # two inputs, one of them of integers
    nodes = [
        h.make_node("Cast", ["tokens"], ["kinds"], "kinds", to=T.FLOAT),
        h.make_node("MatMul", ["x", "weight"], ["mixed"], "product"),
        h.make_node("Add", ["mixed", "kinds"], ["y"], "sum"),
    ]
    save("pair", nodes, [x("tokens", ("n", 3), T.INT64), x(shape=("n", 4))], [y()],
         [nh.from_array(own.standard_normal((4, 3)).astype(np.float32), "weight")])

    # tokens look up a table of eleven words; a mask is beside them
    nodes = [
        h.make_node("Gather", ["words.weight", "tokens"], ["looked"], "words"),
        h.make_node("Cast", ["mask"], ["kept"], "kept", to=T.FLOAT),
        h.make_node("Mul", ["looked", "kept"], ["masked"], "masked"),
        h.make_node("LayerNormalization", ["masked", "norm.weight", "norm.bias"], ["normed"], "norm"),
        h.make_node("Flatten", ["normed"], ["row"], "row"),
        h.make_node("MatMul", ["row", "head.weight"], ["y"], "head"),
    ]
    one = np.random.default_rng(9).standard_normal
    save("words", nodes, [x("tokens", ("n", 5), T.INT64), x("mask", ("n", 5, 1), T.INT64)], [y()],
         [nh.from_array(one(shape).astype(np.float32), name) for name, shape in (
             ("words.weight", (11, 4)), ("norm.weight", (4,)), ("norm.bias", (4,)),
             ("head.weight", (20, 3)))], opset=17)

    # integers that are spread over the batch, and a number that is cast to what it meets
    nodes = [
        h.make_node("Shape", ["x"], ["shape"], "shape"),
        h.make_node("Expand", ["kinds", "shape"], ["spread"], "spread"),
        h.make_node("Cast", ["spread"], ["floats"], "floats", to=T.FLOAT),
        h.make_node("CastLike", ["two", "x"], ["two_f"], "like"),
        h.make_node("Mul", ["x", "two_f"], ["twice"], "twice"),
        h.make_node("Add", ["twice", "floats"], ["y"], "sum"),
    ]
    save("spread", nodes, [x(shape=("n", 4))], [y()],
         [ints("kinds", [[0, 1, 2, 1]]), ints("two", 2)], opset=15)

    # what exporters write out: a LayerNormalization, a Gelu, and one without a bias, of two axes,
    # whose scale comes first and whose square is a product
    def number(name, v):
        return h.make_node("Constant", [], [name], name, value_float=v)

    def norm(i, o, axes, square):
        return [h.make_node("ReduceMean", [i], [o + ".mean"], o + ".mean", axes=axes),
                h.make_node("Sub", [i, o + ".mean"], [o + ".d"], o + ".d"),
                h.make_node(square, [o + ".d", "two" if square == "Pow" else o + ".d"],
                            [o + ".sq"], o + ".sq"),
                h.make_node("ReduceMean", [o + ".sq"], [o + ".var"], o + ".var", axes=axes),
                h.make_node("Add", [o + ".var", "eps"], [o + ".e"], o + ".e"),
                h.make_node("Sqrt", [o + ".e"], [o + ".s"], o + ".s"),
                h.make_node("Div", [o + ".d", o + ".s"], [o], o)]

    nodes = [number("two", 2.0), number("eps", 1e-3), number("root", 2 ** .5), number("one", 1.0),
             number("half", .5), *norm("x", "n", [-1], "Pow"),
             h.make_node("Mul", ["n", "norm.weight"], ["m"], "m"),
             h.make_node("Add", ["m", "norm.bias"], ["a"], "norm"),
             h.make_node("Div", ["a", "root"], ["g.d"], "g.d"),
             h.make_node("Erf", ["g.d"], ["g.e"], "g.e"),
             h.make_node("Add", ["g.e", "one"], ["g.a"], "g.a"),
             h.make_node("Mul", ["a", "g.a"], ["g.m"], "g.m"),
             h.make_node("Mul", ["g.m", "half"], ["g"], "gelu"), *norm("g", "k", [1, 2], "Mul"),
             h.make_node("Mul", ["plain.weight", "k"], ["y"], "plain")]
    save("written_out", nodes, [x(shape=("n", 4, 6))], [y()],
         [w("norm.weight", 6), w("norm.bias", 6), w("plain.weight", 4, 6)])

    # an encoder's layer as exporters write it: three linear layers, heads, attention whose scale is
    # shared by q and k, a sum with what bypassed it; another with a mask, which is divided; and one
    # whose softmax is over the wrong dimension, which stays as it is
    own = np.random.default_rng(10)

    def linear(i, name, o, swap=False):
        product, bias = name + ".m", name + ".bias"
        return [h.make_node("MatMul", [i, name + ".weight"], [product], product),
                h.make_node("Add", [bias, product] if swap else [product, bias], [o], name)]

    def attention(i, p, o, columns, masked, axis=-1, guarded=False):
        nodes = []
        for k, f in enumerate("qkv"):
            perm = [0, 2, 3, 1] if columns and f == "k" else [0, 2, 1, 3]
            nodes += linear(i, p + f, p + f + "l", k % 2 == 1)
            nodes += [h.make_node("Reshape", [p + f + "l", "heads"], [p + f + "h"], p + f + "h"),
                      h.make_node("Transpose", [p + f + "h"], [p + f + "t"], p + f + "t", perm=perm)]
        if guarded:  # heads are flattened while keys are turned
            nodes += [h.make_node("Reshape", [p + "kt", "thin"], [p + "kf"], p + "kf"),
                      h.make_node("Transpose", [p + "kf"], [p + "kr"], p + "kr", perm=[0, 2, 1]),
                      h.make_node("Reshape", [p + "kr", "thick"], [p + "kc"], p + "kc"),
                      h.make_node("MatMul", [p + "qt", p + "kc"], [p + "s"], p + "s")]
        elif columns:
            nodes += [h.make_node("Mul", [p + "qt", "half"], [p + "qs"], p + "qs"),
                      h.make_node("Mul", ["half", p + "kt"], [p + "ks"], p + "ks"),
                      h.make_node("MatMul", [p + "qs", p + "ks"], [p + "s"], p + "s")]
        else:
            nodes += [h.make_node("Transpose", [p + "kt"], [p + "kc"], p + "kc", perm=[0, 1, 3, 2]),
                      h.make_node("MatMul", [p + "qt", p + "kc"], [p + "d"], p + "d"),
                      h.make_node("Div", [p + "d", "two"], [p + "s"], p + "s")]
        if masked:
            nodes += [h.make_node("Add", [p + "s", "mask"], [p + "a"], p + "a")]
        if guarded:
            nodes += [h.make_node("Softmax", [p + "a"], [p + "p"], p + "p", axis=axis),
                      h.make_node("IsNaN", [p + "p"], [p + "n"], p + "n"),
                      h.make_node("Where", [p + "n", "zero", p + "p"], [p + "g"], p + "g"),
                      h.make_node("MatMul", [p + "g", p + "vt"], [p + "w"], p + "w"),
                      h.make_node("Reshape", [p + "w", "same"], [p + "y"], p + "y")]
        else:
            nodes += [
                h.make_node("Softmax", [p + ("a" if masked else "s")], [p + "p"], p + "p",
                            axis=axis),
                h.make_node("MatMul", [p + "p", p + "vt"], [p + "y"], p + "y")]
        return nodes + [
            h.make_node("Transpose", [p + "y"], [p + "yt"], p + "yt", perm=[0, 2, 1, 3]),
            h.make_node("Reshape", [p + "yt", "flat"], [o], p + "flat")]

    nodes = [number("two", 2.0), number("half", .5), *attention("x", "one.", "a", True, False),
             *linear("a", "up", "b"), h.make_node("Add", ["x", "b"], ["c"], "sum"),
             *attention("c", "two.", "d", False, True), *linear("d", "down", "e", True),
             h.make_node("Add", ["e", "c"], ["f"], "sum2"),
             *attention("f", "three.", "y", True, False, 2)]
    names = [p + f for p in ("one.", "two.", "three.") for f in "qkv"] + ["up", "down"]
    weights = [ints("heads", [0, 5, 3, 4]), ints("flat", [0, 5, 12]),
               nh.from_array(np.float32([[[[0, -1, 0, -1e4, 2]]]]), "mask")]
    for name in names:
        for part, shape in (("weight", (12, 12)), ("bias", (12,))):
            value = (own.standard_normal(shape) * .4).astype(np.float32)
            weights.append(nh.from_array(value, f"{name}.{part}"))
    save("encoder", nodes, [x(shape=("n", 5, 12))], [y()], weights)

    # as PyTorch writes scaled_dot_product_attention: a row whose mask leaves nothing is 0, and
    # heads are flattened while keys are turned
    mask = np.zeros((5, 5), np.float32)
    mask[1, 3:] = mask[2] = -np.inf
    weights = [ints("heads", [0, 5, 3, 4]), ints("flat", [0, 5, 12]), ints("thin", [-1, 5, 4]),
               ints("thick", [-1, 3, 4, 5]), ints("same", [-1, 3, 5, 4]),
               nh.from_array(mask, "mask")]
    for f in "qkv":
        for part, shape in (("weight", (12, 12)), ("bias", (12,))):
            value = (own.standard_normal(shape) * .4).astype(np.float32)
            weights.append(nh.from_array(value, f"one.{f}.{part}"))
    nodes = [number("zero", 0.0), *attention("x", "one.", "a", False, True, guarded=True),
             h.make_node("Flatten", ["a"], ["y"], "line")]
    save("guarded", nodes, [x(shape=("n", 5, 12))], [y()], weights)
    mask = mask.copy()
    mask[2, 4] = 0
    weights = [nh.from_array(mask, "mask") if t.name == "mask" else t for t in weights]
    save("guarded_some", nodes, [x(shape=("n", 5, 12))], [y()], weights)
    save("guarded_seen", nodes, [x(shape=("n", 5, 12))], [y(), y("one.p")], weights)

    # the class token of a sequence is classified: the last layer is needed for its row alone, and
    # so is a mask of queries.  Beside it the same with what makes that impossible: a row counted
    # from the end, an output that has all rows
    def norm_of(i, name, o):
        return h.make_node("LayerNormalization", [i, name + ".weight", name + ".bias"], [o], name)

    def classifier(file, index, mask, outputs):
        nodes = [number("two", 2.0),
                 norm_of("x", "norm0", "n0"), *attention("n0", "one.", "a", False, True),
                 h.make_node("Mul", ["a", "scale"], ["as"], "scaled"),
                 h.make_node("Add", ["x", "as"], ["r"], "sum"),
                 norm_of("r", "norm1", "n1"), *linear("n1", "up", "u"),
                 h.make_node("Relu", ["u"], ["v"], "relu"), *linear("v", "down", "d"),
                 h.make_node("Add", ["r", "d"], ["s"], "sum2"), norm_of("s", "norm2", "all"),
                 h.make_node("Gather", ["all", "token"], ["t"], "take", axis=1),
                 *linear("t", "head", "y")]
        own = np.random.default_rng(11)
        weights = [ints("heads", [0, 5, 3, 4]), ints("flat", [0, 5, 12]), ints("token", index),
                   nh.from_array(np.float32(mask), "mask")]
        shapes = {f: (12, 12) for f in ("one.q", "one.k", "one.v", "up", "down")}
        shapes["head"] = (12, 4)
        for name, shape in shapes.items():
            for part, dims in (("weight", shape), ("bias", shape[1:])):
                value = (own.standard_normal(dims) * .4).astype(np.float32)
                weights.append(nh.from_array(value, f"{name}.{part}"))
        for name in ("norm0.weight", "norm0.bias", "norm1.weight", "norm1.bias", "norm2.weight",
                     "norm2.bias", "scale"):
            weights.append(nh.from_array((own.standard_normal(12)).astype(np.float32), name))
        save(file, nodes, [x(shape=("n", 5, 12))], [y(o) for o in outputs], weights, opset=17)

    keys = [[[[0, -1, 0, -1e4, 2]]]]
    classifier("class_token", 0, keys, ["y"])
    classifier("class_tokens", [1, 0], keys, ["y"])
    classifier("class_token_last", [0, -1], keys, ["y"])
    classifier("class_token_causal", 0, np.triu(np.full((5, 5), -1e4), 1), ["y"])
    classifier("class_token_all", 0, keys, ["y", "all"])

    # its output is its input
    save("input_output", [h.make_node("Identity", ["x"], ["y"], "one")], [x()], [y()])

    # a mask of rows is looked up by row and column, flattened, as the older of PyTorch's exporters
    # writes mask[rows, columns], and by tuples, as the newer one does; rows are as many as the batch
    unsq = lambda i, o, axes: h.make_node("Unsqueeze", [i, axes], [o], o)
    nodes = [h.make_node("Shape", ["x"], ["s"], "s"), h.make_node("Gather", ["s", "i0"], ["n"], "n"),
             h.make_node("Range", ["i0", "n", "i1"], ["rows"], "rows"),
             unsq("rows", "tall", "a1"), h.make_node("Mul", ["tall", "five"], ["begin"], "begin"),
             h.make_node("Add", ["begin", "columns"], ["at"], "at"),
             h.make_node("Reshape", ["x", "all"], ["line"], "line"),
             h.make_node("Gather", ["line", "at"], ["looked"], "looked"),
             h.make_node("Shape", ["at"], ["both"], "both"),
             h.make_node("Expand", ["tall", "both"], ["row_of"], "row_of"),
             h.make_node("Expand", ["columns", "both"], ["column_of"], "column_of"),
             unsq("row_of", "r3", "a2"), unsq("column_of", "c3", "a2"),
             h.make_node("Concat", ["r3", "c3"], ["tuples"], "tuples", axis=-1),
             h.make_node("GatherND", ["x", "tuples"], ["named"], "named"),
             h.make_node("Sub", ["looked", "named"], ["none"], "none"),
             h.make_node("Concat", ["looked", "none"], ["y"], "y", axis=1)]
    save("row_numbers", nodes, [x(shape=("n", 5))], [y()],
         [ints("i0", 0), ints("i1", 1), ints("a1", [1]), ints("a2", [2]), ints("five", 5),
          ints("columns", [3, 0, 1]), ints("all", [-1])])

    # more operands than a node of ours has, with and without broadcasting
    nodes = [h.make_node("Concat", ["x"] * 70, ["wide"], "wide", axis=-1),
             h.make_node("Relu", ["wide"], ["r"], "relu"),
             h.make_node("Sum", ["r"] * 5 + ["one"] * 4 + ["wide"], ["s"], "sum"),
             h.make_node("Max", ["s"] + ["low"] * 8, ["y"], "max")]
    save("many_operands", nodes, [x(shape=("n", 4))], [y()],
         [nh.from_array(np.float32([v]), k) for k, v in (("one", 0.5), ("low", 1.5))], opset=13)

    # zeros around a convolution's operand, which it can add itself: of an axis, of none, of a kernel
    # for each channel, at once with its own; what it cannot: other numbers, less than nothing,
    # channels, and what it pads by itself.  And x times its sigmoid, either way round
    own = np.random.default_rng(12)

    def wide(name, *shape):
        return nh.from_array((own.standard_normal(shape) * 0.3).astype(np.float32), name)

    def pad(i, o, sizes, *more):
        return h.make_node("Pad", [i, sizes, *more], [o], o)

    def conv(i, o, kernel, **attrs):
        return h.make_node("Conv", [i, kernel], [o], o, **attrs)

    nodes = [pad("x", "p0", "two_sides"), conv("p0", "c0", "w0", strides=[2, 2]),
             h.make_node("Sigmoid", ["c0"], ["g0"], "g0"),
             h.make_node("Mul", ["c0", "g0"], ["s0"], "silu"),
             pad("s0", "p1", "none"), pad("p1", "p2", "bottom", "zero", "axis"),
             conv("p2", "c1", "w1", pads=[1, 1, 1, 1], group=4),
             h.make_node("Sigmoid", ["c1"], ["g1"], "g1"),
             h.make_node("Mul", ["g1", "c1"], ["s1"], "turned"),
             pad("s1", "p3", "around", "half"), conv("p3", "c3", "w2"),
             pad("c3", "p4", "less"), conv("p4", "c4", "w2", pads=[1, 1, 1, 1]),
             pad("c4", "p5", "around"), conv("p5", "c5", "w2", auto_pad="SAME_UPPER"),
             pad("c5", "p6", "channels"), conv("p6", "y", "w3")]
    save("zeros_around", nodes, [x()], [y()],
         [wide("w0", 4, 2, 3, 3), wide("w1", 4, 1, 3, 3), wide("w2", 4, 4, 3, 3),
          wide("w3", 2, 5, 1, 1), ints("two_sides", [0, 0, 1, 2, 0, 0, 2, 0]),
          ints("none", [0] * 8), ints("bottom", [0, 2]), ints("axis", [2]),
          ints("around", [0, 0, 1, 1] * 2), ints("less", [0, 0, -1, 0, 0, 0, 0, 0]),
          ints("channels", [0, 1, 0, 0, 0, 0, 0, 0]),
          nh.from_array(np.float32(0), "zero"), nh.from_array(np.float32(.5), "half")], opset=18)

    for file in "tiny", "half", "double", "bfloat", "old", "arithmetic", "merged", "dead", \
            "numbers", "spread", "written_out", "encoder", "input_output", "many_operands", \
            "row_numbers", "guarded", "guarded_some", "guarded_seen", "class_token", \
            "class_tokens", "class_token_last", "class_token_causal", "class_token_all", \
            "zeros_around":
        answer(file)
    answer("fixed", (4,))


def bad():
    simple("unsupported", "Foo")
    simple("domain", "Relu", attrs={"domain": "com.example"}, domains=["com.example"])
    simple("opset0", "Relu", opset=0)
    simple("opset26", "Relu", opset=26)
    simple("attribute", "Relu", attrs={"speed": 3})
    simple("attribute_type", "Flatten", attrs={"axis": 1.5})
    node = h.make_node
    relu = lambda i, o, name: node("Relu", [i], [o], name)
    save("later", [relu("b", "y", "first"), relu("x", "b", "second")], [x()], [y()])
    save("cycle", [node("Add", ["x", "b"], ["a"], "one"), node("Add", ["a", "x"], ["b"], "two"),
                   relu("b", "y", "three")], [x()], [y()])
    save("itself", [relu("y", "y", "loop")], [x()], [y()])
    save("nowhere", [relu("ghost", "y", "haunted")], [x()], [y()])
    save("twice", [relu("x", "y", "one"), relu("x", "y", "two")], [x()], [y()])
    save("no_output", [relu("x", "r", "one")], [x()], [y()])
    save("constant_output", [relu("x", "r", "one")], [x()], [y("w")], [w("w", 3)])
    save("same_outputs", [relu("x", "y", "one"), node("Identity", ["y"], ["z"], "two")], [x()],
         [y(), y("z")])
    save("mask", [node("GlobalMaxPool", ["x"], ["y", "where"], "pool")], [x()],
         [y(), y("where")])
    save("spatial", [relu("x", "y", "one")], [x(shape=("n", 3, "height", 8))], [y()])
    save("unknown_dim", [relu("x", "y", "one")], [x(shape=("n", 3, None, 8))], [y()])
    save("negative_dim", [relu("x", "y", "one")], [x(shape=(-5, 3))], [y()])
    save("many_dims", [relu("x", "y", "one")], [x(shape=(1,) * 7)], [y()])
    save("huge", [relu("x", "y", "one")], [x(shape=("n", 2 ** 31, 2 ** 31, 2))], [y()])
    save("half_input", [relu("x", "y", "one")], [x(dtype=T.FLOAT16)], [y()])
    save("large_int", [node("Add", ["x", "k"], ["y"], "add")], [x()], [y()],
         [ints("k", [1, 2 ** 24 + 1])])
    save("floats_for_ints", [node("Reshape", ["x", "k"], ["y"], "reshape")], [x()], [y()],
         [w("k", 2)])
    save("missing_operand", [node("Conv", ["x"], ["y"], "conv")], [x()], [y()])
    save("too_many", [node("Mean", ["x"] * 9, ["y"], "mean")], [x()], [y()])
    save("gap", [node("Concat", ["x", "x", "", "x"], ["y"], "cat", axis=1)], [x()], [y()])
    save("wrong_channels", tiny_nodes(), [x(shape=("n", 5, 6, 6))], [y()], tiny_weights())
    short = tiny_weights()
    short[0].raw_data = short[0].raw_data[:-4]
    save("short_weight", tiny_nodes(), [x()], [y()], short)
    negative = tiny_weights()
    negative[0].dims[1] = -2
    save("negative_weight", tiny_nodes(), [x()], [y()], negative)
    huge = tiny_weights()
    huge[0].dims[:] = [2 ** 40, 2 ** 40, 3, 3]
    save("huge_weight", tiny_nodes(), [x()], [y()], huge)
    outside = tiny_weights()
    outside[0].ClearField("raw_data")
    outside[0].data_location = T.EXTERNAL
    outside[0].external_data.add(key="location", value="weights.bin")
    save("external", tiny_nodes(), [x()], [y()], outside)
    strings = tiny_weights()
    strings[1].data_type = T.STRING
    save("string_weight", tiny_nodes(), [x()], [y()], strings)
    save("training", [node("Dropout", ["x", "ratio", "on"], ["y"], "dropout")], [x()], [y()],
         [nh.from_array(np.float32(0.5), "ratio"), nh.from_array(np.bool_(True), "on")])
    # a shape that is a product of two batches; a batch inside a list that must be fixed
    sq = [node("Shape", ["x"], ["s"], "s"), node("Gather", ["s", "i0"], ["n"], "n"),
          node("Mul", ["n", "n"], ["nn"], "square"), node("Unsqueeze", ["nn", "a0"], ["to"], "to"),
          node("Reshape", ["x", "to"], ["y"], "reshape")]
    save("square", sq, [x()], [y()], [ints("i0", 0), ints("a0", [0])])
    save("cast_batch", [node("Shape", ["x"], ["s"], "s"), node("Cast", ["s"], ["f"], "f", to=T.FLOAT),
                        node("Mul", ["x", "f"], ["y"], "mul")], [x(shape=("n", 4))], [y()])
    save("values_to_ints", [node("Cast", ["x"], ["k"], "cast", to=T.INT64),
                            node("Reshape", ["x", "k"], ["y"], "r")], [x()], [y()])
    save("control_name", [relu("x", "y", "line\nbreak")], [x()], [y()])


if __name__ == "__main__":
    good()
    bad()
