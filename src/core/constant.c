/* Limits without numbers. Their state is always at rest: they never make one, and of a state that a
 * former limit left they change nothing but on RESET. Refunds and resets are always allowed, as
 * they are by every other kind. Any thread may call anything here. */
#include "core/constant.h"

static bool takes(enum operation operation)
{
    return operation == OPERATION_CHECK || operation == OPERATION_AT_MOST;
}

struct step constant_allow(uint64_t state, enum operation operation, uint32_t cost)
{
    return (struct step){
        .state = operation == OPERATION_RESET ? 0 : state,
        .verdict = {.decision = DECISION_ALLOW,
                    .granted = takes(operation) ? cost : 0,
                    .remaining = UINT32_MAX},
    };
}

struct step constant_deny(uint64_t state, enum operation operation)
{
    const bool asks = takes(operation) || operation == OPERATION_PEEK;
    return (struct step){
        .state = operation == OPERATION_RESET ? 0 : state,
        .verdict = {.decision = asks ? DECISION_DENY : DECISION_ALLOW,
                    .retry_after_ns = asks ? NEVER : 0},
    };
}
