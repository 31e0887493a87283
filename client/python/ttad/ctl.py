# SPDX-License-Identifier: Apache-2.0
"""ttadctl: the daemon's control socket for people and scripts.

Exit codes: 0 done, 1 the daemon refused, 2 wrong usage, 3 nobody answered.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from . import __version__, table
from .client import Client, connect
from .endpoints import default_endpoint
from .errors import BadArgument, Timeout, TtadError
from .wire import Event

REFUSED, USAGE, NOBODY = 1, 2, 3

# What a table shows, as far as the daemon says it; --json has everything.
_STREAM_COLUMNS = (
    "stream_id",
    "state",
    "policy",
    "version",
    "step",
    "samples",
    "adapted",
    "skipped",
    "rollbacks",
    "reason",
)
_SNAPSHOT_COLUMNS = ("version", "step", "state", "serving", "stored", "samples", "ts_ms", "parent")


def _show(args: argparse.Namespace, reply: Dict[str, Any]) -> None:
    shown = {k: v for k, v in reply.items() if k != "id"}
    print(json.dumps(shown) if args.json else table.pairs(shown) if shown else "done")


def _show_rows(
    args: argparse.Namespace, rows: List[Dict[str, Any]], first: Sequence[str], none: str
) -> None:
    if args.json:
        print(json.dumps(rows))
    elif rows:
        print(table.table(rows, [c for c in first if any(c in row for row in rows)]))
    else:
        print(none)


def _status(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.status())


def _streams(client: Client, args: argparse.Namespace) -> None:
    _show_rows(args, client.streams(), _STREAM_COLUMNS, "no streams")


def _snapshots(client: Client, args: argparse.Namespace) -> None:
    _show_rows(args, client.snapshots(args.stream), _SNAPSHOT_COLUMNS, "no snapshots")


def _snapshot(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.snapshot(args.stream, reason=args.reason))


def _rollback(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.rollback(args.stream, version=args.version, reason=args.reason))


def _freeze(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.freeze(args.stream, reason=args.reason))


def _thaw(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.thaw(args.stream, reason=args.reason))


def _reload(client: Client, args: argparse.Namespace) -> None:
    _show_changes(args, client.reload())


def _load(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.load(args.model, os.path.abspath(args.path), args.replace))


def _unload(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.unload(args.model))


def _log_level(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.log_level(args.level))


def _drain(client: Client, args: argparse.Namespace) -> None:
    _show(args, client.drain())


def _show_changes(args: argparse.Namespace, reply: Dict[str, Any]) -> None:
    """One line a change."""
    if args.json:
        _show(args, reply)
        return
    rows = [{"kind": "policy", **row} for row in reply.get("policies", [])]
    rows += [{"kind": "model", **row} for row in reply.get("models", [])]
    for row in rows:
        row.update({k: str(row[k])[:12] if row.get(k) else "-" for k in ("from", "to")})
    rows += [
        {"kind": "setting", "name": key, "what": "changed", "from": "-", "to": "-"}
        for key in reply.get("settings", [])
    ]
    if rows:
        print(table.table(rows, ["kind", "name", "what", "from", "to"]))
    else:
        print("nothing has changed")


def _ping(client: Client, args: argparse.Namespace) -> None:
    start = time.monotonic()
    client.ping()
    ms = 1e3 * (time.monotonic() - start)
    print(json.dumps({"ms": round(ms, 3)}) if args.json else f"answered in {ms:.2f} ms")


def _tail(client: Client, args: argparse.Namespace) -> None:
    with client.events(args.topic or ()) as events:
        for event in events:
            print(_event_json(event) if args.json else _event_line(event), flush=True)


def _event_json(event: Event) -> str:
    return json.dumps(
        {"topic": event.topic, "seq": event.seq, "missed": event.missed, "data": event.data}
    )


def _event_line(event: Event) -> str:
    """time  topic  stream  sentence, or everything where there is no sentence."""
    data = event.data if isinstance(event.data, dict) else {"data": event.data}
    when = table.clock(data.get("ts_ms"))[-8:]
    text = data.get("sentence") or data.get("text")
    if not text:
        text = ", ".join(
            f"{k}={table.cell(v)}" for k, v in data.items() if k not in ("ts_ms", "stream")
        )
    missed = f"({event.missed} missed)  " if event.missed else ""
    parts = (when, f"{event.topic:<10}", f"{data.get('stream') or '-'!s:<16}", missed + str(text))
    return table.clean("  ".join(str(p) for p in parts))


Verb = Callable[[Client, argparse.Namespace], None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ttadctl", description="ask and steer a running ttad")
    parser.add_argument("--version", action="version", version=f"ttadctl {__version__}")
    parser.set_defaults(control=None, timeout=5.0, json=False)
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    for p in (parser, common):  # before the verb and after it
        p.add_argument(
            "--control", metavar="ENDPOINT", help=f"control socket ({default_endpoint('control')})"
        )
        p.add_argument(
            "--timeout", type=float, metavar="S", help="seconds to wait for an answer (5)"
        )
        p.add_argument("--json", action="store_true", help="print what the daemon says as JSON")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str, run: Verb, help: str, stream: bool = False, reason: bool = False
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=help, description=help, parents=[common])
        sub.set_defaults(run=run)
        if stream:
            sub.add_argument("stream", metavar="STREAM")
        if reason:
            sub.add_argument("--reason", default=None, help="goes into the record")
        return sub

    verb("status", _status, "the daemon's state and counters")
    verb("streams", _streams, "one line a stream")
    verb("snapshots", _snapshots, "the versions that a stream can go back to", stream=True)
    verb("snapshot", _snapshot, "write a stream's version to the disk", stream=True, reason=True)
    back = verb("rollback", _rollback, "go back to a version", stream=True, reason=True)
    back.add_argument(
        "--version", default=None, metavar="V", help="which one (the newest that is marked good)"
    )
    verb("freeze", _freeze, "answer without learning", stream=True, reason=True)
    verb("thaw", _thaw, "learn again", stream=True, reason=True)
    verb("reload", _reload, "read configuration and policies again, all or nothing")
    load = verb("load", _load, "serve a model")
    load.add_argument("model", metavar="NAME")
    load.add_argument("path", metavar="FILE", help="an ONNX file on the daemon's machine")
    load.add_argument("--replace", action="store_true", help="in the place of another of that name")
    unload = verb("unload", _unload, "serve a model no more")
    unload.add_argument("model", metavar="NAME")
    level = verb("log-level", _log_level, "what the daemon logs from now on")
    level.add_argument("level", choices=("err", "warn", "info", "debug"))
    verb("drain", _drain, "answer what is queued, take no more, end")
    tail = verb("tail", _tail, "print events as they happen")
    tail.add_argument(
        "--topic", action="append", metavar="T", help="only topics that begin so; may be repeated"
    )
    tail.add_argument(
        "--events",
        default=None,
        metavar="ENDPOINT",
        help=f"event socket ({default_endpoint('events')})",
    )
    verb("ping", _ping, "is it there, and how fast")
    return parser


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one verb; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        with connect(
            control=args.control,
            events=getattr(args, "events", None),
            timeout=args.timeout,
            name=_who(),
        ) as client:
            args.run(client, args)
        sys.stdout.flush()
    except Timeout as e:
        return _fail(e, NOBODY)
    except BadArgument as e:
        return _fail(e, USAGE)
    except TtadError as e:
        return _fail(e, REFUSED)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `ttadctl tail | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(error: TtadError, code: int) -> int:
    print(f"ttadctl: {table.clean(str(error))}", file=sys.stderr)
    for line in error.mistakes[1:]:  # the first is the error itself
        print(f"ttadctl: {table.clean(line)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
