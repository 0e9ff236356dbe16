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
    int64_t charge;         /* buckets: ticks, else units; not yet sent; below 0: given back */
    uint64_t first_ns;      /* when its first part was charged; this node's clock */
    int64_t sent;           /* buckets: whole us, else units; in flight */
    uint64_t sent_first_ns; /* when its first part was charged */
    struct merge_cell base; /* zeros before the first answer */
    int64_t units;          /* admitted, not yet sent: for the usage counter */
    int64_t sent_units;     /* in flight */
    /* 0 or 1; not bool, for a delta may lie in memory that outlives its process (rows.h) */
    uint8_t is_sent;     /* a batch with this delta is in flight */
    uint8_t resets;      /* what was there before `charge` is to be forgotten */
    uint8_t sent_resets; /* in flight */
};

/* Units were admitted, or below 0 given back. */
void delta_charge(struct delta *delta, const struct limit *limit, int64_t units, uint64_t now_ns);

/* Units that the store charged at charged_ns or later go back unspent. A bucket drained meanwhile,
 * if it was not at rest, and if others charged it, what drained was theirs: only the rest is given
 * back, which is strict by at most that. */
void delta_give_back(struct delta *delta, const struct limit *limit, uint32_t units,
                     uint64_t charged_ns, uint64_t now_ns);

/* The key was reset: the store is to forget it, and this what was charged before. */
void delta_reset(struct delta *delta);

/* Was enough charged since it was last taken that its age counts? */
bool delta_has_charge(const struct delta *delta, const struct limit *limit);

/* Is there nothing to tell? What is left of a charge below 1 us does not count. */
bool delta_is_silent(const struct delta *delta, const struct limit *limit);

/* Moves what was charged into flight; false if the last one is still there. Less than 1 us of a
 * bucket's charge stays. */
bool delta_take(struct delta *delta, const struct limit *limit, uint64_t now_ns);

/* Back from flight: nobody was told, and it is charged as before. */
void delta_untake(struct delta *delta, const struct limit *limit);

/* What to tell the store of what is in flight, at the first sending and at each again: the same
 * charge, older. state is the entry's, as this node sees the key. debt_us may be owed beyond tau.
 */
struct merge_delta delta_message(const struct delta *delta, const struct limit *limit,
                                 uint64_t state, uint64_t debt_us, uint64_t now_ns);

/* The store's answer to a batch. */
struct delta_answer {
    struct merge_cell cell;
    uint64_t store_now_us;
    uint64_t at_ns; /* this node's clock when the store's was at store_now_us, or later */
};

/* The batch was applied: nothing is in flight any more. */
void delta_settle(struct delta *delta, const struct delta_answer *answer);

/* What a node knows of a key besides. */
struct delta_view {
    uint64_t state;  /* the entry's, as for delta_message() */
    int64_t pending; /* units charged that are not in the delta yet */
    uint64_t now_ns; /* no later than the first of those */
    uint32_t spread; /* one over the node's share, in 1/DELTA_SPREAD_UNIT */
};
#define DELTA_SPREAD_UNIT 65536u

/* How the key stands by an answer that was settled and by what was charged since, each charge
 * spread times over: a tat in ticks of this node's clock, or units. */
uint64_t delta_look(const struct delta *delta, const struct limit *limit,
                    const struct delta_answer *answer, const struct delta_view *view);

#endif
