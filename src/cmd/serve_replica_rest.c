/* The replication thread in an upgrade: what one process leaves and the next takes up. */
#include "cmd/serve_replica.h"

#include <errno.h>
#include <inttypes.h>

#include "cmd/cmd.h"
#include "cmd/serve_replica_parts.h"
#include "sys/wake.h"

/* All that the next process would not find: what the threads that decide, which are at rest, have
 * put into the rings, and what is known of the store's clock and of the other nodes. */
static void leave_all(struct serve_replica *replica)
{
    struct replicator_state state;
    const uint64_t now_ns = serve_replica_now_ns(replica);

    publish_enter(replica->server->publish, replica->reader);
    do
        replicator_tick(replica->replicator, now_ns);
    while (replicator_has_more(replica->replicator));
    publish_leave(replica->server->publish, replica->reader);
    replicator_look(replica->replicator, now_ns, &state);
    replica->names->wall_offset_ns =
        atomic_load_explicit(&replica->shared.wall_offset_ns, memory_order_relaxed);
    replica->names->nodes = state.node_count;
}

/* The node is this process' from here on, and goes on as it was left. */
static void take_up(struct serve_replica *replica)
{
    const struct replica_names *left = replica->names;
    const uint64_t now_ns = serve_replica_now_ns(replica);
    const struct replicator_names names = {
        .node_id = left->node_id,
        .incarnation = left->incarnation,
        .nodes = (uint32_t)left->nodes,
        .now_ns = now_ns,
        .wall_ns = shared_state_real_ns(&replica->shared, now_ns, clock_real_ns()),
    };

    replica->node_id = left->node_id;
    link_become(replica->link, left->node_id, left->token);
    publish_enter(replica->server->publish, replica->reader);
    replicator_take_up(replica->replicator, &names);
    publish_leave(replica->server->publish, replica->reader);
    replica->is_new = false;
}

bool serve_be_at_rest_replica(struct serve_replica *replica)
{
    if (!replica->is_new)
        leave_all(replica);
    sem_post(&replica->at_rest);
    while (sem_wait(&replica->go) < 0 && errno == EINTR)
        ;
    if (atomic_load_explicit(&replica->stop, memory_order_relaxed))
        return false;
    if (replica->is_new)
        take_up(replica);
    return true;
}

void serve_wait_at_rest_replica(struct serve_replica *replica)
{
    while (sem_wait(&replica->at_rest) < 0 && errno == EINTR)
        ;
}

void serve_rest_replica(struct server *server)
{
    struct serve_replica *replica = server->replica;
    if (!replica || !replica->is_running)
        return;
    atomic_store_explicit(&replica->rest, true, memory_order_relaxed);
    wake_send(replica->wake);
    serve_wait_at_rest_replica(replica);
}

/* What is said of the wall time must be known before anybody decides; the rest is the thread's. */
void serve_replica_go_on(struct server *server)
{
    struct serve_replica *replica = server->replica;
    if (!replica || !atomic_load_explicit(&replica->rest, memory_order_relaxed))
        return;
    if (replica->is_new && server->handover.is_taken)
        shared_state_set_wall(&replica->shared, replica->names->wall_offset_ns);
    atomic_store_explicit(&replica->rest, false, memory_order_relaxed);
    sem_post(&replica->go);
}

int serve_judge_replica(const struct server *server)
{
    const struct config_redis *config = &server->config->redis;
    if (!server->replica)
        return 0;
    const struct replica_names *left = server->replica->names;
    if (left->partitions != config->partitions)
        return cmd_fail("serve",
                        "--take-over: redis.partitions: is %" PRIu64 ", and %" PRIu64
                        " in the daemon that serves; restart it instead",
                        (uint64_t)config->partitions, left->partitions);
    if (config->node_id && config->node_id != left->node_id)
        return cmd_fail("serve",
                        "--take-over: redis.node_id: is %" PRIu64 ", and the daemon that serves is "
                        "node %" PRIu64 "; restart it instead",
                        (uint64_t)config->node_id, left->node_id);
    return 0;
}
