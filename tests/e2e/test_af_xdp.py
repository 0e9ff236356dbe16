#!/usr/bin/env python3
"""The af_xdp backend on an interface of its own: what it takes and what it leaves to the kernel, frame by frame; who else uses the
interface; how the program comes and goes; which rights it needs. (test_af_xdp_protocol.py has the protocol over it.)"""
import hashlib
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import daemon as daemons
from lib import mete_wire as wire
from lib import xdp_daemon
from lib.daemon import METE, PATIENCE_S, mete
from lib.xdp_world import CLIENT4, CLIENT6, SERVER4, SERVER6, NETWORKS, run

SOL_PACKET, PACKET_AUXDATA = 263, 8
SO_RCVBUFFORCE = 33
SMALL = ("af_xdp.queues=1", "af_xdp.ring=512")  # within the 8 MiB of memory that anybody may lock
CLIENT_PORT = 40123


def setUpModule():
    xdp_daemon.move(queues=2)


def world():
    return xdp_daemon.world


def arguments(*sets, config=None):
    """`mete serve` in the server's namespace, as XdpDaemon starts it."""
    base = ["backend=af_xdp", f"listen.interface={world().server_interface}", f"listen.udp={SERVER4}:6383", "listen.admin=none",
            f"trusted_networks=[{NETWORKS[0]}]", "workers=1", "table.entries=65536"]
    return [METE, "serve", *(["--config", config] if config else []), *[word for one in [*base, *sets] for word in ("--set", one)]]


def refused(*sets, before=()):
    done = subprocess.run([*world().server, *before, *arguments(*sets)], text=True, capture_output=True, timeout=PATIENCE_S,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 2, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("mete serve: "), done.stderr
    return lines[0]


def datagrams_to_sockets(version=4):
    """That the kernel of the server's end delivered to sockets, ever."""
    if version == 4:
        lines = run(*world().server, "cat", "/proc/net/snmp").splitlines()
        names, numbers = (line.split()[1:] for line in lines if line.startswith("Udp:"))
        return int(dict(zip(names, numbers))["InDatagrams"])
    return int(re.search(r"^Udp6InDatagrams\s+(\d+)", run(*world().server, "cat", "/proc/net/snmp6"), re.M)[1])


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


class Wire:
    """Frames as they are, in and out of the client's end."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((world().client_interface, 3))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)  # it sees all that passes, and is read late
        self.socket.settimeout(PATIENCE_S)
        # the kernel would answer what no socket of its own asked with an ICMP message
        self.holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.holder.bind((CLIENT4, CLIENT_PORT))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.holder.close()

    def frame(self, payload, port, *, tag=None, options=b"", fragment=0, protocol=17, check=None, target=None, to_mac=None,
              from_mac=None, ip_payload=None):
        pseudo = socket.inet_aton(CLIENT4) + socket.inet_aton(target or SERVER4) + struct.pack("!BBH", 0, 17, 8 + len(payload))
        udp = struct.pack("!HHHH", CLIENT_PORT, port, 8 + len(payload), 0) + payload
        right = checksum(pseudo + udp) or 0xFFFF
        udp = udp[:6] + struct.pack("!H", right if check is None else check) + payload
        body = udp if ip_payload is None else ip_payload(udp)
        header = struct.pack("!BBHHHBBH", 0x40 | (5 + len(options) // 4), 0, 20 + len(options) + len(body), 77, fragment, 64,
                             protocol, 0) + socket.inet_aton(CLIENT4) + socket.inet_aton(target or SERVER4) + options
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        ethernet = (to_mac or mac(world().server_mac)) + (from_mac or mac(world().client_mac))
        if tag is not None:
            ethernet += struct.pack("!HH", 0x8100, tag)
        return ethernet + b"\x08\x00" + header + body

    def send(self, *made, **how):
        self.socket.send(self.frame(*made, **how))

    def receive(self):
        """(tag or None, frame without it) of the next UDP frame to our port."""
        while True:
            data, control, _, _ = self.socket.recvmsg(2048, 256)
            tag = None
            for level, kind, content in control:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status, *_, tci, _ = struct.unpack("=IIIHHHH", content[:20])
                    tag = tci if status & 0x10 else None
            if data[12:14] == b"\x08\x00" and data[23] == 17 and struct.unpack("!H", data[36:38])[0] == CLIENT_PORT:
                return tag, data


class Case(unittest.TestCase):
    def ask(self, client, by_socket):
        """A check is answered; and by which way it came."""
        before = datagrams_to_sockets()
        self.assertEqual(client.check("demo", os.urandom(8)).remaining, 9)
        self.assertEqual(datagrams_to_sockets() - before, int(by_socket))


class Frames(Case):
    @classmethod
    def setUpClass(cls):
        cls.daemon = daemons.Daemon(workers=2, listen=f"[{SERVER4}:0, '[::1]:0']")
        cls.addClassCleanup(cls.daemon.close)

    def setUp(self):
        self.wire = Wire()
        self.addCleanup(self.wire.__exit__)
        self.client = self.daemon.client()
        self.addCleanup(self.client.socket.close)

    def exchange(self, by_socket, port=None, **how):
        request = self.client.request(wire.CHECK, "demo", os.urandom(8))
        before = datagrams_to_sockets()
        self.wire.send(request, port or self.daemon.port, **how)
        tag, frame = self.wire.receive()
        result = wire.decode_result(frame[42:42 + struct.unpack("!H", frame[38:40])[0] - 8], wire.tag_of(request))
        self.assertEqual(result.entries[0].remaining, 9)
        self.assertEqual(frame[:12], how.get("from_mac", mac(world().client_mac)) + mac(world().server_mac))
        self.assertEqual(frame[26:34], socket.inet_aton(SERVER4) + socket.inet_aton(CLIENT4))
        self.assertEqual(struct.unpack("!HH", frame[34:38]), (self.daemon.port, CLIENT_PORT))
        self.assertEqual(datagrams_to_sockets() - before, int(by_socket), how)
        return tag, frame

    def test_past_the_sockets(self):
        _, frame = self.exchange(by_socket=False)
        self.assertEqual(checksum(frame[14:34]), 0)
        length = struct.unpack("!H", frame[38:40])[0]
        self.assertEqual(checksum(frame[26:34] + struct.pack("!BBH", 0, 17, length) + frame[34:34 + length]), 0)

    def test_by_ipv6(self):
        before = datagrams_to_sockets(6)
        with self.daemon.client(self.daemon.addresses[1]) as client:
            self.assertEqual(client.check("demo", b"v6").remaining, 9)
        self.assertEqual(datagrams_to_sockets(6), before)

    def test_back_to_the_mac_it_came_from(self):
        """Not to the one that the kernel knows for that address: as through a second router."""
        self.exchange(by_socket=False, from_mac=b"\x02\0\0\0\0\x77")

    def test_neighbours_are_the_kernels(self):
        """Both ends forget each other; who asks by ARP or neighbour discovery is answered, and then we are asked."""
        for address, version in zip(self.daemon.addresses, (4, 6)):
            for end in "sc":
                run("ip", "-n", world().spaces[end], "neigh", "flush", "dev", world().interface(end))
            before = datagrams_to_sockets(version)
            with self.daemon.client(address) as client:
                self.assertEqual(client.check("demo", os.urandom(8)).remaining, 9)
            self.assertEqual(datagrams_to_sockets(version), before)
            known = run("ip", "-n", world().spaces["c"], "neigh", "show", address[0], "dev", world().client_interface)
            self.assertIn(world().server_mac, known)

    def test_without_a_checksum(self):
        self.exchange(by_socket=False, check=0)

    def test_priority_tag(self):
        tag, _ = self.exchange(by_socket=False, tag=0xE000)
        self.assertEqual(tag, 0xE000)

    def test_options_and_fragments_are_the_kernels(self):
        self.exchange(by_socket=True, options=b"\x01\x01\x01\x00")
        request = self.client.request(wire.CHECK, "demo", os.urandom(8))
        before = datagrams_to_sockets()
        self.wire.send(request, self.daemon.port, fragment=0x2000, ip_payload=lambda udp: udp[:32])
        self.wire.send(request, self.daemon.port, fragment=32 // 8, ip_payload=lambda udp: udp[32:])
        _, frame = self.wire.receive()
        self.assertEqual(wire.decode_result(frame[42:82], wire.tag_of(request)).entries[0].remaining, 9)
        self.assertEqual(datagrams_to_sockets() - before, 1)

    def test_bad_checksums_are_dropped(self):
        before = self.daemon.stats()["total"]
        request = self.client.request(wire.CHECK, "demo", b"bad")
        good = struct.unpack("!H", self.wire.frame(request, self.daemon.port)[40:42])[0]
        self.wire.send(request, self.daemon.port, check=good ^ 0x0101)
        self.exchange(by_socket=False)
        after = self.daemon.stats()["total"]
        self.assertEqual(after["received"] - before["received"], 1)
        for _ in range(200):  # what the backend counts is shown ten times a second
            if self.daemon.stats()["total"]["receive_errors"] - before["receive_errors"] == 1:
                return
            threading.Event().wait(0.05)
        self.fail("the frame was not counted")

    def test_others_are_left_alone(self):
        """Another port, another host, another MAC, a tag that is not served: the program does not take them."""
        with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
            script.write("import socket\none = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                         f"one.bind(('{SERVER4}', 0))\nprint(one.getsockname()[1], flush=True)\n"
                         "while True:\n    data, peer = one.recvfrom(2048)\n    one.sendto(data[::-1], peer)\n")
            script.flush()
            echo = subprocess.Popen([*world().server, sys.executable, script.name], stdout=subprocess.PIPE, text=True)
            try:
                port = int(echo.stdout.readline())
                self.wire.send(b"to another port", port)
                self.assertEqual(self.wire.receive()[1][42:57], b"trop rehtona ot")
            finally:
                echo.kill()
                echo.wait()
                echo.stdout.close()
        before = self.daemon.stats()["total"]["received"]
        request = self.client.request(wire.CHECK, "demo", b"x")
        self.wire.send(request, self.daemon.port, target="10.99.77.200")
        self.wire.send(request, self.daemon.port, to_mac=b"\x02\0\0\0\0\x09")
        self.wire.send(request, self.daemon.port, tag=7)
        self.exchange(by_socket=False)
        self.assertEqual(self.daemon.stats()["total"]["received"] - before, 1)

    def test_a_tcp_connection_goes_on(self):
        """30 MB over the interface while checks are answered; not a byte differs."""
        script = ("import hashlib,socket;l=socket.create_server(('',0));print(l.getsockname()[1],flush=True);s,_=l.accept();h=hashlib."
                  "sha256();\nwhile d:=s.recv(1<<20):h.update(d)\nprint(h.hexdigest(),flush=True)")
        sink = subprocess.Popen([*world().server, sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        self.addCleanup(sink.stdout.close)
        data = os.urandom(1 << 20) * 30
        with socket.create_connection((SERVER4, int(sink.stdout.readline()))) as stream:
            sender = threading.Thread(target=stream.sendall, args=(data,))
            sender.start()
            checks = 0
            while sender.is_alive() or checks < 100:
                self.client.check("fast", b"beside")
                checks += 1
            sender.join()
        self.assertEqual(sink.stdout.readline().strip(), hashlib.sha256(data).hexdigest())
        self.assertEqual(sink.wait(PATIENCE_S), 0)


class Ways(Case):
    def test_other_ways_in_are_served(self):
        """Loopback and the UNIX socket of the same daemon, by its sockets."""
        with tempfile.TemporaryDirectory() as folder, \
                daemons.Daemon(listen=f"[{SERVER4}:0, 127.0.0.9:0]", sets=[f"listen.unix={folder}/s"]) as daemon:
            before = datagrams_to_sockets()
            host, port = daemon.addresses[1]
            done = run(*world().server, METE, "check", "demo", "local", "--server", f"{host}:{port}")
            self.assertTrue(done.startswith("allowed"), done)
            self.assertGreater(datagrams_to_sockets(), before)
            with daemon.client() as client:
                self.ask(client, by_socket=False)

    def test_a_vlan(self):
        with daemons.Daemon(sets=["af_xdp.vlan=100"]) as daemon, Wire() as raw, daemon.client() as client:
            request = client.request(wire.CHECK, "demo", b"tagged")
            raw.send(request, daemon.port, tag=0x6064)
            tag, frame = raw.receive()
            self.assertEqual(tag, 0x6064)
            self.assertEqual(wire.decode_result(frame[42:82], wire.tag_of(request)).entries[0].remaining, 9)
            self.ask(client, by_socket=True)  # without a tag: the kernel's

    def test_generic_mode(self):
        with daemons.Daemon(sets=["af_xdp.mode=generic"], workers=2) as daemon, daemon.client() as client:
            self.assertTrue(any("(generic, copy, 2 queues)" in line for line in daemon.said), daemon.said)
            self.ask(client, by_socket=False)

    def test_a_queue_that_nobody_reads(self):
        """Of two queues one is taken: what comes by the other goes through the socket, and all is answered."""
        with daemons.Daemon(sets=["af_xdp.queues=1"]) as daemon:
            before = datagrams_to_sockets()
            for _ in range(64):  # flows
                with daemon.client() as client:
                    self.assertEqual(client.check("demo", os.urandom(8)).remaining, 9)
            self.assertIn(datagrams_to_sockets() - before, range(1, 64))

    def test_queues_are_dealt_out(self):
        """Two queues among one, two and three workers, the last of which has none: every flow is answered past the sockets."""
        for workers in (1, 2, 3):
            with daemons.Daemon(workers=workers) as daemon:
                self.assertTrue(any("2 queues" in line for line in daemon.said), daemon.said)
                before, flows = datagrams_to_sockets(), 32
                for _ in range(flows):
                    with daemon.client() as client:
                        self.assertEqual(client.check("demo", os.urandom(8)).remaining, 9)
                self.assertEqual(datagrams_to_sockets(), before)
                total = daemon.stats()["total"]
                self.assertEqual((total["received"], total["answered"]), (flows, flows))

    def test_wildcard(self):
        with daemons.Daemon(listen="0.0.0.0:0") as daemon:
            with daemon.client((SERVER4, daemon.port)) as client:
                self.ask(client, by_socket=False)
            run("ip", "-n", world().spaces["s"], "addr", "add", "10.99.77.8/24", "dev", world().server_interface)
            try:
                with daemon.client(("10.99.77.8", daemon.port)) as client:
                    self.ask(client, by_socket=True)  # it came later
            finally:
                run("ip", "-n", world().spaces["s"], "addr", "del", "10.99.77.8/24", "dev", world().server_interface)


class Program(Case):
    def test_comes_and_goes(self):
        self.assertFalse(world().has_program())
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGABRT):
            daemon = daemons.Daemon()
            try:
                self.assertTrue(world().has_program())
                with daemon.client() as client:
                    self.ask(client, by_socket=False)
                daemon.process.send_signal(number)
                daemon.process.wait(PATIENCE_S)
                self.assertFalse(world().has_program(), number)
            finally:
                daemon.close()

    def test_a_start_that_fails_leaves_nothing(self):
        line = refused("listen.http=10.99.77.250:1")
        self.assertIn("listen.http", line)
        self.assertFalse(world().has_program())

    def test_taken(self):
        with daemons.Daemon() as daemon, daemon.client() as client:
            self.assertIn("has an XDP program already", refused("listen.udp=10.99.77.1:6399"))
            self.ask(client, by_socket=False)

    def test_what_cannot_be(self):
        self.assertRegex(refused("listen.interface=nosuch"), "listen.interface: there is no nosuch")
        self.assertRegex(refused("af_xdp.queues=3"), "af_xdp.queues: more than .* has")
        self.assertRegex(refused("listen.interface=none"), "backend: af_xdp needs listen.interface")
        self.assertRegex(refused("backend=mmsg"), "listen.interface: only backend: af_xdp")
        self.assertRegex(refused("listen.udp=127.0.0.1:6383"), "listen.udp names only loopback")


@unittest.skipUnless(shutil.which("setpriv"), "setpriv is not installed")
class Rights(Case):
    NEEDED = ("bpf", "net_admin", "net_raw")

    def as_nobody(self, capabilities):
        words = ",".join("+" + one for one in capabilities)
        caps = ["--bounding-set", "-all" + ("," + words if words else ""), "--inh-caps", "-all" + ("," + words if words else ""),
                *(["--ambient-caps", "-all," + words] if words else [])]
        return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *caps]

    def test_three_capabilities_are_enough_and_dropped(self):
        folder = tempfile.mkdtemp(prefix="mete-xdp-")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o777)
        # the binary where nobody else's folders are in the way
        program = shutil.copy(METE, folder)
        os.chmod(program, 0o755)
        command = [*world().server, *self.as_nobody(self.NEEDED), program, *arguments(*SMALL, "af_xdp.carry=on")[1:]]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        try:
            line = process.stderr.readline()
            self.assertIn("backend af_xdp on", line)
            self.assertIn("carrying", line)
            for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
                status = (task / "status").read_text()
                for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                    self.assertRegex(status, rf"{kind}:\t0+\n")
                self.assertRegex(status, r"Uid:\t65534\t")
            before = datagrams_to_sockets()
            for _ in range(32):  # flows, over the queue that is taken and the other
                with daemons.Client((SERVER4, 6383)) as client:
                    self.assertEqual(client.check("demo", os.urandom(8)).remaining, 9)
            self.assertLess(datagrams_to_sockets() - before, 32)
        finally:
            process.terminate()
            self.assertEqual(process.wait(PATIENCE_S), 0)
            process.stderr.close()
        self.assertFalse(world().has_program())

    def test_each_is_named_that_is_missing(self):
        folder = tempfile.mkdtemp(prefix="mete-xdp-")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o777)
        program = shutil.copy(METE, folder)
        os.chmod(program, 0o755)
        for missing in self.NEEDED:
            have = [one for one in self.NEEDED if one != missing]
            done = subprocess.run([*world().server, *self.as_nobody(have), program, *arguments(*SMALL)[1:]], text=True,
                                  capture_output=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(f"CAP_{missing.upper()}", done.stderr)
            said = [line for line in done.stderr.splitlines() if not line.startswith("profiling:")]  # nobody may count there
            self.assertEqual(len(said), 1, done.stderr)
            self.assertFalse(world().has_program())


if __name__ == "__main__":
    unittest.main()
