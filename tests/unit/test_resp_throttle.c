/* CL.THROTTLE against what redis-cell documents: the cases of its own tests as a table of instants
 * (github.com/brandur/redis-cell, redis-cell-impl/src/lib.rs, it_rate_limits), the rounding of its
 * reply, and a slow model of its arithmetic over random limits, quantities and gaps on live keys.
 * METE_SEED and METE_COUNT replay and lengthen it. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "doors/resp_parse.h"
#include "doors/resp_throttle.h"
#include "lib/random.h"

#define MS 1000000ull
#define SEC 1000000000ull

struct fixture {
    struct config *config;
    struct table *table;
    struct engine engine;
    struct counters *counters;
    struct rule_counters *rule_counters;
};

static struct fixture *make(void)
{
    static const char text[] = "tenants:\n  - name: default\n    rules:\n"
                               "      - {name: demo, algorithm: token_bucket, rate: 1/s}\n";
    struct fixture *f = calloc(1, sizeof(*f));
    char error[256];
    f->config = config_parse("test", text, sizeof(text) - 1, error, sizeof(error));
    assert_non_null(f->config);
    struct table_options options = {
        .entries = 4096, .owner_rows = 64, .index_secret = {3, 4}, .boot_id = 0x1234};
    assert_int_equal(table_create(&options, &f->table), 0);
    assert_int_equal(engine_bind_owners(f->table, f->config), 0);
    f->counters = aligned_alloc(128, sizeof(*f->counters));
    memset(f->counters, 0, sizeof(*f->counters));
    f->rule_counters = calloc(64, sizeof(*f->rule_counters));
    engine_init(&f->engine, f->config, f->table, 0, 1);
    f->engine.counters = f->counters;
    f->engine.rule_counters = f->rule_counters;
    return f;
}

static void destroy(struct fixture *f)
{
    table_destroy(f->table);
    config_destroy(f->config);
    free(f->counters);
    free(f->rule_counters);
    free(f);
}

static const char *parse(enum throttle_kind kind, const int64_t numbers[4],
                         struct throttle *ret_throttle)
{
    char texts[4][24];
    struct resp_word words[4];
    for (unsigned i = 0; i < 4; i++) {
        words[i].len = (size_t)snprintf(texts[i], sizeof(texts[i]), "%" PRId64, numbers[i]);
        words[i].bytes = (const uint8_t *)texts[i];
    }
    return throttle_parse(kind, words, 4, ret_throttle);
}

static void ask(struct fixture *f, uint64_t key, const int64_t numbers[4], uint64_t now_ns,
                int64_t ret_reply[5])
{
    struct throttle throttle;
    const char *error = parse(THROTTLE_CELL, numbers, &throttle);
    if (error)
        fail_msg("%s", error);
    struct check check = {
        .tenant = &f->config->tenants[0],
        .key = {.low = key, .high = 7},
        .rule_id = 5,
        .cost = throttle.cost,
        .operation = OPERATION_CHECK,
        .has_inline_limit = true,
        .limit = &throttle.limit,
    };
    const struct instant now = {.now_ns = now_ns, .wall_ns = now_ns};
    struct answer answer;
    engine_check_batch(&f->engine, &check, 1, &now, &answer);
    assert_int_equal(answer.status, METE_STATUS_OK);
    throttle_reply(&throttle, &answer, ret_reply);
}

/* Limit 5, one per second. The documented remaining, reset and retry, the times as the reply rounds
 * them: up from a whole millisecond on. */
static void the_documented_cases(void **state)
{
    static const struct {
        uint64_t at_ms;
        int64_t quantity, reply[5];
    } cases[] = {
        {0, 6, {1, 5, 5, -1, 0}},    {0, 1, {0, 5, 4, -1, 1}},    {0, 1, {0, 5, 3, -1, 2}},
        {0, 1, {0, 5, 2, -1, 3}},    {0, 1, {0, 5, 1, -1, 4}},    {0, 1, {0, 5, 0, -1, 5}},
        {0, 1, {1, 5, 0, 1, 5}},     {3000, 1, {0, 5, 2, -1, 3}}, {3100, 1, {0, 5, 1, -1, 4}},
        {4000, 1, {0, 5, 1, -1, 4}}, {8000, 1, {0, 5, 4, -1, 1}}, {9500, 1, {0, 5, 4, -1, 1}},
        {9500, 0, {0, 5, 4, -1, 1}}, {9500, 2, {0, 5, 2, -1, 3}}, {9500, 5, {1, 5, 2, 3, 3}},
    };
    struct fixture *f = make();
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int64_t numbers[4] = {4, 1, 1, cases[i].quantity};
        int64_t reply[5];
        ask(f, 1, numbers, 100 * SEC + cases[i].at_ms * MS, reply);
        for (unsigned n = 0; n < 5; n++)
            if (reply[n] != cases[i].reply[n])
                fail_msg("case %zu, number %u: %" PRId64 ", not %" PRId64, i, n, reply[n],
                         cases[i].reply[n]);
    }
    destroy(f);
}

/* What is below a millisecond beyond a second is cut off, the rest counts as a second. */
static void the_rounding_of_seconds(void **state)
{
    static const struct {
        uint64_t at_ns;
        int64_t retry, reset;
    } cases[] = {
        {0, 1, 1},
        {1, 1, 1},
        {SEC - MS, 1, 1},
        {SEC - MS + 1, 0, 0},
    };
    struct fixture *f = make();
    const int64_t numbers[4] = {0, 1, 1, 1};
    int64_t reply[5];
    (void)state;
    ask(f, 1, numbers, 0, reply);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ask(f, 1, numbers, cases[i].at_ns, reply);
        assert_int_equal(reply[0], 1);
        assert_int_equal(reply[3], cases[i].retry);
        assert_int_equal(reply[4], cases[i].reset);
    }
    destroy(f);
}

/* ---- the slow model: signed 128-bit integers, doubles where redis-cell has them ---- */

typedef __int128 wide;

static int64_t model_seconds(wide ns)
{
    int64_t seconds = (int64_t)(ns / SEC);
    return (ns % (wide)SEC) / (wide)MS > 0 ? seconds + 1 : seconds;
}

static void model(wide *tat, wide now, const int64_t numbers[4], int64_t ret_reply[5])
{
    const wide interval = (int64_t)((double)(numbers[2] * (int64_t)SEC) / (double)numbers[1]);
    const wide tolerance = interval * (numbers[0] + 1), increment = interval * numbers[3];
    const wide since = *tat > now ? *tat : now;
    const wide room = now - (since + increment - tolerance);
    const bool is_limited = room < 0;
    const wide ttl = is_limited ? since - now : since + increment - now;
    const wide next = tolerance - ttl;
    if (!is_limited)
        *tat = since + increment;
    ret_reply[0] = is_limited;
    ret_reply[1] = numbers[0] + 1;
    ret_reply[2] = 0;
    if (next > -interval)
        ret_reply[2] =
            (int64_t)((double)(int64_t)(next / 1000) / (double)(int64_t)(interval / 1000));
    ret_reply[3] = is_limited && increment <= tolerance ? model_seconds(-room) : -1;
    ret_reply[4] = model_seconds(ttl);
}

static uint64_t number_from(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : fallback;
}

/* Of every size: a random number of bits, then a random number of so many. */
static int64_t any_size(uint64_t *seed, unsigned bits)
{
    return (int64_t)(random_next(seed) >> (64 - 1 - random_next(seed) % bits));
}

#define KEYS 16u

static void a_slow_model_agrees(void **state)
{
    uint64_t seed = number_from("METE_SEED", 20261121), count = number_from("METE_COUNT", 100000);
    const uint64_t first_seed = seed;
    struct fixture *f = make();
    wide tats[KEYS] = {0};
    uint64_t now_ns = 3600 * SEC;
    (void)state;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t key = random_next(&seed) % KEYS;
        const int64_t numbers[4] = {any_size(&seed, 12), 1 + any_size(&seed, 19),
                                    1 + any_size(&seed, 16), any_size(&seed, 8)};
        struct throttle ignored;
        int64_t reply[5], expected[5];
        now_ns += (uint64_t)any_size(&seed, 34);
        if (numbers[1] > 1000000 * numbers[2] || parse(THROTTLE_CELL, numbers, &ignored))
            continue; /* below a microsecond the original divides by zero */
        ask(f, key, numbers, now_ns, reply);
        model(&tats[key], (wide)now_ns, numbers, expected);
        for (unsigned n = 0; n < 5; n++)
            if (reply[n] != expected[n])
                fail_msg("METE_SEED=%" PRIu64 " step %" PRIu64 ": %" PRId64 " %" PRId64 " %" PRId64
                         " %" PRId64 ", number %u: %" PRId64 ", not %" PRId64,
                         first_seed, i, numbers[0], numbers[1], numbers[2], numbers[3], n, reply[n],
                         expected[n]);
    }
    destroy(f);
}

/* throttlecrab's order and meaning; its units are max_burst, not one more. */
static void the_other_order(void **state)
{
    const int64_t numbers[4] = {10, 100, 100, 1};
    struct throttle throttle;
    struct answer answer = {.flags = METE_VERDICT_ALLOW, .remaining = 9, .reset_after_ns = SEC + 1};
    int64_t reply[5];
    (void)state;
    assert_null(parse(THROTTLE_CRAB, numbers, &throttle));
    throttle_reply(&throttle, &answer, reply);
    assert_memory_equal(reply, ((const int64_t[]){1, 10, 9, 2, 0}), sizeof(reply));
    answer = (struct answer){.retry_after_ns = 1, .reset_after_ns = 10 * SEC};
    throttle_reply(&throttle, &answer, reply);
    assert_memory_equal(reply, ((const int64_t[]){0, 10, 0, 10, 1}), sizeof(reply));
    answer.retry_after_ns = NEVER;
    throttle_reply(&throttle, &answer, reply);
    assert_int_equal(reply[4], -1);
}

static void the_edges_of_sanity(void **state)
{
    static const struct {
        int64_t numbers[4];
        const char *problem; /* how it begins; NULL: fine */
    } cases[] = {
        {{0, 1, 1, 0}, NULL},
        {{0, 1, 315360000, 1}, NULL},
        {{0, 1, 315360001, 1}, "period is"},
        {{0, 1000000000, 1, 1}, NULL},
        {{0, 1000000001, 1, 1}, "the rate is"},
        {{4294967293, 1000000000, 1, 1}, NULL},
        {{4294967294, 1000000000, 1, 1}, "max_burst"},
        {{-1, 1, 1, 1}, "max_burst"},
        {{1, 0, 1, 1}, "count"},
        {{1, 1, 0, 1}, "period"},
        {{1, 1, 1, -1}, "quantity"},
        {{0, 1, 1, 9223372036}, NULL},
        {{0, 1, 1, 9223372037}, "quantity"},
    };
    struct throttle throttle;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *error = parse(THROTTLE_CELL, cases[i].numbers, &throttle);
        const char *problem = cases[i].problem;
        if (!problem != !error || (problem && strncmp(error, problem, strlen(problem)) != 0))
            fail_msg("case %zu: %s, not %s", i, error ? error : "fine", problem ? problem : "fine");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_documented_cases), cmocka_unit_test(the_rounding_of_seconds),
        cmocka_unit_test(a_slow_model_agrees),  cmocka_unit_test(the_other_order),
        cmocka_unit_test(the_edges_of_sanity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
