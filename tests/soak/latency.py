"""Has a daemon become slower while it ran? How the soak asks, and how it judges.

What a datagram meets under a mixed load on few cores is mostly others: the load's own programs, Redis, the faults that the soak
injects; and on a virtual machine the host, which takes a core away for milliseconds, so that 1 of 100 datagrams waits for it
and p99.9 is the host's, whatever the daemon does. So the figure that is judged is asked for while the load holds still: the
daemon keeps its memory, table, connections to Redis and all it has gathered, and one even load of single datagrams asks it, on a
core that it shares with nobody. A null echo (bench/echo) stands on the same core and is asked in turns with it, datagram by
datagram: what the machine does to every server at that instant is in both, and is divided out.

bench/undisturbed does that. It leaves out every datagram during which the host, or another thread, had one of the two cores:
it knows so from the kernel's CPU clocks, not from how long the datagram took, so what the daemon itself takes is never left
out. It does not ask about the kernel's tick either: that hits 1 or 2 of 1,000 datagrams, so that p99.9 would be on one side of
it or on the other.

Each window (WINDOW_S) gives one ratio, the daemon's p99.9 over the echo's. The judge compares the windows of the last third of
the time with those of the first: the mean of the ratios' logarithms without the TRIM highest and lowest, because a few windows
are spoiled for one of the two alone. How far chance alone moves that is found by drawing from the windows again and again (the
bootstrap, B. Efron 1979): 90 of 100 such draws lie between `low` and `high`. Within is what is `high` <= 1.10; slower is what is
`low` > 1.10; else the time was too short for the noise of this machine, which is not well, either. The median is judged, too: it
is the steadier figure, and shows a daemon that became slower by less than its tail does."""
import contextlib
import json
import math
import os
import pathlib
import random
import statistics
import subprocess

MOST = 1.10
FEW = 10  # windows in a third; below, nothing is judged
LEAST = 2000  # undisturbed datagrams of each server in a window; below, it does not count
WINDOW_S = 1.0
TRIM = 0.2
PRIORITY = 2  # above bench/undisturbed's
DRAWS = 400
TOLD = ("p50", "p99", "p99.9")
JUDGED = ("p50", "p99.9")


class Window:
    def __init__(self, at, node, echo):
        """`node`, `echo`: figures by name, each above 0."""
        self.at, self.node, self.echo = at, node, echo

    def excess(self, name):
        return math.log(self.node[name] / self.echo[name])


def middle_mean(values):
    left_out = int(len(values) * TRIM)
    return statistics.fmean(sorted(values)[left_out:len(values) - left_out])


def compare(first, last, name, seed=1):
    """(ratio, low, high): the last windows against the first, less what the echo did."""
    chance = random.Random(seed)
    first, last = ([window.excess(name) for window in windows] for windows in (first, last))

    def ratio(first, last):
        return math.exp(middle_mean(last) - middle_mean(first))

    drawn = sorted(ratio(chance.choices(first, k=len(first)), chance.choices(last, k=len(last))) for _ in range(DRAWS))
    return ratio(first, last), drawn[DRAWS // 20], drawn[-DRAWS // 20]


def judge(first, last, few=FEW):
    """A line for each figure: (is it well, text); nothing if there are too few windows."""
    if min(len(first), len(last)) < few:
        return
    for name in TOLD:
        ratio, low, high = compare(first, last, name)
        said = (f"within {MOST - 1:.0%}" if high <= MOST else f"NOT within {MOST - 1:.0%}" if low > MOST
                else f"not known to be within {MOST - 1:.0%}: too noisy for so short a time")
        node, echo = ([statistics.median(getattr(window, who)[name] for window in windows) for windows in (first, last)]
                      for who in ("node", "echo"))
        yield name not in JUDGED or high <= MOST, (
            f"{name:5} of a datagram {node[0]:8.2f} -> {node[1]:8.2f} us (an echo's {echo[0]:8.2f} -> {echo[1]:8.2f}): "
            f"{ratio:.3f}, by chance {low:.3f} to {high:.3f}, {said}{'' if name in JUDGED else ' (told, not judged)'}")


def threads(pid):
    """Their ids, each with its name."""
    return {int(task.name): (task / "comm").read_text().strip() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


@contextlib.contextmanager
def apart(servers):
    """The threads that answer, of (pid, their name), have a core for themselves, before all others; the rest of those processes
    the other one. (the core, the other one)"""
    first, *_, last = sorted(os.sched_getaffinity(0))
    before = {}
    try:
        for pid, answering in servers:
            for thread, name in threads(pid).items():
                before[thread] = os.sched_getaffinity(thread), os.sched_getscheduler(thread), os.sched_getparam(thread)
                os.sched_setaffinity(thread, {first if name == answering else last})
                if name == answering:
                    os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(PRIORITY))
        yield first, last
    finally:
        for thread, (cores, policy, parameter) in before.items():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(thread, policy, parameter)
                os.sched_setaffinity(thread, cores)


def ask(tool, node, echo, seconds, window_s):
    """The even load for so long. node, echo: (port, pid, name of the threads that answer). Yields the report of each window."""
    with apart([(node[1], node[2]), (echo[1], echo[2])]) as (core, other):
        command = [tool, "--port", node[0], "--pid", node[1], "--echo-port", echo[0], "--echo-pid", echo[1], "--cpu", core,
                   "--seconds", window_s, "--windows", max(1, round(seconds / window_s))]
        with subprocess.Popen(["taskset", "-c", str(other), *map(str, command)], stdout=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL) as running:
            for line in running.stdout:
                yield json.loads(line)
        if running.returncode:
            raise RuntimeError(f"{tool} ended with {running.returncode}")


def is_good(report, least=LEAST):
    """Whether a window says anything."""
    return all(one["undisturbed"] >= least and all(one[name] > 0 for name in TOLD) for one in report.values())
