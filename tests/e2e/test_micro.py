#!/usr/bin/env python3
"""The micro benches do not rot: each runs with a tiny input and prints its figures. No figure is judged."""
import os
import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / (os.environ.get("METE_BUILD") or "build/check")


class Micro(unittest.TestCase):
    def run_tiny(self, name):
        done = subprocess.run([BUILD / "bench" / name, "--tiny"], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_table(self):
        self.assertRegex(self.run_tiny("micro_table"), r"[\d.]+ M checks/s +[\d.]+ ns per check")

    def test_path(self):
        said = self.run_tiny("micro_path")
        self.assertEqual(len(re.findall(r"[\d.]+ ns per check", said)), 2, said)

    def test_wrong_use_is_told(self):
        for name in ("micro_table", "micro_path"):
            done = subprocess.run([BUILD / "bench" / name, "--keys", "0"], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
