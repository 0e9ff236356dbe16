#!/usr/bin/env python3
"""Certificates and keys as files: each mistake has its line, and the key lies where secrets lie and nowhere else."""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from e2e import test_tls
from e2e.test_secrecy import dense, mappings
from lib.daemon import SANITIZED, mete, refuse
from lib.http_raw import get


class Files(test_tls.Case):
    def says(self, tls, more=""):
        path = self.config(tls, more)
        done = mete("config", "check", str(path))
        self.assertEqual(done.returncode, 2, done.stdout)
        line = done.stderr.strip()
        self.assertEqual(refuse("--config", str(path), "--set", "listen.udp=127.0.0.1:0"), f"mete serve: {line}")
        self.assertTrue(line.startswith(str(path)), line)
        return line[len(str(path)):]

    def file(self, name, data, mode=0o600):
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(mode)
        return name

    def test_each_mistake_has_its_line(self):
        good = (self.folder / "server.pem").read_bytes()
        key = (self.folder / "server.key").read_bytes()
        self.file("open.key", key, 0o644)
        self.file("empty", b"")
        self.file("cut.pem", good[:300])
        self.file("long.key", key * 400)
        subprocess.run(["openssl", "ec", "-in", self.files.path("server.key"), "-aes256", "-passout", "pass:x", "-out",
                        self.files.path("locked.key")], check=True, capture_output=True, timeout=60)
        (self.folder / "locked.key").chmod(0o600)
        at = str(self.folder)
        for tls, wanted in (
                ("certificate: none.pem, key: server.key", f":1: tls.certificate: {at}/none.pem cannot be read: No such"),
                ("certificate: server.pem, key: none.key", f":1: tls.key: {at}/none.key cannot be read: No such"),
                ("certificate: server.pem, key: renewed.key", f":1: tls.key: {at}/renewed.key is not the key of the cert"),
                ("certificate: server.pem, key: open.key", f":1: tls.key: {at}/open.key may be used by others than its"),
                ("certificate: server.pem, key: locked.key", f":1: tls.key: {at}/locked.key is under a passphrase"),
                ("certificate: server.pem, key: long.key", f":1: tls.key: {at}/long.key is too long"),
                ("certificate: server.pem, key: server.pem", f":1: tls.key: {at}/server.pem may be used by others"),
                ("certificate: server.pem, key: empty", f":1: tls.key: {at}/empty holds no private key as PEM"),
                ("certificate: empty, key: server.key", f":1: tls.certificate: {at}/empty holds no certificate as PEM"),
                ("certificate: cut.pem, key: server.key", f":1: tls.certificate: {at}/cut.pem holds no certificate"),
                (f"certificate: {at}, key: server.key", f":1: tls.certificate: {at} holds no certificate"),
                ("certificate: server.pem, key: server.key, client_ca: no.pem", f":1: tls.client_ca: {at}/no.pem cannot be"),
                ("certificate: server.pem, key: server.key, client_ca: empty", f":1: tls.client_ca: {at}/empty holds no c"),
                ("certificate: server.pem", ": tls.key: is missing; tls.certificate needs its key"),
                ("key: server.key", ": tls.certificate: is missing; tls.key needs its certificate"),
                ("certificate: server.pem, key: server.key, clients: required", ": tls.client_ca: is missing; tls.clients"),
                ("certificate: server.pem, key: server.key, clients: all", ":1: tls.clients: "),
                ("certificat: server.pem", ":1: tls.certificat: unknown field; did you mean 'certificate'?")):
            with self.subTest(tls):
                said = self.says(tls)
                self.assertEqual(said[:len(wanted)], wanted)
        self.assertIn("listen.resp_tls: speaks TLS and needs tls.certificate and tls.key",
                      self.says("clients: optional", "listen: {resp_tls: \"127.0.0.1:0\"}\n"))

    def test_names_in_certificates(self):
        for name, wanted in (("ops", "is no name in a certificate"), ("cn:", "needs 1 to 255 letters"), ("cn:a b", "needs 1"),
                             ("spki:abc", "needs 64 hex digits"), ("spki:" + "A" * 64, "needs 64 hex digits"),
                             ("dns:ops.acme.example", "is the same key as one of tenant")):
            path = self.config()
            path.write_text(path.read_text().replace("uri:spiffe://acme/ci", name))
            done = mete("config", "check", str(path))
            self.assertEqual(done.returncode, 2)
            self.assertIn("tenants[1].api_keys[", done.stderr)
            self.assertIn(".certificate: ", done.stderr)
            self.assertIn(wanted, done.stderr)
        path = self.config()
        path.write_text(path.read_text().replace(", client_ca: ca.pem", ""))
        self.assertIn("so that nobody can show the certificate of api_keys 'ci' of tenant 'acme'",
                      mete("config", "check", str(path)).stderr)

    def test_shown_as_it_is(self):
        shown = mete("config", "show", "--config", str(self.config())).stdout
        self.assertIn(f'key: "{self.folder}/server.key"', shown)
        self.assertIn('certificate: "uri:spiffe://acme/ci"', shown)
        again = self.folder / "again.yaml"
        again.write_text(shown)
        self.assertEqual(mete("config", "show", "--config", str(again)).stdout, shown)


@unittest.skipIf(SANITIZED, "a sanitizer keeps copies of its own")
class Secrecy(test_tls.Case):
    def test_the_key_is_only_in_locked_pages(self):
        secret = self.files.private_bytes("server")
        pem = (self.folder / "server.key").read_bytes().split(b"\n")[1][:40]
        patterns = [secret[:16], secret[16:], secret[::-1][:16], secret[::-1][16:], secret.hex().encode(), pem]
        with self.daemon() as daemon:
            for _ in range(3):
                with self.web(daemon, "ci") as raw:
                    self.assertEqual(raw.ask(get("/healthz")).status, 200)
            for _ in range(2):
                kept = False
                with open(f"/proc/{daemon.process.pid}/mem", "rb", 0) as memory:
                    for start, end, name, is_safe in mappings(daemon.process.pid):
                        memory.seek(start)
                        try:
                            data = dense(memory.read(end - start))
                        except OSError:
                            continue
                        for number, pattern in enumerate(patterns):
                            if is_safe:
                                kept |= pattern in data
                            elif pattern in data:
                                self.fail(f"pattern {number} is in the mapping {name or 'without a name'}")
                self.assertTrue(kept)
                self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)


if __name__ == "__main__":
    unittest.main()
