#!/usr/bin/env python3
"""Whatever is refused while the daemon starts or reads a file (memory, a mapping, a thread), it says so in one line and ends
with status 2, or does without; never a crash, and under a sanitizer never a leak.

The first so many calls of each kind fail, one per run: METE_COUNT runs of each kind of command (20 in the suite; 1000 by
`make faults-inside`), spread over all calls there are."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import faulty
from lib.daemon import BUILD, METE, ROOT

COUNT = int(os.environ.get("METE_COUNT") or 20)
COUNT = COUNT if COUNT < 5000 else 20  # a campaign's number for other tests
CONFIG = """
listen: {{udp: 127.0.0.1:0, unix: {0}/mete.sock, admin: {0}/admin.sock, resp: 127.0.0.1:0, http: 127.0.0.1:0, grpc: 127.0.0.1:0, metrics: 127.0.0.1:0}}
workers: 2
trusted_networks: [10.0.0.0/8]
table: {{entries: 4096}}
repeats: {{memory: 64KiB}}
key_file: {0}/key
tiers:
  free: {{rules: [{{name: api, algorithm: token_bucket, rate: 10/s, burst: 20}}]}}
tenants:
  - name: acme
    tier: free
    secret_files: [{0}/secret]
    api_keys: [{{name: ci, sha256: "{1}", may: [check, manage]}}]
    entries: 64
    checks: 1000/s
    rules:
      - {{name: api, algorithm: token_bucket, rate: 11/s}}
      - {{name: login, algorithm: sliding_window, limit: 5/60s, overrides: [{{subject: u, limit: 3/60s}}, {{prefix: "b:", limit: 1/60s}}]}}
      - {{name: plan, algorithm: calendar, limit: 100, per: month, time_zone: Europe/Berlin}}
      - {{name: jobs, algorithm: concurrency, limit: 3, lease: 10s}}
    descriptors: [{{key: path, value: /login, rule: login, descriptors: [{{key: user, rule: api}}]}}]
"""


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name in ("key", "secret"):
            (self.folder / name).write_bytes(b"s" * 32)
            (self.folder / name).chmod(0o600)
        self.config = self.folder / "mete.yaml"
        self.config.write_text(CONFIG.format(self.folder, "ab" * 32))

    def each(self, point, *command):
        """Runs it with one call failing, another each time; yields how each ended."""
        whole, points = faulty.run(f"from=start,{point}=1/1000000000", *command)
        self.assertEqual(whole.returncode, 0, whole.stderr)
        calls = points[point][1]
        self.assertGreater(calls, 1)
        step = max(1, calls // COUNT)
        for at in range(1, calls + 1, step):
            done, points = faulty.run(f"from=start,{point}=@{at}", *command)
            self.assertEqual(points[point][0], 1, (at, points))
            yield at, done


class Commands(Folder):
    def test_config_without_memory(self):
        for at, done in self.each("alloc", "config", "check", str(self.config)):
            if done.returncode == 0:
                continue  # it was for less than what was asked
            self.assertEqual(done.returncode, 2, (at, done.stderr))
            self.assertRegex(done.stderr, r"\A[^\n]*(out of memory|Cannot allocate memory)[^\n]*\Z", at)

    def test_other_commands_without_memory(self):
        envoy = self.folder / "envoy.yaml"
        envoy.write_text("domain: acme\ndescriptors:\n  - {key: user, rate_limit: {unit: minute, requests_per_unit: 5}}\n")
        log = self.folder / "access.log"
        log.write_text("".join('10.0.0.%d - - [21/Nov/2026:10:00:%02d +0000] "GET / HTTP/1.1" 200 5\n' % (n % 7, n % 60)
                               for n in range(200)))
        for command in (("config", "show", "--config", str(self.config)), ("config", "import", "envoy", str(envoy)),
                        ("replay", str(log), "--rule", "token_bucket 1/s burst 2")):
            with self.subTest(command[:2]):
                for at, done in self.each("alloc", *command):
                    self.assertIn(done.returncode, (0, 2), (at, done.stderr))
                    if done.returncode == 2:
                        self.assertRegex(done.stderr, r"memory", at)
                        self.assertEqual(done.stderr.count("\n"), 0, done.stderr)


class Start(Folder):
    def start(self, faults):
        """Starts it, stops it when it is ready: its status, what it said, the points."""
        process = subprocess.Popen([faulty.FAULTY, "serve", "--config", str(self.config)], text=True, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   env={**os.environ, "METE_FAULTS": f"from=start,{faults}"})
        said = []
        for line in process.stderr:
            said.append(line.rstrip("\n"))
            if " backend " in line:
                process.terminate()
        process.stderr.close()
        return process.wait(), [line for line in said if not faulty.SAID.match(line)], faulty.read(said)

    def judge(self, point, count):
        """`count` starts in which one call fails; how many of them ended for it."""
        status, said, points = self.start(f"{point}=1/1000000000")
        self.assertEqual(status, 0, said)
        calls = points[point][1]
        hits = refused = 0
        places = [(run * calls // count if calls > count else run % calls) + 1 for run in range(count)]
        if calls > count:  # the last ones, which leave most to be torn down, each
            places = places[:-8] + list(range(calls - 7, calls + 1))
        for at in places:
            status, said, points = self.start(f"{point}=@{at}")
            self.assertIn(point, points, (at, status, said))
            hits += points[point][0]
            self.assertIn(status, (0, 2), (at, said))
            if status == 2:
                refused += 1
                # nothing runs yet: what was wrong, and perhaps a warning before it
                self.assertRegex(said[-1], r"^mete serve: .*(memory|start|unavailable|thread)", said)
            self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["key", "mete.yaml", "secret"])
        return hits, refused

    def test_memory(self):
        hits, refused = self.judge("alloc", COUNT)
        self.assertGreater(refused, hits // 2)

    def test_mappings(self):
        hits, refused = self.judge("mmap", COUNT)
        self.assertEqual(hits, COUNT)
        self.assertGreater(refused, 0)

    def test_threads(self):
        self.assertEqual(self.judge("thread", COUNT), (COUNT, COUNT))


class Builds(unittest.TestCase):
    def symbols(self, path):
        return subprocess.run(["nm", path], text=True, capture_output=True, check=True).stdout

    def test_only_in_their_own_program(self):
        for path in (METE, str(ROOT / "build/mete")):
            if os.path.exists(path):
                found = re.findall(r".*\b(?:fault_is_due|__wrap_\w+)\b.*", self.symbols(path))
                self.assertEqual(found, [], path)
        self.assertRegex(self.symbols(BUILD / "tests/fault/mete"), r"\bfault_is_due\b")


if __name__ == "__main__":
    unittest.main()
