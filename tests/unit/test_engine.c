/* The engine over a real table at injected instants: groups give back exactly what they took,
 * upkeep passes the whole table in time, regions are bound to their tenants. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/engine.h"
#include "table/mapping.h"

#define SEC 1000000000ull
#define HOUR (3600 * SEC)
#define WALL_2026 (1767225600 * SEC)

static const char two_tenants[] =
    "tenants:\n"
    "  - name: a\n"
    "    rules:\n"
    "      - {name: bucket, algorithm: token_bucket, rate: 1/h, burst: 10}\n"
    "      - {name: fixed, algorithm: fixed_window, limit: 10/1h}\n"
    "      - {name: sliding, algorithm: sliding_window, limit: 10/1h}\n"
    "      - {name: queue, algorithm: leaky_bucket, mode: queue, rate: 1/h, burst: 10}\n"
    "      - {name: open, algorithm: unlimited}\n"
    "      - {name: second, algorithm: token_bucket, rate: 1/s, burst: 1}\n"
    "  - name: b\n"
    "    entries: 32\n"
    "    rules:\n"
    "      - {name: bucket, algorithm: token_bucket, rate: 1/h, burst: 10}\n";

struct fixture {
    struct config *config;
    struct table *table;
    struct engine engine;
    struct counters *counters;
    struct rule_counters *rule_counters;
    const struct tenant *a, *b;
};

static struct fixture *fixture_make(const char *text, uint64_t entries)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char error[512] = "";
    f->config = config_parse("test", text, strlen(text), error, sizeof(error));
    if (!f->config)
        fail_msg("%s", error);
    struct table_options options = {
        .entries = entries,
        .owner_rows = f->config->index_count,
        .index_secret = {11, 22},
        .boot_id = 0x1234,
    };
    assert_int_equal(table_create(&options, &f->table), 0);
    assert_int_equal(engine_bind_owners(f->table, f->config), 0);
    f->counters = aligned_alloc(128, sizeof(*f->counters));
    memset(f->counters, 0, sizeof(*f->counters));
    f->rule_counters = calloc(f->config->index_count, sizeof(*f->rule_counters));
    engine_init(&f->engine, f->config, f->table, 0, 1);
    f->engine.counters = f->counters;
    f->engine.rule_counters = f->rule_counters;
    f->a = config_find_tenant_by_name(f->config, "a");
    f->b = config_find_tenant_by_name(f->config, "b");
    return f;
}

static void fixture_free(struct fixture *f)
{
    table_destroy(f->table);
    config_destroy(f->config);
    free(f->counters);
    free(f->rule_counters);
    free(f);
}

static struct check ask(const struct tenant *tenant, const char *rule, uint64_t key, uint32_t cost)
{
    return (struct check){
        .tenant = tenant,
        .key = {.low = key, .high = ~key},
        .rule_id = mete_name_id(rule, strlen(rule)),
        .cost = cost,
        .operation = OPERATION_CHECK,
    };
}

static struct instant at(uint64_t ns)
{
    return (struct instant){.now_ns = ns, .wall_ns = WALL_2026 + ns};
}

static struct answer run_one(struct fixture *f, struct check check, uint64_t now_ns)
{
    struct answer answer;
    struct instant now = at(now_ns);
    engine_check_batch(&f->engine, &check, 1, &now, &answer);
    return answer;
}

static uint32_t left(struct fixture *f, const struct tenant *tenant, const char *rule, uint64_t key)
{
    struct check check = ask(tenant, rule, key, 1);
    check.operation = OPERATION_PEEK;
    return run_one(f, check, 1).remaining;
}

static uint64_t cell(const struct fixture *f, enum counter counter)
{
    return counter_read(&f->counters->cell[counter]);
}

/* A group looks at all its entries first. What another takes between that look and the charge is a
 * lost race; one key twice in a group is the same thing without a second thread: both pass the look
 * and the second charge is denied. All that was charged before it must come back, to the unit. */
static void lost_race_gives_back(void **unused)
{
    (void)unused;
    static const char *const RULES[] = {"bucket", "fixed", "sliding", "queue", "open"};
    struct fixture *f = fixture_make(two_tenants, 1024);
    struct check checks[7];
    struct answer answers[7];
    for (uint32_t i = 0; i < 5; i++)
        run_one(f, ask(f->a, RULES[i], i, 3), 1);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 5; i++)
            checks[i] = ask(f->a, RULES[i], i, i + 1);
        checks[5] = ask(f->a, "bucket", 77, 6);
        checks[6] = checks[5];
        checks[0].group_count = 7;
        struct instant now = at(1);
        engine_check_batch(&f->engine, checks, 7, &now, answers);
        for (int i = 0; i < 6; i++)
            assert_true(answers[i].flags & METE_VERDICT_NOT_CHARGED);
        assert_int_equal(answers[6].flags, 0);
        assert_int_equal(answers[6].retry_after_ns, 2 * HOUR);
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(left(f, f->a, RULES[i], i), 7);
        assert_int_equal(left(f, f->a, "bucket", 77), 10);
    }
    assert_int_equal(cell(f, COUNTER_DENIED), 3);
    assert_int_equal(cell(f, COUNTER_ALLOWED), 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(f->rule_counters[config_find_rule(f->a, checks[i].rule_id)->index].units,
                         3);
    checks[6].cost = 4; /* now it fits, and takes all */
    for (uint32_t i = 0; i < 5; i++)
        checks[i] = ask(f->a, RULES[i], i, i + 1);
    checks[5] = ask(f->a, "bucket", 77, 6);
    checks[6] = ask(f->a, "bucket", 77, 4);
    checks[0].group_count = 7;
    struct instant now = at(1);
    engine_check_batch(&f->engine, checks, 7, &now, answers);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(left(f, f->a, RULES[i], i), 7 - (i + 1));
    assert_int_equal(left(f, f->a, "bucket", 77), 0);
    fixture_free(f);
}

/* What two groups and single checks in one batch decide is what they would one after the other. */
static void batch_is_a_sequence(void **unused)
{
    (void)unused;
    struct fixture *f = fixture_make(two_tenants, 1024);
    struct check checks[5] = {
        ask(f->a, "bucket", 1, 6), ask(f->a, "bucket", 2, 6), ask(f->a, "bucket", 1, 5),
        ask(f->a, "bucket", 2, 1), ask(f->a, "bucket", 1, 4),
    };
    struct answer answers[5];
    struct instant now = at(1);
    checks[0].group_count = 2;
    checks[2].group_count = 2;
    engine_check_batch(&f->engine, checks, 5, &now, answers);
    assert_int_equal(answers[0].flags, METE_VERDICT_ALLOW);
    assert_int_equal(answers[1].flags, METE_VERDICT_ALLOW);
    assert_int_equal(answers[2].flags, 0);
    assert_int_equal(answers[3].flags, METE_VERDICT_ALLOW | METE_VERDICT_NOT_CHARGED);
    assert_int_equal(answers[4].flags, METE_VERDICT_ALLOW);
    assert_int_equal(answers[4].remaining, 0);
    assert_int_equal(left(f, f->a, "bucket", 2), 4);
    fixture_free(f);
}

static void peek_of_at_most_takes_nothing(void **unused)
{
    (void)unused;
    struct fixture *f = fixture_make(two_tenants, 1024);
    struct check check = ask(f->a, "fixed", 1, 50);
    check.operation = OPERATION_PEEK;
    check.at_most = true;
    for (int i = 0; i < 2; i++) {
        struct answer answer = run_one(f, check, 1);
        assert_int_equal(answer.flags, METE_VERDICT_ALLOW | METE_VERDICT_GRANTED);
        assert_int_equal(answer.granted, 10);
        assert_int_equal(answer.remaining, 10);
    }
    assert_int_equal(cell(f, COUNTER_PEEKED), 2);
    fixture_free(f);
}

static uint64_t live(const struct fixture *f)
{
    struct table_census census;
    table_take_census(f->table, &census);
    return census.live;
}

/* 1,000 entries are at rest a second later. One pass of upkeep, called as rarely as a worker may,
 * must free every one of them; `workers` share the pass. */
static void tick_covers_the_table(void **unused)
{
    (void)unused;
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct fixture *f = fixture_make(two_tenants, 65536);
        struct engine engines[3];
        for (unsigned w = 0; w < workers; w++) {
            engine_init(&engines[w], f->config, f->table, w, workers);
            engines[w].counters = f->counters;
            engines[w].rule_counters = f->rule_counters;
        }
        for (uint64_t key = 0; key < 1000; key++)
            run_one(f, ask(f->a, "second", key * 0x9E3779B97F4A7C15u, 1), 1);
        assert_int_equal(live(f), 1000);
        uint64_t step_ns = engine_tick_interval_ns(&engines[0]);
        uint64_t now_ns = 2 * SEC;
        for (uint64_t end_ns = now_ns + ENGINE_SWEEP_PASS_NS + step_ns; now_ns <= end_ns;
             now_ns += step_ns) {
            struct instant now = at(now_ns);
            for (unsigned w = 0; w < workers; w++)
                engine_tick(&engines[w], &now);
        }
        assert_int_equal(live(f), 0);
        assert_int_equal(cell(f, COUNTER_SWEPT), 1000);
        fixture_free(f);
    }
}

/* Upkeep is bounded, whatever has passed since the last. */
static void tick_is_bounded(void **unused)
{
    (void)unused;
    struct fixture *f = fixture_make(two_tenants, 65536);
    for (uint64_t key = 0; key < 20000; key++)
        run_one(f, ask(f->a, "second", key * 0x9E3779B97F4A7C15u, 1), 1);
    struct instant now = at(2 * SEC);
    engine_tick(&f->engine, &now);
    now = at(100 * HOUR);
    engine_tick(&f->engine, &now);
    assert_in_range(cell(f, COUNTER_SWEPT), 1, (uint64_t)ENGINE_TICK_GROUPS * TABLE_GROUP_ENTRIES);
    fixture_free(f);
}

/* After a night of sleep every entry is to be looked at once, not once for every pass missed. */
static void tick_forgets_missed_passes(void **unused)
{
    (void)unused;
    struct fixture *f = fixture_make(two_tenants, 65536);
    uint64_t step_ns = engine_tick_interval_ns(&f->engine);
    struct instant now = at(SEC);
    engine_tick(&f->engine, &now);
    uint64_t now_ns = 10 * HOUR;
    uint64_t passes = ENGINE_SWEEP_PASS_NS / f->engine.sweep_group_ns / ENGINE_TICK_GROUPS + 3;
    for (uint64_t i = 0; i < passes; i++, now_ns += step_ns) {
        now = at(now_ns);
        engine_tick(&f->engine, &now);
    }
    assert_in_range(now_ns - f->engine.swept_until_ns, 0, 2 * step_ns);
    fixture_free(f);
}

/* 2^33 entries and one worker that has nothing else to do: what falls due between two ticks is no
 * more than a tick takes, or a pass would never end in time. */
static void tick_keeps_up_with_the_largest_table(void **unused)
{
    (void)unused;
    struct fixture *f = fixture_make(two_tenants, 65536);
    f->engine.sweep_group_ns = ENGINE_SWEEP_PASS_NS / (TABLE_MAX_ENTRIES / TABLE_GROUP_ENTRIES);
    uint64_t step_ns = engine_tick_interval_ns(&f->engine);
    uint64_t now_ns = SEC;
    for (int i = 0; i < 50; i++, now_ns += step_ns) {
        struct instant now = at(now_ns);
        engine_tick(&f->engine, &now);
    }
    assert_in_range(now_ns - f->engine.swept_until_ns, 0, 2 * step_ns);
    fixture_free(f);
}

/* b's keys live in a region of 32 entries: a flood of them evicts its own and nothing of a's. */
static void regions_bind(void **unused)
{
    (void)unused;
    struct fixture *f = fixture_make(two_tenants, 1024);
    for (uint64_t key = 0; key < 100; key++)
        run_one(f, ask(f->a, "bucket", key << 40 | 1, 1), 1);
    assert_int_equal(live(f), 100);
    for (uint64_t key = 0; key < 5000; key++)
        run_one(f, ask(f->b, "bucket", key << 40 | 1, 5), 1);
    for (uint64_t key = 0; key < 100; key++)
        assert_int_equal(left(f, f->a, "bucket", key << 40 | 1), 9);
    assert_int_equal(live(f), 132);
    assert_true(table_eviction_count(f->table) >= 4968);
    fixture_free(f);
}

static void regions_that_do_not_fit(void **unused)
{
    (void)unused;
    static const char text[] = "table: {entries: 1024}\n"
                               "tenants: [{name: a, entries: 100, rules: []}]\n";
    char error[512] = "";
    struct config *config = config_parse("test", text, strlen(text), error, sizeof(error));
    assert_non_null(config);
    struct table_options options = {.entries = 64, .owner_rows = config->index_count, .boot_id = 1};
    struct table *table;
    assert_int_equal(table_create(&options, &table), 0);
    assert_int_equal(engine_bind_owners(table, config), -ENOSPC);
    table_destroy(table);
    config_destroy(config);
}

/* Each override has an owner row of its own, with its own numbers and the rule's ids. */
static void overrides_have_rows(void **unused)
{
    (void)unused;
    struct fixture *f = fixture_make(
        "tenants: [{name: a, rules: [{name: r, algorithm: sliding_window, limit: 5/60s,\n"
        "  overrides: [{subject: x, limit: 9/30s}, {prefix: y, limit: 7/1s}]}]}]\n",
        64);
    const struct rule *rule = &f->a->rules[0];
    for (uint32_t i = 0; i < 2; i++) {
        const struct rule *override = &rule->overrides->items[i].rule;
        const struct table_owner *owner = &f->table->rows[override->index].owner;
        assert_int_equal(owner->tenant_id, f->a->id);
        assert_int_equal(owner->rule_id, rule->id);
        assert_int_equal(owner->limit.burst, i ? 7 : 9);
        assert_memory_equal(&owner->limit, &override->limit, sizeof(owner->limit));
    }
    fixture_free(f);
}

/* The rule asked for last is remembered; what overrides it must not be taken for it. */
static void overrides_in_a_batch(void **unused)
{
    (void)unused;
    struct fixture *f = fixture_make(
        "tenants: [{name: a, rules: [{name: r, algorithm: token_bucket, rate: 1/h, burst: 10,\n"
        "  overrides: [{subject: x, rate: 1/h, burst: 3}, {prefix: yy, rate: 1/h, burst: 5}]}]}]\n",
        64);
    static const char *const subjects[] = {"x", "z", "x", "yy1", "z", NULL, "yy2"};
    static const uint32_t remaining[] = {2, 9, 1, 4, 8, 0, 4};
    struct check checks[7];
    struct answer answers[7];
    struct instant now = at(1);
    for (unsigned i = 0; i < 7; i++) {
        const char *subject = subjects[i] ? subjects[i] : "w";
        checks[i] = ask(f->a, "r", 0, 1);
        checks[i].key = key_of_subject(subject, strlen(subject), *f->a->seed);
        checks[i].subject = subjects[i];
        checks[i].subject_len = (uint32_t)strlen(subject);
    }
    engine_check_batch(&f->engine, checks, 7, &now, answers);
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(answers[i].status, i == 5 ? METE_STATUS_NEED_SUBJECT : METE_STATUS_OK);
        assert_int_equal(answers[i].remaining, remaining[i]);
    }
    assert_int_equal(cell(f, COUNTER_NEED_SUBJECT), 1);
    const struct config_override *items = f->a->rules[0].overrides->items;
    assert_int_equal(counter_read(&f->rule_counters[items[0].rule.index].allowed), 2);
    assert_int_equal(counter_read(&f->rule_counters[items[1].rule.index].allowed), 2);
    assert_int_equal(counter_read(&f->rule_counters[f->a->rules[0].index].allowed), 2);
    fixture_free(f);
}

/* No room: the status says so, what the operator chose for it is the verdict, nothing is charged.
 */
static void full_table(void **unused)
{
    (void)unused;
    static const char *const CHOICES[] = {"allow", "deny"};
    for (int i = 0; i < 2; i++) {
        char text[256];
        snprintf(text, sizeof(text),
                 "table: {entries: 16, on_full: %s}\n"
                 "tenants: [{name: a, rules: [{name: bucket, algorithm: token_bucket, rate: 1/h, "
                 "burst: 10}]}]\n",
                 CHOICES[i]);
        struct fixture *f = fixture_make(text, 16);
        for (uint64_t key = 0; key < 16; key++)
            assert_int_equal(run_one(f, ask(f->a, "bucket", key, 1), 1).status, METE_STATUS_OK);
        struct answer full = run_one(f, ask(f->a, "bucket", 16, 1), 1);
        assert_int_equal(full.status, METE_STATUS_TABLE_FULL);
        assert_int_equal(full.flags, i == 0 ? METE_VERDICT_ALLOW : 0);
        struct check group[3] = {ask(f->a, "bucket", 1, 1), ask(f->a, "bucket", 16, 1),
                                 ask(f->a, "bucket", 2, 1)};
        struct answer answers[3];
        struct instant now = at(1);
        group[0].group_count = 3;
        engine_check_batch(&f->engine, group, 3, &now, answers);
        assert_int_equal(answers[1].status, METE_STATUS_TABLE_FULL);
        assert_int_equal(left(f, f->a, "bucket", 1), i == 0 ? 8 : 9);
        assert_int_equal(left(f, f->a, "bucket", 2), i == 0 ? 8 : 9);
        fixture_free(f);
    }
}

/* A rule in the shadow never denies, a full table included. */
static void shadow_on_full_table(void **unused)
{
    (void)unused;
    static const char text[] =
        "table: {entries: 16, on_full: deny}\n"
        "tenants: [{name: a, rules: [{name: bucket, algorithm: token_bucket, rate: 1/h, "
        "burst: 10, shadow: true}]}]\n";
    struct fixture *f = fixture_make(text, 16);
    for (uint64_t key = 0; key < 16; key++)
        assert_int_equal(run_one(f, ask(f->a, "bucket", key, 1), 1).status, METE_STATUS_OK);
    struct answer full = run_one(f, ask(f->a, "bucket", 16, 1), 1);
    assert_int_equal(full.status, METE_STATUS_TABLE_FULL);
    assert_int_equal(full.flags, METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_race_gives_back),
        cmocka_unit_test(batch_is_a_sequence),
        cmocka_unit_test(peek_of_at_most_takes_nothing),
        cmocka_unit_test(tick_covers_the_table),
        cmocka_unit_test(tick_is_bounded),
        cmocka_unit_test(tick_forgets_missed_passes),
        cmocka_unit_test(tick_keeps_up_with_the_largest_table),
        cmocka_unit_test(regions_bind),
        cmocka_unit_test(regions_that_do_not_fit),
        cmocka_unit_test(overrides_have_rows),
        cmocka_unit_test(overrides_in_a_batch),
        cmocka_unit_test(full_table),
        cmocka_unit_test(shadow_on_full_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
