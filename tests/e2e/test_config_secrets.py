#!/usr/bin/env python3
"""Secrets from end to end by the real binary: `mete secret new`, files that others can read, what is refused beyond
loopback, `config show` and `config diff` that never print a secret, the example configuration, a daemon that starts
with secrets. $METE_BUILD says where the binary lies, else build/check."""
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import METE, ROOT, Daemon, mete, refuse  # noqa: E402

BEYOND = "listen: {udp: 0.0.0.0:0, admin: none}\n"


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, name, content, mode=0o600):
        path = self.folder / name
        path.write_text(content)
        path.chmod(mode)
        return str(path)

    def secret(self, name):
        done = mete("secret", "new", str(self.folder / name))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return (self.folder / name).read_text().strip()

    def check(self, content):
        """The one line of `config check` about a file that is refused, without the folder."""
        done = mete("config", "check", self.file("mete.yaml", content))
        self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), done)
        return done.stderr.strip().replace(str(self.folder) + "/", "")


class New(Folder):
    def test_file(self):
        path = self.folder / "new.key"
        for umask in (0o000, 0o777):
            path.unlink(missing_ok=True)
            done = subprocess.run([METE, "secret", "new", str(path)], capture_output=True, text=True, umask=umask)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            text = path.read_text()
            self.assertRegex(text, r"\A[0-9a-f]{64}\n\Z")
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            self.assertNotIn(text[:8], done.stdout)
        done = mete("secret", "new", str(path))
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("never written over", done.stderr)
        self.assertEqual(path.read_text(), text)
        os.symlink(self.folder / "elsewhere", self.folder / "link")
        self.assertEqual(mete("secret", "new", str(self.folder / "link")).returncode, 2)
        self.assertFalse((self.folder / "elsewhere").exists())

    def test_output(self):
        made = {mete("secret", "new").stdout for _ in range(5)}
        self.assertEqual(len(made), 5)
        for text in made:
            self.assertRegex(text, r"\A[0-9a-f]{64}\n\Z")
        with open("/dev/full", "w") as full:
            done = subprocess.run([METE, "secret", "new"], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1))

    def test_wrong_use(self):
        for words in ([], ["old"], ["new", "a", "b"], ["new", "--force"], ["new", ""],
                      ["new", str(self.folder / "no" / "such")]):
            done = mete("secret", *words)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), words)
            self.assertTrue(done.stderr.startswith("mete secret: "), done.stderr)
        self.assertIn("secret_files", mete("secret", "--help").stdout)
        self.assertIn("secret", mete("help").stdout)


class Files(Folder):
    def test_refused(self):
        self.secret("good")
        self.file("shared", "x", 0o644)
        self.file("empty", "")
        self.file("long", "x" * 65)
        os.mkfifo(self.folder / "fifo", 0o600)
        os.mkdir(self.folder / "folder")
        for name, phrase in {"shared": "(mode 0644); chmod 600 it", "empty": "is empty", "long": "is too long",
                             "fifo": "is not a regular file", "folder": "is not a regular file",
                             "missing": "No such file", "long/x": "Not a directory"}.items():
            with self.subTest(name):
                line = self.check(f"tenants:\n  - name: a\n    secret_files:\n      - good\n      - {name}\n")
                self.assertTrue(line.startswith(f"mete.yaml:5: tenants[0].secret_files[1]: {name} "), line)
                self.assertIn(phrase, line)
                line = self.check(f"\nkey_file: {name}\ntenants: [{{name: a}}]\n")
                self.assertTrue(line.startswith(f"mete.yaml:2: key_file: {name} "), line)

    def test_beyond_loopback(self):
        self.secret("key"), self.secret("a"), self.secret("b")
        a, b = "  - {name: a, secret_files: a}\n", "  - {name: b, secret_files: b}\n"
        key, trust = "key_file: key\n", "trusted_networks: [10.0.0.0/8]\n"
        self.assertEqual(self.check(BEYOND + key + "tenants:\n" + a + "  - name: b\n"),
                         "mete.yaml:5: tenants[1].secret_files: is missing: listen.udp 0.0.0.0:0 is reached from beyond "
                         "loopback, so tenant 'b' needs secret_files (`mete secret new FILE` makes one) and the "
                         "configuration a key_file; or name trusted_networks")
        for text in (BEYOND + "tenants:\n" + a + b, BEYOND + trust + "tenants:\n" + a + "  - name: b\n"):
            self.assertEqual(self.check(text), "mete.yaml:1: key_file: is missing: listen.udp 0.0.0.0:0 is reached from "
                             "beyond loopback, where tenant 'a' has secrets; `mete secret new FILE` makes a file for it")
        near = BEYOND.replace("0.0.0.0:0", '[127.0.0.5:1, "[::1]:1", "[::ffff:127.0.0.1]:2"]')
        for text in (BEYOND + key + "tenants:\n" + a + b, BEYOND + trust + "tenants:\n  - name: a\n",
                     BEYOND + key + trust + "tenants:\n" + a + "  - name: b\n", near + "tenants:\n" + a + "  - name: c\n"):
            done = mete("config", "check", self.file("mete.yaml", text))
            self.assertEqual((done.returncode, done.stderr), (0, ""), text)

    def test_nothing_secret_is_shown(self):
        secrets = [self.secret(name) for name in ("key", "new", "old", "other")]
        secrets.append("plain text, not hex")
        self.file("plain", secrets[-1])
        text = BEYOND + "key_file: key\ntenants:\n  - {name: a, secret_files: [new, old]}\n  - {name: b, secret_files: plain}\n"
        path = self.file("mete.yaml", text)
        other = self.file("other.yaml", text.replace("[new, old]", "[other, new]"))
        shown = mete("config", "show", "--config", path)
        self.assertIn(f'secret_files: ["{self.folder}/new", "{self.folder}/old"]', shown.stdout)
        self.assertIn(f'key_file: "{self.folder}/key"', shown.stdout)
        again = mete("config", "show", "--config", self.file("again.yaml", shown.stdout))
        self.assertEqual((again.returncode, again.stdout), (0, shown.stdout))
        diff = mete("config", "diff", other, "--config", path)
        self.assertEqual((diff.returncode, diff.stdout),
                         (1, "tenant a: secrets rotated: 1 added, 1 removed, 1 kept\n"))
        with Daemon(text.replace("key_file: key", f"key_file: {self.folder}/key").replace("plain", f"{self.folder}/plain")
                    .replace("[new, old]", f"[{self.folder}/new, {self.folder}/old]"), listen="0.0.0.0:0") as daemon:
            stats = mete("stats", "--json", "--admin", daemon.admin).stdout
        said = [shown, again, diff]
        said = "".join(done.stdout + done.stderr for done in said) + stats + "\n".join(daemon.said)
        for secret in secrets:
            self.assertNotIn(secret[:12], said)


class Diff(Folder):
    def test_status_and_lines(self):
        old = self.file("old.yaml", "workers: 1\ntenants: [{name: a, rules: [{name: r, algorithm: token_bucket, rate: 1/s}]}]\n")
        new = self.file("new.yaml", "workers: 2\ntenants: [{name: a, rules: [{name: r, algorithm: token_bucket, rate: 2/s}]}]\n")
        done = mete("config", "diff", new, "--config", old)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertEqual(done.stdout.splitlines(), [
            "rule a/r: token_bucket 1/s burst 1 -> token_bucket 2/s burst 2, keeps what is owed",
            "workers: 1 -> 2, needs a restart"])
        done = mete("config", "diff", "--config", old, new, "--set", "workers=3")
        self.assertEqual(len(done.stdout.splitlines()), 1)
        for words in ([old, "--config", old], ["--config=" + new, new]):
            done = mete("config", "diff", *words)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        default = mete("config", "diff", old)
        self.assertEqual(default.returncode, 1)
        self.assertIn("tenant default: removed, its entries are freed\n", default.stdout)

    def test_bad_files(self):
        good = self.file("good.yaml", "tenants: [{name: a}]\n")
        bad = self.file("bad.yaml", "tenants: [{nam: a}]\n")
        for words in ([bad, "--config", good], [good, "--config", bad]):
            done = mete("config", "diff", *words)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1))
            self.assertTrue(done.stderr.startswith(bad + ":1: tenants[0].nam: "))
        for words in ([], [good, good], [good, "--frob"], [good, "--config"]):
            done = mete("config", "diff", *words)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1))
            self.assertTrue(done.stderr.startswith("mete config: diff"), done.stderr)


class Example(Folder):
    def test_it_is_taken(self):
        text = (ROOT / "systemd" / "example.yaml").read_text()
        path = self.file("mete.yaml", text)
        self.assertEqual(mete("config", "check", path).returncode, 2)  # no secrets yet
        made = re.search(r"for f in (.*); do mete secret new", text).group(1).split()
        for name in made:
            self.secret(name)
        done = mete("config", "check", path)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("4 tenants", done.stdout)
        for tier in ("free", "standard", "premium", "enterprise"):
            self.assertIn(f"tier: {tier}\n", mete("config", "show", "--config", path).stdout)


class Overrides(Folder):
    def test_many_tenants_of_a_large_tier(self):
        """Refused before a tier's overrides are copied to all of its tenants: 53 times 20000 are too many."""
        overrides = ", ".join("{subject: u%d, rate: 1/s}" % i for i in range(20000))
        tenants = ", ".join("{name: t%d, tier: t}" % i for i in range(53))
        line = self.check("tiers: {t: {rules: [{name: r, algorithm: token_bucket, rate: 1/s, overrides: [%s]}]}}\n"
                          "tenants: [%s]\n" % (overrides, tenants))
        self.assertIn("1048576 are possible over all tenants, each override", line)

    def test_serve_does_not_start(self):
        self.assertIn("tenants[0].rules[0].overrides[0]: has neither subject nor prefix", refuse(
            "--config", self.file("mete.yaml", "tenants: [{name: a, rules: [{name: r, algorithm: token_bucket, rate: 1/s,"
                                               " overrides: [{rate: 1/s}]}]}]\n")))


if __name__ == "__main__":
    unittest.main()
