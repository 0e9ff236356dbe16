#!/usr/bin/env python3
"""Mixed traffic on every door for a long time, while everything else happens too: reloads, metrics read, a Redis that two
nodes share behind a proxy that cuts, delays, swallows and garbles.

    tests/soak/soak.py [--minutes N] [--faults SPEC] [--part SECONDS] [--slower US]     `make soak MINUTES=N`

The load comes in parts. After each part of the first and the last third of the time (of what follows the first fifth) it holds
still, the network is well, and for --probe seconds one even load asks the daemon and a null echo for their latency (latency.py;
needs root and two cores).

Judged at the end, exit 1 if not so: resident memory drifts at most 1 MiB after the first fifth; every answer that was lost is
accounted for (it came late, or the daemon or the kernel counted why); no answer was wrong; the store counted every unit of the
shared rule once; p99.9 and the median of that even load are within 10 % of what they were in the first third; the daemon ends
well. Told beside it: p99.9 as the mixed loads saw it, with what that differs between every other part, which is noise. A line
each ten seconds.

--faults runs the daemon with faults inside (tests/fault/fault.h), such as send_short=1/100,eagain=1/1000. --slower makes it
take so many microseconds longer for each batch from the middle on: to see the judge say no. $METE_BUILD."""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from lib import daemon, faulty
from lib.fault_proxy import FaultProxy
from lib.nodes import usage_of
from lib.stores import Redis

import latency

DRIFT_KIB = 1024
LONG_S = 120  # what is shorter need not know how latency went
PROBE_S = 6
STEP_S = 2.5  # from one thing that happens beside the traffic to the next
STILL_S = 20  # at most, until the load holds still: who then waits for what is lost asks nothing
WARM = 0.2  # of the time
TIMEOUT_MS = 60000  # a crowded machine may leave a worker waiting for its CPU for seconds; what comes then is not lost
CHECKS_MOST = 20  # in a datagram of any lane
TRIES = 5  # in a row that a part of the load finds nobody; for the same reason
CONFIG = """
namespace: soak-{pid}
key_file: {folder}/secret
redis: {{url: '{url}', nodes: 2}}
tenants:
  - name: default
    rules:
      - {{name: local, algorithm: token_bucket, rate: 1000000/s, burst: 1000000, sync: local}}
      - {{name: shared, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}}
      - {{name: few, algorithm: sliding_window, limit: 100/1s, sync: local}}
      - {{name: changing, algorithm: token_bucket, rate: {rate}/s, burst: 100, sync: local}}
  - name: acme
    secret_files: [{folder}/secret]
    rules:
      - {{name: local, algorithm: token_bucket, rate: 1000000/s, burst: 1000000, sync: local}}
"""
# name -> (door, checks a second, more of `mete bench`)
LANES = {
    "single": ("udp", 1000, ["--rule", "local"]),
    "batch": ("udp", 5000, ["--rule", "few", "--batch", "20", "--keys", "1000"]),
    "joined": ("udp", 4000, ["--rule", "changing", "--join", "--zipf", "1.1"]),
    "tagged": ("udp", 500, ["--rule", "local", "--tenant", "acme", "--secret-file", "{folder}/secret"]),
    "shared": ("udp", 500, ["--rule", "shared", "--keys", "100"]),
    "other": ("other", 500, ["--rule", "shared", "--keys", "100"]),
    "resp": ("resp", 500, ["--rule", "local"]),
    "http": ("http", 300, ["--rule", "local"]),
    "grpc": ("grpc", 300, ["--rule", "local"]),
}
ECHO = ("echo", 500, ["--echo"])  # beside them, and not of the daemon
# Why the daemon may leave a datagram without an answer; each is counted. What found its socket full it never saw.
REASONS = ("dropped_open", "send_errors")


class Lane:
    """One part of the load after the other; never two at a time."""

    def __init__(self, soak, name, what=None):
        self.name, self.soak, self.reports, self.wrong, self.silent = name, soak, [], None, 0
        self.door, self.rate, self.more = what or LANES[name]
        self.thread = None

    def begin(self):
        if not self.wrong and not (self.thread and self.thread.is_alive()):
            self.thread = threading.Thread(target=self.run, name=self.name)
            self.thread.start()

    def end(self, timeout=None):
        self.thread.join(timeout)

    def command(self):
        soak = self.soak
        where = {"udp": soak.node.address, "other": soak.other.address, "echo": soak.echo.address}.get(self.door)
        where = "%s:%d" % where if where else getattr(soak.node, self.door)
        more = [word.format(folder=soak.folder) for word in self.more]
        return [daemon.METE, "bench", "--json", "--server", where, "--rate", str(self.rate), "--seconds", str(soak.part),
                "--timeout", str(TIMEOUT_MS), *(["--door", self.door] if self.door in ("resp", "http", "grpc") else []), *more]

    def run(self):
        began = time.monotonic() - self.soak.began
        done = subprocess.run(self.command(), text=True, capture_output=True, stdin=subprocess.DEVNULL)
        self.silent = self.silent + 1 if done.returncode == 3 else 0
        if 0 < self.silent < TRIES:
            return
        # 4: this machine could not keep the schedule; the answers count all the same
        if done.returncode not in (0, 4) or not done.stdout:
            self.wrong = f"{self.name}: exit status {done.returncode}: {done.stderr.strip()}"
        else:
            self.reports.append((began, json.loads(done.stdout)))

    def total(self, field):
        return sum(report.get(field) or 0 for _, report in self.reports)

    def p999(self, begin, end, step=slice(None)):
        found = [report["latency_us"]["p99.9"] for began, report in self.reports if begin <= began < end][step]
        return statistics.median(found) if found else None


class Echo:
    """A server that does nothing, for what the machine does to any."""

    def __init__(self):
        self.process = subprocess.Popen([daemon.BUILD / "bench" / "echo"], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        said = self.process.stderr.readline()
        self.address = daemon.parse_address(re.search(r"[\d.]+:\d+", said)[0])

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()


class Soak:
    def __init__(self, minutes, part, faults="", slower_us=0, probe=PROBE_S):
        self.part, self.faults, self.slower_us, self.probe = part, faults, slower_us, probe
        self.seconds = minutes * 60
        self.folder = tempfile.mkdtemp(prefix="mete-soak-")
        self.windows_to = None  # a file, for who wants to see them all
        self.few, self.least, self.window_s = latency.FEW, latency.LEAST, latency.WINDOW_S
        self.windows, self.asked, self.unanswered = [], 0, 0  # of the even load
        self.faulted, self.reloads, self.scrapes, self.memory, self.turn = {}, 0, 0, [], 0
        self.failures, self.is_refusing = [], False
        secret = pathlib.Path(self.folder, "secret")
        secret.write_bytes(os.urandom(32))
        secret.chmod(0o600)

    def write(self, rate=10):
        path = pathlib.Path(self.folder, "mete.yaml")
        path.write_text(CONFIG.format(folder=self.folder, pid=os.getpid(), url=f"redis://127.0.0.1:{self.proxy.port}", rate=rate))
        return path

    def start_node(self):
        sets = [f"listen.{door}=127.0.0.1:0" for door in ("resp", "http", "grpc", "metrics")]
        options = {"path": self.write(), "workers": 2, "entries": 1 << 18}
        if self.faults or self.slower_us:
            return faulty.Faulty(self.faults, sets=sets, **options)
        return daemon.Daemon(sets=sets, **options)

    # ---- what happens beside the traffic ----

    def reload(self, turn):
        self.write(rate=10 + turn % 2)
        done = daemon.mete("reload", "--admin", self.node.admin)
        self.reloads += 1
        if done.returncode:
            self.failures.append(f"reload {self.reloads}: {done.stderr.strip()}")

    def mend(self):
        """The network is well. A connection of which something was swallowed has ended: it would go on with a hole in its bytes."""
        proxy = self.proxy
        if proxy.black_hole:
            proxy.cut()
        proxy.black_hole, proxy.by_byte, proxy.delay_s = False, False, 0
        if self.is_refusing:
            proxy.accept()
        self.is_refusing = False

    def hurt(self, turn):
        """One fault of the network to Redis, made good at the next turn."""
        self.mend()
        kind = ("cut", "rest", "delay", "rest", "black_hole", "rest", "by_byte", "rest", "refuse", "rest")[turn % 10]
        self.is_refusing = kind == "refuse"
        self.faulted[kind] = self.faulted.get(kind, 0) + 1
        if kind == "delay":
            self.proxy.delay_s = 0.02
        elif kind in ("black_hole", "by_byte"):
            setattr(self.proxy, kind, True)
        elif kind in ("cut", "refuse"):
            getattr(self.proxy, kind)()

    def look(self):
        """Resident KiB; what Prometheus would read is read."""
        with urllib.request.urlopen(f"http://{self.node.metrics}/metrics", timeout=daemon.PATIENCE_S) as page:
            page.read()
        self.scrapes += 1
        status = pathlib.Path(f"/proc/{self.node.process.pid}/status").read_text()
        kib = int(status.split("VmRSS:")[1].split()[0])
        self.memory.append((time.monotonic() - self.began, kib))
        return kib

    def take_turn(self):
        turn, self.turn = self.turn, self.turn + 1
        if self.slower_us and time.monotonic() >= self.end - self.seconds * 0.5:
            self.node.slow_down(int(self.slower_us * 1000))
        self.hurt(turn)
        if turn % 2:
            self.reload(turn)
        kib = self.look()
        if turn % 4 == 3:
            asked = sum(lane.total("checks") for lane in self.lanes)
            lost = sum(lane.total("lost") for lane in self.lanes)
            print(f"{time.monotonic() - self.began:7.0f} s  {asked:10} checks  {lost} lost  {kib / 1024:8.1f} MiB  "
                  f"{self.reloads} reloads  {sum(self.faulted.values())} faults  {self.asked} asked undisturbed", flush=True)

    def is_well(self):
        return self.node.process.poll() is None and not any(lane.wrong for lane in self.lanes)

    def load(self):
        """One part of it, and what happens beside it."""
        lanes = (*self.lanes, self.echo_lane)
        for lane in lanes:
            lane.begin()
        end = time.monotonic() + self.part
        while time.monotonic() < end and self.is_well():
            time.sleep(max(0, min(STEP_S, end - time.monotonic())))
            self.take_turn()
        until = time.monotonic() + STILL_S
        for lane in lanes:
            lane.end(max(0, until - time.monotonic()))

    def third_of(self, at):
        """first, last, or None: neither."""
        third = (1 - WARM) * self.seconds / 3
        if at >= self.seconds - third:
            return "last"
        return "first" if WARM * self.seconds <= at < WARM * self.seconds + third else None

    def ask_undisturbed(self):
        self.mend()
        tool = daemon.BUILD / "bench" / "undisturbed"
        node = self.node.port, self.node.process.pid, "mete-worker"
        echo = self.echo.address[1], self.echo.process.pid, "echo"
        for report in latency.ask(tool, node, echo, self.probe, self.window_s):
            at = time.monotonic() - self.began
            self.asked += report["node"]["trips"]
            self.unanswered += report["node"]["lost"]
            self.windows.append((at, report))

    def go_through(self):
        can_ask = not os.geteuid() and len(os.sched_getaffinity(0)) > 1
        while time.monotonic() < self.end and self.is_well():
            self.load()
            if can_ask and self.is_well() and self.third_of(time.monotonic() - self.began):
                self.ask_undisturbed()

    # ---- the judgement ----

    def expect(self, is_so, text):
        print(("  ok    " if is_so else "  FAIL  ") + text)
        if not is_so:
            self.failures.append(text)

    def judge_memory(self):
        warm = [kib for at, kib in self.memory if at >= WARM * self.seconds]
        size = max(1, len(warm) // 5)
        first, last = statistics.median(warm[:size]), statistics.median(warm[-size:])
        self.expect(last - first <= DRIFT_KIB, f"resident memory {first / 1024:.1f} -> {last / 1024:.1f} MiB "
                    f"({last - first:+.0f} KiB, at most {DRIFT_KIB}; {len(warm)} looks)")

    def judge_answers(self):
        reasons = dropped = 0
        for name, node in (("the node", self.node), ("the other", self.other)):
            total = node.stats()["total"]
            seen, told = total["received"], total["answered"] + total["dropped_open"]
            self.expect(seen == told, f"{name} saw {seen} datagrams and answered, or counted why not, {told}")
            reasons += sum(total[name] for name in REASONS)
            dropped += total["kernel_drops"]
        for lane in self.lanes:
            lost, late = lane.total("lost"), lane.total("late")
            print(f"        {lane.name:7} {lane.total('checks'):9} checks  {lost} lost  {late} late  {lane.total('duplicate')} twice  "
                  f"{len(lane.reports)} parts")
            self.expect(not lane.wrong and lane.reports, f"{lane.name} was served to the end{': ' + lane.wrong if lane.wrong else ''}")
            if lane.door not in ("udp", "other"):
                self.expect(lost == 0, f"{lane.name} lost nothing")
        lost = sum(lane.total("lost") for lane in self.lanes if lane.door in ("udp", "other"))
        late = sum(lane.total("late") for lane in self.lanes)
        self.expect(lost <= late + CHECKS_MOST * (reasons + dropped),
                    f"{lost} checks lost: {late} came late; {reasons} datagrams the daemon dropped and counted, {dropped} found its socket full")
        bad = sum(lane.total(name) for lane in self.lanes for name in ("malformed", "refused"))
        self.expect(bad == 0, f"{bad} answers were wrong")

    def judge_store(self):
        def units():
            return sum(rule["units"] for node in (self.node, self.other) for rule in node.stats()["rules"] if rule["rule"] == "shared")

        end = time.monotonic() + 60
        while usage_of(self.store) != units() and time.monotonic() < end:
            time.sleep(0.2)
        self.expect(usage_of(self.store) == units(), f"the store has counted {usage_of(self.store)} units, {units()} were admitted")

    def judge_latency(self):
        if self.windows_to:
            pathlib.Path(self.windows_to).write_text(json.dumps(self.windows))
        found = {"first": [], "last": [], None: []}
        for at, report in self.windows:
            if latency.is_good(report, self.least):
                found[self.third_of(at)].append(latency.Window(at, report["node"], report["echo"]))
        first, last = found["first"], found["last"]
        for is_well, text in latency.judge(first, last, self.few):
            self.expect(is_well, text)
        trips = sum(one["trips"] for _, report in self.windows for one in report.values())
        clean = sum(one["undisturbed"] for _, report in self.windows for one in report.values())
        print(f"        {len(first)} and {len(last)} windows of {self.window_s:g} s, of {len(self.windows)} in all; {trips} datagrams, "
              f"{clean / max(trips, 1):.1%} of them undisturbed")
        self.expect(self.unanswered == 0, f"the even load lost {self.unanswered} of {self.asked} answers")
        if self.seconds >= LONG_S:
            self.expect(min(len(first), len(last)) >= self.few, "latency was asked for in enough windows")

    def tell_latency(self):
        """Of what the loads saw: medians of the parts' p99.9: how the last third of the time stands to the first after the warm-up, and noise."""
        warm, third = WARM * self.seconds, (1 - WARM) * self.seconds / 3
        for lane in (*self.lanes, self.echo_lane):
            first, last = lane.p999(warm, warm + third), lane.p999(self.seconds - third, self.seconds + 1)
            one, other = (lane.p999(warm, self.seconds + 1, slice(start, None, 2)) for start in (0, 1))
            if first and last and one and other:
                print(f"        {lane.name:7} p99.9 {first:9.0f} -> {last:9.0f} us as the load saw it, ratio {last / first:5.2f} "
                      f"(A/A {max(one, other) / min(one, other):.2f})")

    def run(self):
        with Redis() as self.store, FaultProxy(self.store.port) as self.proxy:
            self.node = self.start_node()
            other = CONFIG.format(folder=self.folder, pid=os.getpid(), url=self.store.url, rate=10)
            self.other = daemon.Daemon(other, workers=1)
            self.echo = Echo()
            self.began = time.monotonic()
            self.end = self.began + self.seconds
            self.lanes, self.echo_lane = [Lane(self, name) for name in LANES], Lane(self, "echo", ECHO)
            try:
                self.go_through()
                for lane in (*self.lanes, self.echo_lane):
                    lane.end()
                self.mend()
                print(f"{self.reloads} reloads, {self.scrapes} scrapes, faults {self.faulted}")
                self.expect(self.node.process.poll() is None, "the daemon runs")
                self.judge_memory()
                self.judge_answers()
                self.judge_store()
                self.judge_latency()
                self.tell_latency()
                for node in (self.node, self.other):
                    node.stop()
                self.expect(True, "both nodes ended well")
            finally:
                for one in (self.node, self.other, self.echo):
                    one.close()
        print("soak: " + ("well" if not self.failures else f"{len(self.failures)} failures: {self.failures[0]}"))
        return 1 if self.failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--part", type=float, default=7, help="seconds of one run of the load")
    parser.add_argument("--probe", type=float, default=PROBE_S, help="seconds that it then holds still, where latency is asked for")
    parser.add_argument("--faults", default="")
    parser.add_argument("--slower", type=float, default=0, metavar="US", help="to see the judge say no")
    parser.add_argument("--windows", metavar="FILE", help="writes down what the latency's judge sees")
    chosen = parser.parse_args()
    soak = Soak(chosen.minutes, chosen.part, chosen.faults, chosen.slower, chosen.probe)
    soak.windows_to = chosen.windows
    return soak.run()


if __name__ == "__main__":
    sys.exit(main())
