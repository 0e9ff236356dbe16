/* The client object: open, close, and its new life after fork().
 *
 * All memory is taken here. Fork is noticed without a system call: a page marked MADV_WIPEONFORK
 * holds a 1 that the child reads as 0 (where the kernel cannot do that, the process id is
 * compared). One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_US 20000u
#define DEFAULT_IN_FLIGHT 1024u
#define MAX_IN_FLIGHT (1u << 20)
#define LIFE_BYTES 4096u

/* With several servers one descriptor shows that any of them has something. 0 or negative errno. */
static int watch(struct mete_client *client)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (uint32_t i = 0; i < client->server_count; i++) {
        struct epoll_event readable = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(fd, EPOLL_CTL_ADD, client->servers[i].fd, &readable)) {
            int error = errno;
            close(fd);
            return -error;
        }
    }
    if (client->fd >= 0)
        close(client->fd);
    client->fd = fd;
    return 0;
}

/* New sockets, client id and sequence; the old sockets, if any, are closed. */
static int begin_life(struct mete_client *client)
{
    int error = 0;
    for (uint32_t i = 0; i < client->server_count && !error; i++)
        error = mete_address_connect(&client->servers[i]);
    if (!error && client->server_count > 1)
        error = watch(client);
    if (error)
        return error;
    if (client->server_count == 1)
        client->fd = client->servers[0].fd;
    client->client_id = randombytes_random();
    client->sequence = randombytes_random();
    randombytes_buf(&client->random, sizeof(client->random));
    client->random |= 1; /* the generator may not start from 0 */
    client->pid = getpid();
    if (client->life)
        *client->life = 1;
    return 0;
}

static bool is_forked(const struct mete_client *client)
{
    return client->life ? *client->life == 0 : client->pid != getpid();
}

int mete_client_revive(struct mete_client *client)
{
    if (!is_forked(client))
        return 0;
    mete_client_forget(client);
    return begin_life(client);
}

static void forget_server(struct mete_client *client, struct server *server)
{
    struct batch *batches = client->batches + server->index * (BATCH_COUNT + READY_MAX);
    for (uint32_t i = 0; i < BATCH_COUNT; i++) {
        server->open[i] = &batches[i];
        server->open[i]->header.n = 0;
    }
    for (uint32_t i = 0; i < READY_MAX; i++)
        server->ready[i] = &batches[BATCH_COUNT + i];
    server->ready_count = 0;
    server->flight_count = 0;
    server->due_ns = INT64_MAX;
    server->hello.in_flight = false;
    server->held = (struct check_list){.head = NONE, .tail = NONE};
}

void mete_client_forget(struct mete_client *client)
{
    client->submitted = client->blocking = 0;
    client->check_free = client->flight_free = NONE;
    client->check_fresh = client->flight_fresh = client->flight_count = 0;
    client->waiting = client->finished = (struct check_list){.head = NONE, .tail = NONE};
    client->adrift[0] = client->adrift[1] = (struct check_list){.head = NONE, .tail = NONE};
    client->timer_ns = INT64_MAX;
    for (uint32_t i = 0; i <= client->bucket_mask; i++)
        client->buckets[i] = NONE;
    for (uint32_t i = 0; i < client->server_count; i++)
        forget_server(client, &client->servers[i]);
}

/* xorshift64* by Marsaglia and Vigna. */
uint32_t mete_client_random(struct mete_client *client)
{
    uint64_t x = client->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    client->random = x;
    return (uint32_t)(x * 0x2545F4914F6CDD1Dull >> 32);
}

/* The options, with their defaults. 0, -EINVAL or -ENOMEM. */
static int take_options(struct mete_client *client, const struct mete_client_options *options)
{
    const char *tenant = options->tenant ? options->tenant : "default";
    uint32_t burst = options->local_burst ? options->local_burst : options->local_per_second;
    uint32_t jitter = options->jitter_percent == 0                ? 10
                      : options->jitter_percent == METE_NO_JITTER ? 0
                                                                  : options->jitter_percent;
    if (!tenant[0] || options->fallback > METE_FALLBACK_LOCAL || jitter > 100 ||
        options->ipv6_prefix > 128 || options->max_in_flight > MAX_IN_FLIGHT ||
        (options->fallback == METE_FALLBACK_LOCAL && !options->local_per_second))
        return -EINVAL;
    client->tenant = mete_name_id(tenant, strlen(tenant));
    client->timeout_ns =
        (options->timeout_us ? options->timeout_us : DEFAULT_TIMEOUT_US) * INT64_C(1000);
    client->join_ns = options->join_us * INT64_C(1000);
    if (client->join_ns > client->timeout_ns)
        return -EINVAL;
    client->fallback = options->fallback;
    client->local_burst = burst;
    if (options->local_per_second) /* rounded up: never too generous */
        client->local_interval_ns =
            (INT64_C(999999999) + options->local_per_second) / options->local_per_second;
    client->jitter_percent = jitter;
    client->ipv6_prefix = options->ipv6_prefix ? options->ipv6_prefix : 64;
    client->max_in_flight = options->max_in_flight ? options->max_in_flight : DEFAULT_IN_FLIGHT;
    client->account = METE_ACCOUNT_MAX;
    int error = mete_address_take(client, options);
    for (uint32_t i = 0; i < client->server_count; i++) {
        client->servers[i].hello.wanted = true;
        client->servers[i].health.share = SHARE_WHOLE;
    }
    return error ? error : mete_secrets_take(client, options);
}

/* The arrays. 0 or -ENOMEM; close frees what is there. */
static int take_memory(struct mete_client *client)
{
    size_t count = client->max_in_flight + MANY_MAX;
    size_t flights = client->server_count > 1 ? LEGS * count : count;
    uint32_t buckets = 64;
    while (buckets < flights)
        buckets *= 2;
    client->bucket_mask = buckets - 1;
    client->checks = calloc(count, sizeof(*client->checks));
    client->flights = calloc(flights, sizeof(*client->flights));
    client->buckets = calloc(buckets, sizeof(*client->buckets));
    client->batches =
        calloc((size_t)client->server_count * (BATCH_COUNT + READY_MAX), sizeof(*client->batches));
    client->inbox = mete_inbox_create();
    if (!client->checks || !client->flights || !client->buckets || !client->batches ||
        !client->inbox)
        return -ENOMEM;
    void *life = mmap(NULL, LIFE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (life == MAP_FAILED)
        return -ENOMEM;
    if (madvise(life, LIFE_BYTES, MADV_WIPEONFORK))
        munmap(life, LIFE_BYTES);
    else
        client->life = life;
    mete_client_forget(client);
    return 0;
}

int mete_client_open(const struct mete_client_options *options, struct mete_client **ret_client)
{
    static const struct mete_client_options defaults;
    if (!ret_client)
        return -EINVAL;
    if (sodium_init() < 0)
        return -ENOSYS;
    struct mete_client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->fd = -1;
    int error = take_options(client, options ? options : &defaults);
    if (!error)
        error = take_memory(client);
    if (!error)
        error = begin_life(client);
    if (error) {
        mete_client_close(client);
        return error;
    }
    *ret_client = client;
    return 0;
}

void mete_client_close(struct mete_client *client)
{
    if (!client)
        return;
    for (uint32_t i = 0; i < client->server_count; i++)
        if (client->servers[i].fd >= 0)
            close(client->servers[i].fd);
    if (client->server_count > 1 && client->fd >= 0)
        close(client->fd);
    if (client->life)
        munmap((void *)(uintptr_t)client->life, LIFE_BYTES);
    free(client->inbox);
    free(client->batches);
    free(client->buckets);
    free(client->flights);
    free(client->checks);
    mete_secrets_drop(client);
    free(client->servers);
    free(client);
}

int mete_client_fd(const struct mete_client *client)
{
    return client->fd;
}

struct mete_client_stats mete_client_stats(const struct mete_client *client)
{
    return client->stats;
}

int mete_client_server_stats(const struct mete_client *client, unsigned index,
                             struct mete_server_stats *ret_stats)
{
    if (index >= client->server_count)
        return -EINVAL;
    const struct server *server = &client->servers[index];
    *ret_stats = server->stats;
    ret_stats->address = server->name;
    ret_stats->share_percent = server->health.share * 100 / SHARE_WHOLE;
    ret_stats->is_known = server->hello.known;
    ret_stats->round_trip_us = (uint32_t)(server->health.srtt_ns / 1000);
    return 0;
}
