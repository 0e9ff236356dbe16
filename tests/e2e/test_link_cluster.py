#!/usr/bin/env python3
"""The link to a real Redis Cluster of three masters and three replicas: partitions are spread, slots move under load, a
master is asked to step down, and one is killed. What was applied is judged by the usage counters, which count each unit once."""
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.link_feed import Feed
from lib.redis_server import RedisError, RedisServer

PARTITIONS = 12


class Cluster:
    """Three masters, each with a replica, with all slots served."""

    def __init__(self):
        self.nodes = [RedisServer("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0",
                                  "--cluster-replica-validity-factor", "0", "--busy-reply-threshold", "20000", cluster=True)
                      for _ in range(6)]

    def __enter__(self):
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            node.say("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.say("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        edges = [0, 5461, 10923, 16384]
        for number in range(3):
            self.nodes[number].say("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
        self.until(lambda: all(node.say("CLUSTER", "INFO").count(b"cluster_known_nodes:6") for node in self.nodes))
        self.ids = [node.say("CLUSTER", "MYID").decode() for node in self.nodes]
        for number in range(3):
            self.until(lambda n=number: self.replicate(n))
        self.until(lambda: all(b"cluster_state:ok" in node.say("CLUSTER", "INFO") for node in self.nodes))
        self.until(lambda: all(b"master_link_status:up" in node.say("INFO", "replication") for node in self.nodes[3:]))
        return self

    def replicate(self, number):
        try:
            return self.nodes[3 + number].say("CLUSTER", "REPLICATE", self.ids[number]) == "OK"
        except RedisError:
            return False

    def __exit__(self, *_):
        for node in self.nodes:
            node.__exit__()

    def until(self, holds):
        end = time.monotonic() + 60
        while not holds():
            if time.monotonic() > end:
                raise AssertionError("the cluster did not come about")
            time.sleep(0.02)

    @property
    def url(self):
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    def owner(self, slot):
        """The server that has a slot, by the map that most of the living tell."""
        told = []
        for node in self.nodes:
            if node.process.poll() is None:
                for first, last, master, *_ in node.say("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        told.append(master[1])
        port = max(set(told), key=told.count)
        return next(node for node in self.nodes if node.port == port)

    def slot(self, partition):
        return self.nodes[0].say("CLUSTER", "KEYSLOT", f"{{mete:t:{partition}}}x")

    def usage(self):
        total = 0
        for partition in range(PARTITIONS):
            node = self.owner(self.slot(partition))
            total += int(node.say("GET", f"{{mete:t:{partition}}}usage:1") or 0)
        return total


class LinkCluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster().__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__()

    def setUp(self):
        for number in range(6):
            if self.cluster.nodes[number].process.poll() is None:
                try:
                    self.cluster.nodes[number].say("FLUSHALL")
                except RedisError:
                    pass

    def pumping(self, feed, count=100):
        feed.expect("state fine")
        feed.tell(f"pump {count}")

    def pumped(self, feed, count=100):
        feed.expect("pumped")
        self.assertEqual(self.cluster.usage(), count * PARTITIONS)
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
            self.assertEqual(self.cluster.usage(), 101 * PARTITIONS)
            feed.tell("leave")
            feed.expect("left")
        for node in self.cluster.nodes[:3]:
            self.assertEqual(len(node.say("FUNCTION", "LIST")), 1)

    def test_2_rights(self):
        """A Cluster's user needs two rights more; without the map it is said which."""
        alone = ["+fcall", "+function|load", "+time", "+mget", "+set", "+setrange", "+pexpire", "+incrby", "+exists",
                 "+hgetall", "+hset", "+hdel"]
        stranger = next(node for node in self.cluster.nodes[:3]
                        if node is not self.cluster.owner(node.say("CLUSTER", "KEYSLOT", "{mete:t}")))
        for rights in (alone + ["+cluster|slots", "+asking"], alone):
            for node in self.cluster.nodes:
                node.say("ACL", "SETUSER", "mete", "reset", "on", ">pw", "~{mete:t*", *rights)
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
            self.assertEqual(self.cluster.usage(), 2500 * PARTITIONS)
            feed.tell("leave")
            feed.expect("left")

    def announce(self, what, node, name):
        """How the map names the masters, and what one of them is called."""
        node.say("CONFIG", "SET", "cluster-announce-hostname", name)
        for other in self.cluster.nodes:
            other.say("CONFIG", "SET", "cluster-preferred-endpoint-type", what)

    def test_2_silent_name_server(self):
        """A master is called by a name that nobody answers for: the partitions of the others go on, and its own when it is known
        by its address again."""
        home = self.cluster.owner(self.cluster.nodes[0].say("CLUSTER", "KEYSLOT", "{mete:t}"))
        away = next(node for node in self.cluster.nodes[:3] if node is not home)
        others = [partition for partition in range(PARTITIONS) if self.cluster.owner(self.cluster.slot(partition)) is not away]
        self.assertTrue(0 < len(others) < PARTITIONS)
        with Feed(self.cluster.url, partitions=PARTITIONS) as feed:
            self.pumping(feed, 1)
            feed.expect("pumped")
            self.announce("hostname", away, "away.silent")
            away.say("CLIENT", "KILL", "TYPE", "normal")
            self.assertIn("away.silent", feed.expect("state unreachable"))
            for partition in others * 20:
                self.assertEqual(feed.charge(1, partition)[0], 0)
            self.announce("ip", away, "")
            feed.expect("state fine")
            feed.tell("pump 5")
            feed.expect("pumped")
            self.assertEqual(self.cluster.usage(), 6 * PARTITIONS + 20 * len(others))
            feed.tell("leave")
            feed.expect("left")

    def move(self, partition):
        slot = self.cluster.slot(partition)
        source = self.cluster.owner(slot)
        target = next(node for node in self.cluster.nodes[:3] if node is not source)
        number = {node.port: name for node, name in zip(self.cluster.nodes, self.cluster.ids)}
        target.say("CLUSTER", "SETSLOT", slot, "IMPORTING", number[source.port])
        source.say("CLUSTER", "SETSLOT", slot, "MIGRATING", number[target.port])
        while True:
            names = source.say("CLUSTER", "GETKEYSINSLOT", slot, 1)
            if not names:
                break
            time.sleep(0.02)
            source.say("MIGRATE", "127.0.0.1", target.port, names[0], 0, 5000)
        for node in (target, source):
            node.say("CLUSTER", "SETSLOT", slot, "NODE", number[target.port])
        for node in self.cluster.nodes:
            self.cluster.until(lambda n=node: self.knows(n, slot, target))

    def knows(self, node, slot, target):
        return any(first <= slot <= last and master[1] == target.port
                   for first, last, master, *_ in node.say("CLUSTER", "SLOTS"))

    def test_3_manual_fail_over(self):
        with Feed(self.cluster.url, partitions=PARTITIONS) as feed:
            self.pumping(feed, 2500)
            self.cluster.nodes[3].say("CLUSTER", "FAILOVER")
            self.cluster.until(lambda: b"role:master" in self.cluster.nodes[3].say("INFO", "replication"))
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
            self.assertLessEqual(self.cluster.usage(), 1600 * PARTITIONS)
            self.assertGreaterEqual(self.cluster.usage(), 1600 * PARTITIONS - 100)
            self.assertIs(self.cluster.owner(6000), self.cluster.nodes[4])
            feed.tell("pump 10")
            feed.expect("pumped")


if __name__ == "__main__":
    unittest.main()
