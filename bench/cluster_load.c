/* Load for several nodes that share limits: checks of one rule at the instants of a Poisson
 * process, each sent to a node drawn at random, and how many units passed when.
 *
 *   cluster_load --nodes PORT,PORT,... --rule NAME --rate N [OPTION...]    prints one JSON object
 *     --limit N --burst N   what the rule allows, to say by how much more passed (0: not said)
 *     --seconds S (5)  --settle S (1; the steady part begins then)  --keys N (1)  --seed N (1)
 *     --batch N (1)    checks to a datagram, all for one node
 *     --affinity       a key's checks all go to one node
 *     --stop-fd        ends when standard input does, before --seconds
 *
 * An admitted unit counts at the kernel's stamp of its answer, which on loopback is when the node
 * sent it, so a load that was itself late does not look like an excess. steady_excess is the most
 * that passed in any second beyond what one bucket, filled as it was when that second began, would
 * have let pass; first_excess what passed in the first second beyond burst and limit; overdraft the
 * most, at any instant, that one bucket charged with all of it would owe too much. odd: datagrams
 * that were answered badly; stale: those that waited too long before a node that was not scheduled.
 * Exit status: 0, 2 wrong use. One thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/random.h"
#include "mete/wire.h"

#define MAX_NODES 16u
#define SECOND_NS 1000000000ull
#define SENT_RING 65536u          /* datagrams per node whose sending time is remembered */
#define DRAIN_NS (10 * SECOND_NS) /* for answers that are still to come */

struct node {
    int fd;
    uint32_t client, sequence;
    uint64_t answered, allowed, denied, odd, stale, degraded;
    uint64_t sent_ns[SENT_RING];
    uint8_t odd_status;   /* the last of them */
    uint8_t odd_head[16]; /* how the last one that could not be read begins */
    uint64_t clock_at_ns; /* when it told clock_ms; 0: never */
    uint32_t clock_ms;
};

struct load {
    double rate, limit, burst, seconds, settle;
    uint32_t keys, batch, node_count;
    uint64_t seed, random;
    bool has_affinity, stops_with_input;
    const char *rule;
    struct node *nodes;
    uint64_t *admitted_ns; /* one per unit that passed */
    double *owed;          /* note_owed() */
    uint64_t admitted, room, datagrams;
    uint32_t *latency_us;
    uint64_t latency_count, begin_ns;
    double slip_ns;
};

static uint64_t next_random(struct load *load)
{
    return random_next(&load->random);
}

static double next_unit(struct load *load)
{
    return ((double)(next_random(load) >> 11) + 0.5) / 9007199254740992.0;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now); /* as the kernel's stamps */
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* The node's, as it last told it and as much later as it is now. */
static uint32_t clock_of(const struct node *node)
{
    if (node->clock_at_ns == 0)
        return 0;
    return node->clock_ms + (uint32_t)((now_ns() - node->clock_at_ns) / 1000000);
}

static void send_one(struct load *load)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES] = {0};
    const uint64_t first = next_random(load) % load->keys;
    const uint64_t draw = load->has_affinity ? first : next_random(load);
    const uint32_t number = (uint32_t)(draw % load->node_count);
    struct node *node = &load->nodes[number];
    const struct mete_header header = {
        .type = METE_CHECK,
        .n = (uint8_t)load->batch,
        .tenant = mete_name_id("default", 7),
        .client = node->client,
        .sequence = node->sequence,
        .clock_ms = clock_of(node),
        .secret = METE_WIRE_NO_SECRET,
        .entry_bytes = METE_WIRE_ENTRY_BYTES,
    };

    mete_wire_encode_header(bytes, &header);
    for (uint32_t i = 0; i < load->batch; i++) {
        const uint64_t key = load->has_affinity ? first : (first + i) % load->keys;
        const struct mete_entry entry = {.rule = mete_name_id(load->rule, strlen(load->rule)),
                                         .cost = 1,
                                         .key_low = (load->seed << 32) + key,
                                         .key_high = 0x5bd1e995};
        mete_wire_encode_entry(bytes, &header, i, &entry);
    }
    const size_t len = mete_wire_request_bytes(header.n, header.entry_bytes);
    mete_wire_sign_request(bytes, len, NULL);
    node->sent_ns[node->sequence++ % SENT_RING] = now_ns();
    load->datagrams++;
    if (send(node->fd, bytes, len, 0) != (ssize_t)len)
        node->odd++;
}

static uint64_t stamp_of(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part))
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
            return (uint64_t)stamp.tv_sec * SECOND_NS + (uint64_t)stamp.tv_nsec;
        }
    return now_ns();
}

static void take_verdicts(struct load *load, struct node *node, const uint8_t *bytes, size_t len,
                          uint64_t at_ns)
{
    struct mete_result_header result;

    node->answered++;
    if (mete_wire_decode_result(bytes, len, &result) != METE_WIRE_OK ||
        (result.n != load->batch && !(result.flags & METE_RESULT_STATUS))) {
        memcpy(node->odd_head, bytes, sizeof(node->odd_head));
        node->odd++;
        return;
    }
    if (result.flags & METE_RESULT_STATUS) {
        ++*(result.detail == METE_STATUS_STALE ? &node->stale : &node->odd);
        node->odd_status = result.detail;
        return;
    }
    node->clock_ms = result.clock_ms;
    node->clock_at_ns = at_ns;
    const uint64_t sent_ns = node->sent_ns[result.sequence % SENT_RING];
    if (load->latency_count < load->room)
        load->latency_us[load->latency_count++] =
            (uint32_t)((at_ns > sent_ns ? at_ns - sent_ns : 0) / 1000);
    for (uint32_t i = 0; i < result.n; i++) {
        const struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
        if (verdict.status != METE_STATUS_OK) {
            node->odd++;
            node->odd_status = verdict.status;
        }
        node->degraded += (verdict.flags & METE_VERDICT_DEGRADED) != 0;
        if (!(verdict.flags & METE_VERDICT_ALLOW)) {
            node->denied++;
            continue;
        }
        node->allowed++;
        if (load->admitted < load->room)
            load->admitted_ns[load->admitted++] = at_ns;
    }
}

static void receive(struct load *load, struct node *node)
{
    for (;;) {
        uint8_t bytes[METE_WIRE_MAX_BYTES], control[64];
        struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        const ssize_t len = recvmsg(node->fd, &message, MSG_DONTWAIT);
        if (len < 0 && errno == EAGAIN)
            return;
        if (len < 0) {
            node->odd++;
            return;
        }
        take_verdicts(load, node, bytes, (size_t)len, stamp_of(&message));
    }
}

static bool has_input_ended(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;

    return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static void wait_until(struct load *load, uint64_t until_ns)
{
    struct pollfd ready[MAX_NODES];
    const uint64_t now = now_ns();
    const uint64_t rest_ns = until_ns > now ? until_ns - now : 0;
    const struct timespec rest = {.tv_sec = (time_t)(rest_ns / SECOND_NS),
                                  .tv_nsec = (long)(rest_ns % SECOND_NS)};

    for (uint32_t i = 0; i < load->node_count; i++)
        ready[i] = (struct pollfd){.fd = load->nodes[i].fd, .events = POLLIN};
    if (ppoll(ready, load->node_count, &rest, NULL) <= 0)
        return;
    for (uint32_t i = 0; i < load->node_count; i++)
        if (ready[i].revents)
            receive(load, &load->nodes[i]);
}

static bool is_answered(const struct load *load)
{
    uint64_t answered = 0;

    for (uint32_t i = 0; i < load->node_count; i++)
        answered += load->nodes[i].answered;
    return answered >= load->datagrams;
}

static void run(struct load *load)
{
    const double mean_ns = load->batch * 1e9 / load->rate, end_ns = load->seconds * 1e9;
    double due_ns = 0; /* since begin_ns */
    uint32_t turns = 0;

    while (due_ns < end_ns) {
        const double passed_ns = (double)(now_ns() - load->begin_ns);
        for (; due_ns <= passed_ns && due_ns < end_ns; due_ns -= mean_ns * log(next_unit(load))) {
            if (passed_ns - due_ns > load->slip_ns)
                load->slip_ns = passed_ns - due_ns;
            send_one(load);
        }
        wait_until(load, load->begin_ns + (uint64_t)due_ns);
        if (load->stops_with_input && ++turns % 64 == 0 && has_input_ended())
            break;
    }
    for (const uint64_t last_ns = now_ns() + DRAIN_NS; now_ns() < last_ns && !is_answered(load);)
        wait_until(load, now_ns() + SECOND_NS / 100);
}

static int by_time(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static int by_latency(const void *a, const void *b)
{
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* What one bucket, charged with all that passed, would owe just before each unit, in units. */
static void note_owed(struct load *load)
{
    double owed = 0;
    uint64_t last_ns = load->begin_ns;

    for (uint64_t i = 0; i < load->admitted; i++) {
        const double drained = (double)(load->admitted_ns[i] - last_ns) * load->limit / 1e9;
        owed = owed > drained ? owed - drained : 0;
        load->owed[i] = owed++;
        last_ns = load->admitted_ns[i];
    }
}

/* The most that passed in any window of so many seconds beyond what one bucket would have let pass
 * in it, filled as it was when the window began. */
static double excess(const struct load *load, double window_s, uint64_t from_ns)
{
    const uint64_t window_ns = (uint64_t)(window_s * 1e9);
    double most = 0;
    uint64_t end = 0;

    for (uint64_t i = 0; i < load->admitted; i++) {
        const double credit = load->burst > load->owed[i] ? load->burst - load->owed[i] : 0;
        while (end < load->admitted && load->admitted_ns[end] - load->admitted_ns[i] < window_ns)
            end++;
        const double over = (double)(end - i) - credit - load->limit * window_s;
        if (load->admitted_ns[i] >= from_ns && over > most)
            most = over;
    }
    return most;
}

static double overdraft(const struct load *load)
{
    double most = 0;

    for (uint64_t i = 0; i < load->admitted; i++)
        if (load->owed[i] + 1 - load->burst > most)
            most = load->owed[i] + 1 - load->burst;
    return most;
}

static uint64_t count_between(const struct load *load, double from_s, double to_s)
{
    const uint64_t from_ns = load->begin_ns + (uint64_t)(from_s * 1e9);
    const uint64_t to_ns = load->begin_ns + (uint64_t)(to_s * 1e9);
    uint64_t count = 0;

    for (uint64_t i = 0; i < load->admitted; i++)
        count += load->admitted_ns[i] >= from_ns && load->admitted_ns[i] < to_ns;
    return count;
}

static void report(struct load *load)
{
    struct node sum = {0};
    const double steady_s = load->seconds - load->settle;

    for (uint32_t i = 0; i < load->node_count; i++) {
        sum.answered += load->nodes[i].answered;
        sum.allowed += load->nodes[i].allowed;
        sum.denied += load->nodes[i].denied;
        sum.odd += load->nodes[i].odd;
        sum.stale += load->nodes[i].stale;
        sum.odd_status = load->nodes[i].odd > 0 ? load->nodes[i].odd_status : sum.odd_status;
        sum.degraded += load->nodes[i].degraded;
        if (load->nodes[i].odd_head[0])
            memcpy(sum.odd_head, load->nodes[i].odd_head, sizeof(sum.odd_head));
    }
    qsort(load->admitted_ns, load->admitted, sizeof(*load->admitted_ns), by_time);
    note_owed(load);
    qsort(load->latency_us, load->latency_count, sizeof(*load->latency_us), by_latency);
    printf("{\"datagrams\": %" PRIu64 ", \"answered\": %" PRIu64 ", \"allowed\": %" PRIu64
           ", \"denied\": %" PRIu64 ", \"odd\": %" PRIu64
           ", \"odd_status\": %u, \"stale\": %" PRIu64 ", \"degraded\": %" PRIu64
           ", \"slip_ms\": %.1f",
           load->datagrams, sum.answered, sum.allowed, sum.denied, sum.odd, sum.odd_status,
           sum.stale, sum.degraded, load->slip_ns / 1e6);
    if (load->latency_count > 0)
        printf(", \"p50_us\": %" PRIu32 ", \"p99_us\": %" PRIu32,
               load->latency_us[load->latency_count / 2],
               load->latency_us[load->latency_count * 99 / 100]);
    if (load->limit > 0 && steady_s > 0) {
        const uint64_t from_ns = load->begin_ns + (uint64_t)(load->settle * 1e9);
        printf(", \"first_excess\": %.0f, \"steady_excess\": %.0f, \"minute_excess\": %.0f, "
               "\"overdraft\": %.1f, \"use\": %.5f",
               (double)count_between(load, 0, 1) - load->burst - load->limit,
               excess(load, 1, from_ns), steady_s >= 60 ? excess(load, 60, from_ns) : 0,
               overdraft(load),
               (double)count_between(load, load->settle, load->seconds) / (load->limit * steady_s));
    }
    printf(", \"odd_head\": \"");
    for (uint32_t i = 0; i < sizeof(sum.odd_head) && sum.odd_head[0]; i++)
        printf("%02x", sum.odd_head[i]);
    printf("\"}\n");
}

static int open_nodes(struct load *load, const char *ports)
{
    for (const char *next = ports; *next && load->node_count < MAX_NODES; load->node_count++) {
        char *end;
        const struct sockaddr_in address = {.sin_family = AF_INET,
                                            .sin_port = htons((uint16_t)strtoul(next, &end, 10)),
                                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct node *node = &load->nodes[load->node_count];
        const int size = 4 << 20, on = 1;
        node->fd = socket(AF_INET, SOCK_DGRAM, 0);
        node->sequence = (uint32_t)next_random(load);
        if (end == next || node->fd < 0 ||
            getrandom(&node->client, sizeof(node->client), 0) != (ssize_t)sizeof(node->client) ||
            connect(node->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
            return -1;
        setsockopt(node->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
        setsockopt(node->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
        next = *end == ',' ? end + 1 : end;
    }
    return load->node_count > 0 ? 0 : -1;
}

static const struct option OPTIONS[] = {
    {"nodes", required_argument, NULL, 'n'},
    {"rule", required_argument, NULL, 'u'},
    {"rate", required_argument, NULL, 'r'},
    {"limit", required_argument, NULL, 'l'},
    {"burst", required_argument, NULL, 'b'},
    {"seconds", required_argument, NULL, 's'},
    {"settle", required_argument, NULL, 't'},
    {"keys", required_argument, NULL, 'k'},
    {"seed", required_argument, NULL, 'd'},
    {"batch", required_argument, NULL, 'm'},
    {"affinity", no_argument, NULL, 'a'},
    {"stop-fd", no_argument, NULL, 'e'},
    {NULL, 0, NULL, 0},
};

static const char *parse(struct load *load, int argc, char **argv)
{
    const char *ports = NULL;

    for (int letter; (letter = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        double *const number = letter == 'r'   ? &load->rate
                               : letter == 'l' ? &load->limit
                               : letter == 'b' ? &load->burst
                               : letter == 's' ? &load->seconds
                                               : &load->settle;
        if (letter == 'n')
            ports = optarg;
        else if (letter == 'u')
            load->rule = optarg;
        else if (letter == 'k')
            load->keys = (uint32_t)strtoul(optarg, NULL, 10);
        else if (letter == 'd')
            load->seed = strtoull(optarg, NULL, 10);
        else if (letter == 'm')
            load->batch = (uint32_t)strtoul(optarg, NULL, 10);
        else if (letter == 'a')
            load->has_affinity = true;
        else if (letter == 'e')
            load->stops_with_input = true;
        else if (letter == '?')
            return NULL;
        else
            *number = strtod(optarg, NULL);
    }
    const bool is_sound = load->rule && load->rate > 0 && load->seconds > 0 && load->keys > 0 &&
                          load->batch > 0 && load->batch <= 50;
    return is_sound ? ports : NULL;
}

int main(int argc, char **argv)
{
    struct load load = {.seconds = 5, .settle = 1, .keys = 1, .seed = 1, .batch = 1};
    const char *ports = parse(&load, argc, argv);

    load.random = load.seed;
    load.room = (uint64_t)(load.rate * load.seconds * 1.2) + 10000;
    load.nodes = calloc(MAX_NODES, sizeof(*load.nodes));
    load.admitted_ns = calloc(load.room, sizeof(*load.admitted_ns));
    load.owed = calloc(load.room, sizeof(*load.owed));
    load.latency_us = calloc(load.room, sizeof(*load.latency_us));
    if (!ports || !load.nodes || !load.admitted_ns || !load.owed || !load.latency_us ||
        open_nodes(&load, ports)) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the program ends here */
        fprintf(stderr, "usage: cluster_load --nodes PORT,... --rule NAME --rate N [OPTION...]\n");
        return 2;
    }
    load.begin_ns = now_ns();
    run(&load);
    report(&load);
    for (uint32_t i = 0; i < load.node_count; i++)
        close(load.nodes[i].fd);
    free(load.nodes);
    free(load.admitted_ns);
    free(load.owed);
    free(load.latency_us);
    return 0;
}
