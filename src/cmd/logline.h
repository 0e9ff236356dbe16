/* One line of an access log to an instant and a subject. logline.c says which lines. */
#ifndef METE_CMD_LOGLINE_H
#define METE_CMD_LOGLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGLINE_MAX 65536u /* bytes of a line */

/* What to take from a line. NULL: the client's address; the usual names of the time. */
struct logline_fields {
    const char *by;
    const char *time; /* of NDJSON; a common log line has one time only */
};

struct logline {
    uint64_t at_ns;            /* wall time since 1970 */
    size_t subject_len;        /* at least 1 */
    char subject[LOGLINE_MAX]; /* bytes as they are in the log, JSON's escapes undone; no terminator
                                */
};

enum logline_result {
    LOGLINE_OK,
    LOGLINE_BLANK,         /* nothing but white space */
    LOGLINE_TOO_LONG,      /* above LOGLINE_MAX */
    LOGLINE_UNKNOWN,       /* neither form */
    LOGLINE_BAD_JSON,      /* begins like an object, but is none */
    LOGLINE_NO_TIME,       /* JSON: no field with a time */
    LOGLINE_BAD_TIME,      /* a time that is none, or not in the years 1970 to 2260 */
    LOGLINE_UNKNOWN_FIELD, /* common log lines have no field of that name */
    LOGLINE_NO_FIELD,      /* this line lacks the subject's field, or it is empty */
    LOGLINE_BAD_FIELD,     /* JSON: it is an object, a list, or a number too large to be exact */
};

/* Results: every enum logline_result; *ret_line is written, as far as needed, for LOGLINE_OK only.
 */
enum logline_result logline_parse(const char *text, size_t len, const struct logline_fields *fields,
                                  struct logline *ret_line);

/* What a result means, with the names of the fields; in buffer. */
const char *logline_explain(enum logline_result result, const struct logline_fields *fields,
                            char *buffer, size_t size);

/* The NDJSON half, in logline_json.c: text begins with a brace. */
enum logline_result logline_parse_json(const char *text, size_t len,
                                       const struct logline_fields *fields,
                                       struct logline *ret_line);

#endif
