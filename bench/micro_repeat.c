/* What the repeat set costs by itself: claim and finish of tags that are new, then of tags that are
 * known (claim only), in groups as a worker's batch has them.
 *
 *   micro_repeat [--mib N] [--rate PER_MS] [--bits N] [--group N] [--seconds S] [--threads N]
 *                [--locked] [--tiny]
 *
 * The first two lines are of a set that one worker has to itself, as with `workers: 1`; the others
 * of one that is shared, by one thread and then by as many as asked for. --locked: as on a machine
 * without memory transactions (engine/repeat_transaction.h). The clock is simulated: it
 * goes on by a millisecond every PER_MS tags, so the set is as full as at that rate on one worker
 * with `mib` of its own (the default, 1000, is a million datagrams a second). Pin it (taskset -c 1)
 * for one core. Times are those of this machine and this minute; compare with another run, not with
 * a number. */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/repeat.h"
#include "lib/random.h"
#include "micro.h"
#include "sys/memory.h"

#define MAX_GROUP 128u
#define ROUND_TAGS 8192u /* between two looks at the clock, so that reading it costs nothing */
#define WINDOW_MS 200u

struct bench {
    struct repeat_set set;
    uint64_t mib;
    uint64_t rate; /* tags per simulated ms, of each thread */
    uint32_t bits;
    uint32_t group;
    double seconds;
    unsigned threads;
    bool is_locked;
    uint64_t done; /* tags of all threads so far: the simulated clock */
};

struct worker {
    struct bench *bench;
    uint64_t first; /* number of its first tag */
    bool again;     /* every tag a second time, and only that is timed */
    uint64_t results[4];
    double seconds;
    double cpu_seconds;
    pthread_t thread;
} __attribute__((aligned(128)));

/* One group of claims, charged if they are new. */
static void claim_group(struct bench *bench, const uint64_t *tags, uint32_t now_ms,
                        uint64_t results[4])
{
    static const uint64_t decided[REPEAT_WORDS] = {1};
    struct repeat_claim claims[MAX_GROUP];
    uint64_t known[MAX_GROUP * REPEAT_WORDS];

    for (unsigned i = 0; i < bench->group; i++) {
        claims[i].tag = tags[i];
        claims[i].sent_ms = claims[i].now_ms = now_ms;
        claims[i].bit_count = bench->bits;
    }
    repeat_claim_all(&bench->set, claims, bench->group, known);
    for (unsigned i = 0; i < bench->group; i++) {
        if (claims[i].result == REPEAT_NEW)
            repeat_finish(&bench->set, &claims[i], decided);
        results[claims[i].result]++;
    }
}

/* A round of groups. */
static void claim_round(struct bench *bench, const uint64_t *tags, uint64_t done,
                        uint64_t results[4])
{
    const uint64_t per_ms = bench->rate * bench->threads;

    for (unsigned i = 0; i + bench->group <= ROUND_TAGS; i += bench->group)
        claim_group(bench, &tags[i], 1000 + (uint32_t)((done + i) / per_ms), results);
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    struct bench *bench = worker->bench;
    uint64_t start = micro_clock_ns(CLOCK_MONOTONIC), at = start;
    uint64_t ignored[4] = {0};
    uint64_t cpu_start, cpu_ns = 0;
    uint64_t end = start + (uint64_t)(bench->seconds * 1e9), wall_ns = 0;
    uint64_t tags[ROUND_TAGS], number = worker->first;

    while (at < end) {
        uint64_t done = __atomic_fetch_add(&bench->done, ROUND_TAGS, __ATOMIC_RELAXED);

        for (unsigned i = 0; i < ROUND_TAGS; i++)
            tags[i] = random_of(number++);
        if (worker->again)
            claim_round(bench, tags, done, ignored);
        start = micro_clock_ns(CLOCK_MONOTONIC);
        cpu_start = micro_clock_ns(CLOCK_THREAD_CPUTIME_ID);
        claim_round(bench, tags, done, worker->results);
        at = micro_clock_ns(CLOCK_MONOTONIC);
        wall_ns += at - start;
        cpu_ns += micro_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_start;
    }
    worker->seconds = (double)wall_ns / 1e9;
    worker->cpu_seconds = (double)cpu_ns / 1e9;
    return NULL;
}

static void run(struct bench *bench, bool again, uint64_t first)
{
    struct worker *workers = aligned_alloc(128, bench->threads * sizeof *workers);
    uint64_t results[4] = {0}, count = 0;
    double seconds = 0, cpu_seconds = 0;

    if (!workers)
        abort();
    for (unsigned i = 0; i < bench->threads; i++) {
        workers[i] = (struct worker){.bench = bench, .first = (first + i) << 40, .again = again};
        if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]))
            abort();
    }
    for (unsigned i = 0; i < bench->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        for (unsigned j = 0; j < 4; j++) {
            results[j] += workers[i].results[j];
            count += workers[i].results[j];
        }
        seconds += workers[i].seconds;
        cpu_seconds += workers[i].cpu_seconds;
    }
    printf("%-6s %-5s %2u thread%s  %6.1f ns per datagram, %6.1f of CPU  %6.2f %% new, %6.2f %% "
           "known, "
           "%.3f %% stale\n",
           bench->set.is_shared ? "shared" : "alone", again ? "known" : "new", bench->threads,
           bench->threads == 1 ? " " : "s", seconds * 1e9 / (double)count,
           cpu_seconds * 1e9 / (double)count, 100.0 * (double)results[REPEAT_NEW] / (double)count,
           100.0 * (double)results[REPEAT_KNOWN] / (double)count,
           100.0 * (double)results[REPEAT_STALE] / (double)count);
    free(workers);
}

static int usage(void)
{
    fprintf(stderr, "usage: micro_repeat [--mib N] [--rate PER_MS] [--bits N] [--group N] "
                    "[--seconds S] [--threads N] [--locked] [--tiny]\n");
    return 2;
}

static int options_parse(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"mib", required_argument, NULL, 'm'},
        {"rate", required_argument, NULL, 'r'},
        {"bits", required_argument, NULL, 'b'},
        {"group", required_argument, NULL, 'g'},
        {"seconds", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 't'},
        {"locked", no_argument, NULL, 'l'},
        {"tiny", no_argument, NULL, 'T'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'm':
            bench->mib = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            bench->rate = strtoull(optarg, NULL, 10);
            break;
        case 'b':
            bench->bits = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'g':
            bench->group = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 's':
            bench->seconds = strtod(optarg, NULL);
            break;
        case 't':
            bench->threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'l':
            bench->is_locked = true;
            break;
        case 'T':
            bench->mib = 1;
            bench->rate = 100;
            bench->seconds = 0.02;
            break;
        default:
            return -1;
        }
    }
    return bench->mib && bench->rate && bench->bits && bench->bits <= REPEAT_MAX_BITS &&
                   bench->group && bench->group <= MAX_GROUP && bench->threads && bench->seconds > 0
               ? 0
               : -1;
}

int main(int argc, char **argv)
{
    struct bench bench = {
        .mib = 8, .rate = 1000, .bits = 1, .group = 32, .seconds = 2, .threads = 1};
    struct repeat_options options = {.window_ms = WINDOW_MS,
                                     .ahead_ms = 20,
                                     .now_ms = 1000,
                                     .secret = {random_of(21), random_of(22)}};

    if (options_parse(&bench, argc, argv))
        return usage();
    options.size = bench.mib * bench.threads << 20;
    int error = memory_reserve(options.size, true, &options.memory);

    if (error) {
        fprintf(stderr, "micro_repeat: no memory for the set: %s\n", strerror(-error));
        return 2;
    }
    printf("%" PRIu64 " MiB per worker, huge pages %s, %" PRIu64 " datagrams per ms and worker, "
           "W %u ms, %u bits each, groups of %u\n",
           bench.mib, memory_has_huge_pages(options.memory) ? "yes" : "no", bench.rate, WINDOW_MS,
           bench.bits, bench.group);
    const unsigned threads = bench.threads;

    for (unsigned turn = 0; turn < (threads > 1 ? 3 : 2); turn++) {
        options.is_shared = turn > 0;
        bench.threads = turn < 2 ? 1 : threads;
        bench.done = 0;
        options.size = bench.mib * bench.threads << 20;
        if (repeat_init(&bench.set, &options))
            abort();
        bench.set.has_transactions = bench.set.has_transactions && !bench.is_locked;
        run(&bench, false, 1);
        run(&bench, true, 1 + threads);
    }
    options.size = bench.mib * threads << 20;
    memory_release(options.memory, options.size);
    return 0;
}
