#!/usr/bin/env python3
"""The paths of the HTTP door beside /check: leases, /echo, which headers there are, and how much one listener bears."""
import json
import pathlib
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import PATIENCE_S, Daemon, mete, parse_address
from lib.http_door import HttpDoor
from lib.http_raw import Raw, get, post, request

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 3}
      - {name: other, algorithm: token_bucket, rate: 1/h, burst: 2}
      - {name: jobs, algorithm: concurrency, limit: 3, lease: 60s}
      - {name: brief, algorithm: concurrency, limit: 1, lease: 10ms}
"""
X = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
IETF = {"ratelimit-policy", "ratelimit"}


class Case(HttpDoor):
    config = CONFIG


class Leases(Case):
    def ask(self, path, subject, status=200, rule="jobs", **more):
        answer = self.once(post(path, {"rule": rule, "subject": subject, **more}))
        self.assertEqual(answer.status, status, answer.body)
        return answer

    def test_life_of_a_lease(self):
        who = self.subject()
        taken = self.ask("/acquire", who, lease="00ff", cost=2).json()
        self.assertEqual((taken["lease"], taken["remaining"], taken["granted"]), ("00000000000000ff", 1, 2))
        self.assertLessEqual(taken["reset_after_us"], 60 * 10**6 + 2000)
        self.assertGreater(taken["reset_after_us"], 30 * 10**6)
        again = self.ask("/acquire", who, lease="FF", cost=2).json()  # the same one: nothing more is taken
        self.assertEqual((again["allowed"], again["remaining"]), (True, 1))
        denied = self.ask("/acquire", who, 429, lease="2", cost=2)
        self.assertEqual(denied.headers["content-type"], "application/problem+json")
        self.assertEqual((denied.json()["violated-policies"], denied.json()["lease"]), (["jobs"], "0000000000000002"))
        self.assertLessEqual(int(denied.headers["retry-after"]), 60)
        self.ask("/renew", who, lease="ff")
        self.assertEqual(self.once(post("/peek", {"rule": "jobs", "subject": who})).json()["remaining"], 1)
        self.assertEqual(self.ask("/release", who, lease="ff").json()["remaining"], 3)
        for path in ("/release", "/renew"):
            gone = self.ask(path, who, 404, lease="ff").json()
            self.assertEqual((gone["undecided"], gone["title"]), ("unknown_lease", "Not Found"))

    def test_drawn_leases_differ(self):
        who = self.subject()
        drawn = {self.ask("/acquire", who).json()["lease"] for _ in range(3)}
        self.assertEqual(len(drawn), 3)
        self.ask("/acquire", who, 429)
        for lease in drawn:
            self.assertRegex(lease, "^[0-9a-f]{16}$")
            self.ask("/release", who, lease=lease)

    def test_expired(self):
        """Its time is over: 410 until the slots are back, 404 afterwards; never a success."""
        who = self.subject()
        self.ask("/acquire", who, rule="brief", lease="1")
        while True:
            answer = self.once(post("/renew", {"rule": "brief", "subject": who, "lease": "1"}))
            if answer.status != 200:
                break
            with socket.socket() as pause:  # let its 10 ms go by
                pause.settimeout(0.03)
                pause.bind(("127.0.0.1", 0))
                pause.listen()
                self.assertRaises(TimeoutError, pause.accept)
        self.assertIn((answer.status, answer.json()["undecided"]), ((410, "expired_lease"), (404, "unknown_lease")))

    def test_same_lease_by_shell_and_udp(self):
        who = self.subject()
        server = "%s:%d" % self.daemon.address
        held = subprocess.run([*mete("version").args[:1], "acquire", "jobs", who, "--server", server, "--", "sh", "-c",
                               "exit 0"], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(held.returncode, 0, held.stderr)
        for _ in range(3):
            self.ask("/acquire", who)
        denied = mete("acquire", "jobs", who, "--server", server, "--", "true")
        self.assertNotEqual(denied.returncode, 0)

    def test_mistakes(self):
        good = {"rule": "jobs", "subject": "x", "lease": "1"}
        for path in ("/acquire", "/renew", "/release"):
            for change, word in (({"lease": 1}, "hex digits"), ({"lease": ""}, "hex digits"), ({"lease": "x"}, "hex digits"),
                                 ({"lease": "0x1"}, "hex digits"), ({"lease": "1" * 17}, "hex digits"),
                                 ({"lease": "-1"}, "hex digits"), ({"lease": None}, "hex digits"), ({"leese": "1"}, "leese: is no field"),
                                 ({"atomic": True}, "atomic: is no field"), ({"checks": []}, "checks: is no field"),
                                 ({"rule": "demo"}, "has no leases"), ({"cost": -1}, "cost")):
                answer = self.once(post(path, {**good, **change}))
                self.assertEqual(answer.status, 400, (path, change))
                self.assertIn(word, answer.json()["detail"])
            if path != "/acquire":
                answer = self.once(post(path, {"rule": "jobs", "subject": "x"}))
                self.assertEqual((answer.status, answer.json()["detail"]), (400, "lease: is missing"))
        answer = self.once(post("/check", {"rule": "demo", "subject": "x", "lease": "1"}))
        self.assertIn("lease: is no field", answer.json()["detail"])

    def test_headers_tell_of_slots(self):
        answer = self.ask("/acquire", self.subject())
        self.assertEqual(answer.headers["ratelimit-policy"], '"jobs";q=3;qu="concurrent-requests"')
        self.assertEqual(answer.headers["ratelimit"], '"jobs";r=2')
        self.assertNotIn("x-ratelimit-reset", answer.headers)


class Echo(Case):
    def test_fifteen_quick_calls(self):
        """With the configuration that is built in: burst 10, 2/s."""
        with Daemon(sets=["listen.http=127.0.0.1:0"]) as daemon, Raw(parse_address(daemon.http)) as raw:
            raw.send(get("/echo", "X-Client-Id: alice") * 15)
            answers = [raw.answer() for _ in range(15)]
            self.assertEqual([a.status for a in answers], [200] * 10 + [429] * 5)
            first, last = answers[0].headers, answers[-1].headers
            self.assertEqual((first["x-ratelimit-limit"], first["x-ratelimit-remaining"]), ("10", "9"))
            self.assertEqual(last["retry-after"], "1")
            self.assertEqual(raw.ask(get("/echo", "X-Client-Id: bob")).headers["x-ratelimit-remaining"], "9")

    def test_says_what_it_was_told(self):
        who = self.subject()
        for data, message in ((get("/echo?message=a%20b%00%22+c", f"X-Client-Id: {who}"), "a b\0\" c"),
                              (request("POST", "/echo?message=no", b'{"x": 1}\n', f"X-Client-Id: {who}"), '{"x": 1}\n'),
                              (get("/echo", f"X-Client-Id: {who}"), "")):
            answer = self.once(data)
            self.assertEqual((answer.status, answer.json()["client"], answer.json()["message"]), (200, who, message))
        denied = self.once(get("/echo", f"X-Client-Id: {who}"))
        self.assertEqual((denied.status, denied.headers["content-type"]), (429, "application/problem+json"))
        self.assertEqual(mete("check", "demo", who, "--cost", "0", "--server", "%s:%d" % self.daemon.address).stdout[:11],
                         "allowed  0 ")  # it is the bucket of that subject on every door

    def test_by_address(self):
        answer = self.once(get("/echo"))
        self.assertEqual(answer.json()["client"], "127.0.0.1")
        self.assertEqual(self.once(get("/echo", "X-Client-Id:")).json()["client"], "127.0.0.1")
        path = str(pathlib.Path(self.daemon.folder) / "web.sock")
        with Daemon(CONFIG, [f"listen.http={path}"]) as daemon:
            self.assertEqual(self.once(get("/echo"), path).json()["client"], "unix")
            self.assertEqual(daemon.rule("demo")["allowed"], 1)
        with Daemon(CONFIG, ["listen.http=[::1]:0"]) as daemon:
            plain = socket.create_connection(parse_address(daemon.http), PATIENCE_S)
            with Raw(None, plain) as raw:
                self.assertEqual(raw.ask(get("/echo")).json()["client"], "::/64")

    def test_mistakes(self):
        for data, status in ((get("/echo", "X-Client-Id: a", "X-Client-Id: b"), 400),
                             (get("/echo", "X-Client-Id: " + "a" * 256), 400), (get("/echo?message=%"), 400),
                             (get("/echo?message=" + "a" * 2049), 400), (request("POST", "/echo", b"a" * 2049), 413),
                             (request("PUT", "/echo", b"a"), 405), (get("/echo", "X-Api-Key: x"), 401)):
            self.assertEqual(self.once(data).status, status, data[:60])
        answer = self.once(request("POST", "/echo", b"\xff\x01" * 1024, "X-Client-Id: bytes"))
        self.assertEqual(answer.json()["message"], "\ufffd\x01" * 1024)

    def test_another_rule_or_none(self):
        for rule, statuses in (("other", [200, 200, 429]), ("none", [404]), ("nothing", [404]), ("jobs", [404])):
            with Daemon(CONFIG, ["listen.http=127.0.0.1:0", f"doors.echo={rule}"]) as daemon:
                address = parse_address(daemon.http)
                self.assertEqual([self.once(get("/echo"), address).status for _ in statuses], statuses, rule)


class Proxies(Case):
    """What gateways send that ask before they pass a request on: deploy/README.md."""

    def left(self, target, *headers, method="GET"):
        answer = self.once(request(method, target, None, *headers))
        self.assertEqual(answer.body, b"")
        return answer.status, answer.headers.get("x-ratelimit-remaining")

    def test_subject_in_a_header(self):
        for header, subject in (("X-Real-IP: 192.0.2.7", "192.0.2.7"), ("x-real-ip: 2001:db8:9:9:1::1", "2001:db8:9:9::/64"),
                                ("X-REAL-IP: 203.0.113.1, 192.0.2.8", "192.0.2.8"), ("X-Real-Ip: user-7", "user-7")):
            self.assertEqual(self.left("/check?rule=demo&by=X-Real-IP", header), (200, "2"))
            self.assertEqual(self.left(f"/check?rule=demo&subject={subject}"), (200, "1"), subject)

    def test_any_method_and_path(self):
        """Envoy asks by the method of the request, with its path behind the prefix."""
        who = "X-Forwarded-For: " + self.subject()
        for number, method in enumerate(("DELETE", "PATCH", "POST", "PUT")):
            status, left = self.left("/check?rule=demo&by=x-forwarded-for&path=/a/b?rule=other&x=%zz&&cost=9", who, method=method)
            self.assertEqual((status, left), (200, str(2 - number)) if number < 3 else (429, "0"))

    def test_mistakes(self):
        for target, headers in (("/check?rule=demo&by=X-Nobody", ()), ("/check?rule=demo&by=", ()),
                                ("/check?rule=demo&by=x&subject=y", ("X: a",)), ("/check?rule=demo&by=x", ("X: a", "X: b")),
                                ("/check?rule=demo&by=x", ("X:",)), ("/check?rule=demo&by=x", ("X: " + "a" * 1025,)),
                                ("/check?by=x", ("X: a",)), ("/check?path=&rule=demo&subject=x", ()),
                                ("/check?rule=demo&by=" + "a" * 65, ())):
            answer = self.once(get(target, *headers))
            self.assertEqual(answer.status, 400, target)
        answer = self.once(request("DELETE", "/check?rule=demo&subject=x", b"{}"))
        self.assertEqual(answer.status, 405)


class Headers(Case):
    def test_families(self):
        for words, there in (("all", X | IETF | {"retry-after"}), ("none", set()), ("[]", set()), ("x", X), ("[ietf]", IETF),
                             ("[x, retry_after]", X | {"retry-after"}), ("[ietf, x]", X | IETF)):
            with Daemon(CONFIG, ["listen.http=127.0.0.1:0", f"doors.headers={words}"]) as daemon, \
                    Raw(parse_address(daemon.http)) as raw:
                for cost, status in ((3, 200), (1, 429)):
                    answer = raw.ask(post("/check", {"rule": "demo", "subject": "x", "cost": cost}))
                    self.assertEqual(answer.status, status)
                    wanted = there - {"retry-after"} if status == 200 else there
                    self.assertEqual(set(answer.headers) & (X | IETF | {"retry-after"}), wanted, words)
                    self.assertIn("retry_after_us", answer.json())
                proxy = raw.ask(get("/check?rule=demo&subject=x"))
                self.assertEqual(set(proxy.headers) & (X | IETF | {"retry-after"}), there)

    def test_wrong_words(self):
        for words, wanted in (("[x, x]", "stands here twice"), ("y", "'y' is not one of x, ietf, retry_after"), ("[all]", "'all' is not one of")):
            done = mete("config", "show", "--set", f"doors.headers={words}")
            self.assertEqual(done.returncode, 2)
            self.assertIn(wanted, done.stderr)
        shown = mete("config", "show", "--set", "doors.headers=[ietf, x]", "--set", "doors.echo=fast").stdout
        self.assertIn("echo: fast, headers: [x, ietf]}", shown)

    def test_a_reload_changes_them(self):
        path = pathlib.Path(self.daemon.folder) / "headers.yaml"
        path.write_text(CONFIG)
        with Daemon(path=path, sets=["listen.http=127.0.0.1:0"]) as daemon, Raw(parse_address(daemon.http)) as raw:
            self.assertIn("ratelimit", raw.ask(get("/check?rule=demo&subject=x")).headers)
            path.write_text("doors: {headers: x, echo: none}\n" + CONFIG)
            said = mete("reload", "--admin", daemon.admin).stdout
            for line in ("doors.headers: ietf removed", "doors.headers: retry_after removed", "doors.echo: demo -> none"):
                self.assertIn(line, said)
            self.assertNotIn("ratelimit", raw.ask(get("/check?rule=demo&subject=x")).headers)
            self.assertEqual(raw.ask(get("/echo")).status, 404)


class Garbage(Case):
    def test_pipelined_behind_requests(self):
        """What came before it is answered, then comes one error and the close; nothing behind it is charged."""
        ask = post("/check", {"rule": "demo", "subject": "pipelined"})
        for garbage in (b"\0" * 100, b"\xff\xfe" * 50 + b"\r\n", b"}}}}\r\n\r\n", b"*1\r\n$4\r\nPING\r\n", b"\r\n\r\n\r\n",
                        b"GET  /healthz HTTP/1.1\r\n\r\n", b"get /healthz http/1.1\r\n\r\n"):
            before = self.once(get("/check?rule=demo&subject=pipelined&cost=0")).headers["x-ratelimit-remaining"]
            with self.subTest(garbage[:20]), Raw(self.address) as raw:
                raw.send(get("/healthz") * 3 + garbage + ask)
                self.assertEqual([raw.answer().status for _ in range(4)], [200, 200, 200, 400])
                self.assertTrue(raw.is_closed())
            after = self.once(get("/check?rule=demo&subject=pipelined&cost=0")).headers["x-ratelimit-remaining"]
            self.assertEqual(before, after)

    def test_body_without_a_length_is_the_next_request(self):
        """No Content-Length is no body: what follows is read as a request, and refused when it is none."""
        with Raw(self.address) as raw:
            raw.send(b"POST /check HTTP/1.1\r\nHost: h\r\n\r\n" + json.dumps({"rule": "demo", "subject": "x"}).encode() + b"\r\n")
            self.assertEqual([raw.answer().status, raw.answer().status], [400, 400])
            self.assertTrue(raw.is_closed())


if __name__ == "__main__":
    unittest.main()
