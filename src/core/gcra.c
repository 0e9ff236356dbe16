/* Token bucket and leaky meter: the generic cell rate algorithm (ITU-T I.371, virtual scheduling).
 *
 * The state is the theoretical arrival time (tat), in ticks of 1/16 ns of the table's clock: the
 * instant at which the bucket is full again. What lies between now and tat is the backlog, the debt
 * in time; a unit costs T ticks, and a bucket of burst units holds tau = burst * T. So one number
 * says how full the bucket is at any instant, and nothing has to be refilled.
 *
 *   allow iff backlog + cost * T <= tau; then tat' = now + backlog + cost * T
 *
 * Guarantee: in any interval of t ticks at most burst + t / T units pass, and after any idle time
 * burst and not one more. A denied check changes nothing, so the wait it reports is that of the tat
 * as it stands, even where that is beyond tau (a limit that was lowered, or a worker whose clock
 * reading is a batch older than that of the worker that charged). Cutting such a tat on denial
 * would hand units back whenever two workers' readings differ.
 *
 * At most one 64-bit division for a check, none of 128 bits. Any thread may call anything here. */
#include "core/gcra.h"

static uint64_t backlog_at(uint64_t tat, uint64_t now)
{
    return saturate_sub(tat, now);
}

/* The backlog that this limit believes: all of it, or at most a full bucket. */
static uint64_t owed(const struct limit *limit, uint64_t backlog)
{
    return limit->keeps_tat || backlog < limit->tolerance ? backlog : limit->tolerance;
}

/* More than ever passes at once. */
static struct step denied(const struct limit *limit, uint64_t state, uint64_t backlog)
{
    return (struct step){
        .state = state,
        .verdict = {.decision = DECISION_DENY,
                    .remaining = gcra_units_left(limit, backlog),
                    .retry_after_ns = NEVER,
                    .reset_after_ns = gcra_ticks_to_ns(backlog)},
    };
}

/* Allowed with nothing taken: what remains at this backlog. */
static struct step as_it_is(const struct limit *limit, uint64_t state, uint64_t backlog)
{
    return (struct step){
        .state = state,
        .verdict = {.decision = DECISION_ALLOW,
                    .remaining = gcra_units_left(limit, backlog),
                    .reset_after_ns = gcra_ticks_to_ns(backlog)},
    };
}

static struct step refund(const struct limit *limit, uint64_t state, uint32_t cost, uint64_t now)
{
    const uint64_t backlog = backlog_at(state, now);
    if (cost == 0)
        return as_it_is(limit, state, backlog);
    const uint64_t rest = saturate_sub(owed(limit, backlog), saturate_mul(cost, limit->interval));
    return as_it_is(limit, rest == 0 ? 0 : saturate_add(now, rest), rest);
}

/* What AT_MOST asks for: what is there, but one unit if nothing is. */
static uint32_t at_most(const struct limit *limit, uint64_t backlog, uint32_t cost)
{
    const uint32_t left = gcra_units_left(limit, backlog);
    if (cost <= left)
        return cost;
    return left > 0 ? left : 1;
}

struct step gcra_apply(const struct limit *limit, uint64_t state, enum operation operation,
                       uint32_t cost, uint64_t now_ns)
{
    const uint64_t now = gcra_ticks(now_ns);
    const uint64_t backlog = backlog_at(state, now);

    if (operation == OPERATION_REFUND)
        return refund(limit, state, cost, now);
    if (operation == OPERATION_RESET)
        return as_it_is(limit, 0, 0);
    if (operation == OPERATION_AT_MOST)
        cost = at_most(limit, backlog, cost);

    if (cost > limit->burst)
        return denied(limit, state, backlog);
    if (cost == 0 && owed(limit, backlog) <= limit->tolerance)
        return as_it_is(limit, state, backlog);
    struct step step = gcra_charge(limit, state, cost, now);
    if (step.verdict.decision == DECISION_ALLOW && operation == OPERATION_PEEK)
        return as_it_is(limit, state, backlog); /* only asked */
    return step;
}

uint64_t gcra_cut(const struct limit *limit, uint64_t state, uint64_t now_ns)
{
    const uint64_t now = gcra_ticks(now_ns);
    const uint64_t backlog = backlog_at(state, now);
    if (backlog == 0)
        return 0;
    return backlog > limit->tolerance ? saturate_add(now, limit->tolerance) : state;
}

uint64_t gcra_rest_after(uint64_t state, uint64_t now_ns)
{
    return gcra_ticks_to_ns(backlog_at(state, gcra_ticks(now_ns)));
}
