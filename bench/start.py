#!/usr/bin/env python3
"""How long from the start of the process until its first answer: cold, and warm after kill -9 with a full table.

    make bench-start                 a table of 10,000,000 entries, three quarters of them in use; then with 100,000 leases besides,
                                     which must all be held afterwards
    make bench-start ARGS="--entries 1000000 --leases 0 --rounds 9"

The file lies in /dev/shm (--file says otherwise). One datagram is sent over and over until it is answered, so the figure has
the start of the program, the sockets and rings and all that stands before them; it is printed beside the same without a file.
The line with `taken over` says when the last entry had been looked at, while it served.
"""
import argparse
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from lib import mete_wire as wire  # noqa: E402

LOG = "bench-start.log"
JOBS = 1000000
RULE = ("tenants: [{name: default, rules: [{name: slow, algorithm: token_bucket, rate: 1/1h, burst: 1000}, "
        f"{{name: jobs, algorithm: concurrency, limit: {JOBS}, lease: 1h}}]}}]\n")
LEASES_OF_ONE = 1000


class Server:
    def __init__(self, arguments, folder):
        self.log = open(folder / LOG, "w+")
        self.begun = time.monotonic()
        self.process = subprocess.Popen(arguments, stderr=self.log, stdin=subprocess.DEVNULL)

    def first_answer(self, port, deadline_s=60):
        """Seconds from the start to the first answer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect(("127.0.0.1", port))
            one.settimeout(0.0005)
            request = wire.check("slow", b"first", seed=wire.tenant_seed("default"), flags=wire.PEEK)
            while time.monotonic() < self.begun + deadline_s:
                try:
                    one.send(request)
                    one.recv(2048)
                    return time.monotonic() - self.begun
                except (ConnectionRefusedError, TimeoutError):
                    pass
        raise SystemExit(f"no answer: {self.said()}")

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def wait_for(self, pattern, deadline_s=120):
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            found = re.search(pattern, self.said())
            if found:
                return time.monotonic() - self.begun, found
            time.sleep(0.002)
        raise SystemExit(f"never said {pattern}: {self.said()}")

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait()
        self.log.close()


def acquire(port, leases):
    """As many, LEASES_OF_ONE of each subject; all are granted."""
    seed = wire.tenant_seed("default")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("127.0.0.1", port))
        one.settimeout(10)
        for first in range(1, leases + 1, 20):
            ids = list(range(first, min(first + 20, leases + 1)))
            subjects = [b"job%d" % (lease // LEASES_OF_ONE) for lease in ids]
            one.send(wire.limit_request(wire.ACQUIRE, "jobs", subjects, seed=seed, lease_id=ids))
            result = wire.decode_result(one.recv(2048))
            if not all(entry.allowed for entry in result.entries):
                raise SystemExit(f"a lease was not granted: {result}")


def held(port, leases):
    """How many leases there are, by what is left of each subject's limit."""
    seed = wire.tenant_seed("default")
    found = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("127.0.0.1", port))
        one.settimeout(10)
        for at in range(leases // LEASES_OF_ONE + 1):
            one.send(wire.check("jobs", b"job%d" % at, seed=seed, flags=wire.PEEK, sequence=at + 1))
            found += JOBS - wire.decode_result(one.recv(2048)).entries[0].remaining
    return found


def kill_and_start(server, arguments, folder, port, rounds):
    """(the last server, seconds to each first answer, seconds until all was looked at, what it said)"""
    first, settled = [], []
    for _ in range(rounds):
        server.end(signal.SIGKILL)
        server = Server(arguments, folder)
        first.append(server.first_answer(port))
        seconds, found = server.wait_for(r"(\d+) entries taken over.*")
        settled.append(seconds)
    return server, first, settled, found[0]


def show(name, seconds):
    print(f"{name:34} median {statistics.median(seconds) * 1000:7.1f} ms   of {len(seconds)}: "
          + " ".join(f"{one * 1000:.1f}" for one in seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--leases", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--file", default=f"/dev/shm/mete-bench-start-{os.getpid()}")
    options = parser.parse_args()
    build = ROOT / options.build
    mete, folder = str(build / "mete"), build
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    config = folder / "bench-start.yaml"
    config.write_text(RULE)
    base = [mete, "serve", "--config", str(config), "--set", f"listen.udp=127.0.0.1:{port}", "--set", "listen.admin=none",
            "--set", f"table.entries={options.entries}"]
    warm = [*base, "--set", f"table.file={options.file}"]
    try:
        times = {"cold, anonymous memory": [], "cold, table.file": [], "warm, after kill -9": []}
        for _ in range(options.rounds):
            server = Server(base, folder)
            times["cold, anonymous memory"].append(server.first_answer(port))
            server.end(signal.SIGTERM)
        for _ in range(options.rounds):
            if os.path.exists(options.file):
                os.unlink(options.file)
            server = Server(warm, folder)
            times["cold, table.file"].append(server.first_answer(port))
            server.end(signal.SIGTERM)
        server = Server(warm, folder)
        server.first_answer(port)
        keys = options.entries * 3 // 4
        subprocess.run([mete, "bench", "--server", f"127.0.0.1:{port}", "--rule", "slow", "--unique", "--batch", "50",
                        "--requests", str(keys)], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server, times["warm, after kill -9"], settled, said = kill_and_start(server, warm, folder, port, options.rounds)
        print(f"table of {options.entries} entries; {said}")
        for name, seconds in times.items():
            show(name, seconds)
        show("warm, all entries looked at", settled)
        if options.leases:
            acquire(port, options.leases)
            before = held(port, options.leases)
            server, first, settled, said = kill_and_start(server, warm, folder, port, options.rounds)
            print(said)
            show(f"warm, {options.leases:,} leases besides", first)
            show("warm, all entries looked at", settled)
            print(f"{held(port, options.leases)} leases of {before} are held")
        server.end(signal.SIGTERM)
    finally:
        if os.path.exists(options.file):
            os.unlink(options.file)


if __name__ == "__main__":
    main()
