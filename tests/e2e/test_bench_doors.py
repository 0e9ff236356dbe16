#!/usr/bin/env python3
"""mete bench --door: against the real daemon's doors and against stand-ins that stall, close and talk nonsense. Runs are fractions
of a second; no figure of speed is asserted."""
import hashlib
import json
import pathlib
import socket
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import METE, PATIENCE_S, Daemon, mete  # noqa: E402

CONFIG = f"""
tenants:
  - name: default
    rules:
      - {{name: slow, algorithm: token_bucket, rate: 1/h, burst: 5}}
      - {{name: bucket, algorithm: token_bucket, rate: 50/s, burst: 3}}
  - name: acme
    rules: [{{name: slow, algorithm: token_bucket, rate: 1/h, burst: 5}}]
    api_keys: [{{name: asks, sha256: {hashlib.sha256(b"asks").hexdigest()}, may: check}}]
"""
ON = ("listen.resp=127.0.0.1:0", "listen.http=127.0.0.1:0")
OK, PONG = b"*5\r\n:1\r\n:9\r\n:0\r\n:500\r\n$2\r\nok\r\n", b"+PONG\r\n"


def bench(door, server, *arguments):
    done = mete("bench", "--door", door, "--server", server, "--json", *arguments)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def doors(daemon):
    return (("resp", daemon.resp), ("http", daemon.http))


class RealDaemon(unittest.TestCase):
    def test_load_and_verify(self):
        with Daemon(CONFIG, ON) as daemon:
            for door, server in doors(daemon):
                for extra in (("--outstanding", "1"), ("--outstanding", "7", "--cost", "2"), ("--threads", "2"),
                              ("--rate", "5000/s"), ("--unique",)):
                    with self.subTest(door=door, extra=extra):
                        status, report, said = bench(door, server, "--rule", "bucket", "--verify", "token_bucket 50/s burst 3",
                                                     *(() if "--unique" in extra else ("--keys", "60")), "--flows", "3",
                                                     "--requests", "2000", "--timeout", "10000", *extra)
                        self.assertIn(status, (0, 4) if "--rate" in extra else (0,), said)
                        self.assertEqual((report["verify"]["example"], report["verify"]["checked"]), (None, 2000))
                        self.assertEqual([report[name] for name in ("checks", "lost", "malformed", "closed")], [2000, 0, 0, 0])
                        self.assertEqual(report["allowed"] + report["denied"], 2000)
                        self.assertEqual(report["options"]["door"], door)
                        self.assertGreater(report["allowed"], 0)

    def test_verify_tells_another_rule(self):
        with Daemon(CONFIG, ON) as daemon:
            for door, server in doors(daemon):
                for wrong in ("token_bucket 1/h burst 4", "token_bucket 1/h burst 6", "deny"):
                    status, report, _ = bench(door, server, "--rule", "slow", "--verify", wrong, "--keys", "20", "--requests",
                                              "400", "--timeout", "10000")
                    self.assertEqual(status, 4, (door, wrong))
                    self.assertGreater(report["verify"]["outside"] + report["verify"]["subjects_outside"], 0)

    def test_the_same_buckets_as_another_asks(self):
        with Daemon(CONFIG, ON) as daemon:
            for door, server in doors(daemon):  # five of each of ten subjects, whoever asks
                bench(door, server, "--rule", "slow", "--keys", "10", "--requests", "400", "--timeout", "10000")
                self.assertEqual(daemon.rule("slow")["units"], 50)

    def test_what_else_is_asked(self):
        with Daemon(CONFIG, ON) as daemon:
            for door, server, ask, allowed in (("resp", daemon.resp, "CL.THROTTLE {} 4 1 10000", 50), ("resp", daemon.resp, "ECHO a{}", 400),
                                               ("http", daemon.http, "/check?rule=slow&subject=x{}", 50)):
                status, report, said = bench(door, server, "--ask", ask, "--keys", "10", "--requests", "400", "--timeout", "10000")
                self.assertEqual((status, report["allowed"], report["allowed"] + report["denied"]), (0, allowed, 400), said)

    def test_api_key(self):
        with Daemon(CONFIG, ON) as daemon:
            right, wrong = pathlib.Path(daemon.folder, "right"), pathlib.Path(daemon.folder, "wrong")
            right.write_text("asks\n")
            wrong.write_text("other\n")
            for door, server in doors(daemon):
                status, report, _ = bench(door, server, "--rule", "slow", "--secret-file", str(right), "--keys", "10",
                                          "--requests", "100", "--timeout", "10000")
                self.assertEqual((status, report["allowed"]), (0, 50 if door == "resp" else 0))
                status, report, said = bench(door, server, "--rule", "slow", "--secret-file", str(wrong), "--requests", "10")
                self.assertEqual((status, report, said.count("\n")), (2, None, 1), said)
            self.assertEqual(daemon.rule("slow", "acme")["units"], 50)
            status, _, said = bench("resp", daemon.resp, "--rule", "no-such")
            self.assertEqual((status, said), (2, f"mete bench: --rule: the server at {daemon.resp} knows no rule 'no-such'\n"))

    def test_what_does_not_fit(self):
        for arguments, says in ((("--batch", "2"), "--batch is of datagrams"), (("--join",), "--join"), (("--echo",), "--echo"),
                                (("--retries", "1"), "--retries"), (("--reset",), "--reset"),
                                (("--verify", "fixed_window 4/20ms"), "no windows there"),
                                (("--ask", "GET {}", "--verify", "deny"), "not of --ask"), (("--ask", "PING"), "has no {}")):
            status, report, said = bench("resp", "127.0.0.1:1", *arguments)
            self.assertEqual((status, report, said.count("\n")), (2, None, 1), said)
            self.assertIn(says, said)
        done = mete("bench", "--door", "smtp")
        self.assertEqual((done.returncode, done.stderr), (2, "mete bench: --door: 'smtp' is not one of resp, http, grpc\n"))
        done = mete("bench", "--ask", "GET {}")
        self.assertEqual((done.returncode, done.stderr), (2, "mete bench: --ask belongs to --door\n"))

    def test_nobody_there(self):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            for door in ("resp", "http"):
                status, _, said = bench(door, f"127.0.0.1:{one.getsockname()[1]}")
                self.assertEqual((status, said.count("\n")), (3, 1))
                self.assertIn(f"is its {door} door open?", said)


class StandIn:
    """Answers the first connection's question, then gives every later one to `fault`."""

    def __init__(self, fault):
        self.fault, self.socket = fault, socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self._serve, daemon=True)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE_S)
        self.socket.close()

    def _serve(self):
        first = True
        while not self.done.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self._talk, args=(connection, first), daemon=True))
            self.threads[-1].start()
            first = False

    def _talk(self, connection, first):
        connection.settimeout(PATIENCE_S)
        with connection:
            try:
                if first:
                    connection.recv(4096)
                    connection.sendall(OK)
                    connection.recv(1)
                else:
                    self.fault(self, connection)
            except OSError:
                pass


def late(server, connection):
    """The first answer waits until everybody has given up on it."""
    data = connection.recv(65536)
    threading.Event().wait(0.15)
    while data:
        connection.sendall(OK * data.count(b"METE.CHECK"))
        data = connection.recv(65536)


def closes(server, connection):
    connection.recv(4096)
    connection.sendall(OK)


def too_many(server, connection):
    connection.recv(4096)
    connection.sendall(OK * 100)
    server.done.wait(PATIENCE_S)


def nonsense(server, connection):
    connection.recv(4096)
    connection.sendall(b"hello\r\n")
    server.done.wait(PATIENCE_S)


class Faults(unittest.TestCase):
    def run_with(self, fault):
        """Nothing here is to be late, however crowded the machine: what was given up would be lost, and no answer count."""
        with StandIn(fault) as server:
            return bench("resp", server.address, "--flows", "2", "--outstanding", "3", "--requests", "60", "--timeout",
                         str(PATIENCE_S * 1000))

    def test_late_answers_are_lost_and_told(self):
        for extra in ((), ("--rate", "1000/s")):
            with StandIn(late) as server:
                status, report, said = bench("resp", server.address, "--flows", "1", "--requests", "200", "--timeout", "50",
                                             *(extra or ("--outstanding", "3")))
            self.assertIn(status, (0, 4), said)
            self.assertGreaterEqual(report["lost"], 3)
            self.assertGreaterEqual(report["late"], 3)
            self.assertEqual(report["checks"] + report["lost"], report["sent_datagrams"])
            self.assertEqual(report["malformed"], 0)

    def test_a_connection_that_ends(self):
        status, report, said = self.run_with(closes)
        self.assertEqual(status, 0, said)
        self.assertEqual((report["closed"], report["checks"], report["lost"] > 0), (2, 2, True))

    def test_answers_that_nobody_asked_for(self):
        status, report, said = self.run_with(too_many)
        self.assertEqual((report["malformed"], report["closed"]), (2, 2), said)

    def test_nonsense(self):
        status, report, said = self.run_with(nonsense)
        self.assertEqual(status, 3)
        self.assertIn("answered at first, but none of 6 requests", said)


if __name__ == "__main__":
    unittest.main()
