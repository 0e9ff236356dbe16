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

/* A state as of an instant. */
struct view {
    uint32_t index;   /* the window that a charge goes to */
    uint32_t count;   /* taken in it, at most the limit */
    uint64_t ends_ns; /* from now until it ends */
};

static struct view view_at(const struct limit *limit, uint64_t state, uint64_t now_ns)
{
    const uint64_t now_index = now_ns / limit->interval;
    const uint64_t ends_ns = limit->interval - now_ns % limit->interval;
    const uint32_t count = (uint32_t)state;
    const int32_t ahead = (int32_t)((uint32_t)(state >> 32) - (uint32_t)now_index);

    if (count == 0 || ahead < 0)
        return (struct view){.index = (uint32_t)now_index, .count = 0, .ends_ns = ends_ns};
    return (struct view){
        .index = (uint32_t)(state >> 32),
        .count = count < limit->burst ? count : limit->burst, /* the limit may have been lowered */
        .ends_ns = saturate_add(saturate_mul((uint64_t)ahead, limit->interval), ends_ns),
    };
}

static uint64_t pack(const struct view *view)
{
    return view->count == 0 ? 0 : (uint64_t)view->index << 32 | view->count;
}

static struct verdict report(const struct limit *limit, const struct view *view,
                             enum decision decision)
{
    return (struct verdict){
        .decision = decision,
        .remaining = limit->burst - view->count,
        .reset_after_ns = view->count == 0 ? 0 : view->ends_ns,
    };
}

struct step fixed_window_apply(const struct limit *limit, uint64_t state, enum operation operation,
                               uint32_t cost, uint64_t now_ns)
{
    struct view view = view_at(limit, state, now_ns);
    const uint32_t left = limit->burst - view.count;

    if (operation == OPERATION_RESET)
        view.count = 0;
    if (operation == OPERATION_REFUND)
        view.count -= cost < view.count ? cost : view.count;
    if (operation == OPERATION_RESET || operation == OPERATION_REFUND) {
        const bool keeps = operation == OPERATION_REFUND && cost == 0;
        return (struct step){keeps ? state : pack(&view), report(limit, &view, DECISION_ALLOW)};
    }
    if (operation == OPERATION_AT_MOST && cost > left)
        cost = left > 0 ? left : 1;

    if (cost > left) {
        struct step step = {state, report(limit, &view, DECISION_DENY)};
        step.verdict.retry_after_ns = cost > limit->burst ? NEVER : view.ends_ns;
        return step;
    }
    if (operation == OPERATION_PEEK || cost == 0)
        return (struct step){state, report(limit, &view, DECISION_ALLOW)};
    view.count += cost;
    struct step step = {pack(&view), report(limit, &view, DECISION_ALLOW)};
    step.verdict.granted = cost;
    return step;
}

uint64_t fixed_window_rest_after(const struct limit *limit, uint64_t state, uint64_t now_ns)
{
    const struct view view = view_at(limit, state, now_ns);
    return view.count == 0 ? 0 : view.ends_ns;
}
