"""What replication costs the path of a check: the worker's own CPU time with and without it, and its latency while the store is
well, slow, refuses connections, or swallows them. Parts of cluster.py.

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
from compare_quiet import StampWhenDelivered  # noqa: E402
from lib.fault_proxy import FaultProxy  # noqa: E402
from lib.nodes import Nodes  # noqa: E402
from lib.stores import Redis, wait_until  # noqa: E402

FAST = "{name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000%s}"
WORKER, OTHERS = {0}, {1}
# Single checks: a worker that is asked for all that it can, and keys that are drained again and again. Batches: every key dirty.
SHAPES = {"cpu": ("single checks, 10,000 keys", ["--keys", 10000], 3),
          "batch": ("batches of 50, 100,000 keys, all dirty", ["--keys", 100000, "--batch", 50], 10)}
SLOW_S = 0.2
CPU_TURNS, CPU_PART = 3, 8  # turns for each round, windows of this part of its length
CPU_WARM_S = 0.25  # until keys are as dirty as they stay
FEWEST_PAIRS = 7
P99 = 5
WINDOWS = 5


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


class Stage:
    """A local node and a shared one, whose store can be spoiled."""

    def __init__(self, options, store, proxy, local, shared):
        self.options, self.store, self.proxy = options, store, proxy
        self.local, self.shared = local, shared

    def spoil(self, kind):
        if kind == "slow":
            self.proxy.delay_s = SLOW_S / 2  # each way
        elif kind == "refused":
            self.proxy.refuse()
        elif kind == "black hole":
            self.proxy.black_hole = True

    def mend(self, kind):
        self.proxy.delay_s = 0
        if kind == "refused":
            self.proxy.accept()
        if kind == "black hole":
            self.proxy.black_hole = False
            self.proxy.cut()  # what was swallowed does not come any more
        wait_until(self.is_well, "the store's return")

    def is_well(self):
        replica = self.shared.node.stats()["replica"]
        return replica["link"] == "fine" and replica["degraded_s"] == 0

    def measure(self, kind, rate):
        """The worker's latency between the kernel's stamps, and the load's own figure."""
        pinned = self.local if kind.startswith("local") else self.shared
        self.spoil(kind)
        time.sleep(0.4 if kind not in ("local", "local again", "healthy") else 0.05)  # until it is noticed
        load = pinned.start("--rate", f"{rate}/s", "--seconds", self.options.round_seconds + 0.5, "--keys", 10000)
        time.sleep(0.15)
        windows = [self.watch(pinned.node.port) for _ in range(WINDOWS)]
        report = pinned.end(load)
        self.mend(kind)
        windows = [window for window in windows if window["answers"]]
        assert windows, f"{kind}: nothing was answered"
        return (*(statistics.median(window[figure] for window in windows) for figure in ("p50", "p99")),
                report["latency_us"]["p99"], report["lost"])

    def watch(self, port):
        """A short one: a stall of the machine spoils it, and not the round."""
        done = subprocess.run(["taskset", "-c", "1", str(ROOT / self.options.build / "bench/worker_latency"), "--port", str(port),
                               "--seconds", str(self.options.round_seconds / WINDOWS), "--one-of", "4"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def p99(options):
    """UDP's p99 at half load, whatever state the store is in, against a node that has none."""
    kinds = {kind: [] for kind in ("local", "healthy", "slow", "refused", "black hole", "local again")}
    with Redis(keeps=False) as store, FaultProxy(store.port) as proxy, Apart(store), StampWhenDelivered():
        with Nodes(1, store.url, FAST % ", sync: local", entries=1 << 20) as local, \
                Nodes(1, proxy.url, FAST % "", entries=1 << 20) as shared:
            stage = Stage(options, store, proxy, Pinned(options.build, local[0]), Pinned(options.build, shared[0]))
            rate = int(stage.local.bench("--seconds", 0.5, "--keys", 10000)["checks_per_second"] / 2)
            stage.shared.bench("--seconds", 0.2, "--keys", 10000)
            for number in range(options.rounds):
                for kind in (list(kinds) if number % 2 == 0 else list(kinds)[::-1]):
                    kinds[kind].append(stage.measure(kind, rate))
    base = kinds["local"]
    figures = {"p50": 0, "p99": 1}
    spread = 100 * abs(ratio_of(*[[one[1] for one in kinds[kind]] for kind in ("local", "local again")]))
    print(f"\nlatency of a worker that is asked {rate:,} single checks a second (half of what it does), from the kernel's stamp of the\n"
          f"datagram's arrival to that of its answer; median of {options.rounds} rounds in turn; beside it what the load saw:")
    for kind, found in kinds.items():
        changes = {name: 100 * ratio_of([one[at] for one in base], [one[at] for one in found]) for name, at in figures.items()}
        medians = [statistics.median(one[at] for one in found) for at in range(4)]
        said = "" if kind.startswith("local") else f": {verdict(changes['p99'], P99, spread)}"
        print(f"  {kind:12} p50 {medians[0]:7.2f} us ({changes['p50']:+5.1f} %), p99 {medians[1]:8.2f} us ({changes['p99']:+5.1f} %); "
              f"the load's p99 {medians[2]:9.1f} us, lost {sum(one[3] for one in found)}{said}")
    print(f"  target: p99 within {P99} % plus the A/A pair's {spread:.1f} %; slow: {1000 * SLOW_S:.0f} ms there and back")
