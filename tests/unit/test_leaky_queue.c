/* Leaky bucket as a queue: tables of instants. */
#include "instants.h"

static void units_come_out_t_apart(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 1, ALLOWED, 1, 2, 0, 1 * SEC},
        {0, 0, CHECK, 1, ALLOWED, 1, 1, 1 * SEC, 2 * SEC},
        {500 * MS, 0, PEEK, 1, ALLOWED, 0, 1, 1500 * MS, 1500 * MS},
        {500 * MS, 0, CHECK, 0, ALLOWED, 0, 1, 1500 * MS, 1500 * MS},
        {500 * MS, 0, CHECK, 1, ALLOWED, 1, 0, 1500 * MS, 2500 * MS},
        {500 * MS, 0, CHECK, 1, DENIED, 0, 0, 500 * MS, 2500 * MS},
        {999999999, 0, CHECK, 1, DENIED, 0, 0, 1, 2000000001},
        {1 * SEC, 0, CHECK, 1, ALLOWED, 1, 0, 2 * SEC, 3 * SEC},
        {1 * SEC, 0, CHECK, 4, DENIED, 0, 0, NEVER, 3 * SEC},
        {4 * SEC, 0, CHECK, 1, ALLOWED, 1, 2, 0, 1 * SEC},
    };
    const struct limit limit = compiled(ALGORITHM_LEAKY_QUEUE, 1, SEC, 3);
    run_instants(&limit, ROWS, COUNT_OF(ROWS), 0, 0);
    run_instants(&limit, ROWS, COUNT_OF(ROWS), 987654321 * SEC, 0);
}

static void at_most_refund_reset(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, AT_MOST, 2, ALLOWED, 2, 1, 0, 2 * SEC},
        {0, 0, AT_MOST, 2, ALLOWED, 1, 0, 2 * SEC, 3 * SEC},
        {0, 0, AT_MOST, 2, DENIED, 0, 0, 1 * SEC, 3 * SEC},
        {0, 0, REFUND, 1, ALLOWED, 0, 1, 0, 2 * SEC},
        {0, 0, CHECK, 1, ALLOWED, 1, 0, 2 * SEC, 3 * SEC},
        {0, 0, RESET, 0, ALLOWED, 0, 3, 0, 0},
        {0, 0, CHECK, 3, ALLOWED, 3, 0, 0, 3 * SEC},
    };
    const struct limit limit = compiled(ALGORITHM_LEAKY_QUEUE, 1, SEC, 3);
    run_instants(&limit, ROWS, COUNT_OF(ROWS), 5 * SEC, 0);
}

static void delays_are_rounded_up(void **unused)
{
    (void)unused;
    static const struct row ROWS[] = {
        {0, 0, CHECK, 1, ALLOWED, 1, 2, 0, 334}, /* T = 333.375 ns */
        {0, 0, CHECK, 1, ALLOWED, 1, 1, 334, 667},
        {0, 0, CHECK, 1, ALLOWED, 1, 0, 667, 1001},
    };
    const struct limit limit = compiled(ALGORITHM_LEAKY_QUEUE, 3, 1000, 0);
    run_instants(&limit, ROWS, COUNT_OF(ROWS), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_come_out_t_apart),
        cmocka_unit_test(at_most_refund_reset),
        cmocka_unit_test(delays_are_rounded_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
