/* Every interleaving of the real code of leases, engine/lease.c over table/lease.c, on a table of
 * one window.
 *
 * Each scenario is 2 or 3 threads that acquire, renew, release or sweep; every schedule is tried
 * (interleave.h). In every state: the count of the key is at most the limit and at least the sum of
 * the slots of its leases. At the end: they are equal, every lease is found and has its bit, so
 * that a sweep will come to it, nothing is left busy, and the answers fit what is there. */
#include <stdbool.h>
#include <stdint.h>

#include "race/interleave.h"

#define METE_TABLE_POINT(address, is_write) interleave_point(address, is_write)
#define METE_TABLE_SEEN(word) interleave_seen((uint64_t)(word))
#include "table/mapping.c"
#include "table/table.c"
#include "table/claim.c"
#include "table/sweep.c"
#include "table/lease.c"

#include "engine/lease.c"

#define ENTRIES 16u
#define SECOND_NS 1000000000ull
#define LEASE_NS (30 * SECOND_NS)
#define LIMIT 2u
#define IDS 3u /* of leases: numbers 0, 1, 2 */

/* What a thread was answered, by its number. */
enum said { SAID_NOTHING, SAID_YES, SAID_NO, SAID_FULL, SAID_UNKNOWN, SAID_EXPIRED };

static const struct instant now = {.now_ns = 1000 * SECOND_NS};
static const struct instant soon = {.now_ns = 1000 * SECOND_NS + 2 * SECOND_NS};
static const struct instant later = {.now_ns = 1000 * SECOND_NS + LEASE_NS + SECOND_NS};
static struct table *table;
static struct limit limit;
static struct counters counters;
static struct engine engine = {.counters = &counters, .taker = {.on_full = TABLE_REFUSE}};
static struct key subject;        /* at home in group 0, as are the leases with their ids */
static struct key spare[ENTRIES]; /* other keys at home in group 0, of another owner */
static uint64_t ids[IDS];
static enum said said[INTERLEAVE_THREADS][2];
static unsigned said_count[INTERLEAVE_THREADS];

static struct check check_of(enum operation operation, unsigned id, uint32_t cost)
{
    return (struct check){
        .operation = (uint8_t)operation,
        .lease_id = ids[id],
        .cost = cost,
        .limit = &limit,
        .probe = table_probe(table, subject, 0),
    };
}

static enum said operate(enum operation operation, unsigned id, uint32_t cost,
                         const struct instant *at)
{
    struct check check = check_of(operation, id, cost);
    struct answer answer;

    interleave_begin(false);
    lease_decide(&engine, &check, at, &answer);
    switch (answer.status) {
    case METE_STATUS_OK:
        return answer.flags & METE_VERDICT_ALLOW ? SAID_YES : SAID_NO;
    case METE_STATUS_TABLE_FULL:
        return SAID_FULL;
    case METE_STATUS_EXPIRED_LEASE:
        return SAID_EXPIRED;
    default:
        return SAID_UNKNOWN;
    }
}

static void operate_as(unsigned self, enum operation operation, unsigned id,
                       const struct instant *at)
{
    said[self][said_count[self]++] = operate(operation, id, 1, at);
}

static void sweep(const struct instant *at)
{
    interleave_begin(false);
    table_sweep_leases(table, 0, table_lease_piece_count(table), at->now_ns);
}

static void table_make(void)
{
    struct table_options options = {.entries = ENTRIES,
                                    .owner_rows = 2,
                                    .index_secret = {0x1234567887654321, 0x55aa55aa12344321},
                                    .boot_id = 1};
    struct limit_spec specs[] = {{ALGORITHM_CONCURRENCY, LIMIT, LEASE_NS, 0},
                                 {ALGORITHM_TOKEN_BUCKET, 1, SECOND_NS, 1000000}};

    if (table_create(&options, &table))
        abort();
    for (uint32_t row = 0; row < 2; row++) {
        struct table_owner owner = {.rule_id = row + 1, .region = table_region_shared(table)};

        if (limit_compile(&specs[row], &owner.limit) || table_owner_set(table, row, &owner))
            abort();
        limit = row ? limit : owner.limit;
    }
    engine.table = table;
    subject = (struct key){.low = 1000, .high = 5};
    while (table_probe(table, subject, 0).home_group)
        subject.low++;
    struct table_probe probe = table_probe(table, subject, 0);

    for (unsigned i = 0; i < IDS; i++) {
        ids[i] = i ? ids[i - 1] + 1 : 7;
        while (table_probe_lease(table, &probe, ids[i]).home_group)
            ids[i]++;
    }
    for (unsigned i = 0; i < ENTRIES; i++) {
        spare[i] = (struct key){.low = i ? spare[i - 1].low + 1 : 1, .high = 9};
        while (table_probe(table, spare[i], 1).home_group)
            spare[i].low++;
    }
}

static void setup_empty(void)
{
    memset(table->entries, 0, ENTRIES * sizeof *table->entries);
    memset(said, 0, sizeof said);
    memset(said_count, 0, sizeof said_count);
    table->lease_bits[0] = 0;
    table->header->sweeping_life = 0;
}

/* Lease 0 is held; at `later` it has expired. */
static void setup_one(void)
{
    setup_empty();
    operate(OPERATION_ACQUIRE, 0, 1, &now);
}

static void setup_two(void)
{
    setup_one();
    operate(OPERATION_ACQUIRE, 1, 1, &now);
}

/* The sweep has left the bit of a group without a lease. */
static void setup_stale_bit(void)
{
    setup_empty();
    table->lease_bits[0] = 1;
}

/* Other keys that owe something, so that the subject's entries stand past their home. */
static void fill_with_others(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        table->entries[i] =
            (struct table_entry){.key = spare[i],
                                 .state = (now.now_ns + 1000 * SECOND_NS) * LIMIT_TICKS_PER_NS,
                                 .meta = meta_live(meta_busy(0, 1, table->life))};
    table->entries[0].meta = meta_with_mark(table->entries[0].meta, MARK_SET);
}

static void setup_home_full(void)
{
    setup_empty();
    fill_with_others(TABLE_GROUP_ENTRIES);
}

/* Two places: for the count and one lease. */
static void setup_two_places(void)
{
    setup_empty();
    fill_with_others(ENTRIES - 2);
}

static uint64_t memory(void)
{
    const uint64_t *words = (const uint64_t *)table->entries;
    uint64_t hash = interleave_mix(table->lease_bits[0], table->header->sweeping_life);

    for (unsigned i = 0; i < INTERLEAVE_THREADS; i++)
        hash = interleave_mix(hash, said[i][0] * 8u + said[i][1]);
    for (unsigned i = 0; i < ENTRIES * sizeof *table->entries / sizeof *words; i++)
        hash = interleave_mix(hash, words[i]);
    return hash;
}

struct total {
    uint64_t count, slots;
    unsigned counts, leases;
};

static struct total add_up(void)
{
    struct total total = {0};

    for (unsigned i = 0; i < ENTRIES; i++) {
        const struct table_entry *entry = &table->entries[i];
        struct pair pair = {entry->state, entry->meta};

        if (meta_kind(entry->meta) != ENTRY_LEASE)
            continue;
        total.leases += lease_is(pair);
        total.counts += !lease_is(pair);
        if (lease_is(pair))
            total.slots += lease_unpack(NULL, pair).slots;
        else
            total.count += pair.state;
    }
    return total;
}

static const char *invariant(void)
{
    struct total total = add_up();

    if (total.counts > 1)
        return "two counts of one key";
    if (total.count > LIMIT)
        return "more in flight than the limit";
    return total.count < total.slots ? "fewer in flight than leases hold" : NULL;
}

static const char *outcome_sound(void)
{
    struct total total = add_up();

    if (total.count != total.slots)
        return "a slot is lost";
    for (unsigned i = 0; i < ENTRIES; i++) {
        struct table_entry *entry = &table->entries[i];
        struct table_ref ref;

        if (meta_kind(entry->meta) == ENTRY_BUSY)
            return "an entry is left busy";
        struct table_probe probe = table_probe(table, entry->key, meta_owner(entry->meta));

        if (meta_is_found(entry->meta) &&
            (table_find(table, &probe, &ref) != TABLE_FOUND || ref.entry != entry))
            return "an entry is not found";
        if (lease_is((struct pair){entry->state, entry->meta}) &&
            !(table->lease_bits[0] >> i / TABLE_GROUP_ENTRIES & 1))
            return "no sweep will come to a lease";
    }
    return NULL;
}

/* How many of the first answers were this one. */
static unsigned answered(enum said what)
{
    unsigned count = 0;

    for (unsigned i = 0; i < INTERLEAVE_THREADS; i++)
        count += said_count[i] && said[i][0] == what;
    return count;
}

/* Every granted lease of ids of their own stands. */
static const char *outcome_granted(void)
{
    struct total total = add_up();

    if (answered(SAID_YES) != total.leases)
        return "granted are not those that stand";
    return outcome_sound();
}

static const char *outcome_two_granted(void)
{
    return answered(SAID_YES) == 2 ? outcome_granted() : "too few granted";
}

static const char *outcome_last_slot(void)
{
    if (answered(SAID_YES) != 1 || add_up().leases != 2)
        return "the last slot was not given once";
    return outcome_sound();
}

static const char *outcome_one_place(void)
{
    return answered(SAID_YES) <= 1 ? outcome_granted() : "one place was given twice";
}

/* The same id: one lease, and nobody was told that there is none while there was room. */
static const char *outcome_same_id(void)
{
    struct total total = add_up();

    if (total.leases != 1 || total.slots != 1 || answered(SAID_YES) != 2)
        return "the same id is not one lease";
    return outcome_sound();
}

static const char *outcome_ended_once(void)
{
    struct total total = add_up();

    if (total.count || total.leases)
        return "the lease still stands";
    return answered(SAID_YES) <= 1 ? outcome_sound() : "released twice";
}

/* A renewal that was granted stands, one that was not is gone. */
static const char *outcome_renewed(void)
{
    if (add_up().leases != answered(SAID_YES))
        return "renewed is not what stands";
    return outcome_sound();
}

static const char *outcome_gone(void)
{
    return add_up().count ? "slots of nobody are in flight" : outcome_sound();
}

static void acquire_own(unsigned self)
{
    operate_as(self, OPERATION_ACQUIRE, self, &now);
}

static void acquire_same(unsigned self)
{
    operate_as(self, OPERATION_ACQUIRE, 0, &now);
}

static void acquire_other(unsigned self)
{
    operate_as(self, OPERATION_ACQUIRE, self + 1, &now);
}

static void release_same(unsigned self)
{
    operate_as(self, OPERATION_RELEASE, 0, &now);
}

static void release_or_sweep(unsigned self)
{
    if (self == 0)
        operate_as(self, OPERATION_RELEASE, 0, &now);
    else
        sweep(&later);
}

/* Two workers whose clocks differ: to one it has expired, to the other not yet. Renewed, it has not
 * to either. */
static void renew_or_sweep(unsigned self)
{
    if (self == 0)
        operate_as(self, OPERATION_RENEW, 0, &soon);
    else
        sweep(&later);
}

static void renew_or_release(unsigned self)
{
    said[self][said_count[self]++] =
        operate(self ? OPERATION_RELEASE : OPERATION_RENEW, 0, 1, &now);
}

static const char *outcome_released(void)
{
    return said[1][0] != SAID_YES ? "the release was lost" : outcome_gone();
}

static void acquire_or_sweep(unsigned self)
{
    if (self == 0)
        acquire_own(self);
    else
        sweep(&now);
}

static void acquire_or_expire(unsigned self)
{
    if (self == 0)
        operate_as(self, OPERATION_ACQUIRE, 2, &later);
    else
        sweep(&later);
}

static const char *outcome_one_granted(void)
{
    return answered(SAID_YES) == 1 ? outcome_granted() : "too few granted";
}

/* The last lease goes, and its count with it, while another comes. */
static void acquire_or_release(unsigned self)
{
    if (self == 0)
        operate_as(self, OPERATION_ACQUIRE, 1, &now);
    else
        operate_as(self, OPERATION_RELEASE, 0, &now);
}

static const char *outcome_replaced(void)
{
    if (answered(SAID_YES) != 2 || add_up().leases != 1)
        return "the new lease does not stand alone";
    return outcome_sound();
}

/* There and away, twice. */
static void acquire_and_release(unsigned self)
{
    operate_as(self, OPERATION_ACQUIRE, self, &now);
    operate_as(self, OPERATION_RELEASE, self, &now);
}

static const char *outcome_there_and_away(void)
{
    if (answered(SAID_YES) != 2 || said[0][1] != SAID_YES || said[1][1] != SAID_YES)
        return "denied though there was room";
    return outcome_gone();
}

/* Expired, and acquired again under its id while the sweep ends it. */
static void acquire_again_or_sweep(unsigned self)
{
    if (self == 0)
        operate_as(self, OPERATION_ACQUIRE, 0, &later);
    else
        sweep(&later);
}

static const struct interleave_scenario scenarios[] = {
    SCENARIO("two leases", 2, 3, setup_empty, acquire_own, outcome_two_granted),
    SCENARIO("three leases for two slots", 3, 2, setup_empty, acquire_own, outcome_two_granted),
    SCENARIO("the last slot", 2, 0, setup_one, acquire_other, outcome_last_slot),
    SCENARIO("two leases past home", 2, 3, setup_home_full, acquire_own, outcome_two_granted),
    SCENARIO("room for one of two leases", 2, 3, setup_two_places, acquire_own, outcome_one_place),
    SCENARIO("the same lease", 2, 3, setup_empty, acquire_same, outcome_same_id),
    SCENARIO("two releases of one lease", 2, 0, setup_one, release_same, outcome_ended_once),
    SCENARIO("release against expiry", 2, 0, setup_one, release_or_sweep, outcome_ended_once),
    SCENARIO("renewal against expiry", 2, 0, setup_one, renew_or_sweep, outcome_renewed),
    SCENARIO("renewal against release", 2, 0, setup_one, renew_or_release, outcome_released),
    SCENARIO("new lease against a sweep of its bit", 2, 0, setup_stale_bit, acquire_or_sweep,
             outcome_one_granted),
    SCENARIO("new lease against two sweeps", 3, 3, setup_stale_bit, acquire_or_sweep,
             outcome_one_granted),
    SCENARIO("new lease against expiry of two", 2, 4, setup_two, acquire_or_expire, outcome_sound),
    SCENARIO("new lease against the last release", 2, 4, setup_one, acquire_or_release,
             outcome_replaced),
    SCENARIO("acquire and release against the same", 2, 3, setup_empty, acquire_and_release,
             outcome_there_and_away),
    SCENARIO("again under an expired id against the sweep", 2, 4, setup_one, acquire_again_or_sweep,
             outcome_one_granted),
};

int main(int argc, char **argv)
{
    table_make();
    int status = interleave_all(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);

    table_destroy(table);
    return status;
}
