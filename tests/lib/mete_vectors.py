"""Writes proto-spec/vectors: golden datagrams by the Python codec, the same bytes at every run.

    python3 tests/lib/mete_vectors.py [FOLDER]        (default: proto-spec/vectors)

proto-spec/vectors/README.md describes the format. tests/e2e/test_vectors.py fails when the folder and this differ.
"""
import os
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib import mete_wire as w  # noqa: E402

SEED = w.tenant_seed("default")
SECRET = bytes(range(32))
NONCE = bytes(range(0x40, 0x50))
BOOT_ID = 0x1122334455667788
RULES = {"demo": w.name_id("demo"), "fast": w.name_id("fast")}
FLAG_NAMES = ("PEEK", "ALL_OR_NOTHING", "RAW_SUBJECT", "INLINE_LIMIT", "MIN_RESULT", "SHADOW", "AT_MOST", "(bit 7)")
RESULT_FLAG_NAMES = ("MIN", "DENIED_AT", "STATUS")
VERDICT_NAMES = ("ALLOW", "WOULD_DENY", "NOT_CHARGED", "REPEAT", "DEGRADED", "DELAY", "GRANTED")
# Cases that are the server's to find: the codec sees nothing wrong with the bytes.
SERVER_CASES = ("ok", "unknown_tenant", "untrusted", "unsupported", "stale")


def flag_text(flags, names):
    return " ".join(name for bit, name in enumerate(names) if flags >> bit & 1) or "no flags"


def type_text(type_):
    if type_ == w.RESTARTED:
        return "RESTARTED"
    return w.TYPE_NAMES.get(type_ & 0x7F, "unknown") + (" result" if type_ & 0x80 else "")


# --- meaning: one line per field, in the order of the wire ---

def request_entry_line(type_, flags, entry):
    if type_ == w.HELLO:
        return f"entry: nonce={entry.nonce.hex()}"
    flags = w.known_flags(type_, flags)
    line = f"entry: rule={entry.rule_id} cost={entry.cost}"
    if not flags & w.RAW_SUBJECT:
        line += f" key={entry.key.hex()}"
    if type_ in w.LEASE_TYPES:
        line += f" lease={entry.lease_id}"
    if flags & w.INLINE_LIMIT:
        line += f" count={entry.count} burst={entry.burst} period={entry.period_ns}"
    if flags & w.RAW_SUBJECT:
        line += f" subject={entry.subject.hex()}"
    return line


def request_lines(r):
    lines = [f"type: {r.type}  # {type_text(r.type)}", f"flags: {r.flags}  # {flag_text(r.flags, FLAG_NAMES)}",
             f"n: {len(r.entries)}", f"tenant: {r.tenant_id}", f"client: {r.client_id}", f"sequence: {r.sequence}",
             f"clock: {r.clock_ms}", f"boot: {r.boot_bits}", f"secret_number: {r.secret}",
             f"header_words: {r.header_words}", f"entry_words: {r.entry_words}"]
    if r.type in w.TYPE_NAMES:
        lines += [request_entry_line(r.type, r.flags, entry) for entry in r.entries]
    return lines + [f"tag: {r.tag.hex()}"]


def result_lines(r):
    lines = [f"type: {r.type}  # {type_text(r.type)}",
             f"flags: {r.flags}  # {flag_text(r.flags, RESULT_FLAG_NAMES)}", f"n: {r.n}", f"sequence: {r.sequence}",
             f"clock: {r.clock_ms}", f"boot: {r.boot_bits}",
             f"detail: {r.detail}" + (f"  # {w.STATUS_NAMES[r.detail]}" if r.flags & w.STATUS else "")]
    if r.type == w.HELLO | 0x80 and r.n:
        lines.append(f"hello: boot_id={r.boot_id} masked_seed={r.masked_seed} wall_clock={r.wall_clock_ms} "
                     f"repeat_window={r.repeat_window_ms} clock_lead={r.clock_lead_ms} served_types={r.served_types}")
    elif r.flags & w.MIN:
        lines.append("allowed: " + " ".join(str(int(each)) for each in r.allowed))
    for e in r.entries:
        lines.append(f"entry: status={e.status} flags={e.flags} retry_unit={e.retry_unit} reset_unit={e.reset_unit} "
                     f"remaining={e.remaining} retry_after={e.retry_after} reset_after={e.reset_after}"
                     f"  # {w.STATUS_NAMES[e.status]}, {flag_text(e.flags, VERDICT_NAMES)}")
    return lines + [f"tag: {r.tag.hex()}"]


# --- the bytes, cut at the fields ---

def request_fields(r):
    yield from ((1, "magic 0xE, version 1"), (1, f"type {type_text(r.type)}"), (1, flag_text(r.flags, FLAG_NAMES)),
                (1, "n"), (4, "tenant id"), (4, "client id"), (4, "sequence"), (4, "clock, 0: unknown"),
                (2, "boot bits, 0: unknown"), (1, "which secret, ff: none"), (1, "sizes: header words, entry words"))
    if r.header_words > 3:
        yield r.header_words * 8 - 24, "header fields of a later version: skipped"
    flags = w.known_flags(r.type, r.flags)
    for entry in r.entries:
        used = len(w.encode_entry(r.type, r.flags, entry))
        if r.type == w.HELLO:
            yield from ((16, "nonce"), (16, "zeroes"))
        elif r.type in w.TYPE_NAMES:
            yield from ((4, "rule id"), (4, "cost"))
            if not flags & w.RAW_SUBJECT:
                yield 16, "key: XXH3-128 of the subject"
            if r.type in w.LEASE_TYPES:
                yield 8, "lease id"
            if flags & w.INLINE_LIMIT:
                yield from ((4, "count"), (4, "burst"), (8, "period, ns"))
            if flags & w.RAW_SUBJECT:
                yield from ((1, "length of the subject"), (len(entry.subject), "subject"))
        else:
            used = 0
        yield r.entry_words * 8 - used, "filled up"
    yield 8, "tag: client id and sequence again" if r.secret == w.NO_SECRET else "tag: SipHash-2-4 of all bytes above"


def result_fields(r, key):
    yield from ((1, "magic 0xE, version 1"), (1, f"type {type_text(r.type)}"),
                (1, flag_text(r.flags, RESULT_FLAG_NAMES)), (1, "n"), (4, "sequence of the request"),
                (4, "server's clock, ms"), (2, "boot bits"), (1, "detail"), (1, "sizes: header words, entry words"))
    if r.type == w.HELLO | 0x80 and r.n:
        yield from ((8, "boot id"), (8, "masked seed"), (8, "wall clock, ms since 1970"), (4, "repeat window, ms"),
                    (4, "tolerated clock lead, ms"), (8, "served types, a bit each"))
    elif r.flags & w.MIN:
        yield -(-r.n // 64) * 8, "a bit for each entry: allowed"
    for e in r.entries:
        yield from ((1, "status " + w.STATUS_NAMES[e.status]), (1, flag_text(e.flags, VERDICT_NAMES)),
                    (1, "units: retry_after low, reset_after high nibble"), (1, "0"), (4, "remaining"),
                    (4, "retry_after"), (4, "reset_after"))
    if r.type == w.RESTARTED and not r.flags & w.STATUS:
        yield 8, "the request's tag"
    elif key is None:
        yield 8, "tag: the request's, client id and sequence"
    else:
        yield 8, "tag: SipHash-2-4 of the request's tag and all bytes above"


def hex_lines(data, fields):
    at = 0
    for size, comment in fields:
        for start in range(at, at + size, 16):
            piece = data[start:min(start + 16, at + size)].hex(" ")
            yield f"hex: {piece:<47}" + (f"  # {comment}" if comment and start == at else "")
        at += size
    assert at == len(data), (at, len(data))


def plain(data):
    return [(16, "")] * (len(data) // 16) + [(len(data) % 16, "")]


class Writer:
    """Collects the text of each file."""

    def __init__(self):
        self.files = {}

    def put(self, name, title, lines):
        assert name not in self.files, name
        text = "\n".join([f"# {title}"] + [line.rstrip() for line in lines]) + "\n"
        self.files[name + ".txt"] = text

    def _keys(self, secret, boot_id):
        key = w.mac_key(secret, boot_id)
        lines = [f"mac_key: {key.hex() if key else 'none'}"]
        if secret:
            lines += [f"secret: {secret.hex()}", f"boot_id: {boot_id}"]
        return key, lines

    def request(self, name, title, request, secret=None, boot_id=0, case="ok", answer=None):
        """Returns the tag."""
        key, keys = self._keys(secret, boot_id)
        data = w.encode_request(request, key)
        decoded = w.decode_request(data, key, form_only=True)
        lines = ["kind: request", f"case: {case}"] + ([f"answer: {answer}"] if answer else []) + keys
        known = request.type in w.TYPE_NAMES
        fields = request_fields(decoded) if len(request.entries) <= 3 and known else plain(data)
        self.put(name, title, lines + request_lines(decoded) + list(hex_lines(data, fields)))
        return data[-8:]

    def result(self, name, title, result, request, tag, secret=None, boot_id=0):
        key, keys = self._keys(secret, boot_id)
        data = w.encode_result(result, tag, key)
        decoded = w.decode_result(data, tag, key)
        lines = ["kind: result", "case: ok", f"request: {request}.txt", f"request_tag: {tag.hex()}"] + keys
        fields = result_fields(decoded, key) if len(decoded.entries) <= 3 else plain(data)
        self.put(name, title, lines + result_lines(decoded) + list(hex_lines(data, fields)))

    def bad(self, name, title, data, case, answer="none", kind="request", tag=None, secret=None):
        lines = [f"kind: {kind}", f"case: {case}", f"answer: {answer}"] + self._keys(secret, BOOT_ID)[1]
        lines += [f"request_tag: {tag.hex()}"] if tag else []
        self.put(name, title, lines + list(hex_lines(data, plain(data))))


def entry(subject=b"alice", cost=1, rule="demo", **more):
    return w.Entry(RULES[rule], cost, w.subject_key(subject, SEED), subject, **more)


def entries(n):
    return [entry(b"user-%d" % i) for i in range(n)]


def request(type_=w.CHECK, flags=0, several=None, **more):
    more = {"client_id": 0x01020304, "sequence": 0x0A0B0C0D} | more
    return w.Request(type_, flags, w.name_id("default"), entries=several or [entry()], **more)


def result(type_=w.CHECK, flags=0, **more):
    more = {"sequence": 0x0A0B0C0D, "clock_ms": 123456789, "boot_bits": BOOT_ID & 0xFFFF} | more
    return w.Result(type_ | 0x80, flags, **more)


ALLOWED = dict(flags=w.ALLOW, remaining=9, reset_unit=w.UNIT_US, reset_after=500000)
DENIED = dict(remaining=0, retry_after=500000, reset_after=5000000)
INLINE = dict(count=100, burst=20, period_ns=60 * 10**9)


def add_checks(out):
    tag = out.request("check", "CHECK of rule demo for subject alice of tenant default, cost 1", request())
    out.result("check-result", "its result: allowed, 9 left, full again in 0.5 s",
               result(entries=[w.Verdict(**ALLOWED)]), "check", tag)
    out.result("check-result-denied", "denied: 0 left, the same check passes in 0.5 s",
               result(entries=[w.Verdict(**DENIED)]), "check", tag)
    for bit, name in enumerate(("peek", "all-or-nothing", "raw-subject", "inline-limit", "min-result", "shadow",
                                "at-most", "bit-7")):
        more = INLINE if 1 << bit == w.INLINE_LIMIT else {}
        out.request(f"check-{name}", f"CHECK with {FLAG_NAMES[bit]}",
                    request(flags=1 << bit, several=[entry(cost=3, **more), entry(b"bob", 0, "fast", **more)]))
    both = w.RAW_SUBJECT | w.INLINE_LIMIT
    out.request("check-raw-inline", "CHECK with RAW_SUBJECT and INLINE_LIMIT; the longer subject decides the size",
                request(flags=both, several=[entry(**INLINE), entry(b"203.0.113.9", **INLINE)]))
    out.request("check-raw-empty", "CHECK of the empty subject", request(flags=w.RAW_SUBJECT, several=[entry(b"")]))
    out.request("check-raw-111", "CHECK with the longest raw subject",
                request(flags=w.RAW_SUBJECT, several=[entry(b"x" * 111)]))
    out.request("check-raw-inline-95", "CHECK with the longest raw subject beside an inline limit",
                request(flags=both, several=[entry(b"x" * 95, **INLINE)]))
    out.request("check-all-flags", "every flag that CHECK can carry at once",
                request(flags=0xBF, several=[entry(**INLINE)]))
    out.request("check-50", "as many checks as fit with keys", request(several=entries(50)))
    out.request("check-raw-75", "as many checks as fit at all, 1232 bytes",
                request(flags=w.RAW_SUBJECT, several=[entry(b"u%d" % i) for i in range(75)]))
    out.request("check-later-version", "a longer header and entry: what a later version appended is skipped",
                request(header_words=5, entry_words=4))
    out.request("check-wide-numbers", "every number at its largest, to catch signed arithmetic",
                w.Request(w.CHECK, w.INLINE_LIMIT, w.NEVER, w.NEVER, w.NEVER, w.NEVER, 0xFFFF, w.NO_SECRET,
                          [w.Entry(w.NEVER, w.NEVER, b"\xff" * 16, b"", w.NEVER, w.NEVER, 2**64 - 1)]))


def add_results(out):
    two, fifty = request(several=entries(2)), request(several=entries(50))
    tags = {"check": w.encode_request(request())[-8:], "check-50": w.encode_request(fifty)[-8:],
            "check-2": out.request("check-2", "CHECK of two subjects", two)}
    for number, name in enumerate(w.STATUS_NAMES):
        verdict = w.Verdict(number, **ALLOWED) if number == w.OK else w.Verdict(number)
        low = name.lower().replace("_", "-")
        out.result(f"result-status-{low}", f"an entry of status {name}", result(entries=[verdict]), "check",
                   tags["check"])
        if number:
            out.result(f"result-datagram-{low}", f"status {name} for the whole datagram",
                       result(flags=w.STATUS, detail=number), "check", tags["check"])
    out.result("result-table-full-allow", "TABLE_FULL where the operator chose to allow",
               result(entries=[w.Verdict(w.TABLE_FULL, w.ALLOW)]), "check", tags["check"])
    for bit, name in enumerate(VERDICT_NAMES):
        flags = 1 << bit | (w.ALLOW if bit not in (2,) else 0)
        unit = w.UNIT_COST if name == "GRANTED" else w.UNIT_MS
        retry = 3 if name in ("GRANTED", "DELAY") else 0
        out.result(f"result-verdict-{name.lower().replace('_', '-')}", f"the verdict flag {name}",
                   result(entries=[w.Verdict(w.OK, flags, unit if retry else 0, w.UNIT_S, 4, retry, 86400)]), "check",
                   tags["check"])
    out.result("result-never", "cost above the burst: retry_after is never",
               result(entries=[w.Verdict(0, 0, 0, 0, 10, w.NEVER, 0)]), "check", tags["check"])
    out.result("result-units", "retry_after in ms, reset_after in s",
               result(entries=[w.Verdict(0, 0, w.UNIT_MS, w.UNIT_S, 0, 4294968, 4294967294)]), "check", tags["check"])
    out.result("result-denied-at", "ALL_OR_NOTHING that entry 1 denied",
               result(flags=w.DENIED_AT, detail=1, entries=[
                   w.Verdict(0, w.ALLOW | w.NOT_CHARGED, remaining=4), w.Verdict(**DENIED)]), "check-2",
               tags["check-2"])
    out.result("result-denied-at-min", "the same as a bitmap",
               result(flags=w.DENIED_AT | w.MIN, detail=1, allowed=[True, False]), "check-2", tags["check-2"])
    out.result("result-min", "a bitmap for one entry", result(flags=w.MIN, allowed=[True]), "check", tags["check"])
    out.result("result-min-50", "a bitmap for 50 entries",
               result(flags=w.MIN, allowed=[i % 3 != 1 for i in range(50)]), "check-50", tags["check-50"])
    raw = request(flags=w.RAW_SUBJECT, several=[entry(b"u%d" % i) for i in range(75)])
    tag = w.encode_request(raw)[-8:]
    out.result("result-min-75", "a bitmap of two words",
               result(flags=w.MIN, allowed=[i % 5 == 0 for i in range(75)]), "check-raw-75", tag)
    full = request(flags=w.RAW_SUBJECT | w.MIN_RESULT, several=[entry(b"u%d" % i) for i in range(64)])
    out.result("result-min-64", "a bitmap that fills its word",
               result(flags=w.MIN, allowed=[i != 62 for i in range(64)]), "check-raw-64-min",
               out.request("check-raw-64-min", "64 checks that ask for a bitmap", full))
    every = [w.Verdict(0, i & 1, 0, 1, i, i * 1000 if i % 2 == 0 else 0, i * 7) for i in range(75)]
    out.result("result-75", "the longest result, 1224 bytes", result(entries=every), "check-raw-75", tag)
    out.result("result-50", "50 verdicts", result(entries=every[:50]), "check-50", tags["check-50"])


def add_types(out):
    for type_, name in w.TYPE_NAMES.items():
        if type_ in (w.CHECK, w.HELLO):
            continue
        low, lease = name.lower(), dict(lease_id=0x8877665544332211) if type_ in w.LEASE_TYPES else {}
        tag = out.request(low, f"{name} of 2 units", request(type_, several=[entry(cost=2, **lease)]))
        out.request(f"{low}-raw", f"{name} with RAW_SUBJECT", request(type_, w.RAW_SUBJECT,
                                                                     [entry(cost=2, **lease)]))
        if type_ in w.LEASE_TYPES:
            held = type_ != w.RELEASE
            out.result(f"{low}-result", "of a rule of 10 slots and a lease of 30 s", result(
                type_, entries=[w.Verdict(w.OK, w.ALLOW, 0, 8 if held else 10, 0, 30_000_000 * held)]), low, tag)
        else:
            out.request(f"{low}-inline", f"{name} with INLINE_LIMIT",
                        request(type_, w.INLINE_LIMIT, [entry(cost=2, **INLINE)]))
            out.result(f"{low}-result", "its result", result(type_, entries=[w.Verdict(
                flags=w.ALLOW, remaining=10)]), low, tag)
    hello = dict(boot_id=BOOT_ID, wall_clock_ms=1767225600000, repeat_window_ms=0, clock_lead_ms=1000,
                 served_types=0b11111110)
    ask = w.Request(w.HELLO, 0, w.name_id("default"), 0x01020304, 0x0A0B0C0D, entries=[w.Entry(nonce=NONCE)])
    tag = out.request("hello", "HELLO without a secret", ask)
    out.result("hello-result", "its result: the seed of tenant default, not masked; no repeats recognised",
               result(w.HELLO, n=1, masked_seed=SEED, **hello), "hello", tag)
    ask.secret = 0
    tag = out.request("hello-secret", "HELLO under a secret: the MAC key is made with boot id 0", ask, SECRET)
    out.result("hello-secret-result", "its result: the seed masked with the pad of secret and nonce",
               result(w.HELLO, n=1, masked_seed=w.mask_seed(SEED, NONCE, SECRET), **hello), "hello-secret", tag, SECRET)
    signed = request(secret=0, clock_ms=123456790, boot_bits=BOOT_ID & 0xFFFF)
    tag = out.request("check-secret", "CHECK under a secret: the MAC key is made with the boot id", signed, SECRET,
                      BOOT_ID)
    out.result("check-secret-result", "its result", result(entries=[w.Verdict(**ALLOWED)]), "check-secret", tag,
               SECRET, BOOT_ID)
    out.result("restarted", "RESTARTED: unsigned, it repeats the request's tag",
               w.Result(w.RESTARTED, sequence=0x0A0B0C0D, boot_bits=0x4321), "check-secret", tag)


def add_bad_requests(out):
    good = w.encode_request(request())

    def changed(at, value, data=good):
        return w.resign(data[:at] + bytes([value]) + data[at + 1:])

    hello = w.hello(NONCE, sequence=1)
    for name, title, data, case in (
            ("short", "24 bytes", good[:24], "bad_length"),
            ("empty", "no bytes at all", b"", "bad_length"),
            ("not-a-word", "not a multiple of 8 bytes", good + b"\0", "bad_length"),
            ("long", "1240 bytes", w.resign(changed(23, 0x3F)[:24] + bytes(1216)), "bad_length"),
            ("cut", "a word missing", w.resign(good[:-16] + bytes(8)), "bad_length"),
            ("trailing", "a word too many", w.resign(good + bytes(8)), "bad_length"),
            ("n-255", "n says more than there is", changed(3, 255), "bad_length"),
            ("magic", "another magic number", changed(0, 0xD1), "bad_magic"),
            ("version", "version 2", changed(0, 0xE2), "bad_version"),
            ("type", "a result sent to a server", changed(1, 0x81), "bad_type"),
            ("n-0", "no entries", changed(3, 0), "bad_count"),
            ("hello-n-2", "HELLO with two entries", changed(3, 2, hello[:-8] + bytes(40)), "bad_count"),
            ("header-words", "a header of 2 words", changed(23, 0x23), "bad_sizes"),
            ("entry-words-1", "entries of one word, of an unknown type", changed(23, 0x31, changed(1, 0x40)),
             "bad_sizes"),
            ("entry-words", "entries of 2 words cannot hold a key", changed(23, 0x32), "bad_sizes"),
            ("inline-words", "entries of 3 words cannot hold an inline limit", changed(2, w.INLINE_LIMIT), "bad_sizes"),
            ("lease-words", "entries of 3 words cannot hold a lease", changed(1, w.ACQUIRE), "bad_sizes"),
            ("subject", "a raw subject longer than its entry",
             changed(32, 16, w.encode_request(request(flags=w.RAW_SUBJECT, entry_words=3))), "bad_subject")):
        out.bad(f"bad-{name}", title, data, case)
    out.bad("bad-tag", "the last bit of the tag is wrong", good[:-1] + bytes([good[-1] ^ 0x80]), "bad_tag")
    out.bad("bad-tag-zero-key", "SipHash-2-4 under 16 zero bytes where client id and sequence must stand",
            w.resign(good, bytes(16)), "bad_tag")
    out.bad("bad-tag-sequence", "a sequence number that its repetition does not have",
            good[:12] + bytes([good[12] ^ 1]) + good[13:], "bad_tag")
    signed = w.encode_request(request(secret=0, boot_bits=BOOT_ID & 0xFFFF), w.mac_key(SECRET, BOOT_ID))
    answer = "none, or RESTARTED"
    out.bad("bad-tag-secret", "under a secret: a cost that the tag does not cover",
            signed[:28] + b"\2" + signed[29:], "bad_tag", answer, secret=SECRET)
    out.bad("bad-tag-no-secret", "client id and sequence again, where a secret's tag must stand",
            w.resign(signed), "bad_tag", answer, secret=SECRET)
    out.request("bad-untrusted", "no secret: dropped unless it comes from an address that is trusted", request(
        sequence=2), case="untrusted", answer="none")
    other = request()
    other.tenant_id = w.name_id("nobody")
    out.request("bad-unknown-tenant", "a tenant that the server does not have", other, case="unknown_tenant",
                answer="none")
    out.request("bad-stale", "boot bits and clock of another life of the server", request(
        secret=0, clock_ms=1, boot_bits=BOOT_ID & 0xFFFF), SECRET, BOOT_ID, case="stale", answer="STATUS STALE")
    one = [entry(**INLINE)]
    for name, title, type_, flags in (
            ("type-0", "type 0", 0, 0), ("type-15", "type 0x0F", 15, 0), ("type-127", "type 0x7F", 127, 0),
            ("peek-refund", "PEEK in a REFUND", w.REFUND, w.PEEK),
            ("shadow-reset", "SHADOW in a RESET", w.RESET, w.SHADOW),
            ("inline-acquire", "INLINE_LIMIT in an ACQUIRE: does not shape the entry", w.ACQUIRE, w.INLINE_LIMIT),
            ("raw-hello", "RAW_SUBJECT in a HELLO: does not shape the entry", w.HELLO, w.RAW_SUBJECT),
            ("min-hello", "MIN_RESULT in a HELLO", w.HELLO, w.MIN_RESULT),
            ("at-most-all", "AT_MOST with ALL_OR_NOTHING", w.CHECK, w.AT_MOST | w.ALL_OR_NOTHING)):
        ask = request(type_, flags, one)
        if type_ not in w.TYPE_NAMES:
            ask.entries, ask.entry_words = [w.Entry()], 3
        out.request(f"unsupported-{name}", title, ask, case="unsupported", answer="STATUS UNSUPPORTED")


def add_bad_results(out):
    tag = w.encode_request(request())[-8:]
    good = w.encode_result(result(entries=[w.Verdict(**ALLOWED)]), tag)
    status = w.encode_result(result(flags=w.STATUS, detail=w.STALE), tag)

    def changed(at, value, data=good):
        data = data[:at] + bytes([value]) + data[at + 1:-8]
        return data + w.result_tag_of(data, tag)

    for name, title, data, case in (
            ("short", "16 bytes", good[:16], "bad_length"),
            ("not-a-word", "not a multiple of 8 bytes", good + b"\0", "bad_length"),
            ("trailing", "a word too many", good[:-8] + bytes(16), "bad_length"),
            ("magic", "another magic number", changed(0, 0x11), "bad_magic"),
            ("version", "version 2", changed(0, 0xE2), "bad_version"),
            ("type", "a request sent to a client", changed(1, 0x01), "bad_type"),
            ("n-0", "no entries, and not STATUS", changed(3, 0, changed(15, 0x20, good[:16] + bytes(8))), "bad_count"),
            ("n-76", "a bitmap of more entries than a request can have",
             changed(3, 76, w.encode_result(result(flags=w.MIN, allowed=[True] * 75), tag)), "bad_count"),
            ("status-n", "STATUS with n", changed(3, 1, status), "bad_count"),
            ("hello-n", "a HELLO result with n 2", changed(3, 2, w.encode_result(result(w.HELLO), tag)), "bad_count"),
            ("sizes", "a header of 3 words", changed(15, 0x32), "bad_sizes"),
            ("entry-words", "entries of 3 words", changed(15, 0x23), "bad_sizes"),
            ("tag", "the tag of another request", good[:-1] + bytes([good[-1] ^ 0x80]), "bad_tag"),
            ("tag-zero-key", "SipHash-2-4 under 16 zero bytes where the request's tag must stand",
             good[:-8] + w.result_tag_of(good[:-8], tag, bytes(16)), "bad_tag")):
        out.bad(f"bad-result-{name}", title, data, case, kind="result", tag=tag)
    key = w.mac_key(SECRET, BOOT_ID)
    tag = w.encode_request(request(secret=0, clock_ms=123456790, boot_bits=BOOT_ID & 0xFFFF), key)[-8:]
    good = w.encode_result(result(entries=[w.Verdict(**ALLOWED)]), tag, key)
    for name, title, data in (
            ("tag", "the tag fits another request", good[:-8] + w.result_tag_of(good[:-8], bytes(8), key)),
            ("body", "a verdict that the tag does not cover", good[:17] + b"\0" + good[18:]),
            ("copy", "the request's tag, as without a secret", good[:-8] + tag)):
        out.bad(f"bad-result-secret-{name}", f"under a secret: {title}", data, "bad_tag", kind="result", tag=tag,
                secret=SECRET)


def add_derivations(out):
    lines = ["kind: derive", "case: ok"]
    lines += [f"name: text={name} id={w.name_id(name)}" for name in ("demo", "fast", "default", "acme")]
    key_file = bytes(range(100, 132))
    lines += [f"seed: tenant={name} key_file={(key or b'').hex()} seed={w.tenant_seed(name, key)}"
              for name in ("default", "acme") for key in (None, key_file)]
    for size in (0, 1, 3, 4, 8, 9, 16, 17, 32, 33, 64, 96, 97, 128, 129, 160, 240, 241, 1024, 1025):
        subject = bytes(i * 7 & 0xFF for i in range(size))
        lines += [f"key: seed={seed} subject={subject.hex()} key={w.subject_key(subject, seed).hex()}"
                  for seed in (0, SEED)]
    lines += [f"mac: secret={secret.hex()} boot_id={boot} mac_key={w.mac_key(secret, boot).hex()}"
              for secret in (b"s", SECRET, bytes(range(64))) for boot in (0, BOOT_ID)]
    lines.append(f"mask: secret={SECRET.hex()} nonce={NONCE.hex()} seed={SEED} "
                 f"masked={w.mask_seed(SEED, NONCE, SECRET)}")
    lines.append(f"mask: secret= nonce={NONCE.hex()} seed={SEED} masked={SEED}")
    out.put("derive", "ids, seeds, keys and MAC keys (section 4); an empty key_file or secret is none", lines)


def generate():
    """{file name: text} of the whole folder but its README."""
    out = Writer()
    for add in (add_checks, add_results, add_types, add_bad_requests, add_bad_results, add_derivations):
        add(out)
    return out.files


def parse(text):
    """A file as ([(key, value)], bytes): the ten lines that a client needs."""
    lines, data = [], b""
    for line in text.splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        if colon and key == "hex":
            data += bytes.fromhex(value)
        elif colon:
            lines.append((key, value.strip()))
    return lines, data


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "proto-spec", "vectors")
    files = generate()
    for name in os.listdir(folder):
        if name.endswith(".txt") and name not in files:
            os.remove(os.path.join(folder, name))
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="ascii") as out:
            out.write(text)
    print(f"{len(files)} vectors in {folder}")


if __name__ == "__main__":
    main()
