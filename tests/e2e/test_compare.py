"""What `make bench` does, with tiny runs, and how it judges, with made-up rows. No figure of speed is asserted."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "bench"))
import compare_table  # noqa: E402
from lib.daemon import BUILD, PATIENCE_S  # noqa: E402


def compare(*arguments):
    return subprocess.run([sys.executable, ROOT / "bench" / "compare.py", "--build", BUILD, *map(str, arguments)],
                          capture_output=True, text=True, timeout=4 * PATIENCE_S)


class Program(unittest.TestCase):
    def test_a_tiny_run(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "out.json"
            done = compare("--quick", "--rounds", "1", "--seconds", "0.05", "--only", "single,latency,micro", "--out", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("left out", done.stderr)
            report = json.loads(out.read_text())
        self.assertEqual({row["server"] for row in report["samples"]},
                         {"echo plain", "echo io_uring", "mete mmsg", "mete io_uring", "mete io_uring, again"})
        for row in report["samples"]:
            self.assertEqual((row["mode"], row["errors"]), ("single", 0))
            self.assertGreater(row["server_ns_per_check"], 0)
            self.assertGreater(row["checks_per_server_cpu_second"], 0)
        self.assertEqual({row["server"] for row in report["halves"]}, {"echo io_uring", "mete io_uring"})
        self.assertEqual(len({row["rate"] for row in report["halves"]}), 1)
        self.assertIn("1 M keys", report["micro"])
        for row in report["targets"]:
            self.assertIn(row["what"], done.stdout)
        self.assertIn("\nnote: ", done.stdout)

    def test_wrong_use(self):
        for arguments, says in ((("--only", "nosuch"), "nosuch"), (("--build", "/nonexistent"), "not built")):
            done = subprocess.run([sys.executable, ROOT / "bench" / "compare.py", *arguments], capture_output=True, text=True,
                                  timeout=PATIENCE_S)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(says, done.stderr.splitlines()[-1])


def rows(rates, ns=1000, invalid=None, **more):
    return [{"round": number, "checks_per_second": rate, "server_ns_per_check": ns, "invalid": invalid,
             "checks_per_server_cpu_second": 1e9 / ns, **more} for number, rate in enumerate(rates)]


class Judgement(unittest.TestCase):
    def verdicts(self, samples, halves=None, **more):
        found = compare_table.answer_table({"samples": samples, "halves": halves or {}, **more})[1]
        return {row["what"]: row["verdict"] for row in found}

    def test_a_ratio_is_of_the_same_round(self):
        # The machine is twice as fast in every other round; mete has 96 % of the echo in each.
        machine = [100, 200, 100, 200, 100]
        samples = {("echo plain", "single"): rows(machine), ("mete mmsg", "single"): rows([0.96 * rate for rate in machine])}
        self.assertEqual(self.verdicts(samples)["single check: throughput of the best null echo's"], "ok")
        self.assertAlmostEqual(compare_table.pair_ratio(samples["mete mmsg", "single"], samples["echo plain", "single"],
                                                        "checks_per_second"), 0.96)

    def test_miss_spread_and_noise(self):
        what = "single check: throughput of the best null echo's"
        for mete, again, verdict in ((96, 96, "ok"), (90, 90, "MISS"), (90, 96, "ok, within the spread"), (90, 60, "too noisy to tell")):
            samples = {("echo plain", "single"): rows([100] * 3), ("mete io_uring", "single"): rows([mete] * 3),
                       ("mete io_uring, again", "single"): rows([again] * 3)}
            self.assertEqual(self.verdicts(samples)[what], verdict, (mete, again))

    def test_per_core_and_misses_first(self):
        samples = {("mete mmsg", "joined"): rows([1000], ns=300), ("mete io_uring", "joined"): rows([1100], ns=400),
                   ("mete mmsg", "batch-joined"): rows([1], ns=101)}
        result = compare_table.answer_table({"samples": samples, "halves": {}})
        self.assertEqual([row["verdict"] for row in result[1]], ["MISS", "ok"])
        self.assertIn("3,333,333 (reached 1,000/s)", "\n".join(result[0]))

    def test_an_invalid_round_does_not_count(self):
        def half(*p99s):
            return [
                {**row, "p99_us": abs(p99), "invalid": "late" if p99 < 0 else None}
                for row, p99 in zip(rows([1] * len(p99s), p50_us=1), p99s)]
        what = "single, half load: p99 of the null echo's"
        tens = (10, 10, 10, 10)
        for mete, echo, verdict in (((10, 11, 11, 11), tens, "ok"), ((-50, 11, 11, 11), tens, "ok"), ((50, 50, 50, 50), tens, "MISS"),
                                    ((-50, 11, 11, 11), (10, -10, 10, 10), "too noisy to tell")):
            halves = {("mete mmsg", "single"): half(*mete), ("echo mmsg", "single"): half(*echo)}
            self.assertEqual(self.verdicts({}, halves)[what], verdict, (mete, echo))

        self.assertEqual(self.verdicts({("mete mmsg", "joined"): rows([1], ns=900, invalid="stolen")}),
                         {"single checks, joined at both ends, per server core": "too noisy to tell"})

    def test_few_stale_answers_are_told_and_many_spoil_a_row(self):
        for stale, lost, says in ((10, 0, "of 1,000,000, a client asks them again"), (11, 0, "does not count"),
                                  (1, 1, "does not count")):
            row = rows([1], steal_seconds=0, lost=lost, checks=1000000, categories={"stale": stale})
            notes = compare_table.note_lines(argparse.Namespace(notes=[], crowded=False),
                                             {"samples": {("mete mmsg", "joined"): row}, "halves": {}})
            self.assertIn(says, notes[-1], (stale, lost))

    def test_what_believing_adds(self):
        samples = {("mete io_uring, tags", "single"): rows([1], ns=1090), ("mete io_uring, no repeats", "single"): rows([1], ns=1000),
                   ("mete io_uring, tags", "batch-joined"): rows([1], ns=150), ("mete io_uring", "batch-joined"): rows([1], ns=100)}
        found = self.verdicts(samples)
        self.assertEqual(found["MAC, freshness and repeats per single check, ns"], "ok")
        self.assertEqual(found["MAC, freshness and repeats per check in batches of 50, ns"], "MISS")

    def test_sizes(self):
        size = {"live": 768, "entries": 1024, "bytes": 43.5 * 768, "bytes_per_live_key": 43.5}
        micro = {"1 M keys": {"million_checks_per_second": 25.0, "huge_pages": False, "runs": [25.0]}}
        self.assertEqual(list(self.verdicts({}, size=size, micro=micro).values()), ["MISS", "ok"])

    def test_parts_by_themselves(self):
        hot = {"of_tables_of_their_own": 0.97, "twins_apart": 0.01, "of_one_thread": 1.5, "arithmetic_of_one_thread": 1.5}
        found = self.verdicts({}, micro={"repeat set, alone": {"ns": 19.9, "runs": [19.9]},
                                         "repeat set, shared": {"ns": 20.1, "runs": [20.1]}, "hot key": hot})
        self.assertEqual(found, {"repeat set, alone: ns per datagram": "ok", "repeat set, shared: ns per datagram": "MISS",
                                 "one key denied on all cores, of a table for each": "ok, within the spread"})
        found = self.verdicts({}, micro={"hot key": {**hot, "of_tables_of_their_own": 0.9}})
        self.assertEqual(list(found.values()), ["MISS"])


if __name__ == "__main__":
    unittest.main()
