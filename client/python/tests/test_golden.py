# SPDX-License-Identifier: Apache-2.0
"""The messages of tests/golden/wire, which the daemon's tests read, too."""

import json
import unittest

import numpy as np

import ttad
from tests import golden_wire
from ttad import wire
from ttad.client import answer_of
from ttad.errors import from_reply


def load(name):
    """Frames of a stored message."""
    rows = json.loads((golden_wire.FOLDER / "index.json").read_text())
    row = next(r for r in rows if r["name"] == name)
    frames = [b"TTAD/1", (golden_wire.FOLDER / f"{name}.json").read_bytes()]
    raw = (golden_wire.FOLDER / f"{name}.bin").read_bytes() if row["frames"] else b""
    for n in row["frames"]:
        frames.append(raw[:n])
        raw = raw[n:]
    return frames


class Golden(unittest.TestCase):
    def test_the_stored_messages_are_what_this_client_writes(self):
        want = golden_wire.files()
        have = {p.name: p.read_bytes() for p in golden_wire.FOLDER.iterdir()}
        self.assertEqual(sorted(have), sorted(want))
        for name, content in want.items():
            with self.subTest(name):
                self.assertEqual(have[name], content)

    def test_good_requests_hold_what_was_sent(self):
        for case in golden_wire.good_requests():
            with self.subTest(case.name):
                header, tensors = wire.decode(load(case.name), key="inputs")
                for entry in header.get("inputs", []):
                    self.assertEqual(
                        tensors[entry["name"]].nbytes, entry["parameters"]["binary_data_size"]
                    )
        x = wire.decode(load("infer_fp16"), key="inputs").tensors["image"]
        np.testing.assert_array_equal(x, golden_wire.images())

    def test_replies_are_understood(self):
        got = answer_of(wire.decode(load("reply_infer")))
        self.assertEqual(
            (got.version, got.step, got.adapted, got.logits.tolist()),
            ("00112233aabbccdd", 8, True, [[0, 1, 2], [3, 4, 5]]),
        )
        got = answer_of(wire.decode(load("reply_infer_skipped")))
        self.assertEqual(
            (got.adapted, got.skipped, got.rolled_back_to),
            (False, "not_finite", "8899aabbccddeeff"),
        )
        self.assertIsInstance(from_reply(wire.decode_header(load("reply_error"))), ttad.BadRequest)
        self.assertEqual(from_reply(wire.decode_header(load("reply_busy"))).retry_after, 0.04)

    def test_an_event_is_understood(self):
        _, body, seq = load("event_decision")
        self.assertEqual(wire.decode_event([b"decision", seq, body]).seq, 2**40 + 258)


if __name__ == "__main__":
    unittest.main()
