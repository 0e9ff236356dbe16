#!/usr/bin/env python3
"""What deploy/ ships for Prometheus and Grafana: the rules pass promtool's tests, each is tried firing and not; rules and
dashboard ask only for metrics, labels and values that a running daemon has."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import prometheus
from lib.certificates import Certificates
from lib.daemon import ROOT, Daemon, parse_address
from lib.http_raw import Raw, get

RULES = ROOT / "deploy/prometheus/mete.rules.yml"
TESTS = ROOT / "deploy/prometheus/mete.rules.test.yml"
DASHBOARD = ROOT / "deploy/grafana/mete.json"
OURS = r"\b((?:mete|process)_[a-z_]+)\s*(\{[^}]*\})?"
ADDED = {"job", "instance"}  # by Prometheus, to each sample


def samples_of_a_daemon():
    """Of one with all doors, a certificate, and a Redis that does not answer."""
    doors = [f"listen.{door}=127.0.0.1:0" for door in ("resp", "http", "grpc", "http_tls", "metrics")]
    with tempfile.TemporaryDirectory() as folder:
        made = Certificates(folder)
        made.ca()
        made.leaf("server", "/CN=server", "IP:127.0.0.1", days=10)
        files = [f"tls.certificate={made.path('server.pem')}", f"tls.key={made.path('server.key')}"]
        files.append(f"table.snapshot={folder}/table")
        with Daemon(sets=[*doors, *files, "redis.url=redis://127.0.0.1:1"]) as daemon, Raw(parse_address(daemon.metrics)) as raw:
            samples = prometheus.parse(raw.ask(get("/metrics")).body.decode())
    left_s = samples[("mete_certificate_expiry_seconds", ())] - time.time()
    assert 9 * 86400 < left_s < 11 * 86400, left_s
    return samples


def strange(expression, samples):
    """What the expression asks for that the samples do not have."""
    faults = []
    for name, matchers in re.findall(OURS, expression):
        series = [dict(labels) for (sample, labels) in samples if sample == name]
        if not series:
            faults.append(f"no metric {name}")
            continue
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!=|=)\s*"([^"]*)"', matchers or ""):
            if label in ADDED:
                continue
            has = [one[label] for one in series if label in one]
            wanted = value.split("|") if operator == "=~" else [value]
            faults += [f'no {name}{{{label}="{one}"}}' for one in wanted if one not in has]
    for words in re.findall(r"\bby \(([^)]*)\)", expression):
        known = {label for _, labels in samples for label, _ in labels} | ADDED
        faults += [f"no label {word.strip()}" for word in words.split(",") if word.strip() not in known]
    return faults


def alerts():
    """(name, expression) of each rule: the few forms of YAML that the file has."""
    found = re.findall(r"- alert: (\w+)\n +expr: (?:>-\n)?((?:.*\n)*?) +(?:for|labels):", RULES.read_text())
    return [(name, " ".join(expression.split())) for name, expression in found]


class Alerts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.samples = samples_of_a_daemon()

    def test_they_ask_for_what_there_is(self):
        found = alerts()
        self.assertEqual(len(found), RULES.read_text().count("- alert:"))
        for name, expression in found:
            self.assertEqual(strange(expression, self.samples), [], name)
        for expression in ("mete_nothing > 1", 'rate(mete_datagrams_total{fate="nothing"}[5m])', "sum by (nothing) (mete_workers)"):
            self.assertTrue(strange(expression, self.samples), expression)

    def test_each_is_explained_and_tried(self):
        text, tests = RULES.read_text(), TESTS.read_text()
        for name, _ in alerts():
            rule = text[text.index(f"alert: {name}\n"):].split("- alert:")[0]
            for word in ("severity: ", "summary: ", "description: "):
                self.assertIn(word, rule, name)
            tried = re.findall(rf"alertname: {name}\b(, exp_alerts: \[\])?", tests)
            self.assertIn("", tried, f"{name} never fires in a test")
            self.assertIn(", exp_alerts: []", tried, f"{name} always fires in its tests")

    def test_promtool(self):
        promtool = prometheus.find_promtool()
        if not promtool:
            self.skipTest("no promtool here (Debian package prometheus)")
        for command in (["check", "rules", RULES], ["test", "rules", TESTS]):
            done = subprocess.run([promtool, *command], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_dashboard(self):
        dashboard = json.loads(DASHBOARD.read_text())
        panels = dashboard["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        expressions = [target["expr"] for panel in panels for target in panel["targets"]]
        self.assertGreater(len(expressions), 20)
        for expression in expressions:
            self.assertEqual(strange(expression, self.samples), [], expression)
            self.assertIn("$job", expression)
        taken = set()
        for panel in panels:  # none lies over another
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= cells


if __name__ == "__main__":
    unittest.main()
