#!/usr/bin/env python3
"""Distinct requests are charged exactly once, whatever the network does: through a proxy that loses and duplicates 5 %
and reorders, both ways, to a daemon with two workers, for every algorithm, single checks, batches and groups.

Both judges must agree: every bucket, asked directly afterwards (tests/property/repeat_feed.c), and the daemon's own
counters. METE_COUNT (100000 requests) and METE_SEED (1); `make lossy` runs millions, 100,000 to a daemon.
"""
import os
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lib import daemon, lossy, seeds  # noqa: E402

SEED = int(os.environ.get("METE_SEED") or "1", 0)
COUNT = seeds.count(100000)
ROUND = 100000  # requests to one daemon: their buckets must all fit its table
ALGORITHMS = {
    "bucket": "algorithm: token_bucket, rate: 1/10000s, burst: {}",
    "meter": "algorithm: leaky_bucket, rate: 1/10000s, burst: {}",
    "queue": "algorithm: leaky_bucket, mode: queue, rate: 1/10000s, burst: {}",
    "fixed": "algorithm: fixed_window, limit: {}/3650d",
    "sliding": "algorithm: sliding_window, limit: {}/3650d",
}
RULES = "".join(f"      - {{name: {name}, {how.format(30000)}}}\n      - {{name: few_{name}, {how.format(1)}}}\n"
                for name, how in ALGORITHMS.items())
# What a busy machine delays is to be answered here (STALE) and not to be left out.
CONFIG = f"overload: {{shedding: off}}\ntenants:\n  - name: default\n    rules:\n{RULES}"
SHAPES = [f"{name}:{shape}" for name in ALGORITHMS for shape in ("single", "batch", "all", "most")
          if (name, shape) != ("queue", "most")] + [f"{name}:{shape}" for name in ALGORITHMS for shape in ("pair", "either")]
LINE = re.compile(r"(\w+) (\w+) requests (\d+) sent (\d+) repeats (\d+) stale (\d+) given_up (\d+) units (\d+)")


class Repeats(unittest.TestCase):
    def run_round(self, count, seed, sets=()):
        """Status, faults and one dict of numbers per shape; the daemon's counters, the network's."""
        with daemon.Daemon(CONFIG, sets, workers=2, entries=2 << 20) as server:
            with lossy.Lossy(server.port, seed) as network:
                done = subprocess.run([str(daemon.BUILD / "tests/property/repeat_feed"), str(network.port),
                                       str(server.port), str(count), str(seed), *SHAPES],
                                      capture_output=True, text=True, timeout=600)
            stats = server.stats()
        said = [LINE.fullmatch(line).groups() for line in done.stdout.splitlines()]
        rows = [(rule, shape, *map(int, numbers)) for rule, shape, *numbers in said]
        if os.environ.get("METE_SHOW"):
            print(done.stdout, done.stderr, network.counts)
        return done, rows, stats, network.counts

    def judge(self, count, seed):
        done, rows, stats, network = self.run_round(count, seed)
        self.assertEqual((done.returncode, done.stderr), (0, ""),
                         f"METE_SEED={seed}, the server: {stats['total']}, the network: {network}")
        self.assertEqual(len(rows), len(SHAPES))
        units = {}
        for rule, shape, *_, charged in rows:
            counted_as = f"few_{rule}" if shape == "pair" else rule
            units[counted_as] = units.get(counted_as, 0) + charged
            if shape == "either":  # with two units of its own, each took the one that two wanted
                units[f"few_{rule}"] += charged // 2
        counted = {rule["rule"]: rule["units"] for rule in stats["rules"] if rule["rule"] in units}
        self.assertEqual(counted, units, f"METE_SEED={seed}")
        repeats = sum(row[4] for row in rows)
        self.assertGreater(repeats, count // 20)  # or nothing was tried
        self.assertLess(sum(row[6] for row in rows), count // 2)  # or hardly anything was answered
        for direction in network.values():
            for fate in ("lost", "duplicated", "delayed"):
                self.assertGreater(direction[fate], count // 50, network)

    def test_every_request_is_charged_once(self):
        for index in range(max(1, COUNT // ROUND)):
            self.judge(min(COUNT, ROUND), SEED + index)

    def test_without_repeats_the_same_judge_finds_double_charges(self):
        done, _, _, _ = self.run_round(2000, SEED, ["repeats.window=0s"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("units", done.stderr)


if __name__ == "__main__":
    unittest.main()
