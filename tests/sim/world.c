/* What a world is like, by its seed, and its course. */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "core/calendar.h"
#include "mete/registry.h"
#include "sim.h"

static const char CONFIG[] =
    "tenants:\n"
    "  - name: default\n"
    "    rules:\n"
    "      - {name: api, algorithm: token_bucket, rate: 1000/s, burst: 1000}\n";

static void choose_limit(struct world *world)
{
    static const enum algorithm KINDS[] = {ALGORITHM_TOKEN_BUCKET,   ALGORITHM_TOKEN_BUCKET,
                                           ALGORITHM_LEAKY_METER,    ALGORITHM_FIXED_WINDOW,
                                           ALGORITHM_SLIDING_WINDOW, ALGORITHM_CALENDAR};
    const bool is_exact = sim_random(world, 3) == 0;

    world->spec = (struct limit_spec){
        .algorithm = KINDS[sim_random(world, 6)],
        .count = is_exact ? 10 + sim_random(world, 300) : 1500 + sim_random(world, 1000),
        .period_ns = 1000 * MS,
        .burst = is_exact ? 5 + sim_random(world, 100) : 300 + sim_random(world, 1500),
    };
    /* periods of a second would share their marks (core/grant.c) */
    if (is_exact && world->spec.algorithm == ALGORITHM_CALENDAR)
        world->spec.algorithm = ALGORITHM_FIXED_WINDOW;
    world->limit.sync = is_exact ? SYNC_EXACT : SYNC_SHARED;
    world->limit.on_loss = is_exact ? LOSS_DENY : LOSS_SHARE; /* as the configuration does */
    if (sim_random(world, 3) == 0)
        world->limit.on_loss = (uint8_t)sim_random(world, 3);
}

static bool compile_limit(struct world *world)
{
    const uint8_t sync = world->limit.sync, on_loss = world->limit.on_loss;

    if (world->spec.algorithm != ALGORITHM_CALENDAR) {
        limit_compile(&world->spec, &world->limit);
    } else {
        struct calendar *calendar = calloc(1, sizeof *calendar + 32 * sizeof(uint32_t));
        if (!calendar)
            return false;
        calendar->id = 1;
        calendar->period_s = 1;
        calendar->count = 32;
        for (uint32_t i = 0; i < calendar->count; i++)
            calendar->ends_s[i] = (uint32_t)(world->store_ns / (1000 * MS)) + i - 8;
        calendar_compile(calendar, world->spec.count, &world->limit);
        world->calendar = calendar;
    }
    world->limit.sync = sync;
    world->limit.on_loss = on_loss;
    return true;
}

static void choose_faults(struct world *world)
{
    world->faults = sim_random(world, 3) > 0 ? (uint32_t)sim_random(world, 1u << FAULT_COUNT) : 0;
    if (sim_random(world, 4) > 0)
        world->faults &= ~(uint32_t)FAULTS_OF_DATA;
    if (sim_random(world, 4) > 0)
        world->faults &= ~(uint32_t)(FAULT_STORE_CLOCK | FAULT_CUT);
    if (sim_random(world, 4) > 0)
        world->faults &= ~(uint32_t)FAULT_COLD;
    if (limit_is_wall(&world->limit))
        world->faults &= ~(uint32_t)FAULT_STORE_CLOCK; /* windows are named by that clock */
    if (world->faults & FAULTS_OF_DATA) {
        world->saved_ns = 800 * MS + (int64_t)sim_random(world, 800 * MS);
        world->crash_ns = world->saved_ns + (int64_t)sim_random(world, 300 * MS);
    }
}

bool world_choose(struct world *world)
{
    world->random = world->seed * 0x2545f4914f6cdd1dull;
    world->node_count = (uint32_t)sim_random(world, NODES) + 1;
    world->partitions = (uint32_t)sim_random(world, PARTITIONS) + 1;
    world->overload_percent = 20 + (uint32_t)sim_random(world, 480);
    world->store_ns = 1700000000ll * 1000 * MS + (int64_t)sim_random(world, 1u << 30) * 1000;
    world->key_count = KEYS;
    world->most_cost = MOST_COST;
    world->step_ns = MS / 2;
    world->way_ns = MS * 6 / 10;
    world->calm_ns = 3000 * MS;
    world->stop_ns = 4200 * MS;
    world->end_ns = 5300 * MS;
    if (sim_random(world, 2) == 0) { /* all is well again within a second */
        world->stop_ns = world->calm_ns;
        world->end_ns = world->calm_ns + 1000 * MS;
    }
    choose_limit(world);
    if (!compile_limit(world))
        return false;
    choose_faults(world);
    world->gives_back = sim_random(world, 4) == 0;
    if (sim_random(world, 2) == 0)
        world->flash_ns = (int64_t)sim_random(world, (uint64_t)world->stop_ns);
    return world_begin(world);
}

bool world_begin(struct world *world)
{
    char error[200];
    bool is_made = true;

    if (world->limit.interval == 0 && !compile_limit(world))
        return false;
    world->config = config_parse("sim", CONFIG, sizeof CONFIG - 1, error, sizeof error);
    if (!world->config)
        return false;
    world->tenant = &world->config->tenants[0];
    struct rule *rule = &world->config->tenants[0].rules[0];
    rule->limit = world->limit;
    if (world->wrong == WRONG_LOSS)
        rule->limit.on_loss = (world->limit.on_loss + 1) % 3;
    rule->calendar = world->calendar;
    world->rule_id = rule->id;
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct node *node = &world->nodes[i];
        node->clock_ns = (int64_t)sim_random(world, 1ull << 50);
        if (world->faults & FAULT_HOST_CLOCK)
            node->host_error_ns = (int64_t)sim_random(world, 7200000) * MS - 3600000 * MS;
        is_made = is_made && node_create(world, node);
    }
    return is_made;
}

/* Once in a while one of what may happen does. */
static void trouble(struct world *world)
{
    struct node *node = &world->nodes[sim_random(world, world->node_count)];
    int64_t until_ns = world->now_ns + (int64_t)sim_random(world, 1200 * MS);

    if (world->now_ns >= world->calm_ns || sim_random(world, 400) != 0)
        return;
    until_ns = until_ns < world->calm_ns ? until_ns : world->calm_ns;
    switch (world->faults & (1u << sim_random(world, FAULT_COUNT))) {
    case FAULT_CUT:
        node->cut_until_ns = until_ns;
        break;
    case FAULT_OUTAGE:
        world->store_down_until_ns = until_ns;
        break;
    case FAULT_SLOW:
        world->slow_until_ns = world->now_ns + (int64_t)sim_random(world, 200 * MS);
        break;
    case FAULT_KILL:
        node->down_until_ns = until_ns;
        net_drop(world, node);
        if (world->wrong == WRONG_COLD_START)
            node_restart(world, node, true);
        break;
    case FAULT_COLD:
        node->down_until_ns = until_ns;
        node_restart(world, node, false);
        break;
    case FAULT_STORE_CLOCK:
        world->store_ns += (int64_t)sim_random(world, 20000 * MS) - 10000 * MS;
        break;
    default:
        break;
    }
}

/* Units a second that one key may have. */
static double rate_of(const struct world *world)
{
    return limit_is_wall(&world->limit) ? world->limit.burst : 16e9 / (double)world->limit.interval;
}

/* Now and then a unit or two, rarely all. */
static void give_back(struct world *world)
{
    struct node *node = &world->nodes[sim_random(world, world->node_count)];
    const uint32_t key = (uint32_t)sim_random(world, world->key_count);
    const uint64_t draw = sim_random(world, 2000);

    if (draw < 60)
        node_give_back(world, node, key, 1 + (uint32_t)draw % 2);
    else if (draw == 60)
        node_give_back(world, node, key, 0);
}

static void traffic(struct world *world)
{
    const double demand = world->demand > 0
                              ? world->demand
                              : rate_of(world) * world->overload_percent / 100 * world->key_count;
    const double mean_cost = (1.0 + world->most_cost) / 2;
    double per_step = demand / mean_cost * (double)world->step_ns / 1e9;

    if (world->now_ns >= world->stop_ns)
        return;
    if (world->late & LATE_LOAD) {
        if (sim_is_late(world, LATE_LOAD) && world->load_stopped_until_ns <= world->now_ns)
            world->load_stopped_until_ns =
                world->now_ns + (int64_t)sim_random(world, (uint64_t)world->late_ns);
        world->load_owed += per_step;
        if (world->load_stopped_until_ns > world->now_ns)
            return;
        per_step = world->load_owed;
        world->load_owed = 0;
    }
    uint64_t count = (uint64_t)per_step;

    count += (double)sim_random(world, 1u << 20) < (1u << 20) * (per_step - (double)count);
    if (world->flash_ns > 0 && world->now_ns / world->step_ns == world->flash_ns / world->step_ns)
        count += 2 * KEYS * world->limit.burst;
    while (count-- > 0) {
        if (world->gives_back)
            give_back(world);
        node_ask(world, &world->nodes[sim_random(world, world->node_count)],
                 (uint32_t)sim_random(world, world->key_count),
                 (uint32_t)sim_random(world, world->most_cost) + 1);
    }
}

void world_run(struct world *world)
{
    for (; world->now_ns < world->end_ns && !world->fault; world->now_ns += world->step_ns) {
        trouble(world);
        store_step(world);
        net_step(world);
        for (uint32_t i = 0; i < world->node_count; i++)
            node_step(world, &world->nodes[i]);
        traffic(world);
    }
    judge_end(world);
    for (uint32_t i = 0; i < world->node_count; i++)
        node_destroy(&world->nodes[i]);
    config_destroy(world->config);
    free(world->calendar);
}
