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


if __name__ == "__main__":
    unittest.main()
