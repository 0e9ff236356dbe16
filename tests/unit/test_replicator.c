/* The replicator between a table, a ring and a store that is a few lines of limit_merge(). The
 * simulator judges what comes of many nodes and faults; here stand the single steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/gcra.h"
#include "core/grant.h"
#include "core/share.h"
#include "replica/demand.h"
#include "replica/replicator.h"
#include "replica/ring.h"
#include "replica/shared_state.h"
#include "table/shared.h"

#define MS 1000000ull
#define BASE (100000 * MS) /* the store's clock at 0 of the nodes' */
#define CELLS 64u
#define NODES 2u

struct cell {
    struct batch_key name;
    struct merge_cell cell;
    uint64_t demand, demand_us;
};

struct store {
    struct cell cells[CELLS];
    uint32_t count;
    uint64_t last[NODES];
    int64_t usage;
    uint64_t now_us;
};

struct node {
    struct table *table;
    struct ring ring;
    struct ring_cell ring_cells[256];
    struct demand demand;
    _Atomic uint64_t demand_cells[64];
    struct shared_state shared;
    struct replicator *replicator;
    struct ring *rings[1];
    struct demand *demands[1];
    uint64_t id;
    char memory[1 << 16] __attribute__((aligned(64))); /* outlives the replicator */
};

static const struct limit BUCKET = {/* 1000/s, burst 100 */
                                    .interval = 16 * MS,
                                    .tolerance = 1600 * MS,
                                    .burst = 100,
                                    .algorithm = ALGORITHM_TOKEN_BUCKET,
                                    .sync = SYNC_SHARED};
static const struct limit EXACT = {.interval = 1600 * MS, /* 10/s, burst 10 */
                                   .tolerance = 16000 * MS,
                                   .burst = 10,
                                   .algorithm = ALGORITHM_TOKEN_BUCKET,
                                   .sync = SYNC_EXACT,
                                   .on_loss = LOSS_DENY};

/* A process: its rings and all that it does not leave to the next. */
static void begin_process(struct node *node, uint64_t now_ns, bool resumes)
{
    ring_init(&node->ring, node->ring_cells, 256);
    demand_init(&node->demand, node->demand_cells, 64);
    shared_state_init(&node->shared);
    node->rings[0] = &node->ring;
    node->demands[0] = &node->demand;
    const struct replicator_options options = {
        .table = node->table,
        .rings = node->rings,
        .demands = node->demands,
        .thread_count = 1,
        .shared = &node->shared,
        .node_id = node->id,
        .incarnation = 1,
        .partitions = 1,
        .rows = 64,
        .nodes = 1,
        .flush_ns = 5 * MS,
        .now_ns = now_ns,
        .wall_ns = BASE + now_ns,
        .memory = node->memory,
        .resumes = resumes,
    };
    assert_true(replicator_memory_size(1, 64) <= sizeof(node->memory));
    assert_int_equal(replicator_create(&options, &node->replicator), 0);
}

static struct node *node_create(const struct limit *limit, uint64_t id)
{
    struct node *node = aligned_alloc(128, sizeof(*node));
    const struct table_options table = {
        .entries = 64, .owner_rows = 2, .index_secret = {1, 2}, .boot_id = 1};
    struct table_owner owner = {.tenant_id = 7, .rule_id = 8, .limit = *limit};

    assert_non_null(node);
    memset(node, 0, sizeof(*node));
    assert_int_equal(table_create(&table, &node->table), 0);
    owner.region = table_region_shared(node->table);
    assert_int_equal(table_owner_set(node->table, 1, &owner), 0);
    node->id = id;
    begin_process(node, 1000 * MS, false);
    return node;
}

static void node_destroy(struct node *node)
{
    replicator_destroy(node->replicator);
    table_destroy(node->table);
    free(node);
}

static const struct key KEY = {11, 12};

/* As a worker does; its ring has room. */
static void charge(struct node *node, const struct limit *limit, uint32_t cost, uint64_t now_ns)
{
    const struct table_probe probe = table_probe(node->table, KEY, 1);
    const struct instant now = {.now_ns = now_ns, .wall_ns = BASE + now_ns};
    struct table_ref ref;
    const enum table_result result =
        table_find_or_claim(node->table, &probe, TABLE_EVICT, &now, &ref);
    const uint8_t share =
        result == TABLE_FOUND ? table_share(&ref) : shared_state_first_share(&node->shared);
    const struct step step = share_apply(limit, ref.state, OPERATION_CHECK, cost, share,
                                         limit_is_wall(limit) ? now.wall_ns : now.now_ns);
    const struct table_charge charge = {
        .state = step.state, .units = (int32_t)cost, .share = share, .marks_dirty = true};

    assert_int_equal(step.verdict.decision, DECISION_ALLOW);
    const bool was_dirty = result == TABLE_FOUND && table_is_dirty(&ref);
    assert_true(table_swap_charged(node->table, &ref, &charge));
    if (!was_dirty)
        assert_true(ring_push_dirty(&node->ring, table_index(node->table, &ref), now_ns,
                                    result == TABLE_CLAIMED));
    ring_publish(&node->ring);
}

static uint64_t state_of(struct node *node, uint8_t *ret_share)
{
    const struct table_probe probe = table_probe(node->table, KEY, 1);
    struct table_ref ref;

    if (table_find(node->table, &probe, &ref) != TABLE_FOUND)
        return 0;
    *ret_share = table_share(&ref);
    return ref.state;
}

static struct cell *cell_of(struct store *store, const struct batch_key *name)
{
    for (uint32_t i = 0; i < store->count; i++)
        if (store->cells[i].name.window == name->window &&
            store->cells[i].name.key.low == name->key.low)
            return &store->cells[i];
    assert_true(store->count < CELLS);
    store->cells[store->count].name = *name;
    return &store->cells[store->count++];
}

static void store_apply(struct store *store, const struct batch *batch, struct batch_answer *answer)
{
    uint64_t *last = &store->last[batch->node_id - 1];

    *answer = (struct batch_answer){.sequence = batch->sequence,
                                    .store_now_us = store->now_us,
                                    .partition = batch->partition,
                                    .node_count = NODES,
                                    .outcome = merge_admit(*last, batch->sequence),
                                    .count = batch->count};
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct batch_key *key = &batch->keys[i];
        const struct limit limit = {.algorithm = key->kind == MERGE_BUCKET
                                                     ? ALGORITHM_TOKEN_BUCKET
                                                     : ALGORITHM_FIXED_WINDOW};
        struct cell *cell = cell_of(store, key);
        if (answer->outcome != MERGE_REPEAT) {
            cell->cell = limit_merge(&limit, cell->cell, &key->delta, store->now_us);
            cell->demand = merge_demand(cell->demand, store->now_us - cell->demand_us, key->wanted);
            cell->demand_us = store->now_us;
            answer->keys[i].granted =
                merge_grant(key->kind, &cell->cell, 0, &key->ask, store->now_us);
            store->usage += key->units;
        }
        answer->keys[i].cell = cell->cell;
        answer->keys[i].demand = cell->demand;
    }
    if (answer->outcome != MERGE_REPEAT)
        *last = batch->sequence;
}

/* One turn of the node's thread against a store that answers at once. */
static uint32_t turn(struct node *node, struct store *store, uint64_t now_ns)
{
    static struct batch_answer answer;
    const struct batch *batch;
    uint32_t count = 0;

    store->now_us = (BASE + now_ns) / 1000;
    replicator_tick(node->replicator, now_ns);
    while ((batch = replicator_next(node->replicator, now_ns))) {
        store_apply(store, batch, &answer);
        replicator_answer(node->replicator, &answer, now_ns);
        count += batch->count;
    }
    return count;
}

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
