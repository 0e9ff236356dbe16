/* Sliding window: tables of instants. */
#include "instants.h"

/* The last one ends where the 16 bits of the index do: the second window of a table has index 0. */
static const uint64_t BASES_NS[] = {0, 1790000000 * SEC, ((1ull << 16) * 27000 - 1) * SEC};

static void run_everywhere(const struct limit *limits, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < COUNT_OF(BASES_NS); i++)
        run_instants(limits, rows, count, BASES_NS[i], 0);
}

static void none_of_ten_just_over_the_edge_five_at_the_half(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {990 * MS, 0, CHECK, 10, ALLOWED, 10, 0, 0, 1010 * MS},
        {990 * MS, 0, CHECK, 1, DENIED, 0, 0, 110 * MS, 1010 * MS},
        {1010 * MS, 0, CHECK, 1, DENIED, 0, 0, 90 * MS, 990 * MS},
        {1010 * MS, 0, CHECK, 10, DENIED, 0, 0, 990 * MS, 990 * MS},
        {1010 * MS, 0, CHECK, 11, DENIED, 0, 0, NEVER, 990 * MS},
        {1010 * MS, 0, AT_MOST, 10, DENIED, 0, 0, 90 * MS, 990 * MS},
        {1500 * MS, 0, CHECK, 1, ALLOWED, 1, 4, 0, 1500 * MS},
        {1500 * MS, 0, CHECK, 1, ALLOWED, 1, 3, 0, 1500 * MS},
        {1500 * MS, 0, CHECK, 1, ALLOWED, 1, 2, 0, 1500 * MS},
        {1500 * MS, 0, CHECK, 1, ALLOWED, 1, 1, 0, 1500 * MS},
        {1500 * MS, 0, CHECK, 1, ALLOWED, 1, 0, 0, 1500 * MS},
        {1500 * MS, 0, CHECK, 1, DENIED, 0, 0, 100 * MS, 1500 * MS},
        {1600 * MS - 1, 0, CHECK, 1, DENIED, 0, 0, 1, 1400 * MS + 1},
        {1600 * MS, 0, CHECK, 1, ALLOWED, 1, 0, 0, 1400 * MS},
    };
    const struct limit limit = compiled(ALGORITHM_SLIDING_WINDOW, 10, SEC, 0);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
}

static void waits_into_this_window_the_next_and_the_one_after(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {990 * MS, 0, CHECK, 10, ALLOWED, 10, 0, 0, 1010 * MS},
        {1500 * MS, 0, PEEK, 5, ALLOWED, 0, 5, 0, 500 * MS},
        {1500 * MS, 0, PEEK, 6, DENIED, 0, 5, 100 * MS, 500 * MS},
        {1500 * MS, 0, AT_MOST, 8, ALLOWED, 5, 0, 0, 1500 * MS},
        {1500 * MS, 0, CHECK, 1, DENIED, 0, 0, 100 * MS, 1500 * MS},
        {1500 * MS, 0, CHECK, 5, DENIED, 0, 0, 500 * MS, 1500 * MS},
        {1500 * MS, 0, CHECK, 6, DENIED, 0, 0, 700 * MS, 1500 * MS},
        {1500 * MS, 0, CHECK, 10, DENIED, 0, 0, 1500 * MS, 1500 * MS},
        {2200 * MS, 0, PEEK, 6, ALLOWED, 0, 6, 0, 800 * MS},
        {2200 * MS - 1, 0, PEEK, 6, DENIED, 0, 5, 1, 800 * MS + 1},
        {3000 * MS - 1, 0, PEEK, 10, DENIED, 0, 9, 1, 1},
        {3000 * MS, 0, PEEK, 10, ALLOWED, 0, 10, 0, 0},
    };
    const struct limit limit = compiled(ALGORITHM_SLIDING_WINDOW, 10, SEC, 0);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
}

static void refund_reset_and_the_clock_stepping_back(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {990 * MS, 0, CHECK, 10, ALLOWED, 10, 0, 0, 1010 * MS},
        {1500 * MS, 0, CHECK, 5, ALLOWED, 5, 0, 0, 1500 * MS},
        {1500 * MS, 0, REFUND, 0, ALLOWED, 0, 0, 0, 1500 * MS},
        {1500 * MS, 0, REFUND, 7, ALLOWED, 0, 6, 0, 500 * MS}, /* all 5 of this, 2 of the last */
        {900 * MS, 0, PEEK, 3, DENIED, 0, 2, 225 * MS, 1100 * MS},
        {900 * MS, 0, CHECK, 2, ALLOWED, 2, 0, 0, 2100 * MS},
        {1000 * MS, 0, PEEK, 0, ALLOWED, 0, 0, 0, 2000 * MS},
        {1500 * MS, 0, CHECK, 4, ALLOWED, 4, 0, 0, 1500 * MS},
        {4000 * MS, 0, CHECK, 1, ALLOWED, 1, 9, 0, 2000 * MS}, /* both are out of view */
        {4000 * MS, 0, REFUND, 99, ALLOWED, 0, 10, 0, 0},
        {4000 * MS, 0, CHECK, 1, ALLOWED, 1, 9, 0, 2000 * MS},
        {4000 * MS, 0, RESET, 0, ALLOWED, 0, 10, 0, 0},
    };
    const struct limit limit = compiled(ALGORITHM_SLIDING_WINDOW, 10, SEC, 0);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
    assert_int_equal(run_instants(&limit, ROWS, COUNT_OF(ROWS), 0, 0), 0);
}

static void limit_changes_under_a_live_state(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 8, ALLOWED, 8, 2, 0, 2000 * MS},
        {1000 * MS, 0, CHECK, 2, ALLOWED, 2, 0, 0, 2000 * MS},
        {1000 * MS, 1, PEEK, 0, DENIED, 0, 0, 400 * MS, 2000 * MS}, /* lowered to 5: 5 and 2 */
        {1000 * MS, 1, CHECK, 1, DENIED, 0, 0, 600 * MS, 2000 * MS},
        {1000 * MS, 2, PEEK, 10, ALLOWED, 0, 10, 0, 2000 * MS}, /* raised to 20 */
        {1600 * MS, 1, CHECK, 1, ALLOWED, 1, 0, 0, 1400 * MS},
    };
    const struct limit limits[] = {compiled(ALGORITHM_SLIDING_WINDOW, 10, SEC, 0),
                                   compiled(ALGORITHM_SLIDING_WINDOW, 5, SEC, 0),
                                   compiled(ALGORITHM_SLIDING_WINDOW, 20, SEC, 0)};
    run_everywhere(limits, ROWS, COUNT_OF(ROWS));
}

/* A third of a second is no whole number of nanoseconds. */
static void nothing_is_rounded(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 3, ALLOWED, 3, 0, 0, 2000 * MS},
        {1000 * MS, 0, CHECK, 1, DENIED, 0, 0, 333333334, 1000 * MS},
        {1333333333, 0, CHECK, 1, DENIED, 0, 0, 1, 666666667},
        {1333333334, 0, CHECK, 1, ALLOWED, 1, 0, 0, 1666666666},
    };
    const struct limit limit = compiled(ALGORITHM_SLIDING_WINDOW, 3, SEC, 0);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
}

static void largest_numbers(void **unused)
{
    (void)unused;
    const uint64_t W = LIMIT_MAX_NS;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 16777215, ALLOWED, 16777215, 0, 0, 2 * LIMIT_MAX_NS},
        {0, 0, CHECK, 16777216, DENIED, 0, 0, NEVER, 2 * LIMIT_MAX_NS},
        {LIMIT_MAX_NS, 0, CHECK, 16777215, DENIED, 0, 0, LIMIT_MAX_NS, LIMIT_MAX_NS},
        {2 * LIMIT_MAX_NS - 1, 0, CHECK, 16777214, ALLOWED, 16777214, 0, 0, LIMIT_MAX_NS + 1},
    };
    const struct limit limit = compiled(ALGORITHM_SLIDING_WINDOW, 16777215, W, 0);
    run_instants(&limit, ROWS, COUNT_OF(ROWS), 7 * W, 0);
    /* Half a wrap ahead, the waits are beyond 64 bits; half a wrap behind is the past. */
    struct step step = limit_apply(&limit, 0x7fff000000000009ull, OPERATION_CHECK, 16777215, 0);
    assert_int_equal(step.verdict.decision, DECISION_DENY);
    assert_true(step.verdict.retry_after_ns == NEVER && step.verdict.reset_after_ns == NEVER);
    step = limit_apply(&limit, 0x8000000000000009ull, OPERATION_CHECK, 16777215, 0);
    assert_int_equal(step.verdict.decision, DECISION_ALLOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_of_ten_just_over_the_edge_five_at_the_half),
        cmocka_unit_test(waits_into_this_window_the_next_and_the_one_after),
        cmocka_unit_test(refund_reset_and_the_clock_stepping_back),
        cmocka_unit_test(limit_changes_under_a_live_state),
        cmocka_unit_test(nothing_is_rounded),
        cmocka_unit_test(largest_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
