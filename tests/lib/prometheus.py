"""Prometheus' text format 0.0.4, read strictly: every family has HELP and TYPE before its samples and stands in one
piece, no sample twice, counters end in _total."""
import re

SAMPLE = re.compile(r'^(?P<name>[a-z_][a-z0-9_]*)(\{(?P<labels>[^{}]*)\})? (?P<value>\d+(\.\d+)?)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"(,|$)')


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
                assert family == name and name not in types and rest in ("counter", "gauge"), line
                types[name] = rest
                assert (rest == "counter") == name.endswith("_total"), line
            continue
        match = SAMPLE.match(line)
        assert match, f"no sample: {line!r}"
        assert match["name"] == family and family in types and family not in closed, f"out of place: {line}"
        labels, at = [], 0
        while match["labels"] and at < len(match["labels"]):
            label = LABEL.match(match["labels"], at)
            assert label, line
            labels.append((label[1], label[2]))
            at = label.end()
        key = (match["name"], tuple(labels))
        assert key not in samples, f"twice: {line}"
        samples[key] = float(match["value"]) if "." in match["value"] else int(match["value"])
    return samples
