#include "snapshot/save.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_GROUPS 1024u /* 128 KiB of the table between two pauses */

struct saving {
    struct table *table;
    const struct snapshot_header *header;
    const struct snapshot_hooks *hooks;
    struct replace *file;
    struct snapshot_end end;
    struct snapshot_block *entries, *leases; /* being filled; owners use the first */
    uint8_t *rows;                           /* a bit for each that was met */
    uint32_t row_count;
};

static int write_block(struct saving *saving, struct snapshot_block *block, enum snapshot_kind kind)
{
    if (block->count == 0)
        return 0;
    snapshot_seal_block(block, kind, saving->header->id, saving->end.block_count++);
    saving->end.chain = snapshot_chain(saving->end.chain, block->checksum);
    const int result = replace_write(saving->file, block, sizeof(*block));
    block->count = 0;
    return result;
}

static void note_row(struct saving *saving, uint32_t row)
{
    saving->rows[row / 8] |= (uint8_t)(1u << row % 8);
}

/* Notes the rows of what a piece added. */
static void note_rows(struct saving *saving, const struct table_copies *copies)
{
    for (uint32_t i = saving->entries->count; i < copies->entry_count; i++)
        note_row(saving, copies->entries[i].owner);
    for (uint32_t i = saving->leases->count; i < copies->lease_count; i++)
        note_row(saving, copies->leases[i].owner);
    saving->end.entry_count += copies->entry_count - saving->entries->count;
    saving->end.lease_count += copies->lease_count - saving->leases->count;
    saving->entries->count = copies->entry_count;
    saving->leases->count = copies->lease_count;
}

static int write_full(struct saving *saving)
{
    int result = 0;

    if (saving->entries->count + TABLE_GROUP_ENTRIES > snapshot_block_room(SNAPSHOT_ENTRIES))
        result = write_block(saving, saving->entries, SNAPSHOT_ENTRIES);
    if (!result &&
        saving->leases->count + TABLE_GROUP_ENTRIES > snapshot_block_room(SNAPSHOT_LEASES))
        result = write_block(saving, saving->leases, SNAPSHOT_LEASES);
    return result;
}

static int save_entries(struct saving *saving)
{
    const struct snapshot_hooks *hooks = saving->hooks;
    uint64_t cursor = 0;
    bool has_more = true;
    int result = 0;

    while (has_more && !result) {
        struct table_copies copies = {
            .entries = saving->entries->entries,
            .leases = saving->leases->leases,
            .entry_count = saving->entries->count,
            .entry_size = snapshot_block_room(SNAPSHOT_ENTRIES),
            .lease_count = saving->leases->count,
            .lease_size = snapshot_block_room(SNAPSHOT_LEASES),
        };
        struct instant now;

        if (!hooks->enter(hooks->context, &now))
            return -EAGAIN;
        has_more = table_copy(saving->table, &cursor, PIECE_GROUPS, &now, &copies);
        hooks->leave(hooks->context);
        note_rows(saving, &copies);
        result = write_full(saving);
        if (!result && !hooks->pause(hooks->context))
            result = -ECANCELED;
    }
    if (!result)
        result = write_block(saving, saving->entries, SNAPSHOT_ENTRIES);
    return result ? result : write_block(saving, saving->leases, SNAPSHOT_LEASES);
}

static int save_owners(struct saving *saving)
{
    const struct snapshot_hooks *hooks = saving->hooks;
    struct snapshot_block *block = saving->entries;
    const uint32_t room = snapshot_block_room(SNAPSHOT_OWNERS);
    struct instant now;
    int result = 0;

    saving->end.first_owner_block = saving->end.block_count;
    for (uint32_t row = 0; row < saving->row_count && !result; row++) {
        if (!(saving->rows[row / 8] & 1u << row % 8))
            continue;
        if (!hooks->enter(hooks->context, &now))
            return -EAGAIN;
        const struct table_owner owner = table_owner_at(saving->table, row);
        struct snapshot_owner *record = &block->owners[block->count++];

        *record = (struct snapshot_owner){
            .row = row,
            .tenant_id = owner.tenant_id,
            .rule_id = owner.rule_id,
            .override = owner.override,
            .limit = owner.limit,
        };
        hooks->name(hooks->context, row, &owner, record);
        hooks->leave(hooks->context);
        saving->end.owner_count++;
        if (block->count == room)
            result = write_block(saving, block, SNAPSHOT_OWNERS);
    }
    return result ? result : write_block(saving, block, SNAPSHOT_OWNERS);
}

static int save_end(struct saving *saving)
{
    struct instant now;

    if (!saving->hooks->enter(saving->hooks->context, &now)) /* rows that were met are as then */
        return -EAGAIN;
    saving->hooks->leave(saving->hooks->context);
    saving->end.id = saving->header->id;
    saving->hooks->clock(saving->hooks->context, &saving->end.end_boot_ns,
                         &saving->end.end_wall_ns);
    snapshot_seal_end(&saving->end);
    return replace_write(saving->file, &saving->end, sizeof(saving->end));
}

int snapshot_save(struct table *table, struct snapshot_header *header,
                  const struct snapshot_hooks *hooks, struct replace *file,
                  struct snapshot_report *ret_report)
{
    struct saving saving = {
        .table = table,
        .header = header,
        .hooks = hooks,
        .file = file,
        .entries = calloc(1, sizeof(struct snapshot_block)),
        .leases = calloc(1, sizeof(struct snapshot_block)),
        .rows = calloc(1, table_owner_rows(table) / 8 + 1),
        .row_count = table_owner_rows(table),
    };
    int result = saving.entries && saving.leases && saving.rows ? 0 : -ENOMEM;

    header->time_base_ns = table_time_base_ns(table);
    header->table_entries = table_entry_count(table);
    hooks->clock(hooks->context, &header->begin_boot_ns, &header->begin_wall_ns);
    snapshot_seal_header(header);
    if (!result)
        result = replace_write(file, header, sizeof(*header));
    if (!result)
        result = save_entries(&saving);
    if (!result)
        result = save_owners(&saving);
    if (!result)
        result = save_end(&saving);
    free(saving.entries);
    free(saving.leases);
    free(saving.rows);
    if (!result)
        *ret_report = (struct snapshot_report){
            .entries = saving.end.entry_count,
            .leases = saving.end.lease_count,
            .owners = saving.end.owner_count,
            .bytes = file->written_bytes,
        };
    return result;
}
