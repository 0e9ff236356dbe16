/* What a node tells the store of a key, and what it makes of the answer: tables of instants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "replica/delta.h"

#define MS 1000000ull
#define TICKS_PER_US 16000ull

static const struct limit BUCKET = {.interval = 100 * TICKS_PER_US + 1, /* 10,000/s, nearly */
                                    .tolerance = 1000000 * TICKS_PER_US,
                                    .burst = 10000,
                                    .algorithm = ALGORITHM_TOKEN_BUCKET};
static const struct limit WINDOW = {
    .interval = 1000 * MS, .burst = 10000, .algorithm = ALGORITHM_FIXED_WINDOW};

/* Settled, and looked at. */
static uint64_t settle(struct delta *delta, const struct limit *limit, uint64_t state,
                       uint32_t spread, const struct delta_answer *answer)
{
    const struct delta_view view = {
        .state = state, .now_ns = answer->at_ns, .spread = spread * DELTA_SPREAD_UNIT};

    delta_settle(delta, answer);
    return delta_look(delta, limit, answer, &view);
}

/* Whole microseconds go, with the age of the first charge; it grows until the delta is old. */
static void test_message_ages(void **state)
{
    static const struct {
        uint64_t at_ms, charge;
        int64_t ahead_us;
    } TABLE[] = {{10, 300, 0},      {15, 300, -5000},   {30, 300, -20000},
                 {31, 300, -20000}, {260, 300, -20000}, {261, 0, 7000}};
    struct delta delta = {0};
    (void)state;

    delta_charge(&delta, &BUCKET, 1, 10 * MS);
    delta_charge(&delta, &BUCKET, 2, 12 * MS);
    assert_true(delta_take(&delta, &BUCKET, 13 * MS));
    assert_int_equal(delta.sent_units, 3);
    assert_int_equal(delta.charge, 3); /* ticks, of three charges */
    for (unsigned i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++) {
        const uint64_t view = 268 * MS * LIMIT_TICKS_PER_NS;
        struct merge_delta message =
            delta_message(&delta, &BUCKET, view, 5000, TABLE[i].at_ms * MS);
        assert_int_equal(message.charge, TABLE[i].charge);
        assert_int_equal(message.ahead_us, TABLE[i].ahead_us);
        assert_int_equal(message.cap_us, 1005000);
    }
    /* a view that charged for the others, too, owes no more than a bucket has */
    const uint64_t view = 5000 * MS * LIMIT_TICKS_PER_NS;
    assert_int_equal(delta_message(&delta, &BUCKET, view, 5000, 261 * MS).ahead_us, 1000000);
}

/* Less than a microsecond is left of a batch; the next one is as old as its own first charge. */
static void test_a_rest_does_not_age(void **state)
{
    struct delta delta = {0};
    const struct delta_answer answer = {0};
    (void)state;

    delta_charge(&delta, &BUCKET, 1, 10 * MS);
    assert_true(delta_take(&delta, &BUCKET, 11 * MS));
    settle(&delta, &BUCKET, 0, 1, &answer);
    assert_int_equal(delta.charge, 1);
    delta_charge(&delta, &BUCKET, 1, 500 * MS);
    assert_true(delta_take(&delta, &BUCKET, 501 * MS));
    const struct merge_delta message = delta_message(&delta, &BUCKET, 0, 0, 501 * MS);
    assert_int_equal(message.charge, 100);
    assert_int_equal(message.ahead_us, -1000);
}

static void test_take_waits_for_the_answer(void **state)
{
    struct delta delta = {0};
    const struct delta_answer answer = {.cell = {2, 7}};
    (void)state;

    delta_charge(&delta, &WINDOW, 4, 0);
    assert_true(delta_take(&delta, &WINDOW, 0));
    delta_charge(&delta, &WINDOW, 5, 0);
    assert_false(delta_take(&delta, &WINDOW, 0));
    assert_int_equal(delta.sent, 4);
    assert_int_equal(settle(&delta, &WINDOW, 0, 3, &answer), 7 + 3 * 5);
    assert_int_equal(delta.base.epoch, 2);
    assert_int_equal(delta.base.value, 7);
    assert_true(delta_take(&delta, &WINDOW, 0));
    assert_int_equal(delta.sent, 5);
}

/* The distance to the store's tat, from when the answer came, and what was charged since. */
static void test_view_of_a_bucket(void **state)
{
    struct delta delta = {0};
    struct delta_answer answer = {.cell = {0, 5000700}, .store_now_us = 5000000, .at_ns = 20 * MS};
    const uint64_t unit = BUCKET.interval;
    (void)state;

    delta_take(&delta, &BUCKET, 19 * MS);
    assert_int_equal(settle(&delta, &BUCKET, 0, 8, &answer), 20700 * TICKS_PER_US);

    delta_take(&delta, &BUCKET, 19 * MS);
    delta_charge(&delta, &BUCKET, 1, 19 * MS);
    assert_int_equal(settle(&delta, &BUCKET, 0, 8, &answer), 20700 * TICKS_PER_US + 8 * unit);

    answer.cell.value = 4000000; /* at rest: only what was charged since */
    delta.is_sent = true;
    assert_int_equal(settle(&delta, &BUCKET, 0, 8, &answer), 19000 * TICKS_PER_US + 8 * unit);
}

/* What waited for long is in the view already, and will be told as a view: made anew from its sum
 * and its first instant, the view would lack what was idle time between. */
static void test_old_charges_keep_the_view(void **state)
{
    struct delta delta = {.is_sent = true};
    struct delta_answer answer = {.cell = {0, 5000700}, .store_now_us = 5000000, .at_ns = 260 * MS};
    const uint64_t view = 290 * MS * LIMIT_TICKS_PER_NS;
    (void)state;

    delta_charge(&delta, &BUCKET, 1, 10 * MS);
    assert_int_equal(settle(&delta, &BUCKET, view, 8, &answer),
                     260700 * TICKS_PER_US + 8 * BUCKET.interval);
    answer.cell.value = 4000000; /* at rest: no more than so much idle time counts */
    delta.is_sent = true;
    assert_int_equal(settle(&delta, &BUCKET, view, 8, &answer),
                     240000 * TICKS_PER_US + 8 * BUCKET.interval);
    answer.at_ns = 261 * MS;
    delta.is_sent = true;
    assert_int_equal(settle(&delta, &BUCKET, view, 8, &answer), view);
    answer.cell.value = 5100000; /* the store's is stricter */
    delta.is_sent = true;
    assert_int_equal(settle(&delta, &BUCKET, view, 8, &answer), 361000 * TICKS_PER_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_ages),
        cmocka_unit_test(test_a_rest_does_not_age),
        cmocka_unit_test(test_take_waits_for_the_answer),
        cmocka_unit_test(test_view_of_a_bucket),
        cmocka_unit_test(test_old_charges_keep_the_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
