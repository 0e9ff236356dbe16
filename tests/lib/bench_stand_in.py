"""A stand-in server for the tests of mete bench: right, or wrong in one chosen way."""
import json
import socket
import threading
import time

from lib import mete_wire as wire
from lib.daemon import PATIENCE_S, mete

STALL_S = 0.05  # once a second
BOOT_ID, SEED = 0x1122334455667788, 0x0123456789ABCDEF


def bench(server, *arguments):
    done = mete("bench", "--server", f"127.0.0.1:{server}", "--json", *arguments)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


class StandIn:
    """Speaks the protocol and gives every subject `burst` units for ever, except for its one fault. With a window it
    recognises repeats, however late. `seen` counts how often each datagram of a check came. With a secret, the index-th
    of its tenant, it believes and hears nothing else."""

    def __init__(self, fault=None, burst=5, window_ms=0, secret=None, index=0):
        self.secret, self.index = secret, index
        self.fault, self.burst, self.taken, self.answers = fault, burst, {}, 0
        self.window_ms, self.seen, self.told, self.heard = window_ms, {}, {}, threading.Event()
        self.stalls, self.stall_at, self.held = 0, 0.0, None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16 if fault == "deaf" else 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.heard.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            until = time.monotonic() + PATIENCE_S
            while self.thread.is_alive() and time.monotonic() < until:  # a full buffer drops it: again
                other.sendto(b"", ("127.0.0.1", self.port))
                self.thread.join(0.05)
        self.socket.close()

    def _key_for(self, data):
        """What signs this datagram; False if it is to be ignored."""
        if not self.secret:
            return None
        if data[22] != self.index:
            return False
        return wire.mac_key(self.secret, 0 if data[1] == wire.HELLO else BOOT_ID)

    def _decide(self, entry):
        taken = self.taken.get(entry.key, 0)
        allowed, left = taken + entry.cost <= self.burst, self.burst - taken
        if self.fault == "one too many" and taken == self.burst:
            allowed, left, self.fault = True, entry.cost, "done"
        elif self.fault == "one too few" and taken == self.burst - 1:
            allowed, left, self.fault = False, 0, "done"
        elif self.fault == "wrong remaining" and taken == 2:
            left, self.fault = left + 1, "done"
        if allowed:
            self.taken[entry.key] = taken + entry.cost
        return wire.Verdict(flags=wire.ALLOW if allowed else 0,
                            remaining=max(left - (entry.cost if allowed else 0), 0))

    def _serve(self):
        while True:
            data, peer = self.socket.recvfrom(2048)
            if not data:
                return
            key = self._key_for(data)
            if key is False:
                continue
            try:
                request = wire.decode_request(data, key)
            except wire.Malformed:
                if self.fault == "ignores":
                    continue
                raise
            result = wire.Result(type=request.type | 0x80, sequence=request.sequence)
            if request.type == wire.HELLO:
                result.boot_id, result.wall_clock_ms, result.repeat_window_ms = BOOT_ID, 1790000000000, self.window_ms
                if key:
                    result.masked_seed = wire.mask_seed(SEED, data[24:40], self.secret)
            elif request.flags & wire.PEEK:
                result.entries = [wire.Verdict(flags=wire.ALLOW, remaining=5) for _ in request.entries]
            else:
                self.seen[data] = self.seen.get(data, 0) + 1
                if self.window_ms and self.seen[data] > 1:
                    result.entries = [wire.Verdict(flags=v.flags | wire.REPEAT, remaining=v.remaining) for v in self.told[data]]
                    if self.fault != "silent":
                        self.socket.sendto(wire.encode_result(result, data[-8:], key), peer)
                    continue
                result.entries = self.told[data] = [self._decide(entry) for entry in request.entries]
                self.answers += 1
            answer = wire.encode_result(result, data[-8:], key)
            if request.type == wire.CHECK and not request.flags & wire.PEEK:
                if self.fault == "deaf" and self.answers == 100:
                    self.heard.wait(PATIENCE_S)  # until the end of the test
                if self.fault == "silent" or self.fault == "drops" and self.answers % 40 == 7:
                    continue
                if self.fault == "bad tag" and self.answers == 7:
                    answer = answer[:-1] + bytes([answer[-1] ^ 1])
                if self.fault == "twice" and self.answers == 7:
                    self.socket.sendto(answer, peer)
                if self.fault == "holds one back" and self.answers == 7:
                    self.held = answer
                    continue
                if self.held and self.answers == 150:
                    self.socket.sendto(self.held, peer)
                if self.fault == "stalls" and time.monotonic() >= self.stall_at:
                    time.sleep(STALL_S)
                    self.stalls, self.stall_at = self.stalls + 1, time.monotonic() + 1 - STALL_S
            self.socket.sendto(answer, peer)
