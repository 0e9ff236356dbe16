#include "doors/admin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "doors/listen.h"

#define ADMIN_CONNECTIONS 8u
#define ADMIN_UMASK 0177 /* the owner only */
#define ADMIN_COMMAND_BYTES 256u
#define ADMIN_ASK_SECONDS 5
#define ADMIN_PAUSE_MS 100

struct connection {
    int fd;          /* -1: free */
    uint64_t number; /* counts up: the lowest is the oldest */
    size_t received;
    char command[ADMIN_COMMAND_BYTES];
    char *answer; /* NULL: still reading */
    size_t answer_len;
    size_t sent;
};

struct admin {
    int listener;
    char *path;
    bool owns_path; /* ours to remove */
    admin_answer_fn *answer;
    void *context;
    uint64_t accepted; /* connections so far */
    struct connection connections[ADMIN_CONNECTIONS];
};

int admin_open(const char *path, admin_answer_fn *answer, void *context, struct admin **ret_admin)
{
    int listener;
    int result = listen_open_unix(path, ADMIN_UMASK, &listener);
    if (!result && (result = admin_adopt(listener, path, answer, context, ret_admin))) {
        close(listener);
        unlink(path);
    }
    return result;
}

int admin_adopt(int listener, const char *path, admin_answer_fn *answer, void *context,
                struct admin **ret_admin)
{
    struct admin *admin = calloc(1, sizeof(*admin));
    char *copy = strdup(path);
    if (!admin || !copy) {
        free(admin);
        free(copy);
        return -ENOMEM;
    }
    admin->listener = listener;
    admin->path = copy;
    admin->owns_path = true;
    admin->answer = answer;
    admin->context = context;
    for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++)
        admin->connections[i].fd = -1;
    *ret_admin = admin;
    return 0;
}

int admin_listener(const struct admin *admin)
{
    return admin ? admin->listener : -1;
}

void admin_leave_path(struct admin *admin)
{
    if (admin)
        admin->owns_path = false;
}

static void drop(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    free(connection->answer);
    *connection = (struct connection){.fd = -1};
}

void admin_close(struct admin *admin)
{
    if (!admin)
        return;
    for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++)
        drop(&admin->connections[i]);
    close(admin->listener);
    if (admin->owns_path)
        unlink(admin->path);
    free(admin->path);
    free(admin);
}

static void accept_one(struct admin *admin)
{
    int fd = accept4(admin->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED) /* no descriptor: who knocks goes on */
            poll(NULL, 0, ADMIN_PAUSE_MS);
        return;
    }
    struct connection *oldest = &admin->connections[0]; /* a free one has number 0 */
    for (unsigned i = 1; i < ADMIN_CONNECTIONS; i++)
        if (admin->connections[i].number < oldest->number)
            oldest = &admin->connections[i];
    drop(oldest);
    oldest->fd = fd;
    oldest->number = ++admin->accepted;
}

static struct admin_peer peer_of(int fd)
{
    struct ucred credentials = {.uid = (uid_t)-1};
    socklen_t len = sizeof(credentials);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len); /* else: as initialised */
    return (struct admin_peer){.pid = credentials.pid, .uid = credentials.uid, .fd = fd};
}

static void answer_command(struct admin *admin, struct connection *connection)
{
    FILE *out = open_memstream(&connection->answer, &connection->answer_len);
    if (!out) {
        drop(connection);
        return;
    }
    struct admin_peer peer = peer_of(connection->fd);
    admin->answer(admin->context, &peer, connection->command, out);
    if (fclose(out) != 0)
        drop(connection);
}

/* Reads until the newline; a line that is too long is not a command. */
static void read_some(struct admin *admin, struct connection *connection)
{
    size_t room = ADMIN_COMMAND_BYTES - 1 - connection->received;
    ssize_t got = read(connection->fd, connection->command + connection->received, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        drop(connection);
        return;
    }
    connection->received += (size_t)got;
    char *end = memchr(connection->command, '\n', connection->received); /* past zero bytes too */
    if (end) {
        *end = 0;
        answer_command(admin, connection);
    } else if (connection->received == ADMIN_COMMAND_BYTES - 1) {
        drop(connection);
    }
}

static void write_some(struct connection *connection)
{
    ssize_t put = send(connection->fd, connection->answer + connection->sent,
                       connection->answer_len - connection->sent, MSG_NOSIGNAL);
    if (put < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    connection->sent += put < 0 ? 0 : (size_t)put;
    if (put < 0 || connection->sent == connection->answer_len)
        drop(connection);
}

/* The fds, then the listener and the connections. */
static nfds_t fill_poll(const struct admin *admin, struct pollfd *polled, unsigned fd_count)
{
    if (!admin)
        return fd_count;
    polled[fd_count] = (struct pollfd){.fd = admin->listener, .events = POLLIN};
    for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++) {
        const struct connection *connection = &admin->connections[i];
        polled[fd_count + 1 + i] =
            (struct pollfd){.fd = connection->fd, .events = connection->answer ? POLLOUT : POLLIN};
    }
    return fd_count + 1 + ADMIN_CONNECTIONS;
}

static void serve_connections(struct admin *admin, const struct pollfd *polled)
{
    for (unsigned i = 0; i < ADMIN_CONNECTIONS; i++) {
        struct connection *connection = &admin->connections[i];
        if (!polled[1 + i].revents)
            continue;
        if (connection->answer)
            write_some(connection);
        else
            read_some(admin, connection);
    }
    if (polled[0].revents)
        accept_one(admin);
}

int admin_run(struct admin *admin, const int *fds, unsigned fd_count, int timeout_ms)
{
    struct pollfd polled[ADMIN_MAX_FDS + 1 + ADMIN_CONNECTIONS];
    for (unsigned i = 0; i < fd_count; i++)
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    nfds_t count = fill_poll(admin, polled, fd_count);
    int ready = poll(polled, count, timeout_ms);
    if (ready < 0 && errno != EINTR) { /* EINTR: a debugger; else more than RLIMIT_NOFILE allows */
        admin = NULL;                  /* the fds come first */
        ready = poll(polled, fd_count, timeout_ms);
    }
    if (ready <= 0)
        return -1;
    for (unsigned i = 0; i < fd_count; i++)
        if (polled[i].revents)
            return (int)i;
    if (admin)
        serve_connections(admin, polled + fd_count);
    return -1;
}

int admin_ask(const char *path, const char *command, FILE *out)
{
    struct sockaddr_un address;
    int result = listen_make_address(path, &address);
    if (result)
        return result;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct timeval limit = {.tv_sec = ADMIN_ASK_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    char line[ADMIN_COMMAND_BYTES];
    int len = snprintf(line, sizeof(line), "%s\n", command);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        send(fd, line, (size_t)len, MSG_NOSIGNAL) < 0)
        result = -errno;
    char bytes[4096];
    ssize_t got = 0;
    bool is_answered = false;
    while (!result && (got = read(fd, bytes, sizeof(bytes))) > 0) {
        fwrite(bytes, 1, (size_t)got, out);
        is_answered = true;
    }
    if (!result && got < 0)
        result = errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (!result && !is_answered)
        result = -ECONNRESET; /* hung up: it was closed for others, or is stopping */
    close(fd);
    return result;
}
