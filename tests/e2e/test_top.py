#!/usr/bin/env python3
"""`mete top` against what was sent: rates that add up to the counts, who asks most and is denied most by name or key,
latencies of all that was decided; in a pipe, on terminals of any size, through reloads and restarts of the daemon."""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, METE, PATIENCE_S, Daemon, mete, parse_address
from lib.http_raw import Raw, post

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 10}
      - {name: wide, algorithm: token_bucket, rate: 1000/s, burst: 1000000}
  - name: other
    rules:
      - {name: demo, algorithm: fixed_window, limit: 3/365d}
"""
DOORS = ["listen.http=127.0.0.1:0"]


class Live:
    """`mete top --json` that runs; its lines one by one."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([METE, "top", "--json", *arguments], stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self):
        return json.loads(self.process.stdout.readline())


def once(daemon):
    done = mete("top", "--json", "--count", "1", "--admin", daemon.admin)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1, done
    return json.loads(done.stdout)


def ask(client, rule, subject, **options):
    """Asks by name: only then names are known."""
    return client.check(rule, subject, flags=wire.RAW_SUBJECT, **options)


def by_name(subjects):
    return {(one["tenant"], one["rule"], one["subject"]): one for one in subjects}


class Top(unittest.TestCase):
    def test_numbers(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(CONFIG, DOORS, backend=backend, workers=2) as daemon, daemon.client() as client:
                for i in range(40):
                    ask(client, "demo", b"hot")
                    ask(client, "demo", b"cool %d" % i)
                ask(client, "demo", b"other's", tenant="other")
                client.limits(wire.CHECK, "wide", [b"one", b"two", b"three"])  # a datagram of several counts as several
                with Raw(parse_address(daemon.http)) as raw:
                    for _ in range(20):
                        raw.ask(post("/check", {"rule": "wide", "subject": "over HTTP"}))
                said = once(daemon)
                total = daemon.stats()["total"]
                # the first line has averages since the start, so they add up to all that was counted
                for name in ("checks", "allowed", "denied", "received"):
                    self.assertAlmostEqual(said["per_second"][name] * said["interval_s"], total[name], delta=0.2 + total[name] / 50)
                rules = {(rule["tenant"], rule["rule"]): rule for rule in said["rules"]}
                self.assertEqual((rules["default", "demo"]["allowed"], rules["default", "demo"]["denied"]), (50, 30))
                self.assertEqual((rules["default", "wide"]["units"], rules["other", "demo"]["allowed"]), (23, 1))
                self.assertEqual(said["rules"][0]["rule"], "demo")  # the busiest first
                self.assertEqual(said["rules_left_out"], 0)
                # so little is not sampled but counted, so all of it adds up; half a second may have passed since
                self.assertEqual(said["latency_us"]["udp"]["checks"], 84)
                self.assertEqual(said["latency_us"]["http"]["checks"], 20)
                for door in ("udp", "http"):
                    self.assertLessEqual(said["latency_us"][door]["p50"], said["latency_us"][door]["p999"])
                hottest, denied = said["hottest"], said["most_denied"]
                self.assertEqual([one["subject"] for one in hottest[:2]], ["hot", "over HTTP"])
                self.assertEqual([one["subject"] for one in denied], ["hot"])
                self.assertAlmostEqual(hottest[0]["per_second"] / hottest[1]["per_second"], 2, places=2)
                self.assertAlmostEqual(denied[0]["per_second"] / hottest[0]["per_second"], 30 / 40, places=2)
                self.assertIn(("other", "demo", "other's"), by_name(hottest))

    def test_redis_that_is_not_there(self):
        """Nothing of other nodes without a redis.url; with one its state, and since when it is missed."""
        with Daemon(CONFIG) as daemon:
            self.assertIsNone(once(daemon)["replica"])
            self.assertNotIn("redis ", mete("top", "--count", "1", "--admin", daemon.admin).stdout)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = "redis.url=redis://127.0.0.1:%d" % nobody.getsockname()[1]
            with Daemon(CONFIG, sets=[url]) as daemon, Live("--admin", daemon.admin) as live:
                replica = live.line()["replica"]
                while not replica["degraded_s"]:
                    replica = live.line()["replica"]
                self.assertNotEqual(replica["link"], "fine")
                self.assertEqual(replica["nodes"], 0)  # Redis has not said
                said = mete("top", "--count", "1", "--admin", daemon.admin).stdout
                self.assertRegex(said, r"\nredis +\S+.*DEGRADED for \d+ s  nodes 0 ")

    def test_keys_without_names(self):
        """Who sends keys is shown by key; the same subject, by name, is the same line from then on."""
        with Daemon(CONFIG, DOORS) as daemon, daemon.client() as client:
            for _ in range(5):
                client.check("demo", b"alice")
            said = once(daemon)
            low, high = struct.unpack("<QQ", wire.subject_key(b"alice", wire.tenant_seed("default")))
            self.assertEqual([(one["subject"], one["key"]) for one in said["hottest"]], [(None, "%016x%016x" % (high, low))])
            ask(client, "demo", b"alice")
            self.assertEqual([one["subject"] for one in once(daemon)["hottest"]], ["alice"])

    def test_hostile_names(self):
        names = [b"\x1b[2J\x1b]0;x\x07", b"a\nb", b"\xff\xfe", b"\0\0", b'"\\', "grüße".encode(), b"x" * 111]
        with Daemon(CONFIG, DOORS) as daemon, daemon.client() as client:
            for name in names:
                ask(client, "demo", name)
            subjects = {one["subject"] for one in once(daemon)["hottest"]}
            self.assertEqual(subjects, {"\x1b[2J\x1b]0;x\x07", "a\nb", "\ufffd\ufffd", "\0\0", '"\\', "grüße", "x" * 64})
            text = mete("top", "--count", "1", "--admin", daemon.admin).stdout
            self.assertIn(r"\x1b[2J\x1b]0;x\x07", text)
            self.assertIn("grüße", text)
            self.assertFalse(re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text), text)

    def test_rules_are_bounded(self):
        """Of a thousand rules those that are asked are there, first."""
        rules = "".join(f"      - {{name: r{i}, algorithm: token_bucket, rate: 1/h, burst: 10}}\n" for i in range(1000))
        with Daemon("tenants:\n  - name: default\n    rules:\n" + rules) as daemon, daemon.client() as client:
            self.assertEqual(len(once(daemon)["rules"]), 64)
            for i in range(0, 1000, 100):
                for _ in range(1 + i // 100):
                    ask(client, f"r{i}", b"x")
            said = once(daemon)
            self.assertEqual([rule["rule"] for rule in said["rules"][:10]], [f"r{i}" for i in range(900, -1, -100)])
            self.assertEqual((len(said["rules"]), said["rules_left_out"]), (64, 936))

    def test_interval_is_what_happened_in_it(self):
        with Daemon(CONFIG, DOORS) as daemon, daemon.client() as client, Live("--admin", daemon.admin) as live:
            live.line()
            sent = 0
            while True:  # some line tells of checks; together they tell of all
                for _ in range(10):
                    ask(client, "wide", b"x")
                sent += 10
                said = live.line()
                counted = said["per_second"]["checks"] * said["interval_s"]
                self.assertLess(said["uptime_s"], 3600)
                if counted:
                    break
            while counted < sent - 0.1:
                said = live.line()
                counted += said["per_second"]["checks"] * said["interval_s"]
            self.assertAlmostEqual(counted, sent, delta=0.1)

    def test_reload(self):
        with Daemon(CONFIG, DOORS) as daemon, daemon.client() as client:
            for _ in range(5):
                ask(client, "wide", b"before")
            once(daemon)
            pathlib.Path(daemon.folder, "mete.yaml").write_text(CONFIG.replace("name: wide", "name: broad"))
            self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
            ask(client, "broad", b"after")
            said = once(daemon)
            self.assertIn("broad", [rule["rule"] for rule in said["rules"]])
            self.assertNotIn("wide", [rule["rule"] for rule in said["rules"]])
            subjects = {one["subject"]: one["rule"] for one in said["hottest"]}
            self.assertEqual(subjects["after"], "broad")
            self.assertRegex(subjects["before"], "^0x[0-9a-f]{8}$")  # it has no name any more

    def test_daemon_goes_and_comes_back(self):
        with Daemon(CONFIG, DOORS) as daemon:
            with daemon.client() as client:
                for _ in range(7):
                    ask(client, "wide", b"x")
            with Live("--admin", daemon.admin) as live:
                self.assertGreater(live.line()["per_second"]["checks"], 0)
                daemon.stop()
                said = {"interval_s": 0}
                while "error" not in said:
                    said = live.line()
                with Daemon(CONFIG, [*DOORS, f"listen.admin={daemon.admin}"]) as again, again.client() as client:
                    ask(client, "wide", b"x")
                    while "error" in said:
                        said = live.line()
                    # averages of the new life, not differences to the old one's counters
                    self.assertAlmostEqual(said["per_second"]["checks"] * said["interval_s"], 1, delta=0.2)
                    self.assertAlmostEqual(said["interval_s"], said["uptime_s"], delta=0.01)
                    live.process.send_signal(signal.SIGINT)
                    self.assertEqual(live.process.wait(PATIENCE_S), 0)

    def test_wrong_use(self):
        self.assertIn("usage: mete top", mete("top", "--help").stdout)
        for arguments, status, said in ((["--count", "0"], 2, "--count"), (["x"], 2, "'x'"), (["--admin", ""], 2, "--admin"),
                                        (["--nothing"], 2, "--nothing"), (["--admin", "/nowhere/socket"], 3, "/nowhere/socket"),
                                        (["--json", "--admin", "/nowhere/socket"], 3, "/nowhere/socket")):
            done = mete("top", *arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (status, "", 1), done.stderr)
            self.assertIn(said, done.stderr)


class Terminal(unittest.TestCase):
    def draw(self, daemon, rows, columns, pages=1):
        """What is drawn on a terminal of that size."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = subprocess.Popen([METE, "top", "--count", str(pages), "--admin", daemon.admin], stdin=subprocess.DEVNULL,
                                   stdout=theirs, stderr=subprocess.PIPE)
        os.close(theirs)
        drawn, end = b"", time.monotonic() + PATIENCE_S
        try:
            while select.select([ours], [], [], end - time.monotonic())[0]:
                piece = os.read(ours, 65536)
                drawn += piece
        except OSError:  # the other side is closed
            pass
        os.close(ours)
        self.assertEqual((process.wait(PATIENCE_S), process.stderr.read()), (0, b""))
        process.stderr.close()
        return drawn.decode()

    def test_sizes(self):
        with Daemon(CONFIG, DOORS) as daemon, daemon.client() as client:
            for i in range(30):
                for _ in range(12):
                    ask(client, "demo", f"größer als {i} {'x' * 40}".encode())
            for rows, columns in ((24, 80), (50, 200), (10, 40), (3, 20), (2, 10), (8, 11)):
                with self.subTest(rows=rows, columns=columns):
                    drawn = self.draw(daemon, rows, columns)
                    self.assertTrue(drawn.startswith("\x1b[2J\x1b[H") and drawn.endswith("\x1b[J"), drawn)
                    lines = drawn[len("\x1b[2J\x1b[H"):-len("\x1b[J")].split("\x1b[K\r\n")
                    self.assertEqual(lines.pop(), "")
                    self.assertLess(len(lines), rows)
                    self.assertFalse([line for line in lines if len(line) > columns or "\x1b" in line], lines)
                    self.assertTrue(lines[0].startswith("mete "), lines)
                    if rows >= 24:
                        for word in ("checks/s", "datagrams/s", "latency", "table", "default/demo", "asked most", "denied most", "größer"):
                            self.assertIn(word, drawn)

    def test_pages_go_over_each_other(self):
        with Daemon(CONFIG, DOORS) as daemon:
            drawn = self.draw(daemon, 24, 80, pages=2)
            self.assertEqual((drawn.count("\x1b[2J"), drawn.count("\x1b[H"), drawn.count("\x1b[J")), (1, 2, 2))

    def test_pipe_has_no_escapes(self):
        with Daemon(CONFIG, DOORS) as daemon:
            done = mete("top", "--count", "2", "--admin", daemon.admin)
            self.assertNotIn("\x1b", done.stdout)
            self.assertEqual(len(re.findall(r"^mete ", done.stdout, re.M)), 2)


if __name__ == "__main__":
    unittest.main()
