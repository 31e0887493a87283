# SPDX-License-Identifier: Apache-2.0
"""Hostile peers against the real daemon: it holds no more for them than its limits say, each gets
one clear error or is cut off, and an honest client is answered all the time.  Nothing is timed."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

from tests import hostile
from tests.hostile import MAGIC, MIB
from tests.test_daemon import PROGRAM, Daemon
from tests.zmtp import COMMAND, GREETING, LONG, MORE, Cut, Peer, command, frame, message, ready

CONNECTIONS = 64
LIMITS = (
    f"{{max_batch_rows: 64, max_message_bytes: {8 * MIB}, memory_bytes: {32 * MIB}, "
    f"connections: {CONNECTIONS}}}"
)
BOUND = (32 + 64) * MIB  # memory_bytes, and what a daemon has of itself and of malloc's


def memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) * 1024


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(limits=LIMITS)
        cls.data = cls.daemon.endpoint("data")
        cls.client = cls.daemon.client()

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        status = cls.daemon.end()
        assert status == 0, f"ttad ended with status {status}"

    def tearDown(self):
        self.client.ping()
        self.assertLess(memory(self.daemon.process.pid), BOUND)

    def counts(self):
        return self.client.status()["connections"]

    def refused(self, peer):
        """The code and sentence of the error that came."""
        header = json.loads(peer.message()[1])
        self.assertEqual(header["op"], "error")
        return header["code"], header["error"]

    def cut(self, bytes_, reason, endpoint=None, **options):
        """What is sent first is the end of the connection, counted under that reason."""
        before = self.counts()["cut"][reason]
        with Peer(endpoint or self.data, **options) as p:
            p.send(bytes_)
            self.assertTrue(p.wait_cut(10), "it was not cut off")
        self.assertEqual(self.counts()["cut"][reason], before + 1)

    def test_what_is_not_zmtp_is_cut_off(self):
        curve = GREETING.replace(b"NULL\0", b"CURVE")
        for bytes_ in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f\x01\x05", curve):
            with self.subTest(bytes_):
                self.cut(bytes_, "zmtp", handshake=False)
        first = {
            "a message": message(MAGIC, b"{}"),
            "another command": command(b"PING", b"\0\0"),
            "properties": command(b"READY", b"\x0bSocket-Type\0\0\xff\xffDEALER"),
            "a type": ready(b"PUB"),
        }
        for name, bytes_ in first.items():
            with self.subTest(name):
                self.cut(GREETING + bytes_, "zmtp", handshake=False)
        who = f"pid {os.getpid()} uid {os.getuid()} is cut off: "
        self.assertIn(who, self.daemon.log.read_text())

    def test_who_has_the_wrong_socket_is_told_before_the_end(self):
        with Peer(self.data, handshake=False) as p:
            p.send(GREETING + ready(b"SUB"))
            p._take(64)
            flags, body = p.frame()
            self.assertEqual(flags, COMMAND)
            self.assertTrue(body.startswith(b"\x05ERROR"))
            self.assertIn(b"socket type 'SUB', wanted DEALER", body)
            self.assertTrue(p.wait_cut(10))

    def test_lies_about_sizes_are_refused_or_cut_off(self):
        for name, bytes_ in hostile.LIES.items():
            with self.subTest(name), Peer(self.data) as p:
                p.send(bytes_)
                got = hostile.what_came(p)
                self.assertTrue(got == "cut off" or '"code":"TOO_LARGE"' in got, got)
                self.assertTrue(p.wait_cut(10))

    def test_lengths_in_the_long_form_are_read(self):
        with Peer(self.data) as p:
            p.send(frame(MAGIC, MORE | LONG) + frame(b'{"op":"ping","id":"7"}', LONG))
            self.assertEqual(json.loads(p.message()[1])["id"], "7")

    def test_a_message_that_does_not_end_gets_one_error_and_then_the_end(self):
        for body in (b"", bytes(MIB)):
            with self.subTest(len(body)), Peer(self.data) as p:
                p.send(frame(MAGIC, MORE) + frame(b'{"op":"ping","id":"me"}', MORE))
                n = hostile.until_cut(p, frame(body, MORE) * (4096 if not body else 1), 60)
                self.assertIsNotNone(n, "it was not cut off")
                header = json.loads(p.message()[1])
                self.assertEqual((header["code"], header["id"]), ("TOO_LARGE", "me"))

    def test_a_message_that_is_a_little_too_large_gets_an_error_and_the_connection_lives(self):
        header = b'{"op":"ping","id":"me"}'
        cases = (
            (message(MAGIC, header, bytes(9 * MIB)), "message has 9437213 bytes, the limit is"),
            (message(MAGIC, header, *[b"x"] * 9), "message has 11 frames, the limit is 10"),
            (message(MAGIC, header, *[b""] * 900), "message has 902 frames, the limit is 10"),
        )
        with Peer(self.data) as p:
            for bytes_, why in cases:
                with self.subTest(why):
                    p.send(bytes_)
                    code, text = self.refused(p)
                    self.assertEqual(code, "TOO_LARGE")
                    self.assertIn(why, text)
            p.send(hostile.PING)
            self.assertEqual(json.loads(p.message()[1])["op"], "ping")

    def test_each_bad_header_gets_one_error_that_says_where(self):
        places = {
            "brackets": "byte 16: nested deeper than 16 levels",
            "a key twice": "duplicate object key",
            "a key twice, deeper": "duplicate object key",
            "not UTF-8": "unable to decode byte 0xff",
            "half a surrogate": "invalid Unicode",
            "a NUL": "\\u0000 is not allowed",
            "1e999": "real number overflow",
            "2^63": "too big integer",
            "-0": "deadline_ms: 0 is outside",
            "a long header": "header is 262145 bytes",
        }
        with Peer(self.data) as data, Peer(self.daemon.endpoint("control")) as control:
            for name, header in hostile.BAD_HEADERS.items():
                for peer in (data, control):
                    with self.subTest(name):
                        peer.send(message(MAGIC, header))
                        code, text = self.refused(peer)
                        self.assertIn(code, ("BAD_HEADER", "TOO_LARGE"))
                        self.assertIn(places.get(name, ""), text)

    def test_who_is_slow_or_deaf_is_cut_off(self):
        """Three rules that need seconds, side by side."""
        before = self.counts()["cut"]
        handshake = Peer(self.data, handshake=False)
        slow, deaf = Peer(self.data), Peer(self.data, timeout=1)
        handshake.send(GREETING[:12])
        slow.send(frame(MAGIC, MORE) + b"\x02\x00")
        with self.assertRaises(TimeoutError, msg="it is read from though it reads nothing"):
            while True:
                deaf.send(message(MAGIC, b'{"op":"hello"}') * 100)
        with Peer(self.data) as honest:  # meanwhile
            honest.send(hostile.PING)
            honest.message()
        for _ in range(400):  # a read would be what it is cut off for not doing: so ask
            if self.counts()["cut"]["unread"] > before["unread"]:
                break
            threading.Event().wait(0.1)
        after = self.counts()["cut"]
        for rule, peer in {"handshake": handshake, "slow": slow, "unread": deaf}.items():
            self.assertEqual(after[rule], before[rule] + 1, rule)
            self.assertTrue(peer.wait_cut(5), rule)
            peer.close()

    def test_one_process_cannot_take_all_connections(self):
        peers, refused = [], 0
        before = self.counts()
        try:
            for _ in range(2 * CONNECTIONS):
                try:
                    peers.append(Peer(self.data))
                except (Cut, OSError):
                    refused += 1
            self.assertLessEqual(len(peers), CONNECTIONS // 2)
            self.assertGreaterEqual(refused, CONNECTIONS)
            after = self.counts()["cut"]["connections"]
            self.assertEqual(after - before["cut"]["connections"], refused)
            self.client.ping()
        finally:
            for p in peers:
                p.close()

    def test_a_churn_of_routing_ids_leaves_nothing(self):
        with Peer(self.data) as p:
            p.send(hostile.PING)
            p.message()
        held = self.counts()["memory_bytes"]
        for n in range(1500):
            with Peer(self.data, identity=struct.pack(">Q", n + 1)) as p:
                p.send(hostile.PING)
                p.message()
        after = self.counts()
        self.assertLessEqual(after["memory_bytes"], held + 4096)  # the status request itself
        self.assertLess(after["open"], 8)

    def test_an_answer_goes_to_who_asked_whatever_name_another_takes(self):
        with Peer(self.data, identity=b"one") as a, Peer(self.data, identity=b"one") as b:
            a.send(message(MAGIC, b'{"op":"ping","id":"of a"}'))
            b.send(message(MAGIC, b'{"op":"ping","id":"of b"}'))
            self.assertEqual(json.loads(a.message()[1])["id"], "of a")
            self.assertEqual(json.loads(b.message()[1])["id"], "of b")

    def test_memory_that_messages_wait_with_is_bounded_and_given_up_to_others(self):
        peers = []
        try:
            for _ in range(12):  # 84 MiB, nearly whole, of 32 that there are
                p = Peer(self.data, timeout=0.3)
                peers.append(p)
                try:
                    p.send(frame(MAGIC, MORE) + frame(b"{}", MORE) + frame(b"", 0, 7 * MIB))
                    for _ in range(6):
                        p.send(bytes(MIB))
                except (Cut, TimeoutError):
                    pass
            counts = self.counts()
            self.assertLessEqual(counts["memory_bytes"], counts["memory_limit"] // 2 + MIB)
            self.assertGreater(counts["waiting"], 0)
            self.client.ping()
        finally:
            for p in peers:
                p.close()

    def test_subscriptions_have_an_end_and_cost_nothing(self):
        lot = b"".join(frame(b"\x01topic %d" % i) for i in range(65))
        events = self.daemon.endpoint("events")
        self.cut(lot, "subscriptions", endpoint=events, socket_type=b"SUB")
        self.cut(frame(bytes(600)), "message", endpoint=events, socket_type=b"SUB")
        with Peer(events, socket_type=b"SUB") as p:
            for _ in range(1000):  # honest: one at a time
                p.send(command(b"SUBSCRIBE", b"state") + command(b"CANCEL", b"state"))
            p.send(command(b"SUBSCRIBE", b"decision"))
            self.client.ping()
        self.assertEqual(self.counts()["subscribers"], 0)

    def test_half_a_message_before_the_end_is_nothing(self):
        before = self.counts()
        half = frame(MAGIC, MORE) + frame(b"x", 0, 900)
        for bytes_ in (b"", b"\x01", frame(MAGIC, MORE), half):
            with Peer(self.data) as p:
                p.send(bytes_)
            with Peer(self.data) as p:  # and with an error instead of an end
                p.send(bytes_)
                p.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        after = self.counts()
        self.assertEqual(after["cut"], before["cut"])
        self.assertLessEqual(after["memory_bytes"], before["memory_bytes"] + 4096)


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Pause(unittest.TestCase):
    def test_a_daemon_that_did_not_run_for_a_while_blames_nobody_for_it(self):
        """Stopped for longer than any peer may be silent, or a message may take."""
        daemon = Daemon()
        self.addCleanup(daemon.end)
        with daemon.client() as client, Peer(daemon.endpoint("data")) as half:
            client.ping()
            request = message(MAGIC, b'{"op":"ping"}')
            half.send(request[:-1])
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(7)
            daemon.process.send_signal(signal.SIGCONT)
            client.ping()
            half.send(request[-1:])
            self.assertIn(b'"op":"ping"', half.message()[1])
            self.assertEqual(sum(client.status()["connections"]["cut"].values()), 0)


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Files(unittest.TestCase):
    def test_more_connections_than_the_system_has_files_for_is_said_at_the_start(self):
        code = (
            "import os,resource,sys;resource.setrlimit(resource.RLIMIT_NOFILE,(300,300));"
            "os.execv(sys.argv[1],sys.argv[1:])"
        )
        daemon = Daemon(limits="{connections: 100}")
        try:
            daemon.process.terminate()
            daemon.process.wait(30)
            got = subprocess.run(
                [sys.executable, "-c", code, str(PROGRAM), "serve", "--config", daemon.config],
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            daemon.end()
        self.assertEqual(got.returncode, 1)
        self.assertIn(
            "limits: connections 100 of each socket need 556 open files, the system allows 300",
            got.stderr,
        )


if __name__ == "__main__":
    unittest.main()
