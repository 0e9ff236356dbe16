/* A replicator between a table, a ring and a store that is a few lines of limit_merge(). */
#ifndef METE_TESTS_REPLICATOR_FIXTURE_H
#define METE_TESTS_REPLICATOR_FIXTURE_H

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
#define RING_CELLS 4096u

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
    struct ring_cell ring_cells[RING_CELLS];
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
static inline void begin_process(struct node *node, uint64_t now_ns, bool resumes)
{
    ring_init(&node->ring, node->ring_cells, RING_CELLS);
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

static inline struct node *node_create(const struct limit *limit, uint64_t id)
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

static inline void node_destroy(struct node *node)
{
    replicator_destroy(node->replicator);
    table_destroy(node->table);
    free(node);
}

static const struct key KEY = {11, 12};

/* As a worker does; its ring has room. */
static inline void charge(struct node *node, const struct limit *limit, uint32_t cost,
                          uint64_t now_ns)
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

static inline uint64_t state_of(struct node *node, uint8_t *ret_share)
{
    const struct table_probe probe = table_probe(node->table, KEY, 1);
    struct table_ref ref;

    if (table_find(node->table, &probe, &ref) != TABLE_FOUND)
        return 0;
    *ret_share = table_share(&ref);
    return ref.state;
}

static inline struct cell *cell_of(struct store *store, const struct batch_key *name)
{
    for (uint32_t i = 0; i < store->count; i++)
        if (store->cells[i].name.window == name->window &&
            store->cells[i].name.key.low == name->key.low)
            return &store->cells[i];
    assert_true(store->count < CELLS);
    store->cells[store->count].name = *name;
    return &store->cells[store->count++];
}

static inline void store_apply(struct store *store, const struct batch *batch,
                               struct batch_answer *answer)
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
static inline uint32_t turn(struct node *node, struct store *store, uint64_t now_ns)
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

#endif
