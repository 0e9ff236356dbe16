#include "cmd/serve_metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cmd/serve_replica.h"
#include "cmd/serve_snapshot.h"
#include "cmd/server.h"
#include "doors/tls.h"
#include "obs/counters.h"
#include "sys/clock.h"

/* Of the lines of one rule each has two names, the rest of "mete_decisions_total{...} " and the
 * number; all else fits in the same room once more. */
#define LINE_BYTES (2 * CONFIG_MAX_NAME + 112u)
#define PAGE_BYTES ((METRICS_MAX_RULES + 1) * METRICS_RULE_LINES * LINE_BYTES + (256u << 10))

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
    print_one(out, "mete_clock_steps_total", "counter", "Times that the host's clock was set.",
              sum(server, COUNTER_CLOCK_STEPS));
    print_one(out, "mete_batches_total", "counter", "Receives that brought something.",
              sum(server, COUNTER_BATCHES));
    print_one(out, "mete_carried_total", "counter",
              "Answers that left in the frames of the next questions.",
              sum(server, COUNTER_CARRIED));
}

/* By tenant as long as they are few enough for labels. */
static void print_shed(const struct server *server, const struct config *config,
                       struct http_out *out)
{
    uint64_t total = 0;
    describe(out, "mete_shed_checks_total", "counter",
             "Checks left out in overloads, by tenant; in part estimated.");
    for (uint32_t i = 0; i < config->tenant_count; i++) {
        const uint64_t shed = usage_sum_shed(server, &config->tenants[i]);
        total += shed;
        if (config->tenant_count <= METRICS_MAX_RULES)
            http_print(out, "mete_shed_checks_total{tenant=\"%s\"} %" PRIu64 "\n",
                       config->tenants[i].name, shed);
    }
    if (config->tenant_count > METRICS_MAX_RULES)
        http_print(out, "mete_shed_checks_total{tenant=\"(all)\"} %" PRIu64 "\n", total);
}

/* Cumulative, by the powers of two of obs/latency.h; and what is known of each door. */
static void print_latency(const struct server *server, struct http_out *out)
{
    describe(out, "mete_latency_seconds", "histogram",
             "From the clock that a batch of checks is judged by to its answers' send, by door; an "
             "estimate for all checks from some of the batches.");
    for (enum observe_door door = 0; door < OBSERVE_DOORS; door++) {
        const struct latency_sum sum = observe_sum_latency(server, door);
        const char *name = observe_door_name(door);
        uint64_t below = 0;
        if (!observe_has_door(server, door))
            continue;
        for (uint32_t cell = 0; cell < LATENCY_CELLS - 1; cell++) {
            const uint64_t end_ns = latency_cell_end_ns(cell);
            below += sum.cell[cell];
            if ((end_ns & (end_ns - 1)) == 0)
                http_print(out,
                           "mete_latency_seconds_bucket{door=\"%s\",le=\"%.9g\"} %" PRIu64 "\n",
                           name, (double)end_ns / 1e9, below);
        }
        below += sum.cell[LATENCY_CELLS - 1];
        http_print(out,
                   "mete_latency_seconds_bucket{door=\"%s\",le=\"+Inf\"} %" PRIu64
                   "\nmete_latency_seconds_sum{door=\"%s\"} %.9f"
                   "\nmete_latency_seconds_count{door=\"%s\"} %" PRIu64 "\n",
                   name, below, name, (double)sum.sum_ns / 1e9, name, below);
    }
}

static void print_table(const struct serve_metrics *metrics, struct http_out *out)
{
    const struct server *server = metrics->server;
    print_one(out, "mete_table_entries", "gauge", "Entries that the table has room for.",
              table_entry_count(server->table));
    print_one(out, "mete_table_live_entries", "gauge", "Entries in use at the last census.",
              metrics->census.live);
    print_one(out, "mete_table_bytes", "gauge", "Memory of the table.",
              table_size_bytes(server->table));
    print_one(out, "mete_table_evictions_total", "counter",
              "Entries evicted while they still owed something.",
              table_eviction_count(server->table));
    print_one(out, "mete_table_swept_total", "counter", "Entries back at rest that were freed.",
              sum(server, COUNTER_SWEPT));
    struct table_resumed found;
    table_look_resumed(server->table, &found);
    print_one(out, "mete_table_life", "gauge",
              "Processes that this table had, this one included; more than 1: it started warm.",
              found.life);
    print_one(out, "mete_table_taken_total", "counter",
              "Entries taken over from the process before.", found.taken);
    print_one(out, "mete_table_damaged_total", "counter",
              "Entries of the process before that could not be and were freed.", found.damaged);
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
    census_update(&metrics->census, server);
    describe(out, "mete_build_info", "gauge", "1, with what was built.");
    http_print(out, "mete_build_info{version=\"%s\"} 1\n", METE_VERSION);
    describe(out, "mete_uptime_seconds", "gauge", "Time since the start.");
    http_print(out, "mete_uptime_seconds %.3f\n",
               (double)(clock_boot_ns() - server->started_boot_ns) / 1e9);
    print_one(out, "mete_workers", "gauge", "Threads that serve datagrams.", server->worker_count);
    print_counters(server, out);
    print_shed(server, config, out);
    metrics_rules_print(&metrics->rules, server, config, out);
    print_latency(server, out);
    print_table(metrics, out);
    describe(out, "mete_reloads_total", "counter", "Reloads of the configuration by result.");
    http_print(out,
               "mete_reloads_total{result=\"done\"} %" PRIu64
               "\nmete_reloads_total{result=\"refused\"} %" PRIu64 "\n",
               counter_read(&server->reloads_done), counter_read(&server->reloads_refused));
    if (config->tls.context)
        print_one(out, "mete_certificate_expiry_seconds", "gauge",
                  "Unix time at which the certificate of the doors ends.",
                  (uint64_t)tls_not_after(config->tls.context));
    serve_print_replica_metrics(server, out);
    serve_print_snapshot_metrics(server, out);
    print_process(out);
}

int serve_metrics_init(struct serve_metrics *metrics, struct server *server)
{
    *metrics = (struct serve_metrics){
        .door = {.render = render, .context = metrics, .page_bytes = PAGE_BYTES},
        .server = server,
    };
    bool is_whole = census_init(&metrics->census, server) == 0;
    for (unsigned i = 0; i < METRICS_PAGES; i++) {
        metrics->door.pages[i].bytes = malloc(PAGE_BYTES);
        is_whole &= metrics->door.pages[i].bytes != NULL;
    }
    return is_whole ? 0 : -ENOMEM;
}

void serve_metrics_deinit(struct serve_metrics *metrics)
{
    for (unsigned i = 0; i < METRICS_PAGES; i++)
        free(metrics->door.pages[i].bytes);
    census_deinit(&metrics->census);
}
