/* How long a worker takes: from the kernel's stamp of a datagram's arrival to the stamp of its
 * answer's departure, both taken by a packet socket on the loopback interface. Neither the server
 * nor its clients know of it, and neither's delays are in the figures.
 *
 *   worker_latency --port P [--seconds S [--windows W]] [--one-of N] [--echo]
 *
 * Of IPv4 datagrams with one answer each (not joined); a filter in the kernel takes one generation
 * of sequence numbers of N, so that copying costs the worker little. Prints one line of JSON, after
 * each of W times S seconds. --echo: the server is bench/echo. Needs CAP_NET_RAW. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mete/wire.h"
#include "obs/histogram.h"

#define IP_BYTES 20u
#define PAYLOAD_AT (IP_BYTES + 8u)
#define REQUEST_SEQUENCE_AT (PAYLOAD_AT + 12u)
#define RESULT_SEQUENCE_AT (PAYLOAD_AT + 4u)
#define GENERATION_BYTE 2u /* of the number: mete bench keeps the slot below it */
#define WAITING 65536u     /* a power of two */
#define BUFFER_BYTES (64 << 20)

struct waiting {  /* a request whose answer is to come */
    uint64_t who; /* its port and sequence number; 0: none */
    uint64_t at_ns;
};

struct watch {
    int fd;
    uint16_t port;
    unsigned answer_at; /* where an answer has the sequence number */
    struct waiting *waiting;
    struct histogram latency;
    uint64_t requests;
};

static int fail(const char *what)
{
    fprintf(stderr, "worker_latency: %s: %s\n", what, strerror(errno));
    return -1;
}

/* IPv4 without options, UDP, from or to the port, generation % one_of == 0. */
static int set_filter(const struct watch *watch, unsigned one_of)
{
    const uint16_t port = watch->port;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x45, 0, 12),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 10),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, IP_BYTES),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 2),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, watch->answer_at + GENERATION_BYTE),
        BPF_JUMP(BPF_JMP | BPF_JA, 3, 0, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, IP_BYTES + 2),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 4),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, REQUEST_SEQUENCE_AT + GENERATION_BYTE),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, one_of),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, PAYLOAD_AT + 24),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    return setsockopt(watch->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static int open_watch(struct watch *watch, unsigned one_of)
{
    const int on = 1, bytes = BUFFER_BYTES;
    struct sockaddr_ll lo = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    lo.sll_ifindex = (int)if_nametoindex("lo");
    watch->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (watch->fd < 0)
        return fail("no packet socket (it needs CAP_NET_RAW)");
    setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
    if (set_filter(watch, one_of) < 0 ||
        setsockopt(watch->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0 ||
        bind(watch->fd, (struct sockaddr *)&lo, sizeof(lo)) < 0)
        return fail("lo");
    return 0;
}

static uint64_t stamp(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(c), sizeof(at));
            return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
        }
    return 0;
}

static void take(struct watch *watch, const uint8_t *bytes, unsigned kind, uint64_t at_ns)
{
    const uint16_t from = (uint16_t)(bytes[IP_BYTES] << 8 | bytes[IP_BYTES + 1]);
    const uint16_t to = (uint16_t)(bytes[IP_BYTES + 2] << 8 | bytes[IP_BYTES + 3]);
    const bool is_request = to == watch->port;
    const uint32_t sequence =
        mete_wire_get32(bytes + (is_request ? REQUEST_SEQUENCE_AT : watch->answer_at));
    const uint64_t who = (uint64_t)(is_request ? from : to) << 32 | sequence;
    struct waiting *slot = &watch->waiting[who * 0x9E3779B97F4A7C15ull >> 48 & (WAITING - 1)];
    if (is_request && kind == PACKET_HOST) {
        *slot = (struct waiting){who, at_ns};
        watch->requests++;
    } else if (!is_request && kind == PACKET_OUTGOING && slot->who == who && at_ns >= slot->at_ns) {
        histogram_record(&watch->latency, at_ns - slot->at_ns);
        slot->who = 0;
    }
}

static void receive(struct watch *watch)
{
    uint8_t bytes[PAYLOAD_AT + 24];
    _Alignas(struct cmsghdr) uint8_t control[128];
    struct sockaddr_ll from;
    struct iovec part = {bytes, sizeof(bytes)};
    for (;;) {
        struct msghdr message = {.msg_name = &from,
                                 .msg_namelen = sizeof(from),
                                 .msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        if (recvmsg(watch->fd, &message, MSG_DONTWAIT) < (ssize_t)(REQUEST_SEQUENCE_AT + 4))
            return;
        take(watch, bytes, from.sll_pkttype, stamp(&message));
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void print(const struct watch *watch)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}};
    printf("{\"requests\": %" PRIu64 ", \"answers\": %" PRIu64, watch->requests,
           watch->latency.total);
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        printf(", \"%s\": %.3f", points[i].name,
               (double)histogram_percentile(&watch->latency, points[i].share) / 1e3);
    printf("}\n");
    fflush(stdout);
}

static void watch_for(struct watch *watch, double seconds)
{
    const uint64_t end_ns = now_ns() + (uint64_t)(seconds * 1e9);

    histogram_init(&watch->latency);
    watch->requests = 0;
    while (now_ns() < end_ns) {
        struct pollfd wait = {.fd = watch->fd, .events = POLLIN};
        poll(&wait, 1, 10);
        receive(watch);
    }
    print(watch);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},    {"seconds", required_argument, NULL, 's'},
        {"windows", required_argument, NULL, 'w'}, {"one-of", required_argument, NULL, 'o'},
        {"echo", no_argument, NULL, 'e'},          {0}};
    static struct watch watch = {.answer_at = RESULT_SEQUENCE_AT};
    double seconds = 1;
    long port = 0, one_of = 4, windows = 1;
    for (int id; (id = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (id == 'p')
            port = strtol(optarg, NULL, 10);
        else if (id == 's')
            seconds = strtod(optarg, NULL);
        else if (id == 'w')
            windows = strtol(optarg, NULL, 10);
        else if (id == 'o')
            one_of = strtol(optarg, NULL, 10);
        else if (id == 'e')
            watch.answer_at = REQUEST_SEQUENCE_AT;
    }
    if (port < 1 || port > 65535 || one_of < 1 || one_of > 256 || !(seconds > 0) || windows < 1) {
        fprintf(stderr, "usage: worker_latency --port P [--seconds S [--windows W]] "
                        "[--one-of 1..256] [--echo]\n");
        return 2;
    }
    watch.port = (uint16_t)port;
    watch.waiting = calloc(WAITING, sizeof(*watch.waiting));
    if (!watch.waiting || open_watch(&watch, (unsigned)one_of) < 0)
        return 3;
    while (windows--)
        watch_for(&watch, seconds);
    free(watch.waiting);
    close(watch.fd);
    return 0;
}
