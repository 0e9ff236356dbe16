"""How much a random test tries, as tests/lib/random.h has it for C: METE_COUNT says how many; else as many as the test
itself says, or METE_PERCENT of that."""
import os


def count(otherwise):
    percent = int(os.environ.get("METE_PERCENT") or 100)
    return int(os.environ.get("METE_COUNT") or -(-otherwise * percent // 100))
