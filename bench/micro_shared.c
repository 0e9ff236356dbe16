/* What replication adds to a check on the worker, without the kernel: the path of micro_path
 * (decode, judge, encode, sign) over messages in memory, with the rule
 *
 *   local    replication off
 *   dirty    shared, and nobody drains: what a key costs that is charged again before a flush (with
 *            more keys than the ring holds: one that is clean, and finds the ring full)
 *   flushed  shared, a second thread drains ring and entries every 5 ms, as the replicator does:
 *            nearly every charge finds its key clean, pushes it, and finds its line changed by
 *            another core: all keys dirty
 *
 *   micro_shared [--tiny] [KEYS]     default 1,000,000 keys */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/config.h"
#include "engine/shared.h"
#include "micro.h"
#include "net/udp.h"
#include "replica/shared_state.h"
#include "sys/clock.h"
#include "sys/memory.h"
#include "table/shared.h"

#define MESSAGES IO_BATCH
#define ROUNDS 7u
#define RING_CELLS (1u << 17)     /* holds what 5 ms bring */
#define RING_CELLS_ALL (1u << 21) /* holds all keys */
#define DEMAND_CELLS (1u << 12)
#define FLUSH_NS 5000000l
#define BOOT_ID 1u

enum mode { MODE_LOCAL, MODE_LOCAL_AGAIN, MODE_DIRTY, MODE_FLUSHED, MODE_COUNT };
static const char *const names[] = {"local", "local again", "dirty", "flushed"};

static uint64_t answered_bytes;

static void count_reply(struct io *io, const struct io_message *message, uint32_t offset,
                        uint32_t len, uint32_t segment)
{
    (void)io, (void)message, (void)offset, (void)segment;
    answered_bytes += len;
}

struct node { /* one for each way: a table with what goes with it */
    struct config *config;
    struct table *table;
    struct counters counters;
    struct rule_counters *rule_counters;
    struct engine engine;
    struct engine_shared shared;
    struct shared_state state;
    struct ring ring;
    struct demand demand;
    struct udp udp;
    atomic_bool stop;
    pthread_t drainer;
    uint64_t drained;
};

struct bench {
    struct node *nodes[MODE_COUNT];
    struct io io;
    uint64_t keys;
    uint64_t next_key;
    struct io_message messages[MESSAGES];
    uint8_t bytes[MESSAGES][METE_WIRE_MAX_BYTES];
};

static void write_request(struct bench *bench, const struct node *node, unsigned at, unsigned n)
{
    struct mete_header header = {
        .type = METE_CHECK,
        .n = (uint8_t)n,
        .tenant = node->config->tenants[0].id,
        .sequence = (uint32_t)bench->next_key,
        .secret = METE_WIRE_NO_SECRET,
        .boot = BOOT_ID,
        .entry_bytes = METE_WIRE_ENTRY_BYTES,
    };
    mete_wire_encode_header(bench->bytes[at], &header);
    for (unsigned i = 0; i < n; i++) {
        uint64_t key = micro_scramble(bench->next_key++) % bench->keys;
        struct mete_entry entry = {
            .rule = mete_name_id("fast", 4),
            .cost = 1,
            .key_low = micro_scramble(key + 1),
            .key_high = micro_scramble(key + 2),
        };
        mete_wire_encode_entry(bench->bytes[at], &header, i, &entry);
    }
    size_t len = mete_wire_request_bytes(n, METE_WIRE_ENTRY_BYTES);
    mete_wire_sign_request(bench->bytes[at], len, NULL);
    bench->messages[at].len = bench->messages[at].segment = (uint32_t)len;
}

/* Nanoseconds per check; writing the requests is not counted. */
static double measure(struct bench *bench, struct node *node, unsigned n, uint64_t checks)
{
    uint64_t spent_ns = 0;
    uint64_t done = 0;
    while (done < checks) {
        struct instant now = {.now_ns = clock_boot_ns() - table_time_base_ns(node->table)};
        for (unsigned i = 0; i < MESSAGES; i++)
            write_request(bench, node, i, n);
        uint64_t start_ns = clock_boot_ns();
        udp_judge(&node->udp, &bench->io, bench->messages, MESSAGES, &now);
        spent_ns += clock_boot_ns() - start_ns;
        done += (uint64_t)MESSAGES * n;
    }
    return (double)spent_ns / (double)done;
}

static uint64_t drain(struct node *node)
{
    struct ring_event event;
    struct table_drained drained;
    uint64_t count = 0;
    shared_state_note_look(&node->state);
    while (ring_pop(&node->ring, &event))
        count += event.kind == RING_DIRTY && table_drain(node->table, event.index, &drained);
    return count;
}

static void *drain_every_flush(void *argument)
{
    struct node *node = argument;
    while (!atomic_load(&node->stop)) {
        nanosleep(&(struct timespec){.tv_nsec = FLUSH_NS}, NULL);
        node->drained += drain(node);
    }
    return NULL;
}

static void share(struct node *node)
{
    struct rule *rule =
        (struct rule *)config_find_rule(&node->config->tenants[0], mete_name_id("fast", 4));
    rule->limit.sync = SYNC_SHARED;
    shared_state_init(&node->state);
    atomic_store(&node->state.first_share, 16); /* a quarter */
    node->shared =
        (struct engine_shared){.ring = &node->ring, .demand = &node->demand, .state = &node->state};
    engine_share(&node->engine, &node->shared);
}

static int make_node(struct bench *bench, enum mode mode)
{
    char error[256];
    struct node *node = aligned_alloc(128, (sizeof(*node) + 127) & ~(size_t)127);
    if (!node)
        return 2;
    memset(node, 0, sizeof(*node));
    bench->nodes[mode] = node;
    node->config = config_load(&(struct config_options){0}, error, sizeof(error));
    if (!node->config) {
        fprintf(stderr, "micro_shared: %s\n", error);
        return 2;
    }
    struct table_options options = {
        .entries = bench->keys * 4 / 3 + 16,
        .owner_rows = node->config->index_count,
        .index_secret = {0x243F6A8885A308D3ull, 0x13198A2E03707344ull},
        .boot_id = BOOT_ID,
        .time_base_ns = clock_boot_ns(),
        .huge_pages = true,
    };
    uint64_t cell_count = mode == MODE_DIRTY ? RING_CELLS_ALL : RING_CELLS;
    struct ring_cell *cells = calloc(cell_count, sizeof(*cells));
    _Atomic uint64_t *demands = calloc(DEMAND_CELLS, sizeof(*demands));
    node->rule_counters = calloc(node->config->index_count, sizeof(*node->rule_counters));
    if (!cells || !demands || !node->rule_counters || table_create(&options, &node->table) ||
        engine_bind_owners(node->table, node->config)) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the program ends here */
        fprintf(stderr, "micro_shared: no memory for %" PRIu64 " keys\n", bench->keys);
        return 2;
    }
    ring_init(&node->ring, cells, cell_count);
    demand_init(&node->demand, demands, DEMAND_CELLS);
    engine_init(&node->engine, node->config, node->table, 0, 1);
    node->engine.counters = &node->counters;
    node->engine.rule_counters = node->rule_counters;
    if (mode >= MODE_DIRTY)
        share(node);
    struct udp_policy policy = {.config = node->config};
    struct udp_options udp = {
        .engine = &node->engine, .counters = &node->counters, .boot_id = BOOT_ID};
    udp_init(&node->udp, &policy, &udp);
    return 0;
}

/* In turns, so that what the machine does meets all alike; ratios are of neighbours. */
static void report(struct bench *bench, const char *name, unsigned n, uint64_t checks)
{
    double ns[MODE_COUNT][ROUNDS], ratio[MODE_COUNT][ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned mode = 0; mode < MODE_COUNT; mode++) {
            ns[mode][round] = measure(bench, bench->nodes[mode], n, checks / ROUNDS);
            ratio[mode][round] = ns[mode][round] / ns[MODE_LOCAL][round];
        }
    printf("%s\n", name);
    for (unsigned mode = 0; mode < MODE_COUNT; mode++) {
        double median = micro_median(ns[mode], ROUNDS);
        double against_local = micro_median(ratio[mode], ROUNDS);
        printf("  %-12s %7.1f ns per check   %+6.1f %% (%+.1f to %+.1f)\n", names[mode], median,
               100 * against_local - 100, 100 * ratio[mode][1] - 100,
               100 * ratio[mode][ROUNDS - 2] - 100);
    }
}

static int judge(const struct bench *bench)
{
    for (unsigned mode = 0; mode < MODE_COUNT; mode++) {
        struct node *node = bench->nodes[mode];
        const _Atomic uint64_t *cell = node->counters.cell;
        if (!counter_read(&cell[COUNTER_ALLOWED]) || counter_read(&cell[COUNTER_DENIED])) {
            fprintf(stderr, "micro_shared: %s: not everything was allowed\n", names[mode]);
            return 4;
        }
    }
    printf("%" PRIu64 " drained, %" PRIu64 " found the ring full\n",
           bench->nodes[MODE_FLUSHED]->drained, bench->nodes[MODE_FLUSHED]->ring.refused);
    return 0;
}

static void free_node(struct node *node)
{
    table_destroy(node->table);
    config_destroy(node->config);
    free(node->ring.cells);
    free((void *)node->demand.cells);
    free(node->rule_counters);
    free(node);
}

int main(int argc, char **argv)
{
    static const struct io_operations operations = {.name = "memory", .reply = count_reply};
    static const struct sockaddr_in loopback = {.sin_family = AF_INET,
                                                .sin_addr.s_addr = 0x0100007F};
    static struct bench bench;
    struct micro_keys keys = {.keys = 1000000, .tiny = 1000, .most = 100000000};
    if (!micro_keys_read(&keys, argc, argv))
        return 2;
    bench.keys = keys.keys;
    bench.io.operations = &operations;
    for (unsigned i = 0; i < MESSAGES; i++) {
        bench.messages[i].data = bench.bytes[i];
        bench.messages[i].peer = (const struct sockaddr *)&loopback;
    }
    for (unsigned mode = 0; mode < MODE_COUNT; mode++)
        if (make_node(&bench, (enum mode)mode))
            return 2;
    struct node *flushed = bench.nodes[MODE_FLUSHED];
    if (pthread_create(&flushed->drainer, NULL, drain_every_flush, flushed))
        return 2;
    uint64_t checks = keys.is_tiny ? 20000 : 7000000;
    for (unsigned mode = 0; mode < MODE_COUNT; mode++)
        measure(&bench, bench.nodes[mode], 50, checks); /* fill the tables */
    report(&bench, "batches of 50", 50, checks);
    report(&bench, "batches of 16", 16, checks);
    report(&bench, "single checks", 1, checks / 5);
    atomic_store(&flushed->stop, true);
    pthread_join(flushed->drainer, NULL);
    int result = judge(&bench);
    for (unsigned mode = 0; mode < MODE_COUNT; mode++)
        free_node(bench.nodes[mode]);
    return result;
}
