/* What a running daemon says of itself on the admin socket: counters by reason, per worker and
 * summed, rules and table; as text for people, as JSON for programs. */
#include "cmd/serve_reload.h"
#include "cmd/server.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

static uint64_t sum(const struct server *server, enum counter counter)
{
    uint64_t total = 0;
    for (unsigned w = 0; w < server->worker_count; w++)
        total += counter_read(&server->counters[w].cell[counter]);
    return total;
}

struct rule_sum serve_sum_row(const struct server *server, uint32_t row)
{
    struct rule_sum total = {0};
    for (unsigned w = 0; w < server->worker_count; w++) {
        const struct rule_counters *cell =
            &server->rule_counters[(size_t)w * server->row_count + row];
        total.allowed += counter_read(&cell->allowed);
        total.denied += counter_read(&cell->denied);
        total.would_deny += counter_read(&cell->would_deny);
        total.units += counter_read(&cell->units);
    }
    return total;
}

static struct rule_sum sum_rule(const struct server *server, uint32_t row)
{
    struct rule_sum total = serve_sum_row(server, row);
    const struct rule_sum *carried = &server->carried[row];
    total.allowed += carried->allowed;
    total.denied += carried->denied;
    total.would_deny += carried->would_deny;
    total.units += carried->units;
    return total;
}

/* Calls visit for every rule of every tenant, and for inline limits that were used. */
static void each_rule(const struct server *server, FILE *out,
                      void (*visit)(FILE *out, const char *tenant, const char *rule,
                                    struct rule_sum sum, bool is_first))
{
    bool is_first = true;
    for (uint32_t t = 0; t < server->config->tenant_count; t++) {
        const struct tenant *tenant = &server->config->tenants[t];
        for (uint32_t r = 0; r < tenant->rule_count; r++) {
            visit(out, tenant->name, tenant->rules[r].name,
                  sum_rule(server, tenant->rules[r].index), is_first);
            is_first = false;
        }
        struct rule_sum inline_sum = sum_rule(server, tenant->inline_index);
        if (inline_sum.allowed + inline_sum.denied) {
            visit(out, tenant->name, "(inline)", inline_sum, is_first);
            is_first = false;
        }
    }
}

static void json_rule(FILE *out, const char *tenant, const char *rule, struct rule_sum total,
                      bool is_first)
{
    /* Names are letters, digits and a few signs (the configuration sees to it): nothing to escape.
     */
    fprintf(out,
            "%s{\"tenant\":\"%s\",\"rule\":\"%s\",\"allowed\":%" PRIu64 ",\"denied\":%" PRIu64
            ",\"would_deny\":%" PRIu64 ",\"units\":%" PRIu64 "}",
            is_first ? "" : ",", tenant, rule, total.allowed, total.denied, total.would_deny,
            total.units);
}

static void text_rule(FILE *out, const char *tenant, const char *rule, struct rule_sum total,
                      bool is_first)
{
    if (is_first)
        fprintf(out, "\n%-32s %14s %14s %14s %14s\n", "tenant/rule", "allowed", "denied",
                "would_deny", "units");
    char name[2 * CONFIG_MAX_NAME + 2];
    snprintf(name, sizeof(name), "%s/%s", tenant, rule);
    fprintf(out, "%-32s %14" PRIu64 " %14" PRIu64 " %14" PRIu64 " %14" PRIu64 "\n", name,
            total.allowed, total.denied, total.would_deny, total.units);
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

static void print_json(const struct server *server, FILE *out)
{
    fprintf(out,
            "{\"version\":\"%s\",\"uptime_s\":%.3f,\"cpu_s\":%.6f,\"backend\":\"%s\",\"total\":{",
            METE_VERSION, uptime_s(server), cpu_s(), server->workers[0].backend);
    for (unsigned c = 0; c < COUNTER_COUNT; c++)
        fprintf(out, "%s\"%s\":%" PRIu64, c ? "," : "", counter_name(c), sum(server, c));
    fprintf(out, "},\"workers\":[");
    for (unsigned w = 0; w < server->worker_count; w++) {
        fprintf(out, "%s{", w ? "," : "");
        for (unsigned c = 0; c < COUNTER_COUNT; c++)
            fprintf(out, "%s\"%s\":%" PRIu64, c ? "," : "", counter_name(c),
                    counter_read(&server->counters[w].cell[c]));
        fprintf(out, "}");
    }
    struct table_census census;
    table_take_census(server->table, &census);
    fprintf(out,
            "],\"table\":{\"entries\":%" PRIu64 ",\"live\":%" PRIu64 ",\"evictions\":%" PRIu64
            ",\"bytes\":%zu},\"rules\":[",
            table_entry_count(server->table), census.live, table_eviction_count(server->table),
            table_size_bytes(server->table));
    each_rule(server, out, json_rule);
    fprintf(out, "]}\n");
}

static void print_text(const struct server *server, FILE *out)
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
    struct table_census census;
    table_take_census(server->table, &census);
    fprintf(out,
            "\ntable: %" PRIu64 " of %" PRIu64 " entries in use, %" PRIu64
            " evicted with debt, %.1f MiB\n",
            census.live, table_entry_count(server->table), table_eviction_count(server->table),
            (double)table_size_bytes(server->table) / 1048576);
    each_rule(server, out, text_rule);
}

void serve_answer_admin(void *context, const struct admin_peer *peer, const char *command,
                        FILE *out)
{
    struct server *server = context;
    char asker[64];
    snprintf(asker, sizeof(asker), "admin pid %d uid %u", (int)peer->pid, (unsigned)peer->uid);
    if (strcmp(command, "reload") == 0)
        serve_reload(server, asker, out);
    else if (strcmp(command, "stats json") == 0)
        print_json(server, out);
    else if (strcmp(command, "stats") == 0)
        print_text(server, out);
    else
        fprintf(out, "error: unknown command '%s'; known: stats, stats json, reload\n", command);
}
