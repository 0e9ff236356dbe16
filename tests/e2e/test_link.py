#!/usr/bin/env python3
"""The link to a real redis-server: each thing that an operator can get wrong is one clear line, nothing stops, and when
it is mended the link recovers by itself, with every batch applied exactly once. test_link_cluster.py has Clusters."""
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.link_feed import Feed
from lib.redis_server import RedisError, RedisServer

# proto-spec/redis.md: what the user needs on a single Redis of version 7.
RIGHTS = ["+fcall", "+function|load", "+time", "+mget", "+set", "+setrange", "+pexpire", "+incrby", "+exists", "+hgetall",
          "+hset", "+hdel"]
KEYS = "~{mete:t*"


def usage(redis, partitions=4, namespace="t"):
    return sum(int(redis.say("GET", f"{{mete:{namespace}:{p}}}usage:1") or 0) for p in range(partitions))


class Link(unittest.TestCase):
    def pump(self, feed, redis, count=20):
        """Every partition's counter was charged as often as was asked for."""
        before = usage(redis)
        feed.tell(f"pump {count}")
        feed.expect("pumped")
        self.assertEqual(usage(redis) - before, 4 * count)

    def breaks_and_heals(self, redis, feed, fault, hurt, mend, advice):
        """Charges go on over a fault that is mended later; the line says what to do."""
        feed.expect("state fine")
        self.assertEqual(feed.charge(1)[1], 1)
        hurt()
        feed.tell("charge 0 1 10")
        line = feed.expect("state " + fault)
        self.assertIn(advice, line)
        mend()
        self.assertEqual(feed.expect_all("answer", "state fine")[0].split()[5], "11")
        self.pump(feed, redis)

    def test_ways_there(self):
        with RedisServer() as redis:
            for url, database in ((redis.url, 0), (redis.url + "/3", 3), ("unix://" + redis.path, 0), (redis.path, 0),
                                  (f"redis://127.0.0.1:1,127.0.0.1:{redis.port}", 0), (f"redis://localhost:{redis.port}", 0)):
                redis.say("FLUSHALL")
                with Feed(url) as feed:
                    self.assertEqual(feed.charge(3), (3, 3, 1))
                    self.assertEqual(feed.charge(4), (0, 7, 1))
                    self.assertGreater(redis.say("DBSIZE", database=database), 0, url)
                    self.assertEqual(feed.look()["script"], 0)
                    feed.tell("leave")
                    feed.expect("left")

    def test_refused_options(self):
        for url, words in (("http://a", "redis://HOST:6379"), ("redis://a:b@c", "password_file"), ("redis://h:x", "host and port"),
                           ("redis://h/x", "database is not a number"), ("unix://" + "x" * 200, "107 bytes")):
            with Feed(url) as feed:
                self.assertIn(words, feed.expect("refused"))
        with Feed("rediss://h", ca="/nowhere/ca.pem") as feed:
            self.assertIn("/nowhere/ca.pem", feed.expect("refused"))

    def test_not_there_yet(self):
        with RedisServer() as redis:
            redis.stop()
            with Feed(redis.url) as feed:
                self.assertIn("is Redis running there", feed.expect("state unreachable"))
                redis.start()
                feed.expect("state fine")
                self.pump(feed, redis)

    def test_restarts(self):
        """Killed while it is written to, with its data kept and without: exact, and new."""
        for options in (("--appendonly", "yes", "--appendfsync", "always"), ()):
            with RedisServer(*options) as redis, Feed(redis.url) as feed:
                feed.expect("state fine")
                for _ in range(3):
                    feed.tell("pump 300")
                    time.sleep(0.02)
                    redis.kill()
                    redis.start()
                    feed.expect("pumped")
                self.assertEqual(usage(redis), 3600) if options else self.assertGreater(usage(redis), 0)
                self.assertGreater(feed.charge(1, partition=1)[2], 0)

    def test_cut_connections(self):
        with RedisServer() as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            feed.tell("pump 2000")
            for _ in range(40):
                redis.say("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                time.sleep(0.01)
            feed.expect("pumped")
            self.assertEqual(usage(redis), 8000)

    def test_password(self):
        with RedisServer() as redis, Feed(redis.url, password="secret") as feed:
            self.assertIn("password_file", feed.expect("state password"))
            redis.say("CONFIG", "SET", "requirepass", "secret")
            redis.password = "secret"
            feed.expect("state fine")
            self.pump(feed, redis)
            with Feed(redis.url, password="wrong", node=2) as other:
                other.expect("state password")
            with Feed(redis.url, node=3) as other:
                self.assertIn("NOAUTH", other.expect("state password"))

    def test_database(self):
        with RedisServer() as redis, Feed(redis.url + "/99") as feed:
            self.assertIn("/0", feed.expect("state database"))

    def make_user(self, redis, rights, keys=KEYS):
        redis.say("ACL", "SETUSER", "mete", "reset", "on", ">pw", *([keys] if keys else []), *rights)

    def test_rights_are_enough_and_minimal(self):
        """The list of proto-spec/redis.md works; with any one right less something is refused by name."""
        listed = (pathlib.Path(__file__).resolve().parents[2] / "proto-spec/redis.md").read_text(encoding="utf-8")
        self.assertIn(" ".join(RIGHTS), " ".join(listed.replace("\\\n", " ").split()))
        with RedisServer() as redis:
            self.make_user(redis, RIGHTS)
            with Feed(redis.url, user="mete", password="pw") as feed:
                feed.expect("state fine")
                feed.charge(1)
                self.pump(feed, redis, 70)
                feed.tell("leave")
                feed.expect("left")
            for right in RIGHTS + [KEYS]:
                redis.say("FLUSHALL")
                redis.say("FUNCTION", "FLUSH")
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

    def test_user_in_url(self):
        with RedisServer() as redis:
            self.make_user(redis, RIGHTS)
            with Feed(f"redis://mete@127.0.0.1:{redis.port}", password="pw") as feed:
                feed.expect("state fine")

    def test_without_functions(self):
        """Where there are no functions scripts do it; a flushed cache is filled again."""
        with RedisServer("--rename-command", "FUNCTION", "", "--rename-command", "FCALL", "") as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            self.assertEqual(feed.look()["script"], 1)
            self.pump(feed, redis)
            redis.say("SCRIPT", "FLUSH")
            self.pump(feed, redis)

    def test_function_gone(self):
        with RedisServer() as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            for _ in range(3):
                feed.tell("pump 200")
                redis.say("FUNCTION", "FLUSH")
                feed.expect("pumped")
            self.assertEqual(usage(redis), 2400)

    def test_old(self):
        renamed = [word for name in ("FUNCTION", "FCALL", "EVALSHA", "SCRIPT") for word in ("--rename-command", name, "")]
        with RedisServer(*renamed) as redis, Feed(redis.url) as feed:
            self.assertIn("Redis 5 or later", feed.expect("state old"))

    def test_memory(self):
        with RedisServer() as redis, Feed(redis.url) as feed:
            self.breaks_and_heals(redis, feed, "memory", lambda: redis.say("CONFIG", "SET", "maxmemory", "1"),
                                  lambda: redis.say("CONFIG", "SET", "maxmemory", "0"), "maxmemory")

    def test_memory_with_scripts(self):
        with RedisServer("--rename-command", "FUNCTION", "") as redis, Feed(redis.url) as feed:
            self.breaks_and_heals(redis, feed, "memory", lambda: redis.say("CONFIG", "SET", "maxmemory", "1"),
                                  lambda: redis.say("CONFIG", "SET", "maxmemory", "0"), "maxmemory")

    def test_replica(self):
        with RedisServer() as redis, Feed(redis.url) as feed:
            self.breaks_and_heals(redis, feed, "read-only", lambda: redis.say("REPLICAOF", "127.0.0.1", "1"),
                                  lambda: redis.say("REPLICAOF", "NO", "ONE"), "master")

    def test_busy(self):
        with RedisServer("--busy-reply-threshold", "20") as redis, Feed(redis.url) as feed:
            def hurt():
                def spin():
                    try:
                        redis.say("EVAL", "while true do end", "0")
                    except RedisError:
                        pass
                self.thread = threading.Thread(target=spin)
                self.thread.start()

            def mend():
                redis.say("SCRIPT", "KILL")
                self.thread.join()

            self.breaks_and_heals(redis, feed, "busy", hurt, mend, "SCRIPT KILL")

    def test_loading(self):
        with RedisServer("--loading-process-events-interval-bytes", "1024") as redis:
            redis.say("DEBUG", "POPULATE", "20000") if self.has_debug(redis) else [
                redis.say("EVAL", "for i=1,20000 do redis.call('SET', 'key:'..i, 'value:'..i) end", "0")]
            redis.say("SAVE")
            redis.kill()
            redis.options += ("--key-load-delay", "150")
            with Feed(redis.url) as feed:
                redis.start(wait=False)
                feed.expect("state loading")
                feed.expect("state fine")
                redis.say("CONFIG", "SET", "key-load-delay", "0")
                self.pump(feed, redis)

    def has_debug(self, redis):
        try:
            return bool(redis.say("DEBUG", "JMAP") and False)
        except RedisError:
            return False

    def test_foreign_keys(self):
        """What another program keeps under a name of ours is left as it is, said, and does not stop the other keys."""
        with RedisServer() as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            feed.charge(1)
            names = redis.say("KEYS", "{mete:t:0}*")
            cell = next(name for name in names if b"node:" not in name and b"usage:" not in name)
            for make in (("LPUSH", cell, "theirs"), ("SET", cell, "theirs")):
                kept = self.put(redis, *make)
                feed.tell("charge 0 1 1")
                self.assertIn("another `namespace`", feed.expect_all("state foreign", "answer")[0])
                self.assertEqual(redis.say("DUMP", cell), kept)
                redis.say("DEL", cell)
                feed.expect("state fine")

    def test_foreign_records(self):
        """A batch that would have to write over another's record is not applied at all until that is gone."""
        with RedisServer() as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            for make in (("LPUSH", "{mete:t:0}node:1", "theirs"), ("SET", "{mete:t:0}node:1", "theirs"),
                         ("LPUSH", "{mete:t:0}usage:1", "theirs"), ("SET", "{mete:t:0}usage:1", "theirs")):
                kept = self.put(redis, *make)
                feed.tell("charge 0 1 1")
                self.assertIn(make[1], feed.expect("state foreign", but="answer"))
                self.assertEqual(redis.say("DUMP", make[1]), kept)
                redis.say("DEL", make[1])
                feed.expect_all("answer", "state fine")

    def put(self, redis, command, name, value):
        redis.say("DEL", name)
        redis.say(command, name, value)
        return redis.say("DUMP", name)

    def test_foreign_namespace(self):
        with RedisServer() as redis:
            redis.say("SET", "{mete:t}", "theirs")
            with Feed(redis.url) as feed:
                self.assertIn("another `namespace`", feed.expect("state foreign"))
                self.assertEqual(redis.say("GET", "{mete:t}"), b"theirs")
                redis.say("DEL", "{mete:t}")
                feed.expect("state fine")

    def test_node_id_twice(self):
        with RedisServer() as redis, Feed(redis.url) as first:
            first.expect("state fine")
            with Feed(redis.url) as second:
                self.assertIn("node id 1", second.expect("state taken"))
                second.expect("taken")
                second.tell("node 2")
                second.expect("state fine")
                self.assertEqual(second.charge(1)[2], 2)
                second.tell("leave")
                second.expect("left")
            first.expect("state fine") if False else self.assertEqual(first.charge(1, key=5)[1], 1)

    def test_killed_and_started_again(self):
        """The id of a killed process is free again by itself; that of one that left, at once."""
        with RedisServer() as redis:
            with Feed(redis.url) as feed:
                feed.expect("state fine")
                feed.kill()
                feed.process.returncode = 0
            with Feed(redis.url) as feed:
                feed.expect("state fine", but="taken")
                feed.tell("leave")
                feed.expect("left")
            self.assertEqual(redis.say("HGETALL", "{mete:t}"), [b"partitions", b"4"])
            with Feed(redis.url) as feed:
                feed.expect("state fine", but="taken")

    def test_two_versions(self):
        with RedisServer() as redis:
            seconds, micros = redis.say("TIME")
            redis.say("HSET", "{mete:t}", "node:63", "b 0123456789abcdef %d" % (int(seconds) * 1000000 + int(micros)))
            with Feed(redis.url) as feed:
                line = feed.expect("state mixed")
                self.assertIn("63 0123456789abcdef", line)
                self.assertIn("upgrade", line)
                self.assertEqual(feed.charge(1), (3, 1, 2))
                feed.expect("state fine")
                self.assertEqual(len(redis.say("FUNCTION", "LIST")), 1)

    def test_partitions_differ(self):
        with RedisServer() as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            with Feed(redis.url, partitions=8, node=2) as other:
                line = other.expect("state partitions")
                self.assertIn("4 there, 8 here", line)
                self.assertIn("redis.partitions", line)

    def test_silence(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with Feed("redis://127.0.0.1:%d" % listener.getsockname()[1], timeout=100) as feed:
                self.assertIn("no answer for 100 ms", feed.expect("state unreachable"))

    def test_not_redis(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def answer():
                try:
                    while True:
                        with listener.accept()[0] as peer:
                            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                            peer.recv(100000)
                except OSError:
                    pass
            thread = threading.Thread(target=answer)
            thread.start()
            with Feed("redis://127.0.0.1:%d" % listener.getsockname()[1]) as feed:
                self.assertIn("is not Redis", feed.expect("state garbage"))
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

    def test_expiry(self):
        """Every key expires; a bucket's after its debt is gone, and then all of it leaves by itself."""
        with RedisServer() as redis, Feed(redis.url) as feed:
            feed.tell("bucket 0 9 2000000 5000000 1000")
            feed.expect("answer")
            feed.charge(1)
            times = {name: redis.say("PTTL", name) for name in redis.say("KEYS", "*")}
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
        with RedisServer(tls=self.files) as redis:
            for host in ("127.0.0.1", "localhost"):
                with Feed(f"rediss://{host}:{redis.tls_port}", ca=self.folder + "/ca.pem") as feed:
                    feed.expect("state fine")
                    feed.tell("pump 300")
                    feed.expect("pumped")
                    feed.tell("leave")
                    feed.expect("left")
            self.assertEqual(usage(redis), 1200)

    def test_wrong_authority(self):
        with RedisServer(tls=self.files) as redis:
            with Feed(f"rediss://127.0.0.1:{redis.tls_port}", ca=self.folder + "/other.pem") as feed:
                line = feed.expect("state insecure")
                self.assertIn("certificate", line)
                self.assertIn("redis.ca_file", line)

    def test_wrong_host(self):
        with RedisServer(tls=self.files) as redis:
            with Feed(f"rediss://127.0.0.2:{redis.tls_port}", ca=self.folder + "/ca.pem") as feed:
                feed.expect("state unreachable")
            redis.say("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
            with Feed(f"rediss://127.0.0.2:{redis.tls_port}", ca=self.folder + "/ca.pem") as feed:
                self.assertIn("mismatch", feed.expect("state insecure"))

    def test_plain_port(self):
        with RedisServer() as redis, Feed(f"rediss://127.0.0.1:{redis.port}", ca=self.folder + "/ca.pem") as feed:
            feed.expect("state insecure")

    def test_client_certificate(self):
        with RedisServer("--tls-auth-clients", "yes", tls=self.files) as redis:
            url = f"rediss://127.0.0.1:{redis.tls_port}"
            with Feed(url, ca=self.folder + "/ca.pem", cert=self.folder + "/redis.pem", key=self.folder + "/redis.key") as feed:
                feed.expect("state fine")
                feed.tell("leave")
                feed.expect("left")
            with Feed(url, ca=self.folder + "/ca.pem") as feed:
                feed.expect("state insecure")


if __name__ == "__main__":
    unittest.main()
