#include "net/io.h"

#include <errno.h>

int io_open(enum io_backend backend, const struct io_options *options, struct io **ret_io)
{
    switch (backend) {
    case IO_BACKEND_IO_URING:
        return io_uring_operations.open(options, ret_io);
    case IO_BACKEND_MMSG:
        return mmsg_operations.open(options, ret_io);
    }
    return -EINVAL;
}
