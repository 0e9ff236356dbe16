/* When the open loop sends: instants that are fixed before the run, whatever the server does.
 *
 * With r datagrams per second, k = 0, 1, 2...:
 *
 *   constant   t(k) = k / r
 *   poisson    t(k) = t(k-1) + E(k) / r, E exponential with mean 1
 *   bursty     a tenth of the time at ten times the rate: constant, each BURST_PERIOD_NS squeezed
 *              into its first tenth
 *   ramp       t(k) = sqrt(2 k D / r): the rate grows from 0 to r over the duration D
 *
 * Threads: a schedule belongs to one. */
#ifndef METE_CMD_BENCH_SCHEDULE_H
#define METE_CMD_BENCH_SCHEDULE_H

#include <stdint.h>

#define BURST_PERIOD_NS 100000000u
#define BURST_SHARE 10u /* one part in so many of the period has all of its datagrams */

enum schedule_kind {
    SCHEDULE_CONSTANT,
    SCHEDULE_POISSON,
    SCHEDULE_BURSTY,
    SCHEDULE_RAMP,
    SCHEDULE_COUNT
};

struct schedule {
    enum schedule_kind kind;
    double interval_ns; /* 1 / r */
    double duration_ns; /* of a ramp */
    double position;    /* k, with the thread's share of an interval as its fraction */
    double poisson_at_ns;
    uint64_t random; /* state */
};

const char *schedule_name(enum schedule_kind kind);
/* SCHEDULE_COUNT: no such name. */
enum schedule_kind schedule_parse(const char *name);

/* The next instant, in ns since the start; never decreases. */
uint64_t schedule_next(struct schedule *schedule);

#endif
