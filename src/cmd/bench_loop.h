/* A thread of load. The closed loop keeps its flows full until the traffic or the time is over; the
 * open one (bench_open.c) sends when the schedule says so. What they share stands at the end. */
#ifndef METE_CMD_BENCH_LOOP_H
#define METE_CMD_BENCH_LOOP_H

#include <stdatomic.h>

#include "cmd/bench.h"
#include "cmd/bench_flow.h"
#include "cmd/bench_judge.h"
#include "cmd/bench_traffic.h"

/* For the progress line of another thread. Relaxed: it is only looked at, nothing is read because
 * of it. */
struct bench_progress {
    _Atomic uint64_t checks; /* answered */
    _Atomic uint64_t allowed;
    _Atomic uint64_t lost;
    _Atomic uint64_t p99_ns; /* until the last full second */
};

struct bench_thread {
    const struct bench_options *options;
    const struct mete_mac_key *key; /* of the tags */
    struct bench_clock clock;       /* the server's */
    uint32_t heard_ms;              /* of the last answer; 0: none */
    struct flow *flows;
    unsigned flow_count;
    unsigned in_flight;    /* over all flows */
    unsigned closed_count; /* flows whose connection ended */
    struct flow_io *io;
    struct traffic traffic;
    struct bench_judge *judge; /* or NULL */
    struct judge_tally tally;
    struct bench_counts counts;
    struct mete_verdict last; /* if has_last */
    bool has_last;
    uint64_t chance;          /* random numbers of the retries */
    struct schedule schedule; /* open loop */
    struct histogram latency;
    struct histogram from_send;
    struct histogram slip;
    uint64_t start_ns;
    uint64_t end_ns;    /* of the last answer */
    uint64_t upkeep_ns; /* when bench_upkeep() looks again */
    uint64_t second_ns; /* when on_second is due */
    uint64_t stop_ns;   /* interrupted: when what is in flight is given up */
    /* Set on one thread only: called about once a second. */
    void (*on_second)(void *context, uint64_t elapsed_ns);
    void *context;
    struct bench_progress progress;
};

void bench_loop_run(struct bench_thread *thread);
void bench_open_run(struct bench_thread *thread);

#define BENCH_UPKEEP_NS 5000000u

/* What both loops share. The instants of a run that begins now; returned. */
uint64_t bench_begin(struct bench_thread *thread);
/* What is due now and then: retries, time-outs, the progress line. */
void bench_upkeep(struct bench_thread *thread, uint64_t now_ns);
/* How often; a sleep is not longer. */
uint64_t bench_upkeep_ns(const struct bench_thread *thread);
/* Is there nothing more to send: interrupted, traffic used up, nobody to send to? */
bool bench_is_over(const struct bench_thread *thread);
/* Is anything in flight? Gives it up when an interrupt is too long ago. */
bool bench_is_waiting(struct bench_thread *thread, uint64_t now_ns);
void bench_end(struct bench_thread *thread);

#endif
