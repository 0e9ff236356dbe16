#!/usr/bin/env python3
"""Upgrades of a daemon that serves (`mete serve --take-over`): no request stays without an answer, each is charged once,
and one that fails leaves the old process serving with the table that it had.

METE_UPGRADES is how many upgrades the load tests make (4); `make upgrade ROUNDS=100` prints what they counted."""
import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, METE, PATIENCE_S, SANITIZED, Client, Daemon, mete
from lib.upgrades import (COUNTED, LIMIT, READY, TABLE, TAKEN, Chain, Load, StandIn, Successor, end, refused, upgrade,
                          upgrade_under_load)

ROUNDS = int(os.environ.get("METE_UPGRADES", "4"))


class Answered(unittest.TestCase):
    def rounds(self, chain, *more):
        upgrade_under_load(chain, ROUNDS, *more)

    def test_under_load(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), Chain(COUNTED, backend=backend, workers=2) as chain:
                self.rounds(chain)

    def test_under_load_with_a_table_file(self):
        """The new process maps what the old one has; and a restart afterwards finds it."""
        folder = tempfile.mkdtemp(dir="/dev/shm")
        self.addCleanup(shutil.rmtree, folder)
        with Chain(COUNTED, [f"table.file={folder}/table"], workers=2) as chain:
            self.rounds(chain)
            self.assertIn("joined", chain.now.said[-1])
            with chain.now.client() as client:
                used = LIMIT - client.check("count", b"flow0", 0).remaining
        with Daemon(COUNTED, [f"table.file={folder}/table"], workers=2) as daemon, daemon.client() as client:
            self.assertEqual(LIMIT - client.check("count", b"flow0", 0).remaining, used)

    def test_into_and_out_of_a_file(self):
        folder = tempfile.mkdtemp(dir="/dev/shm")
        self.addCleanup(shutil.rmtree, folder)
        with Chain(COUNTED) as chain, chain.now.client() as client:
            client.check("count", b"a", 3)
            for file, word in ((f"{folder}/one", "taken over"), (f"{folder}/two", "taken over"), (f"{folder}/two", "joined"),
                               ("none", "taken over")):
                chain.upgrade("--set", f"table.file={file}")
                self.assertIn(word, chain.now.said[-1])
                client.check("count", b"a")
            self.assertEqual(client.check("count", b"a", 0).remaining, LIMIT - 7)

    def test_other_numbers_of_workers(self):
        """Every socket of the old one is read by somebody: flows are spread over them by their ports."""
        with Chain(COUNTED, workers=2) as chain, Load(chain.now, flows=12) as load:
            for workers in (3, 1, 2, 4):
                load.wait_for_more(3)
                chain.upgrade("--set", f"workers={workers}")
                self.assertEqual(chain.now.workers, workers)
            load.wait_for_more(3)
            load.__exit__()
            load.judge(chain.now)

    def test_a_retry_is_still_a_repeat(self):
        with Chain(COUNTED) as chain, chain.now.client() as client:
            request = client.request(wire.CHECK, "count", b"a", 5)
            first = client.ask(request)
            boot = first.boot_bits
            chain.upgrade()
            again = client.ask(request)
            self.assertTrue(again.entries[0].flags & wire.REPEAT)
            self.assertEqual(again.boot_bits, boot)
            self.assertEqual(client.check("count", b"a", 0).remaining, LIMIT - 5)

    def test_leases_go_over(self):
        with Chain(COUNTED) as chain, chain.now.client() as client:
            ask = lambda type_, lease: client.limits(type_, "jobs", b"a", lease_id=lease).entries[0].allowed
            self.assertEqual([ask(wire.ACQUIRE, lease) for lease in (1, 2, 3)], [True] * 3)
            chain.upgrade()
            self.assertFalse(ask(wire.ACQUIRE, 4))
            self.assertTrue(ask(wire.RELEASE, 2))
            self.assertTrue(ask(wire.ACQUIRE, 4))

    def test_other_rules(self):
        """What the new file says holds at once; what stayed goes on."""
        with Chain(COUNTED) as chain, chain.now.client() as client:
            client.check("count", b"a", 5)
            path = pathlib.Path(chain.now.folder, "mete.yaml")
            path.write_text(COUNTED.replace(f"limit: {LIMIT}", "limit: 10") + "      - {name: fresh, algorithm: fixed_window, limit: 2/365d}\n")
            chain.upgrade()
            self.assertEqual(client.check("count", b"a").remaining, 4)
            self.assertEqual(client.check("fresh", b"a").remaining, 1)

    def test_doors(self):
        """Listeners go over, by address and by path; what is asked on a new connection is the same bucket."""
        folder = tempfile.mkdtemp(prefix="mete-")
        self.addCleanup(shutil.rmtree, folder)
        sets = ["listen.http=127.0.0.1:0", f"listen.resp={folder}/resp", f"listen.unix={folder}/unix",
                "listen.grpc=127.0.0.1:0", "listen.metrics=127.0.0.1:0"]
        with Chain(COUNTED, sets) as chain:
            places = {chain.now.http, chain.now.grpc, chain.now.metrics}
            self.ask_doors(chain.now, folder, 0)
            for asked in (1, 2):
                chain.upgrade()
                self.assertEqual({chain.now.http, chain.now.grpc, chain.now.metrics}, places)
                self.ask_doors(chain.now, folder, asked)
        self.assertEqual(os.listdir(folder), [])

    def ask_doors(self, daemon, folder, asked):
        web = http.client.HTTPConnection(*daemon.http.split(":"), timeout=PATIENCE_S)
        web.request("GET", "/check?rule=count&subject=a")
        answer = web.getresponse()
        answer.read()
        self.assertEqual(answer.status, 200)
        self.assertEqual(int(answer.headers["X-RateLimit-Remaining"]), LIMIT - 3 * asked - 1)
        web.close()
        with socket.socket(socket.AF_UNIX) as redis:
            redis.settimeout(PATIENCE_S)
            redis.connect(f"{folder}/resp")
            redis.sendall(b"METE.CHECK count a\r\n")
            self.assertIn(b":1\r\n", redis.recv(4096))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local, daemon.client() as client:
            local.settimeout(PATIENCE_S)
            local.bind(f"{folder}/me")
            request = client.request(wire.CHECK, "count", b"a")
            local.sendto(request, f"{folder}/unix")
            result = wire.decode_result(local.recv(65536), wire.tag_of(request))
            self.assertEqual(result.entries[0].remaining, LIMIT - 3 * asked - 3)
        os.unlink(f"{folder}/me")
        metrics = http.client.HTTPConnection(*daemon.metrics.split(":"), timeout=PATIENCE_S)
        metrics.request("GET", "/metrics")
        self.assertEqual(metrics.getresponse().status, 200)
        metrics.close()

    def test_requests_on_a_connection_are_answered(self):
        """Whatever was asked on a connection before it ends has its answer; the rest is asked on the next."""
        answered = threading.Event()
        counts = {"asked": 0, "answered": 0}
        with Chain(COUNTED, ["listen.http=127.0.0.1:0"]) as chain:
            host, port = chain.now.http.split(":")

            def ask():
                web = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
                while not answered.is_set():
                    try:
                        web.request("GET", "/check?rule=count&subject=web")
                        web.getresponse().read()
                        counts["answered"] += 1
                    except (http.client.HTTPException, OSError):  # a connection that ended: the next is for the new one
                        web.close()
                web.close()

            thread = threading.Thread(target=ask)
            thread.start()
            try:
                for _ in range(3):
                    goal = counts["answered"] + 5
                    while counts["answered"] < goal:
                        time.sleep(0.005)
                    chain.upgrade()
                goal = counts["answered"] + 5
                while counts["answered"] < goal:
                    time.sleep(0.005)
            finally:
                answered.set()
                thread.join(PATIENCE_S)


class Refused(unittest.TestCase):
    """Whatever goes wrong: one line that says what, and the old process serves on with its table."""

    def setUp(self):
        self.daemon = Daemon(COUNTED, workers=2)
        self.addCleanup(self.daemon.close)
        self.client = self.daemon.client()
        self.addCleanup(self.client.socket.close)
        self.used = 0

    def tearDown(self):
        self.still_serves()
        self.daemon.stop()

    def still_serves(self):
        self.used += 1
        self.assertEqual(self.client.check("count", b"a").remaining, LIMIT - self.used)

    def hear_daemon(self, words):
        while words not in (line := self.daemon.lines.get(timeout=PATIENCE_S)):
            pass
        return line

    def test_configurations(self):
        bad = pathlib.Path(self.daemon.folder, "bad.yaml")
        bad.write_text("tenants: [{name: }]\n")
        self.assertIn("bad.yaml:1: tenants[0].name", refused(self.daemon, "--config", str(bad)))
        self.still_serves()
        for more, words in ((["--set", "table.entries=131072"], "table.entries: is 131072, and 65536 in the daemon that serves; "
                             "an upgrade keeps the table: restart it instead"),
                            (["--set", "repeats.window=0"], "repeats.window"),
                            (["--set", "redis.url=redis://127.0.0.1:1"], "redis.url: is set, and none in the daemon that serves"),
                            (["--set", "backend=af_xdp", "--set", "listen.interface=lo", "--set", "listen.udp=0.0.0.0:0", "--set",
                              "trusted_networks=192.0.2.0/24"], "backend: is af_xdp, and another in the daemon that serves"),
                            (["--set", "listen.admin=none"], "listen.admin is none"),
                            (["--set", "listen.admin=/nowhere/socket"], "no daemon to take over from at /nowhere/socket"),
                            (["--set", "listen.http=/nowhere/http"], "listen.http: /nowhere/http")):
            with self.subTest(more=more):
                self.assertIn(words, refused(self.daemon, *more))
                self.still_serves()

    def test_regions_that_differ(self):
        path = pathlib.Path(self.daemon.folder, "mete.yaml")
        path.write_text(COUNTED.replace("- name: default\n", "- name: default\n    entries: 4096\n"))
        self.assertIn("has other regions", refused(self.daemon))

    def test_another_version(self):
        with StandIn(self.daemon, b"handover 3 v99\n") as other:
            self.assertRegex(other.socket.recv(4096).decode(), "error: version .* speaks hand-over 2, the new one 3: restart it instead")
        self.still_serves()
        for command in (b"handover\n", b"handover x\n", b"handover 18446744073709551617 x\n"):
            with StandIn(self.daemon, command) as other:
                self.assertIn("error: ", other.socket.recv(4096).decode())

    def test_it_goes_away(self):
        """At every step: before, at and after the pause."""
        with StandIn(self.daemon) as new:
            new.hear()
        self.hear_daemon("did not take over: it is gone; serving on")
        self.still_serves()
        with StandIn(self.daemon) as new:
            new.hear_all()
            new.say(READY)
        self.hear_daemon("serving on")
        self.still_serves()
        with StandIn(self.daemon) as new:
            new.hear_all()
            new.say(READY)
            self.assertEqual(new.hear()[0], TABLE)
            new.exactly(4096)
        self.hear_daemon("serving on")
        self.still_serves()
        with StandIn(self.daemon) as new:
            new.hear_all()
            new.say(TAKEN)
        self.hear_daemon("serving on")
        self.still_serves()
        with StandIn(self.daemon) as new:
            new.hear_all()
            new.socket.sendall(os.urandom(4096))
        self.hear_daemon("serving on")

    def test_it_stands_still(self):
        """What comes in the pause waits in the sockets, and is answered when the pause is over."""
        with StandIn(self.daemon) as new:
            new.hear_all()
            self.still_serves()  # for as long as it likes
            new.say(READY)
            self.assertEqual(new.hear()[0], TABLE)
            self.used += 1
            self.client.send(request := self.client.request(wire.CHECK, "count", b"a"))
            self.assertEqual(self.client.receive(request).entries[0].remaining, LIMIT - self.used)
            self.hear_daemon("it stood still for too long; serving on")
        self.still_serves()

    def test_a_stopped_process(self):
        new = subprocess.Popen([*self.daemon.arguments, "--take-over"], stderr=subprocess.DEVNULL)
        os.kill(new.pid, signal.SIGSTOP)
        self.still_serves()
        new.kill()
        new.wait(PATIENCE_S)

    def test_killed_at_any_time(self):
        """A real one, killed later and later until it is through."""
        for delay in (0, 0.005, 0.02, 0.05, 0.1):
            new = subprocess.Popen([*self.daemon.arguments, "--take-over"], stderr=subprocess.DEVNULL)
            try:
                self.daemon.process.wait(delay)
            except subprocess.TimeoutExpired:
                pass
            new.kill()
            new.wait(PATIENCE_S)
            if self.daemon.process.poll() is not None or "handed over" in self.daemon.said[-1]:
                break
            self.still_serves()
        if self.daemon.process.poll() is None and "handed over" not in self.daemon.said[-1]:
            return
        end(self.daemon)  # it was through: the next starts anew
        self.daemon.close()
        self.daemon = Daemon(COUNTED)
        self.client = self.daemon.client()
        self.used = 0

    def test_two_at_once(self):
        with StandIn(self.daemon) as first:
            first.hear_all()
            with StandIn(self.daemon) as second:
                second.hear_all()
                self.hear_daemon("another one asks")
                self.assertEqual(first.socket.recv(1), b"")

    @unittest.skipIf(os.getuid() != 0, "needs root to be somebody else")
    def test_another_user(self):
        def nobody():
            os.setgid(65534)
            os.setuid(65534)
        try:
            subprocess.run([self.daemon.arguments[0], "version"], capture_output=True, check=True, preexec_fn=nobody)
        except PermissionError:
            self.skipTest("nobody else may enter the folder of this clone")
        os.chmod(self.daemon.folder, 0o755)
        os.chmod(pathlib.Path(self.daemon.folder, "mete.yaml"), 0o644)
        done = subprocess.run([*self.daemon.arguments, "--take-over"], text=True, capture_output=True, timeout=PATIENCE_S,
                              preexec_fn=nobody)
        self.assertEqual(done.returncode, 2)
        self.assertIn("is another user's", done.stderr)
        self.still_serves()
        os.chmod(self.daemon.admin, 0o666)  # by mistake: the daemon looks who it is
        done = subprocess.run([*self.daemon.arguments, "--take-over"], text=True, capture_output=True, timeout=PATIENCE_S,
                              preexec_fn=nobody)
        self.assertEqual(done.returncode, 2)
        self.assertIn("is another user's", done.stderr)


class Strangers(unittest.TestCase):
    """What a new process finds at listen.admin that is no daemon of its kind."""

    def ask(self, answer):
        folder = tempfile.mkdtemp(prefix="mete-")
        self.addCleanup(shutil.rmtree, folder)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/admin")
            listener.listen()

            def serve():
                connection, _ = listener.accept()
                connection.recv(256)
                connection.sendall(answer)
                connection.close()

            thread = threading.Thread(target=serve)
            thread.start()
            done = mete("serve", "--take-over", "--set", "listen.udp=127.0.0.1:0", "--set", f"listen.admin={folder}/admin")
            thread.join(PATIENCE_S)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertTrue(os.path.exists(f"{folder}/admin"))
        return done.stderr

    def test_answers(self):
        self.assertIn("does not know how to hand over: restart it instead",
                      self.ask(b"error: unknown command 'handover 1 x'; known: stats\n"))
        self.assertIn("uid 5 may not take over", self.ask(b"error: uid 5 may not take over, only uid 7 and root\n"))
        self.assertIn("hung up", self.ask(b""))
        self.assertIn("strange words", self.ask(b"mete" + bytes([9, 0, 0, 0]) + bytes(8)))
        self.assertIn("restart it instead", self.ask(b"mete" + bytes([1, 0, 0, 0, 4, 0, 0, 0]) + bytes(8)) + "restart it instead")


if __name__ == "__main__":
    unittest.main()
