#include "snapshot/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/carry.h"
#include "core/saturate.h"
#include "core/share.h"
#include "table/owners.h"

struct mapped { /* a row of the snapshot, here */
    uint32_t row;
    uint8_t state; /* enum mapped_state */
    struct limit limit;
};

enum mapped_state { MAPPED_GONE, MAPPED_CHANGED, MAPPED_HERE };

struct loading {
    struct table *table;
    struct snapshot_reader *reader;
    struct snapshot_block *block;
    struct carry carry;
    struct snapshot_loaded loaded;
    uint32_t *rows; /* of this table that have owners, in the order of compare_owners() */
    uint32_t row_count;
    struct mapped *mapped;
    uint32_t mapped_count; /* rows of the snapshot are below it */
};

/* ---- time ---- */

static bool is_known(const uint8_t boot_id[16])
{
    static const uint8_t zeros[16];

    return memcmp(boot_id, zeros, sizeof(zeros)) != 0;
}

static void find_carry(struct loading *loading, const struct snapshot_now *now)
{
    const struct snapshot_header *header = &loading->reader->header;
    const struct snapshot_end *end = &loading->reader->end;
    struct snapshot_loaded *loaded = &loading->loaded;
    const bool are_known = is_known(header->machine_boot_id) && is_known(now->machine_boot_id);
    const bool are_same =
        memcmp(header->machine_boot_id, now->machine_boot_id, sizeof(now->machine_boot_id)) == 0;

    if (are_known && are_same && now->boot_ns >= end->end_boot_ns) {
        loaded->way = SNAPSHOT_SAME_BOOT;
        loaded->elapsed_ns = now->boot_ns - end->end_boot_ns;
    } else {
        loaded->way = are_known ? SNAPSHOT_REBOOT : SNAPSHOT_UNKNOWN_BOOT;
        loaded->elapsed_ns = saturate_sub(now->wall_ns, end->end_wall_ns);
        loaded->went_back_ns = saturate_sub(end->end_wall_ns, now->wall_ns);
    }
    loading->carry = (struct carry){
        .copied_wall_ns = end->end_wall_ns,
        .from_now_ns = saturate_add(end->end_boot_ns - header->time_base_ns, loaded->elapsed_ns),
        .to = {.now_ns = saturate_sub(now->boot_ns, table_time_base_ns(loading->table)),
               .wall_ns = now->wall_ns},
    };
}

/* ---- owners ---- */

static int compare_owners(const struct table_owner *a, const struct table_owner *b)
{
    if (a->tenant_id != b->tenant_id)
        return a->tenant_id < b->tenant_id ? -1 : 1;
    if (a->rule_id != b->rule_id)
        return a->rule_id < b->rule_id ? -1 : 1;
    return a->override == b->override ? 0 : a->override < b->override ? -1 : 1;
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct table_owner first = table_owner_at(context, *(const uint32_t *)a);
    const struct table_owner second = table_owner_at(context, *(const uint32_t *)b);

    return compare_owners(&first, &second);
}

static int list_rows(struct loading *loading)
{
    const uint32_t rows = table_owner_rows(loading->table);

    loading->rows = malloc(rows * sizeof(*loading->rows));
    if (!loading->rows)
        return -ENOMEM;
    for (uint32_t row = 0; row < rows; row++)
        if (table_owner_at(loading->table, row).limit.algorithm != ALGORITHM_NONE)
            loading->rows[loading->row_count++] = row;
    qsort_r(loading->rows, loading->row_count, sizeof(*loading->rows), compare_rows,
            loading->table);
    return 0;
}

static uint32_t find_row(const struct loading *loading, const struct table_owner *wanted)
{
    uint32_t low = 0, high = loading->row_count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct table_owner owner = table_owner_at(loading->table, loading->rows[middle]);
        const int order = compare_owners(wanted, &owner);

        if (order == 0)
            return loading->rows[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return OWNERS_NONE;
}

static struct mapped map_owner(const struct loading *loading, const struct snapshot_owner *record)
{
    const struct table_owner wanted = {
        .tenant_id = record->tenant_id, .rule_id = record->rule_id, .override = record->override};
    struct mapped mapped = {.row = find_row(loading, &wanted), .state = MAPPED_GONE};

    if (mapped.row == OWNERS_NONE)
        return mapped;
    mapped.limit = table_owner_at(loading->table, mapped.row).limit;
    mapped.state =
        owners_is_same_kind(&mapped.limit, &record->limit) ? MAPPED_HERE : MAPPED_CHANGED;
    return mapped;
}

/* The highest row that stands in a block of owners, one more; 0 if the block is damaged. */
static uint32_t rows_needed(struct loading *loading, uint64_t position)
{
    const struct snapshot_block *block = loading->block;
    uint32_t needed = 0;

    if (!snapshot_read_block(loading->reader, position, loading->block))
        return 0;
    for (uint32_t i = 0; i < block->count; i++)
        if (block->owners[i].row < TABLE_MAX_OWNERS && block->owners[i].row >= needed)
            needed = block->owners[i].row + 1;
    return needed;
}

static int map_owners(struct loading *loading)
{
    const struct snapshot_end *end = &loading->reader->end;

    for (uint64_t i = end->first_owner_block; i < end->block_count; i++) {
        const uint32_t needed = rows_needed(loading, i);

        if (needed > loading->mapped_count)
            loading->mapped_count = needed;
    }
    loading->mapped = calloc(loading->mapped_count + 1ull, sizeof(*loading->mapped));
    if (!loading->mapped)
        return -ENOMEM;
    for (uint64_t i = end->first_owner_block; i < end->block_count; i++) {
        if (!snapshot_read_block(loading->reader, i, loading->block)) {
            loading->loaded.damaged_blocks++;
            continue;
        }
        for (uint32_t j = 0; j < loading->block->count; j++) {
            const struct snapshot_owner *record = &loading->block->owners[j];

            if (record->row < loading->mapped_count)
                loading->mapped[record->row] = map_owner(loading, record);
        }
    }
    return 0;
}

/* Of an entry of that row of the snapshot; NULL: left out, and counted. */
static const struct mapped *find_mapped(struct loading *loading, uint32_t row, bool is_lease)
{
    const struct mapped *mapped = row < loading->mapped_count ? &loading->mapped[row] : NULL;

    if (!mapped || mapped->state == MAPPED_GONE)
        loading->loaded.gone++;
    else if (mapped->state == MAPPED_CHANGED)
        loading->loaded.changed++;
    else if (is_lease != (mapped->limit.algorithm == ALGORITHM_CONCURRENCY))
        loading->loaded.implausible++;
    else
        return mapped;
    return NULL;
}

/* ---- entries ---- */

/* What stays is moved to the front of the block, by the clocks and rows of here. */
static uint32_t carry_entries(struct loading *loading)
{
    struct table_copied *copies = loading->block->entries;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < loading->block->count; i++) {
        struct table_copied copied = copies[i];
        const struct mapped *mapped = find_mapped(loading, copied.owner, false);

        if (!mapped)
            continue;
        copied.owner = mapped->row;
        copied.share = mapped->limit.sync == SYNC_SHARED && copied.share <= SHARE_MAX
                           ? copied.share
                           : 0; /* a local rule knows no shares */
        copied.state = carry_state(&loading->carry, &mapped->limit, copied.state);
        if (copied.state)
            copies[kept++] = copied;
        else
            loading->loaded.rested++;
    }
    return kept;
}

static void prefetch_entry(const struct loading *loading, uint32_t i, uint32_t count)
{
    const struct table_copied *copies = loading->block->entries;

    if (i >= count)
        return;
    const struct table_probe probe = table_probe(loading->table, copies[i].key, copies[i].owner);
    table_prefetch(loading->table, &probe);
}

static void load_entries(struct loading *loading)
{
    const uint32_t count = carry_entries(loading);

    for (uint32_t i = 0; i < TABLE_PREFETCH_AHEAD; i++)
        prefetch_entry(loading, i, count);
    for (uint32_t i = 0; i < count; i++) {
        prefetch_entry(loading, i + TABLE_PREFETCH_AHEAD, count);
        const enum table_put put =
            table_put(loading->table, &loading->block->entries[i], &loading->carry.to);

        loading->loaded.entries += put == TABLE_PUT;
        loading->loaded.full += put == TABLE_PUT_FULL;
    }
}

static void load_leases(struct loading *loading)
{
    for (uint32_t i = 0; i < loading->block->count; i++) {
        struct table_copied_lease copied = loading->block->leases[i];
        const struct mapped *mapped = find_mapped(loading, copied.owner, true);

        if (!mapped)
            continue;
        if (copied.slots == 0 || copied.slots > LIMIT_SLOTS_MAX) {
            loading->loaded.implausible++;
            continue;
        }
        copied.owner = mapped->row;
        copied.expires_ms = carry_lease_ms(&loading->carry, copied.expires_ms);
        if (!copied.expires_ms) {
            loading->loaded.rested++;
            continue;
        }
        const enum table_put put = table_put_lease(loading->table, &copied, &loading->carry.to);

        loading->loaded.leases += put == TABLE_PUT;
        loading->loaded.full += put == TABLE_PUT_FULL;
    }
}

static void load_blocks(struct loading *loading)
{
    for (uint64_t i = 0; i < loading->reader->end.first_owner_block; i++) {
        if (!snapshot_read_block(loading->reader, i, loading->block))
            loading->loaded.damaged_blocks++;
        else if (loading->block->kind == SNAPSHOT_ENTRIES)
            load_entries(loading);
        else
            load_leases(loading);
    }
}

int snapshot_load(struct table *table, struct snapshot_reader *reader,
                  const struct snapshot_now *now, struct snapshot_loaded *ret_loaded)
{
    struct loading loading = {
        .table = table,
        .reader = reader,
        .block = malloc(sizeof(struct snapshot_block)),
    };
    int result = loading.block ? 0 : -ENOMEM;

    find_carry(&loading, now);
    if (!result)
        result = list_rows(&loading);
    if (!result)
        result = map_owners(&loading);
    if (!result) {
        load_blocks(&loading);
        *ret_loaded = loading.loaded;
    }
    free(loading.block);
    free(loading.rows);
    free(loading.mapped);
    return result;
}
