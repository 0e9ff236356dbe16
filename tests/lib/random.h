/* Numbers from a seed, the same on every machine: splitmix64 (Sebastiano Vigna, public domain).
 * Each thread has a state of its own. And what tests are told of seeds and counts. Nothing here is
 * secret. */
#ifndef METE_TESTS_RANDOM_H
#define METE_TESTS_RANDOM_H

#include <stdint.h>
#include <stdlib.h>

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* A number of its own for every x: the first of that seed. */
static inline uint64_t random_of(uint64_t x)
{
    return random_next(&x);
}

/* What METE_SEED says, to replay what failed; else as given. */
static inline uint64_t random_seed(uint64_t otherwise)
{
    const char *text = getenv("METE_SEED");

    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* How many are tried: what METE_COUNT says; else as given, or METE_PERCENT of it (under a sanitizer
 * or an emulator, where the same takes many times as long). */
static inline uint64_t random_count(uint64_t otherwise)
{
    const char *count = getenv("METE_COUNT"), *percent = getenv("METE_PERCENT");

    if (count)
        return strtoull(count, NULL, 0);
    return percent ? (otherwise * strtoull(percent, NULL, 10) + 99) / 100 : otherwise;
}

#endif
