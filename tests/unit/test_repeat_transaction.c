/* Places of the repeat set taken in one transaction of the processor: all, or none. Skipped on
 * a machine without them. Against other threads: tests/race/race_repeat.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/repeat_look.h"
#include "engine/repeat_transaction.h"

#define COUNT LOOK_CHUNK
#define TRIES 100000u /* it may fail at any time, but not always */

struct fixture {
    struct repeat_bucket buckets[COUNT];
    struct look look;
};

/* Claim i takes a place of bucket i. */
static void set_make(struct fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    for (unsigned i = 0; i < COUNT; i++) {
        struct record *place = &fixture->buckets[i].place[i % RECORD_PLACES];

        place->name = 1000 + i;
        fixture->look.place[i] = place;
        fixture->look.old[i] = place->name;
        fixture->look.name[i] = 2000 + i;
    }
}

static bool swap(const struct fixture *fixture, uint32_t count)
{
    if (!repeat_has_transactions())
        skip();
    for (unsigned tries = 0; tries < TRIES; tries++)
        if (repeat_transaction_swap(&fixture->look, count))
            return true;
    return false;
}

static void all_places_are_taken(void **state)
{
    static const uint32_t counts[] = {1, REPEAT_TRANSACTION_LEAST, 31, COUNT};
    struct fixture fixture;

    (void)state;
    for (unsigned at = 0; at < sizeof counts / sizeof *counts; at++) {
        set_make(&fixture);
        assert_true(swap(&fixture, counts[at]));
        for (unsigned i = 0; i < COUNT; i++)
            assert_int_equal(fixture.buckets[i].place[i % RECORD_PLACES].name,
                             (i < counts[at] ? 2000 : 1000) + i);
    }
}

static void or_none(void **state)
{
    struct repeat_bucket before[COUNT];
    struct fixture fixture;

    (void)state;
    for (unsigned turn = 0; turn < 3; turn++) {
        set_make(&fixture);
        if (turn == 0)
            fixture.look.place[COUNT - 1] = NULL; /* was not silent */
        else if (turn == 1)
            fixture.look.place[COUNT - 1]->name++; /* another's by now */
        else
            fixture.look.place[COUNT - 1] = fixture.look.place[0]; /* two chose one */
        memcpy(before, fixture.buckets, sizeof before);
        assert_false(swap(&fixture, COUNT));
        assert_memory_equal(before, fixture.buckets, sizeof before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_places_are_taken),
        cmocka_unit_test(or_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
