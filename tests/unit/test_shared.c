/* The engine on shared rules, and what the replication thread finds: pending, rings, demand, loss
 * of the store. */
#include "unit/shared_fixture.h"

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
    uint32_t count = table_sweep_pending(f->table, &cursor, 16, false, indices, 64);
    assert_true(count > 0);
    for (uint32_t i = 0; i < count; i++)
        if (table_drain(f->table, indices[i], &drained))
            sum -= (uint32_t)drained.units;
    assert_int_equal(sum, counter_read(&f->counters->cell[COUNTER_REPLICA_LOST]));
    assert_int_equal(table_sweep_pending(f->table, &cursor, 16, false, indices, 64), 0);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* By how much of the share a key that was not seen before is charged. */
static unsigned share_of_charge(struct fixture *f, uint64_t key)
{
    const struct rule *rule = rule_of(f, "s");
    const struct table_probe probe =
        table_probe(f->table, (struct key){.low = key, .high = ~key}, rule->index);
    struct table_ref ref;
    unsigned by = 0;

    assert_true(ask(f, "s", key, 1).flags & METE_VERDICT_ALLOW);
    assert_int_equal(table_find(f->table, &probe, &ref), TABLE_FOUND);
    assert_int_equal(table_share(&ref), shared_state_first_share(&f->state)); /* whatever it was */
    while (share_scaled(rule->limit.interval, by) < ref.state - gcra_ticks(f->now.now_ns))
        by++;
    return by;
}

/* Nobody hears of what is charged: less and less of the share is used, until the thread that tells
 * it looks again. */
static void a_reader_that_is_away(void **state)
{
    static const unsigned shares[] = {24, 32, 40, 48, 48, 48}; /* an eighth to its square */
    struct fixture *f = *state;
    uint64_t key = 1000;

    shared_state_set_first_share(&f->state, 24);
    assert_int_equal(share_of_charge(f, key++), 24);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < sizeof shares / sizeof *shares; i++) {
            assert_int_equal(share_of_charge(f, key++), shares[i]);
            f->now.now_ns += 3000000;
        }
        shared_state_note_look(&f->state);
        assert_int_equal(share_of_charge(f, key++), 24);
    }
    shared_state_set_first_share(&f->state, 0); /* nobody else has a part of it */
    f->now.now_ns += SEC;
    assert_int_equal(share_of_charge(f, key++), 0);
}

/* Who reads the ring may leave an entry dirty for a while, but hears when much is pending in it. */
static void much_is_told_of_once(void **state)
{
    struct fixture *f = *state;
    const struct limit *limit = &rule_of(f, "big")->limit;
    const uint32_t much = (limit->burst + 7) / 8 / 4; /* of a quarter */

    shared_state_set_first_share(&f->state, 16);
    assert_true(is_allowed(ask(f, "big", 1, much - 1)));
    assert_false(pop(f, RING_DIRTY).is_much);
    assert_silent(f);
    assert_true(is_allowed(ask(f, "big", 1, 1)));
    const struct ring_event event = pop(f, RING_DIRTY);
    assert_true(event.is_much);
    assert_false(event.is_new);
    assert_true(is_allowed(ask(f, "big", 1, 1)));
    assert_silent(f);
    operate(f, "big", 1, 2, OPERATION_REFUND);
    assert_silent(f);
    assert_true(is_allowed(operate(f, "big", 1, 3, OPERATION_AT_MOST))); /* the long way */
    assert_true(pop(f, RING_DIRTY).is_much);
    shared_state_set_first_share(&f->state, 0); /* an eighth is more than an entry holds */
    assert_true(is_allowed(ask(f, "big", 2, 1)));
    assert_false(pop(f, RING_DIRTY).is_much);
    assert_true(is_allowed(ask(f, "big", 2, TABLE_PENDING_MAX / 2)));
    assert_true(pop(f, RING_DIRTY).is_much);
    assert_silent(f);
}

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
        TEST(a_reader_that_is_away),
        TEST(much_is_told_of_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
