#!/usr/bin/env python3
"""The micro benches do not rot: each runs with a tiny input and prints its figures. No figure is judged."""
import os
import pathlib
import re
import socket
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lib import daemon  # noqa: E402

BUILD = ROOT / (os.environ.get("METE_BUILD") or "build/check")


class Micro(unittest.TestCase):
    def run_tiny(self, name):
        done = subprocess.run([BUILD / "bench" / name, "--tiny"], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_table(self):
        self.assertRegex(self.run_tiny("micro_table"), r"[\d.]+ M checks/s +[\d.]+ ns per check")

    def test_repeat(self):
        self.assertEqual(len(re.findall(r"[\d.]+ ns per datagram", self.run_tiny("micro_repeat"))), 4)

    def test_hot(self):
        self.assertRegex(self.run_tiny("micro_hot"), r"1 thread [\d.]+ M/s; 2 threads [\d.]+ M/s, with a table each [\d.]+ M/s\n"
                         r"all threads over one: [\d.]+ times; .* [\d.]+ times\none key over a table each: [\d.]+ \(.*[\d.]+\)\n$")

    def test_path(self):
        said = self.run_tiny("micro_path")
        self.assertEqual(len(re.findall(r"[\d.]+ ns per check; .* [\d.]+; .* [\d.]+, [+-][\d.]+ in all", said)), 3, said)

    def test_shared(self):
        said = self.run_tiny("micro_shared")
        self.assertEqual(len(re.findall(r"^  (?:local|dirty|flushed).* ns per check +[+-][\d.]+ % \([+-][\d.]+ to [+-][\d.]+\)$", said, re.M)), 12, said)

    def test_lease(self):
        said = self.run_tiny("micro_lease")
        self.assertEqual(re.findall(r"^(\w.*?) +[\d.]+ ns", said, re.M),
                         ["check of a new key", "token bucket check", "acquire", "renew", "release", "sweep"], said)

    def test_snapshot(self):
        said = self.run_tiny("micro_snapshot")
        rows = re.findall(r"^(\w+) +(\d+) entries .* ns an entry$", said, re.M)
        self.assertEqual([name for name, _ in rows], ["write", "read"], said)
        self.assertTrue(all(9900 < int(count) <= 10000 for _, count in rows), said)

    def test_client(self):
        with daemon.Daemon() as server:
            done = subprocess.run([BUILD / "bench/client", "--tiny", "--server", "%s:%d" % server.address],
                                  capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        rows = re.findall(r"^(one datagram|joined by)[a-z_ ]+(?: +[\d.]+){7}$", done.stdout, re.M)
        self.assertEqual(len(rows), 3, done.stdout)

    def test_client_without_a_server(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        for arguments, status in ((["--server", f"127.0.0.1:{port}"], 4), (["--callers", "0"], 2),
                                  (["--server", "127.0.0.1:0"], 2)):
            done = subprocess.run([BUILD / "bench/client", "--tiny", *arguments], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (status, "", 1), done.stderr)

    def test_wrong_use_is_told(self):
        for name, option in (("micro_table", "--keys"), ("micro_path", "--keys"), ("micro_lease", "--keys"),
                             ("micro_repeat", "--mib"), ("micro_snapshot", "--keys"), ("micro_hot", "--threads")):
            done = subprocess.run([BUILD / "bench" / name, option, "0"], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
