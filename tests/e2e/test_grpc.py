#!/usr/bin/env python3
"""The gRPC door of the real daemon, asked by grpc's own Python client: Envoy's rate limit service, mete.v1.Limiter,
health, reflection; the same buckets as UDP; who may ask what."""
import hashlib
import os
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import Daemon, mete, refuse
from lib.grpc_client import (DAY, FILES, HOUR, MINUTE, MONTH, OK, OVER, SECOND, WEEK, YEAR, RateLimitResponse, Service,
                             descriptor, message, open_channel, status_of)

ENVOY = "envoy.service.ratelimit.v3.RateLimitService"
LIMITER = "mete.v1.Limiter"


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


CONFIG = f"""
tenants:
  - name: default
    rules:
      - {{name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}}
      - {{name: other, algorithm: token_bucket, rate: 1/h, burst: 3}}
      - {{name: shadow, algorithm: token_bucket, rate: 1/h, burst: 1, shadow: true}}
      - {{name: queue, algorithm: leaky_bucket, mode: queue, rate: 1/h, burst: 2}}
      - {{name: open, algorithm: unlimited}}
      - {{name: shut, algorithm: deny}}
      - {{name: jobs, algorithm: concurrency, limit: 2, lease: 60s}}
  - name: edge
    rules:
      - {{name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}}
      - {{name: exact, algorithm: fixed_window, limit: 11/1d}}
      - {{name: long, algorithm: fixed_window, limit: 12/7d}}
      - {{name: short, algorithm: fixed_window, limit: 13/30d}}
      - {{name: any, algorithm: fixed_window, limit: 14/365d}}
      - {{name: below, algorithm: fixed_window, limit: 15/2h}}
      - {{name: fast, algorithm: token_bucket, rate: 5/100ms, burst: 50}}
      - {{name: plan, algorithm: calendar, limit: 3, per: month}}
      - {{name: shadow, algorithm: token_bucket, rate: 1/h, burst: 1, shadow: true}}
      - {{name: open, algorithm: unlimited}}
      - {{name: shut, algorithm: deny}}
    descriptors:
      - {{key: user, rule: slow}}
      - {{key: path, value: /a/b, rule: exact}}
      - {{key: path, value: "/a/*", rule: long, shared: true}}
      - {{key: path, value: "/*", rule: short}}
      - key: path
        rule: any
        descriptors:
          - {{key: method, rule: below}}
      - key: no_rule
        descriptors: [{{key: user, rule: slow}}]
      - {{key: fast, rule: fast}}
      - {{key: plan, rule: plan}}
      - {{key: shadow, rule: shadow}}
      - {{key: open, rule: open}}
      - {{key: shut, rule: shut}}
  - name: each
    envoy: {{charge: each, headers: true}}
    rules:
      - {{name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}}
      - {{name: small, algorithm: token_bucket, rate: 1/h, burst: 1}}
    descriptors:
      - {{key: user, rule: slow}}
      - {{key: small, rule: small}}
  - name: keyed
    api_keys:
      - {{name: ci, sha256: "{sha256('ci-key')}", may: [check]}}
      - {{name: ops, sha256: "{sha256('ops-key')}", may: [check, manage]}}
      - {{name: only, sha256: "{sha256('manage-key')}", may: [manage]}}
    rules: [{{name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}}]
    descriptors: [{{key: user, rule: slow}}]
  - name: limited
    checks: {{rate: 1/h, burst: 5}}
    rules: [{{name: slow, algorithm: token_bucket, rate: 1/h, burst: 100}}]
    descriptors: [{{key: user, rule: slow}}]
"""


class Grpc(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(CONFIG, ["listen.grpc=127.0.0.1:0"])
        cls.channel = open_channel(cls.daemon.grpc)
        cls.envoy = Service(cls.channel, ENVOY)
        cls.limiter = Service(cls.channel, LIMITER)
        cls.subjects = iter(range(10**6))

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        try:
            cls.daemon.stop()
        finally:
            cls.daemon.close()

    def subject(self):
        return f"s{next(self.subjects)}"

    def should(self, *descriptors, domain="edge", **fields):
        return self.envoy.ShouldRateLimit(domain=domain, descriptors=descriptors, **fields)

    def rule_of(self, *pairs):
        """The name of the rule that a descriptor finds, '' for none."""
        status, = self.should(descriptor(*pairs)).statuses
        self.assertEqual(status.HasField("current_limit"), bool(status.current_limit.name))
        return status.current_limit.name

    # ---- Envoy's service ----

    def test_which_rule(self):
        for pairs, rule in (
                ([("user", "x")], "slow"), ([("path", "/a/b")], "exact"), ([("path", "/a/c")], "long"),
                ([("path", "/a/bc")], "long"), ([("path", "/b")], "short"), ([("path", "x")], "any"),
                ([("path", "")], "any"), ([("path", "x"), ("method", "GET")], "below"),
                ([("path", "/b"), ("method", "GET")], ""), ([("path", "x"), ("other", "GET")], ""),
                ([("path", "x"), ("method", "GET"), ("more", "x")], ""), ([("no_rule", "x")], ""),
                ([("no_rule", "x"), ("user", "y")], "slow"), ([("User", "x")], ""), ([("", "")], ""), ([], "")):
            with self.subTest(pairs):
                self.assertEqual(self.rule_of(*pairs), rule)

    def test_who_shares_a_bucket(self):
        def left(*pairs):
            return self.should(descriptor(*pairs)).statuses[0].limit_remaining

        self.assertEqual([left(("path", "/x1")), left(("path", "/x2")), left(("path", "/x1"))], [12, 12, 11])
        # a shared node has one bucket for all its values
        first = left(("path", "/a/1"))
        self.assertEqual([left(("path", "/a/2")), left(("path", "/a/3"))], [first - 1, first - 2])
        # values cannot be made to look like others
        for pairs in ([("no_rule", "a|b"), ("user", "c")], [("no_rule", "a"), ("user", "b|c")],
                      [("no_rule", "a\\"), ("user", "|b|c")], [("no_rule", "a\0"), ("user", "c")], [("no_rule", "a"), ("user", "c")]):
            self.assertEqual(left(*pairs), 9, pairs)

    def test_same_bucket_as_udp(self):
        who = self.subject()
        with self.daemon.client() as client:
            self.assertEqual(client.check("slow", who.encode(), 4, tenant="edge").remaining, 6)
            self.assertEqual(self.should(descriptor(("user", who)), hits_addend=3).statuses[0].limit_remaining, 3)
            self.assertEqual(client.check("slow", (who + "|b").encode(), 1, tenant="edge").remaining, 9)
            self.assertEqual(self.should(descriptor(("no_rule", who), ("user", "b"))).statuses[0].limit_remaining, 8)
            self.assertEqual(client.check("slow", who.encode(), 1).remaining, 9)  # of `default`: another bucket
            self.assertEqual(self.limiter.Check(rule="slow", subject=who).remaining, 8)

    def test_hits(self):
        who = self.subject()
        for hits, fields, left, code in ((None, {}, 9, OK), (None, {"hits_addend": 2}, 7, OK), (3, {"hits_addend": 2}, 4, OK),
                                         (0, {"hits_addend": 9}, 4, OK), (5, {}, 4, OVER), (2**32, {}, 4, OVER),
                                         (2**64 - 1, {}, 4, OVER), (None, {"hits_addend": 2**32 - 1}, 4, OVER),
                                         (4, {}, 0, OK), (0, {}, 0, OVER), (1, {}, 0, OVER)):
            with self.subTest(hits=hits, **fields):
                answer = self.should(descriptor(("user", who), hits=hits), **fields)
                status, = answer.statuses
                self.assertEqual((status.limit_remaining, status.code, answer.overall_code), (left, code, code))
        given = self.should(descriptor(("user", who), hits=7, negative=True))
        self.assertEqual((given.overall_code, given.statuses[0].limit_remaining), (OK, 7))
        self.should(descriptor(("user", who), hits=2**64 - 1, negative=True))  # never above the full quota
        self.assertEqual(self.should(descriptor(("user", who))).statuses[0].limit_remaining, 9)

    def test_current_limit(self):
        for pair, numbers in ((("path", "/a/b"), (11, DAY, 0)), (("path", "/a/c"), (12, WEEK, 0)), (("path", "/b"), (13, MONTH, 0)),
                              (("path", "x"), (14, YEAR, 0)), (("fast", "x"), (50, SECOND, 0)), (("plan", "x"), (3, MONTH, 0)),
                              (("user", "x"), (1, HOUR, 0))):
            limit = self.should(descriptor(pair)).statuses[0].current_limit
            self.assertEqual((limit.requests_per_unit, limit.unit, limit.unit_multiplier.value), numbers, pair)
        limit = self.should(descriptor(("path", "x"), ("method", "GET"))).statuses[0].current_limit
        self.assertEqual((limit.requests_per_unit, limit.unit, limit.unit_multiplier.value), (15, HOUR, 2))

    def test_unlimited_shadow_deny(self):
        status, = self.should(descriptor(("open", "x"), hits=10**6)).statuses
        self.assertEqual((status.code, status.limit_remaining, status.HasField("current_limit")), (OK, 2**32 - 1, False))
        who = self.subject()
        for _ in range(3):
            self.assertEqual(self.should(descriptor(("shadow", who))).overall_code, OK)
        answer = self.should(descriptor(("shut", "x")), descriptor(("open", "x")))
        self.assertEqual(([s.code for s in answer.statuses], answer.overall_code), ([OVER, OK], OVER))

    def test_reset_is_the_time_to_full(self):
        reset = self.should(descriptor(("user", self.subject())), hits_addend=2).statuses[0].duration_until_reset
        self.assertTrue(7100 < reset.seconds <= 7200, reset)
        self.assertTrue(0 <= self.should(descriptor(("path", "/a/b"))).statuses[0].duration_until_reset.seconds <= 86400)

    def test_all_or_nothing(self):
        a, b = self.subject(), self.subject()
        self.assertEqual(self.should(descriptor(("user", a), hits=8)).overall_code, OK)
        answer = self.should(descriptor(("user", b), hits=3), descriptor(("user", a), hits=3), descriptor(("none", "x")))
        self.assertEqual([s.code for s in answer.statuses], [OK, OVER, OK])
        self.assertEqual([s.limit_remaining for s in answer.statuses], [10, 2, 0])
        # what gives back does so whatever becomes of the others, wherever it stands
        answer = self.should(descriptor(("user", a), hits=5, negative=True), descriptor(("user", b), hits=11),
                             descriptor(("user", self.subject()), hits=2))
        self.assertEqual([s.code for s in answer.statuses], [OK, OVER, OK])
        self.assertEqual([s.limit_remaining for s in answer.statuses], [7, 10, 10])

    def test_each_as_envoys_own(self):
        who = self.subject()
        for left in (9, 8, 7):
            answer = self.should(descriptor(("user", who)), descriptor(("small", who)), domain="each")
            self.assertEqual(answer.statuses[0].limit_remaining, left)
        self.assertEqual(answer.overall_code, OVER)

    def test_headers(self):
        def headers(*arguments, **fields):
            return {h.key: h.value for h in self.should(*arguments, **fields).response_headers_to_add}

        who = self.subject()
        self.assertEqual(headers(descriptor(("user", who))), {})
        found = headers(descriptor(("user", who)), domain="each")
        self.assertEqual((found["x-ratelimit-limit"], found["x-ratelimit-remaining"]), ("10", "9"))
        self.assertTrue(0 < int(found["x-ratelimit-reset"]) <= 3600)
        self.assertNotIn("retry-after", found)
        found = headers(descriptor(("user", who), hits=10), domain="each")
        self.assertTrue(0 < int(found["retry-after"]) <= 3600)
        self.assertEqual(headers(descriptor(("none", who)), domain="each"), {})

    def test_limit_of_the_request(self):
        who = self.subject()
        for left, code in ((2, OK), (1, OK), (0, OK), (0, OVER)):
            status, = self.should(descriptor(("user", who), limit=(3, DAY))).statuses
            self.assertEqual((status.limit_remaining, status.code), (left, code))
            self.assertEqual((status.current_limit.requests_per_unit, status.current_limit.unit), (3, DAY))
        for left, limit in ((4, (5, HOUR)), (6, (7, HOUR, 3)), (2, (3, YEAR))):  # other units, other buckets
            self.assertEqual(self.should(descriptor(("user", who), limit=limit)).statuses[0].limit_remaining, left)
        self.assertEqual(self.should(descriptor(("user", who + "="), limit=(3, DAY))).statuses[0].limit_remaining, 2)
        self.assertEqual(self.should(descriptor(("user", who), limit=(0, DAY))).overall_code, OVER)
        self.assertEqual(self.should(descriptor(("user", who), limit=(2**32 - 1, SECOND))).overall_code, OK)
        for limit in ((1, 0), (1, WEEK), (1, SECOND, 0), (1, 99), (3, YEAR, 2**32 - 1)):
            self.assertEqual(status_of(self.should, descriptor(("user", who), limit=limit)), "INVALID_ARGUMENT", limit)

    def test_bad_requests(self):
        for fields in ({"domain": ""}, {"domain": "edge", "descriptors": []},
                       {"domain": "edge", "descriptors": [descriptor(("user", "x"))] * 65}):
            self.assertEqual(status_of(self.envoy.ShouldRateLimit, **{"descriptors": [descriptor(("user", "x"))], **fields}),
                             "INVALID_ARGUMENT")
        answer = self.should(*[descriptor(("user", "many"), hits=0)] * 64)
        self.assertEqual(len(answer.statuses), 64)
        for domain in ("nobody", "x" * 1000, "e\0dge", "é"):
            answer = self.should(descriptor(("user", "x")), descriptor(), domain=domain)
            self.assertEqual((answer.overall_code, [s.code for s in answer.statuses]), (OK, [OK, OK]))

    def test_long_values(self):
        for length in (255, 1024, 1025, 8000):
            self.assertEqual(self.should(descriptor(("user", "v" * length))).statuses[0].limit_remaining, 9)
            self.assertEqual(self.rule_of(("path", "/" + "v" * length)), "short")

    # ---- our own ----

    def test_check(self):
        who = self.subject()
        verdict = self.limiter.Check(rule="slow", subject=who, cost=4)
        self.assertEqual((verdict.allowed, verdict.limit, verdict.remaining, verdict.granted), (True, 10, 6, 4))
        self.assertTrue(14300 < verdict.reset_after.seconds <= 14400)
        self.assertTrue(abs(verdict.reset_time.seconds - time.time() - 14400) < 100)
        self.assertFalse(verdict.HasField("retry_after"))
        verdict = self.limiter.Check(rule="slow", subject=who, cost=7)
        self.assertEqual((verdict.allowed, verdict.remaining, verdict.granted), (False, 6, 0))
        self.assertTrue(0 < verdict.retry_after.seconds <= 3600)
        verdict = self.limiter.Check(rule="slow", subject=who, cost=11)
        self.assertEqual((verdict.allowed, verdict.HasField("retry_after")), (False, False))
        self.assertEqual(self.limiter.Check(rule="slow", subject=who, cost=0).remaining, 6)
        self.assertEqual(self.limiter.Check(rule="slow", subject=who).remaining, 5)
        self.assertEqual(self.limiter.Peek(rule="slow", subject=who, cost=6).allowed, False)
        self.assertEqual(self.limiter.Refund(rule="slow", subject=who, cost=2).remaining, 7)
        self.assertEqual(self.limiter.Reset(rule="slow", subject=who).remaining, 10)

    def test_subjects_and_resources(self):
        who = self.subject()
        left = lambda **fields: self.limiter.Check(rule="slow", **fields).remaining
        self.assertEqual([left(subject=who), left(subject_bytes=who.encode()), left(subject=who, resource="a"),
                          left(subject=who, resource="b"), left(subject=who, resource="a"), left(subject=who + "|a")],
                         [9, 8, 9, 9, 8, 7])
        self.assertEqual([left(subject_bytes=b"\0" + who.encode()), left(subject_bytes=b"\0"), left(subject=who[:1] + "|")], [9, 9, 9])

    def test_kinds(self):
        who = self.subject()
        self.assertFalse(self.limiter.Check(rule="queue", subject=who).HasField("delay"))
        verdict = self.limiter.Check(rule="queue", subject=who)
        self.assertTrue(verdict.allowed and 3500 < verdict.delay.seconds <= 3600)
        self.limiter.Check(rule="shadow", subject=who)
        verdict = self.limiter.Check(rule="shadow", subject=who)
        self.assertEqual((verdict.allowed, verdict.would_deny), (True, True))
        self.assertEqual(self.limiter.Check(rule="open", subject=who).limit, 0)
        self.assertFalse(self.limiter.Check(rule="shut", subject=who).allowed)

    def test_leases(self):
        who = self.subject()
        lease = lambda call, number, **fields: call(rule="jobs", subject=who, lease=number, **fields)
        self.assertTrue(lease(self.limiter.Acquire, 1).allowed)
        self.assertEqual(lease(self.limiter.Acquire, 2).remaining, 0)
        verdict = lease(self.limiter.Acquire, 3)
        self.assertTrue(not verdict.allowed and 0 < verdict.retry_after.seconds <= 60)
        self.assertTrue(lease(self.limiter.Renew, 1).allowed)
        self.assertEqual(lease(self.limiter.Release, 2).remaining, 1)
        self.assertEqual(lease(self.limiter.Renew, 9).undecided, "unknown_lease")
        self.assertEqual(self.limiter.Peek(rule="jobs", subject=who).limit, 2)

    def test_batch(self):
        a, b = self.subject(), self.subject()
        checks = [{"rule": "slow", "subject": a, "cost": 3}, {"rule": "other", "subject": b, "cost": 2}]
        answer = self.limiter.Batch(checks=checks, all_or_nothing=True)
        self.assertEqual((answer.allowed, [v.remaining for v in answer.verdicts]), (True, [7, 1]))
        answer = self.limiter.Batch(checks=checks, all_or_nothing=True)
        self.assertEqual((answer.allowed, [v.remaining for v in answer.verdicts]), (False, [7, 1]))
        self.assertTrue(answer.verdicts[0].not_charged)
        answer = self.limiter.Batch(checks=checks)
        self.assertEqual((answer.allowed, [v.remaining for v in answer.verdicts]), (False, [4, 1]))
        for wrong, status in (([], "INVALID_ARGUMENT"), (checks * 33, "INVALID_ARGUMENT"),
                              (checks + [{"rule": "no", "subject": a}], "NOT_FOUND"),
                              (checks + [{"tenant": "edge", "rule": "slow", "subject": a}], "INVALID_ARGUMENT")):
            self.assertEqual(status_of(self.limiter.Batch, checks=wrong), status)
        self.assertEqual(self.limiter.Peek(rule="slow", subject=a).remaining, 4)

    def test_stream(self):
        who, request = self.subject(), message("mete.v1.CheckRequest")
        asked = [request(rule="slow", subject=who) for _ in range(12)]
        left = [(v.allowed, v.remaining) for v in self.limiter.CheckStream(iter(asked))]
        self.assertEqual(left, [(True, n) for n in range(9, -1, -1)] + [(False, 0)] * 2)
        self.assertEqual(list(self.limiter.CheckStream(iter([]))), [])
        asked = [request(rule="slow", subject=who + "x"), request(rule="no", subject=who)]
        self.assertEqual(status_of(self.limiter.CheckStream, iter(asked)), "NOT_FOUND")
        many = [request(rule="open", subject=who) for _ in range(5000)]
        self.assertEqual(sum(v.allowed for v in self.limiter.CheckStream(iter(many))), 5000)

    def test_refusals(self):
        for call, fields, status in (
                (self.limiter.Check, {"rule": "no"}, "NOT_FOUND"), (self.limiter.Check, {"rule": ""}, "NOT_FOUND"),
                (self.limiter.Check, {"rule": "slow", "tenant": "nobody"}, "NOT_FOUND"),
                (self.limiter.Check, {"rule": "jobs"}, "FAILED_PRECONDITION"),
                (self.limiter.Acquire, {"rule": "slow", "lease": 1}, "FAILED_PRECONDITION"),
                (self.limiter.Check, {"rule": "slow", "tenant": "keyed"}, "UNAUTHENTICATED")):
            self.assertEqual(status_of(call, subject="x", **fields), status, fields)

    # ---- who asks ----

    def test_keys(self):
        who = self.subject()
        bearer = lambda key: [("authorization", "Bearer " + key)]
        check = lambda metadata, **fields: self.limiter.Check(rule="slow", subject=who, metadata=metadata, **fields)
        self.assertEqual(check(bearer("ci-key")).remaining, 9)
        self.assertEqual(check([("x-api-key", "ci-key")], tenant="keyed").remaining, 8)
        answer = self.should(descriptor(("user", who)), domain="keyed", metadata=bearer("ops-key"))
        self.assertEqual(answer.statuses[0].limit_remaining, 7)
        for metadata, fields, status in (
                (bearer("wrong"), {}, "UNAUTHENTICATED"), 
                ([("authorization", "Basic eDp5")], {}, "UNAUTHENTICATED"), (bearer("k" * 300), {}, "UNAUTHENTICATED"),
                (bearer("ci-key") + [("x-api-key", "ci-key")], {}, "UNAUTHENTICATED"),
                (bearer("ci-key"), {"tenant": "edge"}, "PERMISSION_DENIED"), (bearer("manage-key"), {}, "PERMISSION_DENIED")):
            self.assertEqual(status_of(check, metadata, **fields), status, metadata)
        self.assertEqual(status_of(self.limiter.Reset, rule="slow", subject=who, metadata=bearer("ci-key")), "PERMISSION_DENIED")
        self.assertEqual(self.limiter.Reset(rule="slow", subject=who, metadata=bearer("ops-key")).remaining, 10)
        for key, status in (("ci-key", "PERMISSION_DENIED"), ("ops-key", None)):
            self.assertEqual(status_of(self.should, descriptor(("user", who), negative=True), domain="keyed", metadata=bearer(key)), status)
        self.assertEqual(status_of(self.should, descriptor(("user", who)), domain="keyed"), "UNAUTHENTICATED")
        self.assertEqual(status_of(self.should, descriptor(("user", who)), domain="edge", metadata=bearer("ops-key")), "PERMISSION_DENIED")

    def test_quota_of_a_tenant(self):
        two = [descriptor(("user", "a")), descriptor(("user", "b"))]
        found = [status_of(self.should, *two, domain="limited") for _ in range(3)]
        self.assertEqual(found, [None, None, "RESOURCE_EXHAUSTED"])
        self.assertIsNone(status_of(self.should, two[0], domain="limited"))
        self.assertEqual(status_of(self.limiter.Check, tenant="limited", rule="slow", subject="x"), "RESOURCE_EXHAUSTED")

    # ---- health, reflection, life ----

    def test_health(self):
        health = Service(self.channel, "grpc.health.v1.Health")
        self.assertEqual([health.Check(service=name).status for name in ("", ENVOY, LIMITER)], [1, 1, 1])
        self.assertEqual(status_of(health.Check, service="x"), "NOT_FOUND")
        for name, status in (("", 1), ("x", 3)):
            watch = health.Watch(service=name)
            self.assertEqual(next(watch).status, status)
            watch.cancel()

    def test_reflection(self):
        for version in ("v1", "v1alpha"):
            request = message("grpc.reflection.v1.ServerReflectionRequest")
            call = self.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                              request_serializer=lambda m: m.SerializeToString(),
                                              response_deserializer=message("grpc.reflection.v1.ServerReflectionResponse").FromString)
            answers = call(iter([request(list_services=""), request(file_containing_symbol=ENVOY),
                                 request(file_containing_symbol="mete.v1.CheckRequest.subject"),
                                 request(file_by_filename="google/protobuf/duration.proto"),
                                 request(file_containing_symbol="mete.v1.Nothing"), request(all_extension_numbers_of_type="x")]))
            services, envoy, check, duration, none, extensions = answers
            names = [s.name for s in services.list_services_response.service]
            self.assertIn(ENVOY, names)
            self.assertIn(LIMITER, names)
            files = {f.name: f.SerializeToString() for f in FILES.file}
            sent = {type(FILES.file[0]).FromString(f).name: f for f in envoy.file_descriptor_response.file_descriptor_proto}
            self.assertEqual(sent, {name: files[name] for name in sent})
            self.assertIn("envoy/type/v3/ratelimit_unit.proto", sent)
            self.assertEqual(len(check.file_descriptor_response.file_descriptor_proto), 3)
            self.assertEqual(list(duration.file_descriptor_response.file_descriptor_proto), [files["google/protobuf/duration.proto"]])
            self.assertEqual((none.error_response.error_code, extensions.error_response.error_code), (5, 5))

    def test_stop_and_reload(self):
        with Daemon(CONFIG, ["listen.grpc=127.0.0.1:0"]) as daemon, open_channel(daemon.grpc) as channel:
            watch = Service(channel, "grpc.health.v1.Health").Watch()
            envoy = Service(channel, ENVOY)
            ask = lambda: envoy.ShouldRateLimit(domain="each", descriptors=[descriptor(("user", "a"))]).statuses[0]
            self.assertEqual(next(watch).status, 1)
            self.assertEqual(ask().limit_remaining, 9)
            changed = CONFIG.replace("{key: user, rule: slow}\n      - {key: small", "{key: who, rule: slow}\n      - {key: small")
            new = pathlib.Path(daemon.folder, "new.yaml")
            new.write_text(changed)
            done = mete("config", "diff", str(new), "--config", os.path.join(daemon.folder, "mete.yaml"))
            self.assertIn("tenant each: descriptors changed", done.stdout)
            pathlib.Path(daemon.folder, "mete.yaml").write_text(changed)
            self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
            self.assertFalse(ask().HasField("current_limit"))
            daemon.stop()
            self.assertEqual(status_of(lambda: watch), "UNAVAILABLE")

    def test_unix_socket(self):
        with Daemon(CONFIG) as outer:
            path = os.path.join(outer.folder, "grpc.sock")
            with Daemon(CONFIG, [f"listen.grpc={path}"]), open_channel("unix:" + path) as channel:
                self.assertEqual(Service(channel, LIMITER).Check(rule="slow", subject="x").remaining, 9)
            self.assertFalse(os.path.exists(path))

    def test_configurations(self):
        def tenant(rest, rules="[{name: r, algorithm: deny}, {name: j, algorithm: concurrency, limit: 1, lease: 1s}]"):
            return f"tenants:\n  - name: a\n    rules: {rules}\n    {rest}\n"

        for rest, message_ in (("descriptors: {}", "is a mapping; a list"), ("descriptors: [{rule: r}]", "key: is missing"),
                               ("descriptors: [{key: k, rule: x}]", "has no rule 'x'"), ("descriptors: [{key: k, rule: j}]", "needs a lease"),
                               ("descriptors: [{key: k, frob: x}]", "unknown"), ("descriptors: [{key: k}, {key: k}]", "twice"),
                               ("descriptors: [{key: k, value: 'a*'}, {key: k, value: 'a*', rule: r}]", "twice"),
                               ("descriptors: [{key: k, value: ''}]", "is empty"), ("envoy: {charge: some}", "all_or_nothing"),
                               ("descriptors: [{key: k, descriptors: [{value: x}]}]", "descriptors[0].descriptors[0].key")):
            with self.subTest(rest):
                path = pathlib.Path(self.daemon.folder, "bad.yaml")
                path.write_text(tenant(rest))
                self.assertIn(message_, refuse("--config", str(path)))
        path, again = (os.path.join(self.daemon.folder, name) for name in ("mete.yaml", "again.yaml"))
        shown = mete("config", "show", "--config", path).stdout
        pathlib.Path(again).write_text(shown)
        self.assertIn('value: "/a/*"\n        rule: "long"\n        shared: true\n', shown)
        self.assertEqual(mete("config", "show", "--config", again).stdout, shown)
        self.assertNotIn("descriptors", mete("config", "diff", again, "--config", path).stdout)


if __name__ == "__main__":
    unittest.main()
