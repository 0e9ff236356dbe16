#!/usr/bin/env python3
"""`mete acquire` and `mete usage` as a shell uses them, against the real daemon: exit statuses, signals, waiting, that a
slot is held while the command runs and free when it has ended, however it ended, and that looking charges nothing."""
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import METE, PATIENCE_S, Client, Daemon, mete
from lib.mete_wire import ACQUIRE, ALLOW, PEEK, RELEASE, RENEW

LOOP = "echo ready; while :; do sleep 0.05; done"
CONFIG = """
tenants:
  - name: default
    rules:
      - {name: jobs, algorithm: concurrency, limit: 2, lease: 1h}
      - {name: brief, algorithm: concurrency, limit: 1, lease: 300ms}
      - {name: watched, algorithm: concurrency, limit: 1, lease: 1h, shadow: true}
      - {name: bucket, algorithm: token_bucket, rate: 1/h, burst: 5}
      - {name: open, algorithm: unlimited}
      - {name: shut, algorithm: deny}
  - name: other
    rules: [{name: jobs, algorithm: concurrency, limit: 4, lease: 1h}]
"""


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(CONFIG, workers=2)
        cls.addClassCleanup(cls.daemon.close)
        cls.client = Client(cls.daemon.address)
        cls.addClassCleanup(cls.client.__exit__)
        cls.server = ("--server", "%s:%d" % cls.daemon.address)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def setUp(self):
        self.subject = self.id()

    def left(self, rule="jobs"):
        return self.client.check(rule, self.subject.encode(), 1, flags=PEEK).remaining

    def wait_for(self, what, value):
        last = time.monotonic() + PATIENCE_S
        while (got := what()) != value:
            self.assertLess(time.monotonic(), last, got)
            time.sleep(0.01)


class Acquire(Case):
    def acquire(self, *words, rule="jobs", options=()):
        return mete("acquire", rule, self.subject, *self.server, *options, "--", *words)

    def start(self, *words, rule="jobs", options=()):
        process = subprocess.Popen([METE, "acquire", rule, self.subject, *self.server, *options, "--", *words],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        try:
            os.killpg(process.pid, signal.SIGKILL)  # its own group: it and what it runs
        except ProcessLookupError:
            pass
        process.communicate()

    def ready(self, process):
        self.assertEqual(process.stdout.readline(), "ready\n")

    def test_status_of_the_command(self):
        for words, status in ((["true"], 0), (["false"], 1), (["sh", "-c", "exit 42"], 42),
                              (["sh", "-c", "kill -9 $$"], 128 + 9)):
            done = self.acquire(*words)
            self.assertEqual((done.returncode, done.stderr), (status, ""), words)
            self.assertEqual(self.left(), 2)
        done = self.acquire("./there is no such command")
        self.assertEqual(done.returncode, 127)
        self.assertIn("No such file", done.stderr)
        self.assertEqual(self.acquire("/").returncode, 126)
        self.assertEqual(self.left(), 2)

    def test_output_and_arguments_are_the_commands(self):
        done = self.acquire("printf", "%s.", "--cost", "a b", "--")
        self.assertEqual((done.stdout, done.stderr), ("--cost.a b.--.", ""))

    def test_held_while_it_runs(self):
        process = self.start("sh", "-c", LOOP, options=["--cost", "2"])
        self.ready(process)
        self.assertEqual(self.left(), 0)
        done = self.acquire("true")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "mete acquire: denied: 0 free, 1 wanted\n")
        process.terminate()
        process.wait(PATIENCE_S)
        self.assertEqual(self.left(), 2)

    def test_signals_are_passed_on(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # whoever started the suite may ignore it (nohup does), and a shell cannot trap what was ignored before it
            self.addCleanup(signal.signal, number, signal.signal(number, signal.SIG_DFL))
            process = self.start("sh", "-c", "trap 'echo caught; exit 7' TERM INT HUP; echo ready; "
                                             "while :; do sleep 0.05; done")
            self.ready(process)
            process.send_signal(number)
            self.assertEqual(process.wait(PATIENCE_S), 7, number)
            self.assertEqual(process.stdout.read(), "caught\n")
            process = self.start("sh", "-c", "echo ready; exec sleep 100")
            self.ready(process)
            process.send_signal(number)
            self.assertEqual(process.wait(PATIENCE_S), 128 + number)
            self.assertEqual(self.left(), 2)

    def test_wait_until_there_is_one(self):
        first = self.start("sh", "-c", LOOP, options=["--cost", "2"])
        self.ready(first)
        waiting = [self.start("echo", "ready", options=["--wait", "5m"]) for _ in range(3)]
        for process in waiting:
            self.assertIsNone(process.poll())
        first.terminate()
        for process in waiting:
            self.ready(process)
            self.assertEqual(process.wait(PATIENCE_S), 0)
        self.assertEqual(self.left(), 2)

    def test_wait_in_vain(self):
        first = self.start("sh", "-c", LOOP, options=["--cost", "2"])
        self.ready(first)
        began = time.monotonic()
        done = self.acquire("echo", "ran", options=["--wait", "300ms"])
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertGreaterEqual(time.monotonic() - began, 0.3)
        process = self.start("echo", "ran", options=["--wait", "1h"])
        time.sleep(0.1)  # so that it waits; whether it does is nothing that fails
        process.send_signal(signal.SIGTERM)
        self.assertIn(process.wait(PATIENCE_S), (128 + signal.SIGTERM, -signal.SIGTERM))
        self.assertEqual(process.stdout.read(), "")

    def test_renewed_for_longer_than_a_lease(self):
        """Its lease is 300 ms; it ends when it has been held for five of them, on a machine that lets it."""
        process = self.start("sh", "-c", LOOP, rule="brief")
        self.ready(process)
        before = self.daemon.stats()["total"]["renewed"]
        self.wait_for(lambda: self.daemon.stats()["total"]["renewed"] >= before + 15, True)
        process.terminate()
        process.wait(PATIENCE_S)
        self.assertEqual(self.left("brief"), 1)

    def test_killed_it_comes_back(self):
        process = self.start("sh", "-c", LOOP, rule="brief")
        self.ready(process)
        process.kill()
        process.wait()
        self.wait_for(lambda: self.left("brief"), 1)

    def test_forgotten_by_the_server_it_is_taken_again(self):
        with Daemon(CONFIG) as daemon:
            self.server = ("--server", "%s:%d" % daemon.address)
            process = self.start("sh", "-c", LOOP, rule="brief")
            self.ready(process)
            daemon.stop(signal.SIGTERM)
            with Daemon(CONFIG, listen="127.0.0.1:%d" % daemon.port) as again, again.client() as client:
                self.wait_for(lambda: client.check("brief", self.subject.encode(), 1, flags=PEEK).remaining, 0)
                process.terminate()
                process.wait(PATIENCE_S)
                self.wait_for(lambda: client.check("brief", self.subject.encode(), 1, flags=PEEK).remaining, 1)

    def test_lost_to_another(self):
        """It is said once, and the command goes on."""
        process = self.start("sh", "-c", LOOP, rule="brief")
        self.ready(process)
        process.send_signal(signal.SIGSTOP)  # for longer than the lease
        lease = 77
        def take():
            return self.client.limits(ACQUIRE, "brief", self.subject.encode(), lease_id=lease).entries[0].flags
        self.wait_for(take, ALLOW)
        process.send_signal(signal.SIGCONT)
        last = time.monotonic() + PATIENCE_S
        said = ""
        while "lost" not in said:
            self.assertLess(time.monotonic(), last)
            self.client.limits(RENEW, "brief", self.subject.encode(), lease_id=lease)
            if select.select([process.stderr], [], [], 0.01)[0]:
                said += os.read(process.stderr.fileno(), 4096).decode()
        self.assertTrue(said.startswith("mete acquire: the slot is lost: the server has given it to others; "
                                        "the command goes on without it\n"), said)
        self.assertIsNone(process.poll())
        self.client.limits(RELEASE, "brief", self.subject.encode(), lease_id=lease)
        process.terminate()
        self.assertEqual(process.wait(PATIENCE_S), 128 + signal.SIGTERM)
        self.wait_for(lambda: self.left("brief"), 1)

    def test_shadow_runs_without_a_slot(self):
        process = self.start("sh", "-c", LOOP, rule="watched")
        self.ready(process)
        self.assertEqual(self.acquire("true", rule="watched").returncode, 0)
        self.assertEqual(self.left("watched"), 0)

    def test_denied_for_ever_does_not_wait(self):
        done = self.acquire("true", options=["--cost", "3", "--wait", "1h"])
        self.assertEqual((done.returncode, done.stderr), (1, "mete acquire: denied: 3 slots are more than the rule has\n"))

    def test_no_server(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            done = mete("acquire", "jobs", "a", "--server", "127.0.0.1:%d" % silent.getsockname()[1], "--timeout", "50",
                        "--", "echo", "ran")
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("no answer from 127.0.0.1", done.stderr)

    def test_wrong_use(self):
        for words, phrase in ((("jobs", "a"), "needs RULE, SUBJECT and behind -- a COMMAND"),
                              (("jobs", "a", "--"), "needs RULE, SUBJECT and behind -- a COMMAND"),
                              (("jobs", "a", "--cost", "0", "--", "true"), "--cost: '0' is not a whole number from 1"),
                              (("jobs", "a", "--wait", "10", "--", "true"), "--wait: '10' is not a time like 10s"),
                              (("jobs", "a", "--wait", "-1s", "--", "true"), "--wait: '-1s' is not a time"),
                              (("jobs", "", "--", "true"), "the subject is empty"),
                              (("jobs", "a", "--what", "--", "true"), "--what"),
                              (("bucket", "a", *self.server, "--", "true"), "rule 'bucket' has no slots"),
                              (("nobody's", "a", *self.server, "--", "true"), "has no rule 'nobody's'")):
            done = mete("acquire", *words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn(phrase, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn("usage: mete acquire", mete("acquire", "--help").stdout)


class Usage(Case):
    def usage(self, *words, status=0):
        done = mete("usage", *words, "--admin", self.daemon.admin)
        self.assertEqual(done.returncode, status, done.stderr)
        if status:
            self.assertEqual((done.stdout, len(done.stderr.splitlines())), ("", 1))
        return done.stderr if status else done.stdout

    def test_what_is_left(self):
        subject = self.subject.encode()
        self.client.check("bucket", subject, 2)
        self.client.limits(ACQUIRE, "jobs", subject, lease_id=5)
        for _ in range(3):  # nothing is charged by looking
            left = {rule["rule"]: rule for rule in
                    json.loads(self.usage("default", "*", self.subject, *self.server, "--json"))}
            self.assertEqual({name: rule["remaining"] for name, rule in left.items()},
                             {"jobs": 1, "brief": 1, "watched": 1, "bucket": 3, "open": None, "shut": 0})
        self.assertEqual({rule["status"] for rule in left.values()}, {"ok"})
        self.assertIsNone(left["shut"]["retry_after_us"])
        self.assertGreater(left["bucket"]["reset_after_us"], 0)
        text = self.usage("default", "bucket,jobs", self.subject, *self.server)
        self.assertRegex(text, r"(?m)\Abucket +3 left, full in .*\njobs +1 left, full in .*\n\Z")
        self.assertEqual(json.loads(self.usage("other", "jobs", self.subject, *self.server, "--json"))[0]["remaining"], 4)

    def test_one_datagram_asks_several_rules(self):
        before = self.daemon.stats()["total"]
        self.usage("default", "bucket,jobs,brief,open", self.subject, *self.server)
        after = self.daemon.stats()["total"]
        self.assertEqual(after["peeked"] - before["peeked"], 4)
        self.assertLessEqual(after["received"] - before["received"], 2)  # and a HELLO

    def test_what_was_used(self):
        self.client.check("bucket", self.subject.encode(), 2)
        rules = {rule["rule"]: rule for rule in json.loads(self.usage("default", "--json"))}
        self.assertLessEqual({"jobs", "brief", "watched", "bucket", "open", "shut"}, set(rules))
        one, = json.loads(self.usage("default", "bucket", "--json"))
        self.assertEqual(one, rules["bucket"])
        self.assertGreaterEqual(one["units"], 2)
        self.assertRegex(self.usage("default", "bucket"), r"\Arule +allowed +denied .*\nbucket +\d+ .*\n\Z")

    def test_bad_input(self):
        for words, status, phrase in (
                ((), 2, "needs TENANT"), (("a", "b", "c", "d"), 2, "not 4 words"),
                (("default", ""), 2, "the rule is empty"), (("nobody",), 2, "no tenant 'nobody'"),
                (("default", "nothing"), 2, "tenant 'default' has no rule 'nothing'"),
                (("default", "nothing", "a", *self.server), 2, "no rule 'nothing'"),
                (("default", "bucket,", "a", *self.server), 2, "names an empty rule"),
                (("nobody", "*", "a", *self.server), 2, "no tenant 'nobody'"),
                (("nobody", "api", "a", *self.server, "--timeout", "50"), 3, "no answer")):
            self.assertIn(phrase, self.usage(*words, status=status))
        done = mete("usage", "default", "--admin", "/nonexistent/socket")
        self.assertEqual(done.returncode, 3)
        self.assertIn("no daemon answers at /nonexistent/socket", done.stderr)
        self.assertIn("usage: mete usage", mete("usage", "--help").stdout)


del Case  # not a test by itself

if __name__ == "__main__":
    unittest.main()
