"""The C client and several real servers: one stopped, one late, one well; and one that is stopped comes back."""
import select
import signal
import socket
import tempfile
import threading
import time
import unittest

from client_servers import Asker, Daemon, build_client

DEADLINE_MS = 600  # long enough for a busy machine; what is measured is who answers


class LateProxy:
    """Passes requests on to a server, and its answers back when they are too late to be of use."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.front, self.back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self.front.bind(("127.0.0.1", 0))
        self.back.connect((host, int(port)))
        self.address = "127.0.0.1:%d" % self.front.getsockname()[1]
        self.late, self.peer, self.seen, self.done = [], None, 0, False
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.done:
            for ready in select.select([self.front, self.back], [], [], 0.02)[0]:
                if ready is self.front:
                    data, self.peer = self.front.recvfrom(2048)
                    self.back.send(data)
                    self.seen += 1
                else:
                    self.late.append((time.monotonic() + DEADLINE_MS / 500, self.back.recv(2048)))
            while self.late and self.late[0][0] <= time.monotonic():
                self.front.sendto(self.late.pop(0)[1], self.peer)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done = True
        self.thread.join()
        self.front.close()
        self.back.close()


class SeveralServers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.asker = build_client("tests/e2e/client_asker.c", cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_stopped_and_late(self):
        with Daemon() as stopped, Daemon() as slow, Daemon() as well, LateProxy(slow.address) as late:
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
