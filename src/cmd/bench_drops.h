/* Datagrams that full socket buffers dropped, socket by socket, as /proc/net/udp and udp6 tell: of
 * the load's own sockets, known by their inodes, and of the server's, if it is on this machine,
 * known by its port. One thread. */
#ifndef METE_CMD_BENCH_DROPS_H
#define METE_CMD_BENCH_DROPS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/bench.h"
#include "cmd/bench_flow.h"

/* Since the sockets were opened. */
struct socket_drops {
    uint64_t ours;
    uint64_t server;
    unsigned server_sockets; /* 0: it is not on this machine, or not in its network namespace */
};

struct socket_drops bench_drops_read(const struct flow *flows, unsigned count,
                                     const struct bench_server *server);

#endif
