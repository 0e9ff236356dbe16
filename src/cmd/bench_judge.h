/* Verdicts against the exact model, subject by subject: bench_bounds.h for a whole run, or for
 * several in a row.
 *
 * Threads: any number, as long as each subject is one thread's and each thread has its own tally;
 * the totals are read when no thread runs. */
#ifndef METE_CMD_BENCH_JUDGE_H
#define METE_CMD_BENCH_JUDGE_H

#include "cmd/bench.h"

struct judge_answer {
    uint64_t sent_ns; /* this machine's CLOCK_BOOTTIME */
    uint64_t received_ns;
    bool allowed;
    bool is_retried; /* sent more than once: decided at one of them, its numbers are of the last */
    uint32_t remaining;
};

struct judge_tally { /* of one thread and run */
    uint64_t checked;
    uint64_t outside;
    char example[256];
};

struct judge_totals {
    uint64_t checked;                          /* verdicts */
    uint64_t outside;                          /* of them, outside the bounds */
    uint64_t subjects;                         /* that were asked for */
    uint64_t subjects_outside;                 /* whose admitted total is outside */
    uint64_t admitted_most;                    /* by one subject */
    uint64_t upper_slack_min, upper_slack_max; /* bound - admitted, units, over subjects */
    uint64_t lower_slack_min, lower_slack_max; /* admitted - bound */
    const char *example;                       /* of something outside, or NULL */
};

struct bench_judge;

/* NULL: not enough memory. subject_count 0: every check asks a subject that was never asked. */
struct bench_judge *bench_judge_create(const struct limit *limit, uint32_t cost,
                                       uint32_t subject_count, const struct bench_server *server);
void bench_judge_destroy(struct bench_judge *judge);

void bench_judge_pass(struct bench_judge *judge, struct judge_tally *tally, uint32_t subject,
                      const struct judge_answer *answer);
/* No answer, or one without a decision: it may have been charged. */
void bench_judge_lost(struct bench_judge *judge, uint32_t subject);

/* At the end of a run. */
void bench_judge_add(struct bench_judge *judge, const struct judge_tally *tally);
struct judge_totals bench_judge_totals(const struct bench_judge *judge);

#endif
