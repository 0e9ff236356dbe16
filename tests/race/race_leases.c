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
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/lease.h"
#include "table/lease.h"

#define MAX_THREADS 64u
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
    unsigned threads;
    uint64_t end_at_ns; /* 0: count rounds */
    uint64_t max_rounds;
    uint64_t round;
    struct instant now; /* the round's; written while all wait */
    bool stop;
    bool failed;
    uint32_t in_flight[KEYS]; /* as the holders know it */
    unsigned arrived, phase;  /* the barrier */
};

struct racer {
    struct race *race;
    unsigned self;
    uint64_t random;
    struct engine engine;
    struct counters counters;
    struct holding held[HELD];
    uint64_t granted, denied;
    pthread_t thread;
};

static uint64_t next_random(uint64_t *state) /* splitmix64, Sebastiano Vigna */
{
    uint64_t x = *state += 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

static void barrier_wait(struct race *race)
{
    unsigned phase = __atomic_load_n(&race->phase, __ATOMIC_ACQUIRE);

    if (__atomic_add_fetch(&race->arrived, 1, __ATOMIC_ACQ_REL) == race->threads) {
        __atomic_store_n(&race->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&race->phase, phase + 1, __ATOMIC_RELEASE);
        return;
    }
    for (unsigned spins = 0; __atomic_load_n(&race->phase, __ATOMIC_ACQUIRE) == phase; spins++) {
        if (spins > 200)
            sched_yield(); /* more threads than cores */
    }
}

static void fail(struct race *race, const char *what)
{
    if (!__atomic_exchange_n(&race->failed, true, __ATOMIC_SEQ_CST))
        printf("race_leases: round %" PRIu64 ": %s\n", race->round, what);
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
    uint32_t key = (uint32_t)next_random(&racer->random) % KEYS;
    uint32_t slots = 1 + (next_random(&racer->random) % 4 == 0);
    uint64_t lease_id = next_random(&racer->random);
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
    struct holding *holding = &racer->held[next_random(&racer->random) % HELD];
    uint64_t luck = next_random(&racer->random) % 16;

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
    uint64_t random = next_random(&racer->random);
    enum operation operation = OPERATION_ACQUIRE + random % 3;

    ask(racer, operation, KEYS + (uint32_t)(random >> 8) % KEYS, random >> 32 & 7,
        1 + (uint32_t)(random >> 16) % 2);
}

static void play_round(struct racer *racer)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        operate(racer);
        operate_shared(racer);
        if (next_random(&racer->random) % 32 == 0) /* all of it by all: the worst */
            table_sweep_leases(racer->race->table, 0, table_lease_piece_count(racer->race->table),
                               racer->race->now.now_ns);
    }
}

/* While all others wait: the next round's clock, and who has expired by it. */
static void judge_round(struct race *race, struct racer *racers)
{
    struct table_ref ref;

    race->now.now_ns += LEASE_NS / 3;
    for (uint32_t key = 0; key < 2 * KEYS; key++) {
        struct table_probe probe =
            table_probe(race->table, (struct key){.low = key + 1, .high = 99}, 0);

        if (table_find(race->table, &probe, &ref) == TABLE_FOUND && table_count_of(&ref) > LIMIT)
            fail(race, "the table counts more than the limit");
    }
    memset(race->in_flight, 0, sizeof race->in_flight);
    for (unsigned t = 0; t < race->threads; t++) {
        for (unsigned i = 0; i < HELD; i++) {
            struct holding *holding = &racers[t].held[i];

            if (race->now.now_ns >= holding->expires_ns)
                holding->slots = 0;
            race->in_flight[holding->key] += holding->slots;
        }
    }
    race->round++;
    race->stop = race->failed || (race->end_at_ns ? clock_ns() >= race->end_at_ns
                                                  : race->round >= race->max_rounds);
}

static void *racer_run(void *argument)
{
    struct racer *racer = argument;
    struct race *race = racer->race;

    while (!race->stop) {
        barrier_wait(race);
        play_round(racer);
        barrier_wait(race);
        if (racer->self == 0)
            judge_round(race, racer);
        barrier_wait(race);
    }
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
        .index_secret = {next_random(&seed), next_random(&seed)},
        .boot_id = 1,
    };
    struct racer *racers = aligned_alloc(128, (race->threads * sizeof *racers + 127) / 128 * 128);
    uint64_t granted = 0, denied = 0;

    if (!racers || table_create(&options, &race->table) || limit_compile(&spec, &race->limit))
        abort();
    struct table_owner owner = {.limit = race->limit, .region = table_region_shared(race->table)};

    if (table_owner_set(race->table, 0, &owner))
        abort();
    memset(racers, 0, race->threads * sizeof *racers);
    for (unsigned i = 0; i < race->threads; i++) {
        racers[i].race = race;
        racers[i].self = i;
        racers[i].random = seed + i;
        racers[i].engine = (struct engine){.table = race->table,
                                           .counters = &racers[i].counters,
                                           .taker = {.on_full = TABLE_REFUSE}};
    }
    for (unsigned i = 0; i < race->threads; i++)
        if (pthread_create(&racers[i].thread, NULL, racer_run, &racers[i]))
            abort();
    for (unsigned i = 0; i < race->threads; i++) {
        pthread_join(racers[i].thread, NULL);
        granted += racers[i].granted;
        denied += racers[i].denied;
    }
    judge_end(race);
    if (!race->failed)
        printf("race_leases: %u threads, %" PRIu64 " rounds, %" PRIu64 " granted, %" PRIu64
               " denied, all slots free\n",
               race->threads, race->round, granted, denied);
    table_destroy(race->table);
    free(racers);
    return !race->failed && granted && denied;
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
    const char *length = argc > 2 ? argv[2] : "2";
    const char *seed_text = argc > 3 ? argv[3] : getenv("METE_SEED");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
    bool counts = strchr(length, 'r') != NULL;
    double seconds = strtod(length, NULL);

    if (threads < 1 || threads > MAX_THREADS || seconds <= 0) {
        fprintf(stderr, "usage: race_leases [THREADS] [SECONDS | ROUNDSr] [SEED]\n");
        return 2;
    }
    struct race race = {
        .threads = threads,
        .end_at_ns = counts ? 0 : clock_ns() + (uint64_t)(seconds * 1e9),
        .max_rounds = counts ? strtoull(length, NULL, 10) : 0,
        .now = {.now_ns = 1000 * SECOND_NS},
    };

    printf("race_leases: seed %" PRIu64 "\n", seed);
    return run(&race, seed) ? 0 : 1;
}
