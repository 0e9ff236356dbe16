"""The mete protocol, version 1, in Python: written from proto-spec/ alone, so that it can judge the C codec.

A client in four lines, for a server on loopback with the embedded default:

    request = check("demo", b"alice", seed=tenant_seed("default"))
    sock.sendto(request, ("127.0.0.1", 6383))
    result = decode_result(sock.recv(2048), request_tag=tag_of(request))
    allowed = result.entries[0].allowed

Times and numbers are plain integers, keys and tags are bytes. What is not well formed raises Malformed, whose `name` is
the case of protocol.md section 5.
"""
import itertools
import struct
from dataclasses import dataclass, field
from hashlib import blake2b

from lib.mete_hash import fnv1a, siphash24, xxh3_128

FIRST_BYTE = 0xE1
MAX_BYTES = 1232
MAX_ENTRIES = 75
HEADER_WORDS, RESULT_HEADER_WORDS = 3, 2
NO_SECRET = 0xFF
NEVER = 0xFFFFFFFF

CHECK, REFUND, RESET, ACQUIRE, RENEW, RELEASE, HELLO, NOT_A_REQUEST = 1, 2, 3, 4, 5, 6, 7, 15
RESTARTED = 0x8F
TYPE_NAMES = {1: "CHECK", 2: "REFUND", 3: "RESET", 4: "ACQUIRE", 5: "RENEW", 6: "RELEASE", 7: "HELLO"}
LIMIT_TYPES, LEASE_TYPES = (CHECK, REFUND, RESET), (ACQUIRE, RENEW, RELEASE)

PEEK, ALL_OR_NOTHING, RAW_SUBJECT, INLINE_LIMIT, MIN_RESULT, SHADOW, AT_MOST = (1 << bit for bit in range(7))
IGNORED_FLAG = 0x80
_COMMON = RAW_SUBJECT | MIN_RESULT
ALLOWED_FLAGS = {
    CHECK: 0x7F, REFUND: _COMMON | INLINE_LIMIT, RESET: _COMMON | INLINE_LIMIT,
    ACQUIRE: _COMMON | SHADOW, RENEW: _COMMON, RELEASE: _COMMON, HELLO: 0,
}

MIN, DENIED_AT, STATUS = 1, 2, 4
STATUS_NAMES = ("OK", "UNKNOWN_RULE", "BAD_LIMIT", "NEED_SUBJECT", "TABLE_FULL", "STALE", "SHED", "UNSUPPORTED",
                "UNKNOWN_LEASE", "EXPIRED_LEASE", "LIMITED")
(OK, UNKNOWN_RULE, BAD_LIMIT, NEED_SUBJECT, TABLE_FULL, STALE, SHED, UNSUPPORTED, UNKNOWN_LEASE, EXPIRED_LEASE,
 LIMITED) = range(11)
ALLOW, WOULD_DENY, NOT_CHARGED, REPEAT, DEGRADED, DELAY, GRANTED = (1 << bit for bit in range(7))
UNIT_US, UNIT_MS, UNIT_S, UNIT_COST = range(4)
UNIT_NS = (1_000, 1_000_000, 1_000_000_000)


class Malformed(Exception):
    """Bytes that are not a message; `name` is the case."""

    def __init__(self, name):
        super().__init__(name)
        self.name = name


@dataclass
class Entry:
    """One entry of a request; which fields count depends on type and flags."""
    rule_id: int = 0
    cost: int = 0
    key: bytes = bytes(16)
    subject: bytes = b""
    count: int = 0
    burst: int = 0
    period_ns: int = 0
    lease_id: int = 0
    nonce: bytes = bytes(16)


@dataclass
class Request:
    type: int = CHECK
    flags: int = 0
    tenant_id: int = 0
    client_id: int = 1
    sequence: int = 1
    clock_ms: int = 0
    boot_bits: int = 0
    secret: int = NO_SECRET
    entries: list = field(default_factory=list)
    header_words: int = HEADER_WORDS
    entry_words: int = 0  # 0: the fewest that hold the entries
    tag: bytes = b""  # as received


@dataclass
class Verdict:
    """One entry of a result."""
    status: int = OK
    flags: int = 0
    retry_unit: int = 0
    reset_unit: int = 0
    remaining: int = 0
    retry_after: int = 0
    reset_after: int = 0

    @property
    def allowed(self):
        return bool(self.flags & ALLOW)

    @property
    def retry_after_ns(self):
        """None: never (or, with GRANTED, not a time)."""
        return time_ns(self.retry_after, self.retry_unit)

    @property
    def reset_after_ns(self):
        return time_ns(self.reset_after, self.reset_unit)


@dataclass
class Result:
    type: int = CHECK | 0x80
    flags: int = 0
    n: int = 0
    sequence: int = 1
    clock_ms: int = 0
    boot_bits: int = 1
    detail: int = 0
    entries: list = field(default_factory=list)  # Verdict, in the full form
    allowed: list = field(default_factory=list)  # bool for each entry, MIN form only
    boot_id: int = 0  # this and the following: HELLO only
    masked_seed: int = 0
    wall_clock_ms: int = 0
    repeat_window_ms: int = 0
    clock_lead_ms: int = 0
    served_types: int = 0
    tag: bytes = b""  # as received


# --- names, keys, secrets (section 4) ---

def name_id(name):
    """The id of a tenant's or rule's name."""
    return fnv1a(name.encode())


def tenant_seed(name, key_file=None):
    """The seed of a tenant's keys; key_file is the 32 bytes of the key file or None."""
    digest = blake2b(b"mete seed 1" + name.encode(), digest_size=8, key=key_file or b"").digest()
    return int.from_bytes(digest, "little")


def subject_key(subject, seed):
    return xxh3_128(subject, seed)


def mac_key(secret=None, boot_id=0):
    """The key of the tags; boot id 0 for HELLO and its result; no secret: none."""
    if secret is None:
        return None
    return blake2b(b"mete mac 1" + struct.pack("<Q", boot_id), digest_size=16, key=secret).digest()


def mask_seed(seed, nonce, secret=None):
    """Masks a seed, and unmasks a masked one."""
    if secret is None:
        return seed
    return seed ^ int.from_bytes(blake2b(b"mete pad 1" + nonce, digest_size=8, key=secret).digest(), "little")


def time_ns(number, unit):
    if number == NEVER or unit > UNIT_S:
        return None
    return number * UNIT_NS[unit]


def encode_time(duration_ns):
    """(number, unit) of a duration; None is never, and so is what does not fit in seconds."""
    if duration_ns is not None:
        for unit, unit_ns in enumerate(UNIT_NS):
            number = -(-duration_ns // unit_ns)
            if number < NEVER:
                return number, unit
    return NEVER, UNIT_US


def tag_of(message):
    return message[-8:]


# --- requests (section 1) ---

def known_flags(type_, flags):
    """The flags that this type may carry: only they shape its entries."""
    return flags & ALLOWED_FLAGS.get(type_, 0)


def is_supported(type_, flags):
    """Type, flags and combination are in the registry."""
    if type_ not in ALLOWED_FLAGS or flags & 0x7F & ~ALLOWED_FLAGS[type_]:
        return False
    return not (flags & ALL_OR_NOTHING and flags & AT_MOST)


def fixed_bytes(type_, flags):
    """Bytes of an entry before its subject bytes (the length byte included), or of the whole entry without one."""
    if type_ == HELLO:
        return 32
    if type_ not in TYPE_NAMES:
        return 0
    flags = known_flags(type_, flags)
    size = 8 + (8 if type_ in LEASE_TYPES else 0) + (16 if flags & INLINE_LIMIT else 0)
    return size + (1 if flags & RAW_SUBJECT else 16)


def needed_words(type_, flags):
    """The fewest words of an entry."""
    return max(2, -(-fixed_bytes(type_, flags) // 8))


def encode_entry(type_, flags, entry):
    """The entry's bytes, not yet filled up."""
    if type_ == HELLO:
        return entry.nonce + bytes(16)
    flags = known_flags(type_, flags)
    raw = flags & RAW_SUBJECT
    out = struct.pack("<II", entry.rule_id, entry.cost)
    if not raw:
        out += entry.key
    if type_ in LEASE_TYPES:
        out += struct.pack("<Q", entry.lease_id)
    if flags & INLINE_LIMIT:
        out += struct.pack("<IIQ", entry.count, entry.burst, entry.period_ns)
    if raw:
        out += bytes([len(entry.subject)]) + entry.subject
    return out


def request_tag_of(unsigned, key=None):
    """The tag of a request's bytes before it: under a secret a MAC, else client id and sequence again."""
    if key is None:
        return unsigned[8:16].ljust(8, b"\0")
    return siphash24(key, unsigned)


def result_tag_of(unsigned, request_tag, key=None):
    """The tag of a result's bytes before it: under a secret a MAC, else the request's tag."""
    return request_tag if key is None else siphash24(key, request_tag + unsigned)


def encode_request(request, key=None):
    """A signed datagram; key None: without a secret. Refuses (ValueError) what section 1 has no room for."""
    bodies = [encode_entry(request.type, request.flags, entry) for entry in request.entries]
    words = request.entry_words or max([needed_words(request.type, request.flags)] +
                                       [-(-len(body) // 8) for body in bodies])
    if words > 15 or any(len(body) > words * 8 for body in bodies):
        raise ValueError("an entry does not fit")
    out = struct.pack("<BBBBIIIIHBB", FIRST_BYTE, request.type, request.flags, len(bodies), request.tenant_id,
                      request.client_id, request.sequence, request.clock_ms, request.boot_bits, request.secret,
                      request.header_words << 4 | words)
    out = out.ljust(request.header_words * 8, b"\0") + b"".join(body.ljust(words * 8, b"\0") for body in bodies)
    if not bodies or len(out) + 8 > MAX_BYTES:
        raise ValueError("no entries, or longer than 1232 bytes")
    return out + request_tag_of(out, key)


def resign(message, key=None):
    """The request with a tag that fits its bytes: for tests that change bytes."""
    return message[:-8] + request_tag_of(message[:-8], key)


def _decode_entry(type_, flags, data):
    if type_ == HELLO:
        return Entry(nonce=data[:16])
    if type_ not in TYPE_NAMES:
        return None
    flags = known_flags(type_, flags)
    entry = Entry()
    entry.rule_id, entry.cost = struct.unpack_from("<II", data)
    at = 8
    if not flags & RAW_SUBJECT:
        entry.key = data[at:at + 16]
        at += 16
    if type_ in LEASE_TYPES:
        entry.lease_id, = struct.unpack_from("<Q", data, at)
        at += 8
    if flags & INLINE_LIMIT:
        entry.count, entry.burst, entry.period_ns = struct.unpack_from("<IIQ", data, at)
        at += 16
    if flags & RAW_SUBJECT:
        end = at + 1 + data[at]
        if end > len(data):
            raise Malformed("bad_subject")
        entry.subject = data[at + 1:end]
    return entry


def _first_checks(data, shortest):
    if len(data) < shortest or len(data) > MAX_BYTES or len(data) % 8:
        raise Malformed("bad_length")
    if data[0] >> 4 != 0xE:
        raise Malformed("bad_magic")
    if data[0] & 0xF != 1:
        raise Malformed("bad_version")


def decode_request(data, key=None, form_only=False, verify=True):
    """The request in a datagram; the cases in the order of section 5. key None: without a secret.
    form_only: decode what would be answered UNSUPPORTED too, as far as its form is known."""
    _first_checks(data, 32)
    type_, flags, n, sizes = data[1], data[2], data[3], data[23]
    header_words, entry_words = sizes >> 4, sizes & 0xF
    if type_ >= 0x80:
        raise Malformed("bad_type")
    if n == 0 or type_ == HELLO and n != 1:
        raise Malformed("bad_count")
    if header_words < HEADER_WORDS or entry_words < needed_words(type_, flags):
        raise Malformed("bad_sizes")
    if len(data) != header_words * 8 + n * entry_words * 8 + 8:
        raise Malformed("bad_length")
    if verify and request_tag_of(data[:-8], key) != data[-8:]:
        raise Malformed("bad_tag")
    if not form_only and not is_supported(type_, flags):
        raise Malformed("unsupported")
    tenant_id, client_id, sequence, clock_ms, boot_bits, secret = struct.unpack_from("<IIIIHB", data, 4)
    entries = [_decode_entry(type_, flags, data[at:at + entry_words * 8])
               for at in range(header_words * 8, len(data) - 8, entry_words * 8)]
    return Request(type_, flags, tenant_id, client_id, sequence, clock_ms, boot_bits, secret, entries, header_words,
                   entry_words, data[-8:])


# --- results (section 2) ---

def encode_verdict(verdict):
    return struct.pack("<BBBBIII", verdict.status, verdict.flags, verdict.retry_unit | verdict.reset_unit << 4, 0,
                       verdict.remaining, verdict.retry_after, verdict.reset_after)


def encode_result(result, request_tag, key=None):
    """A signed result; type RESTARTED carries the request's tag in place of its own."""
    words, n, body = 0, 0, b""
    restarted = result.type == RESTARTED and not result.flags & STATUS
    if restarted or result.flags & STATUS:
        pass
    elif result.type == HELLO | 0x80:
        words, n = 5, 1
        body = struct.pack("<QQQIIQ", result.boot_id, result.masked_seed, result.wall_clock_ms,
                           result.repeat_window_ms, result.clock_lead_ms, result.served_types)
    elif result.flags & MIN:
        n = len(result.allowed)
        bits = sum(1 << i for i, allowed in enumerate(result.allowed) if allowed)
        body = bits.to_bytes(-(-n // 64) * 8, "little")
    else:
        words, n = 2, len(result.entries)
        body = b"".join(map(encode_verdict, result.entries))
    out = struct.pack("<BBBBIIHBB", FIRST_BYTE, result.type, result.flags, n, result.sequence, result.clock_ms,
                      result.boot_bits, result.detail, RESULT_HEADER_WORDS << 4 | words) + body
    if restarted:
        return out + request_tag
    return out + result_tag_of(out, request_tag, key)


def _decode_body(result, data, n):
    at = RESULT_HEADER_WORDS * 8
    if result.type == RESTARTED or result.flags & STATUS:
        return
    if result.type == HELLO | 0x80:
        (result.boot_id, result.masked_seed, result.wall_clock_ms, result.repeat_window_ms, result.clock_lead_ms,
         result.served_types) = struct.unpack_from("<QQQIIQ", data, at)
    elif result.flags & MIN:
        bits = int.from_bytes(data[at:-8], "little")
        result.allowed = [bool(bits >> i & 1) for i in range(n)]
    else:
        for i in range(n):
            status, flags, units, _, remaining, retry, reset = struct.unpack_from(
                "<BBBBIII", data, at + i * 16)
            result.entries.append(Verdict(status, flags, units & 0xF, units >> 4, remaining, retry, reset))


def decode_result(data, request_tag=None, key=None):
    """The result in a datagram. request_tag None: do not verify. RESTARTED proves nothing: it only repeats the tag."""
    _first_checks(data, 24)
    _, type_, flags, n, sequence, clock_ms, boot_bits, detail, sizes = struct.unpack_from("<BBBBIIHBB", data)
    header_words, words = sizes >> 4, sizes & 0xF
    restarted = type_ == RESTARTED and not flags & STATUS
    if type_ < 0x80:
        raise Malformed("bad_type")
    empty = restarted or flags & STATUS
    if (n != 0) if empty else not 1 <= n <= (1 if type_ == HELLO | 0x80 else MAX_ENTRIES):
        raise Malformed("bad_count")
    is_min = flags & MIN and type_ != HELLO | 0x80
    if header_words != RESULT_HEADER_WORDS or words != (0 if empty or is_min else 5 if type_ == HELLO | 0x80 else 2):
        raise Malformed("bad_sizes")
    body_words = 0 if empty else -(-n // 64) if is_min else n * words
    if len(data) != header_words * 8 + body_words * 8 + 8:
        raise Malformed("bad_length")
    if request_tag is not None:
        expected = request_tag if restarted else result_tag_of(data[:-8], request_tag, key)
        if expected != data[-8:]:
            raise Malformed("bad_tag")
    result = Result(type_, flags, n, sequence, clock_ms, boot_bits, detail, tag=data[-8:])
    _decode_body(result, data, n)
    return result


# --- short forms for tests and tools ---

# Without a secret (client id, sequence) is the tag: no two requests of a client may have the same (section 6).
_SEQUENCES = itertools.count(1)


def limit_request(type_, rule, subject, cost=1, *, seed=0, flags=0, tenant="default", inline=None, lease_id=0,
                  key=None, **header):
    """A signed request about one subject or a list of them; inline = (count, burst, period_ns). A lease type takes
    one lease_id, or as many as there are subjects."""
    subjects = subject if isinstance(subject, (list, tuple)) else [subject]
    count, burst, period_ns = inline or (0, 0, 0)
    flags |= INLINE_LIMIT if inline else 0
    header.setdefault("sequence", next(_SEQUENCES))
    leases = lease_id if isinstance(lease_id, (list, tuple)) else [lease_id] * len(subjects)
    entries = [Entry(name_id(rule), cost, subject_key(each, seed), each, count, burst, period_ns, lease)
               for each, lease in zip(subjects, leases)]
    return encode_request(Request(type_, flags, name_id(tenant), entries=entries, **header), key)


def check(rule, subject, cost=1, **options):
    return limit_request(CHECK, rule, subject, cost, **options)


def hello(nonce=bytes(16), *, tenant="default", key=None, **header):
    header.setdefault("sequence", next(_SEQUENCES))
    return encode_request(Request(HELLO, 0, name_id(tenant), entries=[Entry(nonce=nonce)], **header), key)
