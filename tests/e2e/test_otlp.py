#!/usr/bin/env python3
"""Traces and metrics by OTLP/HTTP, taken by a small receiver that reads them strictly; a collector that is down, slow or
refuses; and what is never sent."""
import http.client
import http.server
import json
import pathlib
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import peers
from lib.daemon import PATIENCE_S, Daemon, mete, parse_address
from lib.grpc_client import Service, descriptor, open_channel

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: slow, algorithm: token_bucket, rate: 1/h, burst: 10}
      - {name: jobs, algorithm: concurrency, limit: 2, lease: 1h}
  - name: edge
    rules: [{name: users, algorithm: token_bucket, rate: 1/h, burst: 2, overrides: [{subject: vip, rate: 1/h, burst: 9}]}]
    descriptors: [{key: user, rule: users}]
"""
ENVOY = "envoy.service.ratelimit.v3.RateLimitService"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Receiver:
    """Takes what is POSTed; each body is checked by the protobufs' JSON mapping as far as we use it."""

    def __init__(self, port=0, status=200):
        received = self.received = queue.Queue()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.put((self.path, self.headers["Content-Type"], json.loads(body)))
                self.send_response(outer.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.status = status
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def next(self, path):
        while True:
            got = self.received.get(timeout=PATIENCE_S)
            assert got[1] == "application/json"
            if got[0] == path:
                return got[2]

    def spans(self, count):
        found = []
        while len(found) < count:
            for resource in self.next("/v1/traces")["resourceSpans"]:
                assert attributes(resource["resource"])["service.name"] == "mete"
                for scope in resource["scopeSpans"]:
                    found += scope["spans"]
        return found


def attributes(holder):
    found = {}
    for item in holder["attributes"]:
        (kind, value), = item["value"].items()
        assert item["key"] not in found
        found[item["key"]] = {"stringValue": str, "intValue": int, "boolValue": bool}[kind](value)
    return found


def points(body, name):
    metric, = [m for resource in body["resourceMetrics"] for scope in resource["scopeMetrics"] for m in scope["metrics"] if m["name"] == name]
    assert metric["sum"]["aggregationTemporality"] == 2 and metric["sum"]["isMonotonic"] is True
    for point in metric["sum"]["dataPoints"]:
        assert int(point["startTimeUnixNano"]) <= int(point["timeUnixNano"])
    return {tuple(attributes(p).values()): int(p["asInt"]) for p in metric["sum"]["dataPoints"]}


def daemon(port, *sets):
    return Daemon(CONFIG, ["listen.grpc=127.0.0.1:0", f"otlp.endpoint=127.0.0.1:{port}", *sets])


class Otlp(unittest.TestCase):
    def test_spans(self):
        with Receiver() as receiver, daemon(receiver.port, "otlp.sample_every=0") as server, open_channel(server.grpc) as channel:
            envoy, limiter = Service(channel, ENVOY), Service(channel, "mete.v1.Limiter")
            before = time.time_ns()
            context = lambda flags: [("traceparent", f"00-{TRACE}-{PARENT}-{flags}")]
            for metadata in (context("01"), None, context("00"), [("traceparent", "00-x")]):  # only the first is asked for
                envoy.ShouldRateLimit(domain="edge", descriptors=[descriptor(("user", "vip"))], metadata=metadata)
            envoy.ShouldRateLimit(domain="edge", descriptors=[descriptor(("user", "x"), hits=3)], metadata=context("01"))
            limiter.Check(rule="slow", subject="s", cost=4, metadata=context("03"))
            spans = receiver.spans(3)
            self.assertEqual(len(spans), 3)
            for span in spans:
                self.assertEqual((span["traceId"], span["parentSpanId"], span["kind"], span["status"]), (TRACE, PARENT, 2, {}))
                self.assertEqual(len(span["spanId"]), 16)
                self.assertTrue(before - 10**9 < int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) < time.time_ns() + 10**9)
            self.assertEqual(len({span["spanId"] for span in spans}), 3)
            self.assertEqual([span["name"] for span in spans], [ENVOY + "/ShouldRateLimit"] * 2 + ["mete.v1.Limiter/Check"])
            self.assertEqual(attributes(spans[0]), {
                "rpc.system": "grpc", "rpc.service": ENVOY, "rpc.method": "ShouldRateLimit", "rpc.grpc.status_code": 0, "mete.tenant": "edge",
                "mete.rule": "users", "mete.checks": 1, "mete.cost": 1, "mete.remaining": 8, "mete.allowed": True})
            self.assertEqual((attributes(spans[1])["mete.allowed"], attributes(spans[1])["mete.remaining"]), (False, 2))
            self.assertEqual((attributes(spans[2])["mete.cost"], attributes(spans[2])["mete.remaining"]), (4, 6))

    def test_each_path_of_http_has_its_name(self):
        with Receiver() as receiver, daemon(receiver.port, "otlp.sample_every=0", "listen.http=127.0.0.1:0") as server:
            connection = http.client.HTTPConnection(*parse_address(server.http), timeout=PATIENCE_S)
            asked = [("/check", "slow"), ("/peek", "slow"), ("/refund", "slow"), ("/reset", "slow"), ("/acquire", "jobs"),
                     ("/renew", "jobs"), ("/release", "jobs")]
            for path, rule in asked:
                body = {"rule": rule, "subject": "s", **({"lease": "7"} if rule == "jobs" else {})}
                connection.request("POST", path, json.dumps(body), {"traceparent": f"00-{TRACE}-{PARENT}-01"})
                answer = connection.getresponse()
                self.assertEqual((answer.status, answer.read()[:1]), (200, b"{"), path)
            connection.close()
            self.assertEqual([span["name"] for span in receiver.spans(len(asked))], [f"POST {path}" for path, _ in asked])

    def test_spans_of_http(self):
        with Receiver() as receiver, daemon(receiver.port, "otlp.sample_every=0", "listen.http=127.0.0.1:0") as server:
            connection = http.client.HTTPConnection(*parse_address(server.http), timeout=PATIENCE_S)
            for method, path, body, flags in (("POST", "/check", b'{"rule": "slow", "subject": "s", "cost": 11}', "01"), ("GET", "/check?rule=slow&subject=s", None, "00"),
                                              ("GET", "/check?rule=slow&subject=s", None, "01"), ("POST", "/reset", b'{"rule": "slow", "subject": "s"}', "01")):
                connection.request(method, path, body, {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"})
                connection.getresponse().read()
            connection.close()
            spans = receiver.spans(3)
            self.assertEqual([span["name"] for span in spans], ["POST /check", "GET /check", "POST /reset"])
            self.assertEqual({(span["traceId"], span["parentSpanId"]) for span in spans}, {(TRACE, PARENT)})
            self.assertEqual(attributes(spans[0]), {
                "http.request.method": "POST", "http.route": "/check", "http.response.status_code": 429, "mete.tenant": "default",
                "mete.rule": "slow", "mete.checks": 1, "mete.cost": 11, "mete.remaining": 10, "mete.allowed": False})
            self.assertEqual(attributes(spans[1])["http.response.status_code"], 200)

    def test_sampling(self):
        with Receiver() as receiver, daemon(receiver.port, "otlp.sample_every=10") as server:
            with open_channel(server.grpc) as channel:
                limiter = Service(channel, "mete.v1.Limiter")
                for _ in range(100):
                    limiter.Check(rule="slow", subject="s")
            spans = receiver.spans(10)
            self.assertEqual((len(spans), len({span["traceId"] for span in spans})), (10, 10))
            self.assertNotIn("parentSpanId", spans[0])

    def test_metrics(self):
        with Receiver() as receiver:
            server = daemon(receiver.port, "otlp.metrics_every=1h", "otlp.sample_every=0")
            try:
                first = receiver.next("/v1/metrics")
                self.assertEqual(points(first, "mete.decisions")["default", "slow", "allowed"], 0)
                with server.client() as client:
                    for _ in range(12):
                        client.check("slow", b"x")
                    client.check("users", b"vip", tenant="edge")
                    stats = server.stats()["total"]
                server.stop()  # the last numbers are sent at the end
                last = receiver.next("/v1/metrics")
                decisions, events = points(last, "mete.decisions"), points(last, "mete.events")
                self.assertEqual([decisions["default", "slow", d] for d in ("allowed", "denied", "would_deny")], [10, 2, 0])
                self.assertEqual(decisions["edge", "users", "allowed"], 1)
                self.assertEqual((events["checks",], events["denied",]), (13, 2))
                self.assertTrue({(name,) for name in stats} <= set(events) | {("evictions",)}, stats)
            finally:
                server.close()

    def test_collector_that_is_down(self):
        with socket.socket() as taken:  # a port where nobody listens
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            server = daemon(port, "otlp.metrics_every=1s", "otlp.sample_every=1")
            try:
                with open_channel(server.grpc) as channel:
                    limiter = Service(channel, "mete.v1.Limiter")
                    self.said(server, "otlp: 127.0.0.1")
                    for _ in range(3000):  # more than the ring has room for
                        self.assertTrue(limiter.Check(rule="slow", subject="s", cost=0).allowed)
            except BaseException:
                server.close()
                raise
        try:
            with Receiver(port) as receiver:
                self.said(server, "answers again")
                receiver.status = 503
                self.said(server, "answered 503 to ")
                receiver.next("/v1/metrics")
            time.sleep(2)  # for lines that must not come: it is down once more, and that was said
            server.stop()
            self.assertEqual(sum("otlp: " in line for line in server.said), 3, server.said)
        finally:
            server.close()

    def test_a_real_collector(self):
        """Rotel takes spans and metrics as they are, and understands what they say."""
        program = peers.rotel()
        ports = []
        for _ in range(2):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
        with tempfile.TemporaryFile("w+") as log:
            collector = subprocess.Popen([program, "start", "--otlp-http-endpoint", f"127.0.0.1:{ports[0]}", "--otlp-grpc-endpoint",
                                          f"127.0.0.1:{ports[1]}", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log",
                                          "metrics", "--debug-log-verbosity", "detailed"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.addCleanup(collector.wait)
            self.addCleanup(collector.kill)
            end = time.monotonic() + PATIENCE_S
            with daemon(ports[0], "otlp.sample_every=1", "otlp.metrics_every=1s") as server, open_channel(server.grpc) as channel:
                wanted = ("ResourceMetrics", "-> Name: mete.decisions", "AGGREGATION_TEMPORALITY_CUMULATIVE", "-> service.name: Str(mete)",
                          "Name           : mete.v1.Limiter/Check", "SPAN_KIND_SERVER", "-> mete.rule: Str(slow)", "-> mete.allowed: Bool(true)")
                missing = wanted
                while missing and time.monotonic() < end:  # what came before it listened is lost, and said so
                    Service(channel, "mete.v1.Limiter").Check(rule="slow", subject="s", cost=1)
                    time.sleep(0.5)
                    log.seek(0)
                    text = log.read()
                    missing = [words for words in wanted if words not in text]
                self.assertEqual(list(missing), [], text[-2000:])

    def said(self, server, words):
        while words not in (server.lines.get(timeout=PATIENCE_S) or self.fail(f"{words} is not said: {server.said}")):
            pass

    def test_collector_that_never_answers(self):
        """Its listener takes connections and says nothing: the door does not wait for it, nor does the stop for long."""
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            with daemon(mute.getsockname()[1], "otlp.sample_every=1") as server, open_channel(server.grpc) as channel:
                limiter = Service(channel, "mete.v1.Limiter")
                for _ in range(100):
                    self.assertTrue(limiter.Check(rule="slow", subject="s", cost=0).allowed)
                self.said(server, "otlp: 127.0.0.1")

    def test_off_and_wrong(self):
        with Daemon(CONFIG) as server:
            self.assertNotIn("otlp", mete("config", "show", "--config", server.folder + "/mete.yaml").stdout)
            for value, said in (("otlp.endpoint=http://x", "without a scheme"), ("otlp.metrics_every=1ms", "1s"), ("otlp.sample_every=-1", "whole number")):
                done = mete("config", "show", "--set", value)
                self.assertEqual(done.returncode, 2)
                self.assertIn(said, done.stderr)
            shown = mete("config", "show", "--set", "otlp.endpoint=127.0.0.1:4318").stdout
            self.assertIn("otlp:\n  endpoint: \"127.0.0.1:4318\"\n  sample_every: 1000\n  metrics_every: 10s\n", shown)


if __name__ == "__main__":
    unittest.main()
