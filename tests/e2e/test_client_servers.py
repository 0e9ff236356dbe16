"""The C client and several real servers: one stopped, one late, one well; and one that is stopped comes back."""
import signal
import tempfile
import time
import unittest

from client_servers import Asker, Daemon, Proxy, build_client

DEADLINE_MS = 600  # long enough for a busy machine; what is measured is who answers


def too_late(_data, is_answer):
    return DEADLINE_MS / 500 if is_answer else 0


class SeveralServers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.asker = build_client("tests/e2e/client_asker.c", cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_stopped_and_late(self):
        with Daemon() as stopped, Daemon() as slow, Daemon() as well, Proxy(slow.address, too_late) as late:
            servers = ",".join((stopped.address, late.address, well.address))
            stopped.process.send_signal(signal.SIGSTOP)
            try:
                with Asker(self.asker, servers, str(DEADLINE_MS)) as asker:
                    answers = [asker.tell("subject %d" % i) for i in range(40)]
                    self.assertEqual({source for source, *_ in answers}, {"server"})
                    self.assertEqual({remaining for *_, remaining in answers}, {"99"})
                    self.assertGreater(late.seen, 0)
                    shares = asker.shares()
                    self.assertEqual((shares[0], shares[2]), (0, 100))
                    stopped.process.send_signal(signal.SIGCONT)
                    seen = set()
                    for i in range(2000):  # some seconds; the share says when
                        self.assertEqual(asker.tell("again %d" % i)[0], "server")
                        seen.add(asker.shares()[0])
                        if 100 in seen:
                            break
                        time.sleep(0.005)
                    self.assertIn(100, seen)
                    self.assertTrue(seen & set(range(1, 100)), seen)
            finally:
                stopped.process.send_signal(signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
