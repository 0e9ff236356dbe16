#!/usr/bin/env python3
"""The link to a real redis-server: the ways there, TLS, the rights it needs, connections that break, functions that are gone;
every batch is applied exactly once. test_link_faults.py has what operators get wrong, test_link_cluster.py Clusters."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.link_feed import Feed
from lib.stores import Redis

# proto-spec/redis.md: what the user needs on a single Redis of version 7.
RIGHTS = ["+fcall", "+function|load", "+time", "+mget", "+set", "+setrange", "+pexpire", "+incrby", "+exists", "+hgetall",
          "+hset", "+hdel"]
KEYS = "~{mete:t*"


class Link(unittest.TestCase):
    def pump(self, feed, redis, count=20):
        """Every partition's counter was charged as often as was asked for."""
        before = redis.usage()
        feed.tell(f"pump {count}")
        feed.expect("pumped")
        self.assertEqual(redis.usage() - before, 4 * count)

    def test_ways_there(self):
        with Redis(keeps=False) as redis:
            for url, database in ((redis.url, 0), (redis.url + "/3", 3), ("unix://" + redis.path, 0),
                                  (f"redis://127.0.0.1:1,127.0.0.1:{redis.port}", 0), (f"redis://localhost:{redis.port}", 0)):
                redis.command("FLUSHALL")
                with Feed(url) as feed:
                    self.assertEqual(feed.charge(3), (3, 3, 1))
                    self.assertEqual(feed.charge(4), (0, 7, 1))
                    self.assertGreater(redis.command("DBSIZE", database=database), 0, url)
                    self.assertEqual(feed.look()["script"], 0)
                    feed.tell("leave")
                    feed.expect("left")

    def test_refused_options(self):
        for url, words in (("http://a", "redis://HOST:PORT"), ("redis://a:b@c", "password_file"), ("redis://h:x", "port that is not"),
                           ("redis://h/x", "database that is not a number"), ("unix://" + "x" * 200, "107 bytes")):
            with Feed(url) as feed:
                self.assertIn(words, feed.expect("refused"))
        with Feed("rediss://h", ca="/nowhere/ca.pem") as feed:
            self.assertIn("/nowhere/ca.pem", feed.expect("refused"))

    def test_not_there_yet(self):
        with Redis(keeps=False) as redis:
            redis.stop()
            with Feed(redis.url) as feed:
                self.assertIn("is Redis running there", feed.expect("state unreachable"))
                redis.start()
                feed.expect("state fine")
                self.pump(feed, redis)

    def test_a_silent_name_server(self):
        """The first host is a name that nobody answers for: after a second the next one is tried."""
        with Redis(keeps=False) as redis, Feed(f"redis://away.silent:1,127.0.0.1:{redis.port}") as feed:
            feed.expect("state fine")
            self.pump(feed, redis)

    def test_restarts(self):
        """Killed while it is written to, with its data kept and without: exact, and new."""
        for options in (("--appendonly", "yes", "--appendfsync", "always"), ()):
            with Redis(*options, keeps=False) as redis, Feed(redis.url) as feed:
                feed.expect("state fine")
                for _ in range(3):
                    feed.tell("pump 300")
                    time.sleep(0.02)
                    redis.kill()
                    redis.start()
                    feed.expect("pumped")
                self.assertEqual(redis.usage(), 3600) if options else self.assertGreater(redis.usage(), 0)
                self.assertGreater(feed.charge(1, partition=1)[2], 0)

    def test_cut_connections(self):
        with Redis(keeps=False) as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            feed.tell("pump 2000")
            for _ in range(40):
                redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                time.sleep(0.01)
            feed.expect("pumped")
            self.assertEqual(redis.usage(), 8000)

    def make_user(self, redis, rights, keys=KEYS):
        redis.command("ACL", "SETUSER", "mete", "reset", "on", ">pw", *([keys] if keys else []), *rights)

    def test_rights_are_enough_and_minimal(self):
        """The list of proto-spec/redis.md works; with any one right less something is refused by name."""
        listed = (pathlib.Path(__file__).resolve().parents[2] / "proto-spec/redis.md").read_text(encoding="utf-8")
        self.assertIn(" ".join(RIGHTS), " ".join(listed.replace("\\\n", " ").split()))
        with Redis(keeps=False) as redis:
            self.make_user(redis, RIGHTS)
            with Feed(redis.url, user="mete", password="pw") as feed:
                feed.expect("state fine")
                feed.charge(1)
                self.pump(feed, redis, 70)
                feed.tell("leave")
                feed.expect("left")
            for right in RIGHTS + [KEYS]:
                redis.command("FLUSHALL")
                redis.command("FUNCTION", "FLUSH")
                with self.subTest(right=right):
                    less = [other for other in RIGHTS if other != right]
                    self.make_user(redis, less, None if right == KEYS else KEYS)
                    with Feed(redis.url, user="mete", password="pw") as feed:
                        line = feed.expect("state rights")
                        self.assertIn("proto-spec/redis.md", line)
                        if right not in (KEYS, "+fcall"):
                            self.assertIn(right[1:], line)
                        feed.tell("charge 0 1 1")
                        self.make_user(redis, RIGHTS)
                        feed.expect_all("answer", "state fine")

    def test_rights_without_functions(self):
        with Redis("--rename-command", "FUNCTION", "", "--rename-command", "FCALL", "", keeps=False) as redis:
            self.make_user(redis, ["+evalsha", "+script|load"] + RIGHTS[2:])
            with Feed(redis.url, user="mete", password="pw") as feed:
                feed.expect("state fine")
                self.pump(feed, redis, 70)

    def test_without_functions(self):
        """Where there are no functions scripts do it; a flushed cache is filled again."""
        with Redis("--rename-command", "FUNCTION", "", "--rename-command", "FCALL", "", keeps=False) as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            self.assertEqual(feed.look()["script"], 1)
            self.pump(feed, redis)
            redis.command("SCRIPT", "FLUSH")
            self.pump(feed, redis)

    def test_function_gone(self):
        with Redis(keeps=False) as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            for _ in range(3):
                feed.tell("pump 200")
                redis.command("FUNCTION", "FLUSH")
                feed.expect("pumped")
            self.assertEqual(redis.usage(), 2400)

    def test_killed_and_started_again(self):
        """The id of a killed process is free again by itself; that of one that left, at once."""
        with Redis(keeps=False) as redis:
            with Feed(redis.url) as feed:
                feed.expect("state fine")
                feed.kill()
                feed.process.returncode = 0
            with Feed(redis.url) as feed:
                feed.expect("state fine", but="taken")
                feed.tell("leave")
                feed.expect("left")
            self.assertEqual(redis.command("HGETALL", "{mete:t}"), [b"partitions", b"4"])
            with Feed(redis.url) as feed:
                feed.expect("state fine", but="taken")

    def test_expiry(self):
        """Every key expires; a bucket's after its debt is gone, and then all of it leaves by itself."""
        with Redis(keeps=False) as redis, Feed(redis.url) as feed:
            feed.tell("bucket 0 9 2000000 5000000 1000")
            feed.expect("answer")
            feed.charge(1)
            times = {name: redis.command("PTTL", name) for name in redis.command("KEYS", "*")}
            for name, left in times.items():
                self.assertGreater(left, 0, name)
            cells = sorted(left for name, left in times.items() if b"}" in name[:-20] and b":1" not in name[-3:])
            self.assertGreater(cells[0], 2500)
            self.assertLess(cells[0], 6000)
            for _ in range(3):
                feed.tell("bucket 0 9 0 5000000 1000")
                feed.expect("answer")


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="mete-tls-")
        for name in ("ca", "other"):
            cls.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                        f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        with open(cls.folder + "/san", "w", encoding="utf-8") as file:
            file.write("subjectAltName=IP:127.0.0.1,DNS:localhost")
        cls.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=redis", "-keyout",
                    "redis.key", "-out", "redis.csr")
        cls.openssl("x509", "-req", "-in", "redis.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                    "-extfile", "san", "-out", "redis.pem")
        cls.files = {"cert-file": cls.folder + "/redis.pem", "key-file": cls.folder + "/redis.key",
                     "ca-cert-file": cls.folder + "/ca.pem"}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def openssl(cls, *words):
        subprocess.run(["openssl", *words], cwd=cls.folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    def test_tls(self):
        with Redis(tls=self.files, keeps=False) as redis:
            for host in ("127.0.0.1", "localhost"):
                with Feed(f"rediss://{host}:{redis.tls_port}", ca=self.folder + "/ca.pem") as feed:
                    feed.expect("state fine")
                    feed.tell("pump 300")
                    feed.expect("pumped")
                    feed.tell("leave")
                    feed.expect("left")
            self.assertEqual(redis.usage(), 1200)

    def test_wrong_authority(self):
        with Redis(tls=self.files, keeps=False) as redis:
            with Feed(f"rediss://127.0.0.1:{redis.tls_port}", ca=self.folder + "/other.pem") as feed:
                line = feed.expect("state insecure")
                self.assertIn("certificate", line)
                self.assertIn("redis.ca_file", line)

    def test_wrong_host(self):
        with Redis(tls=self.files, keeps=False) as redis:
            with Feed(f"rediss://127.0.0.2:{redis.tls_port}", ca=self.folder + "/ca.pem") as feed:
                feed.expect("state unreachable")
            redis.command("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
            with Feed(f"rediss://127.0.0.2:{redis.tls_port}", ca=self.folder + "/ca.pem") as feed:
                self.assertIn("mismatch", feed.expect("state insecure"))

    def test_plain_port(self):
        with Redis(keeps=False) as redis, Feed(f"rediss://127.0.0.1:{redis.port}", ca=self.folder + "/ca.pem") as feed:
            feed.expect("state insecure")

    def test_client_certificate(self):
        with Redis("--tls-auth-clients", "yes", tls=self.files, keeps=False) as redis:
            url = f"rediss://127.0.0.1:{redis.tls_port}"
            with Feed(url, ca=self.folder + "/ca.pem", cert=self.folder + "/redis.pem", key=self.folder + "/redis.key") as feed:
                feed.expect("state fine")
                feed.tell("leave")
                feed.expect("left")
            with Feed(url, ca=self.folder + "/ca.pem") as feed:
                feed.expect("state insecure")


if __name__ == "__main__":
    unittest.main()
