/* mete: the table of subcommands. */
#if __SIZEOF_POINTER__ != 8
#error "mete needs a 64-bit machine: an entry changes by one compare-and-swap of 16 bytes"
#endif
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"serve", cmd_serve, "run the daemon"},
    {"check", cmd_check, "ask a server once: may SUBJECT spend under RULE?"},
    {"acquire", cmd_acquire, "run a command while holding a slot of a concurrency rule"},
    {"usage", cmd_usage, "what is left of a tenant's rules, and what was used"},
    {"bench", cmd_bench, "load a server and report what it did"},
    {"replay", cmd_replay, "what a rule would have done to a real access log"},
    {"config", cmd_config, "check a configuration file, show the effective one, compare two"},
    {"secret", cmd_secret, "make a secret or a key file"},
    {"stats", cmd_stats, "a running server's own counters"},
    {"top", cmd_top, "a running server, live: rates, latency, rules, the busiest subjects"},
    {"reload", cmd_reload, "have a running server read its configuration again"},
    {"snapshot", cmd_snapshot, "look at the table on disk, or have a running server write it"},
    {"vectors", cmd_vectors, "run golden datagrams through the codec"},
    {"version", cmd_version, "version, compiler, kernel, which backends work here"},
};

static const size_t command_count = sizeof(commands) / sizeof(commands[0]);

static void print_help(FILE *out)
{
    fprintf(out, "mete: a rate limiter that answers in microseconds over UDP\n\n"
                 "usage: mete COMMAND [OPTION...]      mete COMMAND --help tells more\n\n");
    for (size_t i = 0; i < command_count; i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\nexit status: 0 allowed or done, 1 denied, 2 wrong use or bad input, "
                 "3 no answer, 4 measurement not valid\n");
}

/* What was printed must have arrived: a full disk or a closed output is an error, not a success. */
static int finish(int status)
{
    if ((fflush(stdout) == 0 && !ferror(stdout)) || status == EXIT_USAGE)
        return status; /* a command that failed has said why */
    fprintf(stderr, "mete: the output could not be written: %s\n", strerror(errno));
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help(stdout);
        return finish(0);
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0)
            return finish(commands[i].run(argc - 1, argv + 1));
    const char *names[sizeof(commands) / sizeof(commands[0])];
    for (size_t i = 0; i < command_count; i++)
        names[i] = commands[i].name;
    return cmd_unknown(name, names, command_count);
}
