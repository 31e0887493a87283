# SPDX-License-Identifier: Apache-2.0
"""Health and metrics over HTTP, of the real daemon, also while it is busy, flooded or stopping."""

import concurrent.futures
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

import numpy as np

from tests import exposition
from tests.test_daemon import PROGRAM, ROOT
from tests.test_service import Service, images

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
DOC = (ROOT / "docs" / "metrics.md").read_text()


class Reader(unittest.TestCase):
    """The strict reader can say no."""

    def test_it_objects(self):
        head = "# HELP a_total x\n# TYPE a_total counter\n"
        exposition.parse(head + 'a_total{x="1",y="\\"\\n"} 1\na_total 2.5e-05\n')
        for bad in (
            "a_total 1\n",
            head + "a_total 1",
            head + "a_total 1\na_total 1\n",
            head + "a_total -1\n",
            head + "a_total NaN\n",
            head + "a_total 0x1\n",
            head + "a_total  1\n",
            head + "b_total 1\n",
            head + 'a_total{x="1" } 1\n',
            head + 'a_total{x="1",x="2"} 1\n',
            head + 'a_total{x="\\x"} 1\n',
            head + head,
            "# HELP a_total \n# TYPE a_total counter\n",
            "# HELP a x\n# TYPE a untyped\n",
            '# HELP h x\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n',
            '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_sum 1\nh_count 1\n',
            '# HELP h x\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\n'
            "h_sum 1\nh_count 1\n",
        ):
            with self.assertRaises(ValueError, msg=bad):
                exposition.parse(bad)


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Http(unittest.TestCase):
    def setUp(self):
        self.service = Service(extra="limits: {drain_ms: 20000}\n")
        self.addCleanup(lambda: self.service.process.poll() is None and self.service.end())
        self.service.hear_until("READY=1")
        self.path = str(self.service.dir / "run" / "http.sock")

    def metrics(self):
        status, text = self.service.get("/metrics")
        self.assertEqual(status, 200)
        return text, exposition.parse(text)

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.path)
        s.settimeout(30)
        return s

    def test_metrics_are_what_was_done(self):
        before, first = self.metrics()
        with self.service.client() as client:
            for i in range(6):
                answer = client.infer(images(32), stream=f"s{i % 2}", policy="tent")
            client.infer(images(8), stream="o", policy="observe")
            client.infer(np.full((4, 1, 28, 28), np.nan, np.float32), stream="s0", policy="tent")
            client.feedback(answer.id, np.zeros(32, np.int64), stream="s1")
            client.freeze("s1")
            client.rollback("s0")
            with self.assertRaises(Exception):
                client.infer(images(8), stream="s0", model="none")
        text, now = self.metrics()

        def value(name, **labels):
            return exposition.value(now, name, **labels)

        tent = {"model": "fashion", "policy": "tent"}
        self.assertEqual(value("ttad_batches_total", **tent, result="adapted"), 6)
        self.assertEqual(value("ttad_samples_total", **tent, result="adapted"), 192)
        self.assertEqual(value("ttad_samples_total", **tent, result="not_finite"), 4)
        self.assertEqual(
            value("ttad_samples_total", model="fashion", policy="observe", result="nothing_to_learn"), 8
        )
        self.assertEqual(value("ttad_requests_total", op="infer", code="OK"), 8)
        self.assertEqual(value("ttad_requests_total", op="infer", code="NO_MODEL"), 1)
        self.assertEqual(value("ttad_rollbacks_total", **tent, by="operator"), 1)
        self.assertEqual(value("ttad_labels_total", **tent), 32)
        self.assertEqual(value("ttad_streams", state="frozen"), 1)
        self.assertEqual(value("ttad_ready"), 1)
        self.assertGreater(value("ttad_memory_bytes", of="streams"), 1000)
        self.assertGreater(value("ttad_memory_bytes", of="plans"), 1000)
        self.assertGreater(value("ttad_worker_busy_seconds_total", worker="0"), 0)
        self.assertGreaterEqual(value("ttad_connections_accepted_total"), 1)
        stages = now["ttad_batch_stage_duration_seconds"][1]
        count = "ttad_batch_stage_duration_seconds_count"
        for stage, n in (("queue", 7), ("adapt", 7 if stages else 0)):
            got = stages[(count, tuple(sorted({**tent, "stage": stage}.items())))]
            self.assertGreaterEqual(got, n - 1)
        self.assertEqual(exposition.falls(first, now), [])
        self.assertEqual(
            set(now), set(re.findall(r"^\| `((?:ttad|process)_\w+)` \|", DOC, re.MULTILINE))
        )
        self.assertNotIn("s0", text)  # no stream is a label

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_finds_nothing(self):
        with self.service.client() as client:
            client.infer(images(8), stream="a", policy="tent")
        text, _ = self.metrics()
        got = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
        )
        self.assertEqual((got.returncode, got.stdout + got.stderr), (0, ""))

    def test_a_head_that_drips_is_cut_off_and_others_are_served(self):
        """300 silent ones, then a byte now and then: who asks properly is answered."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            silent = list(pool.map(lambda _: self.connect(), range(300)))
        asked = time.monotonic()
        self.assertEqual(self.service.get("/v2/health/live")[0], 200)
        self.assertLess(time.monotonic() - asked, 9)
        for s in silent:
            s.close()
        dripping = self.connect()
        began = time.monotonic()
        cut = []

        def drip():
            try:
                for byte in LIVE * 2:
                    dripping.send(bytes([byte]))
                    time.sleep(0.25)
            except OSError:
                cut.append(time.monotonic() - began)

        thread = threading.Thread(target=drip)
        thread.start()
        while thread.is_alive():
            self.assertEqual(self.service.get("/v2/health/live")[0], 200)
            thread.join(1)
        self.assertEqual(len(cut), 1)
        self.assertGreater(cut[0], 9)
        self.assertLess(cut[0], 15)
        dripping.close()
        _, now = self.metrics()
        self.assertGreater(exposition.value(now, "ttad_http_cut_connections_total"), 0)

    def test_probes_do_not_wait_for_batches(self):
        """While the one worker is always busy, each probe and scrape is answered."""
        stop = threading.Event()

        def load():
            with self.service.client() as client:
                while not stop.is_set():
                    client.infer(images(200), stream="a", policy="tent")

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for path in ("/v2/health/live", "/v2/health/ready", "/metrics") * 8:
                self.assertEqual(self.service.get(path)[0], 200)
        finally:
            stop.set()
            thread.join()
        _, now = self.metrics()
        done = exposition.value(
            now, "ttad_batches_total", model="fashion", policy="tent", result="adapted"
        )
        self.assertGreater(done, 0)

    def test_while_it_drains_it_is_alive_and_not_ready(self):
        seen, answers, queued = [], [], threading.Event()

        def work():
            with self.service.client() as client:
                ids = [client.submit(images(64), stream="a", policy="tent") for _ in range(8)]
                client.hello()  # answered behind them: they are in the queue
                queued.set()
                answers.extend(client.result(i) for i in ids)

        thread = threading.Thread(target=work)
        thread.start()
        self.assertTrue(queued.wait(30))
        self.service.process.send_signal(signal.SIGTERM)
        while self.service.process.poll() is None:
            try:
                seen.append((self.service.get("/v2/health/ready"), self.service.get("/v2/health/live")))
            except (OSError, IndexError):
                break  # it has ended
            time.sleep(0.005)
        thread.join()
        self.assertEqual([len(a.logits) for a in answers], [64] * 8)
        self.assertEqual(self.service.end(), 0)
        drained = [(json.loads(r[1]), l) for r, l in seen if r[0] == 503]
        self.assertTrue(drained, seen)
        for ready, live in drained:
            self.assertEqual([r["name"] for r in ready["reasons"]], ["draining"])
            self.assertEqual((ready["ready"], live[0]), (False, 200))
        self.assertFalse(pathlib.Path(self.path).exists())


if __name__ == "__main__":
    unittest.main()
