"""mete bench: against the real daemon in both backends, against the null echo, and against a stand-in server that is
right, or wrong in one chosen way. Runs are fractions of a second; no figure of speed is asserted."""
import gzip
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.bench_stand_in import STALL_S, StandIn, bench  # noqa: E402
from lib.daemon import BACKENDS, BUILD, METE, PATIENCE_S, Daemon, mete  # noqa: E402

SEED = int(os.environ.get("METE_SEED", "1"))
ECHO = str(BUILD / "bench" / "echo")
CONFIG = """
tenants:
  - name: default
    rules:
      - {name: slow, algorithm: token_bucket, rate: 1/h, burst: 5}
      - {name: bucket, algorithm: token_bucket, rate: 50/s, burst: 3}
      - {name: meter, algorithm: leaky_bucket, rate: 50/s, burst: 3}
      - {name: fixed, algorithm: fixed_window, limit: 4/20ms}
      - {name: sliding, algorithm: sliding_window, limit: 4/20ms}
      - {name: open, algorithm: unlimited}
      - {name: closed, algorithm: deny}
"""


def make_log(path, lines, addresses):
    """An access log in which a few addresses are frequent, with one line that is none."""
    chance = random.Random(SEED)
    with gzip.open(path, "wt") as log:
        for i in range(lines):
            n = min(int(chance.expovariate(8 / addresses)), addresses - 1)
            log.write(f'10.0.{n // 256}.{n % 256} - - [01/Mar/2026:10:{i // 60 % 60:02}:{i % 60:02} +0000] '
                      '"GET / HTTP/1.1" 200 12\n')
        log.write("not a line of a log\n")


class RealDaemon(unittest.TestCase):
    def test_load_in_both_backends(self):
        for backend in BACKENDS:
            with self.subTest(backend), Daemon(backend=backend) as daemon:
                for arguments in ((), ("--batch", "50"), ("--join",), ("--threads", "2", "--cost", "3")):
                    status, report, said = bench(daemon.port, "--requests", "20011", "--timeout", "10000",
                                                 "--keys", "1000", *arguments)
                    self.assertEqual((status, said), (0, ""))
                    self.assertEqual({name: count for name, count in report["errors"].items() if count}, {}, arguments)
                    self.assertEqual([report[name] for name in ("checks", "allowed", "lost", "malformed")],
                                     [20011, 20011, 0, 0])
                    self.assertLessEqual(report["latency_us"]["p50"], report["latency_us"]["max"])

    def test_verify_every_algorithm(self):
        texts = {"bucket": "token_bucket 50/s burst 3", "meter": "leaky_bucket 50/s burst 3", "open": "unlimited",
                 "fixed": "fixed_window 4/20ms", "sliding": "sliding_window 4/20ms", "closed": "deny",
                 "slow": "token_bucket 1/h burst 5"}
        with Daemon(config=CONFIG) as daemon:
            for rule, text in texts.items():
                for extra in ((), ("--batch", "7", "--no-salt")):
                    with self.subTest(rule=rule, extra=extra):
                        status, report, _ = bench(daemon.port, "--rule", rule, "--verify", text, "--keys", "60",
                                                  "--flows", "3", "--outstanding", "8", "--seconds", "0.15",
                                                  "--timeout", "10000", *extra)
                        self.assertEqual((status, report["verify"]["example"]), (0, None))
                        self.assertEqual(report["verify"]["checked"], report["checks"])
                        self.assertGreater(report["checks"], 60)
                        self.assertEqual(report["denied"] > 0, rule != "open")

    def test_verify_tells_another_rule(self):
        with Daemon(config=CONFIG) as daemon:
            for wrong in ("token_bucket 1/h burst 4", "token_bucket 1/h burst 6", "unlimited", "deny"):
                status, report, _ = bench(daemon.port, "--rule", "slow", "--verify", wrong, "--keys", "20",
                                          "--requests", "400")
                self.assertEqual(status, 4, wrong)
                self.assertGreater(report["verify"]["outside"], 0)

    def test_a_log_in_its_order(self):
        with tempfile.TemporaryDirectory() as folder, Daemon(config=CONFIG) as daemon:
            path = os.path.join(folder, "access.log.gz")
            make_log(path, 2000, 300)
            status, report, _ = bench(daemon.port, "--rule", "slow", "--verify", "token_bucket 1/h burst 5",
                                      "--subjects", path, "--timeout", "10000")
            self.assertEqual((status, report["checks"], report["unparsed_lines"]), (0, 2000, 1))
            with gzip.open(path, "rt") as log:
                hits = {}
                for line in log:
                    hits[line.split()[0]] = hits.get(line.split()[0], 0) + 1
            del hits["not"]
            self.assertEqual(report["subjects"], len(hits))
            self.assertEqual(report["allowed"], sum(min(5, n) for n in hits.values()))
            self.assertEqual([report["verify"][name] for name in
                              ("outside", "subjects", "upper_slack_max", "lower_slack_max")], [0, len(hits), 0, 0])

    def test_subjects_are_those_of_other_doors(self):
        with tempfile.TemporaryDirectory() as folder, Daemon(config=CONFIG) as daemon, daemon.client() as client:
            path = os.path.join(folder, "list")
            pathlib.Path(path).write_text("alice\nbob\nalice\n")
            self.assertEqual(bench(daemon.port, "--rule", "slow", "--subjects", path)[1]["checks"], 3)
            self.assertEqual([client.check("slow", name).remaining for name in (b"alice", b"bob", b"carol")],
                             [2, 3, 4])

    def test_conditions_and_the_servers_own_figures(self):
        with Daemon() as daemon:
            for extra in ((), ("--rate", "20000/s")):
                status, report, said = bench(daemon.port, "--requests", "3000", "--admin", daemon.admin, *extra)
                self.assertIn(status, (0, 4), said)
                server, machine = report["server_over_the_run"], report["machine"]
                self.assertEqual(server["checks"], report["sent_datagrams"])
                self.assertEqual(server["allowed"], server["checks"])
                self.assertGreater(server["cpu_seconds"], 0)
                self.assertEqual(machine["kernel"], os.uname().release)
                self.assertEqual(machine["cores_of_this_process"], len(os.sched_getaffinity(0)))
                for name in ("rmem_max", "wmem_max"):
                    self.assertEqual(machine[name], int(pathlib.Path(f"/proc/sys/net/core/{name}").read_text()))
                for name in ("steal_seconds", "udp_receive_drops", "udp_send_drops"):
                    self.assertGreaterEqual(machine[name], 0)
                self.assertIn("clock_source", machine)
                self.assertIn("mitigations", machine)
            done = mete("bench", "--server", f"127.0.0.1:{daemon.port}", "--admin", "/nonexistent/socket")
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (3, "", 1))
            self.assertIn("--admin", done.stderr)

    def test_keys_by_chance_hot_and_unique(self):
        with Daemon(config=CONFIG) as daemon:
            for arguments, allowed in ((("--unique", "--threads", "2"), 1000), (("--hot-key", "100"), 5),
                                       (("--zipf", "1.1", "--keys", "7"), 30)):  # the hot one of 7 is spent
                status, report, _ = bench(daemon.port, "--rule", "slow", "--requests", "1000", "--timeout", "10000",
                                          *arguments)
                self.assertEqual((status, report["allowed"]), (0, allowed), arguments)

    def test_unknown_rule(self):
        with Daemon() as daemon:
            status, _, said = bench(daemon.port, "--rule", "nosuch")
            self.assertEqual(status, 2)
            self.assertIn("knows no rule 'nosuch'", said)

    def test_text_and_interrupt(self):
        with Daemon() as daemon:
            process = subprocess.Popen([METE, "bench", "--server", f"127.0.0.1:{daemon.port}", "--seconds", "600",
                                        "--progress"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertIn("M checks/s", process.stderr.readline())
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 0)
            for word in ("closed loop", "p99.9", "allowed", "denied", "lost", "late", "malformed"):
                self.assertIn(word, out)


class Judge(unittest.TestCase):
    """The stand-in decides; the judge must see what is wrong with it, and nothing else."""

    def verify(self, fault, *extra):
        patience = "100" if fault in ("drops", "bad tag", "silent") else "10000"
        with StandIn(fault) as server:
            result = bench(server.port, "--rule", "slow", "--verify", "token_bucket 1/h burst 5", "--keys", "20",
                           "--requests", "300", "--flows", "2", "--outstanding", "4", "--timeout", patience, *extra)
            return (*result, sum(server.taken.values()))

    def test_right(self):
        status, report, _, taken = self.verify(None)
        self.assertEqual((status, report["verify"]["outside"], report["allowed"]), (0, 0, taken))
        self.assertEqual(self.verify(None, "--batch", "5")[0], 0)

    def test_one_too_many_one_too_few(self):
        for fault in ("one too many", "one too few", "wrong remaining"):
            status, report, _, _ = self.verify(fault)
            self.assertEqual(status, 4, fault)
            self.assertGreaterEqual(report["verify"]["outside"], 1, fault)
            self.assertIn("the model says", report["verify"]["example"])

    def test_lost_answers_are_no_excuse_and_no_alarm(self):
        status, report, _, taken = self.verify("drops")
        self.assertEqual((status, report["verify"]["outside"]), (0, 0))
        self.assertGreater(report["lost"], 0)
        self.assertLessEqual(report["allowed"], taken)

    def test_bad_tag_is_malformed(self):
        status, report, _, _ = self.verify("bad tag")
        self.assertEqual((status, report["malformed"]), (0, 1))
        self.assertGreaterEqual(report["lost"], 1)

    def test_silent_server(self):
        status, report, said, _ = self.verify("silent", "--seconds", "0.1")
        self.assertEqual((status, report), (3, None))
        self.assertIn("answered at first", said)


class OpenLoop(unittest.TestCase):
    """A machine with much else to do may call any of these runs invalid (4): that is a right answer, and what was
    counted holds all the same."""

    def run_at(self, server, rate, *arguments):
        result = bench(server.port, "--rule", "slow", "--rate", rate, *arguments)
        self.assertIn(result[0], (0, 4), result[2])
        self.assertEqual(result[0] == 4, result[1]["invalid"] is not None)
        self.assertEqual((result[1]["mode"], result[1]["blind_to_stalls"]), ("open loop", False))
        return result

    def test_a_stall_shows(self):
        with StandIn("stalls") as server:
            _, report, _ = self.run_at(server, "1000/s", "--seconds", "1.5", "--timeout", "10000")
            self.assertGreaterEqual(server.stalls, 2)
        # 50 were to be sent in each stall, so the slowest of a thousand waited for nearly all of one.
        self.assertEqual((report["checks"], report["lost"]), (1500, 0))
        for percentile in ("p99.9", "p99.99", "max"):
            self.assertGreater(report["latency_us"][percentile], STALL_S * 0.9e6)
        # And half of those 50 waited for more than half of it: 3 % of all.
        self.assertGreater(report["latency_us"]["p99"], STALL_S * 0.45e6)

    def test_the_closed_loop_says_that_it_is_blind(self):
        with StandIn("stalls") as server:
            _, report, _ = bench(server.port, "--rule", "slow", "--requests", "500", "--timeout", "10000")
            text = mete("bench", "--server", f"127.0.0.1:{server.port}", "--rule", "slow", "--requests", "9").stdout
            self.assertGreaterEqual(server.stalls, 1)
        self.assertEqual((report["mode"], report["blind_to_stalls"]), ("closed loop", True))
        self.assertIn("closed loop: latency is blind to stalls", text)

    def test_an_answer_that_never_comes_counts_with_its_wait(self):
        with StandIn("drops") as server:
            _, report, _ = self.run_at(server, "2000/s", "--requests", "400", "--timeout", "150")
        self.assertGreaterEqual(report["lost"], 9)  # one in 40
        self.assertGreaterEqual(report["latency_us"]["p99"], 150e3)
        self.assertGreaterEqual(report["latency_from_send_us"]["p99"], 150e3)

    def test_latency_counts_from_the_intended_send(self):
        with StandIn() as server:  # all due within a microsecond: each waits for those before it to be sent
            _, report, _ = self.run_at(server, "100000000/s", "--requests", "100", "--timeout", "10000")
        self.assertEqual((report["checks"], report["lost"]), (100, 0))
        self.assertGreater(report["latency_us"]["max"], report["latency_from_send_us"]["max"])
        self.assertGreater(report["slip_us"]["max"], 0)

    def test_late_and_duplicate_answers_are_told_apart(self):
        with StandIn("twice") as server:
            _, report, _ = self.run_at(server, "2000/s", "--requests", "400", "--timeout", "10000")
            self.assertEqual([report[name] for name in ("checks", "duplicate", "late", "lost")], [400, 1, 0, 0])
        with StandIn("holds one back") as server:
            _, report, _ = self.run_at(server, "2000/s", "--requests", "400", "--timeout", "20",
                                         "--flows", "1")
            self.assertGreaterEqual(min(report["late"], report["lost"]), 1)
            self.assertEqual(report["duplicate"], 0)

    def test_every_schedule_sends_what_it_promised(self):
        with Daemon() as daemon:
            for schedule, low, high in (("constant", 1000, 1000), ("bursty", 1000, 1000), ("ramp", 500, 501),
                                        ("poisson", 850, 1150)):
                for extra in ((), ("--batch", "2", "--threads", "2", "--join")):
                    status, report, said = bench(daemon.port, "--rate", "5000/s", "--schedule", schedule, "--seconds",
                                                 "0.2", "--timeout", "10000", *extra)
                    self.assertIn(status, (0, 4), said)
                    self.assertEqual(report["checks"], report["allowed"])
                    offered = report["checks"] + report["unsent_datagrams"] * report["options"]["batch"]
                    self.assertTrue(low <= offered <= high, (schedule, extra, offered))
                    slips = sum(part["count"] for part in report["slip_histogram"])
                    self.assertEqual(slips, report["sent_datagrams"] + report["unsent_datagrams"])
                    self.assertLessEqual(report["latency_from_send_us"]["p50"], report["latency_us"]["p50"])

    def test_verify(self):
        with Daemon(config=CONFIG) as daemon:
            for wrong, text in ((0, "token_bucket 50/s burst 3"), (1, "token_bucket 50/s burst 2")):
                status, report, _ = bench(daemon.port, "--rule", "bucket", "--verify", text, "--keys", "60", "--rate",
                                          "4000/s", "--seconds", "0.15", "--timeout", "10000")
                self.assertEqual(report["verify"]["checked"], report["checks"])
                self.assertEqual(report["verify"]["outside"] > 0, wrong)
                self.assertIn(status, (4,) if wrong else (0, 4))

    def test_a_rate_that_no_machine_offers(self):
        with StandIn() as server:
            status, report, said = bench(server.port, "--rule", "slow", "--rate", "100000000/s", "--seconds", "0.1")
        self.assertEqual((status, said.count("\n")), (4, 1))
        self.assertIn("INVALID: the load itself was late", said)
        self.assertIn("this machine cannot offer 100000000/s", said)
        self.assertIn("cannot offer", report["invalid"])
        self.assertGreater(report["latency_us"]["p50"], report["latency_from_send_us"]["p50"])
        self.assertGreater(report["unsent_datagrams"], report["sent_datagrams"])


class Series(unittest.TestCase):
    def test_a_row_for_each_concurrency(self):
        with Daemon() as daemon:
            arguments = ("--concurrency", "1,8,64", "--requests", "500", "--timeout", "10000")
            status, reports, _ = bench(daemon.port, *arguments)
            self.assertEqual(status, 0)
            self.assertEqual([report["options"]["flows"] * report["options"]["outstanding"] for report in reports],
                             [1, 8, 64])
            self.assertEqual([report["checks"] for report in reports], [500] * 3)
            text = mete("bench", "--server", f"127.0.0.1:{daemon.port}", *arguments).stdout
            self.assertEqual([line.split()[0] for line in text.splitlines()[-3:]], ["1", "8", "64"])
            self.assertIn("blind to stalls", text)

    def test_the_rate_that_was_found_was_seen_to_hold(self):
        with Daemon() as daemon:
            status, found, said = bench(daemon.port, "--find-rate", "p50<5s,loss<99%", "--rate", "20000000/s",
                                        "--seconds", "0.05")
        trials = found["trials"]
        self.assertFalse(trials[0]["holds"])  # no machine sends a million datagrams in 50 ms
        if status == 0:
            self.assertEqual((trials[-1]["rate"], trials[-1]["holds"]), (found["rate"], True))
            self.assertGreater(found["failed_rate"], found["rate"])
        else:  # a machine with much else to do
            self.assertEqual((status, found["rate"]), (4, 0), said)

    def test_two_reports_side_by_side(self):
        with tempfile.TemporaryDirectory() as folder, Daemon() as daemon:
            paths = [os.path.join(folder, name) for name in ("a.json", "b.json", "none.json")]
            for path, extra in zip(paths, (("--requests", "400"), ("--requests", "1000", "--rate", "5000"))):
                pathlib.Path(path).write_text(json.dumps(bench(daemon.port, "--timeout", "10000", *extra)[1]))
            done = mete("bench", "--compare", *paths[:2])
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            rows = {line.split("  ")[0]: line.split()[-3:] for line in done.stdout.splitlines()}
            self.assertEqual(rows["checks"], ["400", "1000", "2.500"])
            for row in ("latency_us p99.9", "slip_us p99"):
                self.assertIn(row, rows)
            self.assertIn('not the same: mode: "closed loop" and "open loop"', done.stdout)
            self.assertIn("not the same: option rate: 0 and 5000", done.stdout)
            self.assertNotIn("not the same: machine kernel", done.stdout)
            pathlib.Path(paths[1]).write_text("[1, 2]")
            for wrong in ((paths[0], paths[1]), (paths[2], paths[0]), (paths[0],), (paths[0], paths[0], paths[0])):
                done = mete("bench", "--compare", *wrong)
                self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), wrong)

    def test_no_rate_holds(self):
        with StandIn("drops") as server:
            status, found, said = bench(server.port, "--rule", "slow", "--find-rate", "loss<1%", "--seconds", "0.2",
                                        "--timeout", "20", "--rate", "800")
        self.assertEqual((status, found["rate"], said.count("\n")), (4, 0, 1))
        self.assertIn("no rate holds loss<1%", said)
        self.assertIn("loss", said)


class Echo(unittest.TestCase):
    @unittest.skipUnless(os.path.exists(ECHO), "bench/echo is not built")
    def test_every_echo(self):
        for how in (["--plain"], ["--backend", "mmsg"], ["--backend", "io_uring"]):
            with self.subTest(how):
                server = subprocess.Popen([ECHO, *how, "--join"], stderr=subprocess.PIPE, text=True)
                try:
                    line = server.stderr.readline()
                    port = re.search(r"udp 127\.0\.0\.1:(\d+)", line)[1]
                    for extra in ((), ("--batch", "50"), ("--join",)):
                        if extra == ("--join",) and how == ["--plain"]:
                            continue
                        status, report, _ = bench(port, "--echo", "--requests", "20000", "--timeout", "10000", *extra)
                        self.assertEqual((status, report["checks"], report["lost"]), (0, 20000, 0))
                    server.send_signal(signal.SIGTERM)
                    self.assertEqual(server.wait(PATIENCE_S), 0)
                finally:
                    server.kill()
                    server.wait()
                    server.stderr.close()


class Usage(unittest.TestCase):
    def test_mistakes(self):
        for arguments, says in ((("--batch", "51"), "--batch"), (("--keys", "0"), "--keys"), (("--nosuch",), "no such"),
                                (("--server", "here"), "HOST:PORT"), (("--server", "127.0.0.1:71919"), "HOST:PORT"),
                                (("--port", "1"), "--port: no such option"), (("--verify",), "--verify: its value"),
                                (("--verify", "gibberish"), "--verify"),
                                (("--seconds", "soon"), "--seconds"), (("x",), "'x'"), (("--no-salt",), "--no-salt"),
                                (("--verify", "deny", "--echo"), "--echo"), (("--threads", "9"), "--threads"),
                                (("--zipf", "0"), "--zipf"), (("--hot-key", "101"), "--hot-key"), (("--unique", "--keys", "5"), "--unique"),
                                (("--zipf", "1", "--subjects", "-"), "--zipf"),
                                (("--find-rate", "p99"), "--find-rate"), (("--find-rate", "p98<1us"), "--find-rate"),
                                (("--find-rate", "loss<1%,"), "--find-rate"), (("--concurrency", "1,,2"), "--concurrency"),
                                (("--concurrency", "12"), "--concurrency"),
                                (("--find-rate", "loss<1%", "--requests", "9"), "--requests"),
                                (("--retries", "11"), "--retries"), (("--retries", "1", "--backoff", "1"), "--backoff"),
                                (("--backoff", "1ms"), "--retries"), (("--retries", "1", "--echo"), "--retries"),
                                (("--reset", "--keys", "10000001"), "--reset"), (("--reset", "--unique"), "--reset"),
                                (("--reset", "--echo"), "--reset"),
                                (("--rate", "0/s"), "--rate"), (("--rate", "5/m"), "--rate"), (("--rate", "-1"), "--rate"),
                                (("--rate", "200000000"), "--rate"), (("--schedule", "ramp"), "--rate"),
                                (("--rate", "9", "--schedule", "odd"), "--schedule"),
                                (("--rate", "9", "--outstanding", "4"), "--outstanding"),
                                (("--rate", "9", "--schedule", "ramp", "--subjects", "-"), "--seconds")):
            done = mete("bench", *arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), arguments)
            self.assertIn(says, done.stderr)

    def test_no_such_file_and_no_server(self):
        with StandIn() as server:
            done = mete("bench", "--server", f"127.0.0.1:{server.port}", "--subjects", "/nonexistent/log")
            self.assertEqual(done.returncode, 2)
        port = server.port  # closed again
        done = mete("bench", "--server", f"127.0.0.1:{port}")
        self.assertEqual((done.returncode, done.stderr), (
            3, f"mete bench: no answer from 127.0.0.1:{port}; is the server running, has it a tenant 'default', "
            "and does it trust this address?\n"))

    def test_help(self):
        done = mete("bench", "--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("--verify", done.stdout)


if __name__ == "__main__":
    unittest.main()
