"""Upgrades of a daemon that serves: the new process, a stand-in for it that does what no daemon would, and clients that
count what they were answered.

    with Daemon(config=COUNTED) as daemon, Load(daemon) as load:
        daemon = upgrade(daemon)
"""
import array
import os
import socket
import struct
import subprocess
import threading
import time

from lib import mete_wire as wire
from lib.daemon import PATIENCE_S, Client, Daemon, mete

LIMIT = 4_000_000_000
# What is not given back for a year, and retries that are known for as long as can be.
WINDOW_S = 10
PAUSE_S = 0.002  # of a flow after each answer: what a window brings is little beside what can be remembered
COUNTED = ("repeats: {window: 10s}\n"
           "tenants:\n  - name: default\n    rules:\n"
           f"      - {{name: count, algorithm: fixed_window, limit: {LIMIT}/365d}}\n"
           "      - {name: jobs, algorithm: concurrency, limit: 3, lease: 1h}\n")


class Successor(Daemon):
    """Takes the place of a daemon: its folder, and its arguments but for what is said in `more`."""

    def __init__(self, old, more=(), environment=None):
        self.folder, self.admin = old.folder, old.admin
        arguments = [one for one in old.arguments if one != "--take-over"]
        self._start([*arguments, "--take-over", *more], environment=environment)


def end(daemon):
    """The one that handed over: it ends by itself, with 0, and has left what lies in its folder."""
    status = daemon.process.wait(PATIENCE_S)
    daemon.reader.join(PATIENCE_S)
    daemon.process.stderr.close()
    assert status == 0, daemon.said
    assert "handed over to pid" in daemon.said[-1], daemon.said
    assert os.path.exists(daemon.admin)


def upgrade(daemon, *more, environment=None):
    """Returns the one that serves then."""
    new = Successor(daemon, more, environment)
    end(daemon)
    return new


class Chain:
    """A daemon and those that come after it, one place for the one that serves now."""

    def __init__(self, *arguments, **options):
        self.now = Daemon(*arguments, **options)

    def upgrade(self, *more, environment=None):
        self.now = upgrade(self.now, *more, environment=environment)
        return self.now

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.now.stop()
        finally:
            self.now.close()


def refused(daemon, *more):
    """A new process that must not take over: its one line on stderr."""
    arguments = [one for one in daemon.arguments if one != "--take-over"]
    done = subprocess.run([*arguments, "--take-over", *more], text=True, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 2, (done.returncode, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("mete serve: "), done.stderr
    return lines[0]


class Flow(threading.Thread):
    """One client that asks, waits, and sends the very bytes again until it is answered."""

    TRY_S = 0.1

    def __init__(self, address, subject, rule="count", may_deny=False):
        super().__init__(daemon=True)
        self.client, self.subject, self.rule, self.may_deny = Client(address), subject, rule, may_deny
        self.client.socket.settimeout(self.TRY_S)
        self.requests = self.answered = self.retried = self.allowed = 0
        self.unsure = 0  # perhaps charged twice, or not at all: its first try may have been forgotten
        self.wrong, self.is_over = [], threading.Event()

    def run(self):
        while not self.is_over.is_set():
            request = self.client.request(wire.CHECK, self.rule, self.subject)
            self.requests += 1
            self.answered += self.ask(request)
            self.is_over.wait(PAUSE_S)

    def ask(self, request):
        first = time.monotonic()
        last = first + PATIENCE_S
        self.client.send(request)
        while time.monotonic() < last:
            try:
                answer = self.client.socket.recv(65536)
            except TimeoutError:
                self.retried += 1
                self.client.send(request)
                continue
            if answer[4:8] != request[12:16]:
                continue  # the second answer to one that was sent twice
            result = wire.decode_result(answer, wire.tag_of(request))
            is_stale = result.flags & wire.STATUS and result.detail == wire.STALE
            self.unsure += bool(is_stale) or time.monotonic() - first > WINDOW_S / 2
            is_allowed = not result.flags & wire.STATUS and result.entries[0].allowed
            self.allowed += is_allowed
            if not is_stale and (result.flags & wire.STATUS or not (is_allowed or self.may_deny)):
                self.wrong.append(result)
            return 1
        return 0


class Load:
    """Flows that ask all the time, one subject each."""

    def __init__(self, daemon=None, flows=4):
        self.flows = flows if daemon is None else [Flow(daemon.address, b"flow%d" % i) for i in range(flows)]

    def __enter__(self):
        for flow in self.flows:
            flow.start()
        return self

    def __exit__(self, *_):
        for flow in self.flows:
            flow.is_over.set()
        for flow in self.flows:
            flow.join(2 * PATIENCE_S)
            flow.client.socket.close()

    def wait_for_more(self, answers=20):
        """Until each flow has been answered so often once more."""
        goals = [flow.answered + answers for flow in self.flows]
        last = time.monotonic() + 2 * PATIENCE_S
        while any(flow.answered < goal for flow, goal in zip(self.flows, goals)):
            assert time.monotonic() < last, "no more answers come"
            time.sleep(0.005)

    def sum(self, what):
        return sum(getattr(flow, what) for flow in self.flows)

    def judge_answers(self):
        wrong = [one for flow in self.flows for one in flow.wrong]
        assert not wrong, wrong[:3]
        requests, answered = self.sum("requests"), self.sum("answered")
        assert requests == answered, f"{requests - answered} of {requests} requests were never answered"

    def judge(self, daemon):
        """When it is over: every request was answered, and each was charged once."""
        self.judge_answers()
        with daemon.client() as client:
            for flow in self.flows:
                left = client.check("count", flow.subject, 0).remaining
                assert abs(LIMIT - left - flow.requests) <= flow.unsure, (flow.subject, LIMIT - left, flow.requests)


    def report(self, upgrades):
        """What `make upgrade` prints."""
        if "METE_UPGRADES" in os.environ:
            print(f"upgrades {upgrades}, requests {self.sum('requests')}, "
                  f"unanswered {self.sum('requests') - self.sum('answered')}, retried {self.sum('retried')}", flush=True)


# ---- a new process that is none ----

ROLE_BYTES = 16
HEAD = struct.Struct("<4sHHII")
FACTS, SOCKETS, READY, TABLE, TAKEN, YOURS = range(1, 7)


class StandIn:
    """Speaks to a daemon's admin socket as a new process does, as far as a test wants."""

    def __init__(self, daemon, command=b"handover 2 stand-in\n"):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(daemon.admin)
        self.fds, self.roles = [], []
        self.socket.sendall(command)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the daemon hung up"
            data += more
        return data

    def hear(self):
        """The kind and the bytes of a message; its descriptors are kept."""
        head, control, _, _ = self.socket.recvmsg(HEAD.size, socket.CMSG_SPACE(128 * 4))
        assert len(head) == HEAD.size, head
        magic, kind, _, length, _ = HEAD.unpack(head)
        assert magic == b"mete"
        for _, _, data in control:
            fds = array.array("i")
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
            self.fds += fds
        return kind, self.exactly(length)

    def hear_all(self):
        """What comes first: the facts, then as many sockets as they say."""
        kind, facts = self.hear()
        assert kind == FACTS
        count = struct.unpack_from("<I", facts, 4)[0]
        while len(self.fds) < count:
            kind, roles = self.hear()
            assert kind == SOCKETS
            self.roles += [roles[at:at + ROLE_BYTES].rstrip(b"\0").decode() for at in range(0, len(roles), ROLE_BYTES)]
        return facts

    def say(self, kind, data=bytes(4)):
        self.socket.sendall(HEAD.pack(b"mete", kind, 0, len(data), 0) + data)

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def upgrade_under_load(chain, rounds, *more):
    """So many upgrades, each amid answers; then every answer and bucket is judged."""
    with Load(chain.now) as load:
        load.wait_for_more()
        for _ in range(rounds):
            chain.upgrade(*more)
            load.wait_for_more()
    load.judge(chain.now)
    load.report(rounds)
