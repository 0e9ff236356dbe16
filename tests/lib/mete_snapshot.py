"""The file of a snapshot, from its description in src/snapshot/format.h: decoded slowly, believed in nothing, and written
again for tests that want one from another machine. Shares nothing with the C code; the checksum is lib/mete_hash's.

    snapshot = decode(path.read_bytes())     # Broken says what is wrong
    snapshot.entries[0].state, snapshot.owners[3].rule
    path.write_bytes(forged(data, boot_id=bytes(16)))
"""
import collections
import struct

from lib import mete_hash

PIECE, BLOCK, BLOCK_HEADER = 512, 65536, 64
HEADER = struct.Struct("<8sIIIIQ16sQQQQQ72s64s280sQ")
END = struct.Struct("<8s9Q424sQ")
BLOCK_HEAD = struct.Struct("<4sHHIIQQQ24s")
ENTRY = struct.Struct("<QQQIB3s")
LEASE = struct.Struct("<QQQQQII")
OWNER = struct.Struct("<IIIIQQQIBBBB72s136s")
ENTRIES, LEASES, OWNERS = 1, 2, 3
RECORDS = {ENTRIES: ENTRY, LEASES: LEASE, OWNERS: OWNER}

Header = collections.namedtuple("Header", "magic version header_bytes block_bytes zero id boot_id boot_ns wall_ns base_ns "
                                          "table_entries fingerprint namespace program zeros checksum")
End = collections.namedtuple("End", "magic id blocks entries leases owners first_owner boot_ns wall_ns chain zeros checksum")
Entry = collections.namedtuple("Entry", "low high state row share zeros")
Lease = collections.namedtuple("Lease", "low high of_low of_high expires_ms slots row")
Owner = collections.namedtuple("Owner", "row tenant_id rule_id zero override interval tolerance burst algorithm keeps_tat "
                                        "sync on_loss tenant rule")
Snapshot = collections.namedtuple("Snapshot", "header end entries leases owners")


class Broken(Exception):
    pass


def require(is_so, what):
    if not is_so:
        raise Broken(what)


def checksum(data):
    return int.from_bytes(mete_hash.xxh3_128(data)[:8], "little")


def text(data):
    require(0 in data, "a text without an end")
    head, _, rest = data.partition(b"\0")
    require(not any(rest), "bytes behind the end of a text")
    return head.decode()


def sealed(packed, at):
    """The bytes with the right checksum where it belongs."""
    bare = packed[:at] + bytes(8) + packed[at + 8:]
    return bare[:at] + checksum(bare).to_bytes(8, "little") + bare[at + 8:]


def decode_block(data, header, position):
    magic, kind, size, count, zero, id_, at, found, zeros = BLOCK_HEAD.unpack_from(data)
    require(magic == b"MBLK" and id_ == header.id and at == position and zero == 0 and not any(zeros), f"block {position}")
    require(kind in RECORDS and size == RECORDS[kind].size, f"block {position}: kind {kind}")
    require(sealed(data, 32) == data, f"block {position}: its checksum")
    require(0 < count <= (BLOCK - BLOCK_HEADER) // size, f"block {position}: {count} records")
    require(not any(data[BLOCK_HEADER + count * size:]), f"block {position}: something behind its records")
    records = [RECORDS[kind].unpack_from(data, BLOCK_HEADER + i * size) for i in range(count)]
    return kind, records, found


def decode(data):
    require(len(data) >= 2 * PIECE, "too short")
    header, end = Header(*HEADER.unpack(data[:PIECE])), End(*END.unpack(data[-PIECE:]))
    require(header.magic == b"METESNAP" and header.version == 1, "no snapshot")
    require((header.header_bytes, header.block_bytes, header.zero) == (PIECE, BLOCK, 0), "sizes")
    require(sealed(data[:PIECE], 504) == data[:PIECE], "the header's checksum")
    require(end.magic == b"METESEND" and end.id == header.id, "no end")
    require(sealed(data[-PIECE:], 504) == data[-PIECE:], "the end's checksum")
    require(len(data) == 2 * PIECE + end.blocks * BLOCK, "its size")
    header = header._replace(namespace=text(header.namespace), program=text(header.program))
    require(not any(header.zeros) and not any(end.zeros), "bytes that should be 0")
    found, chain = {ENTRIES: [], LEASES: [], OWNERS: []}, 0
    for position in range(end.blocks):
        at = PIECE + position * BLOCK
        kind, records, its_checksum = decode_block(data[at:at + BLOCK], header, position)
        require((kind == OWNERS) == (position >= end.first_owner), f"block {position} is out of order")
        found[kind] += records
        chain = checksum(struct.pack("<QQ", chain, its_checksum))
    require(chain == end.chain, "the chain")
    entries = [Entry(*record) for record in found[ENTRIES]]
    leases = [Lease(*record) for record in found[LEASES]]
    owners = {record[0]: Owner(*record[:-2], text(record[-2]), text(record[-1])) for record in found[OWNERS]}
    require((len(entries), len(leases), len(owners)) == (end.entries, end.leases, end.owners), "its counts")
    require({record.row for record in entries + leases} == set(owners), "rows without an owner, or owners without a row")
    require(all(entry.state and not any(entry.zeros) for entry in entries), "an entry at rest")
    require(all(lease.slots for lease in leases), "a lease of nothing")
    return Snapshot(header, end, entries, leases, owners)


def forged(data, *, boot_id=None, boot_shift_ns=0, wall_shift_ns=0, version=None):
    """As if it came from another run of the machine, or other clocks."""
    header, end = Header(*HEADER.unpack(data[:PIECE])), End(*END.unpack(data[-PIECE:]))
    header = header._replace(boot_id=header.boot_id if boot_id is None else boot_id, version=version or header.version,
                             boot_ns=header.boot_ns + boot_shift_ns, base_ns=header.base_ns + boot_shift_ns,
                             wall_ns=header.wall_ns + wall_shift_ns)
    end = end._replace(boot_ns=end.boot_ns + boot_shift_ns, wall_ns=end.wall_ns + wall_shift_ns)
    return sealed(HEADER.pack(*header), 504) + data[PIECE:-PIECE] + sealed(END.pack(*end), 504)
