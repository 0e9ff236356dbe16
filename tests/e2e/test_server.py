#!/usr/bin/env python3
"""The daemon under many clients at once: what all workers together admit on one key is exact, queues longer than its
buffers are answered, a restart is a new life."""
import os
import pathlib
import signal
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, Daemon

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: bucket, algorithm: token_bucket, rate: 1/h, burst: 700}
      - {name: fixed, algorithm: fixed_window, limit: 700/365d}
      - {name: sliding, algorithm: sliding_window, limit: 700/365d}
"""


class Many(unittest.TestCase):
    def work(self, daemon, rule, allowed):
        with daemon.client() as client:
            for _ in range(5):  # pipelined, so that workers really run at once
                requests = [client.request(wire.CHECK, rule, b"hot") for _ in range(50)]
                for request in requests:
                    client.send(request)
                for request in requests:
                    allowed.append(client.receive(request).entries[0].allowed)

    def test_workers_share_a_key_exactly(self):
        for backend in BACKENDS:
            for workers in (1, 2, 4):
                with self.subTest(backend=backend, workers=workers), \
                        Daemon(CONFIG, backend=backend, workers=workers) as daemon:
                    for rule in ("bucket", "fixed", "sliding"):
                        allowed = []
                        threads = [threading.Thread(target=self.work, args=(daemon, rule, allowed))
                                   for _ in range(4)]
                        for thread in threads:
                            thread.start()
                        for thread in threads:
                            thread.join()
                        self.assertEqual((len(allowed), sum(allowed)), (1000, 700), rule)
                        counted = daemon.rule(rule)
                        self.assertEqual((counted["units"], counted["denied"]), (700, 300), rule)

    def test_queue_longer_than_the_buffers(self):
        """1,000 datagrams wait while the daemon is stopped: more than it has buffers; two sockets, several flows."""
        for backend in BACKENDS:
            with self.subTest(backend=backend), \
                    Daemon(CONFIG, backend=backend, listen="[127.0.0.1:0, 127.0.0.2:0]") as daemon:
                clients = [daemon.client(address) for address in daemon.addresses for _ in range(2)]
                daemon.process.send_signal(signal.SIGSTOP)
                os.waitpid(daemon.process.pid, os.WUNTRACED)
                requests = [[client.request(wire.CHECK, "bucket", b"x") for _ in range(250)] for client in clients]
                for client, own in zip(clients, requests):
                    for request in own:
                        client.send(request)
                daemon.process.send_signal(signal.SIGCONT)
                allowed = sum(client.receive(request).entries[0].allowed
                              for client, own in zip(clients, requests) for request in own)
                self.assertEqual(allowed, 700)
                self.assertEqual(daemon.stats()["total"]["receive_errors"], 0)
                for client in clients:
                    client.__exit__()


class Life(unittest.TestCase):
    def test_a_restart_is_a_new_life(self):
        boots = set()
        for _ in range(3):
            with Daemon() as daemon, daemon.client() as client:
                first = client.hello()
                boots.add(first.boot_id)
                self.assertEqual(client.check("demo", b"x", 10).remaining, 0)
                self.assertLess(first.clock_ms, 60000)  # the clock counts from the start of this life
                self.assertGreaterEqual(client.hello().clock_ms, first.clock_ms)
        self.assertEqual(len(boots), 3)

    def test_embedded_default(self):
        with Daemon() as daemon, daemon.client() as client:
            self.assertEqual(client.check("demo", b"x").remaining, 9)
            self.assertEqual(client.check("fast", b"x", 0).remaining, 1000000)
            rules = [(rule["tenant"], rule["rule"]) for rule in daemon.stats()["rules"]]
            self.assertEqual(sorted(rules), [("default", "demo"), ("default", "fast")])


if __name__ == "__main__":
    unittest.main()
