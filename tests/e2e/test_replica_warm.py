#!/usr/bin/env python3
"""A node with table.file that is killed while it has not told the store what it charged: the next process on that file is the
same node to a real redis-server, and tells it, no unit more or less."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import Daemon  # noqa: E402
from lib.nodes import usage_of  # noqa: E402
from lib.stores import Redis, has_redis, wait_until  # noqa: E402
from lib.table_file import TableFile  # noqa: E402

RULES = ["{name: api, algorithm: token_bucket, rate: 1/1000s, burst: 1000}", "{name: window, algorithm: fixed_window, limit: 1000/3650d}"]
SUBJECTS = [b"%d" % i for i in range(50)]


@unittest.skipUnless(has_redis(), "no redis-server")
class Warm(unittest.TestCase):
    def start(self, path):
        config = (f"namespace: warm\nredis: {{url: '{self.store.url}', nodes: 1}}\ntenants:\n  - name: default\n    rules:\n"
                  + "".join(f"      - {rule}\n" for rule in RULES))
        daemon = Daemon(config, [f"table.file={path}"], entries=4096)
        self.addCleanup(daemon.close)
        return daemon

    def spend(self, daemon):
        units = 0
        with daemon.client() as client:
            for subject in SUBJECTS:
                for rule in ("api", "window"):
                    units += 3 * client.check(rule, subject, 3).allowed
        return units

    def test_what_was_not_told_is_told_by_the_next(self):
        self.store = Redis()
        self.addCleanup(self.store.close)
        with TableFile() as path:
            daemon = self.start(path)
            units = self.spend(daemon)
            wait_until(lambda: usage_of(self.store) == units, "the store to know all")
            for is_away in (True, False, True):
                if is_away:
                    self.store.pause()
                units += self.spend(daemon)
                daemon.kill()
                if is_away:
                    self.store.resume()
                daemon.close()
                daemon = self.start(path)
                self.assertRegex(daemon.start, "warm")
                wait_until(lambda: usage_of(self.store) == units, "the store to know all, and nothing twice")
            units += self.spend(daemon)
            wait_until(lambda: usage_of(self.store) == units, "the store to know what came after")
            daemon.stop()


if __name__ == "__main__":
    unittest.main()
