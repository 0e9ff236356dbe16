#!/usr/bin/env python3
"""Worlds of nodes, network and store: all hold, one and the same seed gives one and the same world, and each deliberate mistake is seen.

METE_SEED (1): the first world; METE_WORLDS (250): how many."""
import os
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIM = ROOT / (os.environ.get("METE_BUILD") or "build/check") / "sim"
SEED = os.environ.get("METE_SEED") or "1"
COUNT = os.environ.get("METE_WORLDS") or "250"


def run(*arguments):
    return subprocess.run([SIM, *arguments], capture_output=True, text=True, timeout=500)


class Sim(unittest.TestCase):
    def test_worlds(self):
        done = run("--count", COUNT, SEED)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"{COUNT} worlds from seed {int(SEED)} on, 0 failed", done.stdout)

    def test_replay(self):
        first, again, other = run("7"), run("7"), run("8")
        self.assertRegex(first.stdout, r"^seed 7: .* holds")
        self.assertEqual(first.stdout, again.stdout)
        self.assertNotEqual(first.stdout, other.stdout.replace("seed 8", "seed 7"))

    def test_mistakes_are_seen(self):
        done = run("--wrong")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(re.findall(r": seen by seed \d+: ", done.stdout)), 10, done.stdout)


if __name__ == "__main__":
    unittest.main()
