"""A clock for real servers that stands still until a test moves it: tests/e2e/peers/clock.c, preloaded into them."""
import os
import pathlib
import subprocess
import tempfile
import unittest

from lib.daemon import Daemon

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "e2e" / "peers" / "clock.c"
START_NS = 1_700_000_000_000_000_000  # as clock.c has it
SECOND = 1_000_000_000


class Clock:
    """What time it is for the servers that run under it."""

    def __init__(self, folder):
        self.path = folder / "now"
        self.library = folder / "clock.so"
        self.set(START_NS + 3600 * SECOND)
        subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", self.library, SOURCE],
                       check=True)

    def set(self, now_ns):
        self.now_ns = now_ns
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT)
        os.write(fd, now_ns.to_bytes(8, "little"))  # one page of the cache: all see it whole
        os.close(fd)

    def environment(self):
        return {"LD_PRELOAD": str(self.library), "METE_CLOCK": str(self.path)}


class UnderOneClock(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.clock = Clock(self.folder)

    def daemon(self, *arguments, **options):
        return Daemon(*arguments, environment=self.clock.environment(), **options)
