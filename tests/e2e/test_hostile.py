#!/usr/bin/env python3
"""Everything that protocol.md section 5 says a server must not answer, and then random datagrams: what was answered,
counted and charged is held against the independent codec, datagram by datagram.

METE_COUNT random datagrams in all (100000), half per backend; METE_SEED replays."""
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire, seeds
from lib.daemon import BACKENDS, BUILD, SANITIZED, Client, Daemon
from lib.mete_wire import ALL_OR_NOTHING, AT_MOST, CHECK, INLINE_LIMIT, MIN_RESULT, PEEK, RAW_SUBJECT, SHADOW, resign

SEED = int(os.environ.get("METE_SEED") or random.SystemRandom().getrandbits(32))
COUNT = seeds.count(100000)
CONFIG = """
tenants:
  - name: default
    rules:
      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 50000}
      - {name: fixed, algorithm: fixed_window, limit: 1000000/365d}
      - {name: sliding, algorithm: sliding_window, limit: 1000000/365d}
      - {name: queue, algorithm: leaky_bucket, mode: queue, rate: 1/h, burst: 1000}
      - {name: steady, algorithm: token_bucket, rate: 1/h, burst: 50000}
"""
HEADER, ENTRY = 24, 24
FATES = ("bad_length", "bad_magic", "bad_version", "bad_type", "bad_count", "bad_sizes", "bad_subject", "bad_tag",
         "untrusted", "unknown_tenant", "unsupported")


def check(**options):
    options.setdefault("seed", 5)
    return wire.check("demo", options.pop("subject", b"victim"), **options)


def changed(message, *changes):
    """The message with bytes put at places, signed anew."""
    out = bytearray(message)
    for at, data in changes:
        out[at:at + len(data)] = data
    return resign(bytes(out))


def sized(type_, flags, n, words, length, header_words=3):
    """A signed datagram with these sizes and this length, whatever they add up to."""
    head = struct.pack("<BBBBIIIIHBB", wire.FIRST_BYTE, type_, flags, n, wire.name_id("default"), 1, 1, 0, 0,
                       wire.NO_SECRET, header_words << 4 | words)
    return resign(head.ljust(length, b"\0"))


def entry_lengths():
    """Too few words for type and flags."""
    for type_ in (1, 2, 3, 4, 5, 6):
        for flags in (0, RAW_SUBJECT, INLINE_LIMIT, RAW_SUBJECT | INLINE_LIMIT):
            need = wire.needed_words(type_, flags)
            for words in range(need):
                yield sized(type_, flags, 1, words, 24 + max(words, 1) * 8 + 8)
    for words in range(4):
        yield sized(wire.HELLO, 0, 1, words, 24 + max(words, 1) * 8 + 8)
    for words in range(2):
        yield sized(99, 0, 4, words, 24 + 4 * max(words, 1) * 8 + 8)
    for header_words in range(3):
        yield sized(CHECK, 0, 1, 3, 56, header_words)


def malformed():
    """(name of the case, datagrams)."""
    good, raw = check(), check(flags=RAW_SUBJECT)
    two = check(subject=[b"a", b"b"])
    yield "bad_length", [b""] * 70 + [good[:n] for n in (1, 8, 23, 24, 31)]
    yield "bad_length", [good[:n] for n in range(33, 56)] + [good[:48], good + b"x", good + bytes(8), good[:-16] + good[-8:]]
    yield "bad_length", [good + bytes(n) for n in (1232 - 55, 1240 - 56, 65000)] + [b"\xe1" * 65507, bytes(65507)]
    yield "bad_length", [changed(two, (3, b"\1")), changed(two, (3, b"\3")), changed(good, (3, b"\xff")),
                         changed(good, (3, b"\2")), changed(good, (23, b"\x43")), changed(good, (23, b"\x34"))]
    yield "bad_length", [sized(99, 0, 2, 2, 56), sized(0, 0, 1, 15, 56)]
    yield "bad_magic", [changed(good, (0, bytes([b]))) for b in (0x01, 0xD1, 0xF1, 0x61, 0x00)] + [bytes(56)]
    yield "bad_version", [changed(good, (0, bytes([b]))) for b in (0xE0, 0xE2, 0xEF)]
    yield "bad_type", [changed(good, (1, bytes([b]))) for b in (0x80, 0x81, 0x82, 0x87, 0x8F, 0xFF)]
    yield "bad_count", [changed(good, (3, b"\0")), changed(wire.hello(), (3, b"\0")), sized(99, 0, 0, 3, 56),
                        sized(wire.HELLO, 0, 2, 4, 96), sized(wire.HELLO, 0, 255, 4, 64)]
    yield "bad_sizes", list(entry_lengths())
    yield "unknown_tenant", [check(tenant="nobody"), changed(good, (4, bytes(4))), check(tenant="nobody")[:-8] + bytes(8)]
    yield "bad_tag", [good[:-8] + bytes(8), good[:-1] + bytes([good[-1] ^ 1]), good[:8] + bytes([good[8] ^ 4]) + good[9:],
                      good[:15] + bytes([good[15] ^ 0x80]) + good[16:], resign(good, b"k" * 16), resign(good, bytes(16))]
    yield "bad_tag", [changed(good, (22, bytes([secret]))) for secret in (0, 1, 0xFE)]
    yield "bad_subject", [changed(raw, (HEADER + 8, bytes([n]))) for n in (8, 9, 112, 255)]
    yield "bad_subject", [changed(check(flags=RAW_SUBJECT, subject=[b"a" * 7, b"b" * 7]), (HEADER + 16 + 8, b"\x08"))]


def unsupported():
    """Authentic, but of a later version or nonsense: each answered so, uncharged."""
    for type_ in [0, *range(8, 128)]:
        yield changed(check(entry_words=4), (1, bytes([type_])))
    for type_, allowed in ((1, 0xFF), (2, 0x9C), (3, 0x9C), (4, 0xB4), (5, 0x94), (6, 0x94), (7, 0x80)):
        base = wire.hello() if type_ == 7 else sized(type_, 0, 1, 6, 24 + 48 + 8)
        for flags in range(256):
            if flags & ~allowed or (flags & ALL_OR_NOTHING and flags & AT_MOST):
                yield changed(base, (2, bytes([flags])))


class Malformed(unittest.TestCase):
    def counts(self, daemon):
        total = daemon.stats()["total"]
        return {name: total[name] for name in (*FATES, "received", "answered", "checks", "hello")}

    def rise(self, daemon, before, **expected):
        after = self.counts(daemon)
        self.assertEqual({name: after[name] - before[name] for name in after if after[name] != before[name]}, expected)
        return after

    def test_no_answer(self):
        for backend in BACKENDS:
            with Daemon(CONFIG, backend=backend) as daemon, daemon.client() as client:
                before = self.counts(daemon)
                for name, datagrams in malformed():
                    with self.subTest(backend=backend, name=name):
                        for datagram in datagrams:
                            client.send_unanswered([datagram])
                        client.send_unanswered(datagrams)
                        count = 2 * len(datagrams)
                        hellos = len(datagrams) + 1
                        before = self.rise(daemon, before, **{name: count}, received=count + hellos, answered=hellos,
                                           hello=hellos)
                self.assertEqual(daemon.rule("demo")["allowed"], 0)

    def test_unsupported(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(CONFIG, backend=backend) as daemon, daemon.client() as client:
                requests = list(unsupported())
                before = self.counts(daemon)
                for request in requests:
                    result = client.ask(request)
                    self.assertEqual((result.flags, result.detail), (wire.STATUS, wire.UNSUPPORTED), request.hex())
                self.rise(daemon, before, unsupported=len(requests), received=len(requests), answered=len(requests))

    def test_empty_datagrams_in_a_row(self):
        """Each ends an io_uring multishot receive; more of them than there are buffers, on two sockets."""
        for backend in BACKENDS:
            with self.subTest(backend=backend), \
                    Daemon(CONFIG, backend=backend, listen="[127.0.0.1:0, 127.0.0.2:0]") as daemon:
                for address in daemon.addresses * 3:
                    with daemon.client(address) as client:
                        for _ in range(300):
                            client.send(b"")
                        self.assertEqual(client.hello().n, 1)
                        client.send_unanswered([b""])
                        client.send_unanswered([b"", b"x" * 56, b""])
                self.assertEqual(daemon.stats()["total"]["receive_errors"], 0)


class Mutations:
    """Random datagrams, and what each must lead to by the independent codec."""

    def __init__(self, generator):
        self.random = generator
        self.tenants = {wire.name_id("default")}
        self.valid = list(self.make_valid())

    def make_valid(self):
        seed = wire.tenant_seed("default")
        subjects = [b"s%d" % i for i in range(12)]
        inline = (100, 0, 3600 * 10**9)
        for type_ in (wire.CHECK, wire.REFUND, wire.RESET):
            for rule in ("demo", "fixed", "sliding", "queue", "nothing"):
                for flags in (0, RAW_SUBJECT, MIN_RESULT, RAW_SUBJECT | MIN_RESULT):
                    for count in (1, 3):
                        yield wire.limit_request(type_, rule, subjects[:count], 2, seed=seed, flags=flags)
                yield wire.limit_request(type_, rule, subjects[:2], 3, seed=seed, inline=inline, flags=RAW_SUBJECT)
        for flags in (PEEK, SHADOW, AT_MOST, ALL_OR_NOTHING, ALL_OR_NOTHING | MIN_RESULT, AT_MOST | PEEK, 0x80):
            yield wire.check("demo", subjects, 3, seed=seed, flags=flags)
            yield wire.check("sliding", subjects[:2], 3, seed=seed, flags=flags, inline=inline)
        yield wire.hello()
        yield wire.hello(nonce=b"0123456789abcdef", header_words=4)

    def noise(self):
        data = self.random.randbytes(self.random.choice((self.random.randrange(160), self.random.randrange(1300))))
        kind = self.random.random()
        if kind < 0.6 and len(data) > 32:  # so that it gets past the first looks
            data = b"\xe1" + bytes([self.random.randrange(10)]) + data[2:len(data) & ~7]
        if kind < 0.3:
            words = self.random.randrange(16)
            n = self.random.randrange(1, 6)
            head = bytes([0xE1, data[1] & 7 if len(data) > 1 else 1, self.random.randrange(256), n])
            head += wire.name_id("default").to_bytes(4, "little") + self.random.randbytes(14) + b"\xff"
            body = self.random.randbytes(n * words * 8)
            data = resign(head + bytes([0x30 | words]) + body + bytes(8))
        return data

    def flipped(self):
        data = bytearray(self.random.choice(self.valid))
        for _ in range(self.random.choice((1, 1, 2, 5))):
            if self.random.random() < 0.5:
                at = self.random.randrange(min(len(data), HEADER + ENTRY))
            else:
                at = self.random.randrange(len(data))
            data[at] ^= 1 << self.random.randrange(8)
        if self.random.random() < 0.05:
            del data[self.random.randrange(len(data)):]
        return resign(bytes(data)) if len(data) > 8 and self.random.random() < 0.8 else bytes(data)

    def next(self):
        return self.noise() if self.random.random() < 0.5 else self.flipped()

    def fate(self, data):
        """answered, unsupported, or why not; in the order of section 5."""
        try:
            request = wire.decode_request(data, verify=False, form_only=True)
        except wire.Malformed as malformed:
            if malformed.name != "bad_subject":
                return malformed.name
            request = None
        if int.from_bytes(data[4:8], "little") not in self.tenants:
            return "unknown_tenant"
        if data[22] != wire.NO_SECRET or data[8:16] != data[-8:]:
            return "bad_tag"
        if not wire.is_supported(data[1], data[2]):
            return "unsupported"
        return "answered" if request else "bad_subject"


def charged(request, result):
    """Units that an answered CHECK took."""
    if request[1] != CHECK or request[2] & PEEK or result.flags & wire.STATUS:
        return 0
    asked = wire.decode_request(request).entries
    if result.flags & wire.MIN:
        denied = result.flags & wire.DENIED_AT
        return 0 if denied else sum(e.cost for e, allowed in zip(asked, result.allowed) if allowed)
    total = 0
    for entry, verdict in zip(asked, result.entries):
        if verdict.status or not verdict.allowed or verdict.flags & (wire.NOT_CHARGED | wire.WOULD_DENY):
            continue
        total += verdict.retry_after if verdict.flags & wire.GRANTED else entry.cost
    return total


# Every datagram reaches the daemon and is judged by itself: what is counted can be foretold.
EXACT = ("repeats.window=0", "filter=off")


class Random(unittest.TestCase):
    def flood(self, daemon, client, mutations, count, seen):
        """Batches of noise, each with a valid request at its end, which must be answered right."""
        steady, answers, units = 0, 0, 0
        while count > 0:
            batch = [mutations.next() for _ in range(min(count, 40))]
            count -= len(batch)
            steady += 1
            batch.append(client.request(CHECK, "steady", b"one"))
            expected = []
            for datagram in batch:
                fate = mutations.fate(datagram)
                seen[fate] = seen.get(fate, 0) + 1
                if fate in ("answered", "unsupported"):
                    expected.append((datagram, fate))
                client.send(datagram)
            for datagram, fate in expected:
                result = client.receive(datagram)
                self.assertEqual(bool(result.flags & wire.STATUS), fate == "unsupported", datagram.hex())
                units += charged(datagram, result)
            answers += len(expected)
            last = result.entries[0]
            self.assertEqual((last.flags, last.remaining), (wire.ALLOW, 50000 - steady))
        return answers, units

    def test_random(self):
        for number, backend in enumerate(BACKENDS):
            seen = {}
            mutations = Mutations(random.Random(SEED + number))
            with self.subTest(backend=backend, seed=SEED, hint="METE_SEED replays"), \
                    Daemon(CONFIG, EXACT, backend=backend) as daemon, Client(daemon.address) as client:
                answers, units = self.flood(daemon, client, mutations, COUNT // 2, seen)
                stats = daemon.stats()
                total = stats["total"]
                self.assertEqual({name: total[name] for name in FATES if name != "unsupported"},
                                 {name: seen.get(name, 0) for name in FATES if name != "unsupported"})
                self.assertEqual((total["received"], total["answered"]), (sum(seen.values()), answers))
                self.assertGreaterEqual(total["unsupported"], seen["unsupported"])
                self.assertEqual(sum(rule["units"] for rule in stats["rules"]), units)
                for name in FATES:
                    if name != "untrusted":
                        self.assertGreater(seen.get(name, 0), 0, f"never tried: {name}")


class Flood(unittest.TestCase):
    """A million damaged datagrams (METE_FLOOD), none of them answered, each counted under one reason, nothing charged."""

    REASONS = ("bad_length", "bad_magic", "bad_version", "bad_type", "bad_count", "bad_sizes", "bad_tag", "unknown_tenant")

    def test_a_million(self):
        count = int(os.environ.get("METE_FLOOD", 20_000 if SANITIZED else 1_000_000)) // len(BACKENDS)
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(sets=EXACT, backend=backend, workers=2) as daemon, \
                    daemon.client() as client:
                hellos = self.feed(daemon, count)
                total = daemon.stats()["total"]
                self.assertEqual(total["received"], count + hellos)
                self.assertEqual(sum(total[reason] for reason in self.REASONS), count)
                self.assertEqual((total["answered"], total["checks"]), (hellos, 0))
                self.assertTrue(client.check("fast", b"after").allowed)

    def feed(self, daemon, count):
        feed = subprocess.run([BUILD / "tests/property/flood_feed", str(daemon.address[1]), str(count), str(SEED)],
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(feed.returncode, 0, f"seed {SEED}: {feed.stderr}")
        hellos = -(-count // 128)
        self.assertEqual(feed.stdout, f"sent {count} hello {hellos} unexpected 0\n", f"seed {SEED}")
        return hellos

    @unittest.skipIf(SANITIZED, "too slow for a flood")
    def test_the_kernel_helps(self):
        """A flood makes the daemon attach its filter: no HELLO is lost to it, and every datagram is accounted for. When it
        is over, all are counted by reason again."""
        with Daemon() as daemon, daemon.client() as client:
            sent = 0
            while not any("flood: the kernel now drops" in line for line in daemon.said):
                sent += 100_000 + self.feed(daemon, 100_000)
            sent += 100_000 + self.feed(daemon, 100_000)
            while not any("flood is over" in line for line in daemon.said):
                sent += client.hello().n
            total = daemon.stats()["total"]
            self.assertEqual(total["received"] + total["kernel_drops"], sent)
            self.assertGreater(total["kernel_drops"], 0)
            self.assertEqual(total["checks"], 0)
            client.send_unanswered([b"\0" * 32])
            self.assertEqual(daemon.stats()["total"]["bad_magic"], total["bad_magic"] + 1)


class Sources(unittest.TestCase):
    def test_many_peers_at_once(self):
        """Valid and bad datagrams of many flows stand in one batch: each peer gets its own answer."""
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(CONFIG, backend=backend, workers=2) as daemon:
                clients = [daemon.client() for _ in range(64)]
                for turn in range(20):
                    requests = [client.request(CHECK, "demo", b"%d" % i) for i, client in enumerate(clients)]
                    for client, request in zip(clients, requests):
                        client.send(request[:-1])
                        client.send(request)
                        client.send(b"")
                    for client, request in zip(clients, requests):
                        self.assertEqual(client.receive(request).entries[0].remaining, 49999 - turn)
                for client in clients:
                    client.__exit__()
                total = daemon.stats()["total"]
                self.assertEqual((total["received"], total["bad_length"], total["answered"]), (3840, 2560, 1280))

    def test_answer_that_cannot_be_sent(self):
        """A peer that is gone, or whose port nobody holds, costs an answer and nothing else."""
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(CONFIG, backend=backend) as daemon:
                for _ in range(100):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                        gone.sendto(check(), daemon.address)
                with daemon.client() as client:
                    self.assertTrue(client.check("steady", b"x").allowed)


if __name__ == "__main__":
    unittest.main()
