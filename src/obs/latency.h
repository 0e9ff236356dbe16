/* A histogram of latencies that others read while it is written: 1.7 KiB, one writer.
 *
 * Powers of two from 256 ns to 17 s, each cut into 8 cells of equal width, so a percentile is off
 * by at most an eighth of itself; what is shorter has the first cell, what is longer the last. The
 * edges that Prometheus gets are the powers of two. A value is recorded with the number of things
 * that it stands for, see obs/sampling.h.
 *
 * Threads: one records; any read and sum. */
#ifndef METE_OBS_LATENCY_H
#define METE_OBS_LATENCY_H

#include "obs/counters.h"
#include "obs/sampling.h"

#define LATENCY_SUB_BITS 3u
#define LATENCY_MIN_BITS 8u  /* 256 ns */
#define LATENCY_MAX_BITS 34u /* 17 s */
#define LATENCY_CELLS (((LATENCY_MAX_BITS - LATENCY_MIN_BITS) << LATENCY_SUB_BITS) + 2u)

struct latency {
    _Atomic uint64_t cell[LATENCY_CELLS];
    _Atomic uint64_t sum_ns;
} __attribute__((aligned(128)));

struct latency_sum { /* of any number of them */
    uint64_t cell[LATENCY_CELLS];
    uint64_t sum_ns;
};

static inline uint32_t latency_index(uint64_t ns)
{
    if (ns < 1ull << LATENCY_MIN_BITS)
        return 0;
    if (ns >= 1ull << LATENCY_MAX_BITS)
        return LATENCY_CELLS - 1;
    const unsigned top = 63u - (unsigned)__builtin_clzll(ns);
    const uint32_t sub =
        (uint32_t)(ns >> (top - LATENCY_SUB_BITS)) & ((1u << LATENCY_SUB_BITS) - 1);
    return 1 + ((top - LATENCY_MIN_BITS) << LATENCY_SUB_BITS) + sub;
}

static inline void latency_record(struct latency *latency, uint64_t ns, uint64_t weight)
{
    counter_add(&latency->cell[latency_index(ns)], weight);
    counter_add(&latency->sum_ns, ns * weight);
}

/* Of a batch that is due (sampling_is_due()), when its answers are with the kernel: how long it
 * took since its clock was read at since_boot_ns, once for every check that it stands for. This is
 * the second clock read of such a batch. */
void latency_take(struct latency *latency, struct sampling *timed, uint64_t since_boot_ns,
                  uint64_t checks);

/* What is just not in the cell any more; UINT64_MAX for the last. */
uint64_t latency_cell_end_ns(uint32_t index);

void latency_add(struct latency_sum *sum, const struct latency *latency);

uint64_t latency_count(const struct latency_sum *sum);

/* The end of the cell in which the share (0..1) of all is reached; 0 if there are none. */
uint64_t latency_percentile_ns(const struct latency_sum *sum, double share);

#endif
