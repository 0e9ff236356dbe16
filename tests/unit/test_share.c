/* Shares: factors, what a node with a share admits, and that what it says of later it does. Grants:
 * windows, denials, rounding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/grant.h"
#include "core/share.h"
#include "lib/random.h"

#define SEC 1000000000ull
#define WALL (1767225600 * SEC)

static struct limit bucket(uint64_t count, uint64_t period_ns, uint64_t burst)
{
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, count, period_ns, burst};
    struct limit limit;
    assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
    return limit;
}

static struct limit window(enum algorithm algorithm, uint64_t count, uint64_t period_ns)
{
    struct limit_spec spec = {algorithm, count, period_ns, 0};
    struct limit limit;
    assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
    return limit;
}

static void factors_are_powers(void **unused)
{
    (void)unused;
    assert_int_equal(share_scaled(1000, 0), 1000);
    for (unsigned share = 0; share <= SHARE_MAX; share++) {
        double exact = 1e12 * __builtin_exp2(share / 8.0);
        assert_true((double)share_scaled(1000000000000, share) >= exact);
        assert_true((double)share_scaled(1000000000000, share) <= exact * 1.00002);
    }
    assert_int_equal(share_scaled(1, 1), 2); /* rounded up */
    assert_int_equal(share_scaled(0, SHARE_MAX), 0);
    assert_int_equal(share_scaled(UINT64_MAX, 1), UINT64_MAX);
    assert_int_equal(share_scaled(UINT64_MAX / 2 + 1, 8), UINT64_MAX);
    assert_int_equal(share_scaled(1ull << 62, 8), 1ull << 63);
}

static void share_of_rounds_down(void **unused)
{
    static const struct {
        uint64_t part, whole;
        uint8_t share;
    } table[] = {{1, 1, 0},
                 {5, 3, 0},
                 {1, 2, 8},
                 {1, 4, 16},
                 {99, 100, 1},
                 {1, 3, 13},
                 {1, 1000, SHARE_MAX},
                 {0, 7, SHARE_MAX},
                 {0, 0, 0},
                 {10, 20, 8},
                 {10, 21, 9}};
    (void)unused;
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(share_of(table[i].part, table[i].whole), table[i].share);
}

static uint32_t admit(const struct limit *limit, uint32_t cost, unsigned share, uint64_t now_ns)
{
    uint64_t state = 0;
    uint32_t admitted = 0;
    for (;;) {
        struct step step = share_apply(limit, state, OPERATION_CHECK, cost, share, now_ns);
        if (step.verdict.decision == DECISION_DENY)
            return admitted;
        admitted += step.verdict.granted;
        state = step.state;
    }
}

static void nodes_together_admit_the_burst(void **unused)
{
    (void)unused;
    struct limit limits[] = {bucket(100, SEC, 100), window(ALGORITHM_FIXED_WINDOW, 100, SEC),
                             window(ALGORITHM_SLIDING_WINDOW, 100, SEC)};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t now_ns = limit_is_wall(&limits[i]) ? WALL : SEC;
        for (unsigned halvings = 0; halvings <= 5; halvings++) {
            uint32_t nodes = 1u << halvings;
            uint32_t all = nodes * admit(&limits[i], 1, 8 * halvings, now_ns);
            assert_true(all >= 100);
            assert_true(all <= 100 + nodes); /* one cost each */
        }
        assert_int_equal(admit(&limits[i], 100, SHARE_MAX, now_ns), 100); /* one from rest */
        assert_int_equal(admit(&limits[i], 101, 0, now_ns), 0);
    }
}

/* The short way and the long way are one; waits and remainders are what happens next. */
static void verdicts_come_true(void **unused)
{
    uint64_t random = 7;
    (void)unused;
    struct limit limits[] = {bucket(1000, SEC, 20), bucket(3, 7 * SEC, 5),
                             window(ALGORITHM_FIXED_WINDOW, 20, 10000000),
                             window(ALGORITHM_SLIDING_WINDOW, 20, 10000000)};
    for (unsigned l = 0; l < 4; l++) {
        const struct limit *limit = &limits[l];
        uint64_t state = 0, now_ns = limit_is_wall(limit) ? WALL : SEC;
        for (unsigned i = 0; i < 20000; i++) {
            uint64_t dice = random_next(&random);
            unsigned share = (unsigned)(dice >> 8) % (SHARE_MAX + 1);
            uint32_t cost = 1 + (uint32_t)(dice >> 16) % 4;
            now_ns += (dice >> 32) % (limit->interval / (limit_is_wall(limit) ? 8 : 12));
            struct step step = share_apply(limit, state, OPERATION_CHECK, cost, share, now_ns);
            if (!limit_is_wall(limit)) {
                struct step brief = share_charge(limit, state, cost, share, gcra_ticks(now_ns));
                assert_int_equal(brief.state, step.state);
                assert_int_equal(brief.verdict.decision, step.verdict.decision);
                assert_int_equal(brief.verdict.granted, step.verdict.granted);
                assert_int_equal(brief.verdict.remaining, step.verdict.remaining);
                assert_int_equal(brief.verdict.retry_after_ns, step.verdict.retry_after_ns);
                assert_int_equal(brief.verdict.reset_after_ns, step.verdict.reset_after_ns);
            }
            uint32_t left = step.verdict.remaining;
            uint64_t wait_ns = step.verdict.retry_after_ns;
            if (step.verdict.decision == DECISION_DENY && wait_ns != NEVER) {
                assert_int_equal(
                    share_apply(limit, state, OPERATION_CHECK, cost, share, now_ns + wait_ns)
                        .verdict.decision,
                    DECISION_ALLOW);
                assert_int_equal(
                    share_apply(limit, state, OPERATION_CHECK, cost, share, now_ns + wait_ns - 1)
                        .verdict.decision,
                    DECISION_DENY);
            }
            state = step.state;
            if (left > 0)
                assert_int_equal(
                    share_apply(limit, state, OPERATION_CHECK, left, share, now_ns).verdict.granted,
                    left);
            assert_int_equal(
                share_apply(limit, state, OPERATION_CHECK, left + 1, share, now_ns).verdict.granted,
                0);
            uint32_t most = share_at_most(limit, state, 7, share, now_ns);
            step = share_apply(limit, state, OPERATION_AT_MOST, 7, share, now_ns);
            assert_int_equal(step.verdict.granted, most);
            assert_true(most <= 7 && (most > 0) == (left > 0));
        }
    }
}

static void at_most_takes_the_share(void **unused)
{
    struct limit limit = bucket(100, SEC, 100);
    struct step step;
    (void)unused;
    step = share_apply(&limit, 0, OPERATION_AT_MOST, 1000, 16, SEC);
    assert_int_equal(step.verdict.granted, 25);
    assert_int_equal(step.verdict.remaining, 0);
    step = share_apply(&limit, 0, OPERATION_AT_MOST, 1000, SHARE_MAX, SEC);
    assert_int_equal(step.verdict.granted, 1); /* less than half of one */
    step = share_apply(&limit, 0, OPERATION_AT_MOST, 3, 16, SEC);
    assert_int_equal(step.verdict.granted, 3);
}

static void refunds_undo(void **unused)
{
    struct limit limits[] = {bucket(100, SEC, 100), window(ALGORITHM_FIXED_WINDOW, 100, SEC)};
    (void)unused;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t now_ns = limit_is_wall(&limits[i]) ? WALL : SEC;
        struct step once = share_apply(&limits[i], 0, OPERATION_CHECK, 2, 8, now_ns);
        struct step twice = share_apply(&limits[i], once.state, OPERATION_CHECK, 3, 8, now_ns);
        struct step back = share_apply(&limits[i], twice.state, OPERATION_REFUND, 3, 8, now_ns);
        assert_int_equal(back.state, once.state);
        back = share_apply(&limits[i], back.state, OPERATION_REFUND, 90, 8, now_ns);
        assert_int_equal(back.state, 0);
        assert_int_equal(back.verdict.remaining, 100);
    }
}

static void windows_have_names(void **unused)
{
    struct limit fixed = window(ALGORITHM_FIXED_WINDOW, 100, SEC);
    struct limit sliding = window(ALGORITHM_SLIDING_WINDOW, 100, SEC);
    struct limit other = bucket(100, SEC, 100);
    (void)unused;
    uint64_t state = share_apply(&fixed, 0, OPERATION_CHECK, 1, 0, WALL).state;
    assert_int_equal(share_window(&fixed, state), share_window_at(&fixed, WALL));
    assert_int_equal(share_window_at(&fixed, WALL + SEC), share_window_at(&fixed, WALL) + 1);
    state = share_apply(&sliding, 0, OPERATION_CHECK, 1, 0, WALL).state;
    assert_int_equal(share_window(&sliding, state), share_window_at(&sliding, WALL));
    assert_int_equal(share_window_at(&other, WALL), 0);
    assert_true(share_is_later(&fixed, 0, UINT32_MAX)); /* wraps */
    assert_true(share_is_later(&sliding, 0, UINT16_MAX));
    assert_false(share_is_later(&sliding, 5, 5));
    state = share_empty_window(&sliding, 77);
    assert_int_equal(share_window(&sliding, state), 77);
    assert_int_equal(limit_rest_after(&sliding, state, 77 * SEC), 0);
    assert_int_equal(share_empty_window(&other, 77), 0);
}

static void grants_are_spent(void **unused)
{
    struct limit limit = bucket(10, SEC, 10);
    struct instant now = {.now_ns = 5 * SEC, .wall_ns = WALL};
    struct step step;
    (void)unused;
    assert_int_equal(grant_spend(&limit, 0, 1, &now, &step), GRANT_UNKNOWN);
    uint64_t state = grant_pack(&limit, &(struct grant){.units = 3});
    assert_int_equal(grant_spend(&limit, state, 2, &now, &step), GRANT_ALLOWED);
    assert_int_equal(step.verdict.remaining, 1);
    assert_int_equal(grant_spend(&limit, step.state, 2, &now, &step), GRANT_UNKNOWN);
    state = grant_pack(&limit, &(struct grant){.units = 1, .denied_until_ns = 5 * SEC + 100000001});
    assert_int_equal(grant_denied_until_ns(state), 5 * SEC + 101000000); /* rounded up */
    assert_int_equal(grant_spend(&limit, state, 2, &now, &step), GRANT_DENIED);
    assert_int_equal(step.verdict.retry_after_ns, 101000000);
    assert_int_equal(grant_spend(&limit, state, 4, &now, &step), GRANT_DENIED);
    assert_int_equal(step.verdict.retry_after_ns, 301000000);
    assert_int_equal(grant_spend(&limit, state, 11, &now, &step), GRANT_DENIED);
    assert_true(step.verdict.retry_after_ns == NEVER);
    now.now_ns += 101000000;
    assert_int_equal(grant_spend(&limit, state, 2, &now, &step), GRANT_UNKNOWN);
    assert_int_equal(grant_rest_after(0, 1), 0);
    assert_int_equal(grant_rest_after(grant_with_units(state, 0), 5 * SEC), 101000000);
    assert_true(grant_rest_after(grant_pack(&limit, &(struct grant){.units = 1}), SEC) > 0);
}

static void grants_end_with_their_window(void **unused)
{
    struct limit limit = window(ALGORITHM_SLIDING_WINDOW, 10, SEC);
    struct instant now = {.now_ns = 5 * SEC, .wall_ns = WALL};
    struct grant grant = {.units = 3, .window = share_window_at(&limit, WALL)};
    uint64_t state = grant_pack(&limit, &grant);
    struct step step;
    (void)unused;
    assert_int_equal(grant_spend(&limit, state, 1, &now, &step), GRANT_ALLOWED);
    for (unsigned i = 1; i < 256; i++) {
        now.wall_ns = WALL + i * SEC;
        assert_int_equal(grant_spend(&limit, state, 1, &now, &step), GRANT_UNKNOWN);
    }
    assert_int_equal(grant_units(state), 3);
    assert_int_equal(grant_units(grant_pack(&limit, &(struct grant){.units = UINT32_MAX})),
                     GRANT_UNITS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_are_powers),
        cmocka_unit_test(share_of_rounds_down),
        cmocka_unit_test(nodes_together_admit_the_burst),
        cmocka_unit_test(verdicts_come_true),
        cmocka_unit_test(at_most_takes_the_share),
        cmocka_unit_test(refunds_undo),
        cmocka_unit_test(windows_have_names),
        cmocka_unit_test(grants_are_spent),
        cmocka_unit_test(grants_end_with_their_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
