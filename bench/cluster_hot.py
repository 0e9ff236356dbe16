"""What replication costs the path of a check: the worker's own CPU time with and without it. Parts of cluster.py.

The worker has core 0 to itself; its load, the node's other threads, redis-server and the proxy share core 1, so what they do costs
the worker only what they really take from it: lines of the table that were drained by another core. CPU time is the worker thread's
(/proc/PID/task/TID/schedstat). All kinds are measured in turn, each beside a second one of the same kind: the A/A pair says what the
machine itself changes, and a difference within the target plus that spread is within the target."""
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from lib.nodes import Nodes  # noqa: E402
from lib.stores import Redis  # noqa: E402

FAST = "{name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000%s}"
WORKER, OTHERS = {0}, {1}
# Single checks: a worker that is asked for all that it can, and keys that are drained again and again. Batches: every key dirty.
SHAPES = {"cpu": ("single checks, 10,000 keys", ["--keys", 10000], 3),
          "batch": ("batches of 50, 100,000 keys, all dirty", ["--keys", 100000, "--batch", 50], 10)}


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

    def start(self, *arguments):
        return subprocess.Popen(["taskset", "-c", "1", str(ROOT / self.build / "mete"), "bench", "--server", f"127.0.0.1:{self.node.port}",
                                 "--rule", "fast", "--json", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    @staticmethod
    def end(load):
        said, wrong = load.communicate()
        assert load.returncode in (0, 4), wrong
        return json.loads(said)

    def bench(self, *arguments):
        return self.end(self.start(*arguments))


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


def ratio_of(base, other):
    return statistics.median(b / a for a, b in zip(base, other)) - 1


def verdict(change, target, spread):
    """In percent."""
    if abs(change) <= target or change < 0:
        return "ok"
    return f"ok, within the A/A pair's {spread:.1f} %" if change <= target + spread else "MISS"


def worker_cpu(options, part):
    """The worker's own time per check, replication off and on, in fresh processes each time."""
    title, arguments, target = SHAPES[part]
    samples = {"off": [], "off again": [], "on": []}
    with Redis(keeps=False) as store, Apart(store):
        for number in range(options.rounds):
            order = list(samples) if number % 2 == 0 else list(samples)[::-1]
            for kind in order:
                sync = "" if kind == "on" else ", sync: local"
                with Nodes(1, store.url, FAST % sync, entries=1 << 20) as nodes, Busy(store, wanted=kind != "on"):
                    pinned = Pinned(options.build, nodes[0])
                    pinned.bench("--seconds", 0.3, *arguments)
                    before = pinned.cpu_ns()
                    report = pinned.bench("--seconds", options.round_seconds, *arguments)
                    samples[kind].append((pinned.cpu_ns() - before) / report["checks"])
    spread = 100 * abs(ratio_of(samples["off"], samples["off again"]))
    change = 100 * ratio_of(samples["off"], samples["on"])
    medians = {kind: statistics.median(found) for kind, found in samples.items()}
    print(f"\nthe worker's own CPU time, {title}; median of {options.rounds} rounds in turn:")
    for kind, found in medians.items():
        print(f"  replication {kind:10} {found:8.1f} ns per check, {1e9 / found:12,.0f} checks per second of its core, "
              f"{100 * ratio_of(samples['off'], samples[kind]):+.1f} %")
    if part == "batch":  # as throughput: how much less a core does
        change = 100 * (1 - 1 / (1 + change / 100))
    print(f"  {change:+.1f} % {'throughput lost' if part == 'batch' else 'more'}, A/A {spread:.1f} %, target {target} %: "
          f"{verdict(change, target, spread)}")
