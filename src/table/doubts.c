/* See doubts.h. */
#include "table/doubts.h"

#include <errno.h>
#include <stdlib.h>

#include "core/calendar.h"
#include "core/gcra.h"
#include "table/lease_words.h"
#include "table/pair.h"
#include "table/resume.h"
#include "table/resume_leases.h"

#define SECOND_NS 1000000000ull
#define LONGEST_PERIOD_S (367ull * 86400) /* of a calendar, with a change of its zone */
#define SLIDING_COUNT_BITS 24u

struct doubts {
    struct instant now;  /* of the restart: what is doubted is not younger */
    uint64_t silence_ns; /* before it */
    uint64_t group_count;
    uint64_t next_group; /* of upkeep */
    uint64_t *trusted;   /* a bit per group */
    struct lease_sums leases;
    struct table_resumed found;
};

/* What becomes of an entry. */
enum belief {
    KEPT,
    DAMAGED,
    UNFINISHED,
    OUTLIVED,
};

bool doubts_is_placed(const struct table *table, const struct table_entry *entry, uint64_t meta)
{
    const uint32_t row = meta_owner(meta);

    if (row >= table->header->owner_rows ||
        __atomic_load_n(&table->rows[row].use, __ATOMIC_RELAXED) == ROW_FREE)
        return false;
    const struct table_region region = table->rows[row].owner.region;
    const uint32_t group = (uint32_t)((uint64_t)(entry - table->entries) / TABLE_GROUP_ENTRIES);
    const struct key key = {.low = pair_key_low(entry), .high = pair_key_high(entry)};
    const uint32_t home = mapping_home(table, key, row, region);

    if (group < region.first_group || group - region.first_group >= region.group_count)
        return false;
    return (group >= home ? group - home : group + region.group_count - home) < TABLE_WINDOW_GROUPS;
}

static bool is_bucket_plausible(const struct table_row *row, uint64_t state, uint64_t now_ns)
{
    uint64_t most = __atomic_load_n(&row->most_tolerance, __ATOMIC_RELAXED);

    if (row->owner.limit.keeps_tat) /* inline limits: each tells its own tau */
        most = LIMIT_MAX_NS * LIMIT_TICKS_PER_NS;
    return state <= saturate_add(gcra_ticks(now_ns), most);
}

static bool is_state_plausible(const struct table_row *row, uint64_t state,
                               const struct instant *now)
{
    const struct limit *limit = &row->owner.limit;
    const uint64_t most = __atomic_load_n(&row->most_burst, __ATOMIC_RELAXED);
    const uint64_t index = limit->interval ? now->wall_ns / limit->interval : 0;
    const uint64_t mask = ((uint64_t)1 << SLIDING_COUNT_BITS) - 1;
    const uint64_t end_s = state >> 32;

    switch ((enum algorithm)limit->algorithm) {
    case ALGORITHM_TOKEN_BUCKET:
    case ALGORITHM_LEAKY_METER:
    case ALGORITHM_LEAKY_QUEUE:
        return is_bucket_plausible(row, state, now->now_ns);
    case ALGORITHM_FIXED_WINDOW:
        return (uint32_t)state <= most && (int32_t)((uint32_t)(state >> 32) - (uint32_t)index) <= 1;
    case ALGORITHM_SLIDING_WINDOW:
        return (state & mask) <= most && (state >> SLIDING_COUNT_BITS & mask) <= most &&
               (int16_t)((uint16_t)(state >> 2 * SLIDING_COUNT_BITS) - (uint16_t)index) <= 1;
    case ALGORITHM_CALENDAR:
        return (uint32_t)state <= most &&
               (end_s == UINT32_MAX || end_s <= now->wall_ns / SECOND_NS + LONGEST_PERIOD_S);
    default:
        return false;
    }
}

/* An index of so long ago looks like one of now; whatever it counted is over. */
static bool has_outlived(const struct doubts *doubts, const struct limit *limit)
{
    return limit_is_wall(limit) && doubts->silence_ns >= limit_wrap_ns(limit) / 2;
}

static enum belief judge_live(const struct table *table, const struct doubts *doubts,
                              struct pair pair)
{
    const struct table_row *row = &table->rows[meta_owner(pair.meta)];

    if (meta_is_grant(pair.meta))
        return row->owner.limit.sync == SYNC_EXACT ? KEPT : DAMAGED;
    if (has_outlived(doubts, &row->owner.limit))
        return OUTLIVED;
    return is_state_plausible(row, pair.state, &doubts->now) ? KEPT : DAMAGED;
}

/* A count is what its leases hold; it gets another generation even if it was (doubts.h). */
static enum belief judge_held(const struct table *table, const struct doubts *doubts,
                              const struct table_entry *entry, struct pair pair,
                              struct pair *ret_next)
{
    const uint64_t position = (uint64_t)(entry - table->entries);
    const struct table_row *row = &table->rows[meta_owner(pair.meta)];

    if (row->owner.limit.algorithm != ALGORITHM_CONCURRENCY)
        return DAMAGED;
    if (lease_is(pair))
        return lease_is_noted(table, (uint32_t)(position / TABLE_GROUP_ENTRIES)) ? KEPT
                                                                                 : UNFINISHED;
    const uint64_t slots = lease_sums_of(&doubts->leases, position);

    *ret_next =
        (struct pair){.state = slots,
                      .meta = meta_next(pair.meta) | ENTRY_LEASE | (pair.meta & META_MASK(OWNER))};
    if (pair.state < slots || pair.state > LIMIT_SLOTS_MAX)
        return slots ? KEPT : DAMAGED;
    return slots ? KEPT : UNFINISHED;
}

static enum belief judge(const struct table *table, const struct doubts *doubts,
                         const struct table_entry *entry, struct pair pair, struct pair *ret_next)
{
    *ret_next = (struct pair){pair.state, pair.meta & ~META_DIRTY}; /* of a ring that is gone */
    if (meta_kind(pair.meta) == ENTRY_BUSY)
        return UNFINISHED;
    if (!doubts_is_placed(table, entry, pair.meta))
        return DAMAGED;
    return meta_kind(pair.meta) == ENTRY_LEASE ? judge_held(table, doubts, entry, pair, ret_next)
                                               : judge_live(table, doubts, pair);
}

static bool is_trusted(const struct doubts *doubts, uint32_t group)
{
    /* acquire, with the release in trust(): what the group says now is of this life */
    return __atomic_load_n(&doubts->trusted[group / 64], __ATOMIC_ACQUIRE) >> group % 64 & 1;
}

/* What stands past its home is found only if home says so. */
static void mark_home(const struct table *table, struct table_entry *entry, uint32_t row)
{
    const struct key key = {.low = pair_key_low(entry), .high = pair_key_high(entry)};
    const uint32_t home = mapping_home(table, key, row, table->rows[row].owner.region);
    struct table_entry *first = home_group(table, home);

    if (entry >= first && entry < first + TABLE_GROUP_ENTRIES)
        return;
    for (;;) {
        struct pair pair = pair_load(first);

        if (meta_mark(pair.meta) == MARK_SET || meta_mark(pair.meta) == MARK_CLEARING ||
            pair_cas(first, pair, (struct pair){pair.state, meta_with_mark(pair.meta, MARK_SET)}))
            return;
    }
}

/* Judges one entry and puts it right. */
static enum belief settle(struct table *table, struct doubts *doubts, uint32_t group,
                          struct table_entry *entry)
{
    for (;;) { /* again only if the mark of its group moved, or another thread settled it */
        const struct pair pair = pair_load(entry);
        struct pair next;

        if (meta_kind(pair.meta) == ENTRY_EMPTY || is_trusted(doubts, group))
            return UNFINISHED;
        const enum belief belief = judge(table, doubts, entry, pair, &next);

        if (belief != KEPT)
            next = (struct pair){0, meta_empty(pair.meta)};
        else
            mark_home(table, entry, meta_owner(pair.meta));
        if (belief == KEPT && next.meta == pair.meta && next.state == pair.state)
            return KEPT;
        if (!pair_cas(entry, pair, next))
            continue;
        uint64_t *found[] = {[DAMAGED] = &doubts->found.damaged,
                             [UNFINISHED] = &doubts->found.unfinished,
                             [OUTLIVED] = &doubts->found.outlived};
        if (belief != KEPT) /* relaxed: figures for people */
            __atomic_fetch_add(found[belief], 1, __ATOMIC_RELAXED);
        return belief;
    }
}

void doubts_trust_group(struct table *table, uint32_t group)
{
    /* acquire: as table_has_doubts(), which was asked before; it may have become NULL since */
    struct doubts *doubts = __atomic_load_n(&table->doubts, __ATOMIC_ACQUIRE);
    uint64_t kept = 0;

    if (!doubts || is_trusted(doubts, group))
        return;
    for (uint32_t i = 0; i < TABLE_GROUP_ENTRIES; i++)
        kept += settle(table, doubts, group, &home_group(table, group)[i]) == KEPT;
    /* release, with the acquire in is_trusted() */
    const uint64_t bit = (uint64_t)1 << group % 64;

    if (!(__atomic_fetch_or(&doubts->trusted[group / 64], bit, __ATOMIC_RELEASE) & bit))
        __atomic_fetch_add(&doubts->found.taken, kept, __ATOMIC_RELAXED);
}

void doubts_trust_window(struct table *table, const struct table_probe *probe)
{
    for (uint32_t i = 0; i < TABLE_WINDOW_GROUPS; i++) {
        const struct table_entry *group = window_group(table, probe->region, probe->home_group, i);

        doubts_trust_group(table,
                           (uint32_t)((uint64_t)(group - table->entries) / TABLE_GROUP_ENTRIES));
    }
}

bool table_settle_doubts(struct table *table, uint32_t groups)
{
    struct doubts *doubts = table->doubts; /* only this thread changes it */

    if (!doubts)
        return false;
    for (; groups && doubts->next_group < doubts->group_count; groups--)
        doubts_trust_group(table, (uint32_t)doubts->next_group++);
    if (doubts->next_group < doubts->group_count)
        return true;
    doubts->found.is_settled = true;
    /* release, with the acquire in table_has_doubts(). The memory stays: others may be in it */
    __atomic_store_n(&table->doubts, NULL, __ATOMIC_RELEASE);
    return false;
}

int doubts_create(struct table *table, const struct instant *now, uint64_t silence_ns)
{
    struct doubts *doubts = calloc(1, sizeof(*doubts));
    uint64_t damaged = 0;

    if (!doubts)
        return -ENOMEM;
    doubts->now = *now;
    doubts->silence_ns = silence_ns;
    doubts->group_count = mapping_group_count(table);
    doubts->trusted = calloc((doubts->group_count + 63) / 64, sizeof(*doubts->trusted));
    int error = doubts->trusted ? lease_sums_create(table, now->now_ns, &doubts->leases, &damaged)
                                : -ENOMEM;

    if (error) {
        doubts_destroy(doubts);
        return error;
    }
    doubts->found = (struct table_resumed){
        .is_resumed = true, .life = table->life, .silence_ns = silence_ns, .damaged = damaged};
    table->doubts = table->kept_doubts = doubts;
    return 0;
}

void doubts_destroy(struct doubts *doubts)
{
    if (!doubts)
        return;
    lease_sums_destroy(&doubts->leases);
    free(doubts->trusted);
    free(doubts);
}

void table_look_resumed(const struct table *table, struct table_resumed *ret_resumed)
{
    const struct doubts *doubts = table->kept_doubts;

    if (!doubts) {
        *ret_resumed = (struct table_resumed){
            .is_joined = table->is_joined, .is_settled = true, .life = table->life};
        return;
    }
    *ret_resumed = doubts->found;
    ret_resumed->is_settled = !table_has_doubts(table);
}
