#!/usr/bin/env python3
"""What `make install` leaves behind, as a user of the library finds it: the example compiled with nothing but the flags
of mete.pc, shared and static, asks the installed daemon. Installed is what lies in $METE_BUILD; nothing is built."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from lib import daemon  # noqa: E402

FLAVOUR = daemon.BUILD.name if daemon.BUILD.parent.name == "build" else "release"
COMPILER = {"asan": ["clang", "-fsanitize=address,undefined"], "tsan": ["clang", "-fsanitize=thread"],
            "clang": ["clang"]}.get(FLAVOUR, ["cc"])
PREFIX = "/opt/mete"


def run(*command, **options):
    done = subprocess.run(command, text=True, capture_output=True, cwd=ROOT, **options)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def make(target, folder):
    # What an outer make hands down (its job server, its FLAVOUR) is not meant for this one.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL")}
    return run("make", target, f"FLAVOUR={FLAVOUR}", f"DESTDIR={folder}", f"PREFIX={PREFIX}", env=environment)


def fields(path, prefix):
    """A .pc file as a dictionary, its variables filled in, `prefix` in place of its own."""
    variables, found = {}, {}
    for line in path.read_text().splitlines():
        match = re.fullmatch(r"(\w+)=(.*)|([\w.]+): (.*)", line)
        if not match:
            continue
        fill = lambda text: re.sub(r"\$\{(\w+)\}", lambda m: variables[m.group(1)], text)
        if match[1]:
            variables[match[1]] = prefix if match[1] == "prefix" else fill(match[2])
        else:
            found[match[3]] = fill(match[4])
    return found


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="mete-install-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        make("install-files", cls.folder)
        cls.at = pathlib.Path(cls.folder + PREFIX)
        cls.pc = fields(cls.at / "lib/pkgconfig/mete.pc", str(cls.at))

    def flags(self, *wanted):
        """By pkg-config where it is, told that everything lies below our folder; by hand elsewhere."""
        if shutil.which("pkg-config"):
            return run("pkg-config", f"--define-variable=prefix={self.at}", *wanted, "mete",
                       env={**os.environ, "PKG_CONFIG_PATH": str(self.at / "lib/pkgconfig")}).split()
        names = ["Cflags", "Libs"] + ["Libs.private"] * ("--static" in wanted)
        return " ".join(self.pc[name] for name in names).split()

    def build(self, flags):
        program = os.path.join(self.folder, "example")
        run(*COMPILER, "-Wall", "-Werror", "clients/c/example/example.c", *flags, "-o", program)
        return program

    def ask(self, program, **options):
        """The example's 20 ms may be too short for a busy machine; it says so, and is then asked again."""
        with daemon.Daemon() as server:
            for _ in range(50):
                said = run(program, "%s:%d" % server.address, "alice", **options)
                if "fallback" not in said:
                    break
        self.assertRegex(said, r"^alice: pass, \d+ left\n$")

    def test_configuration_is_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            make("install-files", folder)
            config = pathlib.Path(folder + PREFIX, "etc/mete/mete.yaml")
            run(str(self.at / "bin/mete"), "config", "check", str(config))
            config.write_text("# mine\n")
            make("install-files", folder)
            self.assertEqual(config.read_text(), "# mine\n")

    def test_unit_starts_what_was_installed(self):
        unit = (self.at / "lib/systemd/system/mete.service").read_text()
        self.assertIn(f"ExecStart={PREFIX}/bin/mete serve --config {PREFIX}/etc/mete/mete.yaml\n", unit)
        self.assertIn(f"ExecReload={PREFIX}/bin/mete reload", unit)

    def test_exports_are_the_header(self):
        header = re.sub(r"/\*.*?\*/|typedef[^;]*;", "", (self.at / "include/mete/client.h").read_text(), flags=re.S)
        declared = set(re.findall(r"\b(mete_\w+)\(", header))
        self.assertIn("mete_client_submit", declared)
        listed = run("nm", "-D", "--defined-only", str(self.at / "lib/libmete.so.0")).split("\n")
        exported = {line.split()[2] for line in listed if line}
        if daemon.SANITIZED:
            exported = {name for name in exported if not name.startswith("__")}
        self.assertEqual(exported, declared)

    def test_soname(self):
        self.assertEqual(os.readlink(self.at / "lib/libmete.so"), "libmete.so.0")
        self.assertIn("[libmete.so.0]", run("readelf", "-d", str(self.at / "lib/libmete.so.0")))

    def test_version(self):
        built = run(str(self.at / "bin/mete"), "--version")
        version = re.sub(r"^0-", "", self.pc["Version"])
        self.assertIn(version, built)
        self.assertRegex(self.pc["Version"], r"^\d")

    def test_shared(self):
        program = self.build(self.flags("--cflags", "--libs"))
        self.assertIn("[libmete.so.0]", run("readelf", "-d", program))
        self.ask(program, env={**os.environ, "LD_LIBRARY_PATH": str(self.at / "lib")})

    def test_static(self):
        flags = self.flags("--static", "--cflags", "--libs")
        self.assertIn("-lsodium", flags)
        program = self.build(["-l:libmete.a" if flag == "-lmete" else flag for flag in flags])
        self.assertNotIn("libmete", run("readelf", "-d", program))
        self.ask(program)

    def test_uninstall_leaves_the_configuration_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            make("install-files", folder)
            make("uninstall", folder)
            left = [path for path in pathlib.Path(folder).rglob("*") if not path.is_dir()]
            self.assertEqual([str(path) for path in left], [folder + PREFIX + "/etc/mete/mete.yaml"])
            self.assertFalse(os.path.exists(folder + PREFIX + "/include/mete"))


if __name__ == "__main__":
    unittest.main()
