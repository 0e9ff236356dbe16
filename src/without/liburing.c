/* In place of net/io_uring.c in a build without liburing: `backend: auto` falls back to mmsg, as it
 * does where the kernel forbids rings. */
#include <errno.h>

#include "net/io.h"

static int refuse(const struct io_options *options, struct io **ret_io)
{
    (void)options;
    (void)ret_io;
    return -ENOSYS;
}

const struct io_operations io_uring_operations = {.name = "io_uring", .open = refuse};
