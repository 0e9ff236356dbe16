/* What --find-rate is to hold, as text "p99<200us,loss<0.01%", and the list of --concurrency. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench.h"
#include "cmd/cmd.h"

static const struct {
    const char *name;
    double share;
} percentiles[] = {{"p50", 0.5},     {"p90", 0.9},       {"p99", 0.99},
                   {"p99.9", 0.999}, {"p99.99", 0.9999}, {"max", 1.0}};

static const struct {
    const char *name;
    double ns;
} units[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};

static bool parse_loss(const char *value, struct bench_goal *goal)
{
    char *end;
    const double percent = strtod(value, &end);
    if (end == value || strcmp(end, "%") != 0 || !(percent > 0 && percent <= 100))
        return false;
    goal->loss = percent / 100;
    return true;
}

static bool parse_latency(const char *name, const char *value, struct bench_goal *goal)
{
    char *end;
    const double number = strtod(value, &end);
    if (end == value || !(number > 0 && number < 1e9) || goal->count == BENCH_GOAL_TERMS)
        return false;
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
        for (size_t unit = 0; unit < sizeof(units) / sizeof(units[0]); unit++)
            if (strcmp(name, percentiles[i].name) == 0 && strcmp(end, units[unit].name) == 0) {
                goal->terms[goal->count].name = percentiles[i].name;
                goal->terms[goal->count].share = percentiles[i].share;
                goal->terms[goal->count++].below_ns = (uint64_t)(number * units[unit].ns);
                return true;
            }
    return false;
}

int bench_goal_parse(const char *text, struct bench_goal *ret_goal)
{
    struct bench_goal goal = {.text = text};
    const char *at = text;
    for (bool more = true; more;) {
        char term[64];
        const size_t len = strcspn(at, ",");
        bool is_good = len < sizeof(term);
        if (is_good) {
            memcpy(term, at, len);
            term[len] = 0;
            char *value = strchr(term, '<');
            is_good = value != NULL;
            if (value) {
                *value++ = 0;
                is_good = strcmp(term, "loss") == 0 ? parse_loss(value, &goal)
                                                    : parse_latency(term, value, &goal);
            }
        }
        if (!is_good)
            return cmd_fail("bench",
                            "--find-rate: '%s' is not like p99<200us,loss<0.01%% (p50, p90, p99, "
                            "p99.9, p99.99, max in us, ms or s)",
                            text);
        more = at[len] == ',';
        at += len + 1;
    }
    *ret_goal = goal;
    return 0;
}

bool bench_goal_holds(const struct bench_goal *goal, const struct bench_run *run, char *ret_why,
                      size_t size)
{
    const struct bench_counts *counts = &run->counts;
    const double loss = counts->sent ? (double)counts->lost / (double)counts->sent : 0;
    snprintf(ret_why, size, "holds");
    if (counts->unsent) {
        snprintf(ret_why, size, "INVALID: %s", run->invalid);
        return false;
    }
    if (goal->loss > 0 && loss >= goal->loss) {
        snprintf(ret_why, size, "loss %.4g %%", loss * 100);
        return false;
    }
    for (unsigned i = 0; i < goal->count; i++) {
        const uint64_t ns = histogram_percentile(run->latency, goal->terms[i].share);
        if (ns >= goal->terms[i].below_ns) {
            snprintf(ret_why, size, "%s %.1f us%s%s", goal->terms[i].name, (double)ns / 1e3,
                     run->invalid[0] ? "; INVALID: " : "", run->invalid);
            return false;
        }
    }
    return true;
}

int bench_concurrency_parse(const char *text, struct bench_options *options)
{
    const char *at = text;
    options->concurrency_count = 0;
    for (bool more = true; more;) {
        char *end;
        const unsigned long number = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || (*end && *end != ',') || number == 0 ||
            number > BENCH_MAX_FLOWS * BENCH_MAX_OUTSTANDING ||
            options->concurrency_count == BENCH_MAX_ROWS)
            return cmd_fail("bench",
                            "--concurrency: '%s' is not a list of at most %u numbers like 1,8,64",
                            text, BENCH_MAX_ROWS);
        options->concurrency[options->concurrency_count++] = (unsigned)number;
        more = *end == ',';
        at = end + 1;
    }
    return 0;
}
