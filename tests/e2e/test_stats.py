#!/usr/bin/env python3
"""`mete stats` and the admin socket behind it, and the small commands: what they print, how they refuse."""
import json
import pathlib
import re
import socket
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, Daemon, mete

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 10}
      - {name: watched, algorithm: token_bucket, rate: 1/h, burst: 2, shadow: true}
  - name: other
    rules:
      - {name: demo, algorithm: fixed_window, limit: 5/365d}
"""


def connect(path):
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.settimeout(60)
    door.connect(path)
    return door


def read_all(door):
    parts = []
    while True:
        part = door.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


class Stats(unittest.TestCase):
    def spend(self, daemon):
        """A known mixture from many flows, so that all workers get some."""
        for flow in range(16):
            with daemon.client() as client:
                for _ in range(4):
                    client.check("demo", f"s{flow}".encode(), 3)
                for _ in range(3):
                    client.check("watched", f"s{flow}".encode())
                client.check("demo", f"s{flow}".encode(), tenant="other")
                client.check("x", f"s{flow}".encode(), 2, inline=(5, 5, 3600 * 10**9))
                client.check("nothing", b"x")
                client.refund("demo", f"s{flow}".encode(), 2)
                client.check("demo", f"s{flow}".encode(), flags=wire.PEEK)
                client.reset("demo", f"s{flow}".encode())

    def test_numbers(self):
        for backend in BACKENDS:
            for workers in (1, 4):
                with self.subTest(backend=backend, workers=workers), \
                        Daemon(CONFIG, backend=backend, workers=workers) as daemon:
                    self.spend(daemon)
                    stats = daemon.stats()
                    total = stats["total"]
                    expected = {"received": 208, "answered": 208, "checks": 208, "allowed": 16 * 8, "denied": 16,
                                "would_deny": 16, "peeked": 16, "refunded": 16, "reset": 16, "unknown_rule": 16,
                                "bad_tag": 0, "unsupported": 0, "send_errors": 0, "receive_errors": 0}
                    self.assertEqual({name: total[name] for name in expected}, expected)
                    self.assertEqual(len(stats["workers"]), workers)
                    for name, value in total.items():
                        self.assertEqual(value, sum(worker[name] for worker in stats["workers"]), name)
                    rules = {(r["tenant"], r["rule"]): (r["allowed"], r["denied"], r["would_deny"], r["units"], r["live"])
                             for r in stats["rules"]}
                    self.assertEqual(rules, {
                        ("default", "demo"): (48, 16, 0, 144, 0), ("default", "watched"): (48, 0, 16, 32, 16),
                        ("default", "(inline)"): (16, 0, 0, 32, 16), ("other", "demo"): (16, 0, 0, 16, 16)})
                    self.assertEqual(stats["backend"], backend)
                    self.assertEqual(stats["table"]["entries"], daemon.entries)
                    self.assertEqual(stats["table"]["live"], 48)
                    self.check_text(daemon, total, rules)

    def check_text(self, daemon, total, rules):
        done = mete("stats", "--admin", daemon.admin)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
        for name, value in total.items():
            if name not in ("batches", "swept"):
                self.assertEqual(rows[name][0], str(value), name)
            if daemon.workers > 1:
                self.assertEqual(len(rows[name]), 1 + daemon.workers, name)
        for (tenant, rule), numbers in rules.items():
            self.assertEqual(rows[f"{tenant}/{rule}"], [str(number) for number in numbers])


class Door(unittest.TestCase):
    def connect(self, path):
        door = connect(path)
        self.addCleanup(door.close)
        return door

    def test_strangers(self):
        with Daemon() as daemon:
            idle = [self.connect(daemon.admin) for _ in range(20)]
            slow = self.connect(daemon.admin)
            slow.sendall(b"stats js")
            for garbage in (b"\0\xff\n", b"\n", b"stats yaml\n", b"%n%s%s%s\n"):
                with connect(daemon.admin) as door:
                    door.sendall(garbage)
                    self.assertTrue(read_all(door).startswith(b"error: unknown command '"), garbage)
            with connect(daemon.admin) as door:
                try:
                    door.sendall(b"x" * 100000)
                    answer = read_all(door)
                except (BrokenPipeError, ConnectionResetError):
                    answer = b""
                self.assertEqual(answer, b"")
            with connect(daemon.admin) as door:  # says nothing and goes
                pass
            with connect(daemon.admin) as door:  # asks and goes without reading
                door.sendall(b"stats\n")
            slow.sendall(b"on\n")
            self.assertEqual(json.loads(read_all(slow))["backend"], daemon.backend)
            with connect(daemon.admin) as door:  # more than one line: the first counts
                door.sendall(b"stats json\nstats json\n")
                self.assertEqual(json.loads(read_all(door))["backend"], daemon.backend)
            with daemon.client() as client:
                self.assertTrue(client.check("demo", b"a").allowed)

    def test_idle_connections_do_not_shut_out(self):
        with Daemon() as daemon:
            idle = [self.connect(daemon.admin) for _ in range(20)]
            for _ in range(3):
                self.assertEqual(daemon.stats()["total"]["received"], 0)
            del idle

    def test_slow_reader_holds_up_nobody(self):
        """Whoever asks for more than a socket holds and does not read must not stop the next one."""
        config = "tenants:\n  - name: default\n    rules:\n" + "".join(
            f"      - {{name: rule-with-a-rather-long-name-{i}, algorithm: deny}}\n" for i in range(4000))
        with Daemon(config) as daemon:
            slow = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.settimeout(60)
            slow.connect(daemon.admin)
            slow.sendall(b"stats json\n")
            self.assertEqual(len(daemon.stats()["rules"]), 4000)
            self.assertEqual(len(json.loads(read_all(slow))["rules"]), 4000)
            slow.close()

    def test_mode(self):
        with Daemon() as daemon:
            self.assertEqual(pathlib.Path(daemon.admin).stat().st_mode & 0o777, 0o600)


class Commands(unittest.TestCase):
    def one_line(self, status, *arguments):
        done = mete(*arguments)
        self.assertEqual(done.returncode, status, (arguments, done.stderr))
        self.assertEqual((done.stdout, len(done.stderr.splitlines())), ("", 1), (arguments, done.stderr))
        self.assertTrue(done.stderr.startswith("mete"), done.stderr)
        return done.stderr

    def test_no_daemon(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/admin.sock"
            self.assertIn(path, self.one_line(3, "stats", "--admin", path))
            dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            dead.bind(path)
            dead.close()
            self.assertIn("refused", self.one_line(3, "stats", "--json", "--admin", path))
            self.one_line(3, "stats", "--admin", folder + "/" + "x" * 200)

    def test_daemon_that_hangs_up(self):
        """No answer at all is no answer, not an empty success."""
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/admin.sock"
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(path)
                listener.listen(1)
                hangs_up = threading.Thread(target=lambda: self.hear_and_hang_up(listener))
                hangs_up.start()
                self.assertIn(path, self.one_line(3, "stats", "--admin", path))
                hangs_up.join()

    @staticmethod
    def hear_and_hang_up(listener):
        door, _ = listener.accept()
        door.recv(100)
        door.close()

    def test_wrong_use(self):
        self.assertIn("unknown command 'nonsense'; `mete help` lists them", self.one_line(2, "nonsense"))
        self.assertIn("unknown command 'chek'; did you mean 'check'?", self.one_line(2, "chek"))
        self.assertIn("--jsn: no such option; did you mean --json?", self.one_line(2, "stats", "--jsn"))
        self.assertIn("'extra'", self.one_line(2, "stats", "extra"))
        self.assertIn("--admin: its value is missing", self.one_line(2, "stats", "--admin"))
        self.assertIn("'--bogus'", self.one_line(2, "version", "--bogus"))
        self.assertIn("'x'", self.one_line(2, "version", "x"))
        self.assertIn("--confg: no such option", self.one_line(2, "serve", "--confg", "x"))
        self.assertIn("-z: no such option", self.one_line(2, "serve", "-z"))
        self.assertIn("'file'", self.one_line(2, "serve", "file"))
        self.assertEqual(mete().returncode, 2)

    def test_version_and_help(self):
        for arguments in (("version",), ("--version",)):
            done = mete(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertRegex(done.stdout, r"\Amete \S+\ncompiler .+\nkernel Linux .+\nbackend io_uring: .+\n"
                                          r"backend mmsg: works here\nbackend af_xdp: .+\nfilter of system calls: .+\n"
                                          r"built with: .+\nbuilt without: .+\n\Z")
        listing = mete("help").stdout
        names = re.findall(r"^  (\w+) ", listing, re.M)
        self.assertGreater(len(names), 12)
        for name in names:
            done = mete(name, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            self.assertTrue(done.stdout.startswith(f"usage: mete {name}"), done.stdout)


if __name__ == "__main__":
    unittest.main()
