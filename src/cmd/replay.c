/* `mete replay`: what a rule would have done to a real access log, before it is turned on.
 * Options here; reading, deciding and reporting are replay_log.c, replay_run.c and replay_*.c. */
#include "cmd/replay.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "config/config.h"

#define RULE_MAX 16u
#define TOP_DEFAULT 10u
#define TOP_MAX 100000u
#define NAME "replay"

static const char help[] =
    "usage: mete replay LOG --rule RULE [--rule RULE ...] [OPTION...]\n"
    "\n"
    "What a rule would have done to a real access log, in the log's own time.\n"
    "LOG is a file, plain or gzip, or - for standard input; its lines are in the common or "
    "combined\n"
    "log format, or one JSON object each. They need not be in the order of time. Each costs one "
    "unit.\n"
    "\n"
    "  --rule RULE        ALGORITHM COUNT/[N]UNIT [burst N] [queue], UNIT one of ms s m h d, as\n"
    "                     \"token_bucket 10/s burst 20\", \"leaky_bucket 5/s burst 50 queue\",\n"
    "                     \"fixed_window 1000/m\", \"sliding_window 5/60s\",\n"
    "                     \"calendar 100/month Europe/Berlin\" (day, week, month, year; UTC),\n"
    "                     unlimited, deny; up to 16\n"
    "  --by FIELD         who is limited: ip (default), user, method, path, status, referer, "
    "agent;\n"
    "                     of JSON any field, a dot leads into nested objects\n"
    "  --time-field NAME  of JSON; default: time, timestamp, ts or @timestamp. RFC 3339, or "
    "seconds,\n"
    "                     ms, us or ns since 1970\n"
    "  --top N            how many of the subjects hit hardest to list (default 10)\n"
    "  --json             the report as one JSON object\n"
    "\n"
    "Lines that are not understood are counted and left out. Exit status: 0, or 2 if the log or a\n"
    "rule cannot be used.\n";

struct options {
    const char *path;
    struct logline_fields fields;
    struct replay_rule rules[RULE_MAX];
    unsigned rule_count;
    uint64_t top;
    bool json;
    bool help;
};

static int add_rule(struct options *options, const char *text)
{
    struct replay_rule *rule = &options->rules[options->rule_count];
    char error[512];

    if (options->rule_count == RULE_MAX)
        return cmd_fail(NAME, "more than %u rules", RULE_MAX);
    if (config_compile_rule_text(text, &rule->limit, &rule->calendar, error, sizeof(error)) < 0)
        return cmd_fail(NAME, "--rule '%s': %s", text, error);
    rule->text = text;
    options->rule_count++;
    return 0;
}

static const struct option names[] = {
    {"rule", required_argument, NULL, 'r'},
    {"by", required_argument, NULL, 'b'},
    {"time-field", required_argument, NULL, 't'},
    {"top", required_argument, NULL, 'n'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static int take_option(struct options *options, int option, char **argv)
{
    switch (option) {
    case 'r':
        return add_rule(options, optarg);
    case 'b':
        options->fields.by = optarg;
        return *optarg != '\0' ? 0 : cmd_fail(NAME, "--by: the name of a field is missing");
    case 't':
        options->fields.time = optarg;
        return *optarg != '\0' ? 0 : cmd_fail(NAME, "--time-field: a name is missing");
    case 'n':
        return cmd_number(NAME, "--top", optarg, 0, TOP_MAX, &options->top);
    case 'j':
        options->json = true;
        return 0;
    case 'h':
        options->help = true;
        return 0;
    default:
        return cmd_bad_option(NAME, option, argv, names);
    }
}

/* 0 or EXIT_USAGE. */
static int parse_options(int argc, char **argv, struct options *options)
{
    int option;

    while ((option = getopt_long(argc, argv, ":h", names, NULL)) != -1) {
        const int status = take_option(options, option, argv);
        if (status != 0 || options->help)
            return status;
    }
    if (optind == argc)
        return cmd_fail(NAME, "which log? mete replay LOG --rule \"token_bucket 10/s burst 20\"");
    if (optind + 1 < argc)
        return cmd_fail(NAME, "one log at a time: '%s' is one too many", argv[optind + 1]);
    if (options->rule_count == 0)
        return cmd_fail(NAME, "which rule? --rule \"token_bucket 10/s burst 20\"");
    options->path = argv[optind];
    return 0;
}

static int run(struct options *options, const struct replay_log *log)
{
    const struct replay_report report = {
        .path = strcmp(options->path, "-") == 0 ? "standard input" : options->path,
        .by = options->fields.by == NULL ? "ip" : options->fields.by,
        .log = log,
        .rules = options->rules,
        .rule_count = options->rule_count,
    };
    for (unsigned i = 0; i < options->rule_count; i++) {
        struct replay_rule *rule = &options->rules[i];
        if (replay_run(&rule->limit, log, (uint32_t)options->top, &rule->outcome) < 0)
            return cmd_fail(NAME, "%s: too many subjects for the memory here", report.path);
    }
    if (options->json)
        replay_print_json(&report, stdout);
    else
        replay_print_text(&report, stdout);
    if (fflush(stdout) != 0)
        return cmd_fail(NAME, "the report could not be written: %s", strerror(errno));
    return 0;
}

static int load_and_run(struct options *options)
{
    struct replay_log log;
    char error[512];

    if (replay_log_load(options->path, &options->fields, &log, error, sizeof(error)) < 0)
        return cmd_fail(NAME, "%s", error);
    const int result = run(options, &log);
    replay_log_free(&log);
    return result;
}

int cmd_replay(int argc, char **argv)
{
    struct options options = {.top = TOP_DEFAULT};
    int result = parse_options(argc, argv, &options);

    if (result == 0 && options.help)
        fputs(help, stdout);
    else if (result == 0)
        result = load_and_run(&options);
    for (unsigned i = 0; i < options.rule_count; i++) {
        replay_outcome_free(&options.rules[i].outcome);
        free(options.rules[i].calendar);
    }
    return result;
}
