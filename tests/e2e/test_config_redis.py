#!/usr/bin/env python3
"""How rules are shared, in the configuration: what is refused and with which words, what the default
is, what `show` prints and accepts again, what a reload changes live. No Redis is needed.
$METE_BUILD says where the binary lies, else build/check."""
import os
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
METE = os.path.join(ROOT, os.environ.get("METE_BUILD") or os.path.join("build", "check"), "mete")
TENANT = "tenants: [{name: a, rules: []}]\n"
REDIS = "redis: {url: 'redis://h', %s}\n"
R = "tenants[0].rules[0]"


def rule(text):
    """A file whose third line is a rule with these fields."""
    return "tenants:\n  - {name: a, rules: [\n    {name: r, " + text + "}]}\n"


BROKEN = [  # what, file, line, field, words
    ("scheme", TENANT + "redis:\n  url: http://127.0.0.1\n", 3, "redis.url", "rediss://HOST"),
    ("port", "redis: {url: 'redis://h:0'}\n" + TENANT, 1, "redis.url", "port that is not"),
    ("second port", "redis: {url: 'redis://h:1,i:x'}\n" + TENANT, 1, "redis.url", "port that is"),
    ("host", "redis: {url: 'redis://:1'}\n" + TENANT, 1, "redis.url", "has no host"),
    ("bracket", "redis: {url: 'redis://[::1'}\n" + TENANT, 1, "redis.url", "has no host"),
    ("database", "redis: {url: 'redis://h/x'}\n" + TENANT, 1, "redis.url", "from 0 to 65535"),
    ("socket", "redis: {url: 'unix://run/x'}\n" + TENANT, 1, "redis.url", "absolute path"),
    ("password", "redis: {url: 'redis://u:p@h'}\n" + TENANT, 1, "redis.url",
     "redis.password_file"),
    ("flush", "redis: {flush: 10us}\n" + TENANT, 1, "redis.flush", "from 1ms to 1s"),
    ("id", "redis: {node_id: 0}\n" + TENANT, 1, "redis.node_id", "from 1 to"),
    ("rows", "redis: {rows: 5}\n" + TENANT, 1, "redis.rows", "from 1024 to"),
    ("field", "redis: {uri: 'redis://h'}\n" + TENANT, 1, "redis.uri", "'url'"),
    ("long user", f"redis: {{user: {'u' * 65}}}\n" + TENANT, 1, "redis.user", "longer than"),
    ("user alone", REDIS % "user: u" + TENANT, 0, "redis.user", "redis.password_file"),
    ("no TLS", REDIS % "ca_file: x" + TENANT, 0, "redis.ca_file", "rediss://"),
    ("no store", rule("algorithm: token_bucket, rate: 1/s, sync: exact"), 3, R + ".sync",
     "set redis.url"),
    ("exact queue", rule("algorithm: leaky_bucket, mode: queue, rate: 1/s, sync: exact"), 3,
     R + ".sync", "shared and local"),
    ("exact burst", rule("algorithm: token_bucket, rate: 300000/s, sync: exact"), 3, R + ".sync",
     "at most 262143 units"),
    ("exact override", REDIS % "flush: 5ms" +
     rule("algorithm: token_bucket, rate: 1/s, sync: exact, overrides: [{subject: big, rate: 300000/s}]"), 4, R + ".overrides",
     "big: at most 262143 units"),
    ("slots", rule("algorithm: concurrency, limit: 3, lease: 1s, sync: shared"), 3, R + ".sync",
     "only local"),
    ("local loss", rule("algorithm: token_bucket, rate: 1/s, sync: local, on_backend_loss: deny"),
     3, R + ".on_backend_loss", "only a rule that nodes share"),
]

GOOD = """redis: {url: "rediss://[::1]:7000,h/0", flush: 7ms, node_id: 9, rows: 2048, ca_file: /x/ca}
tiers:
  t: {rules: [{name: inherited, algorithm: fixed_window, limit: 5/60s}]}
tenants:
  - name: a
    tier: t
    rules:
      - {name: shared, algorithm: token_bucket, rate: 1/s, overrides: [{subject: s, rate: 2/s}]}
      - {name: exact, algorithm: sliding_window, limit: 5/60s, sync: exact}
      - {name: own, algorithm: token_bucket, rate: 1/s, sync: local}
      - {name: full, algorithm: token_bucket, rate: 1/s, on_backend_loss: full}
      - {name: slots, algorithm: concurrency, limit: 3, lease: 1s}
"""


class ConfigRedis(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, text, name="mete.yaml"):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        return path

    def run_mete(self, *arguments):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("METE_")}
        return subprocess.run([METE, "config", *arguments], capture_output=True, timeout=20,
                              env=clean, check=False, encoding="ascii")

    def test_broken_files(self):
        for what, text, line, field, words in BROKEN:
            with self.subTest(what):
                path = self.file(text)
                done = self.run_mete("check", path)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done)
                start = "%s%s: %s: " % (path, ":%d" % line if line else "", field)
                self.assertEqual(done.stderr[:len(start)], start)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1)

    def test_what_is_shown_means_the_same(self):
        shown = self.run_mete("show", "--config", self.file(GOOD)).stdout
        again = self.run_mete("show", "--config", self.file(shown, "again.yaml")).stdout
        self.assertEqual(shown, again)
        for name, words in (("shared", "sync: shared, on_backend_loss: share"),
                            ("inherited", "sync: shared, on_backend_loss: share"),
                            ("exact", "sync: exact, on_backend_loss: deny"),
                            ("own", "sync: local"), ("full", "sync: shared, on_backend_loss: full"),
                            ("slots", "lease: 1s}")):
            line = [line for line in shown.splitlines() if "name: %s," % name in line][0]
            self.assertIn(words, line)
        self.assertIn("flush: 7ms", shown)

    def test_what_is_live(self):
        other = GOOD.replace("flush: 7ms", "flush: 9ms").replace("rows: 2048", "rows: 4096")
        other = other.replace("limit: 5/60s, sync: exact", "limit: 5/60s")
        other = other.replace("flush: 9ms", "flush: 9ms, exact_wait: 30ms")
        done = self.run_mete("diff", self.file(other, "other.yaml"), "--config", self.file(GOOD))
        self.assertIn("redis.flush: 7ms -> 9ms\n", done.stdout)
        self.assertIn("redis.rows: 2048 -> 4096, needs a restart\n", done.stdout)
        self.assertIn("redis.exact_wait: 20ms -> 30ms, needs a restart\n", done.stdout)
        self.assertIn("rule a/exact: sync exact, on_backend_loss deny -> shared, share, "
                      "starts fresh\n", done.stdout)


if __name__ == "__main__":
    unittest.main()
