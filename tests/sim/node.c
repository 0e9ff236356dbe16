/* A node: table, algorithms, rows and deltas of the daemon, and in place of its threads a loop. */
#include "replica/adopt.h"
#include "sim.h"

static uint64_t clock_of(const struct world *world, const struct node *node)
{
    return (uint64_t)(world->now_ns + node->clock_ns);
}

static struct instant instant_of(const struct world *world, const struct node *node)
{
    const uint64_t now_ns = clock_of(world, node);
    return (struct instant){.now_ns = now_ns, .wall_ns = wall_at(&node->wall, now_ns)};
}

static uint64_t limit_now(const struct world *world, const struct node *node)
{
    const struct instant now = instant_of(world, node);
    return limit_is_wall(&world->limit) ? now.wall_ns : now.now_ns;
}

bool node_create(struct world *world, struct node *node)
{
    const struct table_options options = {
        .entries = 64, .owner_rows = 1, .index_secret = {1, world->seed}, .boot_id = 1};
    const uint64_t now_ns = clock_of(world, node);
    struct table_owner owner = {
        .tenant_id = 1, .rule_id = 1, .limit = limit_without_calendar(world->limit)};

    if (table_create(&options, &node->table) != 0)
        return false;
    owner.region = table_region_shared(node->table);
    node->partition = (struct partition){.rows = node->rows, .row_count = ROWS};
    wall_init(&node->wall, now_ns, sim_store_us(world) * 1000);
    node->flush_ns = (int64_t)sim_random(world, FLUSH_NS);
    return table_owner_set(node->table, 0, &owner) == 0;
}

void node_destroy(struct node *node)
{
    table_destroy(node->table);
}

void node_charge(struct world *world, struct node *node, uint32_t key, uint32_t cost)
{
    const struct table_probe probe = table_probe(node->table, sim_key(key), 0);
    const struct instant now = instant_of(world, node);
    struct table_ref ref;

    if (node->down_until_ns > world->now_ns)
        return;
    const enum table_result result =
        table_find_or_claim(node->table, &probe, TABLE_EVICT, &now, &ref);
    if (result == TABLE_FULL)
        return;
    const struct step step = limit_apply(&world->limit, ref.state, OPERATION_CHECK,
                                         cost * world->spread, limit_now(world, node));
    const uint64_t window = adopt_window(&world->limit, step.state);
    struct partition_row *row = NULL;
    if (step.verdict.decision == DECISION_ALLOW)
        row = partition_find_or_claim(&node->partition, sim_key(key), window, now.now_ns);
    if (!row || !table_swap(node->table, &ref, step.state)) {
        if (result == TABLE_CLAIMED)
            table_withdraw(node->table, &ref);
        return;
    }
    delta_charge(&row->delta, &world->limit, cost, now.now_ns);
    judge_charge(world, (uint32_t)(node - world->nodes), key, window, cost);
}

static void make_wrong(const struct world *world, const struct node *node,
                       struct merge_delta *delta)
{
    if (world->wrong == WRONG_BASE)
        delta->base = (struct merge_cell){0};
    if (world->wrong == WRONG_CLOCK && !limit_is_wall(&world->limit))
        delta->ahead_us += node->host_error_ns / 1000;
    if (world->wrong == WRONG_SUM && delta->ahead_us > 0) {
        delta->charge = delta->ahead_us;
        delta->ahead_us = 0;
    }
}

static uint64_t state_of(struct node *node, struct key key)
{
    const struct table_probe probe = table_probe(node->table, key, 0);
    struct table_ref ref;

    return table_find(node->table, &probe, &ref) == TABLE_FOUND ? ref.state : 0;
}

uint64_t node_state(struct node *node, uint32_t key)
{
    return state_of(node, sim_key(key));
}

static uint32_t number_of(struct key key)
{
    uint32_t number = 0;

    while (number < KEYS - 1 && sim_key(number).low != key.low)
        number++;
    return number;
}

/* What is in flight: first, or again. */
static void send_batch(struct world *world, struct node *node)
{
    static struct packet packet; /* large; one thread */

    packet.node = (uint32_t)(node - world->nodes);
    packet.sequence = node->partition.sequence;
    packet.is_answer = false;
    packet.count = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        const struct partition_row *row = &node->rows[i];
        const struct delta *delta = &row->delta;
        if (!row->is_used || !delta->is_sent)
            continue;
        struct item *item = &packet.items[packet.count++];
        *item = (struct item){.key = number_of(row->key),
                              .row = i,
                              .units = (uint32_t)delta->sent_units,
                              .window = row->window};
        item->delta = delta_message(delta, &world->limit, state_of(node, row->key), world->debt_us,
                                    clock_of(world, node));
        item->first_ns = (int64_t)delta->sent_first_ns - node->clock_ns;
        world->old_count += delta->sent > 0 && item->delta.charge == 0;
        make_wrong(world, node, &item->delta);
    }
    node->retry_ns = world->now_ns + RETRY_NS;
    net_send(world, &packet);
}

static void retry(struct world *world, struct node *node)
{
    if (world->wrong == WRONG_NUMBER)
        node->partition.sequence++;
    if (world->wrong == WRONG_FORGETS) {
        node->partition.is_in_flight = false;
        for (uint32_t i = 0; i < ROWS; i++)
            node->rows[i].delta.is_sent = false;
        return;
    }
    send_batch(world, node);
}

void node_step(struct world *world, struct node *node)
{
    if (node->down_until_ns > world->now_ns)
        return;
    if (node->partition.is_in_flight) {
        if (world->now_ns >= node->retry_ns)
            retry(world, node);
        return;
    }
    if (world->now_ns < node->flush_ns)
        return;
    const bool has_reads = world->now_ns >= node->read_ns;
    node->flush_ns = world->now_ns + FLUSH_NS;
    if (has_reads)
        node->read_ns = world->now_ns + READ_NS;
    if (partition_begin(&node->partition, &world->limit, has_reads, clock_of(world, node)) > 0)
        send_batch(world, node);
}

void node_answered(struct world *world, struct node *node, const struct packet *packet)
{
    const struct instant now = instant_of(world, node);

    if (!partition_accept(&node->partition, packet->sequence))
        return;
    wall_update(&node->wall, now.now_ns, packet->store_now_us * 1000);
    for (uint32_t i = 0; i < packet->count; i++) {
        const struct item *item = &packet->items[i];
        struct partition_row *row = &node->rows[item->row];
        const int64_t charge = row->delta.charge;
        const struct delta_answer answer = {
            .cell = item->cell, .store_now_us = packet->store_now_us, .at_ns = now.now_ns};
        const struct table_probe probe = table_probe(node->table, row->key, 0);
        if (!row->delta.is_sent)
            continue; /* WRONG_COLD_START only */
        if (world->wrong == WRONG_SINCE)
            row->delta.charge = 0;
        const struct delta_view known = {.state = state_of(node, row->key),
                                         .now_ns = now.now_ns,
                                         .spread = world->spread * DELTA_SPREAD_UNIT};
        delta_settle(&row->delta, &answer);
        const uint64_t view = delta_look(&row->delta, &world->limit, &answer, &known);
        row->delta.charge = charge;
        adopt_view(node->table, &probe, &world->limit, row->window, view, &now);
    }
}
