#!/usr/bin/env python3
"""Answers that wait, over af_xdp: checks of exact rules go out to a real redis-server for a grant while the frames they came in are
used again, and are answered from copies: to the MAC, address and port they came from, under the tag they came under, by IPv4 and
IPv6. Beside it another node, by an ordinary socket, that wants the same units."""
import os
import pathlib
import signal
import struct
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parent)]
from lib import daemon as daemons  # noqa: E402
from lib import mete_wire as wire  # noqa: E402
from lib import xdp_daemon  # noqa: E402
from lib.stores import Redis  # noqa: E402
from lib.stores import has_redis, wait_until  # noqa: E402
from lib.xdp_world import CLIENT4, NETWORKS, SERVER4  # noqa: E402

BySocket = daemons.Daemon
CONFIG = """
namespace: xdp-{pid}
redis: {{url: "unix://{path}", nodes: {nodes}, exact_wait: 1s}}
tenants:
  - name: default
    rules:
      - {{name: exact, algorithm: fixed_window, limit: 10/365d, sync: exact}}
      - {{name: one, algorithm: fixed_window, limit: 1/365d, sync: exact}}
      - {{name: local, algorithm: token_bucket, rate: 1000000/s, sync: local}}
"""


def setUpModule():
    if not has_redis():
        raise unittest.SkipTest("no redis-server")
    xdp_daemon.move(queues=2)


def config(store, nodes=1):
    return CONFIG.format(pid=os.getpid(), path=store.path, nodes=nodes)


class Waiting(unittest.TestCase):
    def setUp(self):
        from test_af_xdp import datagrams_to_sockets
        self.by_socket = datagrams_to_sockets
        self.store = self.enterContext(Redis())

    def start(self, **options):
        daemon = daemons.Daemon(config(self.store), workers=2, **options)
        self.addCleanup(daemon.close)
        return daemon

    def parked(self, daemon):
        return daemon.stats()["total"]["parked"]

    def exchange(self, daemon, client, count):
        """Asks for so many keys before it reads an answer. Each is the first of its key, so that it waits for a grant."""
        requests = [client.request(wire.CHECK, "exact", os.urandom(8)) for _ in range(count)]
        for request in requests:
            client.send(request)
        waiting = {request[12:16]: request for request in requests}
        allowed = 0
        while waiting:
            answer, source = client.socket.recvfrom(65536)
            self.assertEqual(source[:2], client.address)
            result = wire.decode_result(answer, wire.tag_of(waiting.pop(answer[4:8])))
            allowed += bool(result.entries[0].flags & wire.ALLOW)
        return allowed

    def test_grants_are_waited_for(self):
        daemon = self.start(listen=f"[{SERVER4}:0, '[::1]:0']")
        for address, version in zip(daemon.addresses, (4, 6)):
            before = self.by_socket(version)
            for _ in range(20):  # flows, over both queues
                with daemon.client(address) as client:
                    allowed = self.exchange(daemon, client, 10)
                    self.assertLessEqual(allowed, 10)
            self.assertEqual(self.by_socket(version), before)
        wait_until(lambda: self.parked(daemon) >= 200, "checks that wait")
        with daemon.client() as client:  # of what was denied because a wait was over nothing is lost
            wait_until(lambda: self.exchange(daemon, client, 1) == 1, "a grant")
        daemon.stop()

    def test_frames_are_used_again_meanwhile(self):
        """The store stands still; more checks come than there are frames; then it goes on and the first is answered."""
        from test_af_xdp import Wire
        daemon = self.start(sets=["af_xdp.ring=256"])
        with Wire() as raw, daemon.client() as client:
            def try_once():
                request = client.request(wire.CHECK, "exact", os.urandom(8))
                before = self.parked(daemon)
                self.store.process.send_signal(signal.SIGSTOP)
                raw.send(request, daemon.port, tag=0xE000)  # of VLAN 0, with a priority
                wait_until(lambda: self.parked(daemon) > before, "a check that waits")
                for _ in range(600):
                    self.assertTrue(client.check("local", os.urandom(8)).flags & wire.ALLOW)
                self.store.process.send_signal(signal.SIGCONT)
                tag, frame = raw.receive()
                self.judge(daemon, tag, frame)
                length = struct.unpack("!H", frame[38:40])[0]
                answer = wire.decode_result(frame[42:34 + length], wire.tag_of(request))
                return answer.entries[0].flags & wire.ALLOW  # unless a machine that stood still was too late
            wait_until(try_once, "a check that waited and was allowed")
        daemon.stop()

    def judge(self, daemon, tag, frame):
        from test_af_xdp import checksum, mac, world
        self.assertEqual(tag, 0xE000)
        self.assertEqual(frame[:12], mac(world().client_mac) + mac(world().server_mac))
        self.assertEqual(checksum(frame[14:34]), 0)
        self.assertEqual(struct.unpack("!4s4sH", frame[26:36]),
                         (bytes(map(int, SERVER4.split("."))), bytes(map(int, CLIENT4.split("."))), daemon.port))
        length = struct.unpack("!H", frame[38:40])[0]
        self.assertEqual(checksum(frame[26:34] + struct.pack("!BBH", 0, 17, length) + frame[34:34 + length]), 0)

    def test_a_stop_answers_what_waits(self):
        daemon = self.start()
        with daemon.client() as client:
            request = client.request(wire.CHECK, "exact", b"waits")
            self.store.process.send_signal(signal.SIGSTOP)
            client.send(request)
            wait_until(lambda: self.parked(daemon) > 0, "a check that waits")
            daemon.process.send_signal(signal.SIGTERM)
            client.receive(request)
            self.store.process.send_signal(signal.SIGCONT)
        daemon.stop()

    def test_without_the_store_it_denies(self):
        daemon = self.start()
        with daemon.client() as client:
            wait_until(lambda: client.check("exact", b"before").flags & wire.ALLOW, "a first grant")
            self.store.kill()
            wait_until(lambda: client.check("exact", b"after").flags & wire.DEGRADED, "the flag")
            for number in range(20):
                self.assertFalse(client.check("exact", b"%d" % number).flags & wire.ALLOW)

    def test_the_last_unit_goes_to_one(self):
        """Two nodes, one past the sockets and one by them, are asked for the same keys at once."""
        text = config(self.store, nodes=2)
        with daemons.Daemon(text) as first, BySocket(text, [f"trusted_networks={NETWORKS[0]}"]) as second, \
                first.client() as one, second.client() as other:
            for number in range(50):
                requests = [(client, client.request(wire.CHECK, "one", b"race-%d" % number)) for client in (one, other)]
                for client, request in requests:
                    client.send(request)
                won = sum(bool(client.receive(request).entries[0].flags & wire.ALLOW) for client, request in requests)
                self.assertLessEqual(won, 1)
                if won == 0:
                    wait_until(lambda: sum(bool(client.check("one", b"race-%d" % number).flags & wire.ALLOW)
                                           for client, _ in requests), "the unit that was given back")
            self.assertGreater(self.parked(first), 0)


if __name__ == "__main__":
    unittest.main()
