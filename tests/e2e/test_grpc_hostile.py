#!/usr/bin/env python3
"""Bad input to the gRPC door, frame by frame: each has the status that gRPC has for it or a GOAWAY that says why, and
beside it another client goes on as if nothing were."""
import pathlib
import random
import os
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import SANITIZED, Daemon, parse_address
from lib.grpc_client import RateLimitRequest, Service, descriptor, message, open_channel
from lib.h2_raw import (CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, INTERNAL_ERROR, NO_ERROR, PING,
                        PREFACE, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, Raw, frame, framed)

ENVOY = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
CHECK = "/mete.v1.Limiter/Check"
CONFIG = """
tenants:
  - name: default
    rules:
      - {name: slow, algorithm: token_bucket, rate: 1/h, burst: 1000}
      - {name: open, algorithm: unlimited}
    descriptors: [{key: user, rule: slow}]
"""
OK, INVALID, EXPIRED, EXHAUSTED, UNIMPLEMENTED, INTERNAL = "0", "3", "4", "8", "12", "13"


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024


def check(subject="x", cost=1, rule="slow"):
    return message("mete.v1.CheckRequest")(rule=rule, subject=subject, cost=cost).SerializeToString()


def envoy(user="x"):
    return RateLimitRequest(domain="default", descriptors=[descriptor(("user", user))]).SerializeToString()


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(CONFIG, ["listen.grpc=127.0.0.1:0", "doors.connections=1200"])
        cls.channel = open_channel(cls.daemon.grpc)
        cls.limiter = Service(cls.channel, "mete.v1.Limiter")

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        try:
            cls.daemon.stop()
        finally:
            cls.daemon.close()

    def setUp(self):
        self.before = self.left("bystander")

    def tearDown(self):
        """Others are unaffected: the bystander's connection lives, and its bucket is only its own."""
        self.assertEqual(self.left("bystander"), self.before - 1)

    def left(self, subject):
        return self.limiter.Check(rule="slow", subject=subject).remaining

    def raw(self, *arguments):
        return Raw(self.daemon.grpc, *arguments)

    def statuses(self, cases):
        with self.raw() as raw:
            for name, wanted, path, data, more, options in cases:
                with self.subTest(name):
                    self.assertEqual(raw.status(path, data, *more, **options), wanted)
            self.assertEqual(raw.status(CHECK, check("after")), OK)

    # ---- one call that is wrong ----

    def test_messages(self):
        whole = {"is_framed": True}
        self.statuses([
            ("right", OK, CHECK, check(), (), {}), ("empty", "5", CHECK, b"", (), {}),
            ("no protobuf", INTERNAL, CHECK, b"\xff\xff\xff", (), {}),
            ("length beyond the end", INTERNAL, CHECK, b"\x0a\x7fabc", (), {}),
            ("wrong wire type", INTERNAL, ENVOY, b"\x0d\x01", (), {}),
            ("none", INTERNAL, CHECK, b"", (), whole), ("half a prefix", INTERNAL, CHECK, b"\0\0\0", (), whole),
            ("shorter than said", INTERNAL, CHECK, framed(check(), 200), (), whole),
            ("longer than said", INTERNAL, CHECK, framed(check(), 2), (), whole),
            ("two", INTERNAL, CHECK, framed(check()) * 2, (), whole),
            ("compressed", INTERNAL, CHECK, framed(check(), flag=1), (), whole),
            ("flags", INTERNAL, CHECK, framed(check(), flag=2), (), whole),
            ("4 GiB said", EXHAUSTED, CHECK, framed(b"x", 2**32 - 1), (), whole),
            ("one byte too long said", EXHAUSTED, CHECK, framed(b"x", 16385), (), whole),
            ("of many fields", OK, CHECK, b"\xc0\x3e\x01" * 5000 + check(), (), {}),
        ])

    def test_unknown_fields(self):
        for extra in (b"\xc2\x3e\x03abc", b"\xc0\x3e\x96\x01", b"\xc5\x3e\1\2\3\4", b"\xc1\x3e" + b"8" * 8, b"\xf8\xff\xff\xff\x0f\x01"):
            self.statuses([("check", OK, CHECK, check() + extra, (), {}), ("envoy", OK, ENVOY, extra + envoy(), (), {})])

    def test_many_small_parts(self):
        """Messages of nothing but empty submessages unpack to the most memory."""
        self.statuses([("descriptors", INVALID, ENVOY, b"\x0a\x07default" + b"\x12\x00" * 8000, (), {}),
                       ("entries", OK, ENVOY, b"\x0a\x07default\x12\xfc\x7c" + b"\x0a\x00" * 7998, (), {})])
        before = self.left("bystander")
        with self.raw() as raw:  # many of them at once
            frames = [raw.call(ENVOY, b"\x0a\x07default\x12\xfc\x7c" + b"\x0a\x00" * 7998) for _ in range(100)]
            raw.send(frame(WINDOW_UPDATE, 0, 0, b"\x3f\xff\0\0"))
            for stream, data in frames:
                for at in range(0, len(data), 16000):
                    raw.send(data[at:at + 16000])
                self.assertEqual(raw.answer(stream)[0]["grpc-status"], OK)
        self.before = self.left("bystander")
        self.assertEqual(self.before, before - 1)

    def test_headers(self):
        self.statuses([
            ("unknown method", UNIMPLEMENTED, "/mete.v1.Limiter/Frob", check(), (), {}),
            ("unknown service", UNIMPLEMENTED, "/x", check(), (), {}),
            ("half a path", UNIMPLEMENTED, CHECK[:-1], check(), (), {}),
            ("gzip", UNIMPLEMENTED, CHECK, check(), [("grpc-encoding", "gzip")], {}),
            ("identity", OK, CHECK, check(), [("grpc-encoding", "identity")], {}),
            ("+proto", OK, CHECK, check(), (), {"content_type": "application/grpc+proto"}),
            ("a long header", OK, CHECK, check(), [("x-long", "x" * 5000)], {}),
            ("too long a header", EXHAUSTED, CHECK, check(), [("x-long", "x" * 9000)], {}),
            ("too many headers", EXHAUSTED, CHECK, check(), [("x", "y")] * 300, {}),
        ])
        with self.raw() as raw:
            for options, status in (({"method": "GET"}, "405"), ({"content_type": None}, "415"), ({"content_type": "text/html"}, "415"),
                                    ({"content_type": "application/grpc+json"}, "415"), ({"content_type": "application/grpcx"}, "415")):
                stream, frames = raw.call(CHECK, check(), **options)
                raw.send(frames)
                self.assertEqual(raw.answer(stream)[0][":status"], status)

    def test_deadlines(self):
        cases = [(text, OK) for text in ("1H", "99999999H", "100m", "10M", "99999999n", "1S")]
        cases += [(text, INVALID) for text in ("", "1", "S", "1x", "-1S", "1.5S", "123456789S", "1 S")]
        cases += [(text, EXPIRED) for text in ("0n", "0H", "00000000u")]
        self.statuses([(text, wanted, CHECK, check(), [("grpc-timeout", text)], {}) for text, wanted in cases])
        before = self.left("expired")
        with self.raw() as raw:  # the message comes when the time is over: nothing is taken
            stream, frames = raw.call(CHECK, check("expired", 100), ("grpc-timeout", "1n"))
            head = 9 + int.from_bytes(frames[:3], "big")
            raw.send(frames[:head])
            raw.ping()
            raw.try_send(frames[head:])
            self.assertEqual(raw.answer(stream)[0]["grpc-status"], EXPIRED)
            head = frame(HEADERS, END_HEADERS, 3, raw.headers(CHECK, ("grpc-timeout", "20m")))
            raw.send(head)
            found, _ = raw.answer(3)  # by the clock, though the message never came
            self.assertEqual(found["grpc-status"], EXPIRED)
        self.assertEqual(self.left("expired"), before - 1)

    def test_cancelled_is_not_charged(self):
        before = self.left("cancelled")
        with self.raw() as raw:
            for _ in range(100):
                stream, frames = raw.call(CHECK, check("cancelled", 5))
                raw.send(frames + frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))  # read together, so cancelled before it is judged
            self.assertEqual(raw.status(CHECK, check("x")), OK)
        # what was read apart was judged before: at most those few
        self.assertIn(self.left("cancelled") - before, range(-501, 0))

    def test_pieces(self):
        with self.raw() as raw:
            stream, frames = raw.call(CHECK, check("pieces"))
            for at in range(len(frames)):
                raw.send(frames[at:at + 1])
            found, data = raw.answer(stream)
            self.assertEqual(found["grpc-status"], OK)
            self.assertEqual(message("mete.v1.Verdict").FromString(data[5:]).remaining, 999)
            raw.next_stream += 2
            raw.send(frame(HEADERS, END_HEADERS, 3, raw.headers(CHECK)))
            for byte in framed(check("pieces")):
                raw.send(frame(DATA, 0, 3, bytes([byte])))
            raw.send(frame(DATA, END_STREAM, 3))
            self.assertEqual(raw.answer(3)[0]["grpc-status"], OK)

    def test_trailers_of_the_client(self):
        with self.raw() as raw:
            raw.send(frame(HEADERS, END_HEADERS, 1, raw.headers(CHECK)) + frame(DATA, 0, 1, framed(check())) +
                     frame(HEADERS, END_HEADERS | END_STREAM, 1, raw.encoder.encode([("x-last", "1")])))
            self.assertEqual(raw.answer(1)[0]["grpc-status"], OK)

    # ---- floods ----

    def flood(self, make, count=200000):
        """Frames until the server has enough: it says why, and did not keep them."""
        memory = resident_mib(self.daemon.process.pid)
        with self.raw() as raw:
            batch, is_stopped = 100, False
            for i in range(0, count, batch):
                if not raw.try_send(b"".join(make(raw, i + j) for j in range(batch))):
                    is_stopped = True
                    break
            try:
                raw.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            code = raw.goodbye()
            self.assertTrue(is_stopped or code is not None, "the flood was taken")
        if not SANITIZED:
            self.assertLess(resident_mib(self.daemon.process.pid), memory + 30)
        return code

    def test_rapid_resets(self):
        def make(raw, _):
            stream, frames = raw.call(CHECK, check("reset"))
            return frames + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")

        # On a slow machine the library's own bound on resets may come before ours. None: the reset of the kernel was faster.
        self.assertIn(self.flood(make), (ENHANCE_YOUR_CALM, INTERNAL_ERROR, None))

        def never_whole(raw, _):
            stream, frames = raw.call(CHECK, check("reset"))
            return frames[:9 + int.from_bytes(frames[:3], "big")] + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")

        self.assertIn(self.flood(never_whole), (ENHANCE_YOUR_CALM, None))

    def test_control_floods(self):
        for name, one in (("settings", frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff")), ("empty settings", frame(SETTINGS)),
                          ("ping", frame(PING, 0, 0, b"12345678")), ("acks", frame(PING, 1, 0, b"12345678")),
                          ("window", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01")), ("priority", frame(PRIORITY, 0, 3, b"\0\0\0\0\x10")),
                          ("unknown", frame(0x77, 0, 0, b"x" * 10))):
            with self.subTest(name):
                code = self.flood(lambda raw, i: one)
                self.assertIn(code, (ENHANCE_YOUR_CALM, None))

    def test_empty_data_flood(self):
        def make(raw, i):
            head = frame(HEADERS, END_HEADERS, 1, raw.headers(CHECK)) if i == 0 else b""
            return head + frame(DATA, 0, 1)

        self.assertIn(self.flood(make), (ENHANCE_YOUR_CALM, None))

    def test_continuation_flood(self):
        def make(raw, i):
            return frame(HEADERS, 0, 1, raw.headers(CHECK)) if i == 0 else frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y")

        self.assertIn(self.flood(make), (ENHANCE_YOUR_CALM, None))

    def test_header_bomb(self):
        """An entry of 4 KiB in the table, then thousands of references of a byte each."""
        def make(raw, i):
            if i:
                return b""
            block = raw.headers(CHECK) + raw.encoder.encode([("x-bomb", "b" * 3900)])
            return frame(HEADERS, END_HEADERS, 1, block) + frame(HEADERS, END_HEADERS, 3, block[:0] + b"\xbe" * 16000)

        self.assertIn(self.flood(make, 100), (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, None))

    def test_too_many_streams(self):
        with self.raw() as raw:
            raw.send(frame(SETTINGS, 1))
            for stream in range(1, 2 * 400, 2):
                raw.send(frame(HEADERS, END_HEADERS, stream, raw.headers(CHECK)))
            refused = 0
            while refused < 400 - 128:
                got = raw.read()
                if got is None:
                    break
                refused += got[0] == RST_STREAM and got[3] == b"\0\0\0\x07"
        self.assertIn(refused, (0, 272))

    # ---- connections ----

    def test_what_is_no_http2(self):
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\x02\0\x01", os.urandom(1000), PREFACE[:-1] + b"x",
                     PREFACE + frame(HEADERS, END_HEADERS, 1, b"\x83"), PREFACE + frame(SETTINGS, 0, 0, b"x"),
                     PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, b"\xff" * 50),
                     PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 2, b"\x83"),
                     PREFACE + frame(SETTINGS) + frame(DATA, 0, 1, b"x"), PREFACE + frame(SETTINGS) + frame(PING, 0, 0, b"short"),
                     PREFACE + frame(SETTINGS) + b"\xff\xff\xff\0\0\0\0\0\1", PREFACE + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, b"\0" * 4)):
            with self.subTest(data[:60]), self.raw(data) as raw:
                raw.socket.shutdown(socket.SHUT_WR)
                raw.goodbye()

    def test_random_frames(self):
        seed = int(os.environ.get("METE_SEED", "1"))
        chance = random.Random(seed)
        for round_ in range(60):
            with self.subTest(seed=seed, round=round_), self.raw() as raw:
                for _ in range(chance.randrange(1, 30)):
                    if chance.random() < 0.5:
                        data = bytearray(raw.call(chance.choice((CHECK, ENVOY)), check())[1])
                        for _ in range(chance.randrange(3)):
                            data[chance.randrange(len(data))] = chance.randrange(256)
                    else:
                        data = frame(chance.randrange(11), chance.randrange(256), chance.randrange(6), chance.randbytes(chance.randrange(40)))
                    if not raw.try_send(bytes(data)):
                        break
                try:
                    raw.socket.shutdown(socket.SHUT_WR)
                    while raw.socket.recv(65536):
                        pass
                except OSError:
                    pass

    def test_a_thousand_idle_connections(self):
        idle = [self.raw() for _ in range(500)] + [self.raw(b"") for _ in range(500)]
        try:
            for raw in idle[:500:50]:
                self.assertEqual(raw.status(CHECK, check()), OK)
            self.assertEqual(self.left("bystander"), self.before - 1)
            self.before -= 1
        finally:
            for raw in idle:
                raw.socket.close()

    def test_answers_that_are_not_read(self):
        with self.raw() as raw:
            raw.send(frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0"))  # no window: the answers wait here
            streams = []
            for _ in range(100):
                stream, frames = raw.call(CHECK, check("unread"))
                streams.append(stream)
                raw.send(frames)
            raw.ping()
            for stream in streams:
                raw.send(frame(WINDOW_UPDATE, 0, stream, b"\0\0\x10\0"))
            for stream in streams[::10]:
                self.assertEqual(raw.answer(stream)[0]["grpc-status"], OK)

    def test_stream_that_does_not_read(self):
        with self.raw() as raw:
            raw.send(frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0") + frame(HEADERS, END_HEADERS, 1, raw.headers("/mete.v1.Limiter/CheckStream")))
            one = frame(DATA, 0, 1, framed(check("stream", rule="open")) * 200)
            for _ in range(60):
                raw.send(one)
                raw.ping()
            raw.send(frame(WINDOW_UPDATE, 0, 0, b"\x3f\xff\0\0") + frame(WINDOW_UPDATE, 0, 1, b"\x3f\xff\0\0"))
            self.assertEqual(raw.answer(1)[0]["grpc-status"], EXHAUSTED)

    def test_silence(self):
        with Daemon(CONFIG, ["listen.grpc=127.0.0.1:0", "doors.idle=200ms"]) as daemon:
            with Raw(daemon.grpc) as raw:  # a silent one is told so
                self.assertEqual(raw.status(CHECK, check()), OK)
                self.assertEqual(raw.goodbye(), NO_ERROR)
            with Raw(daemon.grpc, b"") as raw:
                self.assertEqual(raw.goodbye(), NO_ERROR)
            with Raw(daemon.grpc) as raw:  # half a request
                raw.send(frame(HEADERS, END_HEADERS, 1, raw.headers(CHECK)) + frame(DATA, 0, 1, b"\0\0"))
                self.assertEqual(raw.answer(1)[0]["grpc-status"], EXPIRED)
            with Raw(daemon.grpc) as raw:  # an open call is asked whether it lives
                raw.send(frame(HEADERS, END_HEADERS, 1, raw.headers("/grpc.health.v1.Health/Watch")) + frame(DATA, END_STREAM, 1, framed(b"")))
                while raw.read()[:2] != (PING, 0):
                    pass
                self.assertIn(raw.goodbye(), (NO_ERROR,))

    def test_stop_says_goodbye(self):
        with Daemon(CONFIG, ["listen.grpc=127.0.0.1:0"]) as daemon, Raw(daemon.grpc) as raw:
            self.assertEqual(raw.status(CHECK, check()), OK)
            daemon.stop()
            last = None
            while (got := raw.read()) is not None:
                last = got if got[0] == GOAWAY else last
            self.assertEqual((int.from_bytes(last[3][:4], "big"), int.from_bytes(last[3][4:8], "big")), (1, NO_ERROR))

    def test_one_connection_too_many(self):
        with Daemon(CONFIG, ["listen.grpc=127.0.0.1:0", "doors.connections=2"]) as daemon:
            with Raw(daemon.grpc) as one, Raw(daemon.grpc) as two:
                self.assertEqual([one.status(CHECK, check()), two.status(CHECK, check())], [OK, OK])
                third = socket.create_connection(parse_address(daemon.grpc), 30)
                self.assertEqual(third.recv(100), b"")
                third.close()
                self.assertEqual(one.status(CHECK, check()), OK)


if __name__ == "__main__":
    unittest.main()
