#!/usr/bin/env python3
"""The threats of proto-spec/security.md, tried against the real daemon: whoever can send from any address, has copied
what others sent, or is a tenant itself. What other files try is named in the table of that text."""
import os
import random
import pathlib
import socket
import struct
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from e2e import test_secrets, test_start
from lib import mete_wire as wire
from lib.daemon import BACKENDS, SANITIZED
from lib.signed import Signed

ACME, OTHER, KEY = test_secrets.NEW, test_secrets.OTHER, test_secrets.KEY
SEED = int(os.environ.get("METE_SEED") or random.SystemRandom().getrandbits(32))
# Every datagram is looked at by the daemon itself, however many bad ones there are.
EXACT = ("filter=off",)


def send_from(source, server, datagram):
    """One UDP datagram over IPv4 with a source address and port of the sender's choice. No checksum: UDP has none then."""
    udp = struct.pack("!HHHH", source[1], server[1], 8 + len(datagram), 0) + datagram
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0, socket.inet_aton(source[0]),
                     socket.inet_aton(server[0]))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(ip + udp, (server[0], 0))


class Sources(test_secrets.Case):
    """Forged source addresses, through a pair of virtual interfaces."""

    def setUp(self):
        super().setUp()
        test_start.Trust.setUp(self)

    def test_forged_source(self):
        """An address opens nothing but a trusted network; loopback cannot be forged from outside."""
        inside = ("ip", "netns", "exec", self.name)
        (self.folder / "mete.yaml").write_text(
            test_secrets.CONFIG.replace("  - name: open\n", "  - name: open\n    secret_files: [third]\n"))
        for backend in BACKENDS:
            for trusted in (False, True):
                sets = [*EXACT, f"trusted_networks={self.net}.9/32"] if trusted else EXACT
                with self.subTest(backend=backend, trusted=trusted), \
                        self.daemon(*sets, backend=backend, listen=f"{self.net}.2:0", command=inside) as daemon, \
                        Signed(daemon.address, "acme", ACME) as own, Signed(daemon.address, "acme", ACME) as copied:
                    own.learn(), copied.learn()
                    counted = ("received", "untrusted", "bad_tag", "restarted", "answered", "checks")

                    def rise(source, datagram):
                        before = self.total(daemon, *counted)
                        send_from((source, 4000), daemon.address, datagram)
                        own.learn()  # one worker, one socket: what came before is judged
                        rises = (b - a for a, b in zip(before, self.total(daemon, *counted)))
                        return {name: n for name, n in zip(counted, rises) if n}

                    plain = wire.check("api", b"x", tenant="acme", seed=own.seed, client_id=77)
                    forged = own.make(wire.CHECK, "api", b"x", key=bytes(16))
                    hello = {"received": 1, "answered": 1}
                    self.assertEqual(rise("127.0.0.1", plain), hello)  # the kernel takes it from no wire
                    self.assertEqual(rise(f"{self.net}.8", plain), {**hello, "received": 2, "untrusted": 1})
                    self.assertEqual(rise(f"{self.net}.8", forged), {**hello, "received": 2, "bad_tag": 1})
                    self.assertEqual(rise(f"{self.net}.9", forged), {**hello, "received": 2, "bad_tag": 1})
                    charged = rise(f"{self.net}.9", plain)  # whoever can send from a trusted address is trusted
                    self.assertEqual(charged.get("checks", 0), int(trusted))
                    # what was copied is charged once, wherever it comes from
                    request = copied.make(wire.CHECK, "api", b"y")
                    before = self.units(daemon)
                    copied.exchange(request)
                    rise(f"{self.net}.8", request)
                    self.assertEqual(self.units(daemon), before + 1)


class Replays(test_secrets.Case):
    def test_from_another_address(self):
        """Inside the window a copy gets the same decision, is not charged, and is answered with less than was sent."""
        with self.daemon("repeats.window=10s") as daemon, Signed(daemon.address, "acme", ACME) as client, \
                Signed(daemon.address, "acme", ACME) as thief:
            client.learn(), thief.learn()
            request = client.make(wire.CHECK, "api", b"x", 7)
            self.assertEqual(client.exchange(request).entries[0].remaining, 93)
            for _ in range(20):
                thief.send(request)
                answer = thief.socket.recv(2048)
                self.assertLess(len(answer), len(request))
                self.assertTrue(wire.decode_result(answer, wire.tag_of(request), client.key).entries[0].flags & wire.REPEAT)
            self.assertEqual(self.units(daemon), 7)

    def test_outside_the_window(self):
        with self.daemon("repeats.window=20ms") as daemon, Signed(daemon.address, "acme", ACME) as client:
            client.learn()
            request = client.make(wire.CHECK, "api", b"x", 7)
            client.exchange(request)
            answers = []
            while not answers or not answers[-1].flags & wire.STATUS:  # the window passes while it is sent again
                answers.append(client.exchange(request))
            self.assertEqual(answers[-1].detail, wire.STALE)
            self.assertLessEqual(self.units(daemon), 7)

    def test_to_another_node(self):
        """Two nodes share key file and secrets; what was signed for one is nothing to the other, though it is the same
        tenant's. Only HELLO, which charges nothing, is known to both."""
        with self.daemon(*EXACT) as one, self.daemon(*EXACT) as two, Signed(one.address, "acme", ACME) as client, \
                Signed(two.address, "acme", ACME) as there:
            client.learn(), there.learn()
            self.assertNotEqual(client.boot_id, there.boot_id)
            self.assertEqual(client.seed, there.seed)
            for type_ in wire.LIMIT_TYPES:
                there.send(client.make(type_, "api", b"x"))
                there.send(client.make(type_, "api", b"x", boot_bits=there.boot_id & 0xFFFF))
                self.assertEqual(there.socket.recv(100)[1], wire.RESTARTED)  # for the first alone
            hello = client.make_hello()
            there.send(hello)
            self.assertEqual(len(there.socket.recv(100)), len(hello))
            there.learn()
            self.assertEqual(self.total(two, "bad_tag", "restarted", "checks", "refunded", "reset", "hello"),
                             (6, 3, 0, 0, 0, 3))

    def test_the_limit_on_checks(self):
        """Who sends copies cannot use up the limit on checks of the tenant that they were copied from."""
        config = test_secrets.CONFIG.replace("  - name: acme\n", "  - name: acme\n    checks: 10/h\n")
        (self.folder / "mete.yaml").write_text(config)
        for backend in BACKENDS:
            with self.subTest(backend=backend), self.daemon("repeats.window=10s", backend=backend) as daemon, \
                    Signed(daemon.address, "acme", ACME) as client:
                client.learn()
                request = client.make(wire.CHECK, "api", [b"x", b"y", b"z"])
                for _ in range(50):
                    self.assertFalse(client.exchange(request).flags & wire.STATUS)
                for _ in range(50):  # many at once: some meet the first in one batch
                    client.send(request)
                client.send(done := client.make_hello())
                while (answer := client.socket.recv(2048))[1] != wire.HELLO | 0x80:
                    self.assertEqual(answer[2], 0)
                client.take_hello(answer, done)
                for left in range(6, -1, -1):
                    self.assertEqual(client.check("api", b"new").remaining, 93 + left)
                refused = client.exchange(client.make(wire.CHECK, "api", b"new"))
                self.assertEqual((refused.flags, refused.detail), (wire.STATUS, wire.LIMITED))
                self.assertEqual(self.total(daemon, "limited"), (1,))


class Strangers(test_secrets.Case):
    def test_guessing(self):
        """Tags at random, and those that cost nothing to guess; nothing is told of how near a guess was."""
        count = 2000 if SANITIZED else 20_000
        guess = random.Random(SEED)
        with self.daemon(*EXACT) as daemon, Signed(daemon.address, "acme", ACME) as client:
            client.learn()
            good = client.make(wire.CHECK, "api", b"x")
            near = [(int.from_bytes(good[-8:], "little") ^ 1 << bit).to_bytes(8, "little") for bit in range(64)]
            near += [bytes(8), b"\xff" * 8, good[8:16], good[-8:][::-1], bytes(a ^ 0xFF for a in good[-8:])]
            for at in range(0, count, 100):
                for _ in range(100):
                    client.send(good[:-8] + (near.pop() if near else guess.randbytes(8)))
                client.learn()  # the next answer is to the good one: no guess was answered
            self.assertEqual(self.total(daemon, "bad_tag", "checks", "restarted"), (count, 0, 0), f"seed {SEED}")

    def test_what_a_hint_tells(self):
        """RESTARTED names the boot bits, to whoever knows a tenant that has such a secret; nobody else is answered."""
        with self.daemon(*EXACT) as daemon, Signed(daemon.address, "acme", ACME) as client:
            client.learn()
            wrong = {"key": bytes(16), "boot_bits": (client.boot_id ^ 1) & 0xFFFF}
            for silent in ({"tenant": "nobody"}, {"tenant": "open"}, {"secret": 2}, {"secret": 0xFE},
                           {"boot_bits": client.boot_id & 0xFFFF}):
                client.send(client.make(wire.CHECK, "api", b"x", **{**wrong, **silent}))
            client.send(client.make_hello(key=bytes(16), boot_bits=1))
            hinted = client.make(wire.CHECK, "api", b"x", **wrong)
            client.send(hinted)
            hint = client.socket.recv(2048)
            self.assertEqual(wire.decode_result(hint, wire.tag_of(hinted)).boot_bits, client.boot_id & 0xFFFF)
            self.assertEqual(hint[:4] + hint[8:12] + hint[14:16], b"\xe1\x8f\0\0" + bytes(4) + b"\0\x20")  # no clock


class Amplification(test_secrets.Case):
    """An answer is shorter than its question, for HELLO as long: forged sources make of this server no weapon."""

    def questions(self, client):
        """Every type with every size of entries and a few counts and flags, tagged well and ill; each also cut and
        lengthened. Sequence numbers tell the answers apart."""
        for type_ in range(256):
            for words in range(16):
                for n in (1, 2, 75) if type_ <= wire.HELLO else (1,):
                    for flags in (0, 0x7F, wire.RAW_SUBJECT, wire.MIN_RESULT, wire.INLINE_LIMIT) if type_ <= 8 else (0,):
                        length = 24 + n * words * 8
                        if length + 8 > wire.MAX_BYTES:
                            continue
                        for key, secret, boot in self.signers:
                            client.sequence += 1
                            head = struct.pack("<BBBBIIIIHBB", wire.FIRST_BYTE, type_, flags, n, wire.name_id("acme"), 1,
                                               client.sequence, client.now_ms(), boot, secret, 0x30 | words)
                            yield wire.resign(head.ljust(length + 8, b"\0"),
                                              client.hello_key if key and type_ == wire.HELLO else key)
        good = client.make(wire.CHECK, "api", b"x")
        for length in range(wire.MAX_BYTES + 200):
            client.sequence += 1
            data = good[:12] + struct.pack("<I", client.sequence) + good[16:]
            yield wire.resign(data.ljust(length, b"\0")[:length], client.key) if length >= 8 else data[:length]

    def test_every_type_and_size(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), self.daemon(*EXACT, backend=backend) as daemon, \
                    Signed(daemon.address, "acme", ACME) as client:
                client.learn()
                bits = client.boot_id & 0xFFFF
                self.signers = ((client.key, 0, bits), (None, wire.NO_SECRET, 0), (bytes(16), 0, bits ^ 1))
                asked, answered, equal = {}, set(), set()

                def collect():
                    client.send(end := client.make_hello())
                    while (answer := client.socket.recv(65536))[4:8] != end[12:16]:
                        question = asked.pop(answer[4:8])  # KeyError: two answers to one, or to nobody
                        answered.add(question[1])
                        self.assertTrue(len(answer) < len(question) or
                                        len(answer) == len(question) == 64 and question[1] == wire.HELLO, question.hex())
                        if len(answer) == len(question):
                            equal.add(question[1])
                    client.take_hello(answer, end)
                for number, question in enumerate(self.questions(client)):
                    asked[question[12:16] if len(question) > 15 else number] = question
                    client.send(question)
                    if number % 100 == 99:
                        collect()
                collect()
                self.assertEqual(equal, {wire.HELLO})
                self.assertEqual(answered, set(range(128)))  # a status of UNSUPPORTED at least


class Tenants(test_secrets.Case):
    def test_another_tenants_key(self):
        """The keys of another tenant, its rule ids, under one's own tag: a bucket of one's own, and nothing else."""
        config = test_secrets.CONFIG.replace("  - name: open\n", "  - name: open\n    secret_files: [third]\n", 1)
        config = config.replace("      - {name: api, algorithm: token_bucket, rate: 1/h, burst: 100}\n  - name: open",
                                "      - {name: api, algorithm: token_bucket, rate: 1/h, burst: 100}\n"
                                "      - {name: theirs, algorithm: token_bucket, rate: 1/h, burst: 5}\n  - name: open")
        (self.folder / "mete.yaml").write_text(config)
        inline = (100, 0, 3600 * 10**9)
        with self.daemon() as daemon, Signed(daemon.address, "acme", ACME) as thief, \
                Signed(daemon.address, "other", OTHER) as victim:
            thief.learn(), victim.learn()
            self.assertNotEqual(thief.seed, victim.seed)

            def left(rule, **options):
                return victim.check(rule, b"v", 0, **options).remaining
            victim.check("api", b"v", 40), victim.check("theirs", b"v", 2), victim.check("x", b"v", 10, inline=inline)
            before = left("api"), left("theirs"), left("x", inline=inline)
            self.assertEqual(before, (60, 3, 90))
            for type_ in wire.LIMIT_TYPES:
                for _ in range(3):
                    own = thief.limits(type_, "api", b"v", 5, seed=victim.seed).entries[0]
                    self.assertEqual(own.status, wire.OK)
                    thief.limits(type_, "x", b"v", 5, seed=victim.seed, inline=inline)
                    theirs = thief.limits(type_, "theirs", b"v", 5, seed=victim.seed).entries[0]
                    self.assertEqual(theirs.status, wire.UNKNOWN_RULE)
            self.assertEqual((left("api"), left("theirs"), left("x", inline=inline)), before)
            # a tenant's id over one's own tag, and one's own id over another's
            for key, options in ((thief.key, {"tenant": "other"}), (victim.key, {})):
                thief.send(thief.make(wire.CHECK, "api", b"v", 5, key=key, seed=victim.seed, **options))
            thief.learn()
            self.assertEqual(self.total(daemon, "bad_tag", "restarted"), (2, 0))
            self.assertEqual((left("api"), left("theirs"), left("x", inline=inline)), before)


if __name__ == "__main__":
    unittest.main()
