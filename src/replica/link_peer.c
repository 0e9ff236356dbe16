/* Written at once as far as the socket takes it, else when epoll says that there is room. Read
 * whenever there is something, and taken out of the reader one reply at a time, so that whoever
 * asks for events gets one per call without a queue of them. */
#include "replica/link_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int peer_init(struct link_peer *peer, const struct redis_address *address, uint32_t calls)
{
    *peer = (struct link_peer){.address = *address, .fd = -1, .call_size = calls};
    peer->calls = calloc(calls, sizeof(*peer->calls));
    return peer->calls ? 0 : -ENOMEM;
}

void peer_deinit(struct link_peer *peer)
{
    peer_close(peer);
    redis_buffer_free(&peer->out);
    free(peer->calls);
    peer->calls = NULL;
}

void peer_close(struct link_peer *peer)
{
    link_tls_close(peer->tls);
    peer->tls = NULL;
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    redis_reader_destroy(peer->reader);
    peer->reader = NULL;
    redis_buffer_empty(&peer->out);
    peer->written = 0;
    peer->may_have_replies = peer->is_broken = false;
    peer->state = PEER_CLOSED;
}

static int fail(struct link_peer *peer, const char *problem, int result)
{
    snprintf(peer->problem, sizeof(peer->problem), "%s", problem);
    return result;
}

static int open_unix(struct link_peer *peer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%.*s", (int)REDIS_MAX_PATH,
             peer->address.host);
    peer->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer->fd < 0 || connect(peer->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return fail(peer, strerror(errno), -errno);
    return 0;
}

static int open_address(struct link_peer *peer, uint32_t number)
{
    const struct sockaddr *address = (const struct sockaddr *)&peer->found.at[number];
    const int on = 1;

    peer->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer->fd < 0)
        return fail(peer, strerror(errno), -errno);
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(peer->fd, address, peer->found.len[number]) < 0 && errno != EINPROGRESS)
        return fail(peer, strerror(errno), -errno);
    return 0;
}

static int open_network(struct link_peer *peer)
{
    int result = -EHOSTUNREACH;

    for (uint32_t i = 0; i < peer->found.count && result; i++) {
        if (peer->fd >= 0)
            close(peer->fd);
        result = open_address(peer, i);
    }
    return result;
}

int peer_connect(struct link_peer *peer, struct link_tls_context *tls, int epoll, uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = index};
    int result = peer->address.port[0] == '\0' ? open_unix(peer) : open_network(peer);

    if (result == 0 && tls && !(peer->tls = link_tls_open(tls, peer->fd, peer->address.host)))
        result = fail(peer, "no memory for TLS", -ENOMEM);
    if (result == 0 && !(peer->reader = redis_reader_create()))
        result = fail(peer, "no memory", -ENOMEM);
    if (result == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, peer->fd, &event) < 0)
        result = fail(peer, strerror(errno), -errno);
    if (result) {
        peer_close(peer);
        return result;
    }
    peer->is_watching_out = true;
    peer->state = PEER_CONNECTING;
    return 0;
}

static int explain(struct link_peer *peer, ssize_t result)
{
    if (result == 0)
        return fail(peer, "it closed the connection", -ECONNRESET);
    if (result == -EPROTO)
        return fail(peer, peer->tls ? link_tls_problem(peer->tls) : "not understood", -EPROTO);
    return fail(peer, strerror((int)-result), (int)result);
}

static ssize_t read_some(struct link_peer *peer, void *bytes, size_t size)
{
    if (peer->tls)
        return link_tls_read(peer->tls, bytes, size);
    const ssize_t count = recv(peer->fd, bytes, size, 0);
    return count < 0 ? -errno : count;
}

static ssize_t write_some(struct link_peer *peer)
{
    const char *bytes = peer->out.bytes + peer->written;
    const size_t len = peer->out.len - peer->written;

    if (peer->tls)
        return link_tls_write(peer->tls, bytes, len);
    const ssize_t count = send(peer->fd, bytes, len, MSG_NOSIGNAL);
    return count < 0 ? -errno : count;
}

static bool is_later(ssize_t result)
{
    return result == -EAGAIN || result == -EWOULDBLOCK || result == -EINTR;
}

static int read_all(struct link_peer *peer)
{
    char bytes[65536];

    for (;;) {
        const ssize_t count = read_some(peer, bytes, sizeof(bytes));
        if (is_later(count))
            return 0;
        if (count <= 0)
            return explain(peer, count);
        peer->bytes_in += (uint64_t)count;
        peer->may_have_replies = true;
        const int result = redis_reader_feed(peer->reader, bytes, (size_t)count);
        if (result)
            return fail(peer, "its replies have no end", result);
        if ((size_t)count < sizeof(bytes) && !peer->tls)
            return 0;
    }
}

static int write_all(struct link_peer *peer)
{
    while (peer->written < peer->out.len) {
        const ssize_t count = write_some(peer);
        if (is_later(count))
            return 0;
        if (count <= 0)
            return explain(peer, count);
        peer->bytes_out += (uint64_t)count;
        peer->written += (size_t)count;
    }
    redis_buffer_empty(&peer->out);
    peer->written = 0;
    return 0;
}

/* Has the connection come about? */
static int finish_connecting(struct link_peer *peer)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int wrong = 0;
    socklen_t size = sizeof(wrong);

    if (getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &wrong, &size) < 0)
        wrong = errno;
    if (wrong)
        return fail(peer, strerror(wrong), -wrong);
    if (getpeername(peer->fd, (struct sockaddr *)&address, &len) == 0)
        peer->state = PEER_GREETING;
    return 0;
}

static void watch(struct link_peer *peer, int epoll, uint32_t index)
{
    const bool wants_out = peer->state == PEER_CONNECTING || peer->written < peer->out.len ||
                           (peer->tls && link_tls_wants_write(peer->tls));

    if (wants_out == peer->is_watching_out)
        return;
    struct epoll_event event = {.events = EPOLLIN | (wants_out ? (uint32_t)EPOLLOUT : 0),
                                .data.u32 = index};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, peer->fd, &event) == 0)
        peer->is_watching_out = wants_out;
}

void peer_io(struct link_peer *peer, int epoll, uint32_t index)
{
    int result = 0;

    if (peer->state < PEER_CONNECTING || peer->is_broken)
        return;
    if (peer->state == PEER_CONNECTING)
        result = finish_connecting(peer);
    if (result == 0 && peer->state != PEER_CONNECTING) {
        result = write_all(peer);
        if (result == 0)
            result = read_all(peer);
        if (result == 0 && peer->tls) /* what was read may be what a write waited for */
            result = write_all(peer);
    }
    peer->is_broken = result != 0;
    peer->broken = result;
    if (result == 0)
        watch(peer, epoll, index);
}

int peer_next_reply(struct link_peer *peer, struct redis_value **ret_reply,
                    struct peer_call *ret_call)
{
    if (!peer->may_have_replies || !peer->reader)
        return 0;
    const int result = redis_reader_next(peer->reader, ret_reply);
    if (result < 0)
        return fail(peer, "what it says is not Redis' protocol", -EPROTO);
    if (result == 0) {
        peer->may_have_replies = false;
        return 0;
    }
    if (!peer_drop_call(peer, ret_call)) {
        redis_value_free(*ret_reply);
        return fail(peer, "it replies without being asked", -EPROTO);
    }
    return 1;
}

int peer_expect(struct link_peer *peer, enum peer_call_kind kind, uint32_t partition,
                uint64_t now_ns)
{
    if (peer->call_count == peer->call_size)
        return -ENOMEM;
    const uint32_t at = (peer->call_first + peer->call_count++) % peer->call_size;
    peer->calls[at] = (struct peer_call){.kind = kind, .partition = partition, .since_ns = now_ns};
    return 0;
}

const struct peer_call *peer_oldest(const struct link_peer *peer)
{
    return peer->call_count > 0 ? &peer->calls[peer->call_first] : NULL;
}

bool peer_drop_call(struct link_peer *peer, struct peer_call *ret_call)
{
    if (peer->call_count == 0)
        return false;
    *ret_call = peer->calls[peer->call_first];
    peer->call_first = (peer->call_first + 1) % peer->call_size;
    peer->call_count--;
    return true;
}
