#!/usr/bin/env python3
"""What a forged datagram costs the server, beside receiving and dropping one whose first byte is wrong.

    flood.py [--rounds N] [--seconds S] [--batch N] [--rate PER_SECOND] [--backend mmsg|io_uring] [--build DIR]
    flood.py --mixed      what valid traffic at a quarter of capacity loses to forged tags at half of it

Server on core 0 with one worker and one tenant under a secret, `flood` on core 1. Each kind is measured once a round, all
of them interleaved; the table holds medians. CPU is what the scheduler charged to the server's threads, over the datagrams
that it received, or with the filter over those that were sent: what the kernel drops before the socket costs the sender on
loopback (in the field the core that takes the interrupt).
"""
import argparse
import json
import pathlib
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from compare_servers import Server, pin

ROOT = pathlib.Path(__file__).resolve().parents[1]
WARM_S = 0.4
CONFIG = """
tenants:
  - name: default
    secret_files: [secret]
    rules:
      - {name: fast, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}
"""
ROWS = [("magic", "off"), ("tag", "off"), ("boot", "off"), ("length", "off"), ("magic", "auto"), ("boot", "auto"), ("tag", "auto")]


def boot_bits(address):
    """From the answer to a HELLO without a secret."""
    host, port = address.rsplit(":", 1)
    tenant = 2166136261
    for byte in b"default":
        tenant = (tenant ^ byte) * 16777619 & 0xFFFFFFFF
    hello = struct.pack("<BBBBIIIIHBB", 0xE1, 7, 0, 1, tenant, 1, 1, 0, 0, 0xFF, 0x34) + bytes(32)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(hello + hello[8:16], (host, int(port)))
        return struct.unpack_from("<H", client.recv(100), 12)[0]


def cpu_ns(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def stats(build, admin):
    done = subprocess.run([build / "mete", "stats", "--json", "--admin", admin], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["total"]


def flood(build, address, boot, kind, seconds, options):
    command = [build / "bench/flood", "--server", address, "--boot", str(boot), "--kind", kind, "--seconds", str(seconds),
               "--batch", str(options.batch)] + (["--rate", str(options.rate)] if options.rate else [])
    done = subprocess.run([*pin("1"), *map(str, command)], capture_output=True, text=True, check=True)
    sent, own = re.match(r"sent (\d+), (\d+) ns", done.stdout).groups()
    return int(sent), int(own)


def measure(build, folder, kind, filtering, options):
    admin = f"{folder}/admin.sock"
    command = [str(build / "mete"), "serve", "--config", f"{folder}/mete.yaml", "--set", "listen.udp=127.0.0.1:0", "--set",
               f"listen.admin={admin}", "--set", "workers=1", "--set", f"backend={options.backend}", "--set",
               f"filter={filtering}"]
    with Server(command, "0") as server:
        boot = boot_bits(server.address)
        flood(build, server.address, boot, kind, WARM_S, options)
        pid = server.process.pid
        before, cpu = stats(build, admin), cpu_ns(pid)
        sent, own = flood(build, server.address, boot, kind, options.seconds, options)
        cpu, after = cpu_ns(pid) - cpu, stats(build, admin)
    received = after["received"] - before["received"]
    return {"cpu": cpu / max(received if filtering == "off" else sent, 1), "share": received / sent, "rate": sent / options.seconds,
            "own": own, "hints": after["restarted"] - before["restarted"]}


def load(build, address, secret, *arguments):
    command = [build / "mete", "bench", "--json", "--server", address, "--secret-file", secret, *arguments]
    return subprocess.Popen([*pin("1"), *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def mix(options, folder, filtering):
    """Valid checks at a quarter of what this server can do, forged ones at half of it, both from core 1. The load is late
    where the flood has its core; what counts here is only that every valid datagram has its answer."""
    command = [str(options.build / "mete"), "serve", "--config", f"{folder}/mete.yaml", "--set", "listen.udp=127.0.0.1:0", "--set",
               f"listen.admin={folder}/admin.sock", "--set", "workers=1", "--set", f"backend={options.backend}", "--set",
               f"filter={filtering}"]
    with Server(command, "0") as server:
        secret, boot = f"{folder}/secret", boot_bits(server.address)
        capacity = json.loads(load(options.build, server.address, secret, "--seconds", "1").communicate()[0])
        capacity = capacity["checks_per_second"]
        valid = load(options.build, server.address, secret, "--seconds", str(options.seconds), "--timeout", "1000", "--rate",
                     f"{capacity // 4}/s")
        options.rate = capacity // 2
        forged, _ = flood(options.build, server.address, boot, "tag", options.seconds, options)
        report = json.loads(valid.communicate()[0])
    lost = report["lost"] + report["unsent_datagrams"] + sum(report["errors"].values())
    print(f"{options.backend}, filter {filtering}: capacity {capacity:,}/s, valid {report['checks']:,} answered, {lost} not, "
          f"beside {forged:,} forged in {options.seconds} s")
    return lost


def main_mixed(options, folder):
    lost = 0
    for _ in range(options.rounds):
        for options.backend in ("mmsg", "io_uring"):
            for filtering in ("off", "auto"):
                lost += mix(options, folder, filtering)
    print(f"{lost} valid checks without an answer")
    return 1 if lost else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--backend", default="mmsg")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--mixed", action="store_true")
    options = parser.parse_args()
    samples = {row: [] for row in ROWS}
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "mete.yaml").write_text(CONFIG)
        secret = pathlib.Path(folder) / "secret"
        secret.touch(0o600)
        secret.write_text("s" * 32)
        if options.mixed:
            return main_mixed(options, folder)
        for _ in range(options.rounds):
            for row in ROWS:
                samples[row].append(measure(options.build, folder, *row, options))
    middle = lambda row, name: statistics.median(sample[name] for sample in samples[row])
    base = middle(ROWS[0], "cpu")
    print(f"{options.backend}, {options.batch} checks per datagram, {options.rounds} rounds of {options.seconds} s")
    print("| kind | filter | server CPU, ns | of magic | +- | came through | sent/s | sender CPU, ns | hints/s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in ROWS:
        spread = [sample["cpu"] for sample in samples[row]]
        half = (max(spread) - min(spread)) / 2 / middle(row, "cpu")
        print(f"| {row[0]} | {row[1]} | {middle(row, 'cpu'):,.0f} | {middle(row, 'cpu') / base:.2f} | {half:.0%} | "
              f"{middle(row, 'share'):.0%} | {middle(row, 'rate'):,.0f} | {middle(row, 'own'):,.0f} | "
              f"{middle(row, 'hints') / options.seconds:,.0f} |")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
