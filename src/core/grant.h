/* The state of a key that is limited exactly: what this node may spend of it without asking, and
 * until when it is known that nobody gets more.
 *
 *   state   0..17  units granted and not yet spent
 *          18..25  a mark of the window that they are of (0: buckets); units of another are void
 *          26..63  instant, in ms of the table's clock: before it the store has not one unit more
 *                  than those granted; 0: not known
 *
 * Such a state stands in an entry whose share is TABLE_SHARE_GRANT (table/shared.h), whatever the
 * algorithm. State 0 holds and denies nothing. Any thread may call anything here. */
#ifndef METE_CORE_GRANT_H
#define METE_CORE_GRANT_H

#include "core/instant.h"
#include "core/limit.h"

#define GRANT_UNIT_BITS 18u
#define GRANT_MARK_BITS 8u
#define GRANT_UNITS_MAX ((1u << GRANT_UNIT_BITS) - 1) /* the largest burst of an exact rule */
#define GRANT_INSTANT_NS 1000000u
#define GRANT_KEEP_NS 20000000u /* units not spent within go back to the store */

struct grant {
    uint32_t units;           /* at most GRANT_UNITS_MAX */
    uint64_t window;          /* its name (core/share.h); only a mark of it is kept */
    uint64_t denied_until_ns; /* table's clock; rounded up, 0: not known */
};

/* Units above GRANT_UNITS_MAX are cut. */
uint64_t grant_pack(const struct limit *limit, const struct grant *grant);

uint32_t grant_units(uint64_t state); /* whatever their window */
uint32_t grant_units_of(const struct limit *limit, uint64_t state,
                        uint64_t window); /* 0 if they are of another */
uint64_t grant_denied_until_ns(uint64_t state);

/* The state with other units, all else as it was. */
uint64_t grant_with_units(uint64_t state, uint32_t units);

/* As limit_rest_after(): such an entry is forgotten when it holds nothing and denies nothing. */
uint64_t grant_rest_after(uint64_t state, uint64_t now_ns);

enum grant_result {
    GRANT_ALLOWED,
    GRANT_DENIED,  /* known: the store has no more, or never had so many */
    GRANT_UNKNOWN, /* ask the store; *ret_step is untouched */
};

/* Spends cost of what was granted. retry_after of a denial is exact to the millisecond if nobody
 * else charges. */
enum grant_result grant_spend(const struct limit *limit, uint64_t state, uint32_t cost,
                              const struct instant *now, struct step *ret_step);

#endif
