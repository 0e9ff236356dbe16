/* Bounds for token and leaky buckets. All in ticks of 1/16 ns, as core/gcra.c; the client's clock
 * stands in for the server's, because only durations count. */
#include "cmd/bench_bounds.h"
#include "core/saturate.h"

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint32_t units_left(const struct limit *limit, uint64_t backlog)
{
    return saturate_u32(saturate_sub(limit->tolerance, backlog) / limit->interval);
}

struct bounds gcra_bounds_pass(const struct limit *limit, struct gcra_bounds *state,
                               const struct bounds_check *check)
{
    const uint64_t early = saturate_mul(check->early_ns, LIMIT_TICKS_PER_NS);
    const uint64_t late = saturate_mul(check->late_ns, LIMIT_TICKS_PER_NS);
    const uint64_t charge = saturate_mul(check->cost, limit->interval);
    const uint64_t doubt = saturate_mul(state->lost, limit->interval);
    /* The backlog before this check: least if it was decided late, most if early. */
    const uint64_t least = saturate_sub(state->low, late);
    const uint64_t most = saturate_add(saturate_sub(state->high, early), doubt);
    struct bounds bounds = {
        .may_allow = check->cost <= limit->burst && saturate_add(least, charge) <= limit->tolerance,
        .may_deny = check->cost > limit->burst || saturate_add(most, charge) > limit->tolerance,
    };

    if (check->allowed) {
        bounds.remaining_low = units_left(limit, saturate_add(most, charge));
        bounds.remaining_high = units_left(limit, saturate_add(least, charge));
        /* It passed, so the tat was at most t + tau - charge. */
        if (bounds.may_allow)
            state->high = smaller(state->high, saturate_add(late, limit->tolerance - charge));
        state->low = saturate_add(larger(state->low, early), charge);
        state->high = saturate_add(larger(state->high, late), charge);
    } else {
        bounds.remaining_low = units_left(limit, most);
        bounds.remaining_high = units_left(limit, least);
        /* It did not pass, so the tat was beyond t + tau - charge. */
        if (bounds.may_deny && check->cost <= limit->burst) {
            const uint64_t beyond = saturate_add(early, limit->tolerance - charge) + 1;
            bounds.remaining_high =
                (uint32_t)smaller(bounds.remaining_high, (uint64_t)check->cost - 1);
            state->low = larger(state->low, beyond);
        }
    }
    state->high = larger(state->high, saturate_sub(state->low, doubt));
    return bounds;
}

/* Division that rounds down below zero as well. */
static __int128 floor_divide(__int128 a, __int128 b)
{
    return a / b - (a % b < 0);
}

void total_bounds_pass(const struct limit *limit, struct total_bounds *totals,
                       const struct bounds_check *check)
{
    const __int128 early = (__int128)check->early_ns * LIMIT_TICKS_PER_NS;
    const __int128 late = (__int128)check->late_ns * LIMIT_TICKS_PER_NS;
    const __int128 T = limit->interval, cost = check->cost;
    const __int128 most_line = totals->most * T - early;
    const __int128 least_line = totals->least * T - late;

    if (!totals->begun || most_line < totals->most_line)
        totals->most_line = most_line;
    if (!totals->begun || least_line < totals->least_line)
        totals->least_line = least_line;
    totals->begun = true;
    if (check->cost > limit->burst)
        return; /* never passes */

    __int128 most = floor_divide(totals->most_line + limit->tolerance + late, T);
    most -= most % cost; /* units come in multiples of the cost */
    if (most < (__int128)totals->most + cost)
        totals->most = (uint64_t)most;
    else
        totals->most += check->cost;

    const __int128 denied = totals->least_line + limit->tolerance - cost * T + early;
    const __int128 least = (floor_divide(floor_divide(denied, T), cost) + 1) * cost;
    if (least >= (__int128)totals->least + cost)
        totals->least += check->cost;
    else if (least > (__int128)totals->least)
        totals->least = (uint64_t)least;
}
