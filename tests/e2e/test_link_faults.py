#!/usr/bin/env python3
"""What an operator can get wrong with Redis: each is one clear line, nothing stops, and when it is mended the link goes on
by itself, with every batch applied exactly once."""
import pathlib
import socket
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.link_feed import Feed
from lib.stores import Redis, RedisError


class LinkFaults(unittest.TestCase):
    def pump(self, feed, redis, count=20):
        """Every partition's counter was charged as often as was asked for."""
        before = redis.usage()
        feed.tell(f"pump {count}")
        feed.expect("pumped")
        self.assertEqual(redis.usage() - before, 4 * count)

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

    def test_password(self):
        with Redis(keeps=False) as redis, Feed(redis.url, password="secret") as feed:
            self.assertIn("password_file", feed.expect("state password"))
            redis.command("CONFIG", "SET", "requirepass", "secret")
            redis.password = "secret"
            feed.expect("state fine")
            self.pump(feed, redis)
            with Feed(redis.url, password="wrong", node=2) as other:
                other.expect("state password")
            with Feed(redis.url, node=3) as other:
                self.assertIn("NOAUTH", other.expect("state password"))

    def test_database(self):
        with Redis(keeps=False) as redis, Feed(redis.url + "/99") as feed:
            self.assertIn("/0", feed.expect("state database"))

    def test_old(self):
        renamed = [word for name in ("FUNCTION", "FCALL", "EVALSHA", "SCRIPT") for word in ("--rename-command", name, "")]
        with Redis(*renamed, keeps=False) as redis, Feed(redis.url) as feed:
            self.assertIn("Redis 5 or later", feed.expect("state old"))

    def test_memory(self):
        with Redis(keeps=False) as redis, Feed(redis.url) as feed:
            self.breaks_and_heals(redis, feed, "memory", lambda: redis.command("CONFIG", "SET", "maxmemory", "1"),
                                  lambda: redis.command("CONFIG", "SET", "maxmemory", "0"), "maxmemory")

    def test_memory_with_scripts(self):
        with Redis("--rename-command", "FUNCTION", "", keeps=False) as redis, Feed(redis.url) as feed:
            self.breaks_and_heals(redis, feed, "memory", lambda: redis.command("CONFIG", "SET", "maxmemory", "1"),
                                  lambda: redis.command("CONFIG", "SET", "maxmemory", "0"), "maxmemory")

    def test_replica(self):
        with Redis(keeps=False) as redis, Feed(redis.url) as feed:
            self.breaks_and_heals(redis, feed, "read-only", lambda: redis.command("REPLICAOF", "127.0.0.1", "1"),
                                  lambda: redis.command("REPLICAOF", "NO", "ONE"), "master")

    def test_busy(self):
        with Redis("--busy-reply-threshold", "20", keeps=False) as redis, Feed(redis.url) as feed:
            def hurt():
                def spin():
                    try:
                        redis.command("EVAL", "while true do end", "0")
                    except RedisError:
                        pass
                self.thread = threading.Thread(target=spin)
                self.thread.start()
                while True:  # until it says so: what is charged before is answered before
                    try:
                        redis.command("PING")
                    except RedisError:
                        break

            def mend():
                redis.command("SCRIPT", "KILL")
                self.thread.join()

            self.breaks_and_heals(redis, feed, "busy", hurt, mend, "SCRIPT KILL")

    def test_loading(self):
        with Redis("--loading-process-events-interval-bytes", "1024", keeps=False) as redis:
            redis.command("EVAL", "for i=1,20000 do redis.call('SET', 'key:'..i, 'value:'..i) end", "0")
            redis.command("SAVE")
            redis.kill()
            redis.options += ("--key-load-delay", "50")
            with Feed(redis.url) as feed:
                redis.start(wait=False)
                feed.expect("state loading")
                feed.expect("state fine")
                redis.command("CONFIG", "SET", "key-load-delay", "0")
                self.pump(feed, redis)

    def test_foreign_keys(self):
        """What another program keeps under a name of ours is left as it is, said, and does not stop the other keys."""
        with Redis(keeps=False) as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            feed.charge(1)
            names = redis.command("KEYS", "{mete:t:0}*")
            cell = next(name for name in names if b"node:" not in name and b"usage:" not in name)
            for make in (("LPUSH", cell, "theirs"), ("SET", cell, "theirs")):
                kept = self.put(redis, *make)
                feed.tell("charge 0 1 1")
                self.assertIn("another `namespace`", feed.expect_all("state foreign", "answer")[0])
                self.assertEqual(redis.command("DUMP", cell), kept)
                redis.command("DEL", cell)
                feed.expect("state fine")

    def test_foreign_records(self):
        """A batch that would have to write over another's record is not applied at all until that is gone."""
        with Redis(keeps=False) as redis, Feed(redis.url) as feed:
            feed.expect("state fine")
            for make in (("LPUSH", "{mete:t:0}node:1", "theirs"), ("SET", "{mete:t:0}node:1", "theirs"),
                         ("LPUSH", "{mete:t:0}usage:1", "theirs"), ("SET", "{mete:t:0}usage:1", "theirs")):
                kept = self.put(redis, *make)
                feed.tell("charge 0 1 1")
                self.assertIn(make[1], feed.expect("state foreign", but="answer"))
                self.assertEqual(redis.command("DUMP", make[1]), kept)
                redis.command("DEL", make[1])
                feed.expect_all("answer", "state fine")

    def put(self, redis, command, name, value):
        redis.command("DEL", name)
        redis.command(command, name, value)
        return redis.command("DUMP", name)

    def test_foreign_namespace(self):
        with Redis(keeps=False) as redis:
            redis.command("SET", "{mete:t}", "theirs")
            with Feed(redis.url) as feed:
                self.assertIn("another `namespace`", feed.expect("state foreign"))
                self.assertEqual(redis.command("GET", "{mete:t}"), b"theirs")
                redis.command("DEL", "{mete:t}")
                feed.expect("state fine")

    def test_node_id_twice(self):
        with Redis(keeps=False) as redis, Feed(redis.url) as first:
            first.expect("state fine")
            with Feed(redis.url) as second:
                self.assertIn("node id 1", second.expect("state taken"))
                second.expect("taken")
                second.tell("node 2")
                second.expect("state fine")
                self.assertEqual(second.charge(1)[2], 2)
                second.tell("leave")
                second.expect("left")
            self.assertEqual(first.charge(1, key=5)[1], 1)

    def test_two_versions(self):
        with Redis(keeps=False) as redis:
            seconds, micros = redis.command("TIME")
            redis.command("HSET", "{mete:t}", "node:63", "b 0123456789abcdef %d" % (int(seconds) * 1000000 + int(micros)))
            with Feed(redis.url) as feed:
                line = feed.expect("state mixed")
                self.assertIn("63 0123456789abcdef", line)
                self.assertIn("upgrade", line)
                self.assertEqual(feed.charge(1), (3, 1, 2))
                feed.expect("state fine")
                self.assertEqual(len(redis.command("FUNCTION", "LIST")), 1)

    def test_partitions_differ(self):
        with Redis(keeps=False) as redis, Feed(redis.url) as feed:
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


if __name__ == "__main__":
    unittest.main()
