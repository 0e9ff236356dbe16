/* Deciding by a share of a limit.
 *
 * Between two answers of the store a node does not see what the others charge. So it charges its
 * view of a key c / alpha for a cost of c, alpha being its share of the demand: as if the others
 * charged theirs in proportion, at this instant. What it is allowed is decided as if it had the
 * whole limit, so that even the smallest share passes one cost from rest:
 *
 *   buckets   allow iff max(tat, now) + c*T <= now + tau;  then tat' = max(tat, now) + c*T / alpha
 *   windows   allow iff count + c <= limit;                then count' = count + ceil(c / alpha)
 *
 * Guarantee: from rest, and as long as no answer comes, a node admits in any interval t at most
 * c + alpha * (burst + t / T) units, with c the largest cost: each charge is followed by c / alpha
 * of debt, so all but the last fit alpha * tau.
 *
 * AT_MOST takes the largest cost that leaves the view within tau when charged so, else one unit if
 * that passes. Refunds give back what the same charge took.
 *
 * Pure functions: any thread may call them. */
#include "core/share.h"

#include "core/calendar.h"

#define EIGHTHS 8u
#define FIXED_SHIFT 32u
#define SLIDING_SHIFT 48u
#define SECOND_NS 1000000000u

/* 2^(i/8), rounded up, SHARE_FRACTION_BITS behind the point. */
const uint32_t share_eighths[EIGHTHS] = {65536, 71468, 77936, 84990, 92682, 101071, 110218, 120194};

uint8_t share_of(uint64_t part, uint64_t whole)
{
    uint8_t share = 0;

    while (share < SHARE_MAX && (unsigned __int128)part * share_factor(share) <
                                    (unsigned __int128)whole << SHARE_FRACTION_BITS)
        share++;
    return share;
}

/* The state with `more` units, or ticks of them, on top. */
static uint64_t lifted(const struct limit *limit, uint64_t state, uint64_t more)
{
    if (!limit_is_wall(limit))
        return saturate_add(state, more);
    const uint64_t most =
        limit->algorithm == ALGORITHM_SLIDING_WINDOW ? LIMIT_SLIDING_MAX : UINT32_MAX;
    const uint64_t room = most - (state & most);
    return state + (more < room ? more : room);
}

static uint64_t extra(const struct limit *limit, uint32_t units, unsigned share)
{
    const uint64_t amount = limit_is_wall(limit) ? units : saturate_mul(units, limit->interval);
    return share_scaled(amount, share) - amount;
}

/* What is told of a state, without asking for anything. */
static void report(const struct limit *limit, uint64_t state, uint64_t now_ns,
                   struct verdict *verdict)
{
    const struct step look = limit_apply(limit, state, OPERATION_PEEK, 0, now_ns);
    verdict->remaining = look.verdict.remaining;
    verdict->reset_after_ns = look.verdict.reset_after_ns;
}

/* Units of a whole that a share of it comes to. */
static uint32_t part_of(uint32_t units, unsigned share)
{
    uint64_t part = ((uint64_t)units << SHARE_FRACTION_BITS) / share_factor(share);

    while (share_scaled(part + 1, share) <= units)
        part++;
    return (uint32_t)part;
}

uint32_t share_at_most(const struct limit *limit, uint64_t state, uint32_t cost, unsigned share,
                       uint64_t now_ns)
{
    const struct step look = limit_apply(limit, state, OPERATION_PEEK, 0, now_ns);
    const uint32_t left = look.verdict.remaining;
    const uint32_t part = part_of(left, share);
    const uint32_t most = part == 0 && left > 0 ? 1 : part;

    return cost < most ? cost : most;
}

/* A bucket's debt may be beyond tau: it was charged by this share, and is given back by it. */
static struct step refund(const struct limit *limit, uint64_t state, uint32_t cost, unsigned share,
                          uint64_t now_ns)
{
    if (limit_is_wall(limit))
        return limit_apply(limit, state, OPERATION_REFUND, saturate_u32(share_scaled(cost, share)),
                           now_ns);
    const uint64_t now = gcra_ticks(now_ns);
    const uint64_t given = share_scaled(saturate_mul(cost, limit->interval), share);
    const uint64_t rest = saturate_sub(saturate_sub(state, now), given);
    struct step step = {
        .state = rest == 0 ? 0 : saturate_add(now, rest),
        .verdict = {.decision = DECISION_ALLOW},
    };
    report(limit, step.state, now_ns, &step.verdict);
    return step;
}

struct step share_apply(const struct limit *limit, uint64_t state, enum operation operation,
                        uint32_t cost, unsigned share, uint64_t now_ns)
{
    if (share == 0 || operation == OPERATION_PEEK || operation == OPERATION_RESET || cost == 0)
        return limit_apply(limit, state, operation, cost, now_ns);
    if (operation == OPERATION_REFUND)
        return refund(limit, state, cost, share, now_ns);
    if (operation == OPERATION_AT_MOST) {
        const uint32_t most = share_at_most(limit, state, cost, share, now_ns);
        cost = most > 0 ? most : 1;
    }
    struct step step = limit_apply(limit, state, OPERATION_CHECK, cost, now_ns);

    if (step.verdict.granted == 0)
        return step;
    step.state = lifted(limit, step.state, extra(limit, step.verdict.granted, share));
    report(limit, step.state, now_ns, &step.verdict);
    return step;
}

uint64_t share_window(const struct limit *limit, uint64_t state)
{
    if (!limit_is_wall(limit))
        return 0;
    return state >> (limit->algorithm == ALGORITHM_SLIDING_WINDOW ? SLIDING_SHIFT : FIXED_SHIFT);
}

uint64_t share_window_at(const struct limit *limit, uint64_t now_ns)
{
    switch ((enum algorithm)limit->algorithm) {
    case ALGORITHM_FIXED_WINDOW:
        return (uint32_t)(now_ns / limit->interval);
    case ALGORITHM_SLIDING_WINDOW:
        return (uint16_t)(now_ns / limit->interval);
    case ALGORITHM_CALENDAR:
        return limit->calendar ? calendar_end_s(limit->calendar, now_ns / SECOND_NS) : 0;
    default:
        return 0;
    }
}

bool share_is_later(const struct limit *limit, uint64_t a, uint64_t b)
{
    switch ((enum algorithm)limit->algorithm) {
    case ALGORITHM_FIXED_WINDOW:
        return (int32_t)((uint32_t)a - (uint32_t)b) > 0;
    case ALGORITHM_SLIDING_WINDOW:
        return (int16_t)((uint16_t)a - (uint16_t)b) > 0;
    default:
        return a > b;
    }
}

uint64_t share_empty_window(const struct limit *limit, uint64_t window)
{
    if (!limit_is_wall(limit))
        return 0;
    return window << (limit->algorithm == ALGORITHM_SLIDING_WINDOW ? SLIDING_SHIFT : FIXED_SHIFT);
}
