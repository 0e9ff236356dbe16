/* A merged value in the state of each kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "replica/adopt.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
