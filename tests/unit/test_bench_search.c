/* The search of --find-rate, with a stand-in for the run: it holds up to a rate, which may be lower
 * in longer runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/bench_search.h"
#include "cmd/cmd.h"

#define TRIAL_NS 1000000000u

struct model {
    uint64_t limit;
    uint64_t long_limit; /* of the runs that confirm */
    unsigned runs;
    uint64_t last_rate;
    uint64_t last_duration_ns;
    struct histogram latency, other;
};

static int measure(void *context, const struct bench_options *options, struct bench_run *ret_run)
{
    struct model *model = context;
    const bool is_long = options->duration_ns > TRIAL_NS;
    const bool holds = options->rate <= (is_long ? model->long_limit : model->limit);
    model->runs++;
    model->last_rate = options->rate;
    model->last_duration_ns = options->duration_ns;
    histogram_init(&model->latency);
    histogram_init(&model->other);
    for (unsigned i = 0; i < 100; i++)
        histogram_record(&model->latency, i < 98 || holds ? 100000 : 300000);
    *ret_run = (struct bench_run){.options = options,
                                  .counts = {.sent = 100, .checks = 100},
                                  .latency = &model->latency,
                                  .from_send = &model->other,
                                  .slip = &model->other};
    return 0;
}

static int search(struct model *model, uint64_t from)
{
    struct bench_options options = {
        .flows = 1, .batch = 1, .threads = 1, .duration_ns = TRIAL_NS, .rate = from};
    assert_int_equal(bench_goal_parse("p99<200us", &options.goal), 0);
    return bench_find_rate(&options, measure, model);
}

static void test_within_three_percent(void **state)
{
    (void)state;
    static const uint64_t starts[] = {0, 100, 54321, 12345, 99000000};
    for (unsigned i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        struct model model = {.limit = 12345, .long_limit = 12345};
        assert_int_equal(search(&model, starts[i]), 0);
        assert_true(model.last_rate <= 12345 && (double)model.last_rate > 12345 / 1.03);
        assert_int_equal(model.last_duration_ns, 3ull * TRIAL_NS);
        assert_true(model.runs < 40);
    }
}

/* What short runs hold and long ones do not is not reported. */
static void test_confirms(void **state)
{
    (void)state;
    struct model model = {.limit = 12345, .long_limit = 11000};
    assert_int_equal(search(&model, 0), 0);
    assert_true(model.last_rate <= 11000 && model.last_rate > 9500);
    model = (struct model){.limit = 12345, .long_limit = 5};
    assert_int_equal(search(&model, 0), EXIT_INVALID);
}

static void test_none_holds(void **state)
{
    (void)state;
    struct model model = {0};
    assert_int_equal(search(&model, 0), EXIT_INVALID);
    assert_true(model.runs < 10);
}

static void test_goal(void **state)
{
    (void)state;
    struct bench_goal goal;
    char why[320];
    struct model model = {.limit = 1};
    struct bench_run run;
    const struct bench_options options = {.rate = 2};
    measure(&model, &options, &run); /* p90 100 us, p99 300 us */
    assert_int_equal(bench_goal_parse("p90<101us,loss<10%", &goal), 0);
    run.counts.lost = 9;
    assert_true(bench_goal_holds(&goal, &run, why, sizeof(why)));
    run.counts.lost = 10;
    assert_false(bench_goal_holds(&goal, &run, why, sizeof(why)));
    run.counts.lost = 0;
    run.counts.unsent = 1;
    assert_false(bench_goal_holds(&goal, &run, why, sizeof(why)));
    run.counts.unsent = 0;
    assert_int_equal(bench_goal_parse("max<0.3ms", &goal), 0);
    assert_false(bench_goal_holds(&goal, &run, why, sizeof(why)));
    assert_string_equal(why, "max 300.0 us");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_within_three_percent),
        cmocka_unit_test(test_confirms),
        cmocka_unit_test(test_none_holds),
        cmocka_unit_test(test_goal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
