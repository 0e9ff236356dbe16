/* A merged value in the state of each kind, and the places of rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "replica/adopt.h"
#include "replica/partition.h"

#define FIXED(name, count) ((uint64_t)(name) << 32 | (count))
#define SLIDING(index, previous, current)                                                          \
    ((uint64_t)(index) << 48 | (uint64_t)(previous) << 24 | (current))

static void test_states(void **unused)
{
    static const struct {
        enum algorithm algorithm;
        uint64_t state, window, view, next;
    } TABLE[] = {
        {ALGORITHM_TOKEN_BUCKET, 5, 0, 9, 9},
        {ALGORITHM_TOKEN_BUCKET, 9, 0, 0, 0},
        {ALGORITHM_FIXED_WINDOW, 0, 7, 3, FIXED(7, 3)},
        {ALGORITHM_FIXED_WINDOW, FIXED(7, 1), 7, 3, FIXED(7, 3)},
        {ALGORITHM_FIXED_WINDOW, FIXED(7, 1), 7, 0, 0},
        {ALGORITHM_FIXED_WINDOW, FIXED(6, 9), 7, 3, FIXED(7, 3)},
        {ALGORITHM_FIXED_WINDOW, FIXED(8, 1), 7, 3, FIXED(8, 1)},
        {ALGORITHM_FIXED_WINDOW, FIXED(UINT32_MAX, 1), 0, 3, FIXED(0, 3)},
        {ALGORITHM_FIXED_WINDOW, FIXED(0, 1), UINT32_MAX, 3, FIXED(0, 1)},
        {ALGORITHM_FIXED_WINDOW, 0, 7, 1ull << 40, FIXED(7, UINT32_MAX)},
        {ALGORITHM_CALENDAR, FIXED(UINT32_MAX, 1), 9, 3, FIXED(UINT32_MAX, 1)},
        {ALGORITHM_CALENDAR, FIXED(9, 1), UINT32_MAX, 3, FIXED(UINT32_MAX, 3)},
        {ALGORITHM_CALENDAR, FIXED(9, 1), 9, 3, FIXED(9, 3)},
        {ALGORITHM_SLIDING_WINDOW, 0, 7, 3, SLIDING(7, 0, 3)},
        {ALGORITHM_SLIDING_WINDOW, SLIDING(7, 4, 1), 7, 3, SLIDING(7, 4, 3)},
        {ALGORITHM_SLIDING_WINDOW, SLIDING(7, 4, 1), 6, 3, SLIDING(7, 3, 1)},
        {ALGORITHM_SLIDING_WINDOW, SLIDING(7, 4, 1), 5, 3, SLIDING(7, 4, 1)},
        {ALGORITHM_SLIDING_WINDOW, SLIDING(7, 4, 1), 8, 3, SLIDING(8, 1, 3)},
        {ALGORITHM_SLIDING_WINDOW, SLIDING(7, 4, 1), 9, 3, SLIDING(9, 0, 3)},
        {ALGORITHM_SLIDING_WINDOW, SLIDING(65535, 4, 1), 0, 3, SLIDING(0, 1, 3)},
        {ALGORITHM_SLIDING_WINDOW, SLIDING(7, 0, 1), 7, 0, 0},
        {ALGORITHM_SLIDING_WINDOW, 0, 7, 1ull << 40, SLIDING(7, 0, LIMIT_SLIDING_MAX)},
    };
    (void)unused;

    for (unsigned i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++) {
        const struct limit limit = {.algorithm = (uint8_t)TABLE[i].algorithm};
        const uint64_t next = adopt_state(&limit, TABLE[i].state, TABLE[i].window, TABLE[i].view);
        if (next != TABLE[i].next)
            fail_msg("row %u: %llx, not %llx", i, (unsigned long long)next,
                     (unsigned long long)TABLE[i].next);
    }
}

/* A row that still has something to tell is not given away, also if its keys are many. */
static void test_rows(void **unused)
{
    struct partition_row rows[PARTITION_PROBES];
    struct partition partition = {.rows = rows, .row_count = PARTITION_PROBES};
    const struct limit limit = {.interval = 1, .burst = 9, .algorithm = ALGORITHM_FIXED_WINDOW};
    (void)unused;

    memset(rows, 0, sizeof rows);
    for (uint64_t i = 0; i < PARTITION_PROBES; i++) {
        struct partition_row *row = partition_find_or_claim(&partition, (struct key){i, 1}, 3, i);
        assert_non_null(row);
        assert_ptr_equal(row, partition_find_or_claim(&partition, (struct key){i, 1}, 3, i));
        if (i != 5 && i != 9)
            delta_charge(&row->delta, &limit, 1, i);
    }
    assert_int_equal(partition_begin(&partition, &limit, false, 20), PARTITION_PROBES - 2);
    assert_int_equal(partition.sequence, 1);
    assert_int_equal(partition_begin(&partition, &limit, true, 21), 0);
    assert_false(partition_accept(&partition, 2));

    struct partition_row *row = partition_find_or_claim(&partition, (struct key){5, 1}, 4, 30);
    assert_non_null(row); /* in place of key 5, silent longest */
    delta_charge(&row->delta, &limit, 1, 30);
    assert_ptr_not_equal(row, partition_find_or_claim(&partition, (struct key){9, 1}, 3, 31));
    delta_charge(&partition_find_or_claim(&partition, (struct key){9, 1}, 3, 31)->delta, &limit, 1,
                 31);
    assert_null(partition_find_or_claim(&partition, (struct key){77, 1}, 3, 32));

    assert_true(partition_accept(&partition, 1));
    assert_false(partition_accept(&partition, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
