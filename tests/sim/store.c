/* The store: a model of what the script does with a batch, and of what may happen to its data. */
#include "sim.h"

static bool applies(const struct world *world, const struct packet *packet)
{
    switch (merge_admit(world->data.last[packet->node], packet->sequence)) {
    case MERGE_REPEAT:
        return world->wrong == WRONG_REPEATS;
    case MERGE_NEXT:
    case MERGE_GAP:
    case MERGE_NEW:
        break;
    }
    return true;
}

/* WRONG_WINDOW: the newest that the store knows of. */
static uint64_t window_of(const struct world *world, const struct item *item)
{
    uint64_t newest = item->window;

    for (uint32_t i = 0; i < SLOTS && world->wrong == WRONG_WINDOW; i++) {
        const struct cell *cell = &world->data.cells[item->key][i];
        if (cell->is_used && cell->name > newest)
            newest = cell->name;
    }
    return newest;
}

static void apply(struct world *world, const struct item *item, struct cell *cell)
{
    const uint64_t age_ns = (uint64_t)(world->now_ns - item->first_ns);

    cell->cell = limit_merge(&world->limit, cell->cell, &item->delta, sim_store_us(world));
    world->data.usage += item->units;
    if (item->delta.charge > 0 && age_ns > world->oldest_ns)
        world->oldest_ns = age_ns;
}

void store_receive(struct world *world, struct packet *packet)
{
    const bool is_applied = applies(world, packet);

    if (world->store_down_until_ns > world->now_ns)
        return;
    for (uint32_t i = 0; i < packet->count; i++) {
        struct item *item = &packet->items[i];
        struct cell *cell = sim_cell(world->data.cells[item->key], window_of(world, item));
        if (is_applied) {
            apply(world, item, cell);
            judge_applied(world, packet->node, item->key, cell->cell);
        }
        item->cell = cell->cell;
    }
    if (is_applied)
        world->data.last[packet->node] = packet->sequence;
    packet->is_answer = true;
    packet->store_now_us = sim_store_us(world);
    net_send(world, packet);
}

/* What each node has seen, it must bring back. */
static void note_bases(struct world *world)
{
    for (uint32_t n = 0; n < world->node_count; n++)
        for (uint32_t i = 0; i < ROWS; i++) {
            const struct partition_row *row = &world->nodes[n].rows[i];
            for (uint32_t key = 0; key < KEYS && row->is_used && row->window == 0; key++)
                if (row->key.low == sim_key(key).low)
                    world->seen[n][key] = row->delta.base;
        }
}

static void crash(struct world *world)
{
    note_bases(world);
    if (world->faults & FAULT_EMPTY)
        world->data = (struct data){0};
    else
        world->data = world->saved;
    world->crash_ns = 0;
    world->store_down_until_ns = world->now_ns + (int64_t)sim_random(world, 500 * MS);
    net_drop_all(world); /* its connections are gone */
}

void store_step(struct world *world)
{
    if (world->saved_ns > 0 && world->now_ns >= world->saved_ns) {
        world->saved = world->data;
        world->saved_ns = 0;
    }
    if (world->crash_ns > 0 && world->now_ns >= world->crash_ns)
        crash(world);
}
