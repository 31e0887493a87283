# SPDX-License-Identifier: Apache-2.0
"""The demo's own arithmetic: what is scored, when a promise is broken, how the daemon is ended.

/usr/bin/python3 -m unittest discover -s models
"""

import io
import json
import os
import pathlib
import sqlite3
import sys
import tempfile
import unittest
from contextlib import redirect_stdout

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import demo  # noqa: E402
import demo_acts  # noqa: E402
import demo_daemon  # noqa: E402
import demo_report as report  # noqa: E402
from demo_report import STREAMS, Step, Trace  # noqa: E402

# act, phase, batches, share right of frozen, guarded, unguarded
STORY = (
    ("clean", "clean", 4, (0.9, 0.88, 0.88)),
    ("drift", "fog", 6, (0.4, 0.6, 0.6)),
    ("drift", "blur", 6, (0.4, 0.6, 0.6)),
    ("hostile", "before", 4, (0.4, 0.6, 0.6)),
    ("hostile", "attack", 4, None),
    ("hostile", "after", 4, (0.4, 0.58, 0.2)),
)


def story(rows=STORY):
    """A run as it might have gone: 50 images a batch, exact shares."""
    trace = Trace()
    for act, phase, n, shares in rows:
        for k in range(n):
            for i, stream in enumerate(STREAMS):
                right = None if shares is None else np.arange(50) < round(50 * shares[i])
                back = "ab" if (stream, phase, k) == ("guarded", "attack", 2) else ""
                trace.steps[stream].append(Step(act, phase, 50, right, back))
    return trace


def judged(trace, rollbacks=({"stream": "guarded"},)):
    acts = [report.act_row(trace, act) for act in report.ACTS]
    return [p.kept for p in report.promises(acts, rollbacks)]


def changed(phase, shares):
    return story([(a, p, n, shares if p == phase else s) for a, p, n, s in STORY])


class Scores(unittest.TestCase):
    def test_an_act_is_scored_over_its_labelled_images(self):
        rows = {a: report.act_row(story(), a) for a in report.ACTS}
        self.assertAlmostEqual(rows["drift"]["frozen"], 0.4)
        self.assertAlmostEqual(rows["drift"]["adapting"], 0.6)
        self.assertAlmostEqual(rows["hostile"]["unguarded"], 0.2)
        self.assertAlmostEqual(rows["hostile"]["before"]["unguarded"], 0.6)
        self.assertAlmostEqual(rows["hostile"]["after"]["guarded"], 0.58)

    def test_every_promise_can_be_broken(self):
        self.assertEqual(judged(story()), [True] * 4)
        self.assertEqual(judged(changed("fog", (0.4, 0.38, 0.6)))[0], False)
        self.assertEqual(judged(changed("after", (0.4, 0.56, 0.2)))[1], False)
        self.assertEqual(judged(changed("after", (0.4, 0.6, 0.42)))[2], False)
        self.assertEqual(judged(story(), [{"stream": "unguarded"}])[3], False)

    def test_what_was_not_measured_keeps_no_promise(self):
        self.assertEqual(judged(changed("after", None))[1:3], [False, False])

    def test_the_table_names_every_act(self):
        text = report.table([report.act_row(story(), a) for a in report.ACTS])
        for words in ("clean", "drift", "before the attack", "hostile", "58.0", "20.0"):
            self.assertIn(words, text)

    def test_results_are_json_without_nan(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "results.json"
            report.write_results(path, [{"name": "drift", "frozen": float("nan")}], [], [], {})
            self.assertIsNone(json.loads(path.read_text())["acts"][0]["frozen"])


class Plot(unittest.TestCase):
    def test_the_window_moves_and_passes_over_what_has_no_labels(self):
        import demo_plot

        x, y = demo_plot.moving(story().steps["unguarded"])
        self.assertEqual((x[0], x[-1]), (100, 28 * 50))
        self.assertFalse(any(1000 < v <= 1200 for v in x))
        self.assertAlmostEqual(y[-1], (4 * 20 + 60) / 5)

    def test_where_a_stream_does_not_learn_is_found(self):
        import demo_plot

        steps = [Step("a", "p", 50, None, adapted=k not in (1, 2)) for k in range(4)]
        self.assertEqual(demo_plot.stopped(steps), [("holds", 50, 150)])

    def test_the_same_run_gives_the_same_svg(self):
        import demo_plot

        with tempfile.TemporaryDirectory() as folder:
            files = [pathlib.Path(folder) / name for name in ("a.svg", "b.svg", "c.png")]
            for path in files:
                demo_plot.draw(story(), [path], "a run")
            self.assertEqual(files[0].read_bytes(), files[1].read_bytes())
            self.assertIn("guard rolls back", files[0].read_text())
            self.assertTrue(files[2].read_bytes().startswith(b"\x89PNG"))


class Acts(unittest.TestCase):
    def setUp(self):
        self.images = np.arange(1200 * 784, dtype=np.int64).reshape(1200, 28, 28, 1) // 9 % 256
        self.batches = list(demo_acts.batches(self.images.astype(np.uint8), np.arange(1200) % 10))

    def test_the_same_honest_images_come_before_and_after_the_attack(self):
        parts = {
            p: [b for b in self.batches if b.phase == p] for p in ("before", "attack", "after")
        }
        self.assertEqual(len(parts["before"]), len(parts["after"]))
        for one, other in zip(parts["before"], parts["after"]):
            np.testing.assert_array_equal(one.images, other.images)
        known = [b.labels is not None for b in parts["attack"]]
        self.assertEqual(known[:10], 2 * ([False] * 4 + [True]))

    def test_batches_are_the_same_in_every_run(self):
        again = demo_acts.batches(self.images.astype(np.uint8), np.arange(1200) % 10)
        for one, other in zip(self.batches, again):
            np.testing.assert_array_equal(one.images, other.images)

    def test_all_four_kinds_of_drift_occur(self):
        phases = {b.phase for b in self.batches if b.act == "drift"}
        self.assertEqual(phases - {"clean"}, {"fog", "noise", "contrast", "blur"})


class TheDaemon(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def program(self, text):
        path = self.folder / "ttad"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return demo_daemon.Daemon(path, self.folder / "out", demo.HERE)

    def test_one_that_ends_at_once_is_told_with_its_last_words(self):
        with self.assertRaisesRegex(demo_daemon.DaemonFailed, "status 3: .*no such key"):
            with self.program("echo no such key\nexit 3\n"):
                pass

    def test_one_that_stays_silent_is_ended(self):
        daemon = self.program(f"echo $$ > {self.folder}/pid\nexec sleep 60\n")
        old, demo_daemon.READY_WITHIN = demo_daemon.READY_WITHIN, 0.5
        self.addCleanup(setattr, demo_daemon, "READY_WITHIN", old)
        with self.assertRaisesRegex(demo_daemon.DaemonFailed, "does not answer"):
            with daemon:
                pass
        with self.assertRaises(ProcessLookupError):
            os.kill(int((self.folder / "pid").read_text()), 0)

    def test_rollbacks_are_read_from_the_view(self):
        database = self.folder / "ttad.sqlite"
        columns = (
            "decision_id, stream, rule, signal, statistic, threshold, n, from_step, to_step, "
            "to_reason, batches_affected, sentence, dry_run"
        )
        with sqlite3.connect(database) as db:
            db.execute(f"CREATE TABLE v_rollbacks ({columns})")
            for dry in (0, 1):
                db.execute(
                    f"INSERT INTO v_rollbacks VALUES ({','.join('?' * 13)})",
                    (dry, "guarded", "r", "s", 0.51234, 0.5, 9, 8, 4, "good", 3, "why", dry),
                )
        db.close()
        rows = report.query(database, report.ROLLBACKS_SQL)
        self.assertEqual([(r["statistic"], r["sentence"]) for r in rows], [(0.5123, "why")])
        self.assertIn("statistic = 0.5123", report.show_rows(rows))
        self.assertEqual(report.show_rows([]), "(no rows)")


class TheEnd(unittest.TestCase):
    def test_a_broken_promise_is_told_and_is_false(self):
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()) as out:
            kept = demo.tell(
                pathlib.Path(folder),
                changed("after", (0.4, 0.5, 0.2)),
                [{"stream": "guarded"}],
                False,
                1.0,
            )
            self.assertEqual(
                sorted(os.listdir(folder)), ["accuracy.png", "accuracy.svg", "results.json"]
            )
        self.assertFalse(kept)
        self.assertIn(
            "BROKEN  the attack costs the guarded stream at most 3 points: 10", out.getvalue()
        )


if __name__ == "__main__":
    unittest.main()
