/* A machine that is stopped, killed and rebooted again and again, against a model that never stops.
 *
 *   METE_SEED=1 METE_COUNT=15000 prop_snapshot      (a life of the daemon for each hundred)
 *
 * The model keeps a state per rule and key and counts time from one instant in 1970 on, for ever;
 * it knows no table, no boot and no file. The real side is engine, table and snapshot. Between two
 * lives the machine is off for a random time, is the same or another run of itself, or nobody knows
 * which; the configuration may have changed numbers, or lost a rule. After each start every key
 * answers as in the model, to the nanosecond. Where wall time went back, nobody may have gained. */
#include <inttypes.h>

#include "config/config.h"
#include "core/gcra.h"
#include "engine/engine.h"
#include "lib/random.h"
#include "table/lease.h"
#include "unit/snapshot_fixture.h"

#define RULES 8u
#define KEYS 24u
#define IDS 4u
#define ENTRIES 4096u
#define MS 1000000ull
#define SEC 1000000000ull
#define HOUR (3600 * SEC)
#define WALL_2026 1767225600000000000ull
#define CONFIGS 3u
#define LEASE_RULE 7u
#define LEASE_NS (30 * SEC)

#define TENANTS(rules) "tenants: [{name: a, rules: [" rules "]}]\n"
static const char *const texts[CONFIGS] = {
    TENANTS("{name: r0, algorithm: token_bucket, rate: 10/s, burst: 20},"
            "{name: r1, algorithm: leaky_bucket, rate: 7/m, burst: 5},"
            "{name: r2, algorithm: leaky_bucket, mode: queue, rate: 3/h, burst: 9},"
            "{name: r3, algorithm: fixed_window, limit: 50/10ms},"
            "{name: r4, algorithm: fixed_window, limit: 5/6h},"
            "{name: r5, algorithm: sliding_window, limit: 20/10s},"
            "{name: r6, algorithm: calendar, limit: 9, per: day, time_zone: UTC},"
            "{name: r7, algorithm: concurrency, limit: 6, lease: 30s}"),
    /* other numbers */
    TENANTS("{name: r0, algorithm: token_bucket, rate: 10/s, burst: 3},"
            "{name: r1, algorithm: leaky_bucket, rate: 90/m, burst: 7},"
            "{name: r2, algorithm: leaky_bucket, mode: queue, rate: 300/h, burst: 2},"
            "{name: r3, algorithm: fixed_window, limit: 30/10ms},"
            "{name: r4, algorithm: fixed_window, limit: 9/6h},"
            "{name: r5, algorithm: sliding_window, limit: 7/10s},"
            "{name: r6, algorithm: calendar, limit: 4, per: day, time_zone: UTC},"
            "{name: r7, algorithm: concurrency, limit: 2, lease: 30s}"),
    /* r0 is gone, r4 and r5 start fresh */
    TENANTS("{name: r1, algorithm: leaky_bucket, rate: 7/m, burst: 5},"
            "{name: r2, algorithm: leaky_bucket, mode: queue, rate: 3/h, burst: 9},"
            "{name: r3, algorithm: fixed_window, limit: 50/10ms},"
            "{name: r4, algorithm: token_bucket, rate: 5/h, burst: 5},"
            "{name: r5, algorithm: sliding_window, limit: 20/11s},"
            "{name: r6, algorithm: calendar, limit: 9, per: day, time_zone: UTC},"
            "{name: r7, algorithm: concurrency, limit: 6, lease: 30s}"),
};

struct held {
    uint32_t slots;
    uint64_t expires_wall_ns;
};

struct world {
    struct machine machine;
    struct config *configs[CONFIGS];
    unsigned current;
    struct table *table;
    struct engine engine;
    struct counters counters;
    struct rule_counters *rule_counters;
    uint64_t states[RULES][KEYS]; /* the model's */
    struct held leases[KEYS][IDS];
    uint64_t random;
    uint64_t lives, checks;
};

static uint64_t next_random(struct world *w)
{
    return random_next(&w->random);
}

static uint64_t below(struct world *w, uint64_t end)
{
    return next_random(w) % end;
}

static void fail(const struct world *w, const char *what, uint32_t rule, uint32_t key)
{
    printf("prop_snapshot: %s: rule r%u, key %u, life %" PRIu64 ", wall %" PRIu64 "\n", what, rule,
           key, w->lives, w->machine.wall_ns);
    exit(1);
}

static const struct tenant *tenant_of(const struct world *w)
{
    return w->configs[w->current]->tenants;
}

/* NULL: this configuration does not have it. */
static const struct rule *rule_of(const struct world *w, uint32_t number)
{
    const char name[] = {'r', (char)('0' + number), 0};
    const struct rule *rule = config_find_rule(tenant_of(w), key_name_id(name, 2));

    return rule && strcmp(rule->name, name) == 0 ? rule : NULL;
}

/* ---- the model ---- */

/* One clock for all: wall time, for buckets counted from 2026 on. */
static uint64_t model_now(const struct world *w, const struct limit *limit)
{
    return limit_is_wall(limit) ? w->machine.wall_ns : w->machine.wall_ns - WALL_2026;
}

static uint32_t slots_held(struct world *w, uint32_t key)
{
    uint32_t slots = 0;

    for (uint32_t i = 0; i < IDS; i++) {
        if (w->leases[key][i].expires_wall_ns <= w->machine.wall_ns)
            w->leases[key][i].slots = 0;
        slots += w->leases[key][i].slots;
    }
    return slots;
}

/* What a new configuration makes of the states: what engine and table do at a reload. */
static void model_change(struct world *w, unsigned before)
{
    const unsigned after = w->current;

    for (uint32_t r = 0; r < RULES; r++) {
        const struct rule *rule = rule_of(w, r);

        w->current = before;
        const struct rule *old = rule_of(w, r);
        w->current = after;
        const bool is_same =
            rule && old && rule->limit.algorithm == old->limit.algorithm &&
            (!limit_is_wall(&rule->limit) || rule->limit.interval == old->limit.interval);
        const bool is_bucket = rule && !limit_is_wall(&rule->limit) && r != LEASE_RULE;

        for (uint32_t k = 0; k < KEYS; k++) {
            uint64_t *state = &w->states[r][k];

            /* at rest is nothing: an index that stays would mean another window once it wraps */
            if (!is_same || limit_rest_after(&rule->limit, *state, model_now(w, &rule->limit)) == 0)
                *state = 0;
            else if (is_bucket)
                *state = gcra_cut(&rule->limit, *state, model_now(w, &rule->limit));
        }
    }
}

/* ---- the daemon ---- */

static void start_daemon(struct world *w)
{
    struct config *config = w->configs[w->current];
    struct table_options options = {
        .entries = ENTRIES,
        .owner_rows = 64,
        .index_secret = {next_random(w), next_random(w)},
        .boot_id = next_random(w) | 1,
        .time_base_ns = w->machine.boot_ns,
    };

    w->machine.base_ns = w->machine.boot_ns;
    if (table_create(&options, &w->table) || engine_bind_owners(w->table, config))
        abort();
    engine_init(&w->engine, config, w->table, 0, 1);
    w->engine.counters = &w->counters;
    w->engine.rule_counters = w->rule_counters;
}

static struct answer ask(struct world *w, uint32_t r, uint32_t k, enum operation operation,
                         uint32_t cost, uint64_t lease_id)
{
    struct answer answer;
    const struct instant now = machine_now(&w->machine);
    struct check check = {
        .tenant = tenant_of(w),
        .key = {.low = k * 0x9e3779b97f4a7c15ull, .high = k + 1},
        .rule_id = rule_of(w, r)->id,
        .cost = cost,
        .operation = (uint8_t)operation,
        .lease_id = lease_id,
    };

    engine_check_batch(&w->engine, &check, 1, &now, &answer);
    return answer;
}

/* Where the next step is not exact: a lease ends within the ms that its end is rounded up to. */
static bool is_near_an_end(struct world *w, uint32_t key)
{
    for (uint32_t i = 0; i < IDS; i++)
        if (w->leases[key][i].slots &&
            w->leases[key][i].expires_wall_ns + 10 * MS > w->machine.wall_ns &&
            w->leases[key][i].expires_wall_ns < w->machine.wall_ns + 10 * MS)
            return true;
    return false;
}

static void sweep(struct world *w)
{
    const struct instant now = machine_now(&w->machine);
    uint32_t cursor = 0;

    table_sweep(w->table, &cursor, ENTRIES / TABLE_GROUP_ENTRIES, &now);
    table_sweep_leases(w->table, 0, table_lease_piece_count(w->table), now.now_ns);
}

static void check_lease(struct world *w, uint32_t k)
{
    const uint32_t id = (uint32_t)below(w, IDS);
    const struct rule *rule = rule_of(w, LEASE_RULE);
    struct held *held = &w->leases[k][id];

    sweep(w);
    if (is_near_an_end(w, k))
        return;
    const uint32_t taken = slots_held(w, k);
    if (below(w, 3) == 0) {
        ask(w, LEASE_RULE, k, OPERATION_RELEASE, 1, id + 1);
        held->slots = 0;
        return;
    }
    const uint32_t cost = 1 + (uint32_t)below(w, 3);
    const struct answer answer = ask(w, LEASE_RULE, k, OPERATION_ACQUIRE, cost, id + 1);
    const bool is_allowed = answer.flags & METE_VERDICT_ALLOW;
    const bool expected = held->slots || taken + cost <= rule->limit.burst;
    if (is_allowed != expected)
        fail(w, "a lease was decided otherwise than in the model", LEASE_RULE, k);
    if (is_allowed && !held->slots)
        *held = (struct held){cost, w->machine.wall_ns + LEASE_NS};
}

/* One question to both. */
static void check(struct world *w, uint32_t r, uint32_t k, bool only_peeks)
{
    const struct rule *rule = rule_of(w, r);

    if (!rule)
        return;
    if (r == LEASE_RULE) {
        check_lease(w, k);
        return;
    }
    static const enum operation operations[] = {OPERATION_CHECK, OPERATION_CHECK,  OPERATION_CHECK,
                                                OPERATION_CHECK, OPERATION_REFUND, OPERATION_PEEK};
    const enum operation operation = only_peeks ? OPERATION_PEEK : operations[below(w, 6)];
    const uint32_t cost = 1 + (uint32_t)below(w, below(w, 4) ? 2 : 8);
    const struct step step =
        limit_apply(&rule->limit, w->states[r][k], operation, cost, model_now(w, &rule->limit));

    const struct answer answer = ask(w, r, k, operation, cost, 0);
    w->states[r][k] = step.state;
    w->checks++;
    const struct verdict *verdict = &step.verdict;
    if ((answer.flags & METE_VERDICT_ALLOW) != (verdict->decision == DECISION_ALLOW) ||
        answer.remaining != verdict->remaining ||
        answer.reset_after_ns != verdict->reset_after_ns ||
        answer.retry_after_ns != verdict->retry_after_ns) {
        printf("remaining %u, not %u; reset %" PRIu64 ", not %" PRIu64 "; retry %" PRIu64
               ", not %" PRIu64 "\n",
               answer.remaining, verdict->remaining, answer.reset_after_ns, verdict->reset_after_ns,
               answer.retry_after_ns, verdict->retry_after_ns);
        fail(w, "the answer is not the model's", r, k);
    }
}

static void pass(struct world *w, uint64_t ns)
{
    w->machine.boot_ns += ns;
    w->machine.wall_ns += ns;
}

static void live(struct world *w)
{
    const uint64_t steps = 20 + below(w, 200);

    for (uint64_t i = 0; i < steps; i++) {
        const uint32_t rule = (uint32_t)below(w, RULES); /* in this order, whoever compiles it */
        check(w, rule, (uint32_t)below(w, KEYS), false);
        if (below(w, 4) == 0)
            pass(w, below(w, below(w, 8) ? 20 * MS : 20 * SEC));
        if (below(w, 16) == 0) /* an index must not wrap before its entry is swept */
            sweep(w);
    }
    sweep(w);
}

/* ---- from one life to the next ---- */

static uint64_t random_gap(struct world *w)
{
    switch (below(w, 4)) {
    case 0:
        return below(w, 20 * MS);
    case 1:
        return below(w, 60 * SEC);
    case 2:
        return below(w, 24 * HOUR);
    default:
        return below(w, 4 * SEC);
    }
}

/* The three ways; nobody's clock is right but wall time's. */
static void restart_machine(struct world *w)
{
    const uint64_t way = below(w, 3);

    pass(w, random_gap(w));
    if (way == 0)
        return; /* only the daemon was away */
    w->machine.boot_ns = 3 * SEC + below(w, 100 * SEC);
    memset(w->machine.boot_id, 0, sizeof(w->machine.boot_id));
    for (unsigned i = 0; way == 1 && i < sizeof(w->machine.boot_id); i++)
        w->machine.boot_id[i] = (uint8_t)(1 + below(w, 255));
}

static void save_and_stop(struct world *w)
{
    struct snapshot_report report;

    if (machine_save(&w->machine, w->table, &report))
        fail(w, "it was not saved", 0, 0);
    table_destroy(w->table);
}

static void load(struct world *w, struct snapshot_loaded *ret_loaded)
{
    start_daemon(w);
    if (machine_load(&w->machine, w->table, ret_loaded) != SNAPSHOT_FINE)
        fail(w, "it was not loaded", 0, 0);
    if (ret_loaded->full || ret_loaded->implausible || ret_loaded->damaged_blocks)
        fail(w, "something was left out", 0, 0);
}

static void compare_all(struct world *w)
{
    for (uint32_t r = 0; r < RULES; r++)
        for (uint32_t k = 0; k < KEYS; k++)
            check(w, r, k, true);
}

static void one_life(struct world *w)
{
    const unsigned before = w->current;
    struct snapshot_loaded loaded;

    w->lives++;
    live(w);
    save_and_stop(w);
    restart_machine(w);
    if (below(w, 4) == 0)
        w->current = (unsigned)below(w, CONFIGS);
    model_change(w, before);
    load(w, &loaded);
    compare_all(w);
}

/* The clock of the machine that comes up is behind: what each key could take at the copy bounds
 * what it may take now. */
static void one_life_back(struct world *w)
{
    uint32_t remaining[RULES][KEYS];
    struct snapshot_loaded loaded;

    live(w);
    for (uint32_t r = 0; r < RULES; r++)
        for (uint32_t k = 0; k < KEYS && rule_of(w, r) && r != LEASE_RULE; k++) {
            const struct answer answer = ask(w, r, k, OPERATION_PEEK, 1, 0);
            remaining[r][k] = answer.remaining;
        }
    save_and_stop(w);
    const uint64_t back_ns = 1 + below(w, below(w, 2) ? 30 * 24 * HOUR : 60 * SEC);
    w->machine.wall_ns -= back_ns;
    w->machine.boot_ns = 5 * SEC;
    w->machine.boot_id[0]++;
    load(w, &loaded);
    if (loaded.went_back_ns != back_ns || loaded.elapsed_ns != 0)
        fail(w, "it was not noticed that the clock went back", 0, 0);
    for (uint32_t r = 0; r < RULES; r++)
        for (uint32_t k = 0; k < KEYS && rule_of(w, r) && r != LEASE_RULE; k++) {
            const struct answer answer = ask(w, r, k, OPERATION_PEEK, 1, 0);
            if (answer.remaining > remaining[r][k])
                fail(w, "somebody gained by a clock that went back", r, k);
        }
    w->machine.wall_ns += back_ns; /* a new world: the model cannot say what is right here */
    table_destroy(w->table);
    memset(w->states, 0, sizeof(w->states));
    memset(w->leases, 0, sizeof(w->leases));
    start_daemon(w);
}

int main(void)
{
    const uint64_t count = random_count(15000) / 100;
    struct world *w = aligned_alloc(128, (sizeof(*w) + 127) / 128 * 128);
    char error[512];

    if (!w)
        return 1;
    memset(w, 0, sizeof(*w));
    w->random = random_seed(1);
    printf("prop_snapshot: METE_SEED=%" PRIu64 " METE_COUNT=%" PRIu64 "\n", w->random, count * 100);
    for (unsigned i = 0; i < CONFIGS; i++) {
        w->configs[i] = config_parse("prop.yaml", texts[i], strlen(texts[i]), error, sizeof(error));
        if (!w->configs[i]) {
            printf("%s\n", error);
            return 1;
        }
    }
    w->rule_counters = calloc(64, sizeof(*w->rule_counters));
    w->machine.boot_ns = 1000 * SEC;
    w->machine.wall_ns = WALL_2026 + 100 * 24 * HOUR;
    w->machine.boot_id[0] = 1;
    if (!w->rule_counters || machine_open(&w->machine))
        return 1;
    start_daemon(w);
    for (uint64_t i = 0; i < count; i++) {
        if (i % 8 == 7)
            one_life_back(w);
        else
            one_life(w);
    }
    table_destroy(w->table);
    machine_close(&w->machine);
    for (unsigned i = 0; i < CONFIGS; i++)
        config_destroy(w->configs[i]);
    free(w->rule_counters);
    printf("%" PRIu64 " lives, %" PRIu64 " answers as in the model\n", w->lives, w->checks);
    free(w);
    return 0;
}
