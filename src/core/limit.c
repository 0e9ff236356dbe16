/* Compiling, naming and dispatching limits. What is particular to an algorithm stands in its file;
 * a limit is compiled once for each configuration, so that side may divide in 128 bits.
 * Any thread may call anything here. */
#include "core/limit.h"

#include <stddef.h>
#include <string.h>

#include "core/calendar.h"
#include "core/concurrency.h"
#include "core/constant.h"
#include "core/fixed_window.h"
#include "core/gcra.h"
#include "core/leaky_queue.h"
#include "core/saturate.h"
#include "core/sliding_window.h"

typedef unsigned __int128 uint128;

_Static_assert(LIMIT_MAX_NS < UINT64_MAX / LIMIT_TICKS_PER_NS / 2, "two full buckets fit 64 bits");
_Static_assert(LIMIT_MAX_PER_SECOND == 1000000000ull, "one unit per ns: compared as count > ns");

static bool is_bucket(enum algorithm algorithm)
{
    return algorithm == ALGORITHM_TOKEN_BUCKET || algorithm == ALGORITHM_LEAKY_METER ||
           algorithm == ALGORITHM_LEAKY_QUEUE;
}

static enum limit_error compile_bucket(const struct limit_spec *spec, struct limit *ret_limit)
{
    const uint64_t burst = spec->burst == 0 ? spec->count : spec->burst;

    if (spec->count > spec->period_ns)
        return LIMIT_RATE_TOO_HIGH;
    if (burst > UINT32_MAX)
        return LIMIT_BURST_TOO_LARGE;
    const uint128 period = (uint128)spec->period_ns * LIMIT_TICKS_PER_NS;
    const uint128 interval = (period + spec->count - 1) / spec->count;
    if (interval * burst > (uint128)LIMIT_MAX_NS * LIMIT_TICKS_PER_NS)
        return LIMIT_TAU_TOO_LONG;
    ret_limit->interval = (uint64_t)interval;
    ret_limit->tolerance = (uint64_t)(interval * burst);
    ret_limit->burst = (uint32_t)burst;
    return LIMIT_OK;
}

static enum limit_error compile_window(const struct limit_spec *spec, struct limit *ret_limit)
{
    const bool slides = spec->algorithm == ALGORITHM_SLIDING_WINDOW;

    if (spec->period_ns < (slides ? LIMIT_SLIDING_MIN_NS : LIMIT_FIXED_MIN_NS))
        return LIMIT_WINDOW_TOO_SHORT;
    if (spec->period_ns > LIMIT_MAX_NS)
        return LIMIT_WINDOW_TOO_LONG;
    if (slides && spec->count > LIMIT_SLIDING_MAX)
        return LIMIT_SLIDING_TOO_LARGE;
    if (spec->count > UINT32_MAX)
        return LIMIT_BURST_TOO_LARGE;
    ret_limit->interval = spec->period_ns;
    ret_limit->burst = (uint32_t)spec->count;
    return LIMIT_OK;
}

static enum limit_error compile_slots(const struct limit_spec *spec, struct limit *ret_limit)
{
    if (spec->count > LIMIT_SLOTS_MAX)
        return LIMIT_TOO_MANY_SLOTS;
    if (spec->period_ns < LIMIT_LEASE_MIN_NS)
        return LIMIT_LEASE_TOO_SHORT;
    if (spec->period_ns > LIMIT_LEASE_MAX_NS)
        return LIMIT_LEASE_TOO_LONG;
    ret_limit->interval = spec->period_ns;
    ret_limit->burst = (uint32_t)spec->count;
    return LIMIT_OK;
}

enum limit_error limit_compile(const struct limit_spec *spec, struct limit *ret_limit)
{
    struct limit limit = {.algorithm = (uint8_t)spec->algorithm};
    enum limit_error error = LIMIT_OK;

    if (spec->algorithm == ALGORITHM_UNLIMITED || spec->algorithm == ALGORITHM_DENY) {
        *ret_limit = limit;
        return LIMIT_OK;
    }
    if (!is_bucket(spec->algorithm) && spec->algorithm != ALGORITHM_FIXED_WINDOW &&
        spec->algorithm != ALGORITHM_SLIDING_WINDOW && spec->algorithm != ALGORITHM_CONCURRENCY)
        return LIMIT_BAD_ALGORITHM;
    if (spec->count == 0)
        return LIMIT_ZERO_COUNT;
    if (spec->period_ns == 0)
        return LIMIT_ZERO_PERIOD;
    if (is_bucket(spec->algorithm))
        error = compile_bucket(spec, &limit);
    else if (spec->algorithm == ALGORITHM_CONCURRENCY)
        error = compile_slots(spec, &limit);
    else
        error = compile_window(spec, &limit);
    if (error == LIMIT_OK)
        *ret_limit = limit;
    return error;
}

const char *limit_error_text(enum limit_error error)
{
    switch (error) {
    case LIMIT_OK:
        return "the limit is fine";
    case LIMIT_BAD_ALGORITHM:
        return "algorithm is not one of token_bucket, leaky_bucket, fixed_window, "
               "sliding_window, concurrency, unlimited, deny";
    case LIMIT_ZERO_COUNT:
        return "count is 0; it must be at least 1 (algorithm deny lets nothing pass)";
    case LIMIT_ZERO_PERIOD:
        return "period is 0; it must be at least 1 ns";
    case LIMIT_RATE_TOO_HIGH:
        return "rate is above 1000000000/s";
    case LIMIT_BURST_TOO_LARGE:
        return "burst is above 4294967295";
    case LIMIT_TAU_TOO_LONG:
        return "an empty bucket would take more than 10 years to fill; "
               "a smaller burst or a higher rate is needed";
    case LIMIT_WINDOW_TOO_SHORT:
        return "window is too short; a fixed one takes at least 1 ms, a sliding one 10 ms";
    case LIMIT_WINDOW_TOO_LONG:
        return "window is above 10 years";
    case LIMIT_SLIDING_TOO_LARGE:
        return "limit of a sliding window is above 16777215";
    case LIMIT_TOO_MANY_SLOTS:
        return "limit of a concurrency rule is above 1048575";
    case LIMIT_LEASE_TOO_SHORT:
        return "lease is below 10ms";
    case LIMIT_LEASE_TOO_LONG:
        return "lease is above 7 days; a shorter one can be renewed";
    }
    return "unknown error";
}

static const struct {
    enum algorithm algorithm;
    const char *name;
} NAMES[] = {
    {ALGORITHM_TOKEN_BUCKET, "token_bucket"},
    {ALGORITHM_LEAKY_METER, "leaky_bucket"}, /* before the queue: the one that the name parses as */
    {ALGORITHM_LEAKY_QUEUE, "leaky_bucket"},
    {ALGORITHM_FIXED_WINDOW, "fixed_window"},
    {ALGORITHM_SLIDING_WINDOW, "sliding_window"},
    {ALGORITHM_CONCURRENCY, "concurrency"},
    {ALGORITHM_CALENDAR, "calendar"},
    {ALGORITHM_UNLIMITED, "unlimited"},
    {ALGORITHM_DENY, "deny"},
};

const char *algorithm_name(enum algorithm algorithm)
{
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (NAMES[i].algorithm == algorithm)
            return NAMES[i].name;
    return "none";
}

enum algorithm algorithm_parse(const char *name)
{
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (strcmp(NAMES[i].name, name) == 0)
            return NAMES[i].algorithm;
    return ALGORITHM_NONE;
}

double limit_true_rate(const struct limit *limit)
{
    const double second = 1e9;
    const double interval = (double)limit->interval;

    if (is_bucket(limit->algorithm))
        return second * LIMIT_TICKS_PER_NS / interval;
    if (limit->algorithm == ALGORITHM_CALENDAR)
        return limit->calendar ? (double)limit->burst / limit->calendar->period_s : 0;
    if (limit_is_wall(limit))
        return limit->burst * second / interval;
    return limit->algorithm == ALGORITHM_UNLIMITED ? __builtin_inf() : 0;
}

struct step limit_apply(const struct limit *limit, uint64_t state, enum operation operation,
                        uint32_t cost, uint64_t now_ns)
{
    /* By far the most common, so not behind the table of a switch. The algorithms are kept out of
     * line: each is then a jump, and none pays for the frame of another. */
    if (limit->algorithm == ALGORITHM_TOKEN_BUCKET || limit->algorithm == ALGORITHM_LEAKY_METER)
        return gcra_apply(limit, state, operation, cost, now_ns);
    switch ((enum algorithm)limit->algorithm) {
    case ALGORITHM_LEAKY_QUEUE:
        return leaky_queue_apply(limit, state, operation, cost, now_ns);
    case ALGORITHM_FIXED_WINDOW:
        return fixed_window_apply(limit, state, operation, cost, now_ns);
    case ALGORITHM_SLIDING_WINDOW:
        return sliding_window_apply(limit, state, operation, cost, now_ns);
    case ALGORITHM_CALENDAR:
        return calendar_apply(limit, state, operation, cost, now_ns);
    case ALGORITHM_UNLIMITED:
        return constant_allow(state, operation, cost);
    case ALGORITHM_CONCURRENCY:
        return concurrency_apply(limit, state, operation, cost);
    case ALGORITHM_TOKEN_BUCKET: /* above */
    case ALGORITHM_LEAKY_METER:
    case ALGORITHM_NONE: /* not compiled: nothing may pass by accident */
    case ALGORITHM_DENY:
        break;
    }
    return constant_deny(state, operation);
}

uint64_t limit_rest_after(const struct limit *limit, uint64_t state, uint64_t now_ns)
{
    if (is_bucket(limit->algorithm))
        return gcra_rest_after(state, now_ns);
    if (limit->algorithm == ALGORITHM_FIXED_WINDOW)
        return fixed_window_rest_after(limit, state, now_ns);
    if (limit->algorithm == ALGORITHM_SLIDING_WINDOW)
        return sliding_window_rest_after(limit, state, now_ns);
    if (limit->algorithm == ALGORITHM_CONCURRENCY)
        return state ? NEVER : 0; /* held until it is given back */
    if (limit->algorithm == ALGORITHM_CALENDAR)
        return calendar_rest_after(state, now_ns);
    return 0;
}

uint64_t limit_wrap_ns(const struct limit *limit)
{
    if (limit->algorithm == ALGORITHM_FIXED_WINDOW)
        return saturate_mul(limit->interval, 1ull << 31);
    if (limit->algorithm == ALGORITHM_SLIDING_WINDOW)
        return saturate_mul(limit->interval, 1ull << 15);
    return NEVER;
}
