/* Rows are found again, given away only when they have nothing to tell, and together by key; the
 * store's clock is judged by its fastest answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "replica/rows.h"
#include "replica/store_clock.h"

#define MS 1000000ull
#define US 1000ull

static const struct table_owner OWNER = {
    .tenant_id = 1,
    .rule_id = 2,
    .limit = {.interval = 1, .burst = 9, .algorithm = ALGORITHM_FIXED_WINDOW}};

static struct row *claim(struct rows *rows, uint64_t key, uint64_t window, uint64_t now_ns)
{
    struct row *row = rows_find_or_claim(rows, (struct key){key, 1}, 3, &OWNER, window);

    if (row)
        row->used_ns = now_ns;
    return row;
}

static void test_rows_with_something_to_tell_stay(void **unused)
{
    struct rows rows;
    (void)unused;

    assert_int_equal(rows_create(&rows, ROWS_PROBES, 4), 0); /* so every key has all places */
    for (uint64_t i = 0; i < ROWS_PROBES; i++) {
        struct row *row = claim(&rows, i, 3, i + 1);
        assert_non_null(row);
        assert_ptr_equal(row, claim(&rows, i, 3, i + 1));
        if (i != 5 && i != 9)
            delta_charge(&row->delta, &row->limit, 1, i);
    }
    assert_int_equal(rows.used_count, ROWS_PROBES);
    struct row *row = rows_find(&rows, (struct key){5, 1}, 3, 3);
    assert_ptr_equal(row, claim(&rows, 77, 3, 40)); /* silent longest */
    assert_null(rows_find(&rows, (struct key){5, 1}, 3, 3));
    row->wanted = 1;
    row = rows_find(&rows, (struct key){9, 1}, 3, 3);
    row->place = ROW_LINGERING; /* in a list */
    assert_null(claim(&rows, 78, 3, 41));
    row->place = ROW_QUIET;
    row->is_kept = true;
    assert_null(claim(&rows, 78, 3, 41));
    row->is_kept = false;
    assert_ptr_equal(row, claim(&rows, 78, 3, 41));
    rows_destroy(&rows);
}

/* An owner's row with another owner in it is another key's, as soon as it was told. */
static void test_owners_that_change(void **unused)
{
    const struct table_owner other = {.tenant_id = 1, .rule_id = 7, .limit = OWNER.limit};
    struct rows rows;
    (void)unused;

    assert_int_equal(rows_create(&rows, 64, 4), 0);
    struct row *row = claim(&rows, 5, 3, 1);
    row->place = ROW_IN_FLIGHT;
    assert_null(rows_find_or_claim(&rows, row->key, 3, &other, 3));
    row->place = ROW_QUIET;
    assert_ptr_equal(row, rows_find_or_claim(&rows, row->key, 3, &other, 3));
    assert_int_equal(row->rule_id, 7);
    assert_int_equal(row->used_ns, 0);
    rows_destroy(&rows);
}

static void test_windows_of_a_key(void **unused)
{
    struct rows rows;
    struct row *row;
    uint32_t cursor = 0, seen = 0;
    (void)unused;

    assert_int_equal(rows_create(&rows, 64, 4), 0);
    for (uint64_t window = 7; window < 10; window++)
        assert_int_equal(claim(&rows, 5, window, 1)->partition, claim(&rows, 5, 7, 1)->partition);
    claim(&rows, 6, 8, 1);
    while ((row = rows_next_of_key(&rows, (struct key){5, 1}, 3, &cursor)))
        seen |= 1u << (row->window - 7);
    assert_int_equal(seen, 7);
    rows_destroy(&rows);
}

static void test_lists(void **unused)
{
    struct rows rows;
    struct rows_list list;
    (void)unused;

    assert_int_equal(rows_create(&rows, 64, 4), 0);
    rows_list_init(&list);
    struct row *a = claim(&rows, 1, 1, 1), *b = claim(&rows, 2, 1, 1), *c = claim(&rows, 3, 1, 1);
    rows_list_append(&rows, &list, a);
    rows_list_append(&rows, &list, b);
    rows_list_prepend(&rows, &list, c);
    assert_int_equal(list.count, 3);
    assert_ptr_equal(&rows.rows[list.first], c);
    rows_list_remove(&rows, &list, a); /* from the middle */
    assert_int_equal(list.last, b - rows.rows);
    rows_list_remove(&rows, &list, c);
    rows_list_remove(&rows, &list, b);
    assert_int_equal(list.first, ROWS_NONE);
    assert_int_equal(list.last, ROWS_NONE);
    rows_destroy(&rows);
}

/* What the node believes of the store's clock, answer by answer: the store is at 1 s + now. */
static void test_store_clock(void **unused)
{
    static const struct {
        uint64_t sent_ns, received_ns, store_us;
        int64_t off_ns; /* of what is believed, to the later side */
    } TABLE[] = {
        {10 * MS, 14 * MS, 1011000, 3 * MS},       /* an answer of 3 ms */
        {20 * MS, 21 * MS, 1020800, 200 * US},     /* a faster one */
        {30 * MS, 50 * MS, 1031000, 200 * US},     /* a slow one says nothing */
        {1050 * MS, 1052 * MS, 2051000, 200 * US}, /* the next turn */
        {2060 * MS, 2062 * MS, 3061000, MS},       /* the fast one is forgotten */
        {2070 * MS, 2071 * MS, 3600500 + 3070500, -3600500 * (int64_t)US + 500 * (int64_t)US},
        /* set ahead by an hour: believed at once; and back: */
        {2080 * MS, 2081 * MS, 3080500, 500 * US},
    };
    struct store_clock clock = {.is_known = false};
    (void)unused;

    for (unsigned i = 0; i < sizeof(TABLE) / sizeof(TABLE[0]); i++) {
        store_clock_hear(&clock, TABLE[i].sent_ns, TABLE[i].received_ns, TABLE[i].store_us);
        const int64_t off_ns = clock.offset_ns + 1000 * (int64_t)MS;
        if (off_ns != TABLE[i].off_ns)
            fail_msg("row %u: %lld, not %lld", i, (long long)off_ns, (long long)TABLE[i].off_ns);
    }
    assert_int_equal(store_clock_at_ns(&clock, 3080500), 2081 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_with_something_to_tell_stay),
        cmocka_unit_test(test_owners_that_change),
        cmocka_unit_test(test_windows_of_a_key),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_store_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
