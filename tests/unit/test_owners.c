/* Owner rows over a series of configurations: which row an owner gets, what happens to its entries,
 * and that a row is used again only after its entries are gone and everybody has let go of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "table/owners.h"

#define SEC 1000000000ull
#define HOUR (3600 * SEC)
#define ROWS 8u
#define ENTRIES 256u
#define ALL_GROUPS (ENTRIES / TABLE_GROUP_ENTRIES)

static uint64_t clock_ns = HOUR;

static uint64_t read_clock(void *context)
{
    (void)context;
    return clock_ns;
}

static struct table *make(void)
{
    struct table_options options = {
        .entries = ENTRIES, .owner_rows = ROWS, .index_secret = {5, 6}, .boot_id = 7};
    struct table *table;
    assert_int_equal(table_create(&options, &table), 0);
    return table;
}

static struct limit limit_of(enum algorithm algorithm, uint64_t count, uint64_t period_ns)
{
    struct limit_spec spec = {algorithm, count, period_ns, 0};
    struct limit limit;
    assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
    return limit;
}

static struct table_owner owner_of(const struct table *table, uint32_t rule, struct limit limit)
{
    return (struct table_owner){
        .tenant_id = 1, .rule_id = rule, .limit = limit, .region = table_region_shared(table)};
}

/* A change that names these owners and no others; their rows in ret_rows. */
static int try_change(struct table *table, const struct table_owner *owners, unsigned count,
                      uint32_t *ret_rows)
{
    struct owners_change *change;
    int result = owners_begin(table, &change);
    assert_int_equal(result, 0);
    for (unsigned i = 0; i < count && !result; i++)
        result = owners_take(change, &owners[i], &ret_rows[i]);
    if (result)
        owners_abort(change);
    else
        owners_commit(change);
    return result;
}

static void settle(struct table *table)
{
    owners_settle(table, NULL, NULL);
    while (owners_upkeep(table, 3, read_clock, NULL))
        ;
}

static void change(struct table *table, const struct table_owner *owners, unsigned count,
                   uint32_t *ret_rows)
{
    assert_int_equal(try_change(table, owners, count, ret_rows), 0);
    settle(table);
    owners_reclaim(table, NULL, NULL);
}

static struct table_probe probe_of(const struct table *table, uint32_t row, uint64_t key)
{
    return table_probe(table, (struct key){.low = key, .high = ~key}, row);
}

/* Leaves an entry of this state behind. */
static void put(struct table *table, uint32_t row, uint64_t key, uint64_t state)
{
    struct table_probe probe = probe_of(table, row, key);
    struct instant now = {.now_ns = clock_ns, .wall_ns = clock_ns};
    struct table_ref ref;
    assert_true(table_find_or_claim(table, &probe, TABLE_REFUSE, &now, &ref) != TABLE_FULL);
    assert_true(table_swap(table, &ref, state));
}

/* The state of an entry, 0 if there is none. */
static uint64_t get(struct table *table, uint32_t row, uint64_t key)
{
    struct table_probe probe = probe_of(table, row, key);
    struct table_ref ref;
    return table_find(table, &probe, &ref) == TABLE_FOUND ? ref.state : 0;
}

static uint64_t ticks(uint64_t ns)
{
    return ns * LIMIT_TICKS_PER_NS;
}

static void test_rows_stay(void **state)
{
    (void)state;
    struct table *table = make();
    struct limit bucket = limit_of(ALGORITHM_TOKEN_BUCKET, 10, HOUR);
    struct table_owner owners[] = {owner_of(table, 1, bucket), owner_of(table, 2, bucket),
                                   owner_of(table, 1, bucket)};
    uint32_t first[3], second[3];

    owners[2].override = 99;
    change(table, owners, 3, first);
    assert_true(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    put(table, first[0], 5, ticks(clock_ns + 60 * SEC));
    struct table_owner turned[] = {owners[2], owners[0], owners[1]};

    change(table, turned, 3, second);
    assert_int_equal(second[0], first[2]);
    assert_int_equal(second[1], first[0]);
    assert_int_equal(second[2], first[1]);
    assert_int_equal(get(table, first[0], 5), ticks(clock_ns + 60 * SEC));
    assert_int_equal(owners_free_count(table), ROWS - 3);
    table_destroy(table);
}

static void test_numbers_change_and_debt_is_cut(void **state)
{
    (void)state;
    struct table *table = make();
    struct table_owner slow = owner_of(table, 1, limit_of(ALGORITHM_TOKEN_BUCKET, 1, HOUR));
    struct table_owner other = owner_of(table, 2, limit_of(ALGORITHM_TOKEN_BUCKET, 1, HOUR));
    struct table_owner fast = owner_of(table, 1, limit_of(ALGORITHM_TOKEN_BUCKET, 60, HOUR / 2));
    struct table_owner owners[] = {slow, other};
    uint32_t rows[2], again[2];

    change(table, owners, 2, rows);
    for (uint64_t i = 0; i < 40; i++)
        put(table, rows[0], 100 + i, ticks(clock_ns + i * 60 * SEC + 1));
    put(table, rows[1], 100, ticks(clock_ns + HOUR));
    owners[0] = fast;
    change(table, owners, 2, again);
    assert_int_equal(again[0], rows[0]);
    for (uint64_t i = 0; i < 40; i++) { /* at most half an hour: a full bucket of the new limit */
        uint64_t owed_ns = i * 60 * SEC;
        uint64_t expected = ticks(clock_ns + owed_ns + 1);
        if (owed_ns >= HOUR / 2)
            expected = ticks(clock_ns + HOUR / 2);
        assert_int_equal(get(table, rows[0], 100 + i), expected);
    }
    assert_int_equal(get(table, rows[1], 100), ticks(clock_ns + HOUR));
    /* nothing changed: nothing is left to do, nothing is cut twice */
    put(table, rows[0], 1000, ticks(clock_ns + 5 * HOUR));
    assert_int_equal(try_change(table, owners, 2, again), 0);
    owners_settle(table, NULL, NULL);
    assert_false(owners_upkeep(table, ALL_GROUPS, read_clock, NULL));
    assert_int_equal(get(table, rows[0], 1000), ticks(clock_ns + 5 * HOUR));
    table_destroy(table);
}

struct told {
    uint32_t row[ROWS], successor[ROWS];
    unsigned count;
};

static void tell(void *context, uint32_t row, uint32_t successor)
{
    struct told *told = context;
    told->row[told->count] = row;
    told->successor[told->count++] = successor;
}

/* Another algorithm or another window is another row; the old one's entries go, and only then, and
 * when told that nobody has it in hand, it may be used again. */
static void test_another_kind_starts_fresh(void **state)
{
    (void)state;
    struct table *table = make();
    const struct limit kinds[] = {
        limit_of(ALGORITHM_TOKEN_BUCKET, 10, HOUR), limit_of(ALGORITHM_LEAKY_METER, 10, HOUR),
        limit_of(ALGORITHM_FIXED_WINDOW, 10, HOUR), limit_of(ALGORITHM_FIXED_WINDOW, 10, HOUR / 2),
        limit_of(ALGORITHM_SLIDING_WINDOW, 10, HOUR)};
    struct table_owner owners[] = {owner_of(table, 1, kinds[0]), owner_of(table, 2, kinds[0])};
    uint32_t before[2], after[2];

    change(table, owners, 2, before);
    for (unsigned i = 1; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct told left = {.count = 0}, freed = {.count = 0};

        put(table, before[0], 3, UINT64_MAX);
        put(table, before[1], 3, ticks(clock_ns + SEC));
        owners[0].limit = kinds[i];
        assert_int_equal(try_change(table, owners, 2, after), 0);
        assert_int_not_equal(after[0], before[0]);
        assert_int_equal(after[1], before[1]);
        assert_int_equal(get(table, after[0], 3), 0);
        assert_int_not_equal(get(table, before[0], 3), 0); /* somebody may still charge it */
        owners_settle(table, tell, &left);
        assert_int_equal(left.count, 1);
        assert_int_equal(left.row[0], before[0]);
        assert_int_equal(left.successor[0], after[0]);
        assert_int_equal(owners_free_count(table), ROWS - 3);
        while (owners_upkeep(table, 5, read_clock, NULL))
            ;
        assert_int_equal(get(table, before[0], 3), 0);
        assert_int_equal(get(table, before[1], 3), ticks(clock_ns + SEC));
        assert_true(owners_has_emptied(table));
        assert_int_equal(owners_free_count(table), ROWS - 3); /* somebody may still look it up */
        owners_reclaim(table, tell, &freed);
        assert_int_equal(freed.count, 1);
        assert_int_equal(freed.row[0], before[0]);
        assert_false(owners_has_emptied(table));
        assert_int_equal(owners_free_count(table), ROWS - 2);
        before[0] = after[0];
    }
    table_destroy(table);
}

static void test_window_keeps_its_row_with_another_limit(void **state)
{
    (void)state;
    struct table *table = make();
    struct table_owner owner = owner_of(table, 1, limit_of(ALGORITHM_FIXED_WINDOW, 10, HOUR));
    uint32_t before, after;

    change(table, &owner, 1, &before);
    put(table, before, 3, 1ull << 32 | 7);
    owner.limit = limit_of(ALGORITHM_FIXED_WINDOW, 5, HOUR);
    change(table, &owner, 1, &after);
    assert_int_equal(after, before);
    assert_int_equal(get(table, after, 3), 1ull << 32 | 7);
    table_destroy(table);
}

static void test_what_nobody_names_is_freed(void **state)
{
    (void)state;
    struct table *table = make();
    struct limit bucket = limit_of(ALGORITHM_TOKEN_BUCKET, 10, HOUR);
    struct table_owner owners[] = {owner_of(table, 1, bucket), owner_of(table, 2, bucket)};
    struct told left = {.count = 0};
    struct table_census census;
    uint32_t rows[2], again[2];

    change(table, owners, 2, rows);
    for (uint64_t key = 0; key < 60; key++)
        put(table, rows[key % 2], key, ticks(clock_ns + SEC));
    assert_int_equal(try_change(table, owners, 1, again), 0);
    /* it comes back before its entries are gone: it is another one */
    owners_settle(table, tell, &left);
    assert_int_equal(left.count, 1);
    assert_int_equal(left.successor[0], OWNERS_NONE);
    owners_upkeep(table, ALL_GROUPS / 2, read_clock, NULL);
    assert_int_equal(try_change(table, owners, 2, again), 0);
    assert_int_not_equal(again[1], rows[1]);
    put(table, again[1], 7, ticks(clock_ns + SEC));
    settle(table);
    owners_reclaim(table, NULL, NULL);
    table_take_census(table, &census);
    assert_int_equal(census.live, 30 + 1);
    assert_int_equal(census.busy, 0);
    uint64_t live[ROWS] = {0};
    table_count_owners(table, live);
    assert_int_equal(live[rows[0]], 30);
    assert_int_equal(live[rows[1]], 0);
    assert_int_equal(live[again[1]], 1);
    table_destroy(table);
}

static void test_too_many_change_nothing(void **state)
{
    (void)state;
    struct table *table = make();
    struct limit bucket = limit_of(ALGORITHM_TOKEN_BUCKET, 10, HOUR);
    struct limit less = limit_of(ALGORITHM_TOKEN_BUCKET, 5, HOUR);
    struct table_owner owners[ROWS + 1];
    uint32_t rows[ROWS + 1], again[ROWS + 1];

    for (uint32_t i = 0; i <= ROWS; i++)
        owners[i] = owner_of(table, i + 1, bucket);
    change(table, owners, 2, rows);
    put(table, rows[0], 3, ticks(clock_ns + HOUR));
    owners[0].limit = less;
    assert_int_equal(try_change(table, owners, ROWS + 1, again), -ENOSPC);
    owners_settle(table, NULL, NULL);
    assert_false(owners_upkeep(table, ALL_GROUPS, read_clock, NULL));
    assert_int_equal(owners_free_count(table), ROWS - 2);
    change(table, owners, ROWS, again); /* as many as there are */
    assert_int_equal(again[0], rows[0]);
    assert_int_equal(owners_free_count(table), 0);
    change(table, owners, 1, again);
    assert_int_equal(owners_free_count(table), ROWS - 1);
    change(table, owners, ROWS, again);
    table_destroy(table);
}

/* Any number of changes overlap: each row has a whole round of its own. */
static void test_rounds_overlap(void **state)
{
    (void)state;
    struct table *table = make();
    struct limit bucket = limit_of(ALGORITHM_TOKEN_BUCKET, 10, HOUR);
    struct table_owner owners[4];
    uint32_t rows[4];

    for (uint32_t i = 0; i < 4; i++)
        owners[i] = owner_of(table, i + 1, bucket);
    change(table, owners, 4, rows);
    for (uint32_t i = 0; i < 4; i++)
        for (uint64_t key = 0; key < 20; key++)
            put(table, rows[i], key, ticks(clock_ns + 2 * HOUR));
    for (unsigned left = 3; left; left--) { /* one goes, a third of a round, the next goes */
        uint32_t again[4];
        owners[0].limit = limit_of(ALGORITHM_TOKEN_BUCKET, 10, HOUR / (5 - left));
        assert_int_equal(try_change(table, owners, left, again), 0);
        owners_settle(table, NULL, NULL);
        owners_upkeep(table, ALL_GROUPS / 3, read_clock, NULL);
    }
    while (owners_upkeep(table, 7, read_clock, NULL))
        ;
    owners_reclaim(table, NULL, NULL);
    assert_int_equal(owners_free_count(table), ROWS - 1);
    uint64_t live[ROWS] = {0};
    table_count_owners(table, live);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(live[rows[i]], i == 0 ? 20 : 0);
    for (uint64_t key = 0; key < 20; key++)
        assert_int_equal(get(table, rows[0], key), ticks(clock_ns + HOUR / 4));
    table_destroy(table);
}

static void test_regions(void **state)
{
    (void)state;
    struct table *table = make();
    for (uint32_t tenant = 10; tenant <= 50; tenant += 10)
        assert_int_equal(owners_reserve_region(table, tenant, 16 + tenant / 10 * 4), 0);
    assert_int_equal(owners_reserve_region(table, 50, 16), -EINVAL);
    assert_int_equal(owners_reserve_region(table, 60, ENTRIES), -ENOSPC);
    for (uint32_t tenant = 0; tenant <= 60; tenant++) {
        struct table_region region = owners_region(table, tenant);
        uint32_t expected = table_region_shared(table).group_count;
        if (tenant && tenant <= 50 && tenant % 10 == 0)
            expected = 4 + tenant / 10;
        assert_int_equal(region.group_count, expected);
    }
    table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_stay),
        cmocka_unit_test(test_numbers_change_and_debt_is_cut),
        cmocka_unit_test(test_another_kind_starts_fresh),
        cmocka_unit_test(test_window_keeps_its_row_with_another_limit),
        cmocka_unit_test(test_what_nobody_names_is_freed),
        cmocka_unit_test(test_too_many_change_nothing),
        cmocka_unit_test(test_rounds_overlap),
        cmocka_unit_test(test_regions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
