#!/usr/bin/env python3
"""The RESP door of the real daemon: raw sockets, redis-cli and redis-py; the same buckets as over UDP; limits and garbage."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.append("/usr/lib/python3/dist-packages")  # where Debian's python3-redis is, whichever python3 runs this
from lib.daemon import PATIENCE_S, Daemon, mete, parse_address, refuse  # noqa: E402
from lib.resp import Error, Resp  # noqa: E402

ON = ("listen.resp=127.0.0.1:0",)
HASH = lambda key: hashlib.sha256(key.encode()).hexdigest()  # noqa: E731
KEYS = f"""
tenants:
  - name: default
    rules: [{{name: demo, algorithm: token_bucket, rate: 1/d, burst: 10}}]
    api_keys: [{{name: k, sha256: {HASH("default-key")}, may: [check]}}]
  - name: acme
    rules: [{{name: demo, algorithm: token_bucket, rate: 1/d, burst: 5}}]
    api_keys:
      - {{name: asks, sha256: {HASH("asks")}, may: check}}
      - {{name: keeps, sha256: {HASH("keeps")}, may: [check, manage]}}
      - {{name: only, sha256: {HASH("only")}, may: manage}}
"""
SLOW = """
tenants:
  - name: default
    rules:
      - {name: demo, algorithm: token_bucket, rate: 1/d, burst: 10}
      - {name: window, algorithm: fixed_window, limit: 3/1d}
      - {name: never, algorithm: deny}
"""


def connect(daemon):
    return Resp(parse_address(daemon.resp))


class Commands(unittest.TestCase):
    def test_throttle_as_redis_cell(self):
        with Daemon(sets=ON) as daemon, connect(daemon) as resp:
            self.assertEqual(resp.ask("CL.THROTTLE", "user123", 15, 30, 60), [0, 16, 15, -1, 2])
            self.assertEqual(resp.ask("cl.throttle", "user123", 15, 30, 60, 0), [0, 16, 15, -1, 2])
            self.assertEqual(resp.ask("CL.THROTTLE", "user123", 15, 30, 60, 17), [1, 16, 15, -1, 2])
            self.assertEqual(resp.ask("CL.THROTTLE", "user123", 15, 30, 60, 16), [1, 16, 15, 2, 2])
            self.assertEqual(resp.ask("CL.THROTTLE", "slow", 0, 1, 1000), [0, 1, 0, -1, 1000])
            self.assertEqual(resp.ask("CL.THROTTLE", "slow", 0, 1, 1000), [1, 1, 0, 1000, 1000])
            # a raised limit on the live key has room at once, a lowered one believes the debt
            self.assertEqual(resp.ask("CL.THROTTLE", "slow", 4, 1, 1000), [0, 5, 3, -1, 2000])
            self.assertEqual(resp.ask("CL.THROTTLE", "slow", 0, 1, 1000), [1, 1, 0, 2000, 2000])
            self.assertEqual(resp.ask("CL.THROTTLE", "slow", 0, 1, 1000, 0), [1, 1, 0, 1000, 2000])
            self.assertEqual(resp.ask("THROTTLE", "user:123", 10, 100, 100), [1, 10, 9, 1, 0])

    def test_insane_throttles_have_no_effect(self):
        words = (("-1", 1, 1), (1, 0, 1), (1, 1, 0), (1, -1, 1), (1, 1, -1), ("x", 1, 1), (1, "1.5", 1), (1, 1, ""),
                 (1, 1, 1, -1), (1, 1, 1, "nan"), ("4294967295", 1, 1), ("9223372036854775807", 1, 1), (1, "2000000001", 1),
                 ("18446744073709551617", 1, 1), (1, 1, "9223372036854775807"), (1, 1, 1, "99999999999999999999"),
                 (1, 1, 100000, "9223372036854775807"), (4000000000, 1, 100000))
        with Daemon(sets=ON) as daemon, connect(daemon) as resp:
            for command in ("CL.THROTTLE", "THROTTLE"):
                for case in words:
                    with self.subTest(command=command, words=case):
                        answer = resp.ask(command, "k", *case)
                        self.assertIsInstance(answer, Error)
                        self.assertTrue(answer.startswith(f"ERR {command.lower()}: "), answer)
                for case in ((), (1,), (1, 2), (1, 2, 3, 4, 5)):
                    answer = resp.ask(command, "k", *case)
                    self.assertTrue(answer.startswith(f"ERR wrong number of arguments; usage: {command} key"), answer)
            self.assertEqual(resp.ask("CL.THROTTLE", "k", 1, 1, 1000, 0), [0, 2, 2, -1, 0])
            self.assertEqual(daemon.stats()["table"]["live"], 0)

    def test_rules(self):
        with Daemon(SLOW, ON) as daemon, connect(daemon) as resp:
            allowed, remaining, retry, reset, status = resp.ask("METE.CHECK", "demo", "a", 4)
            self.assertEqual((allowed, remaining, retry, status), (1, 6, 0, b"ok"))
            self.assertTrue(4 * 86400000 - 60000 < reset <= 4 * 86400000, reset)
            self.assertEqual(resp.ask("METE.PEEK", "demo", "a")[:2], [1, 6])
            self.assertEqual(resp.ask("METE.CHECK", "demo", "a", 7)[:2], [0, 6])
            self.assertEqual(resp.ask("METE.CHECK", "demo", "a", 11)[:3], [0, 6, -1])
            self.assertEqual(resp.ask("METE.REFUND", "demo", "a", 3)[:2], [1, 9])
            self.assertEqual(resp.ask("METE.RESET", "demo", "a")[:4], [1, 10, 0, 0])
            for left in (2, 1, 0):
                self.assertEqual(resp.ask("METE.CHECK", "window", "w")[:2], [1, left])
            self.assertEqual(resp.ask("METE.CHECK", "window", "w")[:2], [0, 0])
            self.assertEqual(resp.ask("METE.CHECK", "never", "w"), [0, 0, -1, 0, b"ok"])
            self.assertEqual(resp.ask("METE.CHECK", "no-such", "w")[0::4], [0, b"unknown_rule"])
            for cost in ("-1", "4294967296", "1e3", ""):
                self.assertTrue(resp.ask("METE.CHECK", "demo", "a", cost).startswith("ERR cost is not"))

    def test_leases(self):
        config = SLOW + "      - {name: jobs, algorithm: concurrency, limit: 2, lease: 60s}\n"
        most = 2**64 - 1
        with Daemon(config, ON) as daemon, connect(daemon) as resp:
            self.assertEqual(resp.ask("METE.ACQUIRE", "jobs", "s", 7)[:3], [1, 1, 0])
            self.assertEqual(resp.ask("METE.ACQUIRE", "jobs", "s", 7)[:3], [1, 1, 0])
            self.assertEqual(resp.ask("METE.ACQUIRE", "jobs", "s", most, 2)[:2], [0, 1])
            self.assertEqual(resp.ask("METE.ACQUIRE", "jobs", "s", most)[:2], [1, 0])
            self.assertEqual(resp.ask("METE.RENEW", "jobs", "s", 7)[0], 1)
            self.assertEqual(resp.ask("METE.RELEASE", "jobs", "s", 7)[:2], [1, 1])
            self.assertEqual(resp.ask("METE.RELEASE", "jobs", "s", 7)[0::4], [0, b"unknown_lease"])
            self.assertEqual(resp.ask("METE.CHECK", "jobs", "s")[0::4], [0, b"unsupported"])
            for lease in ("x", "-1", str(most + 1), ""):
                self.assertTrue(resp.ask("METE.ACQUIRE", "jobs", "s", lease).startswith("ERR lease is not"))

    def test_the_same_bucket_as_udp(self):
        with Daemon(SLOW, ON) as daemon, connect(daemon) as resp, daemon.client() as udp:
            self.assertEqual(resp.ask("METE.CHECK", "demo", "alice", 3)[1], 7)
            self.assertEqual(udp.check("demo", b"alice", 2).remaining, 5)
            self.assertEqual(resp.ask("METE.PEEK", "demo", "alice")[1], 5)
            self.assertEqual(udp.reset("demo", b"alice").remaining, 10)
            self.assertEqual(resp.ask("METE.PEEK", "demo", "alice")[1], 10)
            stats = daemon.stats()  # what the door judged is in the sums
            self.assertEqual(daemon.rule("demo")["units"], 5)
            self.assertEqual((stats["total"]["allowed"], stats["doors"][0]["allowed"]), (2, 1))

    def test_courtesies(self):
        with Daemon(sets=ON) as daemon, connect(daemon) as resp:
            self.assertEqual(resp.ask("PING"), "PONG")
            self.assertEqual(resp.ask("PING", "hi"), b"hi")
            self.assertEqual(resp.ask("ECHO", b"\x00\xff\r\n"), b"\x00\xff\r\n")
            self.assertEqual(resp.ask("ECHO", b"x" * 4096), b"x" * 4096)
            self.assertEqual(resp.ask("SELECT", 0), "OK")
            self.assertTrue(resp.ask("SELECT", 1).startswith("ERR DB index"))
            self.assertIn(b"mete_version:", resp.ask("INFO"))
            self.assertEqual(resp.ask("COMMAND"), [])
            self.assertEqual(resp.ask("COMMAND", "COUNT"), 0)
            self.assertEqual(resp.ask("COMMAND", "DOCS"), [])
            self.assertIsNone(resp.ask("CLIENT", "GETNAME"))
            self.assertEqual(resp.ask("CLIENT", "SETNAME", "me"), "OK")
            self.assertEqual(resp.ask("CLIENT", "GETNAME"), b"me")
            self.assertTrue(resp.ask("CLIENT", "SETNAME", "a b").startswith("ERR a client's name"))
            self.assertEqual(resp.ask("CLIENT", "SETINFO", "LIB-NAME", "x"), "OK")
            self.assertGreater(resp.ask("CLIENT", "ID"), 0)
            hello = resp.ask("HELLO", 3, "SETNAME", "you")
            self.assertEqual((hello[b"server"], hello[b"proto"], hello[b"modules"]), (b"mete", 3, []))
            self.assertEqual(resp.ask("COMMAND", "DOCS"), {})
            self.assertEqual(resp.ask("CLIENT", "GETNAME"), b"you")
            self.assertTrue(resp.ask("HELLO", 4).startswith("NOPROTO"))
            self.assertEqual(resp.ask("RESET"), "RESET")
            self.assertIsNone(resp.ask("CLIENT", "GETNAME"))
            self.assertTrue(resp.ask("GET", "x\r\n-ERR").startswith("ERR unknown command 'GET'"))
            self.assertTrue(resp.ask("A\r\nB").startswith("ERR unknown command 'A??B'"))
            self.assertEqual(resp.ask("QUIT"), "OK")
            self.assertTrue(resp.is_closed())

    def test_inline(self):
        with Daemon(sets=ON) as daemon, connect(daemon) as resp:
            resp.send(b"PING\r\n\r\n  ping  'a b'\nECHO \"\"\r\n")
            self.assertEqual([resp.hear(), resp.hear(), resp.hear()], ["PONG", b"a b", b""])


class Logins(unittest.TestCase):
    def test_keys_and_rights(self):
        with Daemon(KEYS, ON) as daemon, connect(daemon) as resp:
            for words in (("PING",), ("METE.CHECK", "demo", "x"), ("HELLO", 3), ("CL.THROTTLE", "k", 1, 1, 1)):
                self.assertTrue(resp.ask(*words).startswith("NOAUTH"), words)
            for words in (("AUTH", "wrong"), ("AUTH", "acme", "default-key"), ("AUTH", "nobody", "asks"), ("AUTH", ""),
                          ("HELLO", 3, "AUTH", "acme", "wrong")):
                self.assertTrue(resp.ask(*words).startswith("WRONGPASS"), words)
            self.assertEqual(resp.ask("AUTH", "asks"), "OK")
            self.assertEqual(resp.ask("METE.CHECK", "demo", "x")[:2], [1, 4])
            self.assertTrue(resp.ask("METE.RESET", "demo", "x").startswith("NOPERM"))
            self.assertTrue(resp.ask("METE.REFUND", "demo", "x").startswith("NOPERM"))
            self.assertEqual(resp.ask("HELLO", 2, "AUTH", "acme", "keeps")[5], 2)
            self.assertEqual(resp.ask("METE.RESET", "demo", "x")[:2], [1, 5])
            self.assertEqual(resp.ask("AUTH", "acme", "only"), "OK")
            self.assertTrue(resp.ask("CL.THROTTLE", "k", 1, 1, 1).startswith("NOPERM"))
            self.assertEqual(resp.ask("HELLO", 3, "AUTH", "default", "default-key")[b"proto"], 3)
            self.assertEqual(resp.ask("METE.CHECK", "demo", "x")[:2], [1, 9])
            self.assertEqual(resp.ask("RESET"), "RESET")
            self.assertTrue(resp.ask("PING").startswith("NOAUTH"))

    def test_a_reload_takes_a_key_away(self):
        with Daemon(KEYS, ON) as daemon, connect(daemon) as resp:
            self.assertEqual(resp.ask("AUTH", "asks"), "OK")
            path = pathlib.Path(daemon.folder) / "mete.yaml"
            path.write_text(KEYS.replace(HASH("asks"), HASH("other")).replace("burst: 5", "burst: 7"))
            done = mete("reload", "--admin", daemon.admin)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(resp.ask("PING").startswith("NOAUTH"))
            self.assertEqual(resp.ask("AUTH", "other"), "OK")
            self.assertEqual(resp.ask("METE.CHECK", "demo", "x")[:2], [1, 6])

    def test_unix_socket_and_quota(self):
        config = SLOW.replace("  - name: default\n", "  - name: default\n    checks: {rate: 1/d, burst: 3}\n")
        with Daemon(config) as probe:
            path = probe.folder + "/resp.sock"
            with Daemon(config, (f"listen.resp={path}",)) as daemon, Resp(path) as resp:
                self.assertEqual(daemon.resp, path)
                for left in (9, 8, 7):
                    self.assertEqual(resp.ask("METE.CHECK", "demo", "x")[:2], [1, left])
                self.assertTrue(resp.ask("METE.CHECK", "demo", "x").startswith("LIMITED"))
                self.assertEqual(daemon.stats()["total"]["limited"], 1)
                line = refuse("--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none", "--set", f"listen.resp={path}")
                self.assertIn(f"listen.resp: {path}: another program listens there", line)
                self.assertTrue(os.path.exists(path))  # it is not the second daemon's to remove
            self.assertFalse(os.path.exists(path))


class Hostile(unittest.TestCase):
    def test_garbage_is_one_error_and_a_close(self):
        cases = (b"*65\r\n", b"*99999999999999999999\r\n", b"*-1\r\n", b"*1\r\n*1\r\n$4\r\nPING\r\n", b"*1\r\n$4097\r\n",
                 b"*1\r\n$-1\r\n", b"*1\r\n+PING\r\n", b"*1\r\n$4\r\nPINGxx", b"*x\r\n", b"*1\r\n$99999999999\r\n", b"*1\n",
                 b"PING 'x\r\n", b"x " * 65 + b"\n", b"y" * 20000, b"*3\r\n" + b"$4000\r\n" + b"z" * 100000)
        with Daemon(sets=ON) as daemon, connect(daemon) as other:
            for case in cases:
                with self.subTest(case=case[:40]), connect(daemon) as resp:
                    resp.send(resp.encode("PING") + case)
                    self.assertEqual(resp.hear(), "PONG")
                    error = resp.hear()
                    self.assertIsInstance(error, Error)
                    self.assertTrue(error.startswith("ERR Protocol error: "), error)
                    self.assertTrue(resp.is_closed())
                self.assertEqual(other.ask("PING"), "PONG")

    def test_half_a_request_and_silence(self):
        with Daemon(sets=(*ON, "doors.idle=200ms")) as daemon, connect(daemon) as half, connect(daemon) as silent:
            half.send(b"*2\r\n$4\r\nECH")
            self.assertTrue(half.hear().startswith("ERR half a command"))
            self.assertTrue(half.is_closed())
            self.assertTrue(silent.is_closed())

    def test_a_thousand_idle_connections(self):
        with Daemon(sets=(*ON, "doors.connections=1010")) as daemon:
            held = [connect(daemon) for _ in range(1000)]
            with connect(daemon) as resp:
                self.assertEqual(resp.ask("PING"), "PONG")
            for one in held[::100]:
                self.assertEqual(one.ask("PING"), "PONG")
            for one in held:
                one.__exit__()

    def test_one_connection_too_many(self):
        with Daemon(sets=(*ON, "doors.connections=2")) as daemon, connect(daemon) as a, connect(daemon) as b:
            self.assertEqual([a.ask("PING"), b.ask("PING")], ["PONG", "PONG"])
            with connect(daemon) as more:
                self.assertTrue(more.hear().startswith("ERR max number of clients reached"))
                self.assertTrue(more.is_closed())

    def test_ten_thousand_in_a_pipeline(self):
        with Daemon(SLOW, ON) as daemon, connect(daemon) as resp:
            resp.socket.setblocking(True)
            data = resp.encode("CL.THROTTLE", "pipe", 99999, 1, 1000) * 10000
            sender = __import__("threading").Thread(target=resp.send, args=(data,))
            sender.start()
            for i in range(10000):
                self.assertEqual(resp.hear()[:3], [0, 100000, 99999 - i])
            sender.join()
            self.assertEqual(daemon.rule("(inline)")["allowed"], 10000)


class Clients(unittest.TestCase):
    @unittest.skipUnless(shutil.which("redis-cli"), "redis-cli is not installed (redis-tools)")
    def test_redis_cli(self):
        with Daemon(KEYS, ON) as daemon:
            host, port = parse_address(daemon.resp)
            for protocol in ("-2", "-3"):
                done = subprocess.run(["redis-cli", protocol, "-h", host, "-p", str(port), "--user", "acme", "--pass", "asks",
                                       "--no-auth-warning", "CL.THROTTLE", "k", "2", "1", "1000", "0"], text=True,
                                      capture_output=True, timeout=PATIENCE_S)
                self.assertEqual(done.stdout.split("\n")[:5], ["0", "3", "3", "-1", "0"], done)

    @unittest.skipUnless(shutil.which("redis-benchmark"), "redis-benchmark is not installed (redis-tools)")
    def test_redis_benchmark(self):
        with Daemon(SLOW, ON) as daemon:
            host, port = parse_address(daemon.resp)
            done = subprocess.run(["redis-benchmark", "-h", host, "-p", str(port), "-n", "2000", "-P", "16", "-q", "CL.THROTTLE",
                                   "k", "1", "1", "1000"], text=True, capture_output=True, timeout=PATIENCE_S)
            self.assertEqual(done.returncode, 0, done)
            total = daemon.stats()["total"]
            self.assertEqual((total["allowed"], total["denied"]), (2, 1998))

    def test_redis_py(self):
        try:
            import redis
        except ImportError:
            self.skipTest("redis-py is not installed (python3-redis)")
        with Daemon(KEYS, ON) as daemon:
            host, port = parse_address(daemon.resp)
            client = redis.Redis(host=host, port=port, username="acme", password="asks", client_name="tests")
            self.assertTrue(client.ping())
            self.assertEqual(client.execute_command("CL.THROTTLE", "py", 2, 1, 1000), [0, 3, 2, -1, 1000])
            pipe = client.pipeline(transaction=False)
            for _ in range(3):
                pipe.execute_command("METE.CHECK", "demo", "py")
            self.assertEqual([answer[1] for answer in pipe.execute()], [4, 3, 2])
            self.assertEqual(client.client_getname(), "tests")
            self.assertEqual(client.info()["server_name"], "mete")
            client.close()


if __name__ == "__main__":
    unittest.main()
