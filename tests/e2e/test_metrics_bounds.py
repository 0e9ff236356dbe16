#!/usr/bin/env python3
"""Labels stay bounded, whatever a configuration holds: ten thousand tenants, reloads that come and go. What is counted is
what was sent, and nothing that Prometheus was told ever falls."""
import json
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import prometheus
from lib.daemon import METE, Daemon, mete, parse_address
from lib.http_raw import Raw, get, post

MOST = 500
OTHER = ("(other)", "(other)")


def scrape(raw):
    return prometheus.parse(raw.ask(get("/metrics")).body.decode())


def decided(samples, decision="allowed"):
    """{(tenant, rule): checks} over UDP."""
    return {(labels[0][1], labels[1][1]): value for (name, labels), value in samples.items()
            if name == "mete_decisions_total" and labels[2:] == (("decision", decision), ("door", "udp"))}


def configuration(tenants):
    return "tiers:\n  all:\n    rules:\n      - {name: one, algorithm: token_bucket, rate: 1/h, burst: 2}\n" \
           "      - {name: two, algorithm: deny}\n" \
           "tenants:\n" + "".join(f"  - {{name: t{i}, tier: all, rules: []}}\n" for i in tenants)


class Bounds(unittest.TestCase):
    def ask(self, client, tenants):
        for i in tenants:
            for _ in range(3):
                client.check("one", b"x", tenant=f"t{i}")
            client.check("two", b"x", tenant=f"t{i}")

    def test_ten_thousand_tenants(self):
        asked = range(0, 10000, 7)
        with Daemon(configuration(range(10000)), ["listen.metrics=127.0.0.1:0"]) as daemon, daemon.client() as client, \
                Raw(parse_address(daemon.metrics)) as raw:
            self.ask(client, asked)
            samples = scrape(raw)
            for decision, each in (("allowed", {"one": 2, "two": 0}), ("denied", {"one": 1, "two": 1})):
                told = decided(samples, decision)
                self.assertEqual(len(told), MOST + 1)
                self.assertEqual(sum(told.values()), len(asked) * sum(each.values()))
                for (tenant, rule), value in told.items():
                    if (tenant, rule) != OTHER:
                        self.assertEqual(value, each[rule] if int(tenant[1:]) in asked else 0, (tenant, rule))
            self.assertLess(len(samples), 4000)

    def test_nothing_ever_falls(self):
        """Tenants go and come; whoever has a label keeps it, and what is told of the others only grows."""
        with Daemon(configuration(range(400)), ["listen.metrics=127.0.0.1:0"]) as daemon, daemon.client() as client, \
                Raw(parse_address(daemon.metrics)) as raw:
            self.ask(client, range(400))
            before = decided(scrape(raw))
            self.assertEqual((len(before), before[OTHER] + sum(value for key, value in before.items() if key != OTHER)), (501, 800))
            there = set(range(400))
            for gone, come in ((range(100, 200), []), ([], range(1000, 1100)), (range(0, 50), range(100, 150)), (range(300, 400), [])):
                there = there - set(gone) | set(come)
                pathlib.Path(daemon.folder, "mete.yaml").write_text(configuration(sorted(there)))
                done = mete("reload", "--admin", daemon.admin)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.ask(client, come)
                after = decided(scrape(raw))
                for key, value in before.items():
                    if key == OTHER or int(key[0][1:]) in there:
                        self.assertGreaterEqual(after[key], value, key)
                self.assertLessEqual(len(after), MOST + 1)
                self.assertFalse([key for key in after if key != OTHER and int(key[0][1:]) not in there])
                before = after

    def test_under_load(self):
        """Pages, `top` and reloads while two workers and the doors are busy; then all that was answered is counted. Built
        for threads (FLAVOUR=tsan) it also shows that nobody reads what another writes."""
        config = configuration(range(20)) + "  - {name: default, rules: [{name: fast, algorithm: token_bucket, rate: 1000000/s}]}\n"
        doors = ["listen.metrics=127.0.0.1:0", "listen.http=127.0.0.1:0"]
        with Daemon(config, doors, workers=2) as daemon, Raw(parse_address(daemon.metrics)) as raw, \
                Raw(parse_address(daemon.http)) as http:
            load = subprocess.Popen([METE, "bench", "--json", "--server", "%s:%d" % daemon.address, "--seconds", "2", "--zipf", "1.2",
                                     "--batch", "10", "--flows", "4"], stdout=subprocess.PIPE, text=True)
            rounds = over_http = last = 0
            while load.poll() is None:
                samples = scrape(raw)
                checks = samples[("mete_checks_total", ())]
                self.assertGreaterEqual(checks, last)
                last = checks
                for name in ("top", "stats"):
                    done = mete(name, "--json", *(["--count", "1"] if name == "top" else []), "--admin", daemon.admin)
                    self.assertEqual(done.returncode, 0, done.stderr)
                if rounds % 5 == 0:
                    self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
                over_http += http.ask(post("/check", {"rule": "fast", "subject": "x"})).status == 200
                rounds += 1
            report = json.loads(load.communicate()[0])
            self.assertGreater(rounds, 2)
            samples = scrape(raw)
            told = sum(value for (name, labels), value in samples.items() if name == "mete_decisions_total" and labels[0][1] == "default"
                       and labels[2][1] in ("allowed", "denied"))
            judged = samples[("mete_checks_total", ())]
            self.assertEqual(told, judged - samples[("mete_check_outcomes_total", (("outcome", "peeked"),))])
            self.assertGreaterEqual(told, report["checks"] + over_http)
            self.assertGreater(samples[("mete_latency_seconds_count", (("door", "udp"),))], 0)


if __name__ == "__main__":
    unittest.main()
