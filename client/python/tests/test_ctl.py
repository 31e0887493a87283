# SPDX-License-Identifier: Apache-2.0
"""ttadctl: what it prints, and its exit codes."""

import contextlib
import io
import json
import subprocess
import sys
import time
import unittest
from pathlib import Path

from tests.fake_server import FakeServer, error, frames
from ttad import ctl, table

STREAMS = [
    {"stream_id": "cam-7", "state": "adapting", "step": 812, "adapted": 0.1234567, "reason": None},
    {
        "stream_id": "bad\x1b[31m\nname",
        "state": "frozen",
        "step": 3,
        "adapted": None,
        "more": 1,
        "reason": "x" * 200,
    },
]


def run(*argv):
    """(exit code, stdout, stderr)"""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = ctl.main(argv)
        except SystemExit as e:
            code = e.code
    return code, out.getvalue(), err.getvalue()


class Verbs(unittest.TestCase):
    def serve(self, handler):
        self.server = FakeServer(handler)
        self.addCleanup(self.server.close)
        return "--control", self.server.endpoint

    def reply(self, **body):
        return self.serve(lambda r, t: [frames({"op": r["op"], "id": r["id"], **body})])

    def test_streams_are_a_table_that_cannot_steer_the_terminal(self):
        code, out, err = run("streams", *self.reply(streams=STREAMS))
        self.assertEqual((code, err), (0, ""))
        lines = out.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[0].split(), ["stream_id", "state", "step", "adapted", "reason"])
        self.assertEqual(lines[1].split(), ["cam-7", "adapting", "812", "0.1235", "-"])
        self.assertNotIn("\x1b", out)
        self.assertLess(max(map(len, lines)), 120)

    def test_json_is_what_the_daemon_said(self):
        code, out, _ = run("streams", "--json", *self.reply(streams=STREAMS))
        self.assertEqual((code, json.loads(out)), (0, STREAMS))

    def test_options_may_stand_before_the_verb(self):
        code, out, _ = run(*self.reply(streams=[]), "--json", "streams")
        self.assertEqual((code, json.loads(out)), (0, []))

    def test_no_rows_say_so(self):
        self.assertEqual(run("streams", *self.reply(streams=[]))[1], "no streams\n")
        self.assertEqual(run("snapshots", "cam-7", *self.reply(snapshots=[]))[1], "no snapshots\n")

    def test_status_is_a_list_of_pairs(self):
        code, out, _ = run("status", *self.reply(parameters={"state": "ready", "streams": 3}))
        self.assertEqual((code, out), (0, "state    ready\nstreams  3\n"))

    def test_what_steers_sends_its_stream_and_reason(self):
        endpoint = self.reply(parameters={"version": "ab12"})
        for argv, op, more in (
            (["rollback", "cam-7", "--version", "ab12"], "rollback", {"version": "ab12"}),
            (["rollback", "cam-7"], "rollback", {}),
            (["freeze", "cam-7", "--reason", "fog"], "freeze", {"reason": "fog"}),
            (["thaw", "cam-7"], "thaw", {}),
            (["snapshot", "cam-7"], "snapshot", {}),
        ):
            code, out, _ = run(*argv, *endpoint)
            sent = self.server.requests[-1]
            actor = sent["parameters"].pop("actor")
            self.assertEqual((code, out), (0, "version  ab12\n"))
            self.assertTrue(actor)
            self.assertEqual(sent["op"], op)
            self.assertEqual(sent["parameters"], {"stream_id": "cam-7", **more})

    def test_what_steers_the_daemon_sends_what_it_names(self):
        endpoint = self.reply()
        file = str(Path("m.onnx").resolve())
        for argv, op, model, more in (
            (["reload"], "reload", None, {}),
            (["load", "m", "m.onnx"], "load", "m", {"path": file}),
            (["load", "m", file, "--replace"], "load", "m", {"path": file, "replace": True}),
            (["unload", "m"], "unload", "m", {}),
            (["log-level", "debug"], "log_level", None, {"level": "debug"}),
            (["drain"], "drain", None, {}),
        ):
            said = "nothing has changed\n" if op == "reload" else "done\n"
            self.assertEqual(run(*argv, *endpoint), (0, said, ""))
            sent = self.server.requests[-1]
            said = sent.get("parameters", {})
            said.pop("actor", None)
            self.assertEqual((sent["op"], sent.get("model_name"), said), (op, model, more))
        self.assertEqual(run("log-level", "loud", *endpoint)[0], ctl.USAGE)

    def test_ping_says_how_long_it_took(self):
        code, out, _ = run("ping", *self.reply())
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^answered in [0-9.]+ ms\n$")

    def test_a_refusal_is_one_line_and_exit_code_1(self):
        code, out, err = run("freeze", "cam-8", *self.serve(lambda r, t: error(r, "NO_STREAM")))
        self.assertEqual((code, out, err), (1, "", "ttadctl: NO_STREAM: because of no_stream\n"))

    def test_nobody_there_is_exit_code_3(self):
        code, out, err = run("ping", "--control", "ipc:///tmp/ttad-nobody.sock", "--timeout", "0.1")
        self.assertEqual((code, out, err.count("\n")), (3, "", 1))
        self.assertIn("nothing takes requests at ipc:///tmp/ttad-nobody.sock", err)

    def test_wrong_usage_is_exit_code_2(self):
        for argv in (
            (),
            ("dance",),
            ("freeze",),
            ("ping", "--timeout", "soon"),
            ("ping", "--timeout", "-1"),
            ("ping", "--control", "nowhere"),
        ):
            with self.subTest(argv):
                code, _, err = run(*argv)
                self.assertEqual(code, 2)
                self.assertTrue(err)


class Tail(unittest.TestCase):
    def test_events_are_lines_until_the_reader_goes(self):
        server = FakeServer(lambda r, t: [])
        self.addCleanup(server.close)
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ttad.ctl",
                "tail",
                "--events",
                server.events_endpoint,
                "--topic",
                "decision",
            ],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            server.wait_subscribed()
            server.publish("sample", 1, {"loss": 1})
            server.publish(
                "decision", 2, {"stream": "cam-7", "ts_ms": 3723000, "sentence": "went back"}
            )
            server.publish("decision", 3, {"stream": "cam-7", "to": "ab12"})
            self.assertEqual(
                child.stdout.readline().split(), ["01:02:03", "decision", "cam-7", "went", "back"]
            )
            self.assertEqual(
                child.stdout.readline().split(), ["--:--:--", "decision", "cam-7", "to=ab12"]
            )
            child.stdout.close()
            end = time.monotonic() + 10
            while child.poll() is None and time.monotonic() < end:
                server.publish("decision", 4, {})
                time.sleep(0.05)
            self.assertEqual((child.wait(1), child.stderr.read()), (0, ""))
        finally:
            child.kill()
            child.wait()
            child.stderr.close()


class Tables(unittest.TestCase):
    def test_a_dict_in_a_dict_is_laid_flat(self):
        self.assertEqual(table.pairs({"a": 1, "b": {"c": 2}, "d": {}}), "a    1\nb.c  2\nd    -")

    def test_times_are_utc_and_nonsense_is_none(self):
        self.assertEqual(table.clock(3723000), "1970-01-01 01:02:03")
        for ms in (None, "x", -1, 1e300, float("nan")):
            self.assertEqual(table.clock(ms), "---------- --:--:--")
        self.assertEqual(table.table([{"ts_ms": 0}], ["ts_ms"]), "time\n1970-01-01 00:00:00")

    def test_numbers_stand_to_the_right(self):
        self.assertEqual(table.table([{"n": 5}, {"n": 1000}], ["n"]), "   n\n   5\n1000")

    def test_values_of_every_kind_have_a_text(self):
        for value, text in (
            (None, "-"),
            (True, "yes"),
            (False, "no"),
            (0.5, "0.5"),
            ("", "-"),
            ({"a": 1}, "a=1"),
            ([1, 2], "1, 2"),
            (float("nan"), "nan"),
        ):
            self.assertEqual(table.cell(value), text)


if __name__ == "__main__":
    unittest.main()
