/* Loads the gRPC door: so many connections with so many calls under way on each, from one thread.
 *
 *   grpc --server 127.0.0.1:6386 [--connections 8] [--streams 16] [--seconds 5] [--keys 100000]
 *        [--domain default] [--key generic_key] [--pid SERVER]
 *
 * Each call is Envoy's ShouldRateLimit with one descriptor, whose value is one of so many keys. It
 * speaks HTTP/2 by itself, with as little work per call as that allows: the header block of a call
 * is seven indices into the table that the first call of its connection filled, as gRPC's clients
 * have it after their first. Every answer is held to the form: headers, a message whose code is OK
 * or OVER_LIMIT, trailers. --pid reads the CPU time of the server's threads from /proc.
 *
 * Prints one line; exit status 1 if an answer was no such answer. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 64u
#define BUFFER (256u << 10)
#define DIGITS 8u

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE };

struct load {
    struct sockaddr_in server;
    const char *domain, *key;
    unsigned connections, streams;
    uint64_t keys;
    double seconds;
    int pid;
    uint64_t sent, answered, denied, wrong;
};

struct link {
    int fd;
    uint32_t stream; /* the next */
    uint64_t heard;  /* since the last window update */
    size_t in_len, out_len, out_sent;
    uint8_t in[BUFFER], out[BUFFER];
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* CPU seconds that the process used so far, in the kernel and out of it. */
static double cpu_s(int pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = pid ? fopen(path, "r") : NULL;
    if (!file)
        return 0;
    const size_t len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *behind = strrchr(text, ')');
    if (behind)
        sscanf(behind + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* ---- frames ---- */

static void put(struct link *link, const void *bytes, size_t len)
{
    memcpy(link->out + link->out_len, bytes, len);
    link->out_len += len;
}

static void put_frame(struct link *link, uint8_t type, uint8_t flags, uint32_t stream,
                      const void *payload, size_t len)
{
    const uint8_t head[9] = {
        (uint8_t)(len >> 16),
        (uint8_t)(len >> 8),
        (uint8_t)len,
        type,
        flags,
        (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16),
        (uint8_t)(stream >> 8),
        (uint8_t)stream,
    };
    put(link, head, sizeof(head));
    put(link, payload, len);
}

/* A literal with incremental indexing: a new name, or one of the static table. */
static size_t put_literal(uint8_t *at, uint8_t index, const char *name, const char *value)
{
    size_t len = 0;
    at[len++] = 0x40 | index;
    if (index == 0) {
        at[len++] = (uint8_t)strlen(name);
        memcpy(at + len, name, strlen(name));
        len += strlen(name);
    }
    at[len++] = (uint8_t)strlen(value);
    memcpy(at + len, value, strlen(value));
    return len + strlen(value);
}

static void put_headers(struct link *link)
{
    static const uint8_t indexed[] = {0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe};
    uint8_t block[256] = {0x83, 0x86}; /* POST, http */
    size_t len = 2;
    if (link->stream > 1) {
        put_frame(link, HEADERS, 4, link->stream, indexed, sizeof(indexed));
        return;
    }
    len += put_literal(block + len, 4, NULL,
                       "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
    len += put_literal(block + len, 1, NULL, "127.0.0.1");
    len += put_literal(block + len, 31, NULL, "application/grpc");
    len += put_literal(block + len, 0, "te", "trailers");
    len += put_literal(block + len, 58, NULL, "mete-bench");
    put_frame(link, HEADERS, 4, link->stream, block, len);
}

static void put_call(struct load *load, struct link *link)
{
    char value[DIGITS + 1];
    uint8_t message[256], *at = message;
    const size_t domain = strlen(load->domain), key = strlen(load->key);
    const size_t entry = 2 + key + 2 + DIGITS, descriptor = 2 + entry;
    const size_t len = 2 + domain + 2 + descriptor;
    snprintf(value, sizeof(value), "%08" PRIu64, load->sent++ * 7919 % load->keys);
    const uint8_t prefix[5] = {0, 0, 0, 0, (uint8_t)len};
    memcpy(at, prefix, sizeof(prefix));
    at += sizeof(prefix);
    *at++ = 0x0a; /* domain */
    *at++ = (uint8_t)domain;
    at = (uint8_t *)mempcpy(at, load->domain, domain);
    const uint8_t heads[] = {0x12, (uint8_t)descriptor, 0x0a, (uint8_t)entry, 0x0a, (uint8_t)key};
    at = (uint8_t *)mempcpy(at, heads, sizeof(heads));
    at = (uint8_t *)mempcpy(at, load->key, key);
    *at++ = 0x12;
    *at++ = DIGITS;
    at = (uint8_t *)mempcpy(at, value, DIGITS);
    put_headers(link);
    put_frame(link, DATA, 1, link->stream, message, (size_t)(at - message));
    link->stream += 2;
}

static uint32_t number(const uint8_t *bytes, unsigned count)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* One frame of an answer. */
static void hear_frame(struct load *load, struct link *link, const uint8_t *head, uint32_t len)
{
    static const uint8_t window[4] = {0x01, 0, 0, 0};
    const uint8_t *payload = head + 9;
    switch (head[3]) {
    case DATA: /* 5 bytes, then the overall code */
        link->heard += len;
        load->wrong += len < 7 || payload[5] != 8 || (payload[6] != 1 && payload[6] != 2);
        load->denied += len >= 7 && payload[6] == 2;
        if (link->heard > (16u << 20)) {
            put_frame(link, WINDOW_UPDATE, 0, 0, window, 4);
            link->heard = 0;
        }
        break;
    case HEADERS:
        if (head[4] & 1) { /* trailers */
            load->answered++;
            put_call(load, link);
        }
        break;
    case SETTINGS:
        if (!(head[4] & 1))
            put_frame(link, SETTINGS, 1, 0, "", 0);
        break;
    case PING:
        if (!(head[4] & 1))
            put_frame(link, PING, 1, 0, payload, 8);
        break;
    case RST_STREAM:
    case GOAWAY:
        load->wrong++;
    }
}

static void hear(struct load *load, struct link *link)
{
    size_t at = 0;
    while (link->in_len - at >= 9) {
        const uint32_t len = number(link->in + at, 3);
        if (link->in_len - at < 9 + len)
            break;
        hear_frame(load, link, link->in + at, len);
        at += 9 + len;
    }
    memmove(link->in, link->in + at, link->in_len - at);
    link->in_len -= at;
}

/* ---- the loop ---- */

static bool flush(struct link *link)
{
    while (link->out_sent < link->out_len) {
        const ssize_t sent = send(link->fd, link->out + link->out_sent,
                                  link->out_len - link->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            return errno == EAGAIN;
        link->out_sent += (size_t)sent;
    }
    link->out_len = link->out_sent = 0;
    return true;
}

static bool serve(struct load *load, struct link *link)
{
    const ssize_t got =
        recv(link->fd, link->in + link->in_len, BUFFER - link->in_len, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return true;
    if (got <= 0)
        return false;
    link->in_len += (size_t)got;
    hear(load, link);
    return flush(link);
}

static bool open_link(struct load *load, struct link *link)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t settings[] = {0, 4, 0x7f, 0xff, 0xff, 0xff};
    static const uint8_t window[] = {0x3f, 0xff, 0, 0};
    const int on = 1;
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd < 0 ||
        connect(link->fd, (struct sockaddr *)&load->server, sizeof(load->server)) < 0)
        return false;
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    link->stream = 1;
    put(link, preface, sizeof(preface) - 1);
    put_frame(link, SETTINGS, 0, 0, settings, sizeof(settings));
    put_frame(link, WINDOW_UPDATE, 0, 0, window, sizeof(window));
    for (unsigned i = 0; i < load->streams; i++)
        put_call(load, link);
    return flush(link);
}

static bool run(struct load *load, struct link *links)
{
    struct pollfd polls[MOST_CONNECTIONS];
    for (unsigned i = 0; i < load->connections; i++) {
        if (!open_link(load, &links[i]))
            return false;
        polls[i] = (struct pollfd){.fd = links[i].fd, .events = POLLIN};
    }
    const double start = now_s(), cpu = cpu_s(load->pid);
    double end = start;
    while (end - start < load->seconds) {
        poll(polls, load->connections, 100);
        for (unsigned i = 0; i < load->connections; i++)
            if (polls[i].revents && !serve(load, &links[i]))
                return false;
        end = now_s();
    }
    const double used = cpu_s(load->pid) - cpu;
    printf("%.0f calls/s, %" PRIu64 " answered, %" PRIu64 " denied, %" PRIu64 " wrong",
           (double)load->answered / (end - start), load->answered, load->denied, load->wrong);
    if (used > 0)
        printf(", %.0f calls per CPU second of the server, %.2f us each",
               (double)load->answered / used, used * 1e6 / (double)load->answered);
    printf("\n");
    return load->wrong == 0;
}

static int usage(void)
{
    fprintf(stderr, "grpc: --server HOST:PORT [--connections N] [--streams N] [--seconds S] "
                    "[--keys N] [--domain NAME] [--key NAME] [--pid SERVER]\n");
    return 2;
}

static bool read_server(const char *text, struct sockaddr_in *ret_server)
{
    char host[64];
    unsigned port = 0;
    if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || port > 65535)
        return false;
    *ret_server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, host, &ret_server->sin_addr) == 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"server", 1, NULL, 's'},  {"connections", 1, NULL, 'c'}, {"streams", 1, NULL, 'n'},
        {"seconds", 1, NULL, 't'}, {"keys", 1, NULL, 'k'},        {"domain", 1, NULL, 'd'},
        {"key", 1, NULL, 'e'},     {"pid", 1, NULL, 'p'},         {NULL, 0, NULL, 0}};
    struct load load = {.domain = "default",
                        .key = "generic_key",
                        .connections = 8,
                        .streams = 16,
                        .keys = 100000,
                        .seconds = 5};
    bool has_server = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 's':
            has_server = read_server(optarg, &load.server);
            break;
        case 'c':
            load.connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'n':
            load.streams = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            load.seconds = strtod(optarg, NULL);
            break;
        case 'k':
            load.keys = strtoull(optarg, NULL, 10);
            break;
        case 'd':
            load.domain = optarg;
            break;
        case 'e':
            load.key = optarg;
            break;
        case 'p':
            load.pid = (int)strtol(optarg, NULL, 10);
            break;
        default:
            return usage();
        }
    }
    if (!has_server || !load.connections || load.connections > MOST_CONNECTIONS || !load.keys ||
        strlen(load.domain) > 64 || strlen(load.key) > 64 || load.streams > 128)
        return usage();
    struct link *links = calloc(load.connections, sizeof(*links));
    if (!links || !run(&load, links)) {
        fprintf(stderr, "grpc: the server did not answer as it should\n");
        return 1;
    }
    free(links);
    return 0;
}
