"""What replication costs the path of a check: the worker's own CPU time with and without it. Parts of cluster.py.

The worker has core 0, the node's other threads, redis-server and the proxy core 1, so what they do costs the worker only what they
really take from it: lines of the table that were drained by another core. For CPU time, the worker thread's own
(/proc/PID/task/TID/schedstat), the load is on core 0, too: on core 1 it would have less of that core the more the store does, ask
more at a time, and the worker would take less or more per check for that alone. All kinds stand at the same time and are measured in
turn, in short windows; one in which the host took a core away does not count, nor does its turn. Each is beside a second one of the
same kind: the A/A pair says what the machine itself changes, and a difference within the target plus that spread is within the
target."""
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from compare_run import robbed  # noqa: E402
from lib.nodes import Nodes  # noqa: E402
from lib.stores import Redis  # noqa: E402

FAST = "{name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000%s}"
WORKER, OTHERS = {0}, {1}
# Single checks: a worker that is asked for all that it can, and keys that are drained again and again. Batches: every key dirty.
SHAPES = {"cpu": ("single checks, 10,000 keys", ["--keys", 10000], 3),
          "batch": ("batches of 50, 100,000 keys, all dirty", ["--keys", 100000, "--batch", 50], 10)}
CPU_TURNS, CPU_PART = 3, 8  # turns for each round, windows of this part of its length
CPU_WARM_S = 0.25  # until keys are as dirty as they stay
FEWEST_PAIRS = 7


def tasks_of(pid):
    return {int(task.name): (task / "comm").read_text().strip() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


class Pinned:
    """One node, its worker apart from all else."""

    def __init__(self, build, node):
        self.build, self.node = pathlib.Path(build), node
        tasks = tasks_of(node.process.pid)
        self.workers = [task for task, name in tasks.items() if name == "mete-worker"]
        assert len(self.workers) == 1, tasks
        for task in tasks:
            os.sched_setaffinity(task, WORKER if task in self.workers else OTHERS)

    def cpu_ns(self):
        return sum(int(pathlib.Path(f"/proc/{self.node.process.pid}/task/{task}/schedstat").read_text().split()[0])
                   for task in self.workers)

    def start(self, *arguments, core=1):
        return subprocess.Popen(["taskset", "-c", str(core), str(ROOT / self.build / "mete"), "bench", "--server", f"127.0.0.1:{self.node.port}",
                                 "--rule", "fast", "--json", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    @staticmethod
    def end(load):
        said, wrong = load.communicate()
        assert load.returncode in (0, 4), wrong
        return json.loads(said)

    def bench(self, *arguments, core=1):
        return self.end(self.start(*arguments, core=core))


class Busy:
    """Where nobody replicates, something else keeps redis-server busy on core 1 and takes as much of it. What a load that has a core
    of its own, or caches that nobody else uses, would do for the worker must not look like the price of replication."""

    def __init__(self, store, wanted):
        command = ["taskset", "-c", "1", "redis-benchmark", "-p", str(store.port), "-q", "-l", "-c", "2", "-P", "64", "-r", "100000",
                   "SET", "{mete}__rand_int__", "x" * 35]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) if wanted else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()


class Apart:
    """Everything here but the worker on core 1: the store, and this process, in which the proxy runs. As before at the end."""

    def __init__(self, store):
        self.pids, self.before = (store.process.pid, os.getpid()), os.sched_getaffinity(0)

    def __enter__(self):
        self.pin(OTHERS)

    def __exit__(self, *_):
        self.pin(self.before)

    def pin(self, cores):
        for pid in self.pids:
            for task in tasks_of(pid):
                os.sched_setaffinity(task, cores)


def mean(a, b):
    return (a + b) / 2


def ratio_of(base, other):
    return statistics.median(b / a for a, b in zip(base, other)) - 1


def verdict(change, target, spread):
    """In percent."""
    if abs(change) <= target or change < 0:
        return "ok"
    return f"ok, within the A/A pair's {spread:.1f} %" if change <= target + spread else "MISS"


def settle(node):
    """Until the store was told everything: what is left would meet the next window."""
    for _ in range(300):
        if node.stats()["replica"]["pending_keys"] == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the store was not told everything within 30 s")


def watch_cpu(pinned, seconds, arguments):
    """The worker's own nanoseconds per check in a window, and checks per turn of its loop; None if the host took the core away."""
    before, turns = pinned.cpu_ns(), pinned.node.stats()["total"]["batches"]
    report = pinned.bench("--seconds", seconds, *arguments, core=0)
    spent, turns = pinned.cpu_ns() - before, pinned.node.stats()["total"]["batches"] - turns
    return None if robbed(report) else (spent / report["checks"], report["checks"] / max(turns, 1))


def cpu_windows(options, arguments):
    """(turns of windows in which the host left all of them alone, how many there were)"""
    kinds, turns, total = ("off", "on", "off again"), [], options.rounds * CPU_TURNS
    with contextlib.ExitStack() as until_the_end:
        store = until_the_end.enter_context(Redis(keeps=False))
        until_the_end.enter_context(Apart(store))
        standing = {}
        for kind in kinds:
            rule = FAST % ("" if kind == "on" else ", sync: local")
            nodes = until_the_end.enter_context(Nodes(1, store.url, rule, entries=1 << 20, store="rows: 131072"))
            standing[kind] = Pinned(options.build, nodes[0])
            standing[kind].bench("--seconds", 0.3, *arguments, core=0)
        for number in range(total):
            found = {}
            for kind in kinds if number % 2 == 0 else kinds[::-1]:
                with Busy(store, wanted=kind != "on"):
                    standing[kind].bench("--seconds", CPU_WARM_S, *arguments, core=0)
                    found[kind] = watch_cpu(standing[kind], options.round_seconds / CPU_PART, arguments)
                if kind == "on":
                    settle(standing[kind].node)
            if all(found.values()):
                turns.append(found)
    return turns, total


def worker_cpu(options, part):
    """The worker's own time per check, replication off and on."""
    title, arguments, target = SHAPES[part]
    turns, total = cpu_windows(options, arguments)
    print(f"\nthe worker's own CPU time, {title}; {total} turns of short windows, in {len(turns)} the host left the cores alone:")
    if len(turns) < FEWEST_PAIRS:
        print(f"  too few to tell; at least {FEWEST_PAIRS}")
        return
    samples = {kind: [turn[kind][0] for turn in turns] for kind in turns[0]}
    spread = 100 * abs(ratio_of(samples["off"], samples["off again"]))
    neighbours = [[mean(turn["off"][0], turn["off again"][0]) for turn in turns], samples["on"]]
    change = 100 * ratio_of(*neighbours)
    for kind, found in samples.items():
        median, joined = statistics.median(found), statistics.median(turn[kind][1] for turn in turns)
        print(f"  replication {kind:10} {median:8.1f} ns per check, {1e9 / median:12,.0f} checks per second of its core, "
              f"{joined:6.1f} checks a turn, {100 * ratio_of(samples['off'], found):+.1f} %")
    if part == "batch":  # as throughput: how much less a core does
        change = 100 * (1 - 1 / (1 + change / 100))
    print(f"  {change:+.1f} % {'throughput lost' if part == 'batch' else 'more'} (on against both neighbours), A/A {spread:.1f} %, "
          f"target {target} %: {verdict(change, target, spread)}")
