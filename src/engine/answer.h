/* What the ways of deciding a check have in common: may it take units, and how does a verdict
 * become an answer. Of engine/ alone. */
#ifndef METE_ENGINE_ANSWER_H
#define METE_ENGINE_ANSWER_H

#include "engine/engine.h"

static inline bool check_is_at_most(const struct check *check)
{
    return check->operation == OPERATION_AT_MOST || check->at_most;
}

static inline bool check_is_shadow(const struct check *check)
{
    return check->shadow || (check->rule && check->rule->shadow);
}

/* Only what may take units can need an entry of its own; a cost that can never pass needs none. */
static inline bool check_may_charge(const struct check *check, enum operation operation)
{
    if (check->cost == 0)
        return false;
    return (operation == OPERATION_CHECK && check->cost <= check->limit->burst) ||
           operation == OPERATION_AT_MOST;
}

static inline void check_fill(const struct check *check, const struct verdict *verdict,
                              struct answer *answer)
{
    *answer = (struct answer){
        .granted = verdict->granted,
        .remaining = verdict->remaining,
        .retry_after_ns = verdict->retry_after_ns,
        .reset_after_ns = verdict->reset_after_ns,
    };
    if (verdict->decision == DECISION_ALLOW) {
        answer->flags = METE_VERDICT_ALLOW;
        if (verdict->retry_after_ns)
            answer->flags |= METE_VERDICT_DELAY;
        if (check_is_at_most(check))
            answer->flags |= METE_VERDICT_GRANTED;
    } else if (check_is_shadow(check)) {
        answer->flags = METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY;
        answer->retry_after_ns = 0; /* it may go on: there is nothing to wait for */
    }
}

#endif
