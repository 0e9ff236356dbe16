#!/usr/bin/env python3
"""A few seconds of tests/soak/soak.py: that it still drives every door, and that its judges say no where they should."""
import pathlib
import subprocess
import sys
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import soak
from lib.daemon import SANITIZED


class Short(unittest.TestCase):
    @unittest.skipIf(SANITIZED, "a sanitizer keeps freed memory")
    def test_every_lane_is_served(self):
        done = subprocess.run([sys.executable, soak.__file__, "--minutes", "0.1", "--part", "2"], text=True, capture_output=True, timeout=300)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        for name in soak.LANES:
            self.assertRegex(done.stdout, rf" {name} +[1-9]\d* checks")


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


if __name__ == "__main__":
    unittest.main()
