/* How a node that has a share of a limit charges its view of a key; share.c says how and why.
 *
 * A share alpha stands as an exponent e: alpha = 2^(-e/8), 0 is the whole limit. Any thread may
 * call anything here. */
#ifndef METE_CORE_SHARE_H
#define METE_CORE_SHARE_H

#include "core/gcra.h"
#include "core/limit.h"

#define SHARE_MAX 62u /* the smallest: 2^(-62/8), one in 215 */
#define SHARE_FRACTION_BITS 16u
#define SHARE_MUCH_SHIFT 3u

extern const uint32_t share_eighths[8];

/* 2^(share/8), not below it, with SHARE_FRACTION_BITS behind the point. */
static inline uint32_t share_factor(unsigned share)
{
    return share_eighths[share % 8] << share / 8;
}

/* amount / alpha, rounded up; saturates. share: at most SHARE_MAX. */
static inline uint64_t share_scaled(uint64_t amount, unsigned share)
{
    const unsigned __int128 product =
        (unsigned __int128)amount * share_factor(share) + ((1u << SHARE_FRACTION_BITS) - 1);

    return product >> SHARE_FRACTION_BITS > UINT64_MAX ? UINT64_MAX
                                                       : (uint64_t)(product >> SHARE_FRACTION_BITS);
}

/* The exponent of the largest share that is not above part / whole; 0 if part >= whole, SHARE_MAX
 * if it is smaller than that. */
uint8_t share_of(uint64_t part, uint64_t whole);

/* Are so many units an eighth of what a node with this share may spend at once, or more? By whole
 * powers of two: from a sixteenth on. units: below 2^32. */
static inline bool share_is_much(const struct limit *limit, uint32_t units, unsigned share)
{
    return (uint64_t)units << (share / 8 + SHARE_MUCH_SHIFT) >= limit->burst;
}

/* gcra_charge() of a node with a share: allowed as if it had the whole limit, charged as if all
 * others did the same. What it is denied then it will be denied for as long as it says. */
static inline struct step share_charge(const struct limit *limit, uint64_t state, uint32_t cost,
                                       unsigned share, uint64_t now)
{
    const uint64_t backlog = saturate_sub(state, now);
    const uint64_t charge = cost * limit->interval;
    const uint64_t room = limit->tolerance - charge;

    if (backlog > room)
        return gcra_deny(limit, state, backlog, room);
    return gcra_allow(limit, cost, saturate_add(backlog, share_scaled(charge, share)), now);
}

/* limit_apply() of a node with a share, for buckets, windows and calendars. granted of CHECK and
 * AT_MOST is what was really admitted. A state may owe more than the limit, by less than one charge
 * divided by alpha. */
struct step share_apply(const struct limit *limit, uint64_t state, enum operation operation,
                        uint32_t cost, unsigned share, uint64_t now_ns);

/* Units that AT_MOST would take of such a state, up to cost; 0 if not one passes. */
uint32_t share_at_most(const struct limit *limit, uint64_t state, uint32_t cost, unsigned share,
                       uint64_t now_ns);

/* The name of the window that a state's last charge went to; 0 for buckets. Names wrap within their
 * bits, as the states do. */
uint64_t share_window(const struct limit *limit, uint64_t state);

/* The same of a charge at an instant of wall time; 0 for buckets. */
uint64_t share_window_at(const struct limit *limit, uint64_t now_ns);

/* Is window a later than b? */
bool share_is_later(const struct limit *limit, uint64_t a, uint64_t b);

/* The state that names a window and counts nothing in it; 0 for buckets. It means the same as 0. */
uint64_t share_empty_window(const struct limit *limit, uint64_t window);

#endif
