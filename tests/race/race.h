/* What the race programs share: what they are told, threads that start at the same moment, and
 * rounds that one of them judges while all others wait. */
#ifndef METE_TESTS_RACE_RACE_H
#define METE_TESTS_RACE_RACE_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/random.h"
#include "sys/clock.h"

#define RACE_MOST_THREADS 64u

/* PROGRAM [THREADS] [SECONDS | ROUNDSr] [SEED]; METE_SEED stands for the last. */
struct race_options {
    unsigned threads, fewest, most;
    double seconds;
    uint64_t rounds; /* 0: so many seconds */
    uint64_t seed;
};

/* Defaults stand in options. False after a line that says what would be right. */
static inline bool race_options_read(struct race_options *options, int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];

    if (argc > 1)
        options->threads = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2) {
        options->seconds = strtod(argv[2], NULL);
        options->rounds = strchr(argv[2], 'r') ? strtoull(argv[2], NULL, 10) : 0;
    }
    options->seed = argc > 3 ? strtoull(argv[3], NULL, 0) : random_seed(1);
    if (argc <= 4 && options->threads >= options->fewest && options->threads <= options->most &&
        options->seconds > 0)
        return true;
    fprintf(stderr, "usage: %s [THREADS] [SECONDS | ROUNDSr] [SEED]     %u to %u threads\n", name,
            options->fewest, options->most);
    return false;
}

/* Rounds of all threads, and the barrier between them: it spins, to let all go at one moment. */
struct race_rounds {
    unsigned threads;
    uint64_t end_at_ns; /* 0: count them */
    uint64_t most;
    uint64_t round;
    bool stop, failed;
    unsigned arrived, phase;
};

/* For the part of the time that one of `parts` has. */
static inline struct race_rounds race_rounds_of(const struct race_options *options, unsigned parts)
{
    return (struct race_rounds){
        .threads = options->threads,
        .end_at_ns =
            options->rounds ? 0 : clock_boot_ns() + (uint64_t)(options->seconds / parts * 1e9),
        .most = options->rounds,
    };
}

static inline void race_wait_for_all(struct race_rounds *rounds)
{
    unsigned phase = __atomic_load_n(&rounds->phase, __ATOMIC_ACQUIRE);

    if (__atomic_add_fetch(&rounds->arrived, 1, __ATOMIC_ACQ_REL) == rounds->threads) {
        __atomic_store_n(&rounds->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&rounds->phase, phase + 1, __ATOMIC_RELEASE);
        return;
    }
    for (unsigned spins = 0; __atomic_load_n(&rounds->phase, __ATOMIC_ACQUIRE) == phase; spins++)
        if (spins > 200)
            sched_yield(); /* more threads than cores */
}

/* One thread's life: all play a round, then the first judges it (racer is the first of all) while
 * the others wait, until the time or the rounds are over or one failed. */
static inline void race_play(struct race_rounds *rounds, void *racer, bool is_first,
                             void (*play)(void *racer), void (*judge)(void *racers))
{
    while (!rounds->stop) {
        race_wait_for_all(rounds);
        play(racer);
        race_wait_for_all(rounds);
        if (is_first) {
            judge(racer);
            rounds->round++;
            rounds->stop =
                rounds->failed || (rounds->end_at_ns ? clock_boot_ns() >= rounds->end_at_ns
                                                     : rounds->round >= rounds->most);
        }
        race_wait_for_all(rounds);
    }
}

struct race_threads {
    unsigned count;
    pthread_t ids[RACE_MOST_THREADS];
};

/* A thread for each racer; they lie side by side, `size` bytes each. */
static inline void race_start(struct race_threads *threads, unsigned count, void *racers,
                              size_t size, void *(*run)(void *racer))
{
    threads->count = count;
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&threads->ids[i], NULL, run, (char *)racers + i * size))
            abort();
}

static inline void race_join(const struct race_threads *threads)
{
    for (unsigned i = 0; i < threads->count; i++)
        pthread_join(threads->ids[i], NULL);
}

#endif
