#!/usr/bin/env python3
"""Upgrades of a daemon behind the af_xdp backend, over a veth pair: the new process goes on with the very sockets, rings and
frames, so that no request stays without an answer and no frame is lost; and one that fails leaves the old one at its rings.

METE_UPGRADES is how many upgrades the load test makes (4); `make upgrade ROUNDS=100` prints what they counted."""
import mmap
import os
import pathlib
import socket
import struct
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parent)]
from lib import xdp_daemon  # noqa: E402

try:
    xdp_daemon.move(queues=2)  # before anybody else knows what a Daemon is
    WHY_NOT = ""
except unittest.SkipTest as why:
    WHY_NOT = str(why)

from lib import mete_wire as wire  # noqa: E402
from lib.daemon import Client, Daemon  # noqa: E402
from lib.stores import Redis, has_redis  # noqa: E402
from lib.upgrades import COUNTED, LIMIT, READY, TABLE, TAKEN, Chain, StandIn, refused, upgrade_under_load  # noqa: E402
from lib.xdp_world import run  # noqa: E402
from test_af_xdp import datagrams_to_sockets  # noqa: E402

ROUNDS = int(os.environ.get("METE_UPGRADES", "4"))
RING = 256
SMALL = f"af_xdp.ring={RING}"
FRAME_BYTES = 2048
EXACT = ("redis: {{url: '{url}', exact_wait: 1s}}\ntenants:\n  - name: default\n    rules:\n"
         "      - {{name: exact, algorithm: fixed_window, limit: 1000/365d, sync: exact}}\n")
AF_XDP, SOL_XDP, XDP_MMAP_OFFSETS = 44, 283, 1
RINGS = (0, 0x80000000, 0x100000000, 0x180000000)  # receive, transmit, fill, done: where they are mapped, as they are told


def frames_of(daemon):
    """Of each queue of a daemon at rest: frames that nobody has, and those in the four rings. The rest is the kernel's."""
    with StandIn(daemon) as new:
        new.hear_all()
        new.say(READY)
        assert new.hear()[0] == TABLE
        queues = len([role for role in new.roles if role.startswith("xdp-socket-")])
        return [frames_in(*(new.fds[new.roles.index(f"xdp-{what}-{queue}")] for what in ("socket", "memory")))
                for queue in range(queues)]


def frames_in(fd, memory):
    room = 2 * RING * FRAME_BYTES
    with mmap.mmap(memory, 0) as left:
        count = struct.unpack_from("<I", left, room + 8 + 5 * 4)[0]
    with socket.socket(AF_XDP, socket.SOCK_RAW, 0, os.dup(fd)) as queue:
        offsets = struct.unpack("<16Q", queue.getsockopt(SOL_XDP, XDP_MMAP_OFFSETS, 128))
    for number, place in enumerate(RINGS):
        producer, consumer, _, _ = offsets[4 * number:4 * number + 4]
        with mmap.mmap(fd, mmap.PAGESIZE, offset=place) as ring:
            count += struct.unpack_from("<I", ring, producer)[0] - struct.unpack_from("<I", ring, consumer)[0] & 0xFFFFFFFF
    return count


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Upgraded(unittest.TestCase):
    def rounds(self, chain, *more):
        before = datagrams_to_sockets()
        upgrade_under_load(chain, ROUNDS, *more)
        self.assertEqual(datagrams_to_sockets(), before, "some went through the kernel's sockets")

    def test_under_load(self):
        for mode in ("native", "generic"):
            with self.subTest(mode=mode), Chain(COUNTED, [SMALL, f"af_xdp.mode={mode}"], workers=2) as chain:
                self.rounds(chain)

    def test_frames_are_kept(self):
        """More datagrams than there are frames, at once and again and again, between upgrades with other numbers of workers."""
        with Chain(COUNTED, [SMALL], workers=2) as chain:
            before = frames_of(chain.now)
            self.assertEqual(len(before), 2)
            self.assertTrue(all(2 * RING - 16 <= count <= 2 * RING for count in before), before)
            for workers in (1, 3, 2, 2):
                with chain.now.client() as client:
                    for _ in range(10):
                        requests = [client.request(wire.CHECK, "count", b"a") for _ in range(50)]
                        for request in requests:
                            client.send(request)
                        for request in requests:
                            client.receive(request)
                chain.upgrade("--set", f"workers={workers}")
                self.assertEqual(chain.now.workers, workers)
            with chain.now.client() as client:
                self.assertEqual(client.check("count", b"a", 0).remaining, LIMIT - 2000)
            self.assertEqual(frames_of(chain.now), before)

    @unittest.skipUnless(has_redis(), "no redis-server")
    def test_frames_of_late_answers(self):
        """What waits for a grant is answered on the way to rest, by frames that nobody had."""
        with Redis() as store, Daemon(EXACT.format(url=f"unix://{store.path}"), [SMALL]) as daemon, daemon.client() as client:
            self.assertTrue(client.check("exact", b"a").allowed)
            before = frames_of(daemon)
            store.pause()
            requests = [client.request(wire.CHECK, "exact", b"%d" % number) for number in range(50)]
            for request in requests:
                client.send(request)
            while daemon.stats()["total"]["received"] < 1 + len(requests):
                pass
            self.assertEqual(frames_of(daemon), before)
            # in any order: some waited, some found no room to wait
            answered = {wire.tag_of(client.socket.recv(65536)) for _ in requests}
            self.assertEqual(answered, {wire.tag_of(request) for request in requests})
            store.resume()
            daemon.stop()

    def test_other_addresses(self):
        """The program is the new configuration's: what is new goes past the sockets, what is gone is the kernel's."""
        second = xdp_daemon.SECOND4
        with Chain(COUNTED, listen="127.0.0.1:0") as chain:
            port = chain.now.port
            chain.upgrade("--set", f"listen.udp=[{chain.now.address[0]}:{port}, {second}:{port}]")
            for address in chain.now.addresses:
                self.ask(address)
            chain.upgrade("--set", f"listen.udp={second}:{port}")
            self.assertEqual(chain.now.addresses, [(second, port)])
            self.ask((second, port))

    def ask(self, address):
        before = datagrams_to_sockets()
        with self.client_of(address) as client:
            self.assertTrue(client.check("count", b"a").allowed)
        self.assertEqual(datagrams_to_sockets(), before)

    def client_of(self, address):
        return Client(address)

    def test_what_comes_in_the_pause_waits(self):
        """In the rings: the old process answers it when the new one is gone, and the next new one when it takes over."""
        with Chain(COUNTED, [SMALL]) as chain, chain.now.client() as client:
            for step in (TABLE, TAKEN):
                with StandIn(chain.now) as new:
                    new.hear_all()
                    new.say(READY)
                    self.assertEqual(new.hear()[0], TABLE)
                    requests = [client.request(wire.CHECK, "count", b"a") for _ in range(20)]
                    for request in requests:
                        client.send(request)
                    if step == TAKEN:
                        new.exactly(4096)
                for request in requests:
                    client.receive(request)
            chain.upgrade()
            self.assertEqual(client.check("count", b"a", 0).remaining, LIMIT - 40)

    def test_refused(self):
        with Daemon(COUNTED, ["af_xdp.mode=native"]) as daemon:
            for more, words in (
                    (["backend=mmsg", "listen.interface=none"], "backend: is not af_xdp, and af_xdp in the daemon that serves"),
                    (["af_xdp.ring=512"], "listen.interface, af_xdp.queues, af_xdp.mode and af_xdp.ring must be those of the daemon"),
                    (["af_xdp.queues=1"], "af_xdp.queues, af_xdp.mode"), (["af_xdp.mode=generic"], "af_xdp.mode"),
                    (["listen.interface=nosuch"], "there is no nosuch")):
                with self.subTest(more=more):
                    self.assertIn(words, refused(daemon, *(word for one in more for word in ("--set", one))))
                    self.ask(daemon.address)
            run("ip", "-n", xdp_daemon.world.spaces["s"], "link", "add", "other0", "type", "veth", "peer", "name", "other1")
            self.assertIn("must be those of the daemon", refused(daemon, "--set", "listen.interface=other0"))
            self.ask(daemon.address)
            daemon.stop()

    def test_a_restart_after_it(self):
        """Nothing of the interface stays behind."""
        with Chain(COUNTED) as chain:
            chain.upgrade()
            self.assertTrue(xdp_daemon.world.has_program())
        self.assertFalse(xdp_daemon.world.has_program())
        with Daemon(COUNTED) as daemon:
            self.ask(daemon.address)
            daemon.stop()


if __name__ == "__main__":
    unittest.main()
