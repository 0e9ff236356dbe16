#include "obs/latency.h"

#include "sys/clock.h"

void latency_take(struct latency *latency, struct sampling *timed, uint64_t since_boot_ns,
                  uint64_t checks)
{
    uint64_t weight;
    const uint64_t boot_ns = clock_boot_ns();
    sampling_take(timed, boot_ns, &weight);
    latency_record(latency, boot_ns - since_boot_ns, weight * checks);
}

uint64_t latency_cell_end_ns(uint32_t index)
{
    if (index == 0)
        return 1ull << LATENCY_MIN_BITS;
    if (index >= LATENCY_CELLS - 1)
        return UINT64_MAX;
    const uint32_t octave = (index - 1) >> LATENCY_SUB_BITS;
    const uint32_t sub = (index - 1) & ((1u << LATENCY_SUB_BITS) - 1);
    return ((1ull << LATENCY_SUB_BITS) + sub + 1) << (octave + LATENCY_MIN_BITS - LATENCY_SUB_BITS);
}

void latency_add(struct latency_sum *sum, const struct latency *latency)
{
    for (uint32_t i = 0; i < LATENCY_CELLS; i++)
        sum->cell[i] += counter_read(&latency->cell[i]);
    sum->sum_ns += counter_read(&latency->sum_ns);
}

uint64_t latency_count(const struct latency_sum *sum)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < LATENCY_CELLS; i++)
        count += sum->cell[i];
    return count;
}

uint64_t latency_percentile_ns(const struct latency_sum *sum, double share)
{
    const uint64_t count = latency_count(sum);
    uint64_t seen = 0;
    for (uint32_t i = 0; count && i < LATENCY_CELLS; i++) {
        seen += sum->cell[i];
        if (sum->cell[i] && (double)seen >= share * (double)count)
            return latency_cell_end_ns(i);
    }
    return 0;
}
