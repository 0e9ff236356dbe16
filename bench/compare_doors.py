#!/usr/bin/env python3
"""The doors beside what people run today, from one run: what `make bench-doors` does. bench/README.md says how to read the table.

    compare_doors.py [--quick] [--rounds N] [--seconds S] [--build DIR] [--json FILE]

mete, redis-server, redis-server with redis-cell and nginx with limit_req run on one core all the time, the load on another; each
row is measured once a round, one after the other, every other round backwards, so that a machine that drifts drifts for all.
Figures are medians over the rounds, ratios medians of the rounds' ratios. The load is `mete bench` for every row. Python's standard
library only; redis-cell is built by cargo into build/peers, and left out, like nginx, where it cannot be had."""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from lib import peers  # noqa: E402
from compare_servers import Failed, Server, pin  # noqa: E402

CONNECTIONS, KEYS = 8, 100_000
CELL = "CL.THROTTLE {} 999999 1000000 1"
NGINX = """daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  limit_req_zone $arg_s zone=all:64m rate=100000r/s;
  server {{
    listen 127.0.0.1:{port};
    location = /plain {{ empty_gif; }}
    location = /limited {{ limit_req zone=all burst=1000000 nodelay; limit_req_status 429; empty_gif; }}
  }}
}}
"""
# (name, whose server, its door, depth of the pipeline, what is asked; None: a check of the rule `fast`)
ROWS = [
    ("mete UDP, single checks, 8 x 32", "mete", "udp", 32, None),
    ("mete RESP, CL.THROTTLE, 1", "mete", "resp", 1, CELL),
    ("mete RESP, CL.THROTTLE, 16", "mete", "resp", 16, CELL),
    ("mete RESP, CL.THROTTLE, 64", "mete", "resp", 64, CELL),
    ("mete RESP, METE.CHECK, 64", "mete", "resp", 64, None),
    ("mete HTTP, GET /check, 1", "mete", "http", 1, None),
    ("mete HTTP, GET /check, 16", "mete", "http", 16, None),
    ("Redis GET, 1", "redis", "resp", 1, "GET {}"),
    ("Redis GET, 16", "redis", "resp", 16, "GET {}"),
    ("Redis GET, 64", "redis", "resp", 64, "GET {}"),
    ("redis-cell, 1", "redis-cell", "resp", 1, CELL),
    ("redis-cell, 16", "redis-cell", "resp", 16, CELL),
    ("redis-cell, 64", "redis-cell", "resp", 64, CELL),
    ("nginx limit_req, 1", "nginx", "http", 1, "/limited?s={}"),
    ("nginx limit_req, 16", "nginx", "http", 16, "/limited?s={}"),
    ("nginx without a limit, 1", "nginx", "http", 1, "/plain?s={}"),
]
# (what, row, row that it is compared with, at least)
TARGETS = [
    ("RESP, unpipelined, of a plain Redis GET", "mete RESP, CL.THROTTLE, 1", "Redis GET, 1", 1.0),
    ("RESP, 16 in a pipeline, of redis-cell", "mete RESP, CL.THROTTLE, 16", "redis-cell, 16", 3.0),
    ("RESP, 64 in a pipeline, of redis-cell", "mete RESP, CL.THROTTLE, 64", "redis-cell, 64", 3.0),
    ("HTTP, of nginx's limit_req", "mete HTTP, GET /check, 1", "nginx limit_req, 1", 1.0),
    ("HTTP, 16 in a pipeline, of nginx's limit_req", "mete HTTP, GET /check, 16", "nginx limit_req, 16", 1.0),
]
MOST_STEAL = 0.1


def free_port():
    import socket
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Other:
    """A server of others, pinned, that listens at a port of ours."""

    def __init__(self, command, core, port):
        self.address, self.port = f"127.0.0.1:{port}", port
        self.process = subprocess.Popen([*pin(core), *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        import socket
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise Failed(f"did not start: {command[0]}")

    cpu_seconds = Server.cpu_seconds

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Machine:
    def __init__(self, build, folder):
        usable = sorted(os.sched_getaffinity(0))
        self.server_core, self.load_core = (str(usable[0]), str(usable[1])) if len(usable) > 1 else (None, None)
        self.build, self.folder, self.servers, self.notes = build, folder, {}, []
        config = folder / "mete.yaml"
        config.write_text("tenants:\n  - name: default\n    rules:\n"
                          "      - {name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}\n")
        ports = {door: free_port() for door in ("resp", "http")}
        self.mete = Server([build / "mete", "serve", "--config", config, "--set", "listen.udp=127.0.0.1:0", "--set",
                            "listen.admin=none", "--set", "workers=1", *[word for door, port in ports.items() for word in
                                                                         ("--set", f"listen.{door}=127.0.0.1:{port}")]],
                           self.server_core).__enter__()
        self.addresses = {("mete", door): f"127.0.0.1:{port}" for door, port in ports.items()}
        self.addresses["mete", "udp"] = self.mete.address
        self.servers["mete"] = self.mete
        self.start_others()

    def start_others(self):
        redis = ["redis-server", "--save", "", "--appendonly", "no", "--dir", self.folder, "--bind", "127.0.0.1", "--port"]
        self.start("redis", "resp", "redis-server", lambda port: [*redis, port])
        try:
            module = peers.redis_cell()
            self.start("redis-cell", "resp", "redis-server", lambda port: [*redis, port, "--loadmodule", module])
        except unittest.SkipTest as why:
            self.notes.append(str(why))
        self.start("nginx", "http", "nginx", self.nginx)

    def nginx(self, port):
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, port=port))
        return ["nginx", "-c", config, "-p", self.folder]

    def start(self, name, door, program, command):
        if not shutil.which(program):
            self.notes.append(f"{name}: {program} is not installed")
            return
        port = free_port()
        try:
            self.servers[name] = Other(command(port), self.server_core, port)
            self.addresses[name, door] = f"127.0.0.1:{port}"
        except Failed as why:
            self.notes.append(f"{name}: {why}")

    def measure(self, row, seconds):
        name, whose, door, depth, ask = row
        command = [*pin(self.load_core), self.build / "mete", "bench", "--json", "--server", self.addresses[whose, door],
                   "--flows", CONNECTIONS, "--outstanding", depth, "--keys", KEYS, "--timeout", 10000, "--seconds", seconds]
        if door != "udp":
            command += ["--door", door]
        if ask:
            command += ["--ask", ask]
        before = self.servers[whose].cpu_seconds()
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        cpu = self.servers[whose].cpu_seconds() - before
        if done.returncode:
            raise Failed(f"{name}: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        checks = max(report["checks"], 1)
        wrong = sum(report["errors"].values()) + report["malformed"] + report["lost"] + report["closed"]
        return {"rate": report["checks_per_second"], "cpu_ns": cpu * 1e9 / checks, "p50_us": report["latency_us"]["p50"],
                "p99_us": report["latency_us"]["p99"], "wrong": wrong, "denied": report["denied"],
                "load_ns": report["client_cpu_seconds"] * 1e9 / checks,
                "robbed": report["machine"]["steal_seconds"] > MOST_STEAL * report["elapsed_seconds"]}

    def close(self):
        for server in self.servers.values():
            server.stop()


def median(rows, figure):
    return statistics.median(row[figure] for row in rows)


def ratio(above, below, figure):
    """Of the rounds' pairs; those in which the host took the machine away only if there are no others."""
    pairs = [(a, b) for a, b in zip(above, below) if not (a["robbed"] or b["robbed"])] or list(zip(above, below))
    return statistics.median(a[figure] / max(b[figure], 1e-9) for a, b in pairs)


def tables(samples, options, notes):
    yield f"{options.rounds} rounds of {options.seconds} s, {CONNECTIONS} connections, {KEYS:,} keys, closed loop; kernel " \
          f"{os.uname().release}, load average {os.getloadavg()[0]:.1f}"
    yield ""
    yield "| what | target | rate | server CPU | |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for what, above, below, least in TARGETS:
        if above in samples and below in samples:
            rate = ratio(samples[above], samples[below], "rate")
            cpu = ratio(samples[above], samples[below], "cpu_ns")
            yield f"| {what} | >= {least:g} | {rate:.2f} | {cpu:.2f} | {'ok' if rate >= least else 'miss'} |"
    yield ""
    yield "| one server core | checks/s | spread | server CPU per check | load's | p50 us | p99 us |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, rows in samples.items():
        rates = [row["rate"] for row in rows]
        yield (f"| {name} | {median(rows, 'rate'):,.0f} | {(max(rates) - min(rates)) / 2 / max(median(rows, 'rate'), 1):.0%} | "
               f"{median(rows, 'cpu_ns'):,.0f} ns | {median(rows, 'load_ns'):,.0f} ns | {median(rows, 'p50_us'):.0f} | "
               f"{median(rows, 'p99_us'):.0f} |")
        wrong = sum(row["wrong"] for row in rows)
        if wrong:
            notes.append(f"{name}: {wrong} requests without a decision")
    yield from (f"note: {note}" for note in notes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds of half a second")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--build", default=str(ROOT / "build"))
    parser.add_argument("--json", help="write every round's figures to this file")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (0.5 if options.quick else 1.0)
    samples = {}
    with tempfile.TemporaryDirectory(prefix="mete-doors-") as folder:
        machine = Machine(pathlib.Path(options.build).resolve(), pathlib.Path(folder))
        try:
            rows = [row for row in ROWS if (row[1], row[2]) in machine.addresses]
            for row in rows:
                machine.measure(row, 0.1)  # warm
                samples[row[0]] = []
            for number in range(options.rounds):
                for row in rows if number % 2 == 0 else reversed(rows):
                    samples[row[0]].append(machine.measure(row, options.seconds))
        except Failed as failed:
            print(f"compare_doors: {failed}", file=sys.stderr)
            return 4
        finally:
            machine.close()
        print("\n".join(tables(samples, options, machine.notes)))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(samples, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
