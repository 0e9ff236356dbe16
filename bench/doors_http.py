#!/usr/bin/env python3
"""The HTTP door beside nginx's own limit_req, in one run: one core for the server, the other for the load (wrk), the two
servers in turn, so that what the machine does meanwhile meets both.

    python3 bench/doors_http.py [--rounds 7] [--seconds 3] [--connections 32] [--mete build/mete] [--json]

Both decide for the same 10,000 subjects in the query, over kept connections, and let everything pass. Each row is a median:
answers per second, the server's own CPU per answer (user and system time of all its threads), and what that is per
core. The ratio is of medians of pairs, with the spread of the pairs; above 1 mete is faster. A round in which an answer
was not 200, or in which mete did not count what was answered, is not valid and ends the run with status 4."""
import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUBJECTS = 10000
SERVER_CPU, LOAD_CPU = "0", "1"
MANY = 1000000  # per second: more than anybody asks
SCRIPT = """
local requests, n = {}, 0
function init(args)
  for i = 1, %d do requests[i] = wrk.format("GET", "/check?rule=fast&subject=user:" .. i) end
end
function request()
  n = n %% %d + 1
  return requests[n]
end
function done(summary, latency)
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout, latency:percentile(50)))
end
""" % (SUBJECTS, SUBJECTS)
NGINX = """daemon off; master_process off; pid %(folder)s/pid; error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path %(folder)s/a; proxy_temp_path %(folder)s/b; fastcgi_temp_path %(folder)s/c;
  uwsgi_temp_path %(folder)s/d; scgi_temp_path %(folder)s/e;
  limit_req_zone $arg_subject zone=subjects:16m rate=%(many)dr/s;
  server {
    listen 127.0.0.1:%(port)d;
    location / { limit_req zone=subjects burst=%(many)d nodelay; root %(folder)s; try_files /empty =404; }
  }
}
"""


class Invalid(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit(f"doors_http: a server ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("doors_http: a server does not listen")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    def __init__(self, name, command, port):
        self.name, self.port, self.rounds = name, port, []
        self.process = subprocess.Popen(["taskset", "-c", SERVER_CPU, *command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(port, self.process)

    def load(self, script, seconds, connections, keep=True):
        before = cpu_seconds(self.process.pid)
        done = subprocess.run(["taskset", "-c", LOAD_CPU, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script,
                               f"http://127.0.0.1:{self.port}"], capture_output=True, text=True, timeout=seconds + 60)
        cpu = cpu_seconds(self.process.pid) - before
        match = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.M)
        if not match:
            raise Invalid(f"wrk said {done.stdout + done.stderr}")
        requests, duration_us, wrong, broken, p50_us = map(int, match.groups())
        if wrong or broken or not requests:
            raise Invalid(f"{self.name}: of {requests} answers {wrong} were not 200, {broken} connections broke")
        if keep:
            self.rounds.append({"per_second": requests / duration_us * 1e6, "cpu_us": cpu / requests * 1e6,
                                "per_core": requests / cpu, "p50_us": p50_us})
        return requests

    def median(self, field):
        return statistics.median(one[field] for one in self.rounds)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def counted(mete, admin):
    done = subprocess.run([mete, "stats", "--json", "--admin", admin], capture_output=True, text=True, timeout=30, check=True)
    return next(rule["allowed"] for rule in json.loads(done.stdout)["rules"] if rule["rule"] == "fast")


def measure(arguments, folder):
    script = folder / "load.lua"
    script.write_text(SCRIPT)
    (folder / "empty").write_bytes(b"")
    ports = free_port(), free_port()
    (folder / "nginx.conf").write_text(NGINX % {"folder": folder, "port": ports[0], "many": MANY})
    admin = str(folder / "admin.sock")
    servers = []
    try:
        servers.append(Server("nginx limit_req", ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"],
                              ports[0]))
        servers.append(Server("mete", [arguments.mete, "serve", "--set", "listen.udp=127.0.0.1:0", "--set",
                                       f"listen.admin={admin}", "--set", "workers=1", "--set",
                                       f"listen.http=127.0.0.1:{ports[1]}"], ports[1]))
        nginx, mete = servers
        total = 0
        for server in servers:  # every subject is known, every page was touched
            total += server.load(script, 1, arguments.connections, keep=False) * (server is mete)
        for number in range(arguments.rounds):
            for server in (nginx, mete) if number % 2 else (mete, nginx):
                total += server.load(script, arguments.seconds, arguments.connections) * (server is mete)
        allowed = counted(arguments.mete, admin)
        # what was on its way when wrk stopped was decided, too
        if not total <= allowed <= total + (arguments.rounds + 1) * arguments.connections:
            raise Invalid(f"mete counted {allowed} checks for {total} answers")
        return nginx, mete
    finally:
        for server in servers:
            server.stop()


def ratio(nginx, mete, field):
    pairs = [b[field] / a[field] for a, b in zip(nginx.rounds, mete.rounds)]
    return {"median": statistics.median(pairs), "least": min(pairs), "most": max(pairs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--mete", default=str(ROOT / "build" / "mete"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin"
    for program in ("nginx", "wrk", "taskset"):
        if not shutil.which(program):
            raise SystemExit(f"doors_http: {program} is not here; apt-get install nginx wrk util-linux")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mete-doors-http-"))
    folder.chmod(0o755)
    try:
        nginx, mete = measure(arguments, folder)
    except Invalid as why:
        print(f"doors_http: INVALID: {why}", file=sys.stderr)
        return 4
    finally:
        shutil.rmtree(folder, True)
    ratios = {field: ratio(nginx, mete, field) for field in ("per_second", "per_core")}
    if arguments.json:
        print(json.dumps({"nginx": nginx.rounds, "mete": mete.rounds, "ratios": ratios}))
        return 0
    print(f"{'HTTP, one server core':24} {'answers/s':>12} {'CPU/answer':>12} {'answers per CPU second':>24} {'p50':>10}")
    for server in (nginx, mete):
        print(f"{server.name:24} {server.median('per_second'):12,.0f} {server.median('cpu_us'):9.2f} us "
              f"{server.median('per_core'):24,.0f} {server.median('p50_us'):7.0f} us")
    for field, words in (("per_second", "answers/s"), ("per_core", "answers per CPU second")):
        one = ratios[field]
        print(f"mete of nginx, {words}: {one['median']:.2f} ({one['least']:.2f} to {one['most']:.2f}, {arguments.rounds} pairs)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
