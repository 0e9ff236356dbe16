/* What several nodes charged, merged, against one bucket that saw every charge, in exact numbers.
 *
 *   METE_SEED (1), METE_COUNT (rounds, 1500)
 *
 * A round: 1 to 16 nodes with clocks of their own charge one key, send batches over a network that
 * loses, doubles and reorders them, and send again what was lost. At rests, when all is delivered,
 * the merge must be within its bound, and windows must agree exactly. Beside it: outages, losses of
 * the store, and the merge once more as a store computes it, in doubles. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/merge.h"
#include "lib/random.h"
#include "replica/delta.h"

#define NODES 16u
#define PACKETS 256u
#define WINDOWS 4u
#define MS 1000000ll
#define TICKS_PER_US 16000
#define FLUSH_NS (5 * MS)

typedef __int128 int128;

struct packet {
    uint32_t node;
    uint64_t sequence;
    uint64_t window;
    struct merge_delta delta;
    int64_t first_ns; /* true time of the first charge */
    uint32_t units;
};

struct node {
    struct delta delta[WINDOWS]; /* buckets: the first only */
    int64_t clock_ns;            /* ahead of true time */
    uint64_t sequence;           /* of the batch in flight, or the last */
    uint64_t window;             /* of the batch in flight */
    uint64_t view;
};

static struct {
    struct node nodes[NODES];
    struct packet packets[PACKETS];
    struct merge_cell cells[WINDOWS];
    uint64_t last[NODES]; /* sequence numbers in the store */
    uint64_t usage;
    struct limit limit;
    uint32_t node_count, packet_count;
    int64_t now_ns, store_ns; /* the store's clock: ahead of true time */
    int64_t oldest_ns;        /* F: of any batch when it was applied */
    int128 central;           /* ticks of true time */
    uint64_t central_units[WINDOWS], central_usage;
    uint64_t late_ns; /* from this age on a batch gets through; a step is at most 2 ms */
    bool is_never_idle;
    uint64_t random, seed, round;
} world;

static uint64_t next_random(void)
{
    return random_next(&world.random);
}

static uint64_t below(uint64_t bound)
{
    return next_random() % bound;
}

static void expect(bool holds, const char *what, long long left, long long right)
{
    if (holds)
        return;
    printf("prop_merge: seed %" PRIu64 ", round %" PRIu64 ": %s: %lld, %lld\n", world.seed,
           world.round, what, left, right);
    exit(1);
}

static bool is_wall(void)
{
    return limit_is_wall(&world.limit);
}

static uint64_t node_now(const struct node *node)
{
    return (uint64_t)(world.now_ns + node->clock_ns);
}

static uint64_t store_us(void)
{
    return (uint64_t)(world.now_ns + world.store_ns) / 1000;
}

static void charge(struct node *node)
{
    const uint32_t cost = (uint32_t)below(4) + 1;
    const uint64_t window = is_wall() ? below(WINDOWS) : 0;
    struct delta *delta = &node->delta[window];

    delta_charge(delta, &world.limit, cost, node_now(node));
    world.central_usage += cost;
    world.central_units[window] += cost;
    if (world.central < (int128)world.now_ns * 16)
        world.central = (int128)world.now_ns * 16;
    world.central += (int128)cost * world.limit.interval;
}

static struct merge_cell apply(const struct packet *packet)
{
    struct merge_cell *cell = &world.cells[packet->window];

    switch (merge_admit(world.last[packet->node], packet->sequence)) {
    case MERGE_REPEAT:
        return *cell;
    case MERGE_GAP:
        expect(false, "a gap, though nothing was lost", (long long)packet->sequence, 0);
        break;
    case MERGE_NEXT:
    case MERGE_NEW:
        break;
    }
    *cell = limit_merge(&world.limit, *cell, &packet->delta, store_us());
    world.last[packet->node] = packet->sequence;
    world.usage += packet->units;
    if (packet->delta.charge > 0 && world.now_ns - packet->first_ns > world.oldest_ns)
        world.oldest_ns = world.now_ns - packet->first_ns;
    return *cell;
}

static void settle(struct node *node, struct merge_cell cell)
{
    struct delta_answer answer = {
        .cell = cell, .store_now_us = store_us(), .at_ns = node_now(node)};

    const struct delta_view view = {
        .state = node->view, .now_ns = node_now(node), .spread = DELTA_SPREAD_UNIT};
    delta_settle(&node->delta[node->window], &answer);
    node->view = delta_look(&node->delta[node->window], &world.limit, &answer, &view);
}

/* The packet with this index arrives; its answer may be lost. */
static void deliver(uint32_t index, bool is_answered)
{
    const struct packet packet = world.packets[index];
    struct node *node = &world.nodes[packet.node];
    const struct merge_cell cell = apply(&packet);

    world.packets[index] = world.packets[--world.packet_count];
    if (is_answered && node->delta[node->window].is_sent && node->sequence == packet.sequence)
        settle(node, cell);
}

/* Sends what is in flight: first, or again. */
static void send_packet(struct node *node)
{
    const struct delta *delta = &node->delta[node->window];

    if (world.packet_count == PACKETS)
        return;
    world.packets[world.packet_count++] = (struct packet){
        .node = (uint32_t)(node - world.nodes),
        .sequence = node->sequence,
        .window = node->window,
        .delta = delta_message(delta, &world.limit, node->view, MERGE_MAX, node_now(node)),
        .first_ns = (int64_t)delta->sent_first_ns - node->clock_ns,
        .units = delta->sent_units,
    };
}

static void flush(struct node *node)
{
    if (node->delta[node->window].is_sent) {
        send_packet(node);
        return;
    }
    node->window = is_wall() ? below(WINDOWS) : 0;
    delta_take(&node->delta[node->window], &world.limit, node_now(node));
    node->sequence++;
    send_packet(node);
}

/* Sends again until it is through and answered. */
static void force(struct node *node)
{
    while (node->delta[node->window].is_sent) {
        while (world.packet_count >= PACKETS / 2)
            deliver((uint32_t)below(world.packet_count), true);
        send_packet(node);
        deliver(world.packet_count - 1, true);
    }
}

static void double_one(void)
{
    if (world.packet_count == PACKETS)
        return;
    world.packets[world.packet_count] = world.packets[below(world.packet_count)];
    world.packet_count++;
}

static void keep_young(void)
{
    for (uint32_t i = 0; i < world.node_count && !is_wall(); i++) {
        struct node *node = &world.nodes[i];
        struct delta *delta = node->delta;
        if (delta->is_sent && node_now(node) - delta->sent_first_ns > world.late_ns)
            force(node);
        if (!delta->is_sent && delta->charge && node_now(node) - delta->first_ns > FLUSH_NS)
            flush(node);
    }
}

static void judge_at_rest(void)
{
    int128 rests = 0;

    for (uint32_t i = 0; i < world.node_count; i++)
        for (unsigned w = 0; w < (is_wall() ? WINDOWS : 1); w++) {
            struct node *node = &world.nodes[i];
            force(node);
            node->window = w;
            delta_take(&node->delta[w], &world.limit, node_now(node));
            node->sequence++;
            force(node);
            rests += node->delta[w].charge;
        }
    expect(world.usage == world.central_usage, "units counted", (long long)world.usage,
           (long long)world.central_usage);
    if (is_wall()) {
        for (unsigned w = 0; w < WINDOWS; w++)
            expect(world.cells[w].value == world.central_units[w], "a window's count",
                   (long long)world.cells[w].value, (long long)world.central_units[w]);
        return;
    }
    const int128 merged = (int128)world.cells[0].value * TICKS_PER_US - (int128)world.store_ns * 16;
    const int128 now = (int128)world.now_ns * 16; /* what has passed is at rest, however long */
    const int128 central = world.central > now ? world.central : now;
    const int128 error = (merged > now ? merged : now) + rests - central;
    const int128 bound = (int128)world.oldest_ns * 16 + (world.node_count + 2) * TICKS_PER_US;
    if (world.is_never_idle)
        expect(error == 0, "a busy bucket is exact: ticks", (long long)error, 0);
    const int128 credit = MERGE_CREDIT_US * TICKS_PER_US + 2 * TICKS_PER_US;
    expect(error <= bound && error >= -bound && error >= -credit, "beyond F: ticks",
           (long long)error, (long long)bound);
    for (uint32_t i = 0; i < world.node_count; i++) { /* nothing was under way */
        const struct node *node = &world.nodes[i];
        const int128 view = (int128)node->view - (int128)node->clock_ns * 16;
        const int128 owed = merged - now;
        if (i + 1 == world.node_count && owed > 2 * TICKS_PER_US)
            expect(view >= merged - TICKS_PER_US && view <= merged + 2 * TICKS_PER_US,
                   "a view and the store differ: ticks", (long long)(view - merged), 0);
    }
}

static void begin(enum algorithm algorithm, uint64_t interval)
{
    const uint64_t seed = world.seed, round = world.round, random = world.random;

    __builtin_memset(&world, 0, sizeof world);
    world.seed = seed;
    world.round = round;
    world.random = random;
    world.limit =
        (struct limit){.interval = interval, .burst = 1000, .algorithm = (uint8_t)algorithm};
    world.node_count = (uint32_t)below(NODES) + 1;
    world.now_ns = 3600000 * MS;
    world.store_ns = (int64_t)below(1u << 30) * 1000;
    for (unsigned i = 0; i < NODES; i++)
        world.nodes[i].clock_ns = (int64_t)below(1ull << 40);
}

static void round_of_merges(void)
{
    static const enum algorithm KINDS[] = {ALGORITHM_TOKEN_BUCKET, ALGORITHM_FIXED_WINDOW,
                                           ALGORITHM_SLIDING_WINDOW, ALGORITHM_CALENDAR,
                                           ALGORITHM_LEAKY_METER};

    begin(KINDS[below(5)], below(1u << below(28)) + 1);
    world.late_ns = (below(2) ? 16 : 240) * (uint64_t)MS;
    world.is_never_idle = !is_wall() && below(4) == 0;
    if (world.is_never_idle) {
        world.central = (int128)(world.now_ns + 3600000 * MS) * 16;
        world.cells[0].value = (uint64_t)(world.now_ns + world.store_ns + 3600000 * MS) / 1000;
    }
    for (unsigned step = 0; step < 400; step++) {
        struct node *node = &world.nodes[below(world.node_count)];
        const uint64_t what = below(100);
        if (what < 45)
            charge(node);
        else if (what < 65)
            flush(node);
        else if (what < 90 && world.packet_count > 0)
            deliver((uint32_t)below(world.packet_count), below(4) > 0);
        else if (what < 93 && world.packet_count > 0) /* lost */
            world.packets[0] = world.packets[--world.packet_count];
        else if (what < 96 && world.packet_count > 0)
            double_one();
        else if (what == 99 && below(8) == 0)
            judge_at_rest();
        if (below(3) == 0)
            world.now_ns += (int64_t)below(1u << below(21));
        keep_young();
    }
    judge_at_rest();
}

/* All nodes are cut off and charge views of their own; then the largest view is the store's. */
static void round_of_outage(void)
{
    const uint32_t tau_us = 1000000;

    begin(ALGORITHM_TOKEN_BUCKET, 16000 * (below(5000) + 1));
    world.limit.tolerance = (uint64_t)tau_us * TICKS_PER_US;
    for (unsigned step = 0; step < 300; step++) {
        struct node *node = &world.nodes[below(world.node_count)];
        const uint64_t now = node_now(node) * 16;
        const uint64_t next =
            (node->view > now ? node->view : now) + world.limit.interval * world.node_count;
        if (next <= now + world.limit.tolerance) {
            node->view = next;
            delta_charge(node->delta, &world.limit, 1, node_now(node));
            if (world.central < (int128)world.now_ns * 16)
                world.central = (int128)world.now_ns * 16;
            world.central += world.limit.interval;
        }
        world.now_ns += (int64_t)below(1u << below(26));
    }
    world.now_ns += 300 * MS;
    for (uint32_t i = 0; i < world.node_count; i++) {
        struct node *node = &world.nodes[i];
        delta_take(node->delta, &world.limit, node_now(node));
        node->sequence++;
        send_packet(node);
        deliver(0, false);
    }
    const int128 now = (int128)world.now_ns * 16;
    const int128 merged = (int128)world.cells[0].value * TICKS_PER_US - (int128)world.store_ns * 16;
    const int128 central = world.central > now ? world.central : now;
    expect(merged >= central - 2 * TICKS_PER_US || central == now, "an outage gave units back",
           (long long)(merged - now), (long long)(central - now));
    expect(merged <= now + world.limit.tolerance, "owed more than a full bucket after an outage",
           (long long)(merged - now), (long long)world.limit.tolerance);
}

/* limit_merge() with nothing but what a store's script has: doubles, comparison, + and -. */
static void in_doubles(double cell[2], const struct merge_delta *delta, double now, bool wall)
{
    const double base[2] = {(double)delta->base.epoch, (double)delta->base.value};
    const double ahead = (double)delta->ahead_us, amount = (double)delta->charge;
    const double most = fmin(now + (double)delta->cap_us, (double)MERGE_MAX);

    if (base[0] > cell[0] || (base[0] == cell[0] && base[1] > cell[1])) {
        cell[0] = base[0];
        cell[1] = base[1];
    }
    if (delta->resets) {
        cell[0] += 1;
        cell[1] = 0;
    }
    if (wall) {
        cell[1] = fmin(cell[1] + amount, (double)MERGE_MAX);
        return;
    }
    if (cell[1] > most) {
        cell[0] += 1;
        cell[1] = most;
    }
    if (amount > 0 || ahead > 0)
        cell[1] = fmin(fmax(cell[1], fmax(now + ahead, 0)) + amount, most);
}

static void round_in_doubles(void)
{
    struct merge_cell cell = {below(3), below(1ull << (below(53) + 1))};
    double other[2] = {(double)cell.epoch, (double)cell.value};
    uint64_t now_us = below(1ull << 51);

    begin(below(2) ? ALGORITHM_TOKEN_BUCKET : ALGORITHM_FIXED_WINDOW, 16000);
    for (unsigned i = 0; i < 40; i++) {
        const struct merge_delta delta = {
            .base = {below(4), below(1ull << (below(53) + 1))},
            .charge = below(3) ? below(1ull << (below(52) + 1)) : 0,
            .ahead_us = below(2) ? -(int64_t)below(30000) : (int64_t)below(1ull << 40),
            .cap_us = below(8) ? below(1ull << 50) : MERGE_MAX,
            .resets = below(10) == 0,
        };
        cell = limit_merge(&world.limit, cell, &delta, now_us);
        in_doubles(other, &delta, (double)now_us, is_wall());
        expect(cell.epoch == (uint64_t)other[0] && cell.value == (uint64_t)other[1],
               "not what doubles give", (long long)cell.value, (long long)other[1]);
        expect(is_wall() || cell.value <= now_us + delta.cap_us, "beyond the cap",
               (long long)cell.value, (long long)(now_us + delta.cap_us));
        now_us += below(1u << 20);
    }
}

/* A store that forgets: after one batch of each node it is again at least what each of them saw,
 * and a reset that all have seen is not undone by who has not. */
static void round_of_losses(void)
{
    struct merge_cell bases[NODES], cell = {0}, most = {0}, saved = {0};
    bool has_reset = false;
    uint64_t now_us = 1000000;

    begin(below(2) ? ALGORITHM_TOKEN_BUCKET : ALGORITHM_FIXED_WINDOW, 16000);
    for (unsigned i = 0; i < NODES; i++)
        bases[i] = (struct merge_cell){0};
    for (unsigned i = 0; i < 60; i++, now_us += below(10000)) {
        const unsigned n = (unsigned)below(world.node_count);
        const struct merge_delta delta = {.base = bases[n],
                                          .charge = below(50),
                                          .cap_us = MERGE_MAX / 2,
                                          .resets = below(20) == 0};
        const uint64_t epoch = merge_larger(cell, bases[n]).epoch;
        bases[n] = cell = limit_merge(&world.limit, cell, &delta, now_us);
        expect(cell.epoch == epoch + delta.resets, "epochs", (long long)cell.epoch,
               (long long)epoch);
        has_reset = delta.resets;
        if (has_reset)
            expect(cell.value <= (is_wall() ? 0 : now_us) + delta.charge, "kept through a reset",
                   (long long)cell.value, (long long)now_us);
        if (below(10) == 0)
            saved = cell;
    }
    cell = below(2) ? saved : (struct merge_cell){0};
    for (unsigned i = 0; i < world.node_count; i++) {
        const struct merge_delta read = {.base = bases[i], .cap_us = MERGE_MAX / 2};
        most = merge_larger(most, bases[i]);
        cell = limit_merge(&world.limit, cell, &read, now_us);
    }
    most = merge_larger(most, cell);
    expect(cell.epoch == most.epoch && cell.value == most.value, "not healed",
           (long long)cell.value, (long long)most.value);
}

static void judge_admit(void)
{
    static const struct {
        uint64_t last, sequence;
        enum merge_batch is;
    } TABLE[] = {{0, 1, MERGE_NEW},    {0, 9, MERGE_NEW},    {4, 5, MERGE_NEXT},
                 {4, 4, MERGE_REPEAT}, {4, 1, MERGE_REPEAT}, {4, 6, MERGE_GAP}};

    for (unsigned i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++)
        expect(merge_admit(TABLE[i].last, TABLE[i].sequence) == TABLE[i].is, "admitted as",
               (long long)TABLE[i].last, (long long)TABLE[i].sequence);
}

int main(void)
{
    const uint64_t rounds = random_count(1500);

    world.seed = random_seed(1);
    world.random = world.seed;
    judge_admit();
    for (uint64_t round = 0; round < rounds; round++) {
        world.round = round;
        round_of_merges();
        round_of_outage();
        round_in_doubles();
        round_of_losses();
    }
    printf("prop_merge: %" PRIu64 " rounds of each kind, seed %" PRIu64 "\n", rounds, world.seed);
    return 0;
}
