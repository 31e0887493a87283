# SPDX-License-Identifier: Apache-2.0
"""Messages of protocol version 1: [TTAD/1][JSON header][tensor 0][tensor 1]...

Pure functions over bytes: nothing here knows a socket.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from .errors import BadArgument, BadReply

MAGIC = b"TTAD/1"
MAX_HEADER = 256 * 1024  # bytes of JSON in a request
MAX_REPLY = 16 << 20  # and in a reply: the list of 1 000 streams is larger than a request may be
EVENT_SEQ_BYTES = 8

Frame = Union[bytes, memoryview]
Header = Dict[str, Any]

# BF16 has no NumPy type, so it is not here.
_DTYPES: Dict[str, np.dtype] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
}
_NAMES: Dict[str, str] = {d.str: name for name, d in _DTYPES.items()}


class Message(NamedTuple):
    """A decoded message: its header, and its tensors by name in the order of the frames."""

    header: Header
    tensors: Dict[str, np.ndarray]


class Event(NamedTuple):
    """One event.  missed: how many before it on this topic never arrived (0 = none)."""

    topic: str
    seq: int
    data: Any
    missed: int = 0


def datatype_of(array: np.ndarray) -> str:
    """The protocol's name of an array's type.  Raises BadArgument for a type that has none."""
    name = _NAMES.get(array.dtype.newbyteorder("<").str)
    if name is None:
        raise BadArgument(f"dtype {array.dtype} cannot be sent, want one of {', '.join(_DTYPES)}")
    return name


def tensor_frame(array: np.ndarray) -> memoryview:
    """The bytes of an array: row-major, little-endian; its own memory if it is that."""
    ready = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return memoryview(ready.reshape(-1).view(np.uint8))


def describe(name: str, array: np.ndarray, parameters: Optional[Header] = None) -> Header:
    """One entry of `inputs`."""
    return {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype_of(array),
        "parameters": {"binary_data_size": array.nbytes, **(parameters or {})},
    }


def encode(header: Header, tensors: Sequence[np.ndarray] = ()) -> List[Frame]:
    """Frames of a message.  Raises BadArgument: no JSON, or longer than MAX_HEADER."""
    try:
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        raw = text.encode("utf-8")
    except (TypeError, ValueError) as e:
        raise BadArgument(f"header cannot be written as json: {e}") from None
    if len(raw) > MAX_HEADER:
        raise BadArgument(f"header of {len(raw)} bytes, at most {MAX_HEADER}")
    return [MAGIC, raw, *(tensor_frame(t) for t in tensors)]


def decode_header(frames: Sequence[Frame]) -> Header:
    """The header of a message.  Raises BadReply where there is none."""
    if len(frames) < 2:
        raise BadReply(f"a message of {len(frames)} frames, want at least 2")
    if bytes(frames[0]) != MAGIC:
        raise BadReply(f"first frame is {bytes(frames[0][:16])!r}, want {MAGIC!r}")
    if len(frames[1]) > MAX_REPLY:
        raise BadReply(f"header of {len(frames[1])} bytes, at most {MAX_REPLY}")
    try:
        header = json.loads(bytes(frames[1]).decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise BadReply(f"header is not json: {e}") from None
    if not isinstance(header, dict):
        raise BadReply(f"header is a json {type(header).__name__}, want an object")
    return header


def decode(frames: Sequence[Frame], key: str = "outputs") -> Message:
    """A whole message; `key` names the list that describes its tensors.  Raises BadReply.

    The arrays are copies: aligned, writable, and independent of the frames.
    """
    header = decode_header(frames)
    described = header.get(key) or []
    if not isinstance(described, list):
        raise BadReply(f"'{key}' is a json {type(described).__name__}, want a list")
    if len(described) != len(frames) - 2:
        raise BadReply(
            f"'{key}' describes {len(described)} tensors, the message has {len(frames) - 2}"
        )
    tensors: Dict[str, np.ndarray] = {}
    for entry, frame in zip(described, frames[2:]):
        name, array = _decode_tensor(entry, frame)
        tensors[name] = array
    return Message(header, tensors)


def _decode_tensor(entry: Any, frame: Frame) -> Tuple[str, np.ndarray]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadReply("a tensor without a name")
    name, shape = entry["name"], entry.get("shape")
    dtype = _DTYPES.get(str(entry.get("datatype")))
    if dtype is None:
        raise BadReply(
            f"tensor '{name}': datatype {entry.get('datatype')!r}, want one of {', '.join(_DTYPES)}"
        )
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise BadReply(f"tensor '{name}': shape {shape!r} is no list of sizes")
    want = dtype.itemsize
    for n in shape:
        want *= n
    if len(frame) != want:
        raise BadReply(
            f"tensor '{name}': {len(frame)} bytes, shape {shape} of {entry['datatype']} has {want}"
        )
    return name, np.frombuffer(bytes(frame), dtype=dtype).reshape(shape).copy()


def decode_event(frames: Sequence[Frame]) -> Event:
    """An event [topic][sequence number, 8 bytes big-endian][JSON].  Raises BadReply."""
    if len(frames) != 3:
        raise BadReply(f"an event of {len(frames)} frames, want 3")
    if len(frames[1]) != EVENT_SEQ_BYTES:
        raise BadReply(f"event sequence number of {len(frames[1])} bytes, want {EVENT_SEQ_BYTES}")
    try:
        topic = bytes(frames[0]).decode("utf-8")
        data = json.loads(bytes(frames[2]).decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise BadReply(f"event is not json: {e}") from None
    return Event(topic, int.from_bytes(bytes(frames[1]), "big"), data)
