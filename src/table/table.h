/* The table: the only owner of atomics on entries.
 *
 * It finds or claims the entry of a (key, owner), loads a state and swaps a state. It does not know
 * what a state means beyond limit_rest_after(): when it may be forgotten.
 *
 * Everything lies in one self-contained mapping: header, owner rows, entries. An entry has 32 bytes
 * (key 16, state 8, meta 8); groups of 4 stand on two adjacent cache lines; a key lives within
 * a window of 4 groups that starts at its home group and wraps inside its region. One 16-byte
 * compare-and-swap over (state, meta) per allowed check; a denied check writes nothing shared.
 *
 * How two threads never both decide on a new key is written at the top of table/claim.c.
 *
 * Threads: table_create/destroy/owner_set/region_* by the owner, before and after the workers;
 * table/owners.h by the owner, workers running. All else by any thread at any time, without locks
 * and without waiting for a particular thread. */
#ifndef METE_TABLE_TABLE_H
#define METE_TABLE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/instant.h"
#include "core/key.h"
#include "core/limit.h"

struct table;
struct table_entry; /* opaque: only table/ looks inside */

#define TABLE_GROUP_ENTRIES 4u
#define TABLE_WINDOW_GROUPS 4u
#define TABLE_MAX_OWNERS (1u << 20)
#define TABLE_MAX_ENTRIES (1ull << 33) /* the number of a group has 32 bits */

struct mapfile;

/* What others keep in the mapping, zeroed at its making: table_section(). */
enum table_section {
    TABLE_SECTION_REPEATS, /* engine/repeat.h */
    TABLE_SECTION_REPLICA, /* what replication has not told: replica/replicator.h */
    TABLE_SECTIONS,
};

struct table_options {
    uint64_t entries;         /* rounded up to whole groups; at least one window (16) */
    uint32_t owner_rows;      /* rows reserved for (tenant, rule) pairs, 1..TABLE_MAX_OWNERS */
    uint64_t index_secret[2]; /* random; names the placement of keys for the life of the mapping */
    uint64_t boot_id;         /* random, not 0; names the life of the mapping */
    uint64_t time_base_ns;    /* CLOCK_BOOTTIME that instant.now_ns counts from */
    bool huge_pages;          /* ask for them (madvise) */
    struct mapfile *file;     /* sys/mapfile.h; stays the caller's. NULL: anonymous memory */
    uint64_t section_bytes[TABLE_SECTIONS]; /* 0: none */
};

/* Reserves and prefaults the whole mapping; of a file all that it held is gone. Results: 0, -EINVAL
 * (a number out of its range), -ENOMEM, -ENOSPC (the file's mount is too small), or what the system
 * said of the file. What goes on instead of beginning anew is table/resume.h. */
int table_create(const struct table_options *options, struct table **ret_table);
void table_destroy(struct table *table);

uint64_t table_boot_id(const struct table *table);
uint64_t table_time_base_ns(const struct table *table);
size_t table_size_bytes(const struct table *table); /* of the mapping, less its sections */
uint64_t table_entry_count(const struct table *table);
bool table_has_huge_pages(const struct table *table); /* asked for and granted by the kernel */
/* Aligned to a page; NULL if it has no bytes. */
void *table_section(const struct table *table, enum table_section section);
size_t table_section_size(const struct table *table, enum table_section section);

/* A sign of life, now and then (every tenth of a second or so): what the next life needs of the
 * time of this one. One thread. */
void table_note_alive(struct table *table, const struct instant *now);

/* The wall time that workers must not fall behind, at CLOCK_BOOTTIME boot_ns; 0: none is known. */
uint64_t table_wall_floor_ns(const struct table *table, uint64_t boot_ns);

/* A run of whole groups in which some owner's keys probe and evict. */
struct table_region {
    uint32_t first_group;
    uint32_t group_count;
};

/* Cuts a region of at least `entries` (and one window) off the end of the shared rest; rows that
 * share it are mended. Results: 0, -ENOSPC (the rest would fall below one window, or there are more
 * regions than owner rows). Only before the first check; a region stays for the table's life. */
int table_region_reserve(struct table *table, uint64_t entries, struct table_region *ret_region);
struct table_region table_region_shared(const struct table *table);

/* What the table remembers of an owner, a (tenant, rule, override) triple. */
struct table_owner {
    uint32_t tenant_id;
    uint32_t rule_id;  /* 0: the tenant's inline limits */
    uint64_t override; /* 0: the rule itself */
    struct limit limit;
    struct table_region region;
};

/* For who numbers the rows itself, before the first check. Results: 0, -EINVAL (row or region out
 * of range). Who changes owners while others check uses table/owners.h. */
int table_owner_set(struct table *table, uint32_t row, const struct table_owner *owner);
uint32_t table_owner_rows(const struct table *table);
/* What stands in a row now; its ids change only while nobody may have its number in hand. */
struct table_owner table_owner_at(const struct table *table, uint32_t row);

/* Where a key would stand. Computing it and asking for its cache lines is a call of its own, so
 * that a batch overlaps its misses: table_probe() for all, then the rest for each. */
struct table_probe {
    struct key key;
    struct table_region region;
    uint32_t owner;      /* row */
    uint32_t home_group; /* absolute */
};

struct table_probe table_probe(const struct table *table, struct key key, uint32_t owner);

/* Asks for the cache lines of a probe. A core has room for some sixteen such requests (two lines
 * each) and stalls on more, so a batch asks TABLE_PREFETCH_AHEAD probes ahead of the one it is at,
 * not for all at once. */
void table_prefetch(const struct table *table, const struct table_probe *probe);
#define TABLE_PREFETCH_AHEAD 12u

/* One entry as it was seen. state is what an algorithm gets. */
struct table_ref {
    struct table_entry *entry;
    uint64_t state;
    uint64_t meta;
};

enum table_result {
    TABLE_FOUND,   /* *ret_ref is a live entry */
    TABLE_CLAIMED, /* *ret_ref is a new entry at rest (state 0), visible to others only after a swap
                    */
    TABLE_ABSENT,  /* table_find only: at rest, nothing known */
    TABLE_FULL,    /* no entry in the window may be taken */
};

enum table_on_full {
    TABLE_EVICT,  /* forget the entry with the least debt in the window */
    TABLE_REFUSE, /* take only empty entries and those back at rest */
};

/* For a peek, a refund, a reset: FOUND or ABSENT; writes nothing. */
enum table_result table_find(struct table *table, const struct table_probe *probe,
                             struct table_ref *ret_ref);

/* What an entry whose place was taken had pending (table/shared.h). */
struct table_spilled {
    struct key key;
    uint32_t owner;
    int32_t units;   /* less those that were granted and not spent */
    uint64_t window; /* core/share.h */
};

typedef void table_spill_fn(void *context, const struct table_spilled *spilled);

/* How a claim takes places. */
struct table_taker {
    enum table_on_full on_full;
    table_spill_fn *on_spill; /* NULL: pending of what is evicted is lost */
    void *context;
};

/* For a charge: FOUND, CLAIMED or FULL. After CLAIMED call table_swap() or table_withdraw(). */
enum table_result table_find_or_claim_by(struct table *table, const struct table_probe *probe,
                                         const struct table_taker *taker, const struct instant *now,
                                         struct table_ref *ret_ref);

/* The same where nothing is ever pending. */
static inline enum table_result table_find_or_claim(struct table *table,
                                                    const struct table_probe *probe,
                                                    enum table_on_full on_full,
                                                    const struct instant *now,
                                                    struct table_ref *ret_ref)
{
    const struct table_taker taker = {.on_full = on_full};

    return table_find_or_claim_by(table, probe, &taker, now, ret_ref);
}

/* Puts state in place of the one in ref; state 0 frees the entry. False when somebody was faster:
 * the caller finds again and decides again. The only write of an allowed check. */
bool table_swap(struct table *table, const struct table_ref *ref, uint64_t state);

/* Gives a CLAIMED entry back undecided (the check was denied: nothing to remember). */
void table_withdraw(struct table *table, const struct table_ref *ref);

/* Upkeep. Looks at up to `groups` groups from *cursor on, frees entries that are back at rest and
 * overflow marks that are no longer needed, and moves the cursor, wrapping at the end. Returns the
 * number of entries freed. Several threads may sweep at once, each with a cursor of its own. */
uint32_t table_sweep(struct table *table, uint32_t *cursor, uint32_t groups,
                     const struct instant *now);

/* Counts by looking, not by counters; for stats, approximate while others write. */
struct table_census {
    uint64_t live;
    uint64_t busy;
    uint64_t overflow_marks;
};
void table_take_census(struct table *table, struct table_census *ret_census);

/* Live entries of each owner, added to ret_live[row] (table_owner_rows() of them), as approximate.
 */
void table_count_owners(struct table *table, uint64_t *ret_live);

/* Evictions of entries that still owed something, since the start. */
uint64_t table_eviction_count(const struct table *table);

#endif
