/* The simulator of several nodes and one store.
 *
 *   build/sim SEED              one world, told in a line
 *   build/sim --count N [SEED]  N worlds from SEED (1) on; silent but for those that fail
 *   build/sim --wrong           every deliberate mistake; each must be seen within --count worlds
 *
 * Real are the algorithms, the table, the deltas, the batches, the adoption and the merge. Clocks,
 * network, store and what drives a node are models; shares are even. Exit 0: all holds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/calendar.h"
#include "sim.h"

static const char *const WRONG_NAMES[WRONG_COUNT] = {
    [WRONG_NOTHING] = "nothing",
    [WRONG_REPEATS] = "the store applies repeats",
    [WRONG_NUMBER] = "a new number for what is sent again",
    [WRONG_FORGETS] = "what was not answered is dropped",
    [WRONG_BASE] = "no base",
    [WRONG_CLOCK] = "the node's wall clock in the delta",
    [WRONG_WINDOW] = "late deltas in the newest window",
    [WRONG_SINCE] = "charges since are forgotten",
    [WRONG_SUM] = "old deltas are added",
    [WRONG_SHARE] = "each node spends the whole limit",
    [WRONG_COLD_START] = "rows lost with the process",
};

uint64_t sim_random(struct world *world, uint64_t bound) /* splitmix64, Sebastiano Vigna */
{
    uint64_t x = world->random += 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (x ^ x >> 31) % bound;
}

struct key sim_key(uint32_t key)
{
    return (struct key){.low = 11 * key + 5, .high = 77};
}

uint64_t sim_store_us(const struct world *world)
{
    return (uint64_t)(world->now_ns + world->store_ns) / 1000;
}

struct cell *sim_cell(struct cell cells[SLOTS], uint64_t name)
{
    struct cell *cell = &cells[name % SLOTS];

    if (!cell->is_used || cell->name != name)
        *cell = (struct cell){.is_used = true, .name = name};
    return cell;
}

static void choose_limit(struct world *world)
{
    static const enum algorithm KINDS[] = {ALGORITHM_TOKEN_BUCKET,   ALGORITHM_TOKEN_BUCKET,
                                           ALGORITHM_LEAKY_METER,    ALGORITHM_FIXED_WINDOW,
                                           ALGORITHM_SLIDING_WINDOW, ALGORITHM_CALENDAR};
    const struct limit_spec spec = {
        .algorithm = KINDS[sim_random(world, 6)],
        .count = 1500 + sim_random(world, 1000),
        .period_ns = 1000 * MS,
        .burst = 300 + sim_random(world, 1500),
    };

    if (spec.algorithm != ALGORITHM_CALENDAR) {
        limit_compile(&spec, &world->limit);
        return;
    }
    struct calendar *calendar = calloc(1, sizeof *calendar + 32 * sizeof(uint32_t));
    if (!calendar)
        exit(2);
    calendar->period_s = 1;
    calendar->count = 32;
    for (uint32_t i = 0; i < calendar->count; i++)
        calendar->ends_s[i] = (uint32_t)(world->store_ns / (1000 * MS)) + i - 8;
    calendar_compile(calendar, spec.count, &world->limit);
    world->calendar = calendar;
}

static void choose_faults(struct world *world)
{
    world->faults = sim_random(world, 3) > 0 ? (uint32_t)sim_random(world, 1u << FAULT_COUNT) : 0;
    if (sim_random(world, 4) > 0)
        world->faults &= ~(uint32_t)FAULTS_OF_DATA;
    if (sim_random(world, 4) > 0)
        world->faults &= ~(uint32_t)(FAULT_STORE_CLOCK | FAULT_CUT);
    if (limit_is_wall(&world->limit))
        world->faults &= ~(uint32_t)FAULT_STORE_CLOCK; /* windows are named by that clock */
    if (world->faults & FAULTS_OF_DATA) {
        world->saved_ns = 800 * MS + (int64_t)sim_random(world, 800 * MS);
        world->crash_ns = world->saved_ns + (int64_t)sim_random(world, 300 * MS);
    }
}

static bool begin(struct world *world)
{
    bool is_made = true;

    world->random = world->seed * 0x2545f4914f6cdd1dull;
    world->node_count = (uint32_t)sim_random(world, NODES) + 1;
    world->spread = world->wrong == WRONG_SHARE ? 1 : world->node_count;
    world->overload_percent = 20 + (uint32_t)sim_random(world, 480);
    world->store_ns = 1700000000ll * 1000 * MS + (int64_t)sim_random(world, 1u << 30) * 1000;
    choose_limit(world);
    choose_faults(world);
    if (sim_random(world, 2) == 0)
        world->flash_ns = (int64_t)sim_random(world, STOP_NS);
    world->debt_us = 3 * (world->limit.tolerance / 16000);
    if (limit_is_wall(&world->limit))
        world->debt_us = 0;
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct node *node = &world->nodes[i];
        node->clock_ns = (int64_t)sim_random(world, 1ull << 50);
        if (world->faults & FAULT_HOST_CLOCK)
            node->host_error_ns = (int64_t)sim_random(world, 7200000) * MS - 3600000 * MS;
        is_made = node_create(world, node) && is_made;
    }
    return is_made;
}

/* Once in a while one of what may happen does. */
static void trouble(struct world *world)
{
    struct node *node = &world->nodes[sim_random(world, world->node_count)];
    const int64_t until_ns = world->now_ns + (int64_t)sim_random(world, 1200 * MS);

    if (world->now_ns >= CALM_NS || sim_random(world, 600) != 0)
        return;
    const uint32_t fault = world->faults & (1u << sim_random(world, FAULT_COUNT));
    if (fault == FAULT_CUT)
        node->cut_until_ns = until_ns < CALM_NS ? until_ns : CALM_NS;
    if (fault == FAULT_OUTAGE)
        world->store_down_until_ns = until_ns < CALM_NS ? until_ns : CALM_NS;
    if (fault == FAULT_KILL) {
        node->down_until_ns = until_ns < CALM_NS ? until_ns : CALM_NS;
        if (world->wrong == WRONG_COLD_START)
            memset(node->rows, 0, sizeof node->rows);
    }
    if (fault == FAULT_STORE_CLOCK)
        world->store_ns += (int64_t)sim_random(world, 20000 * MS) - 10000 * MS;
}

static void traffic(struct world *world)
{
    const bool is_bucket = !limit_is_wall(&world->limit);
    const double per_step = (is_bucket ? 16.0 * STEP_NS / (double)world->limit.interval
                                       : world->limit.burst * STEP_NS / 1e9) *
                            KEYS * world->overload_percent / 100 / 2; /* the mean cost is 2 */
    uint64_t count = (uint64_t)per_step;

    if (world->now_ns >= STOP_NS)
        return;
    if (world->now_ns / STEP_NS == world->flash_ns / STEP_NS)
        count += 2 * KEYS * world->limit.burst;
    count += (double)sim_random(world, 1000) < 1000 * (per_step - (double)count);
    while (count-- > 0)
        node_charge(world, &world->nodes[sim_random(world, world->node_count)],
                    (uint32_t)sim_random(world, KEYS), (uint32_t)sim_random(world, MOST_COST) + 1);
}

static void run(struct world *world)
{
    if (!begin(world))
        world->fault = "no memory";
    for (; world->now_ns < END_NS && !world->fault; world->now_ns += STEP_NS) {
        trouble(world);
        store_step(world);
        net_step(world);
        for (uint32_t i = 0; i < world->node_count; i++)
            node_step(world, &world->nodes[i]);
        traffic(world);
        if (world->now_ns == TABLES_NS)
            judge_tables(world);
    }
    if (!world->fault)
        judge_end(world);
    for (uint32_t i = 0; i < world->node_count; i++)
        node_destroy(&world->nodes[i]);
    free(world->calendar);
}

static bool try_seed(uint64_t seed, enum wrong wrong, bool is_told)
{
    static struct world world; /* large; one thread */

    memset(&world, 0, sizeof world);
    world.seed = seed;
    world.wrong = wrong;
    run(&world);
    if (is_told || (world.fault && wrong == WRONG_NOTHING))
        printf("seed %" PRIu64 ": %s, %u nodes, overload %u %%, faults %#x: %" PRIu64
               " units passed, excess %lld, old %" PRIu64 ", F %" PRIu64 " us: %s: %lld, %lld\n",
               seed, algorithm_name(world.limit.algorithm), world.node_count,
               world.overload_percent, world.faults, world.admitted_units,
               (long long)(limit_is_wall(&world.limit)
                               ? world.excess
                               : world.excess / (int64_t)world.limit.interval),
               world.old_count, world.oldest_ns / 1000, world.fault ? world.fault : "holds",
               world.left, world.right);
    return !world.fault;
}

static int try_wrongs(uint64_t count, uint64_t first)
{
    int missed = 0;

    for (enum wrong wrong = WRONG_NOTHING + 1; wrong < WRONG_COUNT; wrong++) {
        uint64_t seed = first;
        while (seed < first + count && try_seed(seed, wrong, false))
            seed++;
        const bool is_seen = seed < first + count;
        printf("%s: %s", WRONG_NAMES[wrong], is_seen ? "seen by " : "missed\n");
        if (is_seen)
            try_seed(seed, wrong, true);
        missed += !is_seen;
    }
    return missed > 0;
}

int main(int argc, char **argv)
{
    uint64_t count = 0, first = 1;
    bool is_wrong = false;
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--wrong") == 0)
            is_wrong = true;
        else if (strcmp(argv[i], "--count") == 0 && i + 1 < argc)
            count = strtoull(argv[++i], NULL, 0);
        else
            first = strtoull(argv[i], NULL, 0);
    }
    if (is_wrong)
        return try_wrongs(count ? count : 300, first);
    if (count == 0)
        return !try_seed(first, WRONG_NOTHING, true);
    for (uint64_t seed = first; seed < first + count; seed++)
        failed += !try_seed(seed, WRONG_NOTHING, false);
    printf("%" PRIu64 " worlds from seed %" PRIu64 " on, %d failed\n", count, first, failed);
    return failed > 0;
}
