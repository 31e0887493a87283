# SPDX-License-Identifier: Apache-2.0
"""Captured streams of the real daemon, run again by `ttad replay`, whole, damaged and falsified."""

import contextlib
import json
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import unittest

import numpy as np

from tests.test_daemon import IMAGES, LABELS, MODEL, PROGRAM, Daemon

ROWS = 16
COMMON = """\
version: 1
preset: tent
preprocess: {scale: 0.00392156862745098, mean: [0.2860], std: [0.3530], layout: nhwc}
"""
# Static, and a step that is far too large: the guard goes back within a few batches.
GUARDED = """\
optimizer: {kind: sgd, lr: 0.5, momentum: 0.9}
monitor: {window: 64, shadow: {every: 2, stats: [same]}}
guards:
  - {name: away, signal: shadow_disagreement, above: 0.35, min_samples: 16, consecutive: 1,
     cooldown_samples: 32, action: rollback}
  - {name: slow, signal: latency_ms, above: 0.001, min_samples: 16, action: hold, dry_run: true}
recovery: {warmup_samples: 32, probation_samples: 32, soak_samples: 32, soak_evidence: 0.9}
snapshots: {every_updates: 2}
"""
POLICIES = {
    "tent": COMMON + "snapshots: {every_updates: 2}\ncapture: on\n",
    "guarded": COMMON + GUARDED + "capture: on\n",
    "small": COMMON + "capture: {mode: on, max_bytes: 1048576}\n",
    "plain": COMMON,
    "later": COMMON + "snapshots: {every_updates: 2}\nadapt: background\ncapture: on\n",
}


def replay(database, *more):
    """Exit status, what is said on stdout, and on stderr."""
    run = subprocess.run(
        [str(PROGRAM), "replay", "--db", str(database), *map(str, more)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.returncode, run.stdout, run.stderr


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Replay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.images, cls.labels = np.load(IMAGES), np.load(LABELS).astype(np.int64)
        cls.daemon = Daemon(POLICIES)
        cls.stack.callback(cls.daemon.end)
        cls.captured()
        cls.daemon.process.terminate()
        cls.daemon.process.wait(30)
        cls.state = cls.daemon.dir / "state"

    @classmethod
    def captured(cls):
        """Everything that can happen to a stream, and a kill in the middle."""
        with cls.daemon.client() as client:
            cls.versions = [cls.tent(client, stream, 12) for stream in ("one", "two")]
            cls.versions.append(cls.tent(client, "later", 12, policy="later"))
            cls.rollbacks = cls.attack(client)
            for k in range(90):
                client.infer(cls.batch(k), "long", policy="small", id=f"l{k}")
            client.infer(cls.batch(0), "plain", policy="plain")
            cls.orders(client)
        cls.daemon.kill()
        cls.daemon.start()
        with cls.daemon.client() as client:
            cls.tent(client, "one", 4, begin=12)
            (cls.daemon.dir / "tent.yaml").write_text(
                POLICIES["tent"] + "optimizer: {kind: sgd, lr: 0.01}\n"
            )
            client.reload()
            cls.tent(client, "one", 3, begin=16)

    @classmethod
    def batch(cls, k):
        first = ROWS * k % (len(cls.images) - ROWS)
        return cls.images[first : first + ROWS]

    @classmethod
    def tent(cls, client, stream, n, begin=0, policy="tent"):
        """The versions that answered."""
        versions = []
        for k in range(begin, begin + n):
            versions.append(
                client.infer(cls.batch(k), stream, policy=policy, id=f"b{k}").version
            )
            if k % 3 == 0:
                first = ROWS * k % (len(cls.images) - ROWS)
                client.feedback(f"b{k}", cls.labels[first : first + ROWS], stream)
        return versions

    @classmethod
    def attack(cls, client):
        rng = np.random.default_rng(7)
        back = []
        for k in range(36):
            x = cls.batch(k) if k < 6 else rng.integers(0, 256, (ROWS, 28, 28, 1), np.uint8)
            back.append(client.infer(x, "attacked", policy="guarded").rolled_back_to)
        return [b for b in back if b]

    @classmethod
    def orders(cls, client):
        """By people; floats, and NaN; a deadline that was missed, an id that came twice."""
        client.snapshot("one", reason="for the test")
        oldest = client.snapshots("one")[-1]["version"]
        client.rollback("one", version=oldest, reason="for the test")
        client.freeze("one")
        client.infer(cls.batch(3), "one", id="frozen")
        client.thaw("one")
        x = np.zeros((4, 1, 28, 28), np.float32)
        client.infer(x, "one", id="zeros")
        client.infer(x, "one", id="zeros")
        x[1, 0, 2, 3] = np.nan
        client.infer(x, "one", id="nan")
        client.infer(cls.batch(5)[:5], "one", id="five")

    def copy(self):
        """A copy of the record and what was captured beside it."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ttad-test-"))
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(self.state, folder / "state")
        return folder / "state" / "ttad.sqlite"

    def files(self, database, stream):
        return sorted((database.parent / "ttad.sqlite.captures" / stream).iterdir())

    def test_every_stream_is_equal_and_agrees_with_the_record(self):
        status, said, mistakes = replay(self.state / "ttad.sqlite", "--json")
        self.assertEqual((status, mistakes), (0, ""), said)
        said = json.loads(said)
        self.assertTrue(said["equal"])
        streams = {s["stream"]: s for s in said["streams"]}
        self.assertEqual(sorted(streams), ["attacked", "later", "long", "one", "two"])
        one = streams["one"]
        self.assertEqual((one["files"], one["batches"], one["orders"]), (3, 23, 3))
        self.assertEqual((one["labels"], one["decisions"]), (7, 3))
        self.assertEqual(streams["two"]["notes"], [])
        for name in ("attacked", "later", "long", "two"):
            got = streams[name]
            self.assertEqual(got["record_rows"] + got["record_missing"], got["batches"], name)
        self.assertGreater(one["record_rows"], 16)  # a kill may lose the last rows, not a capture

    def test_the_guards_rollbacks_are_decided_again(self):
        self.assertGreater(len(self.rollbacks), 0, "the attack was not noticed")
        status, said, _ = replay(self.state / "ttad.sqlite", "--stream", "attacked", "--json")
        got = json.loads(said)["streams"][0]
        self.assertEqual((status, got["rollbacks"]), (0, len(self.rollbacks)))
        self.assertGreater(got["decisions"], got["rollbacks"], "the dry run on latency_ms")

    def test_the_same_batches_make_the_same_versions_in_three_streams(self):
        self.assertEqual(self.versions[0], self.versions[1])
        self.assertEqual(self.versions[0], self.versions[2], "learnt from after the answers")
        self.assertEqual(len(set(self.versions[0])), 12)

    def test_two_threads_give_the_same_or_the_difference_is_named(self):
        status, said, _ = replay(self.state / "ttad.sqlite", "--stream", "two", "--threads", 2)
        self.assertIn("2 threads, captured with 1", said)
        if status:
            self.assertRegex(said, r"two: differs: batch \d+ \(id 'b\d+', step \d+\): ")
        else:
            self.assertIn("two: equal: 12 batches", said)

    def test_files_stay_within_their_bound_and_what_is_left_is_equal(self):
        database = self.state / "ttad.sqlite"
        files = self.files(database, "long")
        self.assertLessEqual(sum(f.stat().st_size for f in files), 1048576)
        self.assertGreater(int(files[0].name[:8]), 1, "the oldest has gone")
        status, said, _ = replay(database, "--stream", "long", "--json")
        got = json.loads(said)["streams"][0]
        self.assertEqual((status, got["step"]), (0, 90))
        self.assertLess(got["batches"], 90)
        status, said, _ = replay(database, "--stream", "long", "--json", "--from", 80)
        self.assertEqual((status, json.loads(said)["streams"][0]["step"]), (0, 90))
        self.assertLess(json.loads(said)["streams"][0]["batches"], got["batches"])

    def test_one_bit_of_an_input_that_was_changed_is_found(self):
        database = self.copy()
        path = self.files(database, "two")[0]
        content = bytearray(path.read_bytes())
        at = content.find(self.batch(7).tobytes())
        self.assertGreater(at, 0)
        content[at + 99] ^= 1
        path.write_bytes(content)
        status, said, mistakes = replay(database, "--stream", "two")
        self.assertEqual(status, 2)
        self.assertIn("two: stopped after 7 batches, equal up to there", said)
        self.assertRegex(mistakes, r"00000001.capture: byte \d+: the checksum of this record is w")

    def test_a_version_that_the_record_falsifies_is_named(self):
        database = self.copy()
        with contextlib.closing(sqlite3.connect(database)) as db, db:
            db.execute(
                "UPDATE batch SET version = 'ffffffffffffffff' WHERE request_id = 'b5' AND "
                "stream_id = (SELECT id FROM stream WHERE name = 'two')"
            )
        status, said, _ = replay(database, "--stream", "two")
        self.assertEqual(status, 1)
        self.assertIn("two: differs: batch 6 (id 'b5', step 5): version " + self.versions[1][5], said)
        self.assertIn("the record says ffffffffffffffff of step 5", said)

    def test_a_decision_that_is_missing_in_the_record_is_named(self):
        database = self.copy()
        with contextlib.closing(sqlite3.connect(database)) as db, db:
            db.execute("PRAGMA foreign_keys = OFF")
            db.execute("DELETE FROM decision WHERE action = 'freeze'")
        status, said, _ = replay(database, "--stream", "one")
        self.assertEqual(status, 1)
        self.assertIn("freeze by rule 'operator'", said)
        self.assertIn("of which the record says nothing", said)

    def test_a_file_that_was_cut_short_is_run_up_to_there(self):
        database = self.copy()
        path = self.files(database, "two")[0]
        content = path.read_bytes()
        at = content.find(self.batch(7).tobytes())
        path.write_bytes(content[: at + 1000])
        status, said, mistakes = replay(database, "--stream", "two")
        self.assertEqual((status, mistakes), (0, ""))
        self.assertIn("two: equal: 7 batches", said)
        self.assertIn("ends within a record", said)

    def test_another_model_is_refused(self):
        database = self.copy()
        other = database.parent / "other.onnx"
        shutil.copy(MODEL, other)
        with open(other, "ab") as f:
            f.write(b"\x72\x00")  # an empty doc string: the same model, another file
        status, _, mistakes = replay(database, "--stream", "two", "--model", other)
        self.assertEqual(status, 2)
        self.assertRegex(mistakes, "ttad replay: stream 'two': model 'fashion': .* has hash ")
        self.assertEqual(replay(database, "--stream", "two", "--model", MODEL)[0], 0)

    def test_what_is_no_capture_gets_one_line(self):
        database = self.copy()
        (database.parent / "ttad.sqlite.captures" / "two" / "00000001.capture").write_bytes(b"x" * 99)
        (database.parent / "empty.sqlite").write_bytes(b"")
        cases = (
            ((database, "--stream", "nobody"), "nobody: no captured inputs"),
            ((database, "--stream", "plain"), "plain: no captured inputs"),
            ((database, "--stream", "two"), "byte 0: this is no capture of ttad"),
            ((database.parent / "absent.sqlite",), "absent.sqlite"),
            ((database.parent / "empty.sqlite",), "empty.sqlite"),
            ((MODEL,), "fashion_resnet.onnx"),
        )
        for arguments, want in cases:
            with self.subTest(str(arguments[-1])):
                status, _, mistakes = replay(*arguments)
                self.assertEqual(status, 2)
                self.assertIn(want, mistakes)
                self.assertEqual(mistakes.count("\n"), 1, mistakes)
        self.assertEqual(replay(database, "--sream", "two")[0], 2)


if __name__ == "__main__":
    unittest.main()
