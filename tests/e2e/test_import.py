#!/usr/bin/env python3
"""`mete config import envoy`: files of Envoy's own rate limit service, what is made of them, and that it limits alike."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import Daemon, mete
from lib.grpc_client import OK, OVER, Service, descriptor, open_channel

WHOLE = """
domain: messages
descriptors:
  # five a day of one kind to any one number
  - key: kind
    value: marketing
    descriptors:
      - key: to
        rate_limit: {unit: day, requests_per_unit: 5}
  - key: to
    rate_limit:
      unit: DAY
      requests_per_unit: 7
  - key: address
    rate_limit: {unit: year, requests_per_unit: 3}
  - {key: address, value: 192.0.2.1, rate_limit: {unit: second, requests_per_unit: 0}}
  - {key: address, value: 192.0.2.2}
  - {key: open, rate_limit: {unlimited: true}}
  - {key: path, value: "/a b*", rate_limit: {unit: month, requests_per_unit: 1}, shadow_mode: true}
  - {key: all, value: "x*", share_threshold: true, rate_limit: {unit: week, requests_per_unit: 2}}
"""


class Import(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_import(self, *texts):
        names = []
        for i, text in enumerate(texts):
            names.append(str(self.folder / f"{i}.yaml"))
            pathlib.Path(names[-1]).write_text(text)
        return mete("config", "import", "envoy", *names)

    def test_limits_as_it_says(self):
        done = self.run_import(WHOLE, "domain: empty\n", "domain: other\ndescriptors: [{key: to, rate_limit: {unit: hour, requests_per_unit: 4}}]\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with Daemon(done.stdout, ["listen.grpc=127.0.0.1:0"]) as daemon, open_channel(daemon.grpc) as channel:
            envoy = Service(channel, "envoy.service.ratelimit.v3.RateLimitService")

            def passes(*pairs, domain="messages", most=20):
                """How many of them pass in a row."""
                for count in range(most):
                    if envoy.ShouldRateLimit(domain=domain, descriptors=[descriptor(*pairs)]).overall_code == OVER:
                        return count
                return most

            for wanted, pairs in ((5, [("kind", "marketing"), ("to", "1")]), (5, [("kind", "marketing"), ("to", "2")]),
                                  (20, [("kind", "other"), ("to", "1")]), (7, [("to", "1")]), (3, [("address", "192.0.2.9")]),
                                  (0, [("address", "192.0.2.1")]), (20, [("address", "192.0.2.2")]), (20, [("open", "x")]),
                                  (20, [("path", "/a b/c")]), (2, [("all", "x1")]), (0, [("all", "x2")])):
                self.assertEqual(passes(*pairs), wanted, pairs)
            self.assertEqual([passes(("to", "1"), domain="other"), passes(("to", "1"), domain="empty")], [4, 20])
            # one that is denied: the others are charged, as there
            two = [descriptor(("address", "192.0.2.1")), descriptor(("to", "9"))]
            left = [envoy.ShouldRateLimit(domain="messages", descriptors=two).statuses[1].limit_remaining for _ in range(2)]
            self.assertEqual(left, [6, 5])

    def test_what_is_lost_is_said(self):
        done = self.run_import("""domain: d
descriptors:
  - key: a
    detailed_metric: true
    rate_limit: {unit: day, requests_per_unit: 1, name: n, replaces: [{name: m}]}
  - {key: p, value: "/*", rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: p, value: "/a*", rate_limit: {unit: day, requests_per_unit: 1}, quota_mode: true}
""")
        self.assertEqual(done.returncode, 1)
        said = done.stderr.replace(str(self.folder), "")
        for line in ("/0.yaml:4: descriptors[0].detailed_metric: is left out", "/0.yaml:5: descriptors[0].rate_limit.replaces: is left out",
                     "/0.yaml:7: descriptors[2].quota_mode: is left out", "/0.yaml:7: descriptors[2]: matches here before"):
            self.assertIn(line, said)
        self.assertEqual(len(said.splitlines()), 4)
        path = self.folder / "made.yaml"
        path.write_text(done.stdout)
        self.assertEqual(mete("config", "check", str(path)).returncode, 0)

    def test_equal_names(self):
        long = "k" * 100
        done = self.run_import(f"domain: d\ndescriptors: [{{key: {long}1, rate_limit: {{unit: day, requests_per_unit: 1}}}}, "
                               f"{{key: {long}2, rate_limit: {{unit: day, requests_per_unit: 2}}}}, "
                               "{key: default, rate_limit: {unit: day, requests_per_unit: 3}}]\n")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count("fixed_window"), 3)

    def test_mistakes(self):
        for text, said in (("", "is empty"), ("descriptors: []", "domain: is missing"), ("domain: a b\n", "blank"), ("- x\n", "domain: is missing"),
                           ("domain: d\ndescriptors: {}\n", "a list of descriptors"), ("domain: d\ndescriptors: [x]\n", "has no key"),
                           ("domain: d\ndescriptors: [{key: a, rate_limit: x}]\n", "a mapping is needed"),
                           ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: eon, requests_per_unit: 1}}]\n", "0.yaml:2: descriptors[0].rate_limit.unit"),
                           ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: -1}}]\n", "requests_per_unit: '-1'"),
                           ("domain: d\ndescriptors: [{key: a}, {key: a}]\n", "twice"), ("domain: [\n", "0.yaml:")):
            done = self.run_import(text)
            self.assertEqual((done.returncode, done.stdout), (2, ""), text)
            self.assertIn(said, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertEqual(self.run_import("domain: d\n", "domain: d\n").returncode, 2)
        self.assertEqual(mete("config", "import", "envoy", str(self.folder / "none")).returncode, 2)
        for words in ((), ("envoy",), ("nginx", "x")):
            self.assertEqual(mete("config", "import", *words).returncode, 2)


if __name__ == "__main__":
    unittest.main()
