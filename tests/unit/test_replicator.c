/* The replicator between a table, a ring and a store that is a few lines of limit_merge(). The
 * simulator judges what comes of many nodes and faults; here stand the single steps. */
#include "unit/replicator_fixture.h"

/* What one node charged the other knows after both have told and asked. */
static void test_a_charge_reaches_the_other_node(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    struct node *nodes[NODES] = {node_create(&BUCKET, 1), node_create(&BUCKET, 2)};
    uint8_t share = 0;

    for (unsigned i = 0; i < NODES; i++)
        turn(nodes[i], &store, 1000 * MS);
    assert_int_equal(shared_state_first_share(&nodes[0]->shared), share_of(1, 2));
    charge(nodes[0], &BUCKET, 20, 1001 * MS);
    charge(nodes[1], &BUCKET, 10, 1001 * MS);
    for (uint64_t ms = 1001; ms < 1020; ms++)
        for (unsigned i = 0; i < NODES; i++)
            turn(nodes[i], &store, ms * MS);
    assert_int_equal(store.usage, 30);
    for (unsigned i = 0; i < NODES; i++)
        assert_int_equal(state_of(nodes[i], &share), gcra_ticks(1031 * MS)); /* from 1001: 30 ms */
    for (unsigned i = 0; i < NODES; i++)
        node_destroy(nodes[i]);
}

/* A batch whose answer was lost is sent again under its number, and counted once. */
static void test_what_is_sent_again_counts_once(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    static struct batch_answer answer;
    struct node *node = node_create(&BUCKET, 1);
    struct replicator_state look;

    turn(node, &store, 1000 * MS);
    charge(node, &BUCKET, 20, 1001 * MS);
    replicator_tick(node->replicator, 1001 * MS);
    const struct batch *batch = replicator_next(node->replicator, 1001 * MS);
    assert_non_null(batch);
    assert_int_equal(batch->count, 1);
    const uint64_t sequence = batch->sequence;
    store.now_us = (BASE + 1001 * MS) / 1000;
    store_apply(&store, batch, &answer); /* and it is lost */
    charge(node, &BUCKET, 5, 1002 * MS);
    assert_null(replicator_next(node->replicator, 1400 * MS));
    replicator_tick(node->replicator, 1400 * MS);
    assert_true(shared_state_is_degraded(&node->shared));
    replicator_failed(node->replicator, 0, 1400 * MS);
    batch = replicator_next(node->replicator, 1400 * MS);
    assert_non_null(batch);
    assert_int_equal(batch->sequence, sequence);
    assert_int_equal(batch->keys[0].units, 20);
    store_apply(&store, batch, &answer);
    assert_int_equal(answer.outcome, MERGE_REPEAT);
    replicator_answer(node->replicator, &answer, 1401 * MS);
    replicator_answer(node->replicator, &answer, 1401 * MS); /* twice */
    for (uint64_t ms = 1401; ms < 1410; ms++)
        turn(node, &store, ms * MS);
    assert_false(shared_state_is_degraded(&node->shared));
    assert_int_equal(store.usage, 25);
    replicator_look(node->replicator, 1410 * MS, &look);
    assert_int_equal(look.repeats, 1);
    assert_int_equal(look.resent, 1);
    assert_int_equal(look.gaps + look.losses, 0);
    assert_int_equal(look.degraded_count, 1);
    node_destroy(node);
}

/* A process that ends at any step leaves what it had not told to the next, which is the same node
 * to the store: nothing is lost, and nothing counts twice. */
static void test_the_next_process_tells_the_rest(void **state)
{
    (void)state;
    static struct batch_answer answer;

    for (unsigned end = 0; end < 6; end++) {
        struct store store = {.count = 0};
        struct node *node = node_create(&BUCKET, 1);
        struct replicator_state look;

        turn(node, &store, 1000 * MS);
        charge(node, &BUCKET, 20, 1001 * MS); /* 0: known to the ring alone */
        if (end >= 1)                         /* in a row */
            replicator_tick(node->replicator, 1001 * MS);
        if (end >= 2) { /* in a batch that does not arrive */
            const struct batch *batch = replicator_next(node->replicator, 1001 * MS);
            assert_non_null(batch);
            store.now_us = (BASE + 1001 * MS) / 1000;
            if (end >= 3) /* in one whose answer does not */
                store_apply(&store, batch, &answer);
        }
        if (end >= 4) { /* and something waits for the next batch */
            charge(node, &BUCKET, 5, 1002 * MS);
            replicator_tick(node->replicator, 1002 * MS);
        }
        if (end >= 5)
            replicator_answer(node->replicator, &answer, 1002 * MS);
        replicator_destroy(node->replicator);
        begin_process(node, 1010 * MS, true);
        replicator_look(node->replicator, 1010 * MS, &look);
        assert_int_equal(look.in_flight, end >= 2 && end <= 4);
        charge(node, &BUCKET, 7, 1011 * MS);
        for (uint64_t ms = 1011; ms < 1030; ms++)
            turn(node, &store, ms * MS);
        assert_int_equal(store.usage, end >= 4 ? 32 : 27);
        replicator_look(node->replicator, 1030 * MS, &look);
        assert_int_equal(look.repeats, end == 3 || end == 4);
        assert_int_equal(look.pending_keys + look.gaps, 0);
        node_destroy(node);
    }
}

/* What stands in that memory is not believed: rows of nobody, or of nowhere, are emptied. */
static void test_a_damaged_memory_is_survived(void **state)
{
    (void)state;
    uint64_t seed = 1;

    for (unsigned world = 0; world < 200; world++) {
        struct store store = {.count = 0};
        struct node *node = node_create(&BUCKET, 1);

        turn(node, &store, 1000 * MS);
        charge(node, &BUCKET, 20, 1001 * MS);
        replicator_tick(node->replicator, 1001 * MS);
        assert_non_null(replicator_next(node->replicator, 1001 * MS));
        replicator_destroy(node->replicator);
        for (unsigned i = 0; i < 200; i++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            node->memory[(seed >> 33) % replicator_memory_size(1, 64)] ^= (char)(1 << (seed >> 61));
        }
        begin_process(node, 1010 * MS, true);
        for (uint64_t ms = 1011; ms < 1030; ms++)
            turn(node, &store, ms * MS);
        node_destroy(node);
    }
}

/* Grants: spent by the node, and what is left after a while belongs to all again. */
static void test_grants_come_and_go_back(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    struct node *node = node_create(&EXACT, 1);
    const struct ring_event want = {
        .kind = RING_WANT, .owner = 1, .key = KEY, .units = 4, .first_ns = 1001 * MS};
    uint8_t share = 0;

    turn(node, &store, 1000 * MS);
    assert_true(ring_push(&node->ring, &want));
    ring_publish(&node->ring);
    turn(node, &store, 1001 * MS);
    uint64_t grant = state_of(node, &share);
    assert_int_equal(share, TABLE_SHARE_GRANT);
    assert_int_equal(grant_units(grant), 4);
    assert_int_equal(grant_denied_until_ns(grant), 0);
    for (uint64_t ms = 1002; ms < 1010; ms++)
        turn(node, &store, ms * MS);
    assert_int_equal(store.usage, 4);
    for (uint64_t ms = 1010; ms < 1040; ms++)
        turn(node, &store, ms * MS);
    assert_int_equal(grant_units(state_of(node, &share)), 0);
    assert_int_equal(store.usage, 0);
    assert_true(store.cells[0].cell.value <= store.now_us);

    struct ring_event more = want; /* more than there is */
    more.units = 20;
    assert_true(ring_push(&node->ring, &more));
    ring_publish(&node->ring);
    turn(node, &store, 1040 * MS);
    grant = state_of(node, &share);
    assert_int_equal(grant_units(grant), 10);
    node_destroy(node);
}

/* The window before is read on for a while; that leaves what is in hand of the present one alone.
 */
static void test_a_passed_window_leaves_the_grant(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    static struct limit limit = {.interval = 1000 * MS,
                                 .burst = 10,
                                 .algorithm = ALGORITHM_FIXED_WINDOW,
                                 .sync = SYNC_EXACT,
                                 .on_loss = LOSS_DENY};
    struct node *node = node_create(&limit, 1);
    struct ring_event want = {.kind = RING_WANT, .owner = 1, .key = KEY, .units = 10};
    uint8_t share = 0;

    for (uint64_t ms = 1980; ms < 2020; ms++) { /* BASE is a whole number of seconds */
        if (ms == 1990 || ms == 2005) {
            want.window = share_window_at(&limit, BASE + ms * MS);
            assert_true(ring_push(&node->ring, &want));
            ring_publish(&node->ring);
            want.units = 3;
        }
        turn(node, &store, ms * MS);
        if (ms >= 2005)
            assert_int_equal(grant_units_of(&limit, state_of(node, &share), want.window), 3);
    }
    node_destroy(node);
}

/* A window begins with the share of the one before it, whatever became of older ones. */
static void test_a_share_is_of_the_last_window(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    static const struct limit limit = {.interval = 100 * MS,
                                       .burst = 1000,
                                       .algorithm = ALGORITHM_FIXED_WINDOW,
                                       .sync = SYNC_SHARED};
    struct node *nodes[NODES] = {node_create(&limit, 1), node_create(&limit, 2)};
    uint8_t share = 0;

    for (uint64_t ms = 1000; ms < 1600; ms += 5) {
        const bool begins = ms % 100 == 0 && ms >= 1200;
        for (unsigned i = 0; i < NODES; i++)
            if (i == 0 || ms >= 1100) /* the first window is all of one node */
                charge(nodes[i], &limit, 4, ms * MS);
        for (unsigned i = 0; i < NODES; i++)
            turn(nodes[i], &store, ms * MS);
        for (unsigned i = 0; i < NODES && begins; i++) {
            state_of(nodes[i], &share);
            assert_in_range(share, share_of(2, 3), share_of(1, 3));
        }
    }
    for (unsigned i = 0; i < NODES; i++)
        node_destroy(nodes[i]);
}

/* A reset reaches the store before what was charged after it. */
static void test_a_reset_reaches_the_store(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    struct node *node = node_create(&BUCKET, 1);
    const struct ring_event reset = {.kind = RING_RESET, .owner = 1, .key = KEY};

    turn(node, &store, 1000 * MS);
    charge(node, &BUCKET, 90, 1001 * MS);
    turn(node, &store, 1001 * MS);
    assert_true(ring_push(&node->ring, &reset));
    ring_publish(&node->ring);
    turn(node, &store, 1002 * MS);
    assert_int_equal(store.cells[0].cell.epoch, 1);
    assert_true(store.cells[0].cell.value <= store.now_us);
    node_destroy(node);
}

/* The end: all that was charged goes out at once, and nothing is left. */
static void test_finishing_leaves_nothing(void **state)
{
    (void)state;
    struct store store = {.count = 0};
    struct node *node = node_create(&BUCKET, 1);

    turn(node, &store, 1000 * MS);
    charge(node, &BUCKET, 3, 1000 * MS);
    turn(node, &store, 1000 * MS);
    charge(node, &BUCKET, 4, 1001 * MS);
    replicator_finish(node->replicator);
    turn(node, &store, 1001 * MS);
    assert_true(replicator_is_settled(node->replicator));
    assert_int_equal(store.usage, 7);
    node_destroy(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_charge_reaches_the_other_node),
        cmocka_unit_test(test_what_is_sent_again_counts_once),
        cmocka_unit_test(test_the_next_process_tells_the_rest),
        cmocka_unit_test(test_a_damaged_memory_is_survived),
        cmocka_unit_test(test_grants_come_and_go_back),
        cmocka_unit_test(test_a_passed_window_leaves_the_grant),
        cmocka_unit_test(test_a_share_is_of_the_last_window),
        cmocka_unit_test(test_a_reset_reaches_the_store),
        cmocka_unit_test(test_finishing_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
