/* A tenant's limit on its checks, at injected instants: exact when it is low, within the stated
 * bound when workers keep credit, and nobody hoards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/quota.h"
#include "obs/counters.h"

#define SEC 1000000000ull
#define MS 1000000ull
#define WORKERS 4u

struct fixture {
    struct quota_word word;
    struct quota_credit credits[WORKERS];
    struct quota quotas[WORKERS];
    struct limit limit;
};

static struct fixture *make(unsigned workers, uint64_t count, uint64_t period_ns, uint64_t burst)
{
    struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) / 64 * 64);
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, count, period_ns, burst};
    memset(f, 0, sizeof(*f));
    assert_int_equal(limit_compile(&spec, &f->limit), LIMIT_OK);
    for (unsigned i = 0; i < workers; i++)
        f->quotas[i] = (struct quota){&f->word, &f->credits[i], workers};
    return f;
}

static bool take(struct fixture *f, unsigned worker, uint32_t checks, uint64_t now_ns)
{
    return quota_take(&f->quotas[worker], 0, &f->limit, checks, now_ns);
}

/* 100/s gives no worker anything to keep: the bucket's own rule, whoever asks. */
static void test_low_limit_is_exact(void **state)
{
    (void)state;
    struct fixture *f = make(WORKERS, 100, SEC, 10);
    unsigned passed = 0;
    for (unsigned i = 0; i < 40; i++)
        passed += take(f, i % WORKERS, 1, SEC);
    assert_int_equal(passed, 10);
    assert_false(take(f, 0, 1, SEC + 10 * MS - 1));
    assert_true(take(f, 3, 1, SEC + 10 * MS));
    for (uint64_t at = SEC + 20 * MS; at < 3 * SEC; at += MS)
        passed += take(f, at % WORKERS, 1, at);
    assert_int_equal(passed, 10 + 198);
    uint64_t refused = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        refused += counter_read(&f->credits[i].refused);
    assert_int_equal(refused, 30 + 1 + 1980 - 198);
    free(f);
}

/* A datagram passes whole or not at all, and what it did not get is there for a smaller one. */
static void test_whole_datagrams(void **state)
{
    (void)state;
    struct fixture *f = make(1, 10, SEC, 10);
    assert_false(take(f, 0, 11, SEC));
    assert_true(take(f, 0, 7, SEC));
    assert_false(take(f, 0, 4, SEC));
    assert_true(take(f, 0, 3, SEC));
    assert_false(take(f, 0, 1, SEC));
    assert_int_equal(counter_read(&f->credits[0].refused), 11 + 4 + 1);
    free(f);
}

/* b + r*t + w*QUOTA_CHUNK in any interval that begins now; and at least 7/8 of b + r*t. */
static void test_bound(void **state)
{
    (void)state;
    struct fixture *f = make(WORKERS, 100000, SEC, 2000);
    uint64_t passed = 0, asked_at = 0;
    for (uint64_t at = SEC; at < 2 * SEC;
         at += 10000) { /* 4 x 3 per 10 us: twelve times the rate */
        for (unsigned w = 0; w < WORKERS; w++)
            passed += take(f, w, 3, at) ? 3 : 0;
        asked_at = at;
    }
    uint64_t due = 2000 + (asked_at - SEC) / 10000;
    assert_true(passed <= due + WORKERS * QUOTA_CHUNK);
    assert_true(passed >= due * 7 / 8);
    free(f);
}

/* What is not used within QUOTA_KEEP_NS is gone: after a long silence a worker has no more than the
 * shared bucket. */
static void test_nobody_hoards(void **state)
{
    (void)state;
    struct fixture *f = make(2, 1000000, SEC, 1000);
    assert_true(take(f, 0, 1, SEC));
    assert_int_equal(f->credits[0].checks, QUOTA_CHUNK);
    unsigned passed = 0;
    while (take(f, 1, 1, SEC))
        passed++;
    assert_int_equal(passed, 1000 - 1 - QUOTA_CHUNK);
    assert_true(take(f, 0, QUOTA_CHUNK, SEC + QUOTA_KEEP_NS - 1)); /* its own, in time */
    uint64_t later = SEC + 10 * QUOTA_KEEP_NS; /* the bucket is full again, and no more */
    assert_true(take(f, 0, 1, later));
    assert_int_equal(f->credits[0].checks, QUOTA_CHUNK);
    later += QUOTA_KEEP_NS;
    passed = 0;
    for (unsigned i = 0; i < 3000; i++)
        passed += take(f, i % 2, 1, later);
    assert_int_equal(passed, 1000);
    free(f);
}

/* What is given back is there again, exactly; and never more than the burst. */
static void test_what_was_not_used(void **state)
{
    (void)state;
    struct fixture *f = make(2, 10, SEC, 10);
    for (unsigned i = 0; i < 100; i++) {
        assert_true(take(f, i % 2, 3, SEC));
        quota_give(&f->quotas[i % 2], 0, &f->limit, 3, SEC);
    }
    assert_true(take(f, 0, 10, SEC));
    assert_false(take(f, 1, 1, SEC));
    quota_give(&f->quotas[0], 0, &f->limit, 4, SEC);
    assert_false(take(f, 1, 5, SEC));
    assert_true(take(f, 1, 4, SEC));
    quota_give(&f->quotas[0], 0, &f->limit, 20, SEC);
    assert_false(take(f, 0, 11, SEC));
    free(f);
}

/* Where workers keep credit, as well: asking in vain at any pace costs at most the eighth that
 * dropped credit may cost, however low the rate is against it. */
static void test_asking_in_vain(void **state)
{
    (void)state;
    struct fixture *f = make(2, 20000, SEC, 200);
    uint64_t at = SEC;
    for (unsigned i = 0; i < 100000; i++, at += 10000) {
        assert_true(take(f, i % 2, 50, at));
        quota_give(&f->quotas[i % 2], 0, &f->limit, 50, at);
    }
    assert_true(take(f, 0, 150, at));
    free(f);
}

static void test_a_changed_limit(void **state)
{
    (void)state;
    struct fixture *f = make(1, 1, 3600 * SEC, 100);
    assert_true(take(f, 0, 100, SEC));
    f->limit = (struct limit){0};
    assert_false(quota_is_set(&f->limit));
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, 100, SEC, 50};
    assert_int_equal(limit_compile(&spec, &f->limit), LIMIT_OK);
    assert_true(quota_is_set(&f->limit));
    assert_false(take(f, 0, 1, 2 * SEC)); /* a hundred hours of debt */
    quota_cut(&f->word, &f->limit, 2 * SEC);
    assert_false(take(f, 0, 1, 2 * SEC));
    assert_true(take(f, 0, 1, 2 * SEC + 10 * MS));
    quota_forget(&f->word);
    assert_true(take(f, 0, 50, 2 * SEC + 10 * MS));
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_low_limit_is_exact),
        cmocka_unit_test(test_whole_datagrams),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_nobody_hoards),
        cmocka_unit_test(test_what_was_not_used),
        cmocka_unit_test(test_asking_in_vain),
        cmocka_unit_test(test_a_changed_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
