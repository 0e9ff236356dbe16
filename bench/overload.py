#!/usr/bin/env python3
"""What becomes of the answers when more is asked than the server can do.

    overload.py [--quick] [--json] [--only NAME] [--backend mmsg|io_uring] [--build DIR] [--rounds N]

Server on core 0 with one worker, the load (overload_load, an open loop) on core 1. Each kind of traffic: the highest
goodput at any rate is searched; then three tenants offer once, twice and three times that at different rates, and half of
it afterwards. An answer is good if it came within the deadline of the instant at which its request was to be sent. Fair is
max-min: who asks for less than an equal share gets all of it. A run whose load could not keep its schedule is INVALID.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from compare_servers import Server, pin

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEADLINE_MS = 100
BIN_S = 0.05
SLIP_US = 5000  # of the load's p99: more, and it is the load that is measured
RULES = "    rules: [{name: api, algorithm: token_bucket, rate: 1000000/s, burst: 1000000}]\n"
CONFIG = "tenants:\n" + "".join(f"  - name: t{i}\n{RULES}" for i in range(4))
KINDS = {  # arguments of the load, first rate of the search
    "single": (["--batch", "1"], 20_000),
    "joined": (["--batch", "1", "--join"], 200_000),
    "batches of 50": (["--batch", "50", "--join"], 10_000),
}
SPLITS = {1: (1 / 6, 2 / 6, 3 / 6), 2: (1 / 6, 2 / 6, 3 / 6), 3: (1 / 6, 2 / 6, 3 / 6)}


def load(options, address, arguments, phases):
    """Rows (bin, tenant, sent, good, late, shed) and the last line's figures."""
    command = [options.build / "bench/overload_load", "--server", address, "--deadline", DEADLINE_MS, *arguments]
    for seconds, rates in phases:
        command += ["--phase", f"{seconds}:" + ",".join(f"{rate:.0f}" for rate in rates)]
    said = subprocess.run([*pin("1"), *map(str, command)], capture_output=True, text=True, check=True).stdout.splitlines()
    words = said[-1].split()
    return [tuple(map(int, line.split())) for line in said[:-1]], dict(zip(words[::2], map(float, words[1::2])))


def between(rows, since, until, tenant=None):
    """Sums (sent, good, late, shed) a second."""
    first, last = round(since / BIN_S), round(until / BIN_S)
    picked = [row[2:] for row in rows if first <= row[0] < last and tenant in (None, row[1])]
    return [sum(column) / (until - since) for column in zip(*picked)]


def find_peak(options, address, arguments, rate):
    """The most that is answered in time, at whatever rate: up by a fifth until it falls, each rate for half a second."""
    peak, tries_left = 0, 4
    while tries_left:
        rows, _ = load(options, address, arguments, [(0.6, [rate])])
        good = between(rows, 0.1, 0.6)[1]
        tries_left = 4 if good > peak * 1.02 else tries_left - 1
        peak, rate = max(peak, good), rate * (1.5 if good > 0.99 * rate else 1.2)
    return peak


def fair_shares(asked, capacity):
    shares, left = {}, capacity
    for place, tenant in enumerate(sorted(range(len(asked)), key=lambda one: asked[one])):
        shares[tenant] = min(asked[tenant], left / (len(asked) - place))
        left -= shares[tenant]
    return [shares[tenant] for tenant in range(len(asked))]


def measure(options, address, arguments, peak, times):
    """One rise to `times` the peak and the fall to half of it."""
    before, high, after = 0.5, options.seconds, 1.5
    rates = [peak * times * part for part in SPLITS[times]]
    calm = [peak / 6] * 3
    rows, last = load(options, address, arguments, [(before, calm), (high, rates), (after, calm)])
    settled, end = before + 0.5, before + high
    sent, good, late, shed = between(rows, settled, end)
    shares = [between(rows, settled, end, tenant)[1] for tenant in range(3)]
    fair = fair_shares(rates, good)
    recovery, at = 0, end
    while at < end + after - BIN_S / 2:
        offered, answered = between(rows, at, at + BIN_S)[:2]
        at += BIN_S
        if answered < 0.995 * offered:
            recovery = at - end
    valid = last["slip"] <= SLIP_US and last["unsent"] == 0
    return {"times": times, "offered": sent, "goodput": good, "of_peak": good / peak, "late": late, "shed": shed,
            "shares": [share / one for share, one in zip(shares, fair)], "recovery_s": recovery,
            "age_p99_ms": last["age_p99_us"] / 1000, "age_max_ms": last["age_max_us"] / 1000, "slip_us": last["slip"],
            "unsent": last["unsent"], "valid": valid}


def row_text(name, row):
    shares = " ".join(f"{share:.2f}" for share in row["shares"])
    return (f"| {name} | {row['times']} | {row['offered']:,.0f} | {row['goodput']:,.0f} | {row['of_peak']:.2f} | {row['late']:,.0f} | "
            f"{row['age_p99_ms']:.1f} | {row['age_max_ms']:.1f} | {shares} | {row['shed']:,.0f} | {row['recovery_s']:.2f} | "
            f"{'' if row['valid'] else 'INVALID: slip p99 %.0f us, unsent %.0f' % (row['slip_us'], row['unsent'])} |")


def middle(rows):
    """The medians of some rounds."""
    row = {name: statistics.median(one[name] for one in rows) for name in rows[0] if name not in ("shares", "valid")}
    row["shares"] = [statistics.median(one["shares"][i] for one in rows) for i in range(3)]
    row["valid"] = sum(one["valid"] for one in rows) * 2 > len(rows)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--rounds", type=int, default=0)
    options = parser.parse_args()
    options.seconds = 1.5 if options.quick else 3
    rounds = options.rounds or (1 if options.quick else 3)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mete.yaml"
        path.write_text(CONFIG)
        command = [options.build / "mete", "serve", "--config", path, "--set", "listen.udp=127.0.0.1:0", "--set",
                   f"listen.admin={folder}/admin.sock", "--set", "workers=1", "--set", f"backend={options.backend}"]
        if not options.json:
            print("| traffic | times | offered, datagrams/s | goodput | of peak | late/s | age p99, ms | max | of fair share | "
                  "SHED/s | recovery, s | |\n|" + " --- |" * 12)
        for name, (arguments, rate) in KINDS.items():
            if options.only not in (None, name):
                continue
            with Server(command, "0") as server:
                peak = find_peak(options, server.address, arguments, rate)
                for times in SPLITS:
                    row = middle([measure(options, server.address, arguments, peak, times) for _ in range(rounds)])
                    found.append({"traffic": name, "peak": peak, **row})
                    if not options.json:
                        print(row_text(name, row), flush=True)
    if options.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
