/* What the files of the replication thread share: serve_replica.c, _rest.c, _say.c. */
#ifndef METE_CMD_SERVE_REPLICA_PARTS_H
#define METE_CMD_SERVE_REPLICA_PARTS_H

#include <pthread.h>
#include <semaphore.h>

#include "cmd/server.h"
#include "engine/shared.h"
#include "replica/demand.h"
#include "replica/link.h"
#include "replica/replicator.h"
#include "replica/ring.h"
#include "replica/shared_state.h"
#include "sys/clock.h"

/* At the begin of the section of the table's mapping; partitions and rows follow. */
struct replica_names {
    uint64_t node_id, incarnation, token; /* as which the store knows this node and its batches */
    uint64_t partitions;
    uint64_t is_made;
    /* of one that is at rest, for who takes over: */
    int64_t wall_offset_ns; /* of struct shared_state */
    uint64_t nodes;         /* that were heard; 0: none were */
};
#define NAMES_SIZE 64u
_Static_assert(sizeof(struct replica_names) <= NAMES_SIZE, "in front of the partitions");

struct serve_replica {
    struct replica_names *names;
    bool resumes; /* what the section holds of the life before */
    struct shared_state shared;
    struct server *server;
    struct replicator *replicator;
    struct link *link;
    struct ring *rings; /* per thread that decides */
    struct demand *demands;
    struct engine_shared *shareds;
    struct ring **ring_list;
    struct demand **demand_list;
    uint32_t thread_count;
    void *memory; /* cells of rings and demands */
    size_t memory_size;
    int wake;        /* of the thread: somebody waits for a grant */
    unsigned reader; /* of what is published */
    uint64_t flush_ns;
    uint64_t node_id;
    atomic_bool stop, rest;
    sem_t at_rest, go;
    bool is_new; /* it has not served yet: what the section holds is another process' */
    bool is_running;
    pthread_t thread;
    uint64_t look_at_ns;
    uint64_t said_degraded_ns; /* since when, if that was said */
    uint64_t say_at_ns;        /* not before is it said again */
    pthread_mutex_t lock;      /* of what follows: a look now and then, for who asks */
    struct replicator_state state;
    struct replicator_delays delays;
    struct link_state link_state;
    uint64_t looked_at_ns;
};

static inline uint64_t serve_replica_now_ns(const struct serve_replica *replica)
{
    return clock_boot_ns() - table_time_base_ns(replica->server->table);
}

/* ---- of serve_replica_rest.c ---- */

/* The thread's, until it is told to go on. False: it is to stop, and the table is another's. */
bool serve_be_at_rest_replica(struct serve_replica *replica);
void serve_wait_at_rest_replica(struct serve_replica *replica);

/* ---- of serve_replica_say.c ---- */

/* Takes a look, and writes the lines that the log is owed. The thread's. */
void serve_look_at_replica(struct serve_replica *replica, uint64_t now_ns);

#endif
