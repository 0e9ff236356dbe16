"""A running server against the specification: every golden request is sent to it, and its answer (or silence) must be
what proto-spec/protocol.md says, read by the Python codec.

Silence is proven without waiting: a plain CHECK sent after it from the same socket is the next thing that is answered.
"""
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib import mete_vectors, mete_wire as w  # noqa: E402

METE = os.path.join(os.environ.get("METE_BUILD", os.path.join(ROOT, "build/check")), "mete")
SEED = w.tenant_seed("default")


def expected_answer(meaning):
    """None for silence, else the status of the datagram: OK or UNSUPPORTED. The server has no secrets."""
    if meaning["case"] == "unsupported":
        return w.UNSUPPORTED
    silent = meaning["case"] not in ("ok", "untrusted") or "secret" in meaning  # loopback is trusted
    if silent or int(meaning["tenant"]) != w.name_id("default"):
        return None
    return w.OK


class Protocol(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.server = subprocess.Popen(
            [METE, "serve", "--set", "listen.udp=127.0.0.1:0", "--set", f"listen.admin={folder.name}/admin.sock",
             "--set", "table.entries=65536", "--set", "workers=1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True)
        self.addCleanup(self.stop)
        line = self.server.stdout.readline()
        port = int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self.marks = 1 << 30  # no sequence number of the vectors

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(20), 0)
        self.server.stdout.close()

    def ask(self, data):
        """The answer to these bytes, or None."""
        self.marks += 1
        mark = w.check("fast", b"mark", seed=SEED, sequence=self.marks)
        self.socket.send(data)
        self.socket.send(mark)
        answers = [self.socket.recv(65536)]
        while w.decode_result(answers[-1]).sequence != self.marks:
            answers.append(self.socket.recv(65536))
        w.decode_result(answers.pop(), request_tag=w.tag_of(mark))
        self.assertLess(len(answers), 2)
        return answers[0] if answers else None

    def test_every_golden_request(self):
        for name, text in mete_vectors.generate().items():
            lines, data = mete_vectors.parse(text)
            meaning = dict(lines)
            if meaning["kind"] != "request":
                continue
            with self.subTest(name):
                answer = self.ask(data)
                expected = expected_answer(meaning)
                if expected is None:
                    self.assertIsNone(answer)
                    continue
                self.assertIsNotNone(answer)
                self.assertLessEqual(len(answer), len(data))
                result = w.decode_result(answer, request_tag=w.tag_of(data))
                self.assertEqual(result.type, data[1] | 0x80)
                self.assertEqual(result.sequence, int(meaning["sequence"]))
                if expected == w.UNSUPPORTED:
                    self.assertEqual((result.flags, result.detail, len(answer)), (w.STATUS, w.UNSUPPORTED, 24))
                else:
                    self.assertEqual(result.flags & w.STATUS, 0)
                    self.assertEqual(result.n, int(meaning["n"]))
                self.assertNotEqual(result.boot_bits, 0)

    def test_hello(self):
        data = w.hello(bytes(range(16)))
        answer = self.ask(data)
        result = w.decode_result(answer, request_tag=w.tag_of(data))
        self.assertEqual(len(answer), len(data))
        self.assertEqual(result.masked_seed, SEED)
        self.assertEqual(result.boot_id & 0xFFFF, result.boot_bits)
        self.assertEqual(result.served_types & 0xFF, 0b11111110)

    def test_raw_subject_and_key_name_one_bucket(self):
        day = (10, 10, 86400 * 10**9)  # ten a day: nothing comes back while the test runs
        for client_id, subject in enumerate((b"", b"a", b"198.51.100.7", bytes(range(90)))):
            left = []
            for number, flags in enumerate((0, w.RAW_SUBJECT, 0)):
                data = w.check("demo", subject, 4, seed=SEED, sequence=number, client_id=client_id,
                               flags=flags, inline=day)
                left.append(w.decode_result(self.ask(data), request_tag=w.tag_of(data)).entries[0].remaining)
            self.assertEqual(left, [6, 2, 2], subject)


if __name__ == "__main__":
    unittest.main()
