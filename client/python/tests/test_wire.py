# SPDX-License-Identifier: Apache-2.0
"""Messages to bytes and back."""

import json
import unittest

import numpy as np

from ttad import wire
from ttad.errors import BadArgument, BadReply


def reply(header, *tensors):
    return [
        b"TTAD/1",
        header if isinstance(header, bytes) else json.dumps(header).encode(),
        *tensors,
    ]


def output(name="logits", shape=(2, 3), datatype="FP32"):
    return {"outputs": [{"name": name, "shape": list(shape), "datatype": datatype}]}


class Tensors(unittest.TestCase):
    def test_every_datatype_comes_back_as_it_went(self):
        for name, dtype in (
            ("BOOL", "?"),
            ("UINT8", "u1"),
            ("INT32", "i4"),
            ("INT64", "i8"),
            ("FP16", "f2"),
            ("FP32", "f4"),
        ):
            with self.subTest(name):
                x = np.arange(6).reshape(2, 3).astype(dtype)
                entry = wire.describe("t", x)
                self.assertEqual(entry["datatype"], name)
                self.assertEqual(entry["parameters"]["binary_data_size"], x.nbytes)
                header, tensors = wire.decode(wire.encode({"outputs": [entry]}, [x]))
                self.assertEqual(tensors["t"].dtype, x.dtype)
                np.testing.assert_array_equal(tensors["t"], x)

    def test_big_endian_and_strided_arrays_are_sent_little_endian_row_major(self):
        x = np.arange(6, dtype=">f4").reshape(2, 3).T
        self.assertEqual(wire.describe("t", x)["datatype"], "FP32")
        self.assertEqual(bytes(wire.tensor_frame(x)), np.array([0, 3, 1, 4, 2, 5], "<f4").tobytes())

    def test_a_ready_array_is_sent_from_its_own_memory(self):
        x = np.zeros((4, 5), np.float32)
        frame = wire.tensor_frame(x)
        x[0, 0] = 1
        self.assertEqual(bytes(frame[:4]), np.float32(1).tobytes())

    def test_a_scalar_and_an_empty_array_have_frames(self):
        self.assertEqual(len(wire.tensor_frame(np.float32(2))), 4)
        self.assertEqual(len(wire.tensor_frame(np.zeros((0, 3), np.float32))), 0)

    def test_types_without_a_name_are_refused(self):
        for x in (
            np.zeros(2),
            np.zeros(2, "c8"),
            np.array(["a"]),
            np.array([None]),
            np.zeros(2, "u4"),
        ):
            with self.subTest(str(x.dtype)), self.assertRaises(BadArgument) as e:
                wire.describe("t", x)
            self.assertIn(str(x.dtype), str(e.exception))

    def test_decoded_arrays_are_writable_and_aligned(self):
        raw = b"x" + np.arange(6, dtype="<f4").tobytes()
        x = wire.decode(reply(output(), memoryview(raw)[1:])).tensors["logits"]
        self.assertTrue(x.flags.writeable and x.flags.aligned)


class Headers(unittest.TestCase):
    def test_a_header_that_is_no_json_is_refused(self):
        for header in ({"a": float("nan")}, {"a": b"x"}, {"a": {1, 2}}):
            with self.subTest(header), self.assertRaises(BadArgument):
                wire.encode(header)

    def test_a_header_of_more_than_256_kib_is_refused(self):
        wire.encode({"a": "x" * (wire.MAX_HEADER - 8)})
        with self.assertRaises(BadArgument):
            wire.encode({"a": "x" * (wire.MAX_HEADER - 7)})

    def test_malformed_replies_are_refused_and_say_why(self):
        six = b"\0" * 24
        cases = (
            ("1 frames", [b"TTAD/1"]),
            ("b'TTAD/2'", [b"TTAD/2", b"{}"]),
            ("not json", reply(b"{")),
            ("not json", reply(b"\xff\xfe{}")),
            ("not json", reply(b"[" * 200000)),
            ("json list", reply(b"[]")),
            ("at most 16777216", reply(b" " * (wire.MAX_REPLY + 1))),
            ("describes 1 tensors, the message has 0", reply(output())),
            ("describes 0 tensors, the message has 1", reply({}, six)),
            ("want a list", reply({"outputs": {"name": "logits"}}, six)),
            ("without a name", reply({"outputs": [7]}, six)),
            ("'BF16'", reply(output(datatype="BF16"), six)),
            ("no list of sizes", reply(output(shape=(-2, 3)), six)),
            ("no list of sizes", reply(output(shape=(True, 3)), six)),
            ("no list of sizes", reply(output(shape=("2", 3)), six)),
            ("23 bytes", reply(output(), six[:23])),
            ("4 bytes", reply(output(shape=(2**62, 2**62)), b"\0" * 4)),
        )
        for why, message in cases:
            with self.subTest(why), self.assertRaises(BadReply) as e:
                wire.decode(message)
            self.assertIn(why, str(e.exception))


class EventFrames(unittest.TestCase):
    def test_the_sequence_number_is_big_endian(self):
        event = wire.decode_event([b"decision", bytes([0, 0, 0, 0, 0, 0, 1, 2]), b'{"a":1}'])
        self.assertEqual(event, ("decision", 258, {"a": 1}, 0))

    def test_malformed_events_are_refused(self):
        good = [b"decision", bytes(8), b"{}"]
        for bad in (
            good[:2],
            good + [b""],
            [good[0], bytes(7), good[2]],
            [good[0], good[1], b"{"],
            [b"\xff", good[1], good[2]],
        ):
            with self.subTest(bad), self.assertRaises(BadReply):
                wire.decode_event(bad)


if __name__ == "__main__":
    unittest.main()
