#include "cmd/bench_drops.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct wanted {
    uint64_t inodes[BENCH_MAX_FLOWS]; /* sorted */
    unsigned count;
    unsigned port; /* of the server; 0: not on this machine */
};

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* A host reaches its own addresses from the same address. */
static bool is_local(int fd, const struct bench_server *server)
{
    struct sockaddr_storage own = {0};
    socklen_t len = sizeof(own);
    if (getsockname(fd, (struct sockaddr *)&own, &len) < 0 ||
        own.ss_family != server->address.ss_family)
        return false;
    if (own.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&own)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)&server->address)->sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *)&own)->sin6_addr,
                  &((const struct sockaddr_in6 *)&server->address)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

static unsigned port_of(const struct bench_server *server)
{
    if (server->address.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&server->address)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)&server->address)->sin6_port);
}

/* Lines of "sl local:port remote:port st tx:rx tr:when retrnsmt uid timeout inode ref pointer
 * drops"; addresses and ports in hexadecimal. */
static void add_file(const char *path, const struct wanted *wanted, struct socket_drops *drops)
{
    char line[512];
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        unsigned port;
        uint64_t inode, dropped;
        if (sscanf(line,
                   " %*[^:]: %*[^:]:%x %*s %*s %*s %*s %*s %*u %*u %" SCNu64 " %*u %*s %" SCNu64,
                   &port, &inode, &dropped) != 3)
            continue; /* the head */
        if (bsearch(&inode, wanted->inodes, wanted->count, sizeof(inode), compare)) {
            drops->ours += dropped;
        } else if (wanted->port && port == wanted->port) {
            drops->server += dropped;
            drops->server_sockets++;
        }
    }
    if (file)
        fclose(file);
}

struct socket_drops bench_drops_read(const struct flow *flows, unsigned count,
                                     const struct bench_server *server)
{
    struct socket_drops drops = {0};
    struct wanted wanted = {0};
    for (unsigned i = 0; i < count; i++) {
        struct stat status;
        if (fstat(flows[i].fd, &status) == 0)
            wanted.inodes[wanted.count++] = status.st_ino;
    }
    qsort(wanted.inodes, wanted.count, sizeof(wanted.inodes[0]), compare);
    if (count > 0 && is_local(flows[0].fd, server))
        wanted.port = port_of(server);
    add_file("/proc/net/udp", &wanted, &drops);
    add_file("/proc/net/udp6", &wanted, &drops);
    return drops;
}
