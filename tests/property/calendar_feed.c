/* The ends of the periods of a time zone, one a line, for prop_calendar.py to judge:
 * calendar_feed ZONE PER. Behind them the end that is found for each second asked for on stdin. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/calendars.h"

int main(int argc, char **argv)
{
    enum calendar_per per;
    struct calendar *calendar;
    char problem[512];
    uint64_t at_s;

    if (argc != 3) {
        fprintf(stderr, "usage: calendar_feed ZONE day|week|month|year <SECONDS\n");
        return 2;
    }
    if (calendars_parse_per(argv[2], &per, problem, sizeof(problem)) ||
        calendars_make(argv[1], per, &calendar, problem, sizeof(problem))) {
        fprintf(stderr, "calendar_feed: %s\n", problem);
        return 2;
    }
    for (uint32_t i = 0; i < calendar->count; i++)
        printf("%" PRIu32 "\n", calendar->ends_s[i]);
    printf("found\n");
    while (scanf("%" SCNu64, &at_s) == 1)
        printf("%" PRIu32 "\n", calendar_end_s(calendar, at_s));
    free(calendar);
    return 0;
}
