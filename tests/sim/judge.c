/* What must hold, by what really happened. */
#include "replica/adopt.h"
#include "sim.h"

#define TICKS_PER_US 16000

static void expect(struct world *world, bool holds, const char *what, long long left,
                   long long right)
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

/* What this node knows of the store's value, as it charges. */
static void note_known(struct world *world, uint32_t n, uint32_t key, uint64_t window)
{
    struct known *known = &world->known[n][key][window % 2];

    *known = (struct known){.window = window,
                            .value = is_bucket(world) ? sim_store_us(world) - MERGE_CREDIT_US : 0};
    for (uint32_t i = 0; i < ROWS; i++) {
        const struct partition_row *row = &world->nodes[n].rows[i];
        if (row->is_used && row->window == window && row->key.low == sim_key(key).low &&
            row->delta.base.value > known->value)
            known->value = row->delta.base.value;
    }
}

/* What the store has and the nodes did not know when they charged last, in the mean over the nodes.
 * Of what a node saw left it took no more than its share, one of N; so no more than this can pass
 * beyond the limit (buckets: and F, by which the store and the truth may differ). */
static int64_t unknown(struct world *world, uint32_t key, uint64_t window)
{
    const uint64_t store = sim_cell(world->data.cells[key], window)->cell.value;
    const uint64_t full = is_bucket(world)
                              ? sim_store_us(world) + world->limit.tolerance / TICKS_PER_US
                              : world->limit.burst;
    uint64_t sum = 0;

    for (uint32_t n = 0; n < world->node_count; n++) {
        const struct known *known = &world->known[n][key][window % 2];
        const bool is_short = known->window == window && known->value < full;
        const uint64_t value = is_short ? known->value : full;
        sum += store > value ? store - value : 0;
    }
    return (int64_t)(sum / world->node_count) * (is_bucket(world) ? TICKS_PER_US : 1);
}

static void judge_excess(struct world *world, uint32_t key, uint64_t window, int64_t excess)
{
    const uint32_t others = ~(uint32_t)(FAULT_LOSS | FAULT_DOUBLE | FAULT_DELAY | FAULT_HOST_CLOCK);
    const int64_t f_ns = MERGE_CREDIT_US * 1000;
    const int64_t slack = is_bucket(world) ? f_ns * LIMIT_TICKS_PER_NS : 1;

    if (excess <= 0 || world->limit.algorithm == ALGORITHM_SLIDING_WINDOW)
        return;
    if (excess > world->excess)
        world->excess = excess;
    if ((world->faults & others) || world->old_count > 0)
        return;
    const int64_t bound = unknown(world, key, window) + slack;
    expect(world, excess <= bound, "more passed than the bound says", excess, bound);
}

void judge_charge(struct world *world, uint32_t node, uint32_t key, uint64_t window, uint32_t cost)
{
    struct cell *cell = sim_cell(world->admitted[key], window);
    const uint64_t now = true_ticks(world);
    uint64_t *x = &world->central[key];

    note_known(world, node, key, window);
    cell->units += cost;
    world->admitted_units += cost;
    if (!is_bucket(world)) {
        judge_excess(world, key, window, (int64_t)cell->units - world->limit.burst);
        return;
    }
    const uint64_t most = now + world->limit.tolerance + world->debt_us * TICKS_PER_US;
    *x = (*x > now ? *x : now) + cost * world->limit.interval;
    judge_excess(world, key, window, (int64_t)(*x - now - world->limit.tolerance));
    if (*x > most)
        *x = most;
}

/* After one batch of a node the store has again what this node ever saw. */
void judge_applied(struct world *world, uint32_t node, uint32_t key, struct merge_cell cell)
{
    const struct merge_cell seen = world->seen[node][key];
    const bool is_healed =
        cell.epoch > seen.epoch || (cell.epoch == seen.epoch && cell.value >= seen.value);

    expect(world, !is_bucket(world) || is_healed, "what a node had seen did not come back",
           (long long)cell.value, (long long)seen.value);
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

/* Without traffic, after one more round of reads, every node decides by what the store has; a
 * bucket by as much more as an answer is under way. */
void judge_tables(struct world *world)
{
    for (uint32_t n = 0; n < world->node_count; n++)
        for (uint32_t key = 0; key < KEYS; key++) {
            struct node *node = &world->nodes[n];
            const uint64_t state = node_state(node, key);
            const uint64_t window = adopt_window(&world->limit, state);
            const uint64_t is = value_of(world, node, state);
            const uint64_t store = sim_cell(world->data.cells[key], window)->cell.value;
            const uint64_t way_us = is_bucket(world) ? 2 * MS / 1000 : 0;
            if (state == 0 || (is_bucket(world) && store <= sim_store_us(world)))
                continue;
            if (!is_bucket(world) && (world->faults & FAULTS_OF_DATA))
                continue;
            expect(world, is + 2 >= store && is <= store + way_us + 2, "a table is of another mind",
                   (long long)is, (long long)store);
        }
}

static void judge_use(struct world *world)
{
    const double time_ns = (double)STOP_NS;
    const double rate = is_bucket(world) ? 16.0 / (double)world->limit.interval
                                         : world->limit.burst / ((double)world->limit.interval);

    if (world->overload_percent < 200 || world->limit.algorithm == ALGORITHM_CALENDAR)
        return;
    expect(world, (double)world->admitted_units > 0.9 * rate * time_ns * KEYS,
           "less than the limit was given", (long long)world->admitted_units,
           (long long)(rate * time_ns * KEYS));
}

static void judge_buckets(struct world *world)
{
    /* what makes one node's deltas old while others go on: they repay it only in part */
    const uint32_t alone = FAULT_CUT | FAULT_KILL | FAULT_LOSS | FAULT_DELAY;

    for (uint32_t key = 0; key < KEYS; key++) {
        const struct cell *cell = sim_cell(world->data.cells[key], 0);
        const int64_t merged_us = (int64_t)cell->cell.value - world->store_ns / 1000;
        const int64_t central_us = (int64_t)(world->central[key] / TICKS_PER_US);
        const int64_t error_us = merged_us - central_us;
        const int64_t late_us = (int64_t)world->oldest_ns / 1000;
        const int64_t f_us = (late_us > MERGE_CREDIT_US ? late_us : MERGE_CREDIT_US) + NODES + 2;
        const int64_t credit_us = MERGE_CREDIT_US + NODES + 2;
        const int64_t tau_us = (int64_t)(world->limit.tolerance / TICKS_PER_US);
        if (central_us == 0)
            continue;
        if (world->old_count == 0)
            expect(world, error_us <= f_us && error_us >= -credit_us,
                   "the merge is off by more than F", error_us, f_us);
        expect(world, error_us <= tau_us + f_us, "stricter by more than a full bucket", error_us,
               tau_us);
        if (!(world->faults & alone))
            expect(world, error_us >= -2 * credit_us, "an outage gave units back", error_us,
                   credit_us);
    }
}

static void judge_windows(struct world *world)
{
    for (uint32_t key = 0; key < KEYS; key++)
        for (uint32_t i = 0; i < SLOTS; i++) {
            const struct cell *is = &world->admitted[key][i];
            if (!is->is_used)
                continue;
            const struct cell *store = sim_cell(world->data.cells[key], is->name);
            expect(world, store->cell.value == is->units, "a window's count",
                   (long long)store->cell.value, (long long)is->units);
        }
}

/* All nodes that know a key's newest window know what the store has. */
static void judge_views(struct world *world)
{
    for (uint32_t n = 0; n < world->node_count; n++)
        for (uint32_t i = 0; i < ROWS; i++) {
            const struct partition_row *row = &world->nodes[n].rows[i];
            if (!row->is_used)
                continue;
            uint32_t key = 0;
            while (key < KEYS - 1 && sim_key(key).low != row->key.low)
                key++;
            const struct merge_cell store = sim_cell(world->data.cells[key], row->window)->cell;
            expect(world, row->delta.base.epoch == store.epoch, "epochs differ at the end",
                   (long long)row->delta.base.epoch, (long long)store.epoch);
            expect(world, row->delta.base.value == store.value, "views differ at the end",
                   (long long)row->delta.base.value, (long long)store.value);
        }
}

void judge_end(struct world *world)
{
    const bool keeps_data = !(world->faults & FAULTS_OF_DATA);

    if (keeps_data)
        expect(world, world->data.usage == world->admitted_units, "the usage counter",
               (long long)world->data.usage, (long long)world->admitted_units);
    if (keeps_data && !is_bucket(world))
        judge_windows(world);
    if (keeps_data && is_bucket(world) && !(world->faults & FAULT_STORE_CLOCK))
        judge_buckets(world);
    judge_views(world);
    if (world->faults == 0)
        judge_use(world);
}
