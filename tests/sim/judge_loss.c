/* What must hold of a node that decides without the store, as its rule's on_backend_loss says. */
#include "mete/wire.h"
#include "sim.h"

#define SLACK_NS (25 * MS) /* by so much a merged view may be behind one's own charges */

static bool is_bucket(const struct world *world)
{
    return !limit_is_wall(&world->limit);
}

bool judge_may_lose(const struct world *world)
{
    return world->faults & ~(uint32_t)FAULT_DOUBLE;
}

/* What the node's view owes now, in true ticks. */
static uint64_t view_of(struct world *world, uint32_t node, uint32_t key)
{
    double share;
    const uint64_t state = node_state(&world->nodes[node], key, &share);
    const uint64_t ahead = (uint64_t)world->nodes[node].clock_ns * LIMIT_TICKS_PER_NS;

    return state > ahead ? state - ahead : 0;
}

/* The view when the store was lost, and what this node charged since on top. */
static bool has_own_room(const struct world *world, const struct alone *alone, uint32_t cost)
{
    const uint64_t now = (uint64_t)world->now_ns * LIMIT_TICKS_PER_NS;
    const uint64_t owed = alone->view > now ? alone->view - now : 0;

    return owed + cost * world->limit.interval <= world->limit.tolerance;
}

/* One partition may answer while another does not: then it knows what others charged. */
void judge_heard(struct world *world, const struct packet *packet)
{
    for (uint32_t i = 0; i < packet->count; i++)
        world->alone[packet->node][sim_key_number(packet->keys[i].key)].since_ns = 0;
}

/* DENY: nothing passes. FULL: what one's own bucket has room for passes. */
void judge_verdict(struct world *world, uint32_t node, uint32_t key, uint32_t cost, uint32_t flags)
{
    struct alone *alone = &world->alone[node][key];
    const bool is_allowed = flags & METE_VERDICT_ALLOW;

    if (!(flags & METE_VERDICT_DEGRADED)) {
        alone->since_ns = 0;
        return;
    }
    judge_fail(world, world->faults != 0, "on its own though nothing is wrong", node, key);
    if (sim_is_exact(world) || world->gives_back)
        return;
    const bool is_alone = alone->since_ns > 0;
    if (!is_alone) {
        alone->since_ns = world->now_ns;
        alone->view = view_of(world, node, key);
    }
    if (world->limit.on_loss == LOSS_DENY)
        judge_fail(world, !is_allowed, "passed without the store", node, key);
    if (is_alone && world->limit.on_loss == LOSS_FULL && is_bucket(world))
        judge_fail(world, is_allowed || !has_own_room(world, alone, cost),
                   "denied what the whole limit has", node, key);
}

/* Whatever happens, nobody passes by itself more than the whole limit. */
void judge_alone(struct world *world, uint32_t node, uint32_t key, uint64_t window, uint32_t cost)
{
    struct alone *alone = &world->alone[node][key];
    const uint32_t forgets = FAULTS_OF_DATA | FAULT_COLD | FAULT_STORE_CLOCK;
    const uint64_t now = (uint64_t)world->now_ns * LIMIT_TICKS_PER_NS;
    const uint64_t slack = SLACK_NS * LIMIT_TICKS_PER_NS + NODES * world->limit.interval;
    uint64_t most = world->limit.burst;

    alone->own = (alone->own > now ? alone->own : now) + cost * world->limit.interval;
    alone->view = (alone->view > now ? alone->view : now) + cost * world->limit.interval;
    if (alone->own_window != window)
        alone->own_units = 0;
    alone->own_window = window;
    alone->own_units += cost;
    if ((world->faults & forgets) || sim_is_exact(world) || world->gives_back)
        return;
    if (is_bucket(world)) {
        judge_fail(world, alone->own <= now + world->limit.tolerance + slack,
                   "a node alone passed more than the limit", (long long)(alone->own - now),
                   (long long)world->limit.tolerance);
        return;
    }
    judge_fail(world, alone->own_units <= most, "a node alone passed more than a window has",
               (long long)alone->own_units, (long long)most);
}
