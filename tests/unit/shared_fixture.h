/* An engine with rules that are shared, exact and local, its ring and the state of the store. */
#ifndef METE_TESTS_SHARED_FIXTURE_H
#define METE_TESTS_SHARED_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "config/config.h"
#include "core/grant.h"
#include "core/share.h"
#include "engine/shared.h"
#include "replica/shared_state.h"
#include "table/shared.h"

#define SEC 1000000000ull
#define WALL 1767225600000000000ull
#define CELLS 64u

static const char text[] = "tenants:\n"
                           "  - name: a\n"
                           "    rules:\n"
                           "      - {name: s, algorithm: token_bucket, rate: 10/s, burst: 10}\n"
                           "      - {name: w, algorithm: fixed_window, limit: 10/10s}\n"
                           "      - {name: x, algorithm: token_bucket, rate: 10/s, burst: 10}\n"
                           "      - {name: l, algorithm: token_bucket, rate: 10/s, burst: 10}\n"
                           "      - {name: big, algorithm: token_bucket, rate: 1000000/s, "
                           "burst: 100000000}\n";

struct fixture {
    struct config *config;
    struct table *table;
    struct engine engine;
    struct engine_shared shared;
    struct shared_state state;
    struct ring ring;
    struct ring_cell cells[CELLS];
    struct demand demand;
    _Atomic uint64_t demands[16];
    struct counters *counters;
    struct rule_counters *rule_counters;
    struct instant now;
};

static inline struct rule *rule_of(struct fixture *f, const char *name)
{
    return (struct rule *)config_find_rule(&f->config->tenants[0], key_name_id(name, strlen(name)));
}

static inline int setup(void **state)
{
    struct fixture *f = aligned_alloc(128, (sizeof *f + 127) & ~(size_t)127);
    char error[256];
    memset(f, 0, sizeof *f);
    f->config = config_parse("test", text, sizeof text - 1, error, sizeof error);
    assert_non_null(f->config);
    rule_of(f, "s")->limit.sync = SYNC_SHARED;
    rule_of(f, "w")->limit.sync = SYNC_SHARED;
    rule_of(f, "big")->limit.sync = SYNC_SHARED;
    rule_of(f, "x")->limit.sync = SYNC_EXACT;
    rule_of(f, "x")->limit.on_loss = LOSS_DENY;
    struct table_options options = {
        .entries = 64, .owner_rows = f->config->index_count, .boot_id = 1};
    assert_int_equal(table_create(&options, &f->table), 0);
    assert_int_equal(engine_bind_owners(f->table, f->config), 0);
    assert_true(f->config->tenants[0].has_exact);
    f->counters = aligned_alloc(128, sizeof *f->counters);
    memset(f->counters, 0, sizeof *f->counters);
    f->rule_counters = calloc(f->config->index_count, sizeof *f->rule_counters);
    engine_init(&f->engine, f->config, f->table, 0, 1);
    f->engine.counters = f->counters;
    f->engine.rule_counters = f->rule_counters;
    shared_state_init(&f->state);
    ring_init(&f->ring, f->cells, CELLS);
    demand_init(&f->demand, f->demands, 16);
    f->shared = (struct engine_shared){.ring = &f->ring, .demand = &f->demand, .state = &f->state};
    engine_share(&f->engine, &f->shared);
    f->now = (struct instant){.now_ns = SEC, .wall_ns = WALL};
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    table_destroy(f->table);
    config_destroy(f->config);
    free(f->counters);
    free(f->rule_counters);
    free(f);
    return 0;
}

static inline struct check check_of(struct fixture *f, const char *rule, uint64_t key,
                                    uint32_t cost)
{
    return (struct check){
        .tenant = &f->config->tenants[0],
        .key = {.low = key, .high = ~key},
        .rule_id = key_name_id(rule, strlen(rule)),
        .cost = cost,
        .operation = OPERATION_CHECK,
    };
}

static inline struct answer run(struct fixture *f, struct check check)
{
    struct answer answer;
    engine_check_batch(&f->engine, &check, 1, &f->now, &answer);
    assert_int_equal(answer.status, METE_STATUS_OK);
    return answer;
}

static inline struct answer ask(struct fixture *f, const char *rule, uint64_t key, uint32_t cost)
{
    return run(f, check_of(f, rule, key, cost));
}

static inline struct answer operate(struct fixture *f, const char *rule, uint64_t key,
                                    uint32_t cost, enum operation operation)
{
    struct check check = check_of(f, rule, key, cost);
    check.operation = (uint8_t)operation;
    return run(f, check);
}

static inline bool is_allowed(struct answer answer)
{
    return answer.flags & METE_VERDICT_ALLOW;
}

static inline struct ring_event pop(struct fixture *f, enum ring_kind kind)
{
    struct ring_event event;
    assert_true(ring_pop(&f->ring, &event));
    assert_int_equal(event.kind, kind);
    return event;
}

static inline void assert_silent(struct fixture *f)
{
    struct ring_event event;
    assert_false(ring_pop(&f->ring, &event));
}

static inline struct table_probe probe_of(struct fixture *f, const char *rule, uint64_t key)
{
    return table_probe(f->table, (struct key){.low = key, .high = ~key}, rule_of(f, rule)->index);
}

#endif
