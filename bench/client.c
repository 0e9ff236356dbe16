/* What joining gives an application: one thread with many callers, each of whom waits for its
 * answer before it asks again, over the non-blocking client.
 *
 *   client [--tiny] [--server HOST:PORT] [--callers 64] [--seconds 2] [--join-us 50] [--spin]
 *
 * Three ways in turn, three rounds, against a server that runs already: one datagram per check
 * (flushed after each), joined by process alone, and joined with join_us. The callers are the same
 * and so is the loop, which sleeps in ppoll() for answers or, with --spin, does not. Whoever starts
 * it pins it. A closed loop: the percentiles compare the rows and say nothing of stalls. */
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mete/client.h"
#include "obs/histogram.h"

#define CALLERS_MAX 4096u
#define ROUNDS 3u
#define TIMEOUT_US 1000000u

enum way { WAY_SINGLE, WAY_PROCESS, WAY_JOIN, WAY_COUNT };

struct options {
    const char *server;
    uint32_t callers;
    uint32_t join_us;
    bool spin;
    double seconds;
};

struct result {
    struct histogram latency;
    struct mete_client_stats stats;
    uint64_t answered, fallbacks;
    int64_t took_ns;
};

struct run;

struct caller {
    struct run *run;
    int64_t asked_at_ns;
};

struct run {
    struct mete_client *client;
    struct caller callers[CALLERS_MAX];
    struct result *result;
    enum way way;
    uint32_t waiting;
    uint64_t next_subject;
    int64_t end_at_ns;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void ask(struct caller *caller);

static void on_answer(void *context, const struct mete_answer *answer)
{
    struct caller *caller = context;
    struct run *run = caller->run;
    int64_t at_ns = now_ns();
    run->waiting--;
    if (answer->source == METE_SOURCE_SERVER) {
        histogram_record(&run->result->latency, (uint64_t)(at_ns - caller->asked_at_ns));
        run->result->answered++;
    } else {
        run->result->fallbacks++;
    }
    if (at_ns < run->end_at_ns)
        ask(caller);
}

static void ask(struct caller *caller)
{
    struct run *run = caller->run;
    uint64_t subject = run->next_subject++ * 0x9E3779B97F4A7C15ull >> 44; /* 2^20 of them */
    struct mete_request request = {
        .rule = "fast", .subject = &subject, .subject_len = sizeof(subject), .cost = 1};
    caller->asked_at_ns = now_ns();
    if (mete_client_submit(run->client, &request, on_answer, caller))
        abort(); /* there is room for all callers */
    run->waiting++;
    if (run->way == WAY_SINGLE)
        mete_client_flush(run->client);
}

static void wait_for_answers(const struct run *run)
{
    int64_t us = mete_client_next_deadline_us(run->client);
    if (us == 0)
        return;
    struct pollfd readable = {.fd = mete_client_fd(run->client), .events = POLLIN};
    struct timespec left = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    ppoll(&readable, 1, us < 0 ? NULL : &left, NULL);
}

static void add_stats(struct mete_client_stats *sum, const struct mete_client_stats *more)
{
    sum->sent_datagrams += more->sent_datagrams;
    sum->sent_checks += more->sent_checks;
    sum->sends += more->sends;
}

/* One way for a while, with a client of its own. 0 or -1: no client. */
static int measure(struct run *run, const struct options *options, enum way way,
                   struct result *result)
{
    struct mete_client_options client_options = {.server = options->server,
                                                 .timeout_us = TIMEOUT_US,
                                                 .max_in_flight = options->callers,
                                                 .join_us = way == WAY_JOIN ? options->join_us : 0};
    if (mete_client_open(&client_options, &run->client))
        return -1;
    run->way = way;
    run->result = result;
    int64_t from_ns = now_ns();
    run->end_at_ns = from_ns + (int64_t)(options->seconds * 1e9);
    for (uint32_t i = 0; i < options->callers; i++) {
        run->callers[i].run = run;
        ask(&run->callers[i]);
    }
    mete_client_process(run->client);
    while (run->waiting) {
        if (way != WAY_JOIN)
            mete_client_flush(run->client); /* what the callbacks asked */
        if (!options->spin)
            wait_for_answers(run);
        mete_client_process(run->client);
    }
    result->took_ns += now_ns() - from_ns;
    struct mete_client_stats stats = mete_client_stats(run->client);
    add_stats(&result->stats, &stats);
    mete_client_close(run->client);
    return 0;
}

static void print(const struct options *options, const struct result *results)
{
    static const char *const names[WAY_COUNT] = {"one datagram per check", "joined by process",
                                                 "joined by join_us"};
    double single = 0;
    printf("%u callers in one thread, join_us %u, %s for answers, %u rounds of %g s each\n",
           options->callers, options->join_us, options->spin ? "spinning" : "sleeping", ROUNDS,
           options->seconds);
    printf("%-24s %12s %7s %9s %9s %10s %10s %9s\n", "", "checks/s", "ratio", "p50 us", "p99 us",
           "per dgram", "per send", "fallbacks");
    for (unsigned way = 0; way < WAY_COUNT; way++) {
        const struct result *result = &results[way];
        const struct mete_client_stats *stats = &result->stats;
        double rate = (double)result->answered * 1e9 / (double)result->took_ns;
        single = way == WAY_SINGLE ? rate : single;
        printf("%-24s %12.0f %7.2f %9.1f %9.1f %10.1f %10.1f %9" PRIu64 "\n", names[way], rate,
               single > 0 ? rate / single : 0,
               (double)histogram_percentile(&result->latency, 0.5) / 1000,
               (double)histogram_percentile(&result->latency, 0.99) / 1000,
               stats->sent_datagrams ? (double)stats->sent_checks / (double)stats->sent_datagrams
                                     : 0,
               stats->sends ? (double)stats->sent_checks / (double)stats->sends : 0,
               result->fallbacks);
    }
}

static int parse(int argc, char **argv, struct options *ret_options)
{
    static const struct option known[] = {
        {"tiny", no_argument, NULL, 't'},
        {"spin", no_argument, NULL, 'p'},
        {"server", required_argument, NULL, 's'},
        {"callers", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 'd'},
        {"join-us", required_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    *ret_options = (struct options){.callers = 64, .join_us = 50, .seconds = 2};
    opterr = 0; /* one line, ours */
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 't')
            ret_options->seconds = 0.05;
        else if (c == 'p')
            ret_options->spin = true;
        else if (c == 's')
            ret_options->server = optarg;
        else if (c == 'c')
            ret_options->callers = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 'd')
            ret_options->seconds = strtod(optarg, NULL);
        else if (c == 'j')
            ret_options->join_us = (uint32_t)strtoul(optarg, NULL, 10);
        else
            return -1;
    }
    bool good = optind == argc && ret_options->callers >= 1 &&
                ret_options->callers <= CALLERS_MAX && ret_options->join_us >= 1 &&
                ret_options->join_us <= TIMEOUT_US && ret_options->seconds > 0 &&
                ret_options->seconds <= 3600;
    return good ? 0 : -1;
}

int main(int argc, char **argv)
{
    static struct run run;
    static struct result results[WAY_COUNT];
    struct options options;
    if (parse(argc, argv, &options)) {
        fprintf(stderr,
                "usage: client [--tiny] [--server HOST:PORT] [--callers 1 to %u] "
                "[--spin] [--seconds S] [--join-us 1 to %u]\n",
                CALLERS_MAX, TIMEOUT_US);
        return 2;
    }
    for (unsigned way = 0; way < WAY_COUNT; way++)
        histogram_init(&results[way].latency);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned way = 0; way < WAY_COUNT; way++) {
            if (measure(&run, &options, way, &results[way])) {
                fprintf(stderr, "client: no such server: %s\n", options.server);
                return 2;
            }
            if (!results[way].answered) {
                fprintf(stderr, "client: the server does not answer\n");
                return 4;
            }
        }
    }
    print(&options, results);
    return 0;
}
