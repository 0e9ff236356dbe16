#include "cmd/serve_metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cmd/serve_replica.h"
#include "cmd/server.h"
#include "obs/counters.h"
#include "sys/clock.h"

#define PAGE_BYTES (1u << 20)  /* METRICS_MAX_RULES of the longest names are half of it */
#define SMALL_TABLE (1u << 18) /* entries: counted for every scrape, in a millisecond */
#define CENSUS_SHARE 100u      /* of a larger one: at most one part in so many of the time */

static void describe(struct http_out *out, const char *name, const char *type, const char *help)
{
    http_print(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_one(struct http_out *out, const char *name, const char *type, const char *help,
                      uint64_t value)
{
    describe(out, name, type, help);
    http_print(out, "%s %" PRIu64 "\n", name, value);
}

static uint64_t sum(const struct server *server, enum counter counter)
{
    uint64_t total = 0;
    for (unsigned t = 0; t < server->thread_count; t++)
        total += counter_read(&server->counters[t].cell[counter]);
    return total;
}

static void print_range(const struct server *server, struct http_out *out, const char *labelled,
                        enum counter first, enum counter last)
{
    for (unsigned c = first; c <= last; c++)
        http_print(out, "%s=\"%s\"} %" PRIu64 "\n", labelled, counter_name(c), sum(server, c));
}

static void print_counters(const struct server *server, struct http_out *out)
{
    print_one(out, "mete_datagrams_received_total", "counter", "Datagrams that arrived.",
              sum(server, COUNTER_RECEIVED));
    describe(out, "mete_datagrams_total", "counter",
             "Datagrams by what became of them; an answer with a status counts as both.");
    print_range(server, out, "mete_datagrams_total{fate", COUNTER_ANSWERED, COUNTER_RECEIVE_ERRORS);
    print_one(out, "mete_checks_total", "counter", "Checks judged, of all types and doors.",
              sum(server, COUNTER_CHECKS));
    describe(out, "mete_check_outcomes_total", "counter", "Checks by what came of them.");
    print_range(server, out, "mete_check_outcomes_total{outcome", COUNTER_ALLOWED,
                COUNTER_EXPIRED_LEASE);
    print_one(out, "mete_repeats_total", "counter",
              "Datagrams answered as the first time and not charged again.",
              sum(server, COUNTER_REPEATS));
    print_one(out, "mete_swap_retries_total", "counter",
              "Checks decided again because another thread was faster.",
              sum(server, COUNTER_SWAP_RETRIES));
    print_one(out, "mete_batches_total", "counter", "Receives that brought something.",
              sum(server, COUNTER_BATCHES));
}

/* Goes through the whole table, so only as often as that costs little. */
static void count_table(struct serve_metrics *metrics)
{
    const struct server *server = metrics->server;
    const uint64_t begun_ns = clock_boot_ns();
    if (begun_ns < metrics->next_census_ns)
        return;
    for (uint32_t row = 0; row < server->row_count; row++)
        metrics->rows[row] = 0;
    table_count_owners(server->table, metrics->rows);
    metrics->live = 0;
    for (uint32_t row = 0; row < server->row_count; row++)
        metrics->live += metrics->rows[row];
    const uint64_t took_ns = clock_boot_ns() - begun_ns;
    metrics->next_census_ns = table_entry_count(server->table) > SMALL_TABLE
                                  ? begun_ns + CENSUS_SHARE * took_ns
                                  : begun_ns;
}

static void print_table(const struct serve_metrics *metrics, struct http_out *out)
{
    const struct server *server = metrics->server;
    print_one(out, "mete_table_entries", "gauge", "Entries that the table has room for.",
              table_entry_count(server->table));
    print_one(out, "mete_table_live_entries", "gauge", "Entries in use at the last census.",
              metrics->live);
    print_one(out, "mete_table_bytes", "gauge", "Memory of the table.",
              table_size_bytes(server->table));
    print_one(out, "mete_table_evictions_total", "counter",
              "Entries evicted while they still owed something.",
              table_eviction_count(server->table));
    print_one(out, "mete_table_swept_total", "counter", "Entries back at rest that were freed.",
              sum(server, COUNTER_SWEPT));
}

/* One line of a family for each rule; which decides the number. */
struct family {
    const struct server *server;
    const struct config *config;
    struct http_out *out;
    const char *name, *label; /* the label's value, "" for none */
    uint64_t (*value)(const struct rule_sum *sum);
    uint32_t shown;
    uint64_t others;
};

static void print_line(struct family *family, const char *tenant, const char *rule, uint64_t value)
{
    http_print(family->out, "%s{tenant=\"%s\",rule=\"%s\"%s%s%s} %" PRIu64 "\n", family->name,
               tenant, rule, *family->label ? ",decision=\"" : "", family->label,
               *family->label ? "\"" : "", value);
}

static void print_rule(struct family *family, const char *tenant, const char *rule,
                       const struct rule_sum *total)
{
    if (family->shown == METRICS_MAX_RULES) {
        family->others += family->value(total);
        return;
    }
    family->shown++;
    print_line(family, tenant, rule, family->value(total));
}

/* Names are letters, digits and a few signs (the configuration sees to it): nothing to escape. */
static void print_family(struct family family)
{
    for (uint32_t i = 0; i < family.config->tenant_count; i++) {
        const struct tenant *tenant = &family.config->tenants[i];
        for (uint32_t j = 0; j < tenant->rule_count; j++) {
            const struct rule_sum total = usage_sum_rule(family.server, &tenant->rules[j]);
            print_rule(&family, tenant->name, tenant->rules[j].name, &total);
        }
        const struct rule_sum total = usage_sum_all(family.server, tenant->inline_index);
        if (total.allowed || total.denied)
            print_rule(&family, tenant->name, "(inline)", &total);
    }
    if (family.shown == METRICS_MAX_RULES)
        print_line(&family, "(other)", "(other)", family.others);
}

static uint64_t allowed_of(const struct rule_sum *sum)
{
    return sum->allowed;
}

static uint64_t denied_of(const struct rule_sum *sum)
{
    return sum->denied;
}

static uint64_t would_deny_of(const struct rule_sum *sum)
{
    return sum->would_deny;
}

static uint64_t units_of(const struct rule_sum *sum)
{
    return sum->units;
}

static void print_rules(struct server *server, const struct config *config, struct http_out *out)
{
    struct family family = {
        .server = server, .config = config, .out = out, .name = "mete_decisions_total"};
    describe(out, family.name, "counter",
             "Checks by tenant, rule and decision; would_deny are allowed by a shadow.");
    pthread_mutex_lock(&server->usage_lock);
    family.label = "allowed";
    family.value = allowed_of;
    print_family(family);
    family.label = "denied";
    family.value = denied_of;
    print_family(family);
    family.label = "would_deny";
    family.value = would_deny_of;
    print_family(family);
    family.name = "mete_units_total";
    family.label = "";
    family.value = units_of;
    describe(out, family.name, "counter", "Units charged by tenant and rule.");
    print_family(family);
    pthread_mutex_unlock(&server->usage_lock);
}

/* By the names that Prometheus' own libraries have for them. */
static void print_process(struct http_out *out)
{
    struct rusage usage;
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    getrusage(RUSAGE_SELF, &usage);
    if (statm && fscanf(statm, "%*u %lu", &pages) != 1)
        pages = 0;
    if (statm)
        fclose(statm);
    describe(out, "process_cpu_seconds_total", "counter", "User and system time.");
    http_print(out, "process_cpu_seconds_total %.6f\n",
               (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    print_one(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
              (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void render(void *context, const struct config *config, struct http_out *out)
{
    struct serve_metrics *metrics = context;
    struct server *server = metrics->server;
    count_table(metrics);
    describe(out, "mete_build_info", "gauge", "1, with what was built.");
    http_print(out, "mete_build_info{version=\"%s\"} 1\n", METE_VERSION);
    describe(out, "mete_uptime_seconds", "gauge", "Time since the start.");
    http_print(out, "mete_uptime_seconds %.3f\n",
               (double)(clock_boot_ns() - server->started_boot_ns) / 1e9);
    print_one(out, "mete_workers", "gauge", "Threads that serve datagrams.", server->worker_count);
    print_counters(server, out);
    print_rules(server, config, out);
    print_table(metrics, out);
    describe(out, "mete_reloads_total", "counter", "Reloads of the configuration by result.");
    http_print(out,
               "mete_reloads_total{result=\"done\"} %" PRIu64
               "\nmete_reloads_total{result=\"refused\"} %" PRIu64 "\n",
               counter_read(&server->reloads_done), counter_read(&server->reloads_refused));
    serve_print_replica_metrics(server, out);
    print_process(out);
}

int serve_metrics_init(struct serve_metrics *metrics, struct server *server)
{
    *metrics = (struct serve_metrics){
        .door = {.render = render, .context = metrics, .page_bytes = PAGE_BYTES},
        .server = server,
        .rows = calloc(server->row_count, sizeof(*metrics->rows)),
    };
    bool is_whole = metrics->rows != NULL;
    for (unsigned i = 0; i < METRICS_PAGES; i++) {
        metrics->door.pages[i].bytes = malloc(PAGE_BYTES);
        is_whole &= metrics->door.pages[i].bytes != NULL;
    }
    if (is_whole)
        return 0;
    serve_metrics_deinit(metrics);
    return -ENOMEM;
}

void serve_metrics_deinit(struct serve_metrics *metrics)
{
    for (unsigned i = 0; i < METRICS_PAGES; i++)
        free(metrics->door.pages[i].bytes);
    free(metrics->rows);
}
