/* A table that goes on after its process ended: what is kept, what is put right, and every file
 * that is refused, with its reason. Processes end here by copying the file's bytes at that instant.
 */
#include "resume_fixture.h"

#include <errno.h>
#include <stdio.h>

#include "table/pair.h"

#define ENTRIES 1024u

/* Takes up a copy of what stands there now; NULL as reason: it must succeed. */
static struct file_table next_life(const struct file_table *f)
{
    struct file_table copied;
    char problem[256];

    copy(f, &copied);
    assert_int_equal(resume(&copied, ENTRIES, problem, sizeof(problem)), 0);
    memcpy(copied.rows, f->rows, sizeof(copied.rows));
    return copied;
}

static void test_states_ids_and_rows_go_on(void **state)
{
    (void)state;
    struct file_table f, next;

    make(&f, ENTRIES);
    for (uint64_t i = 0; i < 100; i++)
        for (enum row row = BUCKET; row <= YEAR; row++)
            assert_true(charge(&f, row, i, 7));
    next = next_life(&f);
    assert_int_equal(table_boot_id(next.table), table_boot_id(f.table));
    assert_int_equal(table_time_base_ns(next.table), table_time_base_ns(f.table));
    assert_int_equal(next.table->life, f.table->life + 1);
    bind(&next, 100, ROW_COUNT);
    assert_memory_equal(next.rows, f.rows, sizeof(f.rows));
    for (uint64_t i = 0; i < 100; i++)
        for (enum row row = BUCKET; row <= YEAR; row++)
            assert_int_equal(state_of(&next, row, i), state_of(&f, row, i));
    settle(&next);
    assert_true(found_in(&next).is_settled);
    assert_int_equal(found_in(&next).taken, 500);
    assert_int_equal(found_in(&next).damaged + found_in(&next).unfinished, 0);
    drop(&next);
    drop(&f);
}

/* A claim that was never decided is nobody's, whether its key was written or not. */
static void test_claims_of_a_dead_life(void **state)
{
    (void)state;
    struct file_table f, next;
    const struct instant now = {.now_ns = 1, .wall_ns = clock_real_ns()};
    struct table_ref ref;

    make(&f, ENTRIES);
    for (uint64_t i = 0; i < 20; i++) {
        const struct table_probe probe = table_probe(f.table, key_of(i), f.rows[BUCKET]);
        assert_int_equal(table_find_or_claim(f.table, &probe, TABLE_REFUSE, &now, &ref),
                         TABLE_CLAIMED);
        if (i % 2)
            ref.entry->meta &= ~META_KEYED;
    }
    next = next_life(&f);
    assert_true(charge(&next, BUCKET, 3, 1));
    settle(&next);
    assert_int_equal(found_in(&next).unfinished, 20);
    assert_int_equal(found_in(&next).damaged, 0);
    assert_int_not_equal(state_of(&next, BUCKET, 3), 0);
    drop(&next);
    drop(&f);
}

/* Counts are those of the leases that stand: what a life left undone is undone. */
static void test_leases_are_counted_anew(void **state)
{
    (void)state;
    struct file_table f, next;

    make(&f, ENTRIES);
    acquire(&f, 1, 11, 2, 2);
    acquire(&f, 1, 12, 3, 2);
    acquire(&f, 1, 13, 5, 1); /* counted, and not granted */
    acquire(&f, 2, 14, 4, 1); /* the same on a key that has no other */
    acquire(&f, 3, 15, 6, 2); /* granted, and its group not noted: never answered */
    const struct table_probe key = table_probe(f.table, key_of(3), f.rows[JOBS]);
    const uint64_t unnoted = table_probe_lease(f.table, &key, 15).home_group;
    f.table->lease_bits[unnoted / 64] &= ~((uint64_t)1 << unnoted % 64);
    acquire(&f, 4, 16, 1, 2); /* granted, while a sweep looks at its group */
    const struct table_probe other = table_probe(f.table, key_of(4), f.rows[JOBS]);
    const uint64_t looked_at = table_probe_lease(f.table, &other, 16).home_group;
    assert_int_not_equal(unnoted, looked_at);
    f.table->lease_bits[looked_at / 64] &= ~((uint64_t)1 << looked_at % 64);
    f.table->looking_bits[looked_at / 64] |= (uint64_t)1 << looked_at % 64;
    next = next_life(&f);
    assert_int_equal(state_of(&next, JOBS, 1), 5);
    assert_int_equal(state_of(&next, JOBS, 2), 0);
    assert_int_equal(state_of(&next, JOBS, 3), 0);
    assert_int_equal(state_of(&next, JOBS, 4), 1);
    settle(&next);
    assert_int_equal(found_in(&next).damaged, 0);
    assert_int_equal(found_in(&next).unfinished, 3); /* two counts and a lease */
    const uint64_t later_ns = now_of(&next).now_ns + 2 * MIN;
    assert_int_equal(
        table_sweep_leases(next.table, 0, table_lease_piece_count(next.table), later_ns), 3);
    assert_int_equal(state_of(&next, JOBS, 1) + state_of(&next, JOBS, 4), 0);
    drop(&next);
    drop(&f);
}

/* A lease that ends before its key's entry was looked at takes its slots off the count anew. */
static void test_a_lease_ends_before_its_key_is_trusted(void **state)
{
    (void)state;
    struct file_table f, next;

    make(&f, ENTRIES);
    acquire(&f, 1, 11, 2, 2);
    acquire(&f, 1, 12, 3, 2);
    acquire(&f, 1, 13, 5, 1);
    next = next_life(&f);
    const struct table_probe key = table_probe(next.table, key_of(1), next.rows[JOBS]);
    const struct table_probe held = table_probe_lease(next.table, &key, 11);
    struct table_lease lease;
    assert_int_equal(table_find_lease(next.table, &held, &lease), TABLE_FOUND);
    assert_true(table_end_lease(next.table, &lease));
    settle(&next);
    assert_int_equal(state_of(&next, JOBS, 1), 3);
    drop(&next);
    drop(&f);
}

/* As a reload: rows of owners that went are freed, a lowered limit is cut, and both go on if the
 * life that had begun them ends on the way. */
static void test_configurations_that_changed(void **state)
{
    (void)state;
    struct file_table f, next, third;

    make(&f, ENTRIES);
    assert_true(charge(&f, BUCKET, 1, 90));
    assert_true(charge(&f, YEAR, 1, 9));
    next = next_life(&f);
    bind(&next, 10, FIXED + 1); /* a tenth of the bucket; no sliding window, no year, no jobs */
    assert_int_equal(state_of(&next, BUCKET, 1),
                     state_of(&f, BUCKET, 1)); /* not cut yet, not freed */
    third = next_life(&next);                  /* ends right there */
    bind(&third, 10, FIXED + 1);
    settle(&third);
    assert_int_equal(found_in(&third).damaged, 0);
    while (owners_upkeep(third.table, 16, read_clock, &third))
        ;
    const struct limit limit = limit_of_row(BUCKET, 10);
    const uint64_t most = now_of(&third).now_ns * LIMIT_TICKS_PER_NS + limit.tolerance;
    assert_in_range(state_of(&third, BUCKET, 1), 1, most);
    assert_true(owners_has_emptied(third.table));
    owners_reclaim(third.table, NULL, NULL);
    assert_int_equal(owners_free_count(third.table), ROWS - 3);
    struct table_census census;
    table_take_census(third.table, &census);
    assert_int_equal(census.live, 1);
    drop(&third);
    drop(&next);
    drop(&f);
}

/* A window whose index may have come round since is forgotten. */
static void test_windows_that_outlived_their_index(void **state)
{
    (void)state;
    struct file_table f, next;

    make(&f, ENTRIES);
    assert_true(charge(&f, SLIDING, 1, 9));
    assert_true(charge(&f, FIXED, 1, 9));
    struct table_row *row = &f.table->rows[f.rows[SLIDING]];
    row->owner.limit.interval = SEC / 100; /* comes round every eleven minutes */
    const uint64_t boot_ns = clock_boot_ns();
    const uint64_t silence_ns = boot_ns > 10 * MIN ? 10 * MIN : boot_ns - 1;
    table_note_alive(f.table,
                     &(struct instant){.now_ns = boot_ns - silence_ns - table_time_base_ns(f.table),
                                       .wall_ns = clock_real_ns() - silence_ns});
    next = next_life(&f);
    settle(&next);
    assert_in_range(found_in(&next).silence_ns, silence_ns, silence_ns + HOUR);
    assert_int_equal(found_in(&next).outlived, silence_ns >= limit_wrap_ns(&row->owner.limit) / 2);
    assert_int_not_equal(state_of(&next, FIXED, 1), 0);
    drop(&next);
    drop(&f);
}

/* Wall time never goes back, not even when the host's did between two lives. */
static void test_the_wall_clock_has_a_floor(void **state)
{
    (void)state;
    struct file_table f, next;

    make(&f, ENTRIES);
    const uint64_t boot_ns = clock_boot_ns(), real_ns = clock_real_ns() + DAY;
    table_note_alive(f.table, &(struct instant){.now_ns = boot_ns - table_time_base_ns(f.table),
                                                .wall_ns = real_ns});
    next = next_life(&f);
    assert_int_equal(table_wall_floor_ns(next.table, boot_ns + 5), real_ns + 5);
    struct wall wall;
    wall_resume(&wall, boot_ns + 5, real_ns - DAY, table_wall_floor_ns(next.table, boot_ns + 5));
    assert_int_equal(wall_at(&wall, boot_ns + 5), real_ns + 5);
    assert_true(wall_at(&wall, boot_ns + 16 * DAY) < boot_ns + 16 * DAY + (real_ns - boot_ns));
    drop(&next);
    drop(&f);
}

/* Two lives at a time, and not three; neither takes the other for dead before it is buried. */
static void test_two_lives(void **state)
{
    (void)state;
    struct file_table f;
    const struct instant now = {.now_ns = 1, .wall_ns = clock_real_ns()};
    struct table *second, *third;
    struct table_ref ref;
    char problem[256];

    make(&f, 16);
    const struct table_options options = options_for(&f, 16);
    for (uint64_t i = 0; i < 16; i++) {
        const struct table_probe probe = table_probe(f.table, key_of(i), f.rows[BUCKET]);
        assert_int_equal(table_find_or_claim(f.table, &probe, TABLE_REFUSE, &now, &ref),
                         TABLE_CLAIMED);
    }
    assert_int_equal(table_join(&options, problem, sizeof(problem), &second), 0);
    assert_int_equal(table_join(&options, problem, sizeof(problem), &third), -EBUSY);
    const struct table_probe probe = table_probe(second, key_of(99), f.rows[BUCKET]);
    assert_int_equal(table_find_or_claim(second, &probe, TABLE_REFUSE, &now, &ref), TABLE_FULL);
    table_bury(second);
    assert_int_equal(table_find_or_claim(second, &probe, TABLE_REFUSE, &now, &ref), TABLE_CLAIMED);
    assert_int_equal(table_join(&options, problem, sizeof(problem), &third), 0);
    table_destroy(third);
    table_destroy(second);
    drop(&f);
}

/* ---- files that are refused ---- */

struct header_case {
    size_t offset;
    uint64_t value;
    bool keeps_sum; /* the checksum is made right again: another program would have */
    const char *reason;
};

#define AT(field, number, sum, why)                                                                \
    {                                                                                              \
        offsetof(struct table_header, field), number, sum, why                                     \
    }

static void test_bad_headers(void **state)
{
    (void)state;
    static const struct header_case cases[] = {
        AT(magic, 0, false, "was not finished by who made it"),
        AT(magic, 77, false, "holds something else than a table"),
        AT(layout_version, 2 | 32ull << 32, true, "has layout 2 where this program has 3"),
        AT(size_bytes, 1 << 20, false, "has a damaged header"),
        AT(size_bytes, 1 << 20, true, "has a damaged header"),
        AT(entry_count, 2048, true, "has 2048 entries where table.entries is 1024"),
        AT(owner_rows, 4, true, "has 4 owner rows where the rules need 8"),
        AT(rows_offset, 0, true, "has a damaged header"),
        AT(entries_offset, 1 << 30, true, "has a damaged header"),
        AT(section_bytes, 8192, true,
           "has 8192 bytes where repeats.memory for each of the workers makes 4096"),
        AT(section_offset, 12345, true, "has a damaged header"),
        AT(index_secret, 8, false, "has a damaged header"),
        AT(boot_id, 8, false, "has a damaged header"),
        AT(machine_boot, 8, true, "is of another boot of this machine"),
        AT(time_base_ns, UINT64_MAX, true, "has a clock that is ahead of the machine's"),
        AT(alive_boot_ns, UINT64_MAX, true, "has a clock that is ahead of the machine's"),
        AT(checksum, 8, false, "has a damaged header"),
        AT(region_count, 0, true, "has a damaged header"),
        AT(region_count, 99, true, "has a damaged header"),
        AT(region_count, 2, true, "has damaged regions"),
    };
    struct file_table f;

    make(&f, ENTRIES);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct file_table copied;
        char problem[256] = "";
        void *memory;

        copy(&f, &copied);
        assert_int_equal(mapfile_map(&copied.file, false, &memory), 0);
        struct table_header *header = memory;
        memcpy((char *)memory + cases[i].offset, &cases[i].value, sizeof(uint64_t));
        if (cases[i].keeps_sum)
            header->checksum = mapping_checksum(header);
        mapfile_unmap(&copied.file, memory);
        assert_int_equal(resume(&copied, ENTRIES, problem, sizeof(problem)), -EINVAL);
        assert_string_equal(problem, cases[i].reason);
        mapfile_close(&copied.file);
    }
    drop(&f);
}

/* Of every length: refused, or (below one page) nothing; and an empty file is a new one. */
static void test_truncated_files(void **state)
{
    (void)state;
    struct file_table f;
    char problem[256];

    make(&f, ENTRIES);
    for (uint64_t size = 0; size < f.file.size_bytes; size = size ? size * 3 : 1) {
        struct file_table copied;

        copy(&f, &copied);
        assert_int_equal(ftruncate(copied.file.fd, (off_t)size), 0);
        copied.file.size_bytes = size;
        assert_int_equal(resume(&copied, ENTRIES, problem, sizeof(problem)),
                         size ? -EINVAL : -ENODATA);
        if (size)
            assert_non_null(strstr(problem, "is truncated to "));
        mapfile_close(&copied.file);
    }
    drop(&f);
}

/* ---- rows that cannot be ---- */

static void test_damaged_rows_are_nobodys(void **state)
{
    (void)state;
    struct file_table f, next;

    for (unsigned damage = 0; damage < 6; damage++) {
        make(&f, ENTRIES);
        assert_true(charge(&f, BUCKET, 1, 9));
        assert_true(charge(&f, FIXED, 1, 9));
        struct table_row *row = &f.table->rows[f.rows[BUCKET]];
        if (damage == 0)
            row->owner.limit.algorithm = 200;
        if (damage == 1)
            row->owner.region.group_count = UINT32_MAX;
        if (damage == 2)
            row->owner.region.first_group = 12345678;
        if (damage == 3)
            row->use = 99;
        if (damage == 4)
            row->owner.limit.interval = 0;
        if (damage == 5)
            row->owner.limit.sync = 9;
        next = next_life(&f);
        bind(&next, 100, ROW_COUNT);
        settle(&next);
        while (
            owners_upkeep(next.table, 16, (owners_clock_fn *)(void (*)(void))clock_boot_ns, NULL))
            ;
        assert_int_equal(state_of(&next, BUCKET, 1), 0);
        assert_int_equal(state_of(&next, FIXED, 1), state_of(&f, FIXED, 1));
        assert_true(charge(&next, BUCKET, 1, 100)); /* anew */
        drop(&next);
        drop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states_ids_and_rows_go_on),
        cmocka_unit_test(test_claims_of_a_dead_life),
        cmocka_unit_test(test_leases_are_counted_anew),
        cmocka_unit_test(test_a_lease_ends_before_its_key_is_trusted),
        cmocka_unit_test(test_configurations_that_changed),
        cmocka_unit_test(test_windows_that_outlived_their_index),
        cmocka_unit_test(test_the_wall_clock_has_a_floor),
        cmocka_unit_test(test_two_lives),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_truncated_files),
        cmocka_unit_test(test_damaged_rows_are_nobodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
