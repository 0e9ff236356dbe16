/* The report of `mete bench` as text, from one struct bench_run. */
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

const struct bench_percentile bench_percentiles[BENCH_PERCENTILES] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}, {"max", 1.0}};

const char *bench_status_name(unsigned status)
{
    return status_names[status];
}

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

uint64_t bench_per_second(const struct bench_run *run, uint64_t count)
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
    const char *what = options->echo ? "echo" : options->ask ? "ask" : "rule";
    const char *of = options->echo ? "server" : options->ask ? options->ask : options->rule;
    printf("mete bench: %s %s, %s", what, of, run->server->text);
    printf("%s%s, ", options->door ? " " : "", options->door ? options->door->name : "");
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

struct category {
    const char *name;
    uint64_t count;
};

/* "name 1, other 2" of those that are not 0; `none` if all are. */
static void print_categories(const struct category *categories, unsigned count, const char *none)
{
    bool any = false;
    for (unsigned i = 0; i < count; i++)
        if (categories[i].count) {
            printf("%s%s %s", any ? ", " : "", categories[i].name, grouped(categories[i].count));
            any = true;
        }
    printf("%s\n", any ? "" : none);
}

/* What the server said instead of deciding, what became of datagrams, and what the machine did. */
static void print_errors(const struct bench_run *run)
{
    const struct bench_counts *counts = &run->counts;
    struct category statuses[METE_STATUS_COUNT];
    bool is_known;
    for (unsigned i = 1; i <= METE_STATUS_COUNT; i++)
        statuses[i - 1] = (struct category){status_names[i], counts->statuses[i]};
    printf("  errors     answered: ");
    print_categories(statuses, METE_STATUS_COUNT, "none");
    printf("  %s  lost %s, late %s, duplicate %s, malformed %s",
           run->options->door ? "requests " : "datagrams", grouped(counts->lost),
           grouped(counts->late), grouped(counts->duplicate), grouped(counts->malformed));
    const uint64_t server_drops = bench_conditions_server_drops(run->conditions, &is_known);
    const struct category others[] = {
        {"refused by the host", counts->refused},
        {"not taken by this system", counts->unsendable},
        {"cut off by the interrupt", counts->cut_off},
        {"connections closed by the server", counts->closed},
        {"dropped at the load's sockets", bench_conditions_own_drops(run->conditions)},
        {"dropped at the server's", server_drops},
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (others[i].count)
            printf(", %s %s", others[i].name, grouped(others[i].count));
    printf("\n");
    if (run->options->retries)
        printf("  retries    %s of %s datagrams, sent again %s times; %s checks answered as "
               "repeats\n",
               grouped(counts->retried), grouped(counts->sent), grouped(counts->resends),
               grouped(counts->repeats));
}

static void print_last(const struct bench_run *run)
{
    if (!run->has_last)
        return;
    printf("  last       remaining ");
    if (run->last.remaining == UINT32_MAX)
        printf("without end");
    else
        printf("%s", grouped(run->last.remaining));
    const uint64_t reset_ns = mete_wire_time_ns(run->last.reset_after, run->last.unit >> 4);
    printf(", full again ");
    if (reset_ns == UINT64_MAX)
        printf("never\n");
    else if (reset_ns == 0)
        printf("now\n");
    else if (reset_ns < 1000000000u)
        printf("after %.6g ms\n", (double)reset_ns / 1e6);
    else
        printf("after %.6g s\n", (double)reset_ns / 1e9);
}

static void print_percentiles(const struct histogram *histogram, const char *title,
                              const char *remark)
{
    printf("  %-10s ", title);
    for (size_t i = 0; i < BENCH_PERCENTILES; i++) {
        printf("%s%s ", i ? "   " : "", bench_percentiles[i].name);
        print_duration(histogram_percentile(histogram, bench_percentiles[i].share));
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

void bench_report_judge(const struct bench_options *options, const struct bench_judge *judge)
{
    const struct judge_totals totals = bench_judge_totals(judge);
    printf("  verified   %s verdicts by \"%s\": %s outside the model's bounds\n",
           grouped(totals.checked), options->verify, grouped(totals.outside));
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
           grouped(bench_per_second(run, counts->checks)));
    if (run->options->batch > 1)
        printf(" in %s datagrams/s", grouped(bench_per_second(run, counts->datagrams)));
    if (counts->checks)
        printf("   (own CPU %.*f ns/check)", run->cpu_ns < 100 * counts->checks ? 1 : 0,
               (double)run->cpu_ns / (double)counts->checks);
    printf("\n");
    print_latency(run);
    if (!run->options->echo)
        printf("  allowed    %s   denied %s\n", grouped(counts->allowed), grouped(counts->denied));
    print_last(run);
    print_errors(run);
    const uint64_t server_cpu_ns = bench_conditions_server_cpu_ns(run->conditions);
    if (server_cpu_ns && counts->checks)
        printf("  server     CPU %.3f s, %.0f ns/check\n", (double)server_cpu_ns / 1e9,
               (double)server_cpu_ns / (double)counts->checks);
    if (run->judge)
        bench_report_judge(run->options, run->judge);
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
    printf("%9u %12" PRIu64, in_flight, bench_per_second(run, run->counts.checks));
    for (size_t i = 0; i < BENCH_PERCENTILES; i++)
        printf(" %9.1f",
               (double)histogram_percentile(run->latency, bench_percentiles[i].share) / 1e3);
    printf(" %9" PRIu64 "\n", run->counts.lost);
    fflush(stdout);
}
