#!/usr/bin/env python3
"""No branch and no address depends on a key: the headers that sign and verify, under valgrind with the key's bytes marked
undefined, by every compiler here. Two ways to compare that do depend on it show that it
would be seen."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = "/usr/include/valgrind/memcheck.h"


@unittest.skipUnless(shutil.which("valgrind") and os.path.exists(HEADER), "valgrind is not installed")
class Timing(unittest.TestCase):
    def test_the_compare(self):
        for compiler, level in (("gcc", "-O1"), ("gcc", "-O3"), ("clang", "-O3")):
            if shutil.which(compiler):
                with self.subTest(compiler=compiler, level=level), tempfile.TemporaryDirectory() as folder:
                    probe = f"{folder}/probe"
                    subprocess.run([compiler, "-std=gnu11", "-Wall", "-Werror", level, f"-I{ROOT}/include", "-o", probe,
                                    ROOT / "tests/e2e/timing_probe.c"], check=True, timeout=60)
                    for how in ("request", "result"):
                        self.assertEqual(self.run_probe(probe, how), (0, ""))
                    for how in ("memcmp", "early") if (compiler, level) == ("gcc", "-O1") else ():
                        status, said = self.run_probe(probe, how)
                        self.assertEqual(status, 9)
                        self.assertIn("depends on uninitialised value", said)

    def run_probe(self, probe, how):
        done = subprocess.run(["valgrind", "--quiet", "--error-exitcode=9", probe, how], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.stdout, "1 of 65 equal\n", done.stderr)
        return done.returncode, done.stderr


if __name__ == "__main__":
    unittest.main()
