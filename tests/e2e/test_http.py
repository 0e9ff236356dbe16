#!/usr/bin/env python3
"""The HTTP door: the same buckets as UDP, one charge per request, what proxies need, who may ask what, and bad input
of every kind, each with one clear answer and no harm to others."""
import hashlib
import http.client
import os
import pathlib
import resource
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import Daemon, parse_address, refuse
from lib.http_door import HttpDoor
from lib.http_raw import Raw, get, post, request


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


RULES = """
      - {name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}
      - {name: quick, algorithm: token_bucket, rate: 2/s, burst: 10}
      - {name: window, algorithm: fixed_window, limit: 5/365d}
      - {name: queue, algorithm: leaky_bucket, mode: queue, rate: 1/h, burst: 2}
      - {name: shadow, algorithm: token_bucket, rate: 1/h, burst: 1, shadow: true}
      - {name: open, algorithm: unlimited}
      - {name: shut, algorithm: deny}
      - {name: jobs, algorithm: concurrency, limit: 3, lease: 5s}
      - {name: plan, algorithm: calendar, limit: 3, per: year}
"""
CONFIG = f"""
tenants:
  - name: default
    rules:{RULES}
  - name: acme
    api_keys:
      - {{name: ci, sha256: "{sha256('ci-key')}", may: [check]}}
      - {{name: ops, sha256: "{sha256('ops-key')}", may: [check, manage]}}
      - {{name: gone, sha256: "{sha256('manage-key')}", may: [manage]}}
    rules:
      - {{name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}}
      - {{name: api, algorithm: token_bucket, rate: 1/h, burst: 10,
         overrides: [{{prefix: "bot:", rate: 1/h, burst: 3}}, {{subject: "vip", rate: 1/h, burst: 20}}]}}
  - name: limited
    checks: {{rate: 1/h, burst: 5}}
    api_keys: [{{name: ci, sha256: "{sha256('limited-key')}", may: [check]}}]
    rules: [{{name: slow, algorithm: token_bucket, rate: 1/h, burst: 100}}]
"""


class Http(HttpDoor):
    config = CONFIG

    def check(self, rule, subject, cost=1, *headers, path="/check"):
        return self.once(post(path, {"rule": rule, "subject": subject, "cost": cost}, *headers))

    def test_same_bucket_by_udp_and_http(self):
        who = self.subject()
        with self.daemon.client() as client:
            self.assertEqual(client.check("slow", who.encode(), 4).remaining, 6)
            self.assertEqual(self.check("slow", who, 3).json()["remaining"], 3)
            self.assertEqual(client.check("slow", who.encode(), 2).remaining, 1)
            self.assertEqual(self.check("slow", who, 2).status, 429)
            self.assertEqual(self.check("slow", who, 2, path="/refund").json()["remaining"], 3)
            self.assertEqual(client.check("slow", who.encode(), 3).remaining, 0)
            self.assertEqual(self.check("slow", who, path="/reset").json()["remaining"], 10)
            self.assertEqual(client.check("slow", who.encode(), 1).remaining, 9)
            self.assertEqual(self.check("slow", who, 5, path="/peek").json()["remaining"], 9)
            self.assertEqual(client.check("slow", who.encode(), 1).remaining, 8)

    def test_same_bucket_by_all_doors(self):
        with Daemon(CONFIG, ["listen.http=127.0.0.1:0", "listen.resp=127.0.0.1:0"]) as daemon, daemon.client() as client, \
                Raw(parse_address(daemon.http)) as web, Raw(parse_address(daemon.resp)) as redis:
            for left in (9, 6, 3, 0):
                self.assertEqual(client.check("slow", b"all").remaining, left)
                if left == 0:
                    break
                self.assertEqual(web.ask(post("/check", {"rule": "slow", "subject": "all"})).json()["remaining"], left - 1)
                redis.send(b"METE.CHECK slow all\r\n")
                self.assertTrue(redis.socket.recv(100).startswith(b"*5\r\n:1\r\n:%d\r\n" % (left - 2)))
            self.assertEqual(web.ask(get("/check?rule=slow&subject=all")).status, 429)
            rule = daemon.rule("slow")
            self.assertEqual((rule["allowed"], rule["denied"], rule["units"]), (10, 1, 10))

    def test_subjects_of_any_bytes(self):
        with self.daemon.client() as client:
            for subject, query, body in ((b"a b", "a+b", "a b"), (b"\xc3\xa9", "%C3%A9", "\u00e9"), (b"", "", ""),
                                         (b"a\0b", "a%00b", "a\0b"), (b"50%", "50%25", "50%")):
                self.assertEqual(client.check("slow", subject).remaining, 9)
                self.assertEqual(self.once(get(f"/check?rule=slow&subject={query}")).headers["x-ratelimit-remaining"], "8")
                self.assertEqual(self.check("slow", body).json()["remaining"], 7)
            self.assertEqual(client.check("slow", b"\xff").remaining, 9)
            self.assertEqual(self.once(get("/check?rule=slow&subject=%fF")).headers["x-ratelimit-remaining"], "8")

    def test_fifteen_quick_calls(self):
        for make in (lambda who: post("/check", {"rule": "quick", "subject": who}),
                     lambda who: get(f"/check?rule=quick&subject={who}")):
            with self.subTest(), Raw(self.address) as raw:
                raw.send(make(self.subject()) * 15)
                answers = [raw.answer() for _ in range(15)]
                self.assertEqual([a.status for a in answers], [200] * 10 + [429] * 5)
                first, last = answers[0].headers, answers[-1].headers
                self.assertEqual((first["x-ratelimit-limit"], first["x-ratelimit-remaining"]), ("10", "9"))
                self.assertEqual(first["ratelimit-policy"], '"quick";q=10;w=5')
                self.assertEqual(first["ratelimit"], '"quick";r=9;t=1')
                self.assertNotIn("retry-after", first)
                self.assertEqual(last["retry-after"], "1")
                self.assertEqual(last["x-ratelimit-remaining"], "0")
                self.assertEqual(last["x-ratelimit-reset"], "5")

    def test_waits_are_never_early(self):
        who = self.subject()
        self.check("slow", who, 10)
        denied = self.check("slow", who, 3)
        wait_us = denied.json()["retry_after_us"]
        wait_s = int(denied.headers["retry-after"])
        self.assertGreaterEqual(wait_s * 10**6, wait_us)
        self.assertLess((wait_s - 1) * 10**6, wait_us)
        self.assertLessEqual(wait_us, 3 * 3600 * 10**6)

    def test_kinds_of_rules(self):
        who = self.subject()
        window = self.check("window", who)
        self.assertEqual(window.headers["ratelimit-policy"], f'"window";q=5;w={365 * 86400}')
        self.assertEqual(self.check("plan", who).headers["ratelimit-policy"], '"plan";q=3')
        self.assertEqual(self.check("queue", who).json()["delay_us"], 0)
        queued = self.check("queue", who)
        self.assertEqual(queued.status, 200)
        self.assertGreater(queued.json()["delay_us"], 3500 * 10**6)
        self.assertNotIn("retry-after", queued.headers)
        self.assertEqual(self.check("shadow", who).status, 200)
        shadow = self.check("shadow", who)
        self.assertEqual((shadow.status, shadow.json()["would_deny"]), (200, True))
        unlimited = self.check("open", who)
        self.assertEqual(unlimited.status, 200)
        self.assertNotIn("ratelimit", unlimited.headers)
        shut = self.check("shut", who)
        self.assertEqual((shut.status, shut.json()["retry_after_us"]), (429, None))
        self.assertNotIn("retry-after", shut.headers)
        self.assertEqual(self.check("jobs", who, path="/peek").json()["remaining"], 3)
        for path in ("/check", "/refund", "/reset"):
            refused = self.check("jobs", who, path=path)
            self.assertEqual(refused.status, 400)
            self.assertIn("is held by leases", refused.json()["detail"])
        never = self.check("slow", who, 11)
        self.assertEqual((never.status, never.json()["retry_after_us"]), (429, None))
        self.assertNotIn("retry-after", never.headers)

    def test_denial_is_a_problem(self):
        who = self.subject()
        self.check("slow", who, 10)
        denied = self.check("slow", who)
        self.assertEqual(denied.headers["content-type"], "application/problem+json")
        body = denied.json()
        self.assertEqual((body["status"], body["violated-policies"], body["allowed"]), (429, ["slow"], False))

    def test_proxies(self):
        target = f"/check?rule=slow&subject={self.subject()}&cost=10"
        allowed = self.once(get(target))
        self.assertEqual((allowed.status, allowed.body), (200, b""))
        denied = self.once(get(target))
        self.assertEqual((denied.status, denied.body), (429, b""))
        denied = self.once(get(target + "&deny=403"))
        self.assertEqual((denied.status, denied.body), (403, b""))
        self.assertIn("retry-after", denied.headers)
        head = self.once(request("HEAD", target, None))
        self.assertEqual(head.status, 429)

    def test_lists(self):
        a, b = self.subject(), self.subject()
        checks = [{"rule": "slow", "subject": a, "cost": 4}, {"rule": "slow", "subject": b, "cost": 11}]
        answer = self.once(post("/check", {"checks": checks, "atomic": True}))
        self.assertEqual(answer.status, 429)
        self.assertEqual([r["allowed"] for r in answer.json()["results"]], [True, False])
        self.assertEqual(self.check("slow", a, path="/peek").json()["remaining"], 10)
        answer = self.once(post("/check", {"checks": checks}))
        self.assertEqual(answer.status, 429)
        self.assertEqual([r["remaining"] for r in answer.json()["results"]], [6, 10])
        answer = self.once(post("/check", {"checks": [{"rule": "slow", "subject": a}] * 6, "atomic": True}))
        self.assertEqual((answer.status, answer.headers["x-ratelimit-remaining"]), (200, "0"))
        many = self.once(post("/check", {"checks": [{"rule": "slow", "subject": b}] * 64}))
        self.assertEqual(sum(r["allowed"] for r in many.json()["results"]), 10)

    def test_standard_library(self):
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        who = self.subject()
        for left in (9, 8, 7):
            connection.request("POST", "/check", f'{{"rule":"slow","subject":"{who}"}}', {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.assertEqual((answer.status, answer.getheader("X-RateLimit-Remaining")), (200, str(left)))
        connection.close()

    def test_keep_alive_and_close(self):
        with Raw(self.address) as raw:
            for _ in range(3):
                self.assertEqual(raw.ask(get("/healthz")).body, b"ok\n")
            self.assertEqual(raw.ask(get("/readyz", "Connection: close")).headers["connection"], "close")
            self.assertTrue(raw.is_closed())
        with Raw(self.address) as raw:
            self.assertEqual(raw.ask(b"GET /healthz HTTP/1.0\r\n\r\n").status, 200)
            self.assertTrue(raw.is_closed())

    def test_byte_by_byte(self):
        with Raw(self.address) as raw:
            for byte in post("/check", {"rule": "slow", "subject": self.subject()}):
                raw.send(bytes([byte]))
            self.assertEqual(raw.answer().json()["remaining"], 9)

    def test_pipeline_larger_than_the_output(self):
        checks = {"checks": [{"rule": "slow", "subject": "many"}] * 64}
        with Raw(self.address) as raw:
            raw.send(post("/check", checks) * 20)
            self.assertEqual({len(raw.answer().json()["results"]) for _ in range(20)}, {64})

    # ---- who may ask what ----

    def status(self, path, *headers, method="POST", rule="slow"):
        body = {"rule": rule, "subject": "x"} if method == "POST" else None
        return self.once(request(method, path, body, *headers)).status

    def test_rights(self):
        ci, ops, gone = "Authorization: Bearer ci-key", "X-Api-Key: ops-key", "authorization: bearer manage-key"
        self.assertEqual([self.status("/check", key, rule="api") for key in (ci, ops, gone)], [200, 200, 403])
        for path in ("/refund", "/reset"):
            self.assertEqual([self.status(path, key) for key in (ci, ops, gone)], [403, 200, 200])
        self.assertEqual([self.status("/usage", key, method="GET") for key in (ci, ops, gone)], [403, 200, 200])
        unknown = self.once(post("/check", {"rule": "slow", "subject": "x"}, "X-Api-Key: nobody"))
        self.assertEqual((unknown.status, unknown.headers["www-authenticate"]), (401, "Bearer"))
        for key in ("X-Api-Key: ", "X-Api-Key: CI-KEY", f"X-Api-Key: {sha256('ci-key')}"):
            self.assertEqual(self.status("/check", key), 401, key)
        for keys in (("Authorization: Basic Y2k6a2V5",), ("X-Api-Key: ci-key", ci), (ci, ci), ("Authorization: Bearer",)):
            self.assertEqual(self.status("/check", *keys), 400, keys)

    def test_keys_of_many_tenants(self):
        """Each finds its own tenant and no other, and the last as fast as the first: by an index."""
        tenants = "".join(f"  - name: t{n}\n    api_keys:\n" + "".join(
            f"      - {{name: k{k}, sha256: \"{sha256(f'key-{n}-{k}')}\", may: [{'check' if k else 'manage'}]}}\n" for k in (0, 1))
            + "    rules: [{name: r, algorithm: token_bucket, rate: 1/h, burst: 5}]\n" for n in range(300))
        with Daemon(f"tenants:\n{tenants}", ["listen.http=127.0.0.1:0"]) as daemon, Raw(parse_address(daemon.http)) as raw:
            for number in range(300):
                ask = post("/check", {"rule": "r", "subject": "x"}, f"X-Api-Key: key-{number}-1")
                self.assertEqual(raw.ask(ask).json()["remaining"], 4)
                usage = raw.ask(get("/usage", f"X-Api-Key: key-{number}-0")).json()
                self.assertEqual((usage["tenant"], usage["rules"][0]["allowed"]), (f"t{number}", 1))
                self.assertEqual(raw.ask(get("/usage", f"X-Api-Key: key-{number}-1")).status, 403)
            self.assertEqual(raw.ask(get("/usage", "X-Api-Key: key-300-0")).status, 401)

    def test_key_chooses_the_tenant(self):
        who = self.subject()
        self.assertEqual(self.check("slow", who).json()["remaining"], 9)
        self.assertEqual(self.check("slow", who, 1, "X-Api-Key: ci-key").json()["remaining"], 9)
        self.assertEqual(self.check("quick", who, 1, "X-Api-Key: ci-key").status, 404)

    def test_overrides_show_no_subject(self):
        for who, burst in (("bot:" + self.subject(), "3"), ("vip", "20"), (self.subject(), "10")):
            answer = self.check("api", who, 0, "X-Api-Key: ci-key")
            self.assertEqual(answer.headers["x-ratelimit-limit"], burst)
            self.assertTrue(answer.headers["ratelimit"].startswith('"api";'))

    def test_tenants_limit_on_checks(self):
        answers = [self.check("slow", "x", 1, "X-Api-Key: limited-key") for _ in range(7)]
        self.assertEqual([a.status for a in answers], [200] * 5 + [429] * 2)
        self.assertIn("more checks than it may", answers[-1].json()["detail"])

    def test_default_with_keys_needs_one(self):
        config = CONFIG.replace("  - name: default\n", "  - name: default\n    api_keys: "
                                f"[{{name: a, sha256: \"{sha256('own')}\", may: [check]}}]\n")
        with Daemon(config, ["listen.http=127.0.0.1:0"]) as daemon, Raw(parse_address(daemon.http)) as raw:
            self.assertEqual(raw.ask(post("/check", {"rule": "slow", "subject": "x"})).status, 401)
            self.assertEqual(raw.ask(post("/check", {"rule": "slow", "subject": "x"}, "X-Api-Key: own")).status, 200)
            self.assertEqual(raw.ask(get("/healthz")).status, 200)

    def test_unix_socket(self):
        folder = self.daemon.folder
        path = os.path.join(folder, "http.sock")
        with Daemon(CONFIG, [f"listen.http={path}"]) as daemon:
            with Raw(path) as raw:
                self.assertEqual(raw.ask(post("/check", {"rule": "slow", "subject": "x"})).status, 200)
            self.assertEqual(daemon.rule("slow")["allowed"], 1)
        self.assertFalse(os.path.exists(path))

    def test_where_to_listen(self):
        taken = self.daemon.http
        for sets, message in ((("listen.http=localhost",), "is not ADDRESS:PORT"), (("listen.http=/run/x", "listen.resp=/run/x"), "they differ"),
                              (("listen.http=/run/x", "listen.metrics=/run/x"), "they differ"),
                              (("listen.http=" + taken,), f"listen.http: {taken}: another program listens there"),
                              (("listen.metrics=" + taken,), f"listen.metrics: {taken}: another program listens there")):
            arguments = [word for one in ("listen.udp=127.0.0.1:0", "listen.admin=none", *sets) for word in ("--set", one)]
            self.assertIn(message, refuse(*arguments))

    def test_busy_path_is_left_alone(self):
        path = os.path.join(self.daemon.folder, "busy.sock")
        with Daemon(CONFIG, [f"listen.http={path}"]):
            self.assertIn("another program", refuse("--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none",
                                                    "--set", f"listen.http={path}"))
            with Raw(path) as raw:
                self.assertEqual(raw.ask(get("/healthz")).status, 200)

    def test_usage(self):
        who = self.subject()
        self.check("api", who, 4, "X-Api-Key: ops-key")
        self.check("api", who, 7, "X-Api-Key: ops-key")
        usage = self.once(get("/usage", "X-Api-Key: ops-key")).json()
        self.assertEqual(usage["tenant"], "acme")
        rules = {rule["rule"]: rule for rule in usage["rules"]}
        self.assertEqual(set(rules), {"slow", "api"})
        stats = self.daemon.rule("api", "acme")
        self.assertEqual({k: rules["api"][k] for k in ("allowed", "denied", "units")},
                         {k: stats[k] + sum(o[k] for o in stats["overrides"]) for k in ("allowed", "denied", "units")})

    # ---- bad input ----

    def test_bad_bodies(self):
        good = '"rule":"slow","subject":"x"'
        for body, word in (
                (b"", "empty"), (b"{", "no JSON"), (b"[]", "object"), (b"7", "no JSON"), (b'{"rule":"slow"}', "subject: is missing"),
                (b'{"subject":"x"}', "rule: is missing"), (b'{"rule":1,"subject":"x"}', "rule: a string"),
                (b'{"rule":"slow","subject":["x"]}', "subject: a string"), (b"{%s,\"cots\":1}" % good.encode(), "cots: is no field"),
                (b'{%s,"cost":-1}' % good.encode(), "cost: a whole number"), (b'{%s,"cost":1.5}' % good.encode(), "cost"),
                (b'{%s,"cost":4294967296}' % good.encode(), "cost"), (b'{%s,"cost":1e400}' % good.encode(), "no JSON"),
                (b'{%s,"cost":99999999999999999999}' % good.encode(), "no JSON"), (b'{%s,"cost":NaN}' % good.encode(), "no JSON"),
                (b'{%s,"cost":"1"}' % good.encode(), "cost"), (b'{%s,"cost":null}' % good.encode(), "cost"),
                (b'{%s,"rule":"slow"}' % good.encode(), "no JSON"), (b'{"rule":"slow","subject":"\xff"}', "no JSON"),
                (b'{%s} x' % good.encode(), "no JSON"), (b"[" * 4000, "no JSON"), (b'{"a":' * 1600, "no JSON"),
                (b'{"checks":[]}', "1 to 64"), (b'{"checks":{}}', "1 to 64"), (b'{"checks":[1]}', "checks[0]"),
                (b'{"checks":[%s]}' % b",".join([b'{"rule":"slow","subject":"x"}'] * 65), "1 to 64"),
                (b'{"checks":[{%s,"atomic":true}]}' % good.encode(), "checks[0].atomic: is no field"),
                (b'{"checks":[{%s}],"atomic":1}' % good.encode(), "atomic: true or false"),
                (b'{"checks":[{%s}],"cost":1}' % good.encode(), "cost: is no field"),
                (b'{"rule":"slow","subject":"%s"}' % (b"x" * 1025), "at most 1024"),
                (b'{"rule":"%s","subject":"x"}' % (b"x" * 65), "at most 64")):
            with self.subTest(body=body[:60]), Raw(self.address) as raw:
                answer = raw.ask(post("/check", body))
                self.assertEqual(answer.status, 400)
                self.assertIn(word, answer.json()["detail"])
                self.assertEqual(raw.ask(get("/healthz")).status, 200)  # it was a whole request: the next is served
        with self.daemon.client() as client:
            self.assertEqual(client.check("slow", b"x", 0).remaining, self.check("slow", "x", 0).json()["remaining"])

    def test_bad_queries(self):
        for query, word in (("", "rule: is missing"), ("rule=slow", "subject: is missing"), ("rule=slow&subject=x&cots=1", "cots"),
                            ("rule=slow&subject=x&subject=y", "subject: stands twice"), ("rule=slow&subject=%", "subject"),
                            ("rule=slow&subject=%zz", "subject"), ("rule=slow&subject=x&cost=-1", "cost"),
                            ("rule=slow&subject=x&cost=", "cost"), ("rule=slow&subject=x&cost=1e3", "cost"),
                            ("rule=slow&subject=x&cost=4294967296", "cost"), ("rule=slow&subject=x&deny=500", "deny"),
                            ("rule=slow&subject=" + "x" * 1025, "subject")):
            with self.subTest(query=query[:60]):
                answer = self.once(get("/check?" + query))
                self.assertEqual(answer.status, 400)
                self.assertIn(word, answer.json()["detail"])

    def test_paths_and_methods(self):
        self.assertEqual(self.once(get("/nothing")).status, 404)
        self.assertEqual(self.once(get("/metrics")).status, 404)  # never on a tenants' door
        self.assertEqual(self.check("nothing", "x").status, 404)
        for method, path, allow in (("DELETE", "/check", "GET, HEAD, POST"), ("GET", "/peek", "POST"), ("PUT", "/reset", "POST"),
                                    ("POST", "/usage", "GET, HEAD"), ("POST", "/healthz", "GET, HEAD")):
            answer = self.once(request(method, path, b""))
            self.assertEqual((answer.status, answer.headers["allow"]), (405, allow), path)
        self.assertEqual(self.once(post("/peek", {"checks": [{"rule": "slow", "subject": "x"}], "atomic": True})).status, 400)

    def test_refused_requests_close(self):
        smuggled = post("/check", {"rule": "slow", "subject": "smuggled"})
        for data, status in (
                (b"garbage\r\n\r\n", 400), (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400),
                (b"GET / HTTP/1.1\nHost: h\n\n", 400), (b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
                (b"POST /check HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
                (b"POST /check HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
                (b"POST /check HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", 400),
                (b"GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
                (b"POST /check HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n", 413),
                (b"GET /" + b"a" * 9000, 414)):
            with self.subTest(data=data[:60]), Raw(self.address) as raw:
                raw.send(data + smuggled)
                answer = raw.answer()
                self.assertEqual((answer.status, answer.headers["connection"]), (status, "close"))
                self.assertEqual(answer.json()["status"], status)
                self.assertTrue(raw.is_closed())
        self.assertEqual(self.check("slow", "smuggled", 0).json()["remaining"], 10)

    def test_ten_megabytes_of_headers(self):
        with Raw(self.address) as raw:
            try:
                raw.send(b"GET /healthz HTTP/1.1\r\nHost: h\r\n" + b"X: %s\r\n" % (b"a" * 1000) * 10000)
            except (BrokenPipeError, ConnectionResetError):
                pass  # told and closed before all was sent
            try:
                self.assertEqual(raw.answer().status, 431)
            except ConnectionResetError:
                pass  # the system may forget the answer when bytes come after the end
        self.assertEqual(self.once(get("/healthz")).status, 200)

    def test_half_a_request_and_silence(self):
        with Daemon(CONFIG, ["listen.http=127.0.0.1:0", "doors.idle=200ms"]) as daemon:
            address = parse_address(daemon.http)
            for half in (b"GET /hea", b"POST /check HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n{"):
                with Raw(address) as raw:
                    raw.send(half)
                    self.assertEqual(raw.answer().status, 408)
                    self.assertTrue(raw.is_closed())
            with Raw(address) as raw:
                self.assertTrue(raw.is_closed())

    def test_many_idle_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
        with Daemon(CONFIG, ["listen.http=127.0.0.1:0", "doors.connections=1001"]) as daemon:
            address = parse_address(daemon.http)
            idle = [Raw(address) for _ in range(1000)]
            with Raw(address) as raw:
                self.assertEqual(raw.ask(get("/healthz")).status, 200)
                with Raw(address) as one_more:
                    self.assertEqual(one_more.answer().status, 503)
                    self.assertTrue(one_more.is_closed())
                self.assertEqual(raw.ask(get("/healthz")).status, 200)
            for raw in idle:
                raw.socket.close()

    def test_expect(self):
        with Raw(self.address) as raw:
            raw.send(post("/check", b"{}", "Expect: 100-continue")[:-2])
            self.assertEqual(raw.answer().status, 417)
        self.assertEqual(self.once(post("/check", {"rule": "slow", "subject": self.subject()}, "Expect: 100-continue")).status, 200)


if __name__ == "__main__":
    unittest.main()
