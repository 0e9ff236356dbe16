/* The four schedules; bench_schedule.h has their formulas. */
#include "cmd/bench_schedule.h"

#include <math.h>
#include <string.h>

#include "cmd/bench_traffic.h"

static const char *const names[SCHEDULE_COUNT] = {"constant", "poisson", "bursty", "ramp"};

const char *schedule_name(enum schedule_kind kind)
{
    return names[kind];
}

enum schedule_kind schedule_parse(const char *name)
{
    enum schedule_kind kind = 0;
    while (kind < SCHEDULE_COUNT && strcmp(name, names[kind]) != 0)
        kind++;
    return kind;
}

/* In (0, 1]: 53 bits of a SplitMix64 step, plus one. */
static double draw_unit(struct schedule *schedule)
{
    const uint64_t random = traffic_random(&schedule->random);
    return (double)((random >> 11) + 1) * 0x1p-53;
}

uint64_t schedule_next(struct schedule *schedule)
{
    const double even_ns = schedule->position * schedule->interval_ns;
    schedule->position += 1;
    switch (schedule->kind) {
    case SCHEDULE_POISSON:
        schedule->poisson_at_ns -= log(draw_unit(schedule)) * schedule->interval_ns;
        return (uint64_t)schedule->poisson_at_ns;
    case SCHEDULE_BURSTY: {
        const uint64_t at_ns = (uint64_t)even_ns;
        const uint64_t in_period_ns = at_ns % BURST_PERIOD_NS;
        return at_ns - in_period_ns + in_period_ns / BURST_SHARE;
    }
    case SCHEDULE_RAMP:
        return (uint64_t)sqrt(2 * even_ns * schedule->duration_ns);
    default:
        return (uint64_t)even_ns;
    }
}
