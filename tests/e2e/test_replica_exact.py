#!/usr/bin/env python3
"""Exact rules over a real redis-server: the last unit is handed out once, whoever asks at the same moment, and never more
than the limit, with the store there or not.

METE_RACES (200): keys with one unit each that all nodes want at once; `make faults` tries 1,000."""
import contextlib
import os
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lib import mete_wire as wire  # noqa: E402
from lib.nodes import Load, Nodes  # noqa: E402
from lib.stores import Redis, has_redis, wait_until  # noqa: E402

RACES = int(os.environ.get("METE_RACES") or "200")
AT_ONCE = 20
ONE = "{name: one, algorithm: token_bucket, rate: 1/h, burst: 1, sync: exact}"
TEN = "{name: ten, algorithm: token_bucket, rate: 10/s, burst: 10, sync: exact}"
WINDOW = "{name: window, algorithm: fixed_window, limit: 10/365d, sync: exact}"


@unittest.skipUnless(has_redis(), "no redis-server")
class Exact(unittest.TestCase):
    def race(self, clients, rule, subjects):
        """All nodes are asked for all subjects before any answer is read: who got one."""
        sent = []
        for subject in subjects:
            for client in clients:
                sent.append((client, subject, client.request(wire.CHECK, rule, subject)))
                client.send(sent[-1][2])
        won = {subject: 0 for subject in subjects}
        waiting = {(client, request[12:16]): subject for client, subject, request in sent}
        requests = {(client, request[12:16]): request for client, _, request in sent}
        for client, _, _ in sent:
            answer = client.socket.recv(65536)
            key = (client, answer[4:8])
            result = wire.decode_result(answer, wire.tag_of(requests[key]))
            won[waiting.pop(key)] += bool(result.entries[0].flags & wire.ALLOW)
        self.assertEqual(waiting, {})
        return won

    def test_one_unit_goes_to_one(self):
        with Redis() as store, Nodes(8, store.url, [ONE, WINDOW], sets=["repeats.memory=1MiB"]) as nodes:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(node.client()) for node in nodes]
                for first in range(0, RACES, AT_ONCE):
                    subjects = [b"race-%d" % number for number in range(first, min(first + AT_ONCE, RACES))]
                    won = self.race(clients, "one", subjects)
                    self.assertEqual([got for got in won.values() if got > 1], [])
                    self.settle(clients, subjects, won)
                    self.assertEqual(set(won.values()), {1})
            nodes.wait_told(store)

    def settle(self, clients, subjects, won):
        """Whoever was too late for an answer within the wait was denied, and its unit is given back: somebody asks again."""
        for subject in subjects:
            if won[subject] == 0:
                def anybody_wins():
                    won[subject] = sum(bool(client.check("one", subject).flags & wire.ALLOW) for client in clients)
                    return won[subject] > 0
                wait_until(anybody_wins, "the unit that was given back")

    def test_a_window_is_never_over(self):
        with Redis() as store, Nodes(4, store.url, WINDOW) as nodes:
            with Load(nodes, "window", rate=4000, keys=20, seconds=1) as load:
                load.process.wait(60)
            self.assertEqual((load.result["odd"], load.result["answered"]), (0, load.result["datagrams"]), load.result)
            self.assertLessEqual(load.result["allowed"], 20 * 10)
            self.assertGreaterEqual(load.result["allowed"], 20 * 10 // 2)  # on a machine that stalls, many a wait is over before its grant comes
            nodes.wait_told(store)

    def test_a_bucket_is_never_over(self):
        with Redis() as store, Nodes(4, store.url, TEN) as nodes:
            with Load(nodes, "ten", rate=400, keys=1, seconds=3, limit=10, burst=10) as load:
                load.process.wait(60)
            self.assertEqual((load.result["odd"], load.result["answered"]), (0, load.result["datagrams"]), load.result)
            self.assertLess(load.result["overdraft"], 1)  # and 0 but that a unit may pass 20 ms after it was granted
            self.assertGreater(load.result["allowed"], 20)

    def test_without_store_it_denies(self):
        with Redis() as store, Nodes(2, store.url, TEN) as nodes, nodes[0].client() as client:
            wait_until(lambda: client.check("ten", b"before").flags & wire.ALLOW, "a first grant")
            store.kill()
            wait_until(lambda: client.check("ten", b"after").flags & wire.DEGRADED, "the flag")
            for number in range(20):
                self.assertFalse(client.check("ten", b"%d" % number).flags & wire.ALLOW)
            store.start()
            wait_until(lambda: client.check("ten", b"again").flags & wire.ALLOW, "a grant after it came back")


if __name__ == "__main__":
    unittest.main()
