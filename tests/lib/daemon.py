"""The real daemon for end-to-end tests: started on a free port with an admin socket and a folder of its own, asked
over UDP with the independent codec, stopped by SIGTERM and judged by its exit status and its stderr.

    with Daemon(workers=2, backend="mmsg") as daemon, daemon.client() as client:
        verdict = client.check("demo", b"alice")
        self.assertEqual(daemon.stats()["total"]["allowed"], 1)

$METE_BUILD says where the binary lies (build/check by default). No call waits for a time to pass: what must not be
answered is followed by what must be, and one worker answers one flow in order.
"""
import itertools
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

from lib import mete_wire as wire

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / (os.environ.get("METE_BUILD") or "build/check")
METE = str(BUILD / "mete")
SANITIZED = "asan" in BUILD.name or "tsan" in BUILD.name
COUNTED = "coverage" in BUILD.name  # writes what it counted at its end, which no filter of system calls lets it
BACKENDS = ("io_uring", "mmsg")
CLIENT_IDS = itertools.count(1000)
PATIENCE_S = 30  # a limit against hanging, not a measure

READY = re.compile(r"^mete: (?P<version>\S+) udp (?P<udp>\S+)( unix (?P<unix>\S+))?( resp (?P<resp>\S+))?( http (?P<http>\S+))?( grpc (?P<grpc>\S+))?( resp_tls (?P<resp_tls>\S+))?( http_tls (?P<http_tls>\S+))?( grpc_tls (?P<grpc_tls>\S+))?( metrics (?P<metrics>\S+))? workers (?P<workers>\d+) backend (?P<backend>\w+)( on (?P<interface>\S+) \((?P<xdp>[^)]*)\))? "
                   r"table (?P<entries>\d+) entries (?P<mib>[\d.]+) MiB( in huge pages)?"
                   r"( (?P<start>cold|joined|taken over|warm with (more than )?\d+))?$")


def mete(*arguments, **options):
    """Runs a command to its end."""
    return subprocess.run([METE, *arguments], text=True, capture_output=True, timeout=PATIENCE_S,
                          stdin=subprocess.DEVNULL, **options)


def parse_address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class Client:
    """One UDP flow. Every answer is decoded and held against its request: tag, sequence, type, length."""
    may_overtake = False

    def __init__(self, address, source=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.address = address
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.settimeout(PATIENCE_S)
        self.client_id, self.sequence = next(CLIENT_IDS), 1000
        self.early = []  # of another request
        if source:
            self.socket.bind((source, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, datagram):
        self.socket.sendto(datagram, self.address)

    def next_answer(self, request):
        """Answers come in the order of requests, but where they may overtake each other."""
        if not Client.may_overtake:
            return self.socket.recvfrom(65536)
        def belongs(answer):
            return answer[4:8] == request[12:16] and (request[22] != wire.NO_SECRET or answer[-8:] == request[-8:])

        for place, (answer, _) in enumerate(self.early):
            if belongs(answer):
                return self.early.pop(place)
        while True:
            answer, source = self.socket.recvfrom(65536)
            if belongs(answer):
                return answer, source
            self.early.append((answer, source))

    def receive(self, request):
        """The next datagram, which must be the answer to this request."""
        answer, self.source = self.next_answer(request)
        assert len(answer) <= len(request), f"{len(answer)} bytes out for {len(request)} in"
        result = wire.decode_result(answer, wire.tag_of(request))
        assert result.sequence == int.from_bytes(request[12:16], "little")
        assert result.type == request[1] | 0x80
        assert result.boot_bits != 0
        if not result.flags & wire.STATUS:
            assert result.n == request[3]
        return result

    def ask(self, request):
        self.send(request)
        return self.receive(request)

    def request(self, type_, rule, subject, cost=1, *, tenant="default", **options):
        self.sequence += 1
        options.setdefault("client_id", self.client_id)
        options.setdefault("sequence", self.sequence)
        options.setdefault("seed", wire.tenant_seed(tenant))
        return wire.limit_request(type_, rule, subject, cost, tenant=tenant, **options)

    def limits(self, type_, rule, subject, cost=1, **options):
        return self.ask(self.request(type_, rule, subject, cost, **options))

    def check(self, rule, subject, cost=1, **options):
        """The verdict of one CHECK."""
        return self.limits(wire.CHECK, rule, subject, cost, **options).entries[0]

    def refund(self, rule, subject, cost=1, **options):
        return self.limits(wire.REFUND, rule, subject, cost, **options).entries[0]

    def reset(self, rule, subject, **options):
        return self.limits(wire.RESET, rule, subject, 0, **options).entries[0]

    def hello(self, **options):
        self.sequence += 1
        return self.ask(wire.hello(client_id=self.client_id, sequence=self.sequence, **options))

    def send_unanswered(self, datagrams):
        """Sends what must stay without an answer, then a valid request, whose answer must be the next to come."""
        for datagram in datagrams:
            self.send(datagram)
        return self.hello()


class Daemon:
    def __init__(self, config=None, sets=(), *, backend="auto", workers=1, listen="127.0.0.1:0", entries=65536,
                 preexec=None, environment=None, command=(), path=None, program=METE, pass_fds=()):
        self.folder = tempfile.mkdtemp(prefix="mete-")
        self.admin = os.path.join(self.folder, "admin.sock")
        arguments = [*command, program, "serve"]
        if path is not None:
            arguments += ["--config", str(path)]
        if config is not None:
            path = os.path.join(self.folder, "mete.yaml")
            pathlib.Path(path).write_text(config)
            arguments += ["--config", path]
        if any(host in listen for host in ("0.0.0.0", "[::]")) and not any("trusted_networks" in one for one in sets):
            sets = [*sets, "trusted_networks=192.0.2.0/24"]  # nobody's: beyond loopback somebody must be believed
        if path is None or "overload" not in pathlib.Path(path).read_text(errors="replace"):
            if not any("overload" in one for one in sets):
                sets = [*sets, "overload.shedding=off"]  # a machine that lets it stand still is not the load that a test is about
        for one in (f"listen.udp={listen}", f"listen.admin={self.admin}", f"backend={backend}", f"workers={workers}",
                    f"table.entries={entries}", *sets):
            arguments += ["--set", one]
        self._start(arguments, preexec, environment, pass_fds)

    def _start(self, arguments, preexec=None, environment=None, pass_fds=()):
        self.arguments = arguments
        self.lines, self.said = queue.Queue(), []
        environment = {**os.environ, **(environment or {})}
        self.prepare(environment)
        self.process = subprocess.Popen(arguments, pass_fds=pass_fds, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, preexec_fn=preexec, env=environment)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    def prepare(self, environment):
        """For those who add to it what only the folder's name can say."""

    def _read(self):
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _wait_ready(self):
        while True:
            line = self.lines.get(timeout=PATIENCE_S)
            if line is None:
                raise AssertionError(f"the daemon did not start: {self.said}")
            match = READY.match(line)
            if match:
                break
        self.version, self.backend = match["version"], match["backend"]
        self.resp_tls, self.http_tls = match["resp_tls"], match["http_tls"]
        self.resp, self.http, self.metrics = match["resp"], match["http"], match["metrics"]
        self.grpc, self.grpc_tls = match["grpc"], match["grpc_tls"]
        self.interface = match["interface"]
        self.start = match["start"]  # of a table in a file, else None
        self.workers, self.entries = int(match["workers"]), int(match["entries"])
        self.addresses = [parse_address(text) for text in match["udp"].split(",")]
        self.address, self.port = self.addresses[0], self.addresses[0][1]

    def client(self, address=None, source=None):
        return Client(address or self.address, source)

    def stats(self):
        done = mete("stats", "--json", "--admin", self.admin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rule(self, name, tenant="default"):
        """The counters of one rule; zeroes for inline limits that were not used."""
        for rule in self.stats()["rules"]:
            if (rule["tenant"], rule["rule"]) == (tenant, name):
                return rule
        return {"allowed": 0, "denied": 0, "would_deny": 0, "units": 0}

    def stop(self, number=signal.SIGTERM):
        """Stops it; it must exit 0 with nothing on stderr but its own lines."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)
        said = "\n".join(self.said)
        assert status == 0, f"exit status {status}\n{said}"
        strange = [line for line in self.said if not line.startswith("mete: ")]
        assert not strange, said
        assert not os.path.exists(self.admin), "the admin socket was left behind"

    def kill(self):
        """kill -9, at once; then its last answers are in our sockets."""
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE_S)
        self.process.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
        finally:
            self.close()


def refuse(*arguments, **options):
    """`mete serve` that must not start: its one line on stderr."""
    done = mete("serve", *arguments, **options)
    assert done.returncode == 2, f"exit status {done.returncode}\n{done.stderr}"
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("mete serve: "), done.stderr
    return lines[0]
