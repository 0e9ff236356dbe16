/* What must hold, by what really happened. */
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

static void note_excess(struct world *world, int64_t excess)
{
    if (excess > world->excess)
        world->excess = excess;
}

void judge_charge(struct world *world, uint32_t key, uint64_t window, uint32_t cost)
{
    struct cell *cell = sim_cell(world->admitted[key], window);
    const uint64_t now = true_ticks(world);
    uint64_t *x = &world->central[key];

    cell->units += cost;
    world->admitted_units += cost;
    if (!is_bucket(world)) {
        if (world->limit.algorithm != ALGORITHM_SLIDING_WINDOW)
            note_excess(world, (int64_t)cell->units - world->limit.burst);
        return;
    }
    const uint64_t most = now + world->limit.tolerance + world->debt_us * TICKS_PER_US;
    *x = (*x > now ? *x : now) + cost * world->limit.interval;
    note_excess(world, (int64_t)(*x - now - world->limit.tolerance));
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

/* How much the store merged of one key within the time that a node's view may be old. */
void judge_step(struct world *world)
{
    const uint64_t step = (uint64_t)(world->now_ns / STEP_NS);

    for (uint32_t key = 0; key < KEYS; key++) {
        uint64_t *then = &world->merged_us[key][step % STALE_STEPS];
        const uint64_t merged = world->merged[key] - *then;
        if (step >= STALE_STEPS && merged > world->most_merged)
            world->most_merged = merged;
        if (step < STALE_STEPS && world->merged[key] > world->most_merged)
            world->most_merged = world->merged[key];
        *then = world->merged[key];
    }
}

static void judge_limit(struct world *world)
{
    const uint64_t unit = is_bucket(world) ? world->limit.interval : 1;
    const uint64_t merged = world->most_merged * (is_bucket(world) ? TICKS_PER_US : 1);
    const uint64_t bound = merged + world->node_count * MOST_COST * unit;
    /* the whole quota, as admitted from all keys; a window's by its length */
    const double time_ns = (double)STOP_NS;
    const double rate = is_bucket(world) ? 16.0 / (double)world->limit.interval
                                         : world->limit.burst / ((double)world->limit.interval);

    expect(world, world->excess <= (int64_t)bound, "more passed than the bound says", world->excess,
           (long long)bound);
    if (world->overload_percent < 200 || world->limit.algorithm == ALGORITHM_CALENDAR)
        return;
    expect(world, (double)world->admitted_units > 0.9 * rate * time_ns * KEYS,
           "less than the limit was given", (long long)world->admitted_units,
           (long long)(rate * time_ns * KEYS));
}

static void judge_buckets(struct world *world)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        const struct cell *cell = sim_cell(world->data.cells[key], 0);
        const int64_t merged_us = (int64_t)cell->cell.value - world->store_ns / 1000;
        const int64_t central_us = (int64_t)(world->central[key] / TICKS_PER_US);
        const int64_t error_us = merged_us - central_us;
        const int64_t f_us = (int64_t)world->oldest_ns / 1000 + NODES + 2;
        const int64_t tau_us = (int64_t)(world->limit.tolerance / TICKS_PER_US);
        if (central_us == 0)
            continue;
        if (world->old_count == 0)
            expect(world, error_us <= f_us && error_us >= -f_us, "the merge is off by more than F",
                   error_us, f_us);
        expect(world, error_us <= tau_us + f_us, "stricter by more than a full bucket", error_us,
               tau_us);
        if (!(world->faults & FAULT_CUT) && !(world->faults & FAULT_KILL))
            expect(world, error_us >= -2 * f_us, "an outage gave units back", error_us, f_us);
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
        judge_limit(world);
}
