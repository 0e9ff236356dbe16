"""The C client and a real server under a secret: a cold restart, and a secret that is changed, cost no check its answer."""
import os
import tempfile
import unittest

from client_servers import Asker, Daemon, Proxy, build_client

OLD, NEW = "the secret that was", "the secret that comes"
DEADLINE_MS = 4000  # a limit against machines that stand still


class Secrets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.asker = build_client("tests/e2e/client_asker.c", cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def config(self, *secrets):
        """Tenant default with these secrets, the newest first; what comes without a tag is not believed."""
        files = []
        for index, secret in enumerate(secrets):
            path = os.path.join(self.folder.name, f"{index}.key")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
                file.write(secret)
            files.append(path)
        path = os.path.join(self.folder.name, "mete.yaml")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"tenants:\n  - {{name: default, secret_files: [{', '.join(files)}]}}\n")
        return path

    def test_cold_restart(self):
        """The first check after it has its answer: a hint, a HELLO, and the question again under the new key."""
        address = "127.0.0.1:0"
        with Daemon(self.config(OLD)) as daemon:
            address = daemon.address
            asker = Asker(self.asker, address, str(DEADLINE_MS), OLD)
            self.assertEqual([asker.tell("alice") for _ in range(3)],
                             [["server", "1", str(remaining)] for remaining in (99, 98, 97)])
        with asker:
            for restarts in (1, 2):
                with Daemon(self.config(OLD), address):
                    self.assertEqual([asker.tell("alice") for _ in range(2)],
                                     [["server", "1", "99"], ["server", "1", "98"]])
                    self.assertEqual(asker.restarts(), restarts)

    def test_rotation(self):
        """By restarts with other secrets: a client of the old one, and one that has both."""
        with Daemon(self.config(OLD)) as daemon:
            address = daemon.address
            both = Asker(self.asker, address, str(DEADLINE_MS), NEW, OLD)
            self.assertEqual(both.tell("alice"), ["server", "1", "99"])
            old = Asker(self.asker, address, str(DEADLINE_MS), OLD)
            self.assertEqual(old.tell("alice"), ["server", "1", "98"])
        with both, old:
            with Daemon(self.config(NEW, OLD), address):
                self.assertEqual(both.tell("alice"), ["server", "1", "99"])
                self.assertEqual(old.tell("alice"), ["server", "1", "98"])
            with Daemon(self.config(NEW), address):
                self.assertEqual(both.tell("alice"), ["server", "1", "99"])
                self.assertEqual(old.tell("alice")[0], "timeout")

    def test_loss(self):
        """Every eighth datagram is lost, both ways: each check has its answer, and is charged once."""
        count = 0

        def lose(_data, _is_answer):
            nonlocal count
            count += 1
            return None if count % 8 == 7 else 0

        for secrets in ((OLD,), ()):
            with Daemon(self.config(*secrets) if secrets else None) as daemon, Proxy(daemon.address, lose) as proxy, \
                    Asker(self.asker, proxy.address, "2000", *secrets) as asker:
                first = [asker.tell("first")[0] for _ in range(5)]  # HELLO to and fro
                self.assertIn("server", first)
                left, unknown, answered = 100, 0, 0
                for _ in range(40):
                    source, _, remaining = asker.tell("alice")
                    if source == "server":
                        self.assertIn(left - 1 - int(remaining), range(unknown + 1))
                        left, unknown, answered = int(remaining), 0, answered + 1
                    else:  # all of its datagrams were lost in time, or the machine stood still
                        unknown += 1
                self.assertGreater(answered, 30)
                self.assertGreater(int(asker.tell("stats")[1]), 0)

    def test_wrong_secret(self):
        with Daemon(self.config(OLD)) as daemon, Asker(self.asker, daemon.address, "200", NEW) as asker:
            self.assertEqual(asker.tell("alice"), ["timeout", "0", "0"])


if __name__ == "__main__":
    unittest.main()
