"""Two servers for the tests of the C client and of `mete check`: a scripted one that answers what a test wants, right or
wrong, and the real daemon."""
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("METE_BUILD") or os.path.join(ROOT, "build", "check")
METE = os.path.join(BUILD, "mete")
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib import mete_wire as w  # noqa: E402


def key_of(type_, secret):
    """The MAC key of a request and its result; the stand-in's boot id is 7."""
    return None if secret is None else w.mac_key(secret, 0 if type_ == w.HELLO else 7)


def answer(request, entries=(), **more):
    """A well-signed result for a decoded request; more: fields of mete_wire.Result."""
    fields = {"clock_ms": 1000, "boot_bits": 7, "sequence": request.sequence, "type": request.type | 0x80}
    return w.encode_result(w.Result(entries=list(entries), **{**fields, **more}), request.tag, key_of(request.type, request.own))


def status(request, number):
    return answer(request, flags=w.STATUS, detail=number)


def hello(request):
    seed = w.mask_seed(w.tenant_seed("default"), request.entries[0].nonce, request.own)
    return answer(request, boot_id=7, masked_seed=seed, served_types=0x8E)


def build_client(source, folder):
    """The program of a source of the tree, linked with nothing but the client library."""
    program = os.path.join(folder, os.path.basename(source)[:-2])
    library = os.path.join(BUILD, "libmete.a")
    # A library built with a sanitizer can only be linked with it, by its compiler.
    compiler = {"asan": ["clang", "-fsanitize=address,undefined"], "tsan": ["clang", "-fsanitize=thread"],
                "clang": ["clang"]}.get(os.path.basename(BUILD), ["cc"])
    subprocess.run([*compiler, "-Wall", "-Wextra", "-Werror", "-Iinclude", "-o", program, source, library, "-lsodium"],
                   cwd=ROOT, check=True)
    return program


class StandIn:
    """Answers each request with the datagrams that script(request) returns; HELLO by itself. `requests` holds what came,
    HELLO left out. Under a secret what is not signed with it is not answered."""

    def __init__(self, script, family=socket.AF_INET, secret=None):
        self.script, self.requests, self.secret = script, [], secret
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        host, port = self.socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while True:
            data, peer = self.socket.recvfrom(2048)
            if data == b"stop":
                return
            try:
                request = w.decode_request(data, key_of(data[1], self.secret))
            except w.Malformed as wrong:
                if self.secret is None or wrong.name != "bad_tag":
                    raise
                continue
            request.own = self.secret
            if request.type == w.HELLO:
                self.socket.sendto(hello(request), peer)
                continue
            self.requests.append(request)
            for each in self.script(request):
                self.socket.sendto(each, peer)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.socket.sendto(b"stop", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


class Proxy:
    """Between one client and a server. deal(datagram, is_answer) says in how many seconds each goes on; None: never."""

    def __init__(self, address, deal):
        host, port = address.rsplit(":", 1)
        self.front, self.back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.front.bind(("127.0.0.1", 0))
        self.back.connect((host, int(port)))
        self.address = "127.0.0.1:%d" % self.front.getsockname()[1]
        self.deal, self.held, self.peer, self.seen, self.done = deal, [], None, 0, False
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.done:
            for ready in select.select([self.front, self.back], [], [], 0.02)[0]:
                data, sender = ready.recvfrom(2048)
                is_answer = ready is self.back
                if not is_answer:
                    self.peer = sender
                    self.seen += 1
                wait = self.deal(data, is_answer)
                if wait is not None:
                    self.held.append((time.monotonic() + wait, is_answer, data))
            self.held.sort()
            while self.held and self.held[0][0] <= time.monotonic():
                _, is_answer, data = self.held.pop(0)
                if is_answer:
                    self.front.sendto(data, self.peer)
                else:
                    self.back.send(data)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done = True
        self.thread.join()
        self.front.close()
        self.back.close()


class Asker:
    """A client that asks when it is told: see client_asker.c."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def shares(self):
        return [int(word) for word in self.tell("stats")[3:]]

    def restarts(self):
        return int(self.tell("stats")[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Daemon:
    """The real server on a free port, with the embedded default configuration or another."""

    def __init__(self, config=None, address="127.0.0.1:0"):
        self.more = ["--config", config] if config else []
        self.listen = address

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.log = []
        self.process = subprocess.Popen(
            [METE, "serve", *self.more, "--set", f"listen.udp={self.listen}", "--set", "workers=1", "--set", "table.entries=65536",
             "--set", f"listen.admin={self.folder.name}/admin.sock"],
            stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"udp (127\.0\.0\.1:[1-9]\d*)", line)
            if found:
                self.address = found.group(1)
                self.rest = threading.Thread(target=lambda: self.log.extend(self.process.stderr))
                self.rest.start()
                return self
        self.process.wait()
        self.process.stderr.close()
        self.folder.cleanup()
        raise AssertionError("mete serve did not start: " + "".join(self.log))

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.rest.join()
        self.process.stderr.close()
        self.folder.cleanup()
