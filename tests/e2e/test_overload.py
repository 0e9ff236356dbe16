#!/usr/bin/env python3
"""A daemon that has more in its queue than is of use: it is stopped (SIGSTOP) while datagrams come, and goes on. What is
old by its own clock is left out, what is fresh and every RELEASE is answered, and the counters add up. How much of an
overload is for whom is tests/unit/test_shed.c's; how fast all this is, bench/overload.py's."""
import ctypes
import itertools
import os
import pathlib
import signal
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, SANITIZED, Daemon

CONFIG = """
repeats: {window: 10s, ahead: 10s}
overload: {delay_budget: %s, max_age: %s}
tenants:
  - name: default
    rules:
      - {name: api, algorithm: fixed_window, limit: 1000000/365d}
      - {name: jobs, algorithm: concurrency, limit: 1000000, lease: 1h}
"""
LEASES = itertools.count(1)
AHEAD_MS = 5000  # of fresh ones: whatever keeps the daemon waiting, they are never old
CAP_NET_ADMIN, PR_CAPBSET_DROP = 12, 24


def drop_net_admin():
    ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0)


class Stopped:
    """The daemon stands still for at least so long."""

    def __init__(self, daemon, least_s):
        self.process, self.least_s = daemon.process, least_s

    def __enter__(self):
        self.process.send_signal(signal.SIGSTOP)
        while pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            pass
        self.since = time.monotonic()

    def __exit__(self, *_):
        time.sleep(max(0, self.since + self.least_s - time.monotonic()))  # what the test itself injects
        self.process.send_signal(signal.SIGCONT)


class Overload(unittest.TestCase):
    def drain(self, client, until):
        """All answers up to the one to sequence `until`: {sequence: result header}."""
        answers = {}
        while until not in answers:
            data = client.socket.recv(65536)
            answers[int.from_bytes(data[4:8], "little")] = data
        return answers

    def total(self, daemon, sent):
        """When every datagram is accounted for; the kernel's drops are looked at ten times a second."""
        while True:
            total = daemon.stats()["total"]
            if total["received"] + total["kernel_drops"] >= sent:
                self.assertEqual(total["received"] + total["kernel_drops"], sent)
                self.assertEqual(total["received"], total["answered"] + total["shed_old"] + total["shed_share"])
                return total

    def test_the_oldest_go_first(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(CONFIG % ("20ms", "50ms"), backend=backend) as daemon, \
                    daemon.client() as client:
                hello = client.hello()
                clock = {"clock_ms": hello.clock_ms, "boot_bits": hello.boot_bits}
                fresh_clock = {**clock, "clock_ms": (hello.clock_ms + AHEAD_MS) & 0xFFFFFFFF}
                leases = [next(LEASES) for _ in range(100)]
                for lease in leases:
                    self.assertTrue(client.limits(wire.ACQUIRE, "jobs", b"host", lease_id=lease).entries[0].allowed)
                old, fresh, unknown, releases = [], [], [], []
                with Stopped(daemon, 0.2):
                    for number, lease in enumerate(leases):
                        for kind, options in ((old, clock), (fresh, fresh_clock), (unknown, {}), (old, clock)):
                            client.send(client.request(wire.CHECK, "api", b"%d" % number, **options))
                            kind.append(client.sequence)
                        client.send(client.request(wire.RELEASE, "jobs", b"host", lease_id=lease, **clock))
                        releases.append(client.sequence)
                    last = client.request(wire.CHECK, "api", b"last", **fresh_clock)
                    client.send(last)
                answers = self.drain(client, client.sequence)
                self.assertEqual(set(answers), {*fresh, *unknown, *releases, client.sequence})
                total = self.total(daemon, 1 + 100 + 500 + 1)
                self.assertEqual((total["shed_old"], total["shed"], total["kernel_drops"]), (200, 0, 0))
                self.assertEqual((total["released"], total["stale"]), (100, 0))
                # what was left out was not charged, and outside of an overload its clock is nobody's concern
                self.assertEqual(client.check("api", b"7", 0).remaining, 1000000 - 2)
                late = client.limits(wire.CHECK, "api", b"7", **clock)
                self.assertEqual((late.entries[0].allowed, late.entries[0].remaining), (True, 1000000 - 3))

    def test_all_add_up(self):
        """More than the buffer holds: what the kernel drops is counted, and whatever comes through has one fate."""
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(CONFIG % ("1ms", "10s"), backend=backend) as daemon, \
                    daemon.client() as client:
                sent = 0
                for _ in range(2 if SANITIZED else 6):
                    with Stopped(daemon, 0.01):
                        for _ in range(2000):
                            client.send(client.request(wire.CHECK, "api", b"x"))
                            sent += 1
                    self.total(daemon, sent)
                total = self.total(daemon, sent)
                self.assertGreater(total["kernel_drops"], 0)
                self.assertEqual(total["checks"], total["answered"] - total["shed"])
                self.assertEqual(total["shed_old"], 0)
                answers = []
                client.socket.settimeout(0)
                try:
                    while True:
                        answers.append(client.socket.recv(65536))
                except BlockingIOError:
                    pass
                shed = [answer for answer in answers if answer[2] & wire.STATUS]
                self.assertEqual((len(answers), len(shed)), (total["answered"], total["shed"]))
                self.assertTrue(all(answer[14] == wire.SHED for answer in shed))
                tenants = {tenant["tenant"]: tenant["shed"] for tenant in daemon.stats()["tenants"]}
                self.assertGreaterEqual(tenants["default"], total["shed"] + total["shed_share"])  # and what the gate kept

    def test_the_buffer_follows_the_budget(self):
        """A tenth of the budget, a tenth of the buffer, as the kernel says."""
        sizes = []
        for budget in ("10ms", "1ms"):
            with Daemon(CONFIG % (budget, "1s")) as daemon:
                self.assertFalse([line for line in daemon.said if "delay_budget" in line])
                sizes.append(self.buffer_of(daemon))
        self.assertEqual(sizes, [3000000, 300000])

    def buffer_of(self, daemon):
        """From sock_diag(7): rmem's limit of the socket on the daemon's port."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as diag:  # NETLINK_SOCK_DIAG
            request = bytes([socket.AF_INET, socket.IPPROTO_UDP, 1 << 6, 0]) + b"\xff" * 4 + bytes(48)  # SKMEMINFO
            diag.send((16 + len(request)).to_bytes(4, "little") + (20).to_bytes(2, "little") +
                      (0x301).to_bytes(2, "little") + bytes(8) + request)
            while True:
                data = diag.recv(1 << 16)
                while data:
                    length, kind = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:6], "little")
                    self.assertEqual(kind, 20, "no such socket")
                    if int.from_bytes(data[20:22], "big") == daemon.port:
                        attributes = data[16 + 72:length]
                        while attributes:
                            size, attribute = (int.from_bytes(attributes[i:i + 2], "little") for i in (0, 2))
                            if attribute == 7:  # INET_DIAG_SKMEMINFO
                                return int.from_bytes(attributes[8:12], "little")
                            attributes = attributes[size + 3 & ~3:]
                    data = data[length + 3 & ~3:]

    @unittest.skipIf(os.geteuid() != 0, "needs a right to give up")
    def test_a_clamped_buffer_is_told(self):
        limit = int(pathlib.Path("/proc/sys/net/core/rmem_max").read_text())
        with Daemon(CONFIG % ("1s", "1s"), preexec=drop_net_admin) as daemon:
            self.assertEqual([line for line in daemon.said if "delay_budget" in line], [
                f"mete: overload.delay_budget: receive buffers of {2 * limit} bytes in place of 300000000, so bursts are lost "
                "sooner; sysctl net.core.rmem_max=150000000 allows them, and so does CAP_NET_ADMIN"])
            with daemon.client() as client:
                self.assertTrue(client.check("api", b"x").allowed)


if __name__ == "__main__":
    unittest.main()
