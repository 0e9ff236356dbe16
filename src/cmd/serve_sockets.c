/* Where datagrams come in. A passed socket must be named by the configuration: what may be listened
 * on, and whether secrets are needed there, was judged by that (config/credentials.c). */
#include "cmd/serve_sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/refusal.h"
#include "cmd/serve_buffers.h"
#include "cmd/server.h"
#include "net/socket.h"
#include "sys/passed.h"

#define BUSY_TRIES 20u
#define BUSY_PAUSE_NS 50000000l

static struct socket_options socket_wishes(const struct server *server)
{
    return (struct socket_options){
        .receive_buffer_bytes = serve_buffer_bytes(server->config) / 2, /* it gives twice as much */
        .join = true,
    };
}

/* The kernel lets go of the sockets of a killed daemon's rings only some time after it died: who is
 * restarted at once would find its own port busy, so a busy port is tried for a second, and a
 * busy UNIX socket, too. */
static int open_group(struct config_address *listen, const struct socket_options *options,
                      int *ret_sockets, unsigned count)
{
    int result;
    for (unsigned i = 0; i < BUSY_TRIES; i++) {
        result = socket_open_group(&listen->address, listen->len, options, ret_sockets, count);
        if (result != -EADDRINUSE)
            return result;
        nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
    }
    return result;
}

static int steer(const struct server *server, const struct config_address *listen,
                 const int *sockets)
{
    if (server->config->steering != STEERING_CPU)
        return 0;
    if (server->workers[0].cpu < 0)
        return cmd_fail("serve", "steering: cpu needs one worker for each usable CPU, and more "
                                 "than one; workers: auto makes them");
    for (unsigned i = 0; i < server->worker_count; i++) {
        int result = socket_prefer_cpu(sockets[i], server->workers[i].cpu);
        if (result)
            return cmd_fail("serve", "steering: the system cannot do it for %s: %s", listen->text,
                            strerror(-result));
    }
    return 0;
}

static int open_own(struct server *server)
{
    struct config *config = server->config;
    for (unsigned i = 0; i < config->listen_udp_count; i++) {
        struct config_address *listen = &config->listen_udp[i];
        int sockets[CONFIG_MAX_WORKERS];
        const struct socket_options wishes = socket_wishes(server);
        int result = open_group(listen, &wishes, sockets, server->worker_count);
        if (result == -EADDRINUSE)
            return cmd_fail("serve",
                            "listen.udp: %s is busy: another mete or another program holds it; "
                            "stop it or choose another port",
                            listen->text);
        if (result)
            return cmd_fail("serve", "listen.udp: cannot listen on %s: %s", listen->text,
                            refusal_text(result, NULL, (char[REFUSAL_BYTES]){0}, REFUSAL_BYTES));
        socket_format_address((struct sockaddr *)&listen->address, listen->text,
                              sizeof(listen->text));
        for (unsigned w = 0; w < server->worker_count; w++)
            server->workers[w].sockets[i] = sockets[w];
        server->socket_groups++;
        result = steer(server, listen, sockets);
        if (result)
            return result;
    }
    return 0;
}

/* One socket cannot be shared out by the kernel as those of a port can, so one worker has it. */
static int open_unix(struct server *server)
{
    const char *path = server->config->listen_unix;
    if (!path)
        return 0;
    int result = -EADDRINUSE;
    for (unsigned i = 0; i < BUSY_TRIES && result == -EADDRINUSE; i++) {
        if (i)
            nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
        result = socket_open_unix(path, &server->unix_socket);
    }
    if (!result)
        return 0;
    char text[REFUSAL_BYTES];
    const char *why = result == -EADDRINUSE ? "another daemon serves there; choose another path"
                      : result == -EEXIST   ? "is there and no socket; choose another path"
                                            : refusal_text(result, path, text, sizeof(text));
    return cmd_fail("serve", "listen.unix: %s: %s", path, why);
}

/* ---- passed by the service manager ---- */

static bool is_same_address(const struct passed_socket *passed, const struct config_address *listen)
{
    const struct sockaddr_storage *a = &passed->address, *b = &listen->address;
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)a, *wanted = (const void *)b;
        return in->sin_port == wanted->sin_port && in->sin_addr.s_addr == wanted->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *in = (const void *)a, *wanted = (const void *)b;
    return in->sin6_port == wanted->sin6_port &&
           memcmp(&in->sin6_addr, &wanted->sin6_addr, sizeof(in->sin6_addr)) == 0;
}

static bool is_unix(const struct passed_socket *passed)
{
    return passed->address.ss_family == AF_UNIX;
}

/* Which listen address it is for; their number: none. */
static unsigned group_of(const struct config *config, const struct passed_socket *passed)
{
    unsigned group = 0;
    while (group < config->listen_udp_count && !is_same_address(passed, &config->listen_udp[group]))
        group++;
    return group;
}

static int check_passed(const struct server *server, const struct passed_socket *passed)
{
    const struct config *config = server->config;
    char text[128] = "a socket";
    if (passed->type != SOCK_DGRAM)
        return cmd_fail("serve",
                        "descriptor %d of the service manager is no datagram socket; "
                        "pass ListenDatagram= only",
                        passed->fd);
    if (is_unix(passed)) {
        const struct sockaddr_un *address = (const void *)&passed->address;
        if (config->listen_unix && server->unix_socket < 0 &&
            strncmp(address->sun_path, config->listen_unix, sizeof(address->sun_path)) == 0)
            return 0;
        return cmd_fail("serve", "the service manager passed the socket %.100s; listen.unix is %s",
                        address->sun_path, config->listen_unix ? config->listen_unix : "none");
    }
    if (group_of(config, passed) < config->listen_udp_count)
        return 0;
    if (passed->address.ss_family == AF_INET || passed->address.ss_family == AF_INET6)
        socket_format_address((const struct sockaddr *)&passed->address, text, sizeof(text));
    return cmd_fail("serve", "the service manager passed %s, which listen.udp does not name", text);
}

/* The sockets of one address, one worker after the other; a worker without one of its own gets
 * another name for somebody's. */
static int share_out(struct server *server, unsigned group, const int *fds, unsigned count)
{
    const struct config_address *listen = &server->config->listen_udp[group];
    const struct socket_options wishes = socket_wishes(server);
    int sockets[CONFIG_MAX_WORKERS];
    if (count == 0)
        return cmd_fail("serve",
                        "listen.udp: %s is not among the sockets that the service manager "
                        "passed; add ListenDatagram=%s, one for each worker",
                        listen->text, listen->text);
    for (unsigned w = 0; w < server->worker_count; w++) {
        sockets[w] = w < count ? fds[w] : fcntl(fds[w % count], F_DUPFD_CLOEXEC, 0);
        if (sockets[w] < 0)
            return cmd_fail("serve", "listen.udp: no descriptor for %s: %s", listen->text,
                            strerror(errno));
        server->workers[w].sockets[group] = sockets[w];
        int result = socket_prepare(sockets[w], &listen->address, &wishes);
        if (result)
            return cmd_fail("serve", "listen.udp: the passed socket for %s: %s", listen->text,
                            strerror(-result));
    }
    server->socket_groups++;
    return count < server->worker_count ? 0 : steer(server, listen, sockets);
}

static int take_passed(struct server *server, const struct passed_socket *passed, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int result = check_passed(server, &passed[i]);
        if (result)
            return result;
        if (is_unix(&passed[i])) {
            server->unix_socket = passed[i].fd;
            server->unix_socket_is_passed = true;
        }
    }
    if (server->config->listen_unix && server->unix_socket < 0)
        return cmd_fail("serve",
                        "listen.unix: %s is not among the sockets that the service "
                        "manager passed; add ListenDatagram=%s",
                        server->config->listen_unix, server->config->listen_unix);
    for (unsigned group = 0; group < server->config->listen_udp_count; group++) {
        int fds[CONFIG_MAX_WORKERS];
        unsigned fd_count = 0;
        for (unsigned i = 0; i < count; i++) {
            if (is_unix(&passed[i]) || group_of(server->config, &passed[i]) != group)
                continue;
            if (fd_count == server->worker_count)
                return cmd_fail("serve",
                                "listen.udp: more sockets for %s were passed than there "
                                "are workers (%u); what none of them reads would be lost",
                                server->config->listen_udp[group].text, server->worker_count);
            fds[fd_count++] = passed[i].fd;
        }
        int result = share_out(server, group, fds, fd_count);
        if (result)
            return result;
    }
    return 0;
}

int serve_open_sockets(struct server *server)
{
    int bad = -1;
    struct passed_socket *passed = calloc(PASSED_MAX, sizeof(*passed));
    if (!passed)
        return cmd_fail("serve", "no memory for sockets");
    int count = passed_take(passed, PASSED_MAX, &bad);
    int result;
    if (count == -EINVAL)
        result = cmd_fail("serve", "LISTEN_FDS is no number up to %u", PASSED_MAX);
    else if (count < 0)
        result = cmd_fail("serve", "descriptor %d of the service manager is no socket: %s", bad,
                          strerror(-count));
    else if (count > 0)
        result = take_passed(server, passed, (unsigned)count);
    else
        result = open_own(server);
    if (result == 0 && count == 0)
        result = open_unix(server);
    if (result == 0)
        serve_say_buffers(server);
    free(passed);
    return result;
}

void serve_close_sockets(struct server *server)
{
    for (unsigned i = 0; i < server->socket_groups; i++)
        for (unsigned w = 0; w < server->worker_count; w++)
            socket_close_group(&server->workers[w].sockets[i], 1);
    if (server->unix_socket < 0)
        return;
    close(server->unix_socket);
    if (!server->unix_socket_is_passed)
        unlink(server->config->listen_unix);
}
