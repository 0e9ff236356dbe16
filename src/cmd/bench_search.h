/* Several runs in a row: the rows of --concurrency, and the search of --find-rate. One thread. */
#ifndef METE_CMD_BENCH_SEARCH_H
#define METE_CMD_BENCH_SEARCH_H

#include "cmd/bench.h"

/* Loads the server once as the options say. What *ret_run points to is good until the next call.
 * 0, or an exit status after one line on stderr. */
typedef int bench_measure_fn(void *context, const struct bench_options *options,
                             struct bench_run *ret_run);

/* Both print their report and return the exit status. */
int bench_concurrency(const struct bench_options *options, bench_measure_fn *measure,
                      void *context);
int bench_find_rate(const struct bench_options *options, bench_measure_fn *measure, void *context);

#endif
