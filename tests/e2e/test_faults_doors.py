#!/usr/bin/env python3
"""The doors and the clock while what they call fails (tests/fault/fault.h), each fault at least METE_HITS (1000) times: who
is answered is answered right, who is not finds the connection closed, and what was charged is what was answered, or at
most what was asked and not answered. Descriptors come back. METE_SEED."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import http_raw
from lib.daemon import SANITIZED, parse_address
from lib.faulty import HITS, Faulty
from lib.grpc_client import Service, grpc, open_channel
from lib.resp import Error, Resp

BURST = 10_000_000
CONFIG = f"""
tenants:
  - name: default
    rules:
      - {{name: r, algorithm: fixed_window, limit: {BURST}/3650d}}
"""
PIPELINE = 8
GONE = (EOFError, ConnectionError)


class Ledger:
    """What one asker knows of the units of its subject."""

    def __init__(self):
        self.answered = self.unknown = 0

    def judge(self, remaining):
        """A number that an answer told, its own unit included."""
        most = BURST - self.answered
        assert most - self.unknown <= remaining <= most, (remaining, most, self.unknown)

    def take(self, remaining):
        self.answered += 1
        self.judge(remaining)


class Asker:
    """One client that connects again when it is closed; turn() asks some and judges."""

    def __init__(self, address):
        self.address, self.link, self.ledger = address, None, Ledger()

    def turn(self):
        left = PIPELINE
        try:
            self.link = self.link or self.connect()
            self.send()
            while left:
                left -= self.hear()
        except GONE:
            self.ledger.unknown += left
            self.close()

    def close(self):
        if self.link:
            self.link.__exit__(None, None, None)
        self.link = None


class AskResp(Asker):
    def connect(self):
        return Resp(self.address)

    def send(self):
        self.link.send(self.link.encode("METE.CHECK", "r", "resp") * PIPELINE)

    def hear(self):
        answer = self.link.hear()
        if answer is None:
            raise EOFError
        if isinstance(answer, Error):  # such as no room for a connection
            raise ConnectionError(answer)
        assert answer[0] == 1, answer
        self.ledger.take(answer[1])
        return 1


class AskHttp(Asker):
    def connect(self):
        return http_raw.Raw(self.address)

    def send(self):
        self.link.send(http_raw.post("/check", {"rule": "r", "subject": "http"}) * PIPELINE)

    def hear(self):
        answer = self.link.answer()
        if answer.status == 200:
            said = answer.json()
            assert said["allowed"] is True, said
            self.ledger.take(said["remaining"])
        else:
            assert answer.status in (500, 503), (answer.status, answer.body)
            self.ledger.unknown += 1
        return 1


class AskGrpc(Asker):
    """A channel of grpc waits long before it connects again; so each failure is the end of one."""

    def connect(self):
        channel = open_channel(self.address)
        self.limiter = Service(channel, "mete.v1.Limiter")
        return channel

    def send(self):
        pass

    def hear(self):
        try:
            answer = self.limiter.Check(rule="r", subject="grpc")
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED,
                                    grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN), error
            self.ledger.unknown += 1
            self.close()
            self.link = self.connect()
            return 1
        assert answer.allowed, answer
        self.ledger.take(answer.remaining)
        return 1


class Streams(unittest.TestCase):
    SETS = tuple(f"listen.{door}=127.0.0.1:0" for door in ("resp", "http", "grpc"))

    def judge(self, faults, kinds, wanted, hits=HITS):
        """Asks until every point in `wanted` was hit so often."""
        with Faulty(faults, CONFIG, self.SETS, workers=1) as daemon:
            where = {AskResp: parse_address(daemon.resp), AskHttp: parse_address(daemon.http), AskGrpc: daemon.grpc}
            before = daemon.descriptors()
            askers = [kind(where[kind]) for kind in kinds]
            for asker in askers:
                self.addCleanup(asker.close)
            while any(daemon.hits(point) < hits for point in wanted):
                for asker in askers:
                    asker.turn()
                    if SANITIZED:  # only our own calls fail there, and those are for new connections
                        asker.close()
            for asker in askers:
                asker.close()
            answered = sum(asker.ledger.answered for asker in askers)
            unknown = sum(asker.ledger.unknown for asker in askers)
            self.assertGreater(answered, hits)
            with daemon.client() as client:
                for asker, subject in zip(askers, kinds.values()):
                    asker.ledger.judge(client.check("r", subject, 0).remaining)
            units = daemon.rule("r")["units"]
            self.assertTrue(answered <= units <= answered + unknown, (answered, units, unknown))
            daemon.wait_for(lambda: daemon.descriptors() == before)

    def test_memory(self):
        every, hits = (2, 50) if SANITIZED else (200, HITS)
        self.judge(f"alloc=1/{every}x{hits}", {AskHttp: b"http", AskGrpc: b"grpc"}, ["alloc"], hits)

    def test_short_and_not_now(self):
        self.judge(f"send_short=1/2x{HITS},eagain=1/4x{HITS}", {AskResp: b"resp", AskHttp: b"http", AskGrpc: b"grpc"}, ["send_short", "eagain"])

    def test_no_descriptor(self):
        """Who finds none free waits in the listener's queue, and is served a moment later."""
        with Faulty("accept=1/2", CONFIG, self.SETS, workers=1) as daemon:
            address = parse_address(daemon.resp)
            while daemon.hits("accept") < min(HITS, 20):
                links = [Resp(address) for _ in range(8)]
                for link in links:
                    self.assertEqual(link.ask("PING"), "PONG")
                    link.__exit__()


if __name__ == "__main__":
    unittest.main()
