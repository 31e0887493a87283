# SPDX-License-Identifier: Apache-2.0
"""The client against the real daemon: $TTAD, or build/release/ttad where it has been built."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np
import zmq

import ttad
from tests import golden_wire
from ttad import ctl, wire
from ttad.errors import from_reply

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = pathlib.Path(os.environ.get("TTAD", ROOT / "build" / "release" / "ttad")).resolve()
MODEL = ROOT / "models" / "fashion_resnet.onnx"
IMAGES = ROOT / "models" / "fashion_tune_images.npy"
LABELS = ROOT / "models" / "fashion_tune_labels.npy"

POLICY = """\
version: 1
preset: {preset}
preprocess: {{scale: 0.00392156862745098, mean: [0.2860], std: [0.3530], layout: nhwc}}
monitor: {{shadow: {{every: 2, stats: [source]}}}}
snapshots: {{every_updates: 2}}
"""
CONFIG = """\
listen: {{data: "{dir}/data.sock", control: "{dir}/control.sock", events: "{dir}/events.sock"}}
models:
  - {{name: fashion, path: "{model}"}}
policies:
{policies}
threads_per_worker: 1
limits: {limits}
"""


class Daemon:
    """ttad serve in a temporary folder, ended by its own process id."""

    def __init__(self, policies=None, limits="{max_batch_rows: 64}", env=None):
        """Policies by name, as YAML; limits as a YAML map; env: beside the environment."""
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ttad-test-"))
        self.env = env or {}
        policies = policies or {p: POLICY.format(preset=p) for p in ("source", "tent")}
        for name, text in policies.items():
            (self.dir / f"{name}.yaml").write_text(text)
        rows = "\n".join(f"  - {{name: {name}, path: {name}.yaml}}" for name in policies)
        self.config = config = self.dir / "ttad.yaml"
        config.write_text(
            CONFIG.format(dir=f"ipc://{self.dir}", model=MODEL, policies=rows, limits=limits)
        )
        self.log = self.dir / "log"
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "serve", "--config", str(self.config)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.env},
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup(1) took it
            )
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise

    def kill(self):
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def endpoint(self, name):
        return f"ipc://{self.dir}/{name}.sock"

    def client(self, **options):
        ends = (self.endpoint(n) for n in ("data", "control", "events"))
        return ttad.connect(*ends, **{"timeout": 30, "name": "tester", **options})

    def wait_ready(self):
        end = time.monotonic() + 30
        with self.client() as client:
            while True:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"ttad did not start: {self.log.read_text()}")
                try:
                    return client.ping(timeout=0.2)
                except ttad.Timeout:
                    pass

    def end(self):
        """Its exit status after SIGTERM."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.dir, ignore_errors=True)


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class RealDaemon(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.client = cls.daemon.client()
        cls.images, cls.labels = np.load(IMAGES)[:320], np.load(LABELS)[:320].astype(np.int64)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        status = cls.daemon.end()
        assert status == 0, f"ttad ended with status {status}"

    def learn(self, stream, n=5):
        return [
            self.client.infer(self.images[64 * k : 64 * k + 64], stream, policy="tent")
            for k in range(n)
        ]

    def test_a_frozen_stream_answers_right_and_learns_nothing(self):
        right = 0
        for k in range(0, 320, 64):
            got = self.client.infer(self.images[k : k + 64], "frozen", policy="source")
            right += (got.logits.argmax(1) == self.labels[k : k + 64]).sum()
            self.assertEqual((got.adapted, got.step, got.engine), (False, 0, "source"))
        self.assertGreater(right / 320, 0.85)

    def test_images_and_their_floats_give_the_same_answer(self):
        x = self.images[:8]
        floats = ((x / np.float32(255) - 0.2860) / 0.3530).astype(np.float32)
        a = self.client.infer(x, "same", policy="source")
        b = self.client.infer(floats.transpose(0, 3, 1, 2), "same", input_name="image")
        np.testing.assert_allclose(a.logits, b.logits, rtol=1e-3, atol=1e-3)

    def test_an_adapting_stream_moves_and_names_its_versions(self):
        answers = self.learn("moves")
        self.assertEqual([a.step for a in answers], [0, 1, 2, 3, 4])
        self.assertEqual(len({a.version for a in answers}), 5)
        self.assertTrue(all(a.adapted and np.isfinite(a.loss) for a in answers))
        self.assertEqual(answers[0].engine, "tent")

    def test_the_same_id_is_answered_again_and_not_learnt_from(self):
        one = self.client.infer(self.images[:64], "twice", policy="tent", id="a")
        two = self.client.infer(self.images[:64], "twice", policy="tent", id="a")
        np.testing.assert_array_equal(one.logits, two.logits)
        self.assertEqual((one.version, one.step), (two.version, two.step))
        self.assertEqual(self.client.infer(self.images[:64], "twice").step, 1)

    def test_labels_are_credited_to_the_version_that_answered(self):
        first = self.learn("labelled", 2)[0]
        right = int((first.logits.argmax(1) == self.labels[:64]).sum())
        got = self.client.feedback(first.id, self.labels[:64], "labelled")
        self.assertEqual((got["version"], got["n"], got["correct"]), (first.version, 64, right))
        with self.assertRaises(ttad.BadRequest):
            self.client.feedback(first.id, self.labels[:64], "labelled")
        with self.assertRaisesRegex(ttad.BadRequest, "'never asked' is not remembered"):
            self.client.feedback("never asked", self.labels[:64], "labelled")

    def test_nan_is_answered_and_not_learnt_from(self):
        x = np.zeros((4, 1, 28, 28), np.float32)
        x[0, 0, 3, 3] = np.nan
        got = self.client.infer(x, "nan", policy="tent")
        self.assertEqual((got.adapted, got.skipped), (False, "not_finite"))
        self.assertEqual(self.client.infer(x, "nan").step, 0)

    def test_several_requests_at_once_all_come_back_in_order_of_their_stream(self):
        ids = [self.client.submit(self.images[:16], "many", policy="tent") for _ in range(6)]
        steps = {i: self.client.result(i).step for i in reversed(ids)}
        self.assertEqual([steps[i] for i in ids], list(range(6)))

    def test_more_than_the_credit_is_busy_and_is_tried_again(self):
        ids = [self.client.submit(self.images[:64], "crowd", policy="tent") for _ in range(24)]
        self.assertEqual(sorted(self.client.result(i).step for i in ids), list(range(24)))
        with self.daemon.client(retry_busy=False) as hasty:
            ids = [hasty.submit(self.images[:64], "crowd2", policy="tent") for _ in range(24)]
            codes = []
            for i in ids:
                try:
                    hasty.result(i)
                except ttad.TtadError as e:
                    codes.append(e.code)
        self.assertEqual(set(codes), {"BUSY"})

    def test_an_operator_snapshots_rolls_back_freezes_and_thaws(self):
        last = self.learn("steered")[-1]
        kept = self.client.snapshot("steered", reason="before the test")
        self.assertTrue(kept["stored"])
        self.assertEqual(kept["step"], last.step + 1)
        versions = [row["version"] for row in self.client.snapshots("steered")]
        self.assertIn(kept["version"], versions)
        back = self.client.rollback("steered", version=versions[-1])
        self.assertEqual(back["version"], versions[-1])
        got = self.client.infer(self.images[:64], "steered")
        self.assertEqual((got.version, got.adapted), (versions[-1], False))
        self.assertEqual(self.client.freeze("steered")["state"], "frozen")
        got = self.client.infer(self.images[:64], "steered")
        self.assertEqual((got.adapted, bool(got.skipped)), (False, True))
        self.assertNotEqual(self.client.thaw("steered")["state"], "frozen")

    def test_refusals_have_their_codes(self):
        x = self.images[:2]
        cases = (
            ("BAD_SHAPE", lambda: self.client.infer(x[:, :20], "bad", policy="source")),
            ("NO_MODEL", lambda: self.client.infer(x, "bad2", model="zoo")),
            ("BAD_TENSOR", lambda: self.client.infer(x, "bad3", input_name="zoo")),
            ("TOO_LARGE", lambda: self.client.infer(self.images[:65], "bad4")),
            ("NO_STREAM", lambda: self.client.freeze("nobody")),
            ("BAD_HEADER", lambda: self.client.infer(x, "s" * 129)),
        )
        for code, call in cases:
            with self.subTest(code), self.assertRaises(ttad.TtadError) as e:
                call()
            self.assertEqual(e.exception.code, code)

    def test_bad_golden_messages_get_their_code_and_the_daemon_lives(self):
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        self.addCleanup(context.term)
        self.addCleanup(socket.close, 0)
        socket.connect(self.daemon.endpoint("data"))
        for case in golden_wire.bad_requests():
            with self.subTest(case.name):
                socket.send_multipart([wire.MAGIC, case.header, *case.tensors])
                self.assertTrue(socket.poll(10000), "no reply")
                error = from_reply(wire.decode_header(socket.recv_multipart()))
                self.assertEqual(error.code, case.code, str(error))
        for message in ([b""], [b"TTAD/1"], [b"TTAD/2", b"{}"], [b"x" * 100000]):
            socket.send_multipart(message)
            self.assertTrue(socket.poll(10000), "no reply")
            self.assertEqual(
                from_reply(wire.decode_header(socket.recv_multipart())).code, "BAD_HEADER"
            )
        self.client.ping()

    def test_events_tell_of_a_rollback(self):
        with self.client.events(["decision"]) as events:
            self.learn("watched", 1)
            time.sleep(0.2)  # until the subscription has arrived
            self.client.rollback("watched", reason="for the test")
            event = events.next(timeout=10)
        self.assertEqual((event.topic, event.data["stream"]), ("decision", "watched"))
        self.assertIn("for the test", json.dumps(event.data))

    def test_who_and_what_is_there(self):
        hello = self.client.hello()
        self.assertEqual((hello["models"][0]["name"], hello["credit"]), ("fashion", 8))
        self.assertEqual([m["name"] for m in self.client.models()], ["fashion"])
        self.assertEqual(self.client.status()["state"], "serving")
        self.learn("listed", 1)
        self.assertIn("listed", [s["stream_id"] for s in self.client.streams()])
        self.assertEqual(self.client.stream("listed")["policy"], "tent")

    def test_ttadctl_works_on_it(self):
        self.learn("by-hand", 1)
        at = ["--control", self.daemon.endpoint("control")]
        for argv in (
            ["status"],
            ["streams"],
            ["snapshots", "by-hand"],
            ["snapshot", "by-hand"],
            ["rollback", "by-hand"],
            ["freeze", "by-hand"],
            ["thaw", "by-hand"],
            ["ping"],
        ):
            run = subprocess.run(
                [sys.executable, "-m", "ttad.ctl", *argv, *at],
                cwd=ROOT / "client" / "python",
                capture_output=True,
                text=True,
                timeout=60,
            )
            with self.subTest(argv[0]):
                self.assertEqual((run.returncode, run.stderr), (0, ""))
                self.assertTrue(run.stdout.strip())
        with contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertEqual(ctl.main(["freeze", "nobody", *at]), ctl.REFUSED)
        self.assertEqual(said.getvalue(), "ttadctl: NO_STREAM: stream 'nobody' is not known\n")


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Ending(unittest.TestCase):
    def test_a_drained_daemon_answers_what_it_has_and_takes_no_more(self):
        daemon = Daemon()
        self.addCleanup(daemon.end)
        images = np.load(IMAGES)[:64]
        with daemon.client() as client:
            ids = [client.submit(images, "s", policy="tent") for _ in range(4)]
            self.assertEqual(client.result(ids[0]).step, 0)
            client.drain()
            for i in ids[1:]:
                self.assertEqual(client.result(i).logits.shape, (64, 10))
            with self.assertRaises((ttad.Draining, ttad.Timeout)):
                client.infer(images, "s", timeout=3)
        self.assertEqual(daemon.process.wait(30), 0)

    def test_a_file_where_the_snapshots_should_be_is_refused_at_the_start(self):
        daemon = Daemon()
        self.addCleanup(daemon.end)
        daemon.kill()
        snapshots = daemon.dir / "state" / "snapshots"
        snapshots.rmdir()
        snapshots.write_text("not a folder")
        with self.assertRaisesRegex(AssertionError, "snapshots' is there and is not a folder"):
            daemon.start()
        self.assertEqual(daemon.process.returncode, 1)

    def test_a_freeze_outlives_a_kill(self):
        daemon = Daemon()
        self.addCleanup(daemon.end)
        images = np.load(IMAGES)[:32]
        with daemon.client() as client:
            self.assertTrue(client.infer(images, "s", policy="tent").adapted)
            client.freeze("s")
        daemon.kill()
        daemon.start()
        with daemon.client() as client:
            answer = client.infer(images, "s", policy="tent")
            self.assertFalse(answer.adapted)
            self.assertEqual(answer.skipped, "frozen")
            client.thaw("s")
            self.assertTrue(client.infer(images, "s").adapted)


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class SeveralInputs(unittest.TestCase):
    """A model of tokens [n, 3], integers, and x [n, 4]: y = x weight + tokens."""

    PAIR = ROOT / "tests" / "golden" / "onnx" / "pair.onnx"

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(policies={"source": "version: 1\npreset: source\n"})
        cls.client = cls.daemon.client()
        cls.client.load("pair", str(cls.PAIR))

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.daemon.end()

    def ask(self, inputs, **options):
        return self.client.infer(inputs, stream="pair", model="pair", policy="source", **options)

    def test_they_are_told_with_their_types(self):
        (pair,) = [m for m in self.client.models() if m["name"] == "pair"]
        self.assertEqual(
            pair["inputs"],
            [
                {"name": "tokens", "datatype": "INT64", "shape": [-1, 3]},
                {"name": "x", "datatype": "FP32", "shape": [-1, 4]},
            ],
        )

    def test_they_are_found_by_name_and_answered_together(self):
        tokens = np.arange(6, dtype=np.int64).reshape(2, 3)
        x = np.zeros((2, 4), np.float32)
        for inputs in ({"tokens": tokens, "x": x}, {"x": x, "tokens": tokens.astype(np.int32)}):
            np.testing.assert_array_equal(self.ask(inputs).logits, tokens)
        whole = np.concatenate([tokens, x], axis=1).astype(np.float32)
        np.testing.assert_array_equal(self.ask(whole).logits, tokens)

    def test_what_is_missing_or_does_not_fit_is_told(self):
        tokens, x = np.zeros((2, 3), np.int64), np.zeros((2, 4), np.float32)
        cases = [
            ({"tokens": tokens, "y": x}, "input 'x' of model 'pair' is missing"),
            ({"tokens": tokens, "x": x[:1]}, "input 'x' has 1 rows, 'tokens' 2"),
            ({"tokens": tokens[:, :2], "x": x}, "input 'tokens': shape \\[2, 2\\]"),
            ({"tokens": tokens, "x": x, "z": x}, "3 inputs, model 'pair' takes 2"),
            (x, "input 'inputs': shape \\[2, 4\\]"),
        ]
        for inputs, message in cases:
            with self.subTest(message), self.assertRaisesRegex(ttad.BadRequest, message):
                self.ask(inputs)


if __name__ == "__main__":
    unittest.main()
