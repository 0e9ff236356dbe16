#!/usr/bin/env python3
"""The af_xdp backend under the protocol tests of the others, word for word: their modules are loaded with daemons whose
datagrams come over a veth pair past the sockets (lib/xdp_daemon.py). Skipped where there are no rights for it."""
import importlib
import pathlib
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parent)]
from lib import daemon, xdp_daemon  # noqa: E402

MODULES = ("test_server", "test_vectors", "test_semantics", "test_leases", "test_secrets", "test_hostile")
# What cannot be moved: classes with namespaces of their own, loads that know only 127.0.0.1, UNIX sockets without a file, and the
# filter on sockets, which this backend does without.
LEFT_OUT = ("test_secrets.Networks.", "test_secrets.Paths.test_unix_socket", "test_hostile.Flood.",
            "test_secrets.Restarts.test_the_flood_may_be_our_own_clients")
# Where answers overtake each other (METE_XDP_CARRY=1): it sends damaged copies of a datagram under the same sequence number and tag.
LEFT_OUT_OF_ORDER = ("test_hostile.Random.",)


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def load_tests(loader, _, __):
    try:
        xdp_daemon.move(queues=2)
    except unittest.SkipTest as why:
        class Skipped(unittest.TestCase):
            @unittest.skip(str(why))
            def test_over_a_veth_pair(self):
                pass
        return loader.loadTestsFromTestCase(Skipped)
    left_out = LEFT_OUT + (LEFT_OUT_OF_ORDER if daemon.Client.may_overtake else ())
    suite = unittest.TestSuite()
    for name in MODULES:
        for test in flatten(loader.loadTestsFromModule(importlib.import_module(name))):
            if not test.id().startswith(left_out):
                suite.addTest(test)
    return suite


if __name__ == "__main__":
    unittest.main()
