/* A start is warm if table.file holds what this configuration would make, and cold otherwise:
 *
 *   open      the file is locked; one that another daemon has ends the start
 *   resume    its header says whether it can be taken up (table/resume.h), and if not, why
 *   bind      as a reload: rows of owners that stayed go on, the others' entries are freed in
 * pieces settle    entries are looked at in pieces too, the rest when somebody asks for them
 *
 * Main thread only. */
#include "cmd/serve_table.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "cmd/cmd.h"
#include "cmd/serve_handover_table.h"
#include "cmd/serve_reload.h"
#include "cmd/serve_replica.h"
#include "cmd/server.h"
#include "obs/log.h"
#include "sys/clock.h"
#include "table/owners.h"

#define SETTLE_GROUPS 4096u       /* of one piece: 512 KiB of the table */
#define FIRST_LOOK_NS 20000000ull /* a table of some million entries is looked at within */

struct table_options serve_table_options(struct server *server)
{
    const struct config *config = server->config;
    struct table_options options = {
        .entries = config->table_entries,
        .owner_rows = serve_row_count(config->index_count),
        .time_base_ns = server->started_boot_ns,
        .huge_pages = true,
        .file = config->table_file ? &server->table_file : NULL,
    };
    if (config->repeat_window_ns)
        options.section_bytes[TABLE_SECTION_REPEATS] = config->repeat_bytes * server->worker_count;
    options.section_bytes[TABLE_SECTION_REPLICA] = serve_replica_bytes(config);
    return options;
}

/* What a mapping and its life are named by. */
static int name_life(struct table_options *options)
{
    if (getrandom(options->index_secret, sizeof(options->index_secret), 0) < 0 ||
        getrandom(&options->boot_id, sizeof(options->boot_id), 0) < 0)
        return cmd_fail("serve", "no random numbers: %s", strerror(errno));
    if ((options->boot_id & 0xFFFF) == 0)
        options->boot_id |= 1; /* boot bits 0 mean: unknown */
    return 0;
}

static int start_cold(struct server *server, struct table_options *options)
{
    int result = name_life(options);
    if (result)
        return result;
    result = table_create(options, &server->table);
    if (result && options->file)
        return cmd_fail("serve",
                        "table.file: %s: %" PRIu64 " entries need %.1f MiB of its file system: %s",
                        server->config->table_file, options->entries,
                        (double)options->entries / 32768, strerror(-result));
    if (result)
        return cmd_fail("serve", "table.entries: %" PRIu64 " entries need %.1f MiB of memory: %s",
                        options->entries, (double)options->entries / 32768, strerror(-result));
    result = engine_bind_owners(server->table, server->config);
    if (result)
        return cmd_fail("serve", "table.entries: the tenants' regions do not fit: %s",
                        strerror(-result));
    return 0;
}

/* 0, -ENODATA (a new file), or why not in problem. */
static int start_warm(struct server *server, const struct table_options *options, char *problem,
                      size_t size)
{
    struct table_options wanted = *options;
    wanted.owner_rows = server->config->index_count; /* more than that are for reloads */
    int result = table_resume(&wanted, clock_real_ns(), problem, size, &server->table);
    if (result) {
        if (result != -ENODATA && !problem[0])
            snprintf(problem, size, "cannot be used: %s", strerror(-result));
        return result;
    }
    result = engine_resume_owners(server->table, server->config);
    if (!result)
        return 0;
    snprintf(problem, size, "%s",
             result == -ESTALE   ? "has other regions than the tenants' `entries` make"
             : result == -ENOSPC ? "has too few free owner rows for the rules that are new"
                                 : strerror(-result));
    table_destroy(server->table);
    server->table = NULL;
    return result;
}

int serve_make_table(struct server *server)
{
    if (server->handover.fd >= 0)
        return serve_make_taken_table(server);
    const char *path = server->config->table_file;
    char problem[256];
    struct table_options options = serve_table_options(server);
    int result = path ? mapfile_open(path, &server->table_file, problem, sizeof(problem)) : 0;
    if (result)
        return cmd_fail("serve", "table.file: %s %s", path, problem);
    result = path ? start_warm(server, &options, problem, sizeof(problem)) : -ENODATA;
    if (result && result != -ENODATA && server->config->on_bad_file == ON_BAD_FILE_REFUSE)
        return cmd_fail("serve",
                        "table.file: %s %s; remove it, or table.on_bad_file: start begins with an "
                        "empty table",
                        path, problem);
    if (result && result != -ENODATA)
        log_event(LOG_WARNING, "table", "table.file: %s %s; starting with an empty table", path,
                  problem);
    if (result)
        result = start_cold(server, &options);
    if (!result)
        server->row_count = table_owner_rows(server->table);
    return result;
}

static void say_settled(const struct server *server)
{
    struct table_resumed found;
    table_look_resumed(server->table, &found);
    log_event(found.damaged ? LOG_WARNING : LOG_INFO, "table",
              "table.file: %" PRIu64 " entries taken over after %.3f s; freed: %" PRIu64
              " damaged, %" PRIu64 " unfinished, %" PRIu64 " outlived",
              found.taken, (double)found.silence_ns / 1e9, found.damaged, found.unfinished,
              found.outlived);
}

bool serve_settle_table(struct server *server)
{
    struct table_resumed found;
    table_look_resumed(server->table, &found);
    if (found.is_settled)
        return false;
    bool has_more = table_settle_doubts(server->table, SETTLE_GROUPS);
    if (!has_more)
        say_settled(server);
    return has_more;
}

void serve_format_start(struct server *server, char *text, size_t size)
{
    struct table_resumed found;
    snprintf(text, size, "%s",
             !server->handover.is_taken   ? ""
             : server->handover.is_joined ? " joined"
                                          : " taken over");
    if (!server->config->table_file || server->handover.is_taken)
        return;
    const uint64_t until_ns = clock_boot_ns() + FIRST_LOOK_NS;
    while (clock_boot_ns() < until_ns && serve_settle_table(server))
        ;
    table_look_resumed(server->table, &found);
    if (!found.is_resumed)
        snprintf(text, size, " cold");
    else
        snprintf(text, size, " warm with %s%" PRIu64, found.is_settled ? "" : "more than ",
                 found.taken);
}

void serve_print_table_json(const struct server *server, FILE *out)
{
    struct table_resumed found;
    if (!server->config->table_file)
        return;
    table_look_resumed(server->table, &found);
    fprintf(out,
            ",\"file\":{\"start\":\"%s\",\"settled\":%s,\"life\":%" PRIu64
            ",\"silence_s\":%.3f,\"taken\":%" PRIu64 ",\"damaged\":%" PRIu64
            ",\"unfinished\":%" PRIu64 ",\"outlived\":%" PRIu64 "}",
            server->handover.is_taken ? "taken over"
            : found.is_resumed        ? "warm"
                                      : "cold",
            found.is_settled ? "true" : "false", found.life, (double)found.silence_ns / 1e9,
            found.taken, found.damaged, found.unfinished, found.outlived);
}

void serve_print_table_text(const struct server *server, FILE *out)
{
    struct table_resumed found;
    if (!server->config->table_file)
        return;
    table_look_resumed(server->table, &found);
    if (server->handover.is_taken || !found.is_resumed)
        fprintf(out, "table.file: %s\n",
                server->handover.is_taken ? "taken over from the process before" : "started cold");
    else
        fprintf(out,
                "table.file: life %" PRIu64 ", started warm after %.3f s, %" PRIu64
                " entries taken over%s; freed: %" PRIu64 " damaged, %" PRIu64
                " unfinished, %" PRIu64 " outlived\n",
                found.life, (double)found.silence_ns / 1e9, found.taken,
                found.is_settled ? "" : " so far", found.damaged, found.unfinished, found.outlived);
}

void serve_close_table(struct server *server)
{
    table_destroy(server->table);
    mapfile_close(&server->table_file);
}
