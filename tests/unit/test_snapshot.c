/* Snapshots of small tables: what is found wrong with a file, what is left out, what is stopped. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "snapshot_fixture.h"

#include "core/gcra.h"
#include "table/copy.h"
#include "table/lease.h"

#define SEC 1000000000ull
#define KEYS 5000u /* three blocks */
#define BUCKET 3u  /* rows */
#define SLOTS 4u
#define RATE_NS (SEC / 10)
#define BURST 100u

static const struct limit bucket = {.interval = RATE_NS * LIMIT_TICKS_PER_NS,
                                    .tolerance = BURST * RATE_NS * LIMIT_TICKS_PER_NS,
                                    .burst = BURST,
                                    .algorithm = ALGORITHM_TOKEN_BUCKET};
static const struct limit slots = {
    .interval = 60 * SEC, .burst = 1000, .algorithm = ALGORITHM_CONCURRENCY};

static struct machine machine;
static struct table *table;

static struct table *make(uint64_t entries)
{
    const struct table_options options = {
        .entries = entries,
        .owner_rows = 8,
        .index_secret = {entries, 7},
        .boot_id = 9,
        .time_base_ns = machine.boot_ns,
    };
    struct table *made;

    machine.base_ns = machine.boot_ns;
    assert_int_equal(table_create(&options, &made), 0);
    struct table_owner owner = {
        .tenant_id = 1, .rule_id = 2, .limit = bucket, .region = table_region_shared(made)};
    assert_int_equal(table_owner_set(made, BUCKET, &owner), 0);
    owner.rule_id = 3;
    owner.limit = slots;
    assert_int_equal(table_owner_set(made, SLOTS, &owner), 0);
    return made;
}

static struct key key_of(uint32_t number)
{
    return (struct key){.low = number * 0x9e3779b97f4a7c15ull, .high = number};
}

/* Units that a key could take now. */
static uint32_t left_of(struct table *of, uint32_t number)
{
    const struct table_probe probe = table_probe(of, key_of(number), BUCKET);
    const struct instant now = machine_now(&machine);
    struct table_ref ref;
    const bool is_found = table_find(of, &probe, &ref) == TABLE_FOUND;

    return limit_apply(&bucket, is_found ? ref.state : 0, OPERATION_PEEK, 1, now.now_ns)
        .verdict.remaining;
}

static void charge(struct table *of, uint32_t number, uint32_t units)
{
    const struct table_probe probe = table_probe(of, key_of(number), BUCKET);
    const struct instant now = machine_now(&machine);
    struct table_ref ref;

    assert_int_not_equal(table_find_or_claim(of, &probe, TABLE_EVICT, &now, &ref), TABLE_FULL);
    const struct step step = limit_apply(&bucket, ref.state, OPERATION_CHECK, units, now.now_ns);
    assert_true(table_swap(of, &ref, step.state));
}

static struct snapshot_report save(void)
{
    struct snapshot_report report;

    assert_int_equal(machine_save(&machine, table, &report), 0);
    return report;
}

static enum snapshot_fault load(struct table *into, struct snapshot_loaded *ret_loaded)
{
    return machine_load(&machine, into, ret_loaded);
}

static int set_up(void **unused)
{
    (void)unused;
    machine = (struct machine){.boot_ns = 50 * SEC, .wall_ns = 1790000000 * SEC, .boot_id = {1}};
    if (machine_open(&machine))
        return -1;
    table = make(4 * KEYS);
    for (uint32_t i = 0; i < KEYS; i++)
        charge(table, i, 1 + i % 90);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    table_destroy(table);
    machine_close(&machine);
    return 0;
}

static void every_key_is_found_again(void **unused)
{
    (void)unused;
    struct snapshot_loaded loaded;
    struct stat status;
    const struct snapshot_report report = save();

    assert_int_equal(report.entries, KEYS);
    assert_int_equal(report.owners, 1);
    assert_int_equal(stat(machine.path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal((uint64_t)status.st_size, report.bytes);
    machine.boot_ns += SEC;
    machine.wall_ns += SEC;
    struct table *other = make(3 * KEYS);
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    assert_int_equal(loaded.way, SNAPSHOT_SAME_BOOT);
    assert_int_equal(loaded.elapsed_ns, SEC);
    assert_int_equal(loaded.entries + loaded.rested, KEYS);
    for (uint32_t i = 0; i < KEYS; i++) {
        const uint32_t owed = 1 + i % 90;
        assert_int_equal(left_of(other, i), owed > 10 ? BURST - owed + 10 : BURST);
    }
    table_destroy(other);
}

/* The kernel's boot id is the same, but its clock is behind: a copied machine, or a clock of its
 * own. Only wall time is left. */
static void a_clock_that_is_behind_is_not_believed(void **unused)
{
    (void)unused;
    struct snapshot_loaded loaded;

    save();
    machine.boot_ns = 20 * SEC;
    machine.wall_ns += 2 * SEC;
    struct table *other = make(4 * KEYS);
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    assert_int_equal(loaded.way, SNAPSHOT_REBOOT);
    assert_int_equal(loaded.elapsed_ns, 2 * SEC);
    assert_int_equal(left_of(other, 89), BURST - 90 + 20);
    table_destroy(other);
}

static void a_smaller_table_keeps_who_owes_most(void **unused)
{
    (void)unused;
    struct snapshot_loaded loaded;
    uint64_t large = 0, small = 0;

    save();
    struct table *other = make(1024);
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    for (uint32_t i = 0; i < KEYS; i++) {
        large += i % 90 >= 80 && left_of(other, i) < BURST;
        small += i % 90 < 45 && left_of(other, i) < BURST;
    }
    assert_true(large > 200); /* of 555 */
    assert_true(small < 100); /* of 2,500 */
    table_destroy(other);
}

/* ---- files that are not whole ---- */

static void write_at(uint64_t offset, const void *bytes, size_t len)
{
    const int file = open(machine.path, O_WRONLY);

    assert_int_equal(pwrite(file, bytes, len, (off_t)offset), len);
    close(file);
}

static void what_is_wrong_is_named(void **unused)
{
    (void)unused;
    struct snapshot_loaded loaded;
    const uint64_t bytes = save().bytes;
    const uint32_t newer = SNAPSHOT_VERSION + 1;
    struct table *other = make(4 * KEYS);
    static const struct {
        uint64_t len;
        enum snapshot_fault fault;
    } cuts[] = {{0, SNAPSHOT_FOREIGN},     {7, SNAPSHOT_FOREIGN},      {8, SNAPSHOT_TRUNCATED},
                {511, SNAPSHOT_TRUNCATED}, {1023, SNAPSHOT_TRUNCATED}, {1024, SNAPSHOT_TRUNCATED}};

    write_at(8, &newer, sizeof(newer));
    assert_int_equal(load(other, &loaded), SNAPSHOT_NEWER);
    save();
    write_at(100, "x", 1);
    assert_int_equal(load(other, &loaded), SNAPSHOT_DAMAGED);
    save();
    write_at(bytes - 100, "x", 1);
    assert_int_equal(load(other, &loaded), SNAPSHOT_DAMAGED);
    save();
    write_at(bytes, "x", 1); /* longer */
    assert_int_equal(load(other, &loaded), SNAPSHOT_TRUNCATED);
    for (uint64_t blocks = 0; blocks < 3; blocks++) {
        save();
        assert_int_equal(truncate(machine.path, (off_t)snapshot_file_bytes(blocks)), 0);
        assert_int_equal(load(other, &loaded), SNAPSHOT_TRUNCATED);
    }
    for (size_t i = sizeof(cuts) / sizeof(cuts[0]); i-- > 0;) {
        assert_int_equal(truncate(machine.path, (off_t)cuts[i].len), 0);
        assert_int_equal(load(other, &loaded), cuts[i].fault);
    }
    write_at(0, "#!/bin/sh", 9);
    assert_int_equal(load(other, &loaded), SNAPSHOT_FOREIGN);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(left_of(other, i), BURST);
    table_destroy(other);
}

static void a_damaged_block_is_left_out(void **unused)
{
    (void)unused;
    struct snapshot_loaded loaded;
    const uint64_t bytes = save().bytes;

    write_at(SNAPSHOT_HEADER_BYTES + SNAPSHOT_BLOCK_BYTES + 1000, "damage", 6); /* the second */
    struct table *other = make(4 * KEYS);
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    assert_int_equal(loaded.damaged_blocks, 1);
    assert_in_range(loaded.entries, KEYS - 2046, KEYS - 2043);
    table_destroy(other);
    save();
    write_at(bytes - SNAPSHOT_HEADER_BYTES - 1000, "damage", 6); /* that of the owners */
    other = make(4 * KEYS);
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    assert_int_equal(loaded.damaged_blocks, 1);
    assert_int_equal(loaded.gone, KEYS);
    assert_int_equal(loaded.entries, 0);
    table_destroy(other);
}

/* Blocks in another order, or of another snapshot, are each whole. */
static void blocks_belong_to_their_places(void **unused)
{
    (void)unused;
    struct snapshot_loaded loaded;
    static struct snapshot_block block;

    save();
    const int file = open(machine.path, O_RDONLY);
    assert_int_equal(pread(file, &block, sizeof(block), SNAPSHOT_HEADER_BYTES), sizeof(block));
    close(file);
    write_at(SNAPSHOT_HEADER_BYTES + SNAPSHOT_BLOCK_BYTES, &block, sizeof(block));
    struct table *other = make(4 * KEYS);
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    assert_int_equal(loaded.damaged_blocks, 1);
    machine.wall_ns++;
    save();
    write_at(SNAPSHOT_HEADER_BYTES, &block, sizeof(block));
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    assert_int_equal(loaded.damaged_blocks, 1);
    table_destroy(other);
}

static void who_else_may_write_is_not_believed(void **unused)
{
    (void)unused;
    struct snapshot_source source;
    char link[128];

    save();
    assert_int_equal(chmod(machine.path, 0620), 0);
    assert_int_equal(snapshot_open(machine.path, false, &source), -EPERM);
    assert_int_equal(snapshot_open(machine.path, true, &source), 0);
    snapshot_close(&source);
    assert_int_equal(chmod(machine.path, 0602), 0);
    assert_int_equal(snapshot_open(machine.path, false, &source), -EPERM);
    assert_int_equal(snapshot_open(machine.folder, false, &source), -EINVAL);
    snprintf(link, sizeof(link), "%s/none", machine.folder);
    assert_int_equal(snapshot_open(link, false, &source), -ENOENT);
}

/* ---- what stands in it ---- */

/* Writes one block by hand, and loads it. */
static struct snapshot_loaded load_records(enum snapshot_kind kind, const void *records,
                                           uint32_t count)
{
    struct snapshot_reader reader = {.header = {.begin_boot_ns = machine.boot_ns,
                                                .time_base_ns = machine.boot_ns - 10 * SEC,
                                                .begin_wall_ns = machine.wall_ns,
                                                .id = 1}};
    static struct snapshot_block blocks[2];
    const struct snapshot_now now = machine_snapshot_now(&machine);
    struct snapshot_loaded loaded;

    memset(blocks, 0, sizeof(blocks));
    memcpy(blocks[0].bytes, records, (size_t)count * snapshot_record_bytes(kind));
    blocks[0].count = count;
    blocks[1].owners[0] =
        (struct snapshot_owner){.row = BUCKET, .tenant_id = 1, .rule_id = 2, .limit = bucket};
    blocks[1].owners[1] =
        (struct snapshot_owner){.row = SLOTS, .tenant_id = 1, .rule_id = 3, .limit = slots};
    blocks[1].owners[2] = (struct snapshot_owner){.row = UINT32_MAX};
    blocks[1].count = 3;
    snapshot_seal_header(&reader.header);
    snapshot_seal_block(&blocks[0], kind, 1, 0);
    snapshot_seal_block(&blocks[1], SNAPSHOT_OWNERS, 1, 1);
    reader.end = (struct snapshot_end){.id = 1,
                                       .block_count = 2,
                                       .first_owner_block = 1,
                                       .end_boot_ns = machine.boot_ns,
                                       .end_wall_ns = machine.wall_ns};
    snapshot_seal_end(&reader.end);
    const int file = open(machine.path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(write(file, &reader.header, sizeof(reader.header)) > 0);
    assert_true(write(file, blocks, sizeof(blocks)) > 0);
    assert_true(write(file, &reader.end, sizeof(reader.end)) > 0);
    close(file);
    struct table *other = make(4096);
    memcpy(machine.boot_id, now.machine_boot_id, sizeof(machine.boot_id));
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    table_destroy(table);
    table = other;
    return loaded;
}

static void what_cannot_be_is_left_out(void **unused)
{
    (void)unused;
    const uint64_t full = gcra_ticks(10 * SEC) + bucket.tolerance;
    const struct table_copied entries[] = {
        {.key = key_of(1), .state = full, .owner = BUCKET},
        {.key = key_of(2), .state = UINT64_MAX, .owner = BUCKET}, /* cut to a full bucket */
        {.key = key_of(3), .state = full, .owner = SLOTS},
        {.key = key_of(4), .state = full, .owner = 5},
        {.key = key_of(5), .state = full, .owner = UINT32_MAX},
        {.key = key_of(6), .state = gcra_ticks(9 * SEC), .owner = BUCKET},
        /* twice, as it moved while it was copied: the stricter one stays */
        {.key = key_of(7), .state = full - 2 * bucket.interval, .owner = BUCKET},
        {.key = key_of(7), .state = full, .owner = BUCKET},
        {.key = key_of(7), .state = full - bucket.interval, .owner = BUCKET},
    };
    const struct snapshot_loaded loaded = load_records(SNAPSHOT_ENTRIES, entries, 9);

    assert_int_equal(loaded.entries, 3);
    assert_int_equal(loaded.implausible, 1);
    assert_int_equal(loaded.gone, 2);
    assert_int_equal(loaded.rested, 1);
    assert_int_equal(left_of(table, 1), 0);
    assert_int_equal(left_of(table, 2), 0);
    assert_int_equal(left_of(table, 7), 0);
    machine.boot_ns += RATE_NS;
    assert_int_equal(left_of(table, 2), 1);
}

static uint64_t count_of(uint32_t number)
{
    const struct table_probe probe = table_probe(table, key_of(number), SLOTS);
    struct table_ref ref;

    return table_find(table, &probe, &ref) == TABLE_FOUND ? table_count_of(&ref) : 0;
}

static void leases_add_up(void **unused)
{
    (void)unused;
    const struct table_copied_lease leases[] = {
        {.key = key_of(101), .of = key_of(1), .expires_ms = 12000, .slots = 2, .owner = SLOTS},
        {.key = key_of(102), .of = key_of(1), .expires_ms = 12001, .slots = 3, .owner = SLOTS},
        {.key = key_of(101), .of = key_of(1), .expires_ms = 13000, .slots = 2, .owner = SLOTS},
        {.key = key_of(103), .of = key_of(1), .expires_ms = 10000, .slots = 9, .owner = SLOTS},
        {.key = key_of(104), .of = key_of(1), .expires_ms = 12000, .slots = 0, .owner = SLOTS},
        {.key = key_of(105),
         .of = key_of(1),
         .expires_ms = 12000,
         .slots = UINT32_MAX,
         .owner = SLOTS},
        {.key = key_of(106),
         .of = key_of(2),
         .expires_ms = UINT64_MAX,
         .slots = LIMIT_SLOTS_MAX,
         .owner = SLOTS},
        {.key = key_of(107), .of = key_of(2), .expires_ms = 12000, .slots = 1, .owner = SLOTS},
        {.key = key_of(108), .of = key_of(3), .expires_ms = 12000, .slots = 1, .owner = BUCKET},
    };
    const struct snapshot_loaded loaded = load_records(SNAPSHOT_LEASES, leases, 9);

    assert_int_equal(loaded.leases, 3);
    assert_int_equal(loaded.rested, 1);
    assert_int_equal(loaded.implausible, 3);
    assert_int_equal(loaded.full, 1);
    assert_int_equal(count_of(1), 5);
    assert_int_equal(count_of(2), LIMIT_SLOTS_MAX);
    const uint32_t pieces = table_lease_piece_count(table);
    assert_int_equal(table_sweep_leases(table, 0, pieces, 2 * SEC), 1);
    assert_int_equal(count_of(1), 3);
    assert_int_equal(table_sweep_leases(table, 0, pieces, 2 * SEC + SEC / 500), 1);
    assert_int_equal(count_of(1), 0);
    /* none is longer than the longest there is */
    assert_int_equal(table_sweep_leases(table, 0, pieces, LIMIT_LEASE_MAX_NS), 1);
    assert_int_equal(count_of(2), 0);
}

/* ---- a copy that does not come to its end ---- */

static void a_copy_that_is_stopped_leaves_the_old_file(void **unused)
{
    (void)unused;
    struct snapshot_report report;
    struct snapshot_loaded loaded;
    char temporary[128];

    save();
    charge(table, KEYS, 1);
    machine.pauses_left = 2;
    assert_int_equal(machine_save(&machine, table, &report), -ECANCELED);
    machine.pauses_left = 0;
    machine.renewals = 1;
    assert_int_equal(machine_save(&machine, table, &report), -EAGAIN);
    snprintf(temporary, sizeof(temporary), "%s.tmp", machine.path);
    assert_int_not_equal(access(temporary, F_OK), 0);
    struct table *other = make(4 * KEYS);
    assert_int_equal(load(other, &loaded), SNAPSHOT_FINE);
    assert_int_equal(loaded.entries, KEYS);
    table_destroy(other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_key_is_found_again),
        TEST(a_clock_that_is_behind_is_not_believed),
        TEST(a_smaller_table_keeps_who_owes_most),
        TEST(what_is_wrong_is_named),
        TEST(a_damaged_block_is_left_out),
        TEST(blocks_belong_to_their_places),
        TEST(who_else_may_write_is_not_believed),
        TEST(what_cannot_be_is_left_out),
        TEST(leases_add_up),
        TEST(a_copy_that_is_stopped_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
