# SPDX-License-Identifier: Apache-2.0
"""tests/soak.py in a short form; `make soak` runs half an hour of it."""

import os
import subprocess
import sys
import unittest

from tests.test_daemon import PROGRAM, ROOT

SHIM = PROGRAM.parent / "tests" / "support" / "faulty.so"


@unittest.skipUnless(PROGRAM.exists() and SHIM.exists(), f"{PROGRAM} or {SHIM} is not built")
class Soak(unittest.TestCase):
    def test_nothing_is_lost_while_everything_goes_on_at_once(self):
        sanitized = ["--sanitized"] if "-" in PROGRAM.parent.name else []
        done = subprocess.run(
            [sys.executable, ROOT / "tests" / "soak.py", "--ttad", PROGRAM, "--minutes", "0.3",
             "--every", "1", "--pause", "0.005", "--kill-every", "8", "--patience", "120",
             "--seed", os.environ.get("SEED", "1"), *sanitized],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout[-4000:])


if __name__ == "__main__":
    unittest.main()
