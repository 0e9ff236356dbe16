/* Sliding window: a window that moves with the clock, from the counts of two fixed ones.
 *
 *   state   index of the current window (16 bit, wraps) << 48 | units taken in the previous one
 *           (24 bit) << 24 | units taken in the current one (24 bit)
 *
 * The previous window's units count by the share of it that the moving window still covers:
 *
 *   allow iff previous * (W - elapsed) + (current + cost) * W <= limit * W
 *
 * in 128 bits, without rounding (2^24 units times 10 years in ns is below 2^83). The share is exact
 * if the previous window's units came evenly; whatever their order, at most twice the limit passes
 * in any stretch of length W. Counts of zero are always state 0. Indices behind and ahead of the
 * clock's are treated as in fixed_window.c. Denied checks are not counted. Any thread may call
 * anything. */
#include "core/sliding_window.h"

#include "core/saturate.h"

#define COUNT_BITS 24
#define COUNT_MASK ((1u << COUNT_BITS) - 1)
_Static_assert(LIMIT_SLIDING_MAX == COUNT_MASK, "a window's limit fits its count");

typedef unsigned __int128 uint128;

/* A state as of an instant. */
struct view {
    uint16_t index;    /* the window that a charge goes to */
    uint32_t previous; /* at most the limit each */
    uint32_t current;
    uint64_t elapsed_ns; /* of the window at index; 0 if it has not begun */
    uint64_t begins_ns;  /* from now until it begins; 0 if it has */
};

static uint32_t at_most_limit(const struct limit *limit, uint64_t count)
{
    return count < limit->burst ? (uint32_t)count : limit->burst;
}

static struct view view_at(const struct limit *limit, uint64_t state, uint64_t now_ns)
{
    const uint64_t now_index = now_ns / limit->interval;
    const uint64_t elapsed_ns = now_ns % limit->interval;
    const uint32_t previous = at_most_limit(limit, state >> COUNT_BITS & COUNT_MASK);
    const uint32_t current = at_most_limit(limit, state & COUNT_MASK);
    const int16_t ahead = (int16_t)((uint16_t)(state >> 48) - (uint16_t)now_index);
    struct view view = {.index = (uint16_t)now_index, .elapsed_ns = elapsed_ns};

    if (ahead == -1) {
        view.previous = current;
    } else if (ahead == 0) {
        view.previous = previous;
        view.current = current;
    } else if (ahead > 0 && (previous | current) != 0) {
        const uint128 distance_ns = (uint128)ahead * limit->interval - elapsed_ns;
        view.index = (uint16_t)(state >> 48);
        view.previous = previous;
        view.current = current;
        view.elapsed_ns = 0;
        view.begins_ns = distance_ns > UINT64_MAX ? UINT64_MAX : (uint64_t)distance_ns;
    }
    return view;
}

static uint64_t pack(const struct view *view)
{
    if ((view->previous | view->current) == 0)
        return 0;
    return (uint64_t)view->index << 48 | (uint64_t)view->previous << COUNT_BITS | view->current;
}

/* Units times ns, so that nothing is rounded. */
static uint128 used(const struct limit *limit, const struct view *view)
{
    const uint64_t W = limit->interval;
    return (uint128)view->previous * (W - view->elapsed_ns) + (uint128)view->current * W;
}

static bool passes(const struct limit *limit, const struct view *view, uint32_t cost)
{
    const uint64_t W = limit->interval;
    return used(limit, view) + (uint128)cost * W <= (uint128)limit->burst * W;
}

static uint32_t units_left(const struct limit *limit, const struct view *view)
{
    const uint128 all = (uint128)limit->burst * limit->interval;
    const uint128 taken = used(limit, view);
    return taken >= all ? 0 : (uint32_t)((all - taken) / limit->interval);
}

/* Smallest elapsed time of a window at which `fading` units of the one before it leave room for
 * `room` units' worth of themselves: fading * (W - elapsed) <= room * W. W if it is never. */
static uint64_t fades_at(uint64_t W, uint32_t fading, uint32_t room)
{
    if (fading <= room)
        return 0;
    return W - (uint64_t)((uint128)room * W / fading); /* room < fading: the quotient is below W */
}

/* The wait of a denied cost, cost <= limit: in this window, else in the next, where current is the
 * previous, else at the begin of the one after, where nothing is in view. */
static uint64_t wait_for(const struct limit *limit, const struct view *view, uint32_t cost)
{
    const uint64_t W = limit->interval;
    uint64_t at_ns = W;

    if (view->current + cost <= limit->burst)
        at_ns = fades_at(W, view->previous, limit->burst - view->current - cost);
    if (at_ns == W)
        at_ns = W + fades_at(W, view->current, limit->burst - cost);
    return saturate_add(view->begins_ns, at_ns - view->elapsed_ns);
}

static uint64_t rest_after(const struct limit *limit, const struct view *view)
{
    if ((view->previous | view->current) == 0)
        return 0;
    const uint64_t windows = view->current > 0 ? 2 : 1;
    return saturate_add(view->begins_ns, windows * limit->interval - view->elapsed_ns);
}

static struct step outcome(const struct limit *limit, const struct view *view, uint64_t state,
                           enum decision decision)
{
    return (struct step){
        .state = state,
        .verdict = {.decision = decision,
                    .remaining = units_left(limit, view),
                    .reset_after_ns = rest_after(limit, view)},
    };
}

static struct step refund(const struct limit *limit, struct view view, uint64_t state,
                          uint32_t cost)
{
    const uint32_t from_current = cost < view.current ? cost : view.current;
    const uint32_t rest = cost - from_current;
    view.current -= from_current;
    view.previous -= rest < view.previous ? rest : view.previous;
    return outcome(limit, &view, cost == 0 ? state : pack(&view), DECISION_ALLOW);
}

struct step sliding_window_apply(const struct limit *limit, uint64_t state,
                                 enum operation operation, uint32_t cost, uint64_t now_ns)
{
    struct view view = view_at(limit, state, now_ns);

    if (operation == OPERATION_REFUND)
        return refund(limit, view, state, cost);
    if (operation == OPERATION_RESET)
        return outcome(limit, &(struct view){0}, 0, DECISION_ALLOW);
    if (operation == OPERATION_AT_MOST) {
        const uint32_t left = units_left(limit, &view);
        if (cost > left)
            cost = left > 0 ? left : 1;
    }
    if (!passes(limit, &view, cost)) {
        struct step step = outcome(limit, &view, state, DECISION_DENY);
        step.verdict.retry_after_ns = cost > limit->burst ? NEVER : wait_for(limit, &view, cost);
        return step;
    }
    if (operation == OPERATION_PEEK || cost == 0)
        return outcome(limit, &view, state, DECISION_ALLOW);
    view.current += cost;
    struct step step = outcome(limit, &view, pack(&view), DECISION_ALLOW);
    step.verdict.granted = cost;
    return step;
}

uint64_t sliding_window_rest_after(const struct limit *limit, uint64_t state, uint64_t now_ns)
{
    const struct view view = view_at(limit, state, now_ns);
    return rest_after(limit, &view);
}
