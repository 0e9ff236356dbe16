/* ACQUIRE, RENEW, RELEASE on a concurrency rule: what engine_check_batch() does with them.
 *
 * Threads: as the engine. */
#ifndef METE_ENGINE_LEASE_H
#define METE_ENGINE_LEASE_H

#include "engine/engine.h"

static inline bool lease_is_operation(uint8_t operation)
{
    return operation >= OPERATION_ACQUIRE;
}

/* Decides one of them; check->limit is a concurrency rule's. answer->status: OK (the flags say
 * whether it was granted, renewed, released), UNKNOWN_LEASE, EXPIRED_LEASE, TABLE_FULL. Shadow is
 * left to the caller. */
void lease_decide(struct engine *engine, const struct check *check, const struct instant *now,
                  struct answer *answer);

/* Asks for the cache lines that lease_decide() will want besides the key's. */
void lease_prefetch(const struct engine *engine, const struct check *check);

/* Ends what has expired, in this engine's part of the table: all of it within
 * ENGINE_LEASE_PASS_NS. */
void lease_tick(struct engine *engine, const struct instant *now);

#endif
