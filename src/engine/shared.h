/* Checks of keys that several nodes share: what engine_check_batch() does with rules whose `sync`
 * is not local. shared.c says how.
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

struct engine_shared {     /* engine->shared; NULL: no replication, and all rules are local */
    struct ring *ring;     /* this thread's */
    struct demand *demand; /* this thread's */
    const struct shared_state *state;
    /* of the batch: */
    bool is_degraded;
    uint8_t first_share; /* of keys that nothing is known of */
};

/* Begins and ends a batch of checks: reads the state once; publishes the ring. */
void shared_begin(struct engine_shared *shared);
void shared_end(struct engine_shared *shared);

/* Decides a check whose limit is not local. Shadow and flags are filled in; false: no room. */
bool shared_apply(struct engine *engine, const struct check *check, enum operation operation,
                  const struct instant *now, struct answer *answer);

/* Must these checks (of one datagram) wait for a grant before any of them may be charged? Nothing
 * is changed but that grants are asked for, if `asks`. Exact rules only; others never wait. */
bool engine_must_wait(struct engine *engine, const struct check *checks, uint32_t count,
                      const struct instant *now, bool asks);

#endif
