#!/usr/bin/env python3
"""The root of the container image, run as a container would: its own root, network and process numbers, a user without
rights, and no io_uring, as containers' filters have it."""
import errno
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import COUNTED, METE, PATIENCE_S, ROOT, SANITIZED
from test_start import forbid_io_uring

DOCKERFILE = ROOT / "deploy/Dockerfile"


def words(instruction):
    """The JSON form of an instruction of the Dockerfile."""
    return json.loads(re.search(rf"{instruction} (\[.*\])", DOCKERFILE.read_text())[1])


@unittest.skipIf(SANITIZED or COUNTED, "an image holds no sanitizer's runtime, and nothing to count in")
@unittest.skipUnless(os.geteuid() == 0, "needs root for namespaces")
class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="mete-image-")
        cls.addClassCleanup(shutil.rmtree, cls.root)
        os.chmod(cls.root, 0o755)
        subprocess.run([str(ROOT / "deploy/image-root"), cls.root, METE], check=True, timeout=PATIENCE_S)

    def test_small_and_without_a_shell(self):
        size = sum(path.stat().st_size for path in pathlib.Path(self.root).rglob("*") if path.is_file() and not path.is_symlink())
        self.assertLess(size, 40 << 20)
        self.assertEqual(os.listdir(self.root + "/usr/bin"), ["mete"])

    def test_serves(self):
        inside = ["chroot", "--userspec=10001:10001", self.root]
        daemon = subprocess.Popen(["unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", 'ip link set lo up; exec "$@"', "sh",
                                   *inside, *words("ENTRYPOINT")], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                  preexec_fn=forbid_io_uring(errno.EPERM))
        self.addCleanup(daemon.stderr.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        said = daemon.stderr.readline()
        self.assertIn("io_uring is not to be had here", said)
        said = daemon.stderr.readline()
        self.assertIn("backend mmsg", said)
        children = f"/proc/{daemon.pid}/task/{daemon.pid}/children"
        child = pathlib.Path(children).read_text().split()[0]
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        self.assertRegex(status, r"Uid:\t10001\t")
        health = words("CMD")
        done = subprocess.run(["nsenter", "-t", child, "--net", *inside, *health], text=True, capture_output=True, timeout=PATIENCE_S)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("allowed", done.stdout)
        os.kill(int(child), 15)
        self.assertEqual(daemon.wait(PATIENCE_S), 0)
        health = subprocess.run([*inside, *health], text=True, capture_output=True, timeout=PATIENCE_S)
        self.assertEqual(health.returncode, 3)

    def test_calendars_find_their_zones(self):
        pathlib.Path(self.root, "tmp/zones.yaml").write_text(
            "tenants: [{name: default, rules: [{name: a, algorithm: calendar, limit: 1, per: day, time_zone: Asia/Tokyo}]}]\n")
        done = subprocess.run(["chroot", self.root, "/usr/bin/mete", "config", "check", "/tmp/zones.yaml"], text=True,
                              capture_output=True, timeout=PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_what_is_in_it(self):
        """Every library of the image is a component of the list that goes with it."""
        listed = subprocess.run([sys.executable, str(ROOT / "deploy/sbom.py"), METE], text=True, capture_output=True, check=True)
        bill = json.loads(listed.stdout)
        self.assertEqual((bill["bomFormat"], bill["specVersion"]), ("CycloneDX", "1.5"))
        names = " ".join(part["name"] for part in bill["components"])
        for library in ("libc6", "liburing", "libsodium", "libyaml", "libjansson", "libseccomp"):
            self.assertIn(library, names)
        self.assertEqual(sorted(bill["dependencies"][0]["dependsOn"]), sorted(part["bom-ref"] for part in bill["components"]))


if __name__ == "__main__":
    unittest.main()
