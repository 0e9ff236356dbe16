#!/usr/bin/env python3
"""mete beside the null echo, from one run: what `make bench` does. bench/README.md says how to read the tables.

    compare.py [--quick] [--only MODE,...] [--rounds N] [--seconds S] [--build DIR] [--out FILE]

Every combination of server and mode is measured once a round, all of them interleaved, so that a machine that drifts
drifts for all; every other round goes backwards. The server runs on one core, the load on another. Figures are medians
over the rounds, ratios are medians of the rounds' ratios. Python's standard library only."""
import argparse
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import time

import compare_micro
from compare_run import ECHOES, METES, MODES, rounds, show, windows
from compare_servers import Failed, Machine, Server
from compare_table import answer_table, latency_table, mode_table, note_lines

ROOT = pathlib.Path(__file__).resolve().parents[1]
EVERY = [*ECHOES, *METES]
PLAN = {  # mode: servers
    "single": EVERY,
    "joined": [name for name in EVERY if name not in ("echo plain", "mete io_uring, no repeats")],
    "batch": ["echo plain", "echo mmsg", "echo io_uring", "mete mmsg", "mete io_uring"],
    "batch-joined": [name for name in EVERY if name != "echo plain"],
    "batch-10m": ["mete mmsg", "mete io_uring"],
}
QUICK = {
    "single": ["echo plain", "echo io_uring", "mete mmsg", "mete io_uring", "mete io_uring, again"],
    "joined": ["echo mmsg", "mete mmsg", "mete io_uring"],
    "batch-joined": ["echo mmsg", "mete mmsg", "mete io_uring", "mete io_uring, tags"],
}
HALF_MODES = ("single", "batch")  # at set instants there is nothing to join
HALF_SERVERS = ("echo io_uring", "mete io_uring", "echo mmsg", "mete mmsg", "mete io_uring, again")
OTHERS = ("latency", "size", "micro")


def plan(options, machine):
    chosen = QUICK if options.quick else PLAN
    return [(server, mode) for mode in MODES if mode in options.only for server in chosen.get(mode, ())
            if not (server in METES and METES[server][2] == "tags" and not machine.has_tags)
            and not (server in METES and METES[server][2] == "bare" and not machine.no_repeats)]


def half_rates(samples):
    """Half of what mete reached, by its better backend; the echo gets the same."""
    rates = {}
    for mode in HALF_MODES:
        reached = [statistics.median(row["checks_per_second"] for row in samples[server, mode])
                   for server in ("mete mmsg", "mete io_uring") if (server, mode) in samples]
        if reached:
            rates[mode] = int(max(reached) / 2)
    return rates


def measure_size(machine):
    """Table bytes per live key at 75 % load, by the server's own account: keys are added until so many are there, because
    some of them displace others on the way."""
    entries, wanted, table = 1 << 20, (1 << 20) * 3 // 4, {"live": 0}
    admin = pathlib.Path(machine.folder.name) / "admin.sock"
    with Server(machine.serve("mmsg", entries=entries, admin=admin), machine.server_core) as server:
        for _ in range(20):
            done = subprocess.run([machine.mete, "bench", "--server", server.address, "--unique", "--rule", "slow", "--batch",
                                   "50", "--requests", str(wanted - table["live"])], capture_output=True, text=True)
            stats = subprocess.run([machine.mete, "stats", "--json", "--admin", admin], capture_output=True, text=True)
            if done.returncode or stats.returncode:
                raise Failed(f"table size: {done.stderr.strip()} {stats.stderr.strip()}")
            table = json.loads(stats.stdout)["table"]
            if table["live"] >= wanted:
                break
    return {**table, "bytes_per_live_key": table["bytes"] / max(table["live"], 1)}


def parse(arguments):
    names = [*MODES, *OTHERS]
    parser = argparse.ArgumentParser(description="mete beside the null echo, from one run")
    parser.add_argument("--quick", action="store_true", help="within a minute: few modes, short rounds")
    parser.add_argument("--rounds", type=int, default=None, help="default 7, quick 2")
    parser.add_argument("--seconds", type=float, default=None, help="of each measurement, default 1, quick 0.5")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--only", type=lambda text: text.split(","), default=names,
                        help=f"modes by the beginning of their names: {', '.join(names)}")
    parser.add_argument("--out", type=pathlib.Path, default=None, help="default BUILD/bench.json")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (2 if options.quick else 7)
    options.seconds = options.seconds or (0.5 if options.quick else 1)
    options.warm = min(0.2, options.seconds / 2)
    options.out = options.out or options.build / "bench.json"
    for word in options.only:
        if not any(name.startswith(word) for name in names):
            parser.error(f"--only: no mode '{word}'; there are {', '.join(names)}")
    options.only = [name for name in names if any(name.startswith(word) for word in options.only)]
    for program in ("mete", "bench/echo", *([f"bench/{name}" for name in compare_micro.PROGRAMS] if "micro" in options.only else [])):
        if not (options.build / program).exists():
            parser.error(f"{options.build / program} is not built: make bench builds it")
    return options


def run(options, machine):
    """Everything that was asked for, as one value that goes into the JSON."""
    pairs = plan(options, machine)
    if "latency" in options.only and not any(mode in options.only for mode in HALF_MODES):
        pairs += [(server, "single") for server in ("mete mmsg", "mete io_uring")]  # for their capacity
    samples = rounds(options, machine, pairs)
    halves, rates = {}, half_rates(samples)
    if "latency" in options.only and rates:
        servers = HALF_SERVERS[:2] if options.quick else HALF_SERVERS
        for mode, rate in rates.items():
            halves.update(windows(options, machine, servers, mode, rate))
    result = {"samples": samples, "halves": halves}
    for name, how in (("size", lambda: measure_size(machine)), ("micro", lambda: compare_micro.measure(machine, options.quick, show))):
        if name in options.only:
            try:
                result[name] = how()
            except Failed as error:
                print(f"left out: {error}", file=sys.stderr)
    return result


def write(options, machine, result, rows, head):
    flat = {name: [{"server": server, "mode": mode, **row} for (server, mode), rows_of in result[name].items()
                   for row in rows_of] for name in ("samples", "halves")}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**head, "notes": machine.notes, "targets": rows, **flat, "size": result.get("size"),
                                       "micro": result.get("micro")}, indent=1) + "\n")
    print(f"\nwritten: {options.out}")


def main(arguments):
    options = parse(arguments)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    head = {"kernel": platform.release(), "rounds": options.rounds, "seconds": options.seconds,
            "load_average_before": os.getloadavg()[0]}
    machine = Machine(options.build)
    try:
        head["conditions"] = machine.conditions
        print(f"{machine.conditions}; {options.rounds} rounds of {options.seconds:g} s; Linux {head['kernel']}; "
              f"load average at the start {head['load_average_before']:.1f}", flush=True)
        result = run(options, machine)
    except KeyboardInterrupt:
        show("")
        print("stopped; nothing was left running", file=sys.stderr)
        return 130
    finally:
        machine.close()
    if not (result["samples"] or result.get("size") or result.get("micro")):
        return 1
    lines, rows = answer_table(result)
    print("\n".join(lines))
    if result["samples"]:
        print("\n" + "\n".join(mode_table(result["samples"], MODES)))
    if result["halves"]:
        print("\n" + "\n".join(latency_table(result["halves"], bool(machine.spin))))
    print("\n" + "\n".join(note_lines(machine, result)))
    head["took_seconds"] = round(time.monotonic() - started)
    write(options, machine, result, rows, head)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
