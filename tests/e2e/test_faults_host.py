#!/usr/bin/env python3
"""What the host does to a daemon: no descriptor is left, it is stopped and goes on, its clocks start elsewhere."""
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, Daemon, parse_address
from lib.resp import Resp

ROOM = 64  # descriptors
RULES = """
tenants:
  - name: default
    rules:
      - {name: all, algorithm: token_bucket, rate: 1/10000s, burst: 30000}
      - {name: few, algorithm: token_bucket, rate: 1/10000s, burst: 50}
"""


def cpu_s(pid):
    """Seconds that all its threads ran."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Descriptors(unittest.TestCase):
    def test_none_left(self):
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (ROOM, ROOM))

        with Daemon(None, ["listen.resp=127.0.0.1:0"], preexec=few) as daemon:
            address = parse_address(daemon.resp)
            links = [Resp(address) for _ in range(2 * ROOM)]  # the kernel takes them; the daemon not all
            for link in links:
                link.send(link.encode("PING"))
            served = links[:10]
            for link in served:
                self.assertEqual(link.hear(), "PONG")
            with daemon.client() as client:  # the others' lack is nobody else's
                self.assertTrue(client.check("fast", b"s").allowed)
                before = cpu_s(daemon.process.pid)
                rounds = [client.check("fast", b"s").allowed for _ in range(300)]
                self.assertEqual(rounds, [True] * 300)
            # who waits is looked at ten times a second: that is no work
            links[0].send(links[0].encode("PING"))
            self.assertEqual(links[0].hear(), "PONG")
            self.assertLess(cpu_s(daemon.process.pid) - before, 5)
            waiting = links[10:]
            for index, link in enumerate(waiting):  # each that leaves lets another in
                self.assertEqual(link.hear(), "PONG", index)
                link.__exit__()
                if index < len(served):
                    served[index].__exit__()
            with Resp(address) as link:
                self.assertEqual(link.ask("PING"), "PONG")
            daemon.stop()
            said = [line for line in daemon.said if "resp: " in line]
            self.assertEqual([word in line for word, line in zip(("no connection can be taken: Too many open files",
                                                                  "all connections that waited are taken"), said)],
                             [True, True], said)
            self.assertEqual(len(said), 2)


class Stopped(unittest.TestCase):
    """A process that stood still judges what came meanwhile by its age, and charges nothing twice."""

    COUNT = 30

    def stop(self, daemon):
        """Until the last of its threads stands."""
        daemon.process.send_signal(signal.SIGSTOP)
        tasks = pathlib.Path(f"/proc/{daemon.process.pid}/task")
        while any((task / "stat").read_text().rsplit(")", 1)[1].split()[0] not in "Tt" for task in tasks.iterdir()):
            time.sleep(0.001)

    def go_on(self, daemon, client):
        """Everything that is answered before a HELLO that comes last: one worker, one flow. By sequence number."""
        # longer than a datagram may be late; the clock it is judged by is the boot's, as here
        time.sleep(0.5)
        daemon.process.send_signal(signal.SIGCONT)
        client.send(wire.hello(client_id=client.client_id, sequence=1))
        answers = {}
        while 1 not in answers:
            result = wire.decode_result(client.socket.recv(65536))
            answers.setdefault(result.sequence, []).append(result)
        return answers

    def send_thrice(self, client, **options):
        requests = [client.request(wire.CHECK, "all", b"s", **options) for _ in range(self.COUNT)]
        for request in requests:
            for _ in range(3):
                client.send(request)
        return [int.from_bytes(request[12:16], "little") for request in requests]

    def test_what_says_nothing_of_its_age(self):
        for backend in BACKENDS:
            # a machine that lets it stand once more between two copies is not what this is about
            with self.subTest(backend), Daemon(RULES, ["listen.resp=127.0.0.1:0", "repeats.window=10s"], backend=backend) as daemon, \
                    daemon.client() as client, Resp(parse_address(daemon.resp)) as resp:
                self.assertEqual(resp.ask("METE.CHECK", "all", "resp")[0], 1)
                self.stop(daemon)
                sequences = self.send_thrice(client)
                resp.send(resp.encode("METE.CHECK", "all", "resp") * self.COUNT)
                answers = self.go_on(daemon, client)
                for sequence in sequences:  # a copy that is met while the first is decided is dropped: one answer comes
                    mine = answers[sequence]
                    self.assertEqual([result.entries[0].allowed for result in mine], [True] * len(mine))
                    self.assertEqual(sum(not result.entries[0].flags & wire.REPEAT for result in mine), 1)
                self.assertEqual([resp.hear()[0] for _ in sequences], [1] * self.COUNT)
                self.assertEqual(daemon.rule("all")["units"], 2 * self.COUNT + 1)

    def test_what_says_how_old_it_is(self):
        """It is left out as of no use any more (overload.max_age), or STALE."""
        for backend in BACKENDS:
            with self.subTest(backend), Daemon(RULES, ["overload.shedding=auto"], backend=backend) as daemon, daemon.client() as client:
                hello = client.hello()
                self.stop(daemon)
                sequences = self.send_thrice(client, clock_ms=hello.clock_ms, boot_bits=hello.boot_bits)
                answers = self.go_on(daemon, client)
                late = [result for sequence in sequences for result in answers.get(sequence, [])]
                self.assertEqual({(result.flags & wire.STATUS, result.detail) for result in late} - {(wire.STATUS, wire.STALE)}, set())
                self.assertEqual(len(late) + daemon.stats()["total"]["shed_old"], 3 * self.COUNT)
                self.assertEqual(daemon.rule("all")["units"], 0)


def has_time_namespaces():
    try:
        done = subprocess.run(["unshare", "-T", "--boottime", "1000000000", "cat", "/proc/uptime"], capture_output=True, text=True)
        return done.returncode == 0 and float(done.stdout.split()[0]) > 1e9
    except (OSError, ValueError):
        return False


@unittest.skipUnless(has_time_namespaces(), "no time namespaces that exec() enters")
class Elsewhen(unittest.TestCase):
    def test_clocks_that_began_long_ago(self):
        """A machine that is up for thirty years, or whose two clocks lie far apart (it slept)."""
        for boot_s, monotonic_s in ((946_080_000, 946_080_000), (946_080_000, 0), (4_294_967, 4_294_967)):
            command = ["unshare", "-T", "--boottime", str(boot_s), "--monotonic", str(monotonic_s)]
            with self.subTest(boot_s=boot_s), Daemon(RULES, command=command) as daemon, daemon.client() as client:
                allowed = [client.check("few", b"s").allowed for _ in range(60)]
                self.assertEqual(allowed, [True] * 50 + [False] * 10)
                first = client.hello()
                request = client.request(wire.CHECK, "all", b"s", clock_ms=first.clock_ms, boot_bits=first.boot_bits)
                self.assertTrue(client.ask(request).entries[0].allowed)
                self.assertTrue(client.ask(request).entries[0].flags & wire.REPEAT)
                self.assertEqual(daemon.rule("all")["units"], 1)


if __name__ == "__main__":
    unittest.main()
