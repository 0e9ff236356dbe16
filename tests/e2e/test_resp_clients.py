#!/usr/bin/env python3
"""Redis clients of several languages, as they come from their registries, against the RESP door of the real daemon: what they say
at connect is understood, answers and errors arrive as theirs do, pipelines stay in order. Each is skipped where it cannot be had."""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import peers  # noqa: E402
from lib.daemon import PATIENCE_S, Daemon, parse_address  # noqa: E402

ON = ("listen.resp=127.0.0.1:0",)
CONFIG = f"""
tenants:
  - name: acme
    rules: [{{name: demo, algorithm: token_bucket, rate: 1/d, burst: 5}}]
    api_keys: [{{name: asks, sha256: {hashlib.sha256(b"asks").hexdigest()}, may: check}}]
"""
PYTHON = """
import json, sys
import redis
host, port, username, password, protocol = sys.argv[1:]
client = redis.Redis(host=host, port=int(port), username=username, password=password, protocol=int(protocol), client_name="tests")
heard = {"version": redis.__version__, "ping": "PONG" if client.ping() else "?"}
heard["throttle"] = client.execute_command("CL.THROTTLE", "py" + protocol, 2, 1, 1000)
pipe = client.pipeline(transaction=False)
for _ in range(3):
    pipe.execute_command("METE.CHECK", "demo", "py" + protocol)
heard["pipeline"] = [[one.decode() if isinstance(one, bytes) else one for one in answer] for answer in pipe.execute()]
try:
    client.execute_command("CL.THROTTLE", "py", -1, 1, 1)
except redis.ResponseError as error:
    heard["error"] = "ERR " + str(error).removeprefix("ERR ")
name = client.client_getname()
heard["name"] = name.decode() if isinstance(name, bytes) else name
heard["id"] = client.client_id()
client.close()
print(json.dumps(heard))
"""


class Clients(unittest.TestCase):
    def check(self, command, **environment):
        """Runs one client, which prints what it heard."""
        with Daemon(CONFIG, ON) as daemon:
            host, port = parse_address(daemon.resp)
            command = [word.replace("HOST", host).replace("PORT", str(port)) for word in command]
            done = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
                                  env={**os.environ, **environment})
            self.assertEqual(done.returncode, 0, done.stderr)
            heard = json.loads(done.stdout.splitlines()[-1])
            self.assertEqual((heard["ping"], heard["name"]), ("PONG", "tests"), heard)
            self.assertEqual(heard["throttle"], [0, 3, 2, -1, 1000])
            self.assertEqual([(allowed, remaining, status) for allowed, remaining, _, _, status in heard["pipeline"]],
                             [(1, 4, "ok"), (1, 3, "ok"), (1, 2, "ok")])
            self.assertTrue(heard["error"].startswith("ERR cl.throttle: max_burst is not from 0"), heard)
            self.assertGreater(heard["id"], 0)
            total = daemon.stats()["total"]
            self.assertEqual((total["allowed"], total["denied"]), (4, 0))
            return heard

    def test_ioredis(self):
        script = str(peers.SOURCES / "ioredis.js")
        self.check(["node", script, "HOST", "PORT", "acme", "asks"], NODE_PATH=str(peers.ioredis()))

    def test_go_redis(self):
        self.check([str(peers.go_redis()), "HOST", "PORT", "acme", "asks"])

    def test_redis_py(self):
        folder = peers.redis_py()
        for protocol in ("2", "3"):
            with self.subTest(protocol=protocol):
                heard = self.check([sys.executable, "-c", PYTHON, "HOST", "PORT", "acme", "asks", protocol],
                                   PYTHONPATH=str(folder))
                self.assertIn(heard["version"], peers.REDIS_PY)


if __name__ == "__main__":
    unittest.main()
