/* A node: table, engine, rings and replicator of the daemon, and in place of its threads and of the
 * link to the store a loop. */
#include <stdlib.h>
#include <string.h>

#include "core/share.h"
#include "table/shared.h"
#include "sim.h"

static uint64_t clock_of(const struct world *world, const struct node *node)
{
    return (uint64_t)(world->now_ns + node->clock_ns);
}

static uint32_t index_of(const struct world *world, const struct node *node)
{
    return (uint32_t)(node - world->nodes);
}

/* As the daemon's threads: wall time is the store's as soon as it was heard of, and then at once.
 */
static struct instant instant_of(const struct world *world, struct node *node)
{
    const uint64_t now_ns = clock_of(world, node);
    const uint64_t host_ns = sim_store_us(world) * 1000 + (uint64_t)node->host_error_ns;
    const uint64_t real_ns = shared_real_ns(&node->shared, now_ns, host_ns);

    if (!node->has_store_wall && real_ns != host_ns) {
        node->has_store_wall = true;
        wall_init(&node->wall, now_ns, real_ns);
    }
    wall_update(&node->wall, now_ns, real_ns);
    return (struct instant){.now_ns = now_ns, .wall_ns = wall_at(&node->wall, now_ns)};
}

static bool make_replicator(struct world *world, struct node *node)
{
    const struct replicator_options options = {
        .table = node->table,
        .rings = node->rings,
        .demands = node->demands,
        .thread_count = 1,
        .shared = &node->state,
        .node_id = node->id,
        .incarnation = node->incarnation,
        .partitions = world->partitions,
        .rows = ROWS,
        .nodes = world->node_count,
        .flush_ns = FLUSH_NS,
        .now_ns = clock_of(world, node),
        .wall_ns = sim_store_us(world) * 1000 + (uint64_t)node->host_error_ns,
    };

    return replicator_create(&options, &node->replicator) == 0;
}

bool node_create(struct world *world, struct node *node)
{
    const bool is_crowded = world->faults & FAULT_CROWD;
    const struct table_options options = {
        .entries = 64, .owner_rows = 8, .index_secret = {1, world->seed}, .boot_id = 1};

    node->id = index_of(world, node) + 1;
    node->incarnation = sim_random(world, 1ull << 60) + 1;
    node->has_store_wall = false;
    node->due_ns = 0;
    node->rings[0] = &node->ring;
    node->demands[0] = &node->demand;
    memset(node->cells, 0, sizeof node->cells);
    memset((void *)node->demand_cells, 0, sizeof node->demand_cells);
    ring_init(&node->ring, node->cells, is_crowded ? RING_MIN_CELLS : RING_CELLS);
    demand_init(&node->demand, node->demand_cells, DEMAND_CELLS);
    shared_state_init(&node->state);
    node->counters = aligned_alloc(128, sizeof *node->counters);
    if (!node->counters || table_create(&options, &node->table) != 0 ||
        engine_bind_owners(node->table, world->config) != 0)
        return false;
    memset(node->counters, 0, sizeof *node->counters);
    node->row = world->tenant->rules[0].index;
    engine_init(&node->engine, world->config, node->table, 0, 1);
    node->engine.counters = node->counters;
    node->engine.rule_counters = node->rule_counters;
    node->shared =
        (struct engine_shared){.ring = &node->ring, .demand = &node->demand, .state = &node->state};
    node->engine.shared = &node->shared;
    wall_init(&node->wall, clock_of(world, node),
              sim_store_us(world) * 1000 + (uint64_t)node->host_error_ns);
    return make_replicator(world, node);
}

void node_destroy(struct node *node)
{
    replicator_destroy(node->replicator);
    table_destroy(node->table);
    free(node->counters);
    node->replicator = NULL;
    node->table = NULL;
    node->counters = NULL;
}

/* A new process: all is lost, or by mistake all but the table. */
void node_restart(struct world *world, struct node *node, bool keeps_table)
{
    memset(node->flights, 0, sizeof node->flights);
    node->parked_count = 0;
    net_drop(world, node);
    if (keeps_table) {
        replicator_destroy(node->replicator);
        node->incarnation = sim_random(world, 1ull << 60) + 1;
        make_replicator(world, node);
        return;
    }
    judge_cold(world, index_of(world, node));
    node_destroy(node);
    if (!node_create(world, node))
        judge_fail(world, false, "no memory", 0, 0);
}

uint64_t node_state(struct node *node, uint32_t key, double *ret_share)
{
    const struct table_probe probe = table_probe(node->table, sim_key(key), node->row);
    struct table_ref ref;

    *ret_share = 1;
    if (table_find(node->table, &probe, &ref) != TABLE_FOUND)
        return 0;
    if (table_share(&ref) <= SHARE_MAX)
        *ret_share = (double)(1u << SHARE_FRACTION_BITS) / share_factor(table_share(&ref));
    return ref.state;
}

static struct check check_of(const struct world *world, uint32_t key, uint32_t cost)
{
    return (struct check){.tenant = world->tenant,
                          .key = sim_key(key),
                          .rule_id = world->rule_id,
                          .cost = cost,
                          .operation = OPERATION_CHECK};
}

static void decide(struct world *world, struct node *node, const struct parked *what,
                   bool has_waited)
{
    const uint32_t key = what->key, cost = what->cost;
    const struct instant now = instant_of(world, node);
    struct check check = check_of(world, key, cost);
    struct answer answer;
    double share;

    node->shared.has_waited = has_waited;
    engine_check_batch(&node->engine, &check, 1, &now, &answer);
    node->shared.has_waited = false;
    judge_verdict(world, index_of(world, node), key, cost, answer.flags);
    if (!(answer.flags & METE_VERDICT_ALLOW))
        return;
    if (world->on_charge)
        world->on_charge(world, key, cost);
    const uint64_t state = node_state(node, key, &share);
    const uint64_t window = sim_is_exact(world) ? share_window_at(&world->limit, now.wall_ns)
                                                : share_window(&world->limit, state);
    judge_charge(world, index_of(world, node), key, window, cost);
}

/* As net/udp_park.c: asked for at first, and now and then again. */
static bool must_wait(struct world *world, struct node *node, struct parked *what)
{
    const bool asks = what->asked_ns == 0 || world->now_ns - what->asked_ns >= ASK_NS;
    const struct instant now = instant_of(world, node);
    struct check check = check_of(world, what->key, what->cost);
    struct engine_wait wait;

    if (what->until_ns <= world->now_ns)
        return false;
    what->asked_ns = asks ? world->now_ns : what->asked_ns;
    return engine_must_wait(&node->engine, &check, 1, &now, asks, &wait);
}

void node_ask(struct world *world, struct node *node, uint32_t key, uint32_t cost)
{
    struct parked what = {.key = key, .cost = cost, .until_ns = world->now_ns + WAIT_NS};

    if (node->down_until_ns > world->now_ns)
        return;
    if (node->stopped_until_ns > world->now_ns) {
        node->queued++;
        return;
    }
    judge_want(world, index_of(world, node), key, cost);
    if (sim_is_exact(world) && node->parked_count < PARKED && must_wait(world, node, &what))
        node->parked[node->parked_count++] = what;
    else
        decide(world, node, &what, false);
}

void node_give_back(struct world *world, struct node *node, uint32_t key, uint32_t cost)
{
    const struct instant now = instant_of(world, node);
    struct check check = check_of(world, key, cost);
    struct answer answer;

    if (node->down_until_ns > world->now_ns)
        return;
    check.operation = cost > 0 ? OPERATION_REFUND : OPERATION_RESET;
    engine_check_batch(&node->engine, &check, 1, &now, &answer);
    world->admitted_units -= cost;
    world->node_admitted[index_of(world, node)] -= cost;
}

static void try_parked(struct world *world, struct node *node)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < node->parked_count; i++) {
        struct parked what = node->parked[i];
        if (must_wait(world, node, &what))
            node->parked[left++] = what;
        else
            decide(world, node, &what, what.until_ns <= world->now_ns);
    }
    node->parked_count = left;
}

static void make_wrong(const struct world *world, const struct node *node, struct packet *packet)
{
    for (uint32_t i = 0; i < packet->count; i++) {
        struct merge_delta *delta = &packet->keys[i].delta;
        if (world->wrong == WRONG_BASE)
            delta->base = (struct merge_cell){0};
        if (world->wrong == WRONG_CLOCK && !limit_is_wall(&world->limit))
            delta->ahead_us += node->host_error_ns / 1000;
        if (world->wrong == WRONG_SUM && delta->ahead_us > 0) {
            delta->charge = delta->ahead_us;
            delta->ahead_us = 0;
        }
    }
}

/* Is what was charged told as what is owed of it, which may be nothing? */
static bool is_old(const struct world *world, const struct batch_key *key)
{
    return !limit_is_wall(&world->limit) && !sim_is_exact(world) && key->units > 0 &&
           key->delta.charge == 0;
}

static void send_batch(struct world *world, struct node *node, const struct batch *batch)
{
    static struct packet packet; /* large; one thread */
    struct flight *flight = &node->flights[batch->partition];

    judge_fail(world, batch->count <= PACKET_KEYS, "a batch of more keys than there are rows",
               batch->count, PACKET_KEYS);
    if (world->fault)
        return;
    packet.node = index_of(world, node);
    packet.kind = PACKET_BATCH;
    packet.node_id = batch->node_id;
    packet.incarnation = batch->incarnation;
    packet.partition = batch->partition;
    packet.is_again = batch->sequence == flight->sequence;
    if (world->wrong == WRONG_NUMBER && packet.is_again)
        flight->renumbered++;
    packet.sequence = batch->sequence + flight->renumbered;
    packet.count = batch->count;
    packet.sent_ns = world->now_ns;
    memcpy(packet.keys, batch->keys, batch->count * sizeof *batch->keys);
    for (uint32_t i = 0; i < batch->count; i++)
        world->old_count += is_old(world, &batch->keys[i]);
    make_wrong(world, node, &packet);
    *flight = (struct flight){.is_under_way = true,
                              .sequence = batch->sequence,
                              .renumbered = flight->renumbered,
                              .until_ns = world->now_ns + TIMEOUT_NS};
    net_send(world, &packet);
}

static void answer(struct world *world, struct node *node, const struct packet *packet)
{
    static struct batch_answer answer; /* large; one thread */
    const struct flight *flight = &node->flights[packet->partition];

    answer.sequence = packet->sequence - flight->renumbered;
    answer.store_now_us = packet->store_now_us;
    answer.partition = packet->partition;
    answer.node_count = packet->node_count;
    answer.outcome = packet->outcome;
    answer.count = packet->count;
    memcpy(answer.keys, packet->answers, packet->count * sizeof *packet->answers);
    replicator_answer(node->replicator, &answer, clock_of(world, node));
}

/* WRONG_SINCE: as if nothing had been charged since the store answered. */
static void forget_since(struct world *world, struct node *node, const struct packet *packet)
{
    for (uint32_t i = 0; i < packet->count; i++) {
        const struct table_probe probe = table_probe(node->table, packet->keys[i].key, node->row);
        const uint64_t cell = packet->answers[i].cell.value;
        const uint64_t owed_us = cell > packet->store_now_us ? cell - packet->store_now_us : 0;
        struct table_ref ref;
        if (table_find(node->table, &probe, &ref) != TABLE_FOUND || limit_is_wall(&world->limit) ||
            sim_is_exact(world))
            continue;
        table_adopt(node->table, &ref, (clock_of(world, node) + owed_us * 1000) * 16,
                    table_share(&ref));
    }
}

static void spend_all(const struct world *world, struct node *node)
{
    if (sim_is_exact(world))
        return;
    atomic_store_explicit(&node->state.first_share, 0, memory_order_relaxed);
    for (uint32_t key = 0; key < KEYS; key++) {
        const struct table_probe probe = table_probe(node->table, sim_key(key), node->row);
        struct table_ref ref;
        if (table_find(node->table, &probe, &ref) == TABLE_FOUND)
            table_adopt(node->table, &ref, ref.state, 0);
    }
}

void node_receive(struct world *world, struct node *node, struct packet *packet)
{
    struct flight *flight = &node->flights[packet->partition];
    const bool is_awaited = flight->is_under_way && packet->incarnation == node->incarnation &&
                            packet->sequence == flight->sequence + flight->renumbered;

    if (packet->kind == PACKET_REFUSAL) {
        if (is_awaited && flight->failed_ns == 0)
            flight->failed_ns = world->now_ns + (int64_t)sim_random(world, 20 * MS);
        return;
    }
    if (packet->incarnation != node->incarnation)
        return; /* came by a connection of the old process */
    if (is_awaited) {
        flight->is_under_way = false;
        judge_delivered(world, packet);
    }
    judge_heard(world, packet);
    answer(world, node, packet);
    if (world->wrong == WRONG_SINCE)
        forget_since(world, node, packet);
}

static void step_flights(struct world *world, struct node *node)
{
    for (uint32_t p = 0; p < world->partitions; p++) {
        struct flight *flight = &node->flights[p];
        const bool has_failed = flight->failed_ns > 0 && world->now_ns >= flight->failed_ns;
        if (!flight->is_under_way || (!has_failed && world->now_ns < flight->until_ns))
            continue;
        flight->is_under_way = false;
        replicator_failed(node->replicator, p, clock_of(world, node));
    }
}

/* Is its replication thread, or all of it, not scheduled? What came to a worker meanwhile comes
 * before what its replication thread hears of. */
static bool is_away(struct world *world, struct node *node)
{
    if (sim_is_late(world, LATE_REPLICATORS) && node->asleep_until_ns <= world->now_ns)
        node->asleep_until_ns =
            world->now_ns + (int64_t)sim_random(world, (uint64_t)world->late_ns);
    if (sim_is_late(world, LATE_NODES) && node->stopped_until_ns <= world->now_ns)
        node->stopped_until_ns =
            world->now_ns + (int64_t)sim_random(world, (uint64_t)world->late_ns);
    if (node->stopped_until_ns > world->now_ns)
        return true;
    for (; node->queued > 0; node->queued--)
        node_ask(world, node, 0, 1);
    return node->asleep_until_ns > world->now_ns;
}

void node_step(struct world *world, struct node *node)
{
    const uint64_t now_ns = clock_of(world, node);
    const struct batch *batch;
    struct ring_event event;

    if (node->down_until_ns > world->now_ns || is_away(world, node))
        return;
    if (world->wrong == WRONG_SHARE)
        spend_all(world, node);
    if (world->wrong == WRONG_RING && sim_random(world, 100) == 0)
        ring_pop(&node->ring, &event);
    step_flights(world, node);
    if (now_ns >= node->due_ns) {
        replicator_tick(node->replicator, now_ns);
        node->due_ns = UINT64_MAX;
    }
    while ((batch = replicator_next(node->replicator, now_ns)) && !world->fault)
        send_batch(world, node, batch);
    const uint64_t due_ns = replicator_due(node->replicator, now_ns);
    node->due_ns = due_ns < node->due_ns ? due_ns : node->due_ns;
    try_parked(world, node);
}
