/* What a snapshot costs by itself, on one core and without a daemon: copying and writing a table
 * while nobody else uses it, without pauses, and reading it into a new one.
 *
 *   micro_snapshot [--tiny] [--keys N] [--folder DIR]      ten million keys in a table half full
 *
 * The keys owe what they owe for a year, so all of them are copied. Times are of the whole way to
 * the disk and, as the file was just written, from the page cache back. Prints a row each. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/gcra.h"
#include "snapshot/load.h"
#include "snapshot/save.h"
#include "sys/clock.h"

#define YEAR_NS (365ull * 86400 * 1000000000)

static const struct limit limit = {.interval = YEAR_NS * LIMIT_TICKS_PER_NS,
                                   .tolerance = 5 * YEAR_NS * LIMIT_TICKS_PER_NS,
                                   .burst = 5,
                                   .algorithm = ALGORITHM_TOKEN_BUCKET};

static void die(const char *what, int result)
{
    fprintf(stderr, "micro_snapshot: %s: %s\n", what, strerror(-result));
    exit(2);
}

static struct instant now_of(const struct table *table)
{
    return (struct instant){.now_ns = clock_boot_ns() - table_time_base_ns(table),
                            .wall_ns = clock_real_ns()};
}

static struct table *make(uint64_t keys, uint64_t secret)
{
    const struct table_options options = {
        .entries = keys * 2,
        .owner_rows = 4,
        .index_secret = {secret, ~secret},
        .boot_id = 1,
        .time_base_ns = clock_boot_ns(),
        .huge_pages = true,
    };
    struct table *table;
    int result = table_create(&options, &table);
    if (result)
        die("the table", result);
    const struct table_owner owner = {
        .tenant_id = 1, .rule_id = 2, .limit = limit, .region = table_region_shared(table)};
    result = table_owner_set(table, 1, &owner);
    if (result)
        die("the owner", result);
    return table;
}

static void fill(struct table *table, uint64_t keys)
{
    const struct instant now = now_of(table);
    for (uint64_t i = 0; i < keys; i++) {
        const struct table_copied copied = {
            .key = {.low = i * 0x9e3779b97f4a7c15ull, .high = i ^ i << 32},
            .state = gcra_ticks(now.now_ns + YEAR_NS / 2),
            .owner = 1,
        };
        table_put(table, &copied, &now);
    }
}

static void read_clocks(void *context, uint64_t *ret_boot_ns, uint64_t *ret_wall_ns)
{
    (void)context;
    *ret_boot_ns = clock_boot_ns();
    *ret_wall_ns = clock_real_ns();
}

static bool enter(void *context, struct instant *ret_now)
{
    *ret_now = now_of(context);
    return true;
}

static void leave(void *context)
{
    (void)context;
}

static bool go_on(void *context)
{
    (void)context;
    return true;
}

static void no_names(void *context, uint32_t row, const struct table_owner *owner,
                     struct snapshot_owner *record)
{
    (void)context, (void)row, (void)owner, (void)record;
}

static void print(const char *what, uint64_t begin_ns, uint64_t cpu_ns, uint64_t entries)
{
    const double seconds = (double)(clock_boot_ns() - begin_ns) / 1e9;
    const double busy = (double)(clock_thread_ns() - cpu_ns) / 1e9;
    printf("%-6s %10" PRIu64 " entries %8.3f s %8.3f s of CPU %8.1f ns an entry\n", what, entries,
           seconds, busy, seconds * 1e9 / (double)entries);
}

static void save(struct table *table, const char *path)
{
    const struct snapshot_hooks hooks = {.context = table,
                                         .clock = read_clocks,
                                         .enter = enter,
                                         .leave = leave,
                                         .pause = go_on,
                                         .name = no_names};
    struct snapshot_header header = {.id = 1, .machine_boot_id = {1}};
    static struct replace file;
    struct snapshot_report report;
    const uint64_t begin_ns = clock_boot_ns(), cpu_ns = clock_thread_ns();
    int result = replace_open(&file, path);
    if (!result)
        result = replace_begin(&file);
    if (!result)
        result = snapshot_save(table, &header, &hooks, &file, &report);
    if (!result)
        result = replace_commit(&file, false);
    if (result)
        die(path, result);
    replace_close(&file);
    print("write", begin_ns, cpu_ns, report.entries);
    printf("       %.1f MiB\n", (double)report.bytes / 1048576);
}

static void load(struct table *table, const char *path)
{
    struct snapshot_now now = {.machine_boot_id = {1}};
    struct snapshot_source source;
    struct snapshot_reader reader;
    struct snapshot_loaded loaded;
    const uint64_t begin_ns = clock_boot_ns(), cpu_ns = clock_thread_ns();
    int result = snapshot_open(path, false, &source);
    if (result)
        die(path, result);
    read_clocks(NULL, &now.boot_ns, &now.wall_ns);
    if (snapshot_read_begin(&source, &reader) != SNAPSHOT_FINE)
        die(path, -EINVAL);
    result = snapshot_load(table, &reader, &now, &loaded);
    if (result)
        die(path, result);
    snapshot_close(&source);
    print("read", begin_ns, cpu_ns, loaded.entries);
    if (loaded.full || loaded.damaged_blocks)
        printf("       %" PRIu64 " found no room, %" PRIu64 " blocks were damaged\n", loaded.full,
               loaded.damaged_blocks);
}

int main(int argc, char **argv)
{
    uint64_t keys = 10000000;
    const char *folder = "/tmp";
    char path[PATH_MAX];
    bool is_good = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--tiny") == 0)
            keys = 10000;
        else if (i + 1 == argc)
            is_good = false;
        else if (strcmp(argv[i], "--keys") == 0)
            keys = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--folder") == 0)
            folder = argv[++i];
        else
            is_good = false;
    }
    if (!is_good || keys < 12 || keys > 1000000000) {
        fprintf(stderr, "usage: micro_snapshot [--tiny] [--keys N] [--folder DIR]\n");
        return 2;
    }
    snprintf(path, sizeof(path), "%s/micro_snapshot.%d", folder, (int)getpid());
    struct table *first = make(keys, 1);
    fill(first, keys);
    save(first, path);
    table_destroy(first);
    struct table *second = make(keys, 2);
    load(second, path);
    unlink(path);
    table_destroy(second);
    return 0;
}
