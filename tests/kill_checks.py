# SPDX-License-Identifier: Apache-2.0
"""What tests/kill.py holds the record and the disk to."""

import hashlib
import json
import re
import sqlite3
import threading
import time

WRITTEN = re.compile(r"version ([0-9a-f]{16}) of step \d+ written")


def equal(found, wanted, what):
    """An assertion that python -O keeps."""
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, wanted {wanted!r}")


class Told:
    """What replies and events have named.  Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.decisions = {}  # id: (stream, action, from, to); None where it was not said
        self.snapshots = {}  # (stream, version): True
        self.restored = []  # (stream, version) of replies without a decision's number
        self.rollbacks = 0

    def decision(self, number, stream, action, from_version, to_version):
        with self.lock:
            said = (stream, action, from_version, to_version)
            before = self.decisions.setdefault(number, said)
            if before[0] != stream:
                raise AssertionError(f"decision {number} was of {before[0]}, now of {stream}")
            if before[1] == "event":
                self.decisions[number] = said

    def snapshot(self, stream, version):
        with self.lock:
            self.snapshots[stream, version] = True

    def snapshots_of(self, stream):
        with self.lock:
            return sorted(v for s, v in self.snapshots if s == stream)

    def rolled_back(self, stream, version):
        with self.lock:
            self.restored.append((stream, version))
            self.rollbacks += 1

    def event(self, frames):
        e = json.loads(frames[2])
        stream = e.get("stream") or e.get("stream_id")
        written = WRITTEN.search(e.get("text") or "")
        if written:
            self.snapshot(stream, written[1])
        if e.get("decision_id"):
            with self.lock:
                said = (stream, "event", None, None)
                self.decisions.setdefault(e["decision_id"], said)


def ask(daemon, sql, *arguments):
    db = sqlite3.connect(f"file:{daemon.database}?mode=ro", uri=True, timeout=30)
    try:
        return db.execute(sql, arguments).fetchall()
    finally:
        db.close()


def record(daemon, told):
    """Every decision that was named, with what was said of it; and the file is sound."""
    equal(ask(daemon, "PRAGMA integrity_check"), [("ok",)], "integrity_check")
    with told.lock:
        decisions, restored = dict(told.decisions), list(told.restored)
    rows = {
        r[0]: r[1:]
        for r in ask(
            daemon,
            "SELECT d.decision_id, s.name, d.action, d.from_version, d.to_version FROM decision d "
            "JOIN stream s ON s.id = d.stream_id",
        )
    }
    for number, (stream, action, old, new) in decisions.items():
        row = rows.get(number)
        if row is None:
            raise AssertionError(f"lost: decision {number} of {stream}")
        equal(row[0], stream, f"decision {number}: stream")
        if action != "event":
            equal(row[1], action, f"decision {number}: action")
            equal(row[2], old, f"decision {number}: from")
            if action == "rollback":
                equal(row[3], new, f"decision {number}: to")
    known = {(r[0], r[3]) for r in rows.values()}
    for stream, version in restored:
        if (stream, version) not in known:
            raise AssertionError(f"lost: the decision of {stream} to go back to {version}")


def payload(raw):
    """The hash of a snapshot's tensors, and the one that it says; None: it is no safetensors."""
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    meta = header.pop("__metadata__")
    h = hashlib.sha256()
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = t["data_offsets"]
        h.update(name.encode() + b"\0" + raw[8 + size + begin : 8 + size + end])
    return h.hexdigest(), meta["payload"]


def files(daemon, told):
    """Every snapshot that was named has its file; for between a kill and a start."""
    there = {p.name.split("-")[-1][:16] for p in snapshots(daemon).rglob("*.safetensors")}
    with told.lock:
        gone = [k for k in told.snapshots if k[1] not in there]
    equal(gone, [], "lost: snapshots")


def snapshots(daemon):
    return daemon.database.parent / "snapshots"


def disk(daemon, told):
    """Every snapshot that was named is there, whole, and has its row; no temporary is left."""
    root = snapshots(daemon)
    left = [str(p) for p in root.rglob(".tmp-*")]
    equal(left, [], "temporaries")
    with told.lock:
        named = list(told.snapshots)
    for stream, version in named:
        files = list((root / stream).glob(f"*-{version}.safetensors"))
        if not files:
            raise AssertionError(f"lost: the snapshot of version {version} of {stream}")
        for f in files:
            equal(*payload(f.read_bytes()), f"{f}: payload")
        row = "SELECT v.file FROM version v JOIN stream s ON s.id = v.stream_id " \
              "WHERE s.name = ? AND v.version = ?"  # fmt: skip
        end = time.monotonic() + 5  # rows of what was adopted are committed in a moment
        while not (got := ask(daemon, row, stream, version)) or not got[0][0]:
            if time.monotonic() > end:
                raise AssertionError(f"lost: the row of the snapshot {version} of {stream}: {got}")
            time.sleep(0.05)
        if not (root / got[0][0]).exists():
            raise AssertionError(f"lost: {got[0][0]}, which the record names")
