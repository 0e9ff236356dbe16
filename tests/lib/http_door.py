"""What tests of the HTTP door begin with: one daemon for all of a class, with a configuration of its own, judged by how
it ends.

    class Leases(HttpDoor):
        config = CONFIG

        def test_it(self):
            self.assertEqual(self.once(get("/healthz")).status, 200)
"""
import unittest

from lib.daemon import Daemon, parse_address
from lib.http_raw import Raw


class HttpDoor(unittest.TestCase):
    config = None

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(cls.config, ["listen.http=127.0.0.1:0"])
        cls.address = parse_address(cls.daemon.http)
        cls.subjects = iter(range(10**6))

    @classmethod
    def tearDownClass(cls):
        try:
            cls.daemon.stop()
        finally:
            cls.daemon.close()

    def subject(self):
        """A new one."""
        return f"s{next(self.subjects)}"

    def once(self, data, address=None):
        """The answer to a request on a connection of its own."""
        with Raw(address or self.address) as raw:
            return raw.ask(data)
