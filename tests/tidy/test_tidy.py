#!/usr/bin/env python3
"""House rules as a test: who may include whom, how long files and functions are, which calls are banned, which
words do not belong here. Each rule is also tried on a broken example, so that a rule that cannot fail shows."""

import pathlib
import re
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_COLUMNS, MAX_PARAMETERS = 500, 70, 100, 6

# folder -> folders and files it may include ("mete" is include/mete). Everything not listed is forbidden.
ALLOWED = {
    "src/core": {"core"},
    "src/sys": {"sys"},
    "src/obs": {"obs", "sys"},
    "src/table": {"table", "core", "sys"},
    "src/config": {"config", "core", "sys"},
    "src/replica": {"replica", "core", "config", "table", "obs", "sys"},
    "src/snapshot": {"snapshot", "core", "table", "sys"},
    "src/engine": {"engine", "core", "table", "config", "replica", "obs", "mete"},
    "src/net": {"net", "mete", "config", "engine", "obs", "sys", "core", "table"},
    "src/doors": {"doors", "config", "engine", "obs", "sys"},
    "src/cmd": {"commented.inc", "cmd", "core", "table", "config", "engine", "net", "doors", "replica", "snapshot", "obs", "sys",
                "mete"},
    "src": {"cmd"},
    "src/without": {"cmd", "net", "doors", "replica"},
    "clients/c": {"mete", "internal.h"},
    "include/mete": {"mete"},
    "bench": {"micro.h", "mete", "xdp", "obs", "sys", "net", "core", "table", "config", "engine", "replica", "snapshot", "property", "lib"},
}
# One file each knows a foreign library (or, for the hashes, the few that inline them).
LIBRARIES = {
    "liburing.h": {"src/net/io_uring.c"},
    "yaml.h": {"src/config/yaml.c"},
    **{name: {"src/net/xdp_open.c", "src/net/xdp_parts.h", "src/net/xdp_pass.c"}
       for name in ("xdp/xsk.h", "xdp/libxdp.h", "bpf/bpf.h", "bpf/libbpf.h")},
    **{f"openssl/{name}.h": {"src/doors/tls.c", "src/doors/tls_load.c", "src/doors/tls_load.h", "src/replica/link_tls.c"}
       for name in ("ssl", "err", "pem", "x509v3")},
    "nghttp2/nghttp2.h": {"src/doors/grpc_h2.c"},
    "protobuf-c/protobuf-c.h": {"src/doors/grpc_arena.c"},
    "zlib.h": {"src/cmd/logfile.c"},
    "hiredis/hiredis.h": {"src/replica/redis.c"},
    "jansson.h": {"src/doors/http_ask.c", "src/cmd/logline_json.c", "src/cmd/check.c", "src/cmd/usage.c",
                  "src/cmd/bench_compare.c", "src/cmd/top_read.c"},
}
# Callbacks whose parameters a library decides.
LIBRARY_DEMANDS = {("src/doors/grpc_h2.c", "read_answer")}
BANNED = {
    r"\b(strcpy|strcat|sprintf|gets|strtok|atoi|atol|atof|alloca|signal\s*\(\s*SIG[^P])\b": "a bounded call does the same",
    r"\b(rand|srand|random)\s*\(": "getrandom() or a seeded generator",
    r"\bvolatile\b(?! sig_atomic_t)": "C11 atomics are for sharing",
}
# Volatile is right where the kernel changes memory under us: a page wiped on fork, a page being touched.
BANNED_EXCEPT = {"clients/c/internal.h", "clients/c/client.c", "src/sys/memory.c"}
ATOMIC_HOMES = ("src/table/", "src/engine/repeat", "src/engine/quota", "src/config/publish", "src/obs/counters.h",
                "src/obs/trace", "src/obs/latency.h", "src/engine/sampler", "src/replica/ring", "src/replica/demand",
                "src/replica/shared_state.h", "src/net/worker", "src/net/xdp_carry", "src/cmd/serve", "src/cmd/bench", "bench/", "tests/")
HOT = ("src/core/", "src/engine/", "src/net/udp")
HOT_BANNED = r"\b(malloc|calloc|realloc|free|printf|fprintf|pthread_mutex_lock|clock_gettime|log_line|log_event)\s*\("


def sources(*suffixes):
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True,
                           stdout=subprocess.PIPE, check=True).stdout.split("\n")
    return [name for name in names if name.endswith(suffixes) and (ROOT / name).is_file()]


def text_of(name):
    return (ROOT / name).read_text(errors="replace")


def without_comments(text):
    keep_lines = lambda match: re.sub(r"[^\n]", " ", match.group())
    text = re.sub(r"/\*.*?\*/", keep_lines, text, flags=re.S)
    return re.sub(r'"(?:[^"\\\n]|\\.)*"', lambda m: '"' + " " * (len(m.group()) - 2) + '"', text)


def include_faults(name, text):
    folder = str(pathlib.PurePosixPath(name).parent)
    while folder and folder not in ALLOWED:
        folder = str(pathlib.PurePosixPath(folder).parent) if "/" in folder else ""
    faults = []
    for line, match in enumerate(re.finditer(r'^#include ([<"])([^">]+)[">]', text, re.M), 1):
        kind, target = match.groups()
        at = text[: match.start()].count("\n") + 1
        if kind == "<":
            homes = LIBRARIES.get(target)
            if homes and name.startswith("src/") and name not in homes:
                faults.append(f"{name}:{at}: <{target}> belongs to {', '.join(homes)}")
        elif folder:
            top = target.split("/")[0]
            if top not in ALLOWED[folder]:
                faults.append(f"{name}:{at}: {folder} may not include \"{target}\"")
    return faults


def functions(text):
    """(name, first line, lines, parameters) of every function definition, by the form clang-format gives it."""
    lines = without_comments(text).split("\n")
    at = 0
    while at < len(lines):
        if lines[at] == "{":
            start = at
            while start > 0 and lines[start - 1] and not lines[start - 1].startswith(("}", "#", "\t")) \
                    and not lines[start - 1].endswith(";"):
                start -= 1
            head = " ".join(lines[start:at])
            end = at
            while end < len(lines) and lines[end] != "}":
                end += 1
            match = re.search(r"(\w+)\s*\((.*)\)", head)
            if match:
                inner = re.sub(r"\([^()]*\)", "", match.group(2))
                yield match.group(1), start + 1, end - at + 1, 0 if inner.strip() in ("", "void") else inner.count(",") + 1
            at = end
        at += 1


def size_faults(name, text):
    faults = []
    lines = text.split("\n")
    if len(lines) - 1 > MAX_FILE_LINES:
        faults.append(f"{name}: {len(lines) - 1} lines, at most {MAX_FILE_LINES}")
    if name.endswith((".c", ".h")):
        faults += [f"{name}:{n}: {len(line)} columns, at most {MAX_COLUMNS}"
                   for n, line in enumerate(lines, 1) if len(line) > MAX_COLUMNS]
        for function, first, count, parameters in functions(text):
            if count > MAX_FUNCTION_LINES:
                faults.append(f"{name}:{first}: {function}() has {count} lines, at most {MAX_FUNCTION_LINES}")
            if parameters > MAX_PARAMETERS and (name, function) not in LIBRARY_DEMANDS:
                faults.append(f"{name}:{first}: {function}() has {parameters} parameters, at most {MAX_PARAMETERS}")
    return faults


def call_faults(name, text):
    code, faults = without_comments(text), []
    for pattern, why in BANNED.items():
        for match in re.finditer(pattern, code):
            if name not in BANNED_EXCEPT:
                faults.append(f"{name}:{code[: match.start()].count(chr(10)) + 1}: {match.group().strip()}: {why}")
    if name.startswith(HOT):
        for match in re.finditer(HOT_BANNED, code):
            faults.append(f"{name}:{code[: match.start()].count(chr(10)) + 1}: {match.group()} on the hot path")
    if not name.startswith(ATOMIC_HOMES) and re.search(r"\batomic_\w+\s*\(|\b_Atomic\b|\b__atomic_|\b__sync_", code):
        faults.append(f"{name}: atomics live in table, the repeat set, quotas, publish, counters, rings, answers that are carried, the load generator and the stop flag only")
    return faults


def word_faults(name, text):
    faults = []
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            faults.append(f"{name}:{number}: says {line.strip()[:60]!r}: do it or drop it")
        if re.search(r"(^|[\s\"'(=])(/work/|/root/|/home/|\.\./shared)", line):
            faults.append(f"{name}:{number}: a path of one machine")
    return faults


def anchors(path):
    """As they are made of headings: small letters, no marks, dashes for blanks."""
    heads = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def link_faults(name, text):
    """Relative links to files or headings that do not exist."""
    faults = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, part = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not target.startswith("http") and (not file.exists() or part and file.suffix == ".md" and part not in anchors(file)):
            faults.append(f"{name}: nothing at {target}")
    return faults


def promise_faults(text, targets):
    """Of each row of the tables of promises: what it names must exist, and it must name something that proves it."""
    faults, rows = [], re.findall(r"^\| (?!never|promise|---)(.*?) \|$", text.split("## Promises", 1)[-1], re.M)
    for row in rows:
        promise, *proofs = row.split(" | ")
        named = re.findall(r"`([^`]+)`", " ".join(proofs))
        paths = [name for words in named for name in words.split() if re.match(r"(tests|bench|deploy|\.ci)/", name)]
        faults += [f"{promise}: there is no {path}" for path in paths if not (ROOT / path).exists()]
        faults += [f"{promise}: no `make {target}`" for words in named for target in re.findall(r"^make ([\w-]+)", words) if target not in targets]
        if not paths:
            faults.append(f"{promise}: nothing proves it")
    return faults if rows else ["no promises"]


class Tidy(unittest.TestCase):
    def judge(self, rule, suffixes, skip=()):
        faults = [f for name in sources(*suffixes) if name not in skip for f in rule(name, text_of(name))]
        self.assertEqual(faults, [], "\n" + "\n".join(faults))

    def test_includes_go_one_way(self):
        self.judge(include_faults, (".c", ".h"))
        self.assertTrue(include_faults("src/core/x.c", '#include "table/table.h"\n'))
        self.assertTrue(include_faults("src/net/x.c", "#include <liburing.h>\n"))
        self.assertTrue(include_faults("clients/c/x.c", '#include "net/io.h"\n'))

    def test_files_and_functions_are_small(self):
        self.judge(size_faults, (".c", ".h", ".py"))
        long_function = "int f(int a)\n{\n" + "    a++;\n" * 71 + "}\n"
        self.assertTrue(size_faults("src/x.c", long_function))
        self.assertTrue(size_faults("src/x.c", "int f(int a, int b, int c, int d, int e, int g, int h)\n{\n}\n"))
        self.assertTrue(size_faults("x.py", "\n" * 501))

    def test_banned_calls(self):
        self.judge(call_faults, (".c", ".h"))
        self.assertTrue(call_faults("src/cmd/x.c", "void f(void)\n{\n    strcpy(a, b);\n}\n"))
        self.assertTrue(call_faults("src/engine/x.c", "void f(void)\n{\n    malloc(1);\n}\n"))
        self.assertTrue(call_faults("src/config/x.c", "_Atomic int x;\n"))
        self.assertFalse(call_faults("src/cmd/x.c", "/* strcpy(a, b) */\n"))

    def test_words(self):
        self.judge(word_faults, (".c", ".h", ".py", ".md", "Makefile", ".yaml"), skip=("tests/tidy/test_tidy.py",))
        self.assertTrue(word_faults("a.c", "/* TODO */"))
        self.assertTrue(word_faults("a.md", "see /work/main"))

    def test_promises_have_proofs(self):
        targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.M))
        text = text_of("tests/README.md")
        self.assertEqual(promise_faults(text, targets), [])
        self.assertTrue(promise_faults("## Promises\n| it flies | `tests/unit/test_wings.c` | |\n", targets))
        self.assertTrue(promise_faults("## Promises\n| it flies | `bench/demo` | `make fly` |\n", targets))
        self.assertTrue(promise_faults("## Promises\n| it flies | | |\n", targets))
        self.assertTrue(promise_faults("", targets))

    def test_links_lead_somewhere(self):
        self.judge(link_faults, (".md",))
        self.assertTrue(link_faults("README.md", "[a](docs/nowhere.md)"))
        self.assertTrue(link_faults("README.md", "[a](docs/running.md#no-such-part)"))
        self.assertFalse(link_faults("README.md", "[a](docs/running.md#over-a-restart) [b](https://example.com)"))

    def test_every_source_says_what_it_is(self):
        """A header starts with a comment; so does a source without a header of its own."""
        bare = [name for name in sources(".h", ".c")
                if not text_of(name).startswith("/*") and (name.endswith(".h") or not (ROOT / (name[:-1] + "h")).exists())]
        self.assertEqual(bare, [])


if __name__ == "__main__":
    unittest.main()
