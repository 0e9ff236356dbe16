/* The judge of histories (race/linear.h) over histories by hand: which have an order and which have
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h wants those before it */
#include <cmocka.h>

#include "race/linear.h"

#define CHECK(from, to, units, granted_units, left)                                                \
    {                                                                                              \
        .kind = LINEAR_CHECK, .asked = from, .answered = to, .cost = units,                        \
        .granted = granted_units, .has_numbers = true, .remaining = left                           \
    }
#define PEEK(from, to, left)                                                                       \
    {                                                                                              \
        .kind = LINEAR_PEEK, .asked = from, .answered = to, .has_numbers = true, .remaining = left \
    }

static const struct {
    const char *name;
    bool has_order;
    struct linear_op ops[4];
} histories[] = {
    {"one after the other", true, {CHECK(0, 1, 1, 1, 2), CHECK(2, 3, 1, 1, 1)}},
    {"at once, either first", true, {CHECK(0, 3, 1, 1, 1), CHECK(1, 2, 1, 1, 2)}},
    {"a charge that is lost", false, {CHECK(0, 1, 1, 1, 2), CHECK(2, 3, 1, 1, 2)}},
    {"a charge that is lost to one at once", false, {CHECK(0, 3, 1, 1, 2), CHECK(1, 2, 1, 1, 2)}},
    {"the later one was first", false, {CHECK(0, 1, 1, 1, 1), CHECK(2, 3, 1, 1, 2)}},
    {"one unit too many",
     false,
     {CHECK(0, 9, 2, 2, 1), CHECK(1, 8, 2, 2, 1), CHECK(2, 7, 1, 0, 1)}},
    {"one is denied", true, {CHECK(0, 9, 2, 2, 1), CHECK(1, 8, 2, 0, 1), CHECK(2, 7, 1, 1, 0)}},
    {"denied while there was room", false, {CHECK(0, 1, 1, 1, 2), CHECK(2, 3, 1, 0, 2)}},
    {"a copy was charged, too", false, {CHECK(0, 1, 1, 1, 2), PEEK(0, 2, 1), CHECK(3, 4, 1, 1, 0)}},
    {"a copy that was not", true, {CHECK(0, 1, 1, 1, 2), PEEK(0, 2, 2), CHECK(3, 4, 1, 1, 1)}},
    {"a look before its charge", true, {CHECK(0, 5, 1, 1, 2), PEEK(1, 2, 3)}},
    {"a look that forgot", false, {CHECK(0, 1, 1, 1, 2), PEEK(2, 3, 3)}},
    {"a reset between",
     true,
     {CHECK(0, 1, 3, 3, 0),
      {.kind = LINEAR_RESET, .asked = 0, .answered = 9},
      CHECK(2, 3, 3, 3, 0)}},
    {"a reset too late",
     false,
     {CHECK(0, 1, 3, 3, 0),
      CHECK(2, 3, 3, 3, 0),
      {.kind = LINEAR_RESET, .asked = 4, .answered = 9}}},
    {"a refund above the burst",
     false,
     {{.kind = LINEAR_REFUND, .cost = 2, .asked = 0, .answered = 1}, CHECK(2, 3, 3, 3, 2)}},
    {"as much as there is",
     true,
     {CHECK(0, 1, 1, 1, 2), {.kind = LINEAR_AT_MOST, .cost = 3, .granted = 2, .answered = 9}}},
    {"more than there is",
     false,
     {CHECK(0, 1, 1, 1, 2),
      {.kind = LINEAR_AT_MOST, .cost = 3, .granted = 3, .asked = 2, .answered = 9}}},
};

static void test_histories(void **state)
{
    static struct linear linear;

    (void)state;
    for (size_t i = 0; i < sizeof histories / sizeof *histories; i++) {
        linear.burst = 3;
        linear.count = 0;
        for (unsigned j = 0; j < 4 && histories[i].ops[j].answered; j++)
            linear.ops[linear.count++] = histories[i].ops[j];
        if (linear_judge(&linear) != histories[i].has_order)
            fail_msg("%s", histories[i].name);
        assert_false(linear_is_undecided(&linear));
    }
}

/* Whose clocks differ: a unit may be missed, never two and never one more. */
static void test_clocks_that_differ(void **state)
{
    static const struct {
        bool has_order;
        struct linear_op ops[3];
    } cases[] = {
        {true, {CHECK(0, 1, 1, 1, 2), CHECK(2, 3, 1, 1, 0)}},
        {true, {CHECK(0, 1, 1, 1, 2), CHECK(2, 3, 2, 0, 1)}},
        {true, {CHECK(0, 1, 1, 1, 2), CHECK(2, 3, 2, 2, 0)}},
        {false, {CHECK(0, 1, 1, 1, 2), CHECK(2, 3, 1, 0, 1)}},
        {false, {CHECK(0, 1, 1, 1, 2), CHECK(2, 3, 1, 1, 2)}},
        {false, {CHECK(0, 1, 2, 2, 1), CHECK(2, 3, 2, 2, 0)}},
        {true,
         {CHECK(0, 1, 1, 1, 2), {.kind = LINEAR_AT_MOST, .cost = 3, .granted = 1, .answered = 9}}},
        {false,
         {CHECK(0, 1, 1, 1, 1),
          {.kind = LINEAR_AT_MOST, .cost = 3, .granted = 3, .asked = 2, .answered = 9}}},
    };
    static struct linear linear;

    (void)state;
    linear.burst = 3;
    linear.lags = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        linear.count = 2;
        memcpy(linear.ops, cases[i].ops, sizeof cases[i].ops);
        if (linear_judge(&linear) != cases[i].has_order)
            fail_msg("case %zu", i);
    }
}

/* More at once than it can try: it says so, and ends. */
static void test_it_gives_up(void **state)
{
    static struct linear linear;

    (void)state;
    linear.burst = 60;
    linear.count = 40;
    for (unsigned i = 0; i < linear.count; i++)
        linear.ops[i] = (struct linear_op){
            .kind = LINEAR_CHECK, .cost = 1 + i % 3, .granted = 1 + i % 3, .answered = 9};
    assert_false(linear_judge(&linear));
    assert_true(linear_is_undecided(&linear));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories),
        cmocka_unit_test(test_clocks_that_differ),
        cmocka_unit_test(test_it_gives_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
