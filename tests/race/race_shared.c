/* Threads that charge shared keys, take each other's places, refund and reset, while one drains and
 * adopts, on the real engine: every unit is told once.
 *
 *   race_shared [THREADS] [SECONDS] [SEED]      3 3 1
 *
 * Per key, admitted less given back = drained + told apart + pending, once all have stopped. The
 * table is far too small for the keys, so entries change hands all the time. */
#include <inttypes.h>

#include "config/config.h"
#include "engine/shared.h"
#include "race/race.h"
#include "replica/shared_state.h"
#include "table/shared.h"

#define MAX_THREADS 16u
#define KEYS 60u
#define HOT_KEYS 4u
#define ENTRIES 32u
#define CELLS (1u << 16)
#define BATCH 8u

static const char text[] = "tenants: [{name: a, rules: [{name: r, algorithm: token_bucket, rate: "
                           "100000/s, burst: 50}]}]\n";

struct race;

struct racer {
    struct race *race;
    struct engine engine;
    struct engine_shared shared;
    struct ring ring;
    struct demand demand;
    _Atomic uint64_t demands[64];
    struct counters counters;
    struct rule_counters *rule_counters;
    int64_t admitted[KEYS]; /* less given back */
    uint64_t random;
};

struct race {
    struct config *config;
    struct table *table;
    struct shared_state state;
    uint32_t row;
    unsigned threads;
    _Atomic bool stop;
    int64_t told[KEYS];
    uint64_t drains, amounts;
    uint64_t base_ns;
    struct racer racers[MAX_THREADS];
};

static struct key key_of(uint64_t number)
{
    return (struct key){.low = number * 0x9E3779B97F4A7C15ull, .high = number};
}

static void charge_batch(struct racer *racer)
{
    struct race *race = racer->race;
    struct check checks[BATCH];
    struct answer answers[BATCH];
    struct instant now = {.now_ns = clock_boot_ns() - race->base_ns + 1000000000};
    uint64_t numbers[BATCH];

    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t dice = random_next(&racer->random);
        enum operation operation = OPERATION_CHECK;

        if (dice % 32 == 0)
            operation = dice % 64 ? OPERATION_REFUND : OPERATION_AT_MOST;
        else if (dice % 256 == 1)
            operation = OPERATION_RESET;
        numbers[i] = (dice >> 32) % (dice >> 16 & 1 ? HOT_KEYS : KEYS);
        checks[i] = (struct check){
            .tenant = &race->config->tenants[0],
            .key = key_of(numbers[i]),
            .rule_id = race->config->tenants[0].rules[0].id,
            .cost = 1 + (uint32_t)(dice >> 20) % 3,
            .operation = (uint8_t)operation,
        };
    }
    engine_check_batch(&racer->engine, checks, BATCH, &now, answers);
    for (unsigned i = 0; i < BATCH; i++) {
        if (checks[i].operation == OPERATION_REFUND)
            racer->admitted[numbers[i]] -= checks[i].cost;
        else
            racer->admitted[numbers[i]] += answers[i].granted;
    }
}

static void *racer_run(void *argument)
{
    struct racer *racer = argument;
    uint32_t cursor = 0;

    while (!atomic_load(&racer->race->stop)) {
        charge_batch(racer);
        if (random_next(&racer->random) % 16 == 0) {
            struct instant now = {.now_ns = clock_boot_ns() - racer->race->base_ns + 1000000000};
            table_sweep(racer->race->table, &cursor, 2, &now);
        }
    }
    return NULL;
}

static void drain_entry(struct race *race, uint64_t index)
{
    struct table_drained drained;

    if (table_drain(race->table, index, &drained))
        race->told[drained.key.high] += drained.units;
    race->drains++;
}

static bool pop_all(struct race *race)
{
    struct ring_event event;
    bool has_any = false;

    for (unsigned i = 0; i < race->threads; i++) {
        uint32_t cursor = 0, units;
        uint64_t index;

        while (ring_pop(&race->racers[i].ring, &event)) {
            has_any = true;
            if (event.kind == RING_DIRTY) {
                drain_entry(race, event.index);
            } else if (event.kind == RING_AMOUNT) {
                race->told[event.key.high] += event.units;
                race->amounts++;
            }
        }
        while (demand_drain(&race->racers[i].demand, &cursor, &index, &units))
            if (index >= ENTRIES)
                abort();
    }
    return has_any;
}

/* Views of all kinds, as the replicator puts them in. */
static void adopt(struct race *race, uint64_t *random)
{
    uint64_t dice = random_next(random);
    struct table_probe probe = table_probe(race->table, key_of(dice % KEYS), race->row);
    struct table_ref ref;

    while (table_find(race->table, &probe, &ref) == TABLE_FOUND) {
        uint64_t now_ns = clock_boot_ns() - race->base_ns + 1000000000;

        if (table_adopt(race->table, &ref, gcra_ticks(now_ns + (dice >> 40) % 500000),
                        (uint8_t)(dice >> 8) % 32))
            return;
    }
}

static void replicate(struct race *race, uint64_t end_ns, uint64_t seed)
{
    while (clock_boot_ns() < end_ns) {
        if (!pop_all(race))
            sched_yield();
        adopt(race, &seed);
        if (random_next(&seed) % 64 == 0)
            atomic_store(&race->state.first_share, (uint8_t)(seed >> 8) % 32);
    }
    atomic_store(&race->stop, true);
}

static int judge(struct race *race, uint64_t seed)
{
    uint64_t cursor = 0, indices[ENTRIES], lost = 0;
    uint64_t missing = 0;
    int64_t admitted = 0;

    while (pop_all(race))
        ;
    uint32_t count = table_sweep_pending(race->table, &cursor, ENTRIES / TABLE_GROUP_ENTRIES, false,
                                         indices, ENTRIES);

    for (uint32_t i = 0; i < count; i++)
        drain_entry(race, indices[i]);
    for (unsigned i = 0; i < race->threads; i++)
        lost += counter_read(&race->racers[i].counters.cell[COUNTER_REPLICA_LOST]);
    for (unsigned key = 0; key < KEYS; key++) {
        int64_t sum = 0;

        for (unsigned i = 0; i < race->threads; i++)
            sum += race->racers[i].admitted[key];
        missing += (uint64_t)llabs(sum - race->told[key]);
        if (missing > lost) {
            printf("race_shared: seed %" PRIu64 ", key %u: %" PRId64 " admitted, %" PRId64
                   " told\n",
                   seed, key, sum, race->told[key]);
            return 1;
        }
        admitted += sum;
    }
    printf("race_shared: %u threads, %" PRId64 " units, %" PRIu64 " drains, %" PRIu64
           " amounts, %" PRIu64 " without room: each told once\n",
           race->threads, admitted, race->drains, race->amounts, lost);
    return race->drains == 0 || race->amounts == 0;
}

static void make(struct race *race, uint64_t seed)
{
    char error[256];

    race->config = config_parse("test", text, sizeof text - 1, error, sizeof error);
    if (!race->config)
        abort();
    race->config->tenants[0].rules[0].limit.sync = SYNC_SHARED;
    struct table_options options = {.entries = ENTRIES,
                                    .owner_rows = race->config->index_count,
                                    .index_secret = {random_next(&seed), random_next(&seed)},
                                    .boot_id = 1};

    if (table_create(&options, &race->table) || engine_bind_owners(race->table, race->config))
        abort();
    race->row = race->config->tenants[0].rules[0].index;
    race->base_ns = clock_boot_ns();
    shared_state_init(&race->state);
    for (unsigned i = 0; i < race->threads; i++) {
        struct racer *racer = &race->racers[i];

        racer->race = race;
        racer->random = seed + i;
        ring_init(&racer->ring, calloc(CELLS, sizeof(struct ring_cell)), CELLS);
        demand_init(&racer->demand, racer->demands, 64);
        engine_init(&racer->engine, race->config, race->table, i, race->threads);
        racer->engine.counters = &racer->counters;
        racer->engine.rule_counters = racer->rule_counters =
            calloc(race->config->index_count, sizeof *racer->rule_counters);
        racer->shared = (struct engine_shared){
            .ring = &racer->ring, .demand = &racer->demand, .state = &race->state};
        engine_share(&racer->engine, &racer->shared);
    }
}

int main(int argc, char **argv)
{
    static struct race race;
    struct race_options options = {.threads = 3, .fewest = 1, .most = MAX_THREADS, .seconds = 3};
    struct race_threads threads;

    if (!race_options_read(&options, argc, argv))
        return 2;
    race.threads = options.threads;
    make(&race, options.seed);
    race_start(&threads, race.threads, race.racers, sizeof *race.racers, racer_run);
    replicate(&race, clock_boot_ns() + (uint64_t)(options.seconds * 1e9), options.seed);
    race_join(&threads);
    int result = judge(&race, options.seed);

    for (unsigned i = 0; i < race.threads; i++) {
        free(race.racers[i].ring.cells);
        free(race.racers[i].rule_counters);
    }
    table_destroy(race.table);
    config_destroy(race.config);
    return result;
}
