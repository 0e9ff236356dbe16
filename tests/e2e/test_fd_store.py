#!/usr/bin/env python3
"""Sockets that outlive the daemon in the service manager's descriptor store: what is stored, under which names, and what
the next start makes of it. The manager is a stand-in that does what systemd does with FDSTORE=1, FDNAME=,
FDSTOREREMOVE=1 and MAINPID=, and passes what it has at the next start."""
import array
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import METE, PATIENCE_S, Client, Daemon, mete
from lib.upgrades import COUNTED, LIMIT, Successor, end

# Puts its descriptors from 3 on, says in the environment what they are, and becomes the daemon.
LAUNCHER = """
import os, sys
fds = [int(word) for word in sys.argv[1].split(",") if word]
for place, fd in enumerate(fds):
    os.dup2(fd, 500 + place)
for place in range(len(fds)):
    os.dup2(500 + place, 3 + place)
    os.close(500 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


class Manager:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="mete-store-")
        self.name = self.folder + "/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.name)
        self.socket.settimeout(PATIENCE_S)
        self.store = []  # (name, descriptor)
        self.said = []

    def hear(self):
        text, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(16))
        words = dict(line.split("=", 1) for line in text.decode().splitlines())
        self.said.append(words)
        for _, _, data in control:
            fds = array.array("i")
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
            assert words.get("FDSTORE") == "1" and len(fds) == 1
            assert words["FDNAME"] and ":" not in words["FDNAME"] and words["FDNAME"].isprintable()
            self.store.append((words["FDNAME"], fds[0]))
        if words.get("FDSTOREREMOVE") == "1":
            for name, fd in self.store:
                if name == words["FDNAME"]:
                    os.close(fd)
            self.store = [(name, fd) for name, fd in self.store if name != words["FDNAME"]]
        return words

    def hear_until(self, word):
        while word not in self.hear():
            pass
        return self.said[-1]

    def start(self, *sets, config=COUNTED, units=(), **options):
        """A daemon with what is stored, behind what a socket unit passes."""
        passed = [(f"unit{i}", one.fileno()) for i, one in enumerate(units)] + self.store
        launcher = [sys.executable, "-c", LAUNCHER, ",".join(str(fd) for _, fd in passed), ":".join(name for name, _ in passed)]
        for _, fd in passed:
            os.set_inheritable(fd, True)
        daemon = Daemon(config, sets, command=launcher, pass_fds=[fd for _, fd in passed],
                        environment={"NOTIFY_SOCKET": self.name, "FDSTORE": "64"}, **options)
        self.hear_until("READY")
        return daemon

    def names(self):
        return sorted(name for name, _ in self.store)

    def close(self):
        self.socket.close()
        for _, fd in self.store:
            os.close(fd)
        shutil.rmtree(self.folder)


class Stored(unittest.TestCase):
    def setUp(self):
        self.manager = Manager()
        self.addCleanup(self.manager.close)

    def end(self, daemon, number=signal.SIGTERM):
        daemon.process.send_signal(number)
        daemon.process.wait(PATIENCE_S)
        self.addCleanup(daemon.close)

    def again(self, old, *sets, **options):
        """The next start, in the folder of the one before."""
        return self.manager.start(f"listen.admin={old.admin}", *sets, listen=f"127.0.0.1:{old.port}", **options)

    def test_what_comes_between_is_answered(self):
        """After a stop, and after kill -9."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number=number):
                manager = self.manager = Manager()
                self.addCleanup(manager.close)
                daemon = manager.start(workers=2)
                self.assertEqual(manager.names(), ["mete-admin-"] + [f"mete-udp-127.0.0.1_{daemon.port}"] * 2)
                clients = [daemon.client() for _ in range(8)]
                self.end(daemon, number)
                requests = [client.request(wire.CHECK, "count", b"a") for client in clients]
                for client, request in zip(clients, requests):
                    client.send(request)
                with self.again(daemon, workers=2) as second:
                    left = [client.receive(request).entries[0].remaining for client, request in zip(clients, requests)]
                    self.assertEqual(sorted(left), [LIMIT - i for i in range(8, 0, -1)])
                    self.assertEqual(len(manager.store), 3)  # nothing twice
                    self.assertEqual(mete("stats", "--admin", daemon.admin).returncode, 0)
                    second.process.send_signal(signal.SIGTERM)
                    second.process.wait(PATIENCE_S)
                    second.admin = second.folder + "/none"  # it stays, as it is kept
                for client in clients:
                    client.socket.close()

    def test_doors_and_unix_sockets(self):
        folder = self.manager.folder
        doors = ["listen.http=127.0.0.1:0", f"listen.resp={folder}/resp", f"listen.unix={folder}/unix"]
        daemon = self.manager.start(*doors)
        self.assertEqual([name.split("-")[1] for name in self.manager.names()], ["admin", "http", "resp", "udp", "unix"])
        self.end(daemon)
        web = socket.create_connection(("127.0.0.1", int(daemon.http.split(":")[1])), timeout=PATIENCE_S)
        web.sendall(b"GET /check?rule=count&subject=a HTTP/1.1\r\nHost: x\r\n\r\n")
        redis = socket.socket(socket.AF_UNIX)
        redis.settimeout(PATIENCE_S)
        redis.connect(f"{folder}/resp")
        redis.sendall(b"METE.CHECK count a\r\n")
        local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        local.settimeout(PATIENCE_S)
        local.bind(f"{folder}/me")
        local.sendto(wire.limit_request(wire.CHECK, "count", b"a", 1, tenant="default", client_id=1, sequence=1,
                                        seed=wire.tenant_seed("default")), f"{folder}/unix")
        second = self.again(daemon, *doors)
        self.assertTrue(web.recv(4096).startswith(b"HTTP/1.1 200"))
        self.assertIn(b":1\r\n", redis.recv(4096))
        self.assertEqual(len(local.recv(4096)), 40)
        for one in (web, redis, local):
            one.close()
        self.end(second)

    def test_a_configuration_that_changed(self):
        """What it names no more is forgotten, what it names anew is opened and stored."""
        daemon = self.manager.start("listen.http=127.0.0.1:0")
        self.end(daemon)
        second = self.manager.start(f"listen.admin={daemon.admin}")  # another port; no HTTP
        self.assertNotEqual(second.port, 0)
        self.end(second)
        while True:
            self.manager.socket.settimeout(0.2)
            try:
                self.manager.hear()
            except TimeoutError:
                break
        self.assertEqual([name.split("-")[1] for name in self.manager.names()], ["admin", "udp"])

    def test_another_number_of_workers(self):
        daemon = self.manager.start(workers=3)
        clients = [daemon.client() for _ in range(12)]
        self.end(daemon)
        for workers in (1, 4):
            requests = [client.request(wire.CHECK, "count", b"a") for client in clients]
            for client, request in zip(clients, requests):
                client.send(request)
            daemon = self.again(daemon, workers=workers)
            for client, request in zip(clients, requests):
                self.assertTrue(client.receive(request).entries[0].allowed)
            self.end(daemon)
        for client in clients:
            client.socket.close()

    def test_a_path_that_is_gone(self):
        """A socket that nobody can find any more is opened anew."""
        daemon = self.manager.start(f"listen.unix={self.manager.folder}/unix")
        self.end(daemon)
        os.unlink(f"{self.manager.folder}/unix")
        second = self.again(daemon, f"listen.unix={self.manager.folder}/unix")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
            local.connect(f"{self.manager.folder}/unix")
        self.end(second)

    def test_beside_a_socket_unit(self):
        """The unit's ports are the unit's; the rest is ours and stored."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unit:
            unit.bind(("127.0.0.1", 0))
            options = {"listen": f"127.0.0.1:{unit.getsockname()[1]}", "units": [unit]}
            daemon = self.manager.start("listen.http=127.0.0.1:0", **options)
            self.assertEqual([name.split("-")[1] for name in self.manager.names()], ["admin", "http"])
            self.end(daemon)
            second = self.manager.start(f"listen.admin={daemon.admin}", "listen.http=127.0.0.1:0", **options)
            self.assertEqual(second.http, daemon.http)
            with second.client() as client:
                self.assertTrue(client.check("count", b"a").allowed)
            self.end(second)

    def test_without_a_store(self):
        """$FDSTORE says whether there is one: without it paths are cleared as ever."""
        with Daemon(COUNTED, environment={"NOTIFY_SOCKET": self.manager.name}) as daemon:
            self.manager.hear_until("READY")
            self.assertEqual(self.manager.store, [])
            with daemon.client() as client:
                client.check("count", b"a")


class TakeOver(unittest.TestCase):
    def test_the_main_process(self):
        """The one before says whose the service is now; the new one says that it is ready."""
        manager = Manager()
        self.addCleanup(manager.close)
        environment = {"NOTIFY_SOCKET": manager.name}
        daemon = Daemon(COUNTED, environment=environment)
        self.addCleanup(daemon.close)
        manager.hear_until("READY")
        with Successor(daemon, environment=environment) as new:
            self.assertEqual(manager.hear_until("MAINPID")["MAINPID"], str(new.process.pid))
            manager.hear_until("READY")
            end(daemon)
            self.assertFalse(any("STOPPING" in words for words in manager.said))


if __name__ == "__main__":
    unittest.main()
