/* What must hold, by what really happened. */
#include <math.h>

#include "core/share.h"
#include "sim.h"

#define TICKS_PER_US 16000
#define STALE_NS (20 * MS) /* two flushes, a round trip and the grain of the steps; and F */
#define WANT_HALF_NS (50.0 * MS)

void judge_fail(struct world *world, bool holds, const char *what, long long left, long long right)
{
    if (holds || world->fault)
        return;
    world->fault = what;
    world->left = left;
    world->right = right;
}

static bool is_bucket(const struct world *world)
{
    return !limit_is_wall(&world->limit);
}

static uint64_t true_ticks(const struct world *world)
{
    return (uint64_t)world->now_ns * LIMIT_TICKS_PER_NS;
}

static struct seen *seen_of(struct world *world, uint32_t node, uint32_t key, uint64_t window)
{
    struct seen *seen = &world->seen[node][key][window % 2];

    if (seen->window != window) {
        seen->window = window;
        seen->cell = seen->before = (struct merge_cell){0};
        seen->has_charged = false;
        seen->widest = seen->widest_before = 0;
    }
    return seen;
}

void judge_want(struct world *world, uint32_t node, uint32_t key, uint32_t cost)
{
    struct seen *seen = &world->seen[node][key][0];

    seen->wanted *= exp2(-(double)(world->now_ns - seen->wanted_ns) / WANT_HALF_NS);
    seen->wanted += cost;
    seen->wanted_ns = world->now_ns;
}

/* What is owed at most of a value, in ticks or units; rest lies at 0. */
static double used_of(const struct world *world, struct merge_cell cell)
{
    if (!is_bucket(world))
        return (double)cell.value;
    const int64_t owed_us = (int64_t)(cell.value - sim_store_us(world));
    const int64_t rest_us = -STALE_NS / 1000;
    return (double)(cell.value == 0 || owed_us < rest_us ? rest_us : owed_us) * TICKS_PER_US;
}

/* Of what a node saw left it took no more than its share, and one cost; so by no more than this can
 * pass beyond the limit when the store has what it has. What it charged while its last batch was on
 * its way it decided by the answer before. */
static double most_excess(struct world *world, uint32_t key, uint64_t window)
{
    const double full =
        is_bucket(world) ? (double)world->limit.tolerance : (double)world->limit.burst;
    const double one = is_bucket(world) ? (double)world->limit.interval : 1;
    const struct merge_cell store = sim_cell(world->data.cells[key], window)->cell;
    double most = used_of(world, store) - full + (double)world->node_count * MOST_COST * one;

    for (uint32_t n = 0; n < world->node_count; n++) {
        const struct seen *seen = &world->seen[n][key][window % 2];
        if (seen->window != window || !seen->has_charged)
            continue;
        const double room = full - used_of(world, seen->before);
        const double share =
            seen->widest > seen->widest_before ? seen->widest : seen->widest_before;
        most += room > 0 ? share * room : 0;
    }
    if (is_bucket(world))
        most += (double)STALE_NS * LIMIT_TICKS_PER_NS;
    return most > one ? most : one;
}

static void judge_excess(struct world *world, uint32_t key, uint64_t window, int64_t excess)
{
    const uint32_t others = ~(uint32_t)(FAULT_LOSS | FAULT_DOUBLE | FAULT_DELAY | FAULT_HOST_CLOCK);

    if (excess <= 0 || world->limit.algorithm == ALGORITHM_SLIDING_WINDOW)
        return;
    if (excess > world->excess)
        world->excess = excess;
    if ((world->faults & others) || world->old_count > 0 || sim_is_exact(world) ||
        world->gives_back)
        return;
    const double bound = most_excess(world, key, window);
    judge_fail(world, (double)excess <= bound, "more passed than the bound says", excess,
               (long long)bound);
}

/* Exact limits: buckets by no more than drains while a grant is on its way or kept. */
static void judge_exact(struct world *world, int64_t excess)
{
    const int64_t late_ns = WAIT_NS + 2 * world->way_ns + 3 * world->step_ns;
    const uint32_t masks = FAULTS_OF_DATA | FAULT_STORE_CLOCK;

    if (!sim_is_exact(world) || (world->faults & masks) || world->gives_back)
        return;
    if (world->limit.on_loss != LOSS_DENY && judge_may_lose(world))
        return; /* beyond grants it goes on by itself */
    const int64_t bound = is_bucket(world) ? late_ns * LIMIT_TICKS_PER_NS : 0;
    judge_fail(world, excess <= bound, "an exact limit was exceeded", excess, bound);
}

/* A node's share is about its part of what is wanted. */
static void judge_share(struct world *world, uint32_t node, uint32_t key, double share)
{
    double all = 0;

    if (world->faults != 0 || sim_is_exact(world) || world->now_ns < 500 * MS)
        return;
    for (uint32_t n = 0; n < world->node_count; n++) {
        const struct seen *seen = &world->seen[n][key][0];
        all += seen->wanted * exp2(-(double)(world->now_ns - seen->wanted_ns) / WANT_HALF_NS);
    }
    const double part = world->seen[node][key][0].wanted / all;
    if (all / world->node_count > 20)
        judge_fail(world, share <= 3 * part + 4.0 / world->node_count,
                   "a share of more than the node's part of the demand", (long long)(share * 1000),
                   (long long)(part * 1000));
}

void judge_charge(struct world *world, uint32_t node, uint32_t key, uint64_t window, uint32_t cost)
{
    struct cell *cell = sim_cell(world->admitted[key], window);
    struct seen *seen = seen_of(world, node, key, window);
    const uint64_t now = true_ticks(world);
    uint64_t *x = &world->central[key];
    int64_t excess;
    double share;

    node_state(&world->nodes[node], key, &share);
    seen->widest = share > seen->widest ? share : seen->widest;
    seen->has_charged = true;
    judge_share(world, node, key, share);
    cell->units += cost;
    world->admitted_units += cost;
    world->node_admitted[node] += cost;
    if (is_bucket(world)) {
        *x = (*x > now ? *x : now) + cost * world->limit.interval;
        excess = (int64_t)(*x - now - world->limit.tolerance);
    } else {
        excess = (int64_t)cell->units - (int64_t)world->limit.burst;
    }
    judge_excess(world, key, window, excess);
    judge_exact(world, excess);
    judge_alone(world, node, key, window, cost);
    if (is_bucket(world) && excess > 3 * (int64_t)world->limit.tolerance)
        *x = now + 4 * world->limit.tolerance; /* as the store's cap: what is beyond is given up */
}

/* After one batch of a node the store has again what this node ever saw. */
void judge_applied(struct world *world, const struct packet *packet, uint32_t item, uint32_t key)
{
    const struct merge_cell best = world->seen[packet->node][key][0].best;
    const struct merge_cell cell =
        sim_cell(world->data.cells[key], packet->keys[item].window)->cell;
    const bool is_healed =
        cell.epoch > best.epoch || (cell.epoch == best.epoch && cell.value >= best.value);
    const int64_t told_us = -packet->keys[item].delta.ahead_us; /* cut at MERGE_CREDIT_US */
    const int64_t age_ns = (told_us < MERGE_CREDIT_US ? told_us : MERGE_OLDEST_US) * 1000 +
                           world->now_ns - packet->sent_ns;

    judge_fail(world, !is_bucket(world) || is_healed, "what a node had seen did not come back",
               (long long)cell.value, (long long)best.value);
    if (packet->keys[item].delta.charge > 0 && age_ns > (int64_t)world->oldest_ns)
        world->oldest_ns = (uint64_t)age_ns;
}

/* An answer to what a node charged while its clock was wrong by an hour. */
static bool is_astray(const struct world *world, uint32_t node, uint32_t key, uint64_t window)
{
    const struct seen *seen = &world->seen[node][key][window % 2];

    return seen->has_charged && window - seen->window > 2;
}

void judge_delivered(struct world *world, const struct packet *packet)
{
    for (uint32_t i = 0; i < packet->count; i++) {
        const uint32_t key = sim_key_number(packet->keys[i].key);
        if (is_astray(world, packet->node, key, packet->keys[i].window))
            continue;
        struct seen *seen = seen_of(world, packet->node, key, packet->keys[i].window);
        double share;
        seen->before = seen->cell;
        seen->cell = packet->answers[i].cell;
        seen->widest_before = seen->widest;
        node_state(&world->nodes[packet->node], key, &share);
        seen->widest = share;
        if (is_bucket(world))
            world->seen[packet->node][key][0].best =
                merge_larger(world->seen[packet->node][key][0].best, seen->cell);
    }
}

/* A node forgets everything: what it had not told yet is lost, and nobody else's. */
void judge_cold(struct world *world, uint32_t node)
{
    world->forgiven_units += world->node_admitted[node] - world->node_applied[node];
    world->node_applied[node] = world->node_admitted[node];
    for (uint32_t key = 0; key < KEYS; key++)
        for (uint32_t i = 0; i < 2; i++)
            world->seen[node][key][i] = (struct seen){0};
}

static void judge_use(struct world *world)
{
    const double time_s = (double)world->stop_ns / 1e9;
    const double rate = is_bucket(world) ? 16e9 / (double)world->limit.interval
                                         : world->limit.burst / (world->limit.interval / 1e9);
    const double least = sim_is_exact(world) ? 0.6 : 0.9;

    if (world->overload_percent < 200 || world->limit.algorithm == ALGORITHM_CALENDAR)
        return;
    judge_fail(world, (double)world->admitted_units > least * rate * time_s * world->key_count,
               "less than the limit was given", (long long)world->admitted_units,
               (long long)(rate * time_s * world->key_count));
}

static void judge_bucket(struct world *world, uint32_t key)
{
    /* what makes one node's deltas old while others go on: they repay it only in part */
    const uint32_t alone = FAULT_CUT | FAULT_KILL | FAULT_LOSS | FAULT_DELAY | FAULT_MOVE;
    const struct cell *cell = sim_cell(world->data.cells[key], 0);
    const int64_t merged_us = (int64_t)cell->cell.value - world->store_ns / 1000;
    const int64_t central_us = (int64_t)(world->central[key] / TICKS_PER_US);
    const int64_t error_us = merged_us - central_us;
    const int64_t late_us = (int64_t)world->oldest_ns / 1000;
    const int64_t f_us = (late_us > MERGE_CREDIT_US ? late_us : MERGE_CREDIT_US) + NODES + 2;
    const int64_t credit_us = MERGE_CREDIT_US + NODES + 2;
    const int64_t tau_us = (int64_t)(world->limit.tolerance / TICKS_PER_US);

    if (central_us == 0)
        return;
    if (world->old_count == 0)
        judge_fail(world, error_us <= f_us && error_us >= -credit_us,
                   "the merge is off by more than F", error_us, f_us);
    judge_fail(world, error_us <= tau_us + f_us, "stricter by more than a full bucket", error_us,
               tau_us);
    /* what was at rest again when the faults were over is not told any more */
    const int64_t calm_us = world->calm_ns / 1000;
    const int64_t owed_us = central_us > calm_us ? central_us : calm_us;
    if (!(world->faults & alone) && world->limit.on_loss != LOSS_FULL)
        judge_fail(world, (merged_us > calm_us ? merged_us : calm_us) - owed_us >= -2 * credit_us,
                   "an outage gave units back", error_us, credit_us);
}

static void judge_windows(struct world *world)
{
    for (uint32_t key = 0; key < KEYS; key++)
        for (uint32_t i = 0; i < SLOTS; i++) {
            const struct cell *is = &world->admitted[key][i];
            if (!is->is_used)
                continue;
            const struct cell *store = sim_cell(world->data.cells[key], is->name);
            judge_fail(world, store->cell.value == is->units || store->was_forgotten,
                       "a window's count", (long long)store->cell.value, (long long)is->units);
        }
}

/* What a state says of its window; buckets: of the store's clock, in us. */
static uint64_t value_of(const struct world *world, const struct node *node, uint64_t state)
{
    if (world->limit.algorithm == ALGORITHM_SLIDING_WINDOW)
        return state & LIMIT_SLIDING_MAX;
    if (!is_bucket(world))
        return (uint32_t)state;
    return state / TICKS_PER_US - (uint64_t)(node->clock_ns / 1000) +
           (uint64_t)(world->store_ns / 1000);
}

/* Nodes that ask for a key see what the store has: a second after faults stopped, and after the
 * last charges were told, all decide by the same. Of a window that has passed nobody asks. */
static void judge_tables(struct world *world, uint32_t n)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        struct node *node = &world->nodes[n];
        double share;
        const uint64_t state = node_state(node, key, &share);
        const uint64_t window = share_window(&world->limit, state);
        const uint64_t is = value_of(world, node, state);
        const uint64_t store = sim_cell(world->data.cells[key], window)->cell.value;
        const uint64_t way_us = is_bucket(world) ? (uint64_t)world->way_ns / 1000 : 0;
        const uint64_t here = share_window_at(&world->limit, sim_store_us(world) * 1000);
        if (state == 0 || (is_bucket(world) && store <= sim_store_us(world)) ||
            share_is_later(&world->limit, here, window) ||
            world->seen[n][key][0].wanted_ns < world->stop_ns - 100 * MS)
            continue;
        judge_fail(world, is + 2 >= store && is <= store + way_us + 2, "a table is of another mind",
                   (long long)is, (long long)store);
    }
}

static void judge_node(struct world *world, uint32_t n)
{
    const struct node *node = &world->nodes[n];
    struct replicator_state state;

    replicator_look(node->replicator, (uint64_t)(world->now_ns + node->clock_ns), &state);
    judge_fail(world, state.degraded_since_ns == 0, "degraded long after the faults", n, 0);
    judge_fail(world, state.lag_ns == 0, "something is still to be told", (long long)state.lag_ns,
               0);
    /* each tells once a second that it is there, and hears it at most a second later */
    if (world->end_ns - world->calm_ns >= 2000 * MS)
        judge_fail(world, state.node_count == world->node_count, "nodes that are there",
                   state.node_count, world->node_count);
}

/* Every unit once; but for what died with a cold node, and what a ring had no room for: a node
 * counts that, and where rings are of a sensible size there is none. */
static void judge_usage(struct world *world)
{
    const int64_t missing =
        (int64_t)(world->admitted_units - world->forgiven_units - world->data.usage);
    int64_t lost = 0;

    for (uint32_t n = 0; n < world->node_count; n++)
        lost += (int64_t)counter_read(&world->nodes[n].counters->cell[COUNTER_REPLICA_LOST]);
    judge_fail(world, lost == 0 || (world->faults & FAULT_CROWD), "units are lost", lost, 0);
    /* grants that died with a cold node were counted and never spent */
    const bool is_more = sim_is_exact(world) && (world->faults & FAULT_COLD) && missing <= 0;
    judge_fail(world, is_more || (missing <= lost && missing >= -lost), "the usage counter",
               (long long)world->data.usage, (long long)world->admitted_units);
}

void judge_end(struct world *world)
{
    const bool keeps_data = !(world->faults & FAULTS_OF_DATA);

    if (keeps_data)
        judge_usage(world);
    for (uint32_t n = 0; n < world->node_count; n++) {
        judge_node(world, n);
        if (!sim_is_exact(world))
            judge_tables(world, n);
    }
    if (sim_is_exact(world) || world->forgiven_units > 0 || world->gives_back)
        return;
    if (keeps_data && !is_bucket(world))
        judge_windows(world);
    for (uint32_t key = 0; key < KEYS; key++)
        if (keeps_data && is_bucket(world) && !(world->faults & FAULT_STORE_CLOCK))
            judge_bucket(world, key);
    if (world->faults == 0)
        judge_use(world);
}
