"""The golden datagrams of proto-spec/vectors: made by the Python codec, passed by the C codec (`mete vectors`).

METE is the binary, by default that of $METE_BUILD or build/check.
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib import mete_vectors, mete_wire as w  # noqa: E402

METE = os.environ.get("METE", os.path.join(os.environ.get("METE_BUILD", os.path.join(ROOT, "build/check")), "mete"))
FOLDER = os.path.join(ROOT, "proto-spec", "vectors")


def run(*arguments):
    return subprocess.run([METE, "vectors", *arguments], capture_output=True, text=True, check=False)


def read(name):
    with open(os.path.join(FOLDER, name), encoding="ascii") as file:
        return file.read()


class Vectors(unittest.TestCase):
    def write(self, name, text):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def test_folder_is_what_the_generator_writes(self):
        files = mete_vectors.generate()
        on_disk = {name: read(name) for name in os.listdir(FOLDER) if name.endswith(".txt")}
        self.assertEqual(sorted(files), sorted(on_disk))
        for name, text in files.items():
            self.assertEqual(text, on_disk[name], name)

    def test_every_case_status_type_and_flag_has_a_vector(self):
        parsed = [mete_vectors.parse(text) for text in mete_vectors.generate().values()]
        fields = [dict(lines) for lines, _ in parsed]
        requests = [each for each in fields if each["kind"] == "request"]
        with open(os.path.join(ROOT, "proto-spec", "protocol.md"), encoding="utf-8") as file:
            section = file.read().split("\n## 5.")[1].split("\n## 6.")[0]
        names = set(re.findall(r"^\|[^|]*\| (\w+) \| [nS]", section, re.M))
        self.assertGreater(len(names), 10)
        self.assertLessEqual(names, {each["case"] for each in requests})
        self.assertLessEqual(set(w.TYPE_NAMES), {int(each["type"]) for each in requests if "type" in each})
        flags = [int(each["flags"]) for each in requests if each["case"] == "ok"]
        self.assertEqual({1 << bit for bit in range(8)} - set(flags), set())
        entries = " ".join(value for lines, _ in parsed for key, value in lines if key == "entry")
        for status in range(len(w.STATUS_NAMES)):
            self.assertIn(f"status={status} ", entries)

    def test_protocol_shows_the_vectors(self):
        with open(os.path.join(ROOT, "proto-spec", "protocol.md"), encoding="utf-8") as file:
            section = file.read().split("\n## 7.")[1].split("\n## 8.")[0]
        shown = [mete_vectors.parse("\n".join("hex:" + line for line in block.splitlines()))[1]
                 for block in section.split("```")[1::2]]
        self.assertEqual(shown, [mete_vectors.parse(read(name))[1] for name in ("check.txt", "check-result.txt")])
        for link in re.findall(r"\(vectors/([^)]+)\)", section):
            self.assertTrue(os.path.exists(os.path.join(FOLDER, link)), link)

    def test_python_codec_agrees(self):
        for name in os.listdir(FOLDER):
            if not name.endswith(".txt") or name == "derive.txt":
                continue
            lines, data = mete_vectors.parse(read(name))
            meaning = dict(lines)
            key = None if meaning["mac_key"] == "none" else bytes.fromhex(meaning["mac_key"])
            try:
                if meaning["kind"] == "request":
                    w.decode_request(data, key)
                else:
                    w.decode_result(data, bytes.fromhex(meaning["request_tag"]), key)
                case = "ok"
            except w.Malformed as malformed:
                case = malformed.name
            expected = meaning["case"]
            self.assertEqual(case, "ok" if expected in ("unknown_tenant", "untrusted", "stale") else expected, name)

    def test_all_pass(self):
        done = run(FOLDER)
        self.assertEqual(done.stdout, f"{len(mete_vectors.generate())} passed, 0 failed\n", done.stderr)
        self.assertEqual(done.returncode, 0)

    def test_one_file(self):
        done = run(os.path.join(FOLDER, "check.txt"))
        self.assertEqual((done.returncode, done.stdout), (0, "1 passed, 0 failed\n"))

    def test_each_wrong_field_is_named(self):
        """Every number of some files, changed by one, must be found, with its name."""
        for name in ("check.txt", "check-result.txt", "check-inline-limit.txt", "acquire.txt", "acquire-raw.txt",
                     "hello.txt", "hello-result.txt", "result-min.txt", "restarted.txt", "check-secret.txt"):
            lines = read(name).splitlines()
            for i, line in enumerate(lines):
                key = line.partition(":")[0]
                if line.startswith("#") or key in ("kind", "case", "request", "hex"):
                    continue
                if name == "restarted.txt" and key == "mac_key":
                    continue  # it is not signed
                changed = re.sub(r"(\d)(?=\D*$)", lambda m: str((int(m[1]) + 1) % 10), line.partition("#")[0].rstrip())
                if line == "mac_key: none":
                    changed = f"mac_key: {bytes(16).hex()}"
                wrong = lines[:i] + [changed] + lines[i + 1:]
                path = self.write(name, "\n".join(wrong))
                done = run(path)
                self.assertEqual(done.returncode, 1, f"{name}: {line}")
                self.assertTrue(done.stdout.endswith("0 passed, 1 failed\n"), done.stdout)
                field = {"boot_id": "mac_key", "secret": "mac_key", "request_tag": "case"}.get(key, key)
                if key == "mac_key" and "secret:" not in read(name):
                    field = "case"
                self.assertIn(f"{path}: {field}: ", done.stdout, line)

    def test_each_wrong_derivation_is_found(self):
        lines = read("derive.txt").splitlines()
        for i, line in enumerate(lines):
            if line.startswith(("#", "kind", "case")):
                continue
            wrong = line[:-1] + ("0" if line[-1] != "0" else "1")
            done = run(self.write("derive.txt", "\n".join(lines[:i] + [wrong] + lines[i + 1:])))
            self.assertEqual(done.returncode, 1, line)

    def test_missing_and_additional_fields(self):
        text = read("check.txt")
        for wrong in (re.sub("boot: 0\n", "", text), text.replace("boot: 0\n", "boot: 0\nboot: 0\n"),
                      text + "more: 1\n", text.replace("kind: request", "kind: letter"), "", "no colon\n",
                      "kind: request\nhex: e\n", "kind: request\nhex: zz\n",
                      text.replace("case: ok", "case: bad_magic")):
            done = run(self.write("a.txt", wrong))
            self.assertEqual(done.returncode, 1, wrong)
            self.assertIn("0 passed, 1 failed", done.stdout)

    def test_wrong_use(self):
        with tempfile.TemporaryDirectory() as empty:
            for arguments in ((), ("a", "b"), ("--unknown",), (os.path.join(empty, "none.txt"),), (empty,)):
                done = run(*arguments)
                self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_help(self):
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("usage: mete vectors PATH", done.stdout)


if __name__ == "__main__":
    unittest.main()
