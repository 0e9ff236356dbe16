/* --find-rate: doubles the rate from a low one until it no longer holds, then halves the gap by
 * ratios until it is 3 %. What was found is confirmed by a longer run; as long as that fails, a
 * tenth less is tried. Latency includes the load's own lateness, so a run that holds the goal holds
 * it although the load was late; one that misses it for that reason says so: then it was the load
 * that gave up, not the server. */
#include "cmd/bench_search.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "cmd/cmd.h"

#define FIRST_RATE 1000u
#define LOWEST_RATE 100u
#define GAP 1.03
#define CONFIRM_TIMES 3u /* as long as a trial */
#define CONFIRM_TRIES 5u

struct search {
    const struct bench_options *options;
    bench_measure_fn *measure;
    void *context;
    unsigned trials;
    uint64_t failed_rate; /* the lowest that failed */
    char failed_why[320];
};

int bench_concurrency(const struct bench_options *options, bench_measure_fn *measure, void *context)
{
    int result = 0;
    if (options->json)
        printf("[");
    for (unsigned i = 0; i < options->concurrency_count && !bench_stop; i++) {
        struct bench_options one = *options;
        struct bench_run run = {0};
        const unsigned in_flight = options->concurrency[i];
        one.flows = in_flight < options->flows ? in_flight : options->flows;
        one.outstanding = in_flight / one.flows;
        result = measure(context, &one, &run);
        if (result != 0)
            break;
        if (options->json) {
            printf("%s", i ? ", " : "");
            bench_report_json(&run);
        } else {
            if (i == 0)
                bench_report_row_head();
            bench_report_row(&run, in_flight);
        }
    }
    if (options->json)
        printf("]\n");
    return result;
}

/* One run at this rate. 0 and whether it held, or an exit status. */
static int try_rate(struct search *search, uint64_t rate, unsigned times, bool *ret_holds)
{
    struct bench_options one = *search->options;
    struct bench_run run = {0};
    char why[320];
    one.duration_ns *= times;
    bench_options_set_rate(&one, rate);
    const int result = search->measure(search->context, &one, &run);
    if (result != 0)
        return result;
    *ret_holds = bench_goal_holds(&search->options->goal, &run, why, sizeof(why));
    if (!*ret_holds && (search->failed_rate == 0 || rate <= search->failed_rate)) {
        search->failed_rate = rate;
        snprintf(search->failed_why, sizeof(search->failed_why), "%s", why);
    }
    if (search->options->json) {
        printf("%s{\"rate\": %" PRIu64 ", \"holds\": %s, \"report\": ", search->trials ? ", " : "",
               rate, *ret_holds ? "true" : "false");
        bench_report_json(&run);
        printf("}");
    } else {
        printf("  %9" PRIu64 "/s %s  p50 %.1f us  p99 %.1f us  p99.9 %.1f us  lost %" PRIu64
               " of %" PRIu64 "  %s\n",
               rate, times > 1 ? "again, longer" : "",
               (double)histogram_percentile(run.latency, 0.5) / 1e3,
               (double)histogram_percentile(run.latency, 0.99) / 1e3,
               (double)histogram_percentile(run.latency, 0.999) / 1e3, run.counts.lost,
               run.counts.sent, why);
        fflush(stdout);
    }
    search->trials++;
    return 0;
}

/* *ret_rate: the highest rate that held, 0 if none. */
static int search_rate(struct search *search, uint64_t *ret_rate)
{
    uint64_t good = 0, rate = search->options->rate ? search->options->rate : FIRST_RATE;
    int result = 0;
    while (!bench_stop && rate >= LOWEST_RATE && rate <= BENCH_MAX_RATE) {
        bool holds;
        result = try_rate(search, rate, 1, &holds);
        if (result != 0)
            return result;
        if (bench_stop) /* in the middle of it */
            break;
        if (holds)
            good = rate;
        if (good && search->failed_rate) {
            if ((double)search->failed_rate < (double)good * GAP)
                break;
            rate = (uint64_t)sqrt((double)good * (double)search->failed_rate);
            if (rate <= good)
                break;
        } else {
            rate = holds ? rate * 2 : rate / 2;
        }
    }
    *ret_rate = good;
    return 0;
}

static int confirm(struct search *search, uint64_t *rate)
{
    bool holds = false;
    for (unsigned i = 0; i < CONFIRM_TRIES && !bench_stop && *rate >= LOWEST_RATE; i++) {
        const int result = try_rate(search, *rate, CONFIRM_TIMES, &holds);
        if (result != 0 || holds)
            return result;
        *rate -= *rate / 10;
    }
    *rate = 0;
    return 0;
}

int bench_find_rate(const struct bench_options *options, bench_measure_fn *measure, void *context)
{
    struct search search = {.options = options, .measure = measure, .context = context};
    uint64_t rate = 0, held;
    printf(options->json ? "{\"goal\": \"%s\", \"trials\": ["
                         : "mete bench: the rate that holds %s\n",
           options->goal.text);
    int result = search_rate(&search, &rate);
    held = rate;
    if (result == 0 && rate)
        result = confirm(&search, &rate);
    if (bench_stop)
        rate = 0;
    if (options->json)
        printf("], \"rate\": %" PRIu64 ", \"held_rate\": %" PRIu64 ", \"failed_rate\": %" PRIu64
               "}\n",
               rate, held, search.failed_rate);
    if (result != 0)
        return result;
    if (bench_stop) {
        fprintf(stderr, "mete bench: stopped: %" PRIu64 "/s held so far, not confirmed\n", held);
        return EXIT_INVALID;
    }
    if (rate == 0) {
        fprintf(stderr, "mete bench: no rate holds %s%s%s\n", options->goal.text,
                search.failed_why[0] ? ": at the lowest one tried, " : "", search.failed_why);
        return EXIT_INVALID;
    }
    if (!options->json) {
        printf("  holds      %" PRIu64 "/s, confirmed\n", rate);
        if (search.failed_rate)
            printf("  not        %" PRIu64 "/s: %s\n", search.failed_rate, search.failed_why);
    }
    return 0;
}
