# SPDX-License-Identifier: Apache-2.0
"""The short form of `make kills`: each kind of kill at least once, and all of its checks."""

import os
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = pathlib.Path(os.environ.get("TTAD", ROOT / "build" / "release" / "ttad")).resolve()


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class Kills(unittest.TestCase):
    def test_what_was_acknowledged_outlives_eight_kills(self):
        command = [sys.executable, str(ROOT / "tests" / "kill.py"), "--ttad", str(PROGRAM)]
        done = subprocess.run(
            [*command, "--kills", "8", "--streams", "1", "--load", "60"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("8: {'under load': 6, 'starting': 1, 'draining': 1}", done.stdout)


if __name__ == "__main__":
    unittest.main()
