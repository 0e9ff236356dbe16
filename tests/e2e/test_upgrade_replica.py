#!/usr/bin/env python3
"""Upgrades of a node of several (`mete serve --take-over` with redis.url): the new process is the same node to a real redis-server,
which counts every unit that clients were allowed, no unit more or less, whatever the store does meanwhile.

METE_UPGRADES is how many upgrades the load test makes (4); `make upgrade ROUNDS=100` prints what they counted."""
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire  # noqa: E402
from lib.nodes import Nodes, usage_of  # noqa: E402
from lib.stores import Redis, has_redis, wait_until  # noqa: E402
from lib.table_file import TableFile  # noqa: E402
from lib.upgrades import LIMIT, PAUSE_S, READY, TABLE, Flow, Load, StandIn, refused, upgrade  # noqa: E402

ROUNDS = int(os.environ.get("METE_UPGRADES", "4"))
EXACT = 250_000  # more cannot be granted
REPEATS = "repeats.window=10s"
RULES = [f"{{name: count, algorithm: fixed_window, limit: {LIMIT}/365d}}",
         "{name: bucket, algorithm: token_bucket, rate: 1000000/s, burst: 1000000000}",
         f"{{name: exact, algorithm: fixed_window, limit: {EXACT}/365d, sync: exact}}",
         f"{{name: open, algorithm: fixed_window, limit: {EXACT}/365d, sync: exact, on_backend_loss: share}}",
         "{name: few, algorithm: fixed_window, limit: 20/365d, sync: exact}"]


class Refunds(Flow):
    """Units that are given back to keys that this node knows nothing of: they stand in no entry, so only the rings have them."""

    def run(self):
        while not self.is_over.is_set():
            request = self.client.request(wire.REFUND, "bucket", b"back%d" % self.requests)
            self.requests += 1
            self.answered += self.ask(request)
            self.is_over.wait(PAUSE_S)


def flows_of(nodes):
    """On every node: keys of its own and keys of all, decided at once and by grants. A grant may come too late."""
    flows = []
    for number, node in enumerate(nodes):
        flows += [Refunds(node.address, None), Refunds(node.address, None),
                  Flow(node.address, b"own%d" % number), Flow(node.address, b"all"), Flow(node.address, b"all", "bucket"),
                  Flow(node.address, b"all", "exact", may_deny=True), Flow(node.address, b"own%d" % number, "open", may_deny=True)]
    return flows


@unittest.skipUnless(has_redis(), "no redis-server")
class Upgraded(unittest.TestCase):
    def start(self, count=2, sets=()):
        self.store = Redis()
        self.addCleanup(self.store.close)
        self.nodes = Nodes(count, self.store.url, RULES, sets=[REPEATS, *sets], workers=2)
        self.addCleanup(self.nodes.close)
        return self.nodes

    def upgrade(self, index=0, *more):
        old = self.nodes.daemons[index]
        self.nodes.daemons[index] = upgrade(old, *more)
        return self.nodes.daemons[index]

    def judge(self, load):
        """Each node tells what is left before it ends; then the store's counters are what clients were allowed."""
        load.judge_answers()
        for node in self.nodes:
            node.stop()
        allowed, unsure = 0, load.sum("unsure")
        for flow in load.flows:
            allowed += -flow.allowed if isinstance(flow, Refunds) else flow.allowed
        self.assertAlmostEqual(usage_of(self.store), allowed, delta=unsure)

    def rounds(self):
        with Load(flows=flows_of(self.nodes)) as load:
            load.wait_for_more()
            for _ in range(ROUNDS):
                self.upgrade()
                load.wait_for_more()
        self.judge(load)
        load.report(ROUNDS)

    def test_under_load(self):
        self.start()
        self.rounds()

    def test_under_load_with_a_table_file(self):
        with TableFile() as path:
            self.start(1, [f"table.file={path}"])
            self.nodes.sets = [REPEATS]
            self.nodes.daemons.append(self.nodes._start(self.store.url))
            self.rounds()
            self.assertIn("joined", self.nodes[0].said[0])

    def test_while_the_store_is_away(self):
        """What it has in hand, what it sent and what clients charge meanwhile: all is told when the store is back."""
        for leave, back in ((self.pause, self.resume), (self.kill, self.again)):
            with self.subTest(leave=leave.__name__):
                self.start()
                with Load(flows=flows_of(self.nodes)) as load:
                    load.wait_for_more()
                    leave()
                    load.wait_for_more(5)
                    self.upgrade()
                    load.wait_for_more(5)
                    self.upgrade()
                    back()
                    load.wait_for_more()
                self.judge(load)

    def pause(self):
        self.store.pause()

    def resume(self):
        self.store.resume()

    def kill(self):
        self.store.kill()

    def again(self):
        self.store.start()

    def test_the_store_goes_away_in_the_pause(self):
        self.start()
        with Load(flows=flows_of(self.nodes)) as load:
            load.wait_for_more()
            for _ in range(2):
                self.store.pause()
                self.upgrade()
                self.store.resume()
                load.wait_for_more()
        self.judge(load)

    def test_one_that_fails(self):
        """The old one is paused amid what it has to tell, and goes on with it."""
        self.start()
        with Load(flows=flows_of(self.nodes)) as load:
            for is_away in (False, True):
                load.wait_for_more()
                if is_away:
                    self.store.pause()
                with StandIn(self.nodes[0]) as new:
                    new.hear_all()
                    new.say(READY)
                    self.assertEqual(new.hear()[0], TABLE)
                if is_away:
                    self.store.resume()
                load.wait_for_more()
                self.upgrade()
                load.wait_for_more()
        self.judge(load)

    def test_one_that_fails_after_the_table(self):
        """A real one with a table.file that has bound its rules to the memory of both before it hears what is wrong."""
        with TableFile() as path:
            nodes = self.start(1, [f"table.file={path}"])
            with Load(flows=flows_of(nodes)) as load:
                for _ in range(3):
                    load.wait_for_more()
                    self.node_id(nodes[0])
                load.wait_for_more()
                self.upgrade()
                load.wait_for_more()
            self.judge(load)

    def test_the_last_unit_goes_to_one(self):
        """Units that were granted and not spent go over, or back: none is lost, and none is spent twice."""
        self.start()
        allowed = 0
        for _ in range(4):
            for node in self.nodes:
                with node.client() as client:
                    allowed += sum(client.check("few", b"a").allowed for _ in range(2))
            self.upgrade()
        with self.nodes[0].client() as client:
            def is_spent():
                nonlocal allowed
                allowed += client.check("few", b"a").allowed
                return allowed >= 20
            wait_until(is_spent, "the last unit")
            for _ in range(5):
                self.assertFalse(client.check("few", b"a").allowed)
        with self.nodes[1].client() as client:
            self.assertFalse(client.check("few", b"a").allowed)
        for node in self.nodes:
            node.stop()
        self.assertEqual(usage_of(self.store), 20)

    def node_id(self, node):
        """As who refuses to be another says it, after all has gone over."""
        return int(re.search(r"redis.node_id: is 77, and the daemon that serves is node (\d+); restart",
                             refused(node, "--set", "redis.node_id=77"))[1])

    def test_it_is_the_same_node(self):
        nodes = self.start()
        wait_until(lambda: nodes[1].stats()["replica"]["nodes"] == 2, "both to be heard")
        before = self.node_id(nodes[0])
        now = self.upgrade()
        self.assertEqual(self.node_id(now), before)
        self.assertEqual(nodes[1].stats()["replica"]["nodes"], 2)
        with nodes[1].client() as client, now.client() as other:
            client.check("count", b"a", 7)
            other.check("count", b"a", 5)
        wait_until(lambda: usage_of(self.store) == 12, "the store to know all")
        nodes[1].stop()
        now.stop()

    def test_refused(self):
        nodes = self.start(1)
        for more, words in ((["redis.rows=1024"], "redis.rows and redis.partitions: are other ones than in the daemon that serves"),
                            (["redis.partitions=8"], "redis.rows and redis.partitions: are other ones"),
                            (["redis.password_file=/nowhere"], "redis.password_file: /nowhere")):
            with self.subTest(more=more):
                self.assertIn(words, refused(nodes[0], *(word for one in more for word in ("--set", one))))
        path = pathlib.Path(nodes[0].folder, "mete.yaml")
        text = path.read_text()
        path.write_text("\n".join(line for line in text.split("\n") if not line.startswith("redis")).replace(", sync: exact", "")
                        .replace(", on_backend_loss: share", ""))
        self.assertIn("redis.url: is none, and set in the daemon that serves", refused(nodes[0]))
        path.write_text(text)
        self.upgrade().stop()


if __name__ == "__main__":
    unittest.main()
