"""What compare.py prints: targets with what was measured and ok or miss, then every row. Python's standard library only.

A ratio is taken round by round, and its median is the figure. A threshold that is less than 20 % away from 1 is held
if the figure is within it plus the spread: the median distance of an A/A pair of the same run from being equal."""
import statistics

from compare_micro import add_rows

NOISY = "too noisy to tell"
MOST_SPREAD = 0.2  # beyond this a run says nothing about a ratio
LEAST_PAIRS = 3  # windows in which both were measured in time; fewer say nothing
MOST_STALE = 1e-5  # of all checks: a client asks those again, so a few among millions spoil no row
HEAD = ["what", "target", "measured", "", "how"]


def median(rows, name):
    """Over the valid rounds; over all, if none is."""
    return statistics.median(row[name] for row in [row for row in rows if not row["invalid"]] or rows)


def spread(rows):
    """Half the range of the throughput over its median: how far one round may be off."""
    rates = [row["checks_per_second"] for row in rows]
    return (max(rates) - min(rates)) / 2 / max(statistics.median(rates), 1)


def pair_ratio(above, below, name, least=1):
    """Median of the rounds' ratios; None if fewer than `least` rounds have both, valid."""
    other = {row["round"]: row[name] for row in below if not row["invalid"]}
    ratios = [row[name] / other[row["round"]] for row in above if other.get(row["round"]) and not row["invalid"]]
    return statistics.median(ratios) if len(ratios) >= least else None


def counted(above, below):
    """", 5 of 7 rounds" if not all of them count."""
    valid = {row["round"] for row in above if not row["invalid"]} & {row["round"] for row in below if not row["invalid"]}
    total = max(len(above), len(below))
    return "" if len(valid) == total else f", {len(valid)} of {total} rounds"


def twin_spread(samples, name):
    """How far the A/A pairs of the run are apart: the worst mode's median; None without a pair."""
    worst = None
    for (server, mode), rows in samples.items():
        if server != "mete io_uring, again" or ("mete io_uring", mode) not in samples:
            continue
        other = {row["round"]: row[name] for row in samples["mete io_uring", mode] if not row["invalid"]}
        distances = [abs(row[name] / other[row["round"]] - 1) for row in rows if other.get(row["round"]) and not row["invalid"]]
        if distances:
            worst = max(worst or 0, statistics.median(distances))
    return worst


def best(samples, mode, servers, name, highest=True):
    """(server, rows) with the best median."""
    found = [(median(rows, name), server) for (server, of), rows in samples.items() if of == mode and server in servers]
    if not found:
        return None
    server = (max if highest else min)(found)[1]
    return server, samples[server, mode]


ECHOES = ("echo plain", "echo mmsg", "echo io_uring")
METES = ("mete mmsg", "mete io_uring")


class Answers:
    """Rows of the first table, as they are found."""

    def __init__(self):
        self.rows = []

    def add(self, what, target, measured, verdict, how):
        self.rows.append({"what": what, "target": target, "measured": measured, "verdict": verdict, "how": how})

    def at_least(self, what, limit, value, how, text=None, slack=0.0):
        if value is None:
            self.add(what, f">= {limit:,}", "", NOISY, how)
            return
        verdict = "ok" if value >= limit else within(slack) if value >= limit - slack else "MISS"
        self.add(what, f">= {limit:,}", text or f"{value:,.2f}", verdict, how)

    def at_most(self, what, limit, value, how, text=None, slack=0.0):
        if value is None:
            self.add(what, f"<= {limit:,}", "", NOISY, how)
            return
        verdict = "ok" if value <= limit else within(slack) if value <= limit + slack else "MISS"
        self.add(what, f"<= {limit:,}", text or f"{value:,.2f}", verdict, how)


def within(slack):
    return "ok, within the spread" if slack <= MOST_SPREAD else NOISY


def add_single(answers, samples, slack):
    mete = best(samples, "single", METES, "checks_per_second")
    echo = best(samples, "single", ECHOES, "checks_per_second")
    if mete and echo:
        answers.at_least("single check: throughput of the best null echo's", 0.95,
                         pair_ratio(mete[1], echo[1], "checks_per_second"),
                         f"{mete[0]} over {echo[0]}{counted(mete[1], echo[1])}",
                         slack=slack["checks_per_second"])
    mete = best(samples, "single", METES, "server_ns_per_check", highest=False)
    echo = best(samples, "single", ("echo plain",), "server_ns_per_check", highest=False)
    if mete and echo:
        answers.at_most("single check: server CPU of the plain-socket null echo's", 1.0,
                        pair_ratio(mete[1], echo[1], "server_ns_per_check"),
                        f"{mete[0]} over {echo[0]}{counted(mete[1], echo[1])}",
                        slack=slack["server_ns_per_check"])


def add_per_core(answers, samples):
    """Checks per second of the server's CPU: what a core does when it is kept busy."""
    tags = ("mete io_uring, tags",)
    for what, limit, modes, servers in (
            ("single checks, joined at both ends, per server core", 3000000, ("joined",), METES),
            ("batches of 50, 1 M keys, per server core", 10000000, ("batch-joined", "batch"), METES),
            ("batches of 50, 1 M keys, tags verified, per server core", 8000000, ("batch-joined",), tags),
            ("batches of 50, 10 M keys, per server core", 8000000, ("batch-10m",), METES)):
        found = [best(samples, mode, servers, "checks_per_server_cpu_second") for mode in modes]
        found = [one for one in found if one]
        if not found:
            continue
        server, rows = max(found, key=lambda one: median(one[1], "checks_per_server_cpu_second"))
        value = median(rows, "checks_per_server_cpu_second")
        if value < limit and all(row["invalid"] for row in rows):
            value = None
        answers.at_least(what, limit, value, server + counted(rows, rows),
                         value and f"{value:,.0f} (reached {median(rows, 'checks_per_second'):,.0f}/s)")


def own_work(halves, server, mode):
    """In a batch: the part of the p50 that is the work on its checks, which the echo does not have."""
    if not mode.startswith("batch"):
        return ""
    return f"; {median(halves[server, mode], 'server_ns_per_check') * 50 / 1000:.1f} us of CPU are 50 checks"


def add_latency(answers, halves):
    for mode in dict.fromkeys(mode for _, mode in halves):
        for name in ("p50_us", "p99_us"):
            what, slack = f"{mode}, half load: {name[:3]} of the null echo's", twin_spread(halves, name) or 0.0
            pairs = [(f"mete {backend} over echo {backend}"
                      + counted(halves["mete " + backend, mode], halves["echo " + backend, mode])
                      + own_work(halves, "mete " + backend, mode),
                      pair_ratio(halves["mete " + backend, mode], halves["echo " + backend, mode], name, LEAST_PAIRS))
                     for backend in ("io_uring", "mmsg") if ("mete " + backend, mode) in halves and ("echo " + backend, mode) in halves]
            pairs = [pair for pair in pairs if pair[1]]
            if pairs:
                how, value = min(pairs, key=lambda pair: pair[1])
                answers.at_most(what, 1.2, value, how, slack=slack)
            else:
                answers.add(what, "<= 1.2", "", NOISY, f"in fewer than {LEAST_PAIRS} windows was the load in time for both")


def add_believing(answers, samples):
    """MAC, freshness and repeat set: what they add to the server's CPU per check."""
    bare = "mete io_uring, no repeats"
    for mode, limit, what in (("single", 100, "single check"), ("batch-joined", 40, "check in batches of 50")):
        with_tags, without = samples.get(("mete io_uring, tags", mode)), samples.get((bare, mode)) or samples.get(("mete io_uring", mode))
        if with_tags and without:
            other = {row["round"]: row["server_ns_per_check"] for row in without if not row["invalid"]}
            differences = [row["server_ns_per_check"] - other[row["round"]] for row in with_tags
                           if row["round"] in other and not row["invalid"]]
            more = statistics.median(differences) if differences else None
            answers.at_most(f"MAC, freshness and repeats per {what}, ns", limit, more, "with tags minus without"
                            + ("" if (bare, mode) in samples else " (both know repeats)") + counted(with_tags, without),
                            more and f"{more:,.1f}")


def add_table(answers, result):
    size, micro = result.get("size"), result.get("micro") or {}
    if size:
        answers.at_most("table bytes per live key at 75 % load", 43, size["bytes_per_live_key"],
                        f"{size['live']:,} live of {size['entries']:,} entries", f"{size['bytes_per_live_key']:.1f}")
    add_rows(answers, micro)


def answer_table(result):
    """(lines, rows): misses first, because they are what a reader looks for."""
    answers, samples = Answers(), result["samples"]
    slack = {name: twin_spread(samples, name) or 0.0 for name in ("checks_per_second", "server_ns_per_check")}
    add_single(answers, samples, slack)
    add_per_core(answers, samples)
    add_latency(answers, result["halves"])
    add_believing(answers, samples)
    add_table(answers, result)
    rows = sorted(answers.rows, key=lambda row: (row["verdict"] != "MISS", row["verdict"] != NOISY))
    lines = grid(HEAD, [[row["what"], row["target"], row["measured"], row["verdict"], row["how"]] for row in rows], "lrrll")
    return lines, rows


def grid(head, rows, sides):
    """Markdown, with columns as wide as they need to be."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows)]
    def line(cells):
        return "| " + " | ".join(cell.ljust(width) if side == "l" else cell.rjust(width)
                                 for cell, width, side in zip(cells, widths, sides)) + " |"
    rule = "| " + " | ".join("-" * width if side == "l" else "-" * (width - 1) + ":" for width, side in zip(widths, sides)) + " |"
    return [line(head), rule if widths else "", *(line(row) for row in rows)]


def mode_table(samples, modes):
    """Every row: within a mode by its rate, so that the ceiling stands on top."""
    rows = []
    for mode in modes:
        of_mode = {server: rows_of for (server, of), rows_of in samples.items() if of == mode}
        echo = best(samples, mode, ECHOES, "checks_per_second") or best(samples, mode.replace("-10m", "-joined"), ECHOES, "checks_per_second")
        cheap = best(samples, mode, ECHOES, "server_ns_per_check", highest=False)
        for server, rows_of in sorted(of_mode.items(), key=lambda item: -median(item[1], "checks_per_second")):
            rate = pair_ratio(rows_of, echo[1], "checks_per_second") if echo else None
            cpu = pair_ratio(rows_of, cheap[1], "server_ns_per_check") if cheap else None
            rows.append([mode, server, f"{median(rows_of, 'checks_per_second'):,.0f}", f"{spread(rows_of):.0%}",
                         f"{rate:.2f}" if rate else "", f"{median(rows_of, 'checks_per_server_cpu_second'):,.0f}",
                         f"{median(rows_of, 'server_ns_per_check'):,.0f} ns", f"{cpu:.2f}" if cpu else "",
                         f"{median(rows_of, 'load_ns_per_check'):,.0f} ns", f"{median(rows_of, 'p50_us'):,.0f} us",
                         f"{median(rows_of, 'p99_us'):,.0f} us", f"{sum(row['lost'] for row in rows_of)}",
                         f"{sum(row['errors'] for row in rows_of)}"])
    return grid(["mode", "server", "checks/s", "+-", "of best echo", "per server CPU s", "CPU per check", "of best echo", "load's CPU",
                 "p50", "p99", "lost", "errors"], rows, "llrrrrrrrrrrr")


def latency_table(halves, spins):
    rows = []
    for (server, mode), rows_of in sorted(halves.items(), key=lambda item: (item[0][1], median(item[1], "p99_us"))):
        valid = [row for row in rows_of if not row["invalid"]]
        rows.append([mode, server, f"{rows_of[0]['rate']:,}", f"{median(rows_of, 'p50_us'):,.1f} us",
                     f"{median(rows_of, 'p99_us'):,.1f} us", f"{median(rows_of, 'slip_p99_us'):,.1f} us",
                     f"{len(valid):,} of {len(rows_of):,}", f"{sum(row['lost'] for row in rows_of)}"])
    title = f"half of capacity, open loop, {'spinning' if spins else 'not spinning'}"
    return grid([title, "server", "checks/s", "p50", "p99", "slip p99", "valid", "lost"], rows, "llrrrrrr")


def note_lines(machine, result):
    """How far the run is to be trusted."""
    lines = list(machine.notes)
    samples = result["samples"]
    for what, pairs, names in (("at capacity", samples, ("checks_per_second", "server_ns_per_check")),
                               ("at half load", result["halves"], ("p50_us", "p99_us"))):
        twins = [(name, twin_spread(pairs, name)) for name in names]
        if twins[0][1] is not None:
            lines.append(f"spread: an A/A pair of this run is apart {what} by "
                         + ", ".join(f"{distance:.1%} ({name})" for name, distance in twins))
    if any("2 workers" in server for server, _ in samples) and machine.crowded:
        lines.append("2 workers: crowded, the load shares their two cores; the figure says that it works, not how it scales")
    steal = sum(row["steal_seconds"] for rows in samples.values() for row in rows)
    if steal:
        lines.append(f"the host took {steal:.1f} s of CPU for others during the runs")
    for (server, mode), rows in {**samples, **result["halves"]}.items():
        lost, categories = sum(row["lost"] for row in rows), {}
        for row in rows:
            for name, count in row["categories"].items():
                categories[name] = categories.get(name, 0) + count
        if lost or categories:
            what = [f"{lost:,} datagrams lost"] * bool(lost) + [f"{count:,} checks {name}" for name, count in categories.items()]
            checks = sum(row["checks"] for row in rows)
            harmless = not lost and set(categories) == {"stale"} and categories["stale"] <= MOST_STALE * checks
            lines.append(f"{mode}, {server}: {', '.join(what)}; "
                         + (f"of {checks:,}, a client asks them again" if harmless else "the row does not count"))
    return [f"note: {line}" for line in lines]
