#include "cmd/serve_top.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cmd/printable.h"
#include "cmd/serve_census.h"
#include "cmd/serve_replica.h"
#include "cmd/server.h"

struct top_rule {
    const struct tenant *tenant;
    const struct rule *rule; /* NULL: inline */
    struct rule_sum sum;
    uint64_t recent; /* checks since the last answer */
};

struct serve_top {
    struct census census;
    uint64_t *before;           /* checks of each row, at the last answer */
    struct sampler_view *views; /* per thread that judges: the last copy that could be had */
    struct sketch *sketches;    /* of them, in a row */
    struct sketch_top *room;
    struct top_rule rules[SERVE_TOP_RULES]; /* the busiest first */
    uint32_t rule_count, left_out;
};

void serve_top_free(struct serve_top *top)
{
    if (!top)
        return;
    census_deinit(&top->census);
    free(top->before);
    free(top->views);
    free(top->sketches);
    free(top->room);
    free(top);
}

static struct serve_top *make(const struct server *server)
{
    const unsigned threads = server->thread_count;
    struct serve_top *top = calloc(1, sizeof(*top));
    if (!top)
        return NULL;
    top->before = calloc(server->row_count, sizeof(*top->before));
    top->views = calloc(threads, sizeof(*top->views));
    top->sketches = calloc(threads, sizeof(*top->sketches));
    top->room = calloc((size_t)threads * SKETCH_ITEMS, sizeof(*top->room));
    if (census_init(&top->census, server) || !top->before || !top->views || !top->sketches ||
        !top->room) {
        serve_top_free(top);
        return NULL;
    }
    return top;
}

/* ---- rules ---- */

static bool is_busier(const struct top_rule *a, const struct top_rule *b)
{
    if (a->recent != b->recent)
        return a->recent > b->recent;
    return a->sum.allowed + a->sum.denied > b->sum.allowed + b->sum.denied;
}

/* Into its place among the busiest, if it has one. */
static void offer(struct serve_top *top, const struct top_rule *rule)
{
    uint32_t at = top->rule_count;
    if (at == SERVE_TOP_RULES) {
        top->left_out++;
        if (!is_busier(rule, &top->rules[at - 1]))
            return;
        at--;
    } else {
        top->rule_count++;
    }
    while (at > 0 && is_busier(rule, &top->rules[at - 1])) {
        top->rules[at] = top->rules[at - 1];
        at--;
    }
    top->rules[at] = *rule;
}

static void visit(struct serve_top *top, const struct server *server, const struct tenant *tenant,
                  const struct rule *rule)
{
    const uint32_t row = rule ? rule->index : tenant->inline_index;
    struct top_rule one = {
        .tenant = tenant,
        .rule = rule,
        .sum = rule ? usage_sum_rule(server, rule) : usage_sum_all(server, row),
    };
    const uint64_t checks = one.sum.allowed + one.sum.denied;
    /* a row that a reload gave to another rule may count from less */
    one.recent = checks > top->before[row] ? checks - top->before[row] : 0;
    top->before[row] = checks;
    if (rule || checks)
        offer(top, &one);
}

static void print_rules(struct serve_top *top, const struct server *server, FILE *out)
{
    top->rule_count = top->left_out = 0;
    for (uint32_t i = 0; i < server->config->tenant_count; i++) {
        const struct tenant *tenant = &server->config->tenants[i];
        for (uint32_t j = 0; j < tenant->rule_count; j++)
            visit(top, server, tenant, &tenant->rules[j]);
        visit(top, server, tenant, NULL);
    }
    fprintf(out, "\"rules_left_out\":%" PRIu32 ",\"rules\":[", top->left_out);
    for (uint32_t i = 0; i < top->rule_count; i++) {
        const struct top_rule *one = &top->rules[i];
        const uint32_t row = one->rule ? one->rule->index : one->tenant->inline_index;
        fprintf(out,
                "%s{\"tenant\":\"%s\",\"rule\":\"%s\",\"allowed\":%" PRIu64 ",\"denied\":%" PRIu64
                ",\"would_deny\":%" PRIu64 ",\"units\":%" PRIu64 ",\"live\":%" PRIu64 "}",
                i ? "," : "", one->tenant->name, one->rule ? one->rule->name : "(inline)",
                one->sum.allowed, one->sum.denied, one->sum.would_deny, one->sum.units,
                top->census.rows[row]);
    }
    fprintf(out, "],");
}

/* ---- subjects ---- */

/* By the names of the running configuration; what it does not know any more keeps its number. */
static void print_names(const struct config *config, const struct sketch_item *item, FILE *out)
{
    const struct tenant *tenant = config_find_tenant(config, item->tenant);
    const struct rule *rule = NULL;
    for (uint32_t i = 0; tenant && i < tenant->rule_count && !rule; i++)
        rule = tenant->rules[i].id == item->rule ? &tenant->rules[i] : NULL;
    if (tenant)
        fprintf(out, "{\"tenant\":\"%s\",", tenant->name);
    else
        fprintf(out, "{\"tenant\":\"0x%08" PRIx32 "\",", item->tenant);
    if (rule)
        fprintf(out, "\"rule\":\"%s\",", rule->name);
    else
        fprintf(out, "\"rule\":\"0x%08" PRIx32 "\",", item->rule);
}

static void print_subjects(struct serve_top *top, const struct server *server, const char *name,
                           uint64_t window_ns, FILE *out)
{
    const uint32_t count =
        sketch_merge_top(top->sketches, server->thread_count, top->room, SERVE_TOP_SUBJECTS);
    const double window_s = (double)window_ns / 1e9;
    fprintf(out, "\"%s\":[", name);
    for (uint32_t i = 0; i < count && window_ns; i++) {
        const struct sketch_top *one = &top->room[i];
        fprintf(out, "%s", i ? "," : "");
        print_names(server->config, &one->item, out);
        fprintf(out, "\"key\":\"%016" PRIx64 "%016" PRIx64 "\",\"subject\":", one->item.key_high,
                one->item.key_low);
        if (one->item.subject_len)
            printable_print_json(one->item.subject, one->item.subject_len, out);
        else
            fprintf(out, "null");
        fprintf(out, ",\"per_second\":%.3f,\"error_per_second\":%.3f}",
                (double)one->count / SKETCH_ONE / window_s,
                (double)one->error / SKETCH_ONE / window_s);
    }
    fprintf(out, "],");
}

static void print_all_subjects(struct serve_top *top, const struct server *server, FILE *out)
{
    const uint64_t now_ns = clock_boot_ns() - table_time_base_ns(server->table);
    uint64_t window_ns = 0;
    for (unsigned t = 0; t < server->thread_count; t++) {
        sampler_copy(&server->samplers[t], now_ns, &top->views[t]); /* else: what was */
        if (top->views[t].window_ns > window_ns)
            window_ns = top->views[t].window_ns;
        top->sketches[t] = top->views[t].hot;
    }
    fprintf(out, "\"window_s\":%.3f,", (double)window_ns / 1e9);
    print_subjects(top, server, "hottest", window_ns, out);
    for (unsigned t = 0; t < server->thread_count; t++)
        top->sketches[t] = top->views[t].denied;
    print_subjects(top, server, "most_denied", window_ns, out);
}

/* ---- the rest ---- */

/* Cells that hold something, each by the time it ends at in nanoseconds. */
static void print_latencies(const struct server *server, FILE *out)
{
    const char *before = "";
    fprintf(out, "\"latency\":{");
    for (enum observe_door door = 0; door < OBSERVE_DOORS; door++) {
        if (!observe_has_door(server, door))
            continue;
        const struct latency_sum sum = observe_sum_latency(server, door);
        fprintf(out, "%s\"%s\":[", before, observe_door_name(door));
        before = "";
        for (uint32_t i = 0; i < LATENCY_CELLS; i++) {
            if (!sum.cell[i])
                continue;
            fprintf(out, "%s[%" PRIu64 ",%" PRIu64 "]", before,
                    latency_cell_end_ns(i) == UINT64_MAX ? (uint64_t)INT64_MAX
                                                         : latency_cell_end_ns(i),
                    sum.cell[i]);
            before = ",";
        }
        fprintf(out, "]");
        before = ",";
    }
    fprintf(out, "},");
}

static void print_head(const struct server *server, FILE *out)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    fprintf(out,
            "{\"version\":\"%s\",\"boot\":\"%016" PRIx64
            "\",\"uptime_s\":%.6f,\"cpu_s\":%.6f,\"backend\":\"%s\","
            "\"workers\":%u,\"total\":{",
            METE_VERSION, table_boot_id(server->table),
            (double)(clock_boot_ns() - server->started_boot_ns) / 1e9,
            (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
            server->workers[0].backend, server->worker_count);
    for (unsigned c = 0; c < COUNTER_COUNT; c++) {
        uint64_t total = 0;
        for (unsigned t = 0; t < server->thread_count; t++)
            total += counter_read(&server->counters[t].cell[c]);
        fprintf(out, "%s\"%s\":%" PRIu64, c ? "," : "", counter_name(c), total);
    }
    fprintf(out, "},");
}

void serve_top_answer(struct server *server, FILE *out)
{
    if (!server->top)
        server->top = make(server);
    struct serve_top *top = server->top;
    if (!top) {
        fprintf(out, "error: no memory to count\n");
        return;
    }
    census_update(&top->census, server);
    print_head(server, out);
    print_rules(top, server, out);
    print_all_subjects(top, server, out);
    print_latencies(server, out);
    fprintf(out,
            "\"reloads\":{\"done\":%" PRIu64 ",\"refused\":%" PRIu64
            "},\"table\":{\"entries\":%" PRIu64 ",\"live\":%" PRIu64 ",\"evictions\":%" PRIu64
            ",\"bytes\":%zu}",
            counter_read(&server->reloads_done), counter_read(&server->reloads_refused),
            table_entry_count(server->table), top->census.live, table_eviction_count(server->table),
            table_size_bytes(server->table));
    serve_print_replica_json(server, out);
    fputs("}\n", out);
}
