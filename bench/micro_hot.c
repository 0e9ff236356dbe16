/* One key under attack: a bucket that is used up, asked by all threads at once, through the whole
 * engine. A denied check writes nothing that is shared, so twice the cores should deny twice as
 * much; the last line says how much more they did.
 *
 *   micro_hot [--threads N] [--seconds S] [--tiny]     default 2 threads, 1 second per round
 *
 * One thread and N threads in turns, five rounds of each; the medians count. With as many cores as
 * threads and nobody else on them, or the ratio says nothing of the engine. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "engine/engine.h"
#include "sys/clock.h"

#define BATCH 32u
#define ROUNDS 5u
#define MAX_THREADS 64u
#define SECOND_NS 1000000000ull

static const char yaml[] =
    "tenants: [{name: t, rules: [{name: hot, algorithm: token_bucket, rate: 1/h, burst: 10}]}]";

struct bench {
    struct config *config;
    struct table *table;
    double seconds;
    unsigned threads;
};

struct worker {
    struct bench *bench;
    struct engine engine;
    struct counters *counters;
    struct rule_counters *rule_counters;
    struct check checks[BATCH];
    struct answer answers[BATCH];
    uint64_t denied;
    double seconds;
    pthread_t thread;
} __attribute__((aligned(128)));

static void fill_checks(struct worker *worker)
{
    const struct tenant *tenant = &worker->bench->config->tenants[0];
    for (unsigned i = 0; i < BATCH; i++)
        worker->checks[i] = (struct check){.tenant = tenant,
                                           .rule_id = tenant->rules[0].id,
                                           .key = {.low = 1, .high = 2},
                                           .cost = 1,
                                           .operation = OPERATION_CHECK};
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    const uint64_t start_ns = clock_boot_ns();
    const uint64_t end_ns = start_ns + (uint64_t)(worker->bench->seconds * 1e9);
    const struct instant now = {.now_ns = SECOND_NS, .wall_ns = SECOND_NS};
    uint64_t at_ns;
    do {
        for (unsigned turn = 0; turn < 100; turn++) {
            fill_checks(worker);
            engine_check_batch(&worker->engine, worker->checks, BATCH, &now, worker->answers);
            for (unsigned i = 0; i < BATCH; i++)
                worker->denied += worker->answers[i].flags == 0;
        }
        at_ns = clock_boot_ns();
    } while (at_ns < end_ns);
    worker->seconds = (double)(at_ns - start_ns) / 1e9;
    return NULL;
}

/* Lines of its own, as a worker of the daemon has them. */
static void *own_lines(size_t size)
{
    size = (size + 127) & ~(size_t)127;
    void *memory = aligned_alloc(128, size);
    if (!memory)
        abort();
    return memset(memory, 0, size);
}

/* Denied checks per second over all threads. */
static double measure(struct bench *bench, unsigned threads)
{
    struct worker *workers = own_lines(threads * sizeof(*workers));
    double rate = 0;
    for (unsigned i = 0; i < threads; i++) {
        struct worker *worker = &workers[i];
        worker->bench = bench;
        worker->counters = own_lines(sizeof(*worker->counters));
        worker->rule_counters =
            own_lines(bench->config->index_count * sizeof(*worker->rule_counters));
        engine_init(&worker->engine, bench->config, bench->table, i, threads);
        worker->engine.counters = worker->counters;
        worker->engine.rule_counters = worker->rule_counters;
        if (pthread_create(&worker->thread, NULL, worker_run, worker))
            abort();
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        rate += (double)workers[i].denied / workers[i].seconds;
        free(workers[i].counters);
        free(workers[i].rule_counters);
    }
    free(workers);
    return rate;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void run(struct bench *bench)
{
    double one[ROUNDS], many[ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        one[round] = measure(bench, 1);
        many[round] = measure(bench, bench->threads);
    }
    qsort(one, ROUNDS, sizeof(one[0]), compare);
    qsort(many, ROUNDS, sizeof(many[0]), compare);
    printf("hot key denied, 1 thread %.2f M/s, %u threads %.2f M/s: %.2f times as many\n",
           one[ROUNDS / 2] / 1e6, bench->threads, many[ROUNDS / 2] / 1e6,
           many[ROUNDS / 2] / one[ROUNDS / 2]);
}

static int options_parse(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'},
        {"tiny", no_argument, NULL, 'T'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 't')
            bench->threads = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 's')
            bench->seconds = strtod(optarg, NULL);
        else if (option == 'T')
            bench->seconds = 0.01;
        else
            return -1;
    }
    return optind == argc && bench->threads && bench->threads <= MAX_THREADS && bench->seconds > 0
               ? 0
               : -1;
}

int main(int argc, char **argv)
{
    struct bench bench = {.seconds = 1, .threads = 2};
    char error[256];
    if (options_parse(&bench, argc, argv)) {
        fprintf(stderr, "usage: micro_hot [--threads 1 to %u] [--seconds S] [--tiny]\n",
                MAX_THREADS);
        return 2;
    }
    bench.config = config_parse("micro_hot", yaml, strlen(yaml), error, sizeof(error));
    struct table_options options = {.entries = 4096,
                                    .owner_rows = bench.config ? bench.config->index_count : 0,
                                    .index_secret = {11, 12},
                                    .boot_id = 1};
    if (!bench.config || table_create(&options, &bench.table) ||
        engine_bind_owners(bench.table, bench.config)) {
        fprintf(stderr, "micro_hot: no memory\n");
        return 2;
    }
    run(&bench);
    table_destroy(bench.table);
    config_destroy(bench.config);
    return 0;
}
