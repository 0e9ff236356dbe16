/* The running side of an upgrade: see serve_handover.h. */
#include "cmd/serve_handover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/serve_handover_table.h"
#include "cmd/serve_replica.h"
#include "cmd/serve_table.h"
#include "cmd/server.h"
#include "obs/log.h"
#include "sys/handover.h"

static void end_handover(struct server *server)
{
    close(server->handover.fd);
    server->handover.fd = -1;
}

static const char *why(int result)
{
    switch (result) {
    case -ECONNRESET:
    case -EPIPE:
        return "it is gone";
    case -ETIMEDOUT:
        return "it stood still for too long";
    case -ECANCELED:
        return "another one asks";
    case -EOPNOTSUPP:
        return "the backend cannot come to rest on this kernel; backend: mmsg can";
    case -EBADMSG:
    case -EPROTO:
        return "it says what nobody understands";
    default:
        return strerror(-result);
    }
}

/* Nothing is changed by it: who reads the log should know. */
static void give_up(struct server *server, int result)
{
    log_event(LOG_WARNING, "handover", "pid %d (%s) did not take over: %s; serving on",
              server->handover.pid, server->handover.version, why(result));
    serve_keep_table(server);
    end_handover(server);
}

/* ---- the sockets ---- */

struct packing {
    struct server *server;
    unsigned count; /* in hand */
    unsigned total;
    bool is_counting;
    int result;
    int fds[HANDOVER_MAX_FDS];
    char roles[HANDOVER_MAX_FDS][HANDOVER_ROLE_SIZE];
};

static void send_packed(struct packing *packing)
{
    const struct handover_message message = {
        .kind = HANDOVER_SOCKETS,
        .fd_count = (uint16_t)packing->count,
        .len = packing->count * HANDOVER_ROLE_SIZE,
        .bytes = packing->roles,
        .fds = packing->fds,
    };
    if (packing->count && !packing->result)
        packing->result =
            handover_send(packing->server->handover.fd, &message, HANDOVER_PATIENCE_MS);
    packing->count = 0;
}

static void pack(void *context, const char *role, int fd)
{
    struct packing *packing = context;
    packing->total++;
    if (packing->is_counting)
        return;
    memset(packing->roles[packing->count], 0, HANDOVER_ROLE_SIZE);
    snprintf(packing->roles[packing->count], HANDOVER_ROLE_SIZE, "%s", role);
    packing->fds[packing->count++] = fd;
    if (packing->count == HANDOVER_MAX_FDS)
        send_packed(packing);
}

static int send_facts(const struct server *server, unsigned socket_count)
{
    struct handover_facts facts = {
        .protocol = HANDOVER_PROTOCOL,
        .socket_count = socket_count,
        .unix_socket_is_passed = server->unix_socket_is_passed,
    };
    snprintf(facts.version, sizeof(facts.version), "%s", METE_VERSION);
    serve_describe_table(server, &facts);
    const struct handover_message message = {
        .kind = HANDOVER_FACTS, .len = sizeof(facts), .bytes = &facts};
    int result = handover_send(server->handover.fd, &message, HANDOVER_PATIENCE_MS);
    explicit_bzero(&facts, sizeof(facts)); /* it has secrets */
    return result;
}

static void pack_all(struct packing *packing)
{
    const struct server *server = packing->server;
    serve_each_socket(server, pack, packing);
    if (server->xdp)
        xdp_each_descriptor(server->xdp, pack, packing);
    if (server->table_file.fd >= 0)
        pack(packing, HANDOVER_TABLE_ROLE, server->table_file.fd);
}

static int send_sockets(struct server *server)
{
    struct packing *packing = calloc(1, sizeof(*packing));
    if (!packing)
        return -ENOMEM;
    *packing = (struct packing){.server = server, .is_counting = true};
    pack_all(packing);
    packing->result = send_facts(server, packing->total);
    packing->is_counting = false;
    packing->total = 0;
    pack_all(packing);
    send_packed(packing);
    int result = packing->result;
    free(packing);
    return result;
}

static bool may_take_over(const struct admin_peer *peer)
{
    return peer->uid == geteuid() || peer->uid == 0;
}

void serve_begin_handover(struct server *server, const struct admin_peer *peer, const char *command,
                          FILE *out)
{
    char version[HANDOVER_VERSION_SIZE] = "unknown";
    unsigned protocol = 0;
    _Static_assert(HANDOVER_VERSION_SIZE == 64, "as the next line has it");
    if (sscanf(command, HANDOVER_COMMAND " %u %63[!-~]", &protocol, version) < 1 ||
        protocol != HANDOVER_PROTOCOL) {
        fprintf(out, "error: version %s speaks hand-over %u, the new one %u: restart it instead\n",
                METE_VERSION, HANDOVER_PROTOCOL, protocol);
        return;
    }
    if (!may_take_over(peer)) {
        fprintf(out, "error: uid %u may not take over, only uid %u and root\n", (unsigned)peer->uid,
                (unsigned)geteuid());
        return;
    }
    if (server->handover.fd >= 0)
        give_up(server, -ECANCELED);
    int fd = fcntl(peer->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        fprintf(out, "error: no descriptor: %s\n", strerror(errno));
        return;
    }
    server->handover = (struct handover){.fd = fd, .pid = peer->pid};
    snprintf(server->handover.version, sizeof(server->handover.version), "%s", version);
    log_event(LOG_INFO, "handover", "pid %d (%s) prepares to take over", peer->pid, version);
    while (serve_settle_table(server)) /* the new one is to believe all that it says */
        ;
    int result = send_sockets(server);
    if (result)
        give_up(server, result);
}

/* ---- the pause ---- */

static void go_on(struct server *server)
{
    serve_replica_go_on(server);
    worker_go_on(server->workers, server->running_count);
    loop_go_on(server->loop);
    loop_go_on(server->grpc_loop);
    loop_go_on(server->metrics_loop);
}

/* The doors first: connections may take a moment, and datagrams are answered meanwhile. */
static int come_to_rest(struct server *server)
{
    struct loop *loops[] = {server->loop, server->grpc_loop, server->metrics_loop};
    for (unsigned i = 0; i < sizeof(loops) / sizeof(loops[0]); i++)
        loop_hold(loops[i]);
    for (unsigned i = 0; i < sizeof(loops) / sizeof(loops[0]); i++)
        loop_wait_held(loops[i]);
    int result = worker_rest(server->workers, server->running_count);
    if (!result)
        serve_rest_replica(server);
    return result;
}

static int say(const struct server *server, enum handover_kind kind)
{
    const struct handover_message message = {.kind = (uint16_t)kind};
    return handover_send(server->handover.fd, &message, HANDOVER_PATIENCE_MS);
}

/* ret_word: what it says, or NULL. */
static int hear(const struct server *server, enum handover_kind kind, uint32_t *ret_word)
{
    struct handover_room *room = malloc(sizeof(*room));
    if (!room)
        return -ENOMEM;
    int result = handover_receive(server->handover.fd, room, HANDOVER_PATIENCE_MS);
    for (unsigned i = 0; !result && i < room->fd_count; i++)
        close(room->fds[i]);
    if (!result && room->kind != kind)
        result = -EPROTO;
    if (!result && ret_word && room->len >= sizeof(*ret_word))
        memcpy(ret_word, room->bytes, sizeof(*ret_word));
    free(room);
    return result;
}

/* Nobody serves from here until the new one does, or this one again. */
static int hand_over(struct server *server, bool is_joined)
{
    int result = come_to_rest(server);
    if (!result)
        result = say(server, HANDOVER_TABLE);
    if (!result)
        result = serve_send_table(server, is_joined);
    if (!result)
        result = hear(server, HANDOVER_TAKEN, NULL);
    if (!result) /* by us, because the manager listens to its main process alone */
        notify_say(&server->notify, "MAINPID=%d", server->handover.pid);
    if (!result) {
        result = say(server, HANDOVER_YOURS);
        if (result)
            notify_say(&server->notify, "MAINPID=%d", (int)getpid());
    }
    if (result) {
        serve_keep_table(server);
        go_on(server);
    }
    return result;
}

bool serve_go_on_handover(struct server *server)
{
    uint32_t is_joined = 0;
    int result = hear(server, HANDOVER_READY, &is_joined);
    if (!result)
        result = hand_over(server, is_joined != 0);
    if (result) {
        give_up(server, result);
        return false;
    }
    server->is_handed_over = server->leaves_paths = true;
    admin_leave_path(server->admin);
    log_event(LOG_INFO, "handover", "handed over to pid %d (%s)", server->handover.pid,
              server->handover.version);
    end_handover(server);
    return true;
}
