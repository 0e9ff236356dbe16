/* The command line of `mete bench`: options, their bounds and the help text. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench.h"
#include "cmd/cmd.h"
#include "config/config.h"

enum option_id {
    OPTION_SERVER = 1,
    OPTION_TENANT,
    OPTION_RULE,
    OPTION_COST,
    OPTION_FLOWS,
    OPTION_OUTSTANDING,
    OPTION_BATCH,
    OPTION_KEYS,
    OPTION_ZIPF,
    OPTION_HOT_KEY,
    OPTION_UNIQUE,
    OPTION_SUBJECTS,
    OPTION_REQUESTS,
    OPTION_SECONDS,
    OPTION_RATE,
    OPTION_SCHEDULE,
    OPTION_FIND_RATE,
    OPTION_CONCURRENCY,
    OPTION_COMPARE,
    OPTION_JOIN,
    OPTION_TIMEOUT,
    OPTION_RETRIES,
    OPTION_BACKOFF,
    OPTION_RESET,
    OPTION_SECRET_FILE,
    OPTION_THREADS,
    OPTION_ADMIN,
    OPTION_VERIFY,
    OPTION_NO_SALT,
    OPTION_SEED,
    OPTION_ECHO,
    OPTION_NO_TAG_CHECK,
    OPTION_PROGRESS,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_DOOR,
    OPTION_ASK,
};

static const struct option long_options[] = {
    {"server", required_argument, NULL, OPTION_SERVER},
    {"door", required_argument, NULL, OPTION_DOOR},
    {"ask", required_argument, NULL, OPTION_ASK},
    {"tenant", required_argument, NULL, OPTION_TENANT},
    {"secret-file", required_argument, NULL, OPTION_SECRET_FILE},
    {"rule", required_argument, NULL, OPTION_RULE},
    {"cost", required_argument, NULL, OPTION_COST},
    {"flows", required_argument, NULL, OPTION_FLOWS},
    {"outstanding", required_argument, NULL, OPTION_OUTSTANDING},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"keys", required_argument, NULL, OPTION_KEYS},
    {"zipf", required_argument, NULL, OPTION_ZIPF},
    {"hot-key", required_argument, NULL, OPTION_HOT_KEY},
    {"unique", no_argument, NULL, OPTION_UNIQUE},
    {"subjects", required_argument, NULL, OPTION_SUBJECTS},
    {"requests", required_argument, NULL, OPTION_REQUESTS},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"find-rate", required_argument, NULL, OPTION_FIND_RATE},
    {"compare", required_argument, NULL, OPTION_COMPARE},
    {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
    {"schedule", required_argument, NULL, OPTION_SCHEDULE},
    {"join", no_argument, NULL, OPTION_JOIN},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"retries", required_argument, NULL, OPTION_RETRIES},
    {"backoff", required_argument, NULL, OPTION_BACKOFF},
    {"reset", no_argument, NULL, OPTION_RESET},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"admin", required_argument, NULL, OPTION_ADMIN},
    {"verify", required_argument, NULL, OPTION_VERIFY},
    {"no-salt", no_argument, NULL, OPTION_NO_SALT},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"echo", no_argument, NULL, OPTION_ECHO},
    {"no-tag-check", no_argument, NULL, OPTION_NO_TAG_CHECK},
    {"progress", no_argument, NULL, OPTION_PROGRESS},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

void bench_options_help(void)
{
    puts(
        "usage: mete bench [OPTION...]\n\n"
        "Keeps a number of checks in flight, or with --rate sends them at set instants, and "
        "reports\n"
        "what the server did with them.\n\n"
        "  --server HOST:PORT   default 127.0.0.1:6383; with --door its usual port\n"
        "  --door resp|http|grpc over connections to that door; --outstanding is then the depth\n"
        "                       of the pipeline on each, and --secret-file holds an API key\n"
        "  --ask TEXT           with --door, in place of --rule: a command or an HTTP target, {}\n"
        "                       for the subject, of any server: \"GET {}\"; grpc: \"DOMAIN "
        "KEY={}\",\n"
        "                       which asks Envoy's rate limit service\n"
        "  --tenant NAME        default `default`\n"
        "  --secret-file FILE   the tenant's secret: sign every datagram, verify every answer\n"
        "  --rule NAME          default `fast`\n"
        "  --cost N             units a check asks for (1)\n"
        "  --flows N            sockets, connections (8)\n"
        "  --outstanding N      datagrams in flight per flow (32); not with --rate\n"
        "  --rate N/s           open loop: N checks a second over all flows, however the server\n"
        "                       does; latency counts from the intended instant of sending\n"
        "  --schedule KIND      with --rate: constant (default), poisson, bursty (a tenth of the\n"
        "                       time at ten times the rate) or ramp (from 0 to N)\n"
        "  --batch N            checks per datagram, 1 to 50 (1)\n"
        "  --keys N             different subjects, drawn at random (1000000; with --verify "
        "10000)\n"
        "  --zipf S             the keys by Zipf's law with exponent S, not uniformly\n"
        "  --hot-key PERCENT    so many of the checks ask one key\n"
        "  --unique             every check asks a key that was never asked\n"
        "  --find-rate GOAL     search the highest rate that holds GOAL, from --rate (1000/s) on, "
        "and\n"
        "                       confirm it: \"p99<200us,loss<0.01%\"; --seconds is a trial's (1)\n"
        "  --concurrency LIST   a run and a row for each number of datagrams in flight: 1,8,64\n"
        "  --subjects FILE      subjects from a file, one a line and in its order; an access "
        "log's\n"
        "                       client addresses; plain or gzip; - is standard input\n"
        "  --requests N         stop after N checks\n"
        "  --seconds S          stop after S seconds (5, unless --requests or --subjects)\n"
        "  --join               several datagrams of a flow per send and receive\n"
        "  --timeout MS         wait so long for an answer to each try (100)\n"
        "  --retries N          then send the very same bytes again, up to N times (0); only to a\n"
        "                       server that recognises repeats, others would charge twice\n"
        "  --backoff TIME       rest before a retry (1ms); doubles each time, give or take half\n"
        "  --reset              forget first what the subjects have spent, at most 10 million of\n"
        "                       them; nobody is reset unasked\n"
        "  --threads N          of the load, at most one per flow (1)\n"
        "  --verify RULE        compare every verdict with the exact model of RULE, which must be\n"
        "                       what --rule means: \"token_bucket 10/s burst 20\"\n"
        "  --no-salt            with --verify: the subjects as they are, reset first; otherwise a\n"
        "                       random salt makes them new to the server\n"
        "  --seed N             of the random draws (1)\n"
        "  --admin PATH         the server's listen.admin: its CPU and counters over the run\n"
        "  --echo               the server is bench/echo\n"
        "  --no-tag-check       trust the answers' tags\n"
        "  --progress           a line every second even if this is no terminal\n"
        "  --compare A B        no load: two reports of --json side by side\n"
        "  --json               the report as JSON\n\n"
        "Ctrl-C ends it early, with the report of what was done.\n\n"
        "exit status: 0 done, 2 wrong use, 3 no answer, 4 invalid: verdicts outside the\n"
        "model's bounds, an open loop that was itself late, or no rate that holds");
}

static int parse_real(const char *option, double min, double max, double *ret)
{
    char *end;
    const double number = strtod(optarg, &end);
    if (end == optarg || *end || !(number >= min && number <= max))
        return cmd_fail("bench", "%s: '%s' is not a number from %g to %.0f", option, optarg, min,
                        max);
    *ret = number;
    return 0;
}

static int parse_seconds(uint64_t *ret_ns)
{
    double seconds = 0;
    const int result = parse_real("--seconds", 0.001, 1e6, &seconds);
    if (result == 0)
        *ret_ns = (uint64_t)(seconds * 1e9);
    return result;
}

static int parse_rate(const char *text, uint64_t *ret_rate)
{
    char *end;
    errno = 0;
    const unsigned long long rate = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || errno || (*end && strcmp(end, "/s") != 0) || rate == 0 ||
        rate > BENCH_MAX_RATE)
        return cmd_fail("bench", "--rate: '%s' is not N/s with N from 1 to %u", text,
                        BENCH_MAX_RATE);
    *ret_rate = rate;
    return 0;
}

static int parse_backoff(const char *text, uint64_t *ret_ns)
{
    char *end;
    const double number = strtod(text, &end);
    const double unit = strcmp(end, "us") == 0   ? 1e3
                        : strcmp(end, "ms") == 0 ? 1e6
                        : strcmp(end, "s") == 0  ? 1e9
                                                 : 0;
    if (end == text || !(number * unit >= 1e4 && number * unit <= 1e10))
        return cmd_fail("bench", "--backoff: '%s' is not a time from 10us to 10s", text);
    *ret_ns = (uint64_t)(number * unit);
    return 0;
}

static int parse_door(const char *text, struct bench_options *options)
{
    options->door = bench_door_find(text);
    return options->door ? 0
                         : cmd_fail("bench", "--door: '%s' is not one of resp, http, grpc", text);
}

static int parse_schedule(const char *text, struct bench_options *options)
{
    options->schedule = schedule_parse(text);
    options->has_schedule = true;
    if (options->schedule == SCHEDULE_COUNT)
        return cmd_fail("bench", "--schedule: '%s' is none of constant, poisson, bursty and ramp",
                        text);
    return 0;
}

static int parse_verify(const char *text, struct bench_options *options)
{
    struct limit_spec spec;
    char error[256];
    if (config_parse_rule_text(text, &spec, error, sizeof(error)) < 0)
        return cmd_fail("bench", "--verify: %s", error);
    const enum limit_error code = limit_compile(&spec, &options->limit);
    if (code != LIMIT_OK)
        return cmd_fail("bench", "--verify: '%s': %s", text, limit_error_text(code));
    options->verify = text;
    return 0;
}

static int parse_unsigned(const char *option, uint64_t min, uint64_t max, unsigned *ret)
{
    uint64_t number;
    const int result = cmd_number("bench", option, optarg, min, max, &number);
    if (result == 0)
        *ret = (unsigned)number;
    return result;
}

/* The options that have a number. -1 if id is none of them. */
static int set_number(int id, struct bench_options *options)
{
    uint64_t number;
    int result;
    switch (id) {
    case OPTION_COST:
        return parse_unsigned("--cost", 1, UINT32_MAX, &options->cost);
    case OPTION_FLOWS:
        return parse_unsigned("--flows", 1, BENCH_MAX_FLOWS, &options->flows);
    case OPTION_OUTSTANDING:
        return parse_unsigned("--outstanding", 1, BENCH_MAX_OUTSTANDING, &options->outstanding);
    case OPTION_BATCH:
        return parse_unsigned("--batch", 1, BENCH_MAX_BATCH, &options->batch);
    case OPTION_RETRIES:
        return parse_unsigned("--retries", 0, BENCH_MAX_RETRIES, &options->retries);
    case OPTION_BACKOFF:
        return parse_backoff(optarg, &options->backoff_ns);
    case OPTION_THREADS:
        return parse_unsigned("--threads", 1, BENCH_MAX_THREADS, &options->threads);
    case OPTION_KEYS:
        return cmd_number("bench", "--keys", optarg, 1, UINT32_MAX, &options->keys);
    case OPTION_REQUESTS:
        return cmd_number("bench", "--requests", optarg, 1, UINT64_MAX / 2, &options->requests);
    case OPTION_SEED:
        return cmd_number("bench", "--seed", optarg, 0, UINT64_MAX, &options->seed);
    case OPTION_TIMEOUT:
        result = cmd_number("bench", "--timeout", optarg, 1, 60000, &number);
        if (result == 0)
            options->timeout_ns = number * 1000000;
        return result;
    case OPTION_SECONDS:
        return parse_seconds(&options->duration_ns);
    case OPTION_ZIPF:
        return parse_real("--zipf", 0.01, 10, &options->zipf);
    case OPTION_HOT_KEY:
        result = parse_real("--hot-key", 0.001, 100, &options->hot_part);
        options->hot_part /= 100;
        return result;
    case OPTION_RATE:
        return parse_rate(optarg, &options->rate);
    default:
        return -1;
    }
}

/* The others. -1 if id is none of them. */
static int set_other(int id, struct bench_options *options)
{
    switch (id) {
    case OPTION_SERVER:
        options->server = optarg;
        return 0;
    case OPTION_DOOR:
        return parse_door(optarg, options);
    case OPTION_ASK:
        options->ask = optarg;
        return 0;
    case OPTION_TENANT:
        options->tenant = optarg;
        return 0;
    case OPTION_SECRET_FILE:
        options->secret = optarg;
        return 0;
    case OPTION_RULE:
        options->rule = optarg;
        return 0;
    case OPTION_SUBJECTS:
        options->subjects = optarg;
        return 0;
    case OPTION_FIND_RATE:
        return bench_goal_parse(optarg, &options->goal);
    case OPTION_COMPARE:
        options->compare[0] = optarg;
        return 0;
    case OPTION_CONCURRENCY:
        return bench_concurrency_parse(optarg, options);
    case OPTION_ADMIN:
        options->admin = optarg;
        return 0;
    case OPTION_SCHEDULE:
        return parse_schedule(optarg, options);
    case OPTION_VERIFY:
        return parse_verify(optarg, options);
    case OPTION_UNIQUE:
        options->unique = true;
        return 0;
    case OPTION_RESET:
        options->reset = true;
        return 0;
    case OPTION_JOIN:
        options->join = true;
        return 0;
    case OPTION_NO_SALT:
        options->no_salt = true;
        return 0;
    case OPTION_ECHO:
        options->echo = true;
        return 0;
    case OPTION_NO_TAG_CHECK:
        options->no_tag_check = true;
        return 0;
    case OPTION_PROGRESS:
        options->progress = true;
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 0;
    case OPTION_HELP:
        options->help = true;
        return 0;
    default:
        return -1;
    }
}

int bench_options_parse(int argc, char **argv, struct bench_options *ret_options)
{
    struct bench_options options = {
        .tenant = "default",
        .rule = "fast",
        .cost = 1,
        .flows = 8,
        .batch = 1,
        .threads = 1,
        .timeout_ns = 100000000,
        .seed = 1,
    };
    int id;

    opterr = 0;
    optind = 1;
    while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        int result = set_number(id, &options);
        if (result < 0)
            result = set_other(id, &options);
        if (result < 0)
            result = cmd_bad_option("bench", id, argv, long_options);
        if (result != 0)
            return result;
    }
    if (options.compare[0] && optind + 1 == argc)
        options.compare[1] = argv[optind++];
    else if (options.compare[0])
        return cmd_fail("bench", "--compare needs two files: --compare A.json B.json");
    if (optind < argc)
        return cmd_fail("bench", "'%s' is not an option", argv[optind]);
    const int result = options.help ? 0 : bench_options_fit(&options);
    if (result == 0)
        *ret_options = options;
    return result;
}
