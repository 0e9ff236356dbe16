/* The world of the searches through the table's interleavings: a table of one window, what threads
 * do to it, what must hold in every state and at the end.
 *
 * The sources of src/table are compiled into the program that includes this, with the scheduler of
 * interleave.h at every shared access. In every state: at most one live entry per key, and each
 * past its home group under a mark. At the end: admitted = what the limit allows, no charge lost,
 * nothing left busy, every live entry is found.
 *
 * One thread; state is file-wide because coroutines have no argument to carry it. */
#ifndef METE_TESTS_RACE_INTERLEAVE_TABLE_H
#define METE_TESTS_RACE_INTERLEAVE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "race/interleave.h"

#define METE_TABLE_POINT(address, is_write) interleave_point(address, is_write)
#define METE_TABLE_SEEN(word) interleave_seen((uint64_t)(word))
#include "table/mapping.c"
#include "table/table.c"
#include "table/claim.c"
#include "table/sweep.c"

#define ENTRIES 16u
#define HOUR_NS (3600ull * 1000000000ull)
#define DEAD_LIFE 77u

#pragma GCC diagnostic ignored "-Wunused-function" /* each program takes what it needs */

static const struct instant now = {.now_ns = 1000 * HOUR_NS, .wall_ns = 1000 * HOUR_NS};
static struct table *table;
static struct limit limit;        /* 1 per hour, burst 2 */
static struct key subject;        /* the key that scenarios are about; at home in group 0 */
static struct key other;          /* a second one, at home in group 0 */
static struct key spare[ENTRIES]; /* more keys at home in group 0 */
static struct key distant;        /* at home in group 1 */
static uint32_t admitted[2];      /* units of subject, of other */
static uint32_t cursors[INTERLEAVE_THREADS];
static unsigned full_count;

/* The key with this number that is at home in the group. */
static struct key key_at_home(uint32_t group, unsigned number)
{
    struct key key = {.low = 1000, .high = 5};

    for (;; key.low++) {
        if (table_probe(table, key, 0).home_group == group && number-- == 0)
            return key;
    }
}

static void table_make(void)
{
    struct table_options options = {.entries = ENTRIES,
                                    .owner_rows = 1,
                                    .index_secret = {0x1234567887654321, 0x55aa55aa12344321},
                                    .boot_id = 1};
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, 1, HOUR_NS, 2};

    if (table_create(&options, &table) || limit_compile(&spec, &limit))
        abort();
    struct table_owner owner = {.limit = limit, .region = table_region_shared(table)};

    if (table_owner_set(table, 0, &owner))
        abort();
    subject = key_at_home(0, 0);
    other = key_at_home(0, 1);
    for (unsigned i = 0; i < ENTRIES; i++)
        spare[i] = key_at_home(0, 2 + i);
    distant = key_at_home(1, 0);
}

/* What a caller does with one check. */
static bool charge(struct key key, uint32_t cost, enum table_on_full on_full)
{
    struct table_probe probe = table_probe(table, key, 0);

    interleave_begin(false);
    for (;;) {
        struct table_ref ref;

        enum table_result result = table_find_or_claim(table, &probe, on_full, &now, &ref);

        if (result == TABLE_FULL) {
            full_count++;
            return false;
        }
        struct step step = limit_apply(&limit, ref.state, OPERATION_CHECK, cost, now.now_ns);

        if (step.state == ref.state) {
            if (result == TABLE_CLAIMED)
                table_withdraw(table, &ref);
            return false;
        }
        if (table_swap(table, &ref, step.state))
            return true;
        interleave_begin(true);
    }
}

static void charge_subject(void)
{
    admitted[0] += charge(subject, 1, TABLE_REFUSE);
}

static void charge_twice(unsigned self)
{
    (void)self;
    charge_subject();
    charge_subject();
}

static void sweep(unsigned self)
{
    interleave_begin(false);
    table_sweep(table, &cursors[self], ENTRIES / TABLE_GROUP_ENTRIES, &now);
}

static void sweep_home(unsigned self)
{
    interleave_begin(false);
    table_sweep(table, &cursors[self], 1, &now);
}

/* The state of a subject that owes this long. */
static uint64_t owing(uint64_t owed_ns)
{
    return (now.now_ns + owed_ns) * LIMIT_TICKS_PER_NS;
}

/* Puts an entry where a scenario wants it. */
static void place(unsigned index, struct key key, uint64_t owes_ns)
{
    struct table_entry *entry = &table->entries[index];
    uint64_t meta = meta_live(meta_busy(entry->meta, 0, table->life));

    *entry = (struct table_entry){.key = key, .state = owing(owes_ns), .meta = meta};
}

static void mark(enum entry_mark value)
{
    table->entries[0].meta = meta_with_mark(table->entries[0].meta, value);
}

static void setup_empty(void)
{
    memset(table->entries, 0, ENTRIES * sizeof *table->entries);
    memset(cursors, 0, sizeof cursors);
    memset(admitted, 0, sizeof admitted);
    full_count = 0;
    table->header->sweeping_life = 0;
    table->header->eviction_count = 0;
}

/* The home group is full of debtors. */
static void setup_home_full(void)
{
    setup_empty();
    for (unsigned i = 0; i < TABLE_GROUP_ENTRIES; i++)
        place(i, spare[i], HOUR_NS);
}

static void setup_stale_mark(void)
{
    setup_home_full();
    mark(MARK_SET);
}

static void setup_at_rest(void)
{
    setup_home_full();
    place(0, spare[0], 0);
    place(2, spare[2], 0);
}

/* Its home group is full, and the subject stands past it. */
static void setup_past_home(void)
{
    setup_stale_mark();
    place(5, subject, HOUR_NS);
}

static void setup_live(void)
{
    setup_empty();
    place(0, subject, HOUR_NS);
}

static void setup_dead_claim(void)
{
    setup_empty();
    place(0, spare[0], HOUR_NS);
    table->entries[1] =
        (struct table_entry){.key = subject, .meta = meta_busy(0, 0, DEAD_LIFE) | META_KEYED};
    table->entries[2].meta = meta_busy(0, 0, DEAD_LIFE);
}

/* One place is left in the window. */
static void setup_last_place(void)
{
    setup_stale_mark();
    for (unsigned i = TABLE_GROUP_ENTRIES; i < ENTRIES - 1; i++)
        place(i, spare[i], HOUR_NS);
}

/* No place is left; the subject owes least. */
static void setup_full(void)
{
    setup_last_place();
    place(ENTRIES - 1, spare[ENTRIES - 1], HOUR_NS);
    place(2, subject, HOUR_NS / 2);
}

static uint64_t memory(void)
{
    const uint64_t *words = (const uint64_t *)table->entries;
    uint64_t hash = interleave_mix(table->header->sweeping_life, full_count);

    hash = interleave_mix(hash, admitted[0] | (uint64_t)admitted[1] << 32);

    for (unsigned i = 0; i < ENTRIES * sizeof *table->entries / sizeof *words; i++)
        hash = interleave_mix(hash, words[i]);
    return hash;
}

static const struct table_entry *live_entry(struct key key, unsigned *ret_count)
{
    const struct table_entry *found = NULL;

    *ret_count = 0;
    for (unsigned i = 0; i < ENTRIES; i++) {
        const struct table_entry *entry = &table->entries[i];

        if (meta_is_found(entry->meta) && entry->key.low == key.low) {
            found = entry;
            ++*ret_count;
        }
    }
    return found;
}

static const char *invariant(void)
{
    const struct key keys[] = {subject, other, distant};
    unsigned count;

    for (unsigned i = 0; i < 3; i++) {
        live_entry(keys[i], &count);
        if (count > 1)
            return "two live entries of one key";
    }
    const struct table_entry *entry = live_entry(subject, &count);

    if (entry && entry >= table->entries + TABLE_GROUP_ENTRIES &&
        meta_mark(table->entries[0].meta) == MARK_NONE)
        return "a live entry past home without a mark";
    return NULL;
}

static const char *outcome_sound(void)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        const struct table_entry *entry = &table->entries[i];
        struct table_ref ref;

        if (meta_kind(entry->meta) == ENTRY_BUSY && !meta_is_dead(entry->meta, table->life))
            return "an entry is left busy";
        struct table_probe probe = table_probe(table, entry->key, 0);

        if (meta_is_found(entry->meta) &&
            (table_find(table, &probe, &ref) != TABLE_FOUND || ref.entry != entry))
            return "a live entry is not found";
    }
    if (meta_mark(table->entries[0].meta) == MARK_CLEARING)
        return "a mark is left half cleared";
    return table->header->sweeping_life ? "a sweep never left" : NULL;
}

/* `units` of subject were admitted in all, and all of them are in its state. */
static const char *outcome_charged(uint32_t units, uint64_t owed_before_ns)
{
    unsigned count;
    const struct table_entry *entry = live_entry(subject, &count);

    if (admitted[0] != units)
        return admitted[0] > units ? "more admitted than the limit" : "too few admitted";
    if (!entry)
        return "a charge is lost: no entry";
    if (entry->state != owing(owed_before_ns + units * HOUR_NS))
        return "a charge is lost: wrong state";
    return outcome_sound();
}

static const char *outcome_two(void)
{
    return outcome_charged(2, 0);
}

static const char *outcome_one(void)
{
    return outcome_charged(1, 0);
}

static const char *outcome_one_more(void)
{
    return outcome_charged(1, HOUR_NS);
}

static const char *outcome_last_place(void)
{
    if (admitted[0] + admitted[1] != 1 || full_count != 1)
        return "the last place was not given once";
    return outcome_sound();
}

static const char *outcome_evicted(void)
{
    unsigned count;
    const struct table_entry *entry = live_entry(other, &count);

    if (admitted[0] != 1 || admitted[1] != 1)
        return "too few admitted";
    if (entry && entry->state != owing(HOUR_NS))
        return "a charge is lost: wrong state";
    entry = live_entry(subject, &count); /* charged before it was evicted, after, or in its place */
    if (entry && entry->state != owing(HOUR_NS) && entry->state != owing(HOUR_NS / 2 + HOUR_NS))
        return "a state that nobody made";
    if (!entry && !live_entry(other, &count))
        return "both are gone";
    return outcome_sound();
}

/* Each unit admitted is in the state, or was given back by the reset. */
static const char *outcome_reset(void)
{
    unsigned count;
    const struct table_entry *entry = live_entry(subject, &count);
    uint64_t in_state = entry ? (entry->state - owing(0)) / (HOUR_NS * LIMIT_TICKS_PER_NS) : 0;

    if (admitted[0] == 0 || in_state > admitted[0] + 1)
        return "a charge is wrong";
    return outcome_sound();
}

static void charge_or_withdraw(unsigned self)
{
    if (self == 0)
        charge_subject();
    else
        charge(subject, 3, TABLE_REFUSE); /* above the burst: denied, withdrawn */
}

static void charge_or_sweep(unsigned self)
{
    if (self == 0)
        charge_twice(self);
    else
        sweep(self);
}

static void charge_or_sweep_and_charge(unsigned self)
{
    if (self > 0)
        sweep_home(self);
    charge_subject();
}

static void charge_or_two_sweeps(unsigned self)
{
    if (self == 0)
        charge_subject();
    else
        sweep_home(self);
}

/* The second thread makes room in the home group first: its claim may stand before the other's. */
static void charge_or_free_and_charge(unsigned self)
{
    if (self == 1) {
        struct table_probe probe = table_probe(table, spare[1], 0);
        struct table_ref ref;

        interleave_begin(false);
        if (table_find(table, &probe, &ref) == TABLE_FOUND)
            table_swap(table, &ref, 0);
    }
    charge_subject();
}

/* The subject has room for one, whatever another key does in the entry that it had. */
static void charge_or_reuse(unsigned self)
{
    struct table_probe probe = table_probe(table, subject, 0);
    struct table_ref ref;

    if (self == 0) {
        charge_subject();
        return;
    }
    interleave_begin(false);
    if (table_find(table, &probe, &ref) == TABLE_FOUND)
        table_swap(table, &ref, 0);
    charge(other, 2, TABLE_REFUSE);
}

static const char *outcome_admitted(void)
{
    return admitted[0] == 1 ? outcome_sound() : "denied by another key's state";
}

static void charge_once(unsigned self)
{
    (void)self;
    charge_subject();
}

static void charge_either(unsigned self)
{
    admitted[self] += charge(self ? other : subject, 1, TABLE_REFUSE);
}

static void charge_either_evict(unsigned self)
{
    admitted[self] += charge(self ? other : subject, 1, TABLE_EVICT);
}

static void charge_or_reset(unsigned self)
{
    struct table_probe probe = table_probe(table, subject, 0);
    struct table_ref ref;

    charge_subject();
    interleave_begin(false);
    if (self == 1 && table_find(table, &probe, &ref) == TABLE_FOUND)
        table_swap(table, &ref, 0);
}

/* These, or those whose name begins with argv[1], on the table. */
static int explore_all(const struct interleave_scenario *scenarios, size_t count, int argc,
                       char **argv)
{
    table_make();
    int status = interleave_all(scenarios, count, argc, argv);

    table_destroy(table);
    return status;
}

#endif
