#!/usr/bin/env python3
"""Rules that count by the days, weeks, months and years of a time zone, by the real binary: spent and denied until the edge
that zoneinfo knows, what a configuration with a wrong zone is told, tzdata in another folder, `config show`, `mete replay`.

No wall-clock time is asserted: an answer lies between what was right before it was asked for and after it came."""
import datetime
import os
import pathlib
import shutil
import sys
import tempfile
import time
import unittest
import zoneinfo

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import Daemon, mete, refuse
from lib.mete_wire import ALLOW, AT_MOST, GRANTED, PEEK, UNIT_COST

PERIODS = ("day", "week", "month", "year")
ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Kiritimati", "America/St_Johns")
SECOND_NS, SLACK_NS = 10**9, 10**6  # the wire rounds up to a second at most; the daemon's clock follows within a millisecond
CALENDAR = "{name: %s, algorithm: calendar, limit: 3, per: %s, time_zone: %s}"
CONFIG = "tenants:\n  - name: default\n    rules:\n" + "".join(
    "      - " + CALENDAR % (f"{zone}.{per}", per, zone) + "\n" for zone in ZONES for per in PERIODS) + """
      - {name: plain, algorithm: calendar, limit: 5, per: year}
      - name: tuned
        algorithm: calendar
        limit: 5
        per: year
        overrides: [{subject: big, limit: 7}, {prefix: "small:", limit: 1}]
"""


def next_edge_ns(zone, per, at_ns):
    """Midnight by the zone's clocks of the next period; close to a change of them this test is not the judge."""
    date = datetime.datetime.fromtimestamp(at_ns // 10**9, zoneinfo.ZoneInfo(zone)).date()
    following = {"day": date + datetime.timedelta(1), "week": date + datetime.timedelta(7 - date.weekday()),
                 "month": (date.replace(day=1) + datetime.timedelta(31)).replace(day=1),
                 "year": datetime.date(date.year + 1, 1, 1)}[per]
    midnight = datetime.datetime(following.year, following.month, following.day, tzinfo=zoneinfo.ZoneInfo(zone))
    return int(midnight.timestamp()) * 10**9


class Served(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(CONFIG)
        cls.addClassCleanup(cls.daemon.close)
        cls.client = cls.daemon.client()
        cls.addClassCleanup(cls.client.__exit__)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def spend(self, rule, subject):
        """Three, then one too many, all in one period; and the ends of that period before and after."""
        zone, per = rule.rsplit(".", 1)
        for attempt in range(3):  # a second time if an edge came in between
            before_ns = time.time_ns()
            verdicts = [self.client.check(rule, b"%s %d" % (subject, attempt)) for _ in range(4)]
            after_ns = time.time_ns()
            edge_ns = next_edge_ns(zone, per, before_ns - SLACK_NS)
            if edge_ns == next_edge_ns(zone, per, after_ns + SLACK_NS):
                return verdicts, edge_ns - after_ns - SLACK_NS, edge_ns - before_ns + SLACK_NS + SECOND_NS
        raise AssertionError("three edges in a row")

    def test_until_the_edge(self):
        for rule in (f"{zone}.{per}" for zone in ZONES for per in PERIODS):
            with self.subTest(rule):
                verdicts, least_ns, most_ns = self.spend(rule, b"edge")
                self.assertEqual([(v.flags, v.remaining) for v in verdicts], [(ALLOW, 2), (ALLOW, 1), (ALLOW, 0), (0, 0)])
                for wait_ns in [v.reset_after_ns for v in verdicts] + [verdicts[3].retry_after_ns]:
                    self.assertGreaterEqual(wait_ns, least_ns)
                    self.assertLessEqual(wait_ns, most_ns)

    def test_operations(self):
        client = self.client
        self.assertEqual(client.check("plain", b"s", 6).retry_after_ns, None)  # never
        peeked = client.check("plain", b"s", 5, flags=PEEK)
        self.assertEqual((peeked.flags, peeked.remaining, peeked.reset_after_ns), (ALLOW, 5, 0))
        self.assertEqual(client.check("plain", b"s", 4).remaining, 1)
        most = client.check("plain", b"s", 9, flags=AT_MOST)
        self.assertEqual((most.flags, most.retry_unit, most.retry_after), (ALLOW | GRANTED, UNIT_COST, 1))
        self.assertEqual(client.check("plain", b"s").flags, 0)
        self.assertEqual(client.refund("plain", b"s", 2).remaining, 2)
        self.assertEqual(client.refund("plain", b"s", 99).remaining, 5)
        self.assertEqual(client.check("plain", b"s", 5).remaining, 0)
        reset = client.reset("plain", b"s")
        self.assertEqual((reset.remaining, reset.reset_after_ns), (5, 0))

    def test_overrides(self):
        asked = ["--server", "%s:%d" % self.daemon.address]
        for subject, limit in (("big", 7), ("small:1", 1), ("other", 5)):
            with self.subTest(subject):
                said = mete("check", "tuned", subject, "--cost", str(limit), *asked)
                self.assertEqual((said.returncode, said.stderr), (0, ""), said.stdout)
                self.assertEqual(mete("check", "tuned", subject, *asked).returncode, 1)


class Reload(unittest.TestCase):
    def test_what_is_kept(self):
        def text(limit, per, zone):
            return "tenants:\n  - name: default\n    rules:\n      - " \
                   f"{{name: plan, algorithm: calendar, limit: {limit}, per: {per}, time_zone: {zone}}}\n"
        with Daemon(text(5, "year", "Asia/Tokyo")) as daemon, daemon.client() as client:
            def after(*what):
                pathlib.Path(daemon.folder, "mete.yaml").write_text(text(*what))
                done = mete("reload", "--admin", daemon.admin)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                return client.check("plan", b"s", 1, flags=PEEK).remaining
            self.assertEqual(client.check("plan", b"s", 4).remaining, 1)
            self.assertEqual(after(7, "year", "Asia/Tokyo"), 3)
            self.assertEqual(after(2, "year", "Asia/Tokyo"), 0)
            self.assertEqual(after(5, "year", "Asia/Tokyo"), 1)
            self.assertEqual(after(5, "month", "Asia/Tokyo"), 5)
            self.assertEqual(client.check("plan", b"s", 5).flags, ALLOW)
            self.assertEqual(after(5, "month", "Europe/Paris"), 5)
            pathlib.Path(daemon.folder, "mete.yaml").write_text(text(5, "month", "Europe/Pari"))
            done = mete("reload", "--admin", daemon.admin)
            self.assertEqual(done.returncode, 2)
            self.assertIn("time_zone: 'Europe/Pari'", done.stdout + done.stderr)
            self.assertEqual(client.check("plan", b"s", 5).flags, ALLOW)


class Files(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.config = self.folder / "mete.yaml"
        self.zones = self.folder / "zones"
        self.zones.mkdir()

    def write(self, per="day", zone="Europe/Berlin"):
        self.config.write_text("tenants:\n  - name: a\n    rules:\n      - " + CALENDAR % ("r", per, zone) + "\n")
        return str(self.config)

    def environment(self):
        return {**os.environ, "TZDIR": str(self.zones)}

    def test_unknown_zones_do_not_start(self):
        prefix = f"mete serve: {self.config}:4: tenants[0].rules[0].time_zone: "
        for zone, phrase in (("Europe/Berln", "no such zone there; for example Europe/Berlin"), ("Europe", "a folder of zones"),
                             ("../../../etc/passwd", "is not the name of a time zone"), ("/etc/localtime", "is not the name"),
                             ("Europe//Berlin", "is not the name"), ("Europe/../UTC", "is not the name"), ("zone.tab", "is not the name"),
                             ("CET-1CEST", "no such zone"), ("leapseconds", "is not a compiled time zone"), ("E" * 65, "is not the name"),
                             ("right/Europe/Berlin", "leap seconds")):
            with self.subTest(zone):
                line = refuse("--config", self.write(zone=zone))
                self.assertTrue(line.startswith(prefix + f"'{zone[:64]}' "), line)
                self.assertIn(phrase, line)

    def test_own_folder_of_zones(self):
        berlin = pathlib.Path("/usr/share/zoneinfo/Europe/Berlin").read_bytes()
        (self.zones / "Here").write_bytes(berlin)
        (self.zones / "Cut").write_bytes(berlin[:-1])
        (self.zones / "Large").write_bytes(berlin + b"x" * 65536)
        (self.zones / "Empty").write_bytes(b"")
        os.mkfifo(self.zones / "Pipe")
        self.assertEqual(mete("config", "check", self.write(zone="Here"), env=self.environment()).returncode, 0)
        for zone, phrase in (("Cut", "is damaged: it ends too early"), ("Large", "too large"), ("Empty", "ends too early"),
                             ("Pipe", "no zone but a folder"), ("Europe/Berlin", "no such zone there")):
            with self.subTest(zone):
                line = refuse("--config", self.write(zone=zone), env=self.environment())
                self.assertIn(f"tenants[0].rules[0].time_zone: '{zone}' ", line)
                self.assertIn(phrase, line)
                self.assertIn(str(self.zones), line)

    def test_utc_needs_no_tzdata(self):
        self.zones.rmdir()
        self.assertEqual(mete("config", "check", self.write(zone="UTC"), env=self.environment()).returncode, 0)
        line = refuse("--config", self.write(), env=self.environment())
        self.assertIn("is the system's tzdata installed?", line)

    def test_show_is_accepted_again(self):
        shown = mete("config", "show", "--config", self.write("month"))
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        self.assertIn("{name: r, algorithm: calendar, limit: 3, per: month, time_zone: Europe/Berlin}", shown.stdout)
        self.config.write_text(shown.stdout)
        self.assertEqual(mete("config", "show", "--config", str(self.config)).stdout, shown.stdout)

    def test_replay(self):
        """Two a day in Berlin: the days of 23 and of 25 hours begin where zoneinfo says."""
        zone = zoneinfo.ZoneInfo("Europe/Berlin")
        log, allowed, taken = self.folder / "log", 0, {}
        with log.open("w") as out:
            for begin in (1711753200, 1729893600):  # noons before the changes of 2024, 60 hours each
                for at in range(begin + 1800, begin + 60 * 3600, 3600):
                    date = datetime.datetime.fromtimestamp(at, zone).date()
                    allowed += taken.get(date, 0) < 2
                    taken[date] = taken.get(date, 0) + 1
                    out.write(datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime(
                        '10.0.0.1 - - [%d/%b/%Y:%H:%M:%S +0000] "GET / HTTP/1.1" 200 7\n'))
        self.assertIn(23, taken.values())
        self.assertIn(25, taken.values())
        said = mete("replay", str(log), "--rule", "calendar 2/day Europe/Berlin")
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        self.assertRegex(said.stdout, r"denied +%d\b" % (120 - allowed))

    def test_rules_in_one_line(self):
        (self.folder / "log").write_text('10.0.0.1 - - [01/Mar/2024:00:00:00 +0000] "GET / HTTP/1.1" 200 7\n')
        for rule, phrase in (("calendar", "for example 'calendar 100/month Europe/Berlin'"), ("calendar 0/day", "from 1 to"),
                             ("calendar 5", "is no limit of a calendar"), ("calendar 5/3d", "has a count"),
                             ("calendar 5/hour", "not one of day, week, month, year"), ("calendar 5/day Nowhere", "no such zone"),
                             ("calendar 4294967296/day", "from 1 to 4294967295"), ("calendar 5/day UTC burst", "not expected after 'UTC'")):
            with self.subTest(rule):
                said = mete("replay", str(self.folder / "log"), "--rule", rule)
                self.assertEqual((said.returncode, said.stdout, said.stderr.count("\n")), (2, "", 1))
                self.assertIn(phrase, said.stderr)
        said = mete("bench", "--verify", "calendar 5/day", "--rule", "demo")
        self.assertEqual(said.returncode, 2)
        self.assertIn("calendar is not served here", said.stderr)


if __name__ == "__main__":
    unittest.main()
