/* The report of `mete bench` as JSON: every option, every figure, what the run depended on. */
#include <inttypes.h>
#include <stdio.h>

#include "cmd/bench.h"
#include "cmd/bench_conditions.h"
#include "cmd/bench_judge.h"
#include "cmd/printable.h"

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
    printable_print_field("door", options->door ? options->door->name : "udp");
    printable_print_field("ask", options->ask);
    printable_print_field("rule", options->rule);
    printable_print_field("subjects", options->subjects);
    printable_print_field("verify", options->verify);
    printable_print_field("admin", options->admin);
    printable_print_field("find_rate", options->goal.text);
    printable_print_field("secret_file", options->secret);
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
    json_number("retries", options->retries);
    json_number("backoff_us", options->backoff_ns / 1000);
    json_bool("reset", options->reset);
    json_number("seed", options->seed);
    json_bool("join", options->join);
    json_bool("echo", options->echo);
    json_bool("salt", options->verify && !options->no_salt);
    json_bool("tag_check", !options->no_tag_check);
    printf("\"seconds\": %.3f}, ", (double)options->duration_ns / 1e9);
}

/* remaining: null is without end; reset_after_us: null is never. */
static void json_last(const struct bench_run *run)
{
    const uint64_t reset_ns = mete_wire_time_ns(run->last.reset_after, run->last.unit >> 4);
    if (!run->has_last) {
        printf("\"last\": null, ");
        return;
    }
    printf("\"last\": {\"remaining\": ");
    if (run->last.remaining == UINT32_MAX)
        printf("null, ");
    else
        printf("%" PRIu32 ", ", run->last.remaining);
    printf("\"reset_after_us\": ");
    if (reset_ns == UINT64_MAX)
        printf("null}, ");
    else
        printf("%" PRIu64 "}, ", reset_ns / 1000);
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
    for (size_t i = 0; i < BENCH_PERCENTILES; i++)
        printf("%s\"%s\": %.1f", i ? ", " : "", bench_percentiles[i].name,
               (double)histogram_percentile(histogram, bench_percentiles[i].share) / 1e3);
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
    json_number("checks_per_second", bench_per_second(run, counts->checks));
    json_number("datagrams_per_second", bench_per_second(run, counts->datagrams));
    json_number("allowed", counts->allowed);
    json_number("denied", counts->denied);
    json_number("lost", counts->lost);
    json_number("late", counts->late);
    json_number("duplicate", counts->duplicate);
    json_number("unsent_datagrams", counts->unsent);
    json_number("malformed", counts->malformed);
    json_number("refused", counts->refused);
    json_number("unsendable", counts->unsendable);
    json_number("cut_off", counts->cut_off);
    json_number("closed", counts->closed);
    json_number("retried_datagrams", counts->retried);
    json_number("resends", counts->resends);
    json_number("repeats", counts->repeats);
    json_last(run);
    printf("\"errors\": {");
    for (unsigned i = 1; i <= METE_STATUS_COUNT; i++)
        printf("%s\"%s\": %" PRIu64, i > 1 ? ", " : "", bench_status_name(i), counts->statuses[i]);
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
