/* Reading and merging histograms; histogram.h says how one is laid out. */
#include "obs/histogram.h"

#include <string.h>

void histogram_init(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
    histogram->min = UINT64_MAX;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_CELLS; i++)
        into->cells[i] += from->cells[i];
    into->total += from->total;
    if (from->max > into->max)
        into->max = from->max;
    if (from->min < into->min)
        into->min = from->min;
}

uint64_t histogram_cell_low(uint32_t index)
{
    if (index < 1u << HISTOGRAM_SUB_BITS)
        return index;
    const uint32_t dropped = (index >> HISTOGRAM_SUB_BITS) - 1;
    return (uint64_t)(index - (dropped << HISTOGRAM_SUB_BITS)) << dropped;
}

uint64_t histogram_cell_high(uint32_t index)
{
    return index + 1 < HISTOGRAM_CELLS ? histogram_cell_low(index + 1) - 1 : UINT64_MAX;
}

uint64_t histogram_percentile(const struct histogram *histogram, double share)
{
    if (histogram->total == 0)
        return 0;
    const double wanted = share * (double)histogram->total;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_CELLS; i++) {
        seen += histogram->cells[i];
        if (histogram->cells[i] > 0 && (double)seen >= wanted) {
            const uint64_t high = histogram_cell_high(i);
            return high < histogram->max ? high : histogram->max;
        }
    }
    return histogram->max;
}
