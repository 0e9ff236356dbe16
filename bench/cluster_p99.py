"""What a slow or dead store changes of a worker's latency: a part of cluster.py.

Nodes in each of the store's states stand beside each other all the time, so nothing changes while they are measured; each is asked
for a short while in turn, and the ratio of each window to that of the healthy node beside it is what counts: a stall of the machine
spoils one window and not the comparison. A second healthy node is the A/A pair. All workers are on core 0, where one at a time has
something to do; the load, the nodes' other threads, redis-server and the proxies are on core 1. Latency is what lies between the
kernel's stamps of a datagram's arrival and of its answer's departure (bench/worker_latency), so the load's own delays are not in it."""
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from cluster_hot import Apart, FAST, Pinned, ratio_of, verdict  # noqa: E402
from compare_quiet import StampWhenDelivered  # noqa: E402
from compare_run import robbed  # noqa: E402
from lib.fault_proxy import FaultProxy  # noqa: E402
from lib.nodes import Nodes  # noqa: E402
from lib.stores import Redis, wait_until  # noqa: E402

KINDS = ("healthy", "healthy again", "slow", "refused", "black hole", "local")
SLOW_S = 0.2
P99 = 5
WINDOWS = 5  # for each round


class Stage:
    """A node with a store that is as the kind says, for as long as the stage stands."""

    def __init__(self, options, kind, stack):
        self.options, self.kind = options, kind
        self.store = stack.enter_context(Redis(keeps=False))
        self.proxy = stack.enter_context(FaultProxy(self.store.port))
        sync = ", sync: local" if kind == "local" else ""
        nodes = stack.enter_context(Nodes(1, self.proxy.url, FAST % sync, entries=1 << 18))
        stack.callback(self.mend)  # but for one that is refused: that is over at once
        self.pinned = Pinned(options.build, nodes[0])
        self.windows, self.lost = [], 0

    def state(self):
        return self.pinned.node.stats()["replica"]

    def spoil(self):
        if self.kind == "slow":
            self.proxy.delay_s = SLOW_S / 2  # each way
        elif self.kind == "refused":
            self.proxy.refuse()
            wait_until(lambda: self.state()["link"] != "fine", "the loss of the store")
        elif self.kind == "black hole":
            self.proxy.black_hole = True

    def mend(self):
        """So that the node can tell what is left when it ends."""
        self.proxy.delay_s = 0
        if self.proxy.black_hole:
            self.proxy.black_hole = False
            self.proxy.cut()  # what was swallowed does not come any more

    def measure(self, rate):
        seconds = self.options.round_seconds
        load = self.pinned.start("--rate", f"{rate}/s", "--seconds", seconds + 0.5, "--keys", 10000)
        time.sleep(0.1)
        watch = subprocess.run(["taskset", "-c", "1", str(ROOT / self.options.build / "bench/worker_latency"), "--port",
                                str(self.pinned.node.port), "--seconds", str(seconds / WINDOWS), "--windows", str(WINDOWS),
                                "--one-of", "4"], capture_output=True, text=True)
        report = self.pinned.end(load)
        assert watch.returncode == 0, watch.stderr
        self.lost += report["lost"]
        is_good = not robbed(report) and report["lost"] == 0  # else the machine was elsewhere
        self.windows += [{**json.loads(line), "is_good": is_good} for line in watch.stdout.splitlines()]


def p99(options):
    """UDP's p99 at half load, whatever state the store is in, against a node whose store is well."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(StampWhenDelivered())
        stages = [Stage(options, kind, stack) for kind in KINDS]
        for stage in stages:
            stack.enter_context(Apart(stage.store))
        rate = statistics.median(int(stages[-1].pinned.bench("--seconds", 0.3, "--keys", 10000)["checks_per_second"] / 2) for _ in range(3))
        for stage in stages:
            stage.pinned.bench("--seconds", 0.2, "--keys", 10000)
            stage.spoil()
        for number in range(options.rounds):
            for stage in stages if number % 2 == 0 else stages[::-1]:
                stage.measure(rate)
        tell(stages, rate)


def change_of(stages, stage, figure):
    """In percent, the median ratio of windows side by side; and how many there were of those in which the machine was there."""
    pairs = [(one, other) for one, other in zip(stages[0].windows, stage.windows) if one["answers"] and other["answers"]]
    good = [(one[figure], other[figure]) for one, other in pairs if one["is_good"] and other["is_good"]]
    found = good or [(one[figure], other[figure]) for one, other in pairs]
    return 100 * ratio_of(*zip(*found)), len(good)


def tell(stages, rate):
    spread = abs(change_of(stages, stages[1], "p99")[0])
    print(f"\nlatency of a worker that is asked {rate:,} single checks a second (half of what it does), from the kernel's stamp of the\n"
          f"datagram's arrival to that of its answer, beside one whose store is well; medians of windows in turn:")
    for stage in stages:
        (median, _), (most, count) = (change_of(stages, stage, figure) for figure in ("p50", "p99"))
        medians = [statistics.median(one[figure] for one in stage.windows) for figure in ("p50", "p99")]
        said = f": {verdict(most, P99, spread)}" if stage.kind in ("slow", "refused", "black hole") else ""
        print(f"  {stage.kind:13} p50 {medians[0]:7.2f} us ({median:+5.1f} %), p99 {medians[1]:8.2f} us ({most:+5.1f} % in {count} good windows), "
              f"lost {stage.lost}{said}")
    print(f"  target: p99 within {P99} % plus the A/A pair's {spread:.1f} %; slow: {1000 * SLOW_S:.0f} ms there and back")
