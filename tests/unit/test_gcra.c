/* Token bucket and leaky meter: tables of instants. */
#include "instants.h"

#include "core/gcra.h"

/* The same table holds wherever it begins; the last base is close to the end of the clock's range.
 */
static const uint64_t BASES_NS[] = {0, 1, 123456789 * SEC + 7, (1ull << 60) - 100 * SEC};

static void run_everywhere(const struct limit *limits, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < COUNT_OF(BASES_NS); i++)
        run_instants(limits, rows, count, BASES_NS[i], 0);
}

static void burst_5_at_1_per_second(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 6, DENIED, 0, 5, NEVER, 0},
        {0, 0, CHECK, 1, ALLOWED, 1, 4, 0, 1 * SEC},
        {0, 0, CHECK, 1, ALLOWED, 1, 3, 0, 2 * SEC},
        {0, 0, CHECK, 1, ALLOWED, 1, 2, 0, 3 * SEC},
        {0, 0, CHECK, 1, ALLOWED, 1, 1, 0, 4 * SEC},
        {0, 0, CHECK, 1, ALLOWED, 1, 0, 0, 5 * SEC},
        {0, 0, CHECK, 1, DENIED, 0, 0, 1 * SEC, 5 * SEC},
        {3 * SEC, 0, CHECK, 1, ALLOWED, 1, 2, 0, 3 * SEC},
        {3100 * MS, 0, CHECK, 1, ALLOWED, 1, 1, 0, 3900 * MS},
        {4 * SEC, 0, CHECK, 1, ALLOWED, 1, 1, 0, 4 * SEC},
        {8 * SEC, 0, CHECK, 1, ALLOWED, 1, 4, 0, 1 * SEC},
        {9500 * MS, 0, CHECK, 1, ALLOWED, 1, 4, 0, 1 * SEC},
        {9500 * MS, 0, PEEK, 0, ALLOWED, 0, 4, 0, 1 * SEC},
        {9500 * MS, 0, PEEK, 4, ALLOWED, 0, 4, 0, 1 * SEC},
        {9500 * MS, 0, PEEK, 5, DENIED, 0, 4, 1 * SEC, 1 * SEC},
        {9500 * MS, 0, CHECK, 2, ALLOWED, 2, 2, 0, 3 * SEC},
        {9500 * MS, 0, CHECK, 5, DENIED, 0, 2, 3 * SEC, 3 * SEC},
        /* the wait is exact to the nanosecond */
        {12500 * MS - 1, 0, CHECK, 5, DENIED, 0, 4, 1, 1},
        {12500 * MS, 0, CHECK, 5, ALLOWED, 5, 0, 0, 5 * SEC},
    };
    for (int kind = ALGORITHM_TOKEN_BUCKET; kind <= ALGORITHM_LEAKY_METER; kind++) {
        const struct limit limit = compiled((enum algorithm)kind, 1, SEC, 5);
        run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
    }
}

static void burst_5_at_2_per_second(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 5, ALLOWED, 5, 0, 0, 2500 * MS},
        {3900 * MS, 0, CHECK, 6, DENIED, 0, 5, NEVER, 0},
        {3900 * MS, 0, CHECK, 4, ALLOWED, 4, 1, 0, 2000 * MS},
        {3900 * MS, 0, CHECK, 1, ALLOWED, 1, 0, 0, 2500 * MS},
        {3900 * MS, 0, CHECK, 1, DENIED, 0, 0, 500 * MS, 2500 * MS},
        {3900 * MS, 0, CHECK, 2, DENIED, 0, 0, 1000 * MS, 2500 * MS},
    };
    const struct limit limit = compiled(ALGORITHM_TOKEN_BUCKET, 2, SEC, 5);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
}

static void idleness_gives_the_burst_and_no_more(void **unused)
{
    (void)unused;
    static const struct row DAY[] = {
        {0, 0, CHECK, 10, ALLOWED, 10, 0, 0, 10 * SEC},
        {86400 * SEC, 0, CHECK, 11, DENIED, 0, 10, NEVER, 0},
        {86400 * SEC, 0, CHECK, 10, ALLOWED, 10, 0, 0, 10 * SEC},
        {86400 * SEC, 0, CHECK, 1, DENIED, 0, 0, 1 * SEC, 10 * SEC},
    };
    const struct limit slow = compiled(ALGORITHM_TOKEN_BUCKET, 1, SEC, 10);
    run_instants(&slow, DAY, COUNT_OF(DAY), 0, 0);

    static const struct row HALF[] = {
        {0, 0, CHECK, 10, ALLOWED, 10, 0, 0, 2 * SEC},
        {500 * MS, 0, CHECK, 1, ALLOWED, 1, 1, 0, 1700 * MS},
        {500 * MS, 0, CHECK, 1, ALLOWED, 1, 0, 0, 1900 * MS},
        {500 * MS, 0, CHECK, 1, DENIED, 0, 0, 100 * MS, 1900 * MS},
    };
    const struct limit fast = compiled(ALGORITHM_TOKEN_BUCKET, 5, SEC, 10);
    run_everywhere(&fast, HALF, COUNT_OF(HALF));
}

static void at_most_refund_reset(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, REFUND, 3, ALLOWED, 0, 5, 0, 0}, /* a full bucket stays full */
        {0, 0, AT_MOST, 3, ALLOWED, 3, 2, 0, 3 * SEC},
        {0, 0, AT_MOST, 0, ALLOWED, 0, 2, 0, 3 * SEC},
        {0, 0, AT_MOST, 100, ALLOWED, 2, 0, 0, 5 * SEC},
        {0, 0, AT_MOST, 100, DENIED, 0, 0, 1 * SEC, 5 * SEC},
        {999 * MS, 0, AT_MOST, 2, DENIED, 0, 0, 1 * MS, 4001 * MS},
        {1500 * MS, 0, AT_MOST, 2, ALLOWED, 1, 0, 0, 4500 * MS},
        {1500 * MS, 0, REFUND, 0, ALLOWED, 0, 0, 0, 4500 * MS},
        {1500 * MS, 0, REFUND, 2, ALLOWED, 0, 2, 0, 2500 * MS},
        {1500 * MS, 0, CHECK, 0, ALLOWED, 0, 2, 0, 2500 * MS},
        {1500 * MS, 0, REFUND, 4294967295u, ALLOWED, 0, 5, 0, 0},
        {1500 * MS, 0, CHECK, 5, ALLOWED, 5, 0, 0, 5 * SEC},
        {1500 * MS, 0, CHECK, 0, ALLOWED, 0, 0, 0, 5 * SEC},
        {1500 * MS, 0, RESET, 0, ALLOWED, 0, 5, 0, 0},
        {1500 * MS, 0, CHECK, 5, ALLOWED, 5, 0, 0, 5 * SEC},
        {9 * SEC, 0, REFUND, 1, ALLOWED, 0, 5, 0, 0},
    };
    const struct limit limit = compiled(ALGORITHM_TOKEN_BUCKET, 1, SEC, 5);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
    /* back at rest is state 0 */
    assert_int_equal(run_instants(&limit, ROWS, COUNT_OF(ROWS), 0, 0), 0);
}

static void limit_changes_under_a_live_state(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 10, ALLOWED, 10, 0, 0, 10 * SEC},
        {0, 1, PEEK, 1, ALLOWED, 0, 10, 0, 10 * SEC}, /* raised: the debt in time stays */
        {0, 2, PEEK, 1, DENIED, 0, 0, 5500 * MS, 10 * SEC},
        {0, 3, CHECK, 1, DENIED, 0, 0, 9 * SEC, 10 * SEC}, /* lowered: the wait of the tat */
        {0, 4, CHECK, 1, DENIED, 0, 0, 9 * SEC, 10 * SEC},
        {9 * SEC - 1, 3, CHECK, 1, DENIED, 0, 0, 1, 1 * SEC + 1},
        {9 * SEC, 3, PEEK, 1, ALLOWED, 0, 1, 0, 1 * SEC},
        {0, 3, PEEK, 0, ALLOWED, 0, 0, 0, 10 * SEC}, /* cut: a full bucket passes nothing */
        {0, 4, PEEK, 0, DENIED, 0, 0, 8 * SEC, 10 * SEC},
        {0, 4, REFUND, 1, ALLOWED, 0, 0, 0, 9 * SEC}, /* kept: 9 of 10 left to owe */
        {0, 3, REFUND, 1, ALLOWED, 0, 1, 0, 1 * SEC}, /* cut to 2 first */
        {0, 0, PEEK, 9, ALLOWED, 0, 9, 0, 1 * SEC},
    };
    struct limit limits[5] = {
        compiled(ALGORITHM_TOKEN_BUCKET, 1, SEC, 10), compiled(ALGORITHM_TOKEN_BUCKET, 1, SEC, 20),
        compiled(ALGORITHM_TOKEN_BUCKET, 2, SEC, 10), compiled(ALGORITHM_TOKEN_BUCKET, 1, SEC, 2),
        compiled(ALGORITHM_TOKEN_BUCKET, 1, SEC, 2),
    };
    limits[4].keeps_tat = 1;
    run_everywhere(limits, ROWS, COUNT_OF(ROWS));
}

static void cut_ends_a_former_debt(void **unused)
{
    (void)unused;
    const struct limit limit = compiled(ALGORITHM_TOKEN_BUCKET, 1, SEC, 2);
    const uint64_t at_ns = 50 * SEC;
    assert_int_equal(gcra_cut(&limit, 60 * SEC * 16, at_ns), 52 * SEC * 16);
    assert_int_equal(gcra_cut(&limit, 52 * SEC * 16 - 1, at_ns), 52 * SEC * 16 - 1);
    assert_int_equal(gcra_cut(&limit, 50 * SEC * 16, at_ns), 0);
    assert_int_equal(gcra_cut(&limit, 0, at_ns), 0);
    assert_true(gcra_cut(&limit, UINT64_MAX, UINT64_MAX) == 0);
}

/* Waits that are no whole nanoseconds are rounded up, and are still exact. */
static void fractions_of_a_nanosecond(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 1, ALLOWED, 1, 0, 0, 334},
        {0, 0, CHECK, 1, DENIED, 0, 0, 334, 334},
        {333, 0, CHECK, 1, DENIED, 0, 0, 1, 1},
        {334, 0, CHECK, 1, ALLOWED, 1, 0, 0, 334},
    };
    const struct limit limit = compiled(ALGORITHM_TOKEN_BUCKET, 3, 1000, 1);
    assert_int_equal(limit.interval, 5334);
    run_everywhere(&limit, ROWS, COUNT_OF(ROWS));
}

static void largest_numbers(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 4294967295u, ALLOWED, 4294967295u, 0, 0, 4294967295ull},
        {0, 0, CHECK, 4294967295u, DENIED, 0, 0, 4294967295ull, 4294967295ull},
        {4294967294ull, 0, CHECK, 4294967295u, DENIED, 0, 4294967294u, 1, 1},
        {4294967295ull, 0, CHECK, 4294967295u, ALLOWED, 4294967295u, 0, 0, 4294967295ull},
        {4294967295ull, 1, CHECK, 4294967295u, DENIED, 0, 0, NEVER, 4294967295ull},
    };
    const struct limit limits[] = {
        compiled(ALGORITHM_TOKEN_BUCKET, 1000000000, SEC, 4294967295u),
        compiled(ALGORITHM_TOKEN_BUCKET, 1000000000, SEC, 1),
    };
    run_everywhere(limits, ROWS, COUNT_OF(ROWS));
}

/* Where the clock's ticks end everything saturates: a debt is cut, it never turns into a credit. */
static void end_of_the_range(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 1, ALLOWED, 1, 4, 0, 1 * SEC},
        {0, 0, CHECK, 6, DENIED, 0, 4, NEVER, 1 * SEC},
        {SEC - 10, 0, PEEK, 5, DENIED, 0, 4, 10, 10},
        {SEC, 0, PEEK, 5, ALLOWED, 0, 5, 0, 0},
        {SEC, 0, CHECK, 6, DENIED, 0, 5, NEVER, 0},
    };
    const struct limit limit = compiled(ALGORITHM_TOKEN_BUCKET, 1, SEC, 5);
    run_instants(&limit, ROWS, COUNT_OF(ROWS), (1ull << 60) - SEC, 0);

    /* A tat that saturated: the wait for it ends where the clock does. */
    const uint64_t before_ns = (1ull << 60) - SEC;
    const struct step charged = limit_apply(&limit, 0, OPERATION_CHECK, 5, before_ns);
    assert_true(charged.state == UINT64_MAX);
    const struct step again = limit_apply(&limit, UINT64_MAX, OPERATION_CHECK, 5, before_ns);
    assert_int_equal(again.verdict.decision, DECISION_DENY);
    assert_int_equal(again.verdict.retry_after_ns, SEC);
    /* A tat out of all bounds is the largest debt at every earlier instant. */
    const struct step foreign = limit_apply(&limit, UINT64_MAX, OPERATION_CHECK, 1, 0);
    assert_int_equal(foreign.verdict.decision, DECISION_DENY);
    assert_int_equal(foreign.verdict.remaining, 0);
    assert_true(foreign.verdict.retry_after_ns == (1ull << 60) - 4 * SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(burst_5_at_1_per_second),
        cmocka_unit_test(burst_5_at_2_per_second),
        cmocka_unit_test(idleness_gives_the_burst_and_no_more),
        cmocka_unit_test(at_most_refund_reset),
        cmocka_unit_test(limit_changes_under_a_live_state),
        cmocka_unit_test(cut_ends_a_former_debt),
        cmocka_unit_test(fractions_of_a_nanosecond),
        cmocka_unit_test(largest_numbers),
        cmocka_unit_test(end_of_the_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
