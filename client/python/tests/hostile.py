# SPDX-License-Identifier: Apache-2.0
"""What a hostile peer does, by name.  Each takes a folder of sockets and how many seconds it has,
and says in a few words what it got.  For the tests, and for bench/hostile.py."""

import os
import struct
import time

from tests.zmtp import COMMAND, LONG, MORE, Cut, Peer, frame, message

MAGIC = b"TTAD/1"
PING = message(MAGIC, b'{"op":"ping"}')
MIB = 1 << 20


def data(folder, **options):
    return Peer(f"ipc://{folder}/data.sock", **options)


def until_cut(peer, bytes_, seconds):
    """Send that again and again; how many times until it was cut off, or None."""
    end, n = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            peer.send(bytes_)
            n += 1
    except Cut:
        return n
    except TimeoutError:
        return None
    return None


def what_came(peer):
    """The first error's code and sentence, or how the connection ended."""
    try:
        reply = peer.message()
        return reply[1].decode()
    except Cut:
        return "cut off"
    except TimeoutError:
        return "nothing"


def endless_message(folder, seconds):
    """One message that never ends, in frames of a MiB."""
    with data(folder) as p:
        p.send(frame(MAGIC, MORE) + frame(b'{"op":"infer"}', MORE))
        n = until_cut(p, frame(bytes(MIB), MORE), seconds)
        return f"cut off after {n} MiB; {what_came(p)}"


def tiny_frames(folder, seconds):
    """Empty frames without end in one message."""
    with data(folder) as p:
        p.send(frame(MAGIC, MORE))
        n = until_cut(p, frame(b"", MORE) * 10000, seconds)
        return f"cut off after {n}0000 frames; {what_came(p)}"


LIES = {
    "2^62 bytes": frame(MAGIC, MORE) + frame(b"", 0, 1 << 62),
    "2^63 bytes": frame(b"", 0, 1 << 63),
    "reserved flags": b"\xf8\x01x",
    "a command of two frames": bytes([MORE | COMMAND, 1, 0]),
    "a command without a name": bytes([COMMAND, 1, 9]),
    "a command of 2^40 bytes": frame(b"", COMMAND, 1 << 40),
}


def lies(folder, seconds):
    """Sizes and flags that cannot be."""
    end, n, got = time.monotonic() + seconds, 0, ""
    while n < 1 or time.monotonic() < end:
        for bytes_ in LIES.values():
            with data(folder) as p:
                p.send(bytes_)
                got = what_came(p)
                assert got == "cut off" or "TOO_LARGE" in got, got
            n += 1
    return f"{n} lies, each refused or cut off"


def stalled_messages(folder, seconds):
    """Messages of the largest size, of which all but the last byte comes."""
    peers, end = [], time.monotonic() + seconds
    body = bytes(MIB)
    try:
        for _ in range(16):
            p = data(folder, timeout=1)
            peers.append(p)
            try:
                p.send(frame(MAGIC, MORE) + frame(b"{}", MORE) + frame(b"", 0, 7 * MIB))
                for _ in range(6):
                    p.send(body)
            except (Cut, TimeoutError):
                pass
        time.sleep(max(0, end - time.monotonic()))
        return f"{sum(p.wait_cut(0.01) for p in peers)} of {len(peers)} cut off"
    finally:
        for p in peers:
            p.close()


BAD_HEADERS = {
    "brackets": b"[" * 262144,
    "brackets in an object": b'{"op":' + b"[" * 200000,
    "a key twice": b'{"op":"ping","op":"ping"}',
    "a key twice, deeper": b'{"op":"ping","parameters":{"a":1,"a":2}}',
    "not UTF-8": b'{"op":"ping","id":"\xff\xfe"}',
    "half a surrogate": b'{"op":"ping","id":"\\ud800"}',
    "a NUL": b'{"op":"ping","id":"a\\u0000b"}',
    "a NUL byte": b'{"op":"ping","id":"a\x00b"}',
    "1e999": b'{"op":"ping","parameters":{"deadline_ms":1e999}}',
    "2^63": b'{"op":"ping","parameters":{"deadline_ms":9223372036854775808}}',
    "-0": b'{"op":"ping","parameters":{"deadline_ms":-0}}',
    "no JSON": b"\x00" * 200,
    "a long header": b" " * 262145,
}


def bad_headers(folder, seconds):
    """Headers that are none, one after another."""
    end, n = time.monotonic() + seconds, 0
    with data(folder) as p:
        while n < 1 or time.monotonic() < end:
            for header in BAD_HEADERS.values():
                p.send(message(MAGIC, header))
                got = what_came(p)
                assert '"op":"error"' in got and '"code":' in got, got
                n += 1
    return f"{n} headers, an error each"


def never_reads(folder, seconds):
    """Requests as fast as they are taken; no answer is ever read."""
    with data(folder, timeout=2) as p:
        n = until_cut(p, message(MAGIC, b'{"op":"hello"}') * 50, min(seconds, 4))
        if n is None and p.wait_cut(0):
            n = 0
        return "cut off" if n is not None else "not read from any more"


def many_connections(folder, seconds, handshake=True, count=2000):
    """So many connections at once, which then do nothing."""
    peers, refused, end = [], 0, time.monotonic() + seconds
    try:
        for _ in range(count):
            try:
                peers.append(data(folder, handshake=handshake, timeout=2))
            except (Cut, OSError):
                refused += 1
            if time.monotonic() > end:
                break
        time.sleep(max(0, end - time.monotonic()))
        cut = sum(p.wait_cut(0.001) for p in peers)
        return f"{len(peers)} of {len(peers) + refused} connected, {cut} cut off later"
    finally:
        for p in peers:
            p.close()


def half_open(folder, seconds):
    """Connections that never greet."""
    return many_connections(folder, seconds, handshake=False)


def byte_by_byte(folder, seconds):
    """Fifty requests, each a byte at a time, that never end."""
    peers, cut, end = [data(folder) for _ in range(50)], 0, time.monotonic() + seconds
    request = message(MAGIC, b'{"op":"ping","id":"' + b"x" * 100 + b'"}')
    for byte in request:
        for p in [p for p in peers]:
            try:
                p.send(bytes([byte]))
            except Cut:
                peers.remove(p)
                cut += 1
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    for p in peers:
        cut += p.wait_cut(0.001)
        p.close()
    return f"{cut} of 50 cut off"


def churn(folder, seconds):
    """A new connection for each request, each with another routing id."""
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with data(folder, identity=struct.pack(">Q", n + 1)) as p:
            p.send(PING)
            p.message()
        n += 1
    return f"{n} connections, each answered"


def subscriptions(folder, seconds):
    """A subscriber of millions of topics."""
    with Peer(f"ipc://{folder}/events.sock", socket_type=b"SUB") as p:
        lot = b"".join(frame(b"\x01" + os.urandom(24)) for _ in range(1000))
        n = until_cut(p, lot, seconds)
        return f"cut off within {n}000"


def ping_flood(folder, seconds):
    """ZMTP's PING as fast as it is taken, PONGs are not read."""
    ping = frame(b"\x04PING\x00\x00" + b"c" * 16, COMMAND) * 1000
    with data(folder, timeout=2) as p:
        return "cut off" if until_cut(p, ping, seconds) is not None else "not read from any more"


def long_form(folder, seconds):
    """Lengths that need one byte, in eight: odd, and allowed."""
    with data(folder) as p:
        p.send(frame(MAGIC, MORE | LONG) + frame(b'{"op":"ping","id":"7"}', LONG))
        return p.message()[1].decode()


ATTACKS = {
    f.__name__: f
    for f in (
        endless_message,
        tiny_frames,
        lies,
        stalled_messages,
        bad_headers,
        never_reads,
        many_connections,
        half_open,
        byte_by_byte,
        churn,
        subscriptions,
        ping_flood,
    )
}
