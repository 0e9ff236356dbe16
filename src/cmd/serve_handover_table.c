#include "cmd/serve_handover_table.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/serve_replica.h"
#include "cmd/serve_table.h"
#include "cmd/server.h"
#include "sys/handover.h"
#include "table/resume.h"

#define ALIVE_NS 1000000000u

static size_t quota_bytes(const struct server *server)
{
    return server->row_count * sizeof(*server->quota_words);
}

/* ---- the running one ---- */

void serve_describe_table(const struct server *server, struct handover_facts *ret_facts)
{
    carry_look_at(server->table, &ret_facts->table);
    ret_facts->quota_bytes = quota_bytes(server);
}

int serve_send_table(struct server *server, bool is_joined)
{
    size_t len;
    const void *contents = carry_contents(server->table, &len);
    const int fd = server->handover.fd;
    int result =
        handover_send_bytes(fd, server->quota_words, quota_bytes(server), HANDOVER_PATIENCE_MS);
    return result || is_joined ? result
                               : handover_send_bytes(fd, contents, len, HANDOVER_PATIENCE_MS);
}

void serve_keep_table(struct server *server)
{
    table_bury(server->table);
}

/* ---- the new one ---- */

/* Is that what lies at the path? */
static bool is_at(int fd, const char *path)
{
    struct stat handed, named;
    return path && fstat(fd, &handed) == 0 && stat(path, &named) == 0 &&
           handed.st_dev == named.st_dev && handed.st_ino == named.st_ino;
}

static int open_file(struct server *server)
{
    const char *path = server->config->table_file;
    char problem[256];
    if (server->handover.table_fd >= 0 && is_at(server->handover.table_fd, path)) {
        int result = mapfile_adopt(server->handover.table_fd, &server->table_file);
        server->handover.is_joined = result == 0;
        return result
                   ? cmd_fail("serve", "--take-over: table.file: %s: %s", path, strerror(-result))
                   : 0;
    }
    if (path && mapfile_open(path, &server->table_file, problem, sizeof(problem)))
        return cmd_fail("serve", "table.file: %s %s", path, problem);
    return 0;
}

int serve_judge_table(struct server *server)
{
    static const char cannot[] = "; an upgrade keeps the table: restart it instead";
    const struct table_making *table = &server->handover.facts.table;
    const struct config *config = server->config;
    const struct table_options options = serve_table_options(server);
    const uint64_t entries =
        (options.entries + TABLE_GROUP_ENTRIES - 1) / TABLE_GROUP_ENTRIES * TABLE_GROUP_ENTRIES;
    if (table->layout_version != carry_layout_version())
        return cmd_fail("serve",
                        "--take-over: pid %d (%s) has a table of layout %" PRIu32
                        ", this version one of %" PRIu32 "%s",
                        server->handover.pid, server->handover.version, table->layout_version,
                        carry_layout_version(), cannot);
    if (table->entries != entries)
        return cmd_fail("serve",
                        "--take-over: table.entries: is %" PRIu64 ", and %" PRIu64
                        " in the daemon that serves%s",
                        entries, table->entries, cannot);
    if (table->owner_rows < config->index_count)
        return cmd_fail("serve",
                        "--take-over: the rules need %" PRIu32 " owner rows, and the daemon that "
                        "serves has %" PRIu32 "%s",
                        config->index_count, table->owner_rows, cannot);
    if (!table->section_bytes[TABLE_SECTION_REPEATS] != !config->repeat_window_ns)
        return cmd_fail("serve",
                        "--take-over: repeats.window: is %s, and not in the daemon that serves%s",
                        config->repeat_window_ns ? "on" : "off", cannot);
    const uint64_t had = table->section_bytes[TABLE_SECTION_REPLICA];
    if (!had != !config->redis.url)
        return cmd_fail("serve",
                        "--take-over: redis.url: is %s, and %s in the daemon that serves%s",
                        config->redis.url ? "set" : "none", had ? "set" : "none", cannot);
    if (had != serve_replica_bytes(config))
        return cmd_fail("serve",
                        "--take-over: redis.rows and redis.partitions: are other ones than in the "
                        "daemon that serves%s",
                        cannot);
    return open_file(server);
}

int serve_make_taken_table(struct server *server)
{
    const struct table_making *making = &server->handover.facts.table;
    struct table_options options = serve_table_options(server);
    char problem[256] = "";
    int result;
    memcpy(options.section_bytes, making->section_bytes, sizeof(options.section_bytes));
    if (server->handover.is_joined) {
        options.owner_rows = server->config->index_count;
        options.time_base_ns = clock_boot_ns() + ALIVE_NS; /* its signs of life go on meanwhile */
        result = table_join(&options, problem, sizeof(problem), &server->table);
    } else {
        options.owner_rows = making->owner_rows;
        options.boot_id = making->boot_id;
        options.time_base_ns = making->time_base_ns;
        memcpy(options.index_secret, making->index_secret, sizeof(options.index_secret));
        result = table_create(&options, &server->table);
    }
    if (result)
        return cmd_fail("serve", "--take-over: the table of pid %d: %s%s", server->handover.pid,
                        problem[0] ? "it " : "", problem[0] ? problem : strerror(-result));
    struct table_making made;
    carry_look_at(server->table, &made);
    if (made.contents_bytes != making->contents_bytes)
        return cmd_fail("serve", "--take-over: the table of pid %d has another size: restart it",
                        server->handover.pid);
    server->row_count = table_owner_rows(server->table);
    server->has_repeats = table_section(server->table, TABLE_SECTION_REPEATS) != NULL;
    return 0;
}

static int receive_contents(struct server *server)
{
    const int fd = server->handover.fd;
    size_t len;
    void *contents = carry_contents(server->table, &len);
    if (server->handover.facts.quota_bytes != quota_bytes(server))
        return -EPROTO;
    int result =
        handover_receive_bytes(fd, server->quota_words, quota_bytes(server), HANDOVER_PATIENCE_MS);
    if (!result && !server->handover.is_joined)
        result = handover_receive_bytes(fd, contents, len, HANDOVER_PATIENCE_MS);
    return result;
}

int serve_receive_table(struct server *server)
{
    int result = receive_contents(server);
    if (result)
        return cmd_fail("serve", "--take-over: the table of pid %d: %s; it serves on",
                        server->handover.pid, strerror(-result));
    if (server->handover.is_joined)
        carry_take_joined(server->table);
    else
        carry_take_copy(server->table);
    result = engine_resume_owners(server->table, server->config);
    if (result)
        return cmd_fail(
            "serve", "--take-over: the table of pid %d %s: restart it instead; it serves on",
            server->handover.pid,
            result == -ESTALE   ? "has other regions than the tenants' `entries` make"
            : result == -ENOSPC ? "has too few free owner rows for the rules that are new"
                                : "cannot be bound");
    result = serve_judge_replica(server);
    return result ? result : serve_make_repeats(server);
}
