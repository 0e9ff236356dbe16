#!/usr/bin/env python3
"""src/core against the model in model_limits.py: every number of every step, 0 differences.

Without arguments a unittest: METE_COUNT (200,000) operations of each algorithm, METE_SEED the
seed. By command: prop_core.py --algorithm token_bucket --count 10000000 [--seed N]. core_feed, the
program that draws and applies the operations, comes from METE_BUILD (build/check). A second model,
exact_limits.h, judges inside it a hundred times as fast (`make exact`); here it is held against
this one.
"""

import argparse
import collections
import os
import re
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]
import model_limits as model
from lib import seeds

ROOT = os.path.join(HERE, "..", "..")
BUILD = os.environ.get("METE_BUILD", os.path.join(ROOT, "build", "check"))
FEED = os.path.join(BUILD, "tests", "property", "core_feed")
SEED = int(os.environ.get("METE_SEED", "1"), 0)
COUNT = seeds.count(200000)
ALGORITHMS = ("token_bucket", "leaky_meter", "leaky_queue", "fixed_window", "sliding_window",
              "calendar")
PROGRESS_S = 2
KEPT_DIFFERENCES = 5


def records(seed, count, algorithm, layout, *mode):
    """The records of one run of core_feed; all of them or an exception."""
    command = [FEED, str(seed), str(count), algorithm, *mode]
    seen = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as feed:
        while chunk := feed.stdout.read(layout.size * 4096):
            for fields in layout.iter_unpack(chunk):
                seen += 1
                yield fields
    if feed.returncode != 0 or seen != count:
        raise RuntimeError(f"{' '.join(command)}: status {feed.returncode}, {seen} records")


def judge_operations(seed, count, algorithm, progress=False):
    """(number of differences, the first few of them, how often each kind of outcome was seen)."""
    differences, kept, seen = 0, [], collections.Counter()
    shown_at = time.monotonic()
    for done, fields in enumerate(records(seed, count, algorithm, model.RECORD)):
        record = model.Record(fields)
        wrong = model.judge(record)
        if wrong is not None:
            differences += 1
            if len(kept) < KEPT_DIFFERENCES:
                kept.append(f"operation {done}: {wrong}: {record}")
        finite = record.retry_after_ns != model.NEVER
        seen["allowed" if record.decision else "waits" if finite else "never"] += 1
        seen["partly"] += record.operation == model.AT_MOST and 0 < record.granted < record.cost
        seen["refunded"] += record.operation == model.REFUND and record.next_state != record.state
        if progress and done % 4096 == 0 and time.monotonic() - shown_at >= PROGRESS_S:
            shown_at = time.monotonic()
            print(f"\r{algorithm}: {done:,} of {count:,}, {differences} differences", end="",
                  file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    return differences, kept, seen


class CoreAgainstModel(unittest.TestCase):
    def check(self, algorithm):
        differences, kept, seen = judge_operations(SEED, COUNT, algorithm)
        self.assertEqual(differences, 0, f"seed {SEED}, {algorithm}\n" + "\n".join(kept))
        for outcome, share in (("allowed", 0.2), ("waits", 0.05), ("never", 0.02),
                               ("partly", 0.002), ("refunded", 0.01)):
            self.assertGreaterEqual(seen[outcome], share * COUNT,
                                    f"seed {SEED}, {algorithm}: the feed makes too few: {seen}")

    def test_token_bucket(self):
        self.check("token_bucket")

    def test_leaky_meter(self):
        self.check("leaky_meter")

    def test_leaky_queue(self):
        self.check("leaky_queue")

    def test_fixed_window(self):
        self.check("fixed_window")

    def test_sliding_window(self):
        self.check("sliding_window")

    def test_calendar(self):
        self.check("calendar")

    def test_compile(self):
        errors, count = collections.Counter(), max(COUNT // 4, 1000)
        for fields in records(SEED, count, "compile", model.COMPILED):
            wrong = model.judge_compiled(fields)
            self.assertIsNone(wrong, f"seed {SEED}: {fields}")
            errors[fields[7]] += 1
        self.assertEqual(set(errors), set(range(model.LEASE_TOO_LONG + 1)),
                         f"seed {SEED}: every outcome must have been seen: {errors}")


class OtherModel(unittest.TestCase):
    """exact_limits.h finds nothing where this model finds nothing, and everything that is off by one."""

    def judge(self, count, algorithm, mode):
        """Differences that core_feed itself finds."""
        done = subprocess.run([FEED, str(SEED), str(count), algorithm, mode], text=True, capture_output=True)
        said = re.search(r", (\d+) operations, (\d+) differences$", done.stdout.strip())
        self.assertTrue(said, (done.returncode, done.stdout, done.stderr))
        self.assertEqual((int(said[1]), done.returncode), (count, 1 if int(said[2]) else 0))
        return int(said[2]), done.stdout

    def test_right_ones(self):
        for algorithm in ALGORITHMS:
            differences, said = self.judge(COUNT, algorithm, "judge")
            self.assertEqual(differences, 0, said)

    def test_spoiled_ones(self):
        count = max(COUNT // 20, 1000)
        for algorithm in ALGORITHMS:
            with self.subTest(algorithm):
                wrong = [model.judge(model.Record(fields)) is not None
                         for fields in records(SEED, count, algorithm, model.RECORD, "spoiled")]
                self.assertEqual(sum(wrong), count)
                self.assertEqual(self.judge(count, algorithm, "judge-spoiled")[0], count)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithm", choices=ALGORITHMS, action="append")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=lambda text: int(text, 0), default=SEED)
    options = parser.parse_args()
    total = 0
    for algorithm in options.algorithm or ALGORITHMS:
        differences, kept, seen = judge_operations(options.seed, options.count, algorithm, True)
        outcomes = ", ".join(f"{number:,} {name}" for name, number in sorted(seen.items()))
        print(f"{algorithm}: seed {options.seed}, {options.count:,} operations ({outcomes}), "
              f"{differences} differences")
        print("\n".join(kept), end="\n" if kept else "")
        total += differences
    return 1 if total else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main())
    unittest.main()
