#!/usr/bin/env python3
"""Worlds of nodes, network and store: all hold, one and the same seed gives one and the same world, each deliberate mistake
is seen, and nodes that share a limit stay as close to it as the targets ask.

The worlds are always the same ones here, from METE_WORLD (1) on, METE_WORLDS of them (1000, under sanitizers 100), so that a
change is what makes them fail; `make sim SEED=N COUNT=M` goes on to others."""
import os
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / (os.environ.get("METE_BUILD") or "build/check")
SIM = BUILD / "sim"
SEED = int(os.environ.get("METE_WORLD") or "1", 0)
COUNT = int(os.environ.get("METE_WORLDS") or ("100" if "san" in BUILD.name else "1000"))
MISTAKES = 14


def run(*arguments):
    return subprocess.run([SIM, *map(str, arguments)], capture_output=True, text=True, timeout=550)


class Sim(unittest.TestCase):
    def test_worlds(self):
        half = COUNT // 2
        other = subprocess.Popen([SIM, "--count", str(COUNT - half), str(SEED + half)], stdout=subprocess.PIPE, text=True)
        done = run("--count", half, SEED)
        said, _ = other.communicate(timeout=550)
        self.assertEqual((done.returncode, other.returncode), (0, 0), done.stdout + done.stderr + said)
        self.assertIn(f"{half} worlds from seed {SEED} on, 0 failed", done.stdout)
        self.assertIn(f"{COUNT - half} worlds from seed {SEED + half} on, 0 failed", said)

    def test_replay(self):
        first, again, other = run(7), run(7), run(8)
        self.assertRegex(first.stdout, r"^seed 7: .* holds")
        self.assertEqual(first.stdout, again.stdout)
        self.assertNotEqual(first.stdout, other.stdout.replace("seed 8", "seed 7"))

    def test_mistakes_are_seen(self):
        done = run("--wrong")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len(re.findall(r": seen by seed \d+: ", done.stdout)), MISTAKES, done.stdout)

    def test_accuracy(self):
        done = run("--accuracy", "--count", 1)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count(": ok\n"), 10, done.stdout)

    def test_accuracy_of_who_is_late(self):
        for who in ("replicators", "nodes", "store", "load"):
            done = run("--accuracy", "--count", 1, "--late", 20, "--late-of", who)
            self.assertEqual(done.returncode, 0, f"{who}: {done.stdout}{done.stderr}")
            self.assertEqual(done.stdout.count(": ok\n"), 8, done.stdout)


if __name__ == "__main__":
    unittest.main()
