/* What lies in the mapping, and where: header | owner rows | regions | lease bits | entries.
 *
 * Everything is found by offsets from the header, so the mapping may lie anywhere and be a file one
 * day. Only table/ includes this; tests look inside through it. */
#ifndef METE_TABLE_MAPPING_H
#define METE_TABLE_MAPPING_H

#include "core/grant.h"
#include "table/entry.h"
#include "table/table.h"

#define TABLE_MAGIC 0x656c626174657465ull /* "etetable" */
#define TABLE_LAYOUT_VERSION 2u

struct table_header {
    uint64_t magic;
    uint32_t layout_version;
    uint32_t entry_size;
    uint64_t size_bytes;
    uint64_t entry_count;
    uint64_t rows_offset;
    uint64_t regions_offset;
    uint64_t lease_bits_offset;
    uint64_t entries_offset;
    uint32_t owner_rows;
    uint32_t region_count; /* in use; the first is the shared rest */
    uint64_t index_secret[2];
    uint64_t boot_id;
    uint64_t node_id;
    uint64_t time_base_ns;
    uint64_t life; /* of the process that serves; a later one counts on */
    /* on a line of their own: written while others only read the rest */
    uint64_t eviction_count __attribute__((aligned(64)));
    uint64_t sweeping_life __attribute__((aligned(64))); /* 0, or who clears marks (sweep.c) */
} __attribute__((aligned(64)));

/* One cache line: a probe reads the region, eviction and sweep the limit. */
struct table_row {
    struct table_owner owner;
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct table_row) == 64, "one line per row");

struct owners; /* owners.c */

/* The process's view of a mapping. Constant while workers run. */
struct table {
    struct table_entry *entries;
    struct table_row *rows;
    uint64_t secret[2];
    uint64_t life;
    struct table_header *header;
    uint64_t *lease_bits;         /* one per group: lease.h */
    struct table_region *regions; /* [0] is the shared rest, then by falling first_group */
    bool has_huge_pages;
    struct owners *owners;
};

static inline struct table_entry *home_group(const struct table *table, uint32_t home)
{
    return table->entries + (uint64_t)home * TABLE_GROUP_ENTRIES;
}

/* Group `i` of the window that starts at home; a window wraps inside its region. */
static inline struct table_entry *
window_group(const struct table *table, struct table_region region, uint32_t home, uint32_t i)
{
    uint32_t offset = home - region.first_group + i;

    if (offset >= region.group_count)
        offset -= region.group_count;
    return table->entries + (uint64_t)(region.first_group + offset) * TABLE_GROUP_ENTRIES;
}

static inline uint64_t mapping_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Where a key of an owner stands: two rounds of multiply and fold, keyed by the index secret, then
 * the high half of a product with the number of groups (Lemire, "Fast random integer generation in
 * an interval", 2019). Keys may be chosen by a stranger; without the secret their groups may not.
 */
static inline uint32_t mapping_home(const struct table *table, struct key key, uint32_t owner,
                                    struct table_region region)
{
    uint64_t hash = mapping_fold(key.low ^ table->secret[0], key.high ^ table->secret[1]);

    hash = mapping_fold(hash ^ table->secret[1], table->secret[0] ^ owner ^ 0x9e3779b97f4a7c15ull);
    return region.first_group + (uint32_t)((unsigned __int128)hash * region.group_count >> 64);
}

/* A limit in a row may get new numbers while others read it (owners.c). Relaxed, and word by word:
 * the algorithm and a window's length never change under a row in use, and of the rest any mixture
 * says the same of when an entry may be forgotten. */
static inline struct limit mapping_limit(const struct limit *row)
{
    return (struct limit){
        .interval = __atomic_load_n(&row->interval, __ATOMIC_RELAXED),
        .tolerance = __atomic_load_n(&row->tolerance, __ATOMIC_RELAXED),
        .burst = __atomic_load_n(&row->burst, __ATOMIC_RELAXED),
        .algorithm = row->algorithm,
        .keeps_tat = row->keeps_tat,
        .sync = __atomic_load_n(&row->sync, __ATOMIC_RELAXED),
        .on_loss = __atomic_load_n(&row->on_loss, __ATOMIC_RELAXED),
    };
}

/* Debt of a state: how long until it is forgotten; 0 = at rest. */
static inline uint64_t mapping_debt(const struct table *table, struct pair pair,
                                    const struct instant *now)
{
    if (meta_is_grant(pair.meta))
        return grant_rest_after(pair.state, now->now_ns);
    const struct limit limit = mapping_limit(&table->rows[meta_owner(pair.meta)].owner.limit);

    return limit_rest_after(&limit, pair.state, limit_is_wall(&limit) ? now->wall_ns : now->now_ns);
}

#endif
