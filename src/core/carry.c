#include "core/carry.h"

#include "core/gcra.h"

#define NS_PER_MS 1000000u
#define MAX_TICKS (LIMIT_MAX_NS * LIMIT_TICKS_PER_NS)
#define FIXED_SHIFT 32
#define SLIDING_SHIFT 48
#define SLIDING_MASK (((uint64_t)1 << SLIDING_SHIFT) - 1)

static uint64_t carry_bucket(const struct carry *carry, const struct limit *limit, uint64_t state)
{
    const uint64_t owed = saturate_sub(state, gcra_ticks(carry->from_now_ns));
    const uint64_t backlog = owed < MAX_TICKS ? owed : MAX_TICKS; /* no limit has more to owe */

    if (backlog == 0)
        return 0;
    return gcra_cut(limit, saturate_add(gcra_ticks(carry->to.now_ns), backlog), carry->to.now_ns);
}

/* The index that means the same window now, by its distance from the window of then; `half` is half
 * of the numbers that an index has. One that lies further ahead of now than that would look past:
 * it is moved back to the last that does not. */
static uint64_t carry_index(const struct carry *carry, const struct limit *limit, int64_t ahead,
                            int64_t half)
{
    const int64_t then = (int64_t)(carry->copied_wall_ns / limit->interval);
    const int64_t now = (int64_t)(carry->to.wall_ns / limit->interval);
    const int64_t index = then + ahead;

    return (uint64_t)(index - now < half ? index : now + half - 1);
}

static uint64_t carry_fixed(const struct carry *carry, const struct limit *limit, uint64_t state)
{
    const uint32_t then = (uint32_t)(carry->copied_wall_ns / limit->interval);
    const int32_t ahead = (int32_t)((uint32_t)(state >> FIXED_SHIFT) - then);
    const uint64_t index = carry_index(carry, limit, ahead, (int64_t)1 << 31);

    if ((int64_t)index < (int64_t)(carry->to.wall_ns / limit->interval))
        return 0;
    return index << FIXED_SHIFT | (uint32_t)state;
}

static uint64_t carry_sliding(const struct carry *carry, const struct limit *limit, uint64_t state)
{
    const uint16_t then = (uint16_t)(carry->copied_wall_ns / limit->interval);
    const int16_t ahead = (int16_t)((uint16_t)(state >> SLIDING_SHIFT) - then);
    const uint64_t index = carry_index(carry, limit, ahead, (int64_t)1 << 15);

    /* what was taken in the window before now's is still in view */
    if ((int64_t)index + 1 < (int64_t)(carry->to.wall_ns / limit->interval))
        return 0;
    return index << SLIDING_SHIFT | (state & SLIDING_MASK);
}

uint64_t carry_state(const struct carry *carry, const struct limit *limit, uint64_t state)
{
    uint64_t next = 0;

    switch ((enum algorithm)limit->algorithm) {
    case ALGORITHM_TOKEN_BUCKET:
    case ALGORITHM_LEAKY_METER:
    case ALGORITHM_LEAKY_QUEUE:
        return carry_bucket(carry, limit, state);
    case ALGORITHM_FIXED_WINDOW:
        next = carry_fixed(carry, limit, state);
        break;
    case ALGORITHM_SLIDING_WINDOW:
        next = carry_sliding(carry, limit, state);
        break;
    case ALGORITHM_CALENDAR:
        next = state;
        break;
    case ALGORITHM_NONE:
    case ALGORITHM_CONCURRENCY:
    case ALGORITHM_UNLIMITED:
    case ALGORITHM_DENY:
        return 0;
    }
    return limit_rest_after(limit, next, carry->to.wall_ns) ? next : 0;
}

uint64_t carry_lease_ms(const struct carry *carry, uint64_t expires_ms)
{
    const uint64_t left_ns = saturate_sub(saturate_mul(expires_ms, NS_PER_MS), carry->from_now_ns);
    const uint64_t held_ns = left_ns < LIMIT_LEASE_MAX_NS ? left_ns : LIMIT_LEASE_MAX_NS;

    return held_ns ? (carry->to.now_ns + held_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
}
