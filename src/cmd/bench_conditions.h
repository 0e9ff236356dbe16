/* What a run depends on beside the server: the machine as the system describes it, and what the
 * server says of itself over its admin socket. Read before the load and after it; what both have is
 * reported as the difference. One thread. */
#ifndef METE_CMD_BENCH_CONDITIONS_H
#define METE_CMD_BENCH_CONDITIONS_H

#include <stdint.h>

#include "cmd/bench.h"
#include "cmd/bench_drops.h"

/* Of the whole machine, since its start; datagrams of both address families. */
struct machine_counts {
    uint64_t steal_ticks; /* that another guest of the host had instead */
    uint64_t receive_drops;
    uint64_t send_drops;
};

struct bench_conditions {
    struct machine_counts before, after;
    struct socket_drops drops_before, drops_after;
    char *server_before; /* `stats json` of the admin socket, or NULL */
    char *server_after;
};

struct bench_parties { /* who takes part in a run */
    const struct bench_options *options;
    const struct bench_server *server;
    const struct flow *flows;
    unsigned flow_count;
};

/* Both return 0, or EXIT_NO_ANSWER after one line on stderr when --admin was given and nobody
 * answers there. */
int bench_conditions_begin(const struct bench_parties *parties, struct bench_conditions *ret);
int bench_conditions_end(const struct bench_parties *parties, struct bench_conditions *conditions);
void bench_conditions_deinit(struct bench_conditions *conditions);

/* Datagrams that the sockets dropped over the run: the load's, and the server's if *ret_is_known.
 */
uint64_t bench_conditions_own_drops(const struct bench_conditions *conditions);
uint64_t bench_conditions_server_drops(const struct bench_conditions *conditions,
                                       bool *ret_is_known);

/* Server's CPU time over the run in ns; 0 without --admin. */
uint64_t bench_conditions_server_cpu_ns(const struct bench_conditions *conditions);
/* Members "machine" and, with --admin, "server_over_the_run" of an object, each with a comma. */
void bench_conditions_json(const struct bench_conditions *conditions);

#endif
