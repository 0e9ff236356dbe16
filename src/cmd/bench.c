/* `mete bench`: loads a server and reports what it did.
 *
 * A client like any other, and cheap, because it often shares the machine with what it measures.
 * Closed loop: a fixed number of datagrams is in flight, and a stalled server is asked less, so
 * latency is blind to stalls; the report says so. Open loop: datagrams leave at instants set before
 * the run, and latency counts from those, so a stall costs what it would have cost the users; a run
 * whose load was late itself is marked invalid. This file is the order of events; bench.h names the
 * others.
 *
 * Threads: the calling one is the first of --threads; they share nothing but the stop flag and, for
 * the progress line, a counter each. */
#include "cmd/bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cmd/bench_conditions.h"
#include "cmd/bench_hello.h"
#include "cmd/bench_judge.h"
#include "cmd/bench_loop.h"
#include "cmd/bench_search.h"
#include "cmd/bench_stream.h"
#include "cmd/bench_traffic.h"
#include "cmd/cmd.h"

volatile sig_atomic_t bench_stop;

struct bench {
    struct bench_options options;
    struct bench_server server;
    struct traffic traffic;
    bool traffic_is_open;
    struct bench_judge *judge;
    struct bench_conditions conditions;
    struct flow *flows;
    unsigned flow_count; /* opened */
    struct bench_thread **threads;
    unsigned thread_count;  /* made */
    uint64_t checks_before; /* of the progress line, and its instant */
    uint64_t progress_at_ns;
    bool progress_to_terminal;
    uint64_t cpu_ns; /* of the run */
};

static void on_signal(int number)
{
    (void)number;
    bench_stop = 1;
}

/* Of all threads; the p99 is the worst one's. */
static void on_second(void *context, uint64_t elapsed_ns)
{
    struct bench *bench = context;
    uint64_t checks = 0, allowed = 0, lost = 0, p99_ns = 0;
    for (unsigned i = 0; i < bench->thread_count; i++) {
        const struct bench_progress *progress = &bench->threads[i]->progress;
        checks += atomic_load_explicit(&progress->checks, memory_order_relaxed);
        allowed += atomic_load_explicit(&progress->allowed, memory_order_relaxed);
        lost += atomic_load_explicit(&progress->lost, memory_order_relaxed);
        const uint64_t own_ns = atomic_load_explicit(&progress->p99_ns, memory_order_relaxed);
        p99_ns = own_ns > p99_ns ? own_ns : p99_ns;
    }
    const uint64_t lasted_ns = elapsed_ns - bench->progress_at_ns;
    fprintf(stderr, "%s%4.0f s  %.4f M checks/s  allowed %.1f %%  p99 %.0f us  lost %llu%s",
            bench->progress_to_terminal ? "\r" : "", (double)elapsed_ns / 1e9,
            (double)(checks - bench->checks_before) * 1e3 / (double)(lasted_ns + !lasted_ns),
            checks ? 100.0 * (double)allowed / (double)checks : 0.0, (double)p99_ns / 1e3,
            (unsigned long long)lost, bench->progress_to_terminal ? "   " : "\n");
    bench->checks_before = checks;
    bench->progress_at_ns = elapsed_ns;
}

/* The part of the rate that flows begin to end have. */
static struct schedule share_schedule(const struct bench_options *options, unsigned begin,
                                      unsigned end)
{
    const double rate = (double)options->rate / options->batch;
    struct schedule schedule = {
        .kind = options->schedule,
        .interval_ns = 1e9 / rate * options->flows / (end - begin),
        .duration_ns = (double)options->duration_ns,
        .position = (double)begin / options->flows,
        .random = traffic_mix(options->seed + begin),
    };
    if (!options->duration_ns) /* the area under a ramp is half its end times its duration */
        schedule.duration_ns = 2e9 * (double)options->requests / (double)options->rate;
    return schedule;
}

static int make_thread(struct bench *bench, unsigned index)
{
    const struct bench_options *options = &bench->options;
    const unsigned begin = options->flows * index / options->threads;
    const unsigned end = options->flows * (index + 1) / options->threads;
    struct bench_thread *thread = calloc(1, sizeof(*thread));
    if (!thread)
        return -1;
    bench->threads[bench->thread_count++] = thread;
    thread->options = options;
    thread->key = bench_server_key(&bench->server);
    thread->clock = bench->server.clock;
    thread->chance = traffic_mix(options->seed ^ (index + 1));
    thread->flows = bench->flows + begin;
    thread->flow_count = end - begin;
    thread->judge = bench->judge;
    histogram_init(&thread->latency);
    histogram_init(&thread->from_send);
    histogram_init(&thread->slip);
    if (options->rate)
        thread->schedule = share_schedule(options, begin, end);
    if (index == 0 && (options->progress || bench->progress_to_terminal)) {
        thread->on_second = on_second;
        thread->context = bench;
    }
    if (traffic_share(&bench->traffic, index, options->threads, &thread->traffic) < 0)
        return -1;
    return flow_io_open(options->join, &thread->io);
}

static int prepare(struct bench *bench)
{
    const struct bench_options *options = &bench->options;
    int result = options->door ? bench_stream_hello(options, &bench->server)
                               : bench_hello(options, &bench->server);
    if (result == 0)
        result = traffic_open(options, bench->server.seed,
                              (options->verify && !options->no_salt) || options->unique,
                              &bench->traffic);
    if (result != 0)
        return result;
    bench->traffic_is_open = true;
    if (options->reset || (options->verify && options->no_salt))
        result = bench_reset(options, &bench->server, &bench->traffic);
    if (result != 0)
        return result;
    if (options->verify) {
        bench->judge =
            bench_judge_create(&options->limit, options->cost,
                               options->unique ? 0 : bench->traffic.subject_count, &bench->server);
        if (!bench->judge)
            return cmd_fail("bench", "not enough memory for %u subjects",
                            bench->traffic.subject_count);
    }
    bench->progress_to_terminal = !options->json && isatty(STDERR_FILENO);
    return 0;
}

/* The flows and threads of one run. */
static int open_load(struct bench *bench)
{
    const struct bench_options *options = &bench->options;
    bench->flows = calloc(options->flows, sizeof(*bench->flows));
    bench->threads = calloc(options->threads, sizeof(*bench->threads));
    if (!bench->flows || !bench->threads)
        return cmd_fail("bench", "not enough memory");
    for (; bench->flow_count < options->flows; bench->flow_count++) {
        const int error = flow_open(options, &bench->server, &bench->flows[bench->flow_count]);
        if (error < 0)
            return cmd_fail("bench", "%s: %s", bench->server.text, strerror(-error));
    }
    for (unsigned i = 0; i < options->threads; i++)
        if (make_thread(bench, i) < 0)
            return cmd_fail("bench", "not enough memory");
    return 0;
}

static void close_load(struct bench *bench)
{
    for (; bench->thread_count > 0; bench->thread_count--) {
        flow_io_close(bench->threads[bench->thread_count - 1]->io);
        traffic_unshare(&bench->threads[bench->thread_count - 1]->traffic);
        free(bench->threads[bench->thread_count - 1]);
    }
    free(bench->threads);
    for (; bench->flow_count > 0; bench->flow_count--)
        flow_close(&bench->flows[bench->flow_count - 1]);
    free(bench->flows);
    bench->threads = NULL;
    bench->flows = NULL;
    bench_conditions_deinit(&bench->conditions);
    bench->conditions = (struct bench_conditions){0};
}

static void *run_thread(void *context)
{
    struct bench_thread *thread = context;
    if (thread->options->rate)
        bench_open_run(thread);
    else
        bench_loop_run(thread);
    return NULL;
}

static uint64_t cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

static int run(struct bench *bench)
{
    pthread_t ids[BENCH_MAX_THREADS];
    unsigned started = 1;
    bench->cpu_ns = cpu_ns();
    for (; started < bench->thread_count; started++)
        if (pthread_create(&ids[started], NULL, run_thread, bench->threads[started]) != 0)
            break;
    const bool complete = started == bench->thread_count;
    if (complete)
        run_thread(bench->threads[0]);
    else
        bench_stop = 1;
    for (unsigned i = 1; i < started; i++)
        pthread_join(ids[i], NULL);
    bench->cpu_ns = cpu_ns() - bench->cpu_ns;
    return complete ? 0 : cmd_fail("bench", "threads: could not start %u", bench->thread_count);
}

static void add_counts(struct bench_counts *into, const struct bench_counts *from)
{
    into->checks += from->checks;
    into->datagrams += from->datagrams;
    into->sent += from->sent;
    into->allowed += from->allowed;
    into->denied += from->denied;
    into->lost += from->lost;
    into->late += from->late;
    into->duplicate += from->duplicate;
    into->unsent += from->unsent;
    into->malformed += from->malformed;
    into->retried += from->retried;
    into->resends += from->resends;
    into->repeats += from->repeats;
    into->refused += from->refused;
    into->unsendable += from->unsendable;
    into->cut_off += from->cut_off;
    into->closed += from->closed;
    for (unsigned i = 0; i <= METE_STATUS_COUNT; i++)
        into->statuses[i] += from->statuses[i];
}

/* A load that was late itself by more than a tenth of what it reports has measured itself; so has
 * one that never sent more than a hundredth of what was to be sent. */
static void find_invalid(struct bench_run *run)
{
    const struct bench_options *options = run->options;
    const uint64_t slip_ns = histogram_percentile(run->slip, 0.99);
    const uint64_t latency_ns = histogram_percentile(run->latency, 0.99);
    const uint64_t unsent = run->counts.unsent, all = unsent + run->counts.sent;
    const bool is_late = slip_ns > latency_ns / 10;
    if (!options->rate || (!is_late && unsent <= all / 100))
        return;
    int len = snprintf(run->invalid, sizeof(run->invalid), "the load itself was late");
    if (is_late)
        len += snprintf(run->invalid + len, sizeof(run->invalid) - (size_t)len,
                        ": the p99 of its slip is %.1f us, more than a tenth of the latency's p99, "
                        "%.1f us",
                        (double)slip_ns / 1e3, (double)latency_ns / 1e3);
    if (unsent)
        snprintf(run->invalid + len, sizeof(run->invalid) - (size_t)len,
                 "; %llu of %llu datagrams were never sent: this machine cannot offer %llu/s",
                 (unsigned long long)unsent, (unsigned long long)all,
                 (unsigned long long)options->rate);
}

/* What all threads found. 0, or EXIT_NO_ANSWER after one line on stderr. */
static int collect(struct bench *bench, struct bench_run *ret_run)
{
    struct bench_thread *first = bench->threads[0];
    struct bench_run all = {.options = &bench->options,
                            .server = &bench->server,
                            .counts = first->counts,
                            .latency = &first->latency,
                            .from_send = &first->from_send,
                            .slip = &first->slip,
                            .judge = bench->judge,
                            .conditions = &bench->conditions,
                            .cpu_ns = bench->cpu_ns,
                            .subject_count = bench->traffic.subject_count,
                            .line_count = bench->traffic.line_count,
                            .unparsed_count = bench->traffic.unparsed_count};
    uint64_t start_ns = first->start_ns, end_ns = first->end_ns, last_ns = 0;
    for (unsigned i = 0; i < bench->thread_count; i++) {
        const struct bench_thread *thread = bench->threads[i];
        if (bench->judge)
            bench_judge_add(bench->judge, &thread->tally);
        if (thread->has_last && thread->end_ns > last_ns) {
            all.last = thread->last;
            all.has_last = true;
            last_ns = thread->end_ns;
        }
        if (i == 0)
            continue;
        add_counts(&all.counts, &thread->counts);
        histogram_merge(all.latency, &thread->latency);
        histogram_merge(all.from_send, &thread->from_send);
        histogram_merge(all.slip, &thread->slip);
        start_ns = thread->start_ns < start_ns ? thread->start_ns : start_ns;
        end_ns = thread->end_ns > end_ns ? thread->end_ns : end_ns;
    }
    all.elapsed_ns = end_ns - start_ns;
    if (bench->progress_to_terminal)
        fprintf(stderr, "\r%78s\r", "");
    if (all.counts.checks == 0 && all.counts.sent > 0) {
        fprintf(stderr, "mete bench: %s answered at first, but none of %llu %s\n",
                bench->server.text, (unsigned long long)all.counts.sent,
                bench->options.door ? "requests" : "datagrams");
        return EXIT_NO_ANSWER;
    }
    find_invalid(&all);
    *ret_run = all;
    return 0;
}

static int measure(void *context, const struct bench_options *options, struct bench_run *ret_run)
{
    struct bench *bench = context;
    close_load(bench);
    bench->options = *options;
    bench->checks_before = bench->progress_at_ns = 0;
    if (options->unique) /* in the next run too */
        bench->traffic.salt = traffic_mix(bench->traffic.salt + 1);
    int result = open_load(bench);
    const struct bench_parties parties = {&bench->options, &bench->server, bench->flows,
                                          bench->flow_count};
    if (result == 0)
        result = bench_conditions_begin(&parties, &bench->conditions);
    if (result == 0)
        result = run(bench);
    if (result == 0)
        result = bench_conditions_end(&parties, &bench->conditions);
    return result ? result : collect(bench, ret_run);
}

/* One run; prints and says how it went. */
static int run_once(struct bench *bench, const struct bench_options *options)
{
    struct bench_run all = {0};
    const int result = measure(bench, options, &all);
    if (result != 0)
        return result;
    if (options->json)
        bench_report_json(&all);
    else
        bench_report_text(&all);
    if (all.invalid[0])
        fprintf(stderr, "mete bench: INVALID: %s\n", all.invalid);
    return all.invalid[0] ? EXIT_INVALID : 0;
}

/* Several runs, whose verdicts are judged as one long one. */
static int run_series(struct bench *bench, const struct bench_options *options)
{
    const int result = options->goal.text ? bench_find_rate(options, measure, bench)
                                          : bench_concurrency(options, measure, bench);
    if (bench->judge && !options->json)
        bench_report_judge(options, bench->judge);
    return result;
}

static bool is_outside(const struct bench *bench)
{
    if (!bench->judge)
        return false;
    const struct judge_totals totals = bench_judge_totals(bench->judge);
    return totals.outside || totals.subjects_outside;
}

static void deinit(struct bench *bench)
{
    close_load(bench);
    bench_judge_destroy(bench->judge);
    if (bench->traffic_is_open)
        traffic_close(&bench->traffic);
}

int cmd_bench(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct bench bench = {0};
    int result = bench_options_parse(argc, argv, &bench.options);

    if (result != 0)
        return result;
    if (bench.options.help) {
        bench_options_help();
        return 0;
    }
    if (bench.options.compare[0])
        return bench_compare(bench.options.compare[0], bench.options.compare[1]);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    result = prepare(&bench);
    const struct bench_options options = bench.options;
    if (result == 0 && (options.goal.text || options.concurrency_count))
        result = run_series(&bench, &options);
    else if (result == 0)
        result = run_once(&bench, &options);
    if (result == 0 && is_outside(&bench))
        result = EXIT_INVALID;
    deinit(&bench);
    return result;
}
