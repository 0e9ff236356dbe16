/* Checks of keys that several nodes share: what engine_check_batch() does with limits whose `sync`
 * is not local. shared.c and exact.c say how.
 *
 * Shared keys are decided at once, by this node's share of the limit; what was charged is pending
 * in the entry and leaves by a ring. Exact keys spend what the store granted: whoever can wait asks
 * engine_must_wait() before it charges anything; who cannot is denied for a millisecond, and the
 * grant is asked for meanwhile.
 *
 * Threads: as the engine; each has a struct engine_shared of its own. */
#ifndef METE_ENGINE_SHARED_H
#define METE_ENGINE_SHARED_H

#include "engine/engine.h"
#include "replica/demand.h"
#include "replica/ring.h"

struct shared_state;

#define SHARED_LOSS_RETRY_NS                                                                       \
    100000000u                       /* what who is denied for lack of a store is told to wait     \
                                      */
#define SHARED_ASK_RETRY_NS 1000000u /* the same while a grant is asked for */

struct engine_shared {
    struct ring *ring;     /* this thread's */
    struct demand *demand; /* this thread's */
    const struct shared_state *state;
    bool has_waited; /* set by who asked engine_must_wait(): no grant came in time */
    /* of the batch: */
    bool is_degraded;
    uint8_t first_share; /* of keys that nothing is known of */
    uint8_t caution;     /* how much smaller shares are, because the ring is not read */
    uint64_t now_ns;
    bool has_charged;    /* since marked_ns, when the replication thread was last seen to look */
    uint32_t looks_seen; /* of its looks */
    uint64_t marked_ns;
};

/* Begins and ends a batch of checks: reads the state once; publishes the ring. */
void shared_begin(struct engine_shared *shared, const struct instant *now);
void shared_end(struct engine_shared *shared);

/* A check of a shared meter (is_plain_shared), decided the short way. False: it was not, take the
 * long one. */
bool shared_charge(struct engine *engine, const struct check *check, const struct instant *now,
                   uint64_t now_ticks, struct answer *answer);

/* Any operation on a limit that is not local: bucket, window or calendar. False: no room in the
 * table. */
bool shared_apply(struct engine *engine, const struct check *check, enum operation operation,
                  const struct instant *now, struct answer *answer);

/* Units that AT_MOST would take now, up to the cost. */
uint32_t shared_at_most(struct engine *engine, const struct check *check,
                        const struct instant *now);

/* What somebody waits for. Plain values: it may outlive the configuration. */
struct engine_wait {
    struct table_probe probe;
    uint64_t seen; /* grant, as it was seen; 0: none */
};

/* Must these checks, of one datagram and not yet seen by the engine, wait for a grant before any of
 * them may be charged? With `asks`, what is missing is asked for. Nothing else is changed, and only
 * checks of exact rules ever wait. True: *ret_wait is for the first of them. */
bool engine_must_wait(struct engine *engine, const struct check *checks, uint32_t count,
                      const struct instant *now, bool asks, struct engine_wait *ret_wait);

/* Has what was waited for changed? */
bool engine_has_news(struct engine *engine, const struct engine_wait *wait);

/* Wall time as all nodes have it if there is a store that tells it, else the host's. now_ns: the
 * table's clock. shared may be NULL. */
uint64_t shared_real_ns(const struct engine_shared *shared, uint64_t now_ns, uint64_t host_ns);

/* ---- of engine/ alone ---- */

/* Pass A for one check. */
void engine_prepare(struct engine *engine, struct check *check);

/* Tells the replicator of units that are pending in no entry (negative: given back). */
void shared_tell(struct engine *engine, const struct table_probe *probe, uint64_t window,
                 int64_t units);
void shared_tell_reset(struct engine *engine, const struct check *check, const struct instant *now);

/* shared_apply() of an exact limit, while there is a store. */
bool exact_apply(struct engine *engine, const struct check *check, enum operation operation,
                 const struct instant *now, struct answer *answer);

#endif
