/* What a running daemon says of itself on the admin socket: counters by reason, per worker and
 * summed, rules and table; as text for people, as JSON for programs. */
#include "cmd/serve_census.h"
#include "cmd/serve_reload.h"
#include "cmd/serve_replica.h"
#include "cmd/serve_snapshot.h"
#include "cmd/serve_table.h"
#include "cmd/serve_top.h"
#include "cmd/server.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

static uint64_t sum(const struct server *server, enum counter counter)
{
    uint64_t total = 0;
    for (unsigned w = 0; w < server->thread_count; w++)
        total += counter_read(&server->counters[w].cell[counter]);
    return total;
}

static double uptime_s(const struct server *server)
{
    return (double)(clock_boot_ns() - server->started_boot_ns) / 1e9;
}

/* User and system time of the whole process. */
static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print_cells(const struct counters *counters, const char *before, FILE *out)
{
    fprintf(out, "%s{", before);
    for (unsigned c = 0; c < COUNTER_COUNT; c++)
        fprintf(out, "%s\"%s\":%" PRIu64, c ? "," : "", counter_name(c),
                counter_read(&counters->cell[c]));
    fprintf(out, "}");
}

static void print_json(const struct server *server, const struct census *census, FILE *out)
{
    fprintf(out,
            "{\"version\":\"%s\",\"uptime_s\":%.3f,\"cpu_s\":%.6f,\"backend\":\"%s\",\"total\":{",
            METE_VERSION, uptime_s(server), cpu_s(), server->workers[0].backend);
    for (unsigned c = 0; c < COUNTER_COUNT; c++)
        fprintf(out, "%s\"%s\":%" PRIu64, c ? "," : "", counter_name(c), sum(server, c));
    fprintf(out, "},\"workers\":[");
    for (unsigned w = 0; w < server->worker_count; w++)
        print_cells(&server->counters[w], w ? "," : "", out);
    if (server->loop) {
        fprintf(out, "],\"doors\":[");
        print_cells(&server->counters[server->worker_count], "", out);
    }
    fprintf(out,
            "],\"table\":{\"entries\":%" PRIu64 ",\"live\":%" PRIu64 ",\"evictions\":%" PRIu64
            ",\"bytes\":%zu",
            table_entry_count(server->table), census->live, table_eviction_count(server->table),
            table_size_bytes(server->table));
    serve_print_table_json(server, out);
    fprintf(out, "},");
    usage_print_json(server, census->rows, out);
    serve_print_replica_json(server, out);
    serve_print_snapshot_json(server, out);
    fprintf(out, "}\n");
}

static void print_text(const struct server *server, const struct census *census, FILE *out)
{
    fprintf(out, "mete %s, up %.1f s, backend %s\n\n%-16s %14s", METE_VERSION, uptime_s(server),
            server->workers[0].backend, "", "all");
    for (unsigned w = 0; server->worker_count > 1 && w < server->worker_count; w++)
        fprintf(out, "  worker %-5u", w);
    fprintf(out, "\n");
    for (unsigned c = 0; c < COUNTER_COUNT; c++) {
        fprintf(out, "%-16s %14" PRIu64, counter_name(c), sum(server, c));
        for (unsigned w = 0; server->worker_count > 1 && w < server->worker_count; w++)
            fprintf(out, " %13" PRIu64, counter_read(&server->counters[w].cell[c]));
        fprintf(out, "\n");
    }
    fprintf(out,
            "\ntable: %" PRIu64 " of %" PRIu64 " entries in use, %" PRIu64
            " evicted with debt, %.1f MiB\n",
            census->live, table_entry_count(server->table), table_eviction_count(server->table),
            (double)table_size_bytes(server->table) / 1048576);
    serve_print_table_text(server, out);
    usage_print_text(server, census->rows, out);
    serve_print_replica_text(server, out);
    serve_print_snapshot_text(server, out);
}

static void answer_stats(const struct server *server, bool as_json, FILE *out)
{
    struct census census;
    if (census_init(&census, server)) {
        fprintf(out, "error: no memory to count\n");
        return;
    }
    census_update(&census, server);
    if (as_json)
        print_json(server, &census, out);
    else
        print_text(server, &census, out);
    census_deinit(&census);
}

void serve_answer_admin(void *context, const struct admin_peer *peer, const char *command,
                        FILE *out)
{
    struct server *server = context;
    char asker[64];
    snprintf(asker, sizeof(asker), "admin pid %d uid %u", (int)peer->pid, (unsigned)peer->uid);
    if (strncmp(command, HANDOVER_COMMAND " ", sizeof(HANDOVER_COMMAND)) == 0)
        serve_begin_handover(server, peer, command, out);
    else if (strcmp(command, "reload") == 0)
        serve_reload(server, asker, out);
    else if (strcmp(command, "stats json") == 0)
        answer_stats(server, true, out);
    else if (strcmp(command, "stats") == 0)
        answer_stats(server, false, out);
    else if (strcmp(command, "top") == 0)
        serve_top_answer(server, out);
    else if (strncmp(command, "snapshot ", 9) == 0)
        serve_answer_snapshot(server, asker, command + 9, out);
    else
        fprintf(out,
                "error: unknown command '%s'; known: stats, stats json, top, reload, snapshot\n",
                command);
}
