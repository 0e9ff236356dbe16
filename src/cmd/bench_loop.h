/* A thread of load. The closed loop keeps its flows full until the traffic or the time is over; the
 * open one (bench_open.c) sends when the schedule says so. What they share stands at the end. */
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
    struct schedule schedule; /* open loop */
    struct histogram latency;
    struct histogram from_send;
    struct histogram slip;
    uint64_t start_ns;
    uint64_t end_ns;    /* of the last answer */
    uint64_t upkeep_ns; /* when bench_upkeep() looks again */
    uint64_t second_ns; /* when on_second is due */
    /* Set on one thread only: called about once a second. */
    void (*on_second)(void *context, uint64_t elapsed_ns);
    void *context;
    /* Checks answered so far, for the progress line of another thread. Relaxed: it is only looked
     * at, nothing is read because of it. */
    _Atomic uint64_t progress;
};

void bench_loop_run(struct bench_thread *thread);
void bench_open_run(struct bench_thread *thread);

#define BENCH_UPKEEP_NS 5000000u

/* What both loops share: the instants of a run that begins now (returned), and what is due now and
 * then, expire (the datagrams that had no answer in time) among it. */
uint64_t bench_begin(struct bench_thread *thread);
void bench_upkeep(struct bench_thread *thread, uint64_t now_ns,
                  void (*expire)(struct bench_thread *thread, uint64_t now_ns));

/* Keys, number, sequence and tag of one datagram; false if there is nothing to ask. The slot counts
 * as in flight afterwards. */
bool bench_fill_slot(struct bench_thread *thread, struct flow *flow, unsigned index);
/* Takes in the answers that are there; false: none. */
bool bench_receive(struct bench_thread *thread, struct flow *flow);
/* The datagram has had no answer in time. */
void bench_give_up(struct bench_thread *thread, struct flow *flow, unsigned index);

#endif
