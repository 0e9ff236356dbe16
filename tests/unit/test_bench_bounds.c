/* The bounds that `mete bench --verify` holds a server to, against the real algorithms at instants
 * that the bounds do not know: never a false alarm, with and without lost answers; and a server
 * whose limit is one unit off, either way, is always caught. */
#include "cmd/bench_bounds.h"
#include "lib/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define SECOND 1000000000ull

static uint64_t seed = 1;
static uint64_t count = 20000;

static uint64_t draw(uint64_t *state, uint64_t below)
{
    return random_next(state) % below;
}

struct outcome {
    uint64_t outside;
    uint64_t totals_outside;
    uint64_t allowed, denied;
};

static struct bounds pass(const struct limit *limit, struct gcra_bounds *gcra,
                          struct window_bounds *window, const struct bounds_check *check)
{
    return limit_is_wall(limit) ? window_bounds_pass(limit, window, check)
                                : gcra_bounds_pass(limit, gcra, check);
}

/* One subject, `steps` checks. The server runs `real`, the bounds believe `said`. */
static struct outcome simulate(const struct limit *real, const struct limit *said, uint32_t cost,
                               uint64_t jitter_ns, unsigned lose_percent, unsigned steps)
{
    struct gcra_bounds gcra = {0};
    struct window_bounds window = {0};
    struct total_bounds totals = {0};
    struct outcome outcome = {0};
    /* Windows run on wall time, buckets on time since the start of the machine. */
    uint64_t random = seed, now = (limit_is_wall(real) ? 1790000000 : 1000000) * SECOND, state = 0,
             admitted = 0, lost = 0;
    const uint64_t period = limit_is_wall(real) ? real->interval / 8 : real->interval / 16 * cost;

    for (unsigned i = 0; i < steps; i++) {
        const uint64_t sent = now += draw(&random, 200) == 0 ? period * 40 : draw(&random, period);
        const uint64_t at = sent + draw(&random, jitter_ns + 1);
        now = at + draw(&random, jitter_ns + 1);
        const struct step step = limit_apply(real, state, OPERATION_CHECK, cost, at);
        state = step.state;
        if (draw(&random, 100) < lose_percent) {
            gcra.lost += cost;
            window.lost += cost;
            lost += cost;
            continue;
        }
        const struct bounds_check check = {.early_ns = sent,
                                           .late_ns = now,
                                           .cost = cost,
                                           .allowed = step.verdict.decision == DECISION_ALLOW};
        const struct bounds bounds = pass(said, &gcra, &window, &check);
        outcome.outside += !(check.allowed ? bounds.may_allow : bounds.may_deny) ||
                           step.verdict.remaining < bounds.remaining_low ||
                           step.verdict.remaining > bounds.remaining_high;
        outcome.allowed += check.allowed;
        outcome.denied += !check.allowed;
        admitted += check.allowed ? cost : 0;
        if (!limit_is_wall(said)) {
            total_bounds_pass(said, &totals, &check);
            outcome.totals_outside += admitted > totals.most || admitted + lost < totals.least;
        }
    }
    return outcome;
}

static struct limit compile(enum algorithm algorithm, uint64_t units, uint64_t period_ns,
                            uint64_t burst)
{
    const struct limit_spec spec = {algorithm, units, period_ns, burst};
    struct limit limit;
    assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
    return limit;
}

static const struct shape {
    enum algorithm algorithm;
    uint64_t units, period_ns, burst;
    uint32_t cost;
    uint64_t jitter_ns;
} shapes[] = {
    {ALGORITHM_TOKEN_BUCKET, 10, SECOND, 20, 1, 0},
    {ALGORITHM_TOKEN_BUCKET, 10, SECOND, 20, 1, 300000},
    {ALGORITHM_TOKEN_BUCKET, 10, SECOND, 20, 3, 90000000},
    {ALGORITHM_TOKEN_BUCKET, 7, SECOND, 5, 2, 100000000},
    {ALGORITHM_TOKEN_BUCKET, 10007, SECOND, 50, 1, 20000},
    {ALGORITHM_LEAKY_METER, 5, SECOND, 9, 1, 1000000},
    {ALGORITHM_FIXED_WINDOW, 5, SECOND, 0, 1, 0},
    {ALGORITHM_FIXED_WINDOW, 9, SECOND, 0, 2, 2000000},
    {ALGORITHM_FIXED_WINDOW, 2, SECOND / 100, 0, 1, 3000000},
    {ALGORITHM_SLIDING_WINDOW, 5, SECOND, 0, 1, 0},
    {ALGORITHM_SLIDING_WINDOW, 12, SECOND, 0, 2, 2000000},
    {ALGORITHM_SLIDING_WINDOW, 2, SECOND / 50, 0, 1, 9000000},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void test_no_false_alarm(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < SHAPES; i++) {
        const struct shape *s = &shapes[i];
        const struct limit limit = compile(s->algorithm, s->units, s->period_ns, s->burst);
        for (unsigned lose = 0; lose <= 2; lose++) {
            const struct outcome got =
                simulate(&limit, &limit, s->cost, s->jitter_ns, lose, (unsigned)count);
            if (got.outside || got.totals_outside || !got.allowed || !got.denied)
                fail_msg(
                    "seed %llu, shape %zu, %u %% lost: %llu outside, %llu totals, %llu allowed, "
                    "%llu denied",
                    (unsigned long long)seed, i, lose, (unsigned long long)got.outside,
                    (unsigned long long)got.totals_outside, (unsigned long long)got.allowed,
                    (unsigned long long)got.denied);
        }
    }
}

static void test_one_unit_off_is_caught(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < SHAPES; i++) {
        const struct shape *s = &shapes[i];
        if (s->jitter_ns > 1000000)
            continue; /* too little is known of the instants to tell one unit */
        const uint64_t quota = s->burst ? s->burst : s->units;
        const struct limit limit = compile(s->algorithm, s->units, s->period_ns, quota);
        for (int off = -1; off <= 1; off += 2) {
            struct limit wrong = limit;
            wrong.burst = (uint32_t)((int64_t)limit.burst + off);
            if (!limit_is_wall(&limit))
                wrong.tolerance = limit.interval * wrong.burst;
            const struct outcome got = simulate(&wrong, &limit, 1, s->jitter_ns, 0, 4000);
            if (!got.outside || (!limit_is_wall(&limit) && !got.totals_outside))
                fail_msg("seed %llu, shape %zu, one unit %s: not caught", (unsigned long long)seed,
                         i, off > 0 ? "more" : "less");
        }
    }
}

/* The table of one bucket by hand: burst 2, 1/s, instants known to 0.1 s. */
static void test_by_hand(void **unused)
{
    (void)unused;
    static const struct {
        double early, late;
        bool allowed, may_allow, may_deny;
        uint32_t low, high;
    } table[] = {
        {10.0, 10.1, true, true, false, 1, 1}, /* from rest: no doubt */
        {10.1, 10.2, true, true, false, 0, 0},
        {10.5, 10.6, false, false, true, 0, 0}, /* a unit is back at 11.0 at the earliest */
        {10.95, 11.05, true, true, true, 0, 0}, /* either; it passed */
        {12.2, 12.3, true, true, false, 0, 0},
        {30.0, 30.1, true, true, false, 1, 1}, /* at rest again */
    };
    const struct limit limit = compile(ALGORITHM_TOKEN_BUCKET, 1, SECOND, 2);
    struct gcra_bounds state = {0};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct bounds_check check = {.early_ns = (uint64_t)(table[i].early * 1e9),
                                           .late_ns = (uint64_t)(table[i].late * 1e9),
                                           .cost = 1,
                                           .allowed = table[i].allowed};
        const struct bounds got = gcra_bounds_pass(&limit, &state, &check);
        assert_int_equal(got.may_allow, table[i].may_allow);
        assert_int_equal(got.may_deny, table[i].may_deny);
        assert_int_equal(got.remaining_low, table[i].low);
        assert_int_equal(got.remaining_high, table[i].high);
    }
}

/* A bucket at rest, and two checks without an answer: they may have been charged just now, so the
 * next one may be denied, and for ever after: nobody knows when they arrive. */
static void test_lost_from_rest(void **unused)
{
    (void)unused;
    const struct limit limit = compile(ALGORITHM_TOKEN_BUCKET, 1, SECOND, 2);
    struct gcra_bounds state = {.lost = 2};
    for (uint64_t at = 1000; at < 5000; at += 1000) {
        const struct bounds_check check = {.early_ns = at * SECOND,
                                           .late_ns = at * SECOND + 1000,
                                           .cost = 1,
                                           .allowed = at % 2000 == 0};
        const struct bounds got = gcra_bounds_pass(&limit, &state, &check);
        assert_true(got.may_allow && got.may_deny);
        assert_int_equal(got.remaining_low, 0);
    }
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : random_seed(seed);
    count = argc > 2 ? strtoull(argv[2], NULL, 0) : random_count(count);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_false_alarm),
        cmocka_unit_test(test_one_unit_off_is_caught),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_lost_from_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
