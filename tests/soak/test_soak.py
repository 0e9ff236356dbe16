#!/usr/bin/env python3
"""A few seconds of tests/soak/soak.py: that it still drives every door, and that its judges say no where they should."""
import contextlib
import io
import os
import pathlib
import random
import subprocess
import sys
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import latency
import soak
from lib.daemon import SANITIZED


class Short(unittest.TestCase):
    @unittest.skipIf(SANITIZED, "a sanitizer keeps freed memory")
    def test_every_lane_is_served(self):
        done = subprocess.run([sys.executable, soak.__file__, "--minutes", "0.1", "--part", "2"], text=True, capture_output=True, timeout=300)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        for name in soak.LANES:
            self.assertRegex(done.stdout, rf" {name} +[1-9]\d* checks")

    @unittest.skipIf(SANITIZED or os.geteuid() or len(os.sched_getaffinity(0)) < 2, "it takes root and two cores; a sanitizer has delays of its own")
    def test_a_daemon_that_becomes_slower(self):
        """For real: from the middle on each batch takes 3 ms more; few windows, and what others on this machine take away is left out."""
        made = soak.Soak(0.15, 1, slower_us=3000, probe=1.5)
        made.few, made.least, made.window_s = 3, 5, 0.5
        with contextlib.redirect_stdout(io.StringIO()) as said:
            status = made.run()
        self.assertEqual(status, 1, said.getvalue())
        self.assertRegex(said.getvalue(), r"FAIL +p50 .* NOT within 10%")
        self.assertRegex(said.getvalue(), r"FAIL +p99.9 .* NOT within 10%")


class Judges(unittest.TestCase):
    """The same functions over numbers made up."""

    def soak(self, **fields):
        made = types.SimpleNamespace(seconds=100, failures=[], **fields)
        made.expect = lambda is_so, text: made.failures.extend([] if is_so else [text])
        return made

    def test_memory(self):
        for drift, is_bad in ((0, False), (1024, False), (1025, True)):
            # what grows while it warms up is not looked at
            looks = [(at, 1000 if at < 20 else 50_000 + (drift if at > 80 else 0)) for at in range(100)]
            made = self.soak(memory=looks)
            soak.Soak.judge_memory(made)
            self.assertEqual(bool(made.failures), is_bad, drift)

    def test_answers(self):
        def node(**counts):
            return types.SimpleNamespace(stats=lambda: {"total": {"received": 9, "answered": 9, "kernel_drops": 0,
                                                                  **dict.fromkeys(soak.REASONS, 0), **counts}})

        def lane(door="udp", **counts):
            return types.SimpleNamespace(name="x", door=door, wrong=None, reports=[1], total=lambda field: counts.get(field, 0))

        most = soak.CHECKS_MOST
        for counts, reasons, is_bad in (({}, {}, False), ({"lost": 3}, {}, True), ({"lost": 3, "late": 3}, {}, False),
                                        ({"lost": most}, {"send_errors": 1}, False), ({"lost": most + 1}, {"send_errors": 1}, True),
                                        ({"lost": 3}, {"kernel_drops": 1}, False), ({}, {"received": 10}, True),
                                        ({}, {"received": 10, "dropped_open": 1}, False), ({"malformed": 1}, {}, True),
                                        ({"door": "http", "lost": 1}, {"kernel_drops": 1}, True)):
            made = self.soak(lanes=[lane(**counts)], node=node(**reasons), other=node())
            soak.Soak.judge_answers(made)
            self.assertEqual(bool(made.failures), is_bad, (counts, reasons))

    def windows(self, chance, count, slower=1.0, machine=1.0, noise=0.15):
        """As they are found: skewed, and some of them spoiled by the machine, the echo's beside them or not."""
        def figures(level):
            spoiled = 50 if chance.random() < 0.05 else 1
            return {name: level * base * spoiled * chance.lognormvariate(0, noise) for name, base in
                    (("p50", 8), ("p99", 30), ("p99.9", 90))}

        return [latency.Window(at, figures(slower * machine), figures(machine)) for at in range(count)]

    def verdicts(self, noise, **options):
        """How many of 6 long soaks are well."""
        well = 0
        for seed in range(6):
            chance = random.Random(seed)
            said = list(latency.judge(self.windows(chance, 120, noise=noise), self.windows(chance, 120, noise=noise, **options)))
            self.assertEqual(len(said), len(latency.TOLD))
            well += all(is_well for is_well, _ in said)
        return well

    def test_latency(self):
        self.assertGreaterEqual(self.verdicts(0.1), 5)
        self.assertGreaterEqual(self.verdicts(0.1, machine=2), 5)  # what the echo has, too, is not the daemon's
        for slower in (1.1, 1.15):
            self.assertLessEqual(self.verdicts(0.1, slower=slower), 1, slower)

    def test_latency_in_too_much_noise_is_not_well(self):
        self.assertLessEqual(self.verdicts(1.5), 1)

    def test_windows_that_say_nothing(self):
        def report(**node):
            return {who: {"undisturbed": latency.LEAST, "p50": 1, "p99": 2, "p99.9": 3, **(node if who == "node" else {})} for who in ("node", "echo")}

        self.assertTrue(latency.is_good(report()))
        self.assertFalse(latency.is_good(report(undisturbed=latency.LEAST - 1)))
        self.assertFalse(latency.is_good(report(p50=0)))

    def test_thirds(self):
        made = soak.Soak(10, 7)
        self.assertEqual([made.third_of(at) for at in (0, 119, 120, 279, 280, 439, 440, 700)], [None, None, "first", "first", None, None, "last", "last"])

    def test_latency_of_few_windows_is_not_judged(self):
        chance = random.Random(1)
        self.assertEqual(list(latency.judge(self.windows(chance, latency.FEW - 1), self.windows(chance, 50))), [])


if __name__ == "__main__":
    unittest.main()
