#!/usr/bin/env python3
"""mete beside the null echo, from one run: what `make bench` does. bench/README.md says how to read the table.

    compare.py [--quick] [--rounds N] [--seconds S] [--build DIR] [--only MODE,...] [--out FILE]

Every combination of server and mode is measured once a round, all of them interleaved, so that a machine that drifts
drifts for all. The server runs on core 0, the load on core 1. Medians are over the rounds. Python's standard library.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODES = {  # name: (what it is, arguments of the load, arguments of the servers)
    "single": ("single checks, 8 flows x 32", [], []),
    "batch": ("batches of 50, 1 M keys", ["--batch", "50"], []),
    "join": ("single checks joined", ["--join"], ["--join"]),
}
SERVERS = {  # name: (kind, backend); the order of the table
    "echo plain": ("echo", None),
    "echo mmsg": ("echo", "mmsg"),
    "echo io_uring": ("echo", "io_uring"),
    "mete mmsg": ("mete", "mmsg"),
    "mete io_uring": ("mete", "io_uring"),
}
ADDRESS = re.compile(r"udp (\S+?:\d+)")
START_SECONDS = 20
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    pass


class Server:
    """One server process, pinned to its core; gone at the end of the with block."""

    def __init__(self, command, core):
        self.said = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([*pin(core), *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.said)
        self.address = None

    def __enter__(self):
        try:
            deadline = time.monotonic() + START_SECONDS
            while self.address is None:
                text = self._text()
                match = ADDRESS.search(text)
                if match:
                    self.address = match[1]
                elif self.process.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"the server did not start: {text.strip() or 'it said nothing'}")
                else:
                    time.sleep(0.01)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _text(self):
        self.said.flush()
        self.said.seek(0)
        return self.said.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.said.close()

    def cpu_seconds(self):
        """utime + stime of all its threads."""
        text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK


def pin(core):
    return [] if core is None else ["taskset", "-c", str(core)]


def cores():
    """(server's, load's, what to say about it)"""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) >= 2:
        return usable[0], usable[1], f"server on core {usable[0]}, load on core {usable[1]}"
    return None, None, "ONE CORE ONLY: server and load share it, the figures say little"


def measure(options, server, mode, server_core, load_core):
    kind, backend = SERVERS[server]
    _, load_arguments, server_arguments = MODES[mode]
    if kind == "echo":
        how = ["--plain"] if backend is None else ["--backend", backend]
        command = [options.build / "bench" / "echo", *how, *server_arguments]
    else:
        command = [options.build / "mete", "serve", "--set", "listen.udp=127.0.0.1:0", "--set", "listen.admin=none",
                   "--set", "workers=1", "--set", f"backend={backend}", "--set", "table.entries=4194304"]
    load = [options.build / "mete", "bench", "--json", "--keys", "1000000", *load_arguments]
    if kind == "echo":
        load.append("--echo")
    with Server(command, server_core) as process:
        load += ["--server", process.address]
        subprocess.run([*pin(load_core), *load, "--seconds", "0.3"], check=True, capture_output=True)  # warm
        before = process.cpu_seconds()
        done = subprocess.run([*pin(load_core), *load, "--seconds", str(options.seconds)], capture_output=True,
                              text=True)
        cpu = process.cpu_seconds() - before
    if done.returncode != 0:
        raise Failed(f"{server}, {mode}: the load ended with {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    checks = max(report["checks"], 1)
    return {
        "checks_per_second": report["checks_per_second"],
        "server_ns_per_check": cpu * 1e9 / checks,
        "client_ns_per_check": report["client_cpu_seconds"] * 1e9 / checks,
        "p50_us": report["latency_us"]["p50"],
        "p99_us": report["latency_us"]["p99"],
        "lost": report["lost"],
        "errors": sum(report["errors"].values()) + report["malformed"],
    }


def plan(options):
    return [(server, mode) for mode in options.only for server in SERVERS
            if not (mode == "join" and SERVERS[server] == ("echo", None))]


def run(options, server_core, load_core):
    samples = {pair: [] for pair in plan(options)}
    total, at = options.rounds * len(samples), 0
    for _ in range(options.rounds):
        for pair in samples:
            at += 1
            show(f"{at}/{total}  {pair[0]}, {pair[1]}")
            try:
                samples[pair].append(measure(options, *pair, server_core, load_core))
            except Failed as error:
                show("")
                print(f"left out: {error}", file=sys.stderr)
    show("")
    return {pair: rows for pair, rows in samples.items() if rows}


def show(text):
    if sys.stderr.isatty():
        print(f"\r{text:<70}\r" if not text else f"\r{text:<70}", end="", file=sys.stderr, flush=True)


def medians(rows):
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def spread(rows):
    """Half the range of the throughput over its median: how far one round may be off."""
    rates = [row["checks_per_second"] for row in rows]
    return (max(rates) - min(rates)) / 2 / max(statistics.median(rates), 1)


def summarize(options, samples):
    """One entry per mode: its rows, and for each row the ratios to the best echo of the run."""
    summary = {}
    for mode in options.only:
        rows = {server: {**medians(samples[server, mode]), "spread": spread(samples[server, mode])}
                for server in SERVERS if (server, mode) in samples}
        echoes = [row for server, row in rows.items() if server.startswith("echo")]
        for row in rows.values():
            if echoes:
                row["rate_ratio"] = row["checks_per_second"] / max(e["checks_per_second"] for e in echoes)
                row["cpu_ratio"] = row["server_ns_per_check"] / max(min(e["server_ns_per_check"] for e in echoes), 1)
        summary[mode] = rows
    return summary


def table(summary):
    lines = ["| mode | server | checks/s | +- | of best echo | server CPU per check | of best echo | p50 | p99 | lost |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for mode, rows in summary.items():
        for server, row in rows.items():
            lines.append(f"| {mode} | {server} | {row['checks_per_second']:,.0f} | {row['spread']:.0%} | "
                         f"{row.get('rate_ratio', 0):.2f} | {row['server_ns_per_check']:,.0f} ns | "
                         f"{row.get('cpu_ratio', 0):.2f} | {row['p50_us']:,.0f} us | {row['p99_us']:,.0f} us | "
                         f"{row['lost']:.0f} |")
    return "\n".join(lines)


def parse(arguments):
    parser = argparse.ArgumentParser(description="mete beside the null echo, from one run")
    parser.add_argument("--quick", action="store_true", help="about a minute: 3 rounds of 1 s")
    parser.add_argument("--rounds", type=int, default=None, help="default 5")
    parser.add_argument("--seconds", type=float, default=None, help="of each measurement, default 2")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(MODES), help=",".join(MODES))
    parser.add_argument("--out", type=pathlib.Path, default=None, help="default BUILD/bench.json")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 2)
    options.out = options.out or options.build / "bench.json"
    for mode in options.only:
        if mode not in MODES:
            parser.error(f"--only: no mode '{mode}'; there are {', '.join(MODES)}")
    for program in (options.build / "mete", options.build / "bench" / "echo"):
        if not program.exists():
            parser.error(f"{program} is not built: make programs")
    return options


def main(arguments):
    options = parse(arguments)
    server_core, load_core, conditions = cores()
    load_before = os.getloadavg()[0]
    print(f"{conditions}; {options.rounds} rounds of {options.seconds:g} s, closed loop; "
          f"Linux {platform.release()}; load average at the start {load_before:.1f}")
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        samples = run(options, server_core, load_core)
    except KeyboardInterrupt:
        show("")
        print("stopped; nothing was left running", file=sys.stderr)
        return 130
    except subprocess.CalledProcessError as error:
        print(f"the load failed: {error.stderr.decode().strip()}", file=sys.stderr)
        return 1
    if not samples:
        return 1
    summary = summarize(options, samples)
    text = table(summary)
    for mode in summary:
        print(f"{mode}: {MODES[mode][0]}")
    print(text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({
        "conditions": conditions, "kernel": platform.release(), "rounds": options.rounds,
        "seconds": options.seconds, "load_average_before": load_before,
        "medians": summary,
        "samples": [{"server": server, "mode": mode, **row} for (server, mode), rows in samples.items() for row in rows],
    }, indent=1) + "\n")
    print(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
