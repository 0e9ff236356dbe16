#include "snapshot/format.h"

#include <string.h>

#include "core/key.h"

static uint64_t checksum_of(const void *bytes, size_t len)
{
    return key_of_subject(bytes, len, 0).low;
}

static uint64_t header_checksum(const struct snapshot_header *header)
{
    struct snapshot_header copy = *header;

    copy.checksum = 0;
    return checksum_of(&copy, sizeof(copy));
}

static uint64_t end_checksum(const struct snapshot_end *end)
{
    struct snapshot_end copy = *end;

    copy.checksum = 0;
    return checksum_of(&copy, sizeof(copy));
}

uint16_t snapshot_record_bytes(enum snapshot_kind kind)
{
    switch (kind) {
    case SNAPSHOT_ENTRIES:
        return sizeof(struct table_copied);
    case SNAPSHOT_LEASES:
        return sizeof(struct table_copied_lease);
    case SNAPSHOT_OWNERS:
        return sizeof(struct snapshot_owner);
    }
    return 0;
}

uint32_t snapshot_block_room(enum snapshot_kind kind)
{
    const uint32_t bytes = snapshot_record_bytes(kind);

    return bytes ? (SNAPSHOT_BLOCK_BYTES - SNAPSHOT_BLOCK_HEADER_BYTES) / bytes : 0;
}

uint64_t snapshot_file_bytes(uint64_t block_count)
{
    return 2ull * SNAPSHOT_HEADER_BYTES + block_count * SNAPSHOT_BLOCK_BYTES;
}

void snapshot_seal_header(struct snapshot_header *header)
{
    header->magic = SNAPSHOT_MAGIC;
    header->version = SNAPSHOT_VERSION;
    header->header_bytes = SNAPSHOT_HEADER_BYTES;
    header->block_bytes = SNAPSHOT_BLOCK_BYTES;
    header->checksum = header_checksum(header);
}

void snapshot_seal_end(struct snapshot_end *end)
{
    end->magic = SNAPSHOT_END_MAGIC;
    end->checksum = end_checksum(end);
}

void snapshot_seal_block(struct snapshot_block *block, enum snapshot_kind kind, uint64_t id,
                         uint64_t position)
{
    const size_t used = (size_t)block->count * snapshot_record_bytes(kind);

    block->magic = SNAPSHOT_BLOCK_MAGIC;
    block->kind = (uint16_t)kind;
    block->record_bytes = snapshot_record_bytes(kind);
    block->zero = 0;
    block->id = id;
    block->position = position;
    block->checksum = 0;
    memset(block->zeros, 0, sizeof(block->zeros));
    memset(block->bytes + used, 0, sizeof(block->bytes) - used); /* of the block before it */
    block->checksum = checksum_of(block, sizeof(*block));
}

uint64_t snapshot_chain(uint64_t chain, uint64_t checksum)
{
    const uint64_t both[2] = {chain, checksum};

    return checksum_of(both, sizeof(both));
}

const char *snapshot_fault_text(enum snapshot_fault fault)
{
    switch (fault) {
    case SNAPSHOT_FINE:
        return "is fine";
    case SNAPSHOT_FOREIGN:
        return "is no snapshot of mete";
    case SNAPSHOT_NEWER:
        return "was written by a newer mete, in a form that this one does not know";
    case SNAPSHOT_DAMAGED:
        return "is damaged in its header or at its end";
    case SNAPSHOT_TRUNCATED:
        return "is not whole: its size is not what it says";
    case SNAPSHOT_UNREADABLE:
        return "cannot be read";
    }
    return "is not understood";
}

static bool is_ended(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

enum snapshot_fault snapshot_check_header(const struct snapshot_header *header, uint64_t file_bytes)
{
    if (header->magic != SNAPSHOT_MAGIC)
        return SNAPSHOT_FOREIGN;
    if (header->version > SNAPSHOT_VERSION)
        return SNAPSHOT_NEWER;
    if (header->checksum != header_checksum(header) || header->version == 0 ||
        header->header_bytes != SNAPSHOT_HEADER_BYTES ||
        header->block_bytes != SNAPSHOT_BLOCK_BYTES ||
        !is_ended(header->namespace_name, sizeof(header->namespace_name)) ||
        !is_ended(header->program, sizeof(header->program)) ||
        header->begin_boot_ns < header->time_base_ns)
        return SNAPSHOT_DAMAGED;
    if (file_bytes < snapshot_file_bytes(0) ||
        (file_bytes - snapshot_file_bytes(0)) % SNAPSHOT_BLOCK_BYTES != 0)
        return SNAPSHOT_TRUNCATED;
    return SNAPSHOT_FINE;
}

enum snapshot_fault snapshot_check_end(const struct snapshot_end *end,
                                       const struct snapshot_header *header, uint64_t file_bytes)
{
    if (end->magic != SNAPSHOT_END_MAGIC || end->id != header->id)
        return SNAPSHOT_TRUNCATED;
    if (end->checksum != end_checksum(end))
        return SNAPSHOT_DAMAGED;
    if (end->block_count != (file_bytes - snapshot_file_bytes(0)) / SNAPSHOT_BLOCK_BYTES)
        return SNAPSHOT_TRUNCATED;
    return end->first_owner_block <= end->block_count && end->end_boot_ns >= header->begin_boot_ns
               ? SNAPSHOT_FINE
               : SNAPSHOT_DAMAGED;
}

bool snapshot_check_block(struct snapshot_block *block, const struct snapshot_header *header,
                          const struct snapshot_end *end, uint64_t position)
{
    const uint64_t checksum = block->checksum;
    const bool is_owners = position >= end->first_owner_block;

    block->checksum = 0;
    const bool is_whole = checksum_of(block, sizeof(*block)) == checksum;
    block->checksum = checksum;
    return is_whole && block->magic == SNAPSHOT_BLOCK_MAGIC && block->id == header->id &&
           block->position == position && is_owners == (block->kind == SNAPSHOT_OWNERS) &&
           block->record_bytes != 0 &&
           block->record_bytes == snapshot_record_bytes((enum snapshot_kind)block->kind) &&
           block->count <= snapshot_block_room((enum snapshot_kind)block->kind);
}
