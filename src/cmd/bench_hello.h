/* The first contact of `mete bench` with its server, and what must be done before the load. One
 * thread. */
#ifndef METE_CMD_BENCH_HELLO_H
#define METE_CMD_BENCH_HELLO_H

#include "cmd/bench.h"
#include "cmd/bench_traffic.h"

/* Finds the server's address, asks HELLO for seed and clock, and whether it knows the rule (with
 * --echo: whether it echoes). 0, EXIT_USAGE or EXIT_NO_ANSWER after one line on stderr. */
int bench_hello(const struct bench_options *options, struct bench_server *ret_server);

/* HOST:PORT to an address. 0, or EXIT_USAGE after saying what is wrong. */
int bench_resolve(const char *text, struct bench_server *server);

/* Sends RESET for every subject of the traffic and waits for the answers. Results: as
 * bench_hello(). */
int bench_reset(const struct bench_options *options, const struct bench_server *server,
                const struct traffic *traffic);

#endif
