#!/usr/bin/env python3
"""How the daemon starts, refuses to start, and stops: addresses, busy ports, too little memory, backends that a
kernel forbids, who is trusted, SIGTERM under load, and that nothing is allocated once it is ready."""
import ctypes
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire
from lib.daemon import BACKENDS, METE, SANITIZED, Client, Daemon, mete, refuse

TENANT = "tenants: [{name: default, rules: [{name: demo, algorithm: token_bucket, rate: 1/h, burst: 10}]}]\n"


class Line(unittest.TestCase):
    def test_says_what_it_is(self):
        for backend in BACKENDS:
            for workers in (1, 2, 4):
                with self.subTest(backend=backend, workers=workers), \
                        Daemon(backend=backend, workers=workers, entries=1024) as daemon:
                    self.assertEqual((daemon.backend, daemon.workers, daemon.entries), (backend, workers, 1024))
                    self.assertIn(f"mete {daemon.version}\n", mete("version").stdout)
                    self.assertEqual(len(daemon.said), 1)
                    for flow in range(8):
                        with daemon.client() as client:
                            self.assertEqual(client.check("demo", b"x", 0).remaining, 10)

    def test_interrupt_stops_too(self):
        daemon = Daemon()
        self.addCleanup(daemon.close)
        daemon.stop(signal.SIGINT)
        self.assertEqual(daemon.said[1:], ["mete: stopping"])

    def test_auto_workers(self):
        with Daemon(workers="auto") as daemon:
            self.assertEqual(daemon.workers, len(os.sched_getaffinity(0)))


class Refusals(unittest.TestCase):
    def test_steering(self):
        """By CPU: who asks from one CPU is answered by its worker, whatever its port."""
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) > 1:
            self.addCleanup(os.sched_setaffinity, 0, cpus)
            with Daemon(workers="auto", sets=("steering=cpu",)) as daemon:
                for cpu in cpus[:2]:
                    os.sched_setaffinity(0, [cpu])
                    before = [worker["received"] for worker in daemon.stats()["workers"]]
                    for _ in range(8):
                        with daemon.client() as client:
                            client.check("demo", b"steered", flags=wire.PEEK)
                    after = [worker["received"] for worker in daemon.stats()["workers"]]
                    grown = [new - old for new, old in zip(after, before)]
                    self.assertEqual(grown[cpus.index(cpu)], max(grown), grown)
                    self.assertGreaterEqual(max(grown), 6, grown)
            os.sched_setaffinity(0, cpus)
        self.assertIn("steering: cpu needs one worker for each usable CPU",
                      refuse("--set", "workers=1", "--set", "steering=cpu", "--set", "listen.udp=127.0.0.1:0"))

    def test_busy_port(self):
        for listen in ("127.0.0.1:0", "0.0.0.0:0", "[::]:0"):
            with self.subTest(listen=listen), Daemon(listen=listen, workers=2) as daemon:
                asked = listen.rsplit(":", 1)[0] + f":{daemon.port}"
                trusted = ("--set", "trusted_networks=192.0.2.0/24")
                line = refuse("--set", f"listen.udp={asked}", "--set", "listen.admin=none", *trusted)
                self.assertIn(f"listen.udp: {asked} is busy", line)
                if listen == "127.0.0.1:0":  # a wildcard on the port of another
                    self.assertIn("busy", refuse("--set", f"listen.udp=0.0.0.0:{daemon.port}", *trusted))
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(daemon.address[0], daemon.address[0])
                with daemon.client((host, daemon.port)) as client:
                    self.assertEqual(client.hello().n, 1)

    def test_port_of_another_program(self):
        for share in (0, 1):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
                other.bind(("127.0.0.1", 0))
                port = other.getsockname()[1]
                self.assertIn(f"127.0.0.1:{port} is busy", refuse("--set", f"listen.udp=127.0.0.1:{port}"))

    def test_second_address_busy(self):
        with Daemon() as daemon:
            line = refuse("--set", f"listen.udp=[127.0.0.2:0, 127.0.0.1:{daemon.port}]")
            self.assertIn(f"127.0.0.1:{daemon.port} is busy", line)

    def test_bad_address(self):
        self.assertIn("192.0.2.1:7000: Cannot assign", refuse("--set", "listen.udp=192.0.2.1:7000", "--set",
                                                               "trusted_networks=192.0.2.0/24"))
        for text in ("localhost:1", "127.0.0.1", "127.0.0.1:70000", "::1:80", ""):
            self.assertIn("listen.udp", refuse("--set", f"listen.udp={text}"))

    def test_bad_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "mete.yaml")
            self.assertIn(path, refuse("--config", path))
            pathlib.Path(path).write_text("workers: 0\n" + TENANT)
            self.assertIn(f"{path}:1: workers", refuse("--config", path))
        self.assertIn("backend", refuse("--set", "backend=epoll"))

    def test_admin_path(self):
        with tempfile.TemporaryDirectory() as folder:
            for path in (f"{folder}/missing/admin.sock", folder):
                line = refuse("--set", "listen.udp=127.0.0.1:0", "--set", f"listen.admin={path}")
                self.assertIn(f"listen.admin: {path}: ", line)
            self.assertIn("at most 107", refuse("--set", f"listen.admin={folder}/{'x' * 120}"))
            file = pathlib.Path(folder, "file")
            file.write_text("kept")
            self.assertIn("is there and no socket", refuse("--set", "listen.udp=127.0.0.1:0", "--set", f"listen.admin={file}"))
            self.assertEqual(file.read_text(), "kept")
        with Daemon() as daemon:
            line = refuse("--set", "listen.udp=127.0.0.1:0", "--set", f"listen.admin={daemon.admin}")
            self.assertIn("another daemon serves there", line)
            self.assertEqual(daemon.stats()["total"]["received"], 0)

    def test_dead_admin_socket_is_replaced(self):
        daemon = Daemon()
        self.addCleanup(daemon.close)
        daemon.process.kill()
        daemon.process.wait()
        self.assertTrue(os.path.exists(daemon.admin))
        with Daemon(sets=[f"listen.admin={daemon.admin}"]) as second:
            second.admin = daemon.admin
            self.assertEqual(second.stats()["total"]["received"], 0)

    def test_default_admin_path_is_no_must(self):
        """Where the default path cannot be made the daemon says so and goes on."""
        hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none /run && exec "$@"', "sh"]
        if subprocess.run([*hidden, "true"], capture_output=True).returncode:
            self.skipTest("no right to hide /run from the daemon")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METE_LISTEN")}
        with subprocess.Popen([*hidden, METE, "serve", "--set", "listen.udp=127.0.0.1:0", "--set", "table.entries=1024"],
                              stderr=subprocess.PIPE, text=True, env=environment) as process:
            first, second = process.stderr.readline(), process.stderr.readline()
            process.terminate()
            self.assertEqual(process.wait(60), 0)
        self.assertIn("listen.admin: no socket at /run/mete/admin.sock", first)
        self.assertIn(" udp 127.0.0.1:", second)

    def test_nobody_to_believe(self):
        """Beyond loopback without secrets and without trusted networks."""
        for listen in ("0.0.0.0:0", "[::]:0", "192.0.2.1:6383"):
            line = refuse("--set", f"listen.udp={listen}", "--set", "listen.admin=none")
            for word in (listen, "tenants[0].secret_files", "'default'", "key_file", "trusted_networks"):
                self.assertIn(word, line)

    def test_output_that_is_lost(self):
        with open("/dev/full", "w") as full:
            for words in (["--help"], ["version"], ["config", "show"], ["stats", "--help"]):
                done = subprocess.run([METE, *words], stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), words)

    def test_hangup_does_not_stop_it(self):
        with Daemon() as daemon, daemon.client() as client:
            daemon.process.send_signal(signal.SIGHUP)
            self.assertTrue(client.check("demo", b"after").allowed)
            self.assertIn("total", daemon.stats())  # the admin door is served again

    @unittest.skipIf(SANITIZED, "a sanitizer's shadow memory does not fit a limit")
    def test_too_little_memory(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
        line = refuse("--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none",
                      "--set", "table.entries=100000000", preexec_fn=limit)
        self.assertIn("table.entries: 100000000 entries need 3051.8 MiB of memory: Cannot allocate", line)
        for mib in range(1, 64, 3):  # wherever it runs out: one line, or a start
            def tight(size=mib << 20):
                resource.setrlimit(resource.RLIMIT_AS, (size, size))
            with subprocess.Popen([METE, "serve", "--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none",
                                   "--set", "table.entries=65536", "--set", "workers=4"], preexec_fn=tight,
                                  stderr=subprocess.PIPE, text=True) as process:
                lines = [process.stderr.readline()]
                if not lines[0].startswith("mete: "):
                    lines += process.stderr.readlines()
                    self.assertIn(process.wait(60), (2, 127, -signal.SIGSEGV, -signal.SIGKILL)
                                  if "mete serve" not in lines[0] else (2,), lines)
                    self.assertEqual(len(lines), 1, lines)
                else:
                    process.terminate()
                    process.stderr.read()
                    self.assertEqual(process.wait(60), 0, lines)


class Addresses(unittest.TestCase):
    def ask(self, daemon, host):
        """Asks one address of the host; the answer must come from there."""
        with Client((host, daemon.port)) as client:
            result = client.hello()
            self.assertEqual(client.source[:2], (host, daemon.port))
            return result

    def test_wildcards(self):
        for backend in BACKENDS:
            for listen, hosts in (("0.0.0.0:0", ("127.0.0.1", "127.0.0.2", "127.1.2.3")),
                                  ("[::]:0", ("::1", "127.0.0.1", "127.0.0.2", "::ffff:127.0.0.3"))):
                with Daemon(backend=backend, listen=listen, workers=2) as daemon:
                    for host in hosts:
                        with self.subTest(backend=backend, listen=listen, host=host):
                            self.ask(daemon, host)
                            self.joined(daemon, host)
                    total = daemon.stats()["total"]
                    self.assertEqual((total["untrusted"], total["send_errors"]), (0, 0))

    def joined(self, daemon, host):
        """The source must be right for joined answers too."""
        with Client((host, daemon.port)) as client:
            parts = [client.request(wire.CHECK, "demo", b"x", 0) for _ in range(20)]
            client.socket.setsockopt(17, 103, len(parts[0]))
            client.send(b"".join(parts))
            for part in parts:
                client.receive(part)
                self.assertEqual(client.source[:2], (host, daemon.port))

    def test_several_addresses(self):
        slow = "tenants: [{name: default, rules: [{name: demo, algorithm: token_bucket, rate: 1/h, burst: 10}]}]\n"
        for backend in BACKENDS:
            with self.subTest(backend=backend), \
                    Daemon(slow, backend=backend, workers=2, listen="[127.0.0.1:0, 127.0.0.9:0, '[::1]:0']") as daemon:
                self.assertEqual([host for host, _ in daemon.addresses], ["127.0.0.1", "127.0.0.9", "::1"])
                clients = [Client(address) for address in daemon.addresses for _ in range(3)]
                for client in clients:
                    client.check("demo", b"shared")
                self.assertEqual(clients[0].check("demo", b"shared", flags=wire.PEEK).remaining, 1)
                for client in clients:
                    client.__exit__()

    def test_environment(self):
        with Daemon(environment={"METE_TABLE_ENTRIES": "16", "METE_WORKERS": "3"}, workers=2) as daemon:
            self.assertEqual(daemon.workers, 2)


def sh(*words):
    return subprocess.run(words, capture_output=True, text=True)


class Trust(unittest.TestCase):
    """A peer that is not on loopback, through a pair of virtual interfaces."""
    made = 0

    def setUp(self):
        Trust.made += 1  # an interface of an earlier test may take a while to go
        self.name = f"mete{os.getpid()}-{Trust.made}"
        made = sh("ip", "netns", "add", self.name)
        if made.returncode:
            self.skipTest(f"no network namespaces here: {made.stderr.strip() or 'ip failed'}")
        self.addCleanup(sh, "ip", "netns", "del", self.name)
        self.net = f"198.{18 + os.getpid() // 250 % 2}.{os.getpid() % 250}"  # several runs may go on at once
        end = f"v{os.getpid()}-{Trust.made}"
        for command in (f"ip -n {self.name} link set lo up",
                        f"ip link add {end} type veth peer name peer netns {self.name}",
                        f"ip -n {self.name} addr add {self.net}.2/24 dev peer", f"ip -n {self.name} link set peer up",
                        f"ip addr add {self.net}.1/24 dev {end}", f"ip link set {end} up"):
            done = sh(*command.split())
            if done.returncode:
                self.skipTest(f"no virtual interfaces here: {done.stderr.strip()}")

    def test_strangers(self):
        inside = ("ip", "netns", "exec", self.name)
        for backend in BACKENDS:
            for listen in ("0.0.0.0:0", "[::]:0"):
                for trusted in (False, True):
                    networks = [f"trusted_networks={self.net}.0/24"] if trusted else []
                    with self.subTest(backend=backend, listen=listen, trusted=trusted), \
                            Daemon(backend=backend, listen=listen, command=inside, sets=networks) as daemon:
                        self.stranger(daemon, trusted)

    def test_device_that_cannot_join(self):
        """Joined requests come in, but the joined answers do not fit the way out: they leave one by one, once each."""
        sh("ip", "-n", self.name, "link", "set", "peer", "mtu", "700")
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(
                    backend=backend, listen="0.0.0.0:0", command=("ip", "netns", "exec", self.name),
                    sets=[f"trusted_networks={self.net}.0/24"]) as daemon, \
                    Client((f"{self.net}.2", daemon.port)) as client:
                client.socket.setsockopt(17, 103, 1232)
                for _ in range(10):
                    parts = [client.request(wire.CHECK, "demo", [b"x"] * 50, 0) for _ in range(20)]
                    client.send(b"".join(parts))
                    for part in parts:
                        self.assertEqual(len(client.receive(part).entries), 50)
                self.assertEqual(client.hello().n, 1)
                total = daemon.stats()["total"]
                self.assertEqual((total["answered"], total["send_errors"]), (201, 0))

    def stranger(self, daemon, trusted):
        with Client((f"{self.net}.2", daemon.port)) as client:
            request = client.request(wire.CHECK, "demo", b"x")
            if trusted:
                self.assertEqual(client.ask(request).entries[0].remaining, 9)
                self.assertEqual(client.source[0], f"{self.net}.2")
                return
            before = 0
            for datagram in (request, wire.hello(), request[:-8] + bytes(8), request[:20]):
                client.send(datagram)
            while before < 4:  # what has been sent arrives; there is no answer to wait for
                total = daemon.stats()["total"]
                before = total["received"]
            self.assertEqual({n: total[n] for n in ("untrusted", "bad_length", "bad_tag", "answered", "checks")},
                             {"untrusted": 3, "bad_length": 1, "bad_tag": 0, "answered": 0, "checks": 0})
            client.socket.setblocking(False)
            self.assertRaises(BlockingIOError, client.socket.recv, 100)


IO_URING_SETUP = 425
AUDIT_ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def forbid_io_uring(error):
    """A function for the child: io_uring_setup() fails with this errno from now on (seccomp, classic BPF)."""
    load, jump_equal, give = 0x20, 0x15, 0x06
    allow, fail = 0x7FFF0000, 0x00050000 | error
    filters = b"".join(struct.pack("<HBBI", *one) for one in (
        (load, 0, 0, 4), (jump_equal, 0, 2, AUDIT_ARCHES[os.uname().machine]),
        (load, 0, 0, 0), (jump_equal, 1, 0, IO_URING_SETUP), (give, 0, 0, allow), (give, 0, 0, fail)))
    memory = ctypes.create_string_buffer(filters)
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(filters) // 8, ctypes.addressof(memory)))
    libc = ctypes.CDLL(None, use_errno=True)

    def install():
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    install.keep = memory
    return install


@unittest.skipUnless(os.uname().machine in AUDIT_ARCHES, "system call numbers of another machine")
class Forbidden(unittest.TestCase):
    def test_auto_falls_back(self):
        for error, text in ((1, "Operation not permitted"), (38, "Function not implemented")):
            with self.subTest(error=error), Daemon(backend="auto", workers=2,
                                                   preexec=forbid_io_uring(error)) as daemon:
                self.assertEqual(daemon.backend, "mmsg")
                self.assertEqual(daemon.said[0],
                                 f"mete: backend: io_uring is not to be had here ({text}), using mmsg")
                with daemon.client() as client:
                    self.assertEqual(client.check("demo", b"x").remaining, 9)

    def test_some_workers_fall_back(self):
        """Descriptors enough for one ring of two: both workers serve, the log says so, and SIGTERM still stops it
        although poll() takes no more descriptors than the limit."""
        limit = 8  # three streams, signals, two sockets, the admin socket, one ring
        with Daemon(workers=2, preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))) as daemon:
            if daemon.backend != "io_uring":
                self.skipTest("no io_uring here")
            self.assertEqual(daemon.said[0], "mete: backend: io_uring is not to be had for 1 of 2 workers "
                                             "(Too many open files), they use mmsg")
            for _ in range(8):  # flows, over both workers
                with daemon.client() as client:
                    self.assertEqual(client.hello().n, 1)

    def test_io_uring_refuses(self):
        for error, text in ((1, "Operation not permitted"), (38, "Function not implemented")):
            line = refuse("--set", "backend=io_uring", "--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none",
                          preexec_fn=forbid_io_uring(error))
            self.assertIn(f"backend: io_uring cannot start: {text}", line)

    def test_version_tells(self):
        done = mete("version", preexec_fn=forbid_io_uring(1))
        self.assertIn("backend io_uring: Operation not permitted\nbackend mmsg: works here\n", done.stdout)


class Stop(unittest.TestCase):
    def test_answers_what_is_in_hand(self):
        """Stopped (SIGSTOP) while 500 requests queue, then told to end: all of them are answered first."""
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(backend=backend) as daemon, daemon.client() as client:
                client.hello()
                daemon.process.send_signal(signal.SIGSTOP)
                os.waitpid(daemon.process.pid, os.WUNTRACED)
                requests = [client.request(wire.CHECK, "fast", b"x") for _ in range(500)]
                for request in requests:
                    client.send(request)
                daemon.process.send_signal(signal.SIGTERM)
                daemon.process.send_signal(signal.SIGCONT)
                daemon.stop()
                for request in requests:
                    client.receive(request)

    def test_under_a_flood_that_does_not_end(self):
        for backend in BACKENDS:
            with self.subTest(backend=backend), Daemon(backend=backend, workers=2) as daemon:
                flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(daemon.port)], stdout=subprocess.PIPE)
                try:
                    self.assertEqual(flood.stdout.readline(), b"running\n")
                    while daemon.stats()["total"]["received"] < 2000:
                        pass
                    daemon.stop()
                finally:
                    flood.kill()
                    flood.wait()
                    flood.stdout.close()


FLOOD = """
import socket, sys
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
print("running", flush=True)
while True:
    for one in sockets:
        one.sendto(bytes(56), ("127.0.0.1", int(sys.argv[1])))
"""

COUNTING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
static atomic_ulong calls;
static void tell(int number)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "mete: calls %lu\n", atomic_load(&calls));
    (void)number, (void)!write(2, text, (size_t)len);
}
__attribute__((constructor)) static void listen_for_it(void)
{
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = tell, .sa_flags = SA_RESTART}, NULL);
}
void *malloc(size_t size) { atomic_fetch_add(&calls, 1); return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { atomic_fetch_add(&calls, 1); return __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { atomic_fetch_add(&calls, 1); return __libc_realloc(old, size); }
void *aligned_alloc(size_t to, size_t size) { atomic_fetch_add(&calls, 1); return __libc_memalign(to, size); }
void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "mmap");
    atomic_fetch_add(&calls, 1);
    return real(at, size, protection, flags, fd, offset);
}
"""


@unittest.skipIf(SANITIZED, "a sanitizer has an allocator of its own")
class Allocation(unittest.TestCase):
    def calls(self, daemon):
        daemon.process.send_signal(signal.SIGUSR1)
        return int(re.fullmatch(r"mete: calls (\d+)", daemon.lines.get(timeout=60))[1])

    def test_none_after_ready(self):
        with tempfile.TemporaryDirectory() as folder:
            source, library = os.path.join(folder, "counting.c"), os.path.join(folder, "counting.so")
            pathlib.Path(source).write_text(COUNTING)
            subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-fno-builtin", "-o", library,
                            source, "-ldl"], check=True)
            for backend in BACKENDS:
                with self.subTest(backend=backend), \
                        Daemon(backend=backend, workers=2, entries=1024,
                               environment={"LD_PRELOAD": library}) as daemon:
                    before = self.calls(daemon)
                    self.assertGreater(before, 20)
                    self.all_kinds(daemon)
                    self.assertEqual(self.calls(daemon), before)
                    daemon.stats()  # the operators' door may, and shows that calls are counted
                    self.assertGreater(self.calls(daemon), before)

    def all_kinds(self, daemon):
        """10,000 datagrams of 100 kinds, twice the table's entries in subjects, from 20 flows."""
        for flow in range(20):
            with daemon.client() as client:
                kinds = []
                for i in range(100):
                    type_ = (wire.CHECK, wire.CHECK, wire.REFUND, wire.RESET)[i % 4]
                    flags = (0, wire.RAW_SUBJECT, wire.MIN_RESULT)[i % 3]
                    flags |= (0, wire.PEEK, wire.AT_MOST, wire.SHADOW, wire.ALL_OR_NOTHING)[i % 5] if i % 4 == 0 else 0
                    rule = ("demo", "fast", "nothing")[i % 7 % 3]
                    inline = (10, 5, 10**9) if i % 6 == 0 else None
                    kinds.append(client.request(type_, rule, b"%d/%d" % (flow, i), inline=inline, flags=flags))
                kinds[10], kinds[20] = wire.hello(), wire.resign(b"\xe1\x55" + kinds[0][2:])
                bad = [kinds[0][:-1], b"", kinds[0][:-8] + bytes(8), b"\0" + kinds[0][1:], bytes(5000)]
                for _ in range(5):
                    for request in kinds:
                        client.send(request)
                    for request in kinds:
                        client.receive(request)
                    for datagram in bad:
                        client.send_unanswered([datagram])


if __name__ == "__main__":
    unittest.main()
