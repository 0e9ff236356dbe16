/* What the micro benches share: a clock, the median of rounds, keys in an order that no prefetcher
 * knows, and their arguments. */
#ifndef METE_BENCH_MICRO_H
#define METE_BENCH_MICRO_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint64_t micro_clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A bijection, of two multiplications: cheap beside what is measured. */
static inline uint64_t micro_scramble(uint64_t x)
{
    x = (x ^ x >> 31) * 0x7FB5D329728EA185ull;
    return (x ^ x >> 27) * 0x81DADEF4BC2DD44Dull;
}

static inline int micro_compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Sorts them. */
static inline double micro_median(double *values, unsigned count)
{
    qsort(values, count, sizeof(values[0]), micro_compare);
    return values[count / 2];
}

struct micro_keys {
    uint64_t keys; /* the default; after it was read what counts */
    uint64_t tiny; /* with --tiny, that tests run it with */
    uint64_t most;
    bool is_tiny;
};

/* PROGRAM [--tiny] [KEYS]. False after a line that says what would be right. */
static inline bool micro_keys_read(struct micro_keys *keys, int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    char *end = "";

    keys->is_tiny = argc > 1 && strcmp(argv[1], "--tiny") == 0;
    if (argc > 1 + keys->is_tiny)
        keys->keys = strtoull(argv[1 + keys->is_tiny], &end, 10);
    else if (keys->is_tiny)
        keys->keys = keys->tiny;
    if (argc <= 2 + keys->is_tiny && !*end && keys->keys && keys->keys <= keys->most)
        return true;
    fprintf(stderr, "usage: %s [--tiny] [KEYS]     KEYS from 1 to %" PRIu64 "\n", name, keys->most);
    return false;
}

#endif
