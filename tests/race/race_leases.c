/* Threads against each other on leases, through the real engine: in no moment is more in flight
 * than the limit, no lease that somebody holds is lost, and in the end every slot is free.
 *
 *   race_leases [THREADS] [SECONDS | ROUNDSr] [SEED]      4 2 1
 *
 * The clock stands within a round and is moved on between two, by a third of a lease. A holder
 * counts what it was granted in a word of the key, before which it was free and after which it is
 * free again, so that the word is never above the true number. Some leases are forgotten by their
 * holder, as by one that crashed: they count until they expire, which is between two rounds. On
 * keys of their own all threads use the same few lease ids, so that acquire, renew and release of
 * one lease meet; there only the table's own count is judged. */
#include <inttypes.h>

#include "engine/lease.h"
#include "race/race.h"
#include "table/lease.h"

#define KEYS 6u /* of holders; as many more have ids that all share */
#define HELD 64u
#define LIMIT 5u
#define SECOND_NS 1000000000ull
#define LEASE_NS (3 * SECOND_NS)
#define OPERATIONS 300u

struct holding {
    uint64_t lease_id;
    uint64_t expires_ns;
    uint32_t slots; /* 0: none */
    uint32_t key;
    bool is_lost; /* nobody will release it */
};

struct race {
    struct table *table;
    struct limit limit;
    struct race_rounds rounds;
    struct instant now;       /* the round's; written while all wait */
    uint32_t in_flight[KEYS]; /* as the holders know it */
};

struct racer {
    struct race *race;
    unsigned self;
    uint64_t random;
    struct engine engine;
    struct counters counters;
    struct holding held[HELD];
    uint64_t granted, denied;
};

static void fail(struct race *race, const char *what)
{
    if (!__atomic_exchange_n(&race->rounds.failed, true, __ATOMIC_SEQ_CST))
        printf("race_leases: round %" PRIu64 ": %s\n", race->rounds.round, what);
}

static struct answer ask(struct racer *racer, enum operation operation, uint32_t key,
                         uint64_t lease_id, uint32_t cost)
{
    struct race *race = racer->race;
    struct check check = {
        .operation = (uint8_t)operation,
        .lease_id = lease_id,
        .cost = cost,
        .limit = &race->limit,
        .probe = table_probe(race->table, (struct key){.low = key + 1, .high = 99}, 0),
    };
    struct answer answer;

    lease_decide(&racer->engine, &check, &race->now, &answer);
    return answer;
}

static void acquire(struct racer *racer, struct holding *holding)
{
    struct race *race = racer->race;
    uint32_t key = (uint32_t)random_next(&racer->random) % KEYS;
    uint32_t slots = 1 + (random_next(&racer->random) % 4 == 0);
    uint64_t lease_id = random_next(&racer->random);
    struct answer answer = ask(racer, OPERATION_ACQUIRE, key, lease_id, slots);

    if (answer.status != METE_STATUS_OK) {
        fail(race, "there is room for all, and it was not found");
    } else if (answer.flags & METE_VERDICT_ALLOW) {
        racer->granted++;
        *holding = (struct holding){
            .lease_id = lease_id,
            .expires_ns = race->now.now_ns + LEASE_NS,
            .slots = slots,
            .key = key,
        };
        if (__atomic_add_fetch(&race->in_flight[key], slots, __ATOMIC_SEQ_CST) > LIMIT)
            fail(race, "more in flight than the limit");
    } else {
        racer->denied++;
    }
}

static void release(struct racer *racer, struct holding *holding)
{
    struct race *race = racer->race;

    __atomic_sub_fetch(&race->in_flight[holding->key], holding->slots, __ATOMIC_SEQ_CST);
    if (ask(racer, OPERATION_RELEASE, holding->key, holding->lease_id, 0).status != METE_STATUS_OK)
        fail(race, "a lease that is held was not released");
    holding->slots = 0;
}

static void renew(struct racer *racer, struct holding *holding)
{
    if (ask(racer, OPERATION_RENEW, holding->key, holding->lease_id, 0).status != METE_STATUS_OK)
        fail(racer->race, "a lease that is held was not renewed");
    holding->expires_ns = racer->race->now.now_ns + LEASE_NS;
}

static void operate(struct racer *racer)
{
    struct holding *holding = &racer->held[random_next(&racer->random) % HELD];
    uint64_t luck = random_next(&racer->random) % 16;

    if (!holding->slots)
        acquire(racer, holding);
    else if (holding->is_lost)
        return;
    else if (luck < 8)
        release(racer, holding);
    else if (luck < 12)
        renew(racer, holding);
    else
        holding->is_lost = luck == 15;
}

/* On keys where all use the same ids. */
static void operate_shared(struct racer *racer)
{
    uint64_t random = random_next(&racer->random);
    enum operation operation = OPERATION_ACQUIRE + random % 3;

    ask(racer, operation, KEYS + (uint32_t)(random >> 8) % KEYS, random >> 32 & 7,
        1 + (uint32_t)(random >> 16) % 2);
}

static void play_round(void *argument)
{
    struct racer *racer = argument;

    for (unsigned i = 0; i < OPERATIONS; i++) {
        operate(racer);
        operate_shared(racer);
        if (random_next(&racer->random) % 32 == 0) /* all of it by all: the worst */
            table_sweep_leases(racer->race->table, 0, table_lease_piece_count(racer->race->table),
                               racer->race->now.now_ns);
    }
}

/* While all others wait: the next round's clock, and who has expired by it. */
static void judge_round(void *argument)
{
    struct racer *racers = argument;
    struct race *race = racers->race;
    struct table_ref ref;

    race->now.now_ns += LEASE_NS / 3;
    for (uint32_t key = 0; key < 2 * KEYS; key++) {
        struct table_probe probe =
            table_probe(race->table, (struct key){.low = key + 1, .high = 99}, 0);

        if (table_find(race->table, &probe, &ref) == TABLE_FOUND && table_count_of(&ref) > LIMIT)
            fail(race, "the table counts more than the limit");
    }
    memset(race->in_flight, 0, sizeof race->in_flight);
    for (unsigned t = 0; t < race->rounds.threads; t++) {
        for (unsigned i = 0; i < HELD; i++) {
            struct holding *holding = &racers[t].held[i];

            if (race->now.now_ns >= holding->expires_ns)
                holding->slots = 0;
            race->in_flight[holding->key] += holding->slots;
        }
    }
}

static void *racer_run(void *argument)
{
    struct racer *racer = argument;

    race_play(&racer->race->rounds, racer, racer->self == 0, play_round, judge_round);
    return NULL;
}

static void judge_end(struct race *race)
{
    struct table_census census;

    table_sweep_leases(race->table, 0, table_lease_piece_count(race->table),
                       race->now.now_ns + 2 * LEASE_NS);
    table_take_census(race->table, &census);
    if (census.live || census.busy)
        fail(race, "a slot is lost for ever");
}

static bool run(struct race *race, uint64_t seed)
{
    struct limit_spec spec = {ALGORITHM_CONCURRENCY, LIMIT, LEASE_NS, 0};
    struct table_options options = {
        .entries = 4096,
        .owner_rows = 1,
        .index_secret = {random_next(&seed), random_next(&seed)},
        .boot_id = 1,
    };
    const unsigned count = race->rounds.threads;
    struct racer *racers = aligned_alloc(128, (count * sizeof *racers + 127) / 128 * 128);
    struct race_threads threads;
    uint64_t granted = 0, denied = 0;

    if (!racers || table_create(&options, &race->table) || limit_compile(&spec, &race->limit))
        abort();
    struct table_owner owner = {.limit = race->limit, .region = table_region_shared(race->table)};

    if (table_owner_set(race->table, 0, &owner))
        abort();
    memset(racers, 0, count * sizeof *racers);
    for (unsigned i = 0; i < count; i++) {
        racers[i].race = race;
        racers[i].self = i;
        racers[i].random = seed + i;
        racers[i].engine = (struct engine){.table = race->table,
                                           .counters = &racers[i].counters,
                                           .taker = {.on_full = TABLE_REFUSE}};
    }
    race_start(&threads, count, racers, sizeof *racers, racer_run);
    race_join(&threads);
    for (unsigned i = 0; i < count; i++) {
        granted += racers[i].granted;
        denied += racers[i].denied;
    }
    judge_end(race);
    if (!race->rounds.failed)
        printf("race_leases: %u threads, %" PRIu64 " rounds, %" PRIu64 " granted, %" PRIu64
               " denied, all slots free\n",
               count, race->rounds.round, granted, denied);
    table_destroy(race->table);
    free(racers);
    return !race->rounds.failed && granted && denied;
}

int main(int argc, char **argv)
{
    struct race_options options = {
        .threads = 4, .fewest = 1, .most = RACE_MOST_THREADS, .seconds = 2};

    if (!race_options_read(&options, argc, argv))
        return 2;
    struct race race = {
        .rounds = race_rounds_of(&options, 1),
        .now = {.now_ns = 1000 * SECOND_NS},
    };

    printf("race_leases: seed %" PRIu64 "\n", options.seed);
    return run(&race, options.seed) ? 0 : 1;
}
