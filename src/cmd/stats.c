/* `mete stats`: a running server's own counters, over its admin socket. */
#include "cmd/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "doors/admin.h"

static const char help[] =
    "usage: mete stats [--admin PATH] [--json]\n\n"
    "Prints what the daemon counted since its start: datagrams by fate, checks by decision, per "
    "worker\n"
    "and summed; the table; usage of each tenant's rules, their overrides under them. A reload "
    "keeps\n"
    "it.\n\n"
    "  --admin PATH  the daemon's listen.admin (default /run/mete/admin.sock)\n"
    "  --json        one JSON object\n\n"
    "exit status: 0 done, 2 wrong use, 3 no daemon answered there\n";

int cmd_stats(int argc, char **argv)
{
    static const struct option options[] = {
        {"admin", required_argument, NULL, 'a'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *path = "/run/mete/admin.sock";
    const char *command = "stats";
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (option) {
        case 'a':
            path = optarg;
            break;
        case 'j':
            command = "stats json";
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            return cmd_bad_option("stats", option, argv, options);
        }
    }
    if (!path[0])
        return cmd_fail("stats", "--admin: a path is missing");
    if (optind < argc)
        return cmd_fail("stats", "takes no argument '%s'; see --help", argv[optind]);
    int result = admin_ask(path, command, stdout);
    if (result == 0)
        return 0;
    cmd_fail("stats", "no daemon answers at %s: %s; %s", path, strerror(-result),
             result == -EACCES ? "only the user it runs as may ask it"
                               : "is it running, and is that its listen.admin?");
    return EXIT_NO_ANSWER;
}
