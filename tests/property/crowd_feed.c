/* A tenant that asks for ever new subjects, as fast as the server answers: COUNT checks of random
 * keys, 50 to a datagram (the last one too), over FLOWS sockets, each with WINDOW datagrams under
 * way. Every datagram must be answered, and every check be judged or its datagram be LIMITED or,
 * rarely, STALE: the set of repeats forgets under such a load.
 *
 *   crowd_feed PORT TENANT RULE COUNT SEED    prints: sent S allowed A denied D limited L stale T
 *
 * exit status: 0, 1 an answer was missing or wrong, 2 wrong use. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/random.h"
#include "mete/wire.h"

#define FLOWS 4u
#define WINDOW 16u
#define CHECKS 50u
#define PATIENCE_MS 30000

struct flow {
    int fd;
    uint32_t client, sequence, answered;
};

struct feed {
    uint32_t tenant, rule;
    uint64_t state, sent, count, allowed, denied, limited, stale;
    uint32_t clock_ms; /* of the last answer */
    struct flow flows[FLOWS];
};

static uint64_t next_random(struct feed *feed)
{
    return random_next(&feed->state);
}

static int send_one(struct feed *feed, struct flow *flow)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES] = {0};
    struct mete_header header = {
        .type = METE_CHECK,
        .n = CHECKS,
        .tenant = feed->tenant,
        .client = flow->client,
        .sequence = flow->sequence++,
        .clock_ms = feed->clock_ms,
        .secret = METE_WIRE_NO_SECRET,
        .entry_bytes = METE_WIRE_ENTRY_BYTES,
    };
    mete_wire_encode_header(bytes, &header);
    for (unsigned i = 0; i < header.n; i++) {
        struct mete_entry entry = {.rule = feed->rule,
                                   .cost = 1,
                                   .key_low = next_random(feed),
                                   .key_high = next_random(feed)};
        mete_wire_encode_entry(bytes, &header, i, &entry);
    }
    feed->sent += header.n;
    size_t len = mete_wire_request_bytes(header.n, header.entry_bytes);
    mete_wire_sign_request(bytes, len, NULL);
    return send(flow->fd, bytes, len, 0) == (ssize_t)len ? 0 : -1;
}

static int complain(const char *what, unsigned value)
{
    fprintf(stderr, "crowd_feed: %s %u\n", what, value);
    return -1;
}

/* Every answer of a flow is to one that was sent; which one does not matter, all are alike. */
static int take_one(struct feed *feed, struct flow *flow)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    struct mete_result_header result;
    ssize_t len = recv(flow->fd, bytes, sizeof(bytes), 0);
    if (len < 0)
        return complain("no answer: errno", (unsigned)errno);
    if (mete_wire_decode_result(bytes, (size_t)len, &result) != METE_WIRE_OK ||
        result.sequence >= flow->sequence)
        return complain("no result in an answer of bytes:", (unsigned)len);
    flow->answered++;
    feed->clock_ms = result.clock_ms;
    if (result.flags & METE_RESULT_STATUS) {
        if (result.detail == METE_STATUS_STALE)
            feed->stale++;
        else if (result.detail == METE_STATUS_LIMITED)
            feed->limited++;
        else
            return complain("status", result.detail);
        return 0;
    }
    for (unsigned i = 0; i < result.n; i++) {
        struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
        if (verdict.status != METE_STATUS_OK)
            return complain("status of a check:", verdict.status);
        *(verdict.flags & METE_VERDICT_ALLOW ? &feed->allowed : &feed->denied) += 1;
    }
    return 0;
}

static int run(struct feed *feed)
{
    struct pollfd ready[FLOWS];
    for (;;) {
        bool is_idle = true;
        for (unsigned f = 0; f < FLOWS; f++) {
            struct flow *flow = &feed->flows[f];
            while (feed->sent < feed->count && flow->sequence - flow->answered < WINDOW)
                if (send_one(feed, flow))
                    return -1;
            is_idle &= flow->sequence == flow->answered;
            ready[f] = (struct pollfd){.fd = flow->fd, .events = POLLIN};
        }
        if (is_idle)
            return 0;
        if (poll(ready, FLOWS, PATIENCE_MS) <= 0)
            return complain("no answer within ms:", PATIENCE_MS);
        for (unsigned f = 0; f < FLOWS; f++)
            if (ready[f].revents && take_one(feed, &feed->flows[f]))
                return -1;
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: crowd_feed PORT TENANT RULE COUNT SEED\n");
        return 2;
    }
    struct sockaddr_in server = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct feed feed = {
        .tenant = mete_name_id(argv[2], strlen(argv[2])),
        .rule = mete_name_id(argv[3], strlen(argv[3])),
        .count = strtoull(argv[4], NULL, 10),
        .state = strtoull(argv[5], NULL, 10),
    };
    for (unsigned f = 0; f < FLOWS; f++) {
        feed.flows[f].client = (uint32_t)next_random(&feed);
        feed.flows[f].fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (connect(feed.flows[f].fd, (struct sockaddr *)&server, sizeof(server))) {
            perror("crowd_feed");
            return 2;
        }
    }
    int result = run(&feed);
    for (unsigned f = 0; f < FLOWS; f++)
        close(feed.flows[f].fd);
    if (result) {
        fprintf(stderr, "crowd_feed: that was after %" PRIu64 " checks\n", feed.sent);
        return 1;
    }
    printf("sent %" PRIu64 " allowed %" PRIu64 " denied %" PRIu64 " limited %" PRIu64
           " stale %" PRIu64 "\n",
           feed.sent, feed.allowed, feed.denied, feed.limited, feed.stale);
    return 0;
}
