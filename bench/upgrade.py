#!/usr/bin/env python3
"""What clients see of an upgrade: the longest time between two answers of a client that asks every half a millisecond,
beside the longest without an upgrade, for tables of several sizes that are copied or joined.

    python3 bench/upgrade.py [--rounds 5] [--entries 65536,1048576,10000000]"""
import argparse
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))
os.environ.setdefault("METE_BUILD", "build")
from lib.daemon import Daemon
from lib.upgrades import COUNTED, Chain, Flow

PACE_S = 0.0005


class Paced(Flow):
    """Asks at a pace, and remembers the longest time that an answer took."""

    TRY_S = 2

    def __init__(self, address):
        super().__init__(address, b"paced")
        self.longest_s = 0

    def run(self):
        while not self.is_over.is_set():
            started = time.monotonic()
            self.ask(self.client.request(0x01, "count", self.subject))
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            time.sleep(PACE_S)

    def take(self):
        longest, self.longest_s = self.longest_s, 0
        return longest * 1000


def measure(entries, joined, rounds):
    folder = tempfile.mkdtemp(dir="/dev/shm")
    sets = [f"table.file={folder}/table"] if joined else []
    quiet, pauses, whole = [], [], []
    try:
        with Chain(COUNTED, sets, workers=1, entries=entries) as chain:
            flow = Paced(chain.now.address)
            flow.start()
            for _ in range(rounds):
                flow.take()
                time.sleep(0.5)
                quiet.append(flow.take())
                started = time.monotonic()
                chain.upgrade()
                whole.append((time.monotonic() - started) * 1000)
                pauses.append(flow.take())
            flow.is_over.set()
            flow.join()
    finally:
        shutil.rmtree(folder)
    middle = statistics.median
    print(f"{entries:>10} entries  {'joined' if joined else 'copied'}  longest answer {middle(pauses):8.1f} ms  "
          f"(without {middle(quiet):6.1f})  whole upgrade {middle(whole):8.1f} ms", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entries", default="65536,1048576,10000000")
    arguments = parser.parse_args()
    for entries in map(int, arguments.entries.split(",")):
        for joined in (False, True):
            measure(entries, joined, arguments.rounds)


if __name__ == "__main__":
    main()
