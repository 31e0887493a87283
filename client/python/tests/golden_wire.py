# SPDX-License-Identifier: Apache-2.0
"""Messages, byte for byte, that the daemon and the clients in C and Python are tested with.

    cd client/python && /usr/bin/python3 -m tests.golden_wire

writes tests/golden/wire/ of the repository:

    NAME.json   the header frame, exactly
    NAME.bin    the tensor frames one after another, where there are any
    index.json  a list of {"name", "kind": "request" | "reply" | "event",
                "frames": [bytes of each tensor frame],
                "code": what the daemon answers to a bad request, "" where it is a good one}

The first frame of a message is always TTAD/1.  Requests were written by ttad/wire.py.
Replies are as the daemon writes them: for reading, not for comparing bytes.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any, Dict, List, NamedTuple

import numpy as np

from ttad import wire

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "tests" / "golden" / "wire"


class Case(NamedTuple):
    """One message; see above."""

    name: str
    kind: str
    header: bytes
    tensors: List[bytes]
    code: str = ""


def images(n: int = 2) -> np.ndarray:
    """[n, 1, 4, 4], multiples of 1/8: exact in float16 and float32."""
    return (np.arange(n * 16, dtype=np.float32) / 8 - 1).reshape(n, 1, 4, 4)


def request(
    op: str, tensors: Dict[str, np.ndarray], how: Dict[str, Any] = {}, **rest: Any
) -> List[bytes]:
    """Frames of a request without the first one."""
    header: Dict[str, Any] = {"op": op, **rest}
    if tensors:
        header["inputs"] = [wire.describe(name, x, how) for name, x in tensors.items()]
    return [bytes(f) for f in wire.encode(header, list(tensors.values()))][1:]


def good_requests() -> List[Case]:
    """What the daemon must take."""
    cam = {"stream_id": "cam-7"}
    x = images()
    table = {
        "infer_fp32": request(
            "infer", {"image": x}, model_name="m", id="42", parameters={**cam, "deadline_ms": 50}
        ),
        "infer_fp16": request("infer", {"image": x.astype("<f2")}, id="43", parameters=cam),
        "infer_int32": request("infer", {"image": (8 * x).astype("<i4")}, id="44", parameters=cam),
        "infer_int64": request("infer", {"image": (8 * x).astype("<i8")}, id="45", parameters=cam),
        "infer_bool": request("infer", {"image": x > 0}, id="46", parameters=cam),
        "infer_uint8": request(
            "infer",
            {"image": (8 * x + 8).astype("u1")},
            {"scale": 0.5, "mean": [1.0], "std": [2.0]},
            id="47",
            parameters=cam,
        ),
        "infer_utf8": request(
            "infer", {"image": x}, id="é-1", parameters={"stream_id": 'Kamera süd "7"\\'}
        ),
        "infer_policy": request(
            "infer", {"image": x}, id="48", parameters={**cam, "policy": "tent"}
        ),
        "infer_nan": request(
            "infer", {"image": np.where(x == 0, np.nan, x).astype("<f4")}, id="49", parameters=cam
        ),
        "infer_unknown_parameter": request(
            "infer", {"image": x}, id="50", parameters={**cam, "colour": [1, {"a": None}]}
        ),
        "feedback": request("feedback", {"label": np.array([3, 9])}, id="42", parameters=cam),
        "hello": request(
            "hello", {}, id="1", parameters={"client": "golden", "client_version": "0"}
        ),
        "ping": request("ping", {}, id="2"),
        "stream_open": request(
            "stream", {}, id="3", parameters={**cam, "action": "open", "policy": "tent"}
        ),
        "status": request("status", {}, id="4"),
        "rollback": request(
            "rollback",
            {},
            id="5",
            parameters={**cam, "version": "00112233aabbccdd", "reason": "fog"},
        ),
    }
    return [Case(name, "request", frames[0], frames[1:]) for name, frames in table.items()]


def bad_requests() -> List[Case]:
    """What the daemon must refuse, and with which code."""
    x = images()
    good = {
        "op": "infer",
        "id": "42",
        "parameters": {"stream_id": "cam-7"},
        "inputs": [wire.describe("image", x)],
    }
    raw = x.tobytes()

    def case(name: str, code: str, header: Any, *tensors: bytes) -> Case:
        text = (
            header
            if isinstance(header, bytes)
            else json.dumps(header, separators=(",", ":")).encode()
        )
        return Case("bad_" + name, "request", text, list(tensors), code)

    def image(**changes: Any) -> Dict[str, Any]:
        return {**good, "inputs": [{**good["inputs"][0], **changes}]}

    def size(n: Any) -> Dict[str, Any]:
        return image(parameters={"binary_data_size": n})

    return [
        case("empty_header", "BAD_HEADER", b""),
        case("cut_header", "BAD_HEADER", json.dumps(good).encode()[:-7], raw),
        case("latin1", "BAD_HEADER", b'{"op":"ping","id":"\xe9"}'),
        case("list", "BAD_HEADER", b"[]"),
        case(
            "deep", "BAD_HEADER", b'{"op":"ping","parameters":' + b"[" * 5000 + b"]" * 5000 + b"}"
        ),
        case("no_op", "BAD_HEADER", {"id": "42"}),
        case("unknown_op", "BAD_HEADER", {"op": "infre", "id": "42"}),
        case("op_number", "BAD_HEADER", {"op": 7, "id": "42"}),
        case("unknown_key", "BAD_HEADER", {**good, "stream_id": "cam-7"}, raw),
        case("doubled_key", "BAD_HEADER", b'{"op":"ping","op":"drain","id":"1"}'),
        case("no_stream", "BAD_HEADER", {k: v for k, v in good.items() if k != "parameters"}, raw),
        case("no_inputs", "BAD_HEADER", {k: v for k, v in good.items() if k != "inputs"}),
        case("frame_missing", "BAD_TENSOR", good),
        case("frame_too_many", "BAD_TENSOR", good, raw, raw),
        case("size_of_frame", "BAD_TENSOR", good, raw[:-1]),
        case("size_said", "BAD_TENSOR", size(127), raw),
        case("size_negative", "BAD_TENSOR", size(-128), raw),
        case("size_text", "BAD_TENSOR", size("128"), raw),
        case("datatype", "BAD_TENSOR", image(datatype="FP64"), raw),
        case("shape_product", "BAD_TENSOR", image(shape=[3, 1, 4, 4]), raw),
        case("shape_overflow", "TOO_LARGE", image(shape=[2**32, 2**32, 2**32, 2**32]), raw),
        case("shape_negative", "BAD_SHAPE", image(shape=[-2, -1, 4, 4]), raw),
        case("shape_fraction", "BAD_SHAPE", image(shape=[2.0, 1, 4, 4]), raw),
        case("shape_none", "BAD_SHAPE", image(shape=None), raw),
    ]


def replies() -> List[Case]:
    """What clients must read."""
    logits = np.arange(6, dtype="<f4").reshape(2, 3)
    said = {
        "stream_id": "cam-7",
        "version": "00112233aabbccdd",
        "step": 8,
        "adapted": True,
        "engine": "tent",
        "loss": 0.5,
        "entropy": 0.25,
        "guard": "ok",
        "queue_us": 3,
        "infer_us": 40,
        "adapt_us": 50,
        "credit": 7,
    }
    error = {
        "op": "error",
        "id": "42",
        "error": "input 'image': shape [64,3,32] has 3 dimensions, the model "
        "wants 4 [-1,3,32,32]",
        "code": "BAD_SHAPE",
        "retry_after_ms": 0,
    }
    busy = {
        **error,
        "error": "stream cam-7 has 8 requests queued, at most 8",
        "code": "BUSY",
        "retry_after_ms": 40,
    }
    output = {
        "name": "logits",
        "shape": [2, 3],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 24},
    }
    infer = {"op": "infer", "model_name": "m", "id": "42", "parameters": said, "outputs": [output]}
    skipped = {
        **infer,
        "parameters": {
            "stream_id": "cam-7",
            "version": "00112233aabbccdd",
            "step": 8,
            "adapted": False,
            "skipped": "not_finite",
            "rolled_back_to": "8899aabbccddeeff",
        },
    }

    def case(name: str, header: Dict[str, Any], *tensors: bytes) -> Case:
        return Case(
            "reply_" + name,
            "reply",
            json.dumps(header, separators=(",", ":")).encode(),
            list(tensors),
        )

    return [
        case("infer", infer, logits.tobytes()),
        case("infer_skipped", skipped, logits.tobytes()),
        case("error", error),
        case("busy", busy),
    ]


def events() -> List[Case]:
    """[topic][sequence number][JSON]: the tensor frame here is the number."""
    body = {"stream": "cam-7", "action": "rollback", "to": "00112233aabbccdd"}
    return [
        Case(
            "event_decision",
            "event",
            json.dumps(body, separators=(",", ":")).encode(),
            [(2**40 + 258).to_bytes(8, "big")],
        )
    ]


def all_cases() -> List[Case]:
    """Every message."""
    return good_requests() + bad_requests() + replies() + events()


def files() -> Dict[str, bytes]:
    """Content by file name."""
    index, out = [], {}
    for case in all_cases():
        index.append(
            {
                "name": case.name,
                "kind": case.kind,
                "frames": [len(t) for t in case.tensors],
                "code": case.code,
            }
        )
        out[case.name + ".json"] = case.header
        if case.tensors:
            out[case.name + ".bin"] = b"".join(case.tensors)
    rows = ",\n".join(json.dumps(row) for row in index)
    out["index.json"] = f"[\n{rows}\n]\n".encode()
    return out


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in [*FOLDER.glob("*.json"), *FOLDER.glob("*.bin")]:
        old.unlink()
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)
    print(f"{FOLDER}: {len(all_cases())} messages")


if __name__ == "__main__":
    main()
