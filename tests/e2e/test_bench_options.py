"""mete bench: retries, reset, verification in every mode, conditions of the sockets, interruption. Runs are fractions of
a second; no figure of speed is asserted."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire  # noqa: E402
from lib.bench_stand_in import SEED, StandIn, bench  # noqa: E402
from lib.daemon import METE, PATIENCE_S, Daemon, mete  # noqa: E402

CONFIG = """
tenants:
  - name: default
    rules:
      - {name: slow, algorithm: token_bucket, rate: 1/h, burst: 5}
      - {name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}
"""
SLOW = ("--rule", "slow", "--verify", "token_bucket 1/h burst 5")


class Retries(unittest.TestCase):
    def test_lost_answers_are_asked_for_again_and_charged_once(self):
        for extra in ((), ("--batch", "5", "--join"), ("--rate", "20000/s")):
            with self.subTest(extra), StandIn("drops", window_ms=9000) as server:
                status, report, said = bench(server.port, *SLOW, "--keys", "40", "--requests", "600", "--timeout", "40",
                                             "--retries", "6", "--backoff", "500us", *extra)
                self.assertIn(status, (0, 4) if "--rate" in extra else (0,), said)
                self.assertEqual((report["checks"], report["lost"], report["verify"]["outside"]), (600, 0, 0))
                self.assertEqual(report["allowed"], sum(server.taken.values()))
                again = [count - 1 for count in server.seen.values() if count > 1]
                self.assertGreater(len(again), 0)
                self.assertEqual((report["retried_datagrams"], report["resends"]), (len(again), sum(again)))
                self.assertGreater(report["repeats"], 0)
                self.assertEqual((report["options"]["retries"], report["options"]["backoff_us"]), (6, 500))
                self.assertGreaterEqual(report["latency_us"]["max"], 40e3)  # from the first send on

    def test_so_many_tries_and_no_more(self):
        for extra in ((), ("--rate", "1000/s")):
            with StandIn("silent", window_ms=9000) as server:
                status, _, said = bench(server.port, "--rule", "slow", "--requests", "5", "--timeout", "20", "--retries", "2",
                                        *extra)
                self.assertEqual(status, 3)
                self.assertIn("answered at first", said)
                self.assertEqual(sorted(server.seen.values()), [3] * 5)

    def test_only_where_they_are_charged_once(self):
        for window_ms, arguments, says in ((0, ("--retries", "1"), "would charge twice"),
                                           (200, ("--retries", "2"), "repeat window of 200 ms"),
                                           (200, ("--retries", "1", "--timeout", "10", "--backoff", "1s"), "--backoff")):
            with StandIn(window_ms=window_ms) as server:
                status, report, said = bench(server.port, "--rule", "slow", *arguments)
                self.assertEqual((status, report, said.count("\n"), server.seen), (2, None, 1, {}))
                self.assertIn(says, said)


class EveryMode(unittest.TestCase):
    MODES = (("--join",), ("--join", "--batch", "20"), ("--threads", "3"), ("--threads", "2", "--batch", "7"),
             ("--threads", "2", "--rate", "20000/s"), ("--threads", "2", "--zipf", "1.1"), ("--unique",))

    def test_right_is_right(self):
        with Daemon(config=CONFIG) as daemon:
            for mode in self.MODES:
                with self.subTest(mode):
                    keys = () if "--unique" in mode else ("--keys", "90")
                    status, report, said = bench(daemon.port, *SLOW, "--requests", "1200", "--timeout", "10000", *keys, *mode)
                    self.assertIn(status, (0, 4) if "--rate" in mode else (0,), said)
                    self.assertEqual((report["checks"], report["verify"]["checked"]), (1200, 1200))
                    self.assertEqual((report["verify"]["outside"], report["verify"]["subjects_outside"]), (0, 0))

    def test_wrong_is_seen(self):
        with Daemon(config=CONFIG) as daemon:
            for mode in self.MODES:
                with self.subTest(mode):
                    keys = () if "--unique" in mode else ("--keys", "90")
                    status, report, _ = bench(daemon.port, "--rule", "slow", "--verify", "token_bucket 1/h burst 4",
                                              "--requests", "1200", "--timeout", "10000", *keys, *mode)
                    self.assertEqual(status, 4)
                    self.assertGreater(report["verify"]["outside"], 0)

    def test_runs_in_a_row_are_judged_as_one(self):
        with Daemon(config=CONFIG) as daemon:
            for wrong, text in ((0, "token_bucket 1/h burst 5"), (1, "token_bucket 1/h burst 6")):
                for series in (("--concurrency", "1,8,16", "--requests", "100"),
                               ("--find-rate", "max<1us", "--rate", "6400/s", "--seconds", "0.05")):  # none holds
                    status, reports, said = bench(daemon.port, "--rule", "slow", "--verify", text, "--keys", "30",
                                                  "--timeout", "10000", *series)
                    last = reports[-1] if "--concurrency" in series else reports["trials"][-1]["report"]
                    self.assertEqual(last["verify"]["outside"] > 0, wrong, said)
                    self.assertEqual(status, 4 if wrong or "--find-rate" in series else 0, said)

    def test_a_file_shared_by_threads(self):
        with tempfile.TemporaryDirectory() as folder, Daemon(config=CONFIG) as daemon:
            path = os.path.join(folder, "list")
            pathlib.Path(path).write_text("".join(f"user{i * i % 37}\n" for i in range(500)))
            arguments = (*SLOW, "--subjects", path, "--threads", "3", "--timeout", "10000")
            status, report, _ = bench(daemon.port, *arguments)
            self.assertEqual((status, report["checks"], report["verify"]["outside"]), (0, 500, 0))
            self.assertEqual(report["allowed"], report["subjects"] * 5)
            pathlib.Path(path).write_text("one\ntwo\n")
            status, _, said = bench(daemon.port, *arguments)
            self.assertEqual((status, said.count("\n")), (2, 1))
            self.assertIn("--threads", said)


class First(unittest.TestCase):
    def test_reset_forgets_only_when_asked(self):
        with Daemon(config=CONFIG) as daemon:
            for extra, allowed in (((), 50), ((), 0), (("--reset",), 50), (("--reset", "--verify", "token_bucket 1/h burst 5"), 50)):
                status, report, said = bench(daemon.port, "--rule", "slow", "--keys", "10", "--requests", "400", "--timeout",
                                             "10000", *extra)
                self.assertEqual((status, report["allowed"]), (0, allowed), said)
                self.assertEqual(report["options"]["reset"], "--reset" in extra)

    def test_the_last_answer(self):
        with Daemon(config=CONFIG) as daemon:
            one = ("--rule", "slow", "--keys", "1", "--requests", "3", "--flows", "1", "--outstanding", "1", "--timeout", "10000")
            status, report, _ = bench(daemon.port, *one)
            self.assertEqual((status, report["last"]["remaining"]), (0, 2))
            hours = report["last"]["reset_after_us"] / 3600e6
            self.assertTrue(2.9 < hours <= 3.001, hours)
            text = mete("bench", "--server", f"127.0.0.1:{daemon.port}", *one).stdout
            self.assertIn("last       remaining 0, full again after 1", text)

    def test_an_empty_file(self):
        with tempfile.NamedTemporaryFile() as empty, StandIn() as server:
            status, _, said = bench(server.port, "--rule", "slow", "--subjects", empty.name)
        self.assertEqual((status, said), (2, f"mete bench: --subjects: {empty.name}: no subjects in it\n"))


class Secrets(unittest.TestCase):
    def test_signed_and_verified(self):
        """The stand-in's codec raises on a bad tag, and then answers nothing any more."""
        for secret, text, index in ((b"correct horse", "correct horse\n", 1), (bytes(range(32)), bytes(range(32)).hex(), 0)):
            with tempfile.TemporaryDirectory() as folder, StandIn(secret=secret, index=index) as server:
                path, subjects = os.path.join(folder, "secret"), os.path.join(folder, "subjects")
                pathlib.Path(path).write_text(text)
                os.chmod(path, 0o600)
                pathlib.Path(subjects).write_text("alice\nbob\nalice\n")
                arguments = ("--rule", "slow", "--tenant", "acme", "--secret-file", path, "--timeout", "10000")
                status, report, said = bench(server.port, *arguments, "--requests", "300", "--batch", "7")
                self.assertEqual((status, report["checks"], report["malformed"]), (0, 300, 0), said)
                server.taken.clear()
                self.assertEqual(bench(server.port, *arguments, "--subjects", subjects)[0], 0)
                self.assertEqual(set(server.taken), {wire.subject_key(name, SEED) for name in (b"alice", b"bob")})

    def test_without_or_with_a_wrong_one(self):
        with tempfile.TemporaryDirectory() as folder, StandIn("ignores", secret=b"right", index=0) as server:
            path = os.path.join(folder, "secret")
            for text, mode, status, says in (("wrong", 0o600, 3, "is that its secret"), ("", 0o600, 2, path),
                                             ("x" * 65, 0o600, 2, path), ("open", 0o644, 2, "chmod 600")):
                pathlib.Path(path).write_text(text)
                os.chmod(path, mode)
                done, _, said = bench(server.port, "--rule", "slow", "--secret-file", path)
                self.assertEqual((done, said.count("\n")), (status, 1), said)
                self.assertIn(says, said)
            self.assertEqual(bench(server.port, "--secret-file", path + "s")[0], 2)
            self.assertEqual(bench(server.port)[0], 3)


class Sockets(unittest.TestCase):
    def test_whose_socket_dropped(self):
        with StandIn("deaf") as server:
            _, report, _ = bench(server.port, "--rule", "slow", "--rate", "40000/s", "--seconds", "0.1", "--timeout", "20")
            drops = pathlib.Path("/proc/net/udp").read_text().splitlines()
            mine = next(line.split() for line in drops if line.split()[1].endswith(f":{server.port:04X}"))
            self.assertEqual(report["socket_drops"], {"load": 0, "server": int(mine[-1]), "server_sockets": 1})
            self.assertGreater(report["socket_drops"]["server"], 0)

    def test_a_server_with_several(self):
        with Daemon(workers=2) as daemon:
            report = bench(daemon.port, "--requests", "1000", "--timeout", "10000")[1]
            self.assertEqual(report["socket_drops"]["server_sockets"], 2)


class Interrupt(unittest.TestCase):
    def run_and_stop(self, port, *arguments):
        process = subprocess.Popen([METE, "bench", "--server", f"127.0.0.1:{port}", "--progress", *arguments],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, line, said

    def test_open_loop(self):
        with Daemon() as daemon:
            status, out, line, _ = self.run_and_stop(daemon.port, "--rate", "1000/s", "--seconds", "600")
            self.assertIn(status, (0, 4))
            self.assertIn("from the intended send", out)
            self.assertRegex(line, r"^ +1 s  0\.\d{4} M checks/s  allowed 100\.0 %")

    def test_the_line_is_of_all_threads(self):
        with StandIn("silent") as server:
            process = subprocess.Popen([METE, "bench", "--server", f"127.0.0.1:{server.port}", "--progress", "--rule", "slow",
                                        "--rate", "1000/s", "--threads", "2", "--seconds", "600", "--timeout", "20"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                for _ in range(PATIENCE_S):
                    seconds, lost = re.search(r"(\d+) s .* lost (\d+)", process.stderr.readline()).groups()
                    if int(lost) > 500 * (int(seconds) + 1):  # one thread has not sent so many
                        break
                else:
                    self.fail("never more than one thread's")
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=PATIENCE_S)

    def test_what_is_in_flight_is_not_waited_for(self):
        with StandIn("drops") as server:
            started = time.monotonic()
            status, out, _, _ = self.run_and_stop(server.port, "--rule", "slow", "--json", "--seconds", "600", "--timeout",
                                                  "60000", "--rate", "500/s")
            self.assertIn(status, (0, 4))
            self.assertGreater(json.loads(out)["cut_off"], 0)
            self.assertLess(time.monotonic() - started, PATIENCE_S)

    def test_search(self):
        with Daemon() as daemon:
            status, out, _, said = self.run_and_stop(daemon.port, "--find-rate", "p99<5s", "--seconds", "600")
            self.assertEqual(status, 4)
            self.assertIn("stopped: 0/s held so far, not confirmed", said)
            self.assertIn("1000/s", out)


if __name__ == "__main__":
    unittest.main()
