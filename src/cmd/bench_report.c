/* The report of `mete bench`, as text and as JSON, from one struct bench_run. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/bench.h"
#include "cmd/bench_conditions.h"
#include "cmd/bench_judge.h"
#include "cmd/printable.h"

static const char *const status_names[METE_STATUS_COUNT + 1] = {
    "ok",   "unknown_rule", "bad_limit",     "need_subject",  "table_full", "stale",
    "shed", "unsupported",  "unknown_lease", "expired_lease", "limited",    "other_status",
};

static const struct {
    const char *name;
    double share;
} percentiles[] = {{"p50", 0.5},     {"p90", 0.9},       {"p99", 0.99},
                   {"p99.9", 0.999}, {"p99.99", 0.9999}, {"max", 1.0}};

/* 1234567 as "1,234,567"; one of a few buffers in turn, so that one line may hold several. */
static const char *grouped(uint64_t number)
{
    static char buffers[8][32];
    static unsigned next;
    char digits[24];
    const int len = snprintf(digits, sizeof(digits), "%" PRIu64, number);
    char *out = buffers[next++ % 8], *p = out;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *p++ = ',';
        *p++ = digits[i];
    }
    *p = 0;
    return out;
}

static uint64_t per_second(const struct bench_run *run, uint64_t count)
{
    return run->elapsed_ns ? (uint64_t)((double)count * 1e9 / (double)run->elapsed_ns) : 0;
}

static void print_duration(uint64_t ns)
{
    if (ns < 10000000)
        printf("%.*f us", ns < 100000 ? 1 : 0, (double)ns / 1e3);
    else
        printf("%.1f ms", (double)ns / 1e6);
}

static void print_head(const struct bench_run *run)
{
    const struct bench_options *options = run->options;
    printf("mete bench: %s %s, %s, ", options->echo ? "echo" : "rule",
           options->echo ? "server" : options->rule, run->server->text);
    if (options->subjects)
        printf("%s subjects on %s lines", grouped(run->subject_count), grouped(run->line_count));
    else if (options->unique)
        printf("unique keys");
    else
        printf("%s keys", grouped(run->subject_count));
    if (options->zipf > 0)
        printf(" by zipf %g", options->zipf);
    if (options->hot_part > 0)
        printf(", %g %% on one", options->hot_part * 100);
    if (options->rate)
        printf(", open loop: %s %s/s on %u flows", schedule_name(options->schedule),
               grouped(options->rate), options->flows);
    else
        printf(", %u x %u in flight", options->flows, options->outstanding);
    if (options->batch > 1)
        printf(", batches of %u", options->batch);
    printf("%s, %.2f s\n", options->join ? ", joined" : "", (double)run->elapsed_ns / 1e9);
    if (run->unparsed_count)
        printf("  left out   %s lines that are not of an access log\n",
               grouped(run->unparsed_count));
}

static void print_errors(const struct bench_run *run)
{
    const struct bench_counts *counts = &run->counts;
    printf("  errors     ");
    bool any = false;
    for (unsigned i = 1; i <= METE_STATUS_COUNT; i++)
        if (counts->statuses[i]) {
            printf("%s%s %s", any ? ", " : "", status_names[i], grouped(counts->statuses[i]));
            any = true;
        }
    printf("%s   lost %s, late %s, duplicate %s, malformed %s\n", any ? "" : "none",
           grouped(counts->lost), grouped(counts->late), grouped(counts->duplicate),
           grouped(counts->malformed));
}

static void print_percentiles(const struct histogram *histogram, const char *title,
                              const char *remark)
{
    printf("  %-10s ", title);
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
        printf("%s%s ", i ? "   " : "", percentiles[i].name);
        print_duration(histogram_percentile(histogram, percentiles[i].share));
    }
    printf("   (%s)\n", remark);
}

static void print_latency(const struct bench_run *run)
{
    const struct bench_counts *counts = &run->counts;
    if (!run->options->rate) {
        print_percentiles(run->latency, "latency", "closed loop: latency is blind to stalls");
        return;
    }
    print_percentiles(run->latency, "latency",
                      counts->lost ? "from the intended send; lost ones with the time-out"
                                   : "from the intended send");
    print_percentiles(run->from_send, "from send", "from the actual send");
    print_percentiles(run->slip, "slip", "of the load: actual - intended send");
    if (counts->unsent)
        printf("  unsent     %s datagrams whose time had come, beside %s sent\n",
               grouped(counts->unsent), grouped(counts->sent));
}

static void print_judge(const struct bench_run *run)
{
    const struct judge_totals totals = bench_judge_totals(run->judge);
    printf("  verified   %s verdicts by \"%s\": %s outside the model's bounds\n",
           grouped(totals.checked), run->options->verify, grouped(totals.outside));
    printf(
        "  totals     %s subjects, %s outside; admitted at most %s each; slack to the upper bound "
        "%s to %s, to the lower %s to %s\n",
        grouped(totals.subjects), grouped(totals.subjects_outside), grouped(totals.admitted_most),
        grouped(totals.upper_slack_min), grouped(totals.upper_slack_max),
        grouped(totals.lower_slack_min), grouped(totals.lower_slack_max));
    if (totals.example)
        printf("  for example  %s\n", totals.example);
}

void bench_report_text(const struct bench_run *run)
{
    const struct bench_counts *counts = &run->counts;
    print_head(run);
    printf("  checks     %s, %s/s", grouped(counts->checks),
           grouped(per_second(run, counts->checks)));
    if (run->options->batch > 1)
        printf(" in %s datagrams/s", grouped(per_second(run, counts->datagrams)));
    if (counts->checks)
        printf("   (own cost %.2f us/check)", (double)run->cpu_ns / 1e3 / (double)counts->checks);
    printf("\n");
    print_latency(run);
    if (!run->options->echo)
        printf("  allowed    %s   denied %s\n", grouped(counts->allowed), grouped(counts->denied));
    print_errors(run);
    const uint64_t server_cpu_ns = bench_conditions_server_cpu_ns(run->conditions);
    if (server_cpu_ns && counts->checks)
        printf("  server     CPU %.3f s, %.0f ns/check\n", (double)server_cpu_ns / 1e9,
               (double)server_cpu_ns / (double)counts->checks);
    if (run->judge)
        print_judge(run);
    if (run->invalid[0])
        printf("  INVALID    %s\n", run->invalid);
    fflush(stdout);
}

void bench_report_row_head(void)
{
    puts("closed loop: latency is blind to stalls\n"
         "in flight     checks/s    p50 us    p90 us    p99 us  p99.9 us p99.99 us    max us      "
         "lost");
}

void bench_report_row(const struct bench_run *run, unsigned in_flight)
{
    printf("%9u %12" PRIu64, in_flight, per_second(run, run->counts.checks));
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
        printf(" %9.1f", (double)histogram_percentile(run->latency, percentiles[i].share) / 1e3);
    printf(" %9" PRIu64 "\n", run->counts.lost);
    fflush(stdout);
}

static void json_number(const char *name, uint64_t number)
{
    printf("\"%s\": %" PRIu64 ", ", name, number);
}

static void json_bool(const char *name, bool value)
{
    printf("\"%s\": %s, ", name, value ? "true" : "false");
}

static void json_options(const struct bench_options *options)
{
    printf("\"options\": {");
    printable_print_field("tenant", options->tenant);
    printable_print_field("rule", options->rule);
    printable_print_field("subjects", options->subjects);
    printable_print_field("verify", options->verify);
    printable_print_field("admin", options->admin);
    printable_print_field("find_rate", options->goal.text);
    json_number("cost", options->cost);
    json_number("rate", options->rate);
    printable_print_field("schedule", options->rate ? schedule_name(options->schedule) : NULL);
    json_number("flows", options->flows);
    json_number("outstanding", options->outstanding);
    json_number("batch", options->batch);
    json_number("threads", options->threads);
    json_number("keys", options->keys);
    printf("\"zipf\": %g, \"hot_key_percent\": %g, ", options->zipf, options->hot_part * 100);
    json_bool("unique", options->unique);
    json_number("requests", options->requests);
    json_number("timeout_ms", options->timeout_ns / 1000000);
    json_number("seed", options->seed);
    json_bool("join", options->join);
    json_bool("echo", options->echo);
    json_bool("salt", options->verify && !options->no_salt);
    json_bool("tag_check", !options->no_tag_check);
    printf("\"seconds\": %.3f}, ", (double)options->duration_ns / 1e9);
}

static void json_judge(const struct bench_judge *judge)
{
    const struct judge_totals totals = bench_judge_totals(judge);
    printf("\"verify\": {");
    printable_print_field("example", totals.example);
    json_number("subjects", totals.subjects);
    json_number("subjects_outside", totals.subjects_outside);
    json_number("admitted_most", totals.admitted_most);
    json_number("upper_slack_min", totals.upper_slack_min);
    json_number("upper_slack_max", totals.upper_slack_max);
    json_number("lower_slack_min", totals.lower_slack_min);
    json_number("lower_slack_max", totals.lower_slack_max);
    json_number("checked", totals.checked);
    printf("\"outside\": %" PRIu64 "}, ", totals.outside);
}

static void json_percentiles(const char *name, const struct histogram *histogram)
{
    printf("\"%s\": {", name);
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
        printf("%s\"%s\": %.1f", i ? ", " : "", percentiles[i].name,
               (double)histogram_percentile(histogram, percentiles[i].share) / 1e3);
    printf("}, ");
}

/* Counts by powers of two, empty ones left out. */
static void json_histogram(const char *name, const struct histogram *histogram)
{
    uint32_t index = 0;
    bool any = false;
    printf("\"%s\": [", name);
    for (unsigned bits = 0; index < HISTOGRAM_CELLS; bits++) {
        uint64_t count = 0;
        const uint64_t end = bits < HISTOGRAM_MAX_BITS ? 1ull << bits : UINT64_MAX;
        for (; index < HISTOGRAM_CELLS && histogram_cell_low(index) < end; index++)
            count += histogram->cells[index];
        if (count == 0)
            continue;
        printf("%s{\"below_us\": %.3f, \"count\": %" PRIu64 "}", any ? ", " : "", (double)end / 1e3,
               count);
        any = true;
    }
    printf("], ");
}

void bench_report_json(const struct bench_run *run)
{
    const struct bench_counts *counts = &run->counts;
    printf("{");
    printable_print_field("mode", run->options->rate ? "open loop" : "closed loop");
    json_bool("blind_to_stalls", !run->options->rate);
    printable_print_field("invalid", run->invalid[0] ? run->invalid : NULL);
    printable_print_field("server", run->server->text);
    json_options(run->options);
    json_number("subjects", run->subject_count);
    json_number("lines", run->line_count);
    json_number("unparsed_lines", run->unparsed_count);
    json_number("checks", counts->checks);
    json_number("datagrams", counts->datagrams);
    json_number("sent_datagrams", counts->sent);
    json_number("checks_per_second", per_second(run, counts->checks));
    json_number("datagrams_per_second", per_second(run, counts->datagrams));
    json_number("allowed", counts->allowed);
    json_number("denied", counts->denied);
    json_number("lost", counts->lost);
    json_number("late", counts->late);
    json_number("duplicate", counts->duplicate);
    json_number("unsent_datagrams", counts->unsent);
    json_number("malformed", counts->malformed);
    printf("\"errors\": {");
    for (unsigned i = 1; i <= METE_STATUS_COUNT; i++)
        printf("%s\"%s\": %" PRIu64, i > 1 ? ", " : "", status_names[i], counts->statuses[i]);
    printf("}, ");
    json_percentiles("latency_us", run->latency);
    if (run->options->rate) {
        json_percentiles("latency_from_send_us", run->from_send);
        json_percentiles("slip_us", run->slip);
        json_histogram("slip_histogram", run->slip);
    }
    if (run->judge)
        json_judge(run->judge);
    bench_conditions_json(run->conditions);
    printf("\"client_cpu_seconds\": %.6f, ", (double)run->cpu_ns / 1e9);
    printf("\"elapsed_seconds\": %.6f}\n", (double)run->elapsed_ns / 1e9);
    fflush(stdout);
}
