/* The file of a snapshot: what a table remembers, in a form that does not depend on where anything
 * stood in it. All numbers are little endian; bytes that are not named are 0.
 *
 *   header   512 B          what was copied, when, by which clocks
 *   blocks   n x 65536 B    64 B of their own, then records of one kind
 *   end      512 B          counts; without it the file is not whole
 *
 *   header    0  magic "METESNAP"
 *             8  version u32: 1       12  size of header and end u32: 512
 *            16  size of a block u32
 *            24  id u64: random; every block and the end carry it
 *            32  boot id of the machine, 16 bytes; zeros: not known
 *            48  CLOCK_BOOTTIME, ns u64, and
 *            56  CLOCK_REALTIME, ns u64, when the copy began
 *            64  time base, ns u64: the table's clock is CLOCK_BOOTTIME less this
 *            72  entries the table has room for, u64
 *            80  fingerprint of the key file, u64: other keys would never be found
 *            88  namespace, 72 bytes, ended by 0
 *           160  version of the program, 64 bytes, ended by 0
 *           504  checksum u64
 *   block     0  magic "MBLK"        4  kind u16        6  size of a record u16
 *             8  records u32        16  id u64         24  position u64: 0, 1, 2, ...
 *            32  checksum u64       64  records
 *     kind 1  entry, 32 B    key 16, state u64, row u32, share u8
 *     kind 2  lease, 48 B    key 16, key of what it is a lease on 16, expires u64 (ms of the
 * table's clock), slots u32, row u32 kind 3  owner, 256 B   row u32, tenant id u32, rule id u32, 0
 * u32, override u64, limit 24 (as core/limit.h: interval u64, tolerance u64, burst u32, algorithm
 * u8, keeps_tat u8, sync u8, on_loss u8), then at 48 the tenant's name, 72 bytes, and at 120 the
 * rule's, 136 bytes, both ended by 0 end       0  magic "METESEND"    8  id u64         16  blocks
 * u64 24  entries u64        32  leases u64     40  owners u64 48  the first block of owners u64;
 * all behind it are of owners, none before it 56  CLOCK_BOOTTIME and 64  CLOCK_REALTIME when the
 * copy ended 72  chain u64: from 0, for each block, the checksum of (chain, the block's checksum)
 *           504  checksum u64
 *
 * A checksum is the low half of XXH3-128, seed 0, over the whole piece with 0 in its place: it
 * finds damage, not malice, which mode 0600 and the owner of the file keep away.
 *
 * There is no secret in it. Where a key stands in a table goes by that table's own index secret,
 * and a table that a snapshot is put into has another, so none is written down; subjects become
 * keys by a seed that comes of the key file, or of the tenant's name alone, and is the same after a
 * restart: its fingerprint is enough to tell that keys would be found. What is in it is who asked
 * and how much, in keys that can be guessed where there is no key file: so it is its owner's alone.
 *
 * Pure functions of bytes: any thread may call anything here. */
#ifndef METE_SNAPSHOT_FORMAT_H
#define METE_SNAPSHOT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limit.h"
#include "table/copy.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they stand");

#define SNAPSHOT_MAGIC 0x50414E534554454Dull     /* "METESNAP" */
#define SNAPSHOT_END_MAGIC 0x444E45534554454Dull /* "METESEND" */
#define SNAPSHOT_BLOCK_MAGIC 0x4B4C424Du         /* "MBLK" */
#define SNAPSHOT_VERSION 1u
#define SNAPSHOT_HEADER_BYTES 512u
#define SNAPSHOT_BLOCK_BYTES 65536u
#define SNAPSHOT_BLOCK_HEADER_BYTES 64u
#define SNAPSHOT_NAMESPACE_BYTES 72u
#define SNAPSHOT_TENANT_BYTES 72u
#define SNAPSHOT_RULE_BYTES 136u

struct snapshot_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint32_t block_bytes;
    uint32_t zero;
    uint64_t id;
    uint8_t machine_boot_id[16];
    uint64_t begin_boot_ns, begin_wall_ns;
    uint64_t time_base_ns;
    uint64_t table_entries;
    uint64_t key_fingerprint;
    char namespace_name[SNAPSHOT_NAMESPACE_BYTES];
    char program[64];
    uint8_t zeros[280];
    uint64_t checksum;
};

struct snapshot_end {
    uint64_t magic;
    uint64_t id;
    uint64_t block_count;
    uint64_t entry_count, lease_count, owner_count;
    uint64_t first_owner_block;
    uint64_t end_boot_ns, end_wall_ns;
    uint64_t chain;
    uint8_t zeros[424];
    uint64_t checksum;
};

struct snapshot_owner {
    uint32_t row;
    uint32_t tenant_id;
    uint32_t rule_id; /* 0: the tenant's inline limits */
    uint32_t zero;
    uint64_t override; /* 0: the rule itself */
    struct limit limit;
    char tenant[SNAPSHOT_TENANT_BYTES];
    char rule[SNAPSHOT_RULE_BYTES];
};

enum snapshot_kind { SNAPSHOT_ENTRIES = 1, SNAPSHOT_LEASES = 2, SNAPSHOT_OWNERS = 3 };

struct snapshot_block {
    uint32_t magic;
    uint16_t kind;
    uint16_t record_bytes;
    uint32_t count;
    uint32_t zero;
    uint64_t id;
    uint64_t position;
    uint64_t checksum;
    uint8_t zeros[24];
    union {
        struct table_copied entries[2046];
        struct table_copied_lease leases[1364];
        struct snapshot_owner owners[255];
        uint8_t bytes[SNAPSHOT_BLOCK_BYTES - SNAPSHOT_BLOCK_HEADER_BYTES];
    };
};

_Static_assert(sizeof(struct snapshot_header) == SNAPSHOT_HEADER_BYTES, "as described");
_Static_assert(sizeof(struct snapshot_end) == SNAPSHOT_HEADER_BYTES, "as described");
_Static_assert(sizeof(struct snapshot_owner) == 256, "as described");
_Static_assert(sizeof(struct snapshot_block) == SNAPSHOT_BLOCK_BYTES, "as described");
_Static_assert(offsetof(struct snapshot_header, program) == 160, "as described");
_Static_assert(offsetof(struct snapshot_end, chain) == 72, "as described");
_Static_assert(offsetof(struct snapshot_block, entries) == 64, "as described");
_Static_assert(offsetof(struct snapshot_owner, tenant) == 48, "as described");

/* Records of a kind that a block has room for; 0 for what is no kind. */
uint32_t snapshot_block_room(enum snapshot_kind kind);
uint16_t snapshot_record_bytes(enum snapshot_kind kind);

uint64_t snapshot_file_bytes(uint64_t block_count);

/* Magic, checksum and what goes with them; all else is the caller's. */
void snapshot_seal_header(struct snapshot_header *header);
void snapshot_seal_end(struct snapshot_end *end);
void snapshot_seal_block(struct snapshot_block *block, enum snapshot_kind kind, uint64_t id,
                         uint64_t position);

/* The chain behind one more block. */
uint64_t snapshot_chain(uint64_t chain, uint64_t checksum);

enum snapshot_fault {
    SNAPSHOT_FINE,
    SNAPSHOT_FOREIGN,   /* something else stands there */
    SNAPSHOT_NEWER,     /* of a version that this program does not know */
    SNAPSHOT_DAMAGED,   /* its header or its end is */
    SNAPSHOT_TRUNCATED, /* it ends too early, or too late */
    SNAPSHOT_UNREADABLE,
};

/* "is no snapshot of mete", ... */
const char *snapshot_fault_text(enum snapshot_fault fault);

/* Of a file of so many bytes. FINE, FOREIGN, NEWER, DAMAGED, TRUNCATED. */
enum snapshot_fault snapshot_check_header(const struct snapshot_header *header,
                                          uint64_t file_bytes);
enum snapshot_fault snapshot_check_end(const struct snapshot_end *end,
                                       const struct snapshot_header *header, uint64_t file_bytes);

/* Is this block of that file what was written at this position? Then its kind is one of the three
 * and its count fits. The block is as it was afterwards. */
bool snapshot_check_block(struct snapshot_block *block, const struct snapshot_header *header,
                          const struct snapshot_end *end, uint64_t position);

#endif
