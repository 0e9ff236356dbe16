#!/usr/bin/env python3
"""What the doors answer seldom: a table that is full, a lease whose time is over, a table of rules too long for one answer,
messages that are none, certificates under gRPC, spans of each path of HTTP."""
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.certificates import Certificates
from lib.daemon import Daemon, parse_address
from lib.grpc_client import Service, grpc, open_channel, status_of
from lib.http_raw import Raw, get, post
from lib.resp import Error, Resp

LIMITER = "mete.v1.Limiter"
CONFIG = """
tenants:
  - name: default
    rules:
      - {name: api, algorithm: token_bucket, rate: 1/h, burst: 10}
      - {name: brief, algorithm: concurrency, limit: 1000, lease: 50ms}
"""
DOORS = ("listen.resp=127.0.0.1:0", "listen.http=127.0.0.1:0", "listen.grpc=127.0.0.1:0")


class Full(unittest.TestCase):
    def test_every_door_says_so(self):
        """With one group of entries and none to be had, a new key is denied, and the answer says why."""
        with Daemon(CONFIG, [*DOORS, "table.on_full=deny"], entries=16) as daemon, Resp(parse_address(daemon.resp)) as resp, \
                Raw(parse_address(daemon.http)) as http, open_channel(daemon.grpc) as channel:
            limiter = Service(channel, LIMITER)
            for number in range(64):
                resp.ask("METE.CHECK", "api", f"s{number}", 5)
            self.assertEqual(resp.ask("METE.CHECK", "api", "new"), [0, 0, 0, 0, b"table_full"])
            throttled = resp.ask("CL.THROTTLE", "new", 15, 30, 60)
            self.assertIsInstance(throttled, Error)
            self.assertIn("the table is full", throttled)
            self.assertEqual(http.ask(post("/check", {"rule": "api", "subject": "new"})).status, 503)
            self.assertEqual(limiter.Check(rule="api", subject="new").undecided, "table_full")


class Leases(unittest.TestCase):
    def test_expired(self):
        """Until its slot is back, a lease whose time is over is known as that; the sweep may be faster, so again."""
        with Daemon(CONFIG, DOORS) as daemon, daemon.client() as client, Resp(parse_address(daemon.resp)) as resp, \
                Raw(parse_address(daemon.http)) as http, open_channel(daemon.grpc) as channel:
            limiter = Service(channel, LIMITER)
            ways = {
                "resp": lambda lease: resp.ask("METE.RENEW", "brief", "s", lease)[4].decode(),
                "grpc": lambda lease: limiter.Renew(rule="brief", subject="s", lease=lease).undecided,
                "http": lambda lease: http.ask(post("/renew", {"rule": "brief", "subject": "s", "lease": f"{lease:x}"})).body.decode(),
            }
            lease = 0
            for name, renew in ways.items():
                for _ in range(50):
                    lease += 1
                    resp.ask("METE.ACQUIRE", "brief", "s", lease)
                    end_ms = client.hello().clock_ms + 50
                    while client.hello().clock_ms <= end_ms:
                        pass
                    said = renew(lease)
                    self.assertTrue("expired" in said or "unknown" in said, (name, said))
                    if "expired" in said:
                        break
                else:
                    self.fail(f"{name}: never seen")


class Rules(unittest.TestCase):
    def test_more_than_one_answer_holds(self):
        rules = "".join(f"      - {{name: {'r' * 50}{number:04}, algorithm: token_bucket, rate: 1/h}}\n" for number in range(1000))
        with Daemon("tenants:\n  - name: default\n    rules:\n" + rules, DOORS) as daemon, Raw(parse_address(daemon.http)) as http:
            answer = http.ask(get("/usage"))
            self.assertEqual(answer.status, 503)
            self.assertIn("more rules than one answer holds", answer.json()["detail"])
            self.assertEqual(http.ask(get("/healthz")).body, b"ok\n")


class Messages(unittest.TestCase):
    def test_subjects_and_nonsense(self):
        with Daemon(CONFIG, DOORS) as daemon, daemon.client() as client, open_channel(daemon.grpc) as channel:
            limiter = Service(channel, LIMITER)
            self.assertEqual(limiter.Check(rule="api", subject="a|b\\\\c", resource="d|", cost=3).remaining, 7)
            self.assertEqual(client.check("api", b"a\\|b\\\\\\\\c|d\\|", 0).remaining, 7)
            self.assertEqual(status_of(limiter.Check, rule="api", subject="s" * 5000, resource="r" * 3000), None)
            for method in ("Check", "Acquire", "Batch"):
                raw = channel.unary_unary(f"/{LIMITER}/{method}")
                self.assertEqual(status_of(raw, b"\xff\xff\xff"), "INTERNAL", method)
            checks = [{"rule": "api", "subject": "x", "tenant": tenant} for tenant in ("default", "other")]
            self.assertEqual(status_of(limiter.Batch, checks=checks), "INVALID_ARGUMENT")


class Certificate(unittest.TestCase):
    def test_under_grpc(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-corners-"))
        self.addCleanup(shutil.rmtree, folder, True)
        made = Certificates(folder)
        made.ca()
        made.leaf("server", "/CN=localhost", "DNS:localhost,IP:127.0.0.1")
        made.leaf("ci", "/CN=ci.acme", "URI:spiffe://acme/ci")
        made.leaf("unknown", "/CN=x.example")
        path = folder / "mete.yaml"
        path.write_text("tls: {certificate: server.pem, key: server.key, client_ca: ca.pem}\n" + CONFIG +
                        "  - name: acme\n    api_keys: [{name: ci, certificate: \"uri:spiffe://acme/ci\", may: [check]}]\n"
                        "    rules: [{name: api, algorithm: token_bucket, rate: 1/h, burst: 7}]\n")

        def channel(name):
            files = [folder / f"{name}.key", folder / f"{name}.pem"] if name else []
            credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), *(file.read_bytes() for file in files))
            return grpc.secure_channel(daemon.grpc_tls, credentials, [("grpc.ssl_target_name_override", "localhost")])

        with Daemon(sets=["listen.grpc_tls=127.0.0.1:0"], path=path) as daemon:
            with channel("ci") as ours, channel("unknown") as strange:
                limiter = Service(ours, LIMITER)
                self.assertEqual(limiter.Check(rule="api", subject="s").limit, 7)
                self.assertEqual(limiter.Check(rule="api", subject="s", tenant="acme").remaining, 5)
                self.assertEqual(status_of(limiter.Check, rule="api", subject="s", tenant="default"), "PERMISSION_DENIED")
                self.assertEqual(status_of(Service(strange, LIMITER).Check, rule="api", subject="s"), "UNAUTHENTICATED")


if __name__ == "__main__":
    unittest.main()
