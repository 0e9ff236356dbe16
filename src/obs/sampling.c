#include "obs/sampling.h"

static uint64_t next_random(struct sampling *sampling)
{
    uint64_t x = sampling->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return sampling->random = x;
}

static void begin_look(struct sampling *sampling, uint64_t now_ns)
{
    const uint64_t per_second = 1000000000u / SAMPLING_LOOK_NS * sampling->per_look;
    const double elapsed_s = (double)(now_ns - sampling->since_ns) / 1e9;
    sampling->mean = (uint64_t)((double)sampling->seen / elapsed_s / (double)per_second);
    sampling->mean += sampling->mean == 0;
    sampling->seen = 0;
    sampling->taken = 0;
    sampling->since_ns = now_ns;
}

static void follow_traffic(struct sampling *sampling, uint64_t now_ns)
{
    if (now_ns >= sampling->since_ns + SAMPLING_LOOK_NS) {
        begin_look(sampling, now_ns);
    } else if (sampling->taken >= 2 * sampling->per_look) {
        sampling->mean *= 2;
        sampling->taken = 0;
    }
}

uint64_t sampling_take(struct sampling *sampling, uint64_t now_ns, uint64_t *ret_weight)
{
    const uint64_t at = sampling->left - 1;
    *ret_weight = sampling->weight;
    sampling->seen += sampling->weight;
    sampling->taken++;
    follow_traffic(sampling, now_ns);
    sampling->weight = sampling->mean;
    sampling->left = 1 + next_random(sampling) % (2 * sampling->mean - 1);
    return at;
}

void sampling_refresh(struct sampling *sampling, uint64_t now_ns)
{
    if (now_ns < sampling->since_ns + 2 * (uint64_t)SAMPLING_LOOK_NS || sampling->mean == 1)
        return;
    begin_look(sampling, now_ns);
    if (sampling->left > sampling->mean)
        sampling->left = 1;
    sampling->weight = sampling->mean;
}
