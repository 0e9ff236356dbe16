/* Upkeep: entries back at rest, marks no longer needed, and the census.
 *
 * A mark is cleared in steps that a claimer can stop at any time (the lemma in claim.c needs each):
 *   1  look first whether anything stands past the group; if so nothing changes, the usual case
 *   2  SET -> CLEARING
 *   3  look again: what was keyed before step 2 is seen; who keys later turns CLEARING into SET
 *   4  CLEARING -> NONE, which fails after such a turn
 * One thread at a time does so, for else a second one could begin between the turn and step 4 and
 * lend its CLEARING to the first. Nobody waits for it: who finds it taken leaves marks alone. It
 * carries the life of the process, so a dead one's is taken over, its CLEARING marks included.
 *
 * Any thread may call anything here. */
#include "table/doubts.h"
#include "table/mapping.h"
#include "table/pair.h"

static struct table_region region_of(const struct table *table, uint32_t group)
{
    uint32_t low = 0, high = table->header->region_count;

    if (group < table->regions[0].first_group + table->regions[0].group_count)
        return table->regions[0];
    while (high - low > 1) { /* the reserved ones, cut off from the end: first_group falls */
        uint32_t middle = low + (high - low) / 2;

        if (group < table->regions[middle].first_group)
            low = middle;
        else
            high = middle;
    }
    return table->regions[high];
}

/* Does this entry, as a claim or live, stand past `home`, its home group? */
static bool is_homed_at(const struct table *table, const struct table_entry *entry, uint32_t home)
{
    for (;;) {
        uint64_t meta = pair_meta(entry);

        if (!meta_is_found(meta) && !meta_is_claim(meta))
            return false;
        struct key key = {.low = pair_key_low(entry), .high = pair_key_high(entry)};

        if (!pair_still(entry, meta))
            continue;
        uint32_t owner = meta_owner(meta);

        return mapping_home(table, key, owner, table->rows[owner].owner.region) == home;
    }
}

static bool is_overflowing(struct table *table, uint32_t home)
{
    struct table_region region = region_of(table, home);

    for (uint32_t i = 1; i < TABLE_WINDOW_GROUPS; i++) {
        const struct table_entry *group = window_group(table, region, home, i);

        table_trust_group(table,
                          (uint32_t)((uint64_t)(group - table->entries) / TABLE_GROUP_ENTRIES));
        for (uint32_t j = 0; j < TABLE_GROUP_ENTRIES; j++) {
            if (is_homed_at(table, &group[j], home))
                return true;
        }
    }
    return false;
}

/* from -> to; false if the mark was not `from` any more. */
static bool mark_change(struct table_entry *first, enum entry_mark from, enum entry_mark to)
{
    for (;;) {
        struct pair pair = pair_load(first);
        struct pair next = {pair.state, meta_with_mark(pair.meta, to)};

        if (meta_mark(pair.meta) != from)
            return false;
        if (pair_cas(first, pair, next))
            return true;
    }
}

static void mark_clear(struct table *table, uint32_t group)
{
    struct table_entry *first = table->entries + (uint64_t)group * TABLE_GROUP_ENTRIES;
    enum entry_mark mark = meta_mark(pair_meta(first));

    if (mark == MARK_NONE)
        return;
    if (mark == MARK_SET) {
        if (is_overflowing(table, group) || !mark_change(first, MARK_SET, MARK_CLEARING))
            return;
    }
    pair_fence(); /* CLEARING before the look, as keyed before the claimer's look at the mark */
    mark_change(first, MARK_CLEARING, is_overflowing(table, group) ? MARK_SET : MARK_NONE);
}

/* A life that goes on: this one, or the one beside it in an upgrade. */
static bool is_alive(const struct table *table, uint64_t life)
{
    return life && (life == __atomic_load_n(&table->header->lives[0], __ATOMIC_ACQUIRE) ||
                    life == __atomic_load_n(&table->header->lives[1], __ATOMIC_ACQUIRE));
}

/* Whether this thread may clear marks now. */
static bool try_enter(struct table *table)
{
    uint64_t *life = &table->header->sweeping_life;

    METE_TABLE_POINT(life, false);
    uint64_t seen = __atomic_load_n(life, __ATOMIC_RELAXED); /* the exchange below decides */

    METE_TABLE_SEEN(seen);
    if (seen == table->life || is_alive(table, seen))
        return false;
    METE_TABLE_POINT(life, true);
    /* acquire, with the release in leave(): the marks are as the one before left them */
    bool entered = __atomic_compare_exchange_n(life, &seen, table->life, false, __ATOMIC_ACQUIRE,
                                               __ATOMIC_RELAXED);

    METE_TABLE_SEEN(entered);
    return entered;
}

static void leave(struct table *table)
{
    uint64_t *life = &table->header->sweeping_life;

    METE_TABLE_POINT(life, true);
    __atomic_store_n(life, 0, __ATOMIC_RELEASE); /* see try_enter() */
}

/* Frees an entry that is at rest with nothing pending, or that a dead process left busy. */
static bool entry_free(struct table *table, struct table_entry *entry, const struct instant *now)
{
    enum entry_kind kind = meta_kind(pair_meta(entry));

    if (kind != ENTRY_LIVE && kind != ENTRY_BUSY)
        return false;
    struct pair pair = pair_load(entry);
    bool is_free = meta_kind(pair.meta) == ENTRY_LIVE
                       ? meta_pending(pair.meta) == 0 && mapping_debt(table, pair, now) == 0
                       : mapping_is_dead(table, pair.meta);

    return is_free && pair_cas(entry, pair, (struct pair){0, meta_empty(pair.meta)});
}

uint32_t table_sweep(struct table *table, uint32_t *cursor, uint32_t groups,
                     const struct instant *now)
{
    uint32_t group_count = (uint32_t)(table->header->entry_count / TABLE_GROUP_ENTRIES);
    bool may_clear = try_enter(table);
    uint32_t freed = 0;

    for (uint32_t i = 0; i < groups; i++) {
        uint32_t group = *cursor < group_count ? *cursor : 0;
        struct table_entry *entries = table->entries + (uint64_t)group * TABLE_GROUP_ENTRIES;

        table_trust_group(table, group);
        for (uint32_t j = 0; j < TABLE_GROUP_ENTRIES; j++)
            freed += entry_free(table, &entries[j], now);
        if (may_clear)
            mark_clear(table, group);
        *cursor = group + 1 < group_count ? group + 1 : 0;
    }
    if (may_clear)
        leave(table);
    return freed;
}

void table_take_census(struct table *table, struct table_census *ret_census)
{
    struct table_census census = {0};

    for (uint64_t i = 0; i < table->header->entry_count; i++) {
        uint64_t meta = pair_meta(&table->entries[i]);

        census.live += meta_is_found(meta);
        census.busy += meta_kind(meta) == ENTRY_BUSY;
        census.overflow_marks += meta_mark(meta) != MARK_NONE;
    }
    *ret_census = census;
}

void table_count_owners(struct table *table, uint64_t *ret_live)
{
    for (uint64_t i = 0; i < table->header->entry_count; i++) {
        uint64_t meta = pair_meta(&table->entries[i]);

        if (meta_is_found(meta) && meta_owner(meta) < table->header->owner_rows)
            ret_live[meta_owner(meta)]++;
    }
}
