/* `mete reload`: has a running server read its configuration again, over its admin socket. */
#include "cmd/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doors/admin.h"

static const char help[] =
    "usage: mete reload [--admin PATH]\n\n"
    "The daemon reads its file again, with the --set and environment that it was started with. A "
    "file\n"
    "with a mistake changes nothing. Buckets keep what they owe, usage goes on counting. Prints "
    "what\n"
    "changed, and what would need a restart. SIGHUP does the same; `reload: watch` in the file "
    "does it\n"
    "whenever the file changes.\n\n"
    "  --admin PATH  the daemon's listen.admin (default /run/mete/admin.sock)\n\n"
    "exit status: 0 done, 2 wrong use or refused (one line says why), 3 no daemon answered there\n";

/* The daemon's answer begins with what it is. */
static int report(const char *answer)
{
    static const char mark[] = "error: ";
    if (strncmp(answer, mark, sizeof(mark) - 1) == 0)
        return cmd_fail("reload", "%.*s", (int)strcspn(answer + sizeof(mark) - 1, "\n"),
                        answer + sizeof(mark) - 1);
    fputs(answer, stdout);
    return 0;
}

static int ask(const char *path)
{
    char *answer = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&answer, &len);
    if (!out)
        return cmd_fail("reload", "no memory for an answer");
    int result = admin_ask(path, "reload", out);
    if (fclose(out) != 0)
        result = -ENOMEM;
    int status = result ? EXIT_NO_ANSWER : report(answer);
    if (result)
        cmd_fail("reload", "no daemon answers at %s: %s; %s", path, strerror(-result),
                 result == -EACCES ? "only the user it runs as may ask it"
                                   : "is it running, and is that its listen.admin?");
    free(answer);
    return status;
}

int cmd_reload(int argc, char **argv)
{
    static const struct option options[] = {
        {"admin", required_argument, NULL, 'a'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *path = "/run/mete/admin.sock";
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'a') {
            path = optarg;
        } else if (option == 'h') {
            fputs(help, stdout);
            return 0;
        } else {
            return cmd_bad_option("reload", option, argv, options);
        }
    }
    if (!path[0])
        return cmd_fail("reload", "--admin: a path is missing");
    if (optind < argc)
        return cmd_fail("reload", "takes no argument '%s'; see --help", argv[optind]);
    return ask(path);
}
