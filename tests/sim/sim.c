/* The simulator of several nodes and one store.
 *
 *   build/sim SEED              one world, told in a line
 *   build/sim --count N [SEED]  N worlds from SEED (1) on; silent but for those that fail
 *   build/sim --accuracy        how close to the limit several nodes stay, as the targets ask;
 *                               with --count 1 of shorter worlds; with --late MS where who is not
 *                               scheduled now and then for up to so long, --late-of replicators,
 *                               nodes, store or load, else all of them
 *   build/sim --wrong           every deliberate mistake; each must be seen within --count worlds
 *
 * Real are the engine, the algorithms, the table, rings and demand, the replicator and the
 * arithmetic of the merge. Clocks, network, link, store and the threads of a node are models; where
 * a worker would park a datagram of an exact limit, the model does. Exit 0: all holds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/random.h"
#include "sim.h"

static const char *const WRONG_NAMES[WRONG_COUNT] = {
    [WRONG_NOTHING] = "nothing",
    [WRONG_REPEATS] = "the store applies repeats",
    [WRONG_NUMBER] = "a new number for what is sent again",
    [WRONG_FORGETS] = "the store answers and forgets",
    [WRONG_BASE] = "no base",
    [WRONG_CLOCK] = "the node's wall clock in the delta",
    [WRONG_WINDOW] = "late deltas in the newest window",
    [WRONG_SINCE] = "charges since are forgotten",
    [WRONG_SUM] = "old deltas are added",
    [WRONG_SHARE] = "each node spends the whole limit",
    [WRONG_COLD_START] = "rows lost with the process",
    [WRONG_GRANTS] = "grants are not charged",
    [WRONG_RING] = "events of the ring are lost",
    [WRONG_LIFE] = "a new life taken for the old one",
    [WRONG_LOSS] = "another on_backend_loss",
};

uint64_t sim_random(struct world *world, uint64_t bound)
{
    return random_next(&world->random) % bound;
}

bool sim_is_late(struct world *world, enum late who)
{
    const uint64_t flushes = who == LATE_NODES ? 40 : 20;

    return (world->late & who) && world->late_ns > 0 &&
           sim_random(world, flushes * FLUSH_NS / (uint64_t)world->step_ns) == 0;
}

struct key sim_key(uint32_t key)
{
    return (struct key){.low = 11 * key + 5, .high = 77};
}

uint64_t sim_store_us(const struct world *world)
{
    return (uint64_t)(world->now_ns + world->store_ns) / 1000;
}

uint32_t sim_key_number(struct key key)
{
    uint32_t number = 0;

    while (number < KEYS - 1 && sim_key(number).low != key.low)
        number++;
    return number;
}

struct cell *sim_cell(struct cell cells[SLOTS], uint64_t name)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct cell *cell = &cells[i];
        if (cell->is_used && cell->name == name)
            return cell;
        if (cell->is_used && i < SLOTS - 1)
            continue;
        *cell = (struct cell){.is_used = true, .name = name};
        return cell;
    }
    return NULL;
}

bool sim_is_exact(const struct world *world)
{
    return world->limit.sync == SYNC_EXACT;
}

static bool try_seed(uint64_t seed, enum wrong wrong, bool is_told)
{
    static struct world world; /* large; one thread */
    static struct packet packets[PACKETS];

    memset(&world, 0, sizeof world);
    world.packets = packets;
    world.seed = seed;
    world.wrong = wrong;
    if (!world_choose(&world))
        world.fault = "no memory";
    world_run(&world);
    if (is_told || (world.fault && wrong == WRONG_NOTHING))
        printf(
            "seed %" PRIu64 ": %s %s, %u nodes, overload %u %%, faults %#x: %" PRIu64
            " units passed, excess %lld, old %" PRIu64 ", F %" PRIu64 " us: %s: %lld, %lld\n",
            seed, sim_is_exact(&world) ? "exact" : "shared", algorithm_name(world.limit.algorithm),
            world.node_count, world.overload_percent, world.faults, world.admitted_units,
            (long long)(limit_is_wall(&world.limit) ? world.excess
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
        /* seen is what fails by the mistake alone */
        while (seed < first + count &&
               (try_seed(seed, wrong, false) || !try_seed(seed, WRONG_NOTHING, false)))
            seed++;
        const bool is_seen = seed < first + count;
        printf("%s: %s", WRONG_NAMES[wrong], is_seen ? "seen by " : "missed\n");
        if (is_seen)
            try_seed(seed, wrong, true);
        missed += !is_seen;
    }
    return missed > 0;
}

static uint32_t late_of(const char *name)
{
    static const char *const NAMES[] = {"replicators", "nodes", "store", "load"};

    for (uint32_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (strcmp(name, NAMES[i]) == 0)
            return 1u << i;
    fprintf(stderr, "sim: nobody is called %s; there are replicators, nodes, store and load\n",
            name);
    exit(2);
}

int main(int argc, char **argv)
{
    uint64_t count = 0, first = 1, late_ms = 0;
    uint32_t late = LATE_REPLICATORS | LATE_NODES | LATE_STORE | LATE_LOAD;
    bool is_wrong = false, is_accuracy = false;
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--wrong") == 0)
            is_wrong = true;
        else if (strcmp(argv[i], "--accuracy") == 0)
            is_accuracy = true;
        else if (strcmp(argv[i], "--count") == 0 && i + 1 < argc)
            count = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--late") == 0 && i + 1 < argc)
            late_ms = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--late-of") == 0 && i + 1 < argc)
            late = late_of(argv[++i]);
        else
            first = strtoull(argv[i], NULL, 0);
    }
    if (is_accuracy)
        return accuracy_print(count == 1, late_ms, late);
    if (is_wrong)
        return try_wrongs(count ? count : 300, first);
    if (count == 0)
        return !try_seed(first, WRONG_NOTHING, true);
    for (uint64_t seed = first; seed < first + count; seed++)
        failed += !try_seed(seed, WRONG_NOTHING, false);
    printf("%" PRIu64 " worlds from seed %" PRIu64 " on, %d failed\n", count, first, failed);
    return failed > 0;
}
