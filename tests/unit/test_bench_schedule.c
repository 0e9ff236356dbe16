/* Schedules of the open loop: tables of instants, and what a schedule of chance promises on
 * average.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/bench_schedule.h"

#define MS 1000000u

static void test_tables(void **state)
{
    (void)state;
    static const struct {
        struct schedule schedule;
        uint64_t at_ns[5];
    } rows[] = {
        {{.kind = SCHEDULE_CONSTANT, .interval_ns = 1000}, {0, 1000, 2000, 3000, 4000}},
        {{.kind = SCHEDULE_CONSTANT, .interval_ns = 1000, .position = 0.25},
         {250, 1250, 2250, 3250, 4250}},
        {{.kind = SCHEDULE_BURSTY, .interval_ns = 40 * MS},
         {0, 4 * MS, 8 * MS, 102 * MS, 106 * MS}},
        {{.kind = SCHEDULE_RAMP, .interval_ns = 5 * MS, .duration_ns = 1000 * MS},
         {0, 100 * MS, 141421356, 173205080, 200 * MS}},
    };
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        struct schedule schedule = rows[row].schedule;
        for (unsigned i = 0; i < 5; i++)
            assert_int_equal(schedule_next(&schedule), rows[row].at_ns[i]);
    }
}

/* A ramp over D to the rate r has r D / 2 instants before D. */
static void test_ramp_area(void **state)
{
    (void)state;
    struct schedule schedule = {
        .kind = SCHEDULE_RAMP, .interval_ns = 10000, .duration_ns = 1000 * MS};
    unsigned count = 0;
    while (schedule_next(&schedule) < 1000 * MS)
        count++;
    assert_int_equal(count, 50000);
}

/* Gaps of mean 1 and variance 1, in intervals: within five deviations of their own. */
static void test_poisson(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct schedule schedule = {.kind = SCHEDULE_POISSON, .interval_ns = 1 * MS, .random = 7};
    double sum = 0, squares = 0;
    uint64_t before_ns = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        const uint64_t at_ns = schedule_next(&schedule);
        assert_true(at_ns >= before_ns);
        const double gap = (double)(at_ns - before_ns) / MS;
        sum += gap;
        squares += gap * gap;
        before_ns = at_ns;
    }
    const double mean = sum / COUNT, variance = squares / COUNT - mean * mean;
    assert_true(fabs(mean - 1) < 5 / sqrt(COUNT));
    assert_true(fabs(variance - 1) < 5 * sqrt(8.0 / COUNT));
}

static void test_names(void **state)
{
    (void)state;
    for (enum schedule_kind kind = 0; kind < SCHEDULE_COUNT; kind++)
        assert_int_equal(schedule_parse(schedule_name(kind)), kind);
    assert_int_equal(schedule_parse("often"), SCHEDULE_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_ramp_area),
        cmocka_unit_test(test_poisson),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
