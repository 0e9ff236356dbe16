/* What a lease costs beside a check: the engine alone, in batches as the workers have them, over as
 * many keys as asked for, each with one lease at a time; and what the sweep pays for every lease
 * that it only passes by.
 *
 *   micro_lease [--tiny] [KEYS]     default 200,000 keys */
#include "config/config.h"
#include "engine/engine.h"
#include "micro.h"
#include "sys/clock.h"
#include "table/lease.h"

#define BATCH 64u
#define ROUNDS 5u /* the median counts */

static const char yaml[] =
    "tenants: [{name: t, rules: ["
    "{name: bucket, algorithm: token_bucket, rate: 1000000/s, burst: 1000000},"
    "{name: jobs, algorithm: concurrency, limit: 10, lease: 1h}]}]\n";

static const struct {
    const char *name;
    const char *rule;
    enum operation operation;
} kinds[] = {
    {"token bucket check", "bucket", OPERATION_CHECK},
    {"acquire", "jobs", OPERATION_ACQUIRE},
    {"renew", "jobs", OPERATION_RENEW},
    {"release", "jobs", OPERATION_RELEASE},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct bench {
    struct config *config;
    struct table *table;
    struct counters counters;
    struct engine engine;
    uint64_t keys;
    uint64_t failed; /* answers that were not a plain yes */
};

/* Nanoseconds per operation over all keys, each once, in an order that no prefetcher knows. */
static double measure(struct bench *bench, unsigned kind)
{
    static struct check checks[BATCH];
    static struct answer answers[BATCH];
    uint64_t spent_ns = 0;
    const struct tenant *tenant = &bench->config->tenants[0];
    for (uint64_t first = 0; first < bench->keys; first += BATCH) {
        uint64_t count = bench->keys - first < BATCH ? bench->keys - first : BATCH;
        struct instant now = {.now_ns = clock_boot_ns() - table_time_base_ns(bench->table)};
        for (uint64_t i = 0; i < count; i++)
            checks[i] = (struct check){
                .tenant = tenant,
                .rule_id = mete_name_id(kinds[kind].rule, strlen(kinds[kind].rule)),
                .key = {.low = micro_scramble(first + i + 1), .high = 7},
                .cost = 1,
                .lease_id = micro_scramble(first + i + 12345),
                .operation = (uint8_t)kinds[kind].operation,
            };
        uint64_t start_ns = clock_boot_ns();
        engine_check_batch(&bench->engine, checks, (uint32_t)count, &now, answers);
        spent_ns += clock_boot_ns() - start_ns;
        for (uint64_t i = 0; i < count; i++)
            bench->failed += answers[i].flags != METE_VERDICT_ALLOW;
    }
    return (double)spent_ns / (double)bench->keys;
}

/* Nanoseconds per lease of a pass that ends none. */
static double measure_sweep(struct bench *bench)
{
    uint64_t now_ns = clock_boot_ns() - table_time_base_ns(bench->table);
    uint64_t start_ns = clock_boot_ns();
    bench->failed +=
        table_sweep_leases(bench->table, 0, table_lease_piece_count(bench->table), now_ns);
    return (double)(clock_boot_ns() - start_ns) / (double)bench->keys;
}

static int setup(struct bench *bench)
{
    char error[256];
    bench->config = config_parse("bench", yaml, strlen(yaml), error, sizeof(error));
    struct table_options options = {
        .entries = bench->keys * 12 + 1024, /* a bucket, a count, a lease: a quarter full */
        .owner_rows = 8,
        .index_secret = {0x243F6A8885A308D3ull, 0x13198A2E03707344ull},
        .boot_id = 1,
        .time_base_ns = clock_boot_ns(),
        .huge_pages = true,
    };
    if (!bench->config || table_create(&options, &bench->table) ||
        engine_bind_owners(bench->table, bench->config)) {
        fprintf(stderr, "micro_lease: no memory for %" PRIu64 " keys\n", bench->keys);
        return 2;
    }
    engine_init(&bench->engine, bench->config, bench->table, 0, 1);
    bench->engine.counters = &bench->counters;
    bench->engine.rule_counters = calloc(8, sizeof(*bench->engine.rule_counters));
    return bench->engine.rule_counters ? 0 : 2;
}

static void run(struct bench *bench)
{
    double figures[KINDS][ROUNDS], sweeps[ROUNDS];
    double fresh = measure(bench, 0);
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned kind = 0; kind < KINDS; kind++) {
            figures[kind][round] = measure(bench, kind);
            if (kinds[kind].operation == OPERATION_RENEW)
                sweeps[round] = measure_sweep(bench);
        }
    printf("%" PRIu64 " keys, one lease each\n", bench->keys);
    printf("%-24s %7.1f ns\n", "check of a new key", fresh);
    for (unsigned kind = 0; kind < KINDS; kind++)
        printf("%-24s %7.1f ns\n", kinds[kind].name, micro_median(figures[kind], ROUNDS));
    double sweep = micro_median(sweeps, ROUNDS);
    printf("%-24s %7.1f ns per lease, %.1f ms of each second for a million\n", "sweep", sweep,
           sweep * 2);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    struct micro_keys keys = {.keys = 200000, .tiny = 2000, .most = 100000000};
    if (!micro_keys_read(&keys, argc, argv))
        return 2;
    bench.keys = keys.keys;
    int error = setup(&bench);
    if (error)
        return error;
    run(&bench);
    if (bench.failed) {
        fprintf(stderr, "micro_lease: %" PRIu64 " answers were not what was asked for\n",
                bench.failed);
        return 1;
    }
    free(bench.engine.rule_counters);
    table_destroy(bench.table);
    config_destroy(bench.config);
    return 0;
}
