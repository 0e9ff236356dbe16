#!/usr/bin/env python3
"""What becomes of the answers when more is asked than the server can do.

    overload.py [--quick] [--json] [--only NAME] [--whole-core] [--backend mmsg|io_uring] [--build DIR] [--rounds N]

Server on core 0 with one worker, the load (overload_load, an open loop) on core 1. One core cannot send three times what another
one answers, so the server's capacity is made small: a process that only counts runs on its core, too, and the server, at nice 5, is
left a quarter of the time in turns of some milliseconds. --whole-core leaves that out; then most runs are INVALID, which is what a run
is called whose load could not keep its schedule.

Three tenants ask at rates of 1 : 2 : 3. For each kind of traffic the rate with the highest goodput is searched. A round then measures
that goodput again and offers once, twice and three times as much, with a third of the capacity before and after. Figures
are medians over the rounds, ratios those of a round. An answer is good if it came within the deadline of the instant at which its
request was to be sent. Fair is max-min: who asks for less than an equal share gets all of it."""
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
    "joined": (["--batch", "1", "--join"], 50_000),
    "batches of 50": (["--batch", "50", "--join"], 5_000),
}
TIMES = (1, 2, 3)
PARTS = (1 / 6, 2 / 6, 3 / 6)
SERVER_NICE = 5
CALM = 1 / 3  # of the peak, by all tenants together


class Neighbour:
    """A process that uses the core all the time."""

    def __init__(self, is_wanted):
        self.process = None
        if is_wanted:
            self.process = subprocess.Popen([*pin("0"), sys.executable, "-c", "while True: pass"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()


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


def goodput(options, address, arguments, rate, seconds=0.5):
    rows, _ = load(options, address, arguments, [(0.2 + seconds, [rate * part for part in PARTS])])
    return between(rows, 0.2, 0.2 + seconds)[1]


def find_peak(options, address, arguments, rate):
    """The most that is answered in time, and at which rate: up until it falls."""
    peak, best, tries_left = 0, rate, 3
    while tries_left:
        good = goodput(options, address, arguments, rate)
        tries_left = 3 if good > peak * 1.02 else tries_left - 1
        if good > peak:
            peak, best = good, rate
        rate *= 1.5 if good > 0.99 * rate else 1.15
    return peak, best


def fair_shares(asked, capacity):
    shares, left = {}, capacity
    for place, tenant in enumerate(sorted(range(len(asked)), key=lambda one: asked[one])):
        shares[tenant] = min(asked[tenant], left / (len(asked) - place))
        left -= shares[tenant]
    return [shares[tenant] for tenant in range(len(asked))]


def recovery_of(rows, end, after):
    """Seconds after the end of the overload until everything is answered again, to a bin."""
    recovery, at = 0, end
    while at < end + after - BIN_S / 2:
        offered, answered = between(rows, at, at + BIN_S)[:2]
        at += BIN_S
        if answered < 0.995 * offered:
            recovery = at - end
    return recovery


def measure(options, address, arguments, capacity, times):
    """One rise to `times` the capacity and the fall to a third of it."""
    before, high, after = 0.3, options.seconds, 1.2
    rates = [capacity * times * part for part in PARTS]
    calm = [capacity * CALM / 3] * 3
    rows, last = load(options, address, arguments, [(before, calm), (high, rates), (after, calm)])
    settled, end = before + 0.5, before + high
    sent, good, late, shed = between(rows, settled, end)
    shares = [between(rows, settled, end, tenant)[1] for tenant in range(3)]
    fair = fair_shares(rates, good)
    valid = last["slip"] <= SLIP_US and last["unsent"] == 0
    return {"offered": sent, "goodput": good, "late": late, "shed": shed, "shares": [share / one for share, one in zip(shares, fair)],
            "recovery_s": recovery_of(rows, end, after), "age_p99_ms": last["age_p99_us"] / 1000, "age_max_ms": last["age_max_us"] / 1000,
            "slip_us": last["slip"], "unsent": last["unsent"], "valid": valid}


def play_round(options, address, arguments, capacity, best):
    """Rows by how many times the capacity was offered, beside the round's own peak."""
    before = goodput(options, address, arguments, best, 1)
    rows = {times: measure(options, address, arguments, capacity, times) for times in TIMES}
    peak = (before + goodput(options, address, arguments, best, 1)) / 2
    for row in rows.values():
        row["of_peak"] = row["goodput"] / peak
    return rows


def row_text(name, row):
    shares = " ".join(f"{share:.2f}" for share in row["shares"])
    invalid = f"{row['invalid']} INVALID: slip p99 {row['slip_us']:.0f} us, unsent {row['unsent']:.0f}" if row["invalid"] else ""
    return (f"| {name} | {row['times']} | {row['offered']:,.0f} | {row['goodput']:,.0f} | {row['of_peak']:.2f} | {row['late']:,.0f} | "
            f"{row['age_p99_ms']:.1f} | {row['age_max_ms']:.1f} | {shares} | {row['shed']:,.0f} | {row['recovery_s']:.2f} | {invalid} |")


def middle(rows):
    """The medians of the valid rounds; of all if there is none."""
    valid = [one for one in rows if one["valid"]] or rows
    row = {name: statistics.median(one[name] for one in valid) for name in rows[0] if name not in ("shares", "valid")}
    row["shares"] = [statistics.median(one["shares"][i] for one in valid) for i in range(3)]
    row["invalid"] = sum(not one["valid"] for one in rows)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--whole-core", action="store_true")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--rounds", type=int, default=0)
    options = parser.parse_args()
    options.seconds = 1.2 if options.quick else 2
    rounds = options.rounds or (1 if options.quick else 5)
    found = []
    with tempfile.TemporaryDirectory() as folder, Neighbour(not options.whole_core):
        path = pathlib.Path(folder) / "mete.yaml"
        path.write_text(CONFIG)
        command = [*([] if options.whole_core else ["nice", "-n", SERVER_NICE]), options.build / "mete", "serve", "--config", path,
                   "--set", "listen.udp=127.0.0.1:0", "--set", f"listen.admin={folder}/admin.sock", "--set", "workers=1", "--set",
                   f"backend={options.backend}"]
        if not options.json:
            has = "a core" if options.whole_core else f"what nice {SERVER_NICE} leaves it of a core beside a process that only counts"
            print(f"one worker, which has {has}; {rounds} rounds\n\n"
                  "| traffic | times | offered, datagrams/s | goodput | of peak | late/s | age p99, ms | max | of fair share | "
                  "SHED/s | recovery, s | |\n|" + " --- |" * 12, flush=True)
        for name, (arguments, rate) in KINDS.items():
            if options.only not in (None, name):
                continue
            with Server(command, "0") as server:
                capacity, best = find_peak(options, server.address, arguments, rate)
                played = [play_round(options, server.address, arguments, capacity, best) for _ in range(rounds)]
            for times in TIMES:
                row = {"times": times, **middle([one[times] for one in played])}
                found.append({"traffic": name, "peak": capacity, **row})
                if not options.json:
                    print(row_text(name, row), flush=True)
    if options.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
