# SPDX-License-Identifier: Apache-2.0
"""What is served changes while it is served: reload, SIGHUP, load and unload, on a real daemon."""

import contextlib
import io
import json
import signal
import sqlite3
import threading
import time
import unittest

import numpy as np

import ttad
from tests.test_daemon import IMAGES, MODEL, PROGRAM, Daemon
from ttad import ctl

POLICY = """\
preset: tent
preprocess: {{layout: nhwc}}
objective: {objective}
optimizer: {{kind: adam, lr: {lr}}}
monitor: {{window: 64, shadow: {{every: 0}}}}
guards:
  - {{name: share, signal: class_share, above: {share}, min_samples: 16, action: rollback, on_inconclusive: continue}}
  - {{name: sure, signal: confidence, above: 0.9999, min_samples: 16, action: hold, on_inconclusive: continue}}
recovery: {{warmup_samples: 32, soak_samples: 32, soak_evidence: 1}}
snapshots: {{every_updates: 2}}
"""


def policy(share=0.99, lr=0.001, objective="entropy"):
    return POLICY.format(share=share, lr=lr, objective=objective)


class Traffic(threading.Thread):
    """One client that asks again and again; what came back, and what failed."""

    def __init__(self, daemon, stream, images):
        super().__init__()
        self.client = daemon.client(name=stream)
        self.stream, self.images = stream, images
        self.answers, self.errors, self.over = [], [], threading.Event()

    def run(self):
        n = 0
        while not self.over.is_set():
            try:
                self.answers.append(self.client.infer(self.images, self.stream, id=f"{n}"))
            except ttad.TtadError as e:
                self.errors.append((len(self.answers), e))
                time.sleep(0.01)
            n += 1

    def wait(self, n):
        """Until n more were answered."""
        end, goal = time.monotonic() + 30, len(self.answers) + n
        while len(self.answers) < goal:
            assert time.monotonic() < end, f"{len(self.answers)} of {goal} answers"
            time.sleep(0.005)

    def stop(self):
        self.over.set()
        if self.is_alive():
            self.join()
        self.client.close()


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Reload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.images = np.load(IMAGES)[:128]

    def setUp(self):
        self.daemon = Daemon({"tent": policy(), "other": policy(share=0.98)})
        self.client = self.daemon.client()
        self.log = self.client.events(("daemon", "state"), timeout=20)
        self.addCleanup(self.tear)

    def tear(self):
        self.client.close()
        self.assertEqual(self.daemon.end(), 0)

    def write(self, name, text):
        (self.daemon.dir / name).write_text(text)

    def config(self, change):
        """Rewrite the configuration by change(text)."""
        self.daemon.config.write_text(change(self.daemon.config.read_text()))

    def hash_of(self, name):
        return {p["name"]: p["hash"] for p in self.client.status()["policies"]}[name]

    def wait_hash(self, stream, want):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            row = next(s for s in self.client.streams() if s["stream_id"] == stream)
            if row["policy_hash"] == want:
                return row
            time.sleep(0.01)
        self.fail(f"stream {stream} has {row['policy_hash']}, not {want}")

    def infer(self, stream="s", n=1, rows=16, policy="tent"):
        for _ in range(n):
            answer = self.client.infer(self.images[:rows], stream, policy=policy)
        return answer

    def rows(self, sql):
        """What the record says; it is committed a moment later."""
        end = time.monotonic() + 10
        db = sqlite3.connect(f"file:{self.daemon.dir}/state/ttad.sqlite?mode=ro", uri=True)
        with contextlib.closing(db):
            while True:
                found = db.execute(sql).fetchall()
                if found or time.monotonic() > end:
                    return found
                time.sleep(0.02)

    # ---- all or nothing --------------------------------------------------------------------

    def test_a_policy_with_a_mistake_changes_nothing_and_says_where(self):
        before = self.infer(n=3)
        old = self.client.status()
        self.write("tent.yaml", policy(share=0.5))  # right
        self.write("other.yaml", "preset: tent\nsteps: 0\nguards: [{name: g, signal: entropi}]\n")
        with self.assertRaises(ttad.BadRequest) as caught:
            self.client.reload()
        mistakes = caught.exception.mistakes
        self.assertIn(f"{self.daemon.dir}/other.yaml:2:8: steps: 0 is outside", mistakes[0])
        self.assertIn(mistakes[0][-20:], str(caught.exception))
        self.assertTrue(any("other.yaml:3:" in m and "entropi" in m for m in mistakes), mistakes)
        new = self.client.status()
        for key in ("policies", "models", "config_hash", "default_policy"):
            self.assertEqual(old[key], new[key])
        self.assertEqual(self.infer().step, before.step + 1)
        (text,) = self.rows("SELECT text FROM v_events WHERE kind = 'reload'")[0]
        self.assertIn("other.yaml:2:8", text)
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.assertEqual(ctl.main(["--control", self.daemon.endpoint("control"), "reload"]), 1)
        self.assertIn("other.yaml:2:8", err.getvalue())
        self.assertIn("entropi", err.getvalue())

    def test_what_only_a_restart_changes_is_refused_at_its_place(self):
        old = self.client.status()
        self.config(lambda t: t.replace("limits: {", "workers: 2\nlimits: {max_streams: 9, "))
        with self.assertRaises(ttad.BadRequest) as caught:
            self.client.reload()
        text = "\n".join(caught.exception.mistakes)
        self.assertRegex(text, r"ttad.yaml:\d+:\d+: workers: .*only a restart changes it")
        self.assertRegex(text, r"ttad.yaml:\d+:\d+: max_streams: ")
        self.config(lambda t: t.replace("workers: 2\n", "").replace("max_streams: 9, ", ""))
        self.config(lambda t: t.replace("events.sock", "elsewhere.sock"))
        with self.assertRaisesRegex(ttad.BadRequest, r"ttad.yaml:1:\d+: events: "):
            self.client.reload()
        self.assertEqual(self.client.status()["config_hash"], old["config_hash"])

    def test_a_policy_in_use_cannot_go_and_one_that_is_not_can(self):
        self.infer()
        text = self.daemon.config.read_text()
        self.config(lambda t: t.replace("  - {name: tent, path: tent.yaml}\n", ""))
        with self.assertRaisesRegex(ttad.BadRequest, r"ttad.yaml:5:3: .*'tent' is missing.*stream 's'"):
            self.client.reload()
        self.daemon.config.write_text(text)
        self.config(lambda t: t.replace("  - {name: other, path: other.yaml}\n", ""))
        self.config(lambda t: t.replace("limits: {", "log_level: debug\nlimits: {credit: 3, "))
        got = self.client.reload()
        self.assertEqual([(p["name"], p["what"]) for p in got["policies"]], [("other", "removed")])
        self.assertEqual(got["settings"], ["log_level", "limits.credit"])
        self.assertEqual(self.client.hello()["credit"], 3)
        with self.assertRaisesRegex(ttad.BadRequest, "policy 'other' is not configured"):
            self.infer("t", policy="other")
        self.assertFalse(self.client.reload()["changed"])

    # ---- streams follow --------------------------------------------------------------------

    def test_decisions_name_the_policy_that_was_in_force(self):
        self.infer(n=4)
        old = self.hash_of("tent")
        self.client.freeze("s")
        self.client.thaw("s")
        self.write("tent.yaml", policy(share=0.97))
        got = self.client.reload()
        (change,) = got["policies"]
        new = self.hash_of("tent")
        self.assertEqual((change["what"], change["from"], change["to"]), ("changed", old, new))
        self.assertNotEqual(old, new)
        self.wait_hash("s", new)
        self.client.rollback("s")
        self.client.stream("s", "reset")
        decisions = self.rows("SELECT action, policy_hash FROM decision ORDER BY decision_id")
        self.assertEqual(
            decisions,
            [("freeze", old), ("thaw", old), ("rollback", new), ("reset", new)],
        )
        events = self.rows("SELECT text, detail FROM v_events WHERE kind = 'reload' ORDER BY seq")
        self.assertIn("policy 'tent' changed", events[0][0])
        self.assertEqual(json.loads(events[0][1])["policies"], [change])
        self.assertIn("1 guards go on, 1 changed", events[1][0])
        detail = self.rows("SELECT detail FROM v_events WHERE kind = 'freeze'")[0][0]
        self.assertEqual(json.loads(detail)["policy_hash"], old)

    def test_another_method_keeps_the_parameters_and_outlives_a_kill(self):
        self.infer(n=6)
        self.write("tent.yaml", policy(lr=0.0005))
        self.client.reload()
        row = self.wait_hash("s", self.hash_of("tent"))
        self.assertEqual(row["step"], 6)
        self.daemon.kill()
        self.client.close()
        self.daemon.start()
        self.client = self.daemon.client()
        after = self.infer()
        self.assertEqual((after.version, after.step), (row["version"], 6))
        self.client.rollback("s")  # to somewhere that is there
        self.assertEqual(self.infer().guard, "hold")

    def test_sighup_under_traffic_loses_no_reply(self):
        traffic = [Traffic(self.daemon, f"cam-{i}", self.images[:8]) for i in range(2)]
        for t in traffic:
            t.start()
            self.addCleanup(t.stop)
            t.wait(5)
        hashes = []
        for i in range(6):  # good, broken, good: guards, another method
            self.write("tent.yaml", policy(share=0.97 - 0.01 * i, lr=0.001 + 1e-4 * (i // 3)))
            self.write("other.yaml", "steps: -1\n" if i % 3 == 1 else policy(share=0.98))
            self.daemon.process.send_signal(signal.SIGHUP)
            event = next(e for e in self.log if e.data.get("actor") == "SIGHUP")
            self.assertEqual("nothing has changed" in event.data["text"], i % 3 == 1, event.data)
            hashes.append(self.hash_of("tent"))
            for t in traffic:
                t.wait(5)
        self.assertEqual(len(set(hashes)), 4)  # two were refused
        for t in traffic:
            t.stop()
            self.assertEqual(t.errors, [])
            steps = [a.step for a in t.answers]
            self.assertEqual(steps, sorted(steps))
            self.wait_hash(t.stream, hashes[-1])

    # ---- models ------------------------------------------------------------------------------

    def other_model(self, name="other.onnx", more=b"\x32\x01x"):
        """The same network with a comment more, and so with another hash."""
        path = self.daemon.dir / name
        path.write_bytes(MODEL.read_bytes() + more)
        return path

    def test_a_model_comes_and_goes(self):
        path = self.other_model()
        got = self.client.load("second", "other.onnx")
        self.assertTrue(got["changed"])
        self.assertEqual(len(got["hash"]), 64)
        self.assertFalse(self.client.load("second", str(path))["changed"])
        answer = self.client.infer(self.images[:8], "t", model="second")
        self.assertEqual(answer.logits.shape, (8, 10))
        self.assertFalse(self.client.reload()["changed"])  # loaded by hand: it stays
        with self.assertRaisesRegex(ttad.BadRequest, "is served with hash .*; replace puts it"):
            self.client.load("second", str(MODEL))
        self.assertEqual(self.client.load("second", str(MODEL), replace=True)["changed"], True)
        again = self.client.infer(self.images[:8], "t", model="second")
        self.assertEqual(again.step, 0)  # what was learnt was the other model's
        for name, file, why in (
            ("third", "/dev/zero", "not a regular file"),
            ("third", ".", "a directory"),
            ("third", "nowhere.onnx", "No such file"),
            ("third", "tent.yaml", "tent.yaml"),
            ("a/b", str(MODEL), "want 1 to 63 letters"),
        ):
            with self.assertRaisesRegex(ttad.BadRequest, why):
                self.client.load(name, file)
        got = self.client.unload("second")
        self.assertEqual((got["streams"], got["released"]), (1, True))
        with self.assertRaisesRegex(ttad.NotFound, "model 'second' is not served; 'fashion' is"):
            self.client.infer(self.images[:8], "t")
        with self.assertRaisesRegex(ttad.NotFound, "model 'second' is not served"):
            self.client.unload("second")
        with self.assertRaises(ttad.NotFound):
            self.client.freeze("t")
        self.client.stream("t", "close")
        self.assertEqual([s["stream_id"] for s in self.client.streams()], [])

    def test_an_unloaded_model_is_answered_no_model_and_loaded_again_goes_on(self):
        traffic = [Traffic(self.daemon, f"cam-{i}", self.images[:8]) for i in range(2)]
        for t in traffic:
            t.start()
            self.addCleanup(t.stop)
            t.wait(6)
        got = self.client.unload("fashion")
        self.assertEqual((got["streams"], got["released"]), (2, True))
        end = time.monotonic() + 20
        while any(len(t.errors) < 3 for t in traffic) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(self.client.ping().get("error"), None)
        self.assertEqual(self.client.load("fashion", str(MODEL))["changed"], True)
        for t in traffic:
            t.wait(3)
            t.stop()
            self.assertGreaterEqual(len(t.errors), 3)
            self.assertEqual({e.code for _, e in t.errors}, {"NO_MODEL"})
            first, last = t.errors[0][0], t.errors[-1][0]
            self.assertEqual(first, last)  # nothing was answered in between
            self.assertEqual(t.answers[first].step, t.answers[first - 1].step + 1)
        self.client.log_level("debug")
        with self.assertRaisesRegex(ttad.BadRequest, "'loud' is not one of err|warn|info|debug"):
            self.client.log_level("loud")


if __name__ == "__main__":
    unittest.main()
