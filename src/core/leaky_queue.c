/* Leaky bucket as a queue: what a meter would let pass at once is passed with a delay.
 *
 * State, decisions and debt are those of GCRA (gcra.c). The backlog before a charge is the time
 * that the units ahead still need, so it is the delay after which the caller serves this one: units
 * come out T apart, whatever the order of their arrival. The queue is burst units deep; a check
 * that does not fit is denied with its wait, as by the meter. Any thread may call anything here. */
#include "core/leaky_queue.h"

#include "core/gcra.h"

struct step leaky_queue_apply(const struct limit *limit, uint64_t state, enum operation operation,
                              uint32_t cost, uint64_t now_ns)
{
    struct step step = gcra_apply(limit, state, operation, cost, now_ns);
    const bool asks = operation != OPERATION_REFUND && operation != OPERATION_RESET;
    if (asks && step.verdict.decision == DECISION_ALLOW)
        step.verdict.retry_after_ns = gcra_rest_after(state, now_ns);
    return step;
}
