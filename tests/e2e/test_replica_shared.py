#!/usr/bin/env python3
"""Several daemons and one real redis-server: what one charges all others know, every unit is counted exactly once, a
limit is one limit wherever the load goes, and a node that stops has told all it knew.

METE_SEED (1): of the load."""
import os
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lib import mete_wire as wire  # noqa: E402
from lib.nodes import Load, Nodes  # noqa: E402
from lib.stores import Redis, has_redis, wait_until  # noqa: E402

SEED = os.environ.get("METE_SEED") or "1"
KINDS = {
    "bucket": "{name: bucket, algorithm: token_bucket, rate: 1/h, burst: 10}",
    "meter": "{name: meter, algorithm: leaky_bucket, rate: 1/h, burst: 10}",
    "queue": "{name: queue, algorithm: leaky_bucket, mode: queue, rate: 1/h, burst: 10}",
    "fixed": "{name: fixed, algorithm: fixed_window, limit: 10/365d}",
    "sliding": "{name: sliding, algorithm: sliding_window, limit: 10/365d}",
    "calendar": "{name: calendar, algorithm: calendar, limit: 10, per: year}",
}


def left(node, rule, subject):
    """Of ten units, at least one being spent. It asks for all ten and is denied, so that the node has a reason to look."""
    with node.client() as client:
        answer = client.check(rule, subject, 10)
        assert not answer.flags & wire.ALLOW
        return answer.remaining


@unittest.skipUnless(has_redis(), "no redis-server")
class Shared(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = Redis()

    @classmethod
    def tearDownClass(cls):
        cls.store.close()

    def setUp(self):
        self.store.command("FLUSHALL")

    def wait_left(self, nodes, rule, subject, units):
        for node in nodes:
            wait_until(lambda: left(node, rule, subject) == units, f"{rule}: {units} left on every node")

    def test_what_one_charges_all_know(self):
        with Nodes(3, self.store.url, list(KINDS.values())) as nodes:
            for name in KINDS:
                for index, node in enumerate(nodes):
                    with node.client() as client:
                        self.assertTrue(client.check(name, b"alice", index + 1).flags & wire.ALLOW, name)
            for name in KINDS:
                with self.subTest(name):
                    self.wait_left(nodes, name, b"alice", 4)
            self.assertEqual(nodes.wait_told(self.store), 6 * len(KINDS))

    def test_reset_and_refund_reach_all(self):
        with Nodes(2, self.store.url, list(KINDS.values())) as nodes, nodes[0].client() as one, nodes[1].client() as two:
            for name in KINDS:
                one.check(name, b"bob", 5)
                two.check(name, b"bob", 1)
                self.wait_left(nodes, name, b"bob", 4)
                two.refund(name, b"bob", 3)
                self.wait_left(nodes, name, b"bob", 7)
                two.reset(name, b"bob")
                wait_until(lambda: one.check(name, b"bob", 10).flags & wire.ALLOW, f"{name}: the reset on the other node")

    def test_load_everywhere_is_counted_once(self):
        rules = ["{name: api, algorithm: token_bucket, rate: 200/s, burst: 50}",
                 "{name: window, algorithm: sliding_window, limit: 100/1s}"]
        for count, options in ((2, []), (5, ["--affinity"]), (8, ["--batch", 5])):
            with self.subTest(nodes=count), Nodes(count, self.store.url, rules) as nodes:
                self.store.command("FLUSHALL")
                with Load(nodes, "api", rate=6000, seconds=1, options=["--seed", SEED, *options]) as api, \
                        Load(nodes, "window", rate=3000, seconds=1, options=["--seed", SEED]) as window:
                    api.process.wait(60), window.process.wait(60)
                for result in (api.result, window.result):
                    self.assertEqual((result["odd"], result["answered"]), (0, result["datagrams"]), result)
                self.assertGreater(nodes.wait_told(self.store), 1000)

    def test_who_stops_has_told_all(self):
        with Nodes(3, self.store.url, KINDS["bucket"], store="flush: 500ms") as nodes:
            for index in range(2):
                with nodes[0].client() as client:
                    for subject in range(50):
                        client.check("bucket", b"%d-%d" % (index, subject))
                nodes.stop_one(0)
            nodes.wait_told(self.store)

    def test_who_starts_learns(self):
        with Nodes(2, self.store.url, KINDS["bucket"]) as nodes:
            with nodes[0].client() as client:
                client.check("bucket", b"carol", 10)
            nodes.wait_told(self.store)
            with nodes.start_one().client() as client:
                client.check("bucket", b"carol")  # unknown there: allowed by a small share, and asked at once
                wait_until(lambda: not client.check("bucket", b"carol").flags & wire.ALLOW, "the denial by the new node")
            nodes.wait_told(self.store)

    def test_local_rules_are_told_to_nobody(self):
        with Nodes(2, self.store.url, KINDS["bucket"][:-1] + ", sync: local}") as nodes:
            for node in nodes:
                with node.client() as client:
                    self.assertTrue(client.check("bucket", b"dave", 10).flags & wire.ALLOW)
            self.assertEqual(self.store.command("KEYS", "*usage:*"), [])


if __name__ == "__main__":
    unittest.main()
