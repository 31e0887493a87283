# SPDX-License-Identifier: Apache-2.0
"""The real daemon on a disk that is full, slow, read-only, or fails: tests/support/faulty.c, told
what to do while the daemon runs, and a small tmpfs where this may mount one."""

import contextlib
import errno
import os
import pathlib
import sqlite3
import statistics
import subprocess
import tempfile
import time
import unittest

import numpy as np

import ttad
from tests.test_daemon import IMAGES, POLICY, PROGRAM, Daemon

SHIM = PROGRAM.parent / "tests" / "support" / "faulty.so"
TENT = {"tent": POLICY.format(preset="tent")}
WAIT = 30  # seconds until what must happen has happened


class Faulty(Daemon):
    """A daemon whose disk fails as the test says."""

    def __init__(self, policies=None):
        self.faults = pathlib.Path(tempfile.mkstemp(prefix="ttad-faults-")[1])
        super().__init__(
            policies or TENT,
            env={
                "LD_PRELOAD": str(SHIM),
                "TT_FAULTS": str(self.faults),
                "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
            },
        )
        self.state = self.dir / "state"
        self.database = self.state / "ttad.sqlite"

    def fail(self, *rules):
        """Each rule: calls, path, and what they do ("errno=28", "delay_ms=200")."""
        fresh = self.faults.with_suffix(".new")
        fresh.write_text("".join(" ".join(map(str, rule)) + "\n" for rule in rules))
        fresh.replace(self.faults)

    def end(self):
        try:
            return super().end()
        finally:
            self.faults.unlink(missing_ok=True)


def why(number):
    return f"errno={number}"


@unittest.skipUnless(PROGRAM.exists() and SHIM.exists(), f"{PROGRAM} or {SHIM} is not built")
class Disk(unittest.TestCase):
    def setUp(self):
        self.images = np.load(IMAGES)[:32]

    def start(self, policies=None):
        self.daemon = Faulty(policies)
        self.addCleanup(self.daemon.end)
        self.client = self.daemon.client()
        self.addCleanup(self.client.close)
        self.assertTrue(self.infer().adapted)
        return self.daemon

    def infer(self, stream="s"):
        answer = self.client.infer(self.images, stream, policy="tent")
        self.assertEqual(answer.logits.shape, (32, 10))
        self.assertTrue(np.isfinite(answer.logits).all())
        return answer

    def until(self, true, say):
        """Keep the traffic going until it is true."""
        end = time.monotonic() + WAIT
        while not true():
            self.assertLess(time.monotonic(), end, f"{say}: {self.client.status()}")
            self.infer()

    def reasons(self):
        return {r["source"]: r["why"] for r in self.client.status()["reasons"]}

    def until_held(self, source="record"):
        self.until(lambda: source in self.reasons(), f"no reason {source!r}")
        status = self.client.status()
        self.assertFalse(status["ready"])
        answer = self.infer()
        self.assertEqual((answer.adapted, answer.skipped), (False, "not_ready"))
        return status

    def until_well(self):
        self.until(lambda: self.client.status()["ready"], "never ready again")
        self.until(lambda: self.infer().adapted, "never learns again")

    def finish(self):
        """End the daemon; the database, checked."""
        copy = self.daemon.dir.with_suffix(".sqlite")
        self.addCleanup(copy.unlink, missing_ok=True)
        self.daemon.process.terminate()
        self.assertEqual(self.daemon.process.wait(30), 0, self.daemon.log.read_text())
        with contextlib.closing(sqlite3.connect(self.daemon.database)) as source:
            self.assertEqual(source.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            with contextlib.closing(sqlite3.connect(copy)) as to:
                source.backup(to)
        db = sqlite3.connect(copy)
        self.addCleanup(db.close)
        return db

    def ask(self, db, sql):
        return db.execute(sql).fetchall()

    def decided(self, db, orders):
        """All decisions that were told are there, in order."""
        ids = [o["decision_id"] for o in orders]
        rows = self.ask(db, "SELECT decision_id, action FROM decision ORDER BY rowid")
        self.assertEqual([r[0] for r in rows], ids)
        self.assertEqual(ids, sorted(ids))
        return rows

    def test_a_full_disk_in_the_middle_of_traffic_costs_metrics_and_nothing_else(self):
        daemon = self.start()
        orders = [self.client.freeze("s"), self.client.thaw("s")]
        self.assertTrue(all(o["recorded"] for o in orders))
        daemon.fail(("write,open,mkdir,truncate", daemon.database, why(errno.ENOSPC)))
        status = self.until_held()
        self.assertIn("database or disk is full", self.reasons()["record"])
        self.assertEqual(status["streams_by_state"], {"holding": 1})
        self.assertIn("record: ", self.client.stream("s")["reason"])

        held = self.infer()
        orders += [self.client.freeze("s", reason="on a full disk"), self.client.thaw("s")]
        self.assertEqual([o["recorded"] for o in orders], [True, True, False, False])
        self.until(lambda: self.client.status()["record"]["shed"] > 0, "nothing was shed")
        self.assertEqual(self.infer().version, held.version)
        self.assertEqual(self.client.status()["record"]["lost"], 0)

        daemon.fail()
        self.until_well()
        orders.append(self.client.freeze("s", reason="after it"))
        self.assertTrue(orders[-1]["recorded"])
        shed = self.client.status()["record"]["shed"]
        db = self.finish()
        rows = self.decided(db, orders)
        self.assertEqual([r[1] for r in rows], ["freeze", "thaw", "freeze", "thaw", "freeze"])
        self.assertEqual(self.ask(db, "SELECT sum(rows) FROM loss"), [(shed,)])
        told = self.ask(
            db, "SELECT count(*) FROM v_events WHERE text LIKE 'not ready: record:%'"
        ) + self.ask(db, "SELECT count(*) FROM v_events WHERE text LIKE 'ready again: record%'")
        self.assertEqual(told, [(1,), (1,)])
        self.assertTrue(
            self.ask(db, "SELECT 1 FROM v_events WHERE kind = 'record' AND text LIKE '%not kept%'")
        )

    def test_an_fsync_that_fails_keeps_decisions_waiting_and_says_so(self):
        daemon = self.start()
        daemon.fail(("fsync", f"{daemon.database}-wal", why(errno.EIO)))
        self.until_held()
        self.assertIn("disk I/O error", self.reasons()["record"])
        orders = [self.client.freeze("s"), self.client.thaw("s")]
        self.assertEqual([o["recorded"] for o in orders], [False, False])
        self.assertGreater(self.client.status()["record"]["lag"], 0)
        daemon.fail()
        self.until_well()
        self.decided(self.finish(), orders)

    def test_a_log_that_cannot_be_moved_is_a_reason_too(self):
        daemon = self.start()
        daemon.fail(("fsync", f"{daemon.database}$", why(errno.EIO)))  # not its log
        self.until_held()
        self.assertRegex(self.reasons()["record"], "^the upkeep of the record fails, .* disk I/O error")
        self.assertTrue(self.client.freeze("s")["recorded"])
        self.client.thaw("s")
        daemon.fail()
        self.until_well()
        self.finish()

    def test_a_slow_disk_slows_no_answer(self):
        daemon = self.start({"tent": TENT["tent"] + "recovery: {soak_samples: 64}\n"})
        for _ in range(5):
            self.infer()
        calm = [self.timed() for _ in range(20)]
        daemon.fail(
            ("write,fsync", daemon.database, "delay_ms=200"),
            ("fsync", daemon.state / "snapshots", "delay_ms=200"),
        )
        slow = [self.timed() for _ in range(30)]
        # One write alone takes longer than that, and every other batch a version becomes good.
        self.assertLess(statistics.mean(slow), 2 * statistics.mean(calm) + 0.05, (calm, slow))
        order = self.client.freeze("s")  # waits for its decision, behind no metrics
        daemon.fail()
        self.client.thaw("s")
        self.until_well()
        db = self.finish()
        good = self.ask(db, "SELECT count(*) FROM v_events WHERE text LIKE '%written: good'")
        self.assertGreater(good[0][0], 5)
        self.assertIn((order["decision_id"],), self.ask(db, "SELECT decision_id FROM decision"))

    def timed(self):
        start = time.monotonic()
        self.infer()
        return time.monotonic() - start

    def test_a_read_only_folder_at_the_start_is_one_clear_error(self):
        daemon = self.start()
        daemon.process.kill()
        daemon.process.wait()
        daemon.fail(("open,write,unlink,rename", daemon.state, why(errno.EROFS)))
        with self.assertRaisesRegex(AssertionError, "state/lock': Read-only file system"):
            daemon.start()
        self.assertEqual(daemon.process.returncode, 1)

    def test_a_folder_that_becomes_read_only_holds_adaptation_until_it_is_writable(self):
        daemon = self.start()
        daemon.fail(
            ("open,mkdir,write,unlink,rename,truncate", daemon.state, why(errno.EROFS)),
        )
        self.until_held()
        order = self.client.freeze("s")
        self.assertFalse(order["recorded"])
        daemon.fail()
        self.client.thaw("s")
        self.until_well()
        db = self.finish()
        self.assertEqual(self.ask(db, "SELECT count(*) FROM decision"), [(2,)])

    def test_a_snapshot_that_fails_holds_adaptation_and_is_written_later(self):
        for calls, number in (("fsync", errno.EIO), ("write", errno.ENOSPC)):
            with self.subTest(calls):
                daemon = self.start()
                snapshots = daemon.state / "snapshots"
                daemon.fail((calls, f"{snapshots}/s/.tmp", why(number)), (calls, f"{snapshots}/.probe", why(number)))
                with self.assertRaises(ttad.TtadError):
                    self.client.snapshot("s")
                status = self.until_held("snapshots")
                self.assertEqual(status["streams_by_state"], {"holding": 1})
                self.assertIn(os.strerror(number), self.reasons()["snapshots"])
                self.assertNotIn("record", self.reasons())
                daemon.fail()
                self.until_well()
                self.assertTrue(self.client.snapshot("s")["stored"])
                files = [row[0] for row in self.ask(self.finish(), "SELECT file FROM version WHERE file NOTNULL")]
                self.assertTrue(files and all((snapshots / f).exists() for f in files), files)

    def mended(self, harm, say):
        daemon = self.start()
        before = [self.client.freeze("s"), self.client.thaw("s")]
        harm(daemon.database)
        self.until(lambda: self.client.status()["record"]["mended"], "not mended")
        self.until_well()
        before.append(self.client.freeze("s"))
        self.assertTrue(before[-1]["recorded"])
        self.until(lambda: say in daemon.log.read_text(), "nobody was told")
        return self.finish(), before

    def test_a_database_that_is_deleted_is_written_anew(self):
        db, orders = self.mended(os.unlink, "was deleted while it was in use")
        self.decided(db, orders)
        self.assertEqual(self.ask(db, "SELECT count(*) FROM boot"), [(1,)])

    def test_a_log_that_is_deleted_loses_nothing(self):
        db, orders = self.mended(
            lambda path: os.unlink(f"{path}-wal"), "lost its log (-wal) while it was in use"
        )
        self.decided(db, orders)

    def test_a_database_that_is_replaced_is_used_when_it_is_a_record_and_refused_when_not(self):
        def replace(path):
            other = path.with_suffix(".other")
            other.write_bytes(b"not a database at all" * 1000)
            other.replace(path)

        daemon = self.start()
        replace(daemon.database)
        self.until_held()
        self.assertIn("was replaced by another file", self.reasons()["record"])
        self.assertIn("file is not a database", self.reasons()["record"])
        order = self.client.freeze("s")
        self.assertFalse(order["recorded"])
        daemon.database.unlink()  # gone is better than wrong: it is written anew
        self.client.thaw("s")
        self.until_well()
        self.decided(self.finish(), [order, {"decision_id": order["decision_id"] + 1}])

    @unittest.skipUnless(os.geteuid() == 0, "only root mounts")
    def test_a_small_file_system_fills_and_is_emptied(self):
        mount = pathlib.Path(tempfile.mkdtemp(prefix="ttad-small-"))
        self.addCleanup(mount.rmdir)
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mount)], capture_output=True
        )
        if made.returncode:
            self.skipTest("may not mount")
        self.addCleanup(subprocess.run, ["umount", "-l", str(mount)], check=True)
        daemon = Daemon(TENT)
        self.addCleanup(daemon.end)
        daemon.kill()
        config = daemon.config.read_text()
        daemon.config.write_text(f"state_dir: {mount}/state\n{config}")
        daemon.start()
        self.daemon, self.client = daemon, daemon.client()
        self.addCleanup(self.client.close)
        daemon.database = mount / "state" / "ttad.sqlite"
        self.assertTrue(self.infer().adapted)
        filler = mount / "filler"
        with open(filler, "wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(bytes(4096))
        self.until_held()
        orders = [self.client.freeze("s"), self.client.thaw("s")]
        filler.unlink()
        self.until_well()
        self.decided(self.finish(), orders)


if __name__ == "__main__":
    unittest.main()
