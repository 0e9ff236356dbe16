"""The daemon with faults inside (tests/fault/fault.h says which there are), and what it tells of them at its end."""
import os
import re
import struct
import subprocess
import time

from lib.daemon import BUILD, PATIENCE_S, Daemon

SEED = int(os.environ.get("METE_SEED") or "1", 0)
HITS = int(os.environ.get("METE_HITS") or 1000)  # how often each fault is to happen
POINTS = ("alloc", "send_short", "enobufs", "eagain", "cq", "mmap", "clock_step", "thread", "accept")  # as fault.h has them
FAULTY = str(BUILD / "tests/fault/mete")
SAID = re.compile(r"^mete: faults((?: \w+ \d+/\d+)*)$")


def read(lines):
    """name -> (hits, calls)."""
    for line in lines:
        said = SAID.match(line)
        if said:
            words = said[1].split()
            return {name: tuple(map(int, numbers.split("/"))) for name, numbers in zip(words[::2], words[1::2])}
    return {}


def run(faults, *arguments, **options):
    """A command with these faults, to its end: how it ended, and the points."""
    done = subprocess.run([FAULTY, *arguments], text=True, capture_output=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL,
                          env={**os.environ, "METE_FAULTS": faults}, **options)
    lines = done.stderr.splitlines()
    done.stderr = "\n".join(line for line in lines if not SAID.match(line))
    return done, read(lines)


class Faulty(Daemon):
    """With these faults after its start, whose hits can be read meanwhile."""

    def __init__(self, faults, config=None, sets=(), *, faults_from_start=False, **options):
        self.counts = None
        words = [f"seed={SEED}", *(["from=start"] if faults_from_start else []), *([faults] if faults else [])]
        super().__init__(config, sets, program=FAULTY, environment={"METE_FAULTS": ",".join(words)}, **options)

    def prepare(self, environment):
        environment["METE_FAULTS"] += f",tell={self.folder}/faults"

    def hits(self, point):
        if self.counts is None:
            self.counts = open(os.path.join(self.folder, "faults"), "rb", buffering=0)
        return struct.unpack_from("=Q", os.pread(self.counts.fileno(), 8, POINTS.index(point) * 16))[0]

    def slow_down(self, ns):
        """From now on each batch of answers takes so much longer."""
        with open(os.path.join(self.folder, "faults"), "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), struct.pack("=Q", ns), len(POINTS) * 16)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait_for(self, is_so):
        """What comes by itself, but not at once."""
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.01)

    def close(self):
        if self.counts:
            self.counts.close()
        super().close()
