#include "doors/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "doors/connection.h"
#include "doors/listen.h"
#include "engine/policy.h"
#include "obs/log.h"
#include "sys/memory.h"

#define EVENTS 64   /* of one batch */
#define ACCEPTS 64  /* of one listener in one batch */
#define WAIT_MS 100 /* publish.h wants us back so often; how often silence is looked for */
#define GOODBYE_NS 100000000ull
#define LEAVE_NS 200000000ull
#define SPARE_DESCRIPTORS 64 /* beside connections: sockets, rings, files */
/* Told through the stop descriptor, which adds them up. */
#define ORDER_STOP 1u
#define ORDER_HOLD (1u << 16)
#define TIMED_PER_LOOK 100u /* answers in a tenth of a second whose latency is looked at */

static void watch_listener(struct loop *loop, struct listener *listener, bool is_on)
{
    struct epoll_event event = {
        .events = is_on ? EPOLLIN : 0,
        .data.u64 = connection_tag(TAG_LISTENER, (size_t)(listener - loop->listeners)),
    };
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, listener->fd, &event);
    listener->is_paused = !is_on;
}

/* One line when connections begin to wait for what they need, one when none does any more. */
static void say_short(struct listener *listener, int error)
{
    const bool is_short = error != EAGAIN;
    if (is_short && !listener->is_short)
        log_event(LOG_WARNING, "doors",
                  "%s: no connection can be taken: %s; those who come wait. LimitNOFILE= of the "
                  "service, or doors.connections, is what bounds them",
                  listener->protocol->name, strerror(error));
    else if (!is_short && listener->is_short)
        log_event(LOG_INFO, "doors", "%s: all connections that waited are taken",
                  listener->protocol->name);
    listener->is_short = is_short;
}

static void accept_some(struct loop *loop, struct listener *listener)
{
    for (unsigned i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage peer = {.ss_family = AF_UNIX};
        socklen_t len = sizeof(peer);
        int fd =
            accept4(listener->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            connection_take(loop, listener, fd, &peer);
        } else if (errno != ECONNABORTED && errno != EINTR) {
            if (errno != EAGAIN) /* no descriptor: who knocks waits until the next look */
                watch_listener(loop, listener, false);
            say_short(listener, errno);
            return;
        }
    }
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

/* The last words of protocols that have some; then a moment for them to be read. */
static void say_goodbye(struct loop *loop)
{
    loop->stop_ns = loop->boot_ns;
    for (uint32_t i = 0; i < loop->options.connections; i++) {
        struct connection *connection = &loop->connections[i];
        if (connection->channel.fd < 0 || !connection->listener->protocol->wake)
            continue;
        loop->stop_ns = loop->boot_ns + GOODBYE_NS;
        connection_say_goodbye(loop, connection);
    }
}

/* From the clock of the batch of events to where the answers are with the kernel, as far as it
 * takes them: the latency of some of the decisions. */
static void serve_timed(struct loop *loop, struct connection *connection)
{
    struct latency *latency = connection->channel.fd < 0 ? NULL : connection->listener->latency;
    const struct counters *counters = loop->options.counters;
    const uint64_t before = counter_read(&counters->cell[COUNTER_CHECKS]);
    connection_serve(loop, connection);
    const uint64_t decided = counter_read(&counters->cell[COUNTER_CHECKS]) - before;
    if (latency && decided && sampling_is_due(&loop->timed, 1))
        latency_take(latency, &loop->timed, loop->boot_ns, decided);
}

static void admit(struct loop *loop, bool is_on)
{
    for (unsigned i = 0; i < loop->listener_count; i++)
        if (loop->listeners[i].is_paused == is_on)
            watch_listener(loop, &loop->listeners[i], is_on);
}

/* A last look at each connection, and no further one is let in. */
static void leave(struct loop *loop)
{
    if (!loop->is_leaving) {
        loop->is_leaving = true;
        loop->leave_by_ns = loop->boot_ns + LEAVE_NS;
        admit(loop, false);
        say_goodbye(loop);
        loop->stop_ns = 0;
    }
    for (uint32_t i = 0; i < loop->options.connections; i++)
        if (loop->connections[i].channel.fd >= 0)
            connection_leave(loop, &loop->connections[i]);
}

static bool has_left(const struct loop *loop)
{
    for (uint32_t i = 0; i < loop->options.connections; i++)
        if (connection_is_busy(&loop->connections[i]))
            return loop->boot_ns >= loop->leave_by_ns;
    return true;
}

static void start_clock(struct loop *loop)
{
    loop->boot_ns = clock_boot_ns();
    wall_resume(&loop->wall, loop->boot_ns, real_ns(loop),
                table_wall_floor_ns(loop->options.table, loop->boot_ns));
    sampling_init(&loop->timed, TIMED_PER_LOOK, loop->boot_ns, loop->boot_ns);
    loop->next_look_ns = loop->boot_ns + WAIT_MS * 1000000ull;
}

/* Holds nothing of a policy meanwhile: between two turns. */
static void be_at_rest(struct loop *loop)
{
    sem_post(&loop->at_rest);
    while (sem_wait(&loop->go) < 0 && errno == EINTR)
        ;
    loop->is_leaving = false;
    if (loop->is_gone) {
        loop->stop_ns = loop->boot_ns;
        return;
    }
    start_clock(loop); /* for a new one the table has come only now */
    admit(loop, true);
}

static void take_order(struct loop *loop)
{
    eventfd_t orders = 0;
    if (eventfd_read(loop->stop_fd, &orders) == 0) {
        loop->is_stopping |= orders % ORDER_HOLD != 0;
        if (orders >= ORDER_HOLD)
            leave(loop);
    }
}

static void look(struct loop *loop)
{
    if (loop->boot_ns < loop->next_look_ns)
        return;
    loop->next_look_ns = loop->boot_ns + WAIT_MS * 1000000ull;
    sampling_refresh(&loop->timed, loop->boot_ns);
    if (loop->engine.sampler)
        sampling_refresh(&loop->engine.sampler->sampling, loop->now.now_ns);
    for (uint32_t i = 0; i < loop->options.connections; i++)
        if (loop->connections[i].channel.fd >= 0)
            connection_look_at(loop, &loop->connections[i]);
    for (unsigned i = 0; i < loop->listener_count; i++)
        if (loop->listeners[i].is_paused && !loop->is_leaving)
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
            serve_timed(loop, &loop->connections[index]);
        else if (kind == TAG_LISTENER)
            accept_some(loop, &loop->listeners[index]);
        else
            take_order(loop);
    }
    if (loop->is_leaving)
        leave(loop);
    look(loop);
    if (loop->is_stopping && !loop->stop_ns)
        say_goodbye(loop);
    publish_leave(loop->options.publish, loop->options.reader);
}

static void *thread_main(void *argument)
{
    struct loop *loop = argument;
    struct epoll_event events[EVENTS];
    while (!loop->stop_ns || loop->boot_ns < loop->stop_ns) {
        const bool is_ending = loop->stop_ns || loop->is_leaving;
        if (loop->is_leaving && has_left(loop)) {
            be_at_rest(loop);
            continue;
        }
        int count = epoll_wait(loop->epoll_fd, events, EVENTS, is_ending ? 1 : WAIT_MS);
        turn(loop, events, count < 0 ? 0 : count);
    }
    publish_quit(loop->options.publish, loop->options.reader);
    return NULL;
}

/* ---- its life ---- */

static int watch_stop(struct loop *loop)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = connection_tag(TAG_STOP, 0)};
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
    loop->is_held = loop->is_leaving = options->is_held;
    sem_init(&loop->at_rest, 0, 0);
    sem_init(&loop->go, 0, 0);
    loop->epoll_fd = loop->stop_fd = -1;
    loop->connections = calloc(options->connections, sizeof(*loop->connections));
    loop->buffers_size = (size_t)options->connections * (LOOP_INPUT_BYTES + LOOP_OUTPUT_BYTES);
    int result = loop->connections ? 0 : -ENOMEM;
    void *buffers = NULL;
    if (!result)
        result = memory_reserve(loop->buffers_size, false, &buffers);
    loop->buffers = result ? NULL : buffers;
    for (uint32_t i = 0; loop->connections && i < options->connections; i++)
        loop->connections[i] = (struct connection){.channel.fd = -1, .next_free = i + 1};
    if (!result)
        result = watch_stop(loop);
    if (result) {
        loop_close(loop);
        return result;
    }
    listen_raise_descriptors(options->connections + SPARE_DESCRIPTORS);
    engine_init(&loop->engine, options->config, options->table, options->reader,
                options->thread_count);
    loop->engine.counters = options->counters;
    loop->engine.rule_counters = options->rule_counters;
    engine_share(&loop->engine, options->shared);
    loop->engine.sampler = options->sampler;
    *ret_loop = loop;
    return 0;
}

int loop_add(struct loop *loop, int fd, const struct loop_protocol *protocol, void *context)
{
    unsigned index = loop->listener_count;
    struct epoll_event event = {.events = loop->options.is_held ? 0 : EPOLLIN,
                                .data.u64 = connection_tag(TAG_LISTENER, index)};
    ASSERT(protocol->reply_bytes <= LOOP_OUTPUT_BYTES);
    if (index == LOOP_MAX_LISTENERS)
        return -ENOSPC;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    loop->listeners[index] = (struct listener){
        .fd = fd,
        .is_paused = loop->options.is_held,
        .protocol = protocol,
        .context = context,
        .rule_counters = loop->options.rule_counters,
    };
    loop->listener_count++;
    return 0;
}

int loop_add_tls(struct loop *loop, int fd, const struct loop_protocol *protocol, void *context)
{
    const int result = loop_add(loop, fd, protocol, context);
    if (!result)
        loop->listeners[loop->listener_count - 1].has_tls = true;
    return result;
}

void loop_count_apart(struct loop *loop, struct rule_counters *rule_counters,
                      struct latency *latency)
{
    struct listener *last = &loop->listeners[loop->listener_count - 1];
    last->rule_counters = rule_counters;
    last->latency = latency;
}

int loop_start(struct loop *loop)
{
    start_clock(loop);
    int result = -pthread_create(&loop->thread, NULL, thread_main, loop);
    loop->is_started = result == 0;
    if (loop->is_started) /* from here: the thread itself may be past what the sandbox allows */
        pthread_setname_np(loop->thread, "mete-door");
    return result;
}

void loop_hold(struct loop *loop)
{
    if (!loop || loop->is_held)
        return;
    loop->is_held = true;
    eventfd_write(loop->stop_fd, ORDER_HOLD);
}

void loop_wait_held(struct loop *loop)
{
    while (loop && sem_wait(&loop->at_rest) < 0 && errno == EINTR)
        ;
}

void loop_go_on(struct loop *loop)
{
    if (!loop || !loop->is_held)
        return;
    loop->is_held = false;
    sem_post(&loop->go);
}

void loop_close(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->is_started) {
        eventfd_write(loop->stop_fd, ORDER_STOP);
        loop->is_gone = loop->is_held;
        loop_go_on(loop);
        pthread_join(loop->thread, NULL);
    }
    for (uint32_t i = 0; loop->connections && i < loop->options.connections; i++)
        if (loop->connections[i].channel.fd >= 0)
            connection_drop(loop, &loop->connections[i]);
    for (unsigned i = 0; i < loop->listener_count; i++)
        close(loop->listeners[i].fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->stop_fd >= 0)
        close(loop->stop_fd);
    if (loop->buffers)
        memory_release(loop->buffers, loop->buffers_size);
    sem_destroy(&loop->at_rest);
    sem_destroy(&loop->go);
    free(loop->connections);
    free(loop);
}
