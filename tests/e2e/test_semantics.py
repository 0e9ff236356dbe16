#!/usr/bin/env python3
"""What every type, flag and rule means, asked of the real daemon over UDP by the independent codec, on both backends.
Rules refill once an hour, so that what is asserted does not depend on how long the test takes."""
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, Client, Daemon
from lib.mete_wire import (ALL_OR_NOTHING, ALLOW, AT_MOST, CHECK, DELAY, DENIED_AT, GRANTED, MIN_RESULT, NOT_CHARGED,
                           PEEK, RAW_SUBJECT, REFUND, RESET, SHADOW, WOULD_DENY)

HOUR_NS, YEAR_NS = 3600 * 10**9, 365 * 86400 * 10**9
SOL_UDP, UDP_SEGMENT = 17, 103
CONFIG = """
tenants:
  - name: default
    rules:
      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 10}
      - {name: small, algorithm: token_bucket, rate: 1/h, burst: 2}
      - {name: watched, algorithm: token_bucket, rate: 1/h, burst: 2, shadow: true}
      - {name: meter, algorithm: leaky_bucket, rate: 1/h, burst: 2}
      - {name: queue, algorithm: leaky_bucket, mode: queue, rate: 1/h, burst: 3}
      - {name: fixed, algorithm: fixed_window, limit: 5/365d}
      - {name: sliding, algorithm: sliding_window, limit: 5/365d}
      - {name: open, algorithm: unlimited}
      - {name: shut, algorithm: deny}
      - name: tuned
        algorithm: token_bucket
        rate: 1/h
        burst: 10
        overrides:
          - {subject: "user:42", rate: 1/h, burst: 3}
          - {prefix: "bot:", rate: 1/h, burst: 2}
          - {prefix: "bot:good:", rate: 1/h, burst: 5}
      - name: listed
        algorithm: token_bucket
        rate: 1/h
        burst: 10
        overrides: [{subject: "user:42", rate: 1/h, burst: 4}]
  - name: fallback
    rules:
      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 3}
      - {name: default, algorithm: token_bucket, rate: 1/h, burst: 4}
"""


class Each:
    """The tests; one class per backend runs them on one daemon, each on subjects of its own."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(CONFIG, backend=cls.backend)
        cls.addClassCleanup(cls.daemon.close)
        cls.client = Client(cls.daemon.address)
        cls.addClassCleanup(cls.client.__exit__)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def setUp(self):
        self.subject = self.id().encode()
        self.assertIsNone(self.daemon.process.poll(), "the daemon is gone")

    def near(self, verdict, retry_ns=None, reset_ns=None):
        """Waits as they were at the first request, less what has passed since; never more."""
        for got_ns, whole_ns in ((verdict.retry_after_ns, retry_ns), (verdict.reset_after_ns, reset_ns)):
            if whole_ns is not None:
                self.assertLessEqual(got_ns, whole_ns + 10**6)
                self.assertGreater(got_ns, whole_ns - 600 * 10**9)

    def spend(self, count, rule="demo", cost=1, **options):
        return [self.client.check(rule, self.subject, cost, **options) for _ in range(count)]

    def test_ten_then_five(self):
        verdicts = self.spend(15)
        self.assertEqual([v.flags for v in verdicts], [ALLOW] * 10 + [0] * 5)
        self.assertEqual([v.remaining for v in verdicts], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0] + [0] * 5)
        for spent, verdict in enumerate(verdicts[:10], 1):
            self.assertEqual(verdict.retry_after, 0)
            self.near(verdict, reset_ns=spent * HOUR_NS)
        for verdict in verdicts[10:]:
            self.near(verdict, HOUR_NS, 10 * HOUR_NS)

    def test_cost_peek_never(self):
        self.assertEqual(self.client.check("demo", self.subject, 7).remaining, 3)
        peek = self.client.check("demo", self.subject, 3, flags=PEEK)
        self.assertEqual((peek.flags, peek.remaining), (ALLOW, 3))
        peek = self.client.check("demo", self.subject, 4, flags=PEEK)
        self.assertEqual((peek.flags, peek.remaining), (0, 3))
        self.near(peek, HOUR_NS, 7 * HOUR_NS)
        nothing = self.client.check("demo", self.subject, 0)
        self.assertEqual((nothing.flags, nothing.remaining), (ALLOW, 3))
        for cost in (11, 2**32 - 1):
            never = self.client.check("demo", self.subject, cost)
            self.assertEqual((never.flags, never.remaining, never.retry_after), (0, 3, wire.NEVER))
        self.assertEqual(self.client.check("demo", self.subject, 4).flags, 0)
        self.assertEqual(self.client.check("demo", self.subject, 3).remaining, 0)

    def test_at_most(self):
        def ask(cost, flags=AT_MOST):
            verdict = self.client.check("demo", self.subject, cost, flags=flags)
            return verdict.flags, verdict.retry_unit, verdict.retry_after, verdict.remaining
        self.assertEqual(ask(4), (ALLOW | GRANTED, wire.UNIT_COST, 4, 6))
        self.assertEqual(ask(50, AT_MOST | PEEK), (ALLOW | GRANTED, wire.UNIT_COST, 6, 6))
        self.assertEqual(ask(2, AT_MOST | PEEK), (ALLOW | GRANTED, wire.UNIT_COST, 2, 6))
        self.assertEqual(ask(50), (ALLOW | GRANTED, wire.UNIT_COST, 6, 0))
        for flags in (AT_MOST, AT_MOST | PEEK):
            denied = self.client.check("demo", self.subject, 50, flags=flags)
            self.assertEqual(denied.flags, 0)
            self.near(denied, HOUR_NS)
        for flags in (AT_MOST, AT_MOST | PEEK):
            queue = self.client.check("queue", self.subject, 1, flags=flags)
            self.assertEqual((queue.status, queue.flags), (wire.UNSUPPORTED, 0))

    def test_refund_and_reset(self):
        self.spend(10)
        refund = self.client.refund("demo", self.subject, 4)
        self.assertEqual((refund.flags, refund.remaining), (ALLOW, 4))
        self.assertEqual([v.allowed for v in self.spend(5)], [True] * 4 + [False])
        self.assertEqual(self.client.refund("demo", self.subject, 100).remaining, 10)
        self.assertEqual([v.allowed for v in self.spend(11)], [True] * 10 + [False])
        reset = self.client.reset("demo", self.subject)
        self.assertEqual((reset.flags, reset.remaining, reset.reset_after), (ALLOW, 10, 0))
        self.assertEqual(self.client.check("demo", self.subject, 10).remaining, 0)

    def test_shadow(self):
        for rule, flags in (("watched", 0), ("small", SHADOW)):
            verdicts = self.spend(4, rule, flags=flags)
            self.assertEqual([v.flags for v in verdicts], [ALLOW] * 2 + [ALLOW | WOULD_DENY] * 2)
            self.assertEqual([v.remaining for v in verdicts], [1, 0, 0, 0])
            self.assertEqual(verdicts[3].retry_after, 0)
        self.assertEqual(self.client.check("small", self.subject).flags, 0)

    def test_overrides(self):
        """Whole subjects are known by their key; prefixes need the subject, and nothing is charged without it."""
        left = {b"user:42": 2, b"bot:x": 1, b"bot:good:x": 4, b"user:421": 9}
        for subject, remaining in left.items():
            if subject != b"user:42":
                unknown = self.client.check("tuned", subject)
                self.assertEqual((unknown.status, unknown.flags), (wire.NEED_SUBJECT, 0))
            verdict = self.client.check("tuned", subject, flags=RAW_SUBJECT)
            self.assertEqual((verdict.flags, verdict.remaining), (ALLOW, remaining), subject)
        self.assertEqual(self.client.check("tuned", b"user:42", 2).remaining, 0)
        self.assertEqual(self.client.check("tuned", b"user:42", flags=RAW_SUBJECT).flags, 0)
        self.assertEqual(self.client.check("listed", b"user:42").remaining, 3)
        self.assertEqual(self.client.check("listed", self.subject).remaining, 9)
        for subject in left:
            self.client.reset("tuned", subject, flags=RAW_SUBJECT)
        self.client.reset("listed", b"user:42")

    def group(self, subjects, rule="demo", cost=1, flags=ALL_OR_NOTHING, **options):
        return self.client.limits(CHECK, rule, [self.subject + s for s in subjects], cost, flags=flags, **options)

    def test_all_or_nothing(self):
        result = self.group([b"a", b"b", b"c"], cost=6)
        self.assertEqual(([v.flags for v in result.entries], result.flags), ([ALLOW] * 3, 0))
        self.client.reset("demo", self.subject + b"a")
        result = self.group([b"a", b"b", b"c"], cost=6)
        self.assertEqual((result.flags, result.detail), (DENIED_AT, 1))
        self.assertEqual([v.flags for v in result.entries], [ALLOW | NOT_CHARGED, 0, NOT_CHARGED])
        self.near(result.entries[1], 2 * HOUR_NS)
        self.assertEqual([v.remaining for v in result.entries], [10, 4, 4])
        peeks = self.group([b"a", b"b", b"c"], flags=PEEK)
        self.assertEqual([v.remaining for v in peeks.entries], [10, 4, 4])
        for flags in (ALL_OR_NOTHING | MIN_RESULT, ALL_OR_NOTHING | MIN_RESULT | RAW_SUBJECT):
            result = self.group([b"a", b"b", b"c"], cost=6, flags=flags)
            self.assertEqual((result.flags, result.detail), (wire.MIN | DENIED_AT, 1))
            self.assertEqual(result.allowed, [True, False, False])

    def test_all_or_nothing_with_one_key_twice(self):
        """Each would pass alone, both together would not: nothing is charged."""
        result = self.group([b"x", b"y", b"x"], cost=6)
        self.assertEqual((result.flags, result.detail), (DENIED_AT, 2))
        self.assertEqual([v.flags for v in result.entries], [ALLOW | NOT_CHARGED, ALLOW | NOT_CHARGED, 0])
        peeks = self.group([b"x", b"y"], flags=PEEK)
        self.assertEqual([v.remaining for v in peeks.entries], [10, 10])
        self.assertEqual(self.group([b"x", b"x"], cost=5).flags, 0)
        self.assertEqual(self.group([b"x"], flags=PEEK).entries[0].remaining, 0)

    def test_all_or_nothing_with_unknown_rule_and_shadow(self):
        seed = wire.tenant_seed("default")
        names = [("demo", b"p"), ("nothing", b"p"), ("demo", b"q")]
        entries = [wire.Entry(wire.name_id(rule), 1, wire.subject_key(self.subject + s, seed)) for rule, s in names]
        request = wire.encode_request(wire.Request(CHECK, ALL_OR_NOTHING, wire.name_id("default"), entries=entries))
        result = self.client.ask(request)
        self.assertEqual((result.flags, result.detail), (DENIED_AT, 1))
        self.assertEqual([(v.status, v.flags) for v in result.entries],
                         [(0, ALLOW | NOT_CHARGED), (wire.UNKNOWN_RULE, 0), (0, ALLOW | NOT_CHARGED)])
        self.assertEqual(self.client.check("demo", self.subject + b"p", flags=PEEK).remaining, 10)
        result = self.group([b"w", b"w", b"w"], "watched")  # a shadow rule never denies
        self.assertEqual(result.flags, 0)
        self.assertEqual([v.flags for v in result.entries], [ALLOW, ALLOW, ALLOW | WOULD_DENY])

    def test_min_result(self):
        self.spend(10)
        subjects = [self.subject + bytes([i]) if i % 3 else self.subject for i in range(49)]
        result = self.client.limits(CHECK, "demo", subjects, flags=MIN_RESULT)
        self.assertEqual(result.flags, wire.MIN)
        self.assertEqual(result.allowed, [bool(i % 3) for i in range(49)])
        for rule, flags in (("nothing", 0), ("small", AT_MOST), ("queue", 0)):
            self.spend(1, rule)
            full = self.client.limits(CHECK, rule, self.subject, flags=MIN_RESULT | flags)
            self.assertEqual((full.flags, len(full.entries)), (0, 1), rule)
        for type_ in (REFUND, RESET):
            self.assertEqual(self.client.limits(type_, "demo", subjects, flags=MIN_RESULT).allowed, [True] * 49)

    def test_inline_limit(self):
        inline = (3, 0, HOUR_NS)
        verdicts = self.spend(4, inline=inline)
        self.assertEqual([(v.flags, v.remaining) for v in verdicts], [(ALLOW, 2), (ALLOW, 1), (ALLOW, 0), (0, 0)])
        self.near(verdicts[3], HOUR_NS // 3, HOUR_NS)
        self.assertEqual(self.client.check("demo", self.subject).remaining, 9)  # apart from the rule's bucket
        self.assertEqual(self.client.check("other", self.subject, inline=inline).remaining, 2)
        self.assertEqual(self.client.check("demo", self.subject, inline=inline, flags=RAW_SUBJECT).flags, 0)
        more = self.client.check("demo", self.subject, inline=(3, 6, HOUR_NS))  # keeps what it owes, in time
        self.assertEqual((more.flags, more.remaining), (ALLOW, 2))
        self.assertEqual(self.client.refund("demo", self.subject, 1, inline=(3, 6, HOUR_NS)).remaining, 3)
        for bad in ((0, 5, HOUR_NS), (1, 5, 0), (2**32 - 1, 1, 1), (1, 2**32 - 1, YEAR_NS)):
            verdict = self.client.check("demo", self.subject, inline=bad)
            self.assertEqual((verdict.status, verdict.flags), (wire.BAD_LIMIT, 0), bad)
            self.assertEqual((verdict.remaining, verdict.retry_after, verdict.reset_after), (0, 0, 0))

    def test_raw_subject_is_the_key(self):
        for length in (0, 1, 7, 8, 16, 17, 95, 111):
            subject = (self.subject * 9)[:length]
            self.assertEqual(self.client.check("small", subject, flags=RAW_SUBJECT).remaining, 1)
            self.assertEqual(self.client.check("small", subject).remaining, 0)
            self.assertEqual(self.client.check("small", subject, flags=RAW_SUBJECT).flags, 0)
            request = self.client.request(CHECK, "small", subject, flags=RAW_SUBJECT | PEEK, entry_words=15)
            self.assertEqual(self.client.ask(request).entries[0].remaining, 0)

    def test_unknown_rule_default_rule_tenants(self):
        unknown = self.client.check("nothing", self.subject)
        self.assertEqual((unknown.status, unknown.flags, unknown.remaining), (wire.UNKNOWN_RULE, 0, 0))
        for name in ("x", "y"):  # one bucket: that of the rule `default`
            verdicts = self.spend(2, name, tenant="fallback")
        self.assertEqual([v.remaining for v in verdicts], [1, 0])
        self.assertEqual(self.client.check("default", self.subject, tenant="fallback").flags, 0)
        self.assertEqual([v.remaining for v in self.spend(3, tenant="fallback")], [2, 1, 0])
        key = wire.tenant_seed("fallback")  # the very same key under another tenant is another bucket
        self.assertEqual(self.client.check("demo", self.subject, seed=key).remaining, 9)

    def test_queue(self):
        verdicts = self.spend(5, "queue")
        self.assertEqual([v.flags for v in verdicts], [ALLOW, ALLOW | DELAY, ALLOW | DELAY, 0, 0])
        for turn, verdict in enumerate(verdicts[:3]):
            self.near(verdict, turn * HOUR_NS if turn else None)
        self.near(verdicts[3], HOUR_NS)
        self.assertEqual([v.allowed for v in self.spend(3, "meter")], [True, True, False])

    def test_windows_and_constants(self):
        for rule in ("fixed", "sliding"):
            verdicts = self.spend(6, rule)
            self.assertEqual([v.flags for v in verdicts], [ALLOW] * 5 + [0], rule)
            self.assertEqual([v.remaining for v in verdicts], [4, 3, 2, 1, 0, 0], rule)
            self.assertLessEqual(verdicts[5].retry_after_ns, 2 * YEAR_NS)
            self.assertEqual(self.client.refund(rule, self.subject, 2).remaining, 2)
            self.assertEqual(self.client.check(rule, self.subject, 6).retry_after, wire.NEVER)
            self.assertEqual(self.client.reset(rule, self.subject).remaining, 5)
        free = self.client.check("open", self.subject, 2**32 - 1)
        self.assertEqual((free.flags, free.remaining, free.reset_after), (ALLOW, 2**32 - 1, 0))
        shut = self.client.check("shut", self.subject)
        self.assertEqual((shut.flags, shut.remaining, shut.retry_after), (0, 0, wire.NEVER))

    def test_full_datagrams(self):
        for count, flags in ((50, 0), (75, RAW_SUBJECT)):
            subjects = [(b"%06d" % i) + self.subject[:1] for i in range(count)]
            request = self.client.request(CHECK, "demo", subjects, flags=flags)
            self.assertEqual(len(request), 1232)
            result = self.client.ask(request)
            self.assertEqual(len(result.entries), count)
            self.client.limits(RESET, "demo", subjects, flags=flags)
            self.assertEqual([v.flags for v in result.entries], [ALLOW] * count)
            self.assertEqual([v.remaining for v in result.entries], [9] * count)

    def test_later_version_fields(self):
        request = self.client.request(CHECK, "demo", self.subject, header_words=5, entry_words=7, flags=0x80)
        self.assertEqual(self.client.ask(request).entries[0].remaining, 9)

    def test_header(self):
        first = self.client.limits(CHECK, "demo", self.subject, sequence=0xFFFFFFFF)
        self.assertEqual(first.sequence, 0xFFFFFFFF)
        second = self.client.limits(CHECK, "demo", self.subject, sequence=0, clock_ms=77, boot_bits=99, client_id=0)
        self.assertEqual(second.boot_bits, first.boot_bits)
        self.assertLess(second.clock_ms - first.clock_ms & 0xFFFFFFFF, 1 << 31)

    def test_tag_is_bound_to_the_request(self):
        request = self.client.request(CHECK, "demo", self.subject)
        other = self.client.request(CHECK, "demo", self.subject, sequence=self.client.sequence, client_id=2)
        self.client.send(request)
        answer = self.client.socket.recv(2048)
        wire.decode_result(answer, wire.tag_of(request))
        with self.assertRaises(wire.Malformed) as refused:
            wire.decode_result(answer, wire.tag_of(other))
        self.assertEqual(refused.exception.name, "bad_tag")

    def test_hello(self):
        before_ms = time.time_ns() // 10**6
        for tenant in ("default", "fallback"):
            result = self.client.hello(tenant=tenant, nonce=b"0123456789abcdef")
            self.assertEqual(result.masked_seed, wire.tenant_seed(tenant))
            self.assertEqual(result.boot_id & 0xFFFF, result.boot_bits)
            self.assertEqual((result.repeat_window_ms, result.clock_lead_ms), (200, 20))
            self.assertEqual(result.served_types, sum(1 << type_ for type_ in wire.TYPE_NAMES))
            self.assertGreaterEqual(result.wall_clock_ms, before_ms - 1)
            self.assertLessEqual(result.wall_clock_ms, time.time_ns() // 10**6 + 1000)

    def test_joined_datagrams(self):
        """Several datagrams in one message: sizes of answers differ inside it, and bad ones stand between."""
        make = self.client.request
        for words, count in ((4, 40), (4, 64), (3, 7), (15, 44)):
            subject = self.subject + b"%d" % count
            batch = []
            for i in range(count):
                kind = i % 5 if words == 4 else 0
                if kind == 4:
                    batch.append(wire.hello(sequence=i))
                    continue
                entry = dict(entry_words=3 if words != 15 else 15, header_words=words)
                request = make(wire.ACQUIRE if kind == 3 else CHECK, "demo", subject, sequence=i, client_id=count,
                               flags=MIN_RESULT if kind == 1 else 0, **(entry if kind != 3 else {}))
                batch.append(wire.resign(b"\0" + request[1:]) if kind == 2 else request)
            size = len(batch[0])
            self.assertEqual({len(part) for part in batch}, {size})
            with self.daemon.client() as client:
                client.socket.setsockopt(SOL_UDP, UDP_SEGMENT, size)
                client.send(b"".join(batch))
                for i, part in enumerate(batch):
                    if part[0] == wire.FIRST_BYTE:
                        self.assertEqual(client.receive(part).sequence, i)
            spent = 10 - self.client.check("demo", subject, flags=PEEK).remaining
            self.assertEqual(spent, min(10, sum(p[0] == wire.FIRST_BYTE and p[1] == CHECK for p in batch)))

    def test_short_last_segment(self):
        with self.daemon.client() as client:
            parts = [client.request(CHECK, "demo", [self.subject] * 3, 0) for _ in range(9)]
            parts.append(client.request(CHECK, "demo", self.subject, 0))
            client.socket.setsockopt(SOL_UDP, UDP_SEGMENT, len(parts[0]))
            client.send(b"".join(parts))
            for part in parts:
                client.receive(part)


class OnFull(unittest.TestCase):
    CONFIG = """
table: {on_full: %s}
tenants: [{name: default, rules: [{name: demo, algorithm: token_bucket, rate: 1/h, burst: 10}]}]
"""

    def fill(self, on_full):
        """100 subjects into 16 entries: the verdicts, and how often TABLE_FULL was counted."""
        with Daemon(self.CONFIG % on_full, entries=16) as daemon, daemon.client() as client:
            verdicts = [client.check("demo", b"%d" % i, 4) for i in range(100)]
            again = [client.check("demo", b"%d" % i, 4) for i in range(16)]
            stats = daemon.stats()
            return verdicts, again, stats["total"]["table_full"], stats["table"]

    def test_allow_and_deny(self):
        for on_full, flags in (("allow", ALLOW), ("deny", 0)):
            verdicts, again, counted, table = self.fill(on_full)
            self.assertEqual([v.status for v in verdicts], [0] * 16 + [wire.TABLE_FULL] * 84)
            self.assertEqual({(v.flags, v.remaining, v.retry_after) for v in verdicts[16:]}, {(flags, 0, 0)})
            self.assertEqual([v.remaining for v in again], [2] * 16)
            self.assertEqual((counted, table["live"], table["evictions"]), (84, 16, 0))

    def test_evict(self):
        verdicts, _, counted, table = self.fill("evict")
        self.assertEqual({(v.status, v.flags, v.remaining) for v in verdicts}, {(0, ALLOW, 6)})
        self.assertEqual((counted, table["live"]), (0, 16))
        self.assertGreaterEqual(table["evictions"], 84)


for backend in BACKENDS:
    globals()[f"On_{backend}"] = type(f"On_{backend}", (Each, unittest.TestCase), {"backend": backend})

if __name__ == "__main__":
    unittest.main()
