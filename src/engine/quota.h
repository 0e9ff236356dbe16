/* How many checks a tenant may ask for, over all workers: so that its flood is not the others'.
 *
 * One word per tenant, a token bucket's state (core/gcra.h), is shared by the workers. To keep them
 * off each other's cache lines a worker takes credit in chunks and uses it up alone; credit not
 * used within QUOTA_KEEP_NS is dropped, so that nobody hoards. A chunk is what the rate gives all
 * workers in an eighth of that time, at most QUOTA_CHUNK: a low limit is exact, check by check.
 *
 * Guarantee, with w workers, rate r and burst b: in any interval t at most b + r*t + w*QUOTA_CHUNK
 * checks pass. At most an eighth of the rate is lost by dropping. A datagram passes whole or not at
 * all, and never with more checks than the burst.
 *
 * The words and credits go by the owner row of the tenant's inline limits, which survives reloads.
 *
 * Threads: quota_take() and quota_give() by each worker with its own credits; quota_cut() and
 * quota_forget() by the main thread, the latter for rows that no worker has in hand. */
#ifndef METE_ENGINE_QUOTA_H
#define METE_ENGINE_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/limit.h"

#define QUOTA_KEEP_NS 10000000ull
#define QUOTA_CHUNK 64u

struct quota_word { /* shared */
    _Atomic uint64_t tat;
} __attribute__((aligned(64))); /* a line of its own: one tenant's flood leaves the others' alone */

struct quota_credit { /* of one worker */
    uint64_t until_ns;
    uint32_t checks;
    _Atomic uint64_t refused; /* checks, for stats */
    _Atomic uint64_t shed;    /* checks left out in an overload, net/shed.h's; in part estimated */
};

struct quota { /* a worker's view; both arrays have an item per owner row */
    struct quota_word *words;
    struct quota_credit *credits;
    unsigned worker_count;
};

/* Does this tenant have a limit on its checks? */
static inline bool quota_is_set(const struct limit *limit)
{
    return limit->interval != 0;
}

/* May `checks` more of them be judged? All are taken, or none and they are counted as refused. */
bool quota_take(struct quota *quota, uint32_t row, const struct limit *limit, uint32_t checks,
                uint64_t now_ns);

/* Gives back what quota_take() took and nobody used. To the shared word and not to the worker,
 * whose credit would be dropped: then nobody can waste a limit by asking in vain. */
void quota_give(struct quota *quota, uint32_t row, const struct limit *limit, uint32_t checks,
                uint64_t now_ns);

/* The limit is another one: the tenant owes at most a full bucket of it. */
void quota_cut(struct quota_word *word, const struct limit *limit, uint64_t now_ns);

/* The row gets another owner. */
void quota_forget(struct quota_word *word);

#endif
