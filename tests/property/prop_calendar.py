#!/usr/bin/env python3
"""The edges of periods against Python's zoneinfo: 20 zones, all four periods, 1995 to 2045, 0 differences.

zoneinfo reads the same tzdata by code of its own. What an edge is, is asked of it anew, by search: the first second at which
the zone's clocks show the date that a period begins with, or a later one. METE_SEED picks the instants that are looked up.
All zones of the system: prop_calendar.py --all."""
import argparse
import bisect
import datetime
import os
import pathlib
import random
import subprocess
import sys
import unittest
import zoneinfo

BUILD = pathlib.Path(os.environ.get("METE_BUILD") or pathlib.Path(__file__).resolve().parents[2] / "build/check")
FEED = BUILD / "tests/property/calendar_feed"
SEED = int(os.environ.get("METE_SEED", "1"), 0)
FIRST_YEAR, LAST_YEAR = 1995, 2045
PERIODS = ("day", "week", "month", "year")
DAY_S, LOOKUPS = 86400, 500
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
# What is peculiar: half hours and quarters, midnight skipped (Beirut, Sao_Paulo, Santiago, Gaza, Havana, Asuncion) or twice
# (Havana, St_Johns, Azores), days skipped (Apia, Kwajalein is before), negative daylight saving (Dublin, Casablanca), 30
# minutes of it (Lord_Howe), the far east and west, the southern half, a rule without end and none.
ZONES = ("UTC", "Europe/Berlin", "Europe/Dublin", "Europe/Moscow", "America/New_York", "America/St_Johns", "America/Sao_Paulo",
         "America/Havana", "America/Santiago", "America/Asuncion", "Africa/Casablanca", "Africa/Cairo", "Asia/Beirut", "Asia/Gaza",
         "Asia/Kathmandu", "Asia/Tehran", "Asia/Pyongyang", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati",
         "Pacific/Chatham", "Atlantic/Azores")


def local_date(zone, at_s):
    return (EPOCH + datetime.timedelta(seconds=at_s)).astimezone(zone).date()


def edge(zone, date):
    """The first second with that date or a later one. No clock that shows it goes back by more than the hours looked at here."""
    midnight_s = (date - datetime.date(1970, 1, 1)).days * DAY_S
    guess_s = int(datetime.datetime(date.year, date.month, date.day, tzinfo=zone).timestamp())
    if local_date(zone, guess_s) == date and local_date(zone, guess_s - 1) == date - datetime.timedelta(1) \
            and all(local_date(zone, guess_s - before_s) < date for before_s in (900, 1800, 3600, 7200, 10800)):
        return guess_s
    for at_s in range(midnight_s - 30 * 3600, midnight_s + 54 * 3600, 60):
        if local_date(zone, at_s) >= date:
            return next(s for s in range(at_s - 59, at_s + 1) if local_date(zone, s) >= date)
    raise AssertionError(f"{zone}: no {date}")


def edges_of_days(zone, dates):
    """edge() of each; where noons of two days before and behind have one offset it is midnight by that offset."""
    days = [(date - datetime.date(1970, 1, 1)).days for date in dates]
    offsets = {day: (EPOCH + datetime.timedelta(days=day, hours=12)).astimezone(zone).utcoffset()
               for day in range(days[0] - 2, days[-1] + 3)}
    return {date: day * DAY_S - int(offsets[day].total_seconds())
            if len({offsets[day + near] for near in range(-2, 3)}) == 1 else edge(zone, date) for date, day in zip(dates, days)}


def begins(per, first_year, last_year):
    """The dates on which periods begin."""
    for year in range(first_year, last_year + 1):
        if per == "year":
            yield datetime.date(year, 1, 1)
        elif per == "month":
            yield from (datetime.date(year, month, 1) for month in range(1, 13))
        else:
            date = datetime.date(year, 1, 1)
            while date.year == year:
                if per == "day" or date.weekday() == 0:
                    yield date
                date += datetime.timedelta(1)


def expected(zone, first_year, last_year):
    """Edges by period; the same edge twice is a date that never was."""
    days = edges_of_days(zone, list(begins("day", first_year, last_year)))
    return {per: sorted({days[date] for date in begins(per, first_year, last_year)}) for per in PERIODS}


def feed(zone, per, asked=()):
    done = subprocess.run([FEED, zone, per], input="\n".join(map(str, asked)), capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise AssertionError(f"{zone}: {done.stderr}")
    ends, found = done.stdout.split("found\n")
    return list(map(int, ends.split())), list(map(int, found.split()))


def judge(name, chance, first_year=FIRST_YEAR, last_year=LAST_YEAR):
    """What is wrong with a zone, and the number of edges compared."""
    zone, faults, count = zoneinfo.ZoneInfo(name), [], 0
    for per, edges in expected(zone, first_year, last_year).items():
        asked = [chance.choice(edges) + chance.choice((-1, 0, 1, chance.randrange(400 * DAY_S))) for _ in range(LOOKUPS)]
        asked += [0, 2**32 - 2, 2**32 - 1, 2**32, 2**64 // 10**9]
        ends, found = feed(name, per, asked)
        ours = [end for end in ends if edges[0] <= end <= edges[-1]]
        differ = sorted(set(ours) ^ set(edges))
        if ours != edges:
            faults.append(f"{name} {per}: {len(differ)} differ, the first at {EPOCH + datetime.timedelta(seconds=(differ or [0])[0])}")
        if ends[-1] != 2**32 - 1 or ends != sorted(set(ends)):
            faults.append(f"{name} {per}: not rising to the end")
        ends.append(2**32 - 1)
        wrong = [(at, got) for at, got in zip(asked, found, strict=True)
                 if got != ends[min(bisect.bisect_right(ends, at), len(ends) - 1)]]
        if wrong:
            faults.append(f"{name} {per}: the period of {wrong[0][0]} does not end at {wrong[0][1]}")
        count += len(edges)
    return faults, count


class Edges(unittest.TestCase):
    def test_zones(self):
        chance, compared = random.Random(SEED), 0
        for name in ZONES:
            with self.subTest(name, seed=SEED):
                faults, count = judge(name, chance)
                self.assertEqual(faults, [])
                compared += count
        self.assertGreater(compared, len(ZONES) * (LAST_YEAR - FIRST_YEAR) * (365 + 52 + 12 + 1))

    def test_the_peculiar_is_there(self):
        """Else the judge above has not seen it."""
        def lengths(name, first_year, last_year):
            edges = expected(zoneinfo.ZoneInfo(name), first_year, last_year)["day"]
            return {after - before for before, after in zip(edges, edges[1:])}
        self.assertEqual(lengths("Europe/Berlin", 2024, 2024), {23 * 3600, 24 * 3600, 25 * 3600})
        self.assertEqual(lengths("Australia/Lord_Howe", 2024, 2024), {23.5 * 3600, 24 * 3600, 24.5 * 3600})
        apia = expected(zoneinfo.ZoneInfo("Pacific/Apia"), 2011, 2011)["day"]
        self.assertEqual(len(apia), 364)
        self.assertEqual(local_date(zoneinfo.ZoneInfo("Pacific/Apia"), apia[-1] - 1), datetime.date(2011, 12, 29))
        sao_paulo = zoneinfo.ZoneInfo("America/Sao_Paulo")  # begins at 1 o'clock
        self.assertEqual((EPOCH + datetime.timedelta(seconds=edge(sao_paulo, datetime.date(2018, 11, 4)))).astimezone(sao_paulo).hour, 1)
        st_johns = zoneinfo.ZoneInfo("America/St_Johns")  # one minute of the day, then an hour of the day before again
        twice = edge(st_johns, datetime.date(2010, 11, 7))
        self.assertEqual([local_date(st_johns, twice + s).day for s in (-1, 0, 59, 60, 3599, 3600)], [6, 7, 7, 6, 6, 7])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every zone there is, 1971 to 2100")
    parser.add_argument("zones", nargs="*")
    options = parser.parse_args()
    names = sorted(zoneinfo.available_timezones()) if options.all else options.zones
    total = 0
    for name in names:
        faults, count = judge(name, random.Random(SEED), 1971, 2100)
        total += len(faults)
        print(f"{name}: {count:,} edges, {len(faults)} faults", *faults, sep="\n  " if faults else "", flush=True)
    return 1 if total else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main())
    unittest.main()
