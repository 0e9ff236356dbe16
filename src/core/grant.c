/* Grants: the limit lives in the store alone, and what it gives out in advance is spent here.
 *
 * A unit was charged when it was granted, so it cannot be granted twice, and a node that spends
 * only units in hand never admits one too many. Where the store had fewer units than were wanted it
 * says when the next one comes; until then a key is denied without asking. Any thread may call
 * anything here. */
#include "core/grant.h"

#include "core/saturate.h"
#include "core/share.h"

#define MARK_SHIFT GRANT_UNIT_BITS
#define MARK_MASK ((1u << GRANT_MARK_BITS) - 1)
#define INSTANT_SHIFT (GRANT_UNIT_BITS + GRANT_MARK_BITS)
#define INSTANT_MAX ((1ull << (64 - INSTANT_SHIFT)) - 1)
#define QUARTER_HOUR_S 900u

/* Windows near each other have different marks: indices count up, and of the ends of periods, in
 * quarters of an hour, no two that follow each other are a multiple of 256 apart (days 92 to 100,
 * weeks 668 to 676, months 2,684 to 2,980, years 35,036 to 35,140). */
static uint64_t mark_of(const struct limit *limit, uint64_t window)
{
    return (limit->algorithm == ALGORITHM_CALENDAR ? window / QUARTER_HOUR_S : window) & MARK_MASK;
}

uint64_t grant_pack(const struct limit *limit, const struct grant *grant)
{
    const uint64_t units = grant->units < GRANT_UNITS_MAX ? grant->units : GRANT_UNITS_MAX;
    const uint64_t instant = grant->denied_until_ns / GRANT_INSTANT_NS +
                             (grant->denied_until_ns % GRANT_INSTANT_NS != 0);

    return units | mark_of(limit, grant->window) << MARK_SHIFT |
           (instant < INSTANT_MAX ? instant : INSTANT_MAX) << INSTANT_SHIFT;
}

uint32_t grant_units(uint64_t state)
{
    return state & GRANT_UNITS_MAX;
}

uint32_t grant_units_of(const struct limit *limit, uint64_t state, uint64_t window)
{
    return (state >> MARK_SHIFT & MARK_MASK) == mark_of(limit, window) ? grant_units(state) : 0;
}

uint64_t grant_denied_until_ns(uint64_t state)
{
    return saturate_mul(state >> INSTANT_SHIFT, GRANT_INSTANT_NS);
}

uint64_t grant_with_units(uint64_t state, uint32_t units)
{
    return (state & ~(uint64_t)GRANT_UNITS_MAX) |
           (units < GRANT_UNITS_MAX ? units : GRANT_UNITS_MAX);
}

uint64_t grant_rest_after(uint64_t state, uint64_t now_ns)
{
    const uint64_t denied_ns = saturate_sub(grant_denied_until_ns(state), now_ns);

    return grant_units(state) > 0 && denied_ns < GRANT_KEEP_NS ? GRANT_KEEP_NS : denied_ns;
}

/* How long `units` more units than one take; windows give all back at once. */
static uint64_t further_ns(const struct limit *limit, uint32_t units)
{
    return limit_is_wall(limit) ? 0 : gcra_ticks_to_ns(saturate_mul(units, limit->interval));
}

static struct verdict verdict_of(const struct limit *limit, uint32_t units, uint64_t denied_ns)
{
    const uint64_t full_ns =
        denied_ns == 0 ? 0 : saturate_add(denied_ns, further_ns(limit, limit->burst - 1));

    return (struct verdict){.remaining = units, .reset_after_ns = full_ns};
}

enum grant_result grant_spend(const struct limit *limit, uint64_t state, uint32_t cost,
                              const struct instant *now, struct step *ret_step)
{
    const uint64_t window = share_window_at(limit, now->wall_ns);
    const uint32_t units = grant_units_of(limit, state, window);
    const uint64_t denied_ns = saturate_sub(grant_denied_until_ns(state), now->now_ns);
    struct step step = {.state = state, .verdict = verdict_of(limit, units, denied_ns)};

    if (cost <= units) {
        step.state = grant_with_units(state, units - cost);
        step.verdict.decision = DECISION_ALLOW;
        step.verdict.granted = cost;
        step.verdict.remaining = units - cost;
    } else if (cost > limit->burst) {
        step.verdict.retry_after_ns = NEVER;
    } else if (denied_ns > 0) {
        step.verdict.retry_after_ns = saturate_add(denied_ns, further_ns(limit, cost - units - 1));
    } else {
        return GRANT_UNKNOWN;
    }
    *ret_step = step;
    return step.verdict.decision == DECISION_ALLOW ? GRANT_ALLOWED : GRANT_DENIED;
}
