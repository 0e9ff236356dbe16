#!/usr/bin/env python3
"""Manual pages, completions and the commented configuration: complete, valid, and what the program itself says."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.daemon import BUILD, PATIENCE_S, ROOT, mete

MANUALS = BUILD / "manuals"
PAGES = ("mete.1", "mete.yaml.5", "mete-protocol.7", "mete_client.3")


def shell(*command, **options):
    return subprocess.run(command, text=True, capture_output=True, timeout=PATIENCE_S, **options)


def plain(page):
    """A page as a reader sees it, in one line."""
    done = shell("groff", "-t", "-man", "-Tascii", "-P-cbou", str(MANUALS / page))
    return re.sub(r"\s+", " ", re.sub(r"-\s*\n\s*", "-", done.stdout))


def commands():
    return re.findall(r"^  (\w+) {2,}\S", mete("help").stdout, re.M)


class Manuals(unittest.TestCase):
    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_pages_are_well_formed(self):
        for page in PAGES:
            done = shell("groff", "-t", "-man", "-Tutf8", "-ww", "-z", str(MANUALS / page))
            self.assertEqual((done.returncode, done.stderr), (0, ""), page)

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_every_option_is_in_the_page(self):
        text = plain("mete.1")
        for command in commands():
            for option in re.findall(r"^  (--[\w-]+)", mete(command, "--help").stdout, re.M):
                self.assertIn(option, text, command)

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_every_function_is_in_the_page(self):
        text = plain("mete_client.3")
        header = re.sub(r"/\*.*?\*/", "", (ROOT / "include/mete/client.h").read_text(), flags=re.S)
        for function in re.findall(r"\b(mete_\w+)\(", header):
            self.assertIn(function + "(", text)

    def test_completions(self):
        bash = (MANUALS / "mete.bash").read_text()
        for command in commands():
            self.assertRegex(bash, rf"\n        {command}\) words=")
            for name in ("_mete", "mete.fish"):
                self.assertIn(command, (MANUALS / name).read_text())

    def complete(self, *words):
        """What bash would offer for these words."""
        script = (f"source {MANUALS}/mete.bash; COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _mete; "
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return shell("bash", "-c", script).stdout.split()

    def test_bash_offers_what_fits(self):
        self.assertEqual(self.complete("mete", "relo"), ["reload"])
        self.assertIn("--secret-file", self.complete("mete", "check", "--se"))
        self.assertIn("diff", self.complete("mete", "config", "di"))
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "only.yaml").touch()
            self.assertEqual(self.complete("mete", "serve", "--config", folder + "/on"), [folder + "/only.yaml"])

    def test_other_shells_can_read_theirs(self):
        for name, program in (("_mete", "zsh"), ("mete.fish", "fish")):
            if shutil.which(program):
                self.assertEqual(shell(program, "-n", str(MANUALS / name)).stderr, "")


class CommentedConfiguration(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-init-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        done = mete("config", "init", str(cls.folder / "mete.yaml"))
        assert done.returncode == 0, done.stderr
        cls.text = (cls.folder / "mete.yaml").read_text()
        for name in ("key", "default.key"):
            assert mete("secret", "new", str(cls.folder / name)).returncode == 0

    def judge(self, text):
        path = self.folder / "tried.yaml"
        path.write_text(text)
        done = mete("config", "check", str(path))
        self.assertEqual(done.returncode, 0, done.stderr)
        return mete("config", "show", "--config", str(path)).stdout

    def test_init(self):
        self.assertEqual(mete("config", "init").stdout, self.text)
        again = mete("config", "init", str(self.folder / "mete.yaml"))
        self.assertEqual(again.returncode, 2)
        self.assertIn("is there already", again.stderr)
        nowhere = mete("config", "init", str(self.folder / "no/where.yaml"))
        self.assertEqual((nowhere.returncode, nowhere.stderr.count("\n")), (2, 1))
        for arguments in (("a", "b"), ("--force",)):
            self.assertEqual(mete("config", "init", *arguments).returncode, 2)

    def test_as_it_is(self):
        self.judge(self.text)

    def test_each_setting_may_be_set(self):
        """Every line that is commented out is right, alone and with all others."""
        lines = self.text.splitlines()
        settings = [at for at, line in enumerate(lines) if re.match(r"\s*#[^ #\n]", line)]
        self.assertGreater(len(settings), 20)
        bare = [re.sub(r"^(\s*)#", r"\1", line) for line in lines]
        for at in settings:
            self.judge("\n".join(lines[:at] + [bare[at]] + lines[at + 1:]) + "\n")
        self.judge("\n".join(bare[at] if at in settings else line for at, line in enumerate(lines)) + "\n")

    def test_every_field_is_there(self):
        """Whatever the schema knows, served or not, but for what is refused."""
        for source in sorted((ROOT / "src/config").glob("schema*.c")):
            for path, kind in re.findall(r'\.path = "([\w.]+)",\s*\.type = (\w+)', source.read_text()):
                if kind not in ("TYPE_UNSERVED", "TYPE_NONE"):
                    self.assertRegex(self.text, rf"\b{path.split('.')[-1]}:", path)


if __name__ == "__main__":
    unittest.main()
