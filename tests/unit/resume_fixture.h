/* Tables in files without a name, and what is left of them when a process ends at some instant: a
 * copy of the file's bytes as they stand then. For test_resume.c and prop_resume.c. */
#ifndef METE_TESTS_RESUME_FIXTURE_H
#define METE_TESTS_RESUME_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "sys/clock.h"
#include "sys/mapfile.h"
#include "table/lease.h"
#include "table/mapping.h"
#include "table/owners.h"
#include "table/resume.h"

#define SEC 1000000000ull
#define MIN (60 * SEC)
#define HOUR (3600 * SEC)
#define DAY (24 * HOUR)
#define ROWS 8u

enum row { BUCKET, INLINE, FIXED, SLIDING, YEAR, JOBS, ROW_COUNT };

struct file_table {
    struct mapfile file;
    struct table *table;
    uint32_t rows[ROW_COUNT]; /* of the table */
};

static inline struct limit limit_for(enum algorithm algorithm, uint64_t count, uint64_t period_ns)
{
    struct limit_spec spec = {algorithm, count, period_ns, 0};
    struct limit limit;

    assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
    return limit;
}

/* burst: of the bucket alone. */
static inline struct limit limit_of_row(enum row row, uint64_t burst)
{
    switch (row) {
    case BUCKET:
        return limit_for(ALGORITHM_TOKEN_BUCKET, burst, HOUR);
    case FIXED:
        return limit_for(ALGORITHM_FIXED_WINDOW, 50, DAY);
    case SLIDING:
        return limit_for(ALGORITHM_SLIDING_WINDOW, 50, HOUR);
    case JOBS:
        return limit_for(ALGORITHM_CONCURRENCY, 50, MIN);
    case YEAR:
        return (struct limit){.algorithm = ALGORITHM_CALENDAR, .interval = 4, .burst = 50};
    default: /* INLINE: as engine.c binds it */
        return (struct limit){.interval = LIMIT_TICKS_PER_NS,
                              .tolerance = UINT64_MAX,
                              .burst = 1,
                              .algorithm = ALGORITHM_TOKEN_BUCKET,
                              .keeps_tat = 1};
    }
}

static inline void bind(struct file_table *f, uint64_t burst, unsigned row_count)
{
    struct owners_change *change;

    assert_int_equal(owners_begin(f->table, &change), 0);
    for (unsigned i = 0; i < row_count; i++) {
        const struct table_owner owner = {.tenant_id = 7,
                                          .rule_id = i + 1,
                                          .limit = limit_of_row((enum row)i, burst),
                                          .region = table_region_shared(f->table)};
        assert_int_equal(owners_take(change, &owner, &f->rows[i]), 0);
    }
    owners_commit(change);
    owners_settle(f->table, NULL, NULL);
}

static inline struct table_options options_for(struct file_table *f, uint64_t entries)
{
    return (struct table_options){.entries = entries,
                                  .owner_rows = ROWS,
                                  .index_secret = {5, 6},
                                  .boot_id = 7,
                                  .time_base_ns = clock_boot_ns(),
                                  .file = &f->file,
                                  .section_bytes = {4096, 0}};
}

/* A new table whose clock counts from an hour ago; unless the machine is younger than that. */
static inline void make(struct file_table *f, uint64_t entries)
{
    struct table_options options;

    assert_int_equal(mapfile_open_unnamed(&f->file), 0);
    options = options_for(f, entries);
    options.time_base_ns = options.time_base_ns > HOUR ? options.time_base_ns - HOUR : 0;
    assert_int_equal(table_create(&options, &f->table), 0);
    bind(f, 100, ROW_COUNT);
}

static inline void drop(struct file_table *f)
{
    table_destroy(f->table);
    mapfile_close(&f->file);
}

/* The bytes as they stand now, in a file of their own. */
static inline void copy(const struct file_table *from, struct file_table *ret_copy)
{
    const uint64_t size = from->file.size_bytes;
    void *memory;

    *ret_copy = (struct file_table){.table = NULL};
    assert_int_equal(mapfile_open_unnamed(&ret_copy->file), 0);
    assert_int_equal(mapfile_reserve(&ret_copy->file, size), 0);
    assert_int_equal(mapfile_map(&ret_copy->file, false, &memory), 0);
    memcpy(memory, from->table->header, size);
    mapfile_unmap(&ret_copy->file, memory);
}

static inline int resume(struct file_table *f, uint64_t entries, char *problem, size_t size)
{
    const struct table_options options = options_for(f, entries);

    return table_resume(&options, clock_real_ns(), problem, size, &f->table);
}

static inline struct instant now_of(const struct file_table *f)
{
    return (struct instant){.now_ns = clock_boot_ns() - table_time_base_ns(f->table),
                            .wall_ns = clock_real_ns()};
}

static inline struct key key_of(uint64_t number)
{
    return (struct key){.low = number * 0x9e3779b97f4a7c15ull, .high = ~number * 31};
}

/* Units of an owner's key, as the engine charges them. False: no room or denied. */
static inline bool charge(struct file_table *f, enum row row, uint64_t number, uint32_t units)
{
    const struct table_probe probe = table_probe(f->table, key_of(number), f->rows[row]);
    const struct instant now = now_of(f);
    struct limit limit = f->table->rows[f->rows[row]].owner.limit;
    struct table_ref ref;

    if (row == INLINE)
        limit = limit_for(ALGORITHM_TOKEN_BUCKET, 100, HOUR);
    const enum table_result found = table_find_or_claim(f->table, &probe, TABLE_REFUSE, &now, &ref);

    if (found == TABLE_FULL)
        return false;
    struct step step = {.verdict = {.decision = DECISION_ALLOW}};

    if (row == YEAR) /* a period that ends in 100 days */
        step.state = (now.wall_ns / SEC + 8640000) << 32 | ((uint32_t)ref.state + units);
    else
        step = limit_apply(&limit, ref.state, OPERATION_CHECK, units,
                           limit_is_wall(&limit) ? now.wall_ns : now.now_ns);
    if (step.verdict.decision == DECISION_DENY) {
        if (found == TABLE_CLAIMED)
            table_withdraw(f->table, &ref);
        return false;
    }
    return table_swap(f->table, &ref, step.state);
}

/* The state of a key; 0: it has none. */
static inline uint64_t state_of(const struct file_table *f, enum row row, uint64_t number)
{
    const struct table_probe probe = table_probe(f->table, key_of(number), f->rows[row]);
    struct table_ref ref;

    return table_find(f->table, &probe, &ref) == TABLE_FOUND ? ref.state : 0;
}

/* A lease of `slots` on a key, in the order of lease.h, if there is room; steps: how far it
 * came (2: granted). */
static inline void acquire(struct file_table *f, uint64_t number, uint64_t lease_id, uint32_t slots,
                           unsigned steps)
{
    const struct table_probe probe = table_probe(f->table, key_of(number), f->rows[JOBS]);
    const struct table_probe held = table_probe_lease(f->table, &probe, lease_id);
    const struct instant now = now_of(f);
    struct table_lease lease = {.slots = slots, .expires_ms = now.now_ns / 1000000 + 60000};
    struct table_ref ref;

    if (table_find_or_claim(f->table, &probe, TABLE_REFUSE, &now, &ref) == TABLE_FULL)
        return;
    assert_true(table_swap_count(f->table, &ref, table_count_of(&ref) + slots));
    lease.position = table_position(f->table, &ref);
    if (steps < 2 ||
        table_find_or_claim(f->table, &held, TABLE_REFUSE, &now, &lease.ref) != TABLE_CLAIMED)
        return;
    assert_true(table_swap_lease(f->table, &lease));
}

/* owners_clock_fn of a struct file_table. */
static inline uint64_t read_clock(void *context)
{
    const struct file_table *f = context;

    return clock_boot_ns() - table_time_base_ns(f->table);
}

static inline void settle(struct file_table *f)
{
    while (table_settle_doubts(f->table, 64))
        ;
}

static inline struct table_resumed found_in(const struct file_table *f)
{
    struct table_resumed found;

    table_look_resumed(f->table, &found);
    return found;
}

#endif
