/* Fixed window: tables of instants. */
#include "instants.h"

/* The last one ends where the 32 bits of the index do: the second window of a table has index 0. */
static const uint64_t BASES_NS[] = {0, 1790000000 * SEC, ((1ull << 32) - 1) * SEC};

static void run_everywhere(const struct limit *limits, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < COUNT_OF(BASES_NS); i++)
        run_instants(limits, rows, count, BASES_NS[i], 0);
}

static void ten_per_second(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {990 * MS, 0, CHECK, 11, DENIED, 0, 10, NEVER, 0},
        {990 * MS, 0, CHECK, 4, ALLOWED, 4, 6, 0, 10 * MS},
        {990 * MS, 0, CHECK, 6, ALLOWED, 6, 0, 0, 10 * MS},
        {990 * MS, 0, CHECK, 1, DENIED, 0, 0, 10 * MS, 10 * MS},
        {1000 * MS - 1, 0, CHECK, 1, DENIED, 0, 0, 1, 1},
        {1010 * MS, 0, CHECK, 10, ALLOWED, 10, 0, 0, 990 * MS},
        {1010 * MS, 0, CHECK, 1, DENIED, 0, 0, 990 * MS, 990 * MS},
        {1500 * MS, 0, REFUND, 4, ALLOWED, 0, 4, 0, 500 * MS},
        {1500 * MS, 0, PEEK, 4, ALLOWED, 0, 4, 0, 500 * MS},
        {1500 * MS, 0, PEEK, 5, DENIED, 0, 4, 500 * MS, 500 * MS},
        {1500 * MS, 0, AT_MOST, 6, ALLOWED, 4, 0, 0, 500 * MS},
        {1500 * MS, 0, AT_MOST, 6, DENIED, 0, 0, 500 * MS, 500 * MS},
        {1500 * MS, 0, CHECK, 0, ALLOWED, 0, 0, 0, 500 * MS},
        {1500 * MS, 0, RESET, 0, ALLOWED, 0, 10, 0, 0},
        {1500 * MS, 0, CHECK, 3, ALLOWED, 3, 7, 0, 500 * MS},
        {3 * SEC, 0, REFUND, 1, ALLOWED, 0, 10, 0, 0}, /* that window has passed */
    };
    const struct limit limit = compiled(ALGORITHM_FIXED_WINDOW, 10, SEC, 0);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
    assert_int_equal(run_instants(&limit, ROWS, COUNT_OF(ROWS), 0, 0), 0);
}

/* Another worker has seen the next window begin: it is used, seen from its first instant. */
static void clock_steps_back_over_an_edge(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {1000 * MS, 0, CHECK, 3, ALLOWED, 3, 7, 0, 1000 * MS},
        {999 * MS, 0, CHECK, 2, ALLOWED, 2, 5, 0, 1001 * MS},
        {999 * MS, 0, PEEK, 6, DENIED, 0, 5, 1001 * MS, 1001 * MS},
        {1000 * MS, 0, PEEK, 5, ALLOWED, 0, 5, 0, 1000 * MS},
        {500 * MS, 0, REFUND, 1, ALLOWED, 0, 6, 0, 1500 * MS},
        {1999 * MS, 0, CHECK, 7, DENIED, 0, 6, 1 * MS, 1 * MS},
        {2000 * MS, 0, CHECK, 7, ALLOWED, 7, 3, 0, 1000 * MS},
    };
    const struct limit limit = compiled(ALGORITHM_FIXED_WINDOW, 10, SEC, 0);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
}

static void limit_changes_under_a_live_state(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 7, ALLOWED, 7, 3, 0, SEC},
        {0, 1, CHECK, 1, DENIED, 0, 0, SEC, SEC}, /* lowered to 3 */
        {0, 2, PEEK, 13, ALLOWED, 0, 13, 0, SEC}, /* raised to 20 */
        {0, 1, REFUND, 1, ALLOWED, 0, 1, 0, SEC}, /* 7 count as 3 */
        {0, 0, PEEK, 8, ALLOWED, 0, 8, 0, SEC},
        {1 * SEC, 1, CHECK, 4, DENIED, 0, 3, NEVER, 0},
        {1 * SEC, 1, CHECK, 3, ALLOWED, 3, 0, 0, SEC},
    };
    const struct limit limits[] = {compiled(ALGORITHM_FIXED_WINDOW, 10, SEC, 0),
                                   compiled(ALGORITHM_FIXED_WINDOW, 3, SEC, 0),
                                   compiled(ALGORITHM_FIXED_WINDOW, 20, SEC, 0)};
    run_everywhere(limits, ROWS, COUNT_OF(ROWS));
}

static void largest_numbers(void **unused)
{
    (void)unused;
    const struct limit limit = compiled(ALGORITHM_FIXED_WINDOW, 4294967295u, LIMIT_MAX_NS, 0);
    struct step step = limit_apply(&limit, 0, OPERATION_CHECK, UINT32_MAX, UINT64_MAX);
    assert_int_equal(step.verdict.granted, UINT32_MAX);
    step = limit_apply(&limit, step.state, OPERATION_CHECK, 1, UINT64_MAX);
    assert_int_equal(step.verdict.decision, DECISION_DENY);
    assert_int_equal(step.verdict.retry_after_ns, LIMIT_MAX_NS - UINT64_MAX % LIMIT_MAX_NS);
    /* Half a wrap ahead, the waits are beyond 64 bits; half a wrap behind is the past. */
    step = limit_apply(&limit, 0x7fffffff00000000ull + 9, OPERATION_CHECK, UINT32_MAX, 0);
    assert_int_equal(step.verdict.decision, DECISION_DENY);
    assert_true(step.verdict.retry_after_ns == NEVER && step.verdict.reset_after_ns == NEVER);
    step = limit_apply(&limit, 0x8000000000000000ull + 9, OPERATION_CHECK, UINT32_MAX, 0);
    assert_int_equal(step.verdict.decision, DECISION_ALLOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_per_second),
        cmocka_unit_test(clock_steps_back_over_an_edge),
        cmocka_unit_test(limit_changes_under_a_live_state),
        cmocka_unit_test(largest_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
