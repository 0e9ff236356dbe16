/* `mete snapshot`: looks at a snapshot, or has a running server write one. */
#include "cmd/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/snapshot_show.h"
#include "doors/admin.h"

#define ASK_PAUSE_NS 20000000l

static const char help[] =
    "usage: mete snapshot show FILE [--json] [--entries N]\n"
    "       mete snapshot save [--admin PATH]\n\n"
    "show tells what stands in a file that table.snapshot wrote: when, by whom, how many entries "
    "of\n"
    "which rules; no daemon is needed. save has the running daemon write its table.snapshot now, "
    "and\n"
    "answers when the file is whole.\n\n"
    "  --json        one JSON object\n"
    "  --entries N   list N entries and leases, too; all: every one\n"
    "  --admin PATH  the daemon's listen.admin (default /run/mete/admin.sock)\n\n"
    "exit status: 0 done, 2 wrong use, no whole snapshot, or it could not be written (one line "
    "says\n"
    "why), 3 no daemon answered there\n";

/* One command, its answer without the newline; for free(). Results: 0 or a negative errno. */
static int ask(const char *path, const char *command, char **ret_answer)
{
    size_t len = 0;
    FILE *out = open_memstream(ret_answer, &len);
    if (!out)
        return -ENOMEM;
    int result = admin_ask(path, command, out);
    if (fclose(out) != 0)
        result = -ENOMEM;
    if (result)
        return result;
    (*ret_answer)[strcspn(*ret_answer, "\n")] = 0;
    return 0;
}

static int no_answer(const char *path, int result)
{
    cmd_fail("snapshot", "no daemon answers at %s: %s; %s", path, strerror(-result),
             result == -EACCES ? "only the user it runs as may ask it"
                               : "is it running, and is that its listen.admin?");
    return EXIT_NO_ANSWER;
}

/* True: there is nothing to wait for, and *ret_status says what came of it. */
static bool judge(const char *answer, int *ret_status)
{
    static const char error[] = "error: ", done[] = "done: ";

    if (strncmp(answer, error, sizeof(error) - 1) == 0)
        *ret_status = cmd_fail("snapshot", "%s", answer + sizeof(error) - 1);
    else if (strncmp(answer, done, sizeof(done) - 1) == 0)
        *ret_status = printf("%s\n", answer + sizeof(done) - 1) < 0 ? EXIT_USAGE : 0;
    else
        return false;
    return true;
}

static int save(const char *path)
{
    char *answer = NULL, command[64];
    unsigned long long ticket;
    int status = EXIT_NO_ANSWER;

    int result = ask(path, "snapshot save", &answer);
    bool is_over = !result && judge(answer, &status);
    if (!result && !is_over && sscanf(answer, "ticket %llu", &ticket) != 1)
        result = -EPROTO;
    free(answer);
    if (!result && !is_over)
        snprintf(command, sizeof(command), "snapshot status %llu", ticket);
    while (!result && !is_over) {
        nanosleep(&(struct timespec){.tv_nsec = ASK_PAUSE_NS}, NULL);
        answer = NULL;
        result = ask(path, command, &answer);
        is_over = !result && judge(answer, &status);
        free(answer);
    }
    return result ? no_answer(path, result) : status;
}

static int parse_entries(const char *text, uint64_t *ret_entries)
{
    if (strcmp(text, "all") == 0) {
        *ret_entries = UINT64_MAX;
        return 0;
    }
    return cmd_number("snapshot", "--entries", text, 0, UINT64_MAX, ret_entries);
}

int cmd_snapshot(int argc, char **argv)
{
    static const struct option options[] = {
        {"admin", required_argument, NULL, 'a'},
        {"json", no_argument, NULL, 'j'},
        {"entries", required_argument, NULL, 'e'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *admin = "/run/mete/admin.sock";
    struct snapshot_show show = {.path = NULL};
    bool has_admin = false, has_show = false;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'a') {
            admin = optarg;
            has_admin = true;
        } else if (option == 'j') {
            show.as_json = has_show = true;
        } else if (option == 'e') {
            has_show = true;
            if (parse_entries(optarg, &show.entries))
                return EXIT_USAGE;
        } else if (option == 'h') {
            fputs(help, stdout);
            return 0;
        } else {
            return cmd_bad_option("snapshot", option, argv, options);
        }
    }
    const char *what = optind < argc ? argv[optind] : "";
    if (strcmp(what, "save") == 0 && argc == optind + 1 && !has_show && admin[0])
        return save(admin);
    if (strcmp(what, "show") == 0 && argc == optind + 2 && !has_admin) {
        show.path = argv[optind + 1];
        return snapshot_show(&show);
    }
    return cmd_fail("snapshot", "takes show FILE [--json] [--entries N] or save [--admin PATH]; "
                                "--help tells more");
}
