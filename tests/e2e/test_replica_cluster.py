#!/usr/bin/env python3
"""Several daemons and a real Redis Cluster of three masters with a replica each: keys are spread over the masters; a manual
failover and slots on their way lose nothing; a killed master loses at most what its replica had not got, once, and the
limits go on.

METE_ROUNDS (1): how often each happens; `make faults` says 5."""
import os
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lib import mete_wire as wire  # noqa: E402
from lib.nodes import Load, Nodes, usage_of  # noqa: E402
from lib.stores import Cluster, has_redis, wait_until  # noqa: E402

ROUNDS = int(os.environ.get("METE_ROUNDS") or "1")
RULES = ["{name: api, algorithm: token_bucket, rate: 500/s, burst: 100}",
         "{name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}"]


@unittest.skipUnless(has_redis(), "no redis-server")
class InCluster(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.nodes = Nodes(3, self.cluster.url, RULES, store="partitions: 16")

    def tearDown(self):
        self.nodes.close()
        self.cluster.close()

    def slots_of_ours(self):
        """Slots that hold what the nodes told, the partitions'."""
        slots = set()
        for master in self.cluster.masters():
            with master.connect() as redis:
                for name in redis.command("KEYS", "{mete:*:*"):
                    slots.add(redis.command("CLUSTER", "KEYSLOT", re.match(rb"\{.*?\}", name).group()))
        return sorted(slots)

    def under_load(self, act):
        with Load(self.nodes, "api", rate=3000, keys=50) as load:
            act()
        self.assertEqual((load.result["odd"], load.result["answered"]), (0, load.result["datagrams"]), load.result)
        self.assertGreater(load.result["allowed"], 0)

    def wait_spread(self):
        with self.nodes[0].client() as client:
            for number in range(100):
                client.check("slow", b"%d" % number)
        self.nodes.wait_told(*self.cluster.masters())

    def test_manual_failover_and_migration(self):
        self.wait_spread()
        slots = self.slots_of_ours()
        self.assertGreater(len(slots), 8)
        self.assertGreater(len({self.cluster.master_of(slot).port for slot in slots}), 1)

        def shuffle():
            for _ in range(ROUNDS):
                self.cluster.fail_over(slots[0])
                for slot in slots[:4]:
                    masters = self.cluster.masters()
                    target = next(node for node in masters if node is not self.cluster.master_of(slot))
                    self.cluster.move_slot(slot, target)
                self.cluster.wait_healthy()
                source = self.cluster.master_of(slots[-1])
                target = next(node for node in self.cluster.masters() if node is not source)
                self.cluster.reshard(source, target, 300)
        self.under_load(shuffle)
        self.nodes.wait_told(*self.cluster.masters())

    def test_a_slot_stays_on_its_way_for_long(self):
        self.wait_spread()
        slot = self.slots_of_ours()[0]
        target = next(node for node in self.cluster.masters() if node is not self.cluster.master_of(slot))

        def half_way():
            for number in range(30):
                with self.nodes[number % 3].client() as client:
                    client.check("slow", b"way-%d" % number)
        self.under_load(lambda: self.cluster.move_slot(slot, target, between=half_way))
        self.nodes.wait_told(*self.cluster.masters())

    def test_killed_master(self):
        self.wait_spread()
        slots = self.slots_of_ours()

        def kill():
            for _ in range(ROUNDS):
                victim = self.cluster.kill_master(slots[0])
                victim.start()
                self.cluster.wait_healthy()
        self.under_load(kill)
        admitted = self.nodes.admitted()
        with self.nodes[0].client() as client:
            wait_until(lambda: not client.check("slow", b"0", 10).flags & wire.DEGRADED, "the end of the degraded state")

        def is_told():
            counted = 0
            for master in self.cluster.masters():
                with master.connect() as redis:
                    counted += usage_of(redis)
            return counted >= admitted * 0.98
        wait_until(is_told, "the counters, but for what the replica had not got")
        for number in range(100):  # and what was spent before is still known
            with self.nodes[1].client() as client:
                client.check("slow", b"%d" % number, 1)
        with self.nodes[1].client() as client:
            wait_until(lambda: not client.check("slow", b"7", 10).flags & wire.ALLOW, "what was spent before")


if __name__ == "__main__":
    unittest.main()
