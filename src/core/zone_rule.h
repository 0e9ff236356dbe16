/* The rule in a zone's footer: a POSIX TZ string with the extension of RFC 8536, section 3.3.1. */
#ifndef METE_CORE_ZONE_RULE_H
#define METE_CORE_ZONE_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum zone_day_kind {
    ZONE_DAY_JULIAN,  /* Jn: 1 to 365, 29 February is never counted */
    ZONE_DAY_OF_YEAR, /* n: 0 to 365, it is */
    ZONE_DAY_OF_WEEK, /* Mm.w.d: the w-th weekday d of month m; w 5: the last */
};

/* When a year's change comes, in the local time before it. */
struct zone_day {
    enum zone_day_kind kind;
    uint16_t day; /* of the year; or 0 Sunday to 6 */
    uint8_t month, week;
    int32_t time_s; /* since midnight, -167 h to 167 h */
};

struct zone_rule {
    int32_t standard_s; /* offset, east is positive */
    int32_t daylight_s;
    bool has_daylight;
    struct zone_day begin, end; /* of daylight saving time */
};

/* False if the text is none. */
bool zone_rule_parse(const char *text, size_t len, struct zone_rule *ret_rule);

/* The instant of a change in a year, with the offset that holds before it; seconds since 1970. */
int64_t zone_rule_at(const struct zone_day *day, int64_t year, int32_t offset_s);

#endif
