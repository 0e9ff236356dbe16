/* How what several nodes charged becomes one value; merge.c says how, and proves the bound.
 *
 * A shared store keeps a cell per key (windows and calendars: per key and window) and adds the
 * deltas of the nodes to it, each delta once (merge_admit). All numbers are whole and stay below
 * 2^53, so that a store that computes in doubles gets the same. */
#ifndef METE_CORE_MERGE_H
#define METE_CORE_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/limit.h"

#define MERGE_MAX ((1ull << 53) - 1)
#define MERGE_CREDIT_US 20000  /* the largest age that the store is told, f */
#define MERGE_OLDEST_US 250000 /* the largest age of a delta that is added */

/* What the store knows of a key. The larger of two cells is the newer one: epoch first. */
struct merge_cell {
    uint64_t epoch; /* one more whenever the value falls */
    uint64_t value; /* buckets: tat, us of the store's clock; else units counted */
};

struct merge_delta {
    struct merge_cell base; /* the last merged cell that this node saw; zeros: none */
    int64_t charge;         /* buckets: us, else units; negative gives back; 0 reads */
    int64_t ahead_us;       /* buckets: where the first charge lies as seen from now; 0 or less,
                               or more for an old delta (charge 0): what the node is owed */
    uint64_t cap_us;        /* buckets: the most that may be owed: tau and allowed debt */
    bool resets;            /* forget what was charged before this delta */
};

static inline struct merge_cell merge_larger(struct merge_cell a, struct merge_cell b)
{
    if (a.epoch != b.epoch)
        return a.epoch > b.epoch ? a : b;
    return a.value > b.value ? a : b;
}

/* The cell after this delta, for buckets, windows and calendars. now_us is the store's clock. */
struct merge_cell limit_merge(const struct limit *limit, struct merge_cell cell,
                              const struct merge_delta *delta, uint64_t now_us);

/* Demand. The store keeps for each key what all nodes wanted of late, in 64ths of a unit: a
 * sum that halves every MERGE_HALF_US, and to which each batch adds what its node wanted since its
 * last. A node keeps its own by the same rule and the same instants, so that its part of the demand
 * is one divided by the other. */
#define MERGE_HALF_US 50000
#define MERGE_DEMAND_UNIT 64u
#define MERGE_DEMAND_MAX ((1ull << 40) - 1)

/* The sum after passed_us, and with wanted units more. */
uint64_t merge_demand(uint64_t demand, uint64_t passed_us, uint64_t wanted);

/* Kinds of cells. */
enum merge_kind {
    MERGE_BUCKET = 0,
    MERGE_FIXED = 1,    /* windows are named by their index, modulo 2^32 */
    MERGE_SLIDING = 2,  /* by their index, modulo 2^16 */
    MERGE_CALENDAR = 3, /* by their end, seconds since 1970 */
};

enum merge_kind merge_kind_of(const struct limit *limit);

/* What a node of exact mode asks to spend: units that the store charges before it answers. */
struct merge_ask {
    uint32_t wanted;     /* 0: nothing; at most MERGE_MOST_WANTED */
    uint32_t unit_ticks; /* buckets: T is unit_us + unit_ticks / 16000 us */
    uint64_t unit_us;
    uint64_t most;      /* buckets: tau, us; windows: the limit */
    uint64_t window_us; /* fixed and sliding: length of a window */
    uint64_t window;    /* name of the window that the node thinks is now */
};
#define MERGE_MOST_WANTED (1u << 20)

/* How many of them there are; *cell is charged with them. previous: units of the window before, for
 * sliding windows. A window that is not the store's present one grants nothing. */
uint32_t merge_grant(enum merge_kind kind, struct merge_cell *cell, uint64_t previous,
                     const struct merge_ask *ask, uint64_t now_us);

/* What the store makes of a batch by its sequence number; numbers begin at 1. */
enum merge_batch {
    MERGE_NEXT,   /* apply */
    MERGE_REPEAT, /* was applied: only read */
    MERGE_GAP,    /* apply; the store lost what it had applied before */
    MERGE_NEW,    /* apply; the store knows nothing of this node (last is 0) */
};

/* last: the number of the batch applied last, 0 if unknown. */
enum merge_batch merge_admit(uint64_t last, uint64_t sequence);

#endif
