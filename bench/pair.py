#!/usr/bin/env python3
"""Two ways to serve side by side: what the second costs over the first, per check, on a server that is not overloaded.

    pair.py --a SETTING=VALUE[,...] --b SETTING=VALUE[,...] [--a-mete FILE] [--b-mete FILE]
            [--rounds N] [--seconds S] [--only TRAFFIC] [--build DIR]

    make bench-pair ARGS="--a overload.shedding=off --b overload.shedding=auto"       what shedding costs who is not overloaded
    make bench-pair ARGS="--a-mete /usr/bin/mete"                                     the installed version and this one

Server with one worker on core 0, a closed loop on core 1. A round has each way twice, A B B A, each a process of its own that was
warmed up, so that what the machine changes meanwhile changes for both. The ratio is the median of the rounds' B/A; the spread is by
how much the two A's of a round differ, and the two B's, which are the same thing twice. What is within it is no difference."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from compare_servers import PLAIN, Failed, Server, pin

ROOT = pathlib.Path(__file__).resolve().parents[1]
TRAFFIC = {
    "single": [],
    "joined": ["--join"],
    "batches of 50": ["--batch", "50", "--join"],
}
FIGURES = (("server_ns", "server CPU, ns per check"), ("rate", "checks/s"), ("p99_us", "p99, us"))


def measure(options, folder, way, traffic):
    program, sets = way
    command = [program, "serve", "--config", folder / "mete.yaml", *[word for one in sets for word in ("--set", one)],
               "--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none", "--set", "workers=1"]
    load = [*pin("1"), options.build / "mete", "bench", "--json", "--keys", 1000000, *TRAFFIC[traffic], "--seconds"]
    with Server(command, "0") as server:
        words = [*map(str, load)]
        subprocess.run([*words, "0.2", "--server", server.address], check=True, capture_output=True)
        before = server.cpu_seconds()
        done = subprocess.run([*words, str(options.seconds), "--server", server.address], check=True, capture_output=True, text=True)
        cpu = server.cpu_seconds() - before
    report = json.loads(done.stdout)
    return {"server_ns": cpu * 1e9 / report["checks"], "rate": report["checks_per_second"], "p99_us": report["latency_us"]["p99"]}


def compare(rounds, name):
    """(median of the A's, of the B's, ratio, spread) of one figure in rounds of A B B A."""
    a = [statistics.mean((one[0][name], one[3][name])) for one in rounds]
    b = [statistics.mean((one[1][name], one[2][name])) for one in rounds]
    ratio = statistics.median(second / first for first, second in zip(a, b))
    spread = statistics.median(abs(one[i][name] / one[j][name] - 1) for one in rounds for i, j in ((0, 3), (1, 2)))
    return statistics.median(a), statistics.median(b), ratio, spread


def row_text(title, compared):
    a, b, ratio, spread = compared
    verdict = "no difference" if abs(ratio - 1) <= spread else "less" if ratio < 1 else "more"
    return f"| {title} | {a:,.1f} | {b:,.1f} | {ratio:.3f} | +-{spread:.1%} | {verdict} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", default="")
    parser.add_argument("--b", default="")
    parser.add_argument("--a-mete", type=pathlib.Path)
    parser.add_argument("--b-mete", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", choices=TRAFFIC)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    options = parser.parse_args()
    ways = [(program or options.build / "mete", [one for one in sets.split(",") if one])
            for program, sets in ((options.a_mete, options.a), (options.b_mete, options.b))]
    print(f"A: {ways[0][0].name} {options.a}; B: {ways[1][0].name} {options.b}; {options.rounds} rounds of {options.seconds} s\n\n"
          "| traffic | figure | A | B | B of A | the same twice | |\n| --- | --- | ---: | ---: | ---: | ---: | --- |", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="mete-bench-") as folder:
            folder = pathlib.Path(folder)
            (folder / "mete.yaml").write_text(PLAIN)
            for traffic in TRAFFIC:
                if options.only in (None, traffic):
                    rounds = [[measure(options, folder, ways[way], traffic) for way in (0, 1, 1, 0)] for _ in range(options.rounds)]
                    for name, title in FIGURES:
                        print(row_text(f"{traffic} | {title}", compare(rounds, name)), flush=True)
    except (Failed, subprocess.CalledProcessError) as failed:
        print(f"pair: {failed}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
