/* The parts of `mete replay`: a log in memory, what a rule did with it, and the report. */
#ifndef METE_CMD_REPLAY_H
#define METE_CMD_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cmd/logline.h"
#include "cmd/subjects.h"
#include "core/limit.h"

struct replay_request {
    uint64_t at_ns;
    uint32_t order; /* in the log, so that sorting by time is stable */
    uint32_t subject;
};

struct replay_log {
    struct replay_request *requests; /* by time */
    uint32_t request_count;
    struct subjects subjects;
    uint64_t lines; /* that are not blank */
    uint64_t unparsed;
    uint64_t out_of_order;  /* lines whose time is before that of the line before */
    bool has_whole_seconds; /* no time has a fraction */
    struct {
        uint64_t line; /* 0: none */
        char reason[160];
        char text[128]; /* its beginning, printable */
    } first_unparsed;
};

/* Reads and sorts; shows progress on a terminal. Result: 0 and *ret_log, to be freed; or a negative
 * errno with one line in error: no such file, damaged, empty, not one line of it understood. */
int replay_log_load(const char *path, const struct logline_fields *fields,
                    struct replay_log *ret_log, char *error, size_t size);
void replay_log_free(struct replay_log *log);

/* Rows of the histogram of waits: up to 1 ms, ... 1 day, longer, never. */
#define REPLAY_WAIT_ROWS 11u

struct replay_hit {
    uint64_t requests;
    uint64_t denied;
    uint32_t subject;
};

struct replay_outcome {
    uint64_t denied;
    uint64_t delayed;                 /* of a queue: let in, but not at once */
    uint64_t waits[REPLAY_WAIT_ROWS]; /* of the denied; of a queue: of the delayed */
    struct replay_hit *hardest;       /* most denied first, then most requests, then name */
    uint32_t hardest_count;
};

/* Upper bound of a row, inclusive; NEVER for the last. The one before has none: NEVER - 1. */
extern const uint64_t replay_wait_bounds_ns[REPLAY_WAIT_ROWS];

/* Result: 0 and *ret_outcome, to be freed; or -ENOMEM. */
int replay_run(const struct limit *limit, const struct replay_log *log, uint32_t top,
               struct replay_outcome *ret_outcome);
void replay_outcome_free(struct replay_outcome *outcome);

struct replay_rule {
    const char *text; /* as given */
    struct limit limit;
    struct calendar *calendar; /* the limit's, or NULL; for free() */
    struct replay_outcome outcome;
};

struct replay_report {
    const char *path;
    const char *by;
    const struct replay_log *log;
    const struct replay_rule *rules;
    unsigned rule_count;
};

void replay_print_text(const struct replay_report *report, FILE *out);
void replay_print_json(const struct replay_report *report, FILE *out);

#endif
