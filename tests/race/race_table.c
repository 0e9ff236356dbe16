/* Threads against each other on the real table: whatever happens, what is admitted per key is the
 * limit's burst, not one unit more and, once everybody has asked until denied, not one less.
 *
 *   race_table [THREADS] [SECONDS | ROUNDSr] [SEED]      4 3 1
 *
 * The clock stands still within a round, so nothing comes back. Between rounds it jumps past every
 * debt: all entries of the last round are at rest and are taken over, swept and forgotten while the
 * next one runs. A round starts all threads at once on the same new keys. Every result is checked
 * by one thread while the others wait. No eviction: there is room for all keys. */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "table/table.h"

#define MAX_THREADS 64u
#define MAX_KEYS 1500u
#define HOUR_NS (3600ull * 1000000000ull)

struct mode {
    const char *name;
    uint64_t entries;
    unsigned keys;
    uint32_t burst;
    unsigned random_checks; /* of each thread, before it asks for every key until denied */
};

static const struct mode modes[] = {
    {"1 new key in one window", 16, 1, 1, 0},
    {"4 new keys in one window", 16, 4, 2, 0},
    {"10 new keys in two windows", 32, 10, 3, 8},
    /* 1.5 keys per window on average: more than 16 come together once in 1e13 */
    {"many keys, few of them hot", 16384, MAX_KEYS, 20, 4000},
};

struct race {
    const struct mode *mode;
    struct table *table;
    struct limit limit;
    unsigned threads;
    uint64_t end_at_ns; /* 0: count rounds */
    uint64_t max_rounds;
    uint64_t seed;
    struct instant now; /* the round's; written while all wait */
    uint64_t round;
    bool stop;
    bool failed;
    uint32_t (*admitted)[MAX_KEYS]; /* by thread */
    unsigned arrived;               /* the barrier: spins, to let all go at the same moment */
    unsigned phase;
};

struct racer {
    struct race *race;
    unsigned self;
    uint64_t random;
    uint32_t cursor;
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
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
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

/* Keys of a round are new ones; the old come back never. */
static struct key key_of(const struct race *race, unsigned number)
{
    uint64_t state = race->seed ^ (race->round << 20 | number);

    return (struct key){.low = next_random(&state), .high = next_random(&state)};
}

/* One check as the engine does it; true if it was allowed. */
static bool check(struct race *race, unsigned number, uint32_t cost)
{
    struct table_probe probe = table_probe(race->table, key_of(race, number), 0);

    for (;;) {
        struct table_ref ref;
        enum table_result result =
            table_find_or_claim(race->table, &probe, TABLE_REFUSE, &race->now, &ref);

        if (result == TABLE_FULL)
            return false;
        struct step step =
            limit_apply(&race->limit, ref.state, OPERATION_CHECK, cost, race->now.now_ns);

        if (step.state == ref.state) {
            if (result == TABLE_CLAIMED)
                table_withdraw(race->table, &ref);
            return false;
        }
        if (table_swap(race->table, &ref, step.state))
            return true;
    }
}

static void play_round(struct racer *racer)
{
    struct race *race = racer->race;
    const struct mode *mode = race->mode;
    uint32_t *admitted = race->admitted[racer->self];

    for (unsigned i = 0; i < mode->random_checks; i++) {
        uint64_t random = next_random(&racer->random);
        unsigned number = (unsigned)((random >> 32) % (random & 1 ? mode->keys : 8));
        uint32_t cost = random >> 1 & 7 ? 1 + (uint32_t)(random >> 8) % 2 : mode->burst + 1;

        if (number < mode->keys && check(race, number, cost))
            admitted[number] += cost;
        if ((random >> 4 & 63) == 0)
            table_sweep(race->table, &racer->cursor, 4, &race->now);
    }
    if (next_random(&racer->random) % 4 == 0)
        table_sweep(race->table, &racer->cursor, 4, &race->now);
    for (unsigned number = 0; number < mode->keys; number++) {
        while (check(race, number, 1))
            admitted[number]++;
    }
}

/* While all others wait: was every key admitted its burst? */
static void judge_round(struct race *race)
{
    struct table_census census;

    for (unsigned number = 0; number < race->mode->keys; number++) {
        uint32_t admitted = 0;

        for (unsigned i = 0; i < race->threads; i++)
            admitted += race->admitted[i][number];
        if (admitted != race->mode->burst && !race->failed) {
            printf("race_table: seed %" PRIu64 ", %s, round %" PRIu64 ": %u admitted of %u\n",
                   race->seed, race->mode->name, race->round, admitted, race->mode->burst);
            race->failed = true;
        }
    }
    table_take_census(race->table, &census);
    if (census.busy && !race->failed) {
        printf("race_table: seed %" PRIu64 ", %s, round %" PRIu64 ": %" PRIu64 " left busy\n",
               race->seed, race->mode->name, race->round, census.busy);
        race->failed = true;
    }
    memset(race->admitted, 0, race->threads * sizeof *race->admitted);
    race->round++;
    race->now.now_ns += HOUR_NS;
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
            judge_round(race);
        barrier_wait(race);
    }
    return NULL;
}

static bool run_mode(const struct mode *mode, unsigned threads, double seconds, uint64_t rounds,
                     uint64_t seed)
{
    struct race race = {
        .mode = mode,
        .threads = threads,
        .end_at_ns = rounds ? 0 : clock_ns() + (uint64_t)(seconds * 1e9),
        .max_rounds = rounds,
        .seed = seed,
        .now = {.now_ns = 1000 * HOUR_NS},
    };
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, 1, 1000000000, mode->burst};
    struct table_options options = {
        .entries = mode->entries,
        .owner_rows = 1,
        .index_secret = {next_random(&seed), next_random(&seed)},
        .boot_id = 1,
    };
    struct racer racers[MAX_THREADS];

    race.admitted = calloc(threads, sizeof *race.admitted);
    if (!race.admitted || table_create(&options, &race.table) || limit_compile(&spec, &race.limit))
        abort();
    struct table_owner owner = {.limit = race.limit, .region = table_region_shared(race.table)};

    if (table_owner_set(race.table, 0, &owner))
        abort();
    for (unsigned i = 0; i < threads; i++) {
        racers[i] = (struct racer){.race = &race, .self = i, .random = seed + i};
        if (pthread_create(&racers[i].thread, NULL, racer_run, &racers[i]))
            abort();
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(racers[i].thread, NULL);
    if (!race.failed)
        printf("race_table: %u threads, %-28s %9" PRIu64 " rounds, every key its burst\n", threads,
               mode->name, race.round);
    table_destroy(race.table);
    free(race.admitted);
    return !race.failed;
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
    const char *length = argc > 2 ? argv[2] : "3";
    const char *seed_text = argc > 3 ? argv[3] : getenv("METE_SEED");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
    unsigned count = sizeof modes / sizeof *modes;
    bool counts = strchr(length, 'r') != NULL;
    bool good = true;

    if (threads < 1 || threads > MAX_THREADS || strtod(length, NULL) <= 0) {
        fprintf(stderr, "usage: race_table [THREADS] [SECONDS | ROUNDSr] [SEED]\n");
        return 2;
    }
    for (unsigned i = 0; i < count; i++)
        good = run_mode(&modes[i], threads, strtod(length, NULL) / count,
                        counts ? strtoull(length, NULL, 10) : 0, seed) &&
               good;
    return good ? 0 : 1;
}
