/* Time zones: the bytes of a TZif file (RFC 8536) to the list of changes of a zone's offset.
 *
 * A pure function of bytes, so that what this process thinks of TZ plays no part. What the file
 * lists is taken as it is; the years after that follow the rule in its footer, up to 2106, where 32
 * bits of seconds end. Any thread may call anything here. */
#ifndef METE_CORE_ZONE_H
#define METE_CORE_ZONE_H

#include <stddef.h>
#include <stdint.h>

#define ZONE_MAX_BYTES 65536u /* of a file; the largest of tzdata has 4 kB */
#define ZONE_MAX_CHANGES 2048u
#define ZONE_LAST_YEAR 2106
#define ZONE_MAX_OFFSET_S (26 * 3600) /* RFC 8536 3.2: -25 h to +26 h, and no more */

struct zone_change {
    int64_t at_s;     /* since 1970, UTC */
    int32_t offset_s; /* from then on; east is positive */
};

struct zone {
    uint32_t count;                               /* at least 1 */
    struct zone_change changes[ZONE_MAX_CHANGES]; /* at_s never falls; the first is INT64_MIN */
};

enum zone_error {
    ZONE_OK = 0,
    ZONE_NOT_TZIF,
    ZONE_CUT_SHORT,
    ZONE_BAD_COUNTS,
    ZONE_BAD_TIMES,
    ZONE_BAD_TYPES,
    ZONE_BAD_FOOTER,
    ZONE_HAS_LEAP_SECONDS,
    ZONE_TOO_LARGE,
};

/* Results: every enum zone_error; *ret_zone is of no use after a failure. */
enum zone_error zone_parse(const void *bytes, size_t len, struct zone *ret_zone);

/* A clause that says what is wrong with the file. */
const char *zone_error_text(enum zone_error error);

/* UTC, which needs no file. */
void zone_init_utc(struct zone *zone);

#endif
