/* The store: a model of what the script does with a batch, and of what may happen to its data. The
 * numbers are core/merge's. */
#include <string.h>

#include "sim.h"

#define HEARD_US 3000000u

static enum merge_batch admit(struct world *world, const struct packet *packet)
{
    struct member *member = &world->data.members[packet->node][packet->partition];
    const bool is_known =
        member->id == packet->node_id &&
        (member->incarnation == packet->incarnation || world->wrong == WRONG_LIFE);

    if (!is_known)
        *member = (struct member){.id = packet->node_id, .incarnation = packet->incarnation};
    member->heard_us = sim_store_us(world);
    return merge_admit(member->last, packet->sequence);
}

static uint32_t count_nodes(const struct world *world)
{
    const uint64_t now_us = sim_store_us(world);
    uint32_t count = 0;

    for (uint32_t n = 0; n < NODES; n++) {
        bool is_heard = false;
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            const struct member *member = &world->data.members[n][p];
            is_heard |= member->id != 0 && member->heard_us + HEARD_US > now_us;
        }
        count += is_heard;
    }
    return count;
}

/* WRONG_WINDOW: the newest that the store knows of. */
static uint64_t window_of(const struct world *world, uint32_t key, uint64_t window)
{
    uint64_t newest = window;

    for (uint32_t i = 0; i < SLOTS && world->wrong == WRONG_WINDOW; i++) {
        const struct cell *cell = &world->data.cells[key][i];
        if (cell->is_used && cell->name > newest)
            newest = cell->name;
    }
    return newest;
}

static struct cell *cell_of(struct world *world, uint32_t key, uint64_t window)
{
    struct cell *cell = sim_cell(world->data.cells[key], window);

    if (cell->forget_us > 0 && cell->forget_us <= sim_store_us(world))
        *cell = (struct cell){.is_used = true, .was_forgotten = true, .name = window};
    return cell;
}

static uint64_t forget_us(const struct batch_key *item, const struct cell *cell, uint64_t now_us)
{
    uint64_t from_us = now_us;

    if (item->kind == MERGE_BUCKET && cell->cell.epoch > 0)
        from_us = now_us + item->delta.cap_us;
    else if (item->kind == MERGE_BUCKET && cell->cell.value > now_us)
        from_us = cell->cell.value;
    return from_us + item->expiry_ms * 1000;
}

static uint64_t units_before(struct world *world, uint32_t key, uint64_t window)
{
    if (world->limit.algorithm != ALGORITHM_SLIDING_WINDOW)
        return 0;
    return cell_of(world, key, (window - 1) & 0xffff)->cell.value;
}

static void apply(struct world *world, struct packet *packet, uint32_t i, bool is_applied)
{
    const struct batch_key *item = &packet->keys[i];
    const uint64_t now_us = sim_store_us(world);
    const uint32_t key = sim_key_number(item->key);
    struct member *member = &world->data.members[packet->node][packet->partition];
    struct cell *cell = cell_of(world, key, window_of(world, key, item->window));
    const uint64_t before = units_before(world, key, item->window);
    struct merge_cell granted;

    if (is_applied) {
        cell->cell = limit_merge(&world->limit, cell->cell, &item->delta, now_us);
        cell->demand = merge_demand(cell->demand, now_us - cell->demand_us, item->wanted);
        cell->demand_us = now_us;
        granted = cell->cell;
        member->granted[i] = merge_grant(item->kind, &granted, before, &item->ask, now_us);
        if (world->wrong != WRONG_GRANTS)
            cell->cell = granted;
        cell->forget_us = forget_us(item, cell, now_us);
        world->data.usage += (uint64_t)(int64_t)item->units;
        world->node_applied[packet->node] += (uint64_t)(int64_t)item->units;
        judge_applied(world, packet, i, key);
    }
    packet->answers[i] = (struct batch_answer_key){
        .cell = cell->cell,
        .demand = merge_demand(cell->demand, now_us - cell->demand_us, 0),
        .previous = before,
        .granted = member->granted[i],
    };
}

static bool refuses(struct world *world)
{
    return (world->faults & FAULT_MOVE) && world->now_ns < world->calm_ns &&
           sim_random(world, 12) == 0;
}

void store_receive(struct world *world, struct packet *packet)
{
    if (world->store_down_until_ns > world->now_ns)
        return;
    packet->store_now_us = sim_store_us(world);
    if (refuses(world)) {
        packet->kind = PACKET_REFUSAL;
        net_send(world, packet);
        return;
    }
    packet->outcome = admit(world, packet);
    const bool forgets = world->wrong == WRONG_FORGETS && sim_random(world, 50) == 0;
    const bool is_applied =
        (packet->outcome != MERGE_REPEAT || world->wrong == WRONG_REPEATS) && !forgets;
    for (uint32_t i = 0; i < packet->count; i++)
        apply(world, packet, i, is_applied);
    if (is_applied || forgets)
        world->data.members[packet->node][packet->partition].last = packet->sequence;
    packet->kind = PACKET_ANSWER;
    packet->node_count = count_nodes(world);
    net_send(world, packet);
}

static void crash(struct world *world)
{
    if (world->faults & FAULT_EMPTY)
        memset(&world->data, 0, sizeof world->data);
    else
        world->data = world->saved;
    world->crash_ns = 0;
    world->store_down_until_ns = world->now_ns + (int64_t)sim_random(world, 500 * MS);
    net_drop(world, NULL); /* its connections are gone */
}

void store_step(struct world *world)
{
    if (sim_is_late(world, LATE_STORE) && world->slow_until_ns <= world->now_ns)
        world->slow_until_ns = world->now_ns + (int64_t)sim_random(world, (uint64_t)world->late_ns);
    if (world->saved_ns > 0 && world->now_ns >= world->saved_ns) {
        world->saved = world->data;
        world->saved_ns = 0;
    }
    if (world->crash_ns > 0 && world->now_ns >= world->crash_ns)
        crash(world);
}
