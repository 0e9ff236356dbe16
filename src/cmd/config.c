/* `mete config check FILE` and `mete config show`: judge a configuration, or print the one that
 * `mete serve` would run with the same options. What is wrong with a file is one line that editors
 * and people can follow, FILE:LINE: field: ..., with nothing before it. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "config/config.h"

#define MAX_SETS 64u
#define ERROR_SIZE 1024u

static const char usage[] =
    "usage: mete config check FILE\n"
    "       mete config show [--config FILE] [--set path=value ...]\n\n"
    "check says whether FILE is a configuration that `mete serve` takes: one line, exit status 0\n"
    "or 2. show prints the effective configuration: the built-in values, the file, the "
    "environment\n"
    "(METE_LISTEN_UDP, METE_TABLE_ENTRIES, ...) and --set, the later the stronger.\n\n"
    "  --config FILE      the file; without it the embedded default\n"
    "  --set path=value   one field, such as table.entries=1000 or listen.udp=[::1]:7000; a list "
    "as\n"
    "                     'listen.udp=[127.0.0.1:7000, \"[::1]:7000\"]'\n\n"
    "exit status: 0 done, 2 wrong use or a configuration with a mistake (one line says which)\n";

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

static int show(int argc, char **argv)
{
    const char *sets[MAX_SETS];
    struct config_options options = {.sets = sets, .environment = environ};
    char error[ERROR_SIZE] = "";

    for (int i = 1; i < argc; i++) {
        const char *value;
        if ((value = option_value("--config", argc, argv, &i))) {
            options.path = value;
        } else if ((value = option_value("--set", argc, argv, &i))) {
            if (options.set_count == MAX_SETS)
                return cmd_fail("config", "at most %u --set", MAX_SETS);
            sets[options.set_count++] = value;
        } else {
            const bool lacks = !strcmp(argv[i], "--config") || !strcmp(argv[i], "--set");
            return cmd_fail("config", "show: '%s' %s; it takes --config FILE and --set path=value",
                            argv[i], lacks ? "lacks its value" : "is not known here");
        }
    }
    struct config *config = config_load(&options, error, sizeof(error));
    if (!config) {
        fprintf(stderr, "%s\n", error);
        return EXIT_USAGE;
    }
    config_print(config, stdout);
    config_destroy(config);
    if (fflush(stdout) != 0 || ferror(stdout))
        return cmd_fail("config", "cannot write to standard output");
    return EXIT_ALLOWED;
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
    return cmd_fail("config", "takes check FILE or show; --help tells more");
}
