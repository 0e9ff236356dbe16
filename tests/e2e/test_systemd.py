#!/usr/bin/env python3
"""The daemon under a service manager: what it tells it, the sockets it takes from it, the unit files, and what it gives
up by itself. The manager is a stand-in here: a socket in place of $NOTIFY_SOCKET, descriptors passed by the test and
by systemd-socket-activate; systemd's own tools judge the units."""
import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import COUNTED, METE, PATIENCE_S, ROOT, SANITIZED, Client, Daemon, mete

SYSTEMD = ROOT / "systemd"


class Manager:
    """What a service manager is to the daemon: a datagram socket that hears lines."""

    def __init__(self, abstract=False):
        self.folder = tempfile.mkdtemp(prefix="mete-notify-")
        self.name = f"@mete-notify-{os.getpid()}" if abstract else self.folder + "/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name[1:] if abstract else self.name)
        self.socket.settimeout(PATIENCE_S)

    def hear(self):
        return self.socket.recv(4096).decode()

    def hear_until(self, wanted):
        heard = [self.hear()]
        while wanted not in heard[-1]:
            heard.append(self.hear())
        return heard

    def close(self):
        self.socket.close()
        shutil.rmtree(self.folder)


def tasks(daemon):
    return [int(name) for name in os.listdir(f"/proc/{daemon.process.pid}/task")]


class Notify(unittest.TestCase):
    def test_start_reload_stop(self):
        for abstract in (False, True):
            with self.subTest(abstract=abstract):
                manager = Manager(abstract)
                self.addCleanup(manager.close)
                with Daemon("tenants: [{name: default}]\n", environment={"NOTIFY_SOCKET": manager.name}) as daemon:
                    self.assertIn("READY=1", manager.hear())
                    self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
                    reloading, ready = manager.hear(), manager.hear()
                    self.assertRegex(reloading, r"RELOADING=1\nMONOTONIC_USEC=\d+")
                    self.assertRegex(ready, "READY=1\nSTATUS=serving, reloaded")
                    pathlib.Path(daemon.folder, "mete.yaml").write_text("tenants: [{name: }]\n")
                    self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 2)
                    self.assertIn("RELOADING=1", manager.hear())
                    self.assertIn("READY=1\nSTATUS=serving, a reload was refused", manager.hear())
                    daemon.process.send_signal(signal.SIGTERM)
                    self.assertIn("STOPPING=1", manager.hear())

    def test_watchdog(self):
        """Signs of life come while workers turn, and none once they stand still."""
        manager = Manager()
        self.addCleanup(manager.close)
        environment = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000"}
        with Daemon(environment=environment) as daemon:
            for _ in range(3):
                manager.hear_until("WATCHDOG=1")
            worker = next(task for task in tasks(daemon) if task != daemon.process.pid)
            self.freeze(worker)
            while "stands still" not in daemon.lines.get(timeout=PATIENCE_S):
                pass
            ctypes.CDLL(None).ptrace(17, worker, 0, 0)  # PTRACE_DETACH: it goes on
            manager.hear_until("WATCHDOG=1")

    def freeze(self, task):
        ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        if ptrace(16, task, None, None) != 0:  # PTRACE_ATTACH, which stops this thread alone
            self.skipTest("ptrace is not allowed here: " + os.strerror(ctypes.get_errno()))
        os.waitpid(task, 0x40000000)  # __WALL

    def test_another_process_is_meant(self):
        manager = Manager()
        self.addCleanup(manager.close)
        with Daemon(environment={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}) as daemon:
            self.assertIn("READY=1", manager.hear())
            with daemon.client() as client:
                client.check("demo", b"a")
            daemon.process.send_signal(signal.SIGTERM)
            self.assertIn("STOPPING=1", manager.hear())

    def test_a_manager_that_is_not_there(self):
        for name in ("/nowhere/notify", "relative", "@", "/" + 200 * "x"):
            with Daemon(environment={"NOTIFY_SOCKET": name}) as daemon, daemon.client() as client:
                self.assertEqual(client.check("demo", b"a").remaining, 9)


def bound(kind=socket.SOCK_DGRAM, address=("127.0.0.1", 0), reuse=True):
    one = socket.socket(socket.AF_INET, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse))
    one.bind(address)
    return one


# Puts its descriptors from 3 on, says in the environment that they are meant for it, and becomes the daemon.
LAUNCHER = """
import os, sys
fds = [int(word) for word in sys.argv[1].split(",")]
for place, fd in enumerate(fds):
    os.dup2(fd, 500 + place)
for place in range(len(fds)):
    os.dup2(500 + place, 3 + place)
    os.close(500 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(sys.argv[2], sys.argv[2:])
"""


def passing(sockets, arguments):
    fds = [one.fileno() for one in sockets]
    return subprocess.Popen([sys.executable, "-c", LAUNCHER, ",".join(map(str, fds)), METE, "serve", *arguments],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            pass_fds=fds)


class Passed(unittest.TestCase):
    def serve(self, sockets, *arguments):
        process = passing(sockets, ["--set", "listen.admin=none", "--set", "table.entries=65536", *arguments])
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def refused(self, sockets, *arguments):
        process = self.serve(sockets, *arguments)
        said = process.stderr.read()
        self.assertEqual((process.wait(PATIENCE_S), said.count("\n")), (2, 1), said)
        return said

    def address(self, one):
        return "%s:%d" % one.getsockname()

    def test_each_worker_reads_its_own(self):
        """What was queued before the start is answered, on every socket."""
        first = bound()
        second = bound(address=first.getsockname())
        for workers in (2, 3):
            with self.subTest(workers=workers):
                clients = [Client(first.getsockname()) for _ in range(32)]
                requests = [client.request(wire.CHECK, "demo", b"%d" % i) for i, client in enumerate(clients)]
                for client, request in zip(clients, requests):
                    client.send(request)
                process = self.serve([first, second], "--set", f"listen.udp={self.address(first)}", "--set", f"workers={workers}")
                for client, request in zip(clients, requests):
                    self.assertEqual(client.receive(request).entries[0].remaining, 9)
                    client.socket.close()
                process.terminate()
                self.assertEqual(process.wait(PATIENCE_S), 0)
        first.close()
        second.close()

    def test_unix(self):
        with tempfile.TemporaryDirectory() as folder:
            path, one = folder + "/m.sock", bound()
            unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            unix.bind(path)
            process = self.serve([one, unix], "--set", f"listen.udp={self.address(one)}", "--set", f"listen.unix={path}",
                                 "--set", "workers=1")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.bind(folder + "/client")
                client.settimeout(PATIENCE_S)
                client.sendto(wire.limit_request(wire.CHECK, "demo", b"a", 1, client_id=1, sequence=1,
                                                 seed=wire.tenant_seed("default")), path)
                self.assertEqual(len(client.recv(4096)), 40)
            process.terminate()
            process.wait(PATIENCE_S)
            self.assertTrue(os.path.exists(path), "the socket is the manager's to remove")
            one.close()
            unix.close()

    def test_refusals(self):
        one = bound()
        own = f"listen.udp={self.address(one)}"
        with bound() as other, bound(address=one.getsockname()) as again, bound(kind=socket.SOCK_STREAM) as stream, \
                tempfile.TemporaryFile() as file:
            cases = [
                ([one, other], [own], "which listen.udp does not name"),
                ([one], [f"listen.udp=[{self.address(one)}, {self.address(other)}]"], "is not among the sockets"),
                ([stream], [own], "is no datagram socket"),
                ([file], [own], "is no socket"),
                ([one, again], [own, "workers=1"], "more sockets"),
                ([one], [own, "listen.unix=/tmp/nobody.sock"], "listen.unix: /tmp/nobody.sock is not among"),
            ]
            for sockets, sets, wanted in cases:
                with self.subTest(wanted=wanted):
                    arguments = [word for one_set in sets for word in ("--set", one_set)]
                    self.assertIn(wanted, self.refused(sockets, *arguments))
        one.close()

    @unittest.skipUnless(shutil.which("systemd-socket-activate"), "systemd-socket-activate is not installed")
    def test_activated_by_the_first_datagram(self):
        with bound(reuse=False) as free:
            address = self.address(free)
        process = subprocess.Popen(["systemd-socket-activate", "--datagram", "-l", address, METE, "serve", "--set",
                                    f"listen.udp={address}", "--set", "listen.admin=none", "--set", "table.entries=65536"],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertIn("Listening on", process.stderr.readline())
        host, port = address.split(":")
        with Client((host, int(port))) as client:
            self.assertEqual(client.check("demo", b"first").remaining, 9)
            self.assertEqual(client.check("demo", b"first").remaining, 8)
        process.terminate()
        self.assertEqual(process.wait(PATIENCE_S), 0)


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
class Units(unittest.TestCase):
    def analyze(self, *arguments):
        return subprocess.run(["systemd-analyze", "--no-pager", *arguments], text=True, capture_output=True, timeout=PATIENCE_S)

    def test_verify(self):
        """With the program where the unit looks for it, systemd has nothing to say about the units."""
        with tempfile.TemporaryDirectory() as folder:
            for unit in ("mete.service", "mete.socket"):
                text = (SYSTEMD / unit).read_text().replace("/usr/bin/mete", METE)
                pathlib.Path(folder, unit).write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.M))
            pathlib.Path(folder, "mete.service.d").mkdir()
            shutil.copy(SYSTEMD / "mete-af-xdp.conf", folder + "/mete.service.d")
            done = self.analyze("verify", folder + "/mete.service", folder + "/mete.socket")
            about_us = [line for line in done.stderr.splitlines() if "mete" in line]
            self.assertEqual((done.returncode, about_us), (0, []))
            broken = pathlib.Path(folder, "mete.service")
            broken.write_text(broken.read_text().replace("WatchdogSec=", "WatchDogSeconds="))
            self.assertIn("WatchDogSeconds", self.analyze("verify", str(broken)).stderr)

    def test_exposure(self):
        done = self.analyze("security", "--offline=true", "--threshold=15", str(SYSTEMD / "mete.service"))
        self.assertEqual(done.returncode, 0, done.stdout[-500:])

    def test_every_line_says_why(self):
        """A setting stands under a comment, its own or its group's."""
        for unit in ("mete.service", "mete.socket", "mete-af-xdp.conf"):
            explained = False
            for number, line in enumerate((SYSTEMD / unit).read_text().splitlines(), 1):
                if line.startswith("#"):
                    explained = True
                elif not line or line.startswith("["):
                    explained = line != "" and number > 1 and line in ("[Unit]", "[Install]", "[Socket]")
                else:
                    self.assertTrue(explained, f"{unit}:{number}: {line}")


class Sandbox(unittest.TestCase):
    def test_no_privileges(self):
        with Daemon(workers=2) as daemon:
            for task in tasks(daemon):
                status = dict(line.split(":\t", 1) for line in
                              pathlib.Path(f"/proc/{task}/status").read_text().splitlines() if ":\t" in line)
                for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                    self.assertEqual(int(status[kind], 16), 0, kind)
                self.assertEqual(status["NoNewPrivs"], "1")
                if not SANITIZED and not COUNTED:
                    self.assertEqual(status["Seccomp"], "2")

    def test_version_says_it(self):
        said = re.search(r"filter of system calls: (.*)", mete("version").stdout)[1]
        self.assertEqual(said, "not in this build" if SANITIZED or COUNTED else "built in")


def sections(path):
    return subprocess.run(["readelf", "-Whldn", path], text=True, capture_output=True, check=True).stdout


@unittest.skipUnless((ROOT / "build/mete").exists() and shutil.which("readelf"), "no release build, or no readelf")
class Binary(unittest.TestCase):
    """What the compiler and linker were asked for is in what users run."""

    def test_hardened(self):
        text = sections(str(ROOT / "build/mete"))
        symbols = subprocess.run(["nm", "-D", str(ROOT / "build/mete")], text=True, capture_output=True, check=True).stdout
        self.assertRegex(text, r"Type:\s+DYN")                    # position independent
        self.assertRegex(text, r"FLAGS_1\).*PIE")
        self.assertRegex(text, r"GNU_RELRO")                      # relocations read-only,
        self.assertRegex(text, r"BIND_NOW|FLAGS_1\).*NOW")        # all of them, at start
        self.assertNotRegex(text, r"GNU_STACK.*RWE")              # no stack that can be run
        if "X86-64" in text:                                      # CET: returns are checked, and jumps have targets
            self.assertRegex(text, r"x86 feature:.* SHSTK")
            code = subprocess.run(["objdump", "-d", str(ROOT / "build/mete")], text=True, capture_output=True, check=True).stdout
            self.assertGreater(code.count("endbr64"), 100)
        self.assertIn("__stack_chk_fail", symbols)
        self.assertRegex(symbols, r"__\w+_chk@")                  # fortified calls
        self.assertNotRegex(text, r"R(UN)?PATH")

    def test_size(self):
        """At most 1 MiB without debug symbols."""
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["strip", "-o", folder + "/mete", str(ROOT / "build/mete")], check=True)
            self.assertLessEqual(os.path.getsize(folder + "/mete"), 1 << 20)


if __name__ == "__main__":
    unittest.main()
