/* The kernel charges a datagram with all memory that it takes, 768 bytes for one of 56 bytes and
 * 2,304 for one of 1,232 (SO_MEMINFO on Linux 6.18), joined ones with a part of that. A worker
 * takes in about BYTES_PER_SECOND of it, whichever they are: small ones cost a system call's share,
 * large ones their checks (bench/README.md). So the delay is what the budget says for a worker that
 * has a core of the reference's speed to itself, and in proportion otherwise. */
#include "cmd/serve_buffers.h"

#include <sys/socket.h>

#include "cmd/server.h"
#include "obs/log.h"

#define BYTES_PER_SECOND 300000000u

int serve_buffer_bytes(const struct config *config)
{
    return (int)(config->overload.delay_budget_ns / 1000 * (BYTES_PER_SECOND / 1000000));
}

void serve_say_buffers(const struct server *server)
{
    const int wanted = serve_buffer_bytes(server->config);
    int got = wanted;
    for (unsigned i = 0; i < server->config->listen_udp_count; i++) {
        int bytes = 0;
        socklen_t len = sizeof(bytes);
        int fd = server->workers[0].sockets[i];
        if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len) == 0 && bytes < got)
            got = bytes;
    }
    if (got < wanted)
        log_event(LOG_WARNING, "start",
                  "overload.delay_budget: receive buffers of %d bytes in place of %d, so bursts "
                  "are lost sooner; sysctl net.core.rmem_max=%d allows them, and so does "
                  "CAP_NET_ADMIN",
                  got, wanted, wanted / 2);
}
