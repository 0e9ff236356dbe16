#!/usr/bin/env python3
"""`mete replay` against an independent judge: another parser, another sort, and limits that keep
every admitted instant or an exact fraction instead of a compiled state. A random log is written as
common log lines and as NDJSON, and goes in plain, as gzip and by standard input.

Seed and number of lines: METE_SEED, METE_COUNT; the seed is printed when a comparison fails.
$METE_BUILD says where the binary lies (build/check by default).
Run alone on a log of your own: python3 tests/e2e/test_replay.py --judge LOG RULE..."""
import datetime
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import unittest
from fractions import Fraction

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib import seeds  # noqa: E402

BUILD = os.environ.get("METE_BUILD") or os.path.join(ROOT, "build", "check")
METE = os.path.join(ROOT, BUILD, "mete")
SEED = int(os.environ.get("METE_SEED") or str(random.randrange(1 << 32)), 0)
COUNT = seeds.count(3000)
NS = 10**9
UNITS = {"ms": NS // 1000, "s": NS, "m": 60 * NS, "h": 3600 * NS, "d": 86400 * NS}


# --- the judge ---------------------------------------------------------------------------------

def read_rule(text):
    words = text.split()
    found = re.fullmatch(r"(\d+)/(\d*)(ms|s|m|h|d)", words[1])
    count, period = int(found[1]), int(found[2] or 1) * UNITS[found[3]]
    burst = int(words[words.index("burst") + 1]) if "burst" in words else count
    return words[0], count, period, burst, "queue" in words


class Bucket:
    """The level as an exact fraction of units; it drains at the rate. A unit takes a whole number
    of 1/16 ns, rounded up: that rounding is the rule's and not an error of the state."""

    def __init__(self, count, period, burst):
        self.unit = Fraction(-(-16 * period // count), 16)
        self.burst, self.level, self.at = burst, Fraction(0), None

    def ask(self, now):
        if self.at is not None:
            self.level = max(Fraction(0), self.level - Fraction(now - self.at) / self.unit)
        self.at = now
        if self.level + 1 > self.burst:
            self.wait = (self.level + 1 - self.burst) * self.unit
            return False
        self.wait = self.level * self.unit  # of a queue
        self.level += 1
        return True


class Fixed:
    def __init__(self, count, period, _burst):
        self.limit, self.period, self.taken = count, period, {}

    def ask(self, now):
        window = now // self.period
        if self.taken.get(window, 0) >= self.limit:
            self.wait = self.period - now % self.period
            return False
        self.taken[window] = self.taken.get(window, 0) + 1
        return True


class Sliding(Fixed):
    wait = None  # judged where the limit is

    def ask(self, now):
        window, elapsed = divmod(now, self.period)
        share = 1 - Fraction(elapsed, self.period)
        if self.taken.get(window - 1, 0) * share + self.taken.get(window, 0) + 1 > self.limit:
            return False
        self.taken[window] = self.taken.get(window, 0) + 1
        return True


MODELS = {"token_bucket": Bucket, "leaky_bucket": Bucket, "fixed_window": Fixed,
          "sliding_window": Sliding}


def judge(rule, requests):
    """requests: (at_ns, subject) in the log's order. Denied in all, by subject; waits in ns."""
    algorithm, count, period, burst, queue = read_rule(rule)
    models, denied, waits = {}, {}, []
    for at, subject in sorted(requests, key=lambda request: request[0]):
        model = models.setdefault(subject, MODELS[algorithm](count, period, burst))
        is_allowed = model.ask(at)
        if not is_allowed:
            denied[subject] = denied.get(subject, 0) + 1
        if is_allowed == queue and model.wait != 0:
            waits.append(model.wait)
    return sum(denied.values()), denied, waits


CLF = re.compile(r'(\S+) \S+ (.*?) \[([^]]+)\] "((?:[^"\\]|\\.)*)" (\d{3})')


def judge_parse(line):
    if line.startswith("{"):
        entry = json.loads(line)
        at = entry.get("ts", entry.get("time"))
        if isinstance(at, str):
            at = datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
            since = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
            at = (since // datetime.timedelta(microseconds=1)) * 1000
        else:
            at = at * (NS // 1000)
        return at, entry["client"]["id"]
    found = CLF.match(line)
    at = datetime.datetime.strptime(found[3], "%d/%b/%Y:%H:%M:%S %z")
    return int(at.timestamp()) * NS, found[1]


# --- a log ---------------------------------------------------------------------------------------

def random_requests(source, count):
    """Crowds and single visitors, gaps from none to weeks, a fifth of the lines moved."""
    at = 1431857103 * 1000
    subjects = ["10.0.%d.%d" % (i // 200, i % 200) for i in range(count // 12)]
    requests = []
    for _ in range(count):
        at += source.choice([0, 0, 0, 1, 40, 250, 1000, 1000, 3000, source.randrange(90000)])
        if source.random() < 0.002:
            at += source.randrange(30 * 86400 * 1000)
        subject = subjects[min(int(source.expovariate(0.15)), len(subjects) - 1)]
        requests.append((at * (NS // 1000), subject))
    for _ in range(count // 5):
        i = source.randrange(count)
        j = min(count - 1, i + source.randrange(50))
        requests[i], requests[j] = requests[j], requests[i]
    return requests


def zoned(at_ns, source, form):
    zone = datetime.timezone(datetime.timedelta(minutes=source.choice([0, 0, 120, -330, 765])))
    at = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return form((at + datetime.timedelta(microseconds=at_ns // 1000)).astimezone(zone))


def as_clf(requests, source):
    for at, subject in requests:
        time = zoned(at, source, lambda t: t.strftime("%d/%b/%Y:%H:%M:%S %z"))
        user = source.choice(["-", "ann", "a [b] c"])
        yield '%s - %s [%s] "GET /x HTTP/1.1" 200 7 "-" "a \\" b"' % (subject, user, time)


def as_ndjson(requests, source):
    for at, subject in requests:
        entry = {"client": {"id": subject}, "n": 2**70}
        if source.random() < 0.5:
            entry["ts"] = at // (NS // 1000)
        else:
            entry["time"] = zoned(at, source, lambda t: t.isoformat(timespec="milliseconds"))
        yield json.dumps(entry)


RULES = ["token_bucket 1/s burst 5", "token_bucket 7/3s burst 2", "token_bucket 3/m",
         "leaky_bucket 2/s burst 3", "leaky_bucket 1/s burst 4 queue", "fixed_window 5/10s",
         "fixed_window 20/1h", "sliding_window 5/10s", "sliding_window 3/7s", "sliding_window 9/2d"]


def run(arguments, stdin=b""):
    return subprocess.run([METE, "replay", *arguments], input=stdin, capture_output=True,
                          timeout=60, check=False)


def rule_options(rules):
    return [word for rule in rules for word in ("--rule", rule)]


class Replay(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def write(self, name, data):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as out:
            out.write(data)
        return path

    def report(self, arguments, stdin=b""):
        done = run([*arguments, "--json"], stdin)
        self.assertEqual((done.returncode, done.stderr), (0, b""), "seed %d" % SEED)
        return json.loads(done.stdout)

    def compare(self, report, lines):
        requests = [judge_parse(line) for line in lines]
        back = sum(b[0] < a[0] for a, b in zip(requests, requests[1:]))
        self.assertEqual((report["lines"], report["unparsed"], report["out_of_order"],
                          report["subjects"]),
                         (len(lines), 0, back, len({r[1] for r in requests})), "seed %d" % SEED)
        self.assertEqual([entry["rule"] for entry in report["rules"]], RULES)
        total = 0
        for entry in report["rules"]:
            denied, by_subject, waits = judge(entry["rule"], requests)
            delayed = len(waits) if "queue" in entry["rule"] else 0
            says = "seed %d, %s" % (SEED, entry["rule"])
            self.assertEqual((entry["requests"], entry["denied"], entry["delayed"]),
                             (len(lines), denied, delayed), says)
            self.assertEqual({h["subject"]: h["denied"] for h in entry["hardest"]}, by_subject,
                             says)
            self.assertEqual(sum(row["count"] for row in entry["waits"]), len(waits), says)
            if not entry["rule"].startswith("sliding"):
                self.compare_waits(entry["waits"], waits, says)
            total += denied
        self.assertGreater(total, len(lines) // 100, "the log tries the rules; seed %d" % SEED)

    def compare_waits(self, rows, waits, says):
        longest = 0
        bounds = [10**6, 10**7, 10**8, NS, 10 * NS, 60 * NS, 600 * NS, 3600 * NS, 86400 * NS]
        self.assertEqual([row["up_to_ns"] for row in rows], bounds + [None, None])
        for row in rows[:9]:
            count = sum(longest < wait <= row["up_to_ns"] for wait in waits)
            self.assertEqual(row["count"], count, "%s: %r" % (says, row))
            longest = row["up_to_ns"]

    def test_common_log_as_the_judge(self):
        source = random.Random(SEED)
        lines = list(as_clf(random_requests(source, COUNT), source))
        data = "\n".join(lines).encode()
        options = [*rule_options(RULES), "--top", "100000"]
        plain = self.report([self.write("a.gz", data), *options])
        packed = self.report([self.write("a.log", gzip.compress(data)), *options])
        piped = self.report(["-", *options], gzip.compress(data))
        self.compare(plain, lines)
        self.assertEqual(plain["rules"], packed["rules"])
        self.assertEqual(plain["rules"], piped["rules"])

    def test_ndjson_as_the_judge(self):
        source = random.Random(SEED + 1)
        lines = list(as_ndjson(random_requests(source, COUNT), source))
        data = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self.compare(self.report(["-", "--by", "client.id", *rule_options(RULES), "--top",
                                  "100000"], data), lines)

    def test_a_span_of_centuries(self):
        lines = ["h - - [01/Jan/%d:00:00:0%d +0000] \"GET / HTTP/1.1\" 200 1" % (year, second)
                 for year in (1970, 2015, 2060, 2260) for second in range(4)]
        rules = ["token_bucket 1/h burst 2", "sliding_window 2/10ms", "fixed_window 2/1h"]
        report = self.report(["-", *rule_options(rules)], "\n".join(lines).encode())
        self.assertEqual([r["denied"] for r in report["rules"]], [8, 0, 8])

    def test_deny_and_unlimited(self):
        line = b'h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1\n'
        report = self.report(["-", "--rule", "deny", "--rule", "unlimited"], 5 * line)
        self.assertEqual([r["denied"] for r in report["rules"]], [5, 0])
        never = [row for row in report["rules"][0]["waits"] if row["never"]]
        self.assertEqual([row["count"] for row in never], [5])

    def test_lines_that_cannot_be_read(self):
        good = b'h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1\n'
        data = good + b"\n \n\x1b[31mnonsense \xff\n" + b"x" * 70000 + b"\n" + good
        path = self.write("a.log", data)
        report = self.report([path, "--rule", "fixed_window 1/1s"])
        self.assertEqual((report["lines"], report["unparsed"]), (4, 2))
        self.assertEqual(report["first_unparsed"]["line"], 4)
        self.assertEqual(report["first_unparsed"]["text"], "\\x1b[31mnonsense \\xff")
        self.assertEqual(report["rules"][0]["denied"], 1)
        text = run([path, "--rule", "fixed_window 1/1s"])
        self.assertEqual(text.returncode, 0)
        self.assertIn(b"2 of 4 lines left out, the first is line 4", text.stdout)
        self.assertNotIn(b"\x1b", text.stdout)
        self.assertLessEqual(max(len(line) for line in text.stdout.decode().split("\n")), 100)

    def test_hardest_in_order(self):
        line = '%s - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1\n'
        data = "".join(line % name * n for name, n in (("b", 3), ("a", 3), ("c", 9), ("d", 1)))
        report = self.report(["-", "--rule", "fixed_window 1/1s", "--top", "2"], data.encode())
        self.assertEqual([h["subject"] for h in report["rules"][0]["hardest"]], ["c", "a"])

    def expect_refusal(self, arguments, says, stdin=b""):
        done = run(arguments, stdin)
        error = done.stderr.decode()
        self.assertEqual(done.returncode, 2, error)
        self.assertEqual((done.stdout, error.count("\n")), (b"", 1), error)
        self.assertTrue(error.startswith("mete replay: "), error)
        self.assertIn(says, error)

    def test_refusals(self):
        good = b'h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1\n'
        path = self.write("a.log", good)
        rule = ["--rule", "token_bucket 1/s"]
        packed = gzip.compress(good * 99)
        self.expect_refusal([], "which log?")
        self.expect_refusal([path], "which rule?")
        self.expect_refusal([path, path, *rule], "one too many")
        self.expect_refusal([path, *rule, "--nonsense"], "--nonsense")
        self.expect_refusal([path, "--rule"], "--rule: its value is missing")
        self.expect_refusal([path, *rule, "--top", "many"], "--top")
        self.expect_refusal([path, *rule, "--by", ""], "--by")
        self.expect_refusal([path, *rule * 17], "more than 16 rules")
        self.expect_refusal([path, *rule, "--rule", "leaky_boat 1/s"], "--rule 'leaky_boat 1/s'")
        self.expect_refusal([path, "--rule", "token_bucket 0/s"], "--rule 'token_bucket 0/s'")
        self.expect_refusal([path, "--rule", "token_bucket 9/365d burst 1000"], "10 years")
        self.expect_refusal([path + "x", *rule], path + "x: No such file")
        self.expect_refusal([self.folder.name, *rule], "Is a directory")
        self.expect_refusal([self.write("e", b""), *rule], "e: there is no line in it")
        self.expect_refusal(["-", *rule], "standard input: there is no line in it", b"\n\n")
        self.expect_refusal([self.write("c.gz", packed[:-9]), *rule], "damaged gzip data")
        self.expect_refusal(["-", *rule], "damaged gzip data", packed[:20] + b"\xff" * 40)
        self.expect_refusal(["-", *rule], "none of its 2 lines can be used; line 2", b"\nno\nno\n")
        self.expect_refusal([path, *rule, "--by", "colour"], "no field 'colour'")
        self.expect_refusal(["-", *rule, "--time-field", "at"], "no field 'at'",
                            b'{"time":1,"ip":"h"}\n')

    def test_help(self):
        done = run(["--help"])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn(b"--time-field", done.stdout)


def main():
    if sys.argv[1:2] != ["--judge"]:
        unittest.main()
        return
    opener = gzip.open if sys.argv[2].endswith(".gz") else open
    with opener(sys.argv[2], "rt", encoding="utf-8", errors="replace") as log:
        requests = [judge_parse(line) for line in log if line.strip()]
    for rule in sys.argv[3:]:
        print(rule, "requests", len(requests), "denied", judge(rule, requests)[0])


if __name__ == "__main__":
    main()
