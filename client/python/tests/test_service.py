# SPDX-License-Identifier: Apache-2.0
"""The daemon as systemd runs it: the unit, its sandbox, what the supervisor hears, the log."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import numpy as np

import ttad
from tests import sandbox
from tests.test_daemon import IMAGES, MODEL, PROGRAM, ROOT

UNIT = (ROOT / "packaging" / "systemd" / "ttad.service").read_text()
CONFIG = (ROOT / "packaging" / "systemd" / "ttad.yaml").read_text()
NOBODY = 65534


def images(n):
    """As the packaged policies want them: [n, 1, 28, 28]."""
    return np.moveaxis(np.load(IMAGES)[:n], 3, 1)



class Service:
    """The daemon under the packaged configuration, in a folder of its own, with a supervisor."""

    def __init__(self, watchdog_us=2_000_000, extra="", environment=None, **options):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ttad-service-"))
        for name in ("state", "run"):
            (self.dir / name).mkdir(mode=0o750)
        text = CONFIG.replace("/run/ttad", f"{self.dir}/run").replace(
            "/var/lib/ttad", f"{self.dir}/state"
        )
        text = text.replace("127.0.0.1:5580", f"unix:{self.dir}/run/http.sock")
        text = text.replace("@PREFIX@/share/ttad/models/fashion_resnet.onnx", str(MODEL))
        text = text.replace("@PREFIX@/share/ttad/policies", str(ROOT / "policies"))
        (self.dir / "ttad.yaml").write_text(text + extra)
        self.supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.supervisor.bind(str(self.dir / "notify"))
        self.heard = []
        env = {
            "PATH": "/usr/bin:/bin",
            "NOTIFY_SOCKET": str(self.dir / "notify"),
            "WATCHDOG_USEC": str(watchdog_us),
            **{k: v for k, v in os.environ.items() if k.startswith(("ASAN", "UBSAN", "TSAN"))},
            **(environment or {}),
        }
        if options.get("user") is not None:
            os.chmod(self.dir, 0o755)
            os.chmod(self.dir / "notify", 0o777)
            for name in ("state", "run"):
                os.chown(self.dir / name, options["user"], options["user"])
        self.log = self.dir / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "serve", "--config", str(self.dir / "ttad.yaml")],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, **options,
            )

    def hear_until(self, what, seconds=30):
        """Messages up to one that has what in it; that one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.supervisor.settimeout(0.2)
            try:
                self.heard.append(self.supervisor.recv(4096).decode())
            except TimeoutError:
                if self.process.poll() is not None:
                    break
                continue
            if what in self.heard[-1]:
                return self.heard[-1]
        raise AssertionError(f"no {what}: heard {self.heard}, log {self.log.read_text()}")

    def client(self):
        ends = (f"ipc://{self.dir}/run/{n}.sock" for n in ("data", "control", "events"))
        return ttad.connect(*ends, timeout=30, name="tester")

    def get(self, path):
        """Status and body."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(f"{self.dir}/run/http.sock")
            s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: s.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    def end(self):
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            status = self.process.wait(30)
            self.supervisor.settimeout(0.2)
            while True:
                try:
                    self.heard.append(self.supervisor.recv(4096).decode())
                except TimeoutError:
                    return status
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.supervisor.close()
            self.text = self.log.read_text()
            shutil.rmtree(self.dir, ignore_errors=True)


class Unit(unittest.TestCase):
    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_systemd_finds_nothing_wrong_with_it(self):
        with tempfile.TemporaryDirectory() as d:
            program = pathlib.Path(d, "bin", "ttad")
            program.parent.mkdir()
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
            unit = pathlib.Path(d, "ttad.service")
            unit.write_text(UNIT.replace("@PREFIX@", d).replace("@SYSCONFDIR@", "/etc"))
            got = subprocess.run(
                ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True
            )
            self.assertEqual((got.returncode, got.stderr), (0, ""))
            unit.write_text(UNIT.replace("Type=notify", "Type=notice"))
            got = subprocess.run(
                ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True
            )
            self.assertIn("notice", got.stderr)

    def test_every_path_of_the_configuration_is_one_that_the_unit_gives(self):
        folders = re.findall(r"(/(?:run|var)/[a-z/]+?)/?(?:[a-z]+\.sock)?[\"\n]", CONFIG)
        self.assertEqual(set(folders), {"/run/ttad", "/var/lib/ttad"})
        unit = sandbox.settings(UNIT)
        self.assertEqual(unit["StateDirectory"] + unit["RuntimeDirectory"], ["ttad", "ttad"])


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Supervised(unittest.TestCase):
    def test_the_supervisor_hears_of_start_progress_and_end(self):
        s = Service()
        s.hear_until("READY=1")
        starts = [m for m in s.heard if m.startswith("STATUS=starts: ")]
        self.assertIn("STATUS=starts: models", "\n".join(starts))
        self.assertTrue(all("EXTEND_TIMEOUT_USEC=" in m for m in starts))
        began = time.monotonic()
        for _ in range(3):
            s.hear_until("WATCHDOG=1", 10)
        self.assertLess(time.monotonic() - began, 8)  # a ping a second
        self.assertIn("STATUS=serves 0 streams", s.heard)
        with s.client() as client:
            client.infer(images(16), stream="a", policy="tent")
        s.process.send_signal(signal.SIGTERM)
        self.assertIn("EXTEND_TIMEOUT_USEC=20000000", s.hear_until("STOPPING=1"))
        self.assertEqual(s.end(), 0)
        self.assertEqual(sum("READY=1" in m for m in s.heard), 1)
        self.assertEqual(sum("STOPPING=1" in m for m in s.heard), 1)
        self.assertIn("STATUS=ends: workers", "\n".join(s.heard))

    def test_its_threads_wait_briefly_for_each_other_unless_the_operator_says_how(self):
        for given, spins in (({}, b"2000"), ({"OMP_WAIT_POLICY": "passive"}, None)):
            service = Service(environment=given)
            try:
                service.hear_until("READY=1")
                process = pathlib.Path("/proc", str(service.process.pid))
                has = dict(v.split(b"=", 1) for v in (process / "environ").read_bytes().split(b"\0") if v)
                self.assertEqual(has.get(b"GOMP_SPINCOUNT"), spins)
                self.assertEqual((process / "comm").read_text(), "ttad\n")
            finally:
                self.assertEqual(service.end(), 0)

    def test_a_start_that_fails_is_never_ready(self):
        s = Service(extra="workers: 0\n")
        self.assertEqual(s.process.wait(30), 1)
        self.assertEqual(s.end(), 1)
        self.assertFalse(any("READY=1" in m for m in s.heard))

    def test_a_log_line_is_a_record_whatever_a_stream_is_called(self):
        hostile = 'a"b\\c level=error msg=forged\u2028\u202eé'  # what a stream may be called
        for form in ("json", "logfmt"):
            s = Service(extra=f"log_format: {form}\n")
            s.hear_until("READY=1")
            with s.client() as client:
                client.infer(images(16), stream=hostile, policy="tent")
            self.assertEqual(s.end(), 0)
            lines = s.text.split("\n")
            self.assertEqual(lines.pop(), "")
            if form == "json":
                records = [json.loads(line) for line in lines]
                self.assertIn(hostile, [r.get("stream") for r in records])
                self.assertTrue(all({"ts", "level", "msg"} <= set(r) for r in records))
            else:
                pair = r'[a-z_]+=(?:"(?:[^"\\]|\\.)*"|[^\s"=\\]+)'
                for line in lines:
                    self.assertRegex(line, rf"^ts=\S+ {pair}(?: {pair})*$")
                self.assertEqual(len(s.text.splitlines()), len(lines))
                self.assertNotIn("\x1b", s.text)

    def test_the_version_says_what_it_runs_with(self):
        out = subprocess.run([str(PROGRAM), "--version"], capture_output=True, text=True).stdout
        lines = out.splitlines()
        self.assertRegex(lines[0], r"^ttad \d+\.\d+\.\d+$")
        for name in ("ZMTP", "SQLite", "OpenBLAS", "libmicrohttpd", "kernels", "OpenMP",
                     "compiler", "build"):
            self.assertTrue(any(re.match(rf"{name} +\S", line) for line in lines), name)
        self.assertRegex(out, r"kernels +(avx512|avx2|baseline); this processor can run .*baseline")


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
@unittest.skipIf(sandbox.usable(), sandbox.usable())
class Sandboxed(unittest.TestCase):
    """The unit's own filter, families and ban on writable code, as another user where we may."""

    @classmethod
    def setUpClass(cls):
        cls.unit = sandbox.settings(UNIT)
        cls.bpf = sandbox.program(cls.unit)
        cls.umask = int(cls.unit["UMask"][0], 8)

    def enter(self):
        os.umask(self.umask)
        sandbox.enter(self.bpf)

    def test_the_sandbox_bites(self):
        script = (
            "import ctypes, mmap, os, socket, sys\n"
            "def fails(f):\n"
            "    try: f()\n"
            "    except OSError: return 1\n"
            "    return 0\n"
            "sys.exit(fails(lambda: socket.socket(socket.AF_NETLINK)) * 1\n"
            "  + fails(lambda: mmap.mmap(-1, 4096, prot=7)) * 2\n"
            "  + fails(lambda: os.chroot('/')) * 4\n"
            "  + fails(lambda: socket.socket(socket.AF_UNIX)) * 8)\n"
        )
        got = subprocess.run(["/usr/bin/python3", "-c", script], preexec_fn=self.enter)
        self.assertEqual(got.returncode, 7)

    def test_it_serves_adapts_and_goes_back_in_the_sandbox(self):
        options = {"preexec_fn": self.enter}
        if os.geteuid() == 0:
            options |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        s = Service(**options)
        try:
            s.hear_until("READY=1")
            with s.client() as client:
                for _ in range(4):
                    answer = client.infer(images(64), stream="a", policy="tent")
                self.assertTrue(answer.adapted)
                client.feedback(answer.id, np.zeros(64, np.int64), stream="a")
                client.rollback("a")
            self.assertEqual(s.get("/v2/health/ready")[0], 200)
            status, text = s.get("/metrics")
            self.assertEqual(status, 200)
            self.assertIn('ttad_rollbacks_total{model="fashion",policy="tent",by="operator"} 1\n', text)
            self.assertGreater(float(re.search(r"\nprocess_open_fds (\S+)", text)[1]), 5)
            self.assertGreater(float(re.search(r"\nprocess_resident_memory_bytes (\S+)", text)[1]), 1e6)
            s.hear_until("WATCHDOG=1")
            for name in ("data", "control", "events", "http"):
                self.assertEqual((s.dir / "run" / f"{name}.sock").stat().st_mode & 0o777, 0o660)
            for path in (s.dir / "state").rglob("*"):
                self.assertEqual(path.stat().st_mode & 0o027, 0, path)
        finally:
            status = s.end()
        self.assertEqual(status, 0, s.text)
        self.assertNotIn("level=error", s.text)


if __name__ == "__main__":
    unittest.main()
