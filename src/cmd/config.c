/* `mete config check FILE`, `mete config show` and `mete config diff NEW`: judge a configuration,
 * print the one that `mete serve` would run with the same options, say what another would change.
 * What is wrong with a file is one line that editors
 * and people can follow, FILE:LINE: field: ..., with nothing before it. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/config_init.h"
#include "config/config.h"
#include "config/diff.h"

#define MAX_SETS 64u
#define ERROR_SIZE 1024u

static const char usage[] =
    "usage: mete config check FILE\n"
    "       mete config show [--config FILE] [--set path=value ...]\n"
    "       mete config diff NEW [--config OLD] [--set path=value ...]\n"
    "       mete config init [FILE]\n\n"
    "check says whether FILE is a configuration that `mete serve` takes: one line, exit status 0\n"
    "or 2. show prints the effective configuration: the built-in values, the file, the "
    "environment\n"
    "(METE_LISTEN_UDP, METE_TABLE_ENTRIES, ...) and --set, the later the stronger.\n\n"
    "diff prints what the file NEW would change, one line each: what a running server takes over\n"
    "when it reloads, then what needs a restart; --set and the environment hold for both. Where a\n"
    "rule changes it says whether buckets keep what is owed.\n\n"
    "init writes a configuration with every setting, its default and what it is for, to FILE, "
    "which\n"
    "must not be there yet, or to standard output.\n\n"
    "  --config FILE      the file; without it the embedded default\n"
    "  --set path=value   one field, such as table.entries=1000 or listen.udp=[::1]:7000; a list "
    "as\n"
    "                     'listen.udp=[127.0.0.1:7000, \"[::1]:7000\"]'\n\n"
    "exit status: 0 done (diff: nothing changes), 1 diff found changes, 2 wrong use or a\n"
    "configuration with a mistake (one line says which)\n";

static int check(int argc, char **argv)
{
    char error[ERROR_SIZE] = "";
    if (argc != 2)
        return cmd_fail("config", "check takes one FILE");
    if (argv[1][0] == '-')
        return cmd_fail("config", "check takes no option '%s'; a file of that name is ./%s",
                        argv[1], argv[1]);
    const struct config_options options = {.path = argv[1]};
    struct config *config = config_load(&options, error, sizeof(error));
    if (!config) {
        fprintf(stderr, "%s\n", error);
        return EXIT_USAGE;
    }
    const uint32_t tenants = config->tenant_count;
    uint32_t rules = 0;
    for (uint32_t i = 0; i < tenants; i++)
        rules += config->tenants[i].rule_count;
    printf("%s: ok, %" PRIu32 " tenant%s, %" PRIu32 " rule%s\n", argv[1], tenants,
           tenants == 1 ? "" : "s", rules, rules == 1 ? "" : "s");
    config_destroy(config);
    return EXIT_ALLOWED;
}

/* "--NAME VALUE" or "--NAME=VALUE" at *at; moves *at to the last word it used. */
static const char *option_value(const char *name, int argc, char **argv, int *at)
{
    const size_t len = strlen(name);
    if (strncmp(argv[*at], name, len) != 0)
        return NULL;
    if (argv[*at][len] == '=')
        return argv[*at] + len + 1;
    if (argv[*at][len] != 0 || *at + 1 == argc)
        return NULL;
    return argv[++*at];
}

/* The options that show and diff take; *ret_file is the one other word, if it may stand there.
 * 0, or EXIT_USAGE after saying what is wrong. */
static int parse_options(int argc, char **argv, struct config_options *options, const char **sets,
                         const char **ret_file)
{
    *options = (struct config_options){.sets = sets, .environment = environ};
    for (int i = 1; i < argc; i++) {
        const char *value;
        if ((value = option_value("--config", argc, argv, &i))) {
            options->path = value;
        } else if ((value = option_value("--set", argc, argv, &i))) {
            if (options->set_count == MAX_SETS)
                return cmd_fail("config", "at most %u --set", MAX_SETS);
            sets[options->set_count++] = value;
        } else if (ret_file && !*ret_file && argv[i][0] != '-') {
            *ret_file = argv[i];
        } else {
            const bool lacks = !strcmp(argv[i], "--config") || !strcmp(argv[i], "--set");
            return cmd_fail("config", "%s: '%s' %s; it takes %s--config FILE and --set path=value",
                            argv[0], argv[i], lacks ? "lacks its value" : "is not known here",
                            ret_file ? "NEW, " : "");
        }
    }
    return 0;
}

/* NULL after saying why. */
static struct config *load(const struct config_options *options)
{
    char error[ERROR_SIZE] = "";
    struct config *config = config_load(options, error, sizeof(error));
    if (!config)
        fprintf(stderr, "%s\n", error);
    return config;
}

static int finish(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return cmd_fail("config", "cannot write to standard output");
    return status;
}

static int show(int argc, char **argv)
{
    const char *sets[MAX_SETS];
    struct config_options options;
    const int result = parse_options(argc, argv, &options, sets, NULL);
    struct config *config = result ? NULL : load(&options);
    if (!config)
        return EXIT_USAGE;
    config_print(config, stdout);
    config_destroy(config);
    return finish(EXIT_ALLOWED);
}

static int print_diff(const struct config *from, const struct config *to)
{
    struct diff diff;
    int status = diff_init(&diff, from, to) ? cmd_fail("config", "diff: out of memory")
                 : diff.count               ? EXIT_DENIED
                                            : EXIT_ALLOWED;
    for (size_t i = 0; i < diff.count && status == EXIT_DENIED; i++)
        printf("%s\n", diff.changes[i].text);
    diff_deinit(&diff);
    return status == EXIT_USAGE ? status : finish(status);
}

static int diff(int argc, char **argv)
{
    const char *sets[MAX_SETS], *file = NULL;
    struct config_options options;
    const int result = parse_options(argc, argv, &options, sets, &file);
    if (result)
        return result;
    if (!file)
        return cmd_fail("config", "diff takes the file NEW; it is compared with --config OLD, or "
                                  "with the embedded default");
    struct config *from = load(&options);
    options.path = file;
    struct config *to = from ? load(&options) : NULL;
    const int status = to ? print_diff(from, to) : EXIT_USAGE;
    config_destroy(to);
    config_destroy(from);
    return status;
}

static int init(int argc, char **argv)
{
    if (argc > 2)
        return cmd_fail("config", "init takes one FILE, or none");
    if (argc == 2 && (argv[1][0] == '-' || !argv[1][0]))
        return cmd_fail("config", "init takes no option '%s'; a file of that name is ./%s", argv[1],
                        argv[1]);
    return config_init(argc == 2 ? argv[1] : NULL);
}

int cmd_config(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return EXIT_ALLOWED;
        }
    }
    if (argc >= 2 && strcmp(argv[1], "check") == 0)
        return check(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "show") == 0)
        return show(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "diff") == 0)
        return diff(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "init") == 0)
        return init(argc - 1, argv + 1);
    return cmd_fail("config", "takes check FILE, show, diff NEW or init [FILE]; --help tells more");
}
