"""Has a daemon become slower while it ran? What the soak knows of it, and how it judges.

Two figures, both of the daemon alone: how long its workers had a datagram, from the kernel's stamp of its arrival to that of the
answer's departure (bench/worker_latency, which sees every one of them; neither the load's delays nor its own are in it), and
the CPU time that they took for one. Both are read in windows, next to the same of a null echo (bench/echo) under a small load of
its own: what the machine does to every server is in both, and is divided out.

Where the host of a virtual machine takes a processor away, a datagram waits for milliseconds, the echo's next to it or not.
/proc/stat says when that was: such windows are left out, and windows are short, so that enough are left.

The judge compares the windows of the last third of the time with those of the first: medians, so that what happens in few
windows counts little. How far chance alone moves that ratio is found by drawing from the windows again and again (the
bootstrap, B. Efron 1979): 90 of 100 such draws lie between `low` and `high`. Within is what is `high` <= 1.10; slower is what is
`low` > 1.10; else the time was too short for the noise of this machine, which is not well, either."""
import json
import os
import pathlib
import random
import statistics
import subprocess
import threading
import time

MOST = 1.10
FEW = 10  # windows in a third; below, nothing is judged
DRAWS = 200
TOLD = ("p50", "p99", "p99.9", "cpu")
JUDGED = ("p99.9", "cpu")


class Window:
    def __init__(self, at, node, echo):
        """`node`, `echo`: figures by name, each above 0."""
        self.at, self.node, self.echo = at, node, echo


def draw_ratio(first, last, pick):
    """The last windows against the first, less what the echo did."""
    def median(windows, who):
        return statistics.median(getattr(window, who)[pick] for window in windows)

    return (median(last, "node") / median(first, "node")) / (median(last, "echo") / median(first, "echo"))


def compare(first, last, name, seed=1):
    """(ratio, low, high)."""
    chance = random.Random(seed)
    drawn = sorted(draw_ratio(chance.choices(first, k=len(first)), chance.choices(last, k=len(last)), name) for _ in range(DRAWS))
    return draw_ratio(first, last, name), drawn[DRAWS // 20], drawn[-DRAWS // 20]


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
            f"{name:5} of a datagram {node[0]:9.2f} -> {node[1]:9.2f} us (an echo's {echo[0]:8.2f} -> {echo[1]:8.2f}): "
            f"{ratio:.3f}, by chance {low:.3f} to {high:.3f}, {said}{'' if name in JUDGED else ' (told, not judged)'}")


def cpu_ns(pid, name):
    """CPU time of the threads of that name."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in threads(pid, name))


def threads(pid, name):
    """The folders in /proc of the threads of that name."""
    return [task for task in pathlib.Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().strip() == name]


def put_first(pid, name):
    """They no longer wait for their turn behind everything else on the machine, which would be most of the figure."""
    for task in threads(pid, name):
        os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))


def stolen():
    """Of the machine by its host, so far, in hundredths of a second of one processor; 0 where nobody says."""
    return int((pathlib.Path("/proc/stat").read_text().split("\n")[0].split() + ["0"] * 9)[8])


class Watched(threading.Thread):
    """One server: the figures of each window, as long as it runs."""

    def __init__(self, tool, port, pid, thread, seconds, *more):
        super().__init__(daemon=True)
        self.pid, self.thread, self.found, self.wrong = pid, thread, [], None
        self.tool = subprocess.Popen([tool, "--port", str(port), "--seconds", str(seconds), "--windows", "1000000", "--one-of", "1", *more],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        put_first(pid, thread)
        self.cpu, self.stolen = cpu_ns(pid, thread), stolen()
        self.start()

    def run(self):
        for line in self.tool.stdout:
            report, cpu = json.loads(line), cpu_ns(self.pid, self.thread)
            report["cpu"], self.cpu = (cpu - self.cpu) / 1e3 / max(report["answers"], 1), cpu
            report["stolen"], self.stolen = stolen() - self.stolen, stolen()
            self.found.append((time.monotonic(), report))
        self.wrong = self.tool.stderr.read().strip()

    def close(self):
        self.tool.terminate()
        self.tool.wait()
        self.join()
        self.tool.stdout.close()
        self.tool.stderr.close()


def join(node, echo, most_stolen=0):
    """Windows of both in which both were answered, and the host took nothing away."""
    return [Window(at, one, other) for (at, one), (_, other) in zip(node.found, echo.found)
            if max(one["stolen"], other["stolen"]) <= most_stolen and all(report[name] > 0 for report in (one, other) for name in TOLD)]
