"""The daemon with faults inside (tests/fault/fault.h says which there are), and what it tells of them at its end."""
import os
import re
import subprocess

from lib.daemon import BUILD, PATIENCE_S

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
