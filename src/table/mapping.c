/* The mapping: made, cut into regions, given back. See mapping.h for what lies in it.
 *
 * Threads: the table's owner alone, before and after the workers; the readers of constants any. */
#include "table/mapping.h"

#include <errno.h>
#include <stdlib.h>

#include "sys/machine.h"
#include "sys/mapfile.h"
#include "sys/memory.h"
#include "table/doubts.h"
#include "table/owners.h"
#include "table/pair.h"
#include "table/resume.h"

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

uint64_t mapping_checksum(const struct table_header *header)
{
    const uint64_t *words = (const uint64_t *)(const void *)header;
    uint64_t sum = TABLE_MAGIC;

    for (size_t i = 1; i < offsetof(struct table_header, checksum) / sizeof(*words); i++)
        sum = mapping_fold(sum ^ words[i], 0x9e3779b97f4a7c15ull) + i;
    return sum;
}

struct table_header mapping_layout(const struct table_options *options, uint64_t entry_count,
                                   uint32_t owner_rows)
{
    struct table_header header = {
        .layout_version = TABLE_LAYOUT_VERSION,
        .entry_size = sizeof(struct table_entry),
        .entry_count = entry_count,
        .owner_rows = owner_rows,
    };
    uint64_t regions = (uint64_t)owner_rows + 1; /* every region has an owner, and one is shared */
    uint64_t bits = (entry_count / TABLE_GROUP_ENTRIES + 63) / 64 * 8;

    header.rows_offset = aligned(sizeof header);
    header.regions_offset =
        header.rows_offset + aligned((uint64_t)owner_rows * sizeof(struct table_row));
    header.tenants_offset = header.regions_offset + aligned(regions * sizeof(struct table_region));
    header.lease_bits_offset = header.tenants_offset + aligned(regions * sizeof(uint32_t));
    header.entries_offset = header.lease_bits_offset + aligned(2 * bits);
    header.size_bytes = header.entries_offset + aligned(entry_count * sizeof(struct table_entry));
    for (unsigned i = 0; i < TABLE_SECTIONS; i++) {
        header.section_offset[i] = header.size_bytes;
        header.section_bytes[i] = options->section_bytes[i];
        header.size_bytes += aligned(options->section_bytes[i]);
    }
    return header;
}

static void *header_at(struct table_header *header, uint64_t offset)
{
    return (char *)header + offset;
}

int mapping_view(struct table_header *placed, uint64_t mapped_bytes, struct table **ret_table)
{
    struct table *table = aligned_alloc(64, (sizeof *table + 63) / 64 * 64);

    if (!table)
        return -ENOMEM;
    *table = (struct table){
        .entries = header_at(placed, placed->entries_offset),
        .rows = header_at(placed, placed->rows_offset),
        .secret = {placed->index_secret[0], placed->index_secret[1]},
        .life = placed->life,
        .header = placed,
        .regions = header_at(placed, placed->regions_offset),
        .region_tenants = header_at(placed, placed->tenants_offset),
        .lease_bits = header_at(placed, placed->lease_bits_offset),
        .mapped_bytes = mapped_bytes,
        .has_huge_pages = memory_has_huge_pages(placed),
    };
    table->looking_bits = table->lease_bits + (mapping_group_count(table) + 63) / 64;
    int error = owners_create(placed->owner_rows, &table->owners);

    if (error) {
        free(table);
        return error;
    }
    *ret_table = table;
    return 0;
}

void mapping_free_view(struct table *table)
{
    owners_destroy(table->owners);
    free(table);
}

/* Memory for a new mapping, zeroed and prefaulted. */
static int reserve_memory(const struct table_options *options, uint64_t size, void **ret_memory,
                          uint64_t *ret_mapped)
{
    struct mapfile *file = options->file;

    *ret_mapped = size;
    if (!file)
        return memory_reserve(size, options->huge_pages, ret_memory);
    int error = mapfile_reserve(file, size);

    *ret_mapped = file->size_bytes;
    return error ? error : mapfile_map(file, options->huge_pages, ret_memory);
}

/* A new mapping with nothing in it. */
static int place_new(const struct table_options *options, struct table_header *header,
                     uint64_t *ret_mapped, struct table_header **ret_placed)
{
    void *memory;
    int error = reserve_memory(options, header->size_bytes, &memory, ret_mapped);

    if (error)
        return error;
    if (options->file)
        machine_boot_id((uint8_t *)header->machine_boot);
    *ret_placed = memory;
    **ret_placed = *header;
    (*ret_placed)->checksum = mapping_checksum(*ret_placed);
    return 0;
}

int table_create(const struct table_options *options, struct table **ret_table)
{
    struct table_header *placed;
    uint64_t mapped;
    struct table *table;

    if (options->entries < WINDOW_ENTRIES || options->entries > TABLE_MAX_ENTRIES ||
        options->owner_rows == 0 || options->owner_rows > TABLE_MAX_OWNERS || options->boot_id == 0)
        return -EINVAL;
    struct table_header header = mapping_layout(options,
                                                (options->entries + TABLE_GROUP_ENTRIES - 1) /
                                                    TABLE_GROUP_ENTRIES * TABLE_GROUP_ENTRIES,
                                                options->owner_rows);

    header.index_secret[0] = options->index_secret[0];
    header.index_secret[1] = options->index_secret[1];
    header.boot_id = options->boot_id;
    header.time_base_ns = options->time_base_ns;
    header.region_count = 1;
    header.life = header.lives[0] = 1;
    int error = place_new(options, &header, &mapped, &placed);

    if (error)
        return error;
    error = mapping_view(placed, mapped, &table);
    if (error) {
        memory_release(placed, mapped);
        return error;
    }
    table->regions[0] = (struct table_region){.first_group = 0,
                                              .group_count = (uint32_t)mapping_group_count(table)};
    for (uint32_t row = 0; row < header.owner_rows; row++)
        table->rows[row].owner.region =
            table->regions[0]; /* a probe of an unset row stays inside */
    /* release: in a file that says the magic all the rest was written, whenever it ends */
    __atomic_store_n(&placed->magic, TABLE_MAGIC, __ATOMIC_RELEASE);
    *ret_table = table;
    return 0;
}

void table_destroy(struct table *table)
{
    if (!table)
        return;
    table_leave(table);
    doubts_destroy(table->kept_doubts);
    memory_release(table->header, table->mapped_bytes);
    mapping_free_view(table);
}

void *table_section(const struct table *table, enum table_section section)
{
    const struct table_header *header = table->header;

    return header->section_bytes[section] ? (char *)table->header + header->section_offset[section]
                                          : NULL;
}

size_t table_section_size(const struct table *table, enum table_section section)
{
    return table->header->section_bytes[section];
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
    return table->header->section_offset[0];
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
    uint64_t groups = mapping_region_groups(entries);

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
    mapping_set_most(&table->rows[row], &owner->limit, false);
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
