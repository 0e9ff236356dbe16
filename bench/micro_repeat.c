/* What the repeat set costs by itself: claim and finish of tags that are new, then of tags that are
 * known (claim only), in groups of 32 as a batch does it: all lines are asked for first.
 *
 *   micro_repeat [--mib N] [--rate PER_MS] [--bits N] [--seconds S] [--threads N] [--tiny]
 *
 * The clock is simulated: it goes on by a millisecond every PER_MS tags, so the set is as full as
 * at that rate on one worker with `mib` of its own (the default, 1000, is a million datagrams a
 * second). Pin it (taskset -c 1) for one core. Times are those of this machine and this minute;
 * compare with another run, not with a number. */
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

#define GROUP 32u
#define AHEAD_GROUP 12u
#define WINDOW_MS 200u

struct bench {
    struct repeat_set set;
    uint64_t mib;
    uint64_t rate; /* tags per simulated ms, of each thread */
    uint32_t bits;
    double seconds;
    unsigned threads;
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

/* One group of claims, each charged at once if it is new. */
static void claim_group(struct bench *bench, const uint64_t tags[GROUP], uint32_t now_ms,
                        uint64_t results[4])
{
    static const uint64_t decided[REPEAT_WORDS] = {1};
    uint64_t known[REPEAT_WORDS];

    for (unsigned i = 0; i < AHEAD_GROUP; i++)
        repeat_prefetch(&bench->set, tags[i]);
    for (unsigned i = 0; i < GROUP; i++) {
        struct repeat_claim claim = {
            .tag = tags[i], .sent_ms = now_ms, .now_ms = now_ms, .bit_count = bench->bits};

        if (i + AHEAD_GROUP < GROUP)
            repeat_prefetch(&bench->set, tags[i + AHEAD_GROUP]);
        enum repeat_result result = repeat_claim(&bench->set, &claim, known);

        if (result == REPEAT_NEW)
            repeat_finish(&bench->set, &claim, decided);
        results[result]++;
    }
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    struct bench *bench = worker->bench;
    uint64_t start = micro_clock_ns(CLOCK_MONOTONIC), at = start, ignored[4];
    uint64_t cpu_start, cpu_ns = 0;
    uint64_t end = start + (uint64_t)(bench->seconds * 1e9), wall_ns = 0;
    uint64_t tags[256][GROUP], number = worker->first;

    while (at < end) { /* rounds of 256 groups, so that reading the clock costs nothing */
        uint64_t done = __atomic_fetch_add(&bench->done, 256 * GROUP, __ATOMIC_RELAXED);
        uint64_t per_ms = bench->rate * bench->threads;

        for (unsigned i = 0; i < 256; i++)
            for (unsigned j = 0; j < GROUP; j++)
                tags[i][j] = random_of(number++);
        for (unsigned i = 0; worker->again && i < 256; i++)
            claim_group(bench, tags[i], 1000 + (uint32_t)((done + i * GROUP) / per_ms), ignored);
        start = micro_clock_ns(CLOCK_MONOTONIC);
        cpu_start = micro_clock_ns(CLOCK_THREAD_CPUTIME_ID);
        for (unsigned i = 0; i < 256; i++)
            claim_group(bench, tags[i], 1000 + (uint32_t)((done + i * GROUP) / per_ms),
                        worker->results);
        at = micro_clock_ns(CLOCK_MONOTONIC);
        wall_ns += at - start;
        cpu_ns += micro_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_start;
    }
    worker->seconds = (double)wall_ns / 1e9;
    worker->cpu_seconds = (double)cpu_ns / 1e9;
    return NULL;
}

static void run(struct bench *bench, bool again)
{
    struct worker *workers = aligned_alloc(128, bench->threads * sizeof *workers);
    uint64_t results[4] = {0}, count = 0;
    double seconds = 0, cpu_seconds = 0;

    if (!workers)
        abort();
    for (unsigned i = 0; i < bench->threads; i++) {
        workers[i] =
            (struct worker){.bench = bench, .first = (2 * i + again + 1ull) << 40, .again = again};
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
    printf("%-5s %2u thread%s  %6.1f ns per datagram, %6.1f of CPU  %6.2f %% new, %6.2f %% known, "
           "%.3f %% stale\n",
           again ? "known" : "new", bench->threads, bench->threads == 1 ? " " : "s",
           seconds * 1e9 / (double)count, cpu_seconds * 1e9 / (double)count,
           100.0 * (double)results[REPEAT_NEW] / (double)count,
           100.0 * (double)results[REPEAT_KNOWN] / (double)count,
           100.0 * (double)results[REPEAT_STALE] / (double)count);
    free(workers);
}

static int usage(void)
{
    fprintf(stderr, "usage: micro_repeat [--mib N] [--rate PER_MS] [--bits N] [--seconds S] "
                    "[--threads N] [--tiny]\n");
    return 2;
}

static int options_parse(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"mib", required_argument, NULL, 'm'},
        {"rate", required_argument, NULL, 'r'},
        {"bits", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 't'},
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
        case 's':
            bench->seconds = strtod(optarg, NULL);
            break;
        case 't':
            bench->threads = (unsigned)strtoul(optarg, NULL, 10);
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
                   bench->threads && bench->seconds > 0
               ? 0
               : -1;
}

int main(int argc, char **argv)
{
    struct bench bench = {.mib = 8, .rate = 1000, .bits = 1, .seconds = 2, .threads = 1};
    struct repeat_options options = {.window_ms = WINDOW_MS,
                                     .ahead_ms = 20,
                                     .now_ms = 1000,
                                     .secret = {random_of(21), random_of(22)}};

    if (options_parse(&bench, argc, argv))
        return usage();
    options.size = bench.mib * bench.threads << 20;
    int error = memory_reserve(options.size, true, &options.memory);

    if (error || repeat_init(&bench.set, &options)) {
        fprintf(stderr, "micro_repeat: no memory for the set: %s\n", strerror(-error));
        return 2;
    }
    printf("%" PRIu64 " MiB per worker, huge pages %s, %" PRIu64 " datagrams per ms and worker, "
           "W %u ms, %u bits each\n",
           bench.mib, memory_has_huge_pages(options.memory) ? "yes" : "no", bench.rate, WINDOW_MS,
           bench.bits);
    run(&bench, false);
    run(&bench, true);
    memory_release(options.memory, options.size);
    return 0;
}
