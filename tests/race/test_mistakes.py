#!/usr/bin/env python3
"""The searches through interleavings see what they are there for: each of these mistakes, put into a copy of the table's
source, breaks a schedule, and the program says which.

METE_LONG=1 looks for some of them with three threads as well (tests/race/exhaust_table.c)."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import BUILD, COUNTED, ROOT, SANITIZED

# name -> (file, what stands there, what stands there by mistake, the scenario that two threads see it in)
MISTAKES = {
    "a later claim is left alone": (
        "claim.c", "if (!kill_later(&scan))\n                continue;", "(void)kill_later;", "past home against home, freed"),
    "a claim past home is not marked": (
        "claim.c", "mark_home(table, probe);\n        pair_fence();", "(void)mark_home;\n        pair_fence();",
        "one new key past home"),
    "a claim is decided without the second scan": (
        "claim.c", "known = mine;", "{\n*ret_ref = mine;\nreturn TABLE_CLAIMED;\n}", "one new key"),
    "a mark is cleared without the second look": (
        "sweep.c", "mark_change(first, MARK_CLEARING, is_overflowing(table, group) ? MARK_SET : MARK_NONE)",
        "mark_change(first, MARK_CLEARING, MARK_NONE)", "past home against the clearing"),
    "two may clear marks at a time": (
        "sweep.c", "if (seen == table->life || is_alive(table, seen))\n        return false;", "(void)is_alive;", "past home against two who"),
    "an entry used again has its old generation": (
        "entry.h", "generation = meta + ((uint64_t)1 << META_GENERATION_SHIFT)", "generation = meta",
        "charge against reuse"),
}
# The others need a fourth preemption, or a scenario of two threads.
WITH_THREE = ("a later claim is left alone", "a claim is decided without the second scan",
              "an entry used again has its old generation")
SECONDS = 300


class Mistakes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def explore(self, program, name, file, there, instead, scenario):
        """Builds the search from a copy of src/table, with the mistake; how it ended."""
        copy = self.folder / name.replace(" ", "_")
        shutil.copytree(ROOT / "src/table", copy / "table")
        source = copy / "table" / file
        text = source.read_text()
        self.assertEqual(text.count(there), 1, f"{file} has changed: say the mistake anew")
        source.write_text(text.replace(there, instead))
        binary = copy / "search"
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-mcx16", "-pthread", "-D_GNU_SOURCE", "-w",
                        f"-I{copy}", "-Iinclude", "-Isrc", "-Itests", "-o", binary, f"tests/race/{program}.c",
                        BUILD / "obj/all.a", "-lm", "-lxxhash", *(["-lgcov"] if COUNTED else [])], cwd=ROOT, check=True, timeout=SECONDS)
        return subprocess.run([binary, scenario], text=True, stdout=subprocess.PIPE, timeout=SECONDS)

    def judge(self, program, names):
        for name in names:
            with self.subTest(name):
                done = self.explore(program, name, *MISTAKES[name])
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn("schedule: ", done.stdout)

    @unittest.skipIf(SANITIZED, "the objects want a sanitizer's runtime")
    def test_two_threads_see_each(self):
        self.judge("interleave_table", MISTAKES)

    @unittest.skipUnless(os.environ.get("METE_LONG") and not SANITIZED, "takes a minute; METE_LONG=1")
    def test_three_threads_see_some(self):
        self.judge("exhaust_table", WITH_THREE)


if __name__ == "__main__":
    unittest.main()
