#!/usr/bin/env python3
"""What the doors cost the worker: its own latency, from the kernel's stamp of an arrival to that of the answer's departure
(bench/worker_latency), with every door under full load against none. What `make bench-quiet` does; needs root.

    compare_quiet.py [--rounds N] [--seconds S] [--shared] [--build DIR]

The worker has core 0 for itself; the doors' threads, their loads and the load of the datagrams share core 1. --shared puts the doors'
threads on the worker's core, too. Rounds go without, with, without again: the first and the third are the A/A pair whose spread
says what the machine itself changes. A check is one datagram at a time, so nobody waits for another.
net.core.netdev_tstamp_prequeue is 0 meanwhile: the stamp of an arrival is then taken when the kernel hands it to the worker's
socket, and not before the backlog of core 1, which the loads there keep waiting."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from compare_doors import free_port
from compare_servers import Failed, Server, pin
from compare_table import MOST_SPREAD, NOISY

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIGURES = ("p50", "p90", "p99")
MOST = 1.10
CONFIGS = (("the worker sleeps between datagrams", []), ("the worker spins (spin_us: 1000)", ["--set", "spin_us=1000"]))


class StampWhenDelivered:
    """The sysctl, as it was afterwards."""
    PATH = pathlib.Path("/proc/sys/net/core/netdev_tstamp_prequeue")

    def __enter__(self):
        self.before = self.PATH.read_text()
        self.PATH.write_text("0")

    def __exit__(self, *_):
        self.PATH.write_text(self.before)


def threads_of(pid):
    return {int(task.name): (task / "comm").read_text().strip() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


class Setup:
    def __init__(self, build, sets, shared):
        self.build = build
        self.ports = {door: free_port() for door in ("resp", "http", "grpc", "metrics")}
        command = [build / "mete", "serve", "--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none", "--set", "workers=1",
                   *sets]
        for door, port in self.ports.items():
            command += ["--set", f"listen.{door}=127.0.0.1:{port}"]
        self.server = Server(command, "0").__enter__()
        self.udp = self.server.address
        for task, name in threads_of(self.server.process.pid).items():
            if name == "mete-door" and not shared:
                os.sched_setaffinity(task, {1})
        self.doors = [name for name in threads_of(self.server.process.pid).values() if name == "mete-door"]

    def load(self, *arguments, seconds, nice=0):
        command = [*pin("1"), "nice", "-n", nice, self.build / "mete", "bench", "--json", "--seconds", seconds, "--timeout", 10000,
                   *arguments]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def round(self, seconds, with_doors):
        loads = []
        if with_doors:
            for door, depth in (("resp", 16), ("http", 4), ("grpc", 16)):
                loads.append(self.load("--door", door, "--server", f"127.0.0.1:{self.ports[door]}", "--outstanding", depth,
                                       seconds=seconds + 1))
            time.sleep(0.3)
        udp = self.load("--server", self.udp, "--flows", 1, "--outstanding", 1, seconds=seconds + 0.4, nice=-20)
        time.sleep(0.2)
        watch = subprocess.run([*pin("1"), self.build / "bench" / "worker_latency", "--port", self.udp.rsplit(":", 1)[1],
                                "--seconds", str(seconds), "--one-of", "2"], capture_output=True, text=True)
        if watch.returncode:
            raise Failed(watch.stderr.strip())
        reports = [json.loads(load.communicate()[0] or "{}") for load in (*loads, udp)]
        found = json.loads(watch.stdout)
        found["checks"] = reports[-1].get("checks_per_second", 0)
        found["doors"] = sum(report.get("checks_per_second", 0) for report in reports[:-1])
        return found

    def close(self):
        self.server.stop()


def judge(title, rounds):
    yield f"{title}:"
    measured = [three for three in rounds if all(one["answers"] and one["p50"] for one in three)]
    if len(measured) < len(rounds):
        yield f"{len(rounds) - len(measured)} rounds do not count: nothing was answered in them"
    if not measured:
        return
    rounds = measured
    yield f"| own latency | without doors | with | ratio | A/A | |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for figure in FIGURES:
        ratio = statistics.median(b[figure] / statistics.mean((a[figure], c[figure])) for a, b, c in rounds)
        spread = statistics.median(abs(c[figure] / a[figure] - 1) for a, _, c in rounds)
        without = statistics.median(one[figure] for a, _, c in rounds for one in (a, c))
        with_doors = statistics.median(b[figure] for _, b, _ in rounds)
        verdict = "ok" if ratio <= MOST + min(spread, MOST_SPREAD) else "miss" if spread <= MOST_SPREAD else NOISY
        yield f"| {figure} | {without:.2f} us | {with_doors:.2f} us | {ratio:.3f} | +-{spread:.1%} | {verdict} |"
    checks = [statistics.median(one[at]["checks"] for one in rounds) for at in (0, 1)]
    yield (f"{statistics.median(b['answers'] for _, b, _ in rounds):,.0f} datagrams measured a round; {checks[0]:,.0f} checks/s by UDP "
           f"without, {checks[1]:,.0f} with {statistics.median(b['doors'] for _, b, _ in rounds):,.0f} checks/s at the doors")
    yield ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--shared", action="store_true", help="the doors on the worker's core")
    parser.add_argument("--build", default=str(ROOT / "build"))
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        print("compare_quiet: it needs two cores", file=sys.stderr)
        return 4
    try:
        for title, sets in CONFIGS:
            setup = Setup(pathlib.Path(options.build).resolve(), sets, options.shared)
            try:
                with StampWhenDelivered():
                    rounds = [tuple(setup.round(options.seconds, with_doors) for with_doors in (False, True, False))
                              for _ in range(options.rounds)]
            finally:
                setup.close()
            where = "on the worker's core" if options.shared else "on the other core"
            print("\n".join(judge(f"{title}; {len(setup.doors)} doors' threads {where}", rounds)), flush=True)
    except (Failed, PermissionError) as failed:
        print(f"compare_quiet: {failed}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
