/* What the table costs by itself: hash, find, decide, compare-and-swap, in groups of 32 as a batch
 * of the engine does it (all probes first, so that their cache misses overlap, then each in turn).
 *
 *   micro_table [--keys N] [--load PERCENT] [--seconds S] [--huge] [--threads N] [--tiny]
 *
 * The first line is random checks over all keys, every one allowed, so every one swaps. The second
 * is one key denied by all threads at once, which writes nothing. Pin it (taskset -c 1) for one
 * core. Times are those of this machine and this minute; compare with another run, not with a
 * number. */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/gcra.h"
#include "lib/random.h"
#include "micro.h"
#include "table/table.h"

#define GROUP 32u
#define ROUND_GROUPS 64u
#define SECOND_NS 1000000000ull

struct bench {
    struct table *table;
    uint64_t keys;
    double load;
    double seconds;
    unsigned threads;
    bool huge;
    struct limit limits[2]; /* by owner row: allows everything; denies everything */
};

struct worker {
    struct bench *bench;
    uint64_t seed;
    bool hot;
    uint64_t checks;
    uint64_t allowed;
    double seconds;
    double cpu_seconds; /* less when others had the core */
    pthread_t thread;
} __attribute__((aligned(128)));

static struct key key_number(uint64_t i)
{
    return (struct key){.low = random_of(i), .high = random_of(~i)};
}

/* One group of keys through the table; returns how many were allowed. */
static unsigned check_group(struct bench *bench, uint32_t owner, const struct key keys[GROUP],
                            const struct instant *now)
{
    const struct limit *limit = &bench->limits[owner];
    uint64_t now_ticks = gcra_ticks(now->now_ns);
    struct table_probe probes[GROUP];
    unsigned allowed = 0;

    for (unsigned i = 0; i < GROUP; i++)
        probes[i] = table_probe(bench->table, keys[i], owner);
    for (unsigned i = 0; i < TABLE_PREFETCH_AHEAD; i++)
        table_prefetch(bench->table, &probes[i]);
    for (unsigned i = 0; i < GROUP; i++) {
        if (i + TABLE_PREFETCH_AHEAD < GROUP)
            table_prefetch(bench->table, &probes[i + TABLE_PREFETCH_AHEAD]);
        for (;;) {
            struct table_ref ref;

            if (table_find_or_claim(bench->table, &probes[i], TABLE_EVICT, now, &ref) == TABLE_FULL)
                break;
            struct step step = gcra_charge(limit, ref.state, 1, now_ticks);

            if (step.state != ref.state && !table_swap(bench->table, &ref, step.state))
                continue;
            allowed += step.verdict.decision == DECISION_ALLOW;
            break;
        }
    }
    return allowed;
}

static void preload(struct bench *bench)
{
    struct instant now = {.now_ns = SECOND_NS, .wall_ns = SECOND_NS};
    struct key keys[GROUP];

    for (uint64_t i = 0; i < bench->keys; i += GROUP) {
        for (unsigned j = 0; j < GROUP; j++)
            keys[j] = key_number(i + j < bench->keys ? i + j : i);
        check_group(bench, 0, keys, &now);
    }
}

/* Keys are made outside of what is timed, and the clock is read once per round. */
static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    struct bench *bench = worker->bench;
    uint64_t random = random_of(worker->seed), begin = micro_clock_ns(CLOCK_MONOTONIC), at = begin;
    uint64_t end = begin + (uint64_t)(bench->seconds * 1e9), wall_ns = 0, cpu_ns = 0;
    static _Thread_local struct key keys[ROUND_GROUPS][GROUP];

    while (at < end) {
        for (unsigned i = 0; i < ROUND_GROUPS * GROUP; i++) {
            random ^= random << 13; /* xorshift64, George Marsaglia */
            random ^= random >> 7;
            random ^= random << 17;
            uint64_t number = (uint64_t)((unsigned __int128)random * bench->keys >> 64);

            keys[i / GROUP][i % GROUP] = key_number(worker->hot ? bench->keys : number);
        }
        uint64_t start = micro_clock_ns(CLOCK_MONOTONIC),
                 cpu_start = micro_clock_ns(CLOCK_THREAD_CPUTIME_ID);
        struct instant now = {.now_ns = SECOND_NS + (worker->hot ? 0 : start - begin)};

        for (unsigned i = 0; i < ROUND_GROUPS; i++)
            worker->allowed += check_group(bench, worker->hot, keys[i], &now);
        worker->checks += ROUND_GROUPS * GROUP;
        cpu_ns += micro_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_start;
        at = micro_clock_ns(CLOCK_MONOTONIC);
        wall_ns += at - start;
    }
    worker->seconds = (double)wall_ns / 1e9;
    worker->cpu_seconds = (double)cpu_ns / 1e9;
    return NULL;
}

static void run(struct bench *bench, bool hot, unsigned threads)
{
    struct worker *workers = aligned_alloc(128, threads * sizeof *workers);
    uint64_t checks = 0, allowed = 0;
    double seconds = 0, cpu_seconds = 0, rate = 0;

    if (!workers)
        abort();
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){.bench = bench, .seed = i + 1, .hot = hot};
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]))
            abort();
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        checks += workers[i].checks;
        allowed += workers[i].allowed;
        seconds += workers[i].seconds;
        cpu_seconds += workers[i].cpu_seconds;
        rate += (double)workers[i].checks / workers[i].seconds;
    }
    printf(
        "%-8s %2u thread%s  %7.2f M checks/s  %6.1f ns per check, %6.1f of CPU  %5.1f %% allowed\n",
        hot ? "hot key" : "random", threads, threads == 1 ? " " : "s", rate / 1e6,
        seconds * 1e9 / (double)checks, cpu_seconds * 1e9 / (double)checks,
        100.0 * (double)allowed / (double)checks);
    free(workers);
}

static void limits_make(struct bench *bench)
{
    struct limit_spec all = {ALGORITHM_TOKEN_BUCKET, 100, SECOND_NS, 1000000};
    struct limit_spec one = {ALGORITHM_TOKEN_BUCKET, 1, 3600 * SECOND_NS, 1};

    if (limit_compile(&all, &bench->limits[0]) || limit_compile(&one, &bench->limits[1]))
        abort();
    for (uint32_t row = 0; row < 2; row++) {
        struct table_owner owner = {
            .limit = bench->limits[row],
            .region = table_region_shared(bench->table),
        };

        if (table_owner_set(bench->table, row, &owner))
            abort();
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: micro_table [--keys N] [--load PERCENT] [--seconds S] [--huge] "
                    "[--threads N] [--tiny]\n");
    return 2;
}

static int options_parse(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"keys", required_argument, NULL, 'k'},
        {"load", required_argument, NULL, 'l'},
        {"seconds", required_argument, NULL, 's'},
        {"huge", no_argument, NULL, 'H'},
        {"threads", required_argument, NULL, 't'},
        {"tiny", no_argument, NULL, 'T'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'k':
            bench->keys = strtoull(optarg, NULL, 10);
            break;
        case 'l':
            bench->load = strtod(optarg, NULL) / 100;
            break;
        case 's':
            bench->seconds = strtod(optarg, NULL);
            break;
        case 'H':
            bench->huge = true;
            break;
        case 't':
            bench->threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'T':
            bench->keys = 10000;
            bench->seconds = 0.05;
            break;
        default:
            return -1;
        }
    }
    return bench->keys && bench->threads && bench->load > 0 && bench->load <= 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct bench bench = {.keys = 1000000, .load = 0.70, .seconds = 2, .threads = 1};
    struct table_census census;

    if (options_parse(&bench, argc, argv))
        return usage();
    struct table_options options = {
        .entries = (uint64_t)((double)bench.keys / bench.load) + 16,
        .owner_rows = 2,
        .index_secret = {random_of(11), random_of(12)},
        .boot_id = 1,
        .huge_pages = bench.huge,
    };
    int error = table_create(&options, &bench.table);

    if (error) {
        fprintf(stderr, "micro_table: no table: %s\n", strerror(-error));
        return 2;
    }
    limits_make(&bench);
    preload(&bench);
    table_take_census(bench.table, &census);
    printf("%" PRIu64 " keys, %.1f MiB, huge pages %s, load %.1f %%, %.1f bytes per live key, "
           "%.1f %% of groups ran over, %" PRIu64 " evicted\n",
           bench.keys, (double)table_size_bytes(bench.table) / 1048576,
           table_has_huge_pages(bench.table) ? "yes" : "no",
           100.0 * (double)census.live / (double)table_entry_count(bench.table),
           (double)table_size_bytes(bench.table) / (double)census.live,
           400.0 * (double)census.overflow_marks / (double)table_entry_count(bench.table),
           table_eviction_count(bench.table));
    run(&bench, false, bench.threads);
    run(&bench, true, 1);
    if (bench.threads > 1)
        run(&bench, true, bench.threads);
    table_destroy(bench.table);
    return 0;
}
