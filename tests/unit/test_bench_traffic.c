/* Subjects as they are drawn: how often each comes, against the law it is to follow. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/bench_traffic.h"

enum { KEYS = 50, DRAWS = 200000 };

static void draw(const struct bench_options *options, unsigned *ret_hits)
{
    struct traffic opened, traffic;
    uint32_t subjects[BENCH_MAX_BATCH];
    memset(ret_hits, 0, KEYS * sizeof(*ret_hits));
    assert_int_equal(traffic_open(options, 1, false, &opened), 0);
    assert_int_equal(traffic_share(&opened, 0, 1, &traffic), 0);
    for (unsigned i = 0; i < DRAWS / 50; i++) {
        assert_int_equal(traffic_draw(&traffic, 50, subjects), 50);
        for (unsigned k = 0; k < 50; k++) {
            assert_true(subjects[k] < KEYS);
            ret_hits[subjects[k]]++;
        }
    }
    traffic_unshare(&traffic);
    traffic_close(&opened);
}

/* Within five deviations of DRAWS trials of chance p. */
static void assert_near(unsigned hits, double p)
{
    assert_true(fabs(hits - p * DRAWS) < 5 * sqrt(DRAWS * p * (1 - p)) + 1);
}

static void test_zipf(void **state)
{
    (void)state;
    static const double exponents[] = {0.5, 0.99, 1.0, 1.00000000001, 1.2, 3.0};
    for (unsigned e = 0; e < sizeof(exponents) / sizeof(exponents[0]); e++) {
        const struct bench_options options = {.keys = KEYS, .seed = 5, .zipf = exponents[e]};
        unsigned hits[KEYS];
        double sum = 0;
        draw(&options, hits);
        for (unsigned k = 1; k <= KEYS; k++)
            sum += pow(k, -exponents[e]);
        for (unsigned k = 1; k <= KEYS; k++)
            assert_near(hits[k - 1], pow(k, -exponents[e]) / sum);
    }
}

static void test_hot_key(void **state)
{
    (void)state;
    const struct bench_options options = {.keys = KEYS, .seed = 5, .hot_part = 0.3};
    unsigned hits[KEYS];
    draw(&options, hits);
    assert_near(hits[0], 0.3 + 0.7 / KEYS);
    for (unsigned k = 1; k < KEYS; k++)
        assert_near(hits[k], 0.7 / KEYS);
    const struct bench_options all = {.keys = KEYS, .seed = 5, .hot_part = 1};
    draw(&all, hits);
    assert_int_equal(hits[0], DRAWS);
}

/* Threads that share it out never meet. */
static void test_unique(void **state)
{
    (void)state;
    const struct bench_options options = {.keys = UINT32_MAX, .unique = true};
    struct traffic traffic;
    bool seen[3 * KEYS] = {false};
    assert_int_equal(traffic_open(&options, 1, true, &traffic), 0);
    for (unsigned part = 0; part < 3; part++) {
        struct traffic share;
        uint32_t subjects[KEYS];
        assert_int_equal(traffic_share(&traffic, part, 3, &share), 0);
        assert_int_equal(traffic_draw(&share, KEYS, subjects), KEYS);
        for (unsigned k = 0; k < KEYS; k++) {
            assert_true(subjects[k] < 3 * KEYS && !seen[subjects[k]]);
            seen[subjects[k]] = true;
        }
        traffic_unshare(&share);
    }
    traffic_close(&traffic);
}

/* With --verify a subject is one thread's and out at most once; together they ask all. */
static void test_exclusive_parts(void **state)
{
    (void)state;
    const struct bench_options options = {
        .keys = KEYS, .seed = 5, .threads = 3, .verify = "deny", .requests = 3ull * 40 * KEYS};
    struct traffic traffic;
    bool seen[KEYS] = {false};
    assert_int_equal(traffic_open(&options, 1, true, &traffic), 0);
    for (unsigned part = 0; part < 3; part++) {
        struct traffic share;
        uint32_t subjects[2 * KEYS], asked = 0;
        bool out[KEYS] = {false};
        assert_int_equal(traffic_share(&traffic, part, 3, &share), 0);
        while (!traffic_is_over(&share)) {
            const unsigned n = traffic_draw(&share, 2 * KEYS, subjects);
            for (unsigned k = 0; k < n; k++) {
                assert_int_equal(subjects[k] % 3, part);
                assert_true(subjects[k] < KEYS && !out[subjects[k]]);
                out[subjects[k]] = seen[subjects[k]] = true;
            }
            for (unsigned k = 0; k < n; k++) {
                out[subjects[k]] = false;
                traffic_return(&share, subjects[k]);
            }
            asked += n;
        }
        assert_int_equal(asked, 40 * KEYS);
        traffic_unshare(&share);
    }
    for (unsigned k = 0; k < KEYS; k++)
        assert_true(seen[k]);
    traffic_close(&traffic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zipf),
        cmocka_unit_test(test_hot_key),
        cmocka_unit_test(test_unique),
        cmocka_unit_test(test_exclusive_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
