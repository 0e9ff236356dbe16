/* Calendar: at most `burst` units in each day, week (from Monday), month or year of a time zone.
 *
 *   state   end of the period (seconds since 1970, 32 bit) << 32 | units taken in it (32 bit)
 *
 * A period is named by its end, and a state holds that end: so a check under way in its period, the
 * sweep and the eviction need no calendar, a reload or a restart changes nothing for what was
 * counted, and only the first charge of a period looks its end up. Zones' offsets are whole
 * seconds, and with them all edges.
 *
 * The edge before a date is the first instant at which the zone's clocks show that date or a later
 * one. So it stays one instant if midnight is skipped (the change is the edge) or comes twice (the
 * first is), and a date that never was has no period. Clocks set back over midnight begin no period
 * a second time.
 *
 * Guarantee: at most burst units in each period. A period whose end is ahead of now is not over,
 * whatever the calendar says: after a step back of a clock, and with a worker whose reading is a
 * batch older, a spent period stays spent. 32 bits of seconds end in 2106; the period they end in
 * never does. Denied checks are not counted. Any thread may call anything here. */
#include "core/calendar.h"

#include <string.h>

#include "core/civil.h"
#include "core/constant.h"
#include "core/key.h"
#include "core/saturate.h"
#include "core/window.h"
#include "core/zone.h"

#define SECOND_NS 1000000000ull
#define END_NEVER UINT32_MAX
#define FIRST_MONDAY 4 /* 1970-01-05 */

/* Mean lengths, the Gregorian year being 365.2425 days. */
static const uint32_t PERIOD_S[CALENDAR_PER_COUNT] = {
    [CALENDAR_DAY] = CIVIL_DAY_S,
    [CALENDAR_WEEK] = 7 * CIVIL_DAY_S,
    [CALENDAR_MONTH] = 2629746,
    [CALENDAR_YEAR] = 31556952,
};

/* Edges above 0 and below 2^32, and END_NEVER. The first period begins at most a week after 1970.
 */
static uint32_t most_ends(enum calendar_per per)
{
    return END_NEVER / PERIOD_S[per] + 4;
}

size_t calendar_size_bytes(enum calendar_per per)
{
    return sizeof(struct calendar) + most_ends(per) * sizeof(uint32_t);
}

/* The day on which period i begins, as a number of days since 1970. */
static int64_t first_day(enum calendar_per per, uint32_t i)
{
    switch (per) {
    case CALENDAR_DAY:
        return i;
    case CALENDAR_WEEK:
        return FIRST_MONDAY + 7 * (int64_t)i;
    case CALENDAR_MONTH:
        return civil_month_begin(1970 + i / 12, i % 12 + 1);
    case CALENDAR_YEAR:
        break;
    }
    return civil_year_begin(1970 + (int64_t)i);
}

/* The first instant at which the zone's clocks show local_s or later. *change is where the search
 * for an earlier local_s ended: what lies before it has been too early since. */
static int64_t first_instant(const struct zone *zone, uint32_t *change, int64_t local_s)
{
    for (uint32_t i = *change;; i++) {
        const int64_t reached_s = local_s - zone->changes[i].offset_s;
        const int64_t begin_s = zone->changes[i].at_s;
        const int64_t at_s = reached_s > begin_s ? reached_s : begin_s;
        if (i + 1 == zone->count || at_s < zone->changes[i + 1].at_s) {
            *change = i;
            return at_s;
        }
    }
}

void calendar_init(struct calendar *calendar, enum calendar_per per, const char *name,
                   const struct zone *zone)
{
    const size_t len = strnlen(name, CALENDAR_ZONE_SIZE - 1);
    const uint32_t most = most_ends(per);
    uint32_t change = 0;
    int64_t last_s = 0;

    *calendar = (struct calendar){
        .id = (uint64_t)(per + 1) << 32 | key_name_id(name, len),
        .per = per,
        .period_s = PERIOD_S[per],
    };
    memcpy(calendar->zone, name, len);
    for (uint32_t i = 0; calendar->count < most - 1; i++) {
        const int64_t at_s = first_instant(zone, &change, first_day(per, i) * CIVIL_DAY_S);
        if (at_s >= END_NEVER)
            break;
        if (at_s > last_s) { /* not before 1970, and not of a date that never was */
            calendar->ends_s[calendar->count++] = (uint32_t)at_s;
            last_s = at_s;
        }
    }
    calendar->ends_s[calendar->count++] = END_NEVER;
}

enum limit_error calendar_compile(const struct calendar *calendar, uint64_t count,
                                  struct limit *ret_limit)
{
    if (count == 0)
        return LIMIT_ZERO_COUNT;
    if (count > UINT32_MAX)
        return LIMIT_BURST_TOO_LARGE;
    *ret_limit = (struct limit){
        .interval = calendar->id,
        .calendar = calendar,
        .burst = (uint32_t)count,
        .algorithm = ALGORITHM_CALENDAR,
    };
    return LIMIT_OK;
}

/* Guessed by the mean length, which is off by a step or two, then walked: right from any guess. */
uint32_t calendar_end_s(const struct calendar *calendar, uint64_t now_s)
{
    const uint32_t *ends_s = calendar->ends_s;
    const uint32_t last = calendar->count - 1;
    uint64_t guess = saturate_sub(now_s, ends_s[0]) / calendar->period_s;
    uint32_t i = guess < last ? (uint32_t)guess : last;

    while (i < last && ends_s[i] <= now_s)
        i++;
    while (i > 0 && ends_s[i - 1] > now_s)
        i--;
    return ends_s[i];
}

const char *calendar_per_name(enum calendar_per per)
{
    static const char *const NAMES[CALENDAR_PER_COUNT] = {"day", "week", "month", "year"};
    return NAMES[per];
}

/* Until then; NEVER for END_NEVER, 0 if it has passed. */
static uint64_t time_to(uint32_t end_s, uint64_t now_ns)
{
    return end_s == END_NEVER ? NEVER : saturate_sub(end_s * SECOND_NS, now_ns);
}

struct step calendar_apply(const struct limit *limit, uint64_t state, enum operation operation,
                           uint32_t cost, uint64_t now_ns)
{
    const uint32_t count = (uint32_t)state;
    struct window window = {.name = (uint32_t)(state >> 32)};

    if (!limit->calendar)
        return constant_deny(state, operation);
    window.ends_ns = count == 0 ? 0 : time_to(window.name, now_ns);
    if (window.ends_ns > 0) {
        window.count = count < limit->burst ? count : limit->burst; /* it may have been lowered */
    } else {
        window.name = calendar_end_s(limit->calendar, now_ns / SECOND_NS);
        window.ends_ns = time_to(window.name, now_ns);
    }
    return window_apply(limit->burst, window, state, operation, cost);
}

uint64_t calendar_rest_after(uint64_t state, uint64_t now_ns)
{
    return (uint32_t)state == 0 ? 0 : time_to((uint32_t)(state >> 32), now_ns);
}
