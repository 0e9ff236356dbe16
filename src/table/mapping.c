/* The mapping: made, cut into regions, given back. See mapping.h for what lies in it.
 *
 * Threads: the table's owner alone, before and after the workers; the readers of constants any. */
#include "table/mapping.h"

#include <errno.h>
#include <stdlib.h>

#include "sys/memory.h"
#include "table/owners.h"
#include "table/pair.h"

#define ALIGNMENT 4096u
#define WINDOW_ENTRIES (TABLE_GROUP_ENTRIES * TABLE_WINDOW_GROUPS)

#ifdef METE_TABLE_LOCK
pthread_mutex_t table_pair_locks[PAIR_LOCKS] = {
    [0 ... PAIR_LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER,
};
#endif

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void header_fill(struct table_header *header, const struct table_options *options,
                        uint64_t entry_count)
{
    *header = (struct table_header){
        .magic = TABLE_MAGIC,
        .layout_version = TABLE_LAYOUT_VERSION,
        .entry_size = sizeof(struct table_entry),
        .entry_count = entry_count,
        .owner_rows = options->owner_rows,
        .region_count = 1,
        .index_secret = {options->index_secret[0], options->index_secret[1]},
        .boot_id = options->boot_id,
        .node_id = 0,
        .time_base_ns = options->time_base_ns,
        .life = 1,
    };
    header->rows_offset = aligned(sizeof *header);
    header->regions_offset =
        header->rows_offset + aligned((uint64_t)options->owner_rows * sizeof(struct table_row));
    /* every region has an owner, and one is shared */
    header->lease_bits_offset =
        header->regions_offset +
        aligned(((uint64_t)options->owner_rows + 1) * sizeof(struct table_region));
    header->entries_offset =
        header->lease_bits_offset + aligned((entry_count / TABLE_GROUP_ENTRIES + 63) / 64 * 8);
    header->size_bytes = header->entries_offset + aligned(entry_count * sizeof(struct table_entry));
}

static void *header_at(struct table_header *header, uint64_t offset)
{
    return (char *)header + offset;
}

int table_create(const struct table_options *options, struct table **ret_table)
{
    struct table_header header;
    void *memory;

    if (options->entries < WINDOW_ENTRIES || options->entries > TABLE_MAX_ENTRIES ||
        options->owner_rows == 0 || options->owner_rows > TABLE_MAX_OWNERS || options->boot_id == 0)
        return -EINVAL;
    header_fill(&header, options,
                (options->entries + TABLE_GROUP_ENTRIES - 1) / TABLE_GROUP_ENTRIES *
                    TABLE_GROUP_ENTRIES);
    struct table *table = aligned_alloc(64, (sizeof *table + 63) / 64 * 64);

    if (!table)
        return -ENOMEM;
    struct owners *owners;
    int error = owners_create(header.owner_rows, &owners);

    if (!error && (error = memory_reserve(header.size_bytes, options->huge_pages, &memory)))
        owners_destroy(owners);
    if (error) {
        free(table);
        return error;
    }
    struct table_header *placed = memory;

    *placed = header;
    *table = (struct table){
        .entries = header_at(placed, header.entries_offset),
        .rows = header_at(placed, header.rows_offset),
        .secret = {header.index_secret[0], header.index_secret[1]},
        .life = header.life,
        .header = placed,
        .regions = header_at(placed, header.regions_offset),
        .lease_bits = header_at(placed, header.lease_bits_offset),
        .has_huge_pages = options->huge_pages && memory_has_huge_pages(placed),
        .owners = owners,
    };
    table->regions[0] = (struct table_region){
        .first_group = 0, .group_count = (uint32_t)(header.entry_count / TABLE_GROUP_ENTRIES)};
    for (uint32_t row = 0; row < header.owner_rows; row++)
        table->rows[row].owner.region =
            table->regions[0]; /* a probe of an unset row stays inside */
    *ret_table = table;
    return 0;
}

void table_destroy(struct table *table)
{
    if (!table)
        return;
    memory_release(table->header, table->header->size_bytes);
    owners_destroy(table->owners);
    free(table);
}

uint64_t table_boot_id(const struct table *table)
{
    return table->header->boot_id;
}

uint64_t table_time_base_ns(const struct table *table)
{
    return table->header->time_base_ns;
}

size_t table_size_bytes(const struct table *table)
{
    return table->header->size_bytes;
}

uint64_t table_entry_count(const struct table *table)
{
    return table->header->entry_count;
}

bool table_has_huge_pages(const struct table *table)
{
    return table->has_huge_pages;
}

int table_region_reserve(struct table *table, uint64_t entries, struct table_region *ret_region)
{
    struct table_region *rest = &table->regions[0];
    uint32_t used = table->header->region_count;
    uint64_t groups = entries / TABLE_GROUP_ENTRIES + (entries % TABLE_GROUP_ENTRIES != 0);

    if (groups < TABLE_WINDOW_GROUPS) /* a window may not meet itself */
        groups = TABLE_WINDOW_GROUPS;
    if (used > table->header->owner_rows || rest->group_count < TABLE_WINDOW_GROUPS ||
        groups > rest->group_count - TABLE_WINDOW_GROUPS)
        return -ENOSPC;
    rest->group_count -= (uint32_t)groups;
    table->regions[used] = (struct table_region){
        .first_group = rest->first_group + rest->group_count, .group_count = (uint32_t)groups};
    table->header->region_count = used + 1;
    for (uint32_t row = 0; row < table->header->owner_rows; row++) {
        if (table->rows[row].owner.region.first_group == 0) /* shares the rest, which shrank */
            table->rows[row].owner.region = *rest;
    }
    *ret_region = table->regions[used];
    return 0;
}

struct table_region table_region_shared(const struct table *table)
{
    return table->regions[0];
}

int table_owner_set(struct table *table, uint32_t row, const struct table_owner *owner)
{
    const struct table_region *region = &owner->region;
    uint64_t end = (uint64_t)region->first_group + region->group_count;

    if (row >= table->header->owner_rows || region->group_count < TABLE_WINDOW_GROUPS ||
        end * TABLE_GROUP_ENTRIES > table->header->entry_count)
        return -EINVAL;
    table->rows[row].owner = *owner;
    return 0;
}

struct table_owner table_owner_at(const struct table *table, uint32_t row)
{
    struct table_owner owner = table->rows[row].owner;

    owner.limit = mapping_limit(&table->rows[row].owner.limit);
    return owner;
}

uint32_t table_owner_rows(const struct table *table)
{
    return table->header->owner_rows;
}

uint64_t table_eviction_count(const struct table *table)
{
    /* relaxed: a figure for people, ordered with nothing */
    return __atomic_load_n(&table->header->eviction_count, __ATOMIC_RELAXED);
}
