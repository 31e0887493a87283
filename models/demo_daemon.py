# SPDX-License-Identifier: Apache-2.0
"""The daemon of the demo: its configuration, its start, and its end by its own process id."""

from __future__ import annotations

import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Optional

import ttad

READY_WITHIN = 20.0  # seconds
END_WITHIN = 20.0

CONFIG = """\
# Written by models/demo.py; the same daemon by hand:
#   {ttad} serve --config {config}
listen: {{data: "{data}", control: "{control}", events: "{events}"}}
models:
  - {{name: fashion, path: "{model}"}}
policies:
  - {{name: observe, path: "{policies}/observe.yaml"}}
  - {{name: guarded, path: "{policies}/guarded.yaml"}}
  - {{name: unguarded, path: "{policies}/unguarded.yaml"}}
state_dir: "{state}"
database: "{database}"
workers: 2
threads_per_worker: 1  # always, so that every run gives the same numbers
limits: {{max_batch_rows: 64}}
"""


class DaemonFailed(Exception):
    """It did not start, or ended by itself; the message has its last words."""


class Daemon:
    """Runs `ttad serve` for the length of a `with`; out is emptied of an earlier run's files."""

    def __init__(self, ttad_path: pathlib.Path, out: pathlib.Path, here: pathlib.Path) -> None:
        self._ttad = ttad_path.resolve()
        self._out = out.resolve()
        self._sockets = pathlib.Path(tempfile.mkdtemp(prefix="ttad-"))  # ipc paths must be short
        self.data, self.control, self.events = (
            f"ipc://{self._sockets}/{name}.sock" for name in ("data", "control", "events")
        )
        self.database = self._out / "ttad.sqlite"
        self.log = self._out / "ttad.log"
        self.config = self._out / "ttad.yaml"
        self._here = here.resolve()
        self._process: Optional["subprocess.Popen[bytes]"] = None

    def __enter__(self) -> "Daemon":
        try:
            self._prepare()
            with open(self.log, "wb") as log:
                # A session of its own: Ctrl-C reaches us, and we end the daemon.
                self._process = subprocess.Popen(
                    [str(self._ttad), "serve", "--config", str(self.config)],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            self._wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            if self._process is not None:
                self._end(self._process)
        finally:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def client(self) -> ttad.Client:
        """A client of this daemon."""
        return ttad.connect(self.data, self.control, self.events, timeout=30, name="demo")

    def died(self) -> Optional[str]:
        """Its last words if it has ended, else None."""
        if self._process is None or self._process.poll() is None:
            return None
        return f"ttad ended with status {self._process.returncode}: {self.last_words()}"

    def last_words(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " | ".join(lines[-3:]) or "(it said nothing)"

    def _prepare(self) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        for old in self._out.glob("ttad.sqlite*"):
            old.unlink()
        state = self._out / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        self.config.write_text(
            CONFIG.format(
                ttad=self._ttad,
                config=self.config,
                data=self.data,
                control=self.control,
                events=self.events,
                database=self.database,
                state=state,
                model=self._here / "fashion_resnet.onnx",
                policies=self._here / "demo",
            ),
            encoding="utf-8",
        )

    def _wait_ready(self) -> None:
        end = time.monotonic() + READY_WITHIN
        with self.client() as client:
            while True:
                dead = self.died()
                if dead:
                    raise DaemonFailed(dead)
                try:
                    client.ping(timeout=0.2)
                    return
                except ttad.Timeout:
                    if time.monotonic() > end:
                        raise DaemonFailed(f"ttad does not answer: {self.last_words()}") from None

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise DaemonFailed(f"ttad did not end within {END_WITHIN:.0f} s of SIGTERM") from None
