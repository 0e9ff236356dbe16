#!/usr/bin/env python3
"""What writing snapshots costs a worker: its own latency (bench/worker_latency), and the checks it does under full load, with
one snapshot after the other against none. What `make bench-snapshot` does; needs root.

    compare_snapshot.py [--rounds N] [--seconds S] [--keys N] [--build DIR]

The server has core 0 for itself, the thread of the snapshot included, which is the worst place for it; the load has core 1. The
table holds --keys subjects (two million), so that a snapshot takes seconds and is under way the whole time. Rounds go without,
with, without again: the first and the third are the A/A pair whose spread says what the machine itself changes."""
import argparse
import json
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from compare_quiet import MOST_SPREAD, NOISY, StampWhenDelivered, judge
from compare_servers import PLAIN, Failed, Server, pin

ROOT = pathlib.Path(__file__).resolve().parents[1]
LEAST_RATE = 0.95


class Setup:
    def __init__(self, build, keys, sets=()):
        self.build = build
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-bench-"))
        self.admin = str(self.folder / "admin.sock")
        (self.folder / "mete.yaml").write_text(PLAIN)
        self.server = Server([build / "mete", "serve", "--config", self.folder / "mete.yaml", "--set", "listen.udp=127.0.0.1:0",
                              "--set", f"listen.admin={self.admin}", "--set", "workers=1", "--set", f"table.entries={keys * 3 // 2}",
                              "--set", f"table.snapshot={self.folder}/table", "--set", "table.snapshot_every=1d",
                              *[word for one in sets for word in ("--set", one)]], "0").__enter__()
        self.udp = self.server.address
        self.load("--rule", "slow", "--unique", "--batch", 50, "--requests", keys, seconds=60).communicate()

    def load(self, *arguments, seconds, nice=0):
        command = [*pin("1"), "nice", "-n", nice, self.build / "mete", "bench", "--json", "--server", self.udp, "--seconds", seconds,
                   "--timeout", 10000, *arguments]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ask(self, command):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(self.admin)
            admin.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def snapshots(self, stop):
        """One after the other until it is over; the last is waited for."""
        self.saved = 0
        while not stop.is_set():
            ticket = self.ask("snapshot save").split()[-1]
            while (said := self.ask(f"snapshot status {ticket}")).startswith("running"):
                time.sleep(0.1)
            if not said.startswith("done"):
                raise Failed(said)
            self.saved += 1

    def round(self, seconds, with_snapshots):
        stop = threading.Event()
        thread = threading.Thread(target=self.snapshots, args=(stop,))
        if with_snapshots:
            thread.start()
            time.sleep(0.1)
        alone = self.load("--flows", 1, "--outstanding", 1, seconds=seconds + 0.4, nice=-20)
        time.sleep(0.2)
        watch = subprocess.run([*pin("1"), self.build / "bench" / "worker_latency", "--port", self.udp.rsplit(":", 1)[1],
                                "--seconds", str(seconds), "--one-of", "2"], capture_output=True, text=True)
        if watch.returncode:
            raise Failed(watch.stderr.strip())
        found = json.loads(watch.stdout)
        found["checks"] = json.loads(alone.communicate()[0] or "{}").get("checks_per_second", 0)
        full = self.load("--batch", 50, "--keys", 1000000, seconds=seconds)
        found["full"] = json.loads(full.communicate()[0] or "{}").get("checks_per_second", 0)
        found["doors"] = 0
        stop.set()
        if with_snapshots:
            thread.join()
        return found

    def close(self):
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def judge_rate(rounds):
    ratio = statistics.median(b["full"] / statistics.mean((a["full"], c["full"])) for a, b, c in rounds)
    spread = statistics.median(abs(c["full"] / a["full"] - 1) for a, _, c in rounds)
    without = statistics.median(one["full"] for a, _, c in rounds for one in (a, c))
    verdict = "ok" if ratio >= LEAST_RATE - min(spread, MOST_SPREAD) else "miss" if spread <= MOST_SPREAD else NOISY
    return (f"batches of 50, as fast as they go: {without:,.0f} checks/s without, {ratio:.3f} of that with, A/A +-{spread:.1%}: "
            f"{verdict}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--keys", type=int, default=2000000)
    parser.add_argument("--build", default=str(ROOT / "build"))
    options = parser.parse_args()
    try:
        setup = Setup(pathlib.Path(options.build).resolve(), options.keys)
        try:
            with StampWhenDelivered():
                rounds = [tuple(setup.round(options.seconds, with_snapshots) for with_snapshots in (False, True, False))
                          for _ in range(options.rounds)]
            print("\n".join(judge("snapshots one after the other, their thread on the worker's core", rounds, "snapshots")))
            print(judge_rate(rounds))
            print(json.loads(setup.ask("stats json"))["snapshot"])
        finally:
            setup.close()
    except (Failed, PermissionError) as failed:
        print(f"compare_snapshot: {failed}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
