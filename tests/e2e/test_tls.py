#!/usr/bin/env python3
"""TLS at the doors: who is let in and as whom, certificates that change while it runs, and what strangers send instead
of a handshake. The clients are Python's ssl and the openssl program; certificates are made here."""
import hashlib
import os
import pathlib
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.certificates import Certificates
from lib.daemon import PATIENCE_S, Daemon, mete, parse_address
from lib.http_raw import Raw, get, post

RULES = "    rules: [{name: api, algorithm: token_bucket, rate: 1/h, burst: 1000}]\n"


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-tls-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.files = made = Certificates(cls.folder)
        made.ca()
        made.ca("strange")
        made.leaf("server", "/CN=localhost", "DNS:localhost,IP:127.0.0.1")
        made.leaf("renewed", "/CN=localhost", "DNS:localhost,IP:127.0.0.1", days=20)
        made.leaf("ci", "/CN=ci.acme", "URI:spiffe://acme/ci")
        made.leaf("ops", "/CN=ops.acme", "DNS:ops.acme.example,email:ops@acme.example")
        made.leaf("pinned", "/CN=nobody")
        made.leaf("unknown", "/CN=x.example")
        made.leaf("foreign", "/CN=ci.acme", "URI:spiffe://acme/ci", ca="strange")

    def config(self, tls=None, more=""):
        named = tls or "certificate: server.pem, key: server.key, client_ca: ca.pem"
        path = self.folder / "mete.yaml"
        path.write_text(
            f"tls: {{{named}}}\n{more}tenants:\n  - name: default\n{RULES}  - name: acme\n    api_keys:\n"
            f"      - {{name: key, sha256: \"{hashlib.sha256(b'acme-key').hexdigest()}\", may: [check]}}\n"
            + ("" if "client_ca" not in named else
               "      - {name: ci, certificate: \"uri:spiffe://acme/ci\", may: [check]}\n"
               "      - {name: ops, certificate: \"dns:ops.acme.example\", may: [check, manage]}\n"
               f"      - {{name: pin, certificate: \"spki:{self.files.spki('pinned')}\", may: [check]}}\n")
            + f"{RULES}  - name: other\n{RULES}")
        return path

    def daemon(self, *sets, tls=None, more="", **options):
        doors = ["listen.http_tls=127.0.0.1:0", "listen.resp_tls=127.0.0.1:0", "listen.http=127.0.0.1:0"]
        daemon = Daemon(sets=[*doors, *sets], path=self.config(tls, more), **options)
        daemon.https, daemon.rediss = parse_address(daemon.http_tls), parse_address(daemon.resp_tls)
        return daemon

    def context(self, client=None, alpn=("http/1.1",), ca="ca"):
        context = ssl.create_default_context(cafile=self.files.path(f"{ca}.pem"))
        if client:
            context.load_cert_chain(self.files.path(f"{client}.pem"), self.files.path(f"{client}.key"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def connect(self, address, client=None, context=None, **options):
        plain = socket.create_connection(address, PATIENCE_S)
        try:
            return (context or self.context(client, **options)).wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def web(self, daemon, client=None, **options):
        return Raw(daemon.https, self.connect(daemon.https, client, **options))


class Served(Case):
    """One daemon for all that does not change it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.served = cls.daemon(cls())

    @classmethod
    def tearDownClass(cls):
        try:
            cls.served.stop()
        finally:
            cls.served.close()

    def check(self, client, subject, *headers):
        with self.web(self.served, client) as raw:
            return raw.ask(post("/check", {"rule": "api", "subject": subject}, *headers))

    def test_same_bucket_by_udp_and_both_doors(self):
        with self.served.client() as udp, self.web(self.served) as raw, Raw(parse_address(self.served.http)) as plain, \
                self.connect(self.served.rediss, alpn=None) as redis:
            self.assertEqual(udp.check("api", b"all").remaining, 999)
            self.assertEqual(raw.ask(post("/check", {"rule": "api", "subject": "all"})).json()["remaining"], 998)
            self.assertEqual(plain.ask(post("/check", {"rule": "api", "subject": "all"})).json()["remaining"], 997)
            redis.sendall(b"METE.CHECK api all\r\n")
            self.assertTrue(redis.recv(100).startswith(b"*5\r\n:1\r\n:996\r\n"))
            self.assertEqual((raw.socket.version(), raw.socket.selected_alpn_protocol()), ("TLSv1.3", "http/1.1"))

    def test_versions(self):
        context = self.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.web(self.served, context=context) as raw:
            self.assertEqual(raw.socket.version(), "TLSv1.2")
            self.assertEqual(raw.ask(get("/healthz")).status, 200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            self.connect(self.served.https, context=context)

    def test_alpn(self):
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            self.connect(self.served.https, alpn=("h2",))
        for offered in (("h2", "http/1.1"), None):
            with self.web(self.served, alpn=offered) as raw:
                self.assertEqual(raw.ask(get("/healthz")).status, 200)

    def test_clients(self):
        """A certificate is who its tenant says, with the rights of that entry and no others."""
        for client, usage, remaining in (("ci", 403, None), ("ops", 200, None), ("pinned", 403, None)):
            with self.web(self.served, client) as raw:
                answer = raw.ask(post("/check", {"rule": "api", "subject": client}))
                self.assertEqual((answer.status, answer.json()["remaining"]), (200, 999), client)
                self.assertEqual(raw.ask(get("/usage")).status, usage, client)
        with self.served.client() as udp:  # another tenant's bucket was not touched
            self.assertEqual(udp.check("api", b"ci").remaining, 999)
        self.assertEqual(self.check("unknown", "x").status, 401)
        self.assertEqual(self.check(None, "x").status, 200)
        self.assertEqual(self.check("unknown", "x", "X-Api-Key: acme-key").status, 200)
        with self.connect(self.served.rediss, "ci", alpn=None) as redis:
            redis.sendall(b"METE.CHECK api ci\r\nMETE.RESET api ci\r\n")
            said = b""
            while said.count(b"\n") < 8:
                said += redis.recv(1000)
            self.assertTrue(said.startswith(b"*5\r\n:1\r\n:998\r\n"), said)
            self.assertIn(b"-NOPERM", said)
        with self.connect(self.served.rediss, "unknown", alpn=None) as redis:
            redis.sendall(b"METE.CHECK api ci\r\n")
            self.assertTrue(redis.recv(1000).startswith(b"-NOAUTH"))

    def test_a_name_is_no_key(self):
        """What a certificate's name hashes to is in the configuration beside the keys, but is none."""
        for name in ("uri:spiffe://acme/ci", "dns:ops.acme.example"):
            self.assertEqual(self.check(None, "x", f"X-Api-Key: {name}").status, 401)

    def test_strange_certificates(self):
        """Of a CA that is not believed: the handshake fails, whatever the certificate says."""
        with self.connect(self.served.https, "foreign") as one, self.assertRaises((ssl.SSLError, ConnectionError)):
            one.sendall(get("/healthz"))
            if one.recv(1000) == b"":
                raise ConnectionError

    def test_large_and_small_records(self):
        body = {"checks": [{"rule": "api", "subject": "many"}] * 64}
        data = post("/check", body)
        with self.web(self.served) as raw:
            raw.send(data * 40)  # more than one record, and more than the door's buffer
            for _ in range(40):
                self.assertEqual(len(raw.answer().json()["results"]), 64)
            for byte in get("/healthz"):
                raw.send(bytes([byte]))
            self.assertEqual(raw.answer().status, 200)

    def test_who_does_not_read_holds_up_nobody(self):
        with self.web(self.served) as slow:
            slow.socket.setblocking(False)
            data = post("/check", {"checks": [{"rule": "api", "subject": "slow"}] * 64})
            sent = 0
            try:
                while sent < 64 << 20:
                    sent += slow.socket.send(data)
            except (ssl.SSLWantWriteError, BlockingIOError):
                pass
            with self.web(self.served) as raw:
                self.assertEqual(raw.ask(get("/healthz")).status, 200)

    def test_half_an_end(self):
        """The peer ends its direction: what it asked before is answered, and then it is over."""
        with self.web(self.served) as raw:
            raw.send(get("/healthz"))
            self.assertEqual(raw.answer().status, 200)
            raw.socket.unwrap().close()

    # ---- strangers ----

    def ends(self, data, address=None):
        """Sends and hears until the server closes; returns what it said."""
        with socket.create_connection(address or self.served.https, PATIENCE_S) as plain:
            said = b""
            try:
                plain.sendall(data)
                while more := plain.recv(65536):
                    said += more
            except ConnectionError:
                pass
        return said

    def test_garbage_instead_of_a_handshake(self):
        # What is random follows five bytes that begin no record: one in 400 of all beginnings announces a record of
        # which the rest is rightly waited for.
        hello = b"\x16\x03\x01\xff\xff\x01\x00\xff\xfc\x03\x03"
        for data in (b"\x00" * 100, bytes(5) + os.urandom(4096), b"\xff" * 100000, b"PING\r\n" * 10, hello + os.urandom(65535),
                     b"\x16\x03\x01\x00\x05hello", b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03\x40\x00" + bytes(16384),
                     b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(60)):
            said = self.ends(data)
            self.assertTrue(said == b"" or said[:1] == b"\x15", said[:20])  # an alert, or nothing
        with self.web(self.served) as raw:
            self.assertEqual(raw.ask(get("/healthz")).status, 200)

    def test_record_that_stays_away(self):
        """Announced and not sent: waited for, and over when the peer ends its direction."""
        for data in (b"\x16\x03\x01\x40\x00" + bytes(4096), b"\xc0\x00\x01" + bytes(4096)):
            with socket.create_connection(self.served.https, PATIENCE_S) as plain:
                plain.sendall(data)
                plain.shutdown(socket.SHUT_WR)
                said = plain.recv(65536)
            self.assertTrue(said == b"" or said[:1] == b"\x15", said[:20])

    def test_plaintext_on_the_port(self):
        said = self.ends(get("/healthz"))
        self.assertTrue(said.startswith(b"HTTP/1.1 400 "), said)
        self.assertIn(b"TLS", said)
        self.assertTrue(self.ends(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400 "))
        said = self.ends(b"*1\r\n$4\r\nPING\r\n", self.served.rediss)
        self.assertTrue(said == b"" or said[:1] == b"\x15", said)

    def test_handshake_broken_off(self):
        for _ in range(50):
            with socket.create_connection(self.served.https) as plain:
                plain.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(100))
        with self.web(self.served) as raw:
            self.assertEqual(raw.ask(get("/healthz")).status, 200)

    def test_renegotiation(self):
        """Refused: it would be work for the server at a client's wish, as often as it likes."""
        program = ["openssl", "s_client", "-connect", "%s:%d" % self.served.https, "-tls1_2", "-CAfile",
                   self.files.path("ca.pem"), "-servername", "localhost"]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
            said = b""
            while b"---\n" not in said or b"Verify return code: 0" not in said:
                self.assertTrue(select.select([client.stdout], [], [], PATIENCE_S)[0], said)
                more = os.read(client.stdout.fileno(), 65536)
                self.assertTrue(more, said)
                said += more
            client.stdin.write(b"R\n")
            client.stdin.flush()
            said = client.communicate(timeout=PATIENCE_S)[0]
        self.assertRegex(said, b"no renegotiation|handshake failure|RENEGOTIATING")
        self.assertNotEqual(client.returncode, 0)

    def test_many_idle(self):
        """Hundreds of connections that stay silent, with and without a handshake, beside one that asks."""
        held = []
        try:
            for number in range(400):
                held.append(socket.create_connection(self.served.https, PATIENCE_S) if number % 4
                            else self.connect(self.served.https))
            with self.web(self.served) as raw:
                self.assertEqual(raw.ask(get("/healthz")).status, 200)
        finally:
            for one in held:
                one.close()


class Limits(Case):
    def test_silence(self):
        """Half a handshake, a whole one and half a request: each ends after doors.idle."""
        with self.daemon("doors.idle=300ms") as daemon:
            with socket.create_connection(daemon.https, PATIENCE_S) as plain:
                self.assertEqual(plain.recv(1), b"")
            with socket.create_connection(daemon.https, PATIENCE_S) as plain:
                plain.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
                self.assertEqual(plain.recv(1), b"")
            with socket.create_connection(daemon.https, PATIENCE_S) as plain:  # however slowly it drips
                try:
                    plain.settimeout(0.02)
                    for byte in b"\x16\x03\x01\x3f\x00\x01\x00\x3e\xfc\x03\x03" + bytes(16000):
                        plain.send(bytes([byte]))
                        try:
                            self.assertEqual(plain.recv(1), b"")
                            break
                        except TimeoutError:
                            pass
                    else:
                        self.fail("it was never closed")
                except ConnectionError:
                    pass
            with self.web(daemon) as raw:
                self.assertTrue(raw.is_closed())
            with self.web(daemon) as raw:
                raw.send(b"GET /healthz HT")
                self.assertEqual(raw.answer().status, 408)
                self.assertTrue(raw.is_closed())

    def test_one_connection_too_many(self):
        with self.daemon("doors.connections=2") as daemon, self.web(daemon) as one, self.web(daemon) as two:
            with socket.create_connection(daemon.https, PATIENCE_S) as third:
                self.assertEqual(third.recv(100), b"")
            for raw in (one, two):
                self.assertEqual(raw.ask(get("/healthz")).status, 200)

    def test_clients_required(self):
        with self.daemon("tls.clients=required") as daemon:
            with self.web(daemon, "ci") as raw:
                self.assertEqual(raw.ask(post("/check", {"rule": "api", "subject": "x"})).status, 200)
            with self.connect(daemon.https) as none, self.assertRaises((ssl.SSLError, ConnectionError)):
                none.sendall(get("/healthz"))
                if none.recv(1000) == b"":
                    raise ConnectionError

    def test_http2_for_grpc(self):
        """The gRPC door under TLS: ALPN h2, its first frame, silence that ends."""
        with self.daemon("listen.grpc_tls=127.0.0.1:0", "doors.idle=500ms") as daemon:
            address = parse_address(daemon.grpc_tls)
            with self.assertRaises((ssl.SSLError, ConnectionResetError)):
                self.connect(address, alpn=("http/1.1",))
            with self.connect(address, alpn=("h2", "http/1.1")) as one:
                self.assertEqual(one.selected_alpn_protocol(), "h2")
                one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
                said = one.recv(9)
                self.assertEqual((len(said), said[3]), (9, 4))  # SETTINGS
                while one.recv(1000):
                    pass
            for half in (b"", b"\x16\x03\x01\x02\x00\x01"):
                with socket.create_connection(address, PATIENCE_S) as plain:
                    plain.send(half)
                    self.assertEqual(plain.recv(1), b"")

    def test_unix_sockets(self):
        path = str(self.folder / "https.sock")
        with Daemon(sets=[f"listen.http_tls={path}"], path=self.config()) as daemon:
            self.assertEqual(daemon.http_tls, path)
            plain = socket.socket(socket.AF_UNIX)
            plain.connect(path)
            with Raw(path, self.context().wrap_socket(plain, server_hostname="localhost")) as raw:
                self.assertEqual(raw.ask(post("/check", {"rule": "api", "subject": "x"})).status, 200)
        self.assertFalse(os.path.exists(path))


class Reload(Case):
    def serial(self, daemon):
        with self.connect(daemon.https) as one:
            return one.getpeercert()["serialNumber"]

    def reload(self, daemon, status=0):
        done = mete("reload", "--admin", daemon.admin)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_certificates_change(self):
        """New connections get the new certificate, those that stand go on; what is wrong changes nothing."""
        with self.daemon() as daemon, self.web(daemon, "ci") as standing:
            before = self.serial(daemon)
            self.config("certificate: renewed.pem, key: renewed.key, client_ca: ca.pem")
            self.assertIn("tls.certificate", self.reload(daemon))
            after = self.serial(daemon)
            self.assertNotEqual(before, after)
            self.assertEqual(standing.ask(post("/check", {"rule": "api", "subject": "x"})).status, 200)
            self.config("certificate: server.pem, key: renewed.key, client_ca: ca.pem")
            self.assertIn("is not the key of the certificate", self.reload(daemon, 2))
            self.assertEqual(self.serial(daemon), after)

    def test_a_door_that_stays_needs_its_certificate(self):
        """Listeners stay as they are until a restart; a file that would leave one without a certificate is refused."""
        path = self.config(more="listen: {http_tls: \"127.0.0.1:0\"}\n")
        with Daemon(path=path) as daemon:
            daemon.https = parse_address(daemon.http_tls)
            before = self.serial(daemon)
            path.write_text(f"tenants:\n  - name: default\n{RULES}")
            self.assertIn("tls.certificate: is missing, but a door that speaks TLS is open", self.reload(daemon, 2))
            self.assertEqual(self.serial(daemon), before)

    def test_first_certificate_by_a_reload(self):
        """Nothing of OpenSSL was used before; by now the process may do less than when it started."""
        path = self.folder / "first.yaml"
        path.write_text(f"tenants:\n  - name: default\n{RULES}")
        with Daemon(path=path) as daemon:
            for key in ("renewed", "server"):
                path.write_text(f"tls: {{certificate: server.pem, key: {key}.key, client_ca: ca.pem}}\n"
                                f"tenants:\n  - name: default\n{RULES}")
                self.reload(daemon, 0 if key == "server" else 2)

    def test_the_same_files_renewed(self):
        """As an ACME client does it: other bytes under the same names."""
        folder = self.folder / "live"
        folder.mkdir(exist_ok=True)
        for kind in ("pem", "key"):
            shutil.copy(self.files.path(f"server.{kind}"), folder / f"live.{kind}")
        with self.daemon(tls="certificate: live/live.pem, key: live/live.key") as daemon:
            before = self.serial(daemon)
            for kind in ("pem", "key"):
                shutil.copy(self.files.path(f"renewed.{kind}"), folder / f"live.{kind}")
            self.reload(daemon)
            self.assertNotEqual(self.serial(daemon), before)

    def test_rights_end_at_once(self):
        """Also on a connection that stands."""
        with self.daemon() as daemon, self.web(daemon, "ci") as standing:
            ask = post("/check", {"rule": "api", "subject": "x"})
            self.assertEqual(standing.ask(ask).status, 200)
            path = self.config()
            text = path.read_text().replace("uri:spiffe://acme/ci", "uri:spiffe://acme/cd")
            path.write_text(text)
            self.assertIn("API key ci changed", self.reload(daemon))
            self.assertEqual(standing.ask(ask).status, 401)


if __name__ == "__main__":
    unittest.main()
