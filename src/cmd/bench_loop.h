/* The closed loop of one thread: its flows, kept full until the traffic or the time is over. */
#ifndef METE_CMD_BENCH_LOOP_H
#define METE_CMD_BENCH_LOOP_H

#include <stdatomic.h>

#include "cmd/bench.h"
#include "cmd/bench_flow.h"
#include "cmd/bench_judge.h"
#include "cmd/bench_traffic.h"

struct bench_thread {
    const struct bench_options *options;
    struct flow *flows;
    unsigned flow_count;
    unsigned in_flight; /* over all flows */
    struct flow_io *io;
    struct traffic traffic;
    struct bench_judge *judge; /* or NULL */
    struct bench_counts counts;
    struct histogram latency;
    uint64_t start_ns;
    uint64_t end_ns; /* of the last answer */
    /* Set on one thread only: called about once a second. */
    void (*on_second)(void *context, uint64_t elapsed_ns);
    void *context;
    /* Checks answered so far, for the progress line of another thread. Relaxed: it is only looked
     * at, nothing is read because of it. */
    _Atomic uint64_t progress;
};

void bench_loop_run(struct bench_thread *thread);

#endif
