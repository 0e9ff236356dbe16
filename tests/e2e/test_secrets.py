#!/usr/bin/env python3
"""Who is believed: datagrams signed with a tenant's secret, by the independent codec; repeats of them inside and outside
the window; a server that was restarted; UNIX sockets and trusted networks."""
import array
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from e2e import test_start
from lib import mete_wire as wire
from lib.daemon import BACKENDS, PATIENCE_S, SANITIZED, Client, Daemon, refuse
from lib.signed import Local, Signed

OLD, NEW, OTHER = b"o" * 32, bytes(range(32)), b"a passphrase"
KEY = bytes(range(100, 132))
CONFIG = """
key_file: key
tenants:
  - name: acme
    secret_files: [new, old]
    rules:
      - {name: api, algorithm: token_bucket, rate: 1/h, burst: 100}
      - {name: queue, algorithm: leaky_bucket, mode: queue, rate: 1/h, burst: 100}
      - {name: fixed, algorithm: fixed_window, limit: 100/365d}
      - {name: sliding, algorithm: sliding_window, limit: 100/365d}
  - name: other
    secret_files: [other]
    rules:
      - {name: api, algorithm: token_bucket, rate: 1/h, burst: 100}
  - name: open
    rules:
      - {name: api, algorithm: token_bucket, rate: 1/h, burst: 100}
"""


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name, data in (("key", KEY.hex().encode() + b"\n"), ("new", NEW.hex().encode() + b"\n"), ("old", OLD),
                           ("other", OTHER), ("third", b"3" * 16), ("mete.yaml", CONFIG.encode())):
            (self.folder / name).write_bytes(data)
            (self.folder / name).chmod(0o600)

    def daemon(self, *sets, **options):
        """A daemon on the configuration, in the folder of its secrets."""
        return Daemon(path=self.folder / "mete.yaml", sets=sets, **options)

    def total(self, daemon, *names):
        total = daemon.stats()["total"]
        return tuple(total[name] for name in names)

    def units(self, daemon, rule="api", tenant="acme"):
        return daemon.rule(rule, tenant)["units"]


class Secrets(Case):
    def test_two_secrets_and_their_counters(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), self.daemon(backend=backend) as daemon, \
                    Signed(daemon.address, "acme", NEW, 0) as new, Signed(daemon.address, "acme", OLD, 1) as old, \
                    Signed(daemon.address, "other", OTHER) as other:
                self.assertEqual([new.check("api", b"one").remaining for _ in range(3)], [99, 98, 97])
                self.assertEqual(old.check("api", b"one").remaining, 96)
                self.assertEqual(other.check("api", b"one").remaining, 99)
                self.assertEqual(new.seed, wire.tenant_seed("acme", KEY))
                self.assertEqual((old.seed, other.seed), (new.seed, wire.tenant_seed("other", KEY)))
                used = {(s["tenant"], s["secret"]): s["used"] for s in daemon.stats()["secrets"]}
                self.assertEqual(used, {("acme", 0): 4, ("acme", 1): 2, ("other", 0): 2})  # a HELLO each
                self.assertEqual(self.total(daemon, "bad_tag", "hello", "allowed"), (0, 3, 5))

    def test_no_other_key(self):
        with self.daemon() as daemon, Signed(daemon.address, "acme", NEW) as client:
            client.learn()
            boot = client.boot_id
            wrong = [{"key": wire.mac_key(key, b)} for key in (OTHER, OLD, b"x") for b in (boot, 0)]
            wrong += [{"key": wire.mac_key(NEW, 0)}, {"key": wire.mac_key(NEW, boot ^ 1)}, {"key": bytes(16)}]
            wrong += [{"secret": 1}, {"secret": 2}, {"secret": 0xFE}, {"tenant": "other"}, {"tenant": "open"}]
            bad = [client.make(wire.CHECK, "api", b"x", **options) for options in wrong]
            bad += [client.make_hello(key=wire.mac_key(secret, 0)) for secret in (OTHER, OLD)]
            bad += [client.make_hello(key=client.key), client.make_hello(key=wire.mac_key(OTHER), boot_bits=1)]
            for datagram in bad:
                client.send(datagram)
            client.learn()  # the next answer is that of the good one
            self.assertEqual(self.total(daemon, "bad_tag", "answered", "checks", "restarted"), (len(bad), 2, 0, 0))
            # the right secret does not make a datagram of another tenant one's own
            self.assertEqual(self.units(daemon), 0)

    def test_every_bit(self):
        with self.daemon() as daemon, Signed(daemon.address, "acme", NEW) as client:
            client.learn()
            good = client.make(wire.CHECK, "api", b"x")
            for bit in range(len(good) * 8):
                data = bytearray(good)
                data[bit // 8] ^= 1 << bit % 8
                client.send(bytes(data))
                if bit // 16 == 10:  # the boot bits: the only ones whose change draws a hint
                    self.assertEqual(client.socket.recv(100)[1], wire.RESTARTED)
            client.learn()
            self.assertEqual(self.total(daemon, "checks", "restarted", "answered"), (0, 16, 18))

    def test_without_a_tag(self):
        """A tenant with secrets is still asked without where the path is trusted, and has the same buckets there."""
        with self.daemon() as daemon, Signed(daemon.address, "acme", NEW) as signed, daemon.client() as plain:
            self.assertEqual(signed.check("api", b"x").remaining, 99)
            seed = wire.tenant_seed("acme", KEY)
            self.assertEqual(plain.check("api", b"x", tenant="acme", seed=seed).remaining, 98)
            self.assertEqual(plain.hello(tenant="acme").masked_seed, seed)

    def test_hello_is_equal_in_size_and_can_be_repeated(self):
        with self.daemon() as daemon, Signed(daemon.address, "acme", NEW) as client:
            request = client.make_hello()
            for _ in range(3):
                client.send(request)
                result = client.take_hello(client.socket.recv(2048), request)
            self.assertEqual((result.repeat_window_ms, result.clock_lead_ms), (200, 20))
            refused = wire.resign(request[:2] + b"\x01" + request[3:], client.hello_key)  # a flag HELLO has not
            client.send(refused)
            result = wire.decode_result(client.socket.recv(2048), wire.tag_of(refused), client.hello_key)
            self.assertEqual((result.flags, result.detail), (wire.STATUS, wire.UNSUPPORTED))


class Repeats(Case):
    def test_the_same_bytes_are_charged_once(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), self.daemon("repeats.window=10s", backend=backend) as daemon, \
                    Signed(daemon.address, "acme", NEW) as client:
                client.learn()
                for rule in ("api", "queue", "fixed", "sliding"):
                    request = client.make(wire.CHECK, rule, [b"a", b"b", b"a"], 2, flags=wire.ALL_OR_NOTHING)
                    first = client.exchange(request)
                    for _ in range(3):
                        again = client.exchange(request)
                        self.assertEqual([v.flags & ~wire.DELAY for v in again.entries],
                                         [wire.ALLOW | wire.REPEAT] * 3, rule)
                    self.assertEqual([v.allowed for v in first.entries], [True] * 3)
                    self.assertEqual(self.units(daemon, rule), 6)
                taken = client.make(wire.CHECK, "api", b"c", 150, flags=wire.AT_MOST)
                self.assertEqual([client.exchange(taken).entries[0].retry_after for _ in range(3)], [100] * 3)
                denied = client.make(wire.CHECK, "api", b"c", 1)
                self.assertFalse(client.exchange(denied).entries[0].allowed)
                client.exchange(client.make(wire.RESET, "api", b"c"))
                self.assertEqual(client.exchange(denied).entries[0].flags, wire.REPEAT)  # though there is room now
                refund = client.make(wire.REFUND, "api", b"a", 1)
                for _ in range(3):
                    client.exchange(refund)
                self.assertEqual(client.check("api", b"a", 0).remaining, 97)  # 4 taken, 1 given back once
                self.assertEqual(self.total(daemon, "refunded", "reset", "repeats", "stale"), (1, 1, 17, 0))

    def test_outside_the_window(self):
        """The clock is the client's to say, so no test has to wait for it."""
        with self.daemon() as daemon, Signed(daemon.address, "acme", NEW) as client:
            client.learn()
            stale = [client.now_ms() - 1000, client.now_ms() - 3600_000, client.now_ms() + 3600_000,
                     client.now_ms() + 2**31, 0]
            for clock_ms in stale:
                result = client.exchange(client.make(wire.CHECK, "api", b"x", clock_ms=clock_ms % 2**32))
                self.assertEqual((result.flags, result.detail), (wire.STATUS, wire.STALE))
                self.assertLess(abs(result.clock_ms - client.now_ms()), 60_000)
            self.assertEqual(self.total(daemon, "stale", "checks"), (len(stale), 0))
            with daemon.client() as plain:  # of another life of the server, on a trusted path
                result = plain.limits(wire.CHECK, "api", b"x", tenant="open", boot_bits=(client.boot_id ^ 1) & 0xFFFF)
                self.assertEqual(result.detail, wire.STALE)

    def test_clocks_an_hour_apart(self):
        """A client whose clock jumps learns the server's from the first answer: one round trip more."""
        for jump in (-3600, 3600, 2**20):
            shift = [0]
            with self.subTest(jump=jump), self.daemon("repeats.window=10s") as daemon, \
                    Signed(daemon.address, "acme", NEW, clock=lambda: time.monotonic() + shift[0]) as client:
                client.check("api", b"x")
                shift[0], client.round_trips = jump, 0
                self.assertEqual(client.check("api", b"x").remaining, 98)
                self.assertEqual(client.round_trips, 2)

    def test_window_zero(self):
        with self.daemon("repeats.window=0") as daemon, Signed(daemon.address, "acme", NEW) as client:
            client.learn()
            self.assertEqual((client.window_ms, client.ahead_ms), (0, 0))
            request = client.make(wire.CHECK, "api", b"x", clock_ms=0)
            self.assertEqual([client.exchange(request).entries[0].remaining for _ in range(2)], [99, 98])

    def test_the_same_bytes_on_two_sockets(self):
        """Two workers meet the same bytes at once: one charges, the other repeats it or drops it."""
        for backend in BACKENDS:
            with self.subTest(backend=backend), self.daemon("repeats.window=10s", backend=backend, workers=2,
                                                            listen="[127.0.0.1:0, 127.0.0.2:0]") as daemon:
                clients = [Signed(address, "acme", NEW) for address in daemon.addresses for _ in range(8)]
                for client in clients:
                    client.learn()
                requests = [clients[0].make(wire.CHECK, "fixed", b"x", 0 if i % 2 else 1) for i in range(160)]

                def send_all(client):
                    for request in requests:
                        client.send(request)
                threads = [threading.Thread(target=send_all, args=(client,)) for client in clients]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                for client in clients:  # the last answer of a flow tells that all before it were judged
                    last = client.make(wire.CHECK, "api", b"last", 0, sequence=10**6)
                    client.send(last)
                    while client.socket.recv(2048)[4:8] != last[12:16]:
                        pass
                answered, dropped, repeats = self.total(daemon, "answered", "dropped_open", "repeats")
                asked = len(clients) * (len(requests) + 2)
                self.assertEqual(answered + dropped, asked)
                self.assertEqual(answered - repeats, len(requests) + 2 * len(clients))
                self.assertEqual(self.units(daemon, "fixed"), len(requests) // 2)
                for client in clients:
                    client.__exit__()


class Restarts(Case):
    def test_cold_restart(self):
        """What was signed for the life before draws RESTARTED, and the client is back after one round trip more."""
        first = self.daemon("repeats.window=10s")
        self.addCleanup(first.close)
        with Signed(first.address, "acme", NEW) as client:
            self.assertEqual(client.check("api", b"x").remaining, 99)
            boot, replay = client.boot_id, client.make(wire.CHECK, "api", b"x")
            first.stop()
            with self.daemon("repeats.window=10s", listen=f"127.0.0.1:{first.port}") as second:
                result = client.exchange(replay)
                self.assertEqual(result.type, wire.RESTARTED)
                self.assertEqual(self.total(second, "bad_tag", "restarted", "checks"), (1, 1, 0))
                client.round_trips = 0
                self.assertEqual(client.check("api", b"x").remaining, 99)  # cold: nothing was kept
                self.assertEqual(client.round_trips, 3)  # the hint, HELLO, the answer
                self.assertNotEqual(client.boot_id, boot)
                self.assertEqual(result.boot_bits, client.boot_id & 0xFFFF)

    def test_hints_are_rare(self):
        """Of many hopeless datagrams at once, few are answered (test_udp_secrets.c has the exact bound)."""
        with self.daemon() as daemon, Signed(daemon.address, "acme", NEW) as client:
            client.learn()
            bad = client.make(wire.CHECK, "api", b"x", key=wire.mac_key(OLD, 1), boot_bits=0)
            for _ in range(3000):
                client.send(bad)
            done = client.make_hello()
            client.send(done)
            hints = 0
            while (answer := client.socket.recv(2048))[1] == wire.RESTARTED:
                self.assertEqual(len(answer), 24)
                hints += 1
            client.take_hello(answer, done)
            self.assertEqual(self.total(daemon, "bad_tag", "restarted", "checks"), (3000, hints, 0))
            self.assertGreaterEqual(hints, 100)


    @unittest.skipIf(SANITIZED, "too slow for a flood")
    def test_the_flood_may_be_our_own_clients(self):
        """After a cold restart under load the kernel drops what is signed for the life before; a hint still gets out."""
        with self.daemon() as daemon, Signed(daemon.address, "acme", NEW) as client:
            client.learn()
            old = {"boot_bits": client.boot_id & 0xFFFF ^ 1, "key": wire.mac_key(NEW, client.boot_id ^ 1)}
            before = client.make(wire.CHECK, "api", b"x", **old)
            deadline = time.monotonic() + PATIENCE_S
            while not any("flood: the kernel now drops" in line for line in daemon.said):
                self.assertLess(time.monotonic(), deadline)
                for _ in range(1000):
                    client.send(before)
            late = client.make(wire.CHECK, "api", b"x", sequence=5, **old)
            client.socket.setblocking(False)
            deadline, heard = time.monotonic() + PATIENCE_S, set()
            while late[12:16] not in heard and time.monotonic() < deadline:
                client.send(late)
                try:
                    heard.add(client.socket.recv(2048)[4:8])
                except BlockingIOError:
                    pass
            self.assertIn(late[12:16], heard)
            self.assertFalse(any("flood is over" in line for line in daemon.said))


class Paths(Case):
    def test_unix_socket(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), self.daemon(f"listen.unix={self.folder}/s", backend=backend,
                                                            workers=2) as daemon:
                server = f"{self.folder}/s"
                self.assertEqual(os.stat(server).st_mode & 0o777, 0o660)
                with Local(server, f"{self.folder}/c{backend}") as client, Local(server, "\0mete" + backend) as named, \
                        Local(server, None) as unbound, daemon.client() as plain:
                    seed = wire.tenant_seed("acme", KEY)
                    for i in range(200):  # more than there are buffers
                        self.assertEqual(client.check("api", b"x", i % 2, tenant="acme", seed=seed).remaining,
                                         99 - i // 2 - (i % 2) + 1)
                    self.assertFalse(named.check("api", b"x", tenant="acme", seed=seed).allowed)
                    requests = [client.request(wire.CHECK, "api", b"y", tenant="acme", seed=seed) for _ in range(8)]
                    for request in requests:  # together, and yet not joined
                        client.send(request)
                    self.assertEqual([client.receive(r).entries[0].remaining for r in requests], list(range(99, 91, -1)))
                    unbound.send(unbound.request(wire.CHECK, "api", b"x", tenant="acme", seed=seed))
                    unbound.send(b"")
                    self.assertEqual(client.hello(tenant="acme").masked_seed, seed)
                    self.assertEqual(plain.hello(tenant="acme").masked_seed, seed)
                    self.assertEqual(self.total(daemon, "unbound", "bad_length", "send_errors"), (1, 1, 0))
            self.assertFalse(os.path.exists(server))

    def test_descriptors_are_not_taken(self):
        """A peer that passes descriptors must not fill the daemon's table of them."""
        for backend in BACKENDS:
            with self.subTest(backend=backend), self.daemon(f"listen.unix={self.folder}/s", backend=backend) as daemon, \
                    Local(f"{self.folder}/s", f"{self.folder}/c{backend}") as client:
                client.hello(tenant="open")
                folder = f"/proc/{daemon.process.pid}/fd"
                before = len(os.listdir(folder))
                passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
                for _ in range(50):
                    request = client.request(wire.CHECK, "api", b"x", tenant="open")
                    client.socket.sendmsg([request], passed, 0, client.address)
                    self.assertTrue(client.receive(request).entries[0].allowed)
                self.assertEqual(len(os.listdir(folder)), before)

    def test_unix_path(self):
        path = self.folder / "s"
        killed = self.daemon(f"listen.unix={path}")
        self.addCleanup(killed.close)
        refused = ["--config", str(self.folder / "mete.yaml"), "--set", "listen.udp=127.0.0.1:0", "--set",
                   "listen.admin=none", "--set", f"listen.unix={path}"]
        self.assertIn("another daemon serves there", refuse(*refused))
        killed.process.kill()
        killed.process.wait()
        self.assertTrue(path.exists())
        with self.daemon(f"listen.unix={path}") as daemon, Local(str(path), str(self.folder / "c")) as client:
            self.assertEqual(client.check("api", b"x", tenant="open", seed=wire.tenant_seed("open", KEY)).remaining, 99)
            self.assertEqual(daemon.stats()["total"]["received"], 1)
        path.write_text("not a socket")
        self.assertIn("is there and no socket", refuse(*refused))


class Networks(Case):
    """A peer that is not on loopback, through a pair of virtual interfaces."""

    def setUp(self):
        super().setUp()
        test_start.Trust.setUp(self)

    def test_signed_and_unsigned(self):
        inside = ("ip", "netns", "exec", self.name)
        (self.folder / "mete.yaml").write_text(CONFIG.replace("  - name: open\n", "  - name: open\n    secret_files: [third]\n"))
        for backend in BACKENDS:
            for trusted in (False, True):
                sets = [f"trusted_networks={self.net}.0/24"] if trusted else []
                with self.subTest(backend=backend, trusted=trusted), \
                        self.daemon(*sets, backend=backend, listen=f"{self.net}.2:0", command=inside) as daemon, \
                        Signed(daemon.address, "acme", NEW) as signed, Client(daemon.address) as plain:
                    self.assertEqual(signed.check("api", b"x").remaining, 99)
                    request = plain.request(wire.CHECK, "api", b"x", tenant="acme", seed=signed.seed)
                    plain.send(request)
                    if trusted:
                        self.assertEqual(plain.receive(request).entries[0].remaining, 98)
                        continue
                    while not (untrusted := self.total(daemon, "untrusted")[0]):
                        pass
                    self.assertEqual(untrusted, 1)
                    self.assertEqual(signed.check("api", b"x").remaining, 98)
                    plain.socket.setblocking(False)
                    self.assertRaises(BlockingIOError, plain.socket.recv, 100)


if __name__ == "__main__":
    unittest.main()
