/* The table, one thread, case by case. What threads do to each other is shown in tests/race. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "table/mapping.h"
#include "table/table.h"

#define SECOND_NS 1000000000ull
#define TINY 16u /* entries of one window */

static const struct instant start = {.now_ns = 1000 * SECOND_NS, .wall_ns = 1000 * SECOND_NS};

static struct table_options options_of(uint64_t entries, uint32_t owner_rows)
{
    return (struct table_options){
        .entries = entries,
        .owner_rows = owner_rows,
        .index_secret = {0x243f6a8885a308d3, 0x13198a2e03707344},
        .boot_id = 42,
        .time_base_ns = 7,
    };
}

/* Every owner has a token bucket of 1/s, burst 1000. */
static struct limit limit_make(void)
{
    struct limit_spec spec = {ALGORITHM_TOKEN_BUCKET, 1, SECOND_NS, 1000};
    struct limit limit;

    assert_int_equal(limit_compile(&spec, &limit), LIMIT_OK);
    return limit;
}

static void owner_in(struct table *table, uint32_t row, struct table_region region)
{
    struct table_owner owner = {.rule_id = row, .limit = limit_make(), .region = region};

    assert_int_equal(table_owner_set(table, row, &owner), 0);
}

static struct table *table_make(uint64_t entries, uint32_t owner_rows)
{
    struct table_options options = options_of(entries, owner_rows);
    struct table *table;

    assert_int_equal(table_create(&options, &table), 0);
    for (uint32_t row = 0; row < owner_rows; row++)
        owner_in(table, row, table_region_shared(table));
    return table;
}

static struct key key_number(uint64_t number)
{
    return (struct key){.low = number, .high = ~number * 0x9e3779b97f4a7c15};
}

/* The key with this number among those at home in the group. */
static struct key key_at_home(const struct table *table, uint32_t group, unsigned number)
{
    for (uint64_t i = 1;; i++) {
        if (table_probe(table, key_number(i), 0).home_group == group && number-- == 0)
            return key_number(i);
    }
}

static enum table_result find(struct table *table, struct key key, uint32_t row,
                              struct table_ref *ret_ref)
{
    struct table_probe probe = table_probe(table, key, row);

    return table_find(table, &probe, ret_ref);
}

static enum table_result claim(struct table *table, struct key key, uint32_t row,
                               enum table_on_full on_full, struct table_ref *ret_ref)
{
    struct table_probe probe = table_probe(table, key, row);

    return table_find_or_claim(table, &probe, on_full, &start, ret_ref);
}

/* A state that is at rest so many seconds after start. */
static uint64_t owing(uint64_t seconds)
{
    return (start.now_ns + seconds * SECOND_NS) * LIMIT_TICKS_PER_NS;
}

static void insert(struct table *table, struct key key, uint32_t row, uint64_t state)
{
    struct table_ref ref;

    assert_int_equal(claim(table, key, row, TABLE_REFUSE, &ref), TABLE_CLAIMED);
    assert_true(ref.state == 0);
    assert_true(table_swap(table, &ref, state));
}

static struct table_census census(struct table *table)
{
    struct table_census census;

    table_take_census(table, &census);
    return census;
}

static uint32_t sweep_all(struct table *table, const struct instant *now)
{
    uint32_t cursor = 0;

    return table_sweep(table, &cursor, (uint32_t)(table_entry_count(table) / TABLE_GROUP_ENTRIES),
                       now);
}

static void test_create_refuses(void **state)
{
    (void)state;
    const struct {
        struct table_options options;
        int error;
    } cases[] = {
        {options_of(0, 1), -EINVAL},
        {options_of(TINY - 1, 1), -EINVAL},
        {options_of(TABLE_MAX_ENTRIES + 1, 1), -EINVAL},
        {options_of(UINT64_MAX, 1), -EINVAL},
        {options_of(TINY, 0), -EINVAL},
        {options_of(TINY, TABLE_MAX_OWNERS + 1), -EINVAL},
        {options_of(TABLE_MAX_ENTRIES, 1), -ENOMEM}, /* 256 GiB */
    };
    struct table_options options = options_of(TINY, 1);
    struct table *table = NULL;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(table_create(&cases[i].options, &table), cases[i].error);
    options.boot_id = 0;
    assert_int_equal(table_create(&options, &table), -EINVAL);
    assert_null(table);
}

static void test_create_tells(void **state)
{
    (void)state;
    struct table *table = table_make(TINY + 1, 1);

    assert_true(table_entry_count(table) == TINY + TABLE_GROUP_ENTRIES);
    assert_true(table_boot_id(table) == 42);
    assert_true(table_time_base_ns(table) == 7);
    assert_true(table_size_bytes(table) >= 32 * table_entry_count(table));
    assert_false(table_has_huge_pages(table)); /* not asked for */
    assert_true(census(table).live == 0);
    assert_true(table->header->magic == TABLE_MAGIC);
    struct table_owner owner = {.region = table_region_shared(table)};

    assert_int_equal(table_owner_set(table, 1, &owner), -EINVAL);
    owner.region.group_count++;
    assert_int_equal(table_owner_set(table, 0, &owner), -EINVAL);
    table_destroy(table);
}

static void test_find_claim_swap(void **state)
{
    (void)state;
    struct table *table = table_make(1000, 2);
    struct key key = key_number(5);
    struct table_ref ref, stale;

    assert_int_equal(find(table, key, 0, &ref), TABLE_ABSENT);
    assert_int_equal(claim(table, key, 0, TABLE_EVICT, &ref), TABLE_CLAIMED);
    assert_int_equal(find(table, key, 0, &stale), TABLE_ABSENT); /* not before the swap */
    assert_true(table_swap(table, &ref, owing(1)));
    assert_false(table_swap(table, &ref, owing(2))); /* it is no claim any more */
    assert_int_equal(find(table, key, 0, &ref), TABLE_FOUND);
    assert_true(ref.state == owing(1));
    stale = ref;
    assert_true(table_swap(table, &ref, owing(3)));
    assert_false(table_swap(table, &stale, owing(4)));
    assert_int_equal(claim(table, key, 0, TABLE_EVICT, &ref), TABLE_FOUND);
    assert_true(ref.state == owing(3));
    assert_true(table_swap(table, &ref, 0)); /* back to rest */
    assert_int_equal(find(table, key, 0, &ref), TABLE_ABSENT);
    assert_true(census(table).live == 0);
    table_destroy(table);
}

/* An entry that was freed and taken again is another one, though its state is the same. */
static void test_swap_sees_reuse(void **state)
{
    (void)state;
    struct table *table = table_make(TINY, 1);
    struct table_ref old, ref;

    insert(table, key_number(5), 0, owing(1));
    assert_int_equal(find(table, key_number(5), 0, &old), TABLE_FOUND);
    ref = old;
    assert_true(table_swap(table, &ref, 0));
    insert(table, key_number(5), 0, owing(1));
    assert_int_equal(find(table, key_number(5), 0, &ref), TABLE_FOUND);
    assert_ptr_equal(ref.entry, old.entry);
    assert_false(table_swap(table, &old, owing(2)));
    assert_true(table_swap(table, &ref, owing(2)));
    table_destroy(table);
}

static void test_withdraw(void **state)
{
    (void)state;
    struct table *table = table_make(TINY, 1);
    struct table_ref ref, again;

    assert_int_equal(claim(table, key_number(5), 0, TABLE_REFUSE, &ref), TABLE_CLAIMED);
    assert_true(census(table).busy == 1);
    assert_int_equal(claim(table, key_number(5), 0, TABLE_REFUSE, &again), TABLE_CLAIMED);
    assert_ptr_equal(again.entry, ref.entry); /* one claim, the key's */
    table_withdraw(table, &ref);
    table_withdraw(table, &again); /* nothing to do */
    assert_true(census(table).busy == 0);
    assert_false(table_swap(table, &again, owing(1)));
    assert_int_equal(claim(table, key_number(5), 0, TABLE_REFUSE, &ref), TABLE_CLAIMED);
    assert_true(table_swap(table, &ref, owing(1)));
    table_withdraw(table, &ref); /* decided meanwhile: stays */
    assert_int_equal(find(table, key_number(5), 0, &ref), TABLE_FOUND);
    table_destroy(table);
}

static void test_owners_are_apart(void **state)
{
    (void)state;
    struct table *table = table_make(1000, 3);
    struct table_ref ref;

    for (uint32_t row = 0; row < 3; row++)
        insert(table, key_number(5), row, owing(row + 1));
    for (uint32_t row = 0; row < 3; row++) {
        assert_int_equal(find(table, key_number(5), row, &ref), TABLE_FOUND);
        assert_true(ref.state == owing(row + 1));
    }
    assert_true(census(table).live == 3);
    table_destroy(table);
}

static void test_regions(void **state)
{
    (void)state;
    struct table *table = table_make(64, 3); /* 16 groups */
    struct table_region first, second, rest;
    struct table_ref ref;

    assert_int_equal(table_region_reserve(table, 49, &first), -ENOSPC);
    assert_int_equal(table_region_reserve(table, UINT64_MAX, &first), -ENOSPC);
    assert_int_equal(table_region_reserve(table, 18, &first), 0);
    assert_int_equal(first.group_count, 5);
    assert_int_equal(table_region_reserve(table, 1, &second), 0);
    assert_int_equal(second.group_count, TABLE_WINDOW_GROUPS);
    rest = table_region_shared(table);
    assert_int_equal(rest.group_count, 7);
    owner_in(table, 1, first);
    owner_in(table, 2, second);
    for (uint64_t i = 1; i <= 1000; i++) { /* a flood in each evicts only there */
        for (uint32_t row = 0; row < 3; row++) {
            if (claim(table, key_number(i), row, TABLE_EVICT, &ref) == TABLE_CLAIMED)
                assert_true(table_swap(table, &ref, owing(i)));
        }
    }
    const struct table_region regions[] = {rest, first, second};

    for (uint32_t i = 0; i < 64; i++) {
        uint32_t row = meta_owner(table->entries[i].meta);
        uint32_t group = i / TABLE_GROUP_ENTRIES;

        assert_int_equal(meta_kind(table->entries[i].meta), ENTRY_LIVE);
        assert_in_range(group, regions[row].first_group,
                        regions[row].first_group + regions[row].group_count - 1);
    }
    struct instant later = {.now_ns = start.now_ns + 2000 * SECOND_NS};

    assert_true(census(table).overflow_marks > 0);
    sweep_all(table, &later); /* frees; marks of groups that end a region wrap in it */
    sweep_all(table, &later);
    assert_true(census(table).live == 0 && census(table).overflow_marks == 0);
    table_destroy(table);
}

static void test_eviction(void **state)
{
    (void)state;
    struct table *table = table_make(TINY, 1);
    struct table_ref ref;

    for (uint64_t i = 0; i < TINY; i++)
        insert(table, key_number(i + 1), 0, owing(100 + (i * 7 + 3) % TINY));
    assert_int_equal(claim(table, key_number(99), 0, TABLE_REFUSE, &ref), TABLE_FULL);
    for (uint64_t debt = 0; debt < TINY; debt++) { /* the least indebted goes, one by one */
        struct table_ref victim;
        uint64_t number = 1;

        while ((((number - 1) * 7 + 3) % TINY) != debt)
            number++;
        assert_int_equal(find(table, key_number(number), 0, &victim), TABLE_FOUND);
        assert_true(table_eviction_count(table) == debt);
        assert_int_equal(claim(table, key_number(100 + debt), 0, TABLE_EVICT, &ref), TABLE_CLAIMED);
        assert_true(table_swap(table, &ref, owing(1000)));
        assert_int_equal(find(table, key_number(number), 0, &ref), TABLE_ABSENT);
        assert_false(table_swap(table, &victim, owing(2000)));
    }
    assert_true(table_eviction_count(table) == TINY);
    table_destroy(table);
}

static void test_claims_and_leases_stay(void **state)
{
    (void)state;
    struct table *table = table_make(TINY, 1);
    struct table_ref ref;

    for (uint64_t i = 0; i < TINY - 1; i++)
        assert_int_equal(claim(table, key_number(i + 1), 0, TABLE_EVICT, &ref), TABLE_CLAIMED);
    insert(table, key_number(50), 0, owing(1));
    assert_int_equal(find(table, key_number(50), 0, &ref), TABLE_FOUND);
    ref.entry->meta |= ENTRY_LEASE;
    assert_int_equal(find(table, key_number(50), 0, &ref), TABLE_FOUND);
    assert_int_equal(claim(table, key_number(99), 0, TABLE_EVICT, &ref), TABLE_FULL);
    struct instant later = {.now_ns = start.now_ns + 9 * SECOND_NS};

    assert_int_equal(sweep_all(table, &later), 0);
    table_destroy(table);
}

static void test_at_rest_is_free(void **state)
{
    (void)state;
    struct table *table = table_make(TINY, 2);
    struct limit_spec spec = {ALGORITHM_FIXED_WINDOW, 5, SECOND_NS, 0};
    struct table_owner window = {.region = table_region_shared(table)};
    struct table_ref ref;

    assert_int_equal(limit_compile(&spec, &window.limit), LIMIT_OK);
    assert_int_equal(table_owner_set(table, 1, &window), 0);
    for (uint64_t i = 0; i < TINY; i++)
        insert(table, key_number(i + 1), 0, i == 9 ? owing(0) : owing(5));
    assert_int_equal(claim(table, key_number(99), 1, TABLE_REFUSE, &ref), TABLE_CLAIMED);
    struct step step = limit_apply(&window.limit, 0, OPERATION_CHECK, 1, start.wall_ns);

    assert_true(table_swap(table, &ref, step.state)); /* a window's state, of another owner */
    assert_int_equal(find(table, key_number(10), 0, &ref), TABLE_ABSENT);
    assert_true(table_eviction_count(table) == 0);
    struct table_probe probe = table_probe(table, key_number(98), 0);
    struct instant later = start; /* wall time alone ends it */

    later.wall_ns += SECOND_NS - 1;
    assert_int_equal(table_find_or_claim(table, &probe, TABLE_REFUSE, &later, &ref), TABLE_FULL);
    later.wall_ns += SECOND_NS;
    assert_int_equal(table_find_or_claim(table, &probe, TABLE_REFUSE, &later, &ref), TABLE_CLAIMED);
    table_destroy(table);
}

static void test_sweep(void **state)
{
    (void)state;
    struct table *table = table_make(400, 1); /* 100 groups */
    struct instant now = start;
    struct table_ref ref;
    uint32_t cursor = 97, freed = 0;

    for (uint64_t i = 0; i < 100; i++)
        insert(table, key_number(i + 1), 0, owing(1 + i));
    now.now_ns += 50 * SECOND_NS;
    for (unsigned i = 0; i < 20; i++)
        freed += table_sweep(table, &cursor, 5, &now);
    assert_int_equal(cursor, 97); /* it wrapped */
    assert_int_equal(freed, 50);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(find(table, key_number(i + 1), 0, &ref),
                         i < 50 ? TABLE_ABSENT : TABLE_FOUND);
    now.now_ns += 50 * SECOND_NS;
    cursor = UINT32_MAX; /* of a larger table */
    assert_int_equal(table_sweep(table, &cursor, 100, &now), 50);
    table_destroy(table);
}

static void test_marks(void **state)
{
    (void)state;
    struct table *table = table_make(400, 1);
    const uint32_t home = 99; /* the last: its window wraps */
    struct table_ref ref;

    for (unsigned i = 0; i < 4; i++)
        insert(table, key_at_home(table, home, i), 0, owing(10));
    assert_true(census(table).overflow_marks == 0);
    insert(table, key_at_home(table, home, 4), 0, owing(20));
    assert_true(census(table).overflow_marks == 1);
    assert_int_equal(find(table, key_at_home(table, home, 4), 0, &ref), TABLE_FOUND);
    assert_ptr_equal(ref.entry, table->entries); /* group 0 */
    struct instant now = start;

    now.now_ns += 15 * SECOND_NS;
    assert_int_equal(sweep_all(table, &now), 4); /* the home group is empty, but its mark needed */
    assert_true(census(table).overflow_marks == 1);
    assert_int_equal(find(table, key_at_home(table, home, 4), 0, &ref), TABLE_FOUND);
    insert(table, key_at_home(table, home, 5), 0, owing(90)); /* changes of hands keep it */
    assert_int_equal(find(table, key_at_home(table, home, 4), 0, &ref), TABLE_FOUND);
    assert_true(table_swap(table, &ref, 0));
    sweep_all(table, &now);
    assert_true(census(table).overflow_marks == 0);
    assert_int_equal(find(table, key_at_home(table, home, 5), 0, &ref), TABLE_FOUND);
    table->entries[home * 4ull].meta =
        meta_with_mark(table->entries[home * 4ull].meta, MARK_CLEARING); /* a dead process's */
    table->header->sweeping_life = 77;
    sweep_all(table, &now);
    assert_true(census(table).overflow_marks == 0);
    table_destroy(table);
}

/* What a dead process left busy is taken by a claim, freed by a sweep; the living's is not. */
static void test_dead_life(void **state)
{
    (void)state;
    struct table *table = table_make(TINY, 1);
    struct table_ref ref;

    for (uint64_t i = 0; i < TINY; i++)
        assert_int_equal(claim(table, key_number(i + 1), 0, TABLE_REFUSE, &ref), TABLE_CLAIMED);
    assert_int_equal(sweep_all(table, &start), 0);
    assert_int_equal(claim(table, key_number(99), 0, TABLE_REFUSE, &ref), TABLE_FULL);
    table->life++;
    assert_int_equal(claim(table, key_number(99), 0, TABLE_REFUSE, &ref), TABLE_FULL);
    table->header->lives[0]++; /* the one before goes on no more */
    assert_int_equal(claim(table, key_number(99), 0, TABLE_REFUSE, &ref), TABLE_CLAIMED);
    assert_true(table_swap(table, &ref, owing(1)));
    assert_int_equal(sweep_all(table, &start), TINY - 1);
    assert_true(census(table).busy == 0 && census(table).live == 1);
    table_destroy(table);
}

/* Keys spread evenly, and another secret spreads them otherwise. */
static void test_homes(void **state)
{
    (void)state;
    struct table *table = table_make(64 * 4, 1);
    unsigned counts[64] = {0};
    unsigned moved = 0;

    for (uint64_t i = 0; i < 64000; i++)
        counts[table_probe(table, (struct key){.low = i, .high = 0}, 0).home_group]++;
    for (unsigned i = 0; i < 64; i++)
        assert_in_range(counts[i], 800, 1200); /* 6 standard deviations of 1000 */
    for (uint64_t i = 0; i < 1000; i++) {
        struct key key = key_number(i);
        uint32_t home = table_probe(table, key, 0).home_group;

        table->secret[0] ^= 1;
        moved += table_probe(table, key, 0).home_group != home;
        table->secret[0] ^= 1;
    }
    assert_true(moved > 900);
    table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_refuses),
        cmocka_unit_test(test_create_tells),
        cmocka_unit_test(test_find_claim_swap),
        cmocka_unit_test(test_swap_sees_reuse),
        cmocka_unit_test(test_withdraw),
        cmocka_unit_test(test_owners_are_apart),
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_claims_and_leases_stay),
        cmocka_unit_test(test_at_rest_is_free),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_dead_life),
        cmocka_unit_test(test_homes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
