"""A client under a secret, by the independent codec: HELLO first, its clock and boot id from there, recovery when the
server was restarted or calls a datagram stale. Counts its round trips, so that tests can say how many one took.

    client = Signed(daemon.address, "acme", b"s" * 32)
    verdict = client.check("api", b"alice")
"""
import os
import socket
import time

from lib import mete_wire as wire
from lib.daemon import PATIENCE_S, Client


class Signed(Client):
    def __init__(self, address, tenant, secret, index=0, *, clock=time.monotonic, **options):
        super().__init__(address, **options)
        self.client_id = int.from_bytes(os.urandom(4), "little")
        self.tenant, self.secret, self.index, self.clock = tenant, secret, index, clock
        self.hello_key = wire.mac_key(secret, 0)
        self.boot_id = None
        self.round_trips = 0

    def make_hello(self, **options):
        self.sequence += 1
        self.nonce = os.urandom(16)
        options.setdefault("key", self.hello_key)
        return wire.hello(self.nonce, tenant=self.tenant, secret=self.index, client_id=self.client_id,
                          sequence=self.sequence, **options)

    def take_hello(self, answer, request):
        result = wire.decode_result(answer, wire.tag_of(request), self.hello_key)
        assert len(answer) == len(request) == 64 and result.sequence == self.sequence
        self.boot_id, self.window_ms, self.ahead_ms = result.boot_id, result.repeat_window_ms, result.clock_lead_ms
        self.seed = wire.mask_seed(result.masked_seed, self.nonce, self.secret)
        self.key = wire.mac_key(self.secret, self.boot_id)
        self.set_clock(result.clock_ms)
        return result

    def learn(self):
        request = self.make_hello()
        self.send(request)
        self.round_trips += 1
        return self.take_hello(self.socket.recv(2048), request)

    def set_clock(self, clock_ms):
        self.offset_ms = clock_ms - int(self.clock() * 1000)

    def now_ms(self):
        return (self.offset_ms + int(self.clock() * 1000)) % 2**32 or 1

    def make(self, type_, rule, subject, cost=1, **options):
        """A datagram signed now; any field can be given instead."""
        self.sequence += 1
        for name, value in (("sequence", self.sequence), ("client_id", self.client_id), ("tenant", self.tenant),
                            ("clock_ms", self.now_ms()), ("boot_bits", self.boot_id & 0xFFFF), ("secret", self.index),
                            ("key", self.key), ("seed", self.seed)):
            options.setdefault(name, value)
        return wire.limit_request(type_, rule, subject, cost, **options)

    def exchange(self, request):
        """One round trip; the answer, which may be RESTARTED, is checked as far as it can be."""
        self.send(request)
        self.round_trips += 1
        answer = self.socket.recv(2048)
        assert len(answer) < len(request), f"{len(answer)} bytes out for {len(request)} in"
        result = wire.decode_result(answer, wire.tag_of(request), self.key)
        assert result.sequence == int.from_bytes(request[12:16], "little")
        return result

    def limits(self, type_, rule, subject, cost=1, **options):
        """Asks until there is an answer: learns first, and again after RESTARTED; takes the clock from STALE."""
        if self.boot_id is None:
            self.learn()
        for _ in range(4):
            result = self.exchange(self.make(type_, rule, subject, cost, **options))
            if result.type == wire.RESTARTED:
                self.learn()
            elif result.flags & wire.STATUS and result.detail == wire.STALE:
                self.set_clock(result.clock_ms)
            else:
                return result
        raise AssertionError("four tries and no answer")

    def check(self, rule, subject, cost=1, **options):
        return self.limits(wire.CHECK, rule, subject, cost, **options).entries[0]


class Local(Client):
    """A client on a UNIX datagram socket; path None: unbound, so that nobody can answer it."""

    def __init__(self, server, path):
        super().__init__(("127.0.0.1", 0))
        self.socket.close()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE_S)
        self.address = server
        if path:
            self.socket.bind(path)
