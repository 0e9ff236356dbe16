#!/usr/bin/env python3
"""`make analyze`: gcc -fanalyzer and clang-tidy over src, clients/c and bench, with the headers they include.

    tests/tidy/analyze.py [--jobs N] [--tool TOOL] [FILE ...] -- FLAGS OF THE COMPILER

Prints what is new, one line each, and ends with a line of counts; exit status 1 if anything is. What clang-tidy
finds and should not is silenced at its line, NOLINT(check): why. What gcc does is a line of analyze.known, beside
this file: FILE FUNCTION WARNING: why. Such a line that nothing needs any more is a fault, too. .clang-tidy says
which checks are chosen."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KNOWN = pathlib.Path(__file__).with_name("analyze.known")
# Steps that clang's analyzer tries in one function at most; its default of 225,000 takes ten times as long.
NODES = ["-Xclang", "-analyzer-config", "-Xclang", "max-nodes=30000"]
FINDING = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?P<grade>warning|error|fatal error): (?P<text>.*?)"
                     r"(?: \[CWE-\d+\])?(?: \[(?P<check>[\w.,-]+)\])?$")
FUNCTION = re.compile(r"^(?P<file>[^\s:]+): In function .(?P<function>\w+).:")


def run(command):
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout


def findings(tool, output):
    """Of what a tool printed: (tool, file, line, function or "-", check, text)."""
    found, function = set(), "-"
    for line in output.splitlines():
        head, match = FUNCTION.match(line), FINDING.match(line)
        if head:
            function = head["function"]
        if match:
            name = os.path.relpath(ROOT / match["file"], ROOT)
            check = (match["check"] or match["grade"]).removeprefix("-W")
            found.add((tool, name, int(match["line"]), function, check, match["text"]))
    return found


def gcc(name, flags):
    # Its warnings of paths are by the optimiser's view of them; -O1 is what the suite is built with.
    return findings("gcc", run(["gcc", *flags, "-O1", "-fanalyzer", "-fdiagnostics-plain-output", "-c", "-o", "/dev/null", name]))


def clang_tidy(name, flags):
    return findings("clang-tidy", run(["clang-tidy", "-quiet", name, "--", *flags, "-O1", *NODES]))


TOOLS = {"gcc": gcc, "clang-tidy": clang_tidy}


def known():
    lines = [line for line in KNOWN.read_text().splitlines() if line and not line.startswith("#")]
    rules = {}
    for line in lines:
        match = re.fullmatch(r"(\S+) (\S+) ([\w-]+): (.{10,})", line)
        if not match:
            sys.exit(f"{KNOWN.name}: not FILE FUNCTION WARNING: why: {line}")
        rules[match.group(1, 2, 3)] = 0
    return rules


def judge(unit, found, rules):
    """What no rule knows, of what was found in a file and its headers; counts the rules' uses."""
    new = []
    for one in sorted(found):
        tool, _, _, function, check, _ = one
        key = (unit, function, check)
        if tool == "gcc" and key in rules:
            rules[key] += 1
        else:
            new.append(one)
    return new


def main():
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tool", choices=("gcc", "clang-tidy"), help="this one alone")
    parser.add_argument("files", nargs="*", metavar="FILE")
    arguments, flags = parser.parse_args(words[:split]), words[split + 1:]
    folders = ("src/*.c", "src/*/*.c", "clients/c/*.c", "bench/*.c")
    files = arguments.files or [str(path.relative_to(ROOT)) for pattern in folders for path in sorted(ROOT.glob(pattern))]
    started, found, new, rules = time.monotonic(), set(), 0, known()
    tools = [tool for name, tool in TOOLS.items() if arguments.tool in (None, name)]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        work = {pool.submit(tool, name, flags): name for tool in tools for name in files}
        for one in concurrent.futures.as_completed(work):
            for tool, name, line, function, check, text in judge(work[one], one.result() - found, rules):
                new += 1
                print(f"{name}:{line}: {function + '(): ' if function != '-' else ''}{text} [{tool}: {check}]", flush=True)
            found |= one.result()
    stale = [] if arguments.files or arguments.tool == "clang-tidy" else [key for key, uses in rules.items() if not uses]
    for key in stale:
        print(f"{KNOWN.relative_to(ROOT)}: nothing needs {' '.join(key)}")
    print(f"analyze: {len(files)} files, {new} new findings, {len(found) - new} explained, {len(stale)} stale explanations, "
          f"{time.monotonic() - started:.0f} s")
    return 1 if new or stale else 0


if __name__ == "__main__":
    sys.exit(main())
