/* The sketch against exact counts: streams by Zipf's law, all alike, all different, with weights,
 * halved on the way and merged; the proven bounds hold for every subject of every stream. */
#include "lib/random.h"
#include "obs/sketch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SUBJECTS 20000u
#define DRAWS 60000u
#define PARTS 3u

static struct sketch sketches[PARTS];
static double truth[SUBJECTS];
static struct sketch_top tops[PARTS * SKETCH_ITEMS];
static uint64_t seed;

/* Zipf's law by inversion of its continuous form; which law exactly does not matter here. */
static uint32_t draw(uint64_t *random, double exponent)
{
    const double u = (double)(random_next(random) >> 11) / (double)(1ull << 53);
    if (exponent == 0)
        return (uint32_t)(u * SUBJECTS);
    const double power = 1 - exponent;
    const double rank = pow(u * (pow(SUBJECTS, power) - 1) + 1, 1 / power);
    return (uint32_t)(rank - 1) % SUBJECTS;
}

/* Numbers 2i and 2i + 1 share their key and differ in their rule; some of the keys share halves. */
static struct sketch_subject subject_of(uint32_t number)
{
    return (struct sketch_subject){
        .key_low = number / 2 % 100,
        .key_high = number / 2,
        .tenant = 7,
        .rule = number % 2,
    };
}

static uint32_t number_of(const struct sketch_item *item)
{
    return (uint32_t)item->key_high * 2 + item->rule;
}

static void judge(const struct sketch_top *found, uint32_t count, double absent)
{
    static char is_listed[SUBJECTS];
    memset(is_listed, 0, sizeof(is_listed));
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t number = number_of(&found[i].item);
        const double high = (double)found[i].count / SKETCH_ONE;
        const double low = (double)(found[i].count - found[i].error) / SKETCH_ONE;
        assert_true(number < SUBJECTS && !is_listed[number]);
        assert_true(found[i].error <= found[i].count);
        if (truth[number] > high || truth[number] < low)
            fail_msg("seed %llu: subject %u has %f, told %f to %f", (unsigned long long)seed,
                     number, truth[number], low, high);
        is_listed[number] = 1;
        assert_true(i == 0 || found[i - 1].count >= found[i].count);
    }
    for (uint32_t i = 0; i < SUBJECTS; i++)
        if (!is_listed[i] && truth[i] > absent)
            fail_msg("seed %llu: subject %u has %f and is not listed, bound %f",
                     (unsigned long long)seed, i, truth[i], absent);
}

static void run(double exponent, uint64_t most_weight, unsigned halvings, unsigned parts)
{
    uint64_t random = seed;
    double total = 0, absent = 0;
    memset(truth, 0, sizeof(truth));
    for (unsigned p = 0; p < parts; p++)
        sketch_init(&sketches[p]);
    for (unsigned round = 0; round <= halvings; round++) {
        for (uint32_t i = 0; i < DRAWS / (halvings + 1); i++) {
            const uint32_t number = draw(&random, exponent);
            const uint64_t weight = 1 + random_next(&random) % most_weight;
            const struct sketch_subject subject = subject_of(number);
            sketch_add(&sketches[i % parts], &subject, weight);
            truth[number] += (double)weight;
            total += (double)weight;
        }
        if (round == halvings)
            break;
        for (unsigned p = 0; p < parts; p++)
            sketch_halve(&sketches[p]);
        for (uint32_t i = 0; i < SUBJECTS; i++)
            truth[i] /= 2;
        total /= 2;
    }
    for (unsigned p = 0; p < parts; p++) {
        const double smallest = (double)sketch_smallest(&sketches[p]) / SKETCH_ONE;
        const double share = (double)sketches[p].total / SKETCH_ONE / SKETCH_ITEMS;
        assert_true(smallest <= share + halvings);
        absent += smallest > 0.5 || !halvings ? smallest : 0.5;
    }
    const uint32_t count = sketch_merge_top(sketches, parts, tops, parts * SKETCH_ITEMS);
    judge(tops, count, absent);
    assert_true(absent <= total / SKETCH_ITEMS + parts * (halvings + 1));
}

static void test_bounds(void **state)
{
    (void)state;
    static const double exponents[] = {0, 0.8, 1.1, 2};
    for (size_t i = 0; i < sizeof(exponents) / sizeof(exponents[0]); i++) {
        run(exponents[i], 1, 0, 1);
        run(exponents[i], 1000, 0, 1);
        run(exponents[i], 5, 7, 1);
        run(exponents[i], 5, 14, 1); /* counts are no whole numbers any more */
        run(exponents[i], 1, 0, PARTS);
        run(exponents[i], 50, 3, PARTS);
    }
}

/* With room for all nothing is estimated. */
static void test_few_are_exact(void **state)
{
    (void)state;
    uint64_t random = seed;
    memset(truth, 0, sizeof(truth));
    sketch_init(sketches);
    for (uint32_t i = 0; i < DRAWS; i++) {
        const uint32_t number = (uint32_t)(random_next(&random) % SKETCH_ITEMS);
        const struct sketch_subject subject = subject_of(number);
        sketch_add(sketches, &subject, 3);
        truth[number] += 3;
    }
    assert_int_equal(sketch_merge_top(sketches, 1, tops, SKETCH_ITEMS), SKETCH_ITEMS);
    for (uint32_t i = 0; i < SKETCH_ITEMS; i++) {
        assert_int_equal(tops[i].error, 0);
        assert_true((double)tops[i].count == truth[number_of(&tops[i].item)] * SKETCH_ONE);
    }
    assert_int_equal(sketch_merge_top(sketches, 1, tops, 5), 5);
}

static void test_names(void **state)
{
    (void)state;
    char longer[SKETCH_SUBJECT + 9];
    memset(longer, 'x', sizeof(longer));
    struct sketch_subject subject = {.key_low = 1};
    sketch_init(sketches);
    sketch_add(sketches, &subject, 9);
    assert_int_equal(sketches->items[0].subject_len, 0);
    subject.subject = "alice", subject.subject_len = 5;
    sketch_add(sketches, &subject, 1); /* the key was known, now its name is */
    assert_int_equal(sketches->used, 1);
    assert_int_equal(sketches->items[0].subject_len, 5);
    assert_memory_equal(sketches->items[0].subject, "alice", 5);
    subject.key_low = 2, subject.subject = longer, subject.subject_len = sizeof(longer);
    sketch_add(sketches, &subject, 1);
    assert_int_equal(sketches->items[1].subject_len, SKETCH_SUBJECT);
    /* who takes a place over does not inherit the name in it */
    for (uint32_t i = 0; i < 3 * SKETCH_ITEMS; i++) {
        subject = (struct sketch_subject){.key_low = 100 + i};
        sketch_add(sketches, &subject, 2);
    }
    for (uint32_t i = 0; i < sketches->used; i++)
        assert_true(sketches->items[i].subject_len == 0 || sketches->items[i].key_low < 100);
}

static void test_all_is_forgotten(void **state)
{
    (void)state;
    run(1.1, 100, 0, 1);
    for (unsigned i = 0; i < 64; i++)
        sketch_halve(sketches);
    assert_int_equal(sketches->used, 0);
    assert_true(sketches->total <= 1);
}

int main(void)
{
    seed = random_seed(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_few_are_exact),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_all_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
