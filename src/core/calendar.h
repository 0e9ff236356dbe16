/* Limits per day, week, month or year of a time zone; calendar.c says how. */
#ifndef METE_CORE_CALENDAR_H
#define METE_CORE_CALENDAR_H

#include <stddef.h>

#include "core/limit.h"

struct zone;

enum calendar_per { CALENDAR_DAY, CALENDAR_WEEK, CALENDAR_MONTH, CALENDAR_YEAR };
#define CALENDAR_PER_COUNT 4u

#define CALENDAR_ZONE_SIZE 65u /* of a zone's name, with its end */

/* The ends of all periods of one kind in one zone, from 1970 to 2106. Position independent, but of
 * the configuration: immutable, and shared by all limits that count so. */
struct calendar {
    uint64_t id; /* of zone and period */
    enum calendar_per per;
    uint32_t period_s; /* mean length */
    uint32_t count;    /* at least 1 */
    char zone[CALENDAR_ZONE_SIZE];
    uint32_t ends_s[]; /* since 1970, rising; the last is UINT32_MAX, which means never */
};

/* Memory for a calendar; at most 200 kB, for days. */
size_t calendar_size_bytes(enum calendar_per per);

/* Fills that memory. The name, shorter than CALENDAR_ZONE_SIZE, only names. */
void calendar_init(struct calendar *calendar, enum calendar_per per, const char *name,
                   const struct zone *zone);

/* A limit of count units in each period; the calendar outlives it. Results: LIMIT_OK,
 * LIMIT_ZERO_COUNT, LIMIT_BURST_TOO_LARGE; *ret_limit is untouched on failure. */
enum limit_error calendar_compile(const struct calendar *calendar, uint64_t count,
                                  struct limit *ret_limit);

/* When the period of an instant ends, UINT32_MAX if never. */
uint32_t calendar_end_s(const struct calendar *calendar, uint64_t now_s);

/* "day", "week", "month", "year". */
const char *calendar_per_name(enum calendar_per per);

/* limit_apply() for ALGORITHM_CALENDAR. now_ns is wall time. */
__attribute__((noinline)) struct step calendar_apply(const struct limit *limit, uint64_t state,
                                                     enum operation operation, uint32_t cost,
                                                     uint64_t now_ns);

/* limit_rest_after() of a state. The state says it all, so an owner row needs no calendar. */
uint64_t calendar_rest_after(uint64_t state, uint64_t now_ns);

#endif
