#!/usr/bin/env python3
"""The RateLimit fields of the HTTP door against the numbers that the IETF draft documents (tests/e2e/tables), under a clock that
stands still, so to the second."""
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.clock import SECOND, UnderOneClock  # noqa: E402
from lib.daemon import parse_address  # noqa: E402
from lib.http_raw import Raw, post  # noqa: E402

TABLE = pathlib.Path(__file__).resolve().parent / "tables" / "ratelimit-headers.txt"
MIDNIGHT_NS = 1_700_006_400 * SECOND  # of 15 November 2023
DAY_NS = 86400 * SECOND
CONFIG = """
tenants:
  - name: default
    rules:
      - {name: default, algorithm: fixed_window, limit: 100/10s}
      - {name: protection, algorithm: fixed_window, limit: 100/60s}
      - {name: permin, algorithm: fixed_window, limit: 50/60s}
      - {name: perhr, algorithm: fixed_window, limit: 1000/1h}
      - {name: daily, algorithm: calendar, limit: 1000, per: day, time_zone: Etc/GMT-6}
      - {name: somepolicy, algorithm: token_bucket, rate: 10/s, burst: 10000}
"""
ITEM = re.compile(r'"[^"]*"(;[a-z]+=\d+)*')


def since_midnight_ns(text):
    hours, minutes, seconds = text.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000) * (SECOND // 1000)


class Fields(UnderOneClock):
    def test_as_the_draft_says(self):
        case, lines, day_ns = "", 0, MIDNIGHT_NS
        self.clock.set(MIDNIGHT_NS)
        with self.daemon(CONFIG, sets=("listen.http=127.0.0.1:0", "doors.idle=1h")) as daemon:
            for line in TABLE.read_text().splitlines():
                if line.startswith("#"):
                    case, day_ns = line, day_ns + DAY_NS  # a clock never goes back
                    continue
                if not line.strip():
                    continue
                at, rule, cost, status, policy, limit, retry = line.split()
                self.clock.set(day_ns + since_midnight_ns(at))
                with self.subTest(case=case, line=line), Raw(parse_address(daemon.http)) as raw:
                    answer = raw.ask(post("/check", {"rule": rule, "subject": case, "cost": int(cost)}))
                    self.assertEqual((answer.status, answer.headers["ratelimit-policy"], answer.headers["ratelimit"],
                                      answer.headers.get("retry-after", "-")), (int(status), policy, limit, retry))
                    self.assertTrue(ITEM.fullmatch(answer.headers["ratelimit"]))
                lines += 1
        self.assertGreater(lines, 10)


if __name__ == "__main__":
    unittest.main()
