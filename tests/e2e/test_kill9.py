#!/usr/bin/env python3
"""kill -9 at a random instant under full load, again and again, with the table in a file; what a bookkeeper knows who
only counts answers must be there after every restart:

  units of every subject    at least those that were answered ALLOW, at most those of distinct requests; so what exceeds
                            the answered ones is what was on its way
  a retry of the very bytes a repeat with the same decision if it was answered; if it was not, charged once in all
  leases                    as many slots in use as were granted, and none once all were released
  boot id                   the same: no client has to say HELLO again

METE_ROUNDS (50) rounds, every tenth a stop by SIGTERM; METE_SEED chooses the instants; `make kill9 ROUNDS=1000`, which
says how far it is. Rounds of several runs add up: each has instants of its own.
"""
import os
import pathlib
import random
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire  # noqa: E402
from lib.daemon import BACKENDS, Client, Daemon  # noqa: E402
from lib.table_file import TableFile  # noqa: E402

SEED = int(os.environ.get("METE_SEED") or time.time_ns() % 1000000)
ROUNDS = int(os.environ.get("METE_ROUNDS") or 50)
LIMIT = 30000
RULES = {
    "bucket": f"algorithm: token_bucket, rate: 1/10000s, burst: {LIMIT}",
    "meter": f"algorithm: leaky_bucket, rate: 1/10000s, burst: {LIMIT}",
    "fixed": f"algorithm: fixed_window, limit: {LIMIT}/3650d",
    "sliding": f"algorithm: sliding_window, limit: {LIMIT}/3650d",
    "year": f"algorithm: calendar, limit: {LIMIT}, per: year, time_zone: UTC",
    "jobs": f"algorithm: concurrency, limit: {LIMIT}, lease: 1h",
}
CONFIG = "tenants:\n  - name: default\n    rules:\n" + "".join(
    f"      - {{name: {name}, {how}}}\n" for name, how in RULES.items())
SUBJECTS = 30      # of a datagram, each once and one unit of each
WORKERS, FLOWS = 2, 4
BURST = 48         # datagrams that wait for answers
RETRIES = 40       # of those that were answered
WINDOW_S = 10      # repeats.window
PATIENCE_S = 7     # a retry that comes later proves nothing
DEADLINE_S = 30    # against hanging
SEED_OF_KEYS = wire.tenant_seed("default")


class Request:
    """Its bytes and what came of them."""

    def __init__(self, rule, datagram):
        self.rule, self.datagram = rule, datagram
        self.answered = self.stale = False


class Flows:
    """Sockets that have many requests on their way."""

    def __init__(self, address):
        self.sockets = []
        for _ in range(FLOWS):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            one.connect(address)
            self.sockets.append(one)
        self.waiting = [{} for _ in self.sockets]  # by sequence
        self.boot_bits = set()

    def close(self):
        for one in self.sockets:
            one.close()

    def send(self, number, request):
        number %= FLOWS
        self.waiting[number][request.datagram[12:16]] = request
        try:
            self.sockets[number].send(request.datagram)
        except ConnectionRefusedError:
            pass  # of an earlier one: it was killed

    def receive(self, number, timeout):
        """(request, answer) or None."""
        one = self.sockets[number % FLOWS]
        one.settimeout(timeout)
        try:
            answer = one.recv(2048)
        except (BlockingIOError, TimeoutError, ConnectionRefusedError):
            return None
        self.boot_bits.add(answer[12:14])
        request = self.waiting[number % FLOWS].pop(answer[4:8], None)
        return (request, answer) if request else None

    def drain(self):
        for number in range(FLOWS):
            while self.waiting[number] and (got := self.receive(number, 0)):
                yield got


def flags_of(answer):
    """The flags of all verdicts; None: a status for the whole datagram."""
    return None if answer[2] & wire.STATUS else answer[17:-8:16]


class Kill9(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(SEED)
        self.where = f"METE_SEED={SEED} METE_ROUNDS={ROUNDS}"
        self.sequence = 0

    def make(self, rule):
        """A datagram of one unit for each of the round's subjects. Without a secret its tag is client and sequence."""
        self.sequence += 1
        if rule == "jobs":
            leases = [self.random.getrandbits(64) | 1 for _ in range(SUBJECTS)]
            return wire.limit_request(wire.ACQUIRE, rule, self.subjects, seed=SEED_OF_KEYS, sequence=self.sequence,
                                      client_id=7, lease_id=leases)
        sequence = self.sequence.to_bytes(4, "little")
        template = self.templates.get(rule)
        if not template:
            template = self.templates[rule] = wire.limit_request(wire.CHECK, rule, self.subjects, seed=SEED_OF_KEYS,
                                                                 sequence=self.sequence, client_id=7)
            assert template[-8:] == (7).to_bytes(4, "little") + sequence
        return template[:12] + sequence + template[16:-4] + sequence

    def take(self, got):
        request, answer = got
        flags = flags_of(answer)
        self.taken += 1
        if flags is None:  # a set that is full for so long a window forgets, and then is strict: not charged
            self.assertEqual(answer[14], wire.STALE, self.where)
            self.refused += 1
            return
        self.assertEqual(flags, bytes([wire.ALLOW]) * SUBJECTS, self.where)
        request.answered = True

    def load(self, flows, until, end):
        """Requests until an instant, BURST on their way; in the middle of the last burst the daemon is killed."""
        requests = []
        last = self.random.randrange(BURST)
        rules = list(RULES)[:-1]
        while True:
            for i in range(BURST):
                rule = "jobs" if i == BURST // 2 and len(requests) < 8 * BURST else rules[i % len(rules)]
                requests.append(Request(rule, self.make(rule)))
                flows.send(i, requests[-1])
                if i == last and time.monotonic() >= until:
                    end()
                    return requests
            for i in range(BURST):
                got = flows.receive(i, DEADLINE_S)
                self.assertIsNotNone(got, f"no answer: {self.where}")
                self.take(got)

    def charged(self, client):
        """Units of every subject under every rule, as the daemon says."""
        units = {}
        for rule in RULES:
            result = client.limits(wire.CHECK, rule, self.subjects, flags=wire.PEEK)
            units[rule] = [LIMIT - entry.remaining for entry in result.entries]
        return units

    def judge(self, client, requests, is_clean):
        units = self.charged(client)
        for rule in RULES:
            sent = sum(1 for one in requests if one.rule == rule)
            answered = sum(1 for one in requests if one.rule == rule and one.answered)
            for i, charged in enumerate(units[rule]):
                self.assertGreaterEqual(charged, answered, f"{rule} {self.subjects[i]} lost units: {self.where}")
                self.assertLessEqual(charged, answered if is_clean else sent,
                                     f"{rule} {self.subjects[i]} has too many: {self.where}")
        return units

    def retry(self, flows, requests, begun):
        """The same bytes again: of the last that were answered, and of all that were not."""
        known = [one for one in requests if one.answered][-RETRIES:]
        unknown = [one for one in requests if not one.answered]
        for number, request in enumerate(known + unknown):
            flows.send(number, request)
            got = flows.receive(number, DEADLINE_S)
            self.assertIsNotNone(got, f"no answer to a retry: {self.where}")
            flags = flags_of(got[1])
            if time.monotonic() - begun > PATIENCE_S:
                return False
            if request.answered:
                self.assertEqual(flags, bytes([wire.ALLOW | wire.REPEAT]) * SUBJECTS, f"{request.rule}: {self.where}")
            elif flags is None:
                self.assertEqual(got[1][14], wire.STALE, self.where)
                request.stale = True
            else:
                self.assertIn(flags[:1], (bytes([wire.ALLOW]), bytes([wire.ALLOW | wire.REPEAT])), self.where)
                self.repeats += bool(flags[0] & wire.REPEAT)
                request.answered = True
        return True

    def release(self, client, requests):
        """All leases that were granted, and those of which nobody knows: then not one slot is in use."""
        for request in requests:
            if request.rule != "jobs":
                continue
            sent = wire.decode_request(request.datagram)
            client.limits(wire.RELEASE, "jobs", self.subjects, lease_id=[entry.lease_id for entry in sent.entries])
        self.assertEqual(self.charged(client)["jobs"], [0] * SUBJECTS, f"slots that nobody holds: {self.where}")

    def play(self, daemon, number):
        """One life under load. Returns what was sent in it."""
        self.subjects = [b"%d-%d" % (number, i) for i in range(SUBJECTS)]
        self.templates = {}
        flows = Flows(daemon.address)
        self.addCleanup(flows.close)
        is_clean = number % 10 == 9
        begun = time.monotonic() + self.random.random() * 0.03
        if is_clean:
            requests = self.load(flows, begun, daemon.process.terminate)
            daemon.stop()
        else:
            requests = self.load(flows, begun, daemon.process.kill)
            daemon.process.wait()
        for got in flows.drain():
            self.take(got)
        flows.close()
        return requests, flows.boot_bits, begun, is_clean

    def test_what_was_answered_is_there_after_the_kill(self):
        self.repeats = self.stale = self.unanswered = self.taken = self.refused = 0
        bits, port, retried = set(), 0, 0
        with TableFile() as path:
            daemon = self.start(path, 0, port)
            self.addCleanup(daemon.close)
            self.assertEqual(daemon.start, "cold")
            port = daemon.port
            for number in range(ROUNDS):
                requests, seen, begun, is_clean = self.play(daemon, number)
                bits |= seen
                daemon.close()
                daemon = self.start(path, number, port)
                self.addCleanup(daemon.close)
                self.assertRegex(daemon.start, "^warm with ")
                flows = Flows(daemon.address)
                with daemon.client() as client:
                    before = self.judge(client, requests, is_clean)
                    self.unanswered += sum(1 for one in requests if not one.answered)
                    if self.retry(flows, requests, begun):
                        retried += 1
                        self.stale += sum(one.stale for one in requests)
                        after = self.judge(client, requests, False)
                        for rule in RULES:
                            self.assertGreaterEqual(after[rule], before[rule])
                    self.release(client, requests)
                bits |= flows.boot_bits
                flows.close()
                if os.environ.get("METE_SHOW") and number % 50 == 49:
                    print(f"{number + 1} of {ROUNDS} rounds, {self.taken} datagrams answered before the kills, "
                          f"{self.unanswered} not", flush=True)
            daemon.stop()
        self.assertEqual(len(bits), 1, f"another boot id: {self.where}")
        self.assertGreater(self.unanswered, 0, f"nothing was on its way when it was killed: {self.where}")
        self.assertGreater(retried, ROUNDS // 2, self.where)
        self.assertLess(self.refused, 10 + self.taken // 100, self.where)
        if os.environ.get("METE_SHOW"):
            print(f"rounds {ROUNDS} unanswered {self.unanswered} of them repeats {self.repeats} stale {self.stale}")

    def start(self, path, number, port):
        return Daemon(CONFIG, [f"table.file={path}", f"repeats.window={WINDOW_S}s", "table.on_bad_file=refuse"],
                      backend=BACKENDS[number % 2], workers=WORKERS, listen=f"127.0.0.1:{port}")


if __name__ == "__main__":
    unittest.main()
