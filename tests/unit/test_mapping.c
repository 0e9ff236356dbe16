/* Where keys stand. Whoever chooses keys without knowing the index secret fills no group more than
 * chance does: keys of every structure one would try are spread like random ones, by the
 * chi-square test over the groups of a region. Secrets are fixed, so a run is like the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/random.h"
#include "table/mapping.h"

#define SECRETS 8u
#define PER_GROUP 64u
#define MAX_GROUPS 4096u

typedef struct key make_fn(uint64_t i);

static struct key sequential(uint64_t i)
{
    return (struct key){.low = i, .high = 0};
}

static struct key equal_low(uint64_t i)
{
    return (struct key){.low = 0x0123456789abcdefull, .high = i};
}

static struct key equal_high(uint64_t i)
{
    return (struct key){.low = i, .high = 0xfedcba9876543210ull};
}

static struct key both_equal(uint64_t i)
{
    return (struct key){.low = i, .high = i};
}

static struct key opposite(uint64_t i)
{
    return (struct key){.low = i, .high = ~i};
}

static struct key high_bits(uint64_t i)
{
    return (struct key){.low = i << 40, .high = i << 40};
}

static struct key multiples(uint64_t i)
{
    return (struct key){.low = i * 4096, .high = i * 65536};
}

/* A multiplier that hashes like: what a constant of the code could be undone with. */
static struct key golden(uint64_t i)
{
    return (struct key){.low = i * 0x9e3779b97f4a7c15ull, .high = 0x9e3779b97f4a7c15ull};
}

static struct key powers(uint64_t i) /* few bits set */
{
    const uint64_t odd = i / 4096 * 2 + 1;
    const unsigned turn = i / 64 % 64;
    return (struct key){.low = 1ull << i % 64, .high = odd << turn | odd >> (64 - turn) % 64};
}

static struct key reversed(uint64_t i)
{
    return (struct key){.low = __builtin_bswap64(i), .high = __builtin_bswap64(i * 3)};
}

static const struct {
    const char *name;
    make_fn *make;
} SHAPES[] = {
    {"sequential", sequential},
    {"equal low words", equal_low},
    {"equal high words", equal_high},
    {"equal words", both_equal},
    {"opposite words", opposite},
    {"high bits", high_bits},
    {"multiples", multiples},
    {"golden", golden},
    {"powers", powers},
    {"reversed", reversed},
};

/* Chi-square of keys over the groups of a region, in standard deviations from its mean; each under
 * so many rules in a row, 0: under one. */
static double deviation(const struct table *table, make_fn *make, uint32_t owner,
                        struct table_region region, uint32_t rules)
{
    static uint32_t hits[MAX_GROUPS];
    const uint64_t count = (uint64_t)region.group_count * PER_GROUP;
    double sum = 0;
    for (uint32_t g = 0; g < region.group_count; g++)
        hits[g] = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct key key = make(rules ? i / rules : i);
        uint32_t home = mapping_home(table, key, owner + (rules ? i % rules : 0), region);
        assert_in_range(home, region.first_group, region.first_group + region.group_count - 1);
        hits[home - region.first_group]++;
    }
    for (uint32_t g = 0; g < region.group_count; g++) {
        double off = (double)hits[g] - PER_GROUP;
        sum += off * off / PER_GROUP;
    }
    const double freedom = region.group_count - 1;
    return (sum - freedom) / __builtin_sqrt(2 * freedom);
}

static const struct table_region REGIONS[] = {{0, 1024}, {5000, 1000}, {77, 37}, {3, 4096}};

/* Over three hundred of them: four standard deviations may happen, eight do not. */
static void judge(const char *name, uint64_t secret, double off)
{
    if (off > 8 || off < -8)
        fail_msg("%s, secret %u: %.1f standard deviations", name, (unsigned)secret, off);
}

static void test_structured_keys(void **state)
{
    (void)state;
    for (uint64_t s = 0; s < SECRETS; s++) {
        struct table table = {.secret = {random_of(2 * s), random_of(2 * s + 1)}};
        for (size_t shape = 0; shape < sizeof(SHAPES) / sizeof(SHAPES[0]); shape++)
            for (size_t r = 0; r < sizeof(REGIONS) / sizeof(REGIONS[0]); r++)
                judge(SHAPES[shape].name, s,
                      deviation(&table, SHAPES[shape].make, (uint32_t)s * 3, REGIONS[r], 0));
    }
}

/* Few keys under the many rules of a tenant. */
static void test_owners(void **state)
{
    (void)state;
    for (uint64_t s = 0; s < SECRETS; s++) {
        struct table table = {.secret = {random_of(2 * s), random_of(2 * s + 1)}};
        for (uint32_t rules = 4; rules <= 256; rules *= 4)
            judge("owners", s, deviation(&table, sequential, 5, REGIONS[0], rules));
    }
}

/* The test sees what it is for: without a secret, keys of one structure stand together. */
static void test_it_would_be_seen(void **state)
{
    (void)state;
    struct table table = {.secret = {0, 0}};
    assert_true(deviation(&table, sequential, 0, REGIONS[0], 0) > 8);
}

/* What collides under one secret is spread under another: nothing learnt on one's own table helps
 * with somebody else's. */
static void test_collisions_do_not_carry_over(void **state)
{
    (void)state;
    const struct table_region region = REGIONS[0];
    struct table mine = {.secret = {random_of(1), random_of(2)}},
                 other = {.secret = {random_of(3), random_of(4)}};
    uint32_t hits[1024] = {0}, most = 0, found = 0;
    for (uint64_t i = 0; found < 4096; i++) {
        struct key key = {.low = random_of(i), .high = i};
        if (mapping_home(&mine, key, 1, region) != 500)
            continue;
        found++;
        uint32_t n = ++hits[mapping_home(&other, key, 1, region)];
        most = n > most ? n : most;
    }
    assert_in_range(most, 5, 20); /* 4 on average */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structured_keys),
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_it_would_be_seen),
        cmocka_unit_test(test_collisions_do_not_carry_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
