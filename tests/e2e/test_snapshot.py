#!/usr/bin/env python3
"""table.snapshot, by the real daemon: what it writes, judged by a decoder of its own; what the next one makes of it, judged
by the exact model of each algorithm; every way in which a file is not whole; and kill -9 while it is being written."""
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import mete_snapshot, mete_wire as wire
from lib.clock import SECOND, UnderOneClock
from lib.daemon import BUILD, METE, PATIENCE_S, SANITIZED, Daemon, mete, refuse
from lib.mete_wire import ACQUIRE, PEEK
from property import model_limits as model

ROUNDS = int(os.environ.get("METE_ROUNDS", "6"))
SEED = int(os.environ.get("METE_SEED", "1"))
EMPTY = "starting with an empty table"
RULES = {
    "bucket": "algorithm: token_bucket, rate: 7/m, burst: 20",
    "meter": "algorithm: leaky_bucket, rate: 3/s, burst: 9",
    "queue": "algorithm: leaky_bucket, mode: queue, rate: 5/h, burst: 6",
    "fixed": "algorithm: fixed_window, limit: 12/1h",
    "short": "algorithm: fixed_window, limit: 50/1s",
    "sliding": "algorithm: sliding_window, limit: 12/90s",
    "day": "algorithm: calendar, limit: 9, per: day",
    "slots": "algorithm: concurrency, limit: 9, lease: 100s",
    "some": "algorithm: token_bucket, rate: 1/h, burst: 9, overrides: [{subject: vip, rate: 1/h, burst: 30}]",
}
CONFIG = "tenants: [{name: default, rules: [%s]}]\n"
HOURLY = CONFIG % "{name: hourly, algorithm: token_bucket, rate: 1/h, burst: 10}"


def config_of(rules):
    return CONFIG % ", ".join(f"{{name: {name}, {rule}}}" for name, rule in rules.items())


def snapshot_sets(path, every="1d"):
    return (f"table.snapshot={path}", f"table.snapshot_every={every}")


def save(daemon):
    done = mete("snapshot", "save", "--admin", daemon.admin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kill(daemon):
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait(PATIENCE_S)
    daemon.close()


def said_of_snapshots(daemon):
    return [line for line in daemon.said if "snapshot" in line]


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-snapshot-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.path = self.folder / "table"

    def daemon(self, config=HOURLY, **options):
        daemon = Daemon(config, snapshot_sets(self.path), **options)
        self.addCleanup(daemon.close)
        return daemon

    def decode(self):
        return mete_snapshot.decode(self.path.read_bytes())


@unittest.skipIf(SANITIZED, "a clock cannot be preloaded under a sanitizer")
class CarriedOver(UnderOneClock):
    """The clock is the test's; the file of the first daemon is made one of another run of the machine."""
    SUBJECTS = [b"alice", b"bob", b"vip"] + [b"s%d" % i for i in range(12)]

    def spend(self, daemon, dice):
        with daemon.client() as client:
            for i in range(400):
                rule, subject = dice.choice(list(RULES)), dice.choice(self.SUBJECTS)
                options = {"lease_id": i + 1, "flags": wire.RAW_SUBJECT} if rule == "slots" else {"flags": wire.RAW_SUBJECT}
                client.limits(ACQUIRE if rule == "slots" else wire.CHECK, rule, subject, dice.randint(1, 3), **options)
                if dice.random() < 0.2:
                    self.clock.set(self.clock.now_ns + dice.randrange(8 * SECOND))
            for rule in RULES:  # something of each is left at the copy
                if rule != "slots":
                    for subject in self.SUBJECTS[::3]:
                        client.check(rule, subject, 2, flags=wire.RAW_SUBJECT)

    def left(self, snapshot, gap_ns):
        """What the model says remains of each key of each rule, so long after the copy."""
        end, header = snapshot.end, snapshot.header
        then_ns, wall_ns = end.boot_ns - header.base_ns, end.wall_ns + gap_ns
        left, held = {}, {}
        for entry in snapshot.entries:
            owner = snapshot.owners[entry.row]
            record = types.SimpleNamespace(interval=owner.interval, tolerance=owner.tolerance, burst=owner.burst,
                                           keeps_tat=owner.keeps_tat)
            if owner.algorithm in (model.TOKEN_BUCKET, model.LEAKY_METER, model.LEAKY_QUEUE):
                remaining = model.Bucket(record, entry.state).remaining(then_ns + gap_ns)
            elif owner.algorithm == model.CALENDAR:
                record.interval = record.tolerance = 0  # days of UTC
                remaining = model.Calendar(record, entry.state, end.wall_ns).remaining(wall_ns)
            else:
                kind = {model.FIXED_WINDOW: model.FixedWindow, model.SLIDING_WINDOW: model.SlidingWindow}[owner.algorithm]
                remaining = kind(record, entry.state, end.wall_ns).remaining(wall_ns)
            left[owner.rule, entry.low, entry.high] = remaining
        for lease in snapshot.leases:
            if lease.expires_ms * 10**6 > then_ns + gap_ns:
                key = snapshot.owners[lease.row].rule, lease.of_low, lease.of_high
                held[key] = held.get(key, 0) + lease.slots
        return left | {key: 9 - slots for key, slots in held.items()}

    def compare(self, path, gap_ns, left):
        bursts = {"bucket": 20, "meter": 9, "queue": 6, "fixed": 12, "short": 50, "sliding": 12, "day": 9, "slots": 9, "some": 9}
        with Daemon(config_of(RULES), snapshot_sets(path), environment=self.clock.environment()) as daemon, \
                daemon.client() as client:
            for rule in RULES:
                for subject in self.SUBJECTS:
                    whole = 30 if (rule, subject) == ("some", b"vip") else bursts[rule]
                    key = struct.unpack("<QQ", wire.subject_key(subject, wire.tenant_seed("default")))
                    name = "some[vip]" if whole == 30 else rule
                    expected = left.get((name, *key), whole)
                    flags = PEEK | wire.RAW_SUBJECT
                    got = client.check(rule, subject, 1, flags=flags)
                    self.assertEqual(got.remaining, expected, f"{rule} {subject} {gap_ns}")
            return daemon

    def test_every_algorithm(self):
        for seed in range(SEED, SEED + 2):
            dice = random.Random(seed)
            path = self.folder / f"table{seed}"
            daemon = self.daemon(config_of(RULES), snapshot_sets(path))
            self.addCleanup(daemon.close)
            self.spend(daemon, dice)
            save(daemon)
            kill(daemon)
            data = path.read_bytes()
            snapshot = mete_snapshot.decode(data)
            self.assertEqual({owner.rule for owner in snapshot.owners.values()}, set(RULES) | {"some[vip]"})
            copied_ns = self.clock.now_ns
            for gap_ns in (0, 1, dice.randrange(SECOND), dice.randrange(100 * SECOND), dice.randrange(30 * 3600 * SECOND)):
                self.clock.set(copied_ns + gap_ns)
                for boot_id, shift_ns, says in ((None, 0, "in the same run of the machine"),
                                                (b"another machine.", 10**15, "before a reboot"),
                                                (bytes(16), 10**15, "by wall time")):
                    with self.subTest(seed=seed, gap_ns=gap_ns, boot_id=boot_id):
                        path.write_bytes(mete_snapshot.forged(data, boot_id=boot_id, boot_shift_ns=shift_ns))
                        after = self.compare(path, gap_ns, self.left(snapshot, gap_ns))
                        self.assertIn(says, said_of_snapshots(after)[0])

    def test_a_clock_that_went_back(self):
        path = self.folder / "table"
        daemon = self.daemon(HOURLY, snapshot_sets(path))
        self.addCleanup(daemon.close)
        with daemon.client() as client:
            self.assertEqual(client.check("hourly", b"alice", 8).remaining, 2)
        save(daemon)
        kill(daemon)
        path.write_bytes(mete_snapshot.forged(path.read_bytes(), boot_id=b"another machine.", wall_shift_ns=3600 * SECOND))
        self.clock.set(self.clock.now_ns + 60 * SECOND)
        with self.daemon(HOURLY, snapshot_sets(path)) as after, after.client() as client:
            self.assertEqual(client.check("hourly", b"alice", 1, flags=PEEK).remaining, 2)
        self.assertIn("the clock is 3540.0 s behind", "\n".join(after.said))


class Saving(Folder):
    def test_save_and_show(self):
        daemon = self.daemon(config_of(RULES))
        with daemon.client() as client:
            for i in range(100):
                client.check("queue", b"subject %d" % i)
                client.limits(ACQUIRE, "slots", b"subject %d" % i, lease_id=i + 1)
        self.assertRegex(save(daemon), rf"^{self.path}: 100 entries, 100 leases, 0\.\d MiB in [\d.]+ s\n$")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["table"])
        snapshot = self.decode()
        self.assertEqual((len(snapshot.entries), len(snapshot.leases)), (100, 100))
        self.assertEqual({owner.tenant + "/" + owner.rule for owner in snapshot.owners.values()}, {"default/queue", "default/slots"})
        self.assertEqual((snapshot.header.namespace, snapshot.header.program), ("default", daemon.version))
        text = mete("snapshot", "show", str(self.path), "--entries", "all").stdout
        self.assertIn("100 entries and 100 leases, of a table of 65536", text)
        owners = {line.strip() for line in text.partition("owner\n")[2].partition("\n\n")[0].splitlines()}
        self.assertEqual(owners, {"100  default/queue  leaky_bucket", "100  default/slots  concurrency"})
        self.assertEqual(text.count("  default/queue  owes "), 100)
        self.assertEqual(text.count("  default/slots  1 slots for "), 100)
        shown = json.loads(mete("snapshot", "show", str(self.path), "--json", "--entries", "150").stdout)
        self.assertEqual((shown["entries"], shown["leases"], shown["damaged_blocks"], len(shown["list"])), (100, 100, 0, 150))
        self.assertEqual({owner["rule"]: owner["entries"] for owner in shown["owners"]}, {"queue": 100, "slots": 100})
        stats = daemon.stats()["snapshot"]
        self.assertEqual((stats["entries"], stats["leases"], stats["saved"], stats["failed"]), (100, 100, 1, 0))
        self.assertEqual(stats["bytes"], self.path.stat().st_size)
        self.assertIn(f"{self.path}: 100 entries", mete("stats", "--admin", daemon.admin).stdout)
        daemon.stop()
        said = said_of_snapshots(daemon)
        self.assertRegex(said[0], r"snapshot asked for by admin pid \d+ uid \d+$")
        self.assertEqual(len(said), 3)  # and what came of it, and at the stop
        self.assertEqual(len(self.decode().entries), 100)

    def test_by_the_clock(self):
        daemon = Daemon(HOURLY, snapshot_sets(self.path, "1s"))
        self.addCleanup(daemon.close)
        until = time.monotonic() + PATIENCE_S
        while daemon.stats()["snapshot"]["saved"] < 2:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)
        daemon.stop()
        self.decode()

    def test_a_stop_forgets_nothing(self):
        with self.daemon() as daemon, daemon.client() as client:
            client.check("hourly", b"alice", 7)
        with self.daemon() as daemon, daemon.client() as client:
            self.assertEqual(client.check("hourly", b"alice", 1).remaining, 2)
            self.assertEqual(client.check("hourly", b"bob", 1).remaining, 9)
        with self.daemon() as daemon, daemon.client() as client:
            self.assertEqual(client.check("hourly", b"alice", 3).remaining, 2)

    def test_keys_that_are_shared(self):
        """Of a store that does not answer: what the node knows of them is kept, and its share of the limit."""
        sets = [*snapshot_sets(self.path), "redis.url=redis://127.0.0.1:1", "redis.nodes=4"]
        with Daemon(HOURLY, sets) as daemon, daemon.client() as client:
            left = client.check("hourly", b"alice", 1).remaining
            self.assertLess(left, 9)  # a unit counts as if the other nodes did the same
        share = self.decode().entries[0].share
        self.assertGreater(share, 0)
        with Daemon(HOURLY, sets) as daemon, daemon.client() as client:
            self.assertEqual(client.check("hourly", b"alice", 1, flags=PEEK).remaining, left)
        self.assertEqual(self.decode().entries[0].share, share)

    def test_changed_rules(self):
        two = CONFIG % ("{name: hourly, algorithm: token_bucket, rate: 1/h, burst: 10},"
                        "{name: other, algorithm: fixed_window, limit: 9/365d}, {name: gone, algorithm: deny},"
                        "{name: left, algorithm: fixed_window, limit: 9/365d}")
        with self.daemon(two) as daemon, daemon.client() as client:
            client.check("hourly", b"alice", 10)
            client.check("other", b"alice", 5)
            client.check("left", b"alice", 5)
        lower = CONFIG % ("{name: hourly, algorithm: token_bucket, rate: 60/h, burst: 2},"
                          "{name: other, algorithm: fixed_window, limit: 9/364d}")
        with self.daemon(lower) as daemon, daemon.client() as client:
            denied = client.check("hourly", b"alice", 1)
            self.assertEqual(denied.remaining, 0)
            self.assertLessEqual(denied.reset_after_ns, 120 * SECOND)  # a full bucket of the new rule, not ten hours
            self.assertEqual(client.check("other", b"alice", 1).remaining, 8)
        self.assertIn("1 entries and 0 leases", said_of_snapshots(daemon)[0])
        self.assertIn("left out: 1 of rules that are gone, 1 of rules that changed their kind", said_of_snapshots(daemon)[0])

    def test_rules_that_come_and_go_while_it_is_written(self):
        other = CONFIG % "{name: hourly, algorithm: token_bucket, rate: 1/h, burst: 10}, {name: passing, algorithm: deny}"
        config = self.folder / "mete.yaml"
        config.write_text(HOURLY)
        daemon = Daemon(None, snapshot_sets(self.path), path=config, entries=1 << 20)
        self.addCleanup(daemon.close)
        with daemon.client() as client:
            client.check("hourly", b"alice", 7)
        saving = subprocess.Popen([METE, "snapshot", "save", "--admin", daemon.admin], stdout=subprocess.DEVNULL)
        for text in (other, HOURLY) * 2:
            config.write_text(text)
            self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
        self.assertEqual(saving.wait(PATIENCE_S), 0)
        self.assertEqual(len(self.decode().entries), 1)
        daemon.stop()

    def test_wrong_use(self):
        with Daemon(HOURLY) as daemon:
            done = mete("snapshot", "save", "--admin", daemon.admin)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("table.snapshot is not set", done.stderr)
            self.assertNotIn("snapshot", daemon.stats())
        self.assertEqual(mete("snapshot", "save", "--admin", daemon.admin).returncode, 3)
        for arguments in ((), ("save", "x"), ("show",), ("show", "a", "b"), ("show", "/none"), ("save", "--json"),
                          ("show", "x", "--admin", "y"), ("show", "/dev/null"), ("show", METE), ("show", "x", "--entries", "-1")):
            done = mete("snapshot", *arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), arguments)
        self.assertIn("the folder of", refuse("--set", f"table.snapshot={self.folder}/none/table"))
        self.assertIn("is a folder", refuse("--set", f"table.snapshot={self.folder}"))


class NotWhole(Folder):
    def setUp(self):
        super().setUp()
        with self.daemon() as daemon, daemon.client() as client:
            client.check("hourly", b"alice", 7)
        self.data = self.path.read_bytes()

    def remaining(self, config=HOURLY):
        """What a daemon that starts now knows of alice, and its lines."""
        with self.daemon(config) as daemon, daemon.client() as client:
            remaining = client.check("hourly", b"alice", 1, flags=PEEK).remaining
        return remaining, [line for line in said_of_snapshots(daemon) if "entries, " not in line]

    def test_cold_starts(self):
        data = self.data
        cases = (("is no snapshot of mete", b"[a text]\n" * 1000), ("is no snapshot of mete", b""),
                 ("is not whole", data[:-1]), ("is not whole", data[:5000]), ("is not whole", data + b"x"),
                 ("is not whole", data[:-512] + data[-1024:-512]),
                 ("was written by a newer mete", mete_snapshot.forged(data, version=2)),
                 ("is damaged", data[:60] + b"x" + data[61:]), ("is damaged", data[:-60] + b"x" + data[-59:]))
        for says, changed in cases:
            with self.subTest(says):
                self.path.write_bytes(changed)
                remaining, said = self.remaining()
                self.assertEqual((remaining, len(said)), (10, 1), said)
                self.assertIn(f"table.snapshot: {self.path} {says}", said[0])
                self.assertIn(EMPTY, said[0])
                self.assertEqual((self.folder / "table.old").read_bytes(), changed)
                self.decode()  # written anew at the stop

    def test_not_ours(self):
        remaining, said = self.remaining("namespace: another\n" + HOURLY)
        self.assertEqual((remaining, len(said)), (10, 1))
        self.assertIn("is of another namespace", said[0])
        self.path.write_bytes(self.data)
        key = self.folder / "key"
        key.write_text("ab" * 32)
        key.chmod(0o600)
        remaining, said = self.remaining(f"key_file: {key}\n" + HOURLY)
        self.assertEqual((remaining, len(said)), (10, 1))
        self.assertIn("written under another key_file", said[0])
        self.path.write_bytes(self.data)
        self.path.chmod(0o666)
        remaining, said = self.remaining()
        self.assertEqual((remaining, len(said)), (10, 1))
        self.assertIn("could have been written by others", said[0])

    def test_a_damaged_block(self):
        with self.daemon() as daemon, daemon.client() as client:
            for i in range(0, 5000, 50):
                client.limits(wire.CHECK, "hourly", [b"%d" % j for j in range(i, i + 50)])
        data = bytearray(self.path.read_bytes())
        data[512 + 65536 + 500] ^= 1
        self.path.write_bytes(data)
        self.assertIn("1 of 4 blocks are damaged", mete("snapshot", "show", str(self.path)).stdout)
        _, said = self.remaining()
        self.assertEqual(len(said), 2)
        self.assertIn("carried over", said[0])
        self.assertIn("has 1 damaged blocks", said[1])
        self.assertIn(len(self.decode().entries), range(5001 - 2046, 5001 - 2040))


class Killed(Folder):
    def test_at_any_instant(self):
        """The old file or the new one, each whole; METE_ROUNDS=1000 for more."""
        dice = random.Random(SEED)
        known = 0
        for round_ in range(ROUNDS):
            daemon = self.daemon()
            if known:
                line = said_of_snapshots(daemon)[0]
                self.assertIn(f": {known} entries and 0 leases in ", line)
            with daemon.client() as client:
                for i in range(20):
                    client.limits(wire.CHECK, "hourly", [b"%d %d %d" % (round_, i, j) for j in range(50)])
            saving = subprocess.Popen([METE, "snapshot", "save", "--admin", daemon.admin], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            time.sleep(dice.random() * 0.06)  # an instant of any kind will do
            kill(daemon)
            saving.wait(PATIENCE_S)
            if self.path.exists():
                entries = len(self.decode().entries)
                self.assertIn(entries, (known, known + 1000), f"seed {SEED}, round {round_}")
                known = entries


class Disks(Folder):
    @unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
    def setUp(self):
        super().setUp()
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        if self.mount("-t", "tmpfs", "-o", "size=256k", "none").returncode:
            self.skipTest("no tmpfs can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=False)
        self.path = self.disk / "table"

    def mount(self, *arguments):
        return subprocess.run(["mount", *arguments, self.disk], capture_output=True)

    def fail(self, daemon, says):
        done = mete("snapshot", "save", "--admin", daemon.admin)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn(says, done.stderr)
        self.assertRegex(done.stderr, r"the one of \d+ s ago stays\n$")

    def test_full_read_only_and_gone(self):
        daemon = self.daemon()
        with daemon.client() as client:
            client.check("hourly", b"alice", 7)
            save(daemon)
            old = self.path.read_bytes()
            for i in range(0, 10000, 50):
                client.limits(wire.CHECK, "hourly", [b"%d" % j for j in range(i, i + 50)])
            self.fail(daemon, "no space is left on its disk")
            self.assertEqual([path.name for path in self.disk.iterdir()], ["table"])
            self.assertEqual(self.path.read_bytes(), old)
            self.mount("-o", "remount,ro")
            self.fail(daemon, "its file system is read-only")
            self.assertEqual(self.path.read_bytes(), old)
            self.assertEqual(daemon.stats()["snapshot"]["failed"], 2)
            self.mount("-o", "remount,rw,size=4m")
            self.assertIn("10001 entries", save(daemon))
            self.assertEqual(client.check("hourly", b"alice", 1).remaining, 2)
        self.assertEqual(len(self.decode().entries), 10001)
        daemon.stop()
        failures = [line for line in daemon.said if "was not written" in line]
        self.assertEqual(len(failures), 2, failures)
        self.assertTrue(all("; the next try in 86400 s" in line for line in failures))

    def test_a_folder_that_goes_and_comes(self):
        inner = self.folder / "inner"
        inner.mkdir()
        self.path = inner / "table"
        daemon = self.daemon()
        save(daemon)
        shutil.rmtree(inner)
        self.fail(daemon, "its folder is gone")
        inner.mkdir()
        save(daemon)
        self.decode()
        daemon.stop()


if __name__ == "__main__":
    unittest.main()
