# SPDX-License-Identifier: Apache-2.0
"""PyTorch or ONNX Runtime as a process of its own, which measures by turns as `ttad bench --turns`
does: for each line on standard input, `frozen 5` or `step 3`, so many runs and one line of JSON.

    python3 bench/compare_worker.py torch resnet20 64 2 --layout channels_last
    python3 bench/compare_worker.py onnxruntime resnet20 64 2 --file FILE.onnx

PyTorch gets every advantage that it has without compiling: inference_mode for the frozen pass; for
the step no gradients but those to the normalisations' scales and shifts, and the fused optimizer.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import numpy as np


def resident(what):
    """Bytes of this process: VmRSS, or VmHWM, the peak."""
    with open("/proc/self/status", encoding="ascii") as f:
        for line in f:
            if line.startswith(what + ":"):
                return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {what}")


class Torch:
    LR = 2.5e-4

    def __init__(self, args):
        import torch

        import compare_models as models

        self.torch = torch
        torch.set_num_threads(args.threads)
        torch.set_num_interop_threads(1)
        self.warm_libraries()
        models.import_classes(args.model)
        self.before = resident("VmRSS")
        layout = getattr(torch, args.layout)
        net = models.make(args.model).requires_grad_(False)
        self.weights = 4 * sum(
            t.numel() for t in net.state_dict().values() if t.is_floating_point()
        )
        for m in net.modules():
            if isinstance(m, torch.nn.Conv2d):  # .to() of the whole would also turn linear layers
                m.to(memory_format=layout)
        self.net = net
        self.norms = [m for m in net.modules() if isinstance(m, models.NORMS)]
        x = models.rows_of(args.model, args.batch)
        self.x = x.contiguous(memory_format=layout) if x.ndim == 4 else x
        self.optimizer = None

    def warm_libraries(self):
        """Code that is read from files is not the model's memory."""
        torch = self.torch
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(576, 8),
            torch.nn.LayerNorm(8),
            torch.nn.GELU(),
        )
        optimizer = torch.optim.SGD(net.parameters(), self.LR, fused=True)
        with torch.inference_mode():
            net(torch.randn(4, 3, 8, 8))
        for _ in range(2):
            log_p = net(torch.randn(4, 3, 8, 8)).log_softmax(1)
            (log_p.exp() * log_p).sum(1).mean().backward()
            optimizer.step()

    def frozen(self):
        with self.torch.inference_mode():
            return self.net(self.x)

    def prepare_step(self):
        """The authors' configuration: batch statistics, nothing trainable but norms."""
        if self.optimizer:
            return
        for m in self.norms:
            m.requires_grad_(True)
            if isinstance(m, self.torch.nn.BatchNorm2d):
                m.track_running_stats = False
                m.running_mean = m.running_var = None
        theta = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = self.torch.optim.SGD(theta, self.LR, fused=True)

    def step(self):
        z = self.net(self.x)
        log_p = z.log_softmax(1)
        loss = -(log_p.exp() * log_p).sum(1).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return z.detach()


class OnnxRuntime:
    def __init__(self, args):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        options.inter_op_num_threads = 1
        self.x = np.load(args.rows)
        self.weights = os.path.getsize(args.file)  # and some bytes of nodes
        small = pathlib.Path(__file__).parents[1] / "models" / "fashion_resnet.onnx"
        onnxruntime.InferenceSession(str(small), options).run(
            None, {"image": np.zeros((1, 1, 28, 28), np.float32)}
        )
        self.before = resident("VmRSS")
        self.session = onnxruntime.InferenceSession(
            args.file, options, providers=["CPUExecutionProvider"]
        )

    def frozen(self):
        return self.session.run(None, {"x": self.x})[0]

    def prepare_step(self):
        raise SystemExit("ONNX Runtime does not adapt")

    step = frozen


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("engine", choices=["torch", "onnxruntime"])
    p.add_argument("model")
    p.add_argument("batch", type=int)
    p.add_argument("threads", type=int)
    p.add_argument("--layout", default="contiguous_format")
    p.add_argument("--file", help="the ONNX file, for onnxruntime")
    p.add_argument("--rows", help="the batch as .npy, for onnxruntime")
    p.add_argument("--logits", help="write those of a frozen pass there, as .npy")
    args = p.parse_args()
    engine = Torch(args) if args.engine == "torch" else OnnxRuntime(args)
    if args.logits:
        np.save(args.logits, np.asarray(engine.frozen()))
    for line in sys.stdin:
        task, count = line.split()
        if task == "step":
            engine.prepare_step()
        with open("/proc/self/clear_refs", "w", encoding="ascii") as f:
            f.write("5")  # the peak is of what follows
        run, times = getattr(engine, task), []
        for _ in range(int(count)):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        print(
            json.dumps(
                {
                    "ms": statistics.median(times),
                    "runs": len(times),
                    "peak_bytes": resident("VmHWM") - engine.before - engine.weights,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", sys.argv[4] if len(sys.argv) > 4 else "1")
    main()
