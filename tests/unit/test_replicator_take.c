/* How the replicator takes what is in the rings: which entries it drains when, and that nothing
 * waits for a ring to be empty. */
#include "unit/replicator_fixture.h"

static bool is_dirty(struct node *node, uint64_t *ret_index)
{
    const struct table_probe probe = table_probe(node->table, KEY, 1);
    struct table_ref ref;

    assert_int_equal(table_find(node->table, &probe, &ref), TABLE_FOUND);
    *ret_index = table_index(node->table, &ref);
    return table_is_dirty(&ref);
}

/* A key that waits for its turn with a charge is left to who charges it until then, unless much is
 * pending. */
static void test_who_waits_is_drained_once(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    struct node *node = node_create(&BUCKET, 1);
    uint64_t index;

    turn(node, &store, 1000 * MS);
    charge(node, &BUCKET, 1, 1001 * MS); /* asked for at once */
    assert_int_equal(turn(node, &store, 1001 * MS), 1);
    charge(node, &BUCKET, 1, 1002 * MS);
    assert_int_equal(turn(node, &store, 1002 * MS), 0);
    assert_false(is_dirty(node, &index)); /* drained: now it waits */
    for (unsigned i = 0; i < 2; i++) {
        charge(node, &BUCKET, 1, 1003 * MS);
        assert_int_equal(turn(node, &store, 1003 * MS), 0);
        assert_true(is_dirty(node, &index));
    }
    assert_true(ring_push_dirty(&node->ring, index, 1003 * MS, RING_MUCH));
    ring_publish(&node->ring);
    assert_int_equal(turn(node, &store, 1003 * MS), 0);
    assert_false(is_dirty(node, &index));
    charge(node, &BUCKET, 1, 1004 * MS);
    assert_int_equal(turn(node, &store, 1004 * MS), 0);
    assert_true(is_dirty(node, &index));
    assert_int_equal(store.usage, 1);
    assert_int_equal(turn(node, &store, 1010 * MS), 1);
    assert_false(is_dirty(node, &index));
    assert_int_equal(store.usage, 5);
    node_destroy(node);
}

/* What was taken is told although more comes all the time. */
static void test_a_flood_holds_nothing_up(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    struct node *node = node_create(&BUCKET, 1);
    uint64_t index;

    turn(node, &store, 1000 * MS);
    charge(node, &BUCKET, 1, 1001 * MS);
    assert_true(is_dirty(node, &index));
    while (ring_has_room(&node->ring))
        assert_true(ring_push_dirty(&node->ring, index, 1001 * MS, 0));
    ring_publish(&node->ring);
    assert_int_equal(turn(node, &store, 1001 * MS), 1);
    assert_int_equal(store.usage, 1);
    assert_int_equal(replicator_due(node->replicator, 1001 * MS), 1001 * MS); /* there is more */
    unsigned turns = 1;
    for (; replicator_due(node->replicator, 1002 * MS) == 1002 * MS; turns++)
        turn(node, &store, 1002 * MS);
    assert_true(turns > 2);
    ring_look(&node->ring);
    assert_int_equal(node->ring.next, node->ring.head_seen); /* all was taken */
    node_destroy(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_waits_is_drained_once),
        cmocka_unit_test(test_a_flood_holds_nothing_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
