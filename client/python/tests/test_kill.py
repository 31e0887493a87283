# SPDX-License-Identifier: Apache-2.0
"""kill -9 in the middle of a stream of batches, and a restart: what clients and the record see."""

import sqlite3
import unittest

import numpy as np

import ttad
from tests.test_daemon import IMAGES, PROGRAM, Daemon

ROWS, BATCHES = 16, 60
TWICE = """\
SELECT request_id, COUNT(*) FROM batch
 WHERE adapted = 1 GROUP BY stream_id, request_id HAVING COUNT(*) > 1
"""


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Killed(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.end)
        self.images = np.load(IMAGES)[: ROWS * BATCHES].reshape(BATCHES, ROWS, 28, 28, 1)

    def restart(self):
        self.daemon.kill()
        self.daemon.start()

    def test_every_batch_is_answered_and_none_is_learnt_from_twice(self):
        with self.daemon.client() as client:
            ids = [client.submit(x, "s", policy="tent") for x in self.images]
            answers = []
            for k, i in enumerate(ids):
                answers.append(client.result(i))
                if k in (15, 40):
                    self.restart()
            self.assertEqual([a.id for a in answers], ids)
            self.assertTrue(all(a.logits.shape == (ROWS, 10) for a in answers))
            learnt = sum(a.adapted for a in answers)
            self.assertGreater(learnt, BATCHES // 2)
            # No update that was answered for is lost; one whose answer was lost is not done again.
            step = client.infer(self.images[0], "s").step
            self.assertTrue(learnt <= step <= BATCHES, (learnt, step))
        self.daemon.kill()
        with sqlite3.connect(self.daemon.dir / "state" / "ttad.sqlite") as record:
            self.assertEqual(record.execute(TWICE).fetchall(), [])

    def test_a_call_that_waits_outlives_a_restart_and_streams_open_by_use(self):
        with self.daemon.client() as client:
            first = client.hello()["boot_id"]
            before = client.infer(self.images[0], "s", policy="tent")
            client.snapshot("s")
            self.restart()
            after = client.infer(self.images[1], "s", policy="tent")
            self.assertEqual((before.step, after.step, after.engine), (0, 1, "tent"))
            self.assertNotEqual(client.hello()["boot_id"], first)
            client.freeze("s")
            self.restart()
            self.assertNotEqual(client.thaw("s")["state"], "frozen")

    def test_a_stream_killed_at_once_is_open_with_the_policy_that_it_was_opened_with(self):
        with self.daemon.client() as client:
            for k in range(4):
                client.infer(self.images[0], f"s{k}", policy="tent")
                self.restart()
                after = client.infer(self.images[1], f"s{k}")
                self.assertEqual((after.engine, after.step), ("tent", 1))
            client.stream("s0", "close")
            self.restart()
            self.assertNotIn("s0", [s["stream_id"] for s in client.streams()])
            self.assertEqual(client.infer(self.images[1], "s0").engine, "source")

    def test_a_daemon_that_stays_away_is_a_timeout(self):
        with self.daemon.client(timeout=1) as client:
            client.infer(self.images[0], "s")
            self.daemon.kill()
            with self.assertRaises(ttad.Disconnected):
                client.infer(self.images[1], "s")


if __name__ == "__main__":
    unittest.main()
