#include "net/io.h"

#include <errno.h>

#include "sys/clock.h"

const struct sockaddr io_nobody = {.sa_family = AF_UNSPEC};

bool io_is_unix(int socket)
{
    int domain;
    socklen_t len = sizeof(domain);
    return getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

int io_open(enum io_backend backend, const struct io_options *options, struct io **ret_io)
{
    switch (backend) {
    case IO_BACKEND_IO_URING:
        return io_uring_operations.open(options, ret_io);
    case IO_BACKEND_MMSG:
        return mmsg_operations.open(options, ret_io);
    case IO_BACKEND_AF_XDP:
        return af_xdp_operations.open(options, ret_io);
    }
    return -EINVAL;
}

int io_receive_spinning(struct io *io, uint64_t spin_ns, uint64_t wait_ns,
                        struct io_message **ret_messages)
{
    if (spin_ns && wait_ns) {
        uint64_t until_ns = clock_boot_ns() + spin_ns;
        do {
            int count = io_receive(io, 0, ret_messages);
            if (count)
                return count;
            clock_pause();
        } while (clock_boot_ns() < until_ns);
    }
    return io_receive(io, wait_ns, ret_messages);
}
