/* A limit: a rule compiled to integers, and what an algorithm does with one.
 *
 * Each algorithm is a pure function (limit, state, operation, cost, now) -> step. It knows no
 * atomics, no clock and no memory; who calls it swaps the state in. All of them share this shape:
 *
 *   state 0    the subject at rest: nothing spent, the full quota there. An entry whose state means
 *              the same as 0 may be forgotten at any time (limit_rest_after() says when).
 *   now_ns     GCRA kinds: nanoseconds of the table's clock. Windows and calendars: wall clock
 *              nanoseconds since 1970 (limit_is_wall() tells which).
 *   exactness  if a check is denied with retry_after_ns = r (not NEVER), the same check alone
 *              passes at now_ns + r and does not at now_ns + r - 1.
 *
 * All arithmetic saturates. Any thread may call anything here. */
#ifndef METE_CORE_LIMIT_H
#define METE_CORE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* The ids are part of the registry (proto-spec/registry.md) and of the table's layout. */
enum algorithm {
    ALGORITHM_NONE = 0,
    ALGORITHM_TOKEN_BUCKET = 1,
    ALGORITHM_LEAKY_METER = 2,
    ALGORITHM_LEAKY_QUEUE = 3,
    ALGORITHM_FIXED_WINDOW = 4,
    ALGORITHM_SLIDING_WINDOW = 5,
    ALGORITHM_CONCURRENCY = 6,
    ALGORITHM_CALENDAR = 7,
    ALGORITHM_UNLIMITED = 8,
    ALGORITHM_DENY = 9,
};

#define NEVER UINT64_MAX

/* How the nodes of a namespace share a limit. No algorithm looks at it. */
enum limit_sync {
    SYNC_LOCAL = 0,  /* each node on its own */
    SYNC_SHARED = 1, /* decided at once, told in the background */
    SYNC_EXACT = 2,  /* only what was granted before is spent; burst at most GRANT_UNITS_MAX */
};

/* What a shared or exact limit does while the store does not answer. */
enum limit_on_loss {
    LOSS_SHARE = 0, /* goes on with this node's share */
    LOSS_FULL = 1,  /* allows the whole limit */
    LOSS_DENY = 2,
};

struct calendar;

/* Compiled; 24 bytes. It also stands in the owner rows, as limit_without_calendar(): plain values,
 * position independent. */
struct limit {
    uint64_t interval; /* GCRA: T, 1/16 ns per unit. Windows: length of the window in ns.
                          Concurrency: how long a lease lasts, ns.
                          Calendars: calendar->id; other periods or another zone have another. */
    union {
        uint64_t tolerance;              /* GCRA: tau = burst * T, 1/16 ns. Windows: 0. */
        const struct calendar *calendar; /* ALGORITHM_CALENDAR only; without one all is denied */
    };
    uint32_t burst;    /* units that pass at one instant from rest; a window's limit; slots */
    uint8_t algorithm; /* enum algorithm */
    uint8_t keeps_tat; /* inline limits: a foreign tat beyond tau is left as it is (DESIGN: as
                          redis-cell does); else it is cut to a full bucket of this limit */
    uint8_t sync;      /* enum limit_sync */
    uint8_t on_loss;   /* enum limit_on_loss */
};
_Static_assert(sizeof(struct limit) == 24, "stands in the table's mapping");

/* What a configuration or an inline limit says, before compiling. A calendar stands beside it. */
struct limit_spec {
    enum algorithm algorithm;
    uint64_t count;     /* units ... (rate of a bucket, limit of a window or calendar); slots */
    uint64_t period_ns; /* ... per this long; a window's length; a lease's; calendars: 0 */
    uint64_t burst;     /* buckets only; 0 means: as count */
};

enum limit_error {
    LIMIT_OK = 0,
    LIMIT_BAD_ALGORITHM, /* not one of the served ones */
    LIMIT_ZERO_COUNT,    /* 0 units per period */
    LIMIT_ZERO_PERIOD,
    LIMIT_RATE_TOO_HIGH,     /* above 1,000,000,000/s */
    LIMIT_BURST_TOO_LARGE,   /* burst or window limit above 2^32 - 1 */
    LIMIT_TAU_TOO_LONG,      /* burst * T above 10 years */
    LIMIT_WINDOW_TOO_SHORT,  /* fixed: below 1 ms; sliding: below 10 ms */
    LIMIT_WINDOW_TOO_LONG,   /* above 10 years */
    LIMIT_SLIDING_TOO_LARGE, /* sliding limit above 16,777,215 */
    LIMIT_TOO_MANY_SLOTS,    /* concurrency limit above 1,048,575 */
    LIMIT_LEASE_TOO_SHORT,   /* below 10 ms */
    LIMIT_LEASE_TOO_LONG,    /* above 7 days */
};

#define LIMIT_TICKS_PER_NS 16u
#define LIMIT_MAX_NS (10ull * 365 * 86400 * 1000000000ull) /* ten years */
#define LIMIT_MAX_PER_SECOND 1000000000ull
#define LIMIT_SLIDING_MAX 16777215u
#define LIMIT_SLIDING_MIN_NS 10000000ull
#define LIMIT_FIXED_MIN_NS 1000000ull
#define LIMIT_SLOTS_MAX 1048575u /* what a lease's entry has bits for: table/lease.h */
#define LIMIT_LEASE_MIN_NS 10000000ull
#define LIMIT_LEASE_MAX_NS (7ull * 86400 * 1000000000ull)

/* Compiles spec into *ret_limit; calendars have calendar_compile(). T = ceil(16 * period_ns /
 * count): never too generous, off by at most 1e-4 up to 1,000,000/s. Results: every enum
 * limit_error; *ret_limit is untouched on failure.
 */
enum limit_error limit_compile(const struct limit_spec *spec, struct limit *ret_limit);

/* A clause that says what is wrong and what would be right ("burst is above 4294967295"). */
const char *limit_error_text(enum limit_error error);

/* "token_bucket", "leaky_bucket", ... and back; ALGORITHM_NONE for an unknown name. The two leaky
 * kinds share the name leaky_bucket, which parses as the meter. */
const char *algorithm_name(enum algorithm algorithm);
enum algorithm algorithm_parse(const char *name);

/* The rate that T really gives, in units per second (for `config show`). */
double limit_true_rate(const struct limit *limit);

enum operation {
    OPERATION_CHECK,   /* ask and take all of cost, or nothing */
    OPERATION_PEEK,    /* ask; never changes the state */
    OPERATION_AT_MOST, /* take what is there, up to cost; denied only if not one unit is there */
    OPERATION_REFUND,  /* give cost back; never above the full quota */
    OPERATION_RESET,   /* back to rest */
    /* Of leases; the engine makes them of those above (engine/lease.h), no algorithm sees them. */
    OPERATION_ACQUIRE,
    OPERATION_RENEW,
    OPERATION_RELEASE,
    OPERATION_LOOK, /* what is known of a lease; never changes anything */
};

enum decision { DECISION_DENY = 0, DECISION_ALLOW = 1 };

struct verdict {             /* no hole inside: two stores that meet in one load would stall it */
    uint64_t retry_after_ns; /* denied: wait until this same check passes, or NEVER (cost > burst).
                                Allowed: 0, but the delay to serve after in a leaky queue */
    uint64_t reset_after_ns; /* until the full quota is back; 0 = it is */
    enum decision decision;
    uint32_t granted;   /* units charged: cost, less for AT_MOST, 0 when denied, peeked, refunded */
    uint32_t remaining; /* units that would pass now, after this operation */
};

struct step {
    uint64_t state; /* the next state; equal to the one given when nothing changed */
    struct verdict verdict;
};

/* Dispatches to the algorithm of the limit. A cost of 0 is a peek for CHECK and AT_MOST.
 * DENY denies with NEVER and reset 0; UNLIMITED allows with remaining 2^32 - 1. */
struct step limit_apply(const struct limit *limit, uint64_t state, enum operation operation,
                        uint32_t cost, uint64_t now_ns);

/* Nanoseconds until the state means the same as 0; 0 = it does now. This is also the debt by which
 * eviction chooses: the entry with the least of it is forgotten first. */
uint64_t limit_rest_after(const struct limit *limit, uint64_t state, uint64_t now_ns);

/* Does this limit run on wall time (windows, calendars) instead of the table's clock? */
static inline bool limit_is_wall(const struct limit *limit)
{
    return limit->algorithm == ALGORITHM_FIXED_WINDOW ||
           limit->algorithm == ALGORITHM_SLIDING_WINDOW || limit->algorithm == ALGORITHM_CALENDAR;
}

/* Is its state a tat (core/gcra.h)? */
static inline bool limit_is_bucket(const struct limit *limit)
{
    return limit->algorithm == ALGORITHM_TOKEN_BUCKET ||
           limit->algorithm == ALGORITHM_LEAKY_METER || limit->algorithm == ALGORITHM_LEAKY_QUEUE;
}

/* What may outlive the configuration: enough for limit_rest_after(), and no pointer. */
static inline struct limit limit_without_calendar(struct limit limit)
{
    if (limit.algorithm == ALGORITHM_CALENDAR)
        limit.calendar = 0;
    return limit;
}

/* Longest time an expired window state may stay in the table before its index could be mistaken for
 * a current one (half the wrap of the index, ns); NEVER for kinds without an index. */
uint64_t limit_wrap_ns(const struct limit *limit);

#endif
