#!/usr/bin/env python3
"""CL.THROTTLE and THROTTLE against what their first homes do. All servers run under one clock that stands still between two
questions, so numbers are compared bit for bit: with the tables of tests/e2e/tables, and on random sequences with the real
redis-cell, where cargo can build it. METE_SEED and METE_COUNT choose the sequences; 100,000 take half a minute."""
import os
import pathlib
import random
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import peers, seeds  # noqa: E402
from lib.clock import START_NS, UnderOneClock  # noqa: E402
from lib.daemon import PATIENCE_S, parse_address  # noqa: E402
from lib.resp import Error, Resp  # noqa: E402

SEED = int(os.environ.get("METE_SEED", "1"))
COUNT = seeds.count(3000)
TABLES = pathlib.Path(__file__).resolve().parent / "tables"
ON = ("listen.resp=127.0.0.1:0", "doors.idle=1h")
MS, SECOND = 1_000_000, 1_000_000_000


class Tables(UnderOneClock):
    def run_table(self, name, command):
        case, start_ns, lines = "", None, 0
        with self.daemon(sets=ON) as daemon, Resp(parse_address(daemon.resp)) as resp:
            for line in (TABLES / name).read_text().splitlines():
                if line.startswith("#"):
                    case, start_ns = line, None
                    self.clock.set(self.clock.now_ns + 12345 * MS)
                    continue
                if not line.strip():
                    continue
                at_ms, *numbers = [int(word) for word in line.split()]
                words, expected = numbers[:-5], numbers[-5:]
                start_ns = start_ns or self.clock.now_ns
                self.clock.set(start_ns + at_ms * MS)
                with self.subTest(case=case, line=line):
                    self.assertEqual(resp.ask(command, case, *words), expected)
                lines += 1
        return lines

    def test_redis_cell(self):
        self.assertGreater(self.run_table("redis-cell.txt", "CL.THROTTLE"), 20)

    def test_throttlecrab(self):
        self.assertGreater(self.run_table("throttlecrab.txt", "THROTTLE"), 8)


class Cell:
    """A real redis-server with redis-cell in it, on a UNIX socket."""

    def __init__(self, module, folder, environment):
        self.path = str(folder / "redis.sock")
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no", "--dir", str(folder),
             "--loadmodule", str(module)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **environment})
        for line in self.process.stdout:
            if "ready to accept connections" in line:
                break
        else:
            raise AssertionError("redis-server did not start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)


def draw_limit(chance):
    """max_burst, count, period: sane ones, of all sizes, many with an interval that is no whole number of microseconds."""
    kind = chance.randrange(4)
    if kind == 0:
        return chance.randrange(20), chance.randint(1, 100), chance.randint(1, 3600)
    if kind == 1:  # fast
        return chance.randrange(5000), chance.randint(1, 900_000), 1
    if kind == 2:  # slow
        return chance.randrange(3), chance.randint(1, 10), chance.randint(1, 10_000_000)
    return chance.choice((0, 1, 15, 99)), chance.choice((1, 3, 7, 10, 30, 1000)), chance.choice((1, 2, 10, 60, 86400))


def up(ns):
    """Seconds as redis-cell makes them of a duration since 0.2.3."""
    return ns // SECOND + (ns % SECOND >= MS)


class Live(UnderOneClock):
    """redis-cell as crates.io has it, 0.2.2, cuts its waits to whole seconds; later ones round them up. Both are the same
    function of the instant that it keeps under its key, so that is read back, and the two numbers compared with it, too."""

    def step(self, chance, tat_ns, interval_ns, limit):
        """The next instant: any, or just at, before and behind the one at which the next unit is there. Never within 2 ms of
        the debt's end, when the key expires by milliseconds."""
        now_ns = self.clock.now_ns
        edge_ns = tat_ns + interval_ns - interval_ns * limit
        kind = chance.randrange(6)
        if kind == 0 and edge_ns - 1 > now_ns:
            now_ns = edge_ns - 1
        elif kind == 1 and edge_ns > now_ns:
            now_ns = edge_ns
        elif kind == 2:
            now_ns += chance.randrange(2 * interval_ns + 1)
        elif kind == 3:
            now_ns += chance.randrange(10**chance.randint(1, 12))
        if abs(now_ns - tat_ns) < 2 * MS:
            now_ns = tat_ns + 2 * MS
        self.clock.set(now_ns)

    def ask(self, resp, cell, key, words):
        before = cell.ask("GET", key)
        ours, theirs = resp.ask("CL.THROTTLE", key, *words), cell.ask("CL.THROTTLE", key, *words)
        max_burst, count, period, quantity = words
        interval_ns = int(float(period * SECOND) / float(count))
        now_ns = self.clock.now_ns
        tat_ns = max(int(before), now_ns) if before else now_ns
        tolerance_ns, new_ns = interval_ns * (max_burst + 1), tat_ns + interval_ns * quantity
        limited = theirs[0] == 1
        retry_ns = new_ns - tolerance_ns - now_ns if limited and interval_ns * quantity <= tolerance_ns else None
        reset_ns = (tat_ns if limited else new_ns) - now_ns
        said = (key, words, now_ns, before)
        # what it said is what it keeps, to the second that it cuts to
        self.assertEqual(theirs[3:], [-1 if retry_ns is None else retry_ns // SECOND, reset_ns // SECOND], said)
        if not limited and quantity:
            self.assertEqual(int(cell.ask("GET", key)), new_ns, said)
        self.assertEqual(ours, [*theirs[:3], -1 if retry_ns is None else up(retry_ns), up(reset_ns)], said)
        return limited, tat_ns if limited else new_ns, interval_ns

    def compare(self, chance, resp, cell, name, seen):
        """One key, thirty questions."""
        limit = draw_limit(chance)
        for _ in range(30):
            if chance.random() < 0.1:  # raised or lowered on the live key
                limit = (chance.randrange(2 * limit[0] + 2), *limit[1:])
            if chance.random() < 0.05:
                limit = draw_limit(chance)
            quantity = chance.choice((1, 1, 1, 0, 2, limit[0], limit[0] + 1, limit[0] + 2, chance.randrange(limit[0] + 3)))
            with self.subTest(seed=SEED):
                limited, tat_ns, interval_ns = self.ask(resp, cell, name, (*limit, quantity))
                seen[limited] += 1
                self.step(chance, tat_ns, interval_ns, limit[0] + 1)

    def test_random_sequences(self):
        chance = random.Random(SEED)
        module, seen = peers.redis_cell(), [0, 0]
        for first in range(0, COUNT // 30, 50):  # fresh servers and an early clock: a life of the daemon is 36 years
            self.clock.set(START_NS + 3600 * SECOND + chance.randrange(SECOND))
            with Cell(module, self.folder, self.clock.environment()) as server, self.daemon(sets=ON) as daemon, \
                    Resp(parse_address(daemon.resp)) as resp, Resp(server.path) as cell:
                for number in range(first, min(first + 50, COUNT // 30)):
                    self.compare(chance, resp, cell, f"{SEED}:{number}", seen)
        self.assertGreater(min(seen), COUNT // 20)

    def test_what_it_cannot_do_is_an_error_here(self):
        """Numbers on which it wraps around: here one -ERR, no effect, and the daemon goes on."""
        with self.daemon(sets=ON) as daemon, Resp(parse_address(daemon.resp)) as resp:
            for words in ((1, 1, 1, 2**62), (2**62, 1, 1), (1, 1, 2**62), (2**63 - 1, 1, 1, 1), (1, -1, 60), (1, 0, 60), (-2, 1, 1),
                          (1, 1, 1, -1), (1, 1, 2**63), ("a", 1, 1), (1, 1, "1e3")):
                with self.subTest(words=words):
                    answer = resp.ask("CL.THROTTLE", "insane", *words)
                    self.assertIsInstance(answer, Error)
            self.assertEqual(resp.ask("CL.THROTTLE", "insane", 1, 1, 1000, 0), [0, 2, 2, -1, 0])


if __name__ == "__main__":
    unittest.main()
