/* Damage of every kind to the entries of a table that is taken up: after it, whatever stands in the
 * table is plausible by a rule written down here on its own, what was not damaged is as it was, and
 * nobody reads outside of the table (the sanitizers watch).
 *
 * Each world is filled with buckets, windows, calendars and leases, ends at some instant (claims
 * and leases half done), and gets one kind of damage: single bits, whole words, swapped entries, or
 * noise all over. METE_COUNT / 100 worlds (300) from METE_SEED on. */
#include "../unit/resume_fixture.h"
#include "lib/random.h"

#include <stdio.h>

#include "table/pair.h"

#define ENTRIES 256u
#define KEYS 40u

static uint64_t random_state, world_seed;

static uint64_t random64(void)
{
    return random_next(&random_state);
}

static uint64_t below(uint64_t most)
{
    return random64() % most;
}

static void fill(struct file_table *f)
{
    const struct instant now = now_of(f);
    struct table_ref ref;

    for (unsigned i = 0; i < 120; i++)
        (void)charge(f, (enum row)below(JOBS), below(KEYS), 1 + (uint32_t)below(5));
    for (unsigned i = 0; i < 12; i++)
        acquire(f, below(6), random64() | 1, 1 + (uint32_t)below(3), below(4) ? 2 : 1);
    for (unsigned i = 0; i < 3; i++) {
        const struct table_probe probe =
            table_probe(f->table, key_of(1000 + i), f->rows[below(JOBS)]);
        (void)table_find_or_claim(f->table, &probe, TABLE_REFUSE, &now, &ref);
    }
}

/* Marks what it changed. */
static void damage(struct table_entry *entries, bool *is_hit)
{
    const unsigned kind = (unsigned)below(4);
    const unsigned count = kind == 3 ? ENTRIES : 1 + (unsigned)below(30);

    for (unsigned i = 0; i < count; i++) {
        const unsigned at = kind == 3 ? i : (unsigned)below(ENTRIES);
        const unsigned other = (unsigned)below(ENTRIES);
        uint64_t words[4];

        memcpy(words, &entries[at], sizeof(words));
        is_hit[at] = true;
        if (kind == 0)
            words[below(4)] ^= (uint64_t)1 << below(64);
        if (kind == 1)
            words[below(4)] = random64();
        if (kind == 2) {
            struct table_entry moved = entries[other];
            memcpy(&entries[other], words, sizeof(words));
            memcpy(words, &moved, sizeof(words));
            is_hit[other] = true;
        }
        if (kind == 3)
            for (unsigned j = 0; j < 4; j++)
                words[j] = random64();
        memcpy(&entries[at], words, sizeof(words));
    }
}

/* By the text of doubts.h, and of none of its code. */
static void judge_entry(const struct file_table *f, const struct table_entry *entry)
{
    const struct table *table = f->table;
    const unsigned kind = entry->meta & 3;
    const uint32_t row = (uint32_t)(entry->meta >> 14 & 0xfffff);
    const struct instant now = now_of(f);

    assert_int_not_equal(kind, ENTRY_BUSY);
    if (kind == ENTRY_EMPTY)
        return;
    assert_true(row < ROWS && table->rows[row].use == ROW_USED);
    const struct table_probe probe = table_probe(table, entry->key, row);
    const uint64_t group = (uint64_t)(entry - table->entries) / 4;
    assert_true((group + ENTRIES / 4 - probe.home_group) % (ENTRIES / 4) < 4);
    if (group != probe.home_group) /* it must be found from home */
        assert_true(table->entries[probe.home_group * 4].meta >> 2 & 3);
    const struct limit *limit = &table->rows[row].owner.limit;
    assert_int_equal(kind == ENTRY_LEASE, limit->algorithm == ALGORITHM_CONCURRENCY);
    assert_false(entry->meta >> 4 & 1); /* no ring knows of it */
    if (limit->algorithm == ALGORITHM_TOKEN_BUCKET)
        assert_true(entry->state / 16 <=
                    now.now_ns + (limit->keeps_tat ? 3650 * DAY : limit->tolerance / 16 + 1) + SEC);
    if (limit->algorithm == ALGORITHM_FIXED_WINDOW)
        assert_true((uint32_t)entry->state <= limit->burst &&
                    (int32_t)((uint32_t)(entry->state >> 32) - now.wall_ns / limit->interval) <= 1);
    if (limit->algorithm == ALGORITHM_SLIDING_WINDOW)
        assert_true((entry->state & 0xffffff) <= limit->burst &&
                    (entry->state >> 24 & 0xffffff) <= limit->burst);
    if (limit->algorithm == ALGORITHM_CALENDAR)
        assert_true((uint32_t)entry->state <= limit->burst &&
                    (entry->state >> 32 == UINT32_MAX ||
                     entry->state >> 32 <= now.wall_ns / SEC + 367 * 86400));
}

/* The count of each key is what its leases hold. */
static void judge_leases(const struct file_table *f)
{
    uint64_t held[ENTRIES] = {0};

    for (unsigned i = 0; i < ENTRIES; i++) {
        const struct table_entry *entry = &f->table->entries[i];
        if ((entry->meta & 3) != ENTRY_LEASE || entry->state < 1u << 23)
            continue;
        const uint64_t position = (entry->meta >> 34 & 1023) << 23 | (entry->state & 0x7fffff);
        assert_true(position < ENTRIES);
        held[position] += entry->meta >> 44;
    }
    for (unsigned i = 0; i < ENTRIES; i++) {
        const struct table_entry *entry = &f->table->entries[i];
        if ((entry->meta & 3) == ENTRY_LEASE && entry->state < 1u << 23)
            assert_int_equal(entry->state, held[i]);
        else
            assert_int_equal(held[i], 0);
    }
}

/* Asks, charges and sweeps in between, so that groups come to be trusted in every order. */
static void use(struct file_table *f)
{
    const struct instant now = now_of(f);
    uint32_t cursor = (uint32_t)below(ENTRIES / 4);

    for (unsigned i = 0; i < 20; i++) {
        const uint64_t what = below(4);
        if (what == 0)
            (void)charge(f, (enum row)below(JOBS), below(KEYS), 1);
        if (what == 1)
            table_sweep(f->table, &cursor, 3, &now);
        if (what == 2)
            table_sweep_leases(f->table, 0, table_lease_piece_count(f->table), now.now_ns);
        if (what == 3)
            (void)state_of(f, (enum row)below(ROW_COUNT), below(KEYS));
    }
}

static void play(bool uses)
{
    struct file_table f, next;
    bool is_hit[ENTRIES] = {false};
    char problem[256];
    void *memory;

    make(&f, ENTRIES);
    fill(&f);
    copy(&f, &next);
    assert_int_equal(mapfile_map(&next.file, false, &memory), 0);
    damage((struct table_entry *)(void *)((char *)memory + f.table->header->entries_offset),
           is_hit);
    mapfile_unmap(&next.file, memory);
    assert_int_equal(resume(&next, ENTRIES, problem, sizeof(problem)), 0);
    memcpy(next.rows, f.rows, sizeof(f.rows));
    if (uses)
        use(&next);
    settle(&next);
    for (unsigned i = 0; i < ENTRIES; i++)
        judge_entry(&next, &next.table->entries[i]);
    judge_leases(&next);
    for (unsigned i = 0; i < ENTRIES && !uses; i++) {
        const struct table_entry *was = &f.table->entries[i], *is = &next.table->entries[i];
        if (!is_hit[i] && (was->meta & 3) == ENTRY_LIVE) { /* but for the mark of its group */
            assert_int_equal(is->state, was->state);
            assert_int_equal(is->meta & ~12ull, was->meta & ~12ull);
            assert_memory_equal(&is->key, &was->key, sizeof(is->key));
        }
    }
    drop(&next);
    drop(&f);
}

static void test_what_stands_is_plausible(void **state)
{
    (void)state;
    const uint64_t first = random_seed((uint64_t)getpid());
    const uint64_t worlds = random_count(30000) / 100;

    for (uint64_t i = 0; i < worlds; i++) {
        random_state = first + i;
        world_seed = first + i;
        play(i % 2);
    }
}

/* A failure leaves the test at once; this is run all the same. */
static int say_seed(void **state)
{
    (void)state;
    printf("last world: METE_SEED=%llu\n", (unsigned long long)world_seed);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_what_stands_is_plausible, say_seed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
