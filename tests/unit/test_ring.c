/* The ring of what was charged, and the demand beside it: order, room, what is kept for the rare
 * events; estimates. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "replica/demand.h"
#include "replica/ring.h"

#define CELLS 64u

static void events_come_as_they_went(void **unused)
{
    struct ring_cell cells[CELLS];
    struct ring ring;
    struct ring_event event;
    const struct ring_event amount = {
        .kind = RING_AMOUNT,
        .owner = 0xFFFFF,
        .first_ns = 99,
        .key = {.low = 1, .high = UINT64_MAX},
        .window = UINT32_MAX,
        .units = -5000000000,
    };
    (void)unused;
    ring_init(&ring, cells, CELLS);
    for (unsigned round = 0; round < 1000; round++) { /* many times round */
        assert_true(ring_push_dirty(&ring, (1ull << 33) - 1 - round, 7 + round, round % 2));
        assert_true(ring_push(&ring, &amount));
        assert_false(ring_pop(&ring, &event)); /* not shown yet */
        ring_publish(&ring);
        assert_true(ring_pop(&ring, &event));
        assert_int_equal(event.kind, RING_DIRTY);
        assert_true(event.index == (1ull << 33) - 1 - round && event.first_ns == 7 + round);
        assert_int_equal(event.is_new, round % 2);
        assert_true(ring_pop(&ring, &event));
        assert_int_equal(event.kind, RING_AMOUNT);
        assert_int_equal(event.owner, amount.owner);
        assert_int_equal(event.first_ns, amount.first_ns);
        assert_memory_equal(&event.key, &amount.key, sizeof amount.key);
        assert_int_equal(event.window, amount.window);
        assert_int_equal(event.units, amount.units);
        assert_false(ring_pop(&ring, &event));
    }
}

static void the_last_room_is_for_what_would_be_lost(void **unused)
{
    struct ring_cell cells[CELLS];
    struct ring ring;
    struct ring_event event = {.kind = RING_RESET};
    unsigned dirty = 0, longs = 0;
    (void)unused;
    ring_init(&ring, cells, CELLS);
    while (ring_has_room(&ring)) {
        assert_true(ring_push_dirty(&ring, dirty, 0, false));
        dirty++;
    }
    assert_false(ring_push_dirty(&ring, 0, 0, false));
    assert_int_equal(dirty, CELLS - CELLS / RING_RESERVED_PARTS);
    while (ring_has_long_room(&ring, 1)) {
        assert_true(ring_push(&ring, &event));
        longs++;
    }
    assert_false(ring_push(&ring, &event));
    assert_int_equal(longs, CELLS / RING_RESERVED_PARTS / RING_LONG_CELLS);
    assert_int_equal(ring_refused(&ring), 0);
    ring_publish(&ring);
    assert_int_equal(ring_refused(&ring), 1);
    for (unsigned i = 0; i < dirty; i++)
        assert_true(ring_pop(&ring, &event) && event.index == i);
    for (unsigned i = 0; i < longs; i++)
        assert_true(ring_pop(&ring, &event) && event.kind == RING_RESET);
    assert_false(ring_pop(&ring, &event));
    assert_true(ring_has_long_room(&ring, CELLS / RING_LONG_CELLS));
}

/* Who wants a grant asks again; a flood of that leaves room for what would be lost. */
static void wants_leave_the_last_room(void **unused)
{
    struct ring_cell cells[CELLS];
    struct ring ring;
    const struct ring_event want = {.kind = RING_WANT}, amount = {.kind = RING_AMOUNT};
    (void)unused;
    ring_init(&ring, cells, CELLS);
    while (ring_push(&ring, &want))
        ;
    for (unsigned i = 0; i < CELLS / RING_RESERVED_PARTS / RING_LONG_CELLS; i++)
        assert_true(ring_push(&ring, &amount));
}

#define STREAM 300000u

static void *write_stream(void *argument)
{
    struct ring *ring = argument;
    for (uint64_t i = 0; i < STREAM;) {
        bool done = i % 3 == 0 ? ring_push(ring, &(struct ring_event){.kind = RING_AMOUNT,
                                                                      .key = {i, ~i},
                                                                      .units = (int64_t)i})
                               : ring_push_dirty(ring, i, i, false);
        i += done;
        if (!done || i % 5 == 0)
            ring_publish(ring);
    }
    ring_publish(ring);
    return NULL;
}

static void two_threads_see_one_order(void **unused)
{
    static struct ring_cell cells[CELLS];
    static struct ring ring;
    struct ring_event event;
    pthread_t writer;
    (void)unused;
    ring_init(&ring, cells, CELLS);
    assert_int_equal(pthread_create(&writer, NULL, write_stream, &ring), 0);
    for (uint64_t i = 0; i < STREAM;) {
        if (!ring_pop(&ring, &event)) {
            sched_yield();
            continue;
        }
        if (i % 3 == 0)
            assert_true(event.kind == RING_AMOUNT && event.key.low == i && event.key.high == ~i);
        else
            assert_true(event.kind == RING_DIRTY && event.index == i && event.first_ns == i);
        i++;
    }
    pthread_join(writer, NULL);
    assert_false(ring_pop(&ring, &event));
}

static void demand_is_an_estimate(void **unused)
{
    _Atomic uint64_t cells[8] = {0};
    struct demand demand;
    uint32_t cursor = 0, units;
    uint64_t index;
    (void)unused;
    demand_init(&demand, cells, 8);
    demand_add(&demand, 3, 2);
    demand_add(&demand, 3, 5);
    demand_add(&demand, 4, 1);
    demand_add(&demand, 12, 3); /* meets 4, and is larger */
    demand_add(&demand, 11, 1); /* meets 3, and is not */
    demand_add(&demand, 0, 4);  /* entry 0 is one like others */
    demand_add(&demand, (1ull << 33) - 1, 9);
    demand_add(&demand, (1ull << 33) - 1, UINT32_MAX); /* no more than fits */
    assert_true(demand_drain(&demand, &cursor, &index, &units));
    assert_true(index == 0 && units == 4);
    assert_true(demand_drain(&demand, &cursor, &index, &units));
    assert_true(index == 3 && units == 7);
    assert_true(demand_drain(&demand, &cursor, &index, &units));
    assert_true(index == 12 && units == 3);
    assert_true(demand_drain(&demand, &cursor, &index, &units));
    assert_true(index == (1ull << 33) - 1 && units == DEMAND_UNITS_MAX);
    assert_false(demand_drain(&demand, &cursor, &index, &units));
    cursor = 0;
    assert_false(demand_drain(&demand, &cursor, &index, &units));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_as_they_went),
        cmocka_unit_test(the_last_room_is_for_what_would_be_lost),
        cmocka_unit_test(wants_leave_the_last_room),
        cmocka_unit_test(two_threads_see_one_order),
        cmocka_unit_test(demand_is_an_estimate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
