#!/usr/bin/env python3
"""One order for what happens to a hot key, seen from outside: several clients at a daemon with two workers, what each asked
and was told and when, copies of the same bytes over other flows included; a search for the order (tests/property/linear_feed.c,
tests/race/linear.h). The same judge says no where copies are charged again, and where half of the clients ask another daemon.

METE_COUNT histories (300) for each algorithm and way to receive, METE_SEED; `make linear` tries 5,000."""
import contextlib
import itertools
import os
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import seeds
from lib.daemon import BACKENDS, BUILD, Daemon

SEED = int(os.environ.get("METE_SEED") or "1", 0)
COUNT = seeds.count(300)
ROUND = 10000  # histories of one daemon: their keys fit its table
# What a machine delays is still the same datagram here.
CONFIG = """
repeats: {window: 10s, memory: 16MiB}
tenants:
  - name: default
    rules:
      - {name: fixed, algorithm: fixed_window, limit: 9/3650d}
      - {name: sliding, algorithm: sliding_window, limit: 9/3650d}
      - {name: bucket, algorithm: token_bucket, rate: 1/100000s, burst: 9}
"""
SAID = re.compile(r"^histories (\d+) requests (\d+) overlaps (\d+) repeats (\d+) undecided (\d+) refused (\d+)$", re.M)


class HotKey(unittest.TestCase):
    def feed(self, count, seed, rule, *daemons):
        """How the feed ended; its numbers."""
        done = subprocess.run([str(BUILD / "tests/property/linear_feed"), str(count), str(seed), rule,
                               *(str(one.port) for one in daemons)], text=True, capture_output=True, timeout=600)
        said = SAID.search(done.stdout)
        self.assertTrue(said, (done.returncode, done.stdout, done.stderr))
        return done, [int(number) for number in said.groups()]

    def judge(self, rule, backend, count, seed):
        with Daemon(CONFIG, backend=backend, workers=2, entries=1 << 18) as daemon:
            done, (histories, requests, overlaps, repeats, undecided, refused) = self.feed(count, seed, rule, daemon)
            stats = daemon.stats()
        if os.environ.get("METE_SHOW"):
            print(rule, backend, done.stdout, end="")
        self.assertEqual((done.returncode, done.stderr), (0, ""), f"METE_SEED={seed}, {rule}, {backend}\n{done.stdout}")
        self.assertEqual(histories, count)
        # what took too long to decide, or met a set of repeats that had forgotten somebody (STALE), says nothing
        self.assertLess(undecided + refused, count // 10 + 2)
        self.assertGreater(overlaps, count)  # or one was done before the other began
        self.assertGreater(repeats, count)
        for worker in stats["workers"]:
            self.assertGreater(worker["received"], requests // 20)

    def test_one_order(self):
        for first in range(0, COUNT, ROUND):
            for rule, backend in itertools.product(("fixed", "sliding", "bucket"), BACKENDS):
                with self.subTest(rule=rule, backend=backend):
                    self.judge(rule, backend, min(COUNT - first, ROUND), SEED + first)

    def test_copies_that_are_charged_are_seen(self):
        with Daemon(CONFIG, ["repeats.window=0s"], workers=2) as daemon:
            done, _ = self.feed(COUNT, SEED, "fixed", daemon)
        self.assertEqual(done.returncode, 1, done.stdout)

    def test_two_tables_are_seen(self):
        with contextlib.ExitStack() as stack:
            daemons = [stack.enter_context(Daemon(CONFIG)) for _ in range(2)]
            done, _ = self.feed(COUNT, SEED, "fixed", *daemons)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no order", done.stdout)


if __name__ == "__main__":
    unittest.main()
