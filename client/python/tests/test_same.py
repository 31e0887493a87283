# SPDX-License-Identifier: Apache-2.0
"""`ttad adapt` and the daemon are the same code: over the same batches, the same number."""

import contextlib
import json
import subprocess
import unittest

import numpy as np

from tests.test_daemon import IMAGES, LABELS, MODEL, PROGRAM, Daemon

ROWS, BATCH = 300, 64  # the last batch is ragged

COMMON = """\
version: 1
preprocess: {scale: 0.00392156862745098, mean: [0.2860], std: [0.3530], layout: nhwc}
monitor: {shadow: {every: 0}}
"""
HASTY = """\
preset: tent
optimizer: {kind: sgd, lr: 5}
guards:
  - {name: far, signal: param_drift, above: 0.05, min_samples: 1, consecutive: 2,
     cooldown_samples: 64, action: %s}
recovery: {warmup_samples: 0}
"""
POLICIES = {
    "tent": "preset: tent\n",
    "resets": "preset: tent\nreset: {every_updates: 2}\n",
    "steps": "preset: tent\nsteps: 2\npredict: {order: last}\n",
    "after": "preset: tent\npredict: {order: after}\n",
    "episodes": "preset: tent\npredict: {order: after}\nreset: {scope: request}\n",
    "ema": "preset: norm_ema\n",
    "blend": "preset: norm_blend\n",
    "guard-reset": HASTY % "reset",
    "guard-freeze": HASTY % "freeze",
    "guard-hold": HASTY % "hold",
}


@unittest.skipUnless(PROGRAM.exists(), f"{PROGRAM} is not built")
class SameNumber(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.daemon = Daemon({name: COMMON + text for name, text in POLICIES.items()})
        cls.stack.callback(cls.daemon.end)
        cls.client = cls.stack.enter_context(cls.daemon.client())
        cls.images, cls.labels = np.load(IMAGES)[:ROWS], np.load(LABELS)[:ROWS].astype(np.int64)
        np.save(cls.daemon.dir / "x.npy", cls.images)
        np.save(cls.daemon.dir / "y.npy", cls.labels)

    def adapt(self, policy):
        """What `ttad adapt --json` says, and its logits."""
        folder = self.daemon.dir
        run = subprocess.run(
            [PROGRAM, "adapt", MODEL, "--policy", folder / f"{policy}.yaml", "--json"]
            + ["--inputs", folder / "x.npy", "--labels", folder / "y.npy"]
            + ["--outputs", folder / "z.npy", "--batch", str(BATCH)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout), np.load(folder / "z.npy")

    def serve(self, policy):
        """The daemon's answers to the same batches: logits, accuracy by its own count, adapted."""
        logits, right, adapted = [], 0, 0
        for k in range(0, ROWS, BATCH):
            got = self.client.infer(self.images[k : k + BATCH], policy, policy=policy)
            labels = self.labels[k : k + BATCH]
            right += self.client.feedback(got.id, labels, policy)["correct"]
            logits.append(got.logits)
            adapted += len(labels) if got.adapted else 0
        return np.concatenate(logits), right / ROWS, adapted

    def test_the_daemons_accuracy_over_the_same_batches_is_the_same_number(self):
        for policy in POLICIES:
            with self.subTest(policy):
                said, offline = self.adapt(policy)
                online, accuracy, adapted = self.serve(policy)
                np.testing.assert_array_equal(online, offline)
                self.assertEqual(round(accuracy, 8), said["accuracy_adapted"])
                self.assertEqual(adapted, said["samples_adapted"])
                self.assertEqual(
                    accuracy, float(np.mean(online.argmax(1) == self.labels)), "a client's count"
                )

    def test_the_policies_are_not_all_the_same(self):
        seen = {policy: self.adapt(policy)[1].tobytes() for policy in POLICIES}
        for policy in ("resets", "steps", "after", "episodes", "ema", "blend"):
            self.assertNotEqual(seen[policy], seen["tent"], policy)
        for action in ("reset", "freeze", "hold"):
            said = self.adapt(f"guard-{action}")[0]
            self.assertGreater(said["decisions"], 0, said)
            self.assertGreater(said["samples_adapted"], 0, said)
            self.assertGreater(said["samples_skipped"], 0, said)
            self.assertEqual(action == "freeze", "frozen" in said["skipped"], said)


if __name__ == "__main__":
    unittest.main()
