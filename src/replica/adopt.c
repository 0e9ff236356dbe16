/* Merged values into states.
 *
 * A bucket's state is the view itself. The states of windows hold a name and a count
 * (core/window.h, core/sliding_window.c); a view replaces the count of its window, opens the window
 * if the state is of an older one, and is dropped if that window is no longer in the state. Names
 * wrap within their bits, as the states do.
 *
 * Pure functions; any thread. */
#include "replica/adopt.h"

#include "core/saturate.h"

#define SLIDING_SHIFT 48
#define SLIDING_BITS 24

static uint64_t adopt_fixed(uint64_t state, uint32_t window, uint64_t view)
{
    const uint32_t count = saturate_u32(view);
    const bool is_empty = (uint32_t)state == 0;

    if (!is_empty && (int32_t)(window - (uint32_t)(state >> 32)) < 0)
        return state;
    return count == 0 ? 0 : (uint64_t)window << 32 | count;
}

static uint64_t adopt_calendar(uint64_t state, uint32_t window, uint64_t view)
{
    const uint32_t count = saturate_u32(view);

    if ((uint32_t)state != 0 && window < (uint32_t)(state >> 32))
        return state;
    return count == 0 ? 0 : (uint64_t)window << 32 | count;
}

static uint64_t adopt_sliding(uint64_t state, uint16_t window, uint64_t view)
{
    const uint64_t count = view < LIMIT_SLIDING_MAX ? view : LIMIT_SLIDING_MAX;
    const uint16_t index = (uint16_t)(state >> SLIDING_SHIFT);
    uint64_t previous = state >> SLIDING_BITS & LIMIT_SLIDING_MAX;
    uint64_t current = state & LIMIT_SLIDING_MAX;
    const int16_t ahead = (int16_t)(window - index);

    if (state == 0 || ahead > 1) {
        previous = 0;
        current = count;
    } else if (ahead == 1) {
        previous = current;
        current = count;
    } else if (ahead == 0) {
        current = count;
    } else if (ahead == -1) {
        previous = count;
        window = index;
    } else {
        return state;
    }
    if ((previous | current) == 0)
        return 0;
    return (uint64_t)window << SLIDING_SHIFT | previous << SLIDING_BITS | current;
}

uint64_t adopt_state(const struct limit *limit, uint64_t state, uint64_t window, uint64_t view)
{
    switch ((enum algorithm)limit->algorithm) {
    case ALGORITHM_FIXED_WINDOW:
        return adopt_fixed(state, (uint32_t)window, view);
    case ALGORITHM_CALENDAR:
        return adopt_calendar(state, (uint32_t)window, view);
    case ALGORITHM_SLIDING_WINDOW:
        return adopt_sliding(state, (uint16_t)window, view);
    default:
        return view;
    }
}
