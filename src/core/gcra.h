/* Token bucket and leaky meter as GCRA; gcra.c says how and why. */
#ifndef METE_CORE_GCRA_H
#define METE_CORE_GCRA_H

#include "core/limit.h"
#include "core/saturate.h"

/* The clock in ticks of 1/16 ns; from 2^60 ns (36 years after the table's base) on it stands. */
static inline uint64_t gcra_ticks(uint64_t now_ns)
{
    return saturate_mul(now_ns, LIMIT_TICKS_PER_NS);
}

/* Ticks as whole nanoseconds, rounded up. */
static inline uint64_t gcra_ticks_to_ns(uint64_t ticks)
{
    return ticks / LIMIT_TICKS_PER_NS + (ticks % LIMIT_TICKS_PER_NS != 0);
}

/* Whole units that pass with this backlog; at most burst, as tau = burst * T. */
static inline uint32_t gcra_units_left(const struct limit *limit, uint64_t backlog)
{
    return saturate_u32(saturate_sub(limit->tolerance, backlog) / limit->interval);
}

/* Denied: this backlog leaves no more than `room` for what is there already. */
static inline struct step gcra_deny(const struct limit *limit, uint64_t state, uint64_t backlog,
                                    uint64_t room)
{
    return (struct step){
        .state = state,
        .verdict = {.decision = DECISION_DENY,
                    .remaining = gcra_units_left(limit, backlog),
                    .retry_after_ns = gcra_ticks_to_ns(backlog - room),
                    .reset_after_ns = gcra_ticks_to_ns(backlog)},
    };
}

/* Allowed: the backlog is `after` now. */
static inline struct step gcra_allow(const struct limit *limit, uint32_t cost, uint64_t after,
                                     uint64_t now)
{
    return (struct step){
        .state = saturate_add(now, after),
        .verdict = {.decision = DECISION_ALLOW,
                    .granted = cost,
                    .remaining = gcra_units_left(limit, after),
                    .reset_after_ns = gcra_ticks_to_ns(after)},
    };
}

/* Takes cost units, 1..burst of them, at an instant in ticks: what most checks come to, inline
 * because it is a handful of instructions. cost * T <= tau, which fits, and tau is below 2^63. A
 * backlog beyond tau is denied whether it is believed or cut (keeps_tat), so it is not looked at.
 */
static inline struct step gcra_charge(const struct limit *limit, uint64_t state, uint32_t cost,
                                      uint64_t now)
{
    const uint64_t backlog = saturate_sub(state, now);
    const uint64_t charge = cost * limit->interval;
    const uint64_t room = limit->tolerance - charge;
    if (backlog > room)
        return gcra_deny(limit, state, backlog, room);
    return gcra_allow(limit, cost, backlog + charge, now);
}

/* limit_apply() for the kinds that refuse what is beyond tau. */
__attribute__((noinline)) struct step gcra_apply(const struct limit *limit, uint64_t state,
                                                 enum operation operation, uint32_t cost,
                                                 uint64_t now_ns);

/* The state with its debt cut to a full bucket of this limit (keeps_tat or not); 0 for a tat that
 * has passed. For whoever knows that the limit of a live entry was changed: a denied check writes
 * nothing, so only this call (or a refund) ends a debt that a former, slower limit left behind. */
uint64_t gcra_cut(const struct limit *limit, uint64_t state, uint64_t now_ns);

/* limit_rest_after() of a tat. */
uint64_t gcra_rest_after(uint64_t state, uint64_t now_ns);

#endif
