#!/usr/bin/env python3
"""Pipelines of the RESP door, whose questions are decided together: the answers are those of one at a time, in their order, whatever
stands between them, and whatever bytes come on this connection or on others. METE_SEED and METE_COUNT choose the random ones."""
import hashlib
import os
import pathlib
import random
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import seeds  # noqa: E402
from lib.daemon import Daemon, parse_address  # noqa: E402
from lib.resp import Error, Resp  # noqa: E402

SEED = int(os.environ.get("METE_SEED", "1"))
COUNT = seeds.count(2000)
ON = ("listen.resp=127.0.0.1:0",)
RULES = """
      - {name: demo, algorithm: token_bucket, rate: 1/d, burst: 10}
      - {name: window, algorithm: fixed_window, limit: 30/365d}
      - {name: jobs, algorithm: concurrency, limit: 2, lease: 7d}"""
CONFIG = f"""
tenants:
  - name: default
    rules:{RULES}
  - name: acme
    rules:{RULES}
    api_keys: [{{name: k, sha256: {hashlib.sha256(b"key").hexdigest()}, may: [check, manage]}}]
"""
BAD = (b"\xff\xfe\x80", b"\x00", b"\xc0\xaf", b"\xed\xa0\x80", "ü".encode(), b"")


def connect(daemon):
    return Resp(parse_address(daemon.resp))


def draw(chance):
    """One command: mostly questions about few subjects, some with mistakes, and what else clients say."""
    subject = chance.choice(("a", "b", "c", chance.choice(BAD)))
    number = chance.choice((0, 1, 1, 2, 11, 2**32, -1, "x", 2**64))
    return chance.choice((
        ("METE.CHECK", "demo", subject), ("METE.CHECK", "demo", subject, number), ("METE.PEEK", "demo", subject),
        ("METE.CHECK", "window", subject, 3), ("METE.REFUND", "demo", subject, number), ("METE.RESET", "demo", subject),
        ("METE.ACQUIRE", "jobs", subject, chance.randrange(4)), ("METE.RELEASE", "jobs", subject, chance.randrange(4)),
        ("CL.THROTTLE", subject, 3, 1, 100000), ("CL.THROTTLE", subject, number, 1, 100000), ("CL.THROTTLE", subject, 3, 1),
        ("THROTTLE", subject, 4, 1, 100000, 2), ("METE.CHECK", chance.choice(BAD), subject), ("PING",), ("ECHO", subject),
        ("AUTH", "key"), ("AUTH", "wrong"), ("RESET",), (chance.choice(BAD) or b"?", "x"), ("SELECT", number),
    ))


def settled(answer):
    """Without what depends on the instant: times, but whether they are 0 or never."""
    if isinstance(answer, list) and len(answer) == 5:
        return [*answer[:2], *[min(max(number, -1), 1) if isinstance(number, int) else number for number in answer[2:]]]
    return answer


class Pipelines(unittest.TestCase):
    def test_as_one_at_a_time(self):
        chance = random.Random(SEED)
        commands = [draw(chance) for _ in range(COUNT)]
        with Daemon(CONFIG, ON) as one, Daemon(CONFIG, ON) as many, connect(one) as slow, connect(many) as fast:
            expected = [slow.ask(*command) for command in commands]
            at = 0
            while at < len(commands):
                count = chance.choice((1, 2, 7, 63, 64, 65, 130))
                part = commands[at:at + count]
                fast.send(b"".join(fast.encode(*command) for command in part))
                for number, command in enumerate(part, at):
                    self.assertEqual(settled(fast.hear()), settled(expected[number]), (SEED, number, command))
                at += len(part)
            for figure in ("allowed", "denied", "peeked", "refunded", "reset"):
                self.assertEqual(one.stats()["total"][figure], many.stats()["total"][figure], figure)

    def test_who_asks_changes_on_the_way(self):
        with Daemon(CONFIG, ON) as daemon, connect(daemon) as resp:
            check = ("METE.CHECK", "demo", "who")
            script = (check, check, ("AUTH", "key"), check, ("RESET",), check, ("AUTH", "no"), check, ("QUIT",), check)
            resp.send(b"".join(resp.encode(*command) for command in script))
            heard = [resp.hear() for _ in range(9)]
            self.assertEqual([one[1] if isinstance(one, list) else one.split(" ")[0] for one in heard],
                             [9, 8, "OK", 9, "RESET", 7, "WRONGPASS", 6, "OK"])
            self.assertTrue(resp.is_closed())  # and what stood behind QUIT was not asked
            self.assertEqual((daemon.rule("demo")["units"], daemon.rule("demo", "acme")["units"]), (4, 1))

    def test_the_quota_ends_within_a_pipeline(self):
        config = CONFIG.replace("  - name: default\n", "  - name: default\n    checks: {rate: 1/d, burst: 3}\n")
        with Daemon(config, ON) as daemon, connect(daemon) as resp:
            resp.send(resp.encode("METE.CHECK", "demo", "x") * 5)
            heard = [resp.hear() for _ in range(5)]
            self.assertEqual([one[1] for one in heard[:3]], [9, 8, 7])
            self.assertEqual([type(one) for one in heard[3:]], [Error, Error])
            self.assertEqual((daemon.rule("demo")["units"], daemon.stats()["total"]["limited"]), (3, 2))

    def test_a_broken_tail_leaves_what_was_asked_before(self):
        with Daemon(CONFIG, ON) as daemon, connect(daemon) as other:
            for number, tail in enumerate((b"*1\r\n*1\r\n*1\r\n", b"*1000000000\r\n", b"*1\r\n$536870912\r\n", b"*1\r\n$-5\r\n",
                                           b"*" + b"1" * 30, b"\xff" * 17000, b"GET 'x\r\n", b"*1\r\n:5\r\n", b"*2\r\n$1\r\na\r\n$1\r\nbc\r\n",
                                           b"$4\r\nPING\r\n*x\r\n", b"*0\r\n*-0\r\n*3\r\n$-1\r\n")):
                with self.subTest(tail=tail[:40]), connect(daemon) as resp:
                    resp.send(resp.encode("METE.CHECK", "demo", f"tail{number}") * 3 + tail)
                    self.assertEqual([resp.hear()[1] for _ in range(3)], [9, 8, 7])
                    while (error := resp.hear()) is not None and not error.startswith("ERR Protocol error: "):
                        self.assertTrue(error == "PONG" or error.startswith("ERR unknown command"), error)
                    self.assertIsNotNone(error)
                    self.assertTrue(resp.is_closed())
                self.assertEqual(other.ask("METE.PEEK", "demo", f"tail{number}")[1], 7)

    def test_who_does_not_read_holds_up_nobody(self):
        with Daemon(CONFIG, ON) as daemon, connect(daemon) as deaf, connect(daemon) as other:
            deaf.socket.setblocking(False)
            data, sent = deaf.encode("ECHO", b"x" * 4000) * 100, 0
            for _ in range(200):  # until both sides' buffers are full
                try:
                    sent += deaf.socket.send(data)
                except BlockingIOError:
                    break
            self.assertGreater(sent, len(data) // 2)
            for left in range(9, 0, -1):
                self.assertEqual(other.ask("METE.CHECK", "demo", "free")[1], left)

    def test_halves_on_many_connections(self):
        whole = Resp.encode("METE.CHECK", "demo", "halves")
        with Daemon(CONFIG, (*ON, "doors.connections=300")) as daemon, connect(daemon) as other:
            held = [connect(daemon) for _ in range(200)]
            for number, one in enumerate(held):
                one.send(whole[:1 + number % (len(whole) - 1)])
            self.assertEqual(other.ask("METE.PEEK", "demo", "halves")[1], 10)
            for number, one in enumerate(held[:20]):
                one.send(whole[1 + number % (len(whole) - 1):])
                self.assertEqual(one.hear()[1], max(9 - number, 0))
            for one in held:
                one.__exit__()
            self.assertEqual(other.ask("METE.PEEK", "demo", "halves")[1], 0)


if __name__ == "__main__":
    unittest.main()
