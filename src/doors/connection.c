#include "doors/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "doors/tls.h"

static uint8_t *input_of(const struct loop *loop, const struct connection *connection)
{
    size_t index = (size_t)(connection - loop->connections);
    return loop->buffers + index * (LOOP_INPUT_BYTES + LOOP_OUTPUT_BYTES);
}

static uint8_t *output_of(const struct loop *loop, const struct connection *connection)
{
    return input_of(loop, connection) + LOOP_INPUT_BYTES;
}

static struct loop_call call_of(struct loop *loop, struct connection *connection)
{
    loop->engine.rule_counters = connection->listener->rule_counters;
    return (struct loop_call){
        .engine = &loop->engine,
        .config = loop->engine.config,
        .quota = &loop->options.quota,
        .now = &loop->now,
        .is_local = connection->is_local,
        .peer = &connection->peer,
        .certificate = connection->channel.tls ? tls_peer(connection->channel.tls) : NULL,
        .state = connection->state,
        .connection = connection->number,
        .context = connection->listener->context,
    };
}

void connection_drop(struct loop *loop, struct connection *connection)
{
    const struct loop_call call = call_of(loop, connection);
    if (connection->listener->protocol->end)
        connection->listener->protocol->end(&call);
    channel_close(&connection->channel); /* which takes it out of the epoll set, too */
    connection->next_free = loop->first_free;
    loop->first_free = (uint32_t)(connection - loop->connections);
}

static void refuse(int fd, const struct listener *listener)
{
    const struct loop_protocol *protocol = listener->protocol;
    if (*protocol->full && !listener->has_tls)
        send(fd, protocol->full, strlen(protocol->full), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

void connection_take(struct loop *loop, const struct listener *listener, int fd,
                     const struct sockaddr_storage *peer)
{
    const int on = 1;
    struct tls_context *tls = listener->has_tls ? loop->engine.config->tls.context : NULL;
    struct channel channel = {.fd = fd};
    uint32_t index = loop->first_free;
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u64 = connection_tag(TAG_CONNECTION, index)};
    if (index == loop->options.connections || (listener->has_tls && !tls) ||
        channel_open(&channel, fd, tls, listener->protocol->alpn)) {
        refuse(fd, listener);
        return;
    }
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        channel_close(&channel);
        return;
    }
    struct connection *connection = &loop->connections[index];
    loop->first_free = connection->next_free;
    *connection = (struct connection){
        .channel = channel,
        .events = EPOLLIN,
        .listener = listener,
        .is_local = config_is_loopback((const struct sockaddr *)peer),
        .number = ++loop->accepted,
        .active_ns = loop->boot_ns,
        .peer = *peer,
    };
    if (peer->ss_family != AF_UNIX) /* a wish: without it answers may only be later */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* ---- bytes in, bytes out ---- */

/* Asks for the events that the connection waits for. */
static void set_interest(struct loop *loop, struct connection *connection)
{
    struct epoll_event event = {
        .events = channel_events(&connection->channel, connection->out_len > 0),
        .data.u64 = connection_tag(TAG_CONNECTION, (size_t)(connection - loop->connections)),
    };
    if (connection->events != event.events)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, connection->channel.fd, &event);
    connection->events = event.events;
}

/* False: the peer is gone. All is written if out_len is 0 afterwards. */
static bool flush(struct loop *loop, struct connection *connection)
{
    while (connection->out_sent < connection->out_len) {
        ssize_t put =
            channel_write(&connection->channel, output_of(loop, connection) + connection->out_sent,
                          connection->out_len - connection->out_sent);
        if (put < 0) {
            if (!connection->unread_since_ns)
                connection->unread_since_ns = loop->boot_ns;
            return put == -EAGAIN;
        }
        connection->out_sent += (size_t)put;
        connection->active_ns = loop->boot_ns;
    }
    connection->unread_since_ns = 0;
    connection->out_len = connection->out_sent = 0;
    return true;
}

/* Gives the protocol what has arrived. True: something was taken or is to be closed. */
static bool consume(struct loop *loop, struct connection *connection)
{
    const struct listener *listener = connection->listener;
    uint8_t *input = input_of(loop, connection);
    struct loop_input in = {.bytes = input, .len = connection->in_len};
    struct loop_output out = {
        .bytes = output_of(loop, connection),
        .len = connection->out_len,
        .size = LOOP_OUTPUT_BYTES,
    };
    const struct loop_call call = call_of(loop, connection);
    if ((in.len == 0 && !connection->has_more) ||
        out.size - out.len < listener->protocol->reply_bytes)
        return false;
    connection->is_closing = listener->protocol->consume(&call, &in, &out) == LOOP_CLOSE;
    ASSERT(in.used <= in.len && out.len <= out.size);
    connection->out_len = out.len;
    connection->in_len -= in.used;
    connection->has_more = in.has_more;
    if (in.used)
        memmove(input, input + in.used, connection->in_len);
    if (connection->in_len == 0 || in.used)
        connection->half_since_ns = 0;
    if (connection->in_len && in.has_half && !connection->half_since_ns)
        connection->half_since_ns = loop->boot_ns;
    /* a request that fills the buffer and is not whole never will be */
    connection->is_closing |= connection->in_len == LOOP_INPUT_BYTES && in.has_half;
    return in.used || in.has_more || connection->is_closing;
}

static void start_draining(struct loop *loop, struct connection *connection)
{
    connection->is_draining = true;
    connection->in_len = 0;
    connection->half_since_ns = 0;
    connection->active_ns = loop->boot_ns;
    channel_finish(&connection->channel);
}

/* Answers what is there until it is answered, or the peer does not read. False: to be dropped. */
static bool answer(struct loop *loop, struct connection *connection)
{
    for (;;) {
        bool has_taken = !connection->is_closing && consume(loop, connection);
        bool needs_room =
            LOOP_OUTPUT_BYTES - connection->out_len < connection->listener->protocol->reply_bytes;
        if (has_taken && !needs_room && !connection->is_closing)
            continue; /* joined with what comes next */
        if (!flush(loop, connection))
            return false;
        if (connection->out_len > 0)
            return true;
        if (connection->is_closing) {
            start_draining(loop, connection);
            return true;
        }
        if (!has_taken && !needs_room)
            return true;
    }
}

/* Who speaks plainly where TLS should be is told so, and then heard no more. */
static bool take_plain(struct loop *loop, struct connection *connection)
{
    const char *plain = connection->listener->protocol->plain;
    if (!plain)
        return false;
    send(connection->channel.fd, plain, strlen(plain), MSG_NOSIGNAL | MSG_DONTWAIT);
    start_draining(loop, connection);
    return true;
}

/* False: to be dropped. */
static bool receive(struct loop *loop, struct connection *connection)
{
    uint8_t *input = input_of(loop, connection);
    if (connection->is_draining)
        return channel_drain(&connection->channel, input, LOOP_INPUT_BYTES);
    ssize_t got = channel_read(&connection->channel, input + connection->in_len,
                               LOOP_INPUT_BYTES - connection->in_len);
    if (got == -EOPNOTSUPP)
        return take_plain(loop, connection);
    if (got <= 0) /* the end: what it asked is answered, for nothing is read while answers wait */
        return got == -EAGAIN;
    connection->in_len += (size_t)got;
    connection->active_ns = loop->boot_ns;
    return true;
}

void connection_serve(struct loop *loop, struct connection *connection)
{
    bool is_alive = true;
    if (connection->channel.fd < 0)
        return;
    if (connection->out_len > 0)
        is_alive = flush(loop, connection);
    else
        is_alive = receive(loop, connection);
    for (;;) {
        if (is_alive && connection->out_len == 0 && !connection->is_draining)
            is_alive = answer(loop, connection);
        if (!is_alive || connection->out_len > 0 || connection->is_draining ||
            !channel_has_pending(&connection->channel))
            break;
        is_alive = receive(loop, connection);
    }
    if (is_alive)
        set_interest(loop, connection);
    else
        connection_drop(loop, connection);
}

/* Says goodbye where that finds room, and closes. */
static void end_silence(struct loop *loop, struct connection *connection)
{
    const char *late = connection->listener->protocol->late;
    if (connection->half_since_ns && *late && connection->out_len == 0) {
        channel_write(&connection->channel, late, strlen(late));
        channel_finish(&connection->channel);
    }
    connection_drop(loop, connection);
}

/* Lets the protocol speak unasked. False: to be dropped. */
static bool wake(struct loop *loop, struct connection *connection, enum loop_reason reason)
{
    const struct loop_call call = call_of(loop, connection);
    struct loop_output out = {.bytes = output_of(loop, connection), .size = LOOP_OUTPUT_BYTES};
    if (connection->is_closing || connection->is_draining || connection->out_len)
        return true;
    connection->is_closing = connection->listener->protocol->wake(&call, reason, &out);
    connection->out_len = out.len;
    connection->has_more |= out.len == out.size;
    return (!out.len && !connection->is_closing) || answer(loop, connection);
}

static void wake_or_drop(struct loop *loop, struct connection *connection, enum loop_reason reason)
{
    if (wake(loop, connection, reason))
        set_interest(loop, connection);
    else
        connection_drop(loop, connection);
}

void connection_look_at(struct loop *loop, struct connection *connection)
{
    const bool is_writing = connection->out_len > 0;
    const bool has_wake = connection->listener->protocol->wake != NULL;
    const uint64_t limit_ns = connection->is_draining ? DRAIN_NS : loop->options.idle_ns;
    uint64_t since_ns = connection->active_ns;
    if (is_writing)
        since_ns = connection->unread_since_ns;
    else if (connection->half_since_ns)
        since_ns = connection->half_since_ns;
    if (has_wake && !connection->is_draining && !is_writing &&
        channel_is_ready(&connection->channel))
        wake_or_drop(loop, connection, LOOP_TICK);
    else if (loop->boot_ns - since_ns >= limit_ns)
        end_silence(loop, connection);
}

bool connection_is_busy(const struct connection *connection)
{
    return connection->channel.fd >= 0 && !connection->is_draining &&
           (connection->in_len || connection->out_len || connection->has_more);
}

void connection_leave(struct loop *loop, struct connection *connection)
{
    if (connection->is_draining)
        return;
    connection_serve(loop, connection);
    if (connection->channel.fd < 0 || connection->is_draining || connection_is_busy(connection))
        return;
    start_draining(loop, connection);
    set_interest(loop, connection);
}

void connection_say_goodbye(struct loop *loop, struct connection *connection)
{
    if (channel_is_ready(&connection->channel))
        wake_or_drop(loop, connection, LOOP_STOP);
}
