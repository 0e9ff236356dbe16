/* What lies in the mapping, and where: header | owner rows | regions | tenants of the regions |
 * lease bits, twice | entries | sections of others.
 *
 * Everything is found by offsets from the header, so the mapping may lie anywhere and be a file
 * that outlives the process (resume.h). Only table/ includes this; tests look inside through it. */
#ifndef METE_TABLE_MAPPING_H
#define METE_TABLE_MAPPING_H

#include "core/grant.h"
#include "core/saturate.h"
#include "core/share.h"
#include "table/entry.h"
#include "table/table.h"

#define TABLE_MAGIC 0x656c626174657465ull /* "etetable" */
#define TABLE_LAYOUT_VERSION 3u

struct table_header {
    uint64_t magic; /* written last: 0 in a file whose making was not finished */
    uint32_t layout_version;
    uint32_t entry_size;
    uint64_t size_bytes;
    uint64_t entry_count;
    uint64_t rows_offset;
    uint64_t regions_offset;
    uint64_t tenants_offset;
    uint64_t lease_bits_offset;
    uint64_t entries_offset;
    uint64_t section_offset[TABLE_SECTIONS];
    uint64_t section_bytes[TABLE_SECTIONS];
    uint64_t index_secret[2];
    uint64_t boot_id;
    uint64_t machine_boot[2]; /* of a file: the boot of the machine that its clock counts in */
    uint64_t time_base_ns;
    uint32_t owner_rows;
    uint32_t reserved;
    uint64_t checksum; /* of all before it, magic apart */
    /* what follows changes */
    uint64_t life;         /* the latest */
    uint64_t lives[2];     /* that go on; 0: none */
    uint32_t region_count; /* in use; the first is the shared rest */
    /* on lines of their own: written while others only read the rest */
    uint64_t eviction_count __attribute__((aligned(64)));
    uint64_t sweeping_life __attribute__((aligned(64))); /* 0, or who clears marks (sweep.c) */
    uint64_t alive_boot_ns __attribute__((aligned(64))); /* table_note_alive() */
    uint64_t alive_wall_ns;
} __attribute__((aligned(64)));

/* Who an owner row belongs to is known to the next life too. */
enum row_use {
    ROW_FREE = 0,
    ROW_USED = 1,
    ROW_LEFT = 2, /* of nobody; entries of it may still be there */
};

/* One cache line: a probe reads the region, eviction and sweep the limit. The most that the limit
 * was since the row's entries were last cut to it is what they may owe (doubts.h). */
struct table_row {
    struct table_owner owner;
    uint64_t most_tolerance;
    uint32_t most_burst;
    uint32_t use; /* enum row_use */
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct table_row) == 64, "one line per row");

struct owners; /* owners.c */

/* The process's view of a mapping. Constant while workers run. */
struct table {
    struct table_entry *entries;
    struct table_row *rows;
    uint64_t secret[2];
    uint64_t life;
    struct doubts *doubts; /* doubts.h; NULL: every entry is trusted. Changes once, to that */
    struct table_header *header;
    uint64_t *lease_bits;         /* one per group: lease.h */
    uint64_t *looking_bits;       /* as many, of groups whose lease bit is being cleared */
    struct table_region *regions; /* [0] is the shared rest, then by falling first_group */
    uint32_t *region_tenants;     /* of each; the first, which is shared, has 0 */
    uint64_t mapped_bytes;
    bool has_huge_pages;
    bool is_joined; /* another life had it, and went on (table_join()) */
    struct owners *owners;
    struct doubts *kept_doubts; /* what was found, and the memory of who may still read it */
};

/* ---- of mapping.c, for resume.c ---- */

/* The header that these options make, without secrets, ids and instants. */
struct table_header mapping_layout(const struct table_options *options, uint64_t entry_count,
                                   uint32_t owner_rows);
uint64_t mapping_checksum(const struct table_header *header);
/* A view of what is mapped there, of the life lives[slot]. Results: 0, -ENOMEM. */
int mapping_view(struct table_header *placed, uint64_t mapped_bytes, struct table **ret_table);
void mapping_free_view(struct table *table);

/* ---- of resume.c, for carry.c ---- */

/* The next number, as one of the lives that go on. */
void resume_begin_life(struct table *table, unsigned slot);
/* What every row is to the owner of the table, by what the mapping says. */
void resume_rows(struct table *table, bool may_mend);

/* Of a region for so many entries. */
static inline uint64_t mapping_region_groups(uint64_t entries)
{
    uint64_t groups = entries / TABLE_GROUP_ENTRIES + (entries % TABLE_GROUP_ENTRIES != 0);

    return groups < TABLE_WINDOW_GROUPS ? TABLE_WINDOW_GROUPS : groups; /* it may not meet itself */
}

static inline uint64_t mapping_group_count(const struct table *table)
{
    return table->header->entry_count / TABLE_GROUP_ENTRIES;
}

/* Busy, and its process is gone? Of the other life that goes on it is not: it stores itself in the
 * header before its first claim, and who sees a claim sees that. */
static inline bool mapping_is_dead(const struct table *table, uint64_t meta)
{
    if (!meta_is_dead(meta, table->life))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t life = __atomic_load_n(&table->header->lives[i], __ATOMIC_ACQUIRE);

        if (life && !meta_is_dead(meta, life))
            return false;
    }
    return true;
}

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

/* A row's limit is this from now on; its entries are cut to it, or may owe what it allowed before.
 * A view of a shared limit owes up to a charge divided by the smallest share more (core/share.h),
 * and its counts are what other nodes charged. */
static inline void mapping_set_most(struct table_row *row, const struct limit *limit, bool keeps)
{
    bool is_local = limit->sync == SYNC_LOCAL;
    uint64_t tolerance = limit->algorithm == ALGORITHM_CALENDAR ? 0 : limit->tolerance;
    uint64_t most = is_local ? tolerance : saturate_mul(tolerance, 1ull << (SHARE_MAX / 8 + 2));
    uint32_t burst = is_local ? limit->burst : UINT32_MAX;

    if (keeps && row->most_tolerance > most)
        most = row->most_tolerance;
    if (keeps && row->most_burst > burst)
        burst = row->most_burst;
    __atomic_store_n(&row->most_tolerance, most, __ATOMIC_RELAXED);
    __atomic_store_n(&row->most_burst, burst, __ATOMIC_RELAXED);
}

/* May entries of the row owe more than its limit allows? */
static inline bool mapping_owes_more(const struct table_row *row)
{
    struct table_row cut = *row;

    mapping_set_most(&cut, &row->owner.limit, false);
    return limit_is_bucket(&row->owner.limit) && row->most_tolerance > cut.most_tolerance;
}

#endif
