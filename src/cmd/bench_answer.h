/* Answers to the load: form, number and tag of each checked, its slot freed, its verdicts counted
 * and, with --verify, judged. One thread each. */
#ifndef METE_CMD_BENCH_ANSWER_H
#define METE_CMD_BENCH_ANSWER_H

#include "cmd/bench_loop.h"

/* Takes in the answers that are there; false: none. */
bool bench_receive(struct bench_thread *thread, struct flow *flow);

/* With --verify: one verdict of a slot's datagram against the model. */
void bench_judge_verdict(struct bench_thread *thread, const struct flow_slot *slot,
                         uint32_t subject, const struct mete_verdict *verdict, uint64_t now_ns);

#endif
