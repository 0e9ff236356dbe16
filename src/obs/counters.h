/* Counter cells: the one-way door by which numbers leave the hot path.
 *
 * Every worker owns one struct counters and an array of struct rule_counters; it alone writes them,
 * with plain relaxed stores that cost what an ordinary increment costs. Others read at any time and
 * sum. */
#ifndef METE_OBS_COUNTERS_H
#define METE_OBS_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* Fates of datagrams and of checks; names in counters.c, in this order. */
enum counter {
    COUNTER_RECEIVED, /* datagrams, every one */
    COUNTER_ANSWERED,
    COUNTER_BAD_LENGTH,
    COUNTER_BAD_MAGIC,
    COUNTER_BAD_VERSION,
    COUNTER_BAD_TYPE,
    COUNTER_BAD_COUNT,
    COUNTER_BAD_SIZES,
    COUNTER_BAD_SUBJECT,
    COUNTER_BAD_TAG,
    COUNTER_UNTRUSTED,
    COUNTER_UNBOUND, /* from a UNIX socket without an address to answer to */
    COUNTER_UNKNOWN_TENANT,
    COUNTER_UNSUPPORTED, /* answered so */
    COUNTER_LIMITED,     /* answered so: their tenant may not ask for more checks now */
    COUNTER_SHED,        /* answered so */
    COUNTER_SHED_OLD,    /* not answered: waited longer than their use */
    COUNTER_SHED_SHARE,  /* not answered: their tenant had its share */
    COUNTER_HELLO,
    COUNTER_RESTARTED,    /* bad tags that were answered so */
    COUNTER_STALE,        /* answered so */
    COUNTER_REPEATS,      /* answered as the first time, not charged */
    COUNTER_DROPPED_OPEN, /* repeats of what was being judged that moment */
    COUNTER_KERNEL_DROPS, /* by a full buffer or by the filter; looked at now and then */
    COUNTER_SEND_ERRORS,
    COUNTER_RECEIVE_ERRORS,
    COUNTER_CHECKS, /* entries judged, all types */
    COUNTER_ALLOWED,
    COUNTER_DENIED,
    COUNTER_WOULD_DENY,
    COUNTER_PEEKED,
    COUNTER_REFUNDED,
    COUNTER_RESET,
    COUNTER_RENEWED, /* leases */
    COUNTER_RELEASED,
    COUNTER_LEASES_EXPIRED,
    COUNTER_UNKNOWN_RULE,
    COUNTER_BAD_LIMIT,
    COUNTER_NEED_SUBJECT,
    COUNTER_TABLE_FULL,
    COUNTER_UNKNOWN_LEASE,
    COUNTER_EXPIRED_LEASE, /* answered so; expired ones are counted above */
    COUNTER_SWAP_RETRIES,  /* somebody was faster; decided again */
    COUNTER_SWEPT,         /* entries back at rest that upkeep freed */
    COUNTER_CLOCK_STEPS,   /* the host's clock was set */
    COUNTER_BATCHES,       /* receives that brought something */
    COUNTER_CARRIED,       /* answers that left in the frames of questions */
    COUNTER_PARKED,        /* datagrams that waited for a grant */
    COUNTER_REPLICA_LOST,  /* units that other nodes will not hear of: a ring was full */
    COUNTER_COUNT
};

struct counters {
    _Atomic uint64_t cell[COUNTER_COUNT];
} __attribute__((aligned(128))); /* two lines: the prefetcher takes pairs */

struct rule_counters {
    _Atomic uint64_t allowed;
    _Atomic uint64_t denied;
    _Atomic uint64_t would_deny;
    _Atomic uint64_t units;
};

/* Datagrams of a tenant that one of its secrets signed: tells when an old one is unused. */
#define COUNTER_SECRETS 2u
struct secret_counters {
    _Atomic uint64_t used[COUNTER_SECRETS];
};

/* Adds to a cell that only this thread writes. */
static inline void counter_add(_Atomic uint64_t *cell, uint64_t amount)
{
    uint64_t value = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, value + amount, memory_order_relaxed);
}

static inline uint64_t counter_read(const _Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

/* When the thread that writes the cell cannot: it has not heard of what the cell counts yet. */
static inline void counter_clear(_Atomic uint64_t *cell)
{
    atomic_store_explicit(cell, 0, memory_order_relaxed);
}

/* "received", "bad_length", ... */
const char *counter_name(enum counter counter);

#endif
