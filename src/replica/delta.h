/* What one node knows of a key that several nodes share: what it charged since it last told the
 * store, what it is telling, and the last merged cell it saw. delta.c says how. Windows and
 * calendars: one delta per key and window. */
#ifndef METE_REPLICA_DELTA_H
#define METE_REPLICA_DELTA_H

#include <stdbool.h>
#include <stdint.h>

#include "core/limit.h"
#include "core/merge.h"

struct delta {
    uint64_t charge;        /* buckets: ticks, else units; not yet sent */
    uint64_t first_ns;      /* when its first part was charged; this node's clock */
    uint64_t sent;          /* buckets: whole us, else units; in flight */
    uint64_t sent_first_ns; /* when its first part was charged */
    struct merge_cell base; /* zeros before the first answer */
    uint32_t units;         /* admitted, not yet sent: for the usage counter */
    uint32_t sent_units;    /* in flight */
    bool is_sent;           /* a batch with this delta is in flight */
};
_Static_assert(sizeof(struct delta) <= 64, "a cache line");

/* A cost was admitted. */
void delta_charge(struct delta *delta, const struct limit *limit, uint32_t cost, uint64_t now_ns);

/* Moves what was charged into flight; false if the last one is still there. Less than 1 us of a
 * bucket's charge stays. */
bool delta_take(struct delta *delta, const struct limit *limit, uint64_t now_ns);

/* What to tell the store of what is in flight, at the first sending and at each again: the same
 * charge, older. state is the entry's, as this node sees the key. debt_us may be owed beyond tau.
 */
struct merge_delta delta_message(const struct delta *delta, const struct limit *limit,
                                 uint64_t state, uint64_t debt_us, uint64_t now_ns);

/* The store's answer to a batch. */
struct delta_answer {
    struct merge_cell cell;
    uint64_t store_now_us;
    uint64_t received_ns; /* this node's clock */
};

/* The batch was applied. Returns how the key stands by the answer and what was charged since, each
 * charge spread times over: a tat in ticks of this node's clock, or units. spread is one over the
 * node's share. state is the entry's, as for delta_message(). */
uint64_t delta_settle(struct delta *delta, const struct limit *limit, uint64_t state,
                      uint32_t spread, const struct delta_answer *answer);

#endif
