#!/usr/bin/env python3
"""A real nginx in front of a static site, by deploy/nginx/mete.conf as it stands (but for addresses and folders): what
passes is served once and charged once, what does not is 429 with mete's headers, and without mete the site goes on."""
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import PATIENCE_S, ROOT, Daemon, parse_address
from lib.http_raw import Raw, get, request

CONFIG = """
tenants:
  - name: default
    rules: [{name: site, algorithm: token_bucket, rate: 2/h, burst: 10}]
"""
EXAMPLE = ROOT / "deploy" / "nginx" / "mete.conf"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipUnless(NGINX, "no nginx here (apt-get install nginx)")
class Nginx(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-nginx-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        (self.folder / "site").mkdir()
        (self.folder / "site" / "index.html").write_text("<p>hello</p>\n")
        self.folder.chmod(0o755)

    def start(self, mete_address, change=lambda text: text):
        port = free_port()
        text, count = re.subn(r"127\.0\.0\.1:6385|127\.0\.0\.1:8080|/var/www/html", lambda match: {
            "127.0.0.1:6385": "%s:%d" % mete_address, "127.0.0.1:8080": f"127.0.0.1:{port}",
            "/var/www/html": str(self.folder / "site")}[match.group()], EXAMPLE.read_text())
        self.assertGreaterEqual(count, 3)
        (self.folder / "mete.conf").write_text(change(text))
        temporary = "".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {self.folder}/pid; error_log stderr warn;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary} include mete.conf; }}\n")
        errors = open(self.folder / "errors", "w")
        self.addCleanup(errors.close)
        nginx = subprocess.Popen([NGINX, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"],
                                 stderr=errors, stdin=subprocess.DEVNULL)
        self.addCleanup(self.stop, nginx)
        address = "127.0.0.1", port
        while nginx.poll() is None:
            try:
                socket.create_connection(address, PATIENCE_S).close()
                return address
            except ConnectionRefusedError:
                pass
        self.fail((self.folder / "errors").read_text())

    def stop(self, nginx):
        nginx.send_signal(signal.SIGQUIT)
        try:
            nginx.wait(PATIENCE_S)
        finally:
            nginx.kill()
            nginx.wait()

    def test_site_behind_mete(self):
        with Daemon(CONFIG, ["listen.http=127.0.0.1:0"]) as daemon:
            site = self.start(parse_address(daemon.http))
            with Raw(site) as raw:
                answers = [raw.ask(get("/index.html", "X-Api-Key: the client's own", "Authorization: Basic eDp5"))
                           for _ in range(13)]
            self.assertEqual([a.status for a in answers], [200] * 10 + [429] * 3)
            self.assertEqual({a.body for a in answers[:10]}, {b"<p>hello</p>\n"})
            first, last = answers[0].headers, answers[-1].headers
            self.assertEqual((first["ratelimit-policy"], first["x-ratelimit-remaining"]), ('"site";q=10;w=18000', "9"))
            self.assertTrue(first["ratelimit"].startswith('"site";r=9;t='))
            self.assertNotIn("retry-after", first)
            self.assertEqual(last["content-type"], "application/problem+json")
            self.assertEqual(answers[-1].json()["status"], 429)
            self.assertTrue(1 <= int(last["retry-after"]) <= 1800, last["retry-after"])
            self.assertTrue(last["ratelimit"].startswith('"site";r=0;t='))
            rule = daemon.rule("site")  # each was charged once, and nobody can ask for more by asking nginx for it
            self.assertEqual((rule["allowed"], rule["denied"]), (10, 3))
            for path in ("/_mete", "/_denied", "/_mete?rule=site&subject=x"):
                with Raw(site) as raw:
                    self.assertIn(raw.ask(get(path)).status, (404, 429))
            with Raw(site) as raw:
                self.assertEqual(raw.ask(request("POST", "/index.html", b"x" * 100000)).status, 429)
            self.assertEqual(daemon.rule("site")["allowed"], 10)
            with daemon.client() as client:  # the subject is the address
                self.assertEqual(client.check("site", b"127.0.0.1", 0).remaining, 0)

    def test_without_mete(self):
        """Nobody listens there: the site goes on and says so."""
        with Raw(self.start(("127.0.0.1", free_port()))) as raw:
            answer = raw.ask(get("/index.html"))
            self.assertEqual((answer.status, answer.body), (200, b"<p>hello</p>\n"))
            self.assertEqual(answer.headers["x-ratelimit-skipped"], "no answer")


if __name__ == "__main__":
    unittest.main()
