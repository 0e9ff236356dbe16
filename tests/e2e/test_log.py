#!/usr/bin/env python3
"""The log of the real daemon: JSON that is JSON, changed by a reload, limited, and with priorities for the journal."""
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import METE, PATIENCE_S, mete


class Logging:
    """A daemon whose log is read as it comes, whatever its form."""

    def __init__(self, config, **environment):
        self.folder = tempfile.TemporaryDirectory(prefix="mete-")
        self.file = pathlib.Path(self.folder.name, "mete.yaml")
        self.admin = os.path.join(self.folder.name, "admin.sock")
        self.write(config)
        read, write = os.pipe()
        status = os.fstat(write)
        environment = {key: value.format(device=status.st_dev, inode=status.st_ino) for key, value in environment.items()}
        self.process = subprocess.Popen([METE, "serve", "--config", str(self.file), "--set", "listen.udp=127.0.0.1:0", "--set",
                                         f"listen.admin={self.admin}", "--set", "table.entries=1024"], stderr=write,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
        os.close(write)
        self.lines = os.fdopen(read, errors="strict", encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.lines.close()
        self.folder.cleanup()

    def write(self, config):
        self.file.write_text(config + "tenants: [{name: default, rules: []}]\n")

    def until(self, word):
        """The lines up to the one with the word."""
        said = []
        for line in self.lines:
            said.append(line.rstrip("\n"))
            if word in line:
                return said
        raise AssertionError(f"{word!r} never came: {said}")

    def reload(self):
        """As `mete reload`, but fast."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(PATIENCE_S)
            admin.connect(self.admin)
            admin.sendall(b"reload\n")
            while admin.recv(65536):
                pass

    def stop(self):
        self.process.terminate()
        said = self.lines.read().splitlines()
        assert self.process.wait(PATIENCE_S) == 0
        return said


class Log(unittest.TestCase):
    def test_json(self):
        with Logging("log: json\n") as daemon:
            ready = [json.loads(line) for line in daemon.until(" workers ")][-1]
            self.assertRegex(ready["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertEqual((ready["level"], ready["event"]), ("info", "start"))
            daemon.file.write_text("log: json\nnonsense: \"\u00fc\"\n")
            daemon.reload()
            refused = json.loads(daemon.until("reload by")[-1])
            self.assertEqual((refused["level"], refused["event"]), ("error", "reload"))
            self.assertIn("mete.yaml:2", refused["message"])
            said = [json.loads(line) for line in daemon.stop()]
            self.assertEqual(said[-1]["event"], "stop")

    def test_reload_changes_the_form(self):
        with Logging("log: text\n") as daemon:
            self.assertTrue(daemon.until(" workers ")[-1].startswith("mete: "))
            daemon.write("log: json\n")
            daemon.reload()
            self.assertIn("changes in all 1", json.loads(daemon.until("reload by")[-1])["message"])
            self.assertEqual([json.loads(line)["event"] for line in daemon.stop()], ["stop"])

    def test_one_kind_is_limited(self):
        with Logging("log: json\n") as daemon:
            daemon.until(" workers ")
            daemon.file.write_text("nonsense")
            for _ in range(200):
                daemon.reload()
            said = [json.loads(line) for line in daemon.stop()]
            told = [one for one in said if one["event"] == "reload"]
            rest = sum(int(re.match(r"(\d+) more lines on reload were left out", one["message"])[1])
                       for one in said if one["event"] == "log")
            self.assertEqual(len(told) + sum(one.get("left_out", 0) for one in told) + rest, 200)
            self.assertGreaterEqual(len(told), 20)
            self.assertGreater(rest + sum(one.get("left_out", 0) for one in told), 0)

    def test_journal(self):
        """Lines for the journal begin with a priority, if stderr is the journal's stream, not a stream of that name."""
        for form, pattern in (("text", r"<6>[^<]+ workers "), ("json", r'<6>\{"time":')):
            with self.subTest(form=form), Logging(f"log: {form}\n", JOURNAL_STREAM="{device}:{inode}") as daemon:
                self.assertRegex(daemon.until(" workers ")[-1], "^" + pattern)
                daemon.file.write_text("nonsense")
                daemon.reload()
                self.assertTrue(daemon.until("reload by")[-1].startswith("<3>"))
                self.assertTrue(all(line.startswith("<") for line in daemon.stop()))
        with Logging("log: text\n", JOURNAL_STREAM="1:1") as daemon:
            self.assertTrue(daemon.until(" workers ")[-1].startswith("mete: "))

    def test_wrong_form(self):
        done = mete("serve", "--set", "log=xml")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"log: .*xml.*text.*json")


if __name__ == "__main__":
    unittest.main()
