/* One hot key over the wire: is there one order of what several clients asked at once, in which
 * each was told what a bucket would have said that does one thing at a time?
 *
 *   linear_feed HISTORIES SEED RULE PORT...
 *
 * A history is a new subject of RULE, of which 9 units can pass and none come back meanwhile, on
 * which all clients start at once. For the rule `bucket` the judge knows that workers read their
 * clocks one by one (`lags` of race/linear.h); windows have numbers, and no such excuse. Each is a
 * thread with sockets of its own, so that its datagrams meet several workers; it sends up to three
 * requests together, each up to three times as the very same bytes from any of its sockets, and
 * waits for an answer to each: checks, grants of at most so much, refunds, resets, peeks. Recorded
 * are the instants before its first send and after its first answer, and the verdict. What a copy
 * is told must be the same decision, with the numbers of a peek between then and now. race/linear.h
 * looks for the order.
 *
 * Clients take turns over the PORTs: of one server, or, to see that the judge says no, of several
 * that know nothing of each other. Prints what it did; status 1 at the first history without an
 * order, which it prints. Used by tests/e2e/test_linear.py. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/random.h"
#include "mete/wire.h"
#include "race/linear.h"

#define CLIENTS 4u
#define SOCKETS 4u
#define ASKED 6u                             /* requests of each client in a history */
#define LOOKS (LINEAR_MAX / CLIENTS - ASKED) /* answers to copies that are looked at */
#define TOGETHER 3u
#define COPIES 3u
#define BURST 9u
#define PATIENCE_MS 60000

struct feed {
    uint64_t seed;
    const char *rule;
    unsigned history, histories;
    unsigned undecided, refused; /* histories that say nothing */
    uint64_t looks, overlaps;
    bool failed;
    pthread_barrier_t barrier;
    struct client *clients;
    struct linear linear;
};

struct client {
    struct feed *feed;
    pthread_t thread;
    struct pollfd sockets[SOCKETS];
    uint64_t random;
    uint32_t id, first_sequence; /* of this history */
    unsigned count, answered, look_count;
    bool is_refused, is_contradicted;
    bool is_answered[ASKED];
    struct linear_op ops[ASKED], looks[LOOKS];
};

static uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- asking ---- */

static size_t encode(const struct client *client, const struct linear_op *op, uint8_t *bytes)
{
    static const struct {
        uint8_t type, flags;
    } kinds[] = {
        [LINEAR_CHECK] = {METE_CHECK, 0},
        [LINEAR_AT_MOST] = {METE_CHECK, METE_FLAG_AT_MOST},
        [LINEAR_REFUND] = {METE_REFUND, 0},
        [LINEAR_RESET] = {METE_RESET, 0},
        [LINEAR_PEEK] = {METE_CHECK, METE_FLAG_PEEK},
    };
    const struct mete_header header = {
        .type = kinds[op->kind].type,
        .flags = kinds[op->kind].flags,
        .n = 1,
        .tenant = mete_name_id("default", 7),
        .client = client->id,
        .sequence = client->first_sequence + client->count,
        .secret = METE_WIRE_NO_SECRET,
        .entry_bytes = METE_WIRE_ENTRY_BYTES,
    };
    const struct feed *feed = client->feed;
    uint64_t state = feed->seed ^ (uint64_t)feed->history << 16;
    const struct mete_entry entry = {.rule = mete_name_id(feed->rule, strlen(feed->rule)),
                                     .cost = op->cost,
                                     .key_low = random_next(&state),
                                     .key_high = random_next(&state)};
    const size_t len = mete_wire_request_bytes(1, header.entry_bytes);

    memset(bytes, 0, len);
    mete_wire_encode_header(bytes, &header);
    mete_wire_encode_entry(bytes, &header, 0, &entry);
    mete_wire_sign_request(bytes, len, NULL);
    return len;
}

static void ask_one(struct client *client)
{
    static const enum linear_kind kinds[] = {LINEAR_CHECK,  LINEAR_CHECK, LINEAR_CHECK,
                                             LINEAR_CHECK,  LINEAR_PEEK,  LINEAR_AT_MOST,
                                             LINEAR_REFUND, LINEAR_RESET};
    struct linear_op *op = &client->ops[client->count];
    const uint64_t random = random_next(&client->random);
    uint8_t bytes[METE_WIRE_MAX_BYTES];

    *op = (struct linear_op){.kind = kinds[random % 8], .cost = 1 + random / 8 % 3};
    client->is_answered[client->count] = false;
    const size_t len = encode(client, op, bytes);
    client->count++;
    op->asked = clock_ns();
    for (uint64_t copies = 1 + random / 64 % COPIES; copies; copies--) {
        const uint64_t place = random_next(&client->random) % SOCKETS;

        if (send(client->sockets[place].fd, bytes, len, 0) < 0) {
            perror("linear_feed: send");
            exit(2);
        }
    }
}

/* ---- being told ---- */

static uint32_t units_of(const struct mete_verdict *verdict, const struct linear_op *op)
{
    if (op->kind != LINEAR_CHECK && op->kind != LINEAR_AT_MOST)
        return 0;
    if (verdict->flags & METE_VERDICT_GRANTED)
        return verdict->retry_after;
    return verdict->flags & METE_VERDICT_ALLOW ? op->cost : 0;
}

/* An answer that is not the one of the charge: the same decision, and a look. */
static void take_look(struct client *client, const struct linear_op *op,
                      const struct mete_verdict *verdict, uint64_t now_ns)
{
    if (units_of(verdict, op) != op->granted)
        client->is_contradicted = true;
    if (client->look_count == LOOKS)
        return;
    client->looks[client->look_count++] = (struct linear_op){.kind = LINEAR_PEEK,
                                                             .asked = op->asked,
                                                             .answered = now_ns,
                                                             .has_numbers = true,
                                                             .remaining = verdict->remaining};
}

static void take(struct client *client, const uint8_t *bytes, size_t len, uint64_t now_ns)
{
    struct mete_result_header result;

    if (mete_wire_decode_result(bytes, len, &result) != METE_WIRE_OK)
        return;
    const uint32_t index = result.sequence - client->first_sequence;
    if (index >= client->count) /* a late copy of a history before */
        return;
    struct linear_op *op = &client->ops[index];
    const bool is_first = !client->is_answered[index];

    client->answered += is_first;
    client->is_answered[index] = true;
    if (result.flags & METE_RESULT_STATUS) { /* STALE after a long stand: who knows */
        client->is_refused = true;
        return;
    }
    const struct mete_verdict verdict = mete_wire_decode_verdict(bytes, 0);
    const bool is_charge = !(verdict.flags & METE_VERDICT_REPEAT) && !op->has_numbers;

    if (is_first) {
        op->answered = now_ns;
        op->granted = units_of(&verdict, op);
    }
    if (is_charge) {
        op->has_numbers = true;
        op->remaining = verdict.remaining;
        client->is_contradicted |= units_of(&verdict, op) != op->granted;
    } else {
        take_look(client, op, &verdict, now_ns);
    }
}

/* Returns whether anything came within so long. */
static bool hear(struct client *client, int wait_ms)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];

    if (poll(client->sockets, SOCKETS, wait_ms) <= 0)
        return false;
    for (unsigned i = 0; i < SOCKETS; i++) {
        ssize_t len;

        while ((len = recv(client->sockets[i].fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
            take(client, bytes, (size_t)len, clock_ns());
    }
    return true;
}

static void play(struct client *client)
{
    client->first_sequence += client->count;
    client->count = client->answered = client->look_count = 0;
    client->is_refused = client->is_contradicted = false;
    while (client->count < ASKED) {
        uint64_t together = 1 + random_next(&client->random) % TOGETHER;

        while (together-- && client->count < ASKED)
            ask_one(client);
        while (client->answered < client->count)
            if (!hear(client, PATIENCE_MS)) {
                fprintf(stderr, "linear_feed: the server does not answer\n");
                exit(2);
            }
    }
    hear(client, 0);
}

/* ---- the judgement, while all others wait ---- */

static uint64_t count_overlaps(const struct linear *linear)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < linear->count; i++)
        for (unsigned j = 0; j < i; j++)
            count += linear->ops[i].asked < linear->ops[j].answered &&
                     linear->ops[j].asked < linear->ops[i].answered;
    return count;
}

static void judge(struct feed *feed)
{
    struct linear *linear = &feed->linear;
    bool is_refused = false, is_contradicted = false;

    linear->count = 0;
    linear->burst = BURST;
    linear->lags = strcmp(feed->rule, "bucket") == 0;
    for (const struct client *client = feed->clients; client < feed->clients + CLIENTS; client++) {
        memcpy(&linear->ops[linear->count], client->ops, sizeof client->ops);
        linear->count += ASKED;
        memcpy(&linear->ops[linear->count], client->looks,
               client->look_count * sizeof *client->looks);
        linear->count += client->look_count;
        feed->looks += client->look_count;
        is_refused |= client->is_refused;
        is_contradicted |= client->is_contradicted;
    }
    feed->overlaps += count_overlaps(linear);
    const bool has_order = is_refused || linear_judge(linear);

    feed->refused += is_refused;
    if (is_contradicted || (!has_order && !linear_is_undecided(linear))) {
        feed->failed = true;
        printf("linear_feed: seed %" PRIu64 ", history %u: %s:\n", feed->seed, feed->history,
               is_contradicted ? "a copy was told another decision" : "no order");
        linear_print(linear);
    } else if (!has_order) {
        feed->undecided++;
    }
    feed->history++;
}

static void *client_run(void *argument)
{
    struct client *client = argument;
    struct feed *feed = client->feed;

    while (!feed->failed && feed->history < feed->histories) {
        pthread_barrier_wait(&feed->barrier);
        play(client);
        /* Whoever has come last knows that all are done, and the others wait for it once more. */
        if (pthread_barrier_wait(&feed->barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            judge(feed);
        pthread_barrier_wait(&feed->barrier);
    }
    return NULL;
}

static void connect_to(struct client *client, const char *port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (unsigned i = 0; i < SOCKETS; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);

        if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address)) {
            perror("linear_feed");
            exit(2);
        }
        client->sockets[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
}

int main(int argc, char **argv)
{
    static struct feed feed;
    static struct client clients[CLIENTS];

    if (argc < 5) {
        fprintf(stderr, "usage: linear_feed HISTORIES SEED RULE PORT...\n");
        return 2;
    }
    feed.histories = (unsigned)strtoul(argv[1], NULL, 10);
    feed.seed = strtoull(argv[2], NULL, 0);
    feed.rule = argv[3];
    feed.clients = clients;
    pthread_barrier_init(&feed.barrier, NULL, CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &clients[i];

        *client = (struct client){.feed = &feed, .random = feed.seed * CLIENTS + i};
        client->id = (uint32_t)random_next(&client->random);
        client->first_sequence = (uint32_t)random_next(&client->random);
        connect_to(client, argv[4 + i % (unsigned)(argc - 4)]);
        if (pthread_create(&client->thread, NULL, client_run, client))
            return 2;
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    printf("histories %u requests %u overlaps %" PRIu64 " repeats %" PRIu64
           " undecided %u refused %u\n",
           feed.history, feed.history * CLIENTS * ASKED, feed.overlaps, feed.looks, feed.undecided,
           feed.refused);
    return feed.failed ? 1 : 0;
}
