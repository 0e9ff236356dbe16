/* Answers to the load: form, number and tag of each checked, its slot freed, its verdicts counted
 * and, with --verify, judged. One thread each. */
#ifndef METE_CMD_BENCH_ANSWER_H
#define METE_CMD_BENCH_ANSWER_H

#include "cmd/bench_loop.h"

/* Takes in the answers that are there; false: none. */
bool bench_receive(struct bench_thread *thread, struct flow *flow);

#endif
