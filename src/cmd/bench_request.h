/* A datagram's way from a free slot to its answer or its end: filled with subjects, sent, sent
 * again, given up. What both loops share. One thread each. */
#ifndef METE_CMD_BENCH_REQUEST_H
#define METE_CMD_BENCH_REQUEST_H

#include "cmd/bench_loop.h"

/* Keys, number, sequence, clock and tag of one datagram; false if there is nothing to ask. The slot
 * counts as in flight afterwards. */
bool bench_fill_slot(struct bench_thread *thread, struct flow *flow, unsigned index,
                     uint32_t clock_ms);
/* Sends these, which were filled, at an instant read just before. */
void bench_send(struct bench_thread *thread, struct flow *flow, const uint16_t *slots,
                unsigned count, uint64_t now_ns);
/* Gives subjects back; lost: nobody knows whether they were charged. */
void bench_return_subjects(struct bench_thread *thread, const struct flow *flow, unsigned index,
                           bool lost);
void bench_free_slot(struct bench_thread *thread, struct flow *flow, unsigned index);
/* In order: what is free at the old end may be used again. */
void bench_free_slots(struct flow *flow);
/* What was not answered in time is sent again or given up. */
void bench_expire(struct bench_thread *thread, uint64_t now_ns);
/* Gives up all that is in flight, because the run was interrupted. */
void bench_cut_off(struct bench_thread *thread);

#endif
