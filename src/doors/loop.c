#include "doors/loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/policy.h"
#include "obs/assert.h"
#include "sys/memory.h"

#define EVENTS 64   /* of one batch */
#define ACCEPTS 64  /* of one listener in one batch */
#define WAIT_MS 100 /* publish.h wants us back so often; how often silence is looked for */
#define DRAIN_NS 500000000ull
#define SPARE_DESCRIPTORS 64 /* beside connections: sockets, rings, files */

enum { TAG_CONNECTION, TAG_LISTENER, TAG_STOP };

struct connection {
    int fd; /* -1: free */
    uint32_t next_free;
    const struct listener *listener;
    bool is_local;
    bool is_closing;  /* as soon as what is there is written */
    bool is_draining; /* nothing more will be written */
    bool waits_to_write;
    uint64_t number;
    uint64_t active_ns;     /* boot time of the last byte in or out */
    uint64_t half_since_ns; /* of the first byte of half a request; 0: none is there */
    size_t in_len;
    size_t out_len, out_sent;
    struct sockaddr_storage peer;
    _Alignas(16) uint8_t state[LOOP_STATE_BYTES];
};

struct listener {
    int fd;
    bool is_paused; /* no descriptor was left */
    const struct loop_protocol *protocol;
    void *context;
};

struct loop {
    struct loop_options options;
    int epoll_fd, stop_fd;
    bool is_stopping, is_started;
    struct listener listeners[LOOP_MAX_LISTENERS];
    unsigned listener_count;
    struct connection *connections;
    uint8_t *buffers; /* input, then output, of each connection */
    size_t buffers_size;
    uint32_t first_free; /* connection_count: none */
    uint64_t accepted;
    pthread_t thread;
    struct engine engine;
    struct wall wall;
    struct instant now;
    uint64_t boot_ns; /* of now */
    uint64_t next_look_ns;
};

void loop_put(struct loop_output *out, const void *bytes, size_t len)
{
    ASSERT(len <= out->size - out->len);
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

/* ---- connections ---- */

static uint8_t *input_of(const struct loop *loop, const struct connection *connection)
{
    size_t index = (size_t)(connection - loop->connections);
    return loop->buffers + index * (LOOP_INPUT_BYTES + LOOP_OUTPUT_BYTES);
}

static uint8_t *output_of(const struct loop *loop, const struct connection *connection)
{
    return input_of(loop, connection) + LOOP_INPUT_BYTES;
}

static uint64_t tag(unsigned kind, size_t index)
{
    return (uint64_t)kind << 32 | index;
}

static void drop(struct loop *loop, struct connection *connection)
{
    close(connection->fd); /* which takes it out of the epoll set, too */
    connection->fd = -1;
    connection->next_free = loop->first_free;
    loop->first_free = (uint32_t)(connection - loop->connections);
}

static void refuse(int fd, const struct loop_protocol *protocol)
{
    if (*protocol->full)
        send(fd, protocol->full, strlen(protocol->full), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void take_connection(struct loop *loop, const struct listener *listener, int fd,
                            const struct sockaddr_storage *peer)
{
    const int on = 1;
    if (loop->first_free == loop->options.connections) {
        refuse(fd, listener->protocol);
        return;
    }
    uint32_t index = loop->first_free;
    struct connection *connection = &loop->connections[index];
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag(TAG_CONNECTION, index)};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        refuse(fd, listener->protocol);
        return;
    }
    loop->first_free = connection->next_free;
    *connection = (struct connection){
        .fd = fd,
        .listener = listener,
        .is_local = config_is_loopback((const struct sockaddr *)peer),
        .number = ++loop->accepted,
        .active_ns = loop->boot_ns,
        .peer = *peer,
    };
    if (peer->ss_family != AF_UNIX) /* a wish: without it answers may only be later */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void watch_listener(struct loop *loop, struct listener *listener, bool is_on)
{
    struct epoll_event event = {
        .events = is_on ? EPOLLIN : 0,
        .data.u64 = tag(TAG_LISTENER, (size_t)(listener - loop->listeners)),
    };
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, listener->fd, &event);
    listener->is_paused = !is_on;
}

static void accept_some(struct loop *loop, struct listener *listener)
{
    for (unsigned i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage peer = {.ss_family = AF_UNIX};
        socklen_t len = sizeof(peer);
        int fd =
            accept4(listener->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take_connection(loop, listener, fd, &peer);
        } else if (errno != ECONNABORTED && errno != EINTR) {
            if (errno != EAGAIN) /* no descriptor: who knocks waits until the next look */
                watch_listener(loop, listener, false);
            return;
        }
    }
}

/* ---- bytes in, bytes out ---- */

/* Asks for the events that the connection waits for. */
static void set_interest(struct loop *loop, struct connection *connection, bool waits_to_write)
{
    struct epoll_event event = {
        .events = waits_to_write ? EPOLLOUT : EPOLLIN,
        .data.u64 = tag(TAG_CONNECTION, (size_t)(connection - loop->connections)),
    };
    if (connection->waits_to_write != waits_to_write)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
    connection->waits_to_write = waits_to_write;
}

/* False: the peer is gone. All is written if out_len is 0 afterwards. */
static bool flush(struct loop *loop, struct connection *connection)
{
    while (connection->out_sent < connection->out_len) {
        ssize_t put = send(connection->fd, output_of(loop, connection) + connection->out_sent,
                           connection->out_len - connection->out_sent, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return errno == EAGAIN;
        connection->out_sent += (size_t)put;
        connection->active_ns = loop->boot_ns;
    }
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
    struct loop_call call = {
        .engine = &loop->engine,
        .config = loop->engine.config,
        .quota = &loop->options.quota,
        .now = &loop->now,
        .is_local = connection->is_local,
        .peer = &connection->peer,
        .state = connection->state,
        .connection = connection->number,
        .context = listener->context,
    };
    if (in.len == 0 || out.size - out.len < listener->protocol->reply_bytes)
        return false;
    connection->is_closing = listener->protocol->consume(&call, &in, &out) == LOOP_CLOSE;
    ASSERT(in.used <= in.len && out.len <= out.size);
    connection->out_len = out.len;
    connection->in_len -= in.used;
    if (in.used)
        memmove(input, input + in.used, connection->in_len);
    if (connection->in_len == 0 || in.used)
        connection->half_since_ns = 0;
    if (connection->in_len && in.has_half && !connection->half_since_ns)
        connection->half_since_ns = loop->boot_ns;
    /* a request that fills the buffer and is not whole never will be */
    connection->is_closing |= connection->in_len == LOOP_INPUT_BYTES && in.has_half;
    return in.used || connection->is_closing;
}

static void start_draining(struct loop *loop, struct connection *connection)
{
    connection->is_draining = true;
    connection->in_len = 0;
    connection->half_since_ns = 0;
    connection->active_ns = loop->boot_ns;
    shutdown(connection->fd, SHUT_WR);
    set_interest(loop, connection, false);
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
        if (connection->out_len > 0) {
            set_interest(loop, connection, true);
            return true;
        }
        if (connection->is_closing) {
            start_draining(loop, connection);
            return true;
        }
        if (!has_taken && !needs_room)
            break;
    }
    set_interest(loop, connection, false);
    return true;
}

static bool receive(struct loop *loop, struct connection *connection)
{
    ssize_t got = recv(connection->fd, input_of(loop, connection) + connection->in_len,
                       LOOP_INPUT_BYTES - connection->in_len, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got == 0)
        return false; /* what it asked is answered: nothing is read while answers wait */
    if (connection->is_draining)
        return true;
    connection->in_len += (size_t)got;
    connection->active_ns = loop->boot_ns;
    return true;
}

static void serve_connection(struct loop *loop, struct connection *connection)
{
    bool is_alive = true;
    if (connection->fd < 0)
        return;
    if (connection->waits_to_write)
        is_alive = flush(loop, connection);
    else
        is_alive = receive(loop, connection);
    if (is_alive && connection->out_len == 0 && !connection->is_draining)
        is_alive = answer(loop, connection);
    if (!is_alive)
        drop(loop, connection);
}

static uint64_t real_ns(const struct loop *loop)
{
    return shared_real_ns(loop->options.shared,
                          loop->boot_ns - table_time_base_ns(loop->options.table), clock_real_ns());
}

/* ---- the thread ---- */

static void read_clock(struct loop *loop)
{
    loop->boot_ns = clock_boot_ns();
    if (loop->boot_ns >= loop->next_look_ns)
        wall_update(&loop->wall, loop->boot_ns, real_ns(loop));
    loop->now = (struct instant){
        .now_ns = loop->boot_ns - table_time_base_ns(loop->options.table),
        .wall_ns = wall_at(&loop->wall, loop->boot_ns),
    };
}

/* Says goodbye where that finds room, and closes. */
static void end_silence(struct loop *loop, struct connection *connection)
{
    const char *late = connection->listener->protocol->late;
    if (connection->half_since_ns && *late && connection->out_len == 0)
        send(connection->fd, late, strlen(late), MSG_NOSIGNAL);
    drop(loop, connection);
}

/* Now and then: who is silent for too long, or needs too long for one request. */
static void look(struct loop *loop)
{
    if (loop->boot_ns < loop->next_look_ns)
        return;
    loop->next_look_ns = loop->boot_ns + WAIT_MS * 1000000ull;
    for (uint32_t i = 0; i < loop->options.connections; i++) {
        struct connection *connection = &loop->connections[i];
        if (connection->fd < 0)
            continue;
        uint64_t since_ns =
            connection->half_since_ns ? connection->half_since_ns : connection->active_ns;
        uint64_t limit_ns = connection->is_draining ? DRAIN_NS : loop->options.idle_ns;
        if (loop->boot_ns - since_ns >= limit_ns)
            end_silence(loop, connection);
    }
    for (unsigned i = 0; i < loop->listener_count; i++)
        if (loop->listeners[i].is_paused)
            watch_listener(loop, &loop->listeners[i], true);
}

/* A descriptor has at most one event in a batch, so a place that gets a new connection in between
 * has no event of the old one left. */
static void turn(struct loop *loop, const struct epoll_event *events, int count)
{
    const struct policy *policy = publish_enter(loop->options.publish, loop->options.reader);
    engine_use(&loop->engine, policy->config, policy->sweep_group_ns);
    read_clock(loop);
    for (int i = 0; i < count; i++) {
        uint32_t index = (uint32_t)events[i].data.u64;
        unsigned kind = (unsigned)(events[i].data.u64 >> 32);
        if (kind == TAG_CONNECTION)
            serve_connection(loop, &loop->connections[index]);
        else if (kind == TAG_LISTENER)
            accept_some(loop, &loop->listeners[index]);
        else
            loop->is_stopping = true;
    }
    look(loop);
    publish_leave(loop->options.publish, loop->options.reader);
}

static void *thread_main(void *argument)
{
    struct loop *loop = argument;
    struct epoll_event events[EVENTS];
    while (!loop->is_stopping) {
        int count = epoll_wait(loop->epoll_fd, events, EVENTS, WAIT_MS);
        turn(loop, events, count < 0 ? 0 : count);
    }
    publish_quit(loop->options.publish, loop->options.reader);
    return NULL;
}

/* ---- its life ---- */

static void raise_descriptors(rlim_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int watch_stop(struct loop *loop)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag(TAG_STOP, 0)};
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->stop_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->stop_fd, &event) < 0)
        return -errno;
    return 0;
}

int loop_open(const struct loop_options *options, struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return -ENOMEM;
    loop->options = *options;
    loop->epoll_fd = loop->stop_fd = -1;
    loop->connections = calloc(options->connections, sizeof(*loop->connections));
    loop->buffers_size = (size_t)options->connections * (LOOP_INPUT_BYTES + LOOP_OUTPUT_BYTES);
    int result = loop->connections ? 0 : -ENOMEM;
    void *buffers = NULL;
    if (!result)
        result = memory_reserve(loop->buffers_size, false, &buffers);
    loop->buffers = result ? NULL : buffers;
    for (uint32_t i = 0; loop->connections && i < options->connections; i++)
        loop->connections[i] = (struct connection){.fd = -1, .next_free = i + 1};
    if (!result)
        result = watch_stop(loop);
    if (result) {
        loop_close(loop);
        return result;
    }
    raise_descriptors(options->connections + SPARE_DESCRIPTORS);
    engine_init(&loop->engine, options->config, options->table, options->reader,
                options->thread_count);
    loop->engine.counters = options->counters;
    loop->engine.rule_counters = options->rule_counters;
    engine_share(&loop->engine, options->shared);
    *ret_loop = loop;
    return 0;
}

int loop_add(struct loop *loop, int fd, const struct loop_protocol *protocol, void *context)
{
    unsigned index = loop->listener_count;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag(TAG_LISTENER, index)};
    ASSERT(protocol->reply_bytes <= LOOP_OUTPUT_BYTES);
    if (index == LOOP_MAX_LISTENERS)
        return -ENOSPC;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    loop->listeners[index] = (struct listener){.fd = fd, .protocol = protocol, .context = context};
    loop->listener_count++;
    return 0;
}

int loop_start(struct loop *loop)
{
    loop->boot_ns = clock_boot_ns();
    wall_init(&loop->wall, loop->boot_ns, real_ns(loop));
    loop->next_look_ns = loop->boot_ns + WAIT_MS * 1000000ull;
    int result = -pthread_create(&loop->thread, NULL, thread_main, loop);
    loop->is_started = result == 0;
    return result;
}

void loop_close(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->is_started) {
        eventfd_write(loop->stop_fd, 1);
        pthread_join(loop->thread, NULL);
    }
    for (uint32_t i = 0; loop->connections && i < loop->options.connections; i++)
        if (loop->connections[i].fd >= 0)
            close(loop->connections[i].fd);
    for (unsigned i = 0; i < loop->listener_count; i++)
        close(loop->listeners[i].fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->stop_fd >= 0)
        close(loop->stop_fd);
    if (loop->buffers)
        memory_release(loop->buffers, loop->buffers_size);
    free(loop->connections);
    free(loop);
}
