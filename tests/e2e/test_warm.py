#!/usr/bin/env python3
"""table.file: what a restart keeps, what it does with a configuration that changed meanwhile, and every file that it does
not believe: a line and an empty table, or, with table.on_bad_file: refuse, a line and the file as it was."""
import os
import pathlib
import random
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_wire as wire  # noqa: E402
from lib.daemon import Daemon, refuse  # noqa: E402
from lib.table_file import TableFile  # noqa: E402

ENTRIES = 4096
CONFIG = """
tenants:
  - name: default
    rules:
      - {name: hour, algorithm: token_bucket, rate: 1/10000s, burst: 100}
      - {name: day, algorithm: fixed_window, limit: 100/3650d}
      - {name: gone, algorithm: token_bucket, rate: 1/10000s, burst: 100}
      - {name: jobs, algorithm: concurrency, limit: 10, lease: 1h}
"""
CHANGED = """
tenants:
  - name: default
    rules:
      - {name: fresh, algorithm: token_bucket, rate: 1/10000s, burst: 100}
      - {name: hour, algorithm: token_bucket, rate: 1/10000s, burst: 50}
      - {name: day, algorithm: fixed_window, limit: 200/3650d}
      - {name: jobs, algorithm: concurrency, limit: 10, lease: 1h}
"""
ENTRIES_OFFSET = 64  # in the header, of the offset of the first entry


def read_number(path, offset):
    with open(path, "rb") as file:
        file.seek(offset)
        return struct.unpack("<Q", file.read(8))[0]


def write(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


class Warm(unittest.TestCase):
    def setUp(self):
        folder = TableFile()
        self.path = folder.__enter__()
        self.addCleanup(folder.__exit__)

    def start(self, config=CONFIG, sets=(), **options):
        options.setdefault("entries", ENTRIES)
        daemon = Daemon(config, [f"table.file={self.path}", *sets], **options)
        self.addCleanup(daemon.close)
        return daemon

    def left(self, client, rule, subject=b"one"):
        return client.check(rule, subject, 1, flags=wire.PEEK).remaining

    def spend(self, daemon, subjects=(b"one",)):
        with daemon.client() as client:
            for subject in subjects:
                for rule in ("hour", "day", "gone"):
                    self.assertTrue(client.check(rule, subject, 90).allowed)

    def test_a_stop_keeps_all(self):
        with self.start(sets=["repeats.window=10s"]) as daemon, daemon.client() as client:
            self.assertEqual(daemon.start, "cold")
            self.spend(daemon)
            self.assertTrue(client.limits(wire.ACQUIRE, "jobs", b"one", 3, lease_id=77).entries[0].allowed)
            request = client.request(wire.CHECK, "hour", b"one", 5)
            first, hello = client.ask(request), client.hello()
            self.assertEqual(daemon.stats()["table"]["file"]["start"], "cold")
        with self.start(sets=["repeats.window=10s"]) as daemon, daemon.client() as other:
            self.assertEqual(daemon.start, "warm with 5")
            again = other.ask(request)
            self.assertEqual(again.entries[0].flags, first.entries[0].flags | wire.REPEAT)
            self.assertEqual([self.left(other, rule) for rule in ("hour", "day", "gone", "jobs")], [5, 10, 10, 7])
            self.assertTrue(other.limits(wire.RELEASE, "jobs", b"one", 0, lease_id=77).entries[0].allowed)
            self.assertEqual(self.left(other, "jobs"), 10)
            after = other.hello()
            self.assertEqual((after.boot_id, after.boot_bits), (hello.boot_id, hello.boot_bits))
            self.assertGreaterEqual(after.clock_ms, hello.clock_ms)
            told = daemon.stats()["table"]["file"]
            self.assertEqual((told["start"], told["life"], told["taken"], told["damaged"], told["unfinished"]),
                             ("warm", 2, 5, 0, 0))

    def test_a_changed_configuration_is_a_reload(self):
        with self.start() as daemon:
            self.spend(daemon)
        with self.start(CHANGED) as daemon, daemon.client() as client:
            self.assertRegex(daemon.start, "warm")
            while self.left(client, "hour") or daemon.stats()["table"]["live"] > 2:
                pass  # what is left to do is done in pieces
            self.assertEqual(self.left(client, "day"), 110)
            self.assertEqual(self.left(client, "fresh"), 100)
            self.assertTrue(client.refund("hour", b"one", 30).allowed)
            self.assertEqual(self.left(client, "hour"), 30)  # cut to a full bucket of the new rule
        with self.start() as daemon, daemon.client() as client:
            self.assertEqual(self.left(client, "gone"), 100)

    def test_another_window_of_repeats_forgets_safely(self):
        with self.start(sets=["repeats.window=10s"]) as daemon, daemon.client() as client:
            request = client.request(wire.CHECK, "hour", b"one", 5)
            self.assertTrue(client.ask(request).entries[0].allowed)
        with self.start(sets=["repeats.window=9s"]) as daemon, daemon.client() as client:
            answer = client.ask(request)
            self.assertEqual((answer.flags & wire.STATUS, answer.detail), (wire.STATUS, wire.STALE))
            self.assertEqual(self.left(client, "hour"), 95)

    # ---- files that are not believed ----

    def cases(self):
        """Name, what is done to the file, sets of the next start, the reason."""
        size = os.path.getsize(self.path)
        yield "empty page", lambda: os.truncate(self.path, 100), (), "is truncated to 100 bytes"
        yield "half", lambda: os.truncate(self.path, size // 2), (), f"is truncated to {size // 2} of"
        yield "half made", lambda: write(self.path, 0, bytes(8)), (), "was not finished by who made it"
        yield "foreign", lambda: write(self.path, 0, b"SQLite format 3\0"), (), "holds something else than a table"
        yield "older", lambda: write(self.path, 8, struct.pack("<I", 2)), (), "has layout 2 where this program has "
        yield "damaged", lambda: write(self.path, 100, b"\xff"), (), "has a damaged header"
        yield "entries", lambda: None, ("table.entries=8192",), "has 4096 entries where table.entries is 8192"
        made = f"has {8 << 20} bytes where repeats.memory for each of the workers makes "
        yield "workers", lambda: None, ("workers=2",), f"{made}{16 << 20}"
        yield "repeats", lambda: None, ("repeats.memory=1MiB",), f"{made}{1 << 20}"

    def test_bad_files(self):
        with self.start() as daemon:
            self.spend(daemon)
        good = pathlib.Path(self.path).read_bytes()
        for name, damage, sets, reason in list(self.cases()):
            with self.subTest(name):
                write(self.path, 0, good)
                os.truncate(self.path, len(good))
                damage()
                before = pathlib.Path(self.path).read_bytes()
                everything = [f"table.entries={ENTRIES}", "listen.udp=127.0.0.1:0", "listen.admin=none", "workers=1",
                              f"table.file={self.path}", "table.on_bad_file=refuse", *sets]
                line = refuse(*[word for one in everything for word in ("--set", one)])
                self.assertIn(f"table.file: {self.path} {reason}", line)
                self.assertIn("remove it, or table.on_bad_file: start", line)
                self.assertEqual(pathlib.Path(self.path).read_bytes(), before)
                with self.start(sets=sets) as daemon, daemon.client() as client:
                    self.assertEqual(daemon.start, "cold")
                    said = [line for line in daemon.said if "starting with an empty table" in line]
                    self.assertEqual(len(said), 1)
                    self.assertIn(f"table.file: {self.path} {reason}", said[0])
                    self.assertEqual(self.left(client, "hour"), 100)

    def refused(self, path):
        return refuse("--set", f"table.file={path}", "--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none")

    def test_what_may_not_be_a_table_file(self):
        with self.start():
            self.assertIn("another daemon serves from it", self.refused(self.path))
        os.chmod(self.path, 0o640)
        self.assertIn("may be used by others (mode 640); chmod 600", self.refused(self.path))
        os.mkfifo(self.path + ".pipe")
        self.assertIn("is no regular file", self.refused(self.path + ".pipe"))
        self.assertIn("Is a directory", self.refused("/dev/shm"))
        self.assertIn("No such file or directory", self.refused("/dev/shm/no/such/folder"))
        link = self.path + ".link"
        os.symlink(self.path, link)
        self.assertIn("cannot be opened", self.refused(link))
        with tempfile.TemporaryDirectory(dir=pathlib.Path(__file__).parent) as folder:
            if os.statvfs(folder).f_fsid == os.statvfs(self.path).f_fsid:
                self.skipTest("the tree lies on tmpfs")
            path = os.path.join(folder, "table")
            self.assertRegex(self.refused(path), "file system of type 0x[0-9a-f]+, whose writing back .* tmpfs")
            self.assertFalse(os.path.exists(path))

    def test_no_room_on_the_mount(self):
        line = refuse("--set", f"table.file={self.path}", "--set", "table.entries=8000000000", "--set", "listen.udp=127.0.0.1:0",
                      "--set", "listen.admin=none")
        self.assertRegex(line, "8000000000 entries need .* of its file system: No space left|Cannot allocate")

    # ---- entries that cannot be ----

    def test_damaged_entries_are_freed_and_the_others_kept(self):
        subjects = [b"%d" % i for i in range(100)]
        with self.start() as daemon:
            self.spend(daemon, subjects)
        first = read_number(self.path, ENTRIES_OFFSET)
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        damaged = 0
        for index in range(ENTRIES):
            with open(self.path, "rb") as file:
                file.seek(first + index * 32)
                entry = file.read(32)
            if entry[24] & 3 == 2 and damaged < 40:  # live
                write(self.path, first + index * 32 + 8, chance.randbytes(8))  # another key: it stands in the wrong place
                damaged += 1
        with self.start() as daemon, daemon.client() as client:
            while not daemon.stats()["table"]["file"]["settled"]:
                pass
            told = daemon.stats()["table"]["file"]
            self.assertGreaterEqual(told["damaged"], 35, f"seed {seed}")  # a window is a 64th of the table
            self.assertEqual(told["damaged"] + told["taken"], 300)
            self.assertTrue(any(f"{told['damaged']} damaged" in line for line in daemon.said))
            left = [self.left(client, rule, subject) for subject in subjects for rule in ("hour", "day", "gone")]
            self.assertEqual(left.count(10), 260)
            self.assertEqual(left.count(100), 40)

    def test_garbage_in_all_of_the_table(self):
        """Whatever stands there, it serves: asked about every key, charged, swept, evicted."""
        with self.start() as daemon:
            self.spend(daemon)
        first = read_number(self.path, ENTRIES_OFFSET)
        seed = random.randrange(1 << 32)
        write(self.path, first, random.Random(seed).randbytes(ENTRIES * 32))
        with self.start(sets=["table.on_bad_file=refuse"]) as daemon, daemon.client() as client:
            for number in range(300):
                for rule in ("hour", "day"):
                    self.assertLessEqual(self.left(client, rule, b"%d" % number), 100, f"seed {seed}")
                    self.assertTrue(client.check(rule, b"new%d" % number, 1).allowed, f"seed {seed}")
                client.limits(wire.ACQUIRE, "jobs", b"%d" % number, 1, lease_id=number + 1)
            while not daemon.stats()["table"]["file"]["settled"]:
                pass
            self.assertGreater(daemon.stats()["table"]["file"]["damaged"], ENTRIES // 3, f"seed {seed}")  # half, less chance
            self.assertLess(daemon.stats()["table"]["live"], 1300, f"seed {seed}")


if __name__ == "__main__":
    unittest.main()
