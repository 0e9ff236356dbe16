#!/usr/bin/env python3
"""What writing snapshots costs a worker: the CPU it takes for a check and the checks it does under full load, and its own latency
(bench/worker_latency), with one snapshot after the other against none. What `make bench-snapshot` does; needs root.

    compare_snapshot.py [--rounds N] [--seconds S] [--keys N] [--build DIR]

The server has core 0 for itself, the thread of the snapshot included, which is the worst place for it; the load has core 1. The
table holds --keys subjects (two million), so that a snapshot takes seconds and is under way the whole time. A round goes without,
with, with, without; bench/pair.py says how it is compared."""
import argparse
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from compare_quiet import StampWhenDelivered, threads_of
from compare_servers import PLAIN, Failed, Server, pin
from pair import compare, row_text

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIGURES = (("worker_ns", "the worker's CPU, ns per check in batches of 50"), ("full", "checks/s in batches of 50, a closed loop"),
           ("p50", "own latency, us, p50"), ("p90", "p90"), ("p99", "p99"))


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

    def worker_seconds(self):
        tasks = threads_of(self.server.process.pid)
        worker = next(task for task, name in tasks.items() if name == "mete-worker")
        return int(pathlib.Path(f"/proc/{self.server.process.pid}/task/{worker}/schedstat").read_text().split()[0]) / 1e9

    def measure(self, seconds):
        alone = self.load("--flows", 1, "--outstanding", 1, seconds=seconds + 0.4, nice=-20)
        time.sleep(0.2)
        watch = subprocess.run([*pin("1"), self.build / "bench" / "worker_latency", "--port", self.udp.rsplit(":", 1)[1],
                                "--seconds", str(seconds), "--one-of", "2"], capture_output=True, text=True)
        if watch.returncode:
            raise Failed(watch.stderr.strip())
        alone.communicate()
        found = json.loads(watch.stdout)
        before = self.worker_seconds()
        full = json.loads(self.load("--batch", 50, "--keys", 1000000, seconds=seconds).communicate()[0])
        found["worker_ns"] = (self.worker_seconds() - before) * 1e9 / full["checks"]
        found["full"] = full["checks_per_second"]
        return found

    def round(self, seconds):
        stop = threading.Event()
        thread = threading.Thread(target=self.snapshots, args=(stop,))
        first = self.measure(seconds)
        thread.start()
        time.sleep(0.1)
        try:
            amid = [self.measure(seconds) for _ in range(2)]
        finally:
            stop.set()
            thread.join()
        return [first, *amid, self.measure(seconds)]

    def close(self):
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


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
                rounds = [setup.round(options.seconds) for _ in range(options.rounds)]
            print(f"snapshots one after the other, their thread on the worker's core; {options.rounds} rounds\n\n"
                  "| what | without | with | ratio | the same twice | |\n| --- | ---: | ---: | ---: | ---: | --- |")
            for name, title in FIGURES:
                print(row_text(title, compare(rounds, name)))
            print(json.loads(setup.ask("stats json"))["snapshot"])
        finally:
            setup.close()
    except (Failed, PermissionError) as failed:
        print(f"compare_snapshot: {failed}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
