/* What a fixed window and a calendar have in common: units counted in one window at a time.
 *
 *   state   name of the window (32 bit) << 32 | units taken in it (32 bit)
 *
 * No units taken is always state 0. Who calls says what the window of an instant is; here is what
 * the operations make of it. Denied checks are not counted. Any thread may call anything here. */
#ifndef METE_CORE_WINDOW_H
#define METE_CORE_WINDOW_H

#include "core/limit.h"

/* A state as of an instant. */
struct window {
    uint32_t name;    /* of the window that a charge goes to */
    uint32_t count;   /* taken in it, at most the limit */
    uint64_t ends_ns; /* from now until it ends */
};

static inline uint64_t window_pack(const struct window *window)
{
    return window->count == 0 ? 0 : (uint64_t)window->name << 32 | window->count;
}

static inline struct verdict window_report(uint32_t burst, const struct window *window,
                                           enum decision decision)
{
    return (struct verdict){
        .decision = decision,
        .remaining = burst - window->count,
        .reset_after_ns = window->count == 0 ? 0 : window->ends_ns,
    };
}

/* limit_apply() in a window that has been found; window.count is at most burst. */
static inline struct step window_apply(uint32_t burst, struct window window, uint64_t state,
                                       enum operation operation, uint32_t cost)
{
    const uint32_t left = burst - window.count;

    if (operation == OPERATION_RESET)
        window.count = 0;
    if (operation == OPERATION_REFUND)
        window.count -= cost < window.count ? cost : window.count;
    if (operation == OPERATION_RESET || operation == OPERATION_REFUND) {
        const bool keeps = operation == OPERATION_REFUND && cost == 0;
        return (struct step){keeps ? state : window_pack(&window),
                             window_report(burst, &window, DECISION_ALLOW)};
    }
    if (operation == OPERATION_AT_MOST && cost > left)
        cost = left > 0 ? left : 1;

    if (cost > left) {
        struct step step = {state, window_report(burst, &window, DECISION_DENY)};
        step.verdict.retry_after_ns = cost > burst ? NEVER : window.ends_ns;
        return step;
    }
    if (operation == OPERATION_PEEK || cost == 0)
        return (struct step){state, window_report(burst, &window, DECISION_ALLOW)};
    window.count += cost;
    struct step step = {window_pack(&window), window_report(burst, &window, DECISION_ALLOW)};
    step.verdict.granted = cost;
    return step;
}

#endif
