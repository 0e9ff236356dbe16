#!/usr/bin/env python3
"""A daemon that lacks a right, or room, at its start: exit status 2 and one line in the journal, with the priority of
an error, that says what was refused, where, and what would be right. Run as a user without rights in a mount
namespace of its own; skipped without root, which alone can become that user."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import METE, PATIENCE_S

NOBODY = 65534
OPEN = "tenants: [{name: default, rules: []}]\n"


def become(uid):
    def change():
        if uid:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
    return change


def has_namespaces():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@unittest.skipUnless(os.geteuid() == 0, "only root can start a daemon as a user without rights")
class Rights(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-rights-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        self.mete = self.folder / "mete"  # where that user can come to it
        shutil.copyfile(METE, self.mete)
        self.mete.chmod(0o755)
        self.config = self.write("mete.yaml", OPEN)

    def write(self, name, text, mode=0o644, owner=0):
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, owner, owner)
        return path

    def start(self, *sets, config=None, uid=NOBODY, command=()):
        """The process, its stderr being what $JOURNAL_STREAM names, and the reading end."""
        words = [*command, str(self.mete), "serve", "--config", str(config or self.config), "--set", "table.entries=1024"]
        for one in sets:
            words += ["--set", one]
        reader, writer = os.pipe()
        about = os.fstat(writer)
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer, preexec_fn=become(uid),
                                   env={**os.environ, "JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"})
        os.close(writer)
        return process, os.fdopen(reader)

    def one_line(self, *sets, **options):
        process, stream = self.start(*sets, **options)
        with stream:  # who is nobody may not write what a build for coverage counts, and that says so
            said = "".join(line for line in stream if not line.startswith("profiling:"))
        self.assertEqual(process.wait(PATIENCE_S), 2, said)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertTrue(said.startswith("<3>mete serve: "), said)
        return said.removeprefix("<3>mete serve: ").rstrip("\n")

    def refused(self, expected, *sets, **options):
        sets = ("listen.udp=127.0.0.1:0", "listen.admin=none", *sets)
        self.assertRegex(self.one_line(*sets, **options), "^" + expected + "$")

    def test_configuration(self):
        closed = self.write("closed.yaml", OPEN, 0o600)
        self.refused(rf"{closed}: cannot be read: Permission denied: user {NOBODY} needs to read it .*chmod 640 FILE`", config=closed)
        (self.folder / "closed").mkdir(mode=0o700)
        inside = self.write("closed/mete.yaml", OPEN)
        self.refused(rf"{inside}: cannot be read: Permission denied: .* pass its folders; .*", config=inside)

    @unittest.skipIf(int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 7, "low ports are free for all here")
    def test_low_ports(self):
        right = "Permission denied: a port below 1024 needs CAP_NET_BIND_SERVICE; .* mete.socket pass it"
        line = self.one_line("listen.udp=127.0.0.1:7", "listen.admin=none")
        self.assertRegex(line, rf"^listen.udp: cannot listen on 127.0.0.1:7: {right}$")
        for door in ("resp", "http", "grpc", "metrics"):
            self.refused(rf"listen.{door}: 127.0.0.1:7: {right}", f"listen.{door}=127.0.0.1:7")

    def test_folders(self):
        (self.folder / "closed").mkdir(mode=0o700)
        (self.folder / "read").mkdir(mode=0o755)
        for where in ("closed", "read"):
            for field in ("admin", "unix", "resp", "http", "metrics"):
                path = self.folder / where / "x.sock"
                self.refused(rf"listen.{field}: {path}: Permission denied: user {NOBODY} may not make a socket there; give .*",
                             f"listen.{field}={path}")
        path = self.folder / "none" / "x.sock"
        self.refused(rf"listen.unix: {path}: No such file or directory: make its folder, .*", f"listen.unix={path}")

    def test_key_files(self):
        key = self.write("key", "k" * 32, 0o600)
        self.refused(rf"--set key_file: {key} cannot be read: Permission denied; it must belong to user {NOBODY}, with mode 0600, .*",
                     f"key_file={key}")
        for mode in (0o644, 0o640, 0o604):
            key = self.write("key", "k" * 32, mode, NOBODY)
            self.refused(rf"--set key_file: {key} may be used by others than its owner \(mode {mode:04o}\); chmod 600 it",
                         f"key_file={key}")
        secret = self.write("acme.key", "s" * 32, 0o644, NOBODY)
        config = self.write("acme.yaml", f"tenants:\n  - name: acme\n    rules: []\n    secret_files: [{secret}]\n")
        self.refused(rf"{config}:4: tenants\[0\].secret_files\[0\]: {secret} may be used by others .*chmod 600 it", config=config)

    # ---- a full /run ----

    def full(self, where, then=""):
        """Runs what follows with a full file system at that place."""
        (self.folder / "full").mkdir(exist_ok=True)
        script = (f"mount -t tmpfs -o size=4k,nr_inodes=3 full {where} && head -c 4096 /dev/zero >{where}/a && touch {where}/b && "
                  f'{then} exec "$@"')
        return ["unshare", "-m", "sh", "-c", script, "sh"]

    @unittest.skipUnless(has_namespaces(), "no mount namespaces here")
    def test_full(self):
        for field in ("admin", "unix", "resp"):
            path = self.folder / "full" / "x.sock"
            self.refused(rf"listen.{field}: {path}: No space left on device: the file system of that folder is full \(df, df -i\); make room, .*",
                         f"listen.{field}={path}", uid=0, command=self.full(self.folder / "full"))

    @unittest.skipUnless(has_namespaces(), "no mount namespaces here")
    def test_read_only(self):
        (self.folder / "fixed").mkdir()
        path = self.folder / "fixed" / "x.sock"
        command = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o ro fixed {path.parent} && exec "$@"', "sh"]
        self.refused(rf"listen.unix: {path}: Read-only file system: choose a path in a folder that may be written, .*",
                     f"listen.unix={path}", uid=0, command=command)

    @unittest.skipUnless(has_namespaces(), "no mount namespaces here")
    def test_full_run(self):
        """The place of the operators' socket that nobody asked for is not worth an outage: one warning, and it serves."""
        process, stream = self.start("listen.udp=127.0.0.1:0", uid=0, command=self.full("/run", "unset METE_LISTEN_ADMIN;"))
        with stream:
            lines = [stream.readline(), stream.readline()]
            process.send_signal(signal.SIGTERM)
            lines += stream.read().splitlines()
        self.assertEqual(process.wait(PATIENCE_S), 0, lines)
        self.assertRegex(lines[0], r"^<4>listen.admin: no socket at /run/mete/admin.sock \(No space left on device\), so `mete stats` has nobody to ask; --set .*")
        self.assertRegex(lines[1], r"^<6>.* workers ")
        self.assertEqual([line for line in lines if line.startswith(("<3>", "<4>"))], lines[:1])

    def test_not_the_journal(self):
        """Where stderr is no journal there is no priority."""
        done = subprocess.run([METE, "serve", "--config", "/nowhere"], text=True, capture_output=True, timeout=PATIENCE_S,
                              env={**os.environ, "JOURNAL_STREAM": "1:1"})
        self.assertEqual(done.stderr, "mete serve: /nowhere: cannot be read: No such file or directory\n")


if __name__ == "__main__":
    unittest.main()
