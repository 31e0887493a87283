#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cases of one operator each, with the answers of ONNX Runtime, in the layout of the ONNX project's
backend tests, so that the conformance runner reads them:

    python3 tests/ort_cases.py DIR && make conformance ONNX_TESTS=DIR

They are of forms that the project's own cases lack: ranks, broadcasts, spatial dimensions, indices
that come with the input, opsets 18 to 21.  Needs numpy, onnx, onnxruntime.
"""
import os
import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)
root = ""


def draw(v):
    return v if isinstance(v, np.ndarray) else rng.standard_normal(v).astype(np.float32)


def typed(name, v):
    kind = TensorProto.FLOAT if v.dtype == np.float32 else TensorProto.INT64
    return helper.make_tensor_value_info(name, kind, v.shape)


def put(path, v, name):
    with open(path, "wb") as f:
        f.write(numpy_helper.from_array(v, name).SerializeToString())


def case(name, op, feeds, opset=17, weights=None, order=None, results=1, **attrs):
    """One node; feeds and weights are arrays, or shapes to draw for."""
    feeds = {k: draw(v) for k, v in feeds.items()}
    weights = {k: draw(v) for k, v in (weights or {}).items()}
    names = ["y%d" % i for i in range(results)]
    node = helper.make_node(op, order or [*feeds, *weights], names, **attrs)

    def model(outputs):
        graph = helper.make_graph([node], "case", [typed(k, v) for k, v in feeds.items()], outputs,
                                  [numpy_helper.from_array(v, k) for k, v in weights.items()])
        m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        m.ir_version = 8
        return m.SerializeToString()

    free = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    out = ort.InferenceSession(model(free), providers=["CPUExecutionProvider"]).run(None, feeds)
    folder = os.path.join(root, "node", "test_" + name, "test_data_set_0")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "..", "model.onnx"), "wb") as f:
        f.write(model([typed(n, v) for n, v in zip(names, out)]))
    for i, (k, v) in enumerate(feeds.items()):
        put(os.path.join(folder, "input_%d.pb" % i), v, k)
    for i, v in enumerate(out):
        put(os.path.join(folder, "output_%d.pb" % i), v, names[i])


def products():
    pairs = [("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)), ("ij,jk", (4, 5), (5, 3)),
             ("...ij,...jk->...ik", (2, 3, 4, 5), (2, 3, 5, 6)), ("i,j->ij", (4,), (5,)),
             ("ijl,jk->i", (4, 5, 2), (5, 3)), ("bnd,hdk->bhnk", (2, 5, 6), (3, 6, 4)),
             ("bcxd,md->bcxm", (2, 3, 4, 5), (7, 5)), ("bhi,bhi->bh", (2, 3, 4), (2, 3, 4))]
    for i, (equation, a, b) in enumerate(pairs):
        case("einsum_%d" % i, "Einsum", {"a": a, "b": b}, equation=equation)
    alone = [("iji->ji", (4, 2, 4)), ("ii", (4, 4)), ("ij->ji", (3, 4)), ("bij->b", (2, 3, 4)),
             ("...i->...", (2, 3, 4))]
    for i, (equation, a) in enumerate(alone):
        case("einsum_alone_%d" % i, "Einsum", {"a": a}, equation=equation)
    sides = [((2, 1, 3, 5), (1, 6, 5, 4)), ((3, 5), (2, 6, 5, 4)), ((5,), (2, 5, 4)),
             ((2, 3, 5), (5,)), ((5,), (5,)), ((2, 197, 64), (64, 96)),
             ((2, 6, 33, 64), (2, 6, 64, 33))]
    for i, (a, b) in enumerate(sides):
        case("matmul_%d" % i, "MatMul", {"a": a, "b": b})


def norms():
    case("groupnorm", "GroupNormalization", {"x": (2, 8, 5, 3)}, 21, {"s": (8,), "b": (8,)},
         num_groups=4)
    case("instancenorm", "InstanceNormalization", {"x": (2, 8, 5, 3)}, 17, {"s": (8,), "b": (8,)})
    case("instancenorm_1d", "InstanceNormalization", {"x": (2, 3, 700)}, 17,
         {"s": (3,), "b": (3,)})
    case("layernorm", "LayerNormalization", {"x": (2, 7, 384)}, 17, {"s": (384,), "b": (384,)},
         axis=-1, epsilon=1e-6)


def moves():
    case("gather_fed", "Gather", {"x": (2, 5, 3), "i": np.array([[0, -1], [4, 2]])}, axis=1)
    case("gather_elements_fed", "GatherElements",
         {"x": (2, 5, 3), "i": np.array([[[0, 1, -1]], [[4, 2, 3]]])}, axis=1)
    case("gather_nd_fed", "GatherND", {"x": (2, 5, 3), "i": np.array([[0, -1], [1, 2], [1, 2]])})
    case("gather_nd_batch", "GatherND", {"x": (2, 5, 3, 4), "i": np.array([[[0, -1]], [[4, 2]]])},
         batch_dims=1)
    for mode in ("reflect", "edge", "constant", "wrap"):
        case("pad_" + mode, "Pad", {"x": (2, 3, 4, 5)}, 19,
             {"p": np.array([0, 1, 2, 0, 0, 0, 3, 1])}, mode=mode)
    case("depth_to_space", "DepthToSpace", {"x": (2, 12, 3, 4)}, blocksize=2, mode="CRD")
    case("space_to_depth", "SpaceToDepth", {"x": (2, 3, 4, 6)}, blocksize=2)
    case("split", "Split", {"x": (2, 7, 3)}, 18, axis=1, num_outputs=3, results=3)
    case("upsample", "Upsample", {"x": (2, 3, 4, 5)}, 9,
         {"s": np.array([1, 1, 2, 3], np.float32)}, mode="nearest")
    for place in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        for mode in ("linear", "nearest", "cubic"):
            for to in ((1, 1, 7, 9), (1, 1, 3, 2)):
                case("resize_%s_%s_%d" % (place, mode, to[2]), "Resize", {"x": (1, 1, 4, 5)}, 18,
                     {"s": np.array(to)}, order=["x", "", "", "s"], mode=mode,
                     coordinate_transformation_mode=place)


def lists():
    for op, kw in (("Concat", {"axis": 1}), ("Sum", {}), ("Max", {}), ("Min", {})):
        for n in (1, 8, 9, 64):
            shapes = [(2, 1 + i % 3, 4) if op == "Concat" else (2, 3, 1 + i % 2 * 3)
                      for i in range(n)]
            many = {"x%d" % i: shape for i, shape in enumerate(shapes)}
            case("%s_of_%d" % (op.lower(), n), op, many, **kw)


def windows():
    for group, (ci, co) in ((1, (3, 5)), (2, (4, 6))):
        case("convtranspose_2d_%d" % group, "ConvTranspose", {"x": (2, ci, 5, 4)}, 17,
             {"w": (ci, co // group, 3, 2), "b": (co,)}, group=group, strides=[2, 3],
             pads=[1, 0, 2, 1], output_padding=[1, 2], dilations=[2, 1])
        case("convtranspose_1d_%d" % group, "ConvTranspose", {"x": (2, ci, 9)}, 17,
             {"w": (ci, co // group, 4)}, group=group, strides=[2], pads=[1, 1])
    for group, (ci, co) in ((1, (3, 5)), (2, (4, 6)), (4, (4, 8))):
        w = {"w": (co, ci // group, 3), "b": (co,)}
        case("conv_1d_%d" % group, "Conv", {"x": (2, ci, 12)}, 17, w, group=group, strides=[2],
             pads=[1, 2], dilations=[2])
        for pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
            case("conv_1d_%d_%s" % (group, pad.lower()), "Conv", {"x": (2, ci, 12)}, 17, w,
                 group=group, strides=[3], auto_pad=pad)
    for op in ("MaxPool", "AveragePool", "LpPool"):
        for n in (1, 2, 3):
            more = {} if op == "LpPool" else {"ceil_mode": 1}
            case("%s_%d" % (op.lower(), n), op, {"x": (2, 3) + (7, 8, 9)[:n]}, 18,
                 kernel_shape=[3] * n, strides=[2] * n, pads=[1] * 2 * n, **more)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = sys.argv[1]
    for make in (products, norms, moves, lists, windows):
        make()
