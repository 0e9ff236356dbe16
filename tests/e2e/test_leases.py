#!/usr/bin/env python3
"""Leases, asked of the real daemon with two workers by the independent codec: what every operation answers, that ids
make them repeatable, that slots come back when their holder is gone, and what a reload does to them."""
import itertools
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import PATIENCE_S, Client, Daemon, mete
from lib.mete_wire import (ACQUIRE, ALLOW, CHECK, EXPIRED_LEASE, MIN_RESULT, OK, PEEK, RAW_SUBJECT, REFUND, RELEASE, RENEW,
                           REPEAT, RESET, SHADOW, STATUS, UNKNOWN_LEASE, UNKNOWN_RULE, UNSUPPORTED, WOULD_DENY)

SECOND_NS, HOUR_NS = 10**9, 3600 * 10**9
RULES = """
      - {name: jobs, algorithm: concurrency, limit: 3, lease: 1h}
      - {name: brief, algorithm: concurrency, limit: 2, lease: 50ms}
      - {name: watched, algorithm: concurrency, limit: 1, lease: 1h, shadow: true}
      - {name: one, algorithm: concurrency, limit: 1, lease: 1h, overrides: [{subject: vip, limit: 2}]}
      - {name: bucket, algorithm: token_bucket, rate: 1/h, burst: 5}
"""
CONFIG = f"""
tenants:
  - name: default
    rules: {RULES}
  - name: other
    rules: [{{name: jobs, algorithm: concurrency, limit: 3, lease: 1h}}]
  - name: limited
    checks: {{rate: 1/h, burst: 2}}
    rules: [{{name: jobs, algorithm: concurrency, limit: 3, lease: 1h}}]
"""
LEASES = itertools.count(0xFEDCBA9876543210)
FLOWS = 16  # enough that both workers have some: all on one happens once in 2**15


class Leases(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(CONFIG, workers=2)
        cls.addClassCleanup(cls.daemon.close)
        cls.client = Client(cls.daemon.address)
        cls.addClassCleanup(cls.client.__exit__)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def setUp(self):
        self.subject = self.id().encode()
        self.lease = next(LEASES)

    def ask(self, type_, rule="jobs", lease=None, cost=1, client=None, **options):
        options.setdefault("lease_id", self.lease if lease is None else lease)
        return (client or self.client).limits(type_, rule, self.subject, cost, **options).entries[0]

    def left(self, rule="jobs", **options):
        """Slots that are free, by a peek."""
        return self.client.check(rule, self.subject, 1, flags=PEEK, **options).remaining

    def answer(self, verdict):
        return verdict.status, verdict.flags, verdict.remaining

    def wait_for(self, what, value):
        """Asks until it is so."""
        last = time.monotonic() + PATIENCE_S
        while (got := what()) != value:
            self.assertLess(time.monotonic(), last, got)
            time.sleep(0.01)

    def test_until_denied_and_back(self):
        leases = [next(LEASES) for _ in range(3)]
        for remaining, lease in zip((2, 1, 0), leases):
            verdict = self.ask(ACQUIRE, lease=lease)
            self.assertEqual(self.answer(verdict), (OK, ALLOW, remaining))
            self.assertEqual(verdict.retry_after, 0)
            self.assertLessEqual(verdict.reset_after_ns, HOUR_NS + 10**6)  # a lease ends on a whole millisecond
            self.assertGreater(verdict.reset_after_ns, HOUR_NS - 600 * SECOND_NS)
        denied = self.ask(ACQUIRE)
        self.assertEqual(self.answer(denied), (OK, 0, 0))
        self.assertEqual(denied.retry_after_ns, HOUR_NS)
        self.assertEqual(self.answer(self.ask(RELEASE, lease=leases[1])), (OK, ALLOW, 1))
        self.assertEqual(self.answer(self.ask(ACQUIRE)), (OK, ALLOW, 0))
        for remaining, lease in zip((1, 2, 3), (leases[0], leases[2], self.lease)):
            self.assertEqual(self.answer(self.ask(RELEASE, lease=lease)), (OK, ALLOW, remaining))
        self.assertEqual(self.left(), 3)

    def test_an_id_is_one_lease(self):
        self.assertEqual(self.answer(self.ask(ACQUIRE, cost=2)), (OK, ALLOW, 1))
        for cost in (1, 2, 3, 9):  # as the first, whatever it asks for
            self.assertEqual(self.answer(self.ask(ACQUIRE, cost=cost)), (OK, ALLOW, 1))
        self.assertEqual(self.answer(self.ask(RENEW)), (OK, ALLOW, 1))
        self.assertEqual(self.answer(self.ask(RELEASE, cost=77)), (OK, ALLOW, 3))
        self.assertEqual(self.answer(self.ask(RELEASE)), (UNKNOWN_LEASE, 0, 0))
        self.assertEqual(self.answer(self.ask(RENEW)), (UNKNOWN_LEASE, 0, 0))
        self.assertEqual(self.answer(self.ask(ACQUIRE)), (OK, ALLOW, 2))  # a new one
        self.ask(RELEASE)

    def test_costs(self):
        self.assertEqual(self.answer(self.ask(ACQUIRE, cost=0)), (OK, ALLOW, 3))
        self.assertEqual(self.ask(RELEASE).status, UNKNOWN_LEASE)  # nothing was taken
        never = self.ask(ACQUIRE, cost=4)
        self.assertEqual((never.flags, never.remaining, never.retry_after), (0, 3, wire.NEVER))
        self.assertEqual(self.answer(self.ask(ACQUIRE, cost=3)), (OK, ALLOW, 0))
        self.assertEqual(self.answer(self.ask(RELEASE)), (OK, ALLOW, 3))

    def test_same_id_on_other_keys_and_rules_is_another_lease(self):
        self.ask(ACQUIRE)
        self.assertEqual(self.ask(RELEASE, rule="one").status, UNKNOWN_LEASE)
        self.assertEqual(self.client.limits(RELEASE, "jobs", b"someone else", lease_id=self.lease).entries[0].status,
                         UNKNOWN_LEASE)
        self.assertEqual(self.answer(self.ask(RELEASE)), (OK, ALLOW, 3))

    def test_another_tenant_lets_go_of_nothing(self):
        self.ask(ACQUIRE)
        for seed in ("default", "other"):  # even with the very key
            for type_ in (RELEASE, RENEW):
                verdict = self.ask(type_, tenant="other", seed=wire.tenant_seed(seed))
                self.assertEqual(self.answer(verdict), (UNKNOWN_LEASE, 0, 0))
        self.assertEqual(self.left(), 2)
        self.assertEqual(self.answer(self.ask(RENEW)), (OK, ALLOW, 2))
        self.ask(RELEASE)

    def test_raw_subjects_are_the_same_keys(self):
        self.ask(ACQUIRE, flags=RAW_SUBJECT)
        self.assertEqual(self.answer(self.ask(RELEASE)), (OK, ALLOW, 3))

    def test_several_in_one_datagram(self):
        leases = [next(LEASES) for _ in range(5)]
        request = self.client.request(ACQUIRE, "jobs", [self.subject] * 5, lease_id=leases)
        self.assertEqual([v.flags for v in self.client.ask(request).entries], [ALLOW] * 3 + [0] * 2)
        request = self.client.request(RELEASE, "jobs", [self.subject] * 3, lease_id=leases[:3], flags=MIN_RESULT)
        self.assertEqual(self.client.ask(request).allowed, [True] * 3)
        self.assertEqual(self.left(), 3)

    def test_lost_holders_give_back(self):
        """Nobody releases; the slots come back by themselves, seen by somebody who only looks."""
        for _ in range(2):
            self.ask(ACQUIRE, "brief", next(LEASES))
        self.wait_for(lambda: self.left("brief"), 2)
        self.assertEqual(self.answer(self.ask(ACQUIRE, "brief", cost=2)), (OK, ALLOW, 0))

    def test_after_expiry(self):
        """EXPIRED_LEASE until the slot is back, UNKNOWN_LEASE from then on; never OK, and never charged."""
        for type_ in (RENEW, RELEASE):
            seen = []
            while EXPIRED_LEASE not in seen and len(seen) < 50:  # the sweep may be faster, so again
                lease = next(LEASES)
                acquired = self.client.limits(ACQUIRE, "brief", self.subject, lease_id=lease)
                end_ms = acquired.clock_ms + 50
                while self.client.hello().clock_ms <= end_ms:
                    pass
                seen.append(self.ask(type_, "brief", lease).status)
                self.assertIn(seen[-1], (EXPIRED_LEASE, UNKNOWN_LEASE))
                self.wait_for(lambda: self.ask(type_, "brief", lease).status, UNKNOWN_LEASE)
                self.assertEqual(self.left("brief"), 2)
            self.assertIn(EXPIRED_LEASE, seen)

    def test_renewed_in_time_it_stays(self):
        """Some twenty lengths of the lease; a pause of ours longer than one only starts it anew."""
        self.ask(ACQUIRE, "brief")
        held, end_ms = 0, self.client.hello().clock_ms + 1000
        while self.client.hello().clock_ms < end_ms:
            if self.ask(RENEW, "brief").status == OK:
                self.assertEqual(self.left("brief"), 1)
                held += 1
            else:
                self.wait_for(lambda: self.ask(ACQUIRE, "brief").status, OK)
        self.assertGreater(held, 0)
        self.ask(RELEASE, "brief")

    def test_shadow_never_denies(self):
        self.assertEqual(self.answer(self.ask(ACQUIRE, "watched")), (OK, ALLOW, 0))
        other = next(LEASES)
        self.assertEqual(self.answer(self.ask(ACQUIRE, "watched", other)), (OK, ALLOW | WOULD_DENY, 0))
        self.assertEqual(self.ask(RELEASE, "watched", other).status, UNKNOWN_LEASE)
        self.assertEqual(self.ask(RELEASE, "watched").status, OK)
        for lease in [next(LEASES) for _ in range(3)]:
            self.ask(ACQUIRE, lease=lease)
        self.assertEqual(self.answer(self.ask(ACQUIRE, flags=SHADOW)), (OK, ALLOW | WOULD_DENY, 0))

    def test_overrides(self):
        leases = [next(LEASES) for _ in range(3)]
        flags = [self.client.limits(ACQUIRE, "one", b"vip", lease_id=lease).entries[0].flags for lease in leases]
        self.assertEqual(flags, [ALLOW, ALLOW, 0])
        self.assertEqual([self.ask(ACQUIRE, "one", lease).flags for lease in leases], [ALLOW, 0, 0])

    def test_what_is_not_for_leases(self):
        self.ask(ACQUIRE)
        for type_, flags in ((CHECK, 0), (CHECK, wire.AT_MOST), (CHECK, wire.ALL_OR_NOTHING), (REFUND, 0), (RESET, 0)):
            for cost in (1, 0) if type_ != CHECK else (1,):
                verdict = self.ask(type_, cost=cost, flags=flags)
                self.assertEqual((verdict.status, verdict.flags & ALLOW), (UNSUPPORTED, 0), (type_, flags, cost))
        self.assertEqual(self.left(), 2)
        for type_ in (ACQUIRE, RENEW, RELEASE):
            self.assertEqual(self.answer(self.ask(type_, "bucket")), (UNSUPPORTED, 0, 0))
            self.assertEqual(self.answer(self.ask(type_, "nobody's")), (UNKNOWN_RULE, 0, 0))
            for flags in (PEEK, wire.ALL_OR_NOTHING, wire.AT_MOST) + ((SHADOW,) if type_ != ACQUIRE else ()):
                result = self.client.limits(type_, "jobs", self.subject, lease_id=self.lease, flags=flags)
                self.assertEqual((result.flags, result.detail), (STATUS, UNSUPPORTED), (type_, flags))
        self.assertEqual(self.client.check("bucket", self.subject, 0).remaining, 5)
        self.ask(RELEASE)

    def test_repeated_datagrams_act_once(self):
        """The very bytes again, right away and after what came between: as the first time, doing nothing."""
        acquire = self.client.request(ACQUIRE, "jobs", self.subject, lease_id=self.lease)
        release = self.client.request(RELEASE, "jobs", self.subject, lease_id=self.lease)
        self.assertEqual(self.answer(self.client.ask(acquire).entries[0]), (OK, ALLOW, 2))
        again = self.client.ask(acquire).entries[0]
        self.assertEqual(self.answer(again), (OK, ALLOW | REPEAT, 2))
        self.assertGreater(again.reset_after_ns, HOUR_NS - 600 * SECOND_NS)
        self.assertEqual(self.answer(self.client.ask(release).entries[0]), (OK, ALLOW, 3))
        self.assertEqual(self.answer(self.client.ask(release).entries[0]), (OK, ALLOW | REPEAT, 3))
        late = self.client.ask(acquire).entries[0]  # the lease is gone, and stays so
        self.assertEqual(self.answer(late), (OK, ALLOW | REPEAT, 3))
        self.assertEqual(late.reset_after_ns, 0)
        unknown = self.client.request(RENEW, "jobs", self.subject, lease_id=self.lease)
        self.assertEqual(self.client.ask(unknown).entries[0].status, UNKNOWN_LEASE)
        self.assertEqual(self.answer(self.client.ask(unknown).entries[0]), (UNKNOWN_LEASE, REPEAT, 0))

    def test_repeat_of_a_denial_takes_nothing(self):
        leases = [next(LEASES) for _ in range(3)]
        for lease in leases:
            self.ask(ACQUIRE, lease=lease)
        request = self.client.request(ACQUIRE, "jobs", self.subject, lease_id=self.lease)
        self.assertEqual(self.client.ask(request).entries[0].flags, 0)
        self.ask(RELEASE, lease=leases[0])
        self.assertEqual(self.answer(self.client.ask(request).entries[0]), (OK, REPEAT, 1))
        self.assertEqual(self.left(), 1)

    def test_a_release_is_never_refused_for_its_number(self):
        options = dict(tenant="limited", seed=wire.tenant_seed("limited"))
        self.assertEqual(self.ask(ACQUIRE, **options).flags, ALLOW)
        self.ask(RENEW, **options)
        refused = self.client.limits(RENEW, "jobs", self.subject, lease_id=self.lease, **options)
        self.assertEqual((refused.flags, refused.detail), (STATUS, wire.LIMITED))
        self.assertEqual(self.answer(self.ask(RELEASE, **options)), (OK, ALLOW, 3))

    def test_two_workers_share_them(self):
        clients = [Client(self.daemon.address) for _ in range(FLOWS)]
        for client in clients:
            self.addCleanup(client.__exit__)
        leases = [next(LEASES) for _ in range(FLOWS)]
        flags = [self.ask(ACQUIRE, lease=lease, client=client).flags for lease, client in zip(leases, clients)]
        self.assertEqual(flags, [ALLOW] * 3 + [0] * (FLOWS - 3))
        for lease, client in zip(leases, reversed(clients)):  # whoever knows the id
            self.ask(RELEASE, lease=lease, client=client)
        self.assertEqual(self.left(), 3)

    def test_configuration_is_shown_and_compared(self):
        folder = pathlib.Path(self.daemon.folder)
        old, new, shown = folder / "old.yaml", folder / "new.yaml", folder / "shown.yaml"
        old.write_text(CONFIG)
        new.write_text(CONFIG.replace("limit: 3, lease: 1h}", "limit: 4, lease: 90s}", 1))
        shown.write_text(mete("config", "show", "--config", str(old)).stdout)
        self.assertIn("algorithm: concurrency, limit: 2, lease: 50ms}", shown.read_text())
        self.assertIn('overrides: [ # id', shown.read_text())
        self.assertEqual(mete("config", "diff", str(shown), "--config", str(old)).stdout, "")
        self.assertEqual(mete("config", "diff", str(new), "--config", str(old)).stdout,
                         "rule default/jobs: concurrency 3 lease 1h -> concurrency 4 lease 90s, keeps what is owed\n")

    def test_counted(self):
        before = self.daemon.stats()["total"]
        self.ask(ACQUIRE)
        self.ask(RENEW)
        self.ask(RELEASE)
        self.ask(RELEASE)
        self.ask(ACQUIRE, cost=4)
        after = self.daemon.stats()["total"]
        changes = {name: after[name] - before[name] for name in after if name in before}
        for name, amount in (("allowed", 1), ("denied", 1), ("renewed", 1), ("released", 1), ("unknown_lease", 1),
                             ("checks", 5)):
            self.assertEqual(changes[name], amount, name)
        served = self.client.hello().served_types
        self.assertEqual([served >> type_ & 1 for type_ in (ACQUIRE, RENEW, RELEASE)], [1, 1, 1])


if __name__ == "__main__":
    unittest.main()
