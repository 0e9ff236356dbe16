/* What the samples of a thread come to: what counts, how the past fades, and who may look. */
#include "engine/sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "engine/engine.h"

#define SECOND 1000000000ull

static struct sampler sampler;
static struct sampler_view view;
static const struct tenant tenant = {.id = 3};
static const struct rule rule = {.id = 4};

static struct check check_of(uint64_t key, enum operation operation)
{
    return (struct check){
        .tenant = &tenant,
        .rule = &rule,
        .key = {.low = key, .high = key},
        .operation = (uint8_t)operation,
    };
}

static void watch(uint64_t now_ns, uint64_t key, enum operation operation, struct answer answer)
{
    const struct check check = check_of(key, operation);
    if (sampling_is_due(&sampler.sampling, 1))
        sampler_watch(&sampler, &check, 1, &answer, now_ns);
}

static double per_second(const struct sketch *sketch, uint64_t key)
{
    for (uint32_t i = 0; i < sketch->used; i++)
        if (sketch->items[i].key_low == key)
            return (double)sketch->count[i] / SKETCH_ONE / ((double)view.window_ns / 1e9);
    return 0;
}

static void test_what_counts(void **state)
{
    (void)state;
    static const struct {
        enum operation operation;
        struct answer answer;
        bool is_hot, is_denied;
    } cases[] = {
        {OPERATION_CHECK, {.flags = METE_VERDICT_ALLOW}, true, false},
        {OPERATION_CHECK, {.flags = 0}, true, true},
        {OPERATION_CHECK, {.flags = METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY}, true, false},
        {OPERATION_AT_MOST, {.flags = METE_VERDICT_ALLOW | METE_VERDICT_GRANTED}, true, false},
        {OPERATION_ACQUIRE, {.flags = 0}, true, true},
        {OPERATION_CHECK, {.flags = METE_VERDICT_NOT_CHARGED}, false, false},
        {OPERATION_CHECK, {.status = METE_STATUS_TABLE_FULL}, false, false},
        {OPERATION_PEEK, {.flags = 0}, false, false},
        {OPERATION_REFUND, {.flags = METE_VERDICT_ALLOW}, false, false},
        {OPERATION_RESET, {.flags = METE_VERDICT_ALLOW}, false, false},
        {OPERATION_RENEW, {.flags = METE_VERDICT_ALLOW}, false, false},
        {OPERATION_RELEASE, {.flags = METE_VERDICT_ALLOW}, false, false},
    };
    sampler_init(&sampler, 1, 0);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        watch(1 + i, 100 + i, cases[i].operation, cases[i].answer);
    assert_true(sampler_copy(&sampler, SECOND, &view));
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(per_second(&view.hot, 100 + i) == cases[i].is_hot);
        assert_true(per_second(&view.denied, 100 + i) == cases[i].is_denied);
    }
}

/* Without a rule it is an inline limit, under the id that the check gave; no rule, no crash. */
static void test_inline(void **state)
{
    (void)state;
    struct check check = check_of(9, OPERATION_CHECK);
    const struct answer answer = {.flags = METE_VERDICT_ALLOW};
    check.rule = NULL;
    check.rule_id = 77;
    check.subject = "me";
    check.subject_len = 2;
    sampler_init(&sampler, 1, 0);
    sampler_watch(&sampler, &check, 1, &answer, 1);
    assert_true(sampler_copy(&sampler, 2, &view));
    assert_int_equal(view.hot.items[0].rule, 77);
    assert_int_equal(view.hot.items[0].tenant, 3);
    assert_memory_equal(view.hot.items[0].subject, "me", 2);
}

/* 500 a second of one, 50 of another, for a minute; then only the other goes on. */
static void test_fading(void **state)
{
    (void)state;
    const struct answer answer = {.flags = METE_VERDICT_ALLOW};
    uint64_t now_ns = 0;
    sampler_init(&sampler, 1, 0);
    for (unsigned tick = 0; tick < 60 * 500; tick++, now_ns += SECOND / 500) {
        watch(now_ns, 1, OPERATION_CHECK, answer);
        if (tick % 10 == 0)
            watch(now_ns, 2, OPERATION_CHECK, answer);
        if (tick % 1000 == 999) { /* the rate is right at any time, from the beginning */
            assert_true(sampler_copy(&sampler, now_ns + SECOND / 500, &view));
            assert_true(per_second(&view.hot, 1) > 495 && per_second(&view.hot, 1) < 505);
            assert_true(per_second(&view.hot, 2) > 49 && per_second(&view.hot, 2) < 51);
        }
    }
    for (unsigned tick = 0; tick < 30 * 50; tick++, now_ns += SECOND / 50)
        watch(now_ns, 2, OPERATION_CHECK, answer);
    assert_true(sampler_copy(&sampler, now_ns, &view));
    assert_true(per_second(&view.hot, 1) < 500.0 / 7);
    assert_true(per_second(&view.hot, 2) > 49 && per_second(&view.hot, 2) < 51);
    assert_true(sampler_copy(&sampler, now_ns + 300 * SECOND, &view)); /* 30 half-lives */
    assert_int_equal(view.hot.used, 0);
    assert_true(sampler_copy(&sampler, now_ns + 3000000 * SECOND, &view)); /* a month */
    watch(now_ns + 3000001 * SECOND, 5, OPERATION_CHECK, answer);
    assert_true(sampler_copy(&sampler, now_ns + 3000001 * SECOND, &view));
    assert_int_equal(view.hot.used, 1);
}

/* A million a second: one in a thousand is looked at, the sums are those of all. */
static void test_estimates(void **state)
{
    (void)state;
    const struct answer answer = {.flags = METE_VERDICT_ALLOW};
    uint64_t now_ns = 0;
    sampler_init(&sampler, 99, 0);
    for (unsigned i = 0; i < 8000000; i++, now_ns += 1000)
        watch(now_ns, i % 4 ? 10 : 1000 + i % 100, OPERATION_CHECK, answer);
    assert_true(sampler_copy(&sampler, now_ns, &view));
    assert_true(per_second(&view.hot, 10) > 690000 && per_second(&view.hot, 10) < 810000);
    assert_true(sampler.sampling.mean > 800 && sampler.sampling.mean < 1200);
}

static void test_who_is_held_is_not_waited_for(void **state)
{
    (void)state;
    const struct answer answer = {.flags = METE_VERDICT_ALLOW};
    sampler_init(&sampler, 1, 0);
    watch(1, 1, OPERATION_CHECK, answer);
    assert_false(atomic_flag_test_and_set(&sampler.is_held));
    watch(2, 2, OPERATION_CHECK, answer); /* left out */
    assert_false(sampler_copy(&sampler, 3, &view));
    atomic_flag_clear(&sampler.is_held);
    watch(4, 3, OPERATION_CHECK, answer);
    assert_true(sampler_copy(&sampler, 5, &view));
    assert_int_equal(view.hot.used, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_counts),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_fading),
        cmocka_unit_test(test_estimates),
        cmocka_unit_test(test_who_is_held_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
