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

#include "race/race.h"
#include "table/table.h"

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
#define MODES (sizeof modes / sizeof *modes)

struct race {
    const struct mode *mode;
    struct table *table;
    struct limit limit;
    struct race_rounds rounds;
    uint64_t seed;
    struct instant now;             /* the round's; written while all wait */
    uint32_t (*admitted)[MAX_KEYS]; /* by thread */
};

struct racer {
    struct race *race;
    unsigned self;
    uint64_t random;
    uint32_t cursor;
};

/* Keys of a round are new ones; the old come back never. */
static struct key key_of(const struct race *race, unsigned number)
{
    uint64_t state = race->seed ^ (race->rounds.round << 20 | number);

    return (struct key){.low = random_next(&state), .high = random_next(&state)};
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

static void play_round(void *argument)
{
    struct racer *racer = argument;
    struct race *race = racer->race;
    const struct mode *mode = race->mode;
    uint32_t *admitted = race->admitted[racer->self];

    for (unsigned i = 0; i < mode->random_checks; i++) {
        uint64_t random = random_next(&racer->random);
        unsigned number = (unsigned)((random >> 32) % (random & 1 ? mode->keys : 8));
        uint32_t cost = random >> 1 & 7 ? 1 + (uint32_t)(random >> 8) % 2 : mode->burst + 1;

        if (number < mode->keys && check(race, number, cost))
            admitted[number] += cost;
        if ((random >> 4 & 63) == 0)
            table_sweep(race->table, &racer->cursor, 4, &race->now);
    }
    if (random_next(&racer->random) % 4 == 0)
        table_sweep(race->table, &racer->cursor, 4, &race->now);
    for (unsigned number = 0; number < mode->keys; number++) {
        while (check(race, number, 1))
            admitted[number]++;
    }
}

/* While all others wait: was every key admitted its burst? */
static void judge_round(void *racers)
{
    struct race *race = ((struct racer *)racers)->race;
    struct race_rounds *rounds = &race->rounds;
    struct table_census census;

    for (unsigned number = 0; number < race->mode->keys; number++) {
        uint32_t admitted = 0;

        for (unsigned i = 0; i < rounds->threads; i++)
            admitted += race->admitted[i][number];
        if (admitted != race->mode->burst && !rounds->failed) {
            printf("race_table: seed %" PRIu64 ", %s, round %" PRIu64 ": %u admitted of %u\n",
                   race->seed, race->mode->name, rounds->round, admitted, race->mode->burst);
            rounds->failed = true;
        }
    }
    table_take_census(race->table, &census);
    if (census.busy && !rounds->failed) {
        printf("race_table: seed %" PRIu64 ", %s, round %" PRIu64 ": %" PRIu64 " left busy\n",
               race->seed, race->mode->name, rounds->round, census.busy);
        rounds->failed = true;
    }
    memset(race->admitted, 0, rounds->threads * sizeof *race->admitted);
    race->now.now_ns += HOUR_NS;
}

static void *racer_run(void *argument)
{
    struct racer *racer = argument;

    race_play(&racer->race->rounds, racer, racer->self == 0, play_round, judge_round);
    return NULL;
}

static bool run_mode(const struct mode *mode, const struct race_options *asked)
{
    struct race race = {
        .mode = mode,
        .rounds = race_rounds_of(asked, MODES),
        .seed = asked->seed,
        .now = {.now_ns = 1000 * HOUR_NS},
    };
    uint64_t seed = asked->seed;
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, 1, 1000000000, mode->burst};
    struct table_options options = {
        .entries = mode->entries,
        .owner_rows = 1,
        .index_secret = {random_next(&seed), random_next(&seed)},
        .boot_id = 1,
    };
    struct racer racers[RACE_MOST_THREADS];
    struct race_threads threads;

    race.admitted = calloc(asked->threads, sizeof *race.admitted);
    if (!race.admitted || table_create(&options, &race.table) || limit_compile(&spec, &race.limit))
        abort();
    struct table_owner owner = {.limit = race.limit, .region = table_region_shared(race.table)};

    if (table_owner_set(race.table, 0, &owner))
        abort();
    for (unsigned i = 0; i < asked->threads; i++)
        racers[i] = (struct racer){.race = &race, .self = i, .random = seed + i};
    race_start(&threads, asked->threads, racers, sizeof *racers, racer_run);
    race_join(&threads);
    if (!race.rounds.failed)
        printf("race_table: %u threads, %-28s %9" PRIu64 " rounds, every key its burst\n",
               asked->threads, mode->name, race.rounds.round);
    table_destroy(race.table);
    free(race.admitted);
    return !race.rounds.failed;
}

int main(int argc, char **argv)
{
    struct race_options options = {
        .threads = 4, .fewest = 1, .most = RACE_MOST_THREADS, .seconds = 3};
    bool good = true;

    if (!race_options_read(&options, argc, argv))
        return 2;
    for (unsigned i = 0; i < MODES; i++)
        good = run_mode(&modes[i], &options) && good;
    return good ? 0 : 1;
}
