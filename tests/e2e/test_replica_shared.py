#!/usr/bin/env python3
"""Several daemons and one real redis-server: what one charges all others know, every unit is counted exactly once, a
limit is one limit wherever the load goes, and a node that stops has told all it knew.

METE_SEED (1): of the load."""
import itertools
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
    """Of ten units. Where one is spent all ten are asked for and denied, so that the node has a reason to look; until a refund was
    told none may be: by then it has given back what the charge took, which was more by as much as the node's share was less."""
    with node.client() as client:
        units = client.check(rule, subject, 1, flags=wire.PEEK).remaining
        if units < 10:
            assert not client.check(rule, subject, 10).flags & wire.ALLOW
        return units


def old_keys(nodes):
    return sum(node.stats()["replica"]["old_keys"] for node in nodes)


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
        """Or until something was told so late that the store knows of what is owed alone."""
        before = self.old
        for node in nodes:
            wait_until(lambda: left(node, rule, subject) == units or old_keys(nodes) > before, f"{rule}: {units} left on every node")

    def exactly(self, nodes, what):
        """what(subject), with one subject after the other until nothing was old: a thread may not be scheduled for so long."""
        for number in itertools.count():
            self.old = old_keys(nodes)
            try:
                what(b"subject-%d" % number)
            except AssertionError:
                if old_keys(nodes) == self.old or number == 20:
                    raise
            if old_keys(nodes) == self.old:
                return

    def test_what_one_charges_all_know(self):
        with Nodes(3, self.store.url, list(KINDS.values())) as nodes:
            def charge_and_look(subject):
                for name in KINDS:
                    for index, node in enumerate(nodes):
                        with node.client() as client:
                            self.assertTrue(client.check(name, subject, index + 1).flags & wire.ALLOW, name)
                for name in KINDS:
                    self.wait_left(nodes, name, subject, 4)
            self.exactly(nodes, charge_and_look)
            self.assertEqual(nodes.wait_told(self.store) % (6 * len(KINDS)), 0)

    def test_reset_and_refund_reach_all(self):
        with Nodes(2, self.store.url, list(KINDS.values())) as nodes, nodes[0].client() as one, nodes[1].client() as two:
            for name in KINDS:
                def give_back(subject, name=name):
                    one.check(name, subject, 5)
                    two.check(name, subject, 1)
                    self.wait_left(nodes, name, subject, 4)
                    two.refund(name, subject, 3)
                    self.wait_left(nodes, name, subject, 7)
                    two.reset(name, subject)
                    wait_until(lambda: one.check(name, subject, 10).flags & wire.ALLOW, f"{name}: the reset on the other node")
                with self.subTest(name):
                    self.exactly(nodes, give_back)

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
