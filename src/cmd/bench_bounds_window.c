/* Bounds for fixed and sliding windows.
 *
 * Each window that a check may have been in is looked at by itself; what is possible in one of them
 * is possible. A check that may have been in several raises the upper counts of all and the lower
 * count of none. So the bounds are exact while no check straddles an edge, and a unit wide for two
 * windows if one does. */
#include "cmd/bench_bounds.h"
#include "core/saturate.h"

typedef unsigned __int128 uint128;

#define COUNTS 3u

static uint32_t smaller(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

static void move_to(struct window_bounds *state, uint64_t index)
{
    uint64_t steps = index - state->index;
    if (steps > COUNTS)
        steps = COUNTS;
    for (; steps > 0; steps--) {
        for (unsigned i = COUNTS - 1; i > 0; i--) {
            state->low[i] = state->low[i - 1];
            state->high[i] = state->high[i - 1];
        }
        state->low[0] = state->high[0] = 0;
    }
    state->index = index;
}

/* Units left with these counts; elapsed_ns of the window has passed. UINT32_MAX + 1 and more never
 * occur, a limit has 32 bits. */
static uint32_t left_of(const struct limit *limit, uint64_t current, uint64_t previous,
                        uint64_t elapsed_ns)
{
    const uint64_t W = limit->interval;
    current = smaller(current, limit->burst);
    previous = smaller(previous, limit->burst);
    uint128 used = (uint128)current * W;
    if (limit->algorithm == ALGORITHM_SLIDING_WINDOW)
        used += (uint128)previous * (W - elapsed_ns);
    const uint128 all = (uint128)limit->burst * W;
    return used >= all ? 0 : (uint32_t)((all - used) / W);
}

struct left {
    uint32_t low;
    uint32_t high;
};

/* Units left in window `index`, if the check was in it. */
static struct left left_in(const struct limit *limit, const struct window_bounds *state,
                           uint64_t index, const struct bounds_check *check)
{
    const uint64_t W = limit->interval;
    const uint64_t at = state->index - index;
    const uint64_t early = check->early_ns / W == index ? check->early_ns % W : 0;
    const uint64_t late = check->late_ns / W == index ? check->late_ns % W : W - 1;
    if (at + 1 >= COUNTS) /* further back than the counts go: anything */
        return (struct left){0, limit->burst};
    return (struct left){
        left_of(limit, state->high[at] + state->lost, state->high[at + 1] + state->lost, early),
        left_of(limit, state->low[at], state->low[at + 1], late),
    };
}

static void take(const struct limit *limit, struct window_bounds *state, uint64_t first,
                 const struct bounds_check *check)
{
    const unsigned windows = (unsigned)smaller(state->index - first + 1, COUNTS);
    for (unsigned at = 0; at < windows; at++)
        state->high[at] = smaller((uint64_t)state->high[at] + check->cost, limit->burst);
    if (first == state->index)
        state->low[0] = smaller((uint64_t)state->low[0] + check->cost, limit->burst);
}

struct bounds window_bounds_pass(const struct limit *limit, struct window_bounds *state,
                                 const struct bounds_check *check)
{
    const uint64_t first = check->early_ns / limit->interval;
    const uint64_t last = check->late_ns / limit->interval;
    struct bounds bounds = {.remaining_low = UINT32_MAX};

    if (last > state->index)
        move_to(state, last);
    for (uint64_t index = first; index <= state->index; index++) {
        const struct left left = left_in(limit, state, index, check);
        bounds.may_allow |= check->cost <= left.high;
        bounds.may_deny |= check->cost > left.low;
        uint32_t low = left.low, high = left.high;
        if (check->allowed) {
            low = low > check->cost ? low - check->cost : 0;
            high = high > check->cost ? high - check->cost : 0;
        }
        if (low < bounds.remaining_low)
            bounds.remaining_low = low;
        if (high > bounds.remaining_high)
            bounds.remaining_high = high;
    }
    if (check->allowed)
        take(limit, state, first, check);
    return bounds;
}
