/* Distinct requests through a bad network, each sent again as the very same bytes until it is
 * answered; then every bucket is asked directly how much it was charged.
 *
 *   repeat_feed PROXY_PORT SERVER_PORT COUNT SEED RULE:SHAPE...
 *
 * A rule must have room for 30,000 units that do not come back while this runs; the rule few_RULE
 * has room for 1. Shapes: single, batch (8 checks), all (ALL_OR_NOTHING, 4 checks), most (AT_MOST,
 * 2 checks), pair (two datagrams want the same one unit), either (ALL_OR_NOTHING, the second check
 * wants a unit that two datagrams want). COUNT datagrams are shared evenly by the shapes. Entry 0
 * of each, but of a pair, has a subject of its own, so its bucket tells whether, and how often,
 * that datagram was charged; the last entry of a longer one is a subject that 20,000 share. Prints
 * per shape what it did and how many units it found charged.
 *
 * Status 1: a datagram was charged twice, or charged and said otherwise, or was answered with two
 * different decisions. Used by tests/e2e/test_repeats.py. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/random.h"
#include "mete/wire.h"

#define OUTSTANDING 1024u
#define RETRY_NS 8000000ull
#define GIVE_UP_NS 2000000000ull /* long after W: whatever comes then is STALE */
#define SHARE 20000u
#define SHARED_KEY 0x5ca1ab1e00000000ull
#define MAX_CHECKS 8u
#define PATIENCE_MS 50 /* peeks change nothing, so they are asked again ... */
#define TRIES 400      /* ... so often */

struct shape {
    const char *name;
    uint8_t flags;
    uint8_t n;
    uint32_t cost;  /* of entry 0; the others cost 1 */
    bool is_pair;   /* entry 0 is the unit that two want */
    bool is_either; /* entry 1 is */
};

static const struct shape shapes[] = {
    {.name = "single", .n = 1, .cost = 2},
    {.name = "batch", .n = 8, .cost = 3},
    {.name = "all", .flags = METE_FLAG_ALL_OR_NOTHING, .n = 4, .cost = 2},
    {.name = "most", .flags = METE_FLAG_AT_MOST, .n = 2, .cost = 5},
    {.name = "pair", .n = 1, .cost = 1, .is_pair = true},
    {.name = "either", .flags = METE_FLAG_ALL_OR_NOTHING, .n = 2, .cost = 2, .is_either = true},
};

struct request {
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    size_t len;
    uint32_t number;
    bool is_waiting;
    uint64_t first_ns, next_ns;
};

struct fate {
    bool is_answered;
    uint32_t units[MAX_CHECKS]; /* that the first answer said were charged */
};

static struct {
    int proxy, server;
    uint64_t random;
    uint32_t client, sequence;
    uint32_t server_ms; /* at started_ns */
    uint64_t started_ns;
    /* of the shape in hand: */
    const struct shape *shape;
    uint32_t rule, rule_of_few;
    uint64_t first_key;
    uint32_t first_sequence, count;
    struct fate *fates;
    struct request requests[OUTSTANDING];
    uint64_t sent, stale, repeats, given_up;
    unsigned faults;
} feed;

static uint64_t next_random(void)
{
    return random_next(&feed.random);
}

static uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fault(const char *what, uint32_t number, uint64_t expected, uint64_t got)
{
    if (feed.faults++ < 10)
        fprintf(stderr, "repeat_feed: %s, datagram %u: %s: %" PRIu64 ", got %" PRIu64 "\n",
                feed.shape->name, number, what, expected, got);
}

/* Subject of entry 0 is the datagram's own (a pair's: of two), of the last one it is shared. */
static uint64_t key_of(uint32_t number, unsigned entry)
{
    bool is_of_two = feed.shape->is_pair || (feed.shape->is_either && entry);

    if (entry && entry == feed.shape->n - 1u && !is_of_two)
        return SHARED_KEY + feed.first_key + number / SHARE;
    return (feed.first_key + (is_of_two ? number / 2 : number)) * MAX_CHECKS + entry;
}

static uint32_t rule_of(unsigned entry)
{
    bool is_of_two = feed.shape->is_pair || (feed.shape->is_either && entry);

    return is_of_two ? feed.rule_of_few : feed.rule;
}

static size_t encode(uint8_t *bytes, uint8_t type, uint8_t flags, unsigned n, uint32_t clock_ms)
{
    struct mete_header header = {
        .type = type,
        .flags = flags,
        .n = (uint8_t)n,
        .tenant = mete_name_id("default", 7),
        .client = feed.client,
        .sequence = feed.sequence++,
        .clock_ms = clock_ms,
        .secret = METE_WIRE_NO_SECRET,
        .entry_bytes = type == METE_HELLO ? 32 : METE_WIRE_ENTRY_BYTES,
    };
    size_t len = mete_wire_request_bytes(n, header.entry_bytes);

    memset(bytes, 0, len);
    mete_wire_encode_header(bytes, &header);
    return len;
}

static void put_check(uint8_t *bytes, unsigned index, uint32_t rule, uint64_t key, uint32_t cost)
{
    struct mete_header header = {.type = METE_CHECK, .entry_bytes = METE_WIRE_ENTRY_BYTES};
    struct mete_entry entry = {.rule = rule, .cost = cost, .key_low = key, .key_high = ~key};

    mete_wire_encode_entry(bytes, &header, index, &entry);
}

/* ---- directly: HELLO and peeks, which may be asked again ---- */

static size_t ask(uint8_t *bytes, size_t len)
{
    struct pollfd readable = {.fd = feed.server, .events = POLLIN};
    uint8_t answer[METE_WIRE_MAX_BYTES];
    uint32_t sequence = mete_wire_get32(bytes + 12);

    mete_wire_sign_request(bytes, len, NULL);
    for (unsigned tries = 0;;) {
        struct mete_result_header result;

        if (send(feed.server, bytes, len, 0) < 0 || tries == TRIES) {
            fprintf(stderr, "repeat_feed: the server does not answer\n");
            exit(2);
        }
        if (poll(&readable, 1, PATIENCE_MS) <= 0) {
            tries++; /* a crowded machine may leave a worker waiting for its CPU for seconds */
            continue;
        }
        ssize_t got = recv(feed.server, answer, sizeof answer, 0);

        if (got > 0 && mete_wire_decode_result(answer, (size_t)got, &result) == METE_WIRE_OK &&
            result.sequence == sequence && !(result.flags & METE_RESULT_STATUS)) {
            memcpy(bytes, answer, (size_t)got);
            return (size_t)got;
        }
    }
}

static void read_clock(void)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    struct mete_result_header result = {0};
    size_t len = ask(bytes, encode(bytes, METE_HELLO, 0, 1, 0));

    feed.started_ns = clock_ns();
    mete_wire_decode_result(bytes, len, &result);
    feed.server_ms = result.clock_ms;
}

/* What `count` subjects may still spend; at most 50. */
static void peek(const uint64_t *keys, unsigned count, uint32_t *ret_remaining)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    size_t len = encode(bytes, METE_CHECK, METE_FLAG_PEEK, count, 0);

    for (unsigned i = 0; i < count; i++)
        put_check(bytes, i, rule_of(0), keys[i], 1);
    ask(bytes, len);
    for (unsigned i = 0; i < count; i++)
        ret_remaining[i] = mete_wire_decode_verdict(bytes, i).remaining;
}

/* ---- through the proxy ---- */

static void send_request(struct request *request, uint64_t now_ns)
{
    send(feed.proxy, request->bytes, request->len, 0);
    request->next_ns = now_ns + RETRY_NS / 2 + next_random() % RETRY_NS;
    feed.sent++;
}

static void start_request(struct request *request, uint32_t number, uint64_t now_ns)
{
    uint32_t clock_ms = feed.server_ms + (uint32_t)((now_ns - feed.started_ns) / 1000000);

    request->len = encode(request->bytes, METE_CHECK, feed.shape->flags, feed.shape->n,
                          clock_ms ? clock_ms : 1);
    for (unsigned i = 0; i < feed.shape->n; i++)
        put_check(request->bytes, i, rule_of(i), key_of(number, i), i ? 1 : feed.shape->cost);
    mete_wire_sign_request(request->bytes, request->len, NULL);
    request->number = number;
    request->is_waiting = true;
    request->first_ns = now_ns;
    send_request(request, now_ns);
}

static uint32_t units_of(const struct mete_verdict *verdict, uint32_t cost)
{
    if (verdict->flags & METE_VERDICT_GRANTED)
        return verdict->retry_after;
    return verdict->flags & METE_VERDICT_ALLOW && !(verdict->flags & METE_VERDICT_NOT_CHARGED)
               ? cost
               : 0;
}

static void take_answer(const uint8_t *bytes, size_t len)
{
    struct mete_result_header result;

    if (mete_wire_decode_result(bytes, len, &result) != METE_WIRE_OK)
        return;
    uint32_t number = result.sequence - feed.first_sequence;
    struct request *request = &feed.requests[number % OUTSTANDING];

    if (number >= feed.count) /* a late one of the shape before */
        return;
    if (result.flags & METE_RESULT_STATUS) {
        feed.stale += result.detail == METE_STATUS_STALE;
        if (result.detail != METE_STATUS_STALE)
            fault("status", number, METE_STATUS_STALE, result.detail);
        /* stale once, stale for ever: an earlier copy may have been charged, its bucket knows */
        if (request->number == number && request->is_waiting) {
            request->is_waiting = false;
            feed.given_up++;
        }
        return;
    }
    struct fate *fate = &feed.fates[number];

    for (unsigned i = 0; i < feed.shape->n; i++) {
        struct mete_verdict verdict = mete_wire_decode_verdict(bytes, i);
        uint32_t units = units_of(&verdict, i ? 1 : feed.shape->cost);

        if (verdict.status != METE_STATUS_OK)
            fault("status of an entry", number, METE_STATUS_OK, verdict.status);
        if (fate->is_answered && fate->units[i] != units)
            fault("units of the first answer", number, fate->units[i], units);
        feed.repeats += i == 0 && verdict.flags & METE_VERDICT_REPEAT;
        fate->units[i] = units;
    }
    fate->is_answered = true;
    if (request->number == number)
        request->is_waiting = false;
}

static void run_shape(void)
{
    struct pollfd readable = {.fd = feed.proxy, .events = POLLIN};
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    uint32_t started = 0, waiting = 1;

    memset(feed.requests, 0, sizeof feed.requests);
    while (waiting || started < feed.count) {
        uint64_t now_ns = clock_ns();
        ssize_t len;

        waiting = 0;
        for (unsigned i = 0; i < OUTSTANDING; i++) {
            struct request *request = &feed.requests[i];

            if (request->is_waiting && now_ns - request->first_ns > GIVE_UP_NS) {
                request->is_waiting = false;
                feed.given_up++;
            }
            /* its turn, so that the place of a number is known by the number */
            if (!request->is_waiting && started < feed.count && started % OUTSTANDING == i)
                start_request(request, started++, now_ns);
            else if (request->is_waiting && now_ns >= request->next_ns)
                send_request(request, now_ns);
            waiting += request->is_waiting;
        }
        poll(&readable, 1, 1);
        while ((len = recv(feed.proxy, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
            take_answer(bytes, (size_t)len);
    }
}

/* ---- what was charged ---- */

static uint64_t judge_shared(uint32_t full, const uint32_t *charged)
{
    uint64_t units = 0;

    for (uint32_t group = 0;
         feed.shape->n > 1 && !feed.shape->is_either && group * SHARE < feed.count; group++) {
        uint64_t key = key_of(group * SHARE, feed.shape->n - 1u);
        uint32_t remaining, expected = 0;

        for (uint32_t i = group * SHARE; i < feed.count && i < (group + 1) * SHARE; i++)
            expected += charged[i] > 0;
        peek(&key, 1, &remaining);
        if (full - remaining != expected)
            fault("units of the shared subject", group, expected, full - remaining);
        units += full - remaining;
    }
    return units;
}

/* Two datagrams want one unit: if both were answered, one of them has it. */
static void judge_two(uint32_t number, const uint32_t *charged)
{
    const struct fate *fate = &feed.fates[number];
    uint32_t cost = feed.shape->cost;

    if (number % 2 || number + 1 >= feed.count || !fate[0].is_answered || !fate[1].is_answered)
        return;
    if (fate[0].units[0] + fate[1].units[0] != cost)
        fault("units answered to two", number, cost, fate[0].units[0] + fate[1].units[0]);
    if (feed.shape->is_pair && charged[number] != cost)
        fault("units of two", number, cost, charged[number]);
}

/* Returns the units of the datagram but for the shared subject (of a pair: with its first). */
static uint64_t judge_datagram(uint32_t number, const uint32_t *charged)
{
    const struct fate *fate = &feed.fates[number];
    uint32_t units = charged[number], cost = feed.shape->cost;

    if (feed.shape->is_pair || feed.shape->is_either)
        judge_two(number, charged);
    if (feed.shape->is_pair)
        return number % 2 ? 0 : units;
    if (fate->is_answered ? units != fate->units[0] : units && units != cost)
        fault("units charged", number, fate->units[0], units);
    if (feed.shape->is_either)
        return units;
    /* the entries between first and last are charged with the first */
    return units + (units && feed.shape->n > 2 ? feed.shape->n - 2u : 0);
}

/* Returns the units that this shape took from its rule. */
static uint64_t judge_shape(uint32_t *charged)
{
    const uint64_t nobody = 1;
    uint64_t units = 0;
    uint32_t full, remaining[50];
    unsigned count;

    peek(&nobody, 1, &full);
    for (uint32_t first = 0; first < feed.count; first += count) {
        uint64_t keys[50];

        count = feed.count - first < 50 ? feed.count - first : 50;
        for (unsigned i = 0; i < count; i++)
            keys[i] = key_of(first + i, 0);
        peek(keys, count, remaining);
        for (unsigned i = 0; i < count; i++)
            charged[first + i] = full - remaining[i];
    }
    for (uint32_t i = 0; i < feed.count; i++)
        units += judge_datagram(i, charged);
    return units + judge_shared(full, charged);
}

static int play(char *argument, uint32_t count)
{
    char *colon = strchr(argument, ':');
    size_t i = 0, shape_count = sizeof shapes / sizeof *shapes;

    while (colon && i < shape_count && strcmp(colon + 1, shapes[i].name) != 0)
        i++;
    if (!colon || i == shape_count)
        return -1;
    *colon = 0;
    feed.shape = &shapes[i];
    char few[64];

    snprintf(few, sizeof few, "few_%s", argument);
    feed.rule = mete_name_id(argument, strlen(argument));
    feed.rule_of_few = mete_name_id(few, strlen(few));
    feed.first_key += 1000000;
    feed.count = count;
    feed.first_sequence = feed.sequence;
    feed.sent = feed.stale = feed.repeats = feed.given_up = 0;
    feed.fates = calloc(count, sizeof *feed.fates);
    uint32_t *charged = calloc(count, sizeof *charged);

    if (!feed.fates || !charged)
        return -1;
    run_shape();
    uint64_t units = judge_shape(charged);

    printf("%s %s requests %u sent %" PRIu64 " repeats %" PRIu64 " stale %" PRIu64
           " given_up %" PRIu64 " units %" PRIu64 "\n",
           argument, feed.shape->name, count, feed.sent, feed.repeats, feed.stale, feed.given_up,
           units);
    fflush(stdout);
    free(feed.fates);
    free(charged);
    return 0;
}

static int connect_to(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
        perror("repeat_feed");
        exit(2);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return fd;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: repeat_feed PROXY_PORT SERVER_PORT COUNT SEED RULE:SHAPE...\n");
        return 2;
    }
    uint32_t count = (uint32_t)strtoul(argv[3], NULL, 10) / (uint32_t)(argc - 5);

    feed.random = strtoull(argv[4], NULL, 0);
    feed.client = (uint32_t)next_random();
    feed.sequence = (uint32_t)next_random();
    feed.proxy = connect_to(argv[1]);
    feed.server = connect_to(argv[2]);
    read_clock();
    for (int i = 5; i < argc; i++)
        if (play(argv[i], count ? count : 1)) {
            fprintf(stderr, "repeat_feed: no such shape: %s\n", argv[i]);
            return 2;
        }
    close(feed.proxy);
    close(feed.server);
    return feed.faults ? 1 : 0;
}
