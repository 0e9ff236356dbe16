#include "sys/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_FD 3

int passed_look(int fd, struct passed_socket *socket)
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

/* $LISTEN_FDNAMES has them in the order of the descriptors, with colons in between. */
static void read_name(unsigned index, char *ret_name)
{
    const char *names = getenv("LISTEN_FDNAMES");
    for (unsigned i = 0; names && i < index; i++) {
        names = strchr(names, ':');
        names = names ? names + 1 : NULL;
    }
    snprintf(ret_name, PASSED_NAME_SIZE, "%.*s", names ? (int)strcspn(names, ":") : 0,
             names ? names : "");
}

int passed_take(struct passed_socket *ret_sockets, unsigned max, int *ret_bad)
{
    long count = passed_count();
    int result = count > (long)max ? -EINVAL : 0;
    for (int i = 0; !result && i < count; i++) {
        result = passed_look(FIRST_FD + i, &ret_sockets[i]);
        *ret_bad = FIRST_FD + i;
        read_name((unsigned)i, ret_sockets[i].name);
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return result ? result : (int)count;
}
