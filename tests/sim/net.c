/* The network: every message is delayed, and while faults last some are lost, doubled, late. */
#include <stddef.h>
#include <string.h>

#include "sim.h"

/* May be one and the same. */
static void copy(struct packet *to, const struct packet *from)
{
    memmove(to, from, offsetof(struct packet, keys));
    memmove(to->keys, from->keys, from->count * sizeof *from->keys);
    memmove(to->answers, from->answers, from->count * sizeof *from->answers);
}

static bool is_cut(const struct world *world, uint32_t node)
{
    return world->nodes[node].cut_until_ns > world->now_ns ||
           world->nodes[node].down_until_ns > world->now_ns;
}

static bool happens(struct world *world, enum fault fault, uint64_t one_in)
{
    return (world->faults & fault) && world->now_ns < world->calm_ns &&
           sim_random(world, one_in) == 0;
}

static void enqueue(struct world *world, const struct packet *packet)
{
    const uint64_t most_ns = (uint64_t)world->way_ns;
    int64_t delay_ns = (int64_t)sim_random(world, most_ns * 5 / 6) + world->way_ns / 6;

    if (world->packet_count == PACKETS)
        return;
    if (happens(world, FAULT_DELAY, 3))
        delay_ns += (int64_t)sim_random(world, 9 * MS);
    if (happens(world, FAULT_DELAY, 200))
        delay_ns += (int64_t)sim_random(world, 300 * MS);
    if (packet->kind == PACKET_BATCH && world->slow_until_ns > world->now_ns)
        delay_ns += world->slow_until_ns - world->now_ns;
    copy(&world->packets[world->packet_count], packet);
    world->packets[world->packet_count++].due_ns = world->now_ns + delay_ns;
}

void net_send(struct world *world, const struct packet *packet)
{
    if (is_cut(world, packet->node) || happens(world, FAULT_LOSS, 10))
        return;
    enqueue(world, packet);
    if (happens(world, FAULT_DOUBLE, 10))
        enqueue(world, packet);
}

void net_step(struct world *world)
{
    for (uint32_t i = 0; i < world->packet_count;) {
        static struct packet packet; /* large; one thread */
        if (world->packets[i].due_ns > world->now_ns) {
            i++;
            continue;
        }
        copy(&packet, &world->packets[i]);
        copy(&world->packets[i], &world->packets[--world->packet_count]);
        if (is_cut(world, packet.node))
            continue;
        if (packet.kind == PACKET_BATCH)
            store_receive(world, &packet);
        else
            node_receive(world, &world->nodes[packet.node], &packet);
    }
}

void net_drop(struct world *world, const struct node *node)
{
    for (uint32_t i = 0; i < world->packet_count;)
        if (!node || &world->nodes[world->packets[i].node] == node)
            copy(&world->packets[i], &world->packets[--world->packet_count]);
        else
            i++;
}
