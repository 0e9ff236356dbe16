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
request was to be sent. What the server gets of its core is not the same in any two seconds, so the goodput is compared per second of its
CPU, too: that is what being asked for too much costs it. Fair is max-min: who asks for less than an equal share gets all of it."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from compare_servers import Server, pin
from compare_table import MOST_SPREAD

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
LEAST_GOODPUT, MOST_UNFAIR = 0.95, 0.1
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


def load(options, server, arguments, phases, window):
    """Rows (bin, tenant, sent, good, late, shed), the last line's figures, and of a core what the server had in the window."""
    command = [options.build / "bench/overload_load", "--server", server.address, "--deadline", DEADLINE_MS, *arguments]
    for seconds, rates in phases:
        command += ["--phase", f"{seconds}:" + ",".join(f"{rate:.0f}" for rate in rates)]
    with subprocess.Popen([*pin("1"), *map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        seen = []
        for pause in (window[0], window[1] - window[0]):
            time.sleep(pause)
            seen.append((time.monotonic(), server.cpu_seconds()))
        said = process.communicate()[0].splitlines()
    if process.returncode:
        raise SystemExit("overload: the load failed")
    words = said[-1].split()
    return ([tuple(map(int, line.split())) for line in said[:-1]], dict(zip(words[::2], map(float, words[1::2]))),
            (seen[1][1] - seen[0][1]) / (seen[1][0] - seen[0][0]))


def between(rows, since, until, tenant=None):
    """Sums (sent, good, late, shed) a second."""
    first, last = round(since / BIN_S), round(until / BIN_S)
    picked = [row[2:] for row in rows if first <= row[0] < last and tenant in (None, row[1])]
    return [sum(column) / (until - since) for column in zip(*picked)]


def goodput(options, server, arguments, rate, seconds=0.5):
    """Good answers a second, and of a core what the server had."""
    end = 0.2 + seconds
    rows, _, core = load(options, server, arguments, [(end, [rate * part for part in PARTS])], (0.2, end))
    return between(rows, 0.2, end)[1], core


def find_peak(options, server, arguments, rate):
    """The most that is answered in time, and at which rate: up until it falls."""
    peak, best, tries_left = 0, rate, 3
    while tries_left:
        good, _ = goodput(options, server, arguments, rate)
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


def measure(options, server, arguments, capacity, times):
    """One rise to `times` the capacity and the fall to a third of it."""
    before, high, after = 0.3, options.seconds, 1.0
    rates = [capacity * times * part for part in PARTS]
    calm = [capacity * CALM / 3] * 3
    settled, end = before + 0.5, before + high
    rows, last, core = load(options, server, arguments, [(before, calm), (high, rates), (after, calm)], (settled, end))
    sent, good, late, shed = between(rows, settled, end)
    shares = [between(rows, settled, end, tenant)[1] for tenant in range(3)]
    return {"offered": sent, "goodput": good, "core": core, "late": late, "shed": shed,
            "shares": [share / max(one, 1) for share, one in zip(shares, fair_shares(rates, good))],
            "recovery_s": recovery_of(rows, end, after), "age_p99_ms": last["age_p99_us"] / 1000,
            "age_max_ms": last["age_max_us"] / 1000, "slip_us": last["slip"], "unsent": last["unsent"],
            "valid": last["slip"] <= SLIP_US and last["unsent"] == 0}


def play_round(options, server, arguments, capacity, best, all_times):
    """Rows by how many times the capacity was offered, beside the round's own peak before and after."""
    peaks = [goodput(options, server, arguments, best, 1)]
    rows = {times: measure(options, server, arguments, capacity, times) for times in all_times}
    peaks.append(goodput(options, server, arguments, best, 1))
    peak, core = (statistics.mean(column) for column in zip(*peaks))
    (first, first_core), (second, second_core) = peaks
    for row in rows.values():
        row["of_peak"] = row["goodput"] / max(peak, 1)
        row["by_cpu"] = row["of_peak"] * core / row["core"]
        row["spread"] = abs(second / second_core / (first / first_core) - 1)
    return rows


def judge(row):
    """What is promised of three times the capacity."""
    misses = [name for name, is_good in (
        ("goodput", row["by_cpu"] >= LEAST_GOODPUT - min(row["spread"], MOST_SPREAD)),
        ("ages", row["late"] == 0),
        ("shares", all(abs(share - 1) <= MOST_UNFAIR for share in row["shares"])),
        ("recovery", row["recovery_s"] <= 1)) if not is_good]
    return "misses " + ", ".join(misses) if misses else "ok"


def row_text(name, row):
    shares = " ".join(f"{share:.2f}" for share in row["shares"])
    verdict = judge(row) if row["rounds"] > row["invalid"] else "INVALID"
    invalid = f"; {row['invalid']} of {row['rounds']} INVALID" if row["invalid"] else ""
    return (f"| {name} | {row['times']} | {row['offered']:,.0f} | {row['goodput']:,.0f} | {row['of_peak']:.2f} | {row['by_cpu']:.2f} | "
            f"+-{row['spread']:.1%} | {row['late']:,.0f} | {row['age_p99_ms']:.0f}, {row['age_max_ms']:.0f} | {shares} | "
            f"{row['shed']:,.0f} | {row['recovery_s']:.2f} | {verdict}{invalid} |")


def middle(rows):
    """The medians of the valid rounds; of all if there is none."""
    valid = [one for one in rows if one["valid"]] or rows
    row = {name: statistics.median(one[name] for one in valid) for name in rows[0] if name not in ("shares", "valid")}
    row["shares"] = [statistics.median(one["shares"][i] for one in valid) for i in range(3)]
    row["rounds"] = len(rows)
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
    options.seconds = 1.5
    rounds = options.rounds or (1 if options.quick else 7)
    found = []
    with tempfile.TemporaryDirectory() as folder, Neighbour(not options.whole_core):
        path = pathlib.Path(folder) / "mete.yaml"
        path.write_text(CONFIG)
        command = [*([] if options.whole_core else ["nice", "-n", SERVER_NICE]), options.build / "mete", "serve", "--config", path,
                   "--set", "listen.udp=127.0.0.1:0", "--set", f"listen.admin={folder}/admin.sock", "--set", "workers=1", "--set",
                   f"backend={options.backend}"]
        if not options.json:
            has = "a core" if options.whole_core else f"what nice {SERVER_NICE} leaves it of a core beside a process that only counts"
            print(f"one worker, which has {has}; medians of {rounds} rounds, of 1 and 2 times of {min(rounds, 3)}\n\n"
                  "| traffic | times | offered, datagrams/s | goodput | of peak | per CPU second | the same twice | late/s | "
                  "age p99, max, ms | of fair share | SHED/s | recovery, s | |\n|" + " --- |" * 13, flush=True)
        for name, (arguments, rate) in KINDS.items():
            if options.only not in (None, name):
                continue
            with Server(command, "0") as server:
                capacity, best = find_peak(options, server, arguments, rate)
                played = [play_round(options, server, arguments, capacity, best, TIMES if i < 3 else TIMES[-1:]) for i in range(rounds)]
            for times in TIMES:
                row = {"times": times, **middle([one[times] for one in played if times in one])}
                found.append({"traffic": name, "peak": capacity, **row})
                if not options.json:
                    print(row_text(name, row), flush=True)
    if options.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
