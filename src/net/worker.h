/* A worker: one thread with its ring, its sockets and its counters. worker_run() in worker.c is the
 * path of a datagram, step by step; everything below it is a leaf. */
#ifndef METE_NET_WORKER_H
#define METE_NET_WORKER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>

#include "config/publish.h"
#include "engine/engine.h"
#include "engine/shared.h"
#include "net/filter.h"
#include "net/io.h"
#include "net/shed.h"
#include "net/udp.h"
#include "net/udp_park.h"
#include "obs/latency.h"
#include "obs/sampling.h"
#include "sys/clock.h"

#define WORKER_BUFFERS 32u /* of IO_BUFFER_BYTES: few enough to stay in the second-level cache */

struct worker {
    /* given */
    unsigned index;
    unsigned count;
    int cpu;                     /* to run on, -1: any */
    struct publish *publish;     /* its reader `index`; what is published judges each batch */
    const struct config *config; /* to start with */
    struct table *table;
    struct repeat_set *repeats;         /* of all workers, or NULL */
    struct engine_shared *shared;       /* its own way to the other nodes, or NULL */
    uint64_t exact_wait_ns;             /* with it: how long a datagram may wait for a grant */
    int sockets[CONFIG_MAX_LISTEN + 1]; /* one per listen address, the first worker's also the
                                           UNIX one; closed by who opened them */
    unsigned socket_count;
    unsigned udp_socket_count; /* the first of them */
    struct xdp *xdp;           /* the interface of backend af_xdp, or NULL */
    struct counters *counters;
    struct rule_counters *rule_counters;
    struct secret_counters *secret_counters; /* as rule_counters, by the rows of inline limits */
    struct quota quota;                      /* with credits of its own */
    struct sampler *sampler;                 /* or NULL */
    struct latency *latency;                 /* of some of its datagrams, or NULL */
    atomic_bool *stop;
    _Atomic uint64_t turns; /* it goes round at least ten times a second: a sign of life */
    /* result of the start, valid after worker_start() */
    int error;           /* negative errno: could not start */
    int fallback_error;  /* backend auto: why io_uring was not taken, or 0 */
    const char *backend; /* name */
    /* its own */
    pthread_t thread;
    sem_t ready;
    struct io *io;
    struct wall wall;
    struct clock_steps steps;
    uint64_t batch_boot_ns; /* the clock that this batch was judged by */
    uint64_t next_look_ns;
    struct sampling timed; /* batches whose latency is looked at */
    uint64_t spin_ns;      /* of the next turn: looks so long before it sleeps */
    uint64_t wait_ns;      /* and then sleeps at most so long */
    struct filter filter;
    uint32_t kernel_drops[CONFIG_MAX_LISTEN]; /* of each socket, at the last look */
    struct shed shed;
    uint32_t drops_at_look[CONFIG_MAX_LISTEN]; /* as above, at the last look at the load */
    uint64_t overload_since_ns;
    uint64_t io_drops; /* of the backend, then */
    uint64_t repeat_cursor;
    uint32_t repeat_swept_ms; /* up to where worker 0 has done its upkeep of the repeat set */
    struct engine engine;
    struct udp_park *park; /* with `shared` */
    struct udp udp;
};

/* Starts the thread and waits until it serves or has failed. Results: 0, or the negative errno of
 * what could not be had (the thread is gone then). All memory is taken here, none later. */
int worker_start(struct worker *worker);

/* After *worker->stop became true: waits until the worker has answered what is in hand and is gone.
 */
void worker_join(struct worker *worker);

#endif
