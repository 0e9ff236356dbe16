/* One object, one thread, one epoll over all connections.
 *
 * A batch goes to whoever has its partition and is answered or failed, once. What fails it: the
 * connection breaks or is silent for timeout_ns, Redis refuses (memory, a busy script, a replica),
 * the partition has moved, the function is gone. The sender tries again with the same number, so
 * nothing is applied twice; here it is only seen to that the next try is not too early (backoff:
 * per connection 20 ms to 1 s, per partition 2 ms to 1 s, doubled each time, with jitter) and goes
 * to the right place.
 *
 * Errors that say that a connection is of no use now (a data set that is loading, rights that were
 * taken away, a master that became a replica) close it, and it is greeted anew. */
#include "replica/link_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "sys/clock.h"
#include "sys/memory.h"

#define PASSWORD_SIZE 512u
#define FIRST_WAIT_NS (20 * LINK_MS)
#define LONGEST_SLEEP_NS (100 * LINK_MS)

static int keep_options(struct link *link, const struct link_options *options, char *error,
                        size_t size)
{
    bool is_locked;
    void *memory;
    const char *user = options->user ? options->user : "";

    if (strlen(options->namespace_name) > LINK_MAX_NAMESPACE ||
        strlen(user) >= sizeof(link->user) || options->partitions == 0 ||
        options->partitions > BATCH_MAX_PARTITIONS) {
        snprintf(error, size,
                 "namespace and user have at most 64 and 63 bytes, partitions are 1 to "
                 "%u",
                 BATCH_MAX_PARTITIONS);
        return -EINVAL;
    }
    snprintf(link->namespace_name, sizeof(link->namespace_name), "%s", options->namespace_name);
    snprintf(link->user, sizeof(link->user), "%s", user);
    if (options->password) {
        if (strlen(options->password) >= PASSWORD_SIZE) {
            snprintf(error, size, "a password has at most %u bytes", PASSWORD_SIZE - 1);
            return -EINVAL;
        }
        if (memory_secret_reserve(PASSWORD_SIZE, &is_locked, &memory))
            return -ENOMEM;
        link->password = memory;
        memcpy(link->password, options->password, strlen(options->password) + 1);
    }
    return link->url.is_tls ? link_tls_context_create(&options->tls, &link->tls, error, size) : 0;
}

static int make_partitions(struct link *link, uint32_t count)
{
    char tag[LINK_MAX_NAMESPACE + 32];

    link->partitions = calloc(count, sizeof(*link->partitions));
    link->message = link_message_create(link->namespace_name);
    if (!link->partitions || !link->message)
        return -ENOMEM;
    link->partition_count = count;
    for (uint32_t i = 0; i < count; i++) {
        link_message_tag(link->message, i, tag, sizeof(tag));
        link->partitions[i] = (struct link_partition){
            .slot = cluster_slot(tag), .peer = LINK_NOBODY, .ask = LINK_NOBODY};
    }
    link_message_namespace_tag(link->message, tag, sizeof(tag));
    link->home_slot = cluster_slot(tag);
    for (uint32_t i = 0; i < link->url.seed_count; i++) {
        if (peer_init(&link->peers[i], &link->url.seeds[i], 2 * count + 16))
            return -ENOMEM;
        link->peers[i].fault = LINK_STARTING;
        link->peer_count++;
    }
    cluster_use_home(link);
    return 0;
}

static int make_epoll(struct link *link)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = LINK_RESOLVED};
    int result;

    link->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (link->epoll < 0)
        return -errno;
    result = link_resolver_create(&link->resolver);
    if (result)
        return result;
    if (epoll_ctl(link->epoll, EPOLL_CTL_ADD, link_resolver_descriptor(link->resolver), &event) < 0)
        return -errno;
    return 0;
}

static int take_url(struct link *link, const char *text, char *error, size_t size)
{
    char problem[192];
    int result = redis_url_parse(text, &link->url, problem, sizeof(problem));

    if (result)
        snprintf(error, size, "the URL %s", problem);
    return result;
}

int link_open(const struct link_options *options, struct link **ret_link, char *error, size_t size)
{
    struct link *link = calloc(1, sizeof(*link));
    int result;

    snprintf(error, size, "no memory");
    if (!link)
        return -ENOMEM;
    result = make_epoll(link);
    if (result == 0)
        result = take_url(link, options->url, error, size);
    if (result == 0)
        result = keep_options(link, options, error, size);
    if (result == 0)
        result = link_script_init(&link->script);
    if (result == 0)
        result = make_partitions(link, options->partitions);
    link->token = options->token;
    if (result == 0 && link->token == 0 &&
        getrandom(&link->token, sizeof(link->token), 0) != sizeof(link->token))
        result = -EIO;
    if (result) {
        link_close(link);
        return result;
    }
    link->jitter = link->token | 1;
    link->node_id = options->node_id;
    link->timeout_ns = options->timeout_ns ? options->timeout_ns : 1000 * LINK_MS;
    link->state.fault = LINK_STARTING;
    link->state.since_ns = clock_boot_ns();
    snprintf(link->state.text, sizeof(link->state.text), "not connected yet");
    *ret_link = link;
    return 0;
}

int link_start(struct link *link)
{
    return link_resolver_start(link->resolver);
}

void link_close(struct link *link)
{
    if (!link)
        return;
    for (uint32_t i = 0; i < link->peer_count; i++)
        peer_deinit(&link->peers[i]);
    if (link->epoll >= 0)
        close(link->epoll);
    link_resolver_destroy(link->resolver);
    link_tls_context_destroy(link->tls);
    memory_secret_release(link->password, PASSWORD_SIZE);
    link_script_deinit(&link->script);
    link_message_destroy(link->message);
    free(link->partitions);
    free(link);
}

int link_descriptor(const struct link *link)
{
    return link->epoll;
}

void link_call_merge_name(const struct link *link, bool is_beat, struct link_call *ret_call)
{
    ret_call->is_script = link->is_script;
    if (link->is_script)
        ret_call->name = link->sha;
    else
        ret_call->name = is_beat ? link->script.beat : link->script.merge;
}

/* Half to all of the wait, so that nodes that lost the same Redis do not come back as one. */
uint64_t link_wait_longer(struct link *link, uint64_t *backoff_ns, uint64_t first_ns,
                          uint64_t most_ns)
{
    *backoff_ns = *backoff_ns == 0            ? first_ns
                  : *backoff_ns * 2 < most_ns ? *backoff_ns * 2
                                              : most_ns;
    link->jitter ^= link->jitter << 13;
    link->jitter ^= link->jitter >> 7;
    link->jitter ^= link->jitter << 17;
    return *backoff_ns / 2 + link->jitter % (*backoff_ns / 2);
}

void link_fail_partition(struct link *link, uint32_t index)
{
    struct link_partition *partition = &link->partitions[index];

    if (!partition->is_under_way)
        return;
    partition->is_under_way = false;
    partition->has_failed = true;
    link->failed_count++;
    link->state.failed++;
}

void link_drop_peer(struct link *link, uint32_t index, uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];
    struct peer_call call;

    peer_close(peer);
    while (peer_drop_call(peer, &call)) {
        if (call.kind == CALL_MERGE)
            link_fail_partition(link, call.partition);
        link->is_beating &= call.kind != CALL_BEAT;
    }
    peer->retry_at_ns =
        now_ns + link_wait_longer(link, &peer->backoff_ns, FIRST_WAIT_NS, LONGEST_WAIT_NS);
    if (!link->is_cluster && link->home == (int)index) {
        link->home = (int)((index + 1) % link->peer_count);
        cluster_use_home(link);
    }
}

/* Whatever there is to write goes out now, as far as it can. */
void link_flush_peer(struct link *link, uint32_t index)
{
    peer_io(&link->peers[index], link->epoll, index);
}

static void drop_broken(struct link *link, uint32_t index, uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];
    enum link_fault fault = LINK_UNREACHABLE;

    if (peer->broken == -EPROTO)
        fault = peer->tls ? LINK_INSECURE : LINK_GARBAGE;
    else if (peer->tls && peer->state == PEER_GREETING && peer->bytes_in == 0)
        fault = LINK_INSECURE; /* a Redis without TLS waits for the end of a line */
    fault_set(link, index, fault, peer->problem);
    link_drop_peer(link, index, now_ns);
}

int link_send(struct link *link, const struct batch *batch)
{
    struct link_partition *partition = &link->partitions[batch->partition];
    const uint64_t now_ns = clock_boot_ns();
    static const char *const asking[] = {"ASKING"};
    static const size_t asking_len[] = {6};
    struct link_call call;

    if (partition->is_under_way || partition->has_failed)
        return -EALREADY;
    const int at = partition->ask != LINK_NOBODY ? partition->ask : partition->peer;
    struct link_peer *peer = at == LINK_NOBODY ? NULL : &link->peers[at];
    if (!link->is_claimed || now_ns < partition->retry_at_ns || !peer ||
        peer->state != PEER_READY || peer->is_replica || peer->is_broken)
        return -EAGAIN;
    if (peer->call_count + 2 > peer->call_size)
        return -EAGAIN;
    if (partition->ask != LINK_NOBODY) {
        if (redis_format(&peer->out, 1, asking, asking_len))
            return -ENOMEM;
        peer_expect(peer, CALL_ASKING, 0, now_ns);
        partition->ask = LINK_NOBODY;
    }
    link_call_merge_name(link, false, &call);
    if (link_message_format(link->message, &call, batch, link->told_us, &peer->out))
        return -ENOMEM;
    peer_expect(peer, CALL_MERGE, batch->partition, now_ns);
    partition->is_under_way = true;
    partition->sequence = batch->sequence;
    link->state.sent++;
    link->state.keys_sent += batch->count;
    link_flush_peer(link, (uint32_t)at);
    return 0;
}

/* Takes replies until one is an answer. */
static bool take_replies(struct link *link, uint64_t now_ns)
{
    for (uint32_t i = 0; i < link->peer_count; i++) {
        struct link_peer *peer = &link->peers[i];
        struct redis_value *reply;
        struct peer_call call;
        int result;
        while ((result = peer_next_reply(peer, &reply, &call)) > 0) {
            const bool has_answer = reply_take(link, i, &call, reply, now_ns);
            redis_value_free(reply);
            if (has_answer)
                return true;
        }
        if (result < 0) {
            peer->is_broken = true;
            peer->broken = result;
        }
        if (peer->is_broken)
            drop_broken(link, i, now_ns);
    }
    return false;
}

static void tick_peer(struct link *link, uint32_t index, uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];
    const struct peer_call *oldest = peer_oldest(peer);
    uint64_t since_ns = peer->since_ns;

    if (peer->state == PEER_CLOSED) {
        if (!peer->is_wanted || now_ns < peer->retry_at_ns)
            return;
        peer->since_ns = now_ns;
        link->state.connects++;
        reach_peer(link, index, now_ns);
        return;
    }
    if (!peer->is_wanted && peer->call_count == 0) {
        link_drop_peer(link, index, now_ns);
        return;
    }
    if (peer->state == PEER_RESOLVING) {
        reach_peer(link, index, now_ns);
        return;
    }
    if (oldest)
        since_ns = oldest->since_ns;
    if ((oldest || peer->state == PEER_CONNECTING) && now_ns > since_ns + link->timeout_ns) {
        snprintf(peer->problem, sizeof(peer->problem), "no answer for %llu ms",
                 (unsigned long long)(link->timeout_ns / LINK_MS));
        peer->is_broken = true;
        peer->broken = -ETIMEDOUT;
        drop_broken(link, index, now_ns);
    }
}

static void tick(struct link *link, uint64_t now_ns)
{
    for (uint32_t i = 0; i < link->peer_count; i++)
        tick_peer(link, i, now_ns);
    cluster_refresh(link, now_ns);
    beat_send(link, now_ns);
}

static bool next_failed(struct link *link, struct link_event *ret_event)
{
    for (uint32_t i = 0; i < link->partition_count && link->failed_count > 0; i++) {
        if (!link->partitions[i].has_failed)
            continue;
        link->partitions[i].has_failed = false;
        link->failed_count--;
        *ret_event = (struct link_event){.kind = LINK_EVENT_FAILED, .partition = i};
        return true;
    }
    return false;
}

static bool next_event(struct link *link, uint64_t now_ns, struct link_event *ret_event)
{
    if (take_replies(link, now_ns)) {
        *ret_event = (struct link_event){.kind = LINK_EVENT_ANSWER,
                                         .partition = link->answer.partition,
                                         .answer = &link->answer};
        return true;
    }
    fault_sum_up(link, now_ns);
    if (link->has_news) {
        link->has_news = false;
        *ret_event = (struct link_event){.kind = LINK_EVENT_STATE};
        return true;
    }
    if (link->says_taken) {
        link->says_taken = false;
        *ret_event = (struct link_event){.kind = LINK_EVENT_TAKEN};
        return true;
    }
    return next_failed(link, ret_event);
}

static void on_ready_socket(struct link *link, uint32_t index, uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];
    const bool was_connecting = peer->state == PEER_CONNECTING;

    peer_io(peer, link->epoll, index);
    if (was_connecting && peer->state == PEER_GREETING && !peer->is_broken)
        hello_begin(link, index, now_ns);
}

/* When something is due by itself. */
static uint64_t wait_for(const struct link *link, uint64_t now_ns, uint64_t until_ns)
{
    uint64_t due_ns = now_ns + LONGEST_SLEEP_NS;

    for (uint32_t i = 0; i < link->peer_count; i++) {
        const struct link_peer *peer = &link->peers[i];
        if (peer->is_wanted && peer->state == PEER_CLOSED && peer->retry_at_ns < due_ns)
            due_ns = peer->retry_at_ns;
    }
    if (until_ns < due_ns)
        due_ns = until_ns;
    return due_ns > now_ns ? due_ns - now_ns : 0;
}

bool link_poll(struct link *link, uint64_t timeout_ns, struct link_event *ret_event)
{
    uint64_t now_ns = clock_boot_ns();
    const uint64_t until_ns = now_ns + timeout_ns;
    struct epoll_event events[64];

    for (bool is_last = false;; is_last = now_ns >= until_ns) {
        if (next_event(link, now_ns, ret_event))
            return true;
        if (is_last)
            return false;
        tick(link, now_ns);
        const uint64_t wait_ns = wait_for(link, now_ns, until_ns);
        const struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000),
                                      .tv_nsec = (long)(wait_ns % 1000000000)};
        const int count = epoll_pwait2(link->epoll, events, 64, &wait, NULL);
        now_ns = clock_boot_ns();
        for (int i = 0; i < count; i++)
            if (events[i].data.u32 == LINK_RESOLVED)
                link_resolver_clear(link->resolver);
            else
                on_ready_socket(link, events[i].data.u32, now_ns);
    }
}

void link_set_node(struct link *link, uint64_t node_id)
{
    link->node_id = node_id;
    link->is_taken = link->is_claimed = false;
    link->taken_since_ns = link->beat_next_ns = 0;
}

void link_become(struct link *link, uint64_t node_id, uint64_t token)
{
    link->token = token;
    link_set_node(link, node_id);
}

void link_leave(struct link *link, uint64_t timeout_ns)
{
    const uint64_t until_ns = clock_boot_ns() + timeout_ns;
    struct link_event event;

    if (!link->is_claimed)
        return;
    link->is_leaving = true;
    link->beat_next_ns = 0;
    for (uint64_t now_ns = clock_boot_ns(); !link->has_left && now_ns < until_ns;
         now_ns = clock_boot_ns())
        link_poll(link, until_ns - now_ns < LINK_MS ? until_ns - now_ns : LINK_MS, &event);
    link->is_claimed = false;
}

void link_look(const struct link *link, struct link_state *ret_state)
{
    *ret_state = link->state;
    ret_state->node_count = link->node_count;
    for (uint32_t i = 0; i < link->peer_count; i++) {
        ret_state->bytes_in += link->peers[i].bytes_in;
        ret_state->bytes_out += link->peers[i].bytes_out;
    }
}

void link_tell_time(struct link *link, uint64_t now_us)
{
    link->told_us = now_us;
}
