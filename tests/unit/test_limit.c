/* Compiling limits: T and tau, every refusal at its bound, names, the limits without numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "core/limit.h"

#define SECOND_NS 1000000000ull
#define U32 4294967295ull

static void refuses_at_its_bounds(void **unused)
{
    (void)unused;
    static const struct {
        struct limit_spec spec;
        enum limit_error error;
    } ROWS[] = {
        {{ALGORITHM_NONE, 1, SECOND_NS, 1}, LIMIT_BAD_ALGORITHM},
        {{ALGORITHM_CALENDAR, 1, SECOND_NS, 1}, LIMIT_BAD_ALGORITHM},
        {{(enum algorithm)10, 1, SECOND_NS, 1}, LIMIT_BAD_ALGORITHM},
        {{ALGORITHM_TOKEN_BUCKET, 0, SECOND_NS, 1}, LIMIT_ZERO_COUNT},
        {{ALGORITHM_SLIDING_WINDOW, 0, SECOND_NS, 0}, LIMIT_ZERO_COUNT},
        {{ALGORITHM_LEAKY_METER, 1, 0, 1}, LIMIT_ZERO_PERIOD},
        {{ALGORITHM_FIXED_WINDOW, 1, 0, 0}, LIMIT_ZERO_PERIOD},
        {{ALGORITHM_TOKEN_BUCKET, 1000000000, SECOND_NS, 1}, LIMIT_OK},
        {{ALGORITHM_TOKEN_BUCKET, 1000000001, SECOND_NS, 1}, LIMIT_RATE_TOO_HIGH},
        {{ALGORITHM_LEAKY_QUEUE, 1, 1, 1}, LIMIT_OK},
        {{ALGORITHM_LEAKY_QUEUE, 2, 1, 1}, LIMIT_RATE_TOO_HIGH},
        {{ALGORITHM_TOKEN_BUCKET, 1000000000, SECOND_NS, U32}, LIMIT_OK},
        {{ALGORITHM_TOKEN_BUCKET, 1000000000, SECOND_NS, U32 + 1}, LIMIT_BURST_TOO_LARGE},
        {{ALGORITHM_TOKEN_BUCKET, U32 + 1, 10 * SECOND_NS, 0}, LIMIT_BURST_TOO_LARGE},
        {{ALGORITHM_TOKEN_BUCKET, U32 + 1, 10 * SECOND_NS, 5}, LIMIT_OK},
        {{ALGORITHM_TOKEN_BUCKET, 1, LIMIT_MAX_NS, 1}, LIMIT_OK},
        {{ALGORITHM_TOKEN_BUCKET, 1, LIMIT_MAX_NS + 1, 1}, LIMIT_TAU_TOO_LONG},
        {{ALGORITHM_TOKEN_BUCKET, 1, LIMIT_MAX_NS / 2, 2}, LIMIT_OK},
        {{ALGORITHM_TOKEN_BUCKET, 1, LIMIT_MAX_NS / 2, 3}, LIMIT_TAU_TOO_LONG},
        {{ALGORITHM_TOKEN_BUCKET, 1, UINT64_MAX, U32}, LIMIT_TAU_TOO_LONG},
        {{ALGORITHM_FIXED_WINDOW, 1, LIMIT_FIXED_MIN_NS, 0}, LIMIT_OK},
        {{ALGORITHM_FIXED_WINDOW, 1, LIMIT_FIXED_MIN_NS - 1, 0}, LIMIT_WINDOW_TOO_SHORT},
        {{ALGORITHM_SLIDING_WINDOW, 1, LIMIT_SLIDING_MIN_NS, 0}, LIMIT_OK},
        {{ALGORITHM_SLIDING_WINDOW, 1, LIMIT_SLIDING_MIN_NS - 1, 0}, LIMIT_WINDOW_TOO_SHORT},
        {{ALGORITHM_FIXED_WINDOW, 1, LIMIT_MAX_NS, 0}, LIMIT_OK},
        {{ALGORITHM_FIXED_WINDOW, 1, LIMIT_MAX_NS + 1, 0}, LIMIT_WINDOW_TOO_LONG},
        {{ALGORITHM_SLIDING_WINDOW, 1, LIMIT_MAX_NS + 1, 0}, LIMIT_WINDOW_TOO_LONG},
        {{ALGORITHM_FIXED_WINDOW, U32, SECOND_NS, 0}, LIMIT_OK},
        {{ALGORITHM_FIXED_WINDOW, U32 + 1, SECOND_NS, 0}, LIMIT_BURST_TOO_LARGE},
        {{ALGORITHM_SLIDING_WINDOW, LIMIT_SLIDING_MAX, SECOND_NS, 0}, LIMIT_OK},
        {{ALGORITHM_SLIDING_WINDOW, LIMIT_SLIDING_MAX + 1, SECOND_NS, 0}, LIMIT_SLIDING_TOO_LARGE},
        {{ALGORITHM_CONCURRENCY, LIMIT_SLOTS_MAX, LIMIT_LEASE_MIN_NS, 0}, LIMIT_OK},
        {{ALGORITHM_CONCURRENCY, 1, LIMIT_LEASE_MAX_NS, 0}, LIMIT_OK},
        {{ALGORITHM_CONCURRENCY, LIMIT_SLOTS_MAX + 1, SECOND_NS, 0}, LIMIT_TOO_MANY_SLOTS},
        {{ALGORITHM_CONCURRENCY, 1, LIMIT_LEASE_MIN_NS - 1, 0}, LIMIT_LEASE_TOO_SHORT},
        {{ALGORITHM_CONCURRENCY, 1, LIMIT_LEASE_MAX_NS + 1, 0}, LIMIT_LEASE_TOO_LONG},
        {{ALGORITHM_CONCURRENCY, 0, SECOND_NS, 0}, LIMIT_ZERO_COUNT},
        {{ALGORITHM_UNLIMITED, 0, 0, 0}, LIMIT_OK},
        {{ALGORITHM_DENY, 0, 0, 0}, LIMIT_OK},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        const struct limit before = {.interval = 1, .tolerance = 2, .burst = 3, .algorithm = 4};
        struct limit limit = before;
        const enum limit_error error = limit_compile(&ROWS[i].spec, &limit);
        if (error != ROWS[i].error)
            fail_msg("row %zu: %s", i, limit_error_text(error));
        if (error != LIMIT_OK)
            assert_memory_equal(&limit, &before, sizeof(limit));
        else
            assert_int_equal(limit.algorithm, ROWS[i].spec.algorithm);
    }
}

static void rounds_the_interval_up(void **unused)
{
    (void)unused;
    static const struct {
        uint64_t count, period_ns, burst, interval, tolerance;
    } ROWS[] = {
        {1, SECOND_NS, 5, 16000000000, 80000000000},
        {2, SECOND_NS, 0, 8000000000, 16000000000},
        {3, SECOND_NS, 1, 5333333334, 5333333334},
        {1, 86400 * SECOND_NS, 1, 1382400000000000, 1382400000000000},
        {1000000, SECOND_NS, 1, 16000, 16000},
        {999999, SECOND_NS, 1, 16001, 16001},
        {1000000000, SECOND_NS, 1, 16, 16},
        {999999999, SECOND_NS, U32, 17, 17 * U32},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct limit limit;
        const struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, ROWS[i].count, ROWS[i].period_ns,
                                        ROWS[i].burst};
        assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
        assert_int_equal(limit.interval, ROWS[i].interval);
        assert_int_equal(limit.tolerance, ROWS[i].tolerance);
        assert_int_equal(limit.burst, ROWS[i].burst ? ROWS[i].burst : ROWS[i].count);
        assert_int_equal(limit.keeps_tat, 0);
    }
}

static void every_error_has_a_text_of_its_own(void **unused)
{
    (void)unused;
    for (int i = LIMIT_OK; i <= LIMIT_SLIDING_TOO_LARGE; i++) {
        const char *text = limit_error_text((enum limit_error)i);
        assert_true(strlen(text) > 10);
        assert_string_not_equal(text, "unknown error");
        for (int k = LIMIT_OK; k < i; k++)
            assert_string_not_equal(text, limit_error_text((enum limit_error)k));
    }
}

static void names_and_back(void **unused)
{
    (void)unused;
    for (int i = ALGORITHM_TOKEN_BUCKET; i <= ALGORITHM_DENY; i++) {
        const int expected = i == ALGORITHM_LEAKY_QUEUE ? ALGORITHM_LEAKY_METER : i;
        assert_int_equal(algorithm_parse(algorithm_name((enum algorithm)i)), expected);
    }
    assert_string_equal(algorithm_name(ALGORITHM_TOKEN_BUCKET), "token_bucket");
    assert_string_equal(algorithm_name(ALGORITHM_LEAKY_QUEUE), "leaky_bucket");
    assert_string_equal(algorithm_name(ALGORITHM_SLIDING_WINDOW), "sliding_window");
    static const char *const UNKNOWN[] = {"", "none", "token", "token_bucket ", "TOKEN_BUCKET"};
    for (size_t i = 0; i < sizeof(UNKNOWN) / sizeof(UNKNOWN[0]); i++)
        assert_int_equal(algorithm_parse(UNKNOWN[i]), ALGORITHM_NONE);
}

static void constants_have_no_state(void **unused)
{
    (void)unused;
    struct limit all, none, unset = {0};
    assert_int_equal(limit_compile(&(struct limit_spec){ALGORITHM_UNLIMITED, 0, 0, 0}, &all), 0);
    assert_int_equal(limit_compile(&(struct limit_spec){ALGORITHM_DENY, 0, 0, 0}, &none), 0);

    struct step step = limit_apply(&all, 0, OPERATION_CHECK, UINT32_MAX, 7);
    assert_int_equal(step.state, 0);
    assert_int_equal(step.verdict.decision, DECISION_ALLOW);
    assert_int_equal(step.verdict.granted, UINT32_MAX);
    assert_int_equal(step.verdict.remaining, UINT32_MAX);
    assert_int_equal(limit_apply(&all, 0, OPERATION_PEEK, 5, 7).verdict.granted, 0);
    assert_int_equal(limit_apply(&all, 9, OPERATION_RESET, 5, 7).state, 0);

    const struct limit *const denying[] = {&none, &unset};
    for (int i = 0; i < 2; i++) {
        step = limit_apply(denying[i], 0, OPERATION_AT_MOST, 1, 7);
        assert_int_equal(step.state, 0);
        assert_int_equal(step.verdict.decision, DECISION_DENY);
        assert_true(step.verdict.retry_after_ns == NEVER);
        assert_int_equal(step.verdict.remaining, 0);
        assert_int_equal(step.verdict.reset_after_ns, 0);
        step = limit_apply(denying[i], 9, OPERATION_REFUND, 1, 7);
        assert_int_equal(step.verdict.decision, DECISION_ALLOW);
        assert_int_equal(step.state, 9);
        assert_int_equal(limit_rest_after(denying[i], 9, 7), 0);
    }
}

static void true_rate_and_wrap(void **unused)
{
    (void)unused;
    struct limit limit;
    assert_int_equal(
        limit_compile(&(struct limit_spec){ALGORITHM_TOKEN_BUCKET, 3, SECOND_NS, 0}, &limit), 0);
    assert_true(limit_true_rate(&limit) < 3.0 && limit_true_rate(&limit) > 2.9999999);
    assert_true(limit_wrap_ns(&limit) == NEVER);
    assert_false(limit_is_wall(&limit));
    assert_int_equal(
        limit_compile(&(struct limit_spec){ALGORITHM_FIXED_WINDOW, 30, 60 * SECOND_NS, 0}, &limit),
        0);
    assert_true(limit_true_rate(&limit) == 0.5);
    assert_true(limit_wrap_ns(&limit) == NEVER); /* 4,000 years are beyond 64 bits */
    limit.interval = SECOND_NS;
    assert_true(limit_wrap_ns(&limit) == SECOND_NS << 31);
    assert_true(limit_is_wall(&limit));
    limit =
        (struct limit){.interval = SECOND_NS, .burst = 1, .algorithm = ALGORITHM_SLIDING_WINDOW};
    assert_int_equal(limit_wrap_ns(&limit), SECOND_NS << 15);
    limit = (struct limit){.algorithm = ALGORITHM_UNLIMITED};
    assert_true(limit_true_rate(&limit) > 1e300);
    limit.algorithm = ALGORITHM_DENY;
    assert_true(limit_true_rate(&limit) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_at_its_bounds),
        cmocka_unit_test(rounds_the_interval_up),
        cmocka_unit_test(every_error_has_a_text_of_its_own),
        cmocka_unit_test(names_and_back),
        cmocka_unit_test(constants_have_no_state),
        cmocka_unit_test(true_rate_and_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
