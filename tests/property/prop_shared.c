/* Random operations on shared rules by two threads' engines over one table, and a replication
 * thread that drains at random, against a list of what was admitted: per key and window, exactly
 *
 *   admitted - given back = drained + told apart + pending
 *
 * through evictions (the table is far too small), sweeps, resets, refunds, groups, windows that
 * pass, charges that do not fit, adoptions, and a store that is lost now and then. With rings that
 * are too small the same holds per key with what was counted as lost.
 *
 *   METE_SEED=1 METE_COUNT=400000 prop_shared */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "core/share.h"
#include "engine/shared.h"
#include "lib/random.h"
#include "replica/shared_state.h"
#include "table/shared.h"

#define THREADS 2u
#define RULES 5u
#define KEYS 40u
#define WINDOWS 4u /* of one key that can have anything untold at one time */
#define ENTRIES 64u
#define SMALL_RING RING_MIN_CELLS
#define LARGE_RING (1u << 16)
#define DEMANDS 16u
#define ALL_HAPPENS 40000u /* operations in which everything does */
#define WALL_2026 1767225600000000000ull

static const char text[] =
    "tenants:\n"
    "  - name: a\n"
    "    rules:\n"
    "      - {name: r0, algorithm: token_bucket, rate: 1000/s, burst: 20}\n"
    "      - {name: r1, algorithm: leaky_bucket, mode: queue, rate: 1000/s, burst: 20}\n"
    "      - {name: r2, algorithm: fixed_window, limit: 50/10ms}\n"
    "      - {name: r3, algorithm: sliding_window, limit: 50/10ms}\n"
    "      - {name: r4, algorithm: token_bucket, rate: 1000000000/s, burst: 4000000000}\n";

struct tally { /* of a key: what was admitted less what was told, by window */
    uint64_t window[WINDOWS];
    int64_t open[WINDOWS];
    int64_t sum;
};

struct world {
    struct config *config;
    struct table *table;
    const struct tenant *tenant;
    const struct rule *rules[RULES];
    struct engine engines[THREADS];
    struct engine_shared shared[THREADS];
    struct shared_state state;
    struct ring rings[THREADS];
    struct demand demands[THREADS];
    struct counters *counters;
    struct rule_counters *rule_counters;
    struct tally tallies[RULES][KEYS];
    struct instant now;
    uint64_t random;
    uint64_t cursor;
    uint32_t sweep_cursor;
    bool is_tight; /* rings are small: windows are not told apart */
    uint64_t told[RING_RESET + 1];
};

static uint64_t next_random(struct world *w)
{
    return random_next(&w->random);
}

static uint32_t below(struct world *w, uint32_t end)
{
    return (uint32_t)(next_random(w) >> 32) % end;
}

static struct key key_of(uint32_t number)
{
    return (struct key){.low = 0x1234567 * (number + 1ull), .high = number};
}

static void fail(const struct world *w, const char *what, uint32_t rule, uint32_t key)
{
    printf("prop_shared: %s: rule r%u, key %u, at %" PRIu64 " ns%s\n", what, rule, key,
           w->now.now_ns, w->is_tight ? ", small rings" : "");
    exit(1);
}

static void add(struct world *w, uint32_t rule, uint32_t key, uint64_t window, int64_t units)
{
    struct tally *tally = &w->tallies[rule][key];
    unsigned free = WINDOWS;

    tally->sum += units;
    for (unsigned i = 0; i < WINDOWS; i++) {
        if (tally->open[i] != 0 && tally->window[i] == window) {
            tally->open[i] += units;
            return;
        }
        if (tally->open[i] == 0)
            free = i;
    }
    if (free == WINDOWS && !w->is_tight)
        fail(w, "units of too many windows are not told", rule, key);
    if (free < WINDOWS) {
        tally->window[free] = window;
        tally->open[free] = units;
    }
}

/* ---- what is told ---- */

static void told(struct world *w, uint32_t owner, struct key key, uint64_t window, int64_t units)
{
    for (uint32_t rule = 0; rule < RULES; rule++)
        if (w->rules[rule]->index == owner)
            add(w, rule, (uint32_t)key.high, window, -units);
}

static void drain_entry(struct world *w, uint64_t index)
{
    struct table_drained drained;

    if (!table_drain(w->table, index, &drained) || drained.units == 0)
        return;
    for (uint32_t rule = 0; rule < RULES; rule++)
        if (w->rules[rule]->index == drained.owner)
            told(w, drained.owner, drained.key, share_window(&w->rules[rule]->limit, drained.state),
                 drained.units);
}

static void pop_all(struct world *w)
{
    struct ring_event event;

    for (unsigned i = 0; i < THREADS; i++) {
        while (ring_pop(&w->rings[i], &event)) {
            w->told[event.kind]++;
            if (event.kind == RING_DIRTY)
                drain_entry(w, event.index);
            else if (event.kind == RING_AMOUNT)
                told(w, event.owner, event.key, event.window, event.units);
        }
    }
}

/* What found no room in a ring. */
static void sweep_pending(struct world *w, uint32_t groups)
{
    uint64_t indices[ENTRIES];
    uint32_t count = table_sweep_pending(w->table, &w->cursor, groups, false, indices, ENTRIES);

    for (uint32_t i = 0; i < count; i++)
        drain_entry(w, indices[i]);
}

/* Some view of some key, as the replicator would: pending stays. */
static void adopt(struct world *w)
{
    uint32_t rule = below(w, RULES);
    const struct limit *limit = &w->rules[rule]->limit;
    struct table_probe probe = table_probe(w->table, key_of(below(w, KEYS)), w->rules[rule]->index);
    struct table_ref ref;

    if (limit_is_wall(limit) || table_find(w->table, &probe, &ref) != TABLE_FOUND)
        return;
    uint64_t state = gcra_ticks(w->now.now_ns + below(w, 20000000));

    if (!table_adopt(w->table, &ref, state, (uint8_t)below(w, SHARE_MAX + 1)))
        fail(w, "an adoption without a rival failed", rule, 0);
}

/* ---- operations ---- */

static uint64_t window_now(const struct world *w, uint32_t rule)
{
    return share_window_at(&w->rules[rule]->limit, w->now.wall_ns);
}

static uint32_t random_cost(struct world *w, uint32_t rule)
{
    if (rule == 4 && below(w, 8) == 0)
        return TABLE_PENDING_MAX - 4 + below(w, 100000000); /* about what fits, and beyond */
    return below(w, 16) == 0 ? below(w, 60) : below(w, 4);
}

static void operate(struct world *w, unsigned thread)
{
    static const enum operation operations[] = {
        OPERATION_CHECK,  OPERATION_CHECK,  OPERATION_CHECK, OPERATION_CHECK, OPERATION_AT_MOST,
        OPERATION_REFUND, OPERATION_REFUND, OPERATION_PEEK,  OPERATION_RESET};
    struct check checks[4];
    struct answer answers[4];
    uint32_t rules[4], keys[4];
    uint32_t count = 1 + below(w, 4);
    bool is_group = below(w, 4) == 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t operation = is_group ? 0 : below(w, sizeof operations / sizeof *operations);

        if (operations[operation] == OPERATION_RESET && below(w, 8))
            operation = 0;
        rules[i] = below(w, RULES);
        keys[i] = below(w, KEYS);
        checks[i] = (struct check){
            .tenant = w->tenant,
            .key = key_of(keys[i]),
            .rule_id = w->rules[rules[i]]->id,
            .cost = random_cost(w, rules[i]),
            .operation = (uint8_t)operations[operation],
        };
    }
    checks[0].group_count = is_group ? (uint8_t)count : 0;
    engine_check_batch(&w->engines[thread], checks, count, &w->now, answers);
    for (uint32_t i = 0; i < count; i++) {
        bool takes =
            !(answers[i].flags & METE_VERDICT_NOT_CHARGED) &&
            (checks[i].operation == OPERATION_CHECK || checks[i].operation == OPERATION_AT_MOST);

        if (answers[i].status == METE_STATUS_OK && takes)
            add(w, rules[i], keys[i], window_now(w, rules[i]), answers[i].granted);
        if (checks[i].operation == OPERATION_REFUND)
            add(w, rules[i], keys[i], window_now(w, rules[i]), -(int64_t)checks[i].cost);
    }
}

/* ---- the world ---- */

static void make(struct world *w, uint64_t seed, bool is_tight)
{
    char error[256];
    uint64_t cells = is_tight ? SMALL_RING : LARGE_RING;

    memset(w, 0, sizeof *w);
    w->random = seed;
    w->is_tight = is_tight;
    w->config = config_parse("test", text, sizeof text - 1, error, sizeof error);
    if (!w->config)
        fail(w, error, 0, 0);
    w->tenant = &w->config->tenants[0];
    for (uint32_t i = 0; i < RULES; i++) {
        char name[] = {'r', (char)('0' + i), 0};
        struct rule *rule = (struct rule *)config_find_rule(w->tenant, key_name_id(name, 2));

        rule->limit.sync = SYNC_SHARED;
        rule->limit.on_loss = (uint8_t)(next_random(w) % 3);
        w->rules[i] = rule;
    }
    struct table_options options = {.entries = ENTRIES,
                                    .owner_rows = w->config->index_count,
                                    .index_secret = {next_random(w), next_random(w)},
                                    .boot_id = 1};

    w->counters = aligned_alloc(128, sizeof *w->counters);
    w->rule_counters = calloc(w->config->index_count, sizeof *w->rule_counters);
    if (!w->counters || !w->rule_counters || table_create(&options, &w->table) ||
        engine_bind_owners(w->table, w->config))
        abort();
    memset(w->counters, 0, sizeof *w->counters);
    shared_state_init(&w->state);
    for (unsigned i = 0; i < THREADS; i++) {
        ring_init(&w->rings[i], calloc(cells, sizeof(struct ring_cell)), cells);
        demand_init(&w->demands[i], calloc(DEMANDS, sizeof(_Atomic uint64_t)), DEMANDS);
        engine_init(&w->engines[i], w->config, w->table, i, THREADS);
        w->engines[i].counters = w->counters;
        w->engines[i].rule_counters = w->rule_counters;
        w->shared[i] = (struct engine_shared){
            .ring = &w->rings[i], .demand = &w->demands[i], .state = &w->state};
        engine_share(&w->engines[i], &w->shared[i]);
    }
    w->now = (struct instant){.now_ns = 1000000000, .wall_ns = WALL_2026};
}

static void destroy(struct world *w)
{
    for (unsigned i = 0; i < THREADS; i++) {
        free(w->rings[i].cells);
        free((void *)w->demands[i].cells);
    }
    table_destroy(w->table);
    config_destroy(w->config);
    free(w->counters);
    free(w->rule_counters);
}

static void step(struct world *w)
{
    uint32_t dice = below(w, 100);
    uint64_t passed_ns = below(w, 8) ? below(w, 20000) : below(w, 12000000);

    w->now.now_ns += passed_ns;
    w->now.wall_ns += passed_ns;
    if (dice < 80)
        operate(w, below(w, THREADS));
    else if (dice < 86)
        adopt(w);
    else if (dice < 90)
        table_sweep(w->table, &w->sweep_cursor, 4, &w->now);
    else if (dice < 92)
        sweep_pending(w, 2);
    else if (dice < 93)
        atomic_store(&w->state.is_degraded, below(w, 2));
    else if (dice < 94)
        atomic_store(&w->state.first_share, (uint8_t)below(w, SHARE_MAX + 1));
    else
        pop_all(w);
    if (!w->is_tight && passed_ns > 20000)
        pop_all(w); /* else more windows pass than the tally holds */
}

/* Everything is told: nothing may be left of anything but what was lost. */
static void judge(struct world *w)
{
    uint64_t missing = 0;

    for (unsigned i = 0; i < THREADS; i++)
        ring_publish(&w->rings[i]);
    pop_all(w);
    w->cursor = 0;
    sweep_pending(w, ENTRIES / TABLE_GROUP_ENTRIES);
    for (uint32_t rule = 0; rule < RULES; rule++) {
        for (uint32_t key = 0; key < KEYS; key++) {
            struct tally *tally = &w->tallies[rule][key];

            for (unsigned i = 0; i < WINDOWS && !w->is_tight; i++)
                if (tally->open[i] != 0)
                    fail(w, "units of a window are lost, or told twice", rule, key);
            if (tally->sum != 0 && !w->is_tight)
                fail(w, "units are lost, or told twice", rule, key);
            missing += (uint64_t)(tally->sum < 0 ? -tally->sum : tally->sum);
        }
    }
    uint64_t lost = counter_read(&w->counters->cell[COUNTER_REPLICA_LOST]);

    if (missing > lost || (!w->is_tight && lost))
        fail(w, "more is missing than was counted as lost", 0, 0);
}

int main(void)
{
    uint64_t seed = random_seed(1), count = random_count(400000);
    uint64_t told_events[RING_RESET + 1] = {0}, lost = 0, refused = 0;
    static struct world world;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (uint64_t done = 0; done < count; done += 4000) {
        make(&world, seed ^ done << 20, done / 4000 % 4 == 3);
        for (unsigned i = 0; i < 4000; i++)
            step(&world);
        judge(&world);
        for (unsigned i = 0; i <= RING_RESET; i++)
            told_events[i] += world.told[i];
        lost += counter_read(&world.counters->cell[COUNTER_REPLICA_LOST]);
        refused += ring_refused(&world.rings[0]) + ring_refused(&world.rings[1]);
        destroy(&world);
    }
    if (count >= ALL_HAPPENS && (!told_events[RING_DIRTY] || !told_events[RING_AMOUNT] ||
                                 !told_events[RING_RESET] || !lost || !refused)) {
        printf("prop_shared: seed %" PRIu64 ": something never happened\n", seed);
        return 1;
    }
    printf("prop_shared: %" PRIu64 " operations, seed %" PRIu64 ": %" PRIu64 " drains, %" PRIu64
           " amounts, %" PRIu64 " resets; every unit told once\n",
           count, seed, told_events[RING_DIRTY], told_events[RING_AMOUNT], told_events[RING_RESET]);
    return 0;
}
