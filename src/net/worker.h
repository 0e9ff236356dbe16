/* A worker: one thread with its ring, its sockets and its counters. worker_run() in worker.c is the
 * path of a datagram, step by step; everything below it is a leaf. */
#ifndef METE_NET_WORKER_H
#define METE_NET_WORKER_H

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
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

#define WORKER_MAX_SOCKETS 16u /* as backends have it */
#define WORKER_BUFFERS 32u /* of IO_BUFFER_BYTES: few enough to stay in the second-level cache */

struct worker {
    /* given */
    unsigned index;
    unsigned count;
    int cpu;                     /* to run on, -1: any */
    struct publish *publish;     /* its reader `index`; what is published judges each batch */
    const struct config *config; /* to start with */
    struct table *table;
    struct repeat_set *repeats;      /* of all workers, or NULL */
    struct engine_shared *shared;    /* its own way to the other nodes, or NULL */
    uint64_t exact_wait_ns;          /* with it: how long a datagram may wait for a grant */
    int sockets[WORKER_MAX_SOCKETS]; /* of each listen address one or, after a start with more
                                        workers, several; the first worker's also the UNIX one;
                                        closed by who opened them */
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
    atomic_bool *rest;      /* of all workers: come to rest, by worker_rest() */
    bool is_new;            /* starts at rest, and has taken nothing from its sockets before */
    _Atomic uint64_t turns; /* it goes round at least ten times a second: a sign of life */
    /* result of the start, valid after worker_start() */
    int error;           /* negative errno: could not start */
    int fallback_error;  /* backend auto: why io_uring was not taken, or 0 */
    const char *backend; /* name */
    /* result of worker_rest() */
    int rest_error; /* negative errno: cannot; goes on only after worker_go_on() all the same */
    /* its own */
    pthread_t thread;
    sem_t ready;
    sem_t go;
    atomic_bool is_at_rest;
    struct io *io;
    struct wall wall;
    struct clock_steps steps;
    uint64_t batch_boot_ns; /* the clock that this batch was judged by */
    uint64_t next_look_ns;
    struct sampling timed; /* batches whose latency is looked at */
    uint64_t spin_ns;      /* of the next turn: looks so long before it sleeps */
    uint64_t wait_ns;      /* and then sleeps at most so long */
    struct filter filter;
    uint32_t kernel_drops[WORKER_MAX_SOCKETS]; /* of each socket, at the last look */
    struct shed shed;
    uint32_t drops_at_look[WORKER_MAX_SOCKETS]; /* as above, at the last look at the load */
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

/* Ends the sleeps of a worker that is to come to rest: has a handler that does nothing. */
#define WORKER_SIGNAL SIGURG

/* Has workers come to rest: they answer what they took from their sockets, and take nothing more;
 * returns when all are. Until worker_go_on() they touch neither sockets nor table. Workers that
 * started as new are at rest by themselves. Results: 0, or the negative errno of a backend that
 * cannot; worker_go_on() must follow all the same. */
int worker_rest(struct worker *workers, unsigned count);

/* They serve again; or they end and leave the sockets alone, if *stop became true before. */
void worker_go_on(struct worker *workers, unsigned count);

/* After *worker->stop became true: waits until the worker has answered what is in hand and is gone.
 */
void worker_join(struct worker *worker);

#endif
