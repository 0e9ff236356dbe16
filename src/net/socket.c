#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A wildcard socket must tell which of the host's addresses was asked, to answer from it. */
static bool is_wildcard(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* What SO_RCVBUF would make of it here. */
static int probe_receive_buffer(int domain, int bytes)
{
    int got = 0;
    socklen_t len = sizeof(got);
    int fd = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &len) < 0)
        got = 0;
    close(fd);
    return got;
}

/* Beyond the system's limit where we may. Where we may not, the limit would also cut down what a
 * service manager gave, so that is left alone if it is more. */
static int set_receive_buffer(int fd, int domain, int bytes)
{
    int has = 0;
    socklen_t len = sizeof(has);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) == 0)
        return 0;
    int given = probe_receive_buffer(domain, bytes);
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &has, &len) == 0 && given < has && given / 2 < bytes)
        return 0;
    return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0 ? -errno : 0;
}

int socket_prepare(int fd, const struct sockaddr_storage *address,
                   const struct socket_options *options)
{
    int on = 1;
    if (address->ss_family == AF_INET6 && is_wildcard(address)) {
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0)
            return -errno;
    } else if (is_wildcard(address) &&
               setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0) {
        return -errno;
    }
    if (options->receive_buffer_bytes > 0) {
        int result = set_receive_buffer(fd, address->ss_family, options->receive_buffer_bytes);
        if (result)
            return result;
    }
    if (options->join && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) < 0)
        return -errno;
    return 0;
}

static int open_one(struct sockaddr_storage *address, socklen_t len,
                    const struct socket_options *options, bool first)
{
    int fd = socket(address->ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int on = 1, off = 0;
    int result = socket_prepare(fd, address, options);
    /* [::] serves IPv4 too, as v4-mapped addresses */
    if (!result && address->ss_family == AF_INET6 && is_wildcard(address) &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        result = -errno;
    /* The first bind fails on a busy port, with or without SO_REUSEPORT on the other side; set
     * afterwards it lets our own other workers join. */
    if (!result && !first && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        result = -errno;
    if (!result && bind(fd, (struct sockaddr *)address, len) < 0)
        result = -errno;
    if (!result && first && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        result = -errno;
    if (!result && first && getsockname(fd, (struct sockaddr *)address, &len) < 0)
        result = -errno;
    if (result) {
        close(fd);
        return result;
    }
    return fd;
}

int socket_open_group(struct sockaddr_storage *address, socklen_t len,
                      const struct socket_options *options, int *ret_sockets, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int fd = open_one(address, len, options, i == 0);
        if (fd < 0) {
            socket_close_group(ret_sockets, i);
            return fd;
        }
        ret_sockets[i] = fd;
    }
    return 0;
}

int socket_prefer_cpu(int fd, int cpu)
{
    return setsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, sizeof(cpu)) < 0 ? -errno : 0;
}

void socket_close_group(int *sockets, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        close(sockets[i]);
        sockets[i] = -1;
    }
}

/* Only a refused connection says that nobody holds the socket. */
static bool is_served(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_dead = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
                   (errno == ECONNREFUSED || errno == ENOENT);
    if (fd >= 0)
        close(fd);
    return !is_dead;
}

int socket_open_unix(const char *path, int *ret_socket)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (lstat(path, &status) == 0) {
        if (!S_ISSOCK(status.st_mode))
            return -EEXIST;
        if (is_served(&address))
            return -EADDRINUSE;
        unlink(path);
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    mode_t mask = umask(0117);
    int result = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(mask);
    if (result) {
        close(fd);
        return result;
    }
    *ret_socket = fd;
    return 0;
}

void socket_format_address(const struct sockaddr *address, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN];
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(out, size, "%s:%u", host, ntohs(v4->sin_port));
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(out, size, "[%s]:%u", host, ntohs(v6->sin6_port));
    }
}
