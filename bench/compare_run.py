"""How one row of compare.py comes about: the modes and the servers, a server started, warmed, loaded and its report read.
At capacity each row has a server of its own; at half load all servers of a mode stand beside each other and are loaded in
turns for a short while each, so that a stall of the machine spoils one window and not the comparison. Python's standard
library only."""
import contextlib
import json
import sys

from compare_servers import Failed, Server

JOIN, BATCH, MILLIONS = ["--join"], ["--batch", "50"], ["--keys", "10000000"]
MODES = {  # name: (what it is, arguments of the load)
    "single": ("single checks, 8 flows x 32, 1 M keys", []),
    "joined": ("single checks, several datagrams per system call at both ends (UDP_SEGMENT, UDP_GRO)", JOIN),
    "batch": ("50 checks per datagram", BATCH),
    "batch-joined": ("50 checks per datagram, several datagrams per system call at both ends", BATCH + JOIN),
    "batch-10m": ("as batch-joined, 10 M keys", BATCH + JOIN + MILLIONS),
}
ECHOES = {"echo plain": "plain", "echo mmsg": "mmsg", "echo io_uring": "io_uring"}
METES = {  # name: (backend, workers, what else)
    "mete mmsg": ("mmsg", 1, ""),
    "mete io_uring": ("io_uring", 1, ""),
    "mete io_uring, again": ("io_uring", 1, ""),  # the A/A pair
    "mete io_uring, tags": ("io_uring", 1, "tags"),
    "mete io_uring, no repeats": ("io_uring", 1, "bare"),
    "mete io_uring, 2 workers": ("io_uring", 2, ""),
}
WINDOWS, WINDOW_PART = 12, 10  # at half load: for each round so many windows, each this part of a round's length
MOST_STEAL = 0.1  # CPU seconds a second, over all cores


def show(text, always=False):
    """A line that replaces the one before; where that is not possible, only now and then one."""
    if sys.stderr.isatty():
        print(f"\r{text:<78}\r" if not text else f"\r{text:<78}", end="", file=sys.stderr, flush=True)
    elif text and always:
        print(text, file=sys.stderr, flush=True)


def command_of(machine, server, mode, spin=False):
    """(its command, its cores, what the load must be told)"""
    join = "--join" in MODES[mode][1]
    if server in ECHOES:
        return machine.echo(ECHOES[server], join=join, spin=spin and machine.spin), machine.server_core, ["--echo"]
    backend, workers, extra = METES[server]
    sets = [*(machine.spin if spin else []), *(machine.no_repeats if extra == "bare" else []),
            *(machine.many_repeats if mode == "joined" and extra != "bare" else [])]
    command = machine.serve(backend, workers=workers, entries=16777216 if mode == "batch-10m" else 4194304,
                            config=machine.tagged if extra == "tags" else None, sets=sets)
    return (command, machine.both_cores if workers > 1 else machine.server_core,
            machine.tag_arguments() if extra == "tags" else [])


def arguments_of(mode, told):
    arguments = [*MODES[mode][1], *told]
    return arguments if "--keys" in arguments else [*arguments, "--keys", "1000000"]


def measure(options, machine, server, mode):
    """One row at capacity: a fresh server, warmed up, then a run in a closed loop."""
    command, cores, told = command_of(machine, server, mode)
    arguments = arguments_of(mode, told)
    with Server(command, cores) as process:
        machine.load(process.address, arguments, options.warm * (10 if mode == "batch-10m" else 1))
        return one_run(machine, process, (server, mode), arguments, options.seconds)


def one_run(machine, process, name, arguments, seconds, rate=None):
    """One row: the load's report and what it cost the server; with a rate an open loop."""
    before = process.cpu_seconds()
    done = machine.load(process.address, arguments + (["--rate", f"{rate}/s"] if rate else []), seconds)
    cpu = process.cpu_seconds() - before
    if done.returncode not in ((0, 4) if rate else (0,)):
        raise Failed(f"{name[0]}, {name[1]}: the load ended with {done.returncode}: {done.stderr.strip()}")
    return row_of(json.loads(done.stdout), cpu, rate)


def row_of(report, cpu, rate):
    checks = max(report["checks"], 1)
    return {
        "checks": report["checks"],
        "checks_per_second": report["checks_per_second"],
        "server_ns_per_check": cpu * 1e9 / checks,
        "checks_per_server_cpu_second": checks / max(cpu, 1e-9),
        "load_ns_per_check": report["client_cpu_seconds"] * 1e9 / checks,
        "p50_us": report["latency_us"]["p50"],
        "p99_us": report["latency_us"]["p99"],
        "slip_p99_us": report["slip_us"]["p99"] if rate else 0,
        "lost": report["lost"],
        "errors": sum(report["errors"].values()) + report["malformed"],
        "categories": {name: count for name, count in [*report["errors"].items(), ("malformed", report["malformed"])] if count},
        "steal_seconds": report["machine"]["steal_seconds"],
        "invalid": report["invalid"] or robbed(report),
        "rate": rate or 0,
    }


def robbed(report):
    """A round in which the host gave much of the machine to others says nothing about rates; None: it did not."""
    steal, lasted = report["machine"]["steal_seconds"], report["elapsed_seconds"]
    return f"the host took {steal:.2f} s of {lasted:.2f}" if steal > MOST_STEAL * lasted else None


def rounds(options, machine, pairs):
    """samples[server, mode] = one row for each round."""
    samples, total, at = {pair: [] for pair in pairs}, options.rounds * len(pairs), 0
    failed = set()
    for number in range(options.rounds):
        for pair in pairs if number % 2 == 0 else pairs[::-1]:
            at += 1
            show(f"capacity {at}/{total}  {pair[1]}: {pair[0]}", always=at % len(pairs) == 1)
            if pair in failed:
                continue
            try:
                samples[pair].append({"round": number, **measure(options, machine, *pair)})
            except Failed as error:
                failed.add(pair)
                show("")
                print(f"left out: {error}", file=sys.stderr)
    show("")
    return {pair: rows for pair, rows in samples.items() if rows and pair not in failed}


def windows(options, machine, servers, mode, rate):
    """samples[server, mode] = one row for each window: an open loop at this rate, where there is such a thing spinning.
    The servers share a core, but one that is not asked soon sleeps."""
    total, seconds, samples = options.rounds * WINDOWS, options.seconds / WINDOW_PART, {}
    with contextlib.ExitStack() as until_the_end:
        standing = []
        for server in servers:
            command, cores, told = command_of(machine, server, mode, spin=True)
            try:
                process = until_the_end.enter_context(Server(command, cores))
            except Failed as error:
                print(f"left out: {server}, {mode}: {error}", file=sys.stderr)
                continue
            standing.append((server, process, arguments_of(mode, told)))
            machine.load(process.address, standing[-1][2], options.warm)
        for number in range(total):
            show(f"half load {number + 1}/{total}  {mode}, {len(standing)} servers in turns", always=number % 20 == 0)
            for server, process, arguments in standing if number % 2 == 0 else standing[::-1]:
                row = one_run(machine, process, (server, mode), arguments, seconds, rate)
                samples.setdefault((server, mode), []).append({"round": number, **row})
    show("")
    return samples
