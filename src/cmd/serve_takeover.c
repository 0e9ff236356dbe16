/* The new side of an upgrade: see serve_handover.h. */
#include "cmd/serve_handover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/serve_replica.h"
#include "cmd/serve_handover_table.h"
#include "cmd/serve_xdp.h"
#include "cmd/server.h"
#include "doors/listen.h"
#include "net/filter.h"
#include "sys/handover.h"

static int fail(const struct server *server, const char *what, int result)
{
    const char *why = result == -ECONNRESET || result == -EPIPE ? "it hung up; its log says why"
                      : result == -ETIMEDOUT                    ? "it stood still for too long"
                                                                : strerror(-result);
    return cmd_fail("serve", "--take-over: %s pid %d (%s): %s; it serves on", what,
                    server->handover.pid, server->handover.version, why);
}

static int fail_to_connect(const char *path, int error)
{
    if (error == EACCES || error == EPERM)
        return cmd_fail("serve",
                        "--take-over: %s is another user's: only the user that the daemon runs as, "
                        "and root, may take over",
                        path);
    return cmd_fail("serve",
                    "--take-over: no daemon to take over from at %s: %s; is that its listen.admin? "
                    "Without --take-over a first one starts",
                    path, strerror(error));
}

static int connect_to(struct server *server, const char *path)
{
    struct sockaddr_un address;
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof(peer);
    int result = listen_make_address(path, &address);
    if (result)
        return fail_to_connect(path, -result);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_to_connect(path, errno);
    server->handover.fd = fd;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return fail_to_connect(path, errno);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len); /* else: as initialised */
    if (peer.uid != geteuid() && geteuid() != 0)
        return fail_to_connect(path, EACCES);
    server->handover.pid = peer.pid;
    snprintf(server->handover.version, sizeof(server->handover.version), "unknown");
    return 0;
}

/* What is no message is a line for people: the running one refuses, or is too old to know how. */
static int fail_by_line(const struct server *server, const struct handover_room *room)
{
    char line[256];
    size_t len = room->len < sizeof(line) ? room->len : 0;
    memcpy(line, room->bytes, len);
    while (len < sizeof(line) - 1 &&
           handover_receive_bytes(server->handover.fd, line + len, 1, HANDOVER_PATIENCE_MS) == 0)
        len++;
    line[len] = '\0';
    line[strcspn(line, "\n")] = '\0';
    const char *said = strncmp(line, "error: ", 7) == 0 ? line + 7 : line;
    if (strncmp(said, "unknown command", 15) == 0)
        said = "its version does not know how to hand over: restart it instead";
    return cmd_fail("serve", "--take-over: pid %d: %s; it serves on", server->handover.pid, said);
}

static int take_facts(struct server *server, const struct handover_room *room)
{
    struct handover_facts *facts = &server->handover.facts;
    if (room->kind != HANDOVER_FACTS || room->len != sizeof(*facts))
        return fail(server, "strange words from", -EPROTO);
    memcpy(facts, room->bytes, sizeof(*facts));
    facts->version[sizeof(facts->version) - 1] = '\0';
    memcpy(server->handover.version, facts->version, sizeof(facts->version));
    server->unix_socket_is_passed = facts->unix_socket_is_passed != 0;
    return 0;
}

static int take_sockets(struct server *server, const struct handover_room *room)
{
    int result = room->kind == HANDOVER_SOCKETS && room->fd_count &&
                         room->len == room->fd_count * HANDOVER_ROLE_SIZE
                     ? 0
                     : -EPROTO;
    for (unsigned i = 0; i < room->fd_count; i++) {
        struct passed_socket socket;
        char role[HANDOVER_ROLE_SIZE] = "";
        if (!result)
            memcpy(role, room->bytes + i * HANDOVER_ROLE_SIZE, HANDOVER_ROLE_SIZE - 1);
        server->handover.socket_count++;
        if (strcmp(role, HANDOVER_TABLE_ROLE) == 0) {
            server->handover.table_fd = room->fds[i];
            continue;
        }
        if (xdp_passed_add(&server->handover.xdp, role, room->fds[i])) {
            server->handover.has_xdp = true;
            continue;
        }
        if (!result)
            result = passed_look(room->fds[i], &socket);
        if (!result) {
            socket.name[0] = '\0';
            result = inherit_add(&server->inheritance, &socket, INHERIT_TAKEN, role);
        }
        if (result)
            close(room->fds[i]);
    }
    return result ? fail(server, "no sockets from", result) : 0;
}

static int hear_all(struct server *server, struct handover_room *room)
{
    const int fd = server->handover.fd;
    int result = handover_receive(fd, room, HANDOVER_START_PATIENCE_MS);
    if (result == -EBADMSG)
        return fail_by_line(server, room);
    if (result)
        return fail(server, "no answer from", result);
    result = take_facts(server, room);
    while (!result && server->handover.socket_count < server->handover.facts.socket_count) {
        result = handover_receive(fd, room, HANDOVER_START_PATIENCE_MS);
        result = result ? fail(server, "no sockets from", result) : take_sockets(server, room);
    }
    return result;
}

int serve_ask_handover(struct server *server)
{
    const char *path = server->config->listen_admin;
    char line[HANDOVER_VERSION_SIZE + 32];
    if (!path)
        return cmd_fail("serve", "--take-over: listen.admin is none: where it is, the daemon to "
                                 "take over from is asked");
    xdp_passed_init(&server->handover.xdp);
    int result = connect_to(server, path);
    if (result)
        return result;
    server->leaves_paths = true; /* they are the running one's */
    int len = snprintf(line, sizeof(line), HANDOVER_COMMAND " %u %.63s\n", HANDOVER_PROTOCOL,
                       METE_VERSION);
    result = handover_send_bytes(server->handover.fd, line, (size_t)len, HANDOVER_PATIENCE_MS);
    if (result)
        return fail(server, "no way to", result);
    struct handover_room *room = malloc(sizeof(*room));
    if (!room)
        return cmd_fail("serve", "--take-over: no memory");
    result = hear_all(server, room);
    free(room);
    if (!result)
        result = serve_judge_xdp(server);
    return result ? result : serve_judge_table(server);
}

/* ---- when all is open ---- */

static int exchange(struct server *server, enum handover_kind say, enum handover_kind hear)
{
    const uint32_t word = server->handover.is_joined;
    const struct handover_message message = {
        .kind = (uint16_t)say, .len = sizeof(word), .bytes = &word};
    struct handover_room *room = malloc(sizeof(*room));
    if (!room)
        return -ENOMEM;
    int result = handover_send(server->handover.fd, &message, HANDOVER_PATIENCE_MS);
    if (!result)
        result = handover_receive(server->handover.fd, room, HANDOVER_START_PATIENCE_MS);
    if (!result && room->kind != hear)
        result = -EPROTO;
    free(room);
    return result;
}

/* What the other's worker may have attached under a flood. */
static void take_off_filters(struct server *server)
{
    for (unsigned w = 0; w < server->worker_count; w++)
        for (unsigned i = 0; i < server->workers[w].udp_socket_count; i++)
            filter_detach(server->workers[w].sockets[i]);
}

int serve_take_over(struct server *server)
{
    if (server->handover.fd < 0)
        return 0;
    worker_rest(server->workers, server->running_count); /* they are, or soon */
    loop_wait_held(server->loop);
    loop_wait_held(server->grpc_loop);
    loop_wait_held(server->metrics_loop);
    int result = exchange(server, HANDOVER_READY, HANDOVER_TABLE);
    if (!result) {
        result = serve_receive_table(server);
        if (result)
            return result;
        result = exchange(server, HANDOVER_TAKEN, HANDOVER_YOURS);
    }
    if (result)
        return fail(server, "could not take over from", result);
    server->leaves_paths = false;
    server->handover.is_taken = true;
    take_off_filters(server);
    serve_replica_go_on(server);
    worker_go_on(server->workers, server->running_count);
    loop_go_on(server->loop);
    loop_go_on(server->grpc_loop);
    loop_go_on(server->metrics_loop);
    serve_take_over_xdp(server); /* may wait for who changes interfaces; the old program serves */
    close(server->handover.fd);
    server->handover.fd = -1;
    explicit_bzero(&server->handover.facts, sizeof(server->handover.facts));
    return 0;
}
