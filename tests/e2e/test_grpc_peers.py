#!/usr/bin/env python3
"""The gRPC door as the world's own programs speak to it: a real Envoy, grpcurl, ghz, grpc-go and Python classes of Envoy's public
protobufs. Each is installed once (lib/grpc_peers.py); who cannot be had is skipped, and named."""
import http.client
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import grpc_peers, peers
from lib.daemon import PATIENCE_S, Daemon

ENVOY_METHOD = "envoy.service.ratelimit.v3.RateLimitService"
CONFIG = """
tenants:
  - name: edge
    rules:
      - {name: users, algorithm: fixed_window, limit: 3/365d}
      - {name: open, algorithm: unlimited}
    envoy: {headers: true}
    descriptors: [{key: user, rule: users}, {key: open, rule: open}]
"""
MANAGER = '"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
PROXY = """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: %(port)d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          %(manager)s
          stat_prefix: in
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route:
                  cluster: backend
                  rate_limits:
                  - actions: [{request_headers: {header_name: x-user, descriptor_key: user}}]
          http_filters:
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: edge
              timeout: 10s
              failure_mode_deny: true
              rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: mete}}}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: backend
    load_assignment:
      cluster_name: backend
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %(backend)d}}}}]}]
  - name: mete
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: mete
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %(mete)d}}}}]}]
"""


class Backend(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Peers(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon(CONFIG, ["listen.grpc=127.0.0.1:0"])
        self.addCleanup(self.daemon.close)

    def run_peer(self, *words, **environment):
        done = subprocess.run([str(word) for word in words], text=True, capture_output=True, timeout=4 * PATIENCE_S,
                              stdin=subprocess.DEVNULL, env={**os.environ, **environment})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_grpcurl(self):
        tool, address = grpc_peers.grpcurl(), self.daemon.grpc
        self.assertIn(ENVOY_METHOD, self.run_peer(tool, "-plaintext", address, "list"))
        asked = json.dumps({"domain": "edge", "descriptors": [{"entries": [{"key": "user", "value": "curl"}]}]})
        codes = [json.loads(self.run_peer(tool, "-plaintext", "-d", asked, address, ENVOY_METHOD + "/ShouldRateLimit"))["overallCode"] for _ in range(4)]
        self.assertEqual(codes, ["OK"] * 3 + ["OVER_LIMIT"])
        self.assertIn("mete.v1.Verdict", self.run_peer(tool, "-plaintext", address, "describe", "mete.v1.Limiter"))

    def test_ghz(self):
        asked = json.dumps({"domain": "edge", "descriptors": [{"entries": [{"key": "open", "value": "ghz"}]}]})
        told = json.loads(self.run_peer(grpc_peers.ghz(), "--insecure", "--call", ENVOY_METHOD + ".ShouldRateLimit", "-d", asked, "-n", "5000",
                                        "-c", "128", "--connections", "8", "-O", "json", self.daemon.grpc))
        self.assertEqual((told["count"], told["statusCodeDistribution"]), (5000, {"OK": 5000}))
        self.assertEqual(self.daemon.rule("open", "edge")["allowed"], 5000)

    def test_grpc_go(self):
        passed, last = self.run_peer(grpc_peers.grpc_go(), self.daemon.grpc, "edge", "user", "go").splitlines()
        limit = json.loads(last)["statuses"][0]["currentLimit"]
        self.assertEqual((passed, limit), ("3", {"requestsPerUnit": 3, "unit": "YEAR", "name": "users"}))

    def test_python_of_the_public_protos(self):
        host, port = self.daemon.grpc.rsplit(":", 1)
        folder = grpc_peers.data_plane()
        told = self.run_peer(sys.executable, peers.SOURCES / "public_protos.py", host, port, "edge", "user", "python", PYTHONPATH=str(folder))
        self.assertEqual(told.strip(), "3")

    def test_envoy(self):
        binary = grpc_peers.envoy()
        backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        self.addCleanup(backend.server_close)
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        self.addCleanup(backend.shutdown)
        port = free_port()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name, "envoy.yaml")
        path.write_text(PROXY % {"port": port, "backend": backend.server_address[1], "mete": int(self.daemon.grpc.rsplit(":", 1)[1]),
                                 "manager": MANAGER})
        proxy = subprocess.Popen([str(binary), "-c", str(path), "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(proxy.wait)
        self.addCleanup(proxy.kill)

        def ask(user):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            connection.request("GET", "/", headers={"x-user": user})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer

        for _ in range(PATIENCE_S * 10):  # until it listens and its connection to the door stands
            try:
                if ask("first").status == 200:
                    break
            except OSError:
                pass
            self.assertIsNone(proxy.poll())
            time.sleep(0.1)
        answers = [ask("bob") for _ in range(5)]
        self.assertEqual([answer.status for answer in answers], [200, 200, 200, 429, 429])
        self.assertEqual([answer.headers["x-ratelimit-remaining"] for answer in answers], ["2", "1", "0", "0", "0"])
        self.assertGreater(int(answers[4].headers["retry-after"]), 0)
        self.assertEqual(ask("eve").status, 200)


if __name__ == "__main__":
    unittest.main()
