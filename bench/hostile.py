# SPDX-License-Identifier: Apache-2.0
"""Hostile peers beside an honest one: what the daemon's memory and the honest client's p99 do.

    python3 bench/hostile.py [--ttad build/release/ttad] [--seconds 12] [ATTACK...]
    python3 bench/hostile.py --against OTHER_TTAD     what the way through the sockets costs

Each attack runs in a process of its own; the honest client asks one ping after another, 2 ms
apart, before (calm) and during it.  Prints a table, and exits with 1 if memory passed its bound.
"""

import argparse
import multiprocessing
import os
import pathlib
import resource
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "client" / "python"))

from tests import hostile, test_daemon  # noqa: E402
from tests.zmtp import Peer, message  # noqa: E402

BATCH = 64 * 3 * 32 * 32 * 4  # bytes of 64 CIFAR images
MESSAGE, MEMORY = 8 << 20, 64 << 20
SLACK = 48 << 20  # the model, its plans, the record; what malloc keeps


def start(program, limits="{max_batch_rows: 64}"):
    test_daemon.PROGRAM = pathlib.Path(program).resolve()
    return test_daemon.Daemon(limits=limits)


def rss(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def percentile(times, q):
    return sorted(times)[min(len(times) - 1, int(len(times) * q))] * 1e3 if times else float("nan")


def pings(peer, pid, seconds, pause=0.002, alive=None):
    """Times of pings for so long, or while alive() says so; and the most memory seen."""
    times, most, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end and (alive is None or alive()):
        start = time.perf_counter()
        peer.send(hostile.PING)
        peer.message()
        times.append(time.perf_counter() - start)
        most = max(most, rss(pid))
        time.sleep(pause)
    return times, most


def attacker(name, folder, seconds, back):
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    try:
        back.send(hostile.ATTACKS[name](folder, seconds))
    except Exception as e:  # what it died of is what it got
        back.send(f"{type(e).__name__}: {e}")


def under_attack(daemon, name, seconds):
    pid = daemon.process.pid
    here, there = multiprocessing.Pipe()
    before = rss(pid)
    with Peer(daemon.endpoint("data")) as honest:
        calm, _ = pings(honest, pid, 3)
        process = multiprocessing.Process(
            target=attacker, args=(name, str(daemon.dir), seconds, there)
        )
        process.start()
        times, most = pings(honest, pid, seconds, alive=process.is_alive)
        process.join(seconds + 20)
    got = here.recv() if here.poll(1) else "it did not end"
    time.sleep(0.5)
    return before, max(most, rss(pid)), rss(pid), calm, times, got


def table(args):
    memory = "" if args.plain else f", memory_bytes: {MEMORY}"
    limits = f"{{max_batch_rows: 64, max_message_bytes: {MESSAGE}{memory}}}"
    daemon = start(args.ttad, limits)
    bad = 0
    print(f"{'attack':18} {'RSS before':>10} {'peak':>7} {'after':>7}   {'p50 calm':>8} {'p99':>7}"
          f"   {'p50 under':>9} {'p99':>7}   what the offender got", flush=True)
    try:
        first = rss(daemon.process.pid)
        for name in args.attack or hostile.ATTACKS:
            before, peak, after, calm, times, got = under_attack(daemon, name, args.seconds)
            print(f"{name:18} {before / 1e6:7.1f} MB {peak / 1e6:7.1f} {after / 1e6:7.1f}   "
                  f"{percentile(calm, .5):5.2f} ms {percentile(calm, .99):7.2f}   "
                  f"{percentile(times, .5):6.2f} ms {percentile(times, .99):7.2f}   {got[:110]}",
                  flush=True)
            bad |= peak > first + MEMORY + SLACK
        with daemon.client() as client:
            print("connections:", client.status().get("connections"))
    finally:
        daemon.end()
    return bad


def compare(args):
    """Pings and batches through two programs in turn, so that both see the same machine."""
    header = (
        '{"op":"infer","parameters":{"stream_id":"s"},"inputs":[{"name":"nobody","shape":[64,3,32,'
        '32],"datatype":"FP32","parameters":{"binary_data_size":%d}}]}' % BATCH
    ).encode()
    what = {"ping": hostile.PING, "786 KB refused": message(b"TTAD/1", header, bytes(BATCH))}
    programs = {"this": args.ttad, "other": args.against}
    daemons = {name: start(path) for name, path in programs.items()}
    times = {(name, kind): [] for name in daemons for kind in what}
    try:
        peers = {name: Peer(d.endpoint("data")) for name, d in daemons.items()}
        for turn in range(args.turns):
            for kind, bytes_ in what.items():
                for name in sorted(peers, reverse=bool(turn & 1)):
                    for _ in range(20):
                        start = time.perf_counter()
                        peers[name].send(bytes_)
                        peers[name].message()
                        times[name, kind].append(time.perf_counter() - start)
    finally:
        for d in daemons.values():
            d.end()
    for kind in what:
        a, b = times["this", kind], times["other", kind]
        print(f"{kind:15} p50 {percentile(a, .5):.3f} ms against {percentile(b, .5):.3f} (ratio "
              f"{percentile(a, .5) / percentile(b, .5):.2f})   p99 {percentile(a, .99):.3f} "
              f"against {percentile(b, .99):.3f}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attack", nargs="*", choices=[[], *hostile.ATTACKS])
    parser.add_argument("--ttad", default=os.environ.get("TTAD", ROOT / "build/release/ttad"))
    parser.add_argument("--seconds", type=float, default=12, help="of each attack")
    parser.add_argument("--against", help="another ttad, for the cost of the honest way")
    parser.add_argument("--turns", type=int, default=100, help="of 20 requests, with --against")
    parser.add_argument("--plain", action="store_true", help="a ttad without memory_bytes")
    args = parser.parse_args()
    return compare(args) if args.against else table(args)


if __name__ == "__main__":
    sys.exit(main())
