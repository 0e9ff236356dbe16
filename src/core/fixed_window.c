/* Fixed window: at most `burst` units in each window of wall time, windows counted from 1970.
 *
 *   state   index of the window (32 bit, wraps) << 32 | units taken in it (32 bit)
 *
 * Guarantee: at most burst units in each window, so at most twice that in any stretch of a window's
 * length. No units taken is always state 0. An index is compared as a signed difference: one behind
 * now's is a window that has passed. One ahead is the window of a worker whose clock reading is a
 * batch younger; it is used as the current one, seen from its first instant, so that no unit is
 * counted twice. limit_wrap_ns() is how long an old state may lie about before it would look ahead.
 * Denied checks are not counted. Any thread may call anything here. */
#include "core/fixed_window.h"

#include "core/saturate.h"
#include "core/window.h"

static struct window window_at(const struct limit *limit, uint64_t state, uint64_t now_ns)
{
    const uint64_t now_index = now_ns / limit->interval;
    const uint64_t ends_ns = limit->interval - now_ns % limit->interval;
    const uint32_t count = (uint32_t)state;
    const int32_t ahead = (int32_t)((uint32_t)(state >> 32) - (uint32_t)now_index);

    if (count == 0 || ahead < 0)
        return (struct window){.name = (uint32_t)now_index, .count = 0, .ends_ns = ends_ns};
    return (struct window){
        .name = (uint32_t)(state >> 32),
        .count = count < limit->burst ? count : limit->burst, /* the limit may have been lowered */
        .ends_ns = saturate_add(saturate_mul((uint64_t)ahead, limit->interval), ends_ns),
    };
}

struct step fixed_window_apply(const struct limit *limit, uint64_t state, enum operation operation,
                               uint32_t cost, uint64_t now_ns)
{
    return window_apply(limit->burst, window_at(limit, state, now_ns), state, operation, cost);
}

uint64_t fixed_window_rest_after(const struct limit *limit, uint64_t state, uint64_t now_ns)
{
    const struct window window = window_at(limit, state, now_ns);
    return window.count == 0 ? 0 : window.ends_ns;
}
