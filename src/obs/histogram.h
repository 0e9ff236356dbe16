/* A histogram of durations in fixed memory: log-linear, mergeable, no allocation after creation.
 *
 * Values below 256 have a cell each; above, every power of two is cut into 256 cells of equal
 * width, so a percentile is off by at most 1/256 of itself (0.4 %), from 1 to 2^42 (73 minutes in
 * nanoseconds). Larger values count as the largest. Source: the layout of HdrHistogram (G. Tene),
 * at a power of two.
 *
 * Threads: one writer; merge and read when it has stopped. */
#ifndef METE_OBS_HISTOGRAM_H
#define METE_OBS_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 8u
#define HISTOGRAM_MAX_BITS 42u
#define HISTOGRAM_CELLS ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1u) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t total;
    uint64_t min; /* UINT64_MAX while empty */
    uint64_t max; /* exact */
    uint64_t cells[HISTOGRAM_CELLS];
};

/* Cell of a value. The first 256 cells are the values 0..255; from there on, of a value with its
 * highest bit at position p >= 8, the p - 8 lowest bits are dropped. */
static inline uint32_t histogram_index(uint64_t value)
{
    if (value >= 1ull << HISTOGRAM_MAX_BITS)
        return HISTOGRAM_CELLS - 1;
    if (value < 1u << HISTOGRAM_SUB_BITS)
        return (uint32_t)value;
    const unsigned dropped = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return (dropped << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> dropped);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->cells[histogram_index(value)]++;
    histogram->total++;
    if (value > histogram->max)
        histogram->max = value;
    if (value < histogram->min)
        histogram->min = value;
}

void histogram_init(struct histogram *histogram);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The largest value of the cell in which the share (0..1) of all values is reached, never above the
 * exact maximum; 0 if the histogram is empty. share 1 is the maximum. */
uint64_t histogram_percentile(const struct histogram *histogram, double share);

/* Smallest and largest value of a cell. */
uint64_t histogram_cell_low(uint32_t index);
uint64_t histogram_cell_high(uint32_t index);

#endif
