#include "sys/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_FD 3

static int look(int fd, struct passed_socket *socket)
{
    socklen_t size = sizeof(socket->type);
    *socket = (struct passed_socket){.fd = fd, .len = sizeof(socket->address)};
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &socket->type, &size) < 0 ||
        getsockname(fd, (struct sockaddr *)&socket->address, &socket->len) < 0)
        return -errno;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

/* 0 if nothing was passed, or to another process. */
static long passed_count(void)
{
    const char *pid = getenv("LISTEN_PID");
    const char *count = getenv("LISTEN_FDS");
    char *end;
    if (!pid || !count || strtoull(pid, NULL, 10) != (unsigned long long)getpid())
        return 0;
    long value = strtol(count, &end, 10);
    return *end || end == count || value < 0 ? -EINVAL : value;
}

int passed_take(struct passed_socket *ret_sockets, unsigned max, int *ret_bad)
{
    long count = passed_count();
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (count > (long)max)
        return -EINVAL;
    for (int i = 0; i < count; i++) {
        int result = look(FIRST_FD + i, &ret_sockets[i]);
        if (result) {
            *ret_bad = FIRST_FD + i;
            return result;
        }
    }
    return (int)count;
}
