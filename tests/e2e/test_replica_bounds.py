#!/usr/bin/env python3
"""What replication may not exceed, whatever the traffic: the keys that are asked for at once, and memory while the store is away.

METE_SEED (1): of the load."""
import os
import pathlib
import re
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lib.daemon import SANITIZED  # noqa: E402
from lib.nodes import Load, Nodes  # noqa: E402
from lib.stores import Redis, has_redis, wait_until  # noqa: E402

SEED = os.environ.get("METE_SEED") or "1"
RULE = "{name: api, algorithm: token_bucket, rate: 100/s, burst: 10}"
FLUSH_S, TOUCHES = 0.005, 64  # replica/replicator_parts.h: of each tenant, between two flushes
ROWS = 1024
GROWTH = 128 << 10  # what a few stacks and buffers that were not touched before may come to


def resident_bytes(node):
    status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
    return 1024 * int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1])


@unittest.skipUnless(has_redis(), "no redis-server")
class Bounds(unittest.TestCase):
    def load(self, nodes, keys, count, seed=SEED):
        """So many checks of so many keys, 50 to a datagram, as fast as they are answered without a loss."""
        seconds = count / 50000
        with Load(nodes, "api", rate=50000, keys=keys, seconds=seconds, options=["--seed", seed, "--batch", 50]) as load:
            load.process.wait(60 + seconds)
        self.assertEqual((load.result["odd"], load.result["answered"]), (0, load.result["datagrams"]), load.result)
        return load.result

    def test_a_flood_of_new_keys(self):
        """Most wait for the ordinary flush; all are told in the end."""
        with Redis(keeps=False) as store, Nodes(1, store.url, RULE, entries=131072) as nodes:
            replica = lambda: nodes[0].stats()["replica"]  # noqa: E731
            wait_until(lambda: replica()["answers"] > 0, "the first answer")
            before, began = replica()["first_touches"], time.monotonic()
            self.load(nodes, keys=1 << 30, count=40000)  # drawn at random: nearly all are new
            nodes.wait_told(store)
            flushes = (time.monotonic() - began) / FLUSH_S + 2
            after = replica()
            self.assertGreater(after["keys"], 30000)
            self.assertGreater(after["first_touches"] - before, 0)
            self.assertLessEqual(after["first_touches"] - before, TOUCHES * flushes)

    def test_memory_without_the_store(self):
        """Ten times as many keys are charged as there are rows, again and again: what is pending stays in the table, and nothing
        grows. When the store is back it is told every unit."""
        with Redis() as store, Nodes(1, store.url, RULE, store=f"rows: {ROWS}", entries=65536) as nodes:
            node = nodes[0]
            self.load(nodes, keys=ROWS, count=2 * ROWS)
            nodes.wait_told(store)
            store.kill()
            wait_until(lambda: node.stats()["replica"]["degraded_s"] > 0, "the notice of it")
            self.load(nodes, keys=10 * ROWS, count=10 * ROWS)
            first = resident_bytes(node)
            for _ in range(3):
                self.load(nodes, keys=10 * ROWS, count=10 * ROWS)
            self.assertEqual(node.stats()["replica"]["rows"], ROWS)
            self.assertGreater(node.stats()["replica"]["no_row_keys"], 0)
            if not SANITIZED:  # which keeps what was freed
                self.assertLessEqual(resident_bytes(node) - first, GROWTH)
            store.start()
            self.assertGreater(nodes.wait_told(store), 10 * ROWS)
            self.assertEqual(node.stats()["replica"]["lost_units"], 0)


if __name__ == "__main__":
    unittest.main()
