/* Refunds, grants and demand of the merge, against exact numbers, and once more in doubles, as a
 * store computes them.
 *
 *   METE_SEED (1), METE_COUNT (rounds, 3000) */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/merge.h"
#include "lib/random.h"
#include "replica/delta.h"

#define NODES 8u
#define MS 1000000ull
#define TICKS_PER_US 16000u

typedef unsigned __int128 uint128;

static struct {
    uint64_t random, seed, round;
} world;

static uint64_t next_random(void)
{
    return random_next(&world.random);
}

static uint64_t below(uint64_t bound)
{
    return next_random() % bound;
}

/* Of any size up to so many bits. */
static uint64_t sized(unsigned bits)
{
    return below(1ull << (below(bits) + 1));
}

static void expect(bool holds, const char *what, long long left, long long right)
{
    if (holds)
        return;
    printf("prop_grants: seed %" PRIu64 ", round %" PRIu64 ": %s: %lld, %lld\n", world.seed,
           world.round, what, left, right);
    exit(1);
}

/* A busy bucket is exact whatever nodes charge and give back, and in whatever order it is told;
 * what is left of a microsecond stays with its node. Windows are sums. */
static void round_of_refunds(void)
{
    const bool is_wall = below(3) == 0;
    const struct limit limit = {.interval = sized(30) + 1,
                                .algorithm = is_wall ? ALGORITHM_CALENDAR : ALGORITHM_TOKEN_BUCKET};
    struct delta deltas[NODES] = {0};
    struct merge_cell cell = {.value = 1ull << 50};
    const uint64_t begin = cell.value;
    __int128 charged = 0, usage = 0, told = 0, rests = 0;
    uint64_t falls = 0;

    for (unsigned i = 0; i < 200; i++) {
        struct delta *delta = &deltas[below(NODES)];
        const int64_t units = (int64_t)below(9) - 4;
        delta_charge(delta, &limit, units, i);
        charged += (__int128)units * (is_wall ? 1 : (__int128)limit.interval);
        usage += units;
        if (below(3) > 0)
            continue;
        expect(delta_take(delta, &limit, i), "nothing is in flight", 0, 0);
        const struct merge_delta message = delta_message(delta, &limit, 0, MERGE_MAX, i);
        const struct merge_cell before = cell;
        cell = limit_merge(&limit, cell, &message, 1000000);
        falls += cell.value < before.value;
        expect(cell.epoch == falls, "what falls has another epoch", (long long)cell.epoch,
               (long long)falls);
        told += delta->sent_units;
        delta_settle(delta, &(struct delta_answer){.cell = cell});
    }
    for (unsigned i = 0; i < NODES; i++) {
        rests += deltas[i].charge;
        told += deltas[i].units;
        const bool is_silent = delta_is_silent(&deltas[i], &limit);
        expect(is_silent == (deltas[i].units == 0 && deltas[i].charge > -(int64_t)TICKS_PER_US &&
                             deltas[i].charge < (is_wall ? 1 : (int64_t)TICKS_PER_US)) ||
                   is_wall,
               "silent", is_silent, deltas[i].charge);
    }
    const __int128 merged = ((__int128)cell.value - begin) * (is_wall ? 1 : TICKS_PER_US) + rests;
    expect(merged == charged, "charged and given back", (long long)merged, (long long)charged);
    expect(told == usage, "units", (long long)told, (long long)usage);
}

static uint128 cost_of(const struct merge_ask *ask, uint64_t units)
{
    const uint128 ticks = (uint128)ask->unit_us * TICKS_PER_US + ask->unit_ticks;

    return (ticks * units + TICKS_PER_US - 1) / TICKS_PER_US;
}

/* merge_grant() with nothing but what a store's script has. */
static uint32_t in_doubles(double *value, const struct merge_ask *ask, double now)
{
    const double begin = fmax(*value, now), room = fmax(now + (double)ask->most - begin, 0);
    double low = 0, high = ask->wanted;

    if (ask->unit_us > 0)
        high = fmin(high, floor(room / (double)ask->unit_us));
    while (low < high) {
        const double middle = floor((low + high + 1) / 2);
        const double cost = middle * (double)ask->unit_us +
                            floor((middle * ask->unit_ticks + TICKS_PER_US - 1) / TICKS_PER_US);
        if (cost <= room)
            low = middle;
        else
            high = middle - 1;
    }
    if (low > 0)
        *value = begin + low * (double)ask->unit_us +
                 floor((low * ask->unit_ticks + TICKS_PER_US - 1) / TICKS_PER_US);
    return (uint32_t)low;
}

/* All that there is and not a unit more. */
static void round_of_bucket_grants(void)
{
    const struct merge_ask made = {.unit_us = below(2) ? sized(40) : 0,
                                   .unit_ticks = (uint32_t)below(TICKS_PER_US)};
    uint64_t now_us = sized(50);
    struct merge_cell cell = {.value = sized(50)};

    for (unsigned i = 0; i < 50; i++) {
        struct merge_ask ask = made;
        ask.wanted = (uint32_t)sized(20);
        ask.most = sized(48);
        if (ask.unit_us == 0 && ask.unit_ticks == 0)
            ask.unit_ticks = 1;
        const struct merge_cell before = cell;
        double other = (double)cell.value;
        const uint32_t units = merge_grant(MERGE_BUCKET, &cell, 0, &ask, now_us);
        const uint64_t begin = before.value > now_us ? before.value : now_us;
        expect(units <= ask.wanted, "more than was wanted", units, ask.wanted);
        if (units > 0)
            expect(cell.value == begin + cost_of(&ask, units) && cell.value <= now_us + ask.most,
                   "over the limit", (long long)cell.value, (long long)(now_us + ask.most));
        else
            expect(cell.value == before.value, "charged for nothing", (long long)cell.value,
                   (long long)before.value);
        if (units < ask.wanted)
            expect(begin + cost_of(&ask, units + 1ull) > (uint128)now_us + ask.most,
                   "less than there is", units, ask.wanted);
        expect(in_doubles(&other, &ask, (double)now_us) == units && (uint64_t)other == cell.value,
               "not what doubles give", (long long)cell.value, (long long)other);
        now_us += sized(30);
    }
}

/* The units of a window, all of them and never more; sliding ones against the algorithm itself. */
static void round_of_window_grants(void)
{
    static const enum merge_kind KINDS[] = {MERGE_FIXED, MERGE_SLIDING, MERGE_CALENDAR};
    const enum merge_kind kind = KINDS[below(3)];
    const uint64_t window_us = 1000 * (sized(38) + 10);
    const uint64_t now_us = sized(50);
    const uint64_t index = now_us / window_us;
    const uint64_t limit = below(1000) + 1, previous = below(limit + 1);
    struct merge_cell cell = {.value = below(limit + 1)};
    struct merge_ask ask = {.wanted = (uint32_t)below(1000) + 1,
                            .most = limit,
                            .window_us = kind == MERGE_CALENDAR ? 0 : window_us,
                            .window = kind == MERGE_CALENDAR  ? now_us / 1000000 + 1
                                      : kind == MERGE_SLIDING ? index & UINT16_MAX
                                                              : index & UINT32_MAX};
    const uint64_t before = cell.value;
    const uint32_t units = merge_grant(kind, &cell, previous, &ask, now_us);
    const uint64_t elapsed = now_us % window_us;
    uint128 most = (uint128)limit * window_us, used = (uint128)before * window_us;

    if (kind == MERGE_SLIDING)
        used += (uint128)previous * (window_us - elapsed);
    expect(cell.value == before + units, "charged what was granted", (long long)cell.value, units);
    expect(units == 0 || used + (uint128)units * window_us <= most, "over the limit", units,
           (long long)limit);
    /* Rounded up once, and of a long window in steps of its 2^27th: a unit less than there is. */
    if (units < ask.wanted)
        expect(used + ((uint128)units + 1 + (kind == MERGE_SLIDING)) * window_us > most,
               "less than there is", units, (long long)limit);
    ask.window += kind == MERGE_CALENDAR ? 0 - ask.window : 1;
    expect(merge_grant(kind, &cell, previous, &ask, now_us) == 0, "of another window", 0, 0);
}

/* Half of it is left after MERGE_HALF_US, and the parts of all nodes make up the whole. */
static void round_of_demand(void)
{
    uint64_t all = 0, last_us = 0, now_us = 0, own[NODES] = {0}, own_us[NODES] = {0};
    double exact = 0;

    for (unsigned i = 0; i < 60; i++) {
        const unsigned node = (unsigned)below(NODES);
        const uint64_t wanted = sized(12), passed = sized(18);
        now_us += passed;
        all = merge_demand(all, now_us - last_us, wanted);
        exact = exact * exp2(-(double)(now_us - last_us) / MERGE_HALF_US) +
                (double)wanted * MERGE_DEMAND_UNIT;
        last_us = now_us;
        own[node] = merge_demand(own[node], now_us - own_us[node], wanted);
        own_us[node] = now_us;
        expect(own[node] <= all + all / 100 + i, "a part above the whole", (long long)own[node],
               (long long)all);
        expect(fabs((double)all - exact) <= exact * 0.04 + i + 1, "far from 2^-t", (long long)all,
               (long long)exact);
    }
    const uint64_t large = sized(40) & MERGE_DEMAND_MAX;
    expect(merge_demand(large, MERGE_HALF_US, 0) == large / 2, "half", (long long)large, 0);
    const uint64_t passed = below(40 * MERGE_HALF_US), rest = passed % MERGE_HALF_US;
    const double halved = floor((double)large / exp2((double)(passed / MERGE_HALF_US)));
    const double part = 512.0 * MERGE_HALF_US - 157.0 * (double)rest;
    const double whole = 512.0 * MERGE_HALF_US + 198.0 * (double)rest;
    const double times = floor(halved / whole);
    const double other = times * part + floor((halved - times * whole) * part / whole);
    expect(merge_demand(large, passed, 0) == (uint64_t)other, "not what doubles give",
           (long long)merge_demand(large, passed, 0), (long long)other);
    expect(merge_demand(MERGE_DEMAND_MAX, 0, UINT64_MAX) == MERGE_DEMAND_MAX, "the most", 0, 0);
}

int main(void)
{
    const uint64_t rounds = random_count(3000);

    world.seed = random_seed(1);
    world.random = world.seed;
    for (world.round = 0; world.round < rounds; world.round++) {
        round_of_refunds();
        round_of_bucket_grants();
        round_of_window_grants();
        round_of_demand();
    }
    printf("prop_grants: %" PRIu64 " rounds of each kind, seed %" PRIu64 "\n", rounds, world.seed);
    return 0;
}
