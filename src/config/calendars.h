/* The calendars of a configuration: one for each (zone, period) that its rules name, read from the
 * system's tzdata. Any thread. */
#ifndef METE_CONFIG_CALENDARS_H
#define METE_CONFIG_CALENDARS_H

#include <stddef.h>
#include <stdint.h>

#include "core/calendar.h"

#define CALENDARS_FOLDER "/usr/share/zoneinfo" /* unless TZDIR in the environment says another */

struct calendars {
    struct calendar **items;
    uint32_t count;
};

/* The calendar of that zone and period, made if it is not there yet. "UTC" needs no tzdata.
 * Results: 0; -EINVAL with what is wrong in problem: no such zone, or its file is damaged; -ENOMEM.
 */
int calendars_find(struct calendars *calendars, const char *zone, enum calendar_per per,
                   const struct calendar **ret_calendar, char *problem, size_t size);

void calendars_free(struct calendars *calendars);

/* A calendar by itself, for free(). Results as above. */
int calendars_make(const char *zone, enum calendar_per per, struct calendar **ret_calendar,
                   char *problem, size_t size);

/* The period of that name. Results: 0, -EINVAL with what is wrong in problem. */
int calendars_parse_per(const char *text, enum calendar_per *ret_per, char *problem, size_t size);

#endif
