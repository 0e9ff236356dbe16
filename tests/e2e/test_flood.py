#!/usr/bin/env python3
"""One tenant's flood of random subjects, and what the others see of it: 10,000,000 checks here (METE_FLOOD), a thousand
million by `make flood`. METE_SEED replays."""
import os
import pathlib
import random
import re
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BUILD, SANITIZED, Daemon

SEED = int(os.environ.get("METE_SEED") or random.SystemRandom().getrandbits(32))
COUNT = int(os.environ.get("METE_FLOOD") or (200_000 if SANITIZED else 10_000_000)) // 1000 * 1000
BURST = 100
CONFIG = """
tenants:
  - name: crowd
    rules: [{name: api, algorithm: token_bucket, rate: 1/h, burst: 10}]
  - name: limited
    checks: {rate: 20000/s, burst: 5000}
    rules: [{name: api, algorithm: token_bucket, rate: 1/h, burst: 10}]
  - name: neighbour
    rules: [{name: api, algorithm: token_bucket, rate: 1/h, burst: %d}]
  - name: own
    entries: 16384
    rules:
      - {name: api, algorithm: token_bucket, rate: 1/h, burst: %d}
      - {name: fixed, algorithm: fixed_window, limit: %d/365d}
      - {name: sliding, algorithm: sliding_window, limit: %d/365d}
""" % (BURST, BURST, BURST, BURST)


class Flood(unittest.TestCase):
    def start(self, daemon, tenant, count):
        self.floods = getattr(self, "floods", 0) + 1  # no two of a test are the same datagrams
        feed = subprocess.Popen([BUILD / "tests/property/crowd_feed", str(daemon.port), tenant, "api", str(count),
                                 str(SEED + self.floods)],
                                stdout=subprocess.PIPE, text=True)
        self.addCleanup(feed.stdout.close)
        self.addCleanup(feed.kill)
        return feed

    def finish(self, feed):
        """What the flood was told: (allowed, denied, datagrams refused, datagrams stale), of as many as there were."""
        said = feed.stdout.read()
        self.assertEqual(feed.wait(), 0, f"seed {SEED}")
        sent, *told = map(int, re.fullmatch(r"sent (\d+) allowed (\d+) denied (\d+) limited (\d+) stale (\d+)\n", said).groups())
        self.assertEqual(sent, sum(told[:2]) + 50 * sum(told[2:]))
        # What lay in a queue for longer than the repeat window, on a machine that was busy with something else.
        self.assertLess(told[3], 10 + sent // 50 // 50)
        return told

    def resident_kib(self, daemon):
        status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    def ask(self, client, spent, generator):
        """A datagram of tenant `own`; every verdict as if there were nobody else."""
        rule = generator.choice(("api", "fixed", "sliding"))
        subjects = [b"own %d" % generator.randrange(1000) for _ in range(10)]
        costs = generator.choice((0, 1, 1, 3, 50))
        while (result := client.limits(wire.CHECK, rule, subjects, costs, tenant="own")).flags & wire.STATUS:
            self.assertEqual(result.detail, wire.STALE)  # it has no clock; asked anew
        for subject, verdict in zip(subjects, result.entries):
            left = BURST - spent.get((rule, subject), 0)
            allowed = costs <= left
            if allowed:
                spent[rule, subject] = BURST - (left := left - costs)
            self.assertEqual((verdict.status, verdict.allowed, verdict.remaining), (wire.OK, allowed, left),
                             f"{rule} {subject} cost {costs}, seed {SEED}")

    def test_a_crowd_of_subjects(self):
        """Memory stays what it was; a tenant with a region of its own is judged exactly; in the shared region the flood
        evicts itself, and not who owes more."""
        heavy = [b"heavy %d" % i for i in range(500)]
        with Daemon(CONFIG, workers=2) as daemon, daemon.client() as client, daemon.client() as other:
            for subject in heavy:
                self.assertTrue(other.check("api", subject, 90, tenant="neighbour").allowed)
            first = self.finish(self.start(daemon, "crowd", 100_000))  # every path was gone once
            before = self.resident_kib(daemon)
            feed, spent, generator, asked = self.start(daemon, "crowd", COUNT), {}, random.Random(SEED), 0
            while feed.poll() is None or asked < 500:
                self.ask(client, spent, generator)
                asked += 1
            allowed, denied, limited, stale = self.finish(feed)
            self.assertEqual((denied, limited), (0, 0))
            self.assertLess(self.resident_kib(daemon) - before, 256 * (8 if SANITIZED else 1))
            for subject in heavy:
                verdict = other.check("api", subject, 0, tenant="neighbour")
                self.assertEqual(verdict.remaining, 10, subject)
                self.assertFalse(other.check("api", subject, 11, tenant="neighbour").allowed)
            stats = daemon.stats()
            checks = {rule["tenant"]: rule["allowed"] for rule in stats["rules"] if rule["rule"] == "api"}
            self.assertEqual((checks["crowd"], checks["neighbour"]), (allowed + first[0], 2 * len(heavy)))
            self.assertGreater(COUNT, 2 * daemon.entries)
            self.assertEqual(stats["total"]["stale"], stale + first[3])

    def test_a_limit_on_checks(self):
        """A flood with a limit on it: as many checks are judged as the limit lets pass in that time; who asks besides is
        answered, one request after the other."""
        with Daemon(CONFIG, workers=2) as daemon, daemon.client() as client:
            started, asked, spent, generator = time.monotonic(), 0, {}, random.Random(SEED)
            feed = self.start(daemon, "limited", COUNT // 10)
            while feed.poll() is None or asked < 500:
                self.ask(client, spent, generator)
                asked += 1
            allowed, denied, limited, _ = self.finish(feed)
            most = 5000 + 20000 * (time.monotonic() - started) + 2 * 64  # engine/quota.h
            self.assertLessEqual(allowed + denied, most)
            self.assertGreaterEqual(allowed + denied, 5000)
            tenants = {tenant["tenant"]: tenant["limited"] for tenant in daemon.stats()["tenants"]}
            self.assertEqual(tenants, {"limited": limited * 50, "crowd": 0, "neighbour": 0, "own": 0})


if __name__ == "__main__":
    unittest.main()
