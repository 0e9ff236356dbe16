/* The histogram: every value in its cell, percentiles within 1/256 of the sorted truth, merging. */
#include "lib/random.h"
#include "obs/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define SAMPLES 20000

static struct histogram first, second, both;

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_cells_tile_the_numbers(void **state)
{
    (void)state;
    for (uint32_t i = 0; i + 1 < HISTOGRAM_CELLS; i++) {
        assert_int_equal(histogram_index(histogram_cell_low(i)), i);
        assert_int_equal(histogram_index(histogram_cell_high(i)), i);
        assert_int_equal(histogram_cell_high(i) + 1, histogram_cell_low(i + 1));
        assert_true((histogram_cell_high(i) - histogram_cell_low(i)) * 256 <=
                    histogram_cell_low(i));
    }
    assert_int_equal(histogram_index(UINT64_MAX), HISTOGRAM_CELLS - 1);
    assert_int_equal(histogram_index(1ull << 42), HISTOGRAM_CELLS - 1);
}

static void test_percentiles_against_sorting(void **state)
{
    (void)state;
    static uint64_t values[SAMPLES];
    static const double shares[] = {0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0};
    uint64_t seed = random_seed(7), random = seed;

    histogram_init(&first);
    for (size_t i = 0; i < SAMPLES; i++) {
        values[i] = random_next(&random) >> (22 + random_next(&random) % 42);
        histogram_record(&first, values[i]);
    }
    qsort(values, SAMPLES, sizeof(values[0]), compare);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        const double at = shares[i] * SAMPLES;
        const uint64_t truth = values[(size_t)at + ((double)(size_t)at < at) - 1];
        const uint64_t said = histogram_percentile(&first, shares[i]);
        if (said < truth || said - truth > truth / 256)
            fail_msg("seed %llu: share %g: %llu, not %llu", (unsigned long long)seed, shares[i],
                     (unsigned long long)said, (unsigned long long)truth);
    }
    assert_int_equal(first.min, values[0]);
    assert_int_equal(first.max, values[SAMPLES - 1]);
}

static void test_merge_is_recording_both(void **state)
{
    (void)state;
    uint64_t random = 11;
    histogram_init(&first);
    histogram_init(&second);
    histogram_init(&both);
    for (int i = 0; i < 1000; i++) {
        const uint64_t value = random_next(&random) >> 30;
        histogram_record(i % 3 ? &first : &second, value);
        histogram_record(&both, value);
    }
    histogram_merge(&first, &second);
    assert_memory_equal(&first, &both, sizeof(both));
}

static void test_empty_and_huge(void **state)
{
    (void)state;
    histogram_init(&first);
    assert_int_equal(histogram_percentile(&first, 0.5), 0);
    histogram_record(&first, UINT64_MAX);
    assert_int_equal(histogram_percentile(&first, 0.5), UINT64_MAX);
    assert_int_equal(histogram_percentile(&first, 1.0), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells_tile_the_numbers),
        cmocka_unit_test(test_percentiles_against_sorting),
        cmocka_unit_test(test_merge_is_recording_both),
        cmocka_unit_test(test_empty_and_huge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
