"""The parts of mete by themselves, as compare.py prints them: the table, the repeat set, one denied key. The programs run on
the load's core; one denied key is asked on all. Medians of several runs. Python's standard library only."""
import os
import re
import statistics
import subprocess

from compare_servers import Failed

PROGRAMS = ("micro_table", "micro_repeat", "micro_hot")
TABLES = (("1 M keys", ["--keys", "1000000", "--huge"], 25), ("10 M keys", ["--keys", "10000000", "--huge"], 18))


def run(machine, program, *arguments, pinned=True):
    done = subprocess.run([*(["taskset", "-c", machine.load_core] if pinned and machine.pinned else []),
                           machine.build / "bench" / program, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{program}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def figure(pattern, said, program):
    match = re.search(pattern, said)
    if not match:
        raise Failed(f"{program} says nothing of {pattern}: {said.strip()}")
    return float(match[1])


def measure(machine, quick, show):
    """One value that goes into the JSON: by name of the row."""
    figures, times = {}, 1 if quick else 7
    for name, arguments, _ in TABLES[:1 if quick else None]:
        show(f"micro_table, {name}", always=True)
        said = [run(machine, "micro_table", *arguments, "--seconds", "0.5") for _ in range(times)]
        rates = [figure(r"([\d.]+) M checks/s", text, "micro_table") for text in said]
        figures[name] = {"million_checks_per_second": statistics.median(rates), "runs": rates,
                         "huge_pages": "huge pages yes" in said[0]}
    show("micro_repeat", always=True)
    said = [run(machine, "micro_repeat", "--seconds", "0.05" if quick else "0.5") for _ in range(times)]
    for name in ("alone", "shared"):
        runs = [figure(rf"{name} +new .*?([\d.]+) ns", text, "micro_repeat") for text in said]
        figures[f"repeat set, {name}"] = {"ns": statistics.median(runs), "runs": runs}
    show("micro_hot", always=True)
    said = run(machine, "micro_hot", "--threads", str(max(len(os.sched_getaffinity(0)), 2)), "--seconds", "0.03" if quick else "0.2", pinned=False)
    figures["hot key"] = {"of_tables_of_their_own": figure(r"a table each: ([\d.]+)", said, "micro_hot"),
                          "twins_apart": figure(r"apart by ([\d.]+)", said, "micro_hot"),
                          "of_one_thread": figure(r"over one: ([\d.]+)", said, "micro_hot"),
                          "arithmetic_of_one_thread": figure(r"same run ([\d.]+)", said, "micro_hot")}
    show("")
    return figures


def with_best(value, runs, best):
    return f"{value:.1f}" + (f" ({best(runs):.1f} at best)" if len(runs) > 1 else "")


def add_rows(answers, micro):
    for name, _, limit in TABLES:
        if name in micro:
            value, runs = micro[name]["million_checks_per_second"], micro[name]["runs"]
            answers.at_least(f"table alone, {name}: M checks/s", limit, value,
                             "micro_table, huge pages" if micro[name]["huge_pages"] else "micro_table: there were no huge pages",
                             with_best(value, runs, max))
    for name, how in (("alone", "micro_repeat, one worker"), ("shared", "micro_repeat, a set that workers share")):
        found = micro.get(f"repeat set, {name}")
        if found:
            answers.at_most(f"repeat set, {name}: ns per datagram", 20, found["ns"], how, with_best(found["ns"], found["runs"], min))
    hot = micro.get("hot key")
    if hot:
        answers.at_least("one key denied on all cores, of a table for each", 1.0, hot["of_tables_of_their_own"],
                         f"{hot['of_one_thread']:.2f} times one core; pure arithmetic {hot['arithmetic_of_one_thread']:.2f} times",
                         slack=max(hot["twins_apart"], 0.05))
