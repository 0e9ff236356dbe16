/* One key under attack: a bucket that is used up, asked by all threads at once, through the whole
 * engine. A denied check writes nothing that is shared, so all threads at one key should deny as
 * much as if each had a table to itself. How much more that is than one thread's is the machine's
 * to say (two threads may be of one core), so it is measured beside it, and so is pure arithmetic.
 *
 *   micro_hot [--threads N] [--seconds S] [--tiny]     default 2 threads, 0.3 seconds per figure
 *
 * One thread, N at one key, N with a table each, in turns, fifteen rounds, every other one
 * backwards. The last line is the verdict: one key over tables of their own, the median of the
 * rounds' ratios; and how far two measurements of the latter in one round are apart. */
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "engine/engine.h"
#include "micro.h"
#include "sys/clock.h"

#define BATCH 32u
#define ROUNDS 15u
#define MAX_THREADS 64u
#define SECOND_NS 1000000000ull

static const char yaml[] =
    "tenants: [{name: t, rules: [{name: hot, algorithm: token_bucket, rate: 1/h, burst: 10}]}]";

enum load { LOAD_HOT, LOAD_APART, LOAD_ARITHMETIC };

struct bench {
    struct config *config;
    struct table *tables[MAX_THREADS]; /* the first is the shared one */
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
    enum load load;
    uint64_t done; /* checks denied, or steps of arithmetic */
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

static void deny(struct worker *worker)
{
    const struct instant now = {.now_ns = SECOND_NS, .wall_ns = SECOND_NS};
    fill_checks(worker);
    engine_check_batch(&worker->engine, worker->checks, BATCH, &now, worker->answers);
    for (unsigned i = 0; i < BATCH; i++)
        worker->done += worker->answers[i].flags == 0;
}

/* Steps of a random generator, each of which needs the one before (xorshift64, George Marsaglia).
 */
static uint64_t calculate(uint64_t x, unsigned steps)
{
    while (steps--) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    const uint64_t start_ns = clock_boot_ns();
    const uint64_t end_ns = start_ns + (uint64_t)(worker->bench->seconds * 1e9);
    uint64_t at_ns, number = 1;
    do {
        if (worker->load == LOAD_ARITHMETIC) {
            number = calculate(number, 20000);
            worker->done += number != 0; /* it never is */
        }
        for (unsigned turn = 0; worker->load != LOAD_ARITHMETIC && turn < 100; turn++)
            deny(worker);
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

/* What all threads together do in a second. */
static double measure(struct bench *bench, unsigned threads, enum load load)
{
    struct worker *workers = own_lines(threads * sizeof(*workers));
    double rate = 0;
    for (unsigned i = 0; i < threads; i++) {
        struct worker *worker = &workers[i];
        worker->bench = bench;
        worker->load = load;
        worker->counters = own_lines(sizeof(*worker->counters));
        worker->rule_counters =
            own_lines(bench->config->index_count * sizeof(*worker->rule_counters));
        engine_init(&worker->engine, bench->config, bench->tables[load == LOAD_APART ? i : 0], i,
                    threads);
        worker->engine.counters = worker->counters;
        worker->engine.rule_counters = worker->rule_counters;
        if (pthread_create(&worker->thread, NULL, worker_run, worker))
            abort();
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        rate += (double)workers[i].done / workers[i].seconds;
        free(workers[i].counters);
        free(workers[i].rule_counters);
    }
    free(workers);
    return rate;
}

enum figure { ONE, HOT, APART, APART_AGAIN, SUM_ONE, SUM_ALL, FIGURES };

static void run(struct bench *bench)
{
    static const enum load loads[FIGURES] = {LOAD_HOT,   LOAD_HOT,        LOAD_APART,
                                             LOAD_APART, LOAD_ARITHMETIC, LOAD_ARITHMETIC};
    double rates[FIGURES][ROUNDS], shared[ROUNDS], scaled[ROUNDS], sums[ROUNDS], twins[ROUNDS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < FIGURES; i++) {
            enum figure figure = round % 2 ? FIGURES - 1 - i : i;
            bool is_one = figure == ONE || figure == SUM_ONE;
            rates[figure][round] = measure(bench, is_one ? 1 : bench->threads, loads[figure]);
        }
        double apart = (rates[APART][round] + rates[APART_AGAIN][round]) / 2;
        double apart_by = rates[APART][round] - rates[APART_AGAIN][round];
        shared[round] = rates[HOT][round] / apart;
        scaled[round] = rates[HOT][round] / rates[ONE][round];
        sums[round] = rates[SUM_ALL][round] / rates[SUM_ONE][round];
        twins[round] = (apart_by < 0 ? -apart_by : apart_by) / apart;
    }
    printf("hot key denied: 1 thread %.2f M/s; %u threads %.2f M/s, with a table each %.2f M/s\n",
           micro_median(rates[ONE], ROUNDS) / 1e6, bench->threads,
           micro_median(rates[HOT], ROUNDS) / 1e6, micro_median(rates[APART], ROUNDS) / 1e6);
    printf("all threads over one: %.2f times; pure arithmetic of the same run %.2f times\n",
           micro_median(scaled, ROUNDS), micro_median(sums, ROUNDS));
    printf("one key over a table each: %.3f (two runs of the latter are apart by %.3f)\n",
           micro_median(shared, ROUNDS), micro_median(twins, ROUNDS));
}

static int make_table(const struct bench *bench, struct table **ret_table)
{
    const struct table_options options = {.entries = 4096,
                                          .owner_rows = bench->config->index_count,
                                          .index_secret = {11, 12},
                                          .boot_id = 1};
    int error = table_create(&options, ret_table);
    return error ? error : engine_bind_owners(*ret_table, bench->config);
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
    struct bench bench = {.seconds = 0.3, .threads = 2};
    char error[256];
    if (options_parse(&bench, argc, argv)) {
        fprintf(stderr, "usage: micro_hot [--threads 1 to %u] [--seconds S] [--tiny]\n",
                MAX_THREADS);
        return 2;
    }
    bench.config = config_parse("micro_hot", yaml, strlen(yaml), error, sizeof(error));
    for (unsigned i = 0; bench.config && i < bench.threads; i++)
        if (make_table(&bench, &bench.tables[i])) {
            fprintf(stderr, "micro_hot: no memory\n");
            return 2;
        }
    if (!bench.config) {
        fprintf(stderr, "micro_hot: %s\n", error);
        return 2;
    }
    run(&bench);
    for (unsigned i = 0; i < bench.threads; i++)
        table_destroy(bench.tables[i]);
    config_destroy(bench.config);
    return 0;
}
