#!/usr/bin/env python3
"""The metrics door: the format by a strict reader (and by promtool where there is one), the numbers against `mete
stats`, bounded labels, pages larger than a connection's buffer, and who asks for something else."""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib import prometheus
from lib.daemon import BACKENDS, Daemon, mete, parse_address
from lib.http_raw import Raw, get, post, request

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: demo, algorithm: token_bucket, rate: 1/h, burst: 10, overrides: [{subject: vip, rate: 1/h, burst: 20}]}
      - {name: watched, algorithm: token_bucket, rate: 1/h, burst: 2, shadow: true}
  - name: other
    rules:
      - {name: demo, algorithm: fixed_window, limit: 5/365d}
"""
DOORS = ["listen.http=127.0.0.1:0", "listen.metrics=127.0.0.1:0"]


def scrape(daemon):
    with Raw(parse_address(daemon.metrics)) as raw:
        answer = raw.ask(get("/metrics"))
    assert answer.status == 200 and answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode()


def decided(samples, rule, decision, door, tenant="default"):
    return samples[("mete_decisions_total", (("tenant", tenant), ("rule", rule), ("decision", decision), ("door", door)))]


class Metrics(unittest.TestCase):
    def spend(self, daemon):
        with daemon.client() as client, Raw(parse_address(daemon.http)) as raw:
            for flow in range(4):
                subject = f"s{flow}"
                for _ in range(4):
                    client.check("demo", subject.encode(), 3)
                    client.check("watched", subject.encode())
                client.check("demo", b"vip", 3)
                client.check("demo", subject.encode(), tenant="other")
                client.check("x", subject.encode(), 2, inline=(5, 5, 3600 * 10**9))
                client.check("nothing", b"x")
                client.refund("demo", subject.encode(), 2)
                client.check("demo", subject.encode(), flags=wire.PEEK)
                for _ in range(2):
                    raw.ask(post("/check", {"rule": "demo", "subject": subject, "cost": 2}))
                datagram = client.request(wire.CHECK, "demo", subject.encode())
                client.ask(datagram)
                client.ask(datagram)  # a repeat
            client.send_unanswered([b"x" * 7, b"\0" * 48])

    def judge(self, daemon):
        """A scrape between two looks that saw the same: some counters are told just after the answer they count."""
        text, stats, before = None, daemon.stats(), None
        while before is None or before["total"] != stats["total"] or before["rules"] != stats["rules"]:
            before, text, stats = stats, scrape(daemon), daemon.stats()
        samples, total = prometheus.parse(text), stats["total"]
        labelled = {(name, labels[0][1]): value for (name, labels), value in samples.items() if len(labels) == 1}
        for (name, word), value in labelled.items():
            if name in ("mete_datagrams_total", "mete_check_outcomes_total"):
                self.assertEqual(value, total[word], (name, word))
        self.assertEqual(labelled[("mete_build_info", stats["version"])], 1)
        plain = {name: value for (name, labels), value in samples.items() if not labels}
        for name, expected in (("mete_datagrams_received_total", total["received"]), ("mete_checks_total", total["checks"]),
                               ("mete_repeats_total", total["repeats"]), ("mete_batches_total", total["batches"]),
                               ("mete_carried_total", total["carried"]),
                               ("mete_swap_retries_total", total["swap_retries"]), ("mete_table_swept_total", total["swept"]),
                               ("mete_table_entries", stats["table"]["entries"]), ("mete_table_live_entries", stats["table"]["live"]),
                               ("mete_table_evictions_total", stats["table"]["evictions"]),
                               ("mete_table_bytes", stats["table"]["bytes"]),
                               ("mete_table_life", 1), ("mete_table_taken_total", 0), ("mete_table_damaged_total", 0),
                               ("mete_workers", daemon.workers)):
            self.assertEqual(plain[name], expected, name)
        rules = {}
        for rule in stats["rules"]:
            names = (("tenant", rule["tenant"]), ("rule", rule["rule"]))
            parts = [rule, *rule.get("overrides", [])]
            for decision in ("allowed", "denied", "would_deny"):
                rules[("mete_decisions_total", (*names, ("decision", decision)))] = sum(part[decision] for part in parts)
            rules[("mete_units_total", names)] = sum(part["units"] for part in parts)
        told = {key: value for key, value in samples.items() if key[0] == "mete_units_total"}
        for (name, labels), value in samples.items():
            if name == "mete_decisions_total":
                self.assertEqual(labels[-1][0], "door")
                told[(name, labels[:-1])] = told.get((name, labels[:-1]), 0) + value
        self.assertEqual(told, rules)
        self.assertGreater(plain["process_resident_memory_bytes"], 1 << 20)
        self.assertGreater(plain["process_cpu_seconds_total"], 0)
        return samples

    def test_numbers_are_those_of_stats(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(CONFIG, DOORS, backend=backend, workers=2) as daemon:
                self.judge(daemon)
                self.spend(daemon)
                samples = self.judge(daemon)
                self.assertEqual(samples[("mete_repeats_total", ())], 4)
                self.assertEqual(decided(samples, "(inline)", "allowed", "udp"), 4)
                self.assertEqual(decided(samples, "(inline)", "allowed", "http"), 0)
                # of 10 units three times 3 go over UDP, which gives 2 back; then 2 of 3 over HTTP, and 1 over UDP
                self.assertEqual((decided(samples, "demo", "allowed", "http"), decided(samples, "demo", "denied", "http")), (4, 4))
                self.assertEqual(decided(samples, "demo", "denied", "udp"), 4)

    def test_promtool(self):
        promtool = prometheus.find_promtool()
        if not promtool:
            self.skipTest("no promtool here (Debian package prometheus)")
        with Daemon(CONFIG, DOORS) as daemon:
            self.spend(daemon)
            done = subprocess.run([promtool, "check", "metrics"], input=scrape(daemon), text=True, capture_output=True, timeout=30)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_reloads(self):
        with Daemon(CONFIG, DOORS) as daemon:
            path = pathlib.Path(daemon.folder, "mete.yaml")
            path.write_text(CONFIG + "      - {name: more, algorithm: deny}\n")
            self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
            path.write_text("nonsense")
            self.assertNotEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
            samples = self.judge(daemon)
            self.assertEqual(samples[("mete_reloads_total", (("result", "done"),))], 1)
            self.assertEqual(samples[("mete_reloads_total", (("result", "refused"),))], 1)
            self.assertIn(("mete_units_total", (("tenant", "other"), ("rule", "more"))), samples)

    def test_doors_keep_their_numbers(self):
        """A rule that gets another row of the table by a reload goes on with what each door counted."""
        with Daemon(CONFIG, DOORS) as daemon, daemon.client() as client, Raw(parse_address(daemon.http)) as raw:
            for _ in range(3):
                client.check("demo", b"x")
            for _ in range(2):
                raw.ask(post("/check", {"rule": "demo", "subject": "x"}))
            path = pathlib.Path(daemon.folder, "mete.yaml")
            for algorithm in ("fixed_window, limit: 10/365d", "sliding_window, limit: 10/365d", "deny"):
                path.write_text(f"tenants:\n  - name: default\n    rules:\n      - {{name: demo, algorithm: {algorithm}}}\n")
                self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
                samples = self.judge(daemon)
                self.assertEqual((decided(samples, "demo", "allowed", "udp"), decided(samples, "demo", "allowed", "http")), (3, 2))

    def test_labels_are_bounded(self):
        """More rules than labels, and a page of several buffers; a second page on the same connection."""
        rules = "".join(f"      - {{name: {'r' * 40}{i}, algorithm: token_bucket, rate: 1/h, burst: 10}}\n" for i in range(700))
        with Daemon("tenants:\n  - name: default\n    rules:\n" + rules, DOORS) as daemon:
            with daemon.client() as client:
                for i in range(700):
                    client.check(f"{'r' * 40}{i}", b"x")
            with Raw(parse_address(daemon.metrics)) as raw:
                raw.send(get("/metrics") * 2)
                for _ in range(2):
                    answer = raw.answer()
                    samples = prometheus.parse(answer.body.decode())
                    allowed = {labels: value for (name, labels), value in samples.items()
                               if name == "mete_decisions_total" and labels[2][1] == "allowed" and labels[3][1] == "udp"}
                    self.assertGreater(len(answer.body), 65536)
                    self.assertEqual((len(allowed), sum(allowed.values())), (501, 700))
                    self.assertEqual(allowed[(("tenant", "(other)"), ("rule", "(other)"), ("decision", "allowed"), ("door", "udp"))], 200)

    def test_other_requests(self):
        with Daemon(CONFIG, DOORS) as daemon, Raw(parse_address(daemon.metrics)) as raw:
            self.assertEqual(raw.ask(get("/")).status, 404)
            self.assertEqual(raw.ask(post("/check", {"rule": "demo", "subject": "x"})).status, 404)
            answer = raw.ask(request("POST", "/metrics", b""))
            self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD"))
            head = raw.ask(request("HEAD", "/metrics", None))
            self.assertGreater(int(head.headers["content-length"]), 1000)
            self.assertEqual(raw.ask(get("/metrics", "Connection: close")).status, 200)
            self.assertTrue(raw.is_closed())
            with Raw(parse_address(daemon.metrics)) as bad:
                self.assertEqual(bad.ask(b"nonsense\r\n\r\n").status, 400)
                self.assertTrue(bad.is_closed())


if __name__ == "__main__":
    unittest.main()
