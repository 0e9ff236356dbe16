#!/usr/bin/env python3
"""Several daemons whose connections to a real redis-server break in every way a proxy knows, and a redis-server that is
killed, hangs, and comes back with its data or without: no client notices, and afterwards the store has counted what the
nodes admitted, no unit more or less.

METE_CUTS (60): connections reset in the midst of a batch. METE_OUTAGE (2): seconds without the store. METE_SEED (1).
`make faults` runs 1,000 cuts and 30 seconds."""
import os
import pathlib
import random
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lib import mete_wire as wire  # noqa: E402
from lib.fault_proxy import FaultProxy  # noqa: E402
from lib.nodes import Load, Nodes  # noqa: E402
from lib.stores import Redis, has_redis, wait_until  # noqa: E402

SEED = int(os.environ.get("METE_SEED") or "1", 0)
CUTS = int(os.environ.get("METE_CUTS") or "60")
OUTAGE_S = float(os.environ.get("METE_OUTAGE") or "2")
RULES = ["{name: api, algorithm: token_bucket, rate: 500/s, burst: 100}",
         "{name: window, algorithm: fixed_window, limit: 1000/10s}",
         "{name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}"]


def linger(seconds):
    """The fault lasts; nothing is judged by this time."""
    time.sleep(seconds)


@unittest.skipUnless(has_redis(), "no redis-server")
class Faults(unittest.TestCase):
    def setUp(self):
        self.store = Redis()
        self.proxy = FaultProxy(self.store.port)
        self.nodes = Nodes(3, [self.proxy.url] * 3, RULES)

    def tearDown(self):
        self.nodes.close()
        self.proxy.close()
        self.store.close()

    def under_load(self, act, rate=3000):
        """What clients saw while act() happened: nothing odd."""
        with Load(self.nodes, "api", rate=rate, keys=30, options=["--seed", SEED]) as api, \
                Load(self.nodes, "window", rate=rate // 3, keys=10, options=["--seed", SEED]) as window:
            act()
        for load in (api, window):
            self.assertEqual((load.result["odd"], load.result["answered"]), (0, load.result["datagrams"]), load.result)
            self.assertGreater(load.result["allowed"], 0)
        return api.result

    def wait_heard(self):
        """Until the nodes are through to the store again."""
        probe = b"heard-%d" % time.monotonic_ns()
        for node in self.nodes:
            with node.client() as client:
                wait_until(lambda: not client.check("slow", probe).flags & wire.DEGRADED, "the end of the degraded state")

    def judge(self):
        self.wait_heard()
        return self.nodes.wait_told(self.store)

    def test_cuts_amid_batches(self):
        draw = random.Random(SEED)

        def cut_often():
            for _ in range(CUTS):
                direction = draw.choice(["request", "answer"])
                self.proxy.cut_after(direction, draw.choice([1, 30, 200, 700, 2000]))
                self.proxy.wait_cut()
        self.under_load(cut_often)
        self.assertGreaterEqual(self.proxy.cuts, CUTS)
        self.assertGreater(self.judge(), 100, f"METE_SEED={SEED}")

    def test_delay_and_single_bytes(self):
        def delay():
            self.proxy.delay_s = 0.03
            linger(0.7)
            self.proxy.delay_s = 0
            self.proxy.by_byte = True
            linger(0.7)
            self.proxy.by_byte = False
        self.under_load(delay, rate=900)
        self.judge()

    def test_black_hole_and_half_open(self):
        def swallow():
            for fault in ("black_hole", "half_open"):
                linger(0.2)
                setattr(self.proxy, fault, True)
                linger(OUTAGE_S / 2)
                setattr(self.proxy, fault, False)
                self.proxy.cut()  # what was swallowed never comes: the stream has a hole
        self.under_load(swallow)
        self.judge()

    def test_garbage_for_an_answer(self):
        def babble():
            for garbage in (b"!!\r\n", b"*2\r\n:1\r\n", b"$-1\r\n", b":1\r\n", b"+OK\r\n", b"-ERR strange\r\n",
                            b"$5\r\nhello\r\n", b"*1000000000\r\n", b"$99999999999\r\n", bytes(range(256))):
                connections = self.proxy.connections
                self.proxy.garbage(garbage)
                linger(0.1)
                self.proxy.cut()  # if it took the garbage for an answer it waits for what never comes
                wait_until(lambda: self.proxy.connections > connections, "a new connection")
        self.under_load(babble)
        self.judge()

    def test_nobody_listens(self):
        def refuse():
            self.proxy.refuse()
            linger(OUTAGE_S / 2)
            self.proxy.accept()
        self.under_load(refuse)
        self.judge()

    def test_killed_and_back_with_its_data(self):
        def restart():
            for _ in range(2):
                linger(0.3)
                self.store.kill()
                linger(OUTAGE_S / 2)
                self.store.start()
        result = self.under_load(restart)
        self.assertGreater(result["degraded"], 0)
        self.judge()

    def test_hanging(self):
        def hang():
            for _ in range(2):
                linger(0.3)
                self.store.pause()
                linger(OUTAGE_S / 2)
                self.store.resume()
        self.under_load(hang)
        self.judge()

    def test_back_empty_it_learns_from_the_nodes(self):
        with self.nodes[0].client() as one, self.nodes[1].client() as two:
            one.check("slow", b"erin", 10)
            self.nodes.wait_told(self.store)
            wait_until(lambda: not two.check("slow", b"erin").flags & wire.ALLOW, "the news")
            self.nodes.wait_told(self.store)
            self.store.kill()
            self.store.start(empty=True)
            self.assertEqual(self.store.command("DBSIZE"), 0)
            one.check("slow", b"erin")  # it is asked for, so it is told
            self.wait_heard()
            with self.nodes.start_one().client() as late:
                late.check("slow", b"erin")
                wait_until(lambda: not late.check("slow", b"erin").flags & wire.ALLOW, "the news to a new node")

    def test_another_type_under_our_name(self):
        with self.nodes[0].client() as one:
            one.check("slow", b"frank", 3)
            self.nodes.wait_told(self.store)
            with self.store.connect() as redis:
                names = [name for name in redis.command("KEYS", "{mete:*")]
                cells = [name for name in names if redis.command("TYPE", name) == "string" and b"usage" not in name
                         and b"node" not in name]
                self.assertTrue(cells, names)
                for name in cells:
                    redis.command("DEL", name)
                    redis.command("RPUSH", name, "not ours")
            for _ in range(50):
                answer = one.check("slow", b"frank")
                self.assertEqual(answer.status, 0)
            with self.store.connect() as redis:
                for name in cells:
                    redis.command("DEL", name)
        self.judge()

    def test_long_outage(self):
        def without():
            self.store.kill()
            linger(OUTAGE_S)
            self.store.start()
        self.under_load(without)
        self.judge()


if __name__ == "__main__":
    unittest.main()
