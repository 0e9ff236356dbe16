#!/usr/bin/env python3
"""What `make bench-xdp` does, with tiny runs: every answer is judged, and nothing is left behind, not by Ctrl-C and not by kill -9.
No figure of speed is asserted. Skipped where there are no rights for namespaces, or no clang to compile the load's program."""
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from lib.daemon import BUILD, PATIENCE_S, mete  # noqa: E402
from lib.stores import wait_until  # noqa: E402
from lib.xdp_world import Unavailable, World  # noqa: E402


def setUpModule():
    try:
        with World():
            pass
    except Unavailable as why:
        raise unittest.SkipTest(f"no network namespaces: {why}") from None
    if not shutil.which("clang"):
        raise unittest.SkipTest("no clang")
    if "backend af_xdp: not in this build" in mete("version").stdout:
        raise unittest.SkipTest("af_xdp is not in this build")
    if len(os.sched_getaffinity(0)) < 2:
        raise unittest.SkipTest("one core")


def names(number):
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines() if line.startswith(f"mete-xdp-{number}-")]


class Program(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="mete-bench-xdp-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.object = os.path.join(cls.folder, "circulate.bpf.o")
        subprocess.run(["clang", "-O2", "-g", "-target", "bpf", f"-I{ROOT}/bench", f"-I/usr/include/{platform.machine()}-linux-gnu", "-c",
                        "-o", cls.object, ROOT / "bench/xdp/circulate.bpf.c"], check=True)

    def start(self, *arguments):
        process = subprocess.Popen([sys.executable, ROOT / "bench/compare_xdp.py", "--build", BUILD, "--object", self.object, *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def test_a_tiny_run(self):
        out = os.path.join(self.folder, "out.json")
        process = self.start("--rounds", "1", "--seconds", "0.3", "--only", "af_xdp", "--json", out)
        said, complaints = process.communicate(timeout=4 * PATIENCE_S)
        self.assertEqual((process.returncode, complaints), (0, ""))
        self.assertNotIn("INVALID", said)
        rows = json.loads(pathlib.Path(out).read_text())["rows"]
        self.assertEqual(set(rows), {row.format(way) for way in ("", ", carried")
                                     for row in ("mete, af_xdp{}", "mete, af_xdp{}, tags", "null echo, af_xdp{}")})
        for name, (row,) in rows.items():
            self.assertIn(f"| {name} |", said)
            self.assertGreater(row["answers"], 0)
            self.assertEqual(row["strange"] + row["other"] + row["refused"], 0, name)
            self.assertEqual(row["allowed"] + row["denied"] + row["echoed"], row["answers"])
        self.assertEqual(names(process.pid), [])

    def start_serving(self):
        """Returns the processes in its namespaces when a server is among them."""
        process = self.start("--rounds", "1", "--seconds", "600", "--only", "null echo, af_xdp")
        inside = set()

        def is_serving():
            self.assertIsNone(process.poll())
            for name in names(process.pid):
                inside.update(subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split())
            return any(self.is_called(number, "xdp_load") for number in inside)
        wait_until(is_serving, "a load that runs")
        return process, inside

    def is_called(self, number, name):
        try:
            return pathlib.Path(f"/proc/{number}/comm").read_text().strip() == name
        except OSError:
            return False

    def wait_gone(self, inside):
        wait_until(lambda: not any(self.is_called(number, name) for number in inside for name in ("echo", "xdp_load")), "their end")

    def test_interrupted(self):
        process, inside = self.start_serving()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE_S), 130)
        self.wait_gone(inside)
        self.assertEqual(names(process.pid), [])

    def test_killed(self):
        process, inside = self.start_serving()
        process.kill()
        process.wait(PATIENCE_S)
        self.wait_gone(inside)
        self.assertEqual(len(names(process.pid)), 4)
        with World():
            self.assertEqual(names(process.pid), [])


if __name__ == "__main__":
    unittest.main()
