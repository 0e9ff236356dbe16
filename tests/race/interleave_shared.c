/* Every interleaving of the table's real code where entries have something pending: charges,
 * drains, adoptions, resets, sweeps and evictions by 2 or 3 threads, as interleave_table.c does it.
 *
 * In every state no key has two live entries. At the end units are conserved: admitted = drained +
 * handed out + pending; what is pending stands in a dirty entry; and a view that was adopted holds
 * every unit once. */
#include <stdbool.h>
#include <stdint.h>

#include "race/interleave.h"

#define METE_TABLE_POINT(address, is_write) interleave_point(address, is_write)
#define METE_TABLE_SEEN(word) interleave_seen((uint64_t)(word))
#include "table/mapping.c"
#include "table/table.c"
#include "table/claim.c"
#include "table/sweep.c"
#include "table/shared.c"

#define ENTRIES 16u
#define HOUR_NS (3600ull * 1000000000ull)
#define VIEW_NS (HOUR_NS / 6) /* what an adopted view owes of others */

static const struct instant now = {.now_ns = 1000 * HOUR_NS, .wall_ns = 1000 * HOUR_NS};
static struct table *table;
static struct limit limit;        /* 1 per hour, burst 8 */
static struct key subject;        /* at home in group 0 */
static struct key other;          /* as well */
static struct key spare[ENTRIES]; /* as well */
static int64_t admitted, drained, spilled;
static bool is_adopted;
static uint32_t cursors[INTERLEAVE_THREADS];

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
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, 1, HOUR_NS, 8};

    if (table_create(&options, &table) || limit_compile(&spec, &limit))
        abort();
    struct table_owner owner = {.limit = limit, .region = table_region_shared(table)};

    if (table_owner_set(table, 0, &owner))
        abort();
    subject = key_at_home(0, 0);
    other = key_at_home(0, 1);
    for (unsigned i = 0; i < ENTRIES; i++)
        spare[i] = key_at_home(0, 2 + i);
}

static void on_spill(void *context, const struct table_spilled *out)
{
    (void)context;
    if (out->key.low == subject.low && out->key.high == subject.high)
        spilled += out->units;
}

/* One check as the engine does it, a unit of it. */
static void charge_key(struct key key, enum table_on_full on_full)
{
    const struct table_taker taker = {.on_full = on_full, .on_spill = on_spill};
    struct table_probe probe = table_probe(table, key, 0);

    interleave_begin(false);
    for (;;) {
        struct table_ref ref;
        enum table_result found = table_find_or_claim_by(table, &probe, &taker, &now, &ref);

        if (found == TABLE_FULL)
            return;
        bool is_clean = found == TABLE_CLAIMED || !table_is_dirty(&ref);
        struct step step = share_charge(&limit, ref.state, 1, 0, gcra_ticks(now.now_ns));
        struct table_charge charge = {.state = step.state, .units = 1, .marks_dirty = is_clean};

        if (step.verdict.decision == DECISION_DENY)
            abort();
        if (table_swap_charged(table, &ref, &charge)) {
            admitted += key.low == subject.low;
            return;
        }
        interleave_begin(true);
    }
}

static void charge(unsigned self)
{
    (void)self;
    charge_key(subject, TABLE_REFUSE);
}

static void drain_all(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct table_drained out;

        interleave_begin(false);
        if (table_drain(table, i, &out) && out.key.low == subject.low)
            drained += out.units;
    }
}

/* As the replicator: what it drained it knows, what is pending it sees. */
static void adopt(void)
{
    struct table_probe probe = table_probe(table, subject, 0);
    struct table_ref ref;

    interleave_begin(false);
    while (table_find(table, &probe, &ref) == TABLE_FOUND) {
        uint64_t units = (uint64_t)(drained + table_pending(&ref));
        uint64_t state = gcra_ticks(now.now_ns + VIEW_NS + units * HOUR_NS);

        if (table_adopt(table, &ref, state, 0)) {
            is_adopted = true;
            return;
        }
        interleave_begin(true);
    }
}

static void forget(void)
{
    struct table_probe probe = table_probe(table, subject, 0);
    struct table_ref ref;

    interleave_begin(false);
    if (table_find(table, &probe, &ref) == TABLE_FOUND && table_swap_forget(table, &ref))
        spilled += table_pending(&ref);
}

/* Puts an entry where a scenario wants it. */
static void place(unsigned index, struct key key, uint64_t owes_ns, int32_t pending)
{
    struct table_entry *entry = &table->entries[index];
    uint64_t meta = meta_live(meta_busy(entry->meta, 0, table->life));

    meta = meta_with_pending(meta, pending) | (pending ? META_DIRTY : 0);
    *entry =
        (struct table_entry){.key = key, .state = gcra_ticks(now.now_ns + owes_ns), .meta = meta};
}

static void setup_empty(void)
{
    memset(table->entries, 0, ENTRIES * sizeof *table->entries);
    memset(cursors, 0, sizeof cursors);
    admitted = drained = spilled = 0;
    is_adopted = false;
    table->header->sweeping_life = 0;
    table->header->eviction_count = 0;
}

static void setup_live(void)
{
    setup_empty();
    place(0, subject, HOUR_NS, 1);
    admitted = 1;
}

static void setup_at_rest(void)
{
    setup_empty();
    place(0, subject, 0, 3);
    admitted = 3;
}

static void setup_full(void)
{
    setup_empty();
    for (unsigned i = 0; i < ENTRIES; i++)
        place(i, spare[i], 7 * HOUR_NS, 0);
    place(2, subject, HOUR_NS, 1);
    table->entries[0].meta = meta_with_mark(table->entries[0].meta, MARK_SET);
    admitted = 1;
}

static uint64_t memory(void)
{
    const uint64_t *words = (const uint64_t *)table->entries;
    uint64_t hash = interleave_mix(table->header->sweeping_life, is_adopted);

    hash = interleave_mix(hash, (uint64_t)admitted);
    hash = interleave_mix(hash, (uint64_t)(drained << 8 ^ spilled));
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
    unsigned count;

    live_entry(subject, &count);
    if (count > 1)
        return "two live entries of one key";
    live_entry(other, &count);
    return count > 1 ? "two live entries of another key" : NULL;
}

static const char *outcome_conserved(void)
{
    unsigned count;
    const struct table_entry *entry = live_entry(subject, &count);
    int32_t pending = entry ? meta_pending(entry->meta) : 0;

    if (admitted != drained + spilled + pending)
        return admitted > drained + spilled + pending ? "units are lost" : "units are told twice";
    if (pending != 0 && !(entry->meta & META_DIRTY))
        return "pending, and nobody will drain it";
    for (unsigned i = 0; i < ENTRIES; i++)
        if (meta_kind(table->entries[i].meta) == ENTRY_BUSY)
            return "an entry is left busy";
    return NULL;
}

/* No place was freed or taken: every unit is in the state, once. */
static const char *outcome_in_state(void)
{
    unsigned count;
    const struct table_entry *entry = live_entry(subject, &count);
    uint64_t owed_ns = (uint64_t)admitted * HOUR_NS + (is_adopted ? VIEW_NS : 0);

    if (!entry)
        return "the key is gone";
    if (entry->state != gcra_ticks(now.now_ns + owed_ns))
        return "the state has not every unit once";
    return outcome_conserved();
}

static void charge_or_drain(unsigned self)
{
    if (self == 0) {
        charge(self);
        charge(self);
    } else {
        drain_all(TABLE_GROUP_ENTRIES);
    }
}

static void charge_or_drain_and_adopt(unsigned self)
{
    if (self > 0) {
        charge(self);
        return;
    }
    drain_all(1);
    adopt();
    drain_all(1);
}

static void charge_or_forget(unsigned self)
{
    if (self == 0)
        charge(self);
    else
        forget();
}

static void drain_or_forget_or_charge(unsigned self)
{
    if (self == 0)
        drain_all(2);
    else if (self == 1)
        forget();
    else
        charge(self);
}

static void drain_or_sweep_or_charge(unsigned self)
{
    if (self == 0) {
        drain_all(1);
    } else if (self == 1) {
        interleave_begin(false);
        table_sweep(table, &cursors[self], 1, &now);
    } else {
        charge(self);
    }
}

static void charge_or_evict(unsigned self)
{
    charge_key(self == 0 ? subject : other, TABLE_EVICT);
}

static void charge_or_evict_or_drain(unsigned self)
{
    if (self < 2)
        charge_or_evict(self);
    else
        drain_all(TABLE_GROUP_ENTRIES);
}

static const struct interleave_scenario scenarios[] = {
    SCENARIO("new key against a drain", 2, 0, setup_empty, charge_or_drain, outcome_in_state),
    SCENARIO("charges against a drain", 2, 0, setup_live, charge_or_drain, outcome_in_state),
    SCENARIO("drain and adopt against a charge", 2, 0, setup_live, charge_or_drain_and_adopt,
             outcome_in_state),
    SCENARIO("drain and adopt against two charges", 3, 4, setup_live, charge_or_drain_and_adopt,
             outcome_in_state),
    SCENARIO("charge against reset", 2, 0, setup_live, charge_or_forget, outcome_conserved),
    SCENARIO("charge against reset against drain", 3, 3, setup_live, drain_or_forget_or_charge,
             outcome_conserved),
    SCENARIO("at rest: drain, sweep, charge", 3, 3, setup_at_rest, drain_or_sweep_or_charge,
             outcome_conserved),
    SCENARIO("eviction against a charge of the victim", 2, 0, setup_full, charge_or_evict,
             outcome_conserved),
    SCENARIO("eviction against a charge and a drain", 3, 3, setup_full, charge_or_evict_or_drain,
             outcome_conserved),
};

int main(int argc, char **argv)
{
    table_make();
    int status = interleave_all(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);

    table_destroy(table);
    return status;
}
