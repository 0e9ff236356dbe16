/* Instants as logs write them, to wall clock nanoseconds since 1970. logtime.c says which. */
#ifndef METE_CMD_LOGTIME_H
#define METE_CMD_LOGTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGTIME_CLF_LEN 26u /* "17/May/2015:10:05:03 +0000" */

/* Each is true and sets *ret_at_ns, or false and leaves it: not of that form, an impossible date,
 * or not in the years 1970 to 2260. */
bool logtime_parse_clf(const char *text, size_t len, uint64_t *ret_at_ns);
bool logtime_parse_rfc3339(const char *text, size_t len, uint64_t *ret_at_ns);

/* Seconds, ms, us or ns since 1970, told apart by size: the first of them that is past 1973. */
bool logtime_from_integer(int64_t number, uint64_t *ret_at_ns);
/* The same with a fraction, to the microsecond: a double holds no more of today's seconds. */
bool logtime_from_real(double number, uint64_t *ret_at_ns);

#endif
