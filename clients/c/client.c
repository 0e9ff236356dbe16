/* The client object: open, close, its socket, and its new life after fork().
 *
 * All memory is taken here. Fork is noticed without a system call: a page marked MADV_WIPEONFORK
 * holds a 1 that the child reads as 0 (where the kernel cannot do that, the process id is
 * compared). One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <netdb.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_SERVER "127.0.0.1:6383"
#define DEFAULT_PORT "6383"
#define DEFAULT_TIMEOUT_US 20000u
#define DEFAULT_IN_FLIGHT 1024u
#define MAX_IN_FLIGHT (1u << 20)
#define LIFE_BYTES 4096u

/* "HOST", "HOST:PORT", "[IPV6]:PORT" into two strings of size bytes each. 0 or -EINVAL. */
static int split_address(const char *text, char *ret_host, char *ret_port, size_t size)
{
    const char *host = text;
    const char *end = strrchr(text, ':');
    const char *port = end ? end + 1 : DEFAULT_PORT;
    if (text[0] == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (!end || (end[1] != ':' && end[1] != '\0'))
            return -EINVAL;
        port = end[1] == ':' ? end + 2 : DEFAULT_PORT;
    } else if (end && memchr(text, ':', (size_t)(end - text))) {
        return -EINVAL; /* an IPv6 address needs its brackets */
    }
    size_t len = end ? (size_t)(end - host) : strlen(host);
    if (len == 0 || len >= size || strlen(port) == 0 || strlen(port) > 5)
        return -EINVAL;
    memcpy(ret_host, host, len);
    ret_host[len] = '\0';
    memcpy(ret_port, port, strlen(port) + 1);
    return 0;
}

/* A name that has several addresses gives its first IPv4 one: that is where a server on
 * "localhost" listens unless told otherwise. */
static int find_server(struct mete_client *client, const char *text)
{
    char host[256], port[256];
    if (split_address(text, host, port, sizeof(host)))
        return -EINVAL;
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    if (strtoul(port, NULL, 10) - 1 >= 65535 || getaddrinfo(host, port, &hints, &found))
        return -EINVAL;
    const struct addrinfo *best = found;
    for (const struct addrinfo *next = found; next; next = next->ai_next)
        if (next->ai_family == AF_INET && best->ai_family != AF_INET)
            best = next;
    memcpy(&client->address, best->ai_addr, best->ai_addrlen);
    client->address_len = best->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

/* A new socket, client id and sequence; the old socket, if any, is closed. */
static int begin_life(struct mete_client *client)
{
    int fd = socket(client->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&client->address, client->address_len)) {
        int error = errno;
        close(fd);
        return -error;
    }
    if (client->fd >= 0)
        close(client->fd);
    client->fd = fd;
    client->can_segment = mete_send_can_segment(fd);
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
    client->hello.in_flight = false;
    return begin_life(client);
}

void mete_client_forget(struct mete_client *client)
{
    client->submitted = client->blocking = 0;
    client->check_free = client->flight_free = NONE;
    client->check_fresh = client->flight_fresh = client->flight_count = 0;
    client->waiting = client->finished = (struct check_list){.head = NONE, .tail = NONE};
    for (uint32_t i = 0; i <= client->bucket_mask; i++)
        client->buckets[i] = NONE;
    for (uint32_t i = 0; i < BATCH_COUNT; i++) {
        client->open[i] = &client->batches[i];
        client->open[i]->header.n = 0;
    }
    for (uint32_t i = 0; i < READY_MAX; i++)
        client->ready[i] = &client->batches[BATCH_COUNT + i];
    client->ready_count = 0;
    client->due_ns = INT64_MAX;
}

/* Numbers out of the options, with their defaults. 0 or -EINVAL. */
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
    client->secret = METE_WIRE_NO_SECRET;
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
    client->hello.wanted = true;
    return find_server(client, options->server ? options->server : DEFAULT_SERVER);
}

/* The arrays. 0 or -ENOMEM; close frees what is there. */
static int take_memory(struct mete_client *client)
{
    size_t count = client->max_in_flight + MANY_MAX;
    uint32_t buckets = 64;
    while (buckets < count)
        buckets *= 2;
    client->bucket_mask = buckets - 1;
    client->checks = calloc(count, sizeof(*client->checks));
    client->flights = calloc(count, sizeof(*client->flights));
    client->buckets = calloc(buckets, sizeof(*client->buckets));
    client->batches = calloc(BATCH_COUNT + READY_MAX, sizeof(*client->batches));
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
    if (client->fd >= 0)
        close(client->fd);
    if (client->life)
        munmap((void *)(uintptr_t)client->life, LIFE_BYTES);
    free(client->inbox);
    free(client->batches);
    free(client->buckets);
    free(client->flights);
    free(client->checks);
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
