"""Certificates for tests, made by the openssl program in a folder of their own, of elliptic curves because those are
made at once. Files are named after what they are: ca.pem, server.pem with server.key, ..."""
import hashlib
import pathlib
import subprocess


def openssl(*arguments, **options):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


class Certificates:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def path(self, name):
        return str(self.folder / name)

    def key(self, name, *options):
        path = self.folder / f"{name}.key"
        path.touch(mode=0o600)
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", *options, "-out", path)
        path.chmod(0o600)
        return path

    def ca(self, name="ca"):
        self.key(name)
        openssl("req", "-x509", "-new", "-key", self.path(f"{name}.key"), "-subj", f"/CN=test {name}", "-days", "30",
                "-out", self.path(f"{name}.pem"))

    def leaf(self, name, subject, names="", ca="ca", days=10, chain=False):
        """A certificate of this CA for a subject such as "/CN=x", with alternative names such as "DNS:a,URI:b"."""
        self.key(name)
        request, extensions = self.path(f"{name}.csr"), self.folder / f"{name}.ext"
        openssl("req", "-new", "-key", self.path(f"{name}.key"), "-subj", subject, "-out", request)
        extensions.write_text(f"subjectAltName={names}\n" if names else "basicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", request, "-CA", self.path(f"{ca}.pem"), "-CAkey", self.path(f"{ca}.key"),
                "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", self.path(f"{name}.pem"))

    def spki(self, name):
        """What `certificate: "spki:..."` has of it."""
        public = openssl("x509", "-in", self.path(f"{name}.pem"), "-pubkey", "-noout")
        return hashlib.sha256(openssl("pkey", "-pubin", "-outform", "DER", input=public)).hexdigest()

    def private_bytes(self, name):
        """The number that the key keeps secret."""
        text = openssl("pkey", "-in", self.path(f"{name}.key"), "-text", "-noout").decode()
        return bytes.fromhex("".join(text.split("priv:")[1].split("pub:")[0].split()).replace(":", ""))[-32:]
