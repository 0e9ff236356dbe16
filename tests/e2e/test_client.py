"""The C client as a service uses it: the example and a probe of all its forms, compiled with nothing but include/, libmete.a
and libsodium, against a scripted server and the real one."""
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

from client_servers import ROOT, Daemon, StandIn, answer, build_client, w

EXAMPLE = "clients/c/example/example.c"


def compiler():
    """clang, where it is, knows C++ without a package more."""
    return shutil.which("clang") or "c++"


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.example = build_client(EXAMPLE, cls.folder.name)
        cls.probe = build_client("tests/e2e/client_probe.c", cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_example(self, address, *arguments):
        done = subprocess.run([self.example, address, *arguments], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout

    def answered(self, address, user="alice"):
        """The example's 20 ms may be too short for a busy machine; it says so, and is then asked again."""
        for _ in range(50):
            code, text = self.run_example(address, user)
            if "fallback" not in text:
                break
        return code, text

    def test_example_is_short(self):
        with open(os.path.join(ROOT, EXAMPLE), encoding="utf-8") as file:
            self.assertLessEqual(len(file.readlines()), 20)

    def test_header_in_cpp(self):
        source = ("#include <mete/client.h>\nint main() { mete_client_options o{}; mete_client *c; mete_answer a;\n"
                  "return mete_client_open(&o, &c) || mete_client_check(c, \"demo\", \"a\", 1, 1, &a); }\n")
        subprocess.run([compiler(), "-x", "c++", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-fsyntax-only", "-"],
                       input=source, text=True, cwd=ROOT, check=True)

    def test_example_against_a_script(self):
        verdicts = {b"alice": w.Verdict(flags=w.ALLOW, remaining=9), b"bob": w.Verdict(retry_after=1)}
        with StandIn(lambda request: [answer(request, [verdicts[request.entries[0].subject]])]) as server:
            self.assertEqual(self.answered(server.address), (0, "alice: pass, 9 left\n"))
            self.assertEqual(self.answered(server.address, "bob"), (1, "bob: wait, 0 left\n"))
            self.assertGreater(len({request.client_id for request in server.requests}), 1)

    def test_example_without_a_server(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % silent.getsockname()[1]
            fallback = (0, "alice: pass, 0 left (no answer, so this is the fallback)\n")
            self.assertEqual(self.run_example(address), fallback)
        self.assertEqual(self.run_example(address), fallback)

    def test_real_server(self):
        with Daemon() as daemon:
            self.assertEqual(self.answered(daemon.address, "carol")[0], 0)
            done = subprocess.run([self.probe, daemon.address], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


if __name__ == "__main__":
    unittest.main()
