/* A flood: datagrams that must not be believed, sent as fast as this core can, or at a rate, to see
 * what they cost the server. Answers are not read.
 *
 *   flood --server 127.0.0.1:6383 [--kind magic|tag|boot|length] [--tenant NAME] [--boot BITS]
 *         [--batch N] [--rate PER_SECOND] [--seconds S]
 *
 * magic   right but for the first byte        tag      right but for the tag
 * boot    as tag, for another boot id         length   right but for its last 8 bytes, which lack
 *
 * Every datagram is another one: sequence, keys and tag are random. --boot are the boot bits of the
 * server, without which a wrong tag draws hints. Prints: sent N, and its own CPU time for each. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/random.h"
#include "mete/wire.h"

#define GROUP 64u

enum kind { KIND_MAGIC, KIND_TAG, KIND_BOOT, KIND_LENGTH, KIND_COUNT };
static const char *const kinds[KIND_COUNT] = {"magic", "tag", "boot", "length"};

struct flood {
    struct sockaddr_in server;
    enum kind kind;
    const char *tenant;
    uint16_t boot;
    unsigned batch;
    double rate;
    double seconds;
};

static uint64_t next_random(void)
{
    static uint64_t state = 0x9E3779B97F4A7C15ull;
    return random_next(&state);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static size_t write_forged(const struct flood *flood, uint8_t *out)
{
    struct mete_header header = {
        .type = METE_CHECK,
        .n = (uint8_t)flood->batch,
        .tenant = mete_name_id(flood->tenant, strlen(flood->tenant)),
        .client = (uint32_t)next_random(),
        .sequence = (uint32_t)next_random(),
        .boot = flood->kind == KIND_BOOT ? flood->boot ^ 1 : flood->boot,
        .entry_bytes = METE_WIRE_ENTRY_BYTES,
    };
    size_t len = mete_wire_request_bytes(flood->batch, METE_WIRE_ENTRY_BYTES);
    mete_wire_encode_header(out, &header);
    for (size_t at = METE_WIRE_HEADER_BYTES; at < len; at += 8)
        mete_wire_put64(out + at, next_random());
    if (flood->kind == KIND_MAGIC)
        out[0] = 0;
    return flood->kind == KIND_LENGTH ? len - 8 : len;
}

/* Sends until the time is over; returns how many the kernel took. */
static uint64_t send_all(const struct flood *flood, int fd)
{
    static uint8_t bytes[GROUP][METE_WIRE_MAX_BYTES];
    struct mmsghdr headers[GROUP] = {0};
    struct iovec parts[GROUP];
    uint64_t sent = 0;
    double start_s = now_s();
    for (unsigned i = 0; i < GROUP; i++) {
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
    }
    for (double t = start_s; t < start_s + flood->seconds; t = now_s()) {
        if (flood->rate > 0 && (double)sent > (t - start_s) * flood->rate)
            continue;
        for (unsigned i = 0; i < GROUP; i++)
            parts[i] = (struct iovec){bytes[i], write_forged(flood, bytes[i])};
        int count = sendmmsg(fd, headers, GROUP, 0);
        if (count < 0 && errno != ECONNREFUSED && errno != ENOBUFS)
            return sent;
        sent += count > 0 ? (uint64_t)count : 0;
    }
    return sent;
}

static int parse_server(const char *text, struct sockaddr_in *ret_server)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        return -1;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    *ret_server = (struct sockaddr_in){.sin_family = AF_INET,
                                       .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    return inet_pton(AF_INET, host, &ret_server->sin_addr) == 1 ? 0 : -1;
}

static int parse(int argc, char **argv, struct flood *flood)
{
    static const struct option options[] = {
        {"server", required_argument, NULL, 's'},  {"kind", required_argument, NULL, 'k'},
        {"tenant", required_argument, NULL, 't'},  {"boot", required_argument, NULL, 'b'},
        {"batch", required_argument, NULL, 'n'},   {"rate", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 'd'}, {0},
    };
    bool has_server = false;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's')
            has_server = parse_server(optarg, &flood->server) == 0;
        else if (option == 't')
            flood->tenant = optarg;
        else if (option == 'b')
            flood->boot = (uint16_t)strtoul(optarg, NULL, 0);
        else if (option == 'n')
            flood->batch = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'r')
            flood->rate = strtod(optarg, NULL);
        else if (option == 'd')
            flood->seconds = strtod(optarg, NULL);
        else if (option != 'k')
            return -1;
        for (unsigned kind = 0; option == 'k' && kind <= KIND_COUNT; kind++) {
            if (kind == KIND_COUNT)
                return -1;
            flood->kind = (enum kind)kind;
            if (strcmp(optarg, kinds[kind]) == 0)
                break;
        }
    }
    return has_server && optind == argc && flood->batch >= 1 && flood->batch <= 50 ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct flood flood = {.kind = KIND_TAG, .tenant = "default", .batch = 1, .seconds = 1};
    if (parse(argc, argv, &flood) < 0) {
        fprintf(stderr, "usage: flood --server HOST:PORT [--kind magic|tag|boot|length] "
                        "[--tenant NAME] [--boot BITS]\n"
                        "             [--batch 1..50] [--rate PER_SECOND] [--seconds S]\n");
        return 2;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&flood.server, sizeof(flood.server)) < 0) {
        fprintf(stderr, "flood: %s\n", strerror(errno));
        return 2;
    }
    double before_s = cpu_s();
    uint64_t sent = send_all(&flood, fd);
    printf("sent %" PRIu64 ", %.0f ns each\n", sent, (cpu_s() - before_s) * 1e9 / (double)sent);
    return 0;
}
