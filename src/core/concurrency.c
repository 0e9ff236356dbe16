/* The count of slots in flight. limit->burst is how many there are, limit->interval how long a
 * lease lasts (ns). Nothing comes back by the clock alone: whoever ends a lease gives its slots
 * back with REFUND, so the state is at rest exactly when it is 0.
 *
 * When a slot comes free nobody can know, so retry_after is a hint: by then every slot that is held
 * now was given back, lost, or renewed. A limit that was lowered leaves a count above it alone, and
 * nothing passes until it has fallen below. Any thread may call anything here. */
#include "core/concurrency.h"

struct step concurrency_apply(const struct limit *limit, uint64_t state, enum operation operation,
                              uint32_t cost)
{
    const uint64_t free = state < limit->burst ? limit->burst - state : 0;
    uint64_t next = state;
    uint32_t granted = 0;
    bool passes = true;

    if (operation == OPERATION_RESET)
        next = 0;
    else if (operation == OPERATION_REFUND)
        next = state > cost ? state - cost : 0;
    else
        passes = cost <= free || (operation == OPERATION_AT_MOST && free);
    if (passes && (operation == OPERATION_CHECK || operation == OPERATION_AT_MOST)) {
        granted = cost <= free ? cost : (uint32_t)free;
        next = state + granted;
    }
    return (struct step){
        .state = next,
        .verdict = {.decision = passes ? DECISION_ALLOW : DECISION_DENY,
                    .granted = granted,
                    .remaining = next < limit->burst ? (uint32_t)(limit->burst - next) : 0,
                    .retry_after_ns = passes                ? 0
                                      : cost > limit->burst ? NEVER
                                                            : limit->interval,
                    .reset_after_ns = next ? limit->interval : 0},
    };
}
