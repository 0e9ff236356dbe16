#!/usr/bin/env python3
"""How close to one limit several nodes stay, beside what a user would otherwise run: one Redis call per check, and nodes that
know nothing of each other. All from one run on one machine.

    cluster.py [--nodes N] [--seconds S] [--rounds N] [--only PART,...] [--build DIR]

PARTS: accuracy, few (fewer nodes), exact, visible, redis; cpu, batch (cluster_hot.py: what replication costs a check); p99
(cluster_p99.py: what a slow or dead Redis does). Everything runs here: the nodes, redis-server, the load. The last three want two
cores for themselves, p99 root besides."""
import argparse
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
    parser.add_argument("--round-seconds", type=float, default=0.7, help="of cpu, batch, p99")
    parser.add_argument("--only", default="accuracy,few,exact,visible,redis,cpu,batch,p99")
    parser.add_argument("--build", default="build")
    return parser.parse_args()


OPTIONS = options()
os.environ["METE_BUILD"] = OPTIONS.build  # the libraries below ask for it

import cluster_hot  # noqa: E402
import cluster_p99  # noqa: E402
from lib import mete_wire as wire  # noqa: E402
from lib.nodes import Load, Nodes  # noqa: E402
from lib.stores import Redis  # noqa: E402


def percent(units, of=RATE):
    return f"{units:+6.0f} ({100 * units / of:+.3f} %)"


def delays(nodes):
    """How old views could be: of all nodes the median p50, the worst p99 and the longest, in ms."""
    found = [node.stats()["replica"] for node in nodes]
    return {name: (1000 * statistics.median(one[f"{name}_p50_s"] for one in found),
                   1000 * max(one[f"{name}_p99_s"] for one in found), 1000 * max(one[f"{name}_max_s"] for one in found))
            for name in ("wait", "trip")}


def accuracy_of(count, overload, sync=""):
    """One row: that many nodes under so many times what they may let pass."""
    with Redis(keeps=False) as store, Nodes(count, store.url, RULE % sync) as nodes:
        with Load(nodes, "api", rate=overload * RATE, keys=1, seconds=OPTIONS.seconds, limit=RATE, burst=BURST,
                  options=["--seed", overload, "--batch", 2 if overload == 10 else 1]) as load:
            load.process.wait(OPTIONS.seconds + 60)
        late = {} if sync else delays(nodes)
    got = load.result
    print(f"{count:2} {'nodes on their own' if sync else 'nodes, shared':18} {overload:7}x  {percent(got['first_excess']):>19}  "
          f"{percent(got['steady_excess']):>19}  {100 * got['use']:7.2f} %  {got['p50_us']:4} us {got['p99_us']:5} us  "
          f"{got['datagrams'] - got['answered']:4}  {got['slip_ms']:7.1f} ms"
          + "".join(f"  {p50:6.1f} {most:6.1f} {longest:6.1f}" for p50, most, longest in late.values()), flush=True)


def accuracy_title(what):
    print(f"\n{what}, one key, {RATE}/s, burst {BURST}, flush 5 ms, load at random, {OPTIONS.seconds:.0f} s each; the load begins\n"
          "from nothing. Beyond one bucket: in the first second, in any later second; use: of the limit, after the first second;\n"
          "load late: by so much at most. How old views were, ms: charge to flush, flush to answer (median p50, worst p99, longest).")
    print(f"{'':21} {'overload':>8}  {'first second':>19}  {'any second':>19}  {'use':>9}  {'p50':>7} {'p99':>8}  lost  {'load late':>10}"
          f"  {'charge to flush':>20}  {'flush to answer':>20}")


def accuracy():
    """Shared nodes and independent ones under the same load."""
    accuracy_title(f"{OPTIONS.nodes} nodes")
    for overload in (2, 4, 10):
        accuracy_of(OPTIONS.nodes, overload)
    accuracy_of(OPTIONS.nodes, 10, ", sync: local")
    print("targets, shared: first second <= 0.5 %, any second <= 0.2 %, use >= 99.5 %")


def few():
    """The same where the machine keeps up with the nodes."""
    accuracy_title("fewer nodes")
    for count in (2, 3, 4):
        accuracy_of(count, 4)


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


PARTS = {"accuracy": accuracy, "few": few, "exact": exact, "visible": visible, "redis": redis_calls,
         "cpu": lambda: cluster_hot.worker_cpu(OPTIONS, "cpu"), "batch": lambda: cluster_hot.worker_cpu(OPTIONS, "batch"),
         "p99": lambda: cluster_p99.p99(OPTIONS)}


def main():
    for part in OPTIONS.only.split(","):
        if part not in PARTS:
            sys.exit(f"cluster.py: no part {part!r}; there are {', '.join(PARTS)}")
    for part in OPTIONS.only.split(","):
        PARTS[part]()
        sys.stdout.flush()


if __name__ == "__main__":
    main()
