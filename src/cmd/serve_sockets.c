/* Where datagrams come in. A passed socket must be named by the configuration: what may be listened
 * on, and whether secrets are needed there, was judged by that (config/credentials.c). */
#include "cmd/serve_sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/refusal.h"
#include "cmd/serve_buffers.h"
#include "cmd/server.h"
#include "net/socket.h"

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

static void give(struct worker *worker, int socket)
{
    worker->sockets[worker->udp_socket_count++] = socket;
    worker->socket_count = worker->udp_socket_count;
}

static int open_own(struct server *server, struct config_address *listen)
{
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
    socket_format_address((struct sockaddr *)&listen->address, listen->text, sizeof(listen->text));
    for (unsigned w = 0; w < server->worker_count; w++)
        give(&server->workers[w], sockets[w]);
    return steer(server, listen, sockets);
}

/* One socket cannot be shared out by the kernel as those of a port can, so one worker has it. */
static int open_unix(struct server *server)
{
    const char *path = server->config->listen_unix;
    if (!path)
        return 0;
    server->unix_socket =
        inherit_take(&server->inheritance, "unix", SOCK_DGRAM, NULL, server->config->listen_unix);
    int result = server->unix_socket < 0 ? -EADDRINUSE : 0;
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

/* The sockets of one address, to one worker after the other: of more sockets than workers each is
 * somebody's, or what the kernel puts there would be lost; a worker that gets none has another name
 * for somebody's. */
static int share_out(struct server *server, struct config_address *listen, const int *fds,
                     unsigned count)
{
    const unsigned workers = server->worker_count;
    const struct socket_options wishes = socket_wishes(server);
    int sockets[CONFIG_MAX_WORKERS];
    for (unsigned i = 0; i < (count > workers ? count : workers); i++) {
        struct worker *worker = &server->workers[i % workers];
        if (worker->udp_socket_count >= WORKER_MAX_SOCKETS - 1)
            return cmd_fail("serve",
                            "workers: %u are too few for the sockets of listen.udp that were left "
                            "by more of them; start with as many once more",
                            workers);
        int socket = i < count ? fds[i] : fcntl(fds[i % count], F_DUPFD_CLOEXEC, 0);
        if (socket < 0)
            return cmd_fail("serve", "listen.udp: no descriptor for %s: %s", listen->text,
                            strerror(errno));
        give(worker, socket);
        int result = socket_prepare(socket, &listen->address, &wishes);
        if (result)
            return cmd_fail("serve", "listen.udp: the passed socket for %s: %s", listen->text,
                            strerror(-result));
        if (i < workers)
            sockets[i] = socket;
    }
    socket_format_address((struct sockaddr *)&listen->address, listen->text, sizeof(listen->text));
    return count == workers ? steer(server, listen, sockets) : 0;
}

/* What was left for the address, or else sockets of our own. */
static int open_address(struct server *server, struct config_address *listen)
{
    int fds[CONFIG_MAX_WORKERS];
    unsigned count = inherit_take_all(&server->inheritance, "udp", listen, fds, CONFIG_MAX_WORKERS);
    return count ? share_out(server, listen, fds, count) : open_own(server, listen);
}

/* The sockets that a unit opened. */
static int take_passed(struct server *server)
{
    struct config *config = server->config;
    for (unsigned i = 0; i < server->inheritance.count; i++) {
        struct inherited *one = &server->inheritance.items[i];
        int result = one->source == INHERIT_UNIT ? check_passed(server, &one->socket) : 0;
        if (result)
            return result;
        if (one->source == INHERIT_UNIT && is_unix(&one->socket)) {
            server->unix_socket = one->socket.fd;
            server->unix_socket_is_passed = one->is_used = true;
        }
    }
    if (config->listen_unix && server->unix_socket < 0)
        return cmd_fail("serve",
                        "listen.unix: %s is not among the sockets that the service "
                        "manager passed; add ListenDatagram=%s",
                        config->listen_unix, config->listen_unix);
    for (unsigned group = 0; group < config->listen_udp_count; group++) {
        int fds[CONFIG_MAX_WORKERS];
        unsigned count = 0;
        struct config_address *listen = &config->listen_udp[group];
        for (unsigned i = 0; i < server->inheritance.count; i++) {
            struct inherited *one = &server->inheritance.items[i];
            if (one->is_used || one->source != INHERIT_UNIT ||
                group_of(config, &one->socket) != group)
                continue;
            if (count == server->worker_count)
                return cmd_fail("serve",
                                "listen.udp: more sockets for %s were passed than there "
                                "are workers (%u); what none of them reads would be lost",
                                listen->text, server->worker_count);
            fds[count++] = one->socket.fd;
            one->is_used = true;
        }
        if (count == 0)
            return cmd_fail("serve",
                            "listen.udp: %s is not among the sockets that the service manager "
                            "passed; add ListenDatagram=%s, one for each worker",
                            listen->text, listen->text);
        int result = share_out(server, listen, fds, count);
        if (result)
            return result;
    }
    return 0;
}

static bool has_units_sockets(const struct server *server)
{
    for (unsigned i = 0; i < server->inheritance.count; i++)
        if (server->inheritance.items[i].source == INHERIT_UNIT)
            return true;
    return false;
}

int serve_open_sockets(struct server *server)
{
    struct config *config = server->config;
    int result = 0;
    if (has_units_sockets(server))
        result = take_passed(server);
    for (unsigned i = 0; !result && !has_units_sockets(server) && i < config->listen_udp_count; i++)
        result = open_address(server, &config->listen_udp[i]);
    if (!result && !has_units_sockets(server))
        result = open_unix(server);
    if (!result)
        serve_say_buffers(server);
    return result;
}

void serve_close_sockets(struct server *server)
{
    for (unsigned w = 0; server->workers && w < server->worker_count; w++)
        socket_close_group(server->workers[w].sockets, server->workers[w].udp_socket_count);
    if (server->unix_socket < 0)
        return;
    close(server->unix_socket);
    if (!server->unix_socket_is_passed && !server->leaves_paths)
        unlink(server->config->listen_unix);
}
