/* Reads an access log for `mete replay`: lines to (instant, subject), sorted by time.
 *
 * Servers write a line when a request ends, so real logs are not in the order of arrival, and
 * several servers' logs are often joined; the sort is stable, as lines of one instant have no
 * better order than that of the log. A line that is not understood is counted and the first one
 * kept. Memory: 16 bytes a line, and each subject once. One thread. */
#include "cmd/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/logfile.h"
#include "cmd/printable.h"
#include "sys/clock.h"

_Static_assert(LOGFILE_LINE_MAX == LOGLINE_MAX, "what is read whole is parsed");

#define SECOND_NS 1000000000ull
#define FIRST_REQUESTS 16384u
#define PROGRESS_LINES 4096u /* between two looks at the clock */
#define PROGRESS_AFTER_NS SECOND_NS
#define PROGRESS_EVERY_NS (SECOND_NS / 5)

struct progress {
    bool is_terminal;
    bool is_shown;
    uint64_t next_at_ns;
};

static void progress_show(struct progress *progress, uint64_t lines)
{
    const uint64_t now_ns = progress->is_terminal ? clock_boot_ns() : 0;
    if (!progress->is_terminal || now_ns < progress->next_at_ns)
        return;
    progress->next_at_ns = now_ns + PROGRESS_EVERY_NS;
    progress->is_shown = true;
    fprintf(stderr, "\rmete replay: %" PRIu64 " lines read", lines);
}

static void progress_clear(const struct progress *progress)
{
    if (progress->is_shown)
        fprintf(stderr, "\r\033[K");
}

static void note_unparsed(struct replay_log *log, const struct logfile_line *line,
                          const struct logline_fields *fields, enum logline_result result)
{
    char buffer[sizeof(log->first_unparsed.reason)];

    if (log->unparsed++ > 0)
        return;
    log->first_unparsed.line = line->number;
    snprintf(log->first_unparsed.reason, sizeof(log->first_unparsed.reason), "%s",
             logline_explain(result, fields, buffer, sizeof(buffer)));
    printable_format(line->text, line->len, log->first_unparsed.text,
                     sizeof(log->first_unparsed.text));
}

static int add_request(struct replay_log *log, const struct logline *line, uint32_t *size)
{
    struct replay_request request = {.at_ns = line->at_ns, .order = log->request_count};

    if (log->request_count == UINT32_MAX ||
        subjects_find_or_add(&log->subjects, line->subject, line->subject_len, &request.subject) <
            0)
        return -ENOMEM;
    if (log->request_count == *size) {
        const uint64_t larger = *size == 0 ? FIRST_REQUESTS : 2 * (uint64_t)*size;
        const uint32_t room = larger > UINT32_MAX ? UINT32_MAX : (uint32_t)larger;
        void *requests = reallocarray(log->requests, room, sizeof(*log->requests));
        if (requests == NULL)
            return -ENOMEM;
        log->requests = requests;
        *size = room;
    }
    if (log->request_count > 0 && line->at_ns < log->requests[log->request_count - 1].at_ns)
        log->out_of_order++;
    if (line->at_ns % SECOND_NS != 0)
        log->has_whole_seconds = false;
    log->requests[log->request_count++] = request;
    return 0;
}

/* All lines of file into log. 0, -EIO (see logfile_error()) or -ENOMEM. */
static int read_lines(struct logfile *file, const struct logline_fields *fields,
                      struct replay_log *log, struct logline *room)
{
    struct progress progress = {
        .is_terminal = isatty(STDERR_FILENO) != 0,
        .next_at_ns = clock_boot_ns() + PROGRESS_AFTER_NS,
    };
    struct logfile_line line;
    uint32_t size = 0;
    int error = 0;

    while (error == 0) {
        const enum logfile_result got = logfile_next(file, &line);
        if (got == LOGFILE_END)
            break;
        if (got == LOGFILE_BROKEN) {
            error = -EIO;
            break;
        }
        if (line.number % PROGRESS_LINES == 0)
            progress_show(&progress, line.number);
        const enum logline_result result = got == LOGFILE_LONG_LINE
                                               ? LOGLINE_TOO_LONG
                                               : logline_parse(line.text, line.len, fields, room);
        log->lines += result != LOGLINE_BLANK;
        if (result == LOGLINE_OK)
            error = add_request(log, room, &size);
        else if (result != LOGLINE_BLANK)
            note_unparsed(log, &line, fields, result);
    }
    progress_clear(&progress);
    return error;
}

static int compare_requests(const void *left, const void *right)
{
    const struct replay_request *a = left, *b = right;
    if (a->at_ns != b->at_ns)
        return a->at_ns < b->at_ns ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static void explain_empty(const char *name, const struct replay_log *log, char *error, size_t size)
{
    if (log->lines == 0)
        snprintf(error, size, "%s: there is no line in it", name);
    else
        snprintf(error, size,
                 "%s: none of its %" PRIu64 " lines can be used; line %" PRIu64 ": %s: %s", name,
                 log->lines, log->first_unparsed.line, log->first_unparsed.reason,
                 log->first_unparsed.text);
}

int replay_log_load(const char *path, const struct logline_fields *fields,
                    struct replay_log *ret_log, char *error, size_t size)
{
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    struct replay_log log = {.has_whole_seconds = true};
    struct logfile *file = NULL;
    struct logline *room = malloc(sizeof(*room));

    subjects_init(&log.subjects);
    int result = room == NULL ? -ENOMEM : logfile_open(path, &file, error, size);
    if (result == 0) {
        result = read_lines(file, fields, &log, room);
        if (result == -EIO)
            snprintf(error, size, "%s", logfile_error(file));
    }
    if (result == -ENOMEM)
        snprintf(error, size, "%s: too large for the memory here", name);
    if (result == 0 && log.request_count == 0) {
        explain_empty(name, &log, error, size);
        result = -EINVAL;
    }
    logfile_close(file);
    free(room);
    if (result < 0) {
        replay_log_free(&log);
        return result;
    }
    if (log.out_of_order > 0)
        qsort(log.requests, log.request_count, sizeof(log.requests[0]), compare_requests);
    *ret_log = log;
    return 0;
}

void replay_log_free(struct replay_log *log)
{
    free(log->requests);
    subjects_deinit(&log->subjects);
    *log = (struct replay_log){0};
}
