/* The histogram that is read while it is written, and the drawing of what goes into it. */
#include "obs/latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct latency histograms[2];

static void test_cells_tile_the_times(void **state)
{
    (void)state;
    assert_int_equal(latency_index(0), 0);
    assert_int_equal(latency_index(UINT64_MAX), LATENCY_CELLS - 1);
    for (uint32_t i = 0; i + 1 < LATENCY_CELLS; i++) {
        const uint64_t end_ns = latency_cell_end_ns(i);
        assert_int_equal(latency_index(end_ns - 1), i);
        assert_int_equal(latency_index(end_ns), i + 1);
        if (i > 0) {
            const uint64_t low_ns = latency_cell_end_ns(i - 1);
            assert_true((end_ns - low_ns) * 8 <= low_ns);
        }
    }
    /* every power of two in the range is an edge: those are what Prometheus is told */
    for (unsigned bits = LATENCY_MIN_BITS; bits <= LATENCY_MAX_BITS; bits++)
        assert_int_equal(latency_index((1ull << bits) - 1) + 1, latency_index(1ull << bits));
}

static void test_sums_and_percentiles(void **state)
{
    (void)state;
    struct latency_sum sum = {.sum_ns = 0};
    assert_int_equal(latency_percentile_ns(&sum, 0.5), 0);
    memset(histograms, 0, sizeof(histograms));
    for (unsigned i = 1; i <= 1000; i++)
        latency_record(&histograms[i % 2], i * 1000, 3);
    latency_add(&sum, &histograms[0]);
    latency_add(&sum, &histograms[1]);
    assert_int_equal(latency_count(&sum), 3000);
    assert_int_equal(sum.sum_ns, 3ull * 1000 * 500500);
    static const double shares[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        const double truth = shares[i] * 1000 * 1000;
        const double said = (double)latency_percentile_ns(&sum, shares[i]);
        assert_true(said > truth && said <= truth * 9 / 8 + 1000);
    }
    memset(histograms, 0, sizeof(histograms));
    latency_record(&histograms[0], 1ull << 40, 1);
    sum = (struct latency_sum){.sum_ns = 0};
    latency_add(&sum, &histograms[0]);
    assert_true(latency_percentile_ns(&sum, 0.5) == UINT64_MAX);
}

/* One second of rate things per second: returns the sum of weights, counts the samples. */
static double draw(struct sampling *sampling, uint64_t rate, uint64_t *now_ns, uint64_t *ret_taken)
{
    double weights = 0;
    *ret_taken = 0;
    const uint64_t batch = 1 + rate / 100000; /* things come in batches, as in a worker */
    for (uint64_t done = 0; done < rate; done += batch) {
        *now_ns += 1000000000ull * batch / rate;
        for (uint64_t at = 0; sampling_is_due(sampling, batch - at); at++) {
            uint64_t weight;
            at += sampling_take(sampling, *now_ns, &weight);
            assert_true(at < batch);
            weights += (double)weight;
            ++*ret_taken;
        }
    }
    return weights;
}

static void test_samples_stand_for_all(void **state)
{
    (void)state;
    struct sampling sampling;
    uint64_t now_ns = 5, taken;
    sampling_init(&sampling, 400, 42, now_ns);
    assert_true(draw(&sampling, 3000, &now_ns, &taken) == 3000); /* each is taken */
    assert_int_equal(taken, 3000);
    draw(&sampling, 20000000, &now_ns,
         &taken); /* a surge: 2 x 400 for each doubling, and the rest */
    assert_true(taken < 25000);
    double weights = draw(&sampling, 20000000, &now_ns, &taken);
    assert_in_range(taken, 3000, 5000);
    assert_true(weights > 0.93 * 20e6 && weights < 1.07 * 20e6); /* 4 sigma of 4,000 distances */
    for (unsigned i = 0; i < 10; i++) { /* nothing for a second: who comes then is seen at once */
        now_ns += 100000000;
        sampling_refresh(&sampling, now_ns);
    }
    assert_true(sampling_is_due(&sampling, 1));
    weights = draw(&sampling, 1000, &now_ns, &taken);
    assert_true(taken == 1000 && weights == 1000);
}

/* What comes in a pattern is met in proportion, at any distance. */
static void test_patterns_do_not_matter(void **state)
{
    (void)state;
    struct sampling sampling;
    uint64_t counts[50] = {0}, total = 0, now_ns = 1, weight, last = 0, nearest = UINT64_MAX;
    uint64_t farthest = 0;
    sampling_init(&sampling, 400, 7, now_ns);
    for (unsigned batch = 0; batch < 400000; batch++) {
        now_ns += 5000; /* 50 checks in 5 us: 10 M/s */
        for (uint64_t at = 0; sampling_is_due(&sampling, 50 - at); at++) {
            at += sampling_take(&sampling, now_ns, &weight);
            counts[at] += weight;
            total += weight;
            const uint64_t distance = batch * 50ull + at - last;
            last += distance;
            if (batch > 200000) { /* the mean is near 2,500 by then, and stays there */
                nearest = distance < nearest ? distance : nearest;
                farthest = distance > farthest ? distance : farthest;
            }
        }
    }
    assert_true(nearest < 250 && farthest > 4500);
    for (unsigned i = 0; i < 50; i++)
        assert_true(counts[i] > total / 50 * 6 / 10 && counts[i] < total / 50 * 14 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells_tile_the_times),
        cmocka_unit_test(test_sums_and_percentiles),
        cmocka_unit_test(test_samples_stand_for_all),
        cmocka_unit_test(test_patterns_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
