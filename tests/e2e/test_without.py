#!/usr/bin/env python3
"""Builds without one of the optional libraries, and without all of them: `make without` builds them, this serves a check
with each, asks for what is not there, and looks at what is linked. The whole build, beside them, has it all. Skipped
for what was not built."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib import daemon as daemons
from lib.daemon import BUILD, ROOT, Daemon

WHOLE = daemons.METE
# What each gives: a setting that asks for it, what the refusal calls it, its libraries, the headers it needs.
PARTS = {
    "grpc": ("listen.grpc=127.0.0.1:0", "gRPC", ("libnghttp2", "libprotobuf-c"), ("nghttp2/", "protobuf-c/")),
    "hiredis": ("redis.url=redis://127.0.0.1:1", "Redis", ("libhiredis",), ("hiredis/",)),
    "liburing": ("backend=io_uring", "io_uring", ("liburing",), ("liburing.h",)),
    "libxdp": ("backend=af_xdp", "AF_XDP", ("libxdp", "libbpf"), ("xdp/", "bpf/")),
    "openssl": ("listen.http_tls=127.0.0.1:0", "TLS", ("libssl", "libcrypto"), ("openssl/",)),
    "seccomp": (None, None, ("libseccomp",), ("seccomp.h",)),
}
NEED_TLS = ("listen.resp_tls=127.0.0.1:0", "listen.http_tls=127.0.0.1:0", "tls.certificate=/x.pem")


def run(*command):
    return subprocess.run(command, text=True, capture_output=True, timeout=daemons.PATIENCE_S, stdin=subprocess.DEVNULL)


def lists(program):
    """(built with, built without) of `mete version`."""
    said = run(program, "version").stdout
    sets = [re.search(rf"^built {word}: (.*)$", said, re.M)[1].split() for word in ("with", "without")]
    return [set(one) - {"none"} for one in sets]


def variants():
    """(names that were left out, program) of each that is there: one left out, or all."""
    for name in [*PARTS, "+".join(sorted(PARTS))]:
        program = BUILD / "without" / name / "mete"
        if program.exists():
            yield name.split("+"), str(program)


class Whole(unittest.TestCase):
    def test_version_lists_all(self):
        makefile = (ROOT / "Makefile").read_text()
        optional = set(re.search(r"^OPTIONAL *= (.*)$", makefile, re.M)[1].split())
        self.assertEqual(set(PARTS), optional)
        self.assertEqual(lists(WHOLE), [optional, set()])

    def test_32_bit(self):
        """Not built for a machine without what the table needs, and that is the first thing said."""
        done = run("gcc", "-m32", "-fsyntax-only", "-Isrc", "-Iinclude", str(ROOT / "src/main.c"))
        if "unrecognized command-line option" in done.stderr:
            self.skipTest("a compiler without -m32")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("error: #error \"mete needs a 64-bit machine: an entry changes by one compare-and-swap of 16 bytes\"",
                      done.stderr.splitlines()[0])

    def test_a_word_that_is_none(self):
        done = subprocess.run(["make", "-s", "WITHOUT=grpc opensll", "compile"], cwd=ROOT, text=True, capture_output=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("WITHOUT=grpc opensll: only", done.stderr)


@unittest.skipUnless(list(variants()), "no such builds here; `make without` makes them")
class Without(unittest.TestCase):
    def refused(self, program, setting):
        config = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        for command in ([program, "serve", "--set", setting],
                        [program, "config", "check", config.name]):
            if command[1] == "config":
                path, value = setting.split("=", 1)
                keys = path.split(".")
                config.write("".join("  " * depth + key + (":\n" if depth + 1 < len(keys) else f": {value}\n")
                                     for depth, key in enumerate(keys)) + "tenants: [{name: default, rules: []}]\n")
                config.flush()
            done = run(*command)
            self.assertEqual(done.returncode, 2, done)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            yield done.stderr

    def test_version_says_it(self):
        whole = lists(WHOLE)[0]
        for left_out, program in variants():
            self.assertEqual(lists(program), [whole - set(left_out), set(left_out)])

    def test_serves(self):
        for left_out, program in variants():
            doors = ["listen.http=127.0.0.1:0", "listen.resp=127.0.0.1:0"]
            with Daemon(sets=doors, program=program) as daemon, daemon.client() as client:
                self.assertTrue(client.check("demo", b"alice").allowed)
                self.assertEqual(daemon.stats()["total"]["allowed"], 1)
                if "liburing" in left_out:
                    self.assertEqual(daemon.backend, "mmsg")

    def test_refuses_what_is_not_there(self):
        for left_out, program in variants():
            for name in left_out:
                setting, word = PARTS[name][:2]
                for one in [setting, *(NEED_TLS if name == "openssl" else ())] if setting else ():
                    for line in self.refused(program, one):
                        self.assertIn(f"{one.split('=')[0]}: asks for ", line)
                        self.assertRegex(line, rf"{word}.*this build is without.* lists {name}\n")

    def test_redis_under_tls(self):
        for left_out, program in variants():
            if "openssl" in left_out and "hiredis" not in left_out:
                for line in self.refused(program, "redis.url=rediss://127.0.0.1:1"):
                    self.assertIn("redis.url: asks for TLS", line)

    def test_what_is_linked(self):
        for left_out, program in variants():
            linked = run("readelf", "-d", program).stdout
            for name, (_, _, libraries, _) in PARTS.items():
                for library in libraries:
                    (self.assertNotIn if name in left_out else self.assertIn)(f"[{library}.so", linked)

    def test_no_header_is_needed(self):
        """Of what was compiled for it no file read a header of what it is without."""
        for left_out, _ in variants():
            flavour = ["FLAVOUR=" + BUILD.name] if BUILD.name != "build" else []
            objects = subprocess.run(["make", "-s", *flavour, "WITHOUT=" + " ".join(left_out), "objects"], cwd=ROOT, text=True,
                                     capture_output=True, check=True).stdout.split()
            self.assertGreater(len(objects), 100)
            for one in objects:
                listing = pathlib.Path(ROOT / one).with_suffix(".d")
                needed = listing.read_text() if listing.exists() else ""
                for name in left_out:
                    for header in PARTS[name][3]:
                        self.assertNotIn("/include/" + header, needed, f"{one} without {name}")


if __name__ == "__main__":
    unittest.main()
