/* The engine on exact rules: who has to wait, what is asked for, spent, denied and given back. */
#include "unit/shared_fixture.h"

static void grant(struct fixture *f, uint64_t key, struct grant grant)
{
    struct table_probe probe = probe_of(f, "x", key);
    const struct table_taker taker = {.on_full = TABLE_REFUSE};
    struct table_ref ref;
    assert_true(table_find_or_claim_by(f->table, &probe, &taker, &f->now, &ref) != TABLE_FULL);
    assert_true(table_adopt(f->table, &ref, grant_pack(&rule_of(f, "x")->limit, &grant),
                            TABLE_SHARE_GRANT));
}

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
    assert_int_equal(pop(f, RING_WANT).units, 3); /* it lacks one: others may take what is there */
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

static void exact_at_most_waits_for_what_can_be(void **state)
{
    struct fixture *f = *state;
    struct engine_wait wait;
    struct check check = check_of(f, "x", 1, 50);
    assert_false(engine_must_wait(&f->engine, &check, 1, &f->now, true, &wait)); /* never */
    check.operation = OPERATION_AT_MOST;
    assert_true(engine_must_wait(&f->engine, &check, 1, &f->now, true, &wait));
    assert_int_equal(pop(f, RING_WANT).units, 10);
    grant(f, 1, (struct grant){.units = 4, .denied_until_ns = f->now.now_ns + SEC});
    assert_false(engine_must_wait(&f->engine, &check, 1, &f->now, true, &wait));
    assert_int_equal(run(f, check).granted, 4);
    assert_int_equal(run(f, check).flags, 0);
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
    assert_true(pop(f, RING_DIRTY).is_much);
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
        TEST(exact_waits_for_a_grant),
        TEST(exact_who_cannot_wait_is_denied),
        TEST(exact_known_denied),
        TEST(exact_gives_back),
        TEST(exact_at_most_waits_for_what_can_be),
        TEST(exact_without_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
