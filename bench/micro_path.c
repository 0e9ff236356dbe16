/* What the limiter adds to a datagram, without the kernel: decode, judge, encode and sign over
 * messages in memory, for single checks and batches, over as many keys as asked for; without a
 * secret, with samples of who asks, under a secret, and with repeats told as well: the tag, the
 * clock and the repeat set.
 *
 *   micro_path [--tiny] [KEYS]     default 1,000,000 keys */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "engine/engine.h"
#include "micro.h"
#include "net/udp.h"
#include "sys/clock.h"
#include "sys/memory.h"

#define MESSAGES IO_BATCH

static uint64_t answered_bytes;

static void count_reply(struct io *io, const struct io_message *message, uint32_t offset,
                        uint32_t len, uint32_t segment)
{
    (void)io, (void)message, (void)offset, (void)segment;
    answered_bytes += len;
}

enum level { LEVEL_PLAIN, LEVEL_WATCHED, LEVEL_SIGNED, LEVEL_REPEATS, LEVEL_COUNT };

#define ROUNDS 25u /* of each level, in turns; the median counts */
#define REPEAT_BYTES (8u << 20)
#define BOOT_ID 1u

static const struct config_secret secret = {.bytes = "of the bench", .len = 32};

struct path {
    struct config *config;
    struct table *table;
    struct counters counters;
    struct rule_counters *rule_counters;
    struct engine engine;
    struct udp udp[LEVEL_COUNT];
    struct tenant_keys *keys_of_tenants;
    struct secret_counters secret_counters;
    struct repeat_set repeats;
    struct sampler sampler;
    uint64_t judged_ns; /* when the last batch was */
    struct io io;
    uint64_t keys;
    uint64_t next_key;
    struct io_message messages[MESSAGES];
    uint8_t bytes[MESSAGES][METE_WIRE_MAX_BYTES];
};

static void write_request(struct path *path, enum level level, unsigned at, unsigned n,
                          uint32_t clock_ms)
{
    bool is_signed = level >= LEVEL_SIGNED;
    struct mete_header header = {
        .type = METE_CHECK,
        .n = (uint8_t)n,
        .tenant = path->config->tenants[0].id,
        .sequence = (uint32_t)path->next_key, /* differs from request to request */
        .secret = is_signed ? 0 : METE_WIRE_NO_SECRET,
        .boot = BOOT_ID,
        .clock_ms = clock_ms,
        .entry_bytes = METE_WIRE_ENTRY_BYTES,
    };
    mete_wire_encode_header(path->bytes[at], &header);
    for (unsigned i = 0; i < n; i++) {
        uint64_t key = micro_scramble(path->next_key++) % path->keys;
        struct mete_entry entry = {
            .rule = mete_name_id("fast", 4),
            .cost = 1,
            .key_low = micro_scramble(key + 1),
            .key_high = micro_scramble(key + 2),
        };
        mete_wire_encode_entry(path->bytes[at], &header, i, &entry);
    }
    size_t len = mete_wire_request_bytes(n, METE_WIRE_ENTRY_BYTES);
    mete_wire_sign_request(path->bytes[at], len,
                           is_signed ? &path->keys_of_tenants[0].boot[0] : NULL);
    path->messages[at].len = path->messages[at].segment = (uint32_t)len;
}

/* Nanoseconds per check; writing the requests is not counted. */
static double measure(struct path *path, enum level level, unsigned n, uint64_t checks)
{
    uint64_t spent_ns = 0;
    uint64_t done = 0;
    path->engine.sampler = level == LEVEL_WATCHED ? &path->sampler : NULL;
    while (done < checks) {
        struct instant now = {.now_ns = clock_boot_ns() - table_time_base_ns(path->table)};
        for (unsigned i = 0; i < MESSAGES; i++)
            write_request(path, level, i, n, udp_clock_ms(&now));
        uint64_t start_ns = clock_boot_ns();
        /* time spent on anything else did not pass: else the samples would be far too dense */
        path->sampler.sampling.since_ns += start_ns - path->judged_ns;
        udp_judge(&path->udp[level], &path->io, path->messages, MESSAGES, &now);
        path->judged_ns = clock_boot_ns();
        spent_ns += path->judged_ns - start_ns;
        done += (uint64_t)MESSAGES * n;
    }
    return (double)spent_ns / (double)done;
}

static int setup_levels(struct path *path)
{
    path->config->tenants[0].secrets = &secret;
    path->config->tenants[0].secret_count = 1;
    struct repeat_options repeats = {
        .size = REPEAT_BYTES,
        .window_ms = 200,
        .ahead_ms = 20,
        .secret = {0x452821E638D01377ull, 0xBE5466CF34E90C6Cull},
    };
    if (memory_reserve(REPEAT_BYTES, true, &repeats.memory) ||
        keys_create(path->config, BOOT_ID, &path->keys_of_tenants)) {
        fprintf(stderr, "micro_path: no memory\n");
        return 2;
    }
    repeat_init(&path->repeats, &repeats);
    struct udp_policy policy = {.config = path->config,
                                .keys = path->keys_of_tenants,
                                .secret_counters = &path->secret_counters};
    for (unsigned level = 0; level < LEVEL_COUNT; level++) {
        struct udp_options udp = {
            .engine = &path->engine,
            .counters = &path->counters,
            .repeats = level == LEVEL_REPEATS ? &path->repeats : NULL,
            .boot_id = BOOT_ID,
        };
        udp_init(&path->udp[level], &policy, &udp);
    }
    return 0;
}

static int setup(struct path *path, uint64_t keys)
{
    static const struct io_operations operations = {.name = "memory", .reply = count_reply};
    static const struct sockaddr_in loopback = {.sin_family = AF_INET,
                                                .sin_addr.s_addr = 0x0100007F};
    char error[256];
    path->keys = keys;
    path->io.operations = &operations;
    path->config = config_load(&(struct config_options){0}, error, sizeof(error));
    if (!path->config) {
        fprintf(stderr, "micro_path: %s\n", error);
        return 2;
    }
    struct table_options options = {
        .entries = keys * 4 / 3 + 16,
        .owner_rows = path->config->index_count,
        .index_secret = {0x243F6A8885A308D3ull, 0x13198A2E03707344ull},
        .boot_id = BOOT_ID,
        .time_base_ns = clock_boot_ns(),
        .huge_pages = true,
    };
    path->rule_counters = calloc(path->config->index_count, sizeof(*path->rule_counters));
    if (!path->rule_counters || table_create(&options, &path->table) ||
        engine_bind_owners(path->table, path->config)) {
        fprintf(stderr, "micro_path: no memory for %" PRIu64 " keys\n", keys);
        return 2;
    }
    engine_init(&path->engine, path->config, path->table, 0, 1);
    path->engine.counters = &path->counters;
    path->engine.rule_counters = path->rule_counters;
    sampler_init(&path->sampler, 1, 0);
    path->judged_ns = clock_boot_ns();
    if (setup_levels(path))
        return 2;
    for (unsigned i = 0; i < MESSAGES; i++) {
        path->messages[i].data = path->bytes[i];
        path->messages[i].peer = (const struct sockaddr *)&loopback;
    }
    return 0;
}

static void report(struct path *path, const char *name, unsigned n, uint64_t checks)
{
    double ns[LEVEL_COUNT][ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned level = 0; level < LEVEL_COUNT; level++)
            ns[level][round] = measure(path, (enum level)level, n, checks / ROUNDS);
    double median[LEVEL_COUNT];
    for (unsigned level = 0; level < LEVEL_COUNT; level++)
        median[level] = micro_median(ns[level], ROUNDS);
    printf("%-15s %7.1f ns per check; sampled %7.1f; under a secret %7.1f; with repeats %7.1f, "
           "%+.1f in all\n",
           name, median[LEVEL_PLAIN], median[LEVEL_WATCHED], median[LEVEL_SIGNED],
           median[LEVEL_REPEATS], median[LEVEL_REPEATS] - median[LEVEL_PLAIN]);
}

int main(int argc, char **argv)
{
    struct micro_keys keys = {.keys = 1000000, .tiny = 1000, .most = 1000000000};
    if (!micro_keys_read(&keys, argc, argv))
        return 2;
    struct path *path = aligned_alloc(128, (sizeof(*path) + 127) & ~(size_t)127);
    if (!path) {
        fprintf(stderr, "micro_path: no memory\n");
        return 2;
    }
    memset(path, 0, sizeof(*path));
    if (setup(path, keys.keys))
        return 2;
    uint64_t checks = keys.is_tiny ? 20000 : 10000000;
    measure(path, LEVEL_PLAIN, 50, checks); /* fill the table */
    printf("%" PRIu64 " keys, table %.1f MiB%s\n", keys.keys,
           (double)table_size_bytes(path->table) / 1048576,
           table_has_huge_pages(path->table) ? " in huge pages" : "");
    report(path, "batches of 50", 50, checks);
    report(path, "batches of 16", 16, checks);
    report(path, "single checks", 1, checks / 5);
    uint64_t judged = counter_read(&path->counters.cell[COUNTER_CHECKS]);
    uint64_t stale = counter_read(&path->counters.cell[COUNTER_STALE]);
    if (stale) /* no network is that fast */
        printf("%" PRIu64 " datagrams were stale: more than the repeat set holds at this rate\n",
               stale);
    if (counter_read(&path->counters.cell[COUNTER_BAD_TAG]) +
        counter_read(&path->counters.cell[COUNTER_REPEATS])) {
        fprintf(stderr, "micro_path: not every datagram was believed and new\n");
        return 4;
    }
    if (judged != counter_read(&path->counters.cell[COUNTER_ALLOWED]) +
                      counter_read(&path->counters.cell[COUNTER_DENIED]) ||
        !answered_bytes) {
        fprintf(stderr, "micro_path: %" PRIu64 " checks judged, not all allowed or denied\n",
                judged);
        return 4;
    }
    memory_release(path->repeats.buckets, REPEAT_BYTES);
    keys_destroy(path->keys_of_tenants, path->config->tenant_count);
    table_destroy(path->table);
    config_destroy(path->config);
    free(path->rule_counters);
    free(path);
    return 0;
}
