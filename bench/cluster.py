#!/usr/bin/env python3
"""How close to one limit several nodes stay, beside what a user would otherwise run: one Redis call per check, and nodes that
know nothing of each other. All from one run on one machine.

    cluster.py [--nodes N] [--seconds S] [--only PART,...] [--build DIR]

PARTS: accuracy, exact, visible, redis, latency, cpu. Everything runs here: the nodes, redis-server, the load. latency and
cpu want the two cores for themselves (server on core 0, load on core 1)."""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

RATE, BURST = 10000, 1000
RULE = f"{{name: api, algorithm: token_bucket, rate: {RATE}/s, burst: {BURST}%s}}"
EXACT = "{name: exact, algorithm: token_bucket, rate: 10/s, burst: 10, sync: exact}"
SLOW = "{name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}"
FAST = "{name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000%s}"
# What people write who ask Redis for every check: a GCRA in one script, by the server's clock. It counts for us.
SCRIPT = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local tat = tonumber(redis.call('GET', KEYS[1]) or '0')
if tat < now then tat = now end
local next = tat + tonumber(ARGV[1])
if next - now > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return 1
"""


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="accuracy,exact,visible,redis,latency,cpu")
    parser.add_argument("--build", default="build")
    return parser.parse_args()


OPTIONS = options()
os.environ["METE_BUILD"] = OPTIONS.build  # the libraries below ask for it

from lib import mete_wire as wire  # noqa: E402
from lib.nodes import Load, Nodes  # noqa: E402
from lib.stores import Redis  # noqa: E402


def percent(units, of=RATE):
    return f"{units:+6.0f} ({100 * units / of:+.3f} %)"


def accuracy():
    """Shared nodes and independent ones under the same load."""
    print(f"\n{OPTIONS.nodes} nodes, one key, {RATE}/s, burst {BURST}, flush 5 ms, load at random, {OPTIONS.seconds:.0f} s each; the load begins\n"
          "from nothing. Beyond one bucket: in the first second, in any later second; use: of the limit, after the first second.")
    print(f"{'':24} {'overload':>8}  {'first second':>19}  {'any second':>19}  {'use':>8}  {'p50':>7} {'p99':>8}  lost")
    targets = {"first": 0.5, "any": 0.2, "use": 99.5}
    for sync, name in (("", "mete, shared"), (", sync: local", "mete, independent")):
        for overload in (2, 4, 10):
            if sync and overload != 10:
                continue
            with Redis(keeps=False) as store, Nodes(OPTIONS.nodes, store.url, RULE % sync) as nodes:
                with Load(nodes, "api", rate=overload * RATE, keys=1, seconds=OPTIONS.seconds, limit=RATE, burst=BURST,
                          options=["--seed", overload, "--batch", 2 if overload == 10 else 1]) as load:
                    load.process.wait(OPTIONS.seconds + 60)
            got = load.result
            print(f"{name:24} {overload:7}x  {percent(got['first_excess']):>19}  {percent(got['steady_excess']):>19}  "
                  f"{100 * got['use']:7.2f} %  {got['p50_us']:4} us {got['p99_us']:5} us  {got['datagrams'] - got['answered']}"
                  + (f"  (the load was late by {got['slip_ms']:.0f} ms)" if got["slip_ms"] > 20 else ""))
    print(f"targets, shared: first second <= {targets['first']} %, any second <= {targets['any']} %, use >= {targets['use']} %")


def exact():
    with Redis(keeps=False) as store, Nodes(OPTIONS.nodes, store.url, EXACT) as nodes:
        with Load(nodes, "exact", rate=100, keys=1, seconds=10, limit=10, burst=10) as load:
            load.process.wait(60)
        got = load.result
        print(f"\nexact, 10/s, burst 10, {OPTIONS.nodes} nodes, 10 times overload: {got['allowed']} admitted in 10 s, at most "
              f"{got['overdraft']:.2f} units beyond one bucket at any instant, p50 {got['p50_us']} us, p99 {got['p99_us']} us")


def visible():
    """A charge of all there is on one node, until another that is asked all the time denies."""
    delays = []
    with Redis(keeps=False) as store, Nodes(2, store.url, SLOW) as nodes, nodes[0].client() as one, nodes[1].client() as two:
        for number in range(300):
            subject = b"seen-%d" % number
            two.check("slow", subject)
            one.check("slow", subject)
            time.sleep(0.012)  # both know it
            one.check("slow", subject, 8)
            began = time.monotonic()
            while two.check("slow", subject, 2, flags=wire.PEEK).remaining > 0:
                two.check("slow", subject, 9)  # denied: it is asked for
            delays.append((time.monotonic() - began) * 1000)
    delays.sort()
    print(f"\na charge seen by another node: p50 {delays[150]:.1f} ms, p99 {delays[296]:.1f} ms (targets 6 and 12)")


def redis_calls():
    """One call of a script per check: always exact, and this fast."""
    print("\none Redis call per check (EVALSHA, one redis-server, as many connections as nodes):")
    with Redis(keeps=False) as store:
        sha = store.command("SCRIPT", "LOAD", SCRIPT).decode()
        for pipeline in (1, 16):
            began_us = time.monotonic()
            done = subprocess.run(["redis-benchmark", "-p", str(store.port), "-c", str(OPTIONS.nodes), "-n", "200000", "-P",
                                   str(pipeline), "--csv", "EVALSHA", sha, "1", "key", str(1000000 // RATE),
                                   str(1000000 * BURST // RATE)], capture_output=True, text=True, check=True)
            took_s = time.monotonic() - began_us
            numbers = re.findall(r'"([\d.]+)"', done.stdout.splitlines()[-1])
            print(f"  pipeline {pipeline:2}: {float(numbers[0]):8.0f} checks/s, p50 {numbers[3]} ms, p99 {numbers[5]} ms, "
                  f"excess 0, {took_s:.1f} s")


class Pinned:
    """One node on core 0, asked by `mete bench` on core 1."""

    def __init__(self, nodes):
        self.node = nodes[0]
        os.sched_setaffinity(self.node.process.pid, {0})
        for task in pathlib.Path(f"/proc/{self.node.process.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {0})

    def cpu_s(self):
        tasks = pathlib.Path(f"/proc/{self.node.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def bench(self, *arguments):
        before = self.cpu_s()
        done = subprocess.run(["taskset", "-c", "1", str(ROOT / OPTIONS.build / "mete"), "bench", "--server",
                               f"127.0.0.1:{self.node.port}", "--rule", "fast", "--json", *map(str, arguments)],
                              capture_output=True, text=True)
        assert done.returncode in (0, 4), done.stderr
        report = json.loads(done.stdout)
        return report, self.cpu_s() - before


def latency():
    """UDP's p99 with a healthy, a stalled and a dead store, in turn."""
    p99 = {"healthy": [], "again": [], "stalled": [], "dead": []}
    with Redis(keeps=False) as store, Nodes(1, store.url, FAST % "", entries=1 << 20) as nodes:
        pinned = Pinned(nodes)
        pinned.bench("--seconds", 1)
        for _ in range(OPTIONS.rounds):
            for name, samples in p99.items():
                if name == "stalled":
                    store.pause()
                if name == "dead":
                    store.kill()
                report, _ = pinned.bench("--rate", "30000/s", "--seconds", 2, "--keys", 10000)
                samples.append(report["latency_us"]["p99"])
                if name == "stalled":
                    store.resume()
                if name == "dead":
                    store.start()
                time.sleep(0.2)
    healthy = statistics.median(p99["healthy"])
    print(f"\nUDP p99 at 30,000/s, median of {OPTIONS.rounds} rounds in turn: healthy {healthy:.1f} us")
    for name in ("again", "stalled", "dead"):
        ratios = [other / base for base, other in zip(p99["healthy"], p99[name])]
        what = "healthy again (A/A)" if name == "again" else f"store {name}"
        print(f"  {what:20} {statistics.median(p99[name]):8.1f} us, {100 * (statistics.median(ratios) - 1):+.1f} % (target 5 %)")


def cpu():
    """Server CPU per check with and without replication: nothing dirty before, every key dirty."""
    print(f"\nserver CPU per check, replication on and off, median of {OPTIONS.rounds} pairs:")
    with Redis(keeps=False) as store:
        for name, arguments in (("single, 10,000 keys", ["--keys", 10000]), ("batches of 50, 100,000 keys", ["--keys", 100000, "--batch", 50])):
            samples = {"off": [], "off again": [], "on": []}
            for _ in range(OPTIONS.rounds):
                for kind, found in samples.items():
                    sync = "" if kind == "on" else ", sync: local"
                    with Nodes(1, store.url, FAST % sync, entries=1 << 20) as nodes:
                        pinned = Pinned(nodes)
                        pinned.bench("--seconds", 0.3, *arguments)
                        report, took_s = pinned.bench("--seconds", 1.5, *arguments)
                        found.append(took_s / report["checks"] * 1e9)
            base = statistics.median(samples["off"])
            for kind in ("off again", "on"):
                ratio = statistics.median(other / one for one, other in zip(samples["off"], samples[kind]))
                print(f"  {name:28} off {base:7.1f} ns, {kind:9} {statistics.median(samples[kind]):7.1f} ns, {100 * (ratio - 1):+.1f} %")


PARTS = {"accuracy": accuracy, "exact": exact, "visible": visible, "redis": redis_calls, "latency": latency, "cpu": cpu}


def main():
    for part in OPTIONS.only.split(","):
        if part not in PARTS:
            sys.exit(f"cluster.py: no part {part!r}; there are {', '.join(PARTS)}")
    for part in OPTIONS.only.split(","):
        PARTS[part]()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
