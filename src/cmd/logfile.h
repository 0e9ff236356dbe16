/* A file of lines, plain or gzip, or standard input: one line after the other. logfile.c says how.
 */
#ifndef METE_CMD_LOGFILE_H
#define METE_CMD_LOGFILE_H

#include <stddef.h>
#include <stdint.h>

#define LOGFILE_LINE_MAX 65536u /* bytes of a line; what is beyond is skipped */

enum logfile_result {
    LOGFILE_LINE,      /* a whole line */
    LOGFILE_LONG_LINE, /* the first LOGFILE_LINE_MAX bytes of a line; the rest is skipped */
    LOGFILE_END,
    LOGFILE_BROKEN, /* logfile_error() says why; nothing more will come */
};

struct logfile_line {
    const char *text; /* without its end; not terminated; gone with the next call */
    size_t len;
    uint64_t number; /* from 1 */
};

struct logfile;

/* path "-" is standard input. Result: 0 and *ret_file, to be closed; or a negative errno with one
 * line in error, which names the path. */
int logfile_open(const char *path, struct logfile **ret_file, char *error, size_t size);
void logfile_close(struct logfile *file);

/* Results: every enum logfile_result; *ret_line is set for the first two. */
enum logfile_result logfile_next(struct logfile *file, struct logfile_line *ret_line);

/* After LOGFILE_BROKEN: one line that names the path and the place. */
const char *logfile_error(const struct logfile *file);

#endif
