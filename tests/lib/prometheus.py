"""Prometheus' text format 0.0.4, read strictly: every family has HELP and TYPE before its samples and stands in one
piece, no sample twice, counters end in _total, histograms are whole: buckets that rise up to +Inf, which is the count."""
import pathlib
import re
import shutil

SAMPLE = re.compile(r'^(?P<name>[a-z_][a-z0-9_]*)(\{(?P<labels>[^{}]*)\})? (?P<value>\d+(\.\d+)?)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"(,|$)')
PARTS = ("_bucket", "_sum", "_count")


def family_of(name, types):
    """The family that a sample's name belongs to."""
    for part in PARTS:
        if name.endswith(part) and types.get(name[:-len(part)]) == "histogram":
            return name[:-len(part)]
    return name


def parse_labels(text, line):
    labels, at = [], 0
    while text and at < len(text):
        label = LABEL.match(text, at)
        assert label, line
        labels.append((label[1], label[2]))
        at = label.end()
    return tuple(labels)


def judge_histogram(name, samples):
    series = {labels for (sample, labels) in samples if sample == name + "_count"}
    assert series, f"{name} has no count"
    for labels in series:
        buckets = [(float(with_edge[-1][1]), value) for (sample, with_edge), value in samples.items()
                   if sample == name + "_bucket" and with_edge[:-1] == labels]
        edges, values = [edge for edge, _ in buckets], [value for _, value in buckets]
        assert edges == sorted(set(edges)) and edges[-1] == float("inf"), (name, labels, edges)
        assert values == sorted(values) and values[-1] == samples[(name + "_count", labels)], (name, labels, values)
        assert (name + "_sum", labels) in samples, (name, labels)


def parse(text):
    """{(name, ((label, value), ...)): number}"""
    samples, types, helps, family, closed = {}, {}, {}, None, set()
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            _, keyword, name, rest = line.split(" ", 3)
            assert keyword in ("HELP", "TYPE") and rest, line
            if keyword == "HELP":
                assert name not in helps, f"HELP twice: {line}"
                helps[name] = rest
                closed.add(family)
                family = name
            else:
                assert family == name and name not in types and rest in ("counter", "gauge", "histogram"), line
                types[name] = rest
                assert (rest == "counter") == name.endswith("_total"), line
            continue
        match = SAMPLE.match(line)
        assert match, f"no sample: {line!r}"
        assert family_of(match["name"], types) == family and family in types and family not in closed, f"out of place: {line}"
        key = (match["name"], parse_labels(match["labels"], line))
        assert key not in samples, f"twice: {line}"
        samples[key] = float(match["value"]) if "." in match["value"] else int(match["value"])
    for name, kind in types.items():
        if kind == "histogram":
            judge_histogram(name, samples)
    return samples


def find_promtool():
    """The one of the system, or what `make deps-test` fetched; None if neither is there."""
    fetched = pathlib.Path(__file__).resolve().parents[2] / "build/tools/promtool"
    return shutil.which("promtool") or (str(fetched) if fetched.exists() else None)
