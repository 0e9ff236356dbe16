/* Any bytes as a snapshot. Behind a first byte of even value as a whole file; else as the fields
 * and records of one whose checksums are right, so that what stands behind them is reached.
 * Whatever is put into a table is of its owners, and each state answers within its limit; slots are
 * the sum of their leases, and all are over at the end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/load.h"
#include "table/lease.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES 512u
#define BLOCKS 3u
#define SEC 1000000000ull

static void require(int is_true)
{
    if (!is_true)
        abort();
}

static const struct limit limits[] = {
    {.interval = 16 * SEC,
     .tolerance = 160 * SEC,
     .burst = 10,
     .algorithm = ALGORITHM_TOKEN_BUCKET},
    {.interval = 16, .tolerance = 1600, .burst = 100, .algorithm = ALGORITHM_LEAKY_QUEUE},
    {.interval = 1000000, .burst = 5, .algorithm = ALGORITHM_FIXED_WINDOW},
    {.interval = 10000000, .burst = 5, .algorithm = ALGORITHM_SLIDING_WINDOW},
    {.interval = 7, .burst = 5, .algorithm = ALGORITHM_CALENDAR},
    {.interval = SEC, .burst = 5, .algorithm = ALGORITHM_CONCURRENCY},
    {.algorithm = ALGORITHM_DENY},
    {.interval = 16,
     .tolerance = UINT64_MAX,
     .burst = 1,
     .algorithm = ALGORITHM_TOKEN_BUCKET,
     .keeps_tat = 1},
};
#define OWNERS (sizeof(limits) / sizeof(limits[0]))

struct bytes {
    const uint8_t *at;
    size_t left;
};

static int read_bytes(void *context, uint64_t offset, void *ret_bytes, size_t len)
{
    const struct bytes *bytes = context;

    require(offset <= bytes->left && len <= bytes->left - offset);
    memcpy(ret_bytes, bytes->at + offset, len);
    return 0;
}

/* What is not there is 0. */
static void take(struct bytes *bytes, void *into, size_t len)
{
    const size_t got = len < bytes->left ? len : bytes->left;

    memset(into, 0, len);
    memcpy(into, bytes->at, got);
    bytes->at += got;
    bytes->left -= got;
}

static void make_blocks(struct bytes *data, struct snapshot_block *blocks, uint64_t id,
                        uint64_t first_owner)
{
    for (uint64_t i = 0; i < BLOCKS; i++) {
        uint8_t head[2];

        take(data, head, sizeof(head));
        const enum snapshot_kind kind = i >= first_owner ? SNAPSHOT_OWNERS
                                        : head[0] & 1    ? SNAPSHOT_LEASES
                                                         : SNAPSHOT_ENTRIES;
        const uint32_t count = head[1] % 24;

        memset(&blocks[i], 0, sizeof(blocks[i]));
        take(data, blocks[i].bytes, (size_t)count * snapshot_record_bytes(kind));
        blocks[i].count = count;
        /* most owners are ones that there are */
        for (uint32_t j = 0; kind == SNAPSHOT_OWNERS && j < count && j < OWNERS; j++) {
            blocks[i].owners[j].row = j;
            blocks[i].owners[j].tenant_id = 1;
            blocks[i].owners[j].rule_id = j + 1;
            blocks[i].owners[j].override = 0;
            if (!(head[0] & 2))
                blocks[i].owners[j].limit = limits[j];
        }
        snapshot_seal_block(&blocks[i], kind, id, i);
    }
}

static size_t make_file(struct bytes *data, uint8_t *file)
{
    struct snapshot_header header = {.id = 5};
    struct snapshot_end end = {.id = 5, .block_count = BLOCKS};
    static struct snapshot_block blocks[BLOCKS];
    uint8_t flags;

    take(data, &flags, 1);
    take(data, &header.begin_boot_ns, sizeof(header.begin_boot_ns));
    take(data, &header.time_base_ns, sizeof(header.time_base_ns));
    take(data, &end.end_boot_ns, sizeof(end.end_boot_ns));
    take(data, &end.end_wall_ns, sizeof(end.end_wall_ns));
    header.machine_boot_id[0] = flags & 1;
    end.first_owner_block = flags >> 1 & 3;
    snapshot_seal_header(&header);
    make_blocks(data, blocks, header.id, end.first_owner_block);
    snapshot_seal_end(&end);
    memcpy(file, &header, sizeof(header));
    memcpy(file + sizeof(header), blocks, sizeof(blocks));
    memcpy(file + sizeof(header) + sizeof(blocks), &end, sizeof(end));
    return sizeof(header) + sizeof(blocks) + sizeof(end);
}

static struct table *make_table(void)
{
    const struct table_options options = {.entries = ENTRIES,
                                          .owner_rows = 16,
                                          .index_secret = {1, 2},
                                          .boot_id = 3,
                                          .time_base_ns = 100 * SEC};
    struct table *table;

    require(table_create(&options, &table) == 0);
    for (uint32_t i = 0; i < OWNERS; i++) {
        const struct table_owner owner = {.tenant_id = 1,
                                          .rule_id = i + 1,
                                          .limit = limits[i],
                                          .region = table_region_shared(table)};
        require(table_owner_set(table, 8 + i, &owner) == 0);
    }
    return table;
}

static void judge(struct table *table, const struct snapshot_loaded *loaded,
                  const struct instant *now)
{
    static struct table_copied entries[ENTRIES];
    static struct table_copied_lease leases[ENTRIES];
    struct table_copies copies = {
        .entries = entries, .entry_size = ENTRIES, .leases = leases, .lease_size = ENTRIES};
    struct table_census census;
    uint64_t cursor = 0;

    table_copy(table, &cursor, ENTRIES, now, &copies);
    require(copies.entry_count <= loaded->entries && copies.lease_count <= loaded->leases);
    for (uint32_t i = 0; i < copies.entry_count; i++) {
        require(entries[i].owner >= 8 && entries[i].owner < 8 + OWNERS);
        const struct limit *limit = &limits[entries[i].owner - 8];
        const struct step step = limit_apply(limit, entries[i].state, OPERATION_PEEK, 1,
                                             limit_is_wall(limit) ? now->wall_ns : now->now_ns);

        require(limit->algorithm != ALGORITHM_CONCURRENCY);
        /* the last limit is none that compiles: its tau is more than its burst */
        require(limit->keeps_tat || step.verdict.remaining <= limit->burst);
        require(limit_is_wall(limit) || limit->keeps_tat ||
                step.verdict.reset_after_ns <= limit->tolerance / LIMIT_TICKS_PER_NS + 1);
    }
    table_sweep_leases(table, 0, table_lease_piece_count(table), now->now_ns + LIMIT_LEASE_MAX_NS);
    copies.entry_count = copies.lease_count = 0;
    cursor = 0;
    table_copy(table, &cursor, ENTRIES, now, &copies);
    table_take_census(table, &census);
    require(copies.lease_count == 0 && census.busy == 0);
    require(census.live == copies.entry_count); /* no count of slots is left */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[2 * SNAPSHOT_HEADER_BYTES + BLOCKS * SNAPSHOT_BLOCK_BYTES];
    struct snapshot_now now = {.boot_ns = 200 * SEC, .wall_ns = 1790000000 * SEC};
    struct bytes bytes = {data, size};
    struct snapshot_reader reader;
    struct snapshot_loaded loaded;

    if (size == 0)
        return 0;
    now.machine_boot_id[0] = data[0] >> 1 & 1;
    bytes.at++;
    bytes.left--;
    if (data[0] & 1)
        bytes = (struct bytes){.left = make_file(&bytes, file), .at = file};
    const struct snapshot_source source = {read_bytes, &bytes, bytes.left};
    const enum snapshot_fault fault = snapshot_read_begin(&source, &reader);

    require(strlen(snapshot_fault_text(fault)) > 0);
    if (fault != SNAPSHOT_FINE)
        return 0;
    struct table *table = make_table();
    require(snapshot_load(table, &reader, &now, &loaded) == 0);
    const struct instant instant = {.now_ns = 100 * SEC, .wall_ns = now.wall_ns};
    judge(table, &loaded, &instant);
    table_destroy(table);
    return 0;
}
