"""Two codecs of the protocol, one judge: include/mete/wire.h and tests/lib/mete_wire.py share no line.

Each random message goes both ways (Python encodes and C decodes; C encodes and Python decodes), and once more damaged:
both must agree whether it is well formed, and on the name of what is wrong. Now and then a subject's key, a MAC and a
duration besides.

    python3 tests/property/prop_wire.py [--count N] [--seed N] [--jobs N]
"""
import argparse
import concurrent.futures
import dataclasses
import os
import random
import struct
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib import mete_hash, mete_wire as w, seeds  # noqa: E402

FEED = os.path.join(os.environ.get("METE_BUILD", os.path.join(ROOT, "build/check")), "tests/property/wire_feed")
BATCH = 500
CASES = {0: "ok", 1: "bad_length", 2: "bad_magic", 3: "bad_version", 4: "bad_sizes", 5: "bad_count", 6: "bad_type",
         100: "bad_tag", 101: "bad_subject"}
OPTIONS = argparse.Namespace(count=seeds.count(20000), seed=os.environ.get("METE_SEED"),
                             jobs=os.cpu_count() or 1)
NUMBERS = (0, 1, 2, 127, 128, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1)


# --- random messages ---

def number(rng, bits):
    if rng.random() < 0.3:
        return rng.choice(NUMBERS) & (1 << bits) - 1
    return rng.getrandbits(rng.randint(1, bits))


def some(rng):
    """How many entries: mostly few."""
    return rng.choice((64, 65, 75, rng.randint(1, 75))) if rng.random() < 0.06 else rng.choice((1, 1, 1, 2, 3))


def random_entry(rng, type_, flags):
    """Only the fields that the type has, so that what is decoded is equal."""
    if type_ == w.HELLO:
        return w.Entry(nonce=rng.randbytes(16))
    flags = w.known_flags(type_, flags)
    entry = w.Entry(number(rng, 32), number(rng, 32))
    if flags & w.RAW_SUBJECT:
        entry.subject = rng.randbytes(rng.choice((0, 7, 8, 15, 16, 31, rng.randrange(96))))
    else:
        entry.key = rng.randbytes(16)
    if type_ in w.LEASE_TYPES:
        entry.lease_id = number(rng, 64)
    if flags & w.INLINE_LIMIT:
        entry.count, entry.burst, entry.period_ns = number(rng, 32), number(rng, 32), number(rng, 64)
    return entry


def random_request(rng):
    type_ = rng.choice((w.CHECK, w.CHECK, w.REFUND, w.RESET, w.ACQUIRE, w.RENEW, w.RELEASE, w.HELLO,
                       rng.randrange(128)))
    flags = rng.getrandbits(8)
    if type_ not in w.TYPE_NAMES:
        entries, words = [None] * rng.choice((1, 1, 2, rng.randint(1, 20))), rng.randint(2, 7)
    else:
        n = 1 if type_ == w.HELLO else some(rng)
        entries = [random_entry(rng, type_, flags) for _ in range(n)]
        words = max(-(-len(w.encode_entry(type_, flags, entry)) // 8) for entry in entries)
        words = min(15, max(words, w.needed_words(type_, flags)) + rng.choice((0, 0, 0, 1, 3)))
    entries = entries[:(w.MAX_BYTES - 32) // (words * 8)]
    return w.Request(type_, flags, number(rng, 32), number(rng, 32), number(rng, 32), number(rng, 32), number(rng, 16),
                     rng.getrandbits(8), entries, w.HEADER_WORDS, words)


def random_verdict(rng):
    return w.Verdict(rng.choice((0, rng.getrandbits(8))), rng.getrandbits(8), rng.randrange(16), rng.randrange(16),
                     number(rng, 32), number(rng, 32), number(rng, 32))


def random_result(rng):
    type_ = 0x80 | rng.choice((w.CHECK, w.CHECK, w.REFUND, w.RESET, w.ACQUIRE, w.HELLO, w.NOT_A_REQUEST,
                               rng.randrange(128)))
    result = w.Result(type_, rng.getrandbits(8) & rng.getrandbits(8), 0, number(rng, 32), number(rng, 32),
                      number(rng, 16), number(rng, 8))
    if result.flags & w.STATUS or type_ == w.RESTARTED:
        return result
    if type_ == w.HELLO | 0x80:
        result.n = 1
        result.boot_id, result.masked_seed, result.wall_clock_ms = (number(rng, 64) for _ in range(3))
        result.repeat_window_ms, result.clock_lead_ms = number(rng, 32), number(rng, 32)
        result.served_types = number(rng, 64)
        return result
    result.n = some(rng)
    if result.flags & w.MIN:
        result.allowed = [bool(rng.getrandbits(1)) for _ in range(result.n)]
    else:
        result.entries = [random_verdict(rng) for _ in range(result.n)]
    return result


def damage(rng, data, resign):
    """The message with something wrong, often under a tag that fits, so that later checks are reached."""
    kind = rng.randrange(6)
    data = bytearray(data)
    if kind == 0:
        data = data[:rng.randrange(len(data) + 1)]
    elif kind == 1:
        data = data[:max(8, len(data) - 8 * rng.randint(1, 4))]
    elif kind == 2:
        data += bytes(rng.choice((1, 7, 8, 16, 24, 1232)))
    else:
        for _ in range(rng.randint(1, 3)):
            at = rng.choice((0, 1, 2, 3, 14, 15, 23, 32, 40, 48, rng.randrange(len(data)))) % len(data)
            data[at] = rng.choice((0, 0x20, 0x33, 0xE1, data[at] ^ 1 << rng.randrange(8), rng.getrandbits(8)))
    return resign(bytes(data)) if len(data) >= 8 and rng.random() < 0.8 else bytes(data)


# --- records of wire_feed.c ---

def packed_key(key):
    return b"\0" if key is None else b"\1" + key


def packed(data):
    return struct.pack("<H", len(data)) + data


def request_record(r):
    """Header and entries as the feed reads and writes them."""
    out = struct.pack("<BBBBIIIIHBB", r.type, r.flags, len(r.entries), r.secret, r.tenant_id, r.client_id, r.sequence,
                      r.clock_ms, r.boot_bits, r.header_words, r.entry_words)
    if r.type == w.HELLO:
        return out + r.entries[0].nonce
    if r.type not in w.TYPE_NAMES:
        return out
    return out + b"".join(struct.pack("<II16sIIQQB", e.rule_id, e.cost, e.key, e.count, e.burst, e.period_ns,
                                      e.lease_id, len(e.subject)) + e.subject for e in r.entries)


def result_record(r):
    out = struct.pack("<BBBBIIH", r.type, r.flags, r.n, r.detail, r.sequence, r.clock_ms, r.boot_bits)
    if r.type == w.HELLO | 0x80 and r.n:
        return out + struct.pack("<QQQIIQ", r.boot_id, r.masked_seed, r.wall_clock_ms, r.repeat_window_ms,
                                 r.clock_lead_ms, r.served_types)
    if r.flags & w.MIN:
        return out + bytes(r.allowed)
    return out + b"".join(struct.pack("<BBBIII", e.status, e.flags, e.retry_unit | e.reset_unit << 4, e.remaining,
                                      e.retry_after, e.reset_after) for e in r.entries)


def decoded_answer(decode, record):
    """What the feed must say to D or R: the case and, if it is ok, the fields."""
    try:
        message = decode()
    except w.Malformed as malformed:
        code = next(code for code, name in CASES.items() if name == malformed.name)
        return bytes([code])
    return b"\0" + record(message)


class Batch:
    """Records to feed, and what must come back."""

    def __init__(self, rng):
        self.rng = rng
        self.records = []  # (record, expected answer, what it is)

    def random_key(self):
        """None: without a secret."""
        return None if self.rng.random() < 0.4 else self.rng.randbytes(16)

    def add_request(self):
        rng, key = self.rng, self.random_key()
        request = random_request(rng)
        if request.type in w.TYPE_NAMES:
            data = w.encode_request(request, key)
            self.records.append((b"E" + packed_key(key) + request_record(request), packed(data), request))
            if w.decode_request(data, key, form_only=True) != dataclasses.replace(request, tag=data[-8:]):
                raise AssertionError(f"python does not decode what it encoded: {request}")
        else:
            size = len(request.entries) * request.entry_words * 8
            data = struct.pack("<BBBB18xBB", w.FIRST_BYTE, request.type, request.flags, len(request.entries),
                               request.secret, 0x30 | request.entry_words) + rng.randbytes(size)
            data += w.request_tag_of(data, key)
        later = rng.choice((0, 0, 0, 1, 5, 12))  # a header with fields of a later version
        if later and len(data) + later * 8 <= w.MAX_BYTES:
            data = data[:23] + bytes([data[23] + (later << 4)]) + rng.randbytes(later * 8) + data[24:]
            data = w.resign(data, key)
        self._decode(b"D" + packed_key(key), data, lambda d: w.decode_request(d, key, form_only=True), request_record)
        bad = damage(rng, data, lambda d: w.resign(d, key))
        self._decode(b"D" + packed_key(key), bad, lambda d: w.decode_request(d, key, form_only=True), request_record)

    def add_result(self):
        rng, key, tag = self.rng, self.random_key(), self.rng.randbytes(8)
        result = random_result(rng)
        data = w.encode_result(result, tag, key)
        if w.decode_result(data, tag, key) != dataclasses.replace(result, tag=data[-8:]):
            raise AssertionError(f"python does not decode what it encoded: {result}")
        self.records.append((b"F" + packed_key(key) + tag + result_record(result), packed(data), result))
        bad = damage(rng, data, lambda d: d[:-8] + w.result_tag_of(d[:-8], tag, key))
        for each in (data, bad):
            self._decode(b"R" + packed_key(key) + tag, each, lambda d: w.decode_result(d, tag, key), result_record)

    def add_hashes(self):
        rng = self.rng
        data, seed, key = rng.randbytes(rng.choice((rng.randrange(33), rng.randrange(600)))), number(rng, 64), \
            rng.randbytes(16)
        self.records.append((b"K" + struct.pack("<Q", seed) + packed(data), w.subject_key(data, seed), "key"))
        self.records.append((b"S" + packed_key(key) + packed(data), mete_hash.siphash24(key, data), "mac"))
        duration = number(rng, 64)
        if rng.random() < 0.3:
            duration = w.NEVER * rng.choice(w.UNIT_NS) + rng.randint(-2000, 2000)
        never = duration == 2**64 - 1
        count, unit = w.encode_time(None if never else duration)
        back = w.time_ns(count, unit)
        self.records.append((b"T" + struct.pack("<Q", duration),
                             struct.pack("<IBQ", count, unit, 2**64 - 1 if back is None else back), duration))

    def _decode(self, head, data, decode, record):
        self.records.append((head + packed(data), decoded_answer(lambda: decode(data), record), data.hex()))

    def run(self):
        """None, or what differs."""
        done = subprocess.run([FEED], input=b"".join(record for record, _, _ in self.records), capture_output=True,
                              check=False)
        at = 0
        for record, expected, what in self.records:
            got = done.stdout[at:at + len(expected)]
            if got != expected:
                names = " / ".join(CASES.get(each[0], "?") if each else "nothing" for each in (expected, got))
                return (f"record {chr(record[0])}: python says {expected.hex()}, C says {got.hex()}\n"
                        f"first byte as a case: {names}\nof: {what}\n{done.stderr.decode()[-2000:]}")
            at += len(expected)
        if at != len(done.stdout) or done.returncode:
            return f"C answered {len(done.stdout)} bytes, {at} expected; status {done.returncode}"
        return None


def run_batch(seed, index, count):
    batch = Batch(random.Random(f"{seed}/{index}"))
    for i in range(count):
        if batch.rng.random() < 0.6:
            batch.add_request()
        else:
            batch.add_result()
        if i % 8 == 0:
            batch.add_hashes()
    difference = batch.run()
    return difference and f"seed {seed}, batch {index}: {difference}"


class WireProperty(unittest.TestCase):
    def test_both_codecs_agree(self):
        self.assertTrue(os.path.exists(FEED), f"{FEED} is not built: make FLAVOUR=check {FEED}")
        seed = OPTIONS.seed or str(random.SystemRandom().randrange(2**32))
        counts = [min(BATCH, OPTIONS.count - at) for at in range(0, OPTIONS.count, BATCH)]
        with concurrent.futures.ProcessPoolExecutor(OPTIONS.jobs) as pool:
            for difference in pool.map(run_batch, [seed] * len(counts), range(len(counts)), counts):
                self.assertIsNone(difference, difference)
        print(f"prop_wire: {OPTIONS.count} messages both ways, seed {seed}: 0 differences")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=OPTIONS.count)
    parser.add_argument("--seed", default=OPTIONS.seed)
    parser.add_argument("--jobs", type=int, default=OPTIONS.jobs)
    _, rest = parser.parse_known_args(namespace=OPTIONS)
    unittest.main(argv=sys.argv[:1] + rest)


if __name__ == "__main__":
    main()
