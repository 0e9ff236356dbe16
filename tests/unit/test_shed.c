/* What is left out in an overload, by tables of instants. A whole world of it is
 * test_shed_world.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/shed.h"

#define MS 1000000ull
#define SECOND 1000000000ull

/* ---- single questions ---- */

static struct shed_question ask(const struct mete_header *header, uint32_t clock_ms)
{
    return (struct shed_question){
        .header = header, .row = 7, .has_good_clock = true, .clock_ms = clock_ms};
}

static void start(struct shed *shed)
{
    shed_init(shed, 0);
    shed->options = (struct shed_options){
        .budget_ns = 20 * MS, .max_age_ns = 100 * MS, .answers_per_second = 1000};
}

/* So many looks, 10 ms apart, the last at now_ns, of which each sees a queue that was not empty
 * since 0. */
static void look_at(struct shed *shed, unsigned count, struct shed_look look)
{
    const uint64_t last_ns = look.now_ns;
    while (count--) {
        look.now_ns = last_ns - count * SHED_LOOK_NS;
        shed_note(shed, true, look.now_ns);
        assert_false(shed_take_look(shed, &look));
    }
}

static void begin(struct shed *shed, uint64_t now_ns)
{
    look_at(shed, SHED_LOOKS, (struct shed_look){.now_ns = now_ns, .fill_percent = 100});
    assert_true(shed->is_on);
}

static void doubt_is_a_queue_that_does_not_get_empty(void **state)
{
    (void)state;
    const struct {
        uint64_t now_ns;
        bool is_full, is_doubt;
    } turns[] = {
        {100 * MS, false, false},                           /* asleep until then */
        {110 * MS, true, false},  {119 * MS, true, false},  /* since 100 ms */
        {120 * MS, true, true},   {121 * MS, false, true},  /* the end of the same queue */
        {122 * MS, false, false}, {190 * MS, false, false}, /* nothing but sleep */
        {290 * MS, true, true},                             /* woken late, or stopped */
    };
    struct shed *shed = calloc(1, sizeof(*shed));
    start(shed);
    for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++)
        assert_int_equal(shed_note(shed, turns[i].is_full, turns[i].now_ns), turns[i].is_doubt);
    free(shed);
}

static void the_oldest_go_first(void **state)
{
    (void)state;
    struct shed *shed = calloc(1, sizeof(*shed));
    struct mete_header header = {.type = METE_CHECK, .n = 1, .tenant = 5};
    const struct {
        uint32_t sent_ms, clock_ms;
        bool has_good_clock;
        enum shed_fate fate;
    } cases[] = {
        {1000, 1000, true, SHED_NOT},
        {1000, 1100, true, SHED_NOT},
        {1000, 1101, true, SHED_OLD},
        {1000, 1101, false, SHED_NOT}, /* another life's */
        {0, 1101, true, SHED_NOT},
        /* unknown */ {1200, 1000, true, SHED_NOT}, /* it leads */
        {UINT32_MAX - 50, 49, true, SHED_NOT},
        {UINT32_MAX - 50, 50, true, SHED_OLD}, /* it wraps */
        {1000, 2000000, true, SHED_OLD},
    };
    start(shed);
    assert_false(shed_note(shed, false, 1));
    assert_true(shed_note(shed, true, 300 * MS)); /* stopped meanwhile: nobody knows how old */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        header.clock_ms = cases[i].sent_ms;
        struct shed_question question = ask(&header, cases[i].clock_ms);
        question.has_good_clock = cases[i].has_good_clock;
        assert_int_equal(shed_judge(shed, &question, 300 * MS), cases[i].fate);
    }
    header.clock_ms = 1000;
    struct shed_question old = ask(&header, 2000);
    header.type = METE_RELEASE;
    assert_int_equal(shed_judge(shed, &old, 300 * MS), SHED_NOT);
    header.type = METE_CHECK;
    shed_note(shed, false, 301 * MS); /* the end of that queue: as doubtful as its head */
    assert_int_equal(shed_judge(shed, &old, 301 * MS), SHED_OLD);
    shed_note(shed, false, 302 * MS); /* came after it was empty */
    assert_int_equal(shed_judge(shed, &old, 302 * MS), SHED_NOT);
    free(shed);
}

static void a_queue_that_stays_long_begins_it(void **state)
{
    (void)state;
    const struct {
        uint64_t now_ns;
        unsigned looks;
        uint32_t fill_percent;
        bool has_lost, begins;
    } cases[] = {
        {85 * MS, SHED_LOOKS, 100, true, false},  /* the first was within the budget */
        {100 * MS, SHED_LOOKS, 49, false, false}, /* a short queue, as a closed loop keeps */
        {100 * MS, SHED_LOOKS, 50, false, true},
        {100 * MS, SHED_LOOKS, 0, true, true},
        {100 * MS, SHED_LOOKS - 1, 100, true, false},
        {20 * SECOND, 1, 100, true, false}, /* it did not run meanwhile */
        {20 * SECOND, 100, 49, false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shed *shed = calloc(1, sizeof(*shed));
        struct shed_look look = {.now_ns = cases[i].now_ns,
                                 .fill_percent = cases[i].fill_percent,
                                 .has_lost = cases[i].has_lost};
        start(shed);
        look_at(shed, cases[i].looks, look);
        assert_int_equal(shed->is_on, cases[i].begins);
        free(shed);
    }
}

static void a_rest_begins_the_count_anew(void **state)
{
    (void)state;
    struct shed *shed = calloc(1, sizeof(*shed));
    struct shed_look look = {.now_ns = 100 * MS, .fill_percent = 100};
    start(shed);
    look_at(shed, SHED_LOOKS - 1, look);
    shed_note(shed, false, 101 * MS);
    look.now_ns = 210 * MS;
    look_at(shed, SHED_LOOKS, look); /* the first of them saw that rest */
    assert_false(shed->is_on);
    look.now_ns = 220 * MS;
    look_at(shed, 1, look);
    assert_true(shed->is_on);
    free(shed);
}

/* One look's worth of datagrams, so many of each tenant; then the look. */
static void feed(struct shed *shed, const uint32_t *counts, unsigned tenants, uint64_t now_ns,
                 uint32_t fill_percent)
{
    for (unsigned t = 0; t < tenants; t++)
        for (uint32_t i = 0; i < counts[t]; i++) {
            struct mete_header header = {.type = METE_CHECK, .n = 1, .tenant = t + 1};
            struct shed_question question = ask(&header, 0);
            shed_judge(shed, &question, now_ns);
        }
    shed_note(shed, true, now_ns);
    shed_take_look(shed, &(struct shed_look){.now_ns = now_ns, .fill_percent = fill_percent});
}

static uint32_t count_passed(struct shed *shed, uint32_t id, uint8_t type, uint32_t of)
{
    uint32_t passed = 0;
    for (uint32_t i = 0; i < of; i++) {
        struct mete_header header = {.type = type, .n = 1, .tenant = id};
        struct shed_question question = ask(&header, 0);
        passed += shed_judge(shed, &question, SECOND) == SHED_NOT;
    }
    return passed;
}

/* Max-min fair, to the unit. All buffers are full, so 5/8 of what was done are given out. */
static void shares_are_fair(void **state)
{
    (void)state;
    static const struct {
        uint32_t asked[4], fair[4];
    } cases[] = {
        {{500, 2000, 3500, 4000}, {500, 1916, 1916, 1916}}, /* of 6,250 */
        {{1, 2000, 3999, 4000}, {1, 2000, 2124, 2124}},
        {{2500, 2500, 2500, 2500}, {1562, 1562, 1562, 1562}},
        {{10, 20, 30, 9940}, {10, 20, 30, 6190}},
        {{0, 0, 0, 10000}, {0, 0, 0, 6250}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct shed *shed = calloc(1, sizeof(*shed));
        start(shed);
        begin(shed, 100 * MS);
        feed(shed, cases[i].asked, 4, 110 * MS, 100);
        for (unsigned t = 0; t < 4; t++)
            assert_int_equal(count_passed(shed, t + 1, METE_CHECK, cases[i].asked[t]),
                             cases[i].fair[t]);
        free(shed);
    }
}

static void releases_are_never_shed(void **state)
{
    (void)state;
    static const uint32_t many[] = {5000, 5000};
    struct shed *shed = calloc(1, sizeof(*shed));
    start(shed);
    begin(shed, 100 * MS);
    feed(shed, many, 2, 110 * MS, 100);
    assert_int_equal(count_passed(shed, 1, METE_CHECK, 5000), 3125);
    assert_int_equal(count_passed(shed, 1, METE_CHECK, 5000), 0);
    assert_int_equal(count_passed(shed, 1, METE_RELEASE, 5000), 5000);
    assert_int_equal(count_passed(shed, 1, METE_CHECK, 5000), 0);
    free(shed);
}

static void answers_have_a_budget(void **state)
{
    (void)state;
    struct mete_header header = {.type = METE_CHECK, .n = 1, .tenant = 1};
    struct shed *shed = calloc(1, sizeof(*shed));
    static const uint32_t many[] = {5000};
    start(shed);
    begin(shed, 100 * MS);
    feed(shed, many, 1, 110 * MS, 100);
    assert_int_equal(count_passed(shed, 1, METE_CHECK, 3125), 3125);
    uint64_t told = 0;
    for (uint64_t i = 0; i < 100000; i++) { /* a second of them */
        struct shed_question question = ask(&header, 0);
        told += shed_judge(shed, &question, SECOND + i * SECOND / 100000) == SHED_ANSWER;
    }
    assert_in_range(told, 900, 1000 + 11);
    shed->options.answers_per_second = 0;
    struct shed_question question = ask(&header, 0);
    assert_int_equal(shed_judge(shed, &question, 9 * SECOND), SHED_SHARE);
    free(shed);
}

/* Two tenants share 6,250; of the first one's half three quarters only name it. */
static void what_is_forged_is_given_back(void **state)
{
    (void)state;
    static const uint32_t many[] = {5000, 5000};
    struct shed *shed = calloc(1, sizeof(*shed));
    struct mete_header header = {.type = METE_CHECK, .n = 1, .tenant = 1};
    uint32_t good = 0;
    start(shed);
    shed_take_forged(shed, &header); /* in no overload: nobody's concern */
    begin(shed, 100 * MS);
    feed(shed, many, 2, 110 * MS, 100);
    for (uint32_t i = 0; i < 100000; i++) {
        struct shed_question question = ask(&header, 0);
        if (shed_judge(shed, &question, 110 * MS) != SHED_NOT)
            continue;
        if (i % 4)
            shed_take_forged(shed, &header);
        else
            good++;
    }
    assert_int_equal(good, 3125);
    assert_int_equal(count_passed(shed, 2, METE_CHECK, 5000), 3125);
    header.type =
        METE_RELEASE; /* never shed, so forged ones must not bring what they did not take */
    for (uint32_t i = 0; i < 5000; i++) {
        struct shed_question question = ask(&header, 0);
        assert_int_equal(shed_judge(shed, &question, 110 * MS), SHED_NOT);
        shed_take_forged(shed, &header);
    }
    assert_int_equal(count_passed(shed, 1, METE_CHECK, 5000), 0);
    free(shed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubt_is_a_queue_that_does_not_get_empty),
        cmocka_unit_test(the_oldest_go_first),
        cmocka_unit_test(a_queue_that_stays_long_begins_it),
        cmocka_unit_test(a_rest_begins_the_count_anew),
        cmocka_unit_test(shares_are_fair),
        cmocka_unit_test(releases_are_never_shed),
        cmocka_unit_test(answers_have_a_budget),
        cmocka_unit_test(what_is_forged_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
