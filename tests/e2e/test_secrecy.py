#!/usr/bin/env python3
"""Where secrets are not: in what the programs say, in the daemon's memory outside of the locked pages, in a core dump.
The secrets are known here, so all of it is searched for their bytes, whole and in parts: raw, hex and base64, and for
what is derived from them."""
import base64
import os
import pathlib
import re
import resource
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from e2e import test_secrets
from lib import mete_wire as wire
from lib.daemon import BACKENDS, METE, SANITIZED, Client, mete
from lib.signed import Signed

# What SipHash starts from: a state that was left behind is the key itself.
SIPHASH = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
RULES = "    rules: [{name: api, algorithm: token_bucket, rate: 1/h, burst: 1000}]\n"


def parts(secret):
    """8 bytes of it at four places, as they are, as hex and as base64 in each alignment."""
    for at in range(0, len(secret) - 7, 8):
        piece = secret[at:at + 8]
        yield piece
        yield piece.hex().encode()
        yield piece.hex().upper().encode()
    for shift in range(3):
        yield base64.b64encode(secret[shift:shift + 12])


def mac_keys(secret, boot_id):
    for boot in (boot_id, 0):
        key = wire.mac_key(secret, boot)
        for at in (0, 8):
            word = int.from_bytes(key[at:at + 8], "little")
            yield from ((word ^ mask).to_bytes(8, "little") for mask in (0, *SIPHASH))


class Case(test_secrets.Case):
    """Secrets of this run's own, of 32 random bytes, one in a file of its bytes."""

    def setUp(self):
        super().setUp()
        # the last byte is no newline, which would be taken for the end of a file's line
        self.secrets = {name: os.urandom(31) + b"\xff" for name in ("key", "new", "old", "third", "other")}
        for name, secret in self.secrets.items():
            self.file(name, secret if name == "other" else secret.hex().encode() + b"\n")
        self.write("[new, old]")

    def file(self, name, data, mode=0o600):
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(mode)
        return str(path)

    def write(self, files, more="", key="key"):
        text = (f"key_file: {key}\ntenants:\n  - name: acme\n    secret_files: {files}\n{RULES}"
                f"  - name: other\n    secret_files: other\n{RULES}{more}")
        return self.file("mete.yaml", text.encode())

    def patterns(self, boot_id):
        """{bytes: whose}"""
        found = {}
        for name, secret in self.secrets.items():
            for part in parts(secret):
                found[part] = name
            for key in mac_keys(secret, boot_id) if name != "key" else ():
                found[key] = f"MAC key of {name}"
        for tenant in ("acme", "other"):
            seed = wire.tenant_seed(tenant, self.secrets["key"])
            found[seed.to_bytes(8, "little")] = found[b"%d" % seed] = found[b"%x" % seed] = f"seed of {tenant}"
        return found

    def use(self, daemon):
        """Traffic under every secret, in every form; returns the boot id."""
        for name, index, tenant in (("new", 0, "acme"), ("old", 1, "acme"), ("other", 0, "other")):
            with Signed(daemon.address, tenant, self.secrets[name], index) as client:
                for number in range(30):
                    client.limits(wire.CHECK, "api", [b"%d" % number] * (1 + number), flags=number % 2 * wire.RAW_SUBJECT)
                many = [client.make(wire.CHECK, "api", b"x") for _ in range(64)]  # as a batch they go another way
                for request in [*many, client.make(wire.CHECK, "api", b"x", key=bytes(16))]:
                    client.send(request)
                for request in many:
                    wire.decode_result(client.socket.recv(2048), wire.tag_of(request), client.key)
                client.learn()
        return client.boot_id

    def absent(self, data, patterns, where):
        for pattern, name in patterns.items():
            if pattern in data:  # not by assertNotIn, which would show all of it
                self.fail(f"{name} is in {where}, at {data.find(pattern)} of {len(data)} bytes")


class Said(Case):
    def test_nothing_that_is_said(self):
        said = []

        def run(*arguments, status=None, **options):
            done = mete(*arguments, **options)
            said.append(done.stdout + done.stderr)
            if status is not None:
                self.assertEqual(done.returncode, status, said[-1])
            return said[-1]
        with self.daemon("repeats.window=10s") as daemon:
            boot_id = self.use(daemon)
            server, config = "%s:%d" % daemon.address, str(self.folder / "mete.yaml")
            run("stats", "--json", "--admin", daemon.admin, status=0)
            run("stats", "--admin", daemon.admin, status=0)
            run("config", "show", "--config", config, status=0)
            run("config", "check", config, status=0)
            for tenant, name, status in (("acme", "new", 0), ("acme", "third", 3), ("other", "other", 0)):
                run("check", "api", "x", "--server", server, "--tenant", tenant, "--secret-file", str(self.folder / name),
                    "--json", "--timeout", "300", status=status)
            run("bench", "--server", server, "--tenant", "acme", "--rule", "api", "--secret-file", str(self.folder / "new"),
                "--json", "--requests", "100", "--outstanding", "1", "--flows", "1", status=0)
            before = self.file("before.yaml", pathlib.Path(config).read_bytes())
            self.write("[third, new]")
            run("config", "diff", config, "--config", before, status=1)
            run("reload", "--admin", daemon.admin, status=0)
            hexed = self.secrets["third"].hex()
            for bad in (self.write(f"[third, {hexed}]"), self.write(hexed), self.write("third", key=hexed),
                        self.write("[third, third, third]"), self.write("other"), self.write("third", key="third"),
                        self.write("third", "    secret: " + hexed + "\n"), self.write("third", hexed + "\n"),
                        self.write("{%s: 1}" % hexed), self.write("third", key="empty"),
                        self.file("mete.yaml", hexed.encode()), self.file("mete.yaml", b"\xff" + self.secrets["third"]),
                        self.file("mete.yaml", b"tenants: [" + hexed.encode())):
                run("reload", "--admin", daemon.admin, status=2)
                run("config", "check", bad, status=2)
            for number in range(4):
                self.file("third", (b"", b"\n" + self.secrets["third"] * 3, hexed.encode() * 2, hexed.encode())[number],
                          0o600 if number < 3 else 0o644)
                run("reload", "--admin", daemon.admin)
                run("check", "api", "x", "--server", server, "--tenant", "acme", "--secret-file", str(self.folder / "third"),
                    "--timeout", "300")
            for name in self.secrets:
                run("config", "check", str(self.folder / name), status=2)
                run("config", "diff", str(self.folder / name), status=2)
            for option in (["--set", f"key_file={hexed}"], ["--set", f"listen.unix={self.folder}"]):
                run("serve", "--config", config, *option, "--set", "listen.admin=none", status=2)
            run("config", "show", env={**os.environ, "METE_KEY_FILE": hexed}, status=2)
            run("check", "api", "x", "--secret-file", hexed, status=2)
            run("bench", "--secret-file", hexed, status=2)
        said += daemon.said
        self.assertGreater(len(said), 50)
        self.absent("\n".join(said).encode(), self.patterns(boot_id), "what was said")


def dense(data):
    """Without the pages that are all zeroes: most of a stack and of a table are."""
    pages = (data[at:at + 4096] for at in range(0, len(data), 4096))
    return b"".join(page for page in pages if page != bytes(4096))


def mappings(pid):
    """[start, end, name, is it locked and kept out of dumps] of what can be written."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)", line)
        if head:
            found.append([int(head[1], 16), int(head[2], 16), head[4], False, head[3]])
        elif line.startswith("VmFlags:"):
            found[-1][3] = {"lo", "dd"} <= set(line.split())
    return [one[:4] for one in found if one[4].startswith("rw")]


@unittest.skipIf(SANITIZED, "a sanitizer keeps copies of its own")
class Memory(Case):
    def look(self, daemon, patterns):
        """Whose bytes are in locked pages; everything else must have none."""
        kept = set()
        with open(f"/proc/{daemon.process.pid}/mem", "rb", 0) as memory:
            for start, end, name, is_safe in mappings(daemon.process.pid):
                memory.seek(start)
                try:
                    data = dense(memory.read(end - start))
                except OSError:  # shared with a device
                    continue
                if is_safe:
                    kept |= {whose for pattern, whose in patterns.items() if pattern in data}
                else:
                    self.absent(data, patterns, f"the mapping {name or 'without a name'} of {end - start} bytes")
        return kept

    def test_only_in_locked_pages(self):
        for backend in BACKENDS:
            self.write("[new, old]")
            with self.subTest(backend=backend), self.daemon("repeats.memory=1MiB", backend=backend, workers=2,
                                                            entries=4096) as daemon:
                patterns = self.patterns(self.use(daemon))
                seeds, others = {"seed of acme", "seed of other"}, {"other", "MAC key of other"}
                try:
                    kept = self.look(daemon, patterns)
                except PermissionError as refused:
                    self.skipTest(f"no look into another process's memory: {refused}")
                self.assertEqual(kept, seeds | others | {"new", "old", "MAC key of new", "MAC key of old"})
                self.write("[third, new]")
                self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 0)
                kept = self.look(daemon, patterns)  # of what was rotated away nothing is left at all
                self.assertEqual(kept, seeds | others | {"third", "new", "MAC key of third", "MAC key of new"})
                self.write("[third, new, old]")
                self.assertEqual(mete("reload", "--admin", daemon.admin).returncode, 2)
                self.assertEqual(self.look(daemon, patterns), kept)

    def test_core_dump(self):
        """A daemon that is aborted leaves a dump with the configuration in it, and no secret."""
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
        if "/" in pattern or pattern.startswith("|"):
            self.skipTest(f"core dumps go elsewhere here: {pattern}")
        for backend in BACKENDS:
            with self.subTest(backend=backend):
                folder = self.folder / backend
                folder.mkdir()
                daemon = self.daemon("repeats.memory=1MiB", backend=backend, entries=4096, command=("env", "-C", str(folder)), preexec=lambda:
                                     resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2))
                self.addCleanup(daemon.close)
                patterns = self.patterns(self.use(daemon))
                daemon.process.send_signal(signal.SIGABRT)
                daemon.process.wait()
                dumps = list(folder.iterdir())
                if not dumps:
                    self.skipTest("the kernel wrote no core dump")
                data = dense(dumps[0].read_bytes())
                self.assertIn(b"%s/new" % str(self.folder).encode(), data)  # the path of a secret: the heap is there
                self.absent(data, patterns, "the core dump")


if __name__ == "__main__":
    unittest.main()
