# SPDX-License-Identifier: Apache-2.0
"""Exactly once, in time, and in turn: the real daemon under retries, deadlines and floods."""

import time
import unittest

import numpy as np

import ttad
from tests.test_daemon import IMAGES, PROGRAM, Daemon


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Retries(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.end)
        self.images = np.load(IMAGES)[:320]

    def batch(self, k, rows=32):
        return self.images[rows * k : rows * k + rows]

    def test_a_retry_after_a_restart_is_answered_and_not_learnt_from(self):
        with self.daemon.client() as client:
            first = client.infer(self.batch(0), "s", policy="tent", id="a")
            self.assertTrue(first.adapted)
            client.snapshot("s")
            time.sleep(0.2)  # until the record has the row
        self.daemon.kill()
        self.daemon.start()
        with self.daemon.client() as client:
            again = client.infer(self.batch(0), "s", policy="tent", id="a")
            self.assertEqual((again.adapted, again.skipped, again.step), (False, "replayed", 1))
            third = client.infer(self.batch(0), "s", policy="tent", id="a")
            np.testing.assert_array_equal(again.logits, third.logits)
            self.assertEqual(client.infer(self.batch(1), "s", id="b").step, 1)

    def test_a_retry_by_a_client_of_another_identity_is_not_learnt_from(self):
        with self.daemon.client() as one, self.daemon.client() as two:
            ids = [one.submit(self.batch(k), "s", policy="tent", id=f"r{k}") for k in range(4)]
            again = [two.submit(self.batch(k), "s", policy="tent", id=i) for k, i in enumerate(ids)]
            for i in ids:
                a, b = one.result(i), two.result(i)
                np.testing.assert_array_equal(a.logits, b.logits)
                self.assertEqual((a.version, a.step), (b.version, b.step))
            self.assertEqual(len(again), 4)
            self.assertEqual(two.infer(self.batch(5), "s").step, 4)

    def test_an_id_names_one_batch(self):
        with self.daemon.client() as client:
            client.infer(self.batch(0), "s", policy="tent", id="a")
            with self.assertRaisesRegex(ttad.BadRequest, "id 'a' was answered for another batch"):
                client.infer(self.batch(1), "s", id="a")

    def test_a_closed_stream_has_no_ids(self):
        with self.daemon.client() as client:
            client.infer(self.batch(0), "s", policy="tent", id="a")
            client.stream("s", "close")
            self.assertTrue(client.infer(self.batch(1), "s", policy="tent", id="a").adapted)


def policy(**more):
    lines = ["version: 1", "preset: tent", "preprocess: {layout: nhwc}"]
    return "\n".join(lines + [f"{key}: {value}" for key, value in more.items()]) + "\n"


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class InTime(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.images = np.load(IMAGES)[:320]

    def serve(self, limits="{}", **more):
        self.daemon = Daemon({"tent": policy(**more)}, limits)
        self.addCleanup(self.daemon.end)
        client = self.daemon.client(retry_busy=False)
        self.addCleanup(client.close)
        return client

    def test_a_batch_past_its_deadline_is_answered_and_not_learnt_from_or_refused(self):
        client = self.serve()
        client.infer(self.images[:64], "s")
        before = [client.submit(self.images[:64], "s") for _ in range(4)]
        late = client.submit(self.images[:64], "s", deadline_ms=1)
        useless = client.submit(self.images[:64], "s", deadline_ms=1, on_deadline="refuse")
        in_time = client.submit(self.images[:64], "s", deadline_ms=60000, on_deadline="refuse")
        self.assertTrue(all(client.result(i).adapted for i in before))
        answer = client.result(late)
        self.assertEqual((answer.adapted, answer.skipped, answer.step), (False, "deadline", 5))
        with self.assertRaisesRegex(ttad.DeadlineMissed, "after its deadline of 1 ms"):
            client.result(useless)
        self.assertTrue(client.result(in_time).adapted)
        status = client.status()
        self.assertEqual((status["late"], status["skipped"]), (1, {"deadline": 1}))

    def test_a_batch_whose_update_would_take_too_long_is_not_learnt_from(self):
        client = self.serve("{max_batch_rows: 256}")
        x = self.images[:256]
        for _ in range(2):
            client.infer(x, "s")
        answers = [client.infer(x, "s", deadline_ms=2) for _ in range(3)]
        self.assertEqual({a.skipped for a in answers}, {"deadline"})
        self.assertTrue(client.infer(x, "s", deadline_ms=60000).adapted)

    def test_a_request_that_waits_is_dropped(self):
        client = self.serve("{max_batch_rows: 256}")
        client.infer(self.images[:1], "s")
        ids = [client.submit(self.images[:128], "s") for _ in range(5)]
        states = {i: client.cancel(i, "s")["state"] for i in ids[2:4] + ["nobody"]}
        self.assertEqual(list(states.values()), ["dropped", "dropped", "unknown"])
        for i in ids[2:4]:
            with self.assertRaises(ttad.Cancelled):
                client.result(i)
        self.assertEqual([client.result(i).step for i in (ids[0], ids[1], ids[4])], [1, 2, 3])
        self.assertEqual(client.cancel(ids[0], "s")["state"], "unknown")
        self.assertEqual(client.status()["cancelled"], 2)
        with self.assertRaises(ttad.NotFound):
            client.cancel("x", "nobody")
        # its id may be used for good: nothing was done under it
        self.assertTrue(client.infer(self.images[:1], "s", id=ids[2]).adapted)

    def test_answers_go_on_without_learning_while_too_much_waits(self):
        client = self.serve(
            "{max_batch_rows: 256, credit: 64, queue_per_stream: 64}",
            brownout="{queue_ms: 1, clear_ms: 0}",
        )
        client.infer(self.images[:64], "s")
        ids = [client.submit(self.images[:64], "s") for _ in range(8)]
        skipped = [client.result(i).skipped for i in ids]
        self.assertEqual(set(skipped), {"", "budget"})
        self.assertEqual(skipped[-1], "")  # nothing waits behind the last
        self.assertGreaterEqual(skipped.count("budget"), 5)
        self.assertEqual(client.status()["skipped"]["budget"], skipped.count("budget"))
        self.assertTrue(client.infer(self.images[:64], "s").adapted)

    def test_an_update_after_the_answer_makes_the_versions_of_one_before(self):
        answers = {}
        for adapt in ("inline", "background"):
            client = self.serve(adapt=adapt, brownout="{queue_ms: 0}")
            answers[adapt] = [client.infer(self.images[64 * k :][:64], "s") for k in range(5)]
        for a, b in zip(answers["inline"], answers["background"]):
            self.assertEqual((a.version, a.step), (b.version, b.step))
            np.testing.assert_allclose(a.logits, b.logits, rtol=1e-5, atol=1e-5)
            self.assertEqual((b.adapted, b.skipped, b.adapt_us), (False, "background", 0))
        self.assertEqual(client.stream("s")["adapted"], 5)
        self.assertEqual(client.status()["adapted"], 5)

    def test_updates_wait_for_requests_and_come_before_the_next_of_their_stream(self):
        client = self.serve(adapt="background", brownout="{queue_ms: 0}")
        x = self.images[:64]
        steps = [client.infer(x, s).step for s in ("busy", "s", "busy", "s")]
        self.assertEqual(steps, [0, 0, 1, 1])
        ids = [client.submit(x, "busy") for _ in range(6)]
        self.assertEqual(client.infer(x[:1], "s").step, 2)
        row = next(r for r in client.streams() if r["stream_id"] == "s")
        self.assertEqual(row["step"], 2)  # the update has not been made: others wait
        for i in ids:
            client.result(i)
        end = time.monotonic() + 30
        while row["step"] < 3 and time.monotonic() < end:
            row = next(r for r in client.streams() if r["stream_id"] == "s")
        self.assertEqual(row["step"], 3)

    def test_a_policy_may_begin_to_learn_afterwards_while_serving(self):
        client = self.serve(adapt="inline", brownout="{queue_ms: 0}")
        x = self.images[:64]
        self.assertTrue(client.infer(x, "s").adapted)
        for k, (adapt, skipped) in enumerate((("background", "background"), ("inline", ""))):
            text = policy(adapt=adapt, brownout="{queue_ms: 0}")
            (self.daemon.dir / "tent.yaml").write_text(text)
            client.reload()
            answer = client.infer(x, "s")
            self.assertEqual((answer.step, answer.skipped), (k + 1, skipped))
        self.assertEqual(client.stream("s")["step"], 3)

    def test_a_kill_between_answer_and_update_does_not_learn_twice(self):
        client = self.serve(adapt="background", brownout="{queue_ms: 0}")
        x = self.images[:64]
        for stream in ("busy", "s"):
            client.infer(x, stream)
        for _ in range(6):
            client.submit(x, "busy")
        self.assertEqual(client.infer(x, "s", id="a").step, 1)
        self.daemon.kill()
        self.daemon.start()
        with self.daemon.client() as again:
            first = again.infer(x, "s", id="a")
            self.assertIn(first.skipped, ("background", "replayed"))
            self.assertIn(first.step, (0, 1))
            self.assertLessEqual(again.stream("s")["step"], 2)
            self.assertEqual(again.infer(x, "s", id="a").step, first.step)  # from the window
            self.assertLessEqual(again.stream("s")["step"], 2)

    def test_a_flood_leaves_turns_and_room_for_others(self):
        client = self.serve(
            "{max_batch_rows: 256, credit: 64, queue_per_stream: 40, queue_total: 40}",
            brownout="{queue_ms: 0}",
        )
        streams = [f"flood-{k}" for k in range(4)]
        for stream in streams + ["calm"]:
            client.infer(self.images[:64], stream)
        client.infer(self.images[:1], "calm")
        busy, done, waiting = 0, 0, []
        with self.daemon.client(retry_busy=False) as flood:

            def top_up():
                nonlocal busy, done
                for i in waiting[:]:
                    if flood._data._pending[i].result is not None:
                        waiting.remove(i)
                        try:
                            flood.result(i)
                            done += 1
                        except ttad.Busy as e:
                            self.assertGreater(e.retry_after, 0)
                            busy += 1
                while len(waiting) < 32:
                    waiting.append(flood.submit(self.images[:64], streams[len(waiting) % 4]))

            flood.hello()  # it is connected
            for _ in range(12):
                top_up()
                calm = client.infer(self.images[:1], "calm")  # never Busy
                self.assertTrue(calm.adapted)
                while flood._data._open().poll(0):
                    flood._data._receive()
            top_up()
            self.assertGreater(busy, 0)  # the flood asked for more than its share
            # In turn, each calm batch would have waited for four of the flood's.
            self.assertLess(done, 2.5 * 12)
            for i in waiting:
                try:
                    flood.result(i)
                except ttad.Busy:
                    pass


if __name__ == "__main__":
    unittest.main()
