#!/usr/bin/env python3
"""Which lines the suite runs, and whether it runs enough of what reads bytes from outside.

    tests/coverage/report.py [--build DIR] [--run [PART ...]] [--missing FILE]

--run forgets what was counted and runs the suite (or its PARTs) first. Prints a line per file, then the parsers; exit 1 if one
of those has less than 95 % of its lines run, 2 if nothing was counted. --missing names the lines of one file that never ran.
Counts are gcov's, of every program that was linked with an object, added up; a line of a header counts wherever it was used."""

import argparse
import collections
import fnmatch
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
WANTED = 95.0
# What turns bytes from outside (a socket, a file, Redis, the environment) into values.
PARSERS = (
    "include/mete/wire.h", "src/net/udp_believe.c", "src/net/udp_gather.c", "src/net/udp_encode.c", "src/net/control.c",
    "src/net/filter.c", "src/net/tags.c", "src/net/frame.c",
    "src/snapshot/format.c", "src/snapshot/read.c", "src/snapshot/load.c", "src/sys/passed.c",
    "src/doors/resp_parse.c", "src/doors/resp_commands.c", "src/doors/resp_connect.c", "src/doors/resp_questions.c",
    "src/doors/resp_throttle.c", "src/doors/resp_write.c",
    "src/doors/http_parse.c", "src/doors/http_ask.c", "src/doors/http_routes.c", "src/doors/http_client.c",
    "src/doors/http_echo.c", "src/doors/http_trace.c", "src/doors/login.c",
    "src/doors/grpc_call.c", "src/doors/grpc_methods.c", "src/doors/grpc_envoy.c", "src/doors/grpc_limiter.c",
    "src/doors/grpc_health.c", "src/doors/grpc_reflect.c",
    "src/config/yaml.c", "src/config/value*.c", "src/config/schema*.c", "src/config/load.c", "src/config/tenants.c",
    "src/config/rules.c", "src/config/overrides.c", "src/config/descriptors.c", "src/config/api_keys.c",
    "src/config/credentials.c", "src/config/secret.c", "src/config/calendars.c", "src/config/redis*.c",
    "src/core/zone.c", "src/core/zone_rule.c",
    "src/replica/link_reply.c", "src/replica/link_message.c", "src/replica/link_fault.c",
    "src/cmd/config_import*.c", "src/cmd/logline*.c", "src/cmd/logfile.c",
)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/coverage")
    parser.add_argument("--run", nargs="*", metavar="PART")
    parser.add_argument("--missing", metavar="FILE")
    return parser.parse_args()


def run_suite(build, parts):
    for old in build.rglob("*.gcda"):
        old.unlink()
    # Programs that may not write into the build say so to nobody, not to whoever reads their errors.
    environment = dict(os.environ, GCOV_ERROR_FILE="/dev/null")
    command = [str(ROOT / "tests/run"), "--build", str(build), *parts]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def count_lines(build):
    """file -> line -> how often it ran."""
    counts = collections.defaultdict(lambda: collections.defaultdict(int))
    notes = sorted((build / "obj" / "src").rglob("*.gcno"))
    for at in range(0, len(notes), 50):
        done = subprocess.run(["gcov", "--json-format", "--stdout", *map(str, notes[at:at + 50])], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        for one in done.stdout.splitlines():
            for file in json.loads(one)["files"]:
                for line in file["lines"]:
                    counts[os.path.normpath(file["file"])][line["line_number"]] += line["count"]
    return {name: lines for name, lines in counts.items() if name.startswith(("src/", "include/"))}


def is_parser(name):
    return any(fnmatch.fnmatch(name, pattern) for pattern in PARSERS)


def share(lines):
    return 100.0 * sum(count > 0 for count in lines.values()) / len(lines)


def show(counts):
    """The table; the parsers that fall short."""
    for name in sorted(counts):
        print(f"{share(counts[name]):6.1f} %  {len(counts[name]):5}  {name}{'  (parser)' if is_parser(name) else ''}")
    every = {(name, line): count for name, lines in counts.items() for line, count in lines.items()}
    parsers = {place: count for place, count in every.items() if is_parser(place[0])}
    print(f"{share(every):6.1f} %  {len(every):5}  all files")
    print(f"{share(parsers):6.1f} %  {len(parsers):5}  parsers")
    return [name for name in sorted(counts) if is_parser(name) and share(counts[name]) < WANTED]


def main():
    chosen = arguments()
    build = (ROOT / chosen.build).resolve()
    status = run_suite(build, chosen.run) if chosen.run is not None else 0
    counts = count_lines(build)
    if not any(count for lines in counts.values() for count in lines.values()):
        print(f"tests/coverage/report.py: nothing was counted in {build}; `make coverage` builds and runs it", file=sys.stderr)
        return 2
    if chosen.missing:
        print(*[line for line, count in sorted(counts[chosen.missing].items()) if not count])
        return 0
    short = show(counts)
    for name in short:
        print(f"{name}: {share(counts[name]):.1f} % of its lines run, at least {WANTED:.0f} % wanted")
    if not short:
        print(f"every parser has at least {WANTED:.0f} % of its lines run")
    return 1 if short or status else 0


if __name__ == "__main__":
    sys.exit(main())
