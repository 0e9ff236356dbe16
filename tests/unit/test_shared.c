/* The engine on shared and exact rules, and what the replication thread finds: pending, rings,
 * demand, loss of the store, grants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "config/config.h"
#include "core/grant.h"
#include "core/share.h"
#include "engine/shared.h"
#include "replica/shared_state.h"
#include "table/shared.h"

#define SEC 1000000000ull
#define WALL 1767225600000000000ull
#define CELLS 64u

static const char text[] = "tenants:\n"
                           "  - name: a\n"
                           "    rules:\n"
                           "      - {name: s, algorithm: token_bucket, rate: 10/s, burst: 10}\n"
                           "      - {name: w, algorithm: fixed_window, limit: 10/10s}\n"
                           "      - {name: x, algorithm: token_bucket, rate: 10/s, burst: 10}\n"
                           "      - {name: l, algorithm: token_bucket, rate: 10/s, burst: 10}\n"
                           "      - {name: big, algorithm: token_bucket, rate: 1000000/s, "
                           "burst: 100000000}\n";

struct fixture {
    struct config *config;
    struct table *table;
    struct engine engine;
    struct engine_shared shared;
    struct shared_state state;
    struct ring ring;
    struct ring_cell cells[CELLS];
    struct demand demand;
    _Atomic uint64_t demands[16];
    struct counters *counters;
    struct rule_counters *rule_counters;
    struct instant now;
};

static struct rule *rule_of(struct fixture *f, const char *name)
{
    return (struct rule *)config_find_rule(&f->config->tenants[0], key_name_id(name, strlen(name)));
}

static int setup(void **state)
{
    struct fixture *f = aligned_alloc(128, (sizeof *f + 127) & ~(size_t)127);
    char error[256];
    memset(f, 0, sizeof *f);
    f->config = config_parse("test", text, sizeof text - 1, error, sizeof error);
    assert_non_null(f->config);
    rule_of(f, "s")->limit.sync = SYNC_SHARED;
    rule_of(f, "w")->limit.sync = SYNC_SHARED;
    rule_of(f, "big")->limit.sync = SYNC_SHARED;
    rule_of(f, "x")->limit.sync = SYNC_EXACT;
    rule_of(f, "x")->limit.on_loss = LOSS_DENY;
    struct table_options options = {
        .entries = 64, .owner_rows = f->config->index_count, .boot_id = 1};
    assert_int_equal(table_create(&options, &f->table), 0);
    assert_int_equal(engine_bind_owners(f->table, f->config), 0);
    assert_true(f->config->tenants[0].has_exact);
    f->counters = aligned_alloc(128, sizeof *f->counters);
    memset(f->counters, 0, sizeof *f->counters);
    f->rule_counters = calloc(f->config->index_count, sizeof *f->rule_counters);
    engine_init(&f->engine, f->config, f->table, 0, 1);
    f->engine.counters = f->counters;
    f->engine.rule_counters = f->rule_counters;
    shared_state_init(&f->state);
    ring_init(&f->ring, f->cells, CELLS);
    demand_init(&f->demand, f->demands, 16);
    f->shared = (struct engine_shared){.ring = &f->ring, .demand = &f->demand, .state = &f->state};
    engine_share(&f->engine, &f->shared);
    f->now = (struct instant){.now_ns = SEC, .wall_ns = WALL};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    table_destroy(f->table);
    config_destroy(f->config);
    free(f->counters);
    free(f->rule_counters);
    free(f);
    return 0;
}

static struct check check_of(struct fixture *f, const char *rule, uint64_t key, uint32_t cost)
{
    return (struct check){
        .tenant = &f->config->tenants[0],
        .key = {.low = key, .high = ~key},
        .rule_id = key_name_id(rule, strlen(rule)),
        .cost = cost,
        .operation = OPERATION_CHECK,
    };
}

static struct answer run(struct fixture *f, struct check check)
{
    struct answer answer;
    engine_check_batch(&f->engine, &check, 1, &f->now, &answer);
    assert_int_equal(answer.status, METE_STATUS_OK);
    return answer;
}

static struct answer ask(struct fixture *f, const char *rule, uint64_t key, uint32_t cost)
{
    return run(f, check_of(f, rule, key, cost));
}

static struct answer operate(struct fixture *f, const char *rule, uint64_t key, uint32_t cost,
                             enum operation operation)
{
    struct check check = check_of(f, rule, key, cost);
    check.operation = (uint8_t)operation;
    return run(f, check);
}

static bool is_allowed(struct answer answer)
{
    return answer.flags & METE_VERDICT_ALLOW;
}

static struct ring_event pop(struct fixture *f, enum ring_kind kind)
{
    struct ring_event event;
    assert_true(ring_pop(&f->ring, &event));
    assert_int_equal(event.kind, kind);
    return event;
}

static void assert_silent(struct fixture *f)
{
    struct ring_event event;
    assert_false(ring_pop(&f->ring, &event));
}

static struct table_probe probe_of(struct fixture *f, const char *rule, uint64_t key)
{
    return table_probe(f->table, (struct key){.low = key, .high = ~key}, rule_of(f, rule)->index);
}

static void grant(struct fixture *f, uint64_t key, struct grant grant)
{
    struct table_probe probe = probe_of(f, "x", key);
    const struct table_taker taker = {.on_full = TABLE_REFUSE};
    struct table_ref ref;
    assert_true(table_find_or_claim_by(f->table, &probe, &taker, &f->now, &ref) != TABLE_FULL);
    assert_true(table_adopt(f->table, &ref, grant_pack(&rule_of(f, "x")->limit, &grant),
                            TABLE_SHARE_GRANT));
}

/* ---- shared ---- */

static void charges_are_pending_until_drained(void **state)
{
    struct fixture *f = *state;
    struct table_drained drained;
    assert_true(is_allowed(ask(f, "s", 1, 2)));
    struct ring_event event = pop(f, RING_DIRTY);
    assert_true(event.is_new);
    assert_int_equal(event.first_ns, f->now.now_ns);
    assert_true(is_allowed(ask(f, "s", 1, 3)));
    assert_silent(f); /* it is dirty */
    assert_true(table_drain(f->table, event.index, &drained));
    assert_int_equal(drained.units, 5);
    assert_int_equal(drained.key.low, 1);
    assert_int_equal(drained.owner, rule_of(f, "s")->index);
    assert_int_equal(drained.state, gcra_ticks(f->now.now_ns + SEC / 2));
    bool parity = drained.parity;
    assert_true(table_drain(f->table, event.index, &drained));
    assert_int_equal(drained.units, 0);
    assert_int_equal(drained.parity, parity); /* nothing was written */
    assert_true(is_allowed(ask(f, "s", 1, 1)));
    event = pop(f, RING_DIRTY);
    assert_false(event.is_new);
    assert_true(table_drain(f->table, event.index, &drained));
    assert_int_equal(drained.units, 1);
    assert_int_not_equal(drained.parity, parity);
}

static void local_rules_tell_nothing(void **state)
{
    struct fixture *f = *state;
    assert_true(is_allowed(ask(f, "l", 1, 2)));
    operate(f, "l", 1, 1, OPERATION_REFUND);
    operate(f, "l", 1, 1, OPERATION_RESET);
    assert_silent(f);
}

static void denied_is_demand(void **state)
{
    struct fixture *f = *state;
    uint32_t cursor = 0, units;
    uint64_t index;
    assert_true(is_allowed(ask(f, "s", 1, 9)));
    assert_false(is_allowed(ask(f, "s", 1, 2)));
    assert_false(is_allowed(ask(f, "s", 1, 3)));
    assert_false(is_allowed(operate(f, "s", 1, 3, OPERATION_PEEK))); /* wants nothing */
    struct ring_event event = pop(f, RING_DIRTY);
    assert_true(demand_drain(&f->demand, &cursor, &index, &units));
    assert_int_equal(index, event.index);
    assert_int_equal(units, 5);
    assert_false(demand_drain(&f->demand, &cursor, &index, &units));
}

static void shares_stand_in_the_entry(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->state.first_share, 8); /* a half */
    unsigned admitted = 0;
    while (is_allowed(ask(f, "s", 1, 1)))
        admitted++;
    assert_int_equal(admitted, 5);
    atomic_store(&f->state.first_share, 0);
    assert_false(is_allowed(ask(f, "s", 1, 1)));
    struct table_probe probe = probe_of(f, "s", 1);
    struct table_ref ref;
    assert_int_equal(table_find(f->table, &probe, &ref), TABLE_FOUND);
    assert_int_equal(table_share(&ref), 8);
    assert_int_equal(table_pending(&ref), 5);
    assert_true(table_adopt(f->table, &ref, gcra_ticks(f->now.now_ns), 16)); /* a quarter */
    admitted = 0;
    while (is_allowed(ask(f, "s", 1, 1)))
        admitted++;
    assert_int_equal(admitted, 3);
    assert_int_equal(table_find(f->table, &probe, &ref), TABLE_FOUND);
    assert_int_equal(table_pending(&ref), 8);
}

static void passed_windows_are_told_apart(void **state)
{
    struct fixture *f = *state;
    const struct limit *limit = &rule_of(f, "w")->limit;
    struct table_drained drained;
    ask(f, "w", 1, 4);
    uint64_t window = share_window_at(limit, f->now.wall_ns);
    f->now.wall_ns += 10 * SEC;
    ask(f, "w", 1, 3);
    struct ring_event dirty = pop(f, RING_DIRTY);
    struct ring_event event = pop(f, RING_AMOUNT);
    assert_int_equal(event.units, 4);
    assert_int_equal(event.window, window);
    assert_int_equal(event.key.low, 1);
    assert_int_equal(event.owner, dirty.index ? rule_of(f, "w")->index : event.owner);
    assert_true(table_drain(f->table, dirty.index, &drained));
    assert_int_equal(drained.units, 3);
    assert_int_equal(share_window(limit, drained.state), window + 1);
    operate(f, "w", 1, 3, OPERATION_REFUND); /* its window keeps its name */
    assert_true(table_drain(f->table, pop(f, RING_DIRTY).index, &drained));
    assert_int_equal(drained.units, -3);
    assert_int_equal(share_window(limit, drained.state), window + 1);
    assert_int_equal(ask(f, "w", 1, 0).remaining, 10);
}

static void resets_tell_what_was_before(void **state)
{
    struct fixture *f = *state;
    ask(f, "s", 1, 4);
    operate(f, "s", 1, 1, OPERATION_RESET);
    pop(f, RING_DIRTY);
    assert_int_equal(pop(f, RING_AMOUNT).units, 4);
    assert_int_equal(pop(f, RING_RESET).key.low, 1);
    assert_int_equal(ask(f, "s", 1, 0).remaining, 10);
    operate(f, "s", 2, 1, OPERATION_RESET); /* another node may know it */
    assert_int_equal(pop(f, RING_RESET).key.low, 2);
    operate(f, "s", 3, 2, OPERATION_REFUND);
    assert_int_equal(pop(f, RING_AMOUNT).units, -2);
    assert_silent(f);
}

static void what_does_not_fit_is_told(void **state)
{
    struct fixture *f = *state;
    struct table_drained drained;
    assert_true(is_allowed(ask(f, "big", 1, TABLE_PENDING_MAX)));
    assert_true(is_allowed(ask(f, "big", 1, 2)));
    assert_true(is_allowed(ask(f, "big", 2, 50000000)));
    struct ring_event event = pop(f, RING_DIRTY);
    assert_int_equal(pop(f, RING_AMOUNT).units, 2);
    assert_int_equal(pop(f, RING_AMOUNT).units, 50000000);
    assert_silent(f);
    assert_true(table_drain(f->table, event.index, &drained));
    assert_int_equal(drained.units, TABLE_PENDING_MAX);
}

static void a_full_ring_is_made_up_for(void **state)
{
    struct fixture *f = *state;
    struct ring_event event;
    uint64_t cursor = 0, indices[64];
    struct table_drained drained;
    uint32_t sum = 0;
    for (uint64_t key = 0; key < CELLS; key++)
        if (is_allowed(ask(f, "s", key, 1)))
            sum++;
    for (uint64_t key = 0; key < CELLS; key++)
        sum += is_allowed(ask(f, "s", key, 1));
    assert_true(ring_refused(&f->ring) > 0);
    while (ring_pop(&f->ring, &event)) {
        if (event.kind == RING_DIRTY && table_drain(f->table, event.index, &drained))
            sum -= (uint32_t)drained.units;
        else if (event.kind == RING_AMOUNT)
            sum -= (uint32_t)event.units;
    }
    uint32_t count = table_sweep_pending(f->table, &cursor, 16, indices, 64);
    assert_true(count > 0);
    for (uint32_t i = 0; i < count; i++)
        if (table_drain(f->table, indices[i], &drained))
            sum -= (uint32_t)drained.units;
    assert_int_equal(sum, counter_read(&f->counters->cell[COUNTER_REPLICA_LOST]));
    assert_int_equal(table_sweep_pending(f->table, &cursor, 16, indices, 64), 0);
}

static void evicted_pending_is_told(void **state)
{
    struct fixture *f = *state;
    struct ring_event event;
    struct table_drained drained;
    int64_t sum = 0, admitted = 0;
    for (uint64_t key = 0; key < 1000; key++) {
        admitted += is_allowed(ask(f, "s", key, 2)) ? 2 : 0;
        while (ring_pop(&f->ring, &event))
            if (event.kind == RING_AMOUNT)
                sum += event.units;
    }
    assert_true(sum > 0);
    for (uint64_t index = 0; index < 64; index++)
        if (table_drain(f->table, index, &drained))
            sum += drained.units;
    assert_int_equal(sum, admitted);
}

static void the_sweep_leaves_what_is_pending(void **state)
{
    struct fixture *f = *state;
    struct table_drained drained;
    uint32_t cursor = 0;
    ask(f, "s", 1, 2);
    f->now.now_ns += 100 * SEC;
    assert_int_equal(table_sweep(f->table, &cursor, 16, &f->now), 0);
    assert_true(table_drain(f->table, pop(f, RING_DIRTY).index, &drained));
    assert_int_equal(drained.units, 2);
    assert_int_equal(table_sweep(f->table, &cursor, 16, &f->now), 1);
}

static void without_the_store(void **state)
{
    struct fixture *f = *state;
    struct limit *limit = &rule_of(f, "s")->limit;
    atomic_store(&f->state.first_share, 16); /* a quarter */
    atomic_store(&f->state.is_degraded, true);
    struct answer answer;
    unsigned admitted = 0;
    while (is_allowed(answer = ask(f, "s", 1, 1))) {
        assert_true(answer.flags & METE_VERDICT_DEGRADED);
        admitted++;
    }
    assert_true(answer.flags & METE_VERDICT_DEGRADED);
    assert_int_equal(admitted, 3);
    limit->on_loss = LOSS_FULL;
    for (admitted = 0; is_allowed(ask(f, "s", 2, 1)); admitted++)
        ;
    assert_int_equal(admitted, 10);
    limit->on_loss = LOSS_DENY;
    answer = ask(f, "s", 3, 1);
    assert_int_equal(answer.flags, METE_VERDICT_DEGRADED);
    assert_int_equal(answer.retry_after_ns, SHARED_LOSS_RETRY_NS);
    assert_int_equal(answer.remaining, 0);
    atomic_store(&f->state.is_degraded, false);
    answer = ask(f, "s", 3, 1);
    assert_int_equal(answer.flags, METE_VERDICT_ALLOW);
}

/* ---- exact ---- */

static void exact_waits_for_a_grant(void **state)
{
    struct fixture *f = *state;
    struct engine_wait wait;
    struct check checks[4] = {check_of(f, "x", 1, 2), check_of(f, "l", 1, 1),
                              check_of(f, "x", 1, 3), check_of(f, "x", 2, 1)};
    assert_true(engine_must_wait(&f->engine, checks, 4, &f->now, false, &wait));
    assert_silent(f);
    assert_true(engine_must_wait(&f->engine, checks, 4, &f->now, true, &wait));
    assert_int_equal(pop(f, RING_WANT).units, 2);
    assert_int_equal(pop(f, RING_WANT).units, 3);
    struct ring_event event = pop(f, RING_WANT);
    assert_int_equal(event.units, 1);
    assert_int_equal(event.key.low, 2);
    assert_silent(f);
    assert_false(engine_has_news(&f->engine, &wait));
    grant(f, 1, (struct grant){.units = 4});
    assert_true(engine_has_news(&f->engine, &wait));
    assert_true(engine_must_wait(&f->engine, checks, 4, &f->now, true, &wait));
    assert_int_equal(pop(f, RING_WANT).units, 1); /* the third has all but one */
    assert_int_equal(pop(f, RING_WANT).key.low, 2);
    grant(f, 1, (struct grant){.units = 5});
    grant(f, 2, (struct grant){.units = 1});
    assert_false(engine_must_wait(&f->engine, checks, 4, &f->now, true, &wait));
    struct answer answers[4];
    engine_check_batch(&f->engine, checks, 4, &f->now, answers);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(answers[i].flags, METE_VERDICT_ALLOW);
    assert_silent(f); /* the store charged them before */
}

static void exact_who_cannot_wait_is_denied(void **state)
{
    struct fixture *f = *state;
    struct answer answer = ask(f, "x", 1, 2);
    assert_int_equal(answer.flags, 0);
    assert_int_equal(answer.retry_after_ns, SHARED_ASK_RETRY_NS);
    assert_int_equal(pop(f, RING_WANT).units, 2);
    grant(f, 1, (struct grant){.units = 2});
    assert_true(is_allowed(ask(f, "x", 1, 2)));
    assert_false(is_allowed(ask(f, "x", 1, 1)));
    assert_int_equal(pop(f, RING_WANT).units, 1);
}

static void exact_known_denied(void **state)
{
    struct fixture *f = *state;
    struct engine_wait wait;
    struct check check = check_of(f, "x", 1, 1);
    grant(f, 1, (struct grant){.denied_until_ns = f->now.now_ns + SEC});
    assert_false(engine_must_wait(&f->engine, &check, 1, &f->now, true, &wait));
    struct answer answer = run(f, check);
    assert_int_equal(answer.flags, 0);
    assert_int_equal(answer.retry_after_ns, SEC);
    assert_silent(f);
    f->now.now_ns += SEC;
    assert_true(engine_must_wait(&f->engine, &check, 1, &f->now, true, &wait));
}

static void exact_gives_back(void **state)
{
    struct fixture *f = *state;
    grant(f, 1, (struct grant){.units = 5});
    operate(f, "x", 1, 2, OPERATION_REFUND);
    assert_int_equal(pop(f, RING_AMOUNT).units, -2);
    struct answer answer = operate(f, "x", 1, 3, OPERATION_PEEK);
    assert_true(is_allowed(answer));
    assert_int_equal(answer.remaining, 5);
    answer = operate(f, "x", 1, 9, OPERATION_AT_MOST);
    assert_int_equal(answer.granted, 5);
    grant(f, 1, (struct grant){.units = 5});
    operate(f, "x", 1, 1, OPERATION_RESET);
    assert_int_equal(pop(f, RING_AMOUNT).units, -5); /* granted, and not spent */
    pop(f, RING_RESET);
    assert_silent(f);
}

static void exact_without_the_store(void **state)
{
    struct fixture *f = *state;
    struct engine_wait wait;
    struct check check = check_of(f, "x", 1, 1);
    struct limit *limit = &rule_of(f, "x")->limit;
    grant(f, 1, (struct grant){.units = 1});
    atomic_store(&f->state.is_degraded, true);
    assert_false(engine_must_wait(&f->engine, &check, 1, &f->now, true, &wait));
    assert_int_equal(run(f, check).flags, METE_VERDICT_ALLOW | METE_VERDICT_DEGRADED);
    struct answer answer = run(f, check);
    assert_int_equal(answer.flags, METE_VERDICT_DEGRADED);
    assert_int_equal(answer.retry_after_ns, SHARED_LOSS_RETRY_NS);
    assert_silent(f);
    grant(f, 1, (struct grant){.units = 3});
    limit->on_loss = LOSS_FULL;
    unsigned admitted = 0;
    while (is_allowed(run(f, check)))
        admitted++;
    assert_int_equal(admitted, 10);
    pop(f, RING_DIRTY);
    assert_int_equal(pop(f, RING_AMOUNT).units, -3); /* what was left of the grant */
    assert_silent(f);
    atomic_store(&f->state.is_degraded, false);
    f->shared.has_waited = true; /* and the same for who waited in vain */
    check.key.low = 7;
    assert_int_equal(run(f, check).flags, METE_VERDICT_ALLOW | METE_VERDICT_DEGRADED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(charges_are_pending_until_drained),
        TEST(local_rules_tell_nothing),
        TEST(denied_is_demand),
        TEST(shares_stand_in_the_entry),
        TEST(passed_windows_are_told_apart),
        TEST(resets_tell_what_was_before),
        TEST(what_does_not_fit_is_told),
        TEST(a_full_ring_is_made_up_for),
        TEST(evicted_pending_is_told),
        TEST(the_sweep_leaves_what_is_pending),
        TEST(without_the_store),
        TEST(exact_waits_for_a_grant),
        TEST(exact_who_cannot_wait_is_denied),
        TEST(exact_known_denied),
        TEST(exact_gives_back),
        TEST(exact_without_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
