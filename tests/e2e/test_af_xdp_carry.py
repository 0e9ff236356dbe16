#!/usr/bin/env python3
"""Answers that leave in the frames of the next questions (af_xdp.carry), over a veth pair whose other end has a program too: each
once, whole and at once, by IPv4 and IPv6; and what is shown of the backend without it (upgrades, answers that wait) with it."""
import json
import os
import pathlib
import signal
import socket
import sys
import unittest

os.environ["METE_XDP_CARRY"] = "1"  # before anybody moves
sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parent)]
import test_af_xdp_exact  # noqa: E402
from lib import daemon as daemons  # noqa: E402
from lib import mete_wire as wire  # noqa: E402
from lib.stores import has_redis  # noqa: E402
from lib.xdp_world import SERVER4  # noqa: E402
from test_upgrade_xdp import WHY_NOT, Upgraded  # noqa: E402, F401

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: count, algorithm: fixed_window, limit: 1000000/365d}
"""
BURST = 120
ROUNDS = 400


@unittest.skipUnless(has_redis(), "no redis-server")
@unittest.skipIf(WHY_NOT, WHY_NOT)
class Exact(test_af_xdp_exact.Waiting):
    pass


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Carried(unittest.TestCase):
    def start(self, *sets, workers=1, **options):
        daemon = daemons.Daemon(CONFIG, [*sets], workers=workers, listen=f"[{SERVER4}:0, '[::1]:0']", **options)
        self.addCleanup(daemon.close)
        return daemon

    def carried(self, daemon):
        return daemon.stats()["total"]["carried"]

    def ask(self, clients, count):
        """So many from each, all of them before the first answer is read."""
        requests = [(client, client.request(wire.CHECK, "count", os.urandom(8))) for _ in range(count) for client in clients]
        for client, request in requests:
            client.send(request)
        return requests

    def judge(self, requests):
        for client, request in requests:
            self.assertTrue(client.receive(request).entries[0].allowed)
            self.assertEqual(client.source[:2], client.address[:2])

    def burst(self, daemon, clients):
        """More than a batch waits when the daemon wakes up, and more comes while it answers: its answers meet questions."""
        daemon.process.send_signal(signal.SIGSTOP)
        requests = self.ask(clients, BURST // len(clients))
        daemon.process.send_signal(signal.SIGCONT)
        requests += self.ask(clients, BURST // len(clients))
        self.judge(requests)
        return len(requests)

    def silent(self, clients):
        for client in clients:
            self.assertFalse(client.early)
            client.socket.setblocking(False)
            with self.assertRaises(BlockingIOError):
                client.socket.recv(4096)

    def test_each_once(self):
        for workers in (1, 2):
            with self.subTest(workers=workers):
                daemon = self.start(workers=workers)
                self.assertTrue(any("carrying" in line for line in daemon.said), daemon.said)
                clients = [self.enterContext(daemon.client(address)) for address in daemon.addresses for _ in range(2)]
                asked = 0
                for _ in range(ROUNDS):
                    asked += self.burst(daemon, clients)
                    if self.carried(daemon) >= 20:
                        break
                else:
                    self.fail(f"{self.carried(daemon)} of {asked} were carried")
                self.silent(clients)
                total = daemon.stats()["total"]
                self.assertEqual((total["answered"], total["allowed"], total["repeats"], total["send_errors"]), (asked, asked, 0, 0))
                self.assertEqual(daemon.rule("count")["units"], asked)
                daemon.stop()

    def test_under_load(self):
        """Many clients at once: not an answer is missing, and none comes twice."""
        for workers in (1, 2):
            with self.subTest(workers=workers):
                daemon = self.start(workers=workers)
                for _ in range(20):
                    report = json.loads(daemons.mete("bench", "--json", "--server", f"{SERVER4}:{daemon.port}", "--rule", "count",
                                                     "--flows", "32", "--outstanding", "8", "--timeout", "20000", "--seconds",
                                                     "0.4").stdout)
                    self.assertEqual([report[what] for what in ("lost", "late", "duplicate", "malformed")], [0, 0, 0, 0])
                    if self.carried(daemon) >= 100:
                        break
                else:
                    self.fail("none were carried")
                daemon.stop()

    def test_an_idle_server_answers_at_once(self):
        """No answer waits for a question that nobody asks: of one, and of a burst that nothing follows."""
        daemon = self.start()
        with daemon.client() as client:
            for _ in range(50):
                self.judge(self.ask([client], 1))
            self.assertEqual(self.carried(daemon), 0)
            for count in (15, 16, 17, 64, 65, 200):
                daemon.process.send_signal(signal.SIGSTOP)
                requests = self.ask([client], count)
                daemon.process.send_signal(signal.SIGCONT)
                self.judge(requests)
            self.silent([client])

    def test_long_ones_go_by_themselves(self):
        """Questions longer than a place, among short ones whose answers wait."""
        daemon = self.start()
        with daemon.client() as client:
            for _ in range(20):
                daemon.process.send_signal(signal.SIGSTOP)
                requests = self.ask([client], 60)
                daemon.process.send_signal(signal.SIGCONT)
                long = client.request(wire.CHECK, "count", os.urandom(250))
                client.send(long)
                self.judge([*requests, (client, long)])

    def test_spinning(self):
        """A worker that does not sleep between datagrams lets nobody wait either."""
        daemon = self.start("spin_us=1000")
        clients = [self.enterContext(daemon.client(address)) for address in daemon.addresses]
        for _ in range(10):
            self.burst(daemon, clients)
        self.silent(clients)
        daemon.stop()

    def test_a_stop_answers_what_waits(self):
        daemon = self.start()
        with daemon.client() as client:
            daemon.process.send_signal(signal.SIGSTOP)
            requests = self.ask([client], 200)
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.send_signal(signal.SIGCONT)
            self.judge(requests)
        daemon.stop()

    def test_a_generic_program_carries_nothing(self):
        daemon = self.start("af_xdp.mode=generic")
        self.assertFalse(any("carrying" in line for line in daemon.said), daemon.said)
        with daemon.client() as client:
            for _ in range(5):
                self.burst(daemon, [client])
        self.assertEqual(self.carried(daemon), 0)
        daemon.stop()


if __name__ == "__main__":
    unittest.main()
