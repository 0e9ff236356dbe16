#!/usr/bin/env python3
"""The daemon while what it calls fails (tests/fault/fault.h): each fault at least 1,000 times, and nothing is lost, charged
twice, answered wrongly or leaked. METE_HITS of each (1000), METE_SEED."""
import pathlib
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BUILD
from lib.faulty import HITS, SEED, Faulty

class Datagrams(unittest.TestCase):
    """Distinct requests, each sent again until it is answered; the buckets and the daemon's counters are the judges."""

    FEEDS, ROUNDS = 4, 8  # each with a flow and rules of its own, so that answers to several leave together
    CONFIG = "tenants:\n  - name: default\n    rules:\n" + "".join(
        f"      - {{name: {few}b{i}, algorithm: token_bucket, rate: 1/10000s, burst: {burst}}}\n"
        for i in range(FEEDS * ROUNDS) for few, burst in (("", 30000), ("few_", 1)))
    SHAPES = ("single", "batch", "all", "most", "pair", "either")

    def start_feed(self, daemon, index, count):
        port = str(daemon.port)
        return subprocess.Popen([str(BUILD / "tests/property/repeat_feed"), port, port, str(count), str(SEED + index),
                                 *(f"b{index}:{shape}" for shape in self.SHAPES)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def judge_feed(self, daemon, index, feed):
        out, err = feed.communicate(timeout=300)
        self.assertEqual((feed.returncode, err), (0, ""), f"METE_SEED={SEED}")
        units = {shape: int(number) for shape, number in re.findall(r"^b\d+ (\w+) .* units (\d+)$", out, re.M)}
        self.assertEqual(tuple(units), self.SHAPES)
        either = units["either"] // 2  # with two units of its own, each took the one that two wanted
        self.assertEqual(daemon.rule(f"few_b{index}")["units"], units["pair"] + either)
        self.assertEqual(daemon.rule(f"b{index}")["units"], sum(units.values()) - units["pair"])

    def judge(self, backend, faults, wanted, count=6000):
        """Rounds until each point in `wanted` was hit so often: fewer calls carry more on a busy machine."""
        with Faulty(faults, self.CONFIG, backend=backend, workers=1, entries=2 << 20) as daemon:
            before = daemon.descriptors()
            for first in range(0, self.FEEDS * self.ROUNDS, self.FEEDS):
                feeds = {index: self.start_feed(daemon, index, count) for index in range(first, first + self.FEEDS)}
                for index, feed in feeds.items():
                    self.judge_feed(daemon, index, feed)
                if all(daemon.hits(point) >= HITS for point in wanted):
                    break
            self.assertEqual(daemon.descriptors(), before)
            for point in wanted:
                self.assertGreaterEqual(daemon.hits(point), HITS, point)

    def test_system_calls(self):
        self.judge("mmsg", f"enobufs=1/5x{HITS},eagain=1/5x{HITS}", ["enobufs", "eagain"])

    def test_short_sends(self):
        """What is left of a batch is sent after; the daemon stands still while the questions come, so that they are one."""
        flows, rounds, allowed = 64, HITS // 15, 0
        daemon = Faulty(f"send_short=1/1x{HITS}", backend="mmsg", workers=1)
        clients = [daemon.client() for _ in range(flows)]
        try:
            for number in range(rounds):
                daemon.process.send_signal(signal.SIGSTOP)
                requests = [client.request(wire.CHECK, "demo", b"%d" % number) for client in clients]
                for client, request in zip(clients, requests):
                    client.send(request)
                daemon.process.send_signal(signal.SIGCONT)
                answers = [client.receive(request).entries[0] for client, request in zip(clients, requests)]
                allowed += sum(answer.allowed for answer in answers)
            self.assertEqual(daemon.rule("demo")["units"], allowed)
            self.assertEqual(daemon.stats()["total"]["send_errors"], 0)
            self.assertEqual(daemon.hits("send_short"), HITS)
        finally:
            for client in clients:
                client.socket.close()
            daemon.close()

    def test_rings(self):
        self.judge("io_uring", f"enobufs=1/3x{HITS},eagain=1/5x{HITS}", ["enobufs", "eagain"])

    def test_short_completion_queue(self):
        self.judge("io_uring", "cq=1/1", ["cq"])


class Clock(unittest.TestCase):
    """The host's clock jumps by up to a day, back and forth: what runs on it and what does not stays exact."""

    LIMIT = 300
    CONFIG = f"""
tenants:
  - name: default
    rules:
      - {{name: bucket, algorithm: token_bucket, rate: 1/100000s, burst: {LIMIT}}}
      - {{name: fixed, algorithm: fixed_window, limit: {LIMIT}/3650d}}
      - {{name: sliding, algorithm: sliding_window, limit: {LIMIT}/3650d}}
      - {{name: jobs, algorithm: concurrency, limit: {LIMIT}, lease: 7d}}
"""

    def test_steps(self):
        allowed = dict.fromkeys(("bucket", "fixed", "sliding", "jobs"), 0)
        with Faulty("clock_step=1/1", self.CONFIG, backend="mmsg", workers=16) as daemon, daemon.client() as client:
            lease = 0
            while daemon.hits("clock_step") < HITS or allowed["jobs"] < self.LIMIT:
                lease += 1
                for rule in allowed:
                    if rule == "jobs":
                        verdict = client.limits(wire.ACQUIRE, rule, b"s", lease_id=lease).entries[0]
                    else:
                        verdict = client.check(rule, b"s")
                    self.assertEqual(verdict.status, 0)
                    allowed[rule] += verdict.allowed
            self.assertEqual(allowed, dict.fromkeys(allowed, self.LIMIT))
            for rule in ("bucket", "fixed", "sliding"):
                self.assertEqual(daemon.rule(rule)["units"], self.LIMIT)


if __name__ == "__main__":
    unittest.main()
