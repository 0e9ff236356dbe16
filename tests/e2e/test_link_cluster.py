#!/usr/bin/env python3
"""The link to a real Redis Cluster of three masters and three replicas: partitions are spread, slots move under load, a
master is asked to step down, and one is killed. What was applied is judged by the usage counters, which count each unit once."""
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.link_feed import Feed
from lib.stores import Cluster, wait_until

PARTITIONS = 12


class LinkCluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(options=("--cluster-replica-validity-factor", "0", "--busy-reply-threshold", "20000"))

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def setUp(self):
        for node in self.cluster.masters():
            node.command("FLUSHALL")

    def slot(self, partition):
        return self.cluster.alive()[0].command("CLUSTER", "KEYSLOT", f"{{mete:t:{partition}}}x")

    def usage(self):
        return sum(int(self.cluster.master_of(self.slot(p)).command("GET", f"{{mete:t:{p}}}usage:1") or 0) for p in range(PARTITIONS))

    def move(self, partition):
        slot = self.slot(partition)
        source = self.cluster.master_of(slot)
        target = next(node for node in self.cluster.nodes[:3] if node is not source)
        self.cluster.move_slot(slot, target, at_once=1, between=lambda: time.sleep(0.02))

    def pumping(self, feed, count=100):
        feed.expect("state fine")
        feed.tell(f"pump {count}")

    def pumped(self, feed, count=100):
        feed.expect("pumped")
        self.assertEqual(self.usage(), count * PARTITIONS)
        feed.tell("leave")
        feed.expect("left")

    def test_1_spread(self):
        with Feed(self.cluster.url, partitions=PARTITIONS) as feed:
            self.pumping(feed)
            feed.expect("pumped")
            looked = feed.look()
            self.assertEqual((looked["cluster"], looked["ready"]), (1, 3))
            feed.tell("pump 1")
            feed.expect("pumped")
            self.assertEqual(self.usage(), 101 * PARTITIONS)
            feed.tell("leave")
            feed.expect("left")
        for node in self.cluster.nodes[:3]:
            self.assertEqual(len(node.command("FUNCTION", "LIST")), 1)

    def test_2_rights(self):
        """A Cluster's user needs two rights more; without the map it is said which."""
        alone = ["+fcall", "+function|load", "+time", "+mget", "+set", "+setrange", "+pexpire", "+incrby", "+exists",
                 "+hgetall", "+hset", "+hdel"]
        stranger = next(node for node in self.cluster.nodes[:3]
                        if node is not self.cluster.master_of(node.command("CLUSTER", "KEYSLOT", "{mete:t}")))
        for rights in (alone + ["+cluster|slots", "+asking"], alone):
            for node in self.cluster.nodes:
                node.command("ACL", "SETUSER", "mete", "reset", "on", ">pw", "~{mete:t*", *rights)
            with Feed(f"redis://127.0.0.1:{stranger.port}", partitions=PARTITIONS, user="mete", password="pw") as feed:
                if rights is alone:
                    self.assertIn("CLUSTER SLOTS", feed.expect("state rights"))
                    continue
                self.pumping(feed)
                self.move(7)
                self.pumped(feed)

    def test_2_slots_move(self):
        """ASK, TRYAGAIN and MOVED, as a slot's keys go over one by one."""
        with Feed(self.cluster.url, partitions=PARTITIONS) as feed:
            self.pumping(feed, 2500)
            for partition in range(6):
                self.move(partition)
            feed.expect("pumped")
            self.assertGreaterEqual(feed.look()["redirects"], 6)  # of each at least who has it now
            self.assertEqual(self.usage(), 2500 * PARTITIONS)
            feed.tell("leave")
            feed.expect("left")

    def announce(self, what, node, name):
        """How the map names the masters, and what one of them is called."""
        node.command("CONFIG", "SET", "cluster-announce-hostname", name)
        for other in self.cluster.nodes:
            other.command("CONFIG", "SET", "cluster-preferred-endpoint-type", what)
        if name:
            wait_until(lambda: all(name in repr(other.command("CLUSTER", "SLOTS"))
                                   for other in self.cluster.nodes), "the name in every node's map")

    def test_2_silent_name_server(self):
        """A master is called by a name that nobody answers for: the partitions of the others go on, and its own when it is known
        by its address again."""
        home = self.cluster.master_of(self.cluster.nodes[0].command("CLUSTER", "KEYSLOT", "{mete:t}"))
        away = next(node for node in self.cluster.nodes[:3] if node is not home)
        others = [partition for partition in range(PARTITIONS) if self.cluster.master_of(self.slot(partition)) is not away]
        self.assertTrue(0 < len(others) < PARTITIONS)
        with Feed(self.cluster.url, partitions=PARTITIONS) as feed:
            self.pumping(feed, 1)
            feed.expect("pumped")
            self.addCleanup(self.announce, "ip", away, "")
            self.announce("hostname", away, "away.silent")
            away.command("CLIENT", "KILL", "TYPE", "normal")
            self.assertIn("away.silent", feed.expect("state unreachable"))
            for partition in others * 20:
                self.assertEqual(feed.charge(1, partition)[0], 0)
            self.announce("ip", away, "")
            feed.expect("state fine")
            feed.tell("pump 5")
            feed.expect("pumped")
            self.assertEqual(self.usage(), 6 * PARTITIONS + 20 * len(others))
            feed.tell("leave")
            feed.expect("left")

    def test_3_manual_fail_over(self):
        with Feed(self.cluster.url, partitions=PARTITIONS) as feed:
            self.pumping(feed, 2500)
            self.cluster.nodes[3].command("CLUSTER", "FAILOVER")
            wait_until(lambda: b"role:master" in self.cluster.nodes[3].command("INFO", "replication"), "the fail-over")
            self.pumped(feed, 2500)

    def test_4_master_killed(self):
        """Killed while it is written to: what its replica had not heard of is lost, once; all goes on with the replica."""
        with Feed(self.cluster.url, partitions=PARTITIONS) as feed:
            feed.expect("state fine")
            feed.tell("pump 100")
            feed.expect("pumped")
            victim = self.cluster.nodes[1]
            time.sleep(0.2)
            feed.tell("pump 1500")
            time.sleep(0.05)
            victim.kill()
            feed.expect("pumped")
            self.assertLessEqual(self.usage(), 1600 * PARTITIONS)
            self.assertGreaterEqual(self.usage(), 1600 * PARTITIONS - 100)
            self.assertIs(self.cluster.master_of(6000), self.cluster.nodes[4])
            feed.tell("pump 10")
            feed.expect("pumped")


if __name__ == "__main__":
    unittest.main()
