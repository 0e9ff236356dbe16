/* A bucket that is denied, and what a node makes of room in it that it did not expect. */
#include "unit/replicator_fixture.h"

static void want(struct node *node, uint32_t units)
{
    const struct table_probe probe = table_probe(node->table, KEY, 1);
    struct table_ref ref;

    assert_int_equal(table_find(node->table, &probe, &ref), TABLE_FOUND);
    demand_add(&node->demand, table_index(node->table, &ref), units);
}

/* By how much a node takes the key for fuller than the store has it, in ms. */
static double ahead_ms(struct node *node, const struct store *store)
{
    const uint64_t has_ns = store->cells[0].cell.value * 1000 - BASE;
    uint8_t share;

    return (double)(int64_t)(state_of(node, &share) - gcra_ticks(has_ns)) / LIMIT_TICKS_PER_NS / MS;
}

/* A node that has to deny hears of room, as it charged for the others, too: it may be that they
 * were not heard yet, so it takes that little by little. At once it does where something was given
 * back, and where nothing is denied. */
static void test_room_that_nobody_expected_is_taken_slowly(void **state)
{
    (void)state;
    enum { DENIES, IS_RESET, IS_QUIET, HOWS };
    const struct ring_event reset = {.kind = RING_RESET, .owner = 1, .key = KEY};

    for (unsigned how = 0; how < HOWS; how++) {
        struct store store = {.count = 0};
        struct node *nodes[NODES] = {node_create(&BUCKET, 1), node_create(&BUCKET, 2)};
        double ahead[2] = {0};

        for (uint64_t ms = 1000; ms <= 1065; ms++) {
            for (unsigned i = 0; i < NODES; i++) {
                if (ms == 1001)
                    charge(nodes[i], &BUCKET, 40, ms * MS);
                if (ms > 1001 && how != IS_QUIET)
                    want(nodes[i], 10);
                if (ms == 1041 && how == IS_RESET && i == 1)
                    assert_true(ring_push(&nodes[i]->ring, &reset));
                ring_publish(&nodes[i]->ring);
            }
            if (ms == 1041)
                charge(nodes[0], &BUCKET, 20, ms * MS);
            for (unsigned i = 0; i < NODES; i++) /* the second one first: it resets */
                turn(nodes[1 - i], &store, ms * MS);
            if (ms == 1047 || ms == 1065)
                ahead[ms == 1065] = ahead_ms(nodes[0], &store);
        }
        if (how == DENIES)
            assert_true(ahead[0] > 15 && ahead[0] < 25 && ahead[1] > 0 &&
                        ahead[1] < 0.9 * ahead[0]);
        else
            assert_true(ahead[0] == 0);
        for (unsigned i = 0; i < NODES; i++)
            node_destroy(nodes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_that_nobody_expected_is_taken_slowly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
