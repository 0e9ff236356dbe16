/* One node's half of replication, without sockets, clock and threads: what was charged goes in from
 * the rings, batches come out, answers go back into the table. replicator.c says how.
 *
 *   for ever:  wait until replicator_due() or an answer
 *              replicator_tick()
 *              while replicator_next(): hand the batch to the link
 *              for each answer: replicator_answer(); for each that will not come:
 * replicator_failed()
 *
 * All memory is taken by replicator_create(). now_ns is the table's clock and never decreases.
 * One thread; struct shared_state is read by others. */
#ifndef METE_REPLICA_REPLICATOR_H
#define METE_REPLICA_REPLICATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "obs/latency.h"
#include "replica/batch.h"

struct demand;
struct replicator;
struct ring;
struct shared_state;
struct table;

struct replicator_options {
    struct table *table;
    struct ring *const *rings;     /* of the threads that decide */
    struct demand *const *demands; /* likewise */
    uint32_t thread_count;
    struct shared_state *shared;
    uint64_t node_id, incarnation;
    uint32_t partitions; /* of the namespace; 1 to BATCH_MAX_PARTITIONS */
    uint32_t rows;       /* keys that are known at one time: memory is a function of it alone */
    uint32_t nodes;      /* how many there are believed to be before the first answer */
    uint64_t flush_ns;
    uint64_t now_ns;
    uint64_t wall_ns; /* the host's wall time at now_ns, until the store's is known */
    /* replicator_memory_size() bytes, aligned to 64, that outlive the replicator: what was not told
     * when its process ended is told by the next. NULL: memory of its own. */
    void *memory;
    bool resumes; /* table and memory were another process' before (replicator_resume.c) */
    bool waits;   /* resumes, but later: until replicator_take_up() they are the other process' */
};

size_t replicator_memory_size(uint32_t partitions, uint32_t rows);

/* Results: 0, -EINVAL (a number out of its range), -ENOMEM. */
int replicator_create(const struct replicator_options *options, struct replicator **ret_replicator);
void replicator_destroy(struct replicator *replicator);

/* Of one that waits: the memory is its own now, as the process that had it left it, and it goes on
 * as that node. */
struct replicator_names {
    uint64_t node_id, incarnation;
    uint32_t nodes; /* as in the options, where it is 0 */
    uint64_t now_ns, wall_ns;
};
void replicator_take_up(struct replicator *replicator, const struct replicator_names *names);

/* Takes what was charged and wanted off the rings, and finds what is due. */
void replicator_tick(struct replicator *replicator, uint64_t now_ns);

/* Did the last one leave events in the rings? It takes so many at once, so that what it took is
 * told although more comes all the time. */
bool replicator_has_more(const struct replicator *replicator);

/* The next batch to send, new or again; NULL: none now. Valid until the next call of anything here.
 */
const struct batch *replicator_next(struct replicator *replicator, uint64_t now_ns);

/* An answer, whenever and however often it comes. now_ns: when it was received. */
void replicator_answer(struct replicator *replicator, const struct batch_answer *answer,
                       uint64_t now_ns);

/* No answer will come to what was last sent of the partition: it is due again, under its number, at
 * once the first time and after at most 20 ms later on. */
void replicator_failed(struct replicator *replicator, uint32_t partition, uint64_t now_ns);

/* Not now: nothing was sent. As above. */
void replicator_refused(struct replicator *replicator, uint32_t partition, uint64_t now_ns);

/* When replicator_tick() has something to do again, unless an answer comes before. Ask once after
 * each tick: part of it is "in a millisecond". */
uint64_t replicator_due(const struct replicator *replicator, uint64_t now_ns);

/* What was configured anew, without a restart. */
void replicator_set_flush(struct replicator *replicator, uint64_t flush_ns);

/* Another process had the node's id. */
void replicator_set_node(struct replicator *replicator, uint64_t node_id);

/* The end: everything is due at once, nothing waits for a flush. Until replicator_is_settled() the
 * loop above goes on. */
void replicator_finish(struct replicator *replicator);
bool replicator_is_settled(const struct replicator *replicator);

/* How it stands; counts since the start. */
struct replicator_state {
    uint64_t degraded_since_ns; /* 0: it is not */
    uint64_t lag_ns;            /* age of the oldest charge that was not answered; 0: none */
    uint64_t round_trip_ns;     /* smallest of late */
    uint32_t node_count;        /* as the store knows them; 0 before the first answer */
    uint32_t in_flight;         /* partitions whose batch was not answered */
    uint32_t pending_keys;      /* keys with something to tell */
    uint32_t rows_used;
    uint64_t batches, keys;                  /* sent for the first time */
    uint64_t resent;                         /* batches that no answer came to */
    uint64_t answers, repeats, gaps, losses; /* by outcome; losses: the store knew nothing of us */
    uint64_t old_keys;      /* keys whose charge was too old to be added: told as what is owed */
    uint64_t no_row_keys;   /* times a key waited because no row was free */
    uint64_t lost_units;    /* carried by a ring, and no row was free */
    uint64_t first_touches; /* keys that were asked for at once */
    uint64_t largest_batch;
    uint64_t degraded_count; /* times it became so */
};

void replicator_look(const struct replicator *replicator, uint64_t now_ns,
                     struct replicator_state *ret_state);

/* How late others hear of this node, and it of them, since the start. With one batch in flight per
 * partition the two together are how old a view can be. */
struct replicator_delays {
    struct latency_sum
        wait; /* a batch's oldest charge, until the batch was sent for the first time */
    struct latency_sum trip; /* a batch with keys, from then to its answer */
    uint64_t longest_wait_ns, longest_trip_ns;
};

void replicator_look_delays(const struct replicator *replicator,
                            struct replicator_delays *ret_delays);

#endif
