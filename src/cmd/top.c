/* `mete top`: what a running server does, once a second, over its admin socket. Started from a
 * terminal it draws over its last page; into a pipe or a file it writes one page after the other. A
 * daemon that goes away is asked again each second; when it is back, rates start anew. */
#include "cmd/top.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "doors/admin.h"

#define PIPE_WIDTH 200u
#define PIPE_HEIGHT 40u
#define HELPED (-1)
#define MIN_WIDTH 10u /* a terminal that says less has no size */

static const char help[] =
    "usage: mete top [--admin PATH] [--json] [--count N]\n\n"
    "Shows once a second what a daemon does: checks by decision, datagrams, what is refused,\n"
    "latency by door (from the clock that a batch is judged by to its answers' send), the table,\n"
    "the busiest rules, and the subjects that ask most and are denied most. Those are estimates\n"
    "of the last half minute from samples, by name where clients send names, else as #KEY. The\n"
    "first page has averages since the daemon's start. Ctrl-C ends it.\n\n"
    "  --admin PATH  the daemon's listen.admin (default /run/mete/admin.sock)\n"
    "  --json        one JSON object a line, every second\n"
    "  --count N     end after so many pages (default: never)\n\n"
    "exit status: 0 done, 2 wrong use, 3 no daemon answered at the beginning or at the end\n";

struct top {
    const char *path;
    bool as_json, is_terminal;
    uint64_t count;    /* of pages; 0: no end */
    bool has_answered; /* ever */
    int error;         /* of the last question */
    struct top_view views[2];
    unsigned at; /* the newest of them; the other is before it, if its uptime is not 0 */
};

static volatile sig_atomic_t is_over;

static void end(int signal)
{
    (void)signal;
    is_over = 1;
}

/* Its answer becomes the newest view. Results: 0, or a negative errno. */
static int ask(struct top *top)
{
    char *answer = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&answer, &len);
    if (!out)
        return -ENOMEM;
    int result = admin_ask(top->path, "top", out);
    if (fclose(out) != 0)
        result = -ENOMEM;
    struct top_view *next = &top->views[!top->at];
    if (!result)
        result = top_read(answer, len, next);
    free(answer);
    if (result)
        return result;
    top->at = !top->at;
    struct top_view *before = &top->views[!top->at];
    if (strcmp(before->boot, next->boot) != 0) /* another life */
        memset(before, 0, sizeof(*before));
    return 0;
}

static struct top_change change_of(const struct top *top)
{
    const struct top_view *now = &top->views[top->at];
    const struct top_view *before = &top->views[!top->at];
    return (struct top_change){before, now, now->uptime_s - before->uptime_s};
}

static void fit(const struct top *top, struct top_page *page)
{
    struct winsize size;
    *page =
        (struct top_page){.out = stdout, .width = PIPE_WIDTH, .height = PIPE_HEIGHT, .end = "\n"};
    if (!top->is_terminal)
        return;
    page->end = "\x1b[K\n"; /* and erase what was longer */
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= MIN_WIDTH &&
        size.ws_row > 1) {
        page->width = size.ws_col;
        page->height = size.ws_row - 1u; /* the last line is the cursor's */
    }
}

static const char *reason(int error)
{
    return error == -EINVAL ? "it is of another version, or no mete" : strerror(-error);
}

static void show_text(const struct top *top)
{
    struct top_page page;
    fit(top, &page);
    if (top->is_terminal)
        printf("\x1b[H");
    if (top->error) {
        top_print_line(&page, "no daemon answers at %s: %s; trying again", top->path,
                       reason(top->error));
    } else {
        const struct top_change change = change_of(top);
        top_print_text(&change, &page);
    }
    printf(top->is_terminal ? "\x1b[J" : "\n");
}

static void show_json(const struct top *top)
{
    if (top->error) {
        printf("{\"error\":\"no daemon answers: %s\"}\n", reason(top->error));
    } else {
        const struct top_change change = change_of(top);
        top_print_json(&change, stdout);
    }
}

/* Sleeps to the next whole second since the start; what was missed is left out. */
static void wait_for_next(struct timespec *due)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    do
        due->tv_sec++;
    while (due->tv_sec < now.tv_sec);
    while (!is_over && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL) == EINTR)
        ;
}

static int run(struct top *top)
{
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    top->is_terminal = isatty(STDOUT_FILENO) && !top->as_json;
    for (uint64_t page = 0; !is_over && (!top->count || page < top->count); page++) {
        if (page)
            wait_for_next(&due);
        if (is_over)
            break;
        top->error = ask(top);
        if (top->error && !top->has_answered) {
            cmd_fail("top", "no daemon answers at %s: %s; %s", top->path, reason(top->error),
                     top->error == -EACCES ? "only the user it runs as may ask it"
                                           : "is it running, and is that its listen.admin?");
            return EXIT_NO_ANSWER;
        }
        if (!top->has_answered && top->is_terminal)
            printf("\x1b[2J");
        top->has_answered = true;
        if (top->as_json)
            show_json(top);
        else
            show_text(top);
        if (fflush(stdout) != 0) /* main() says so */
            return 0;
    }
    return top->error && !is_over ? EXIT_NO_ANSWER : 0;
}

/* 0: go on; HELPED: help was asked for and given; EXIT_USAGE. */
static int parse(int argc, char **argv, struct top *top)
{
    static const struct option options[] = {
        {"admin", required_argument, NULL, 'a'},
        {"json", no_argument, NULL, 'j'},
        {"count", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":hn:", options, NULL)) != -1) {
        if (option == 'a') {
            top->path = optarg;
        } else if (option == 'j') {
            top->as_json = true;
        } else if (option == 'n') {
            if (cmd_number("top", "--count", optarg, 1, UINT32_MAX, &top->count))
                return EXIT_USAGE;
        } else if (option == 'h') {
            fputs(help, stdout);
            return HELPED;
        } else {
            return cmd_bad_option("top", option, argv, options);
        }
    }
    if (!top->path[0])
        return cmd_fail("top", "--admin: a path is missing");
    if (optind < argc)
        return cmd_fail("top", "takes no argument '%s'; see --help", argv[optind]);
    return 0;
}

int cmd_top(int argc, char **argv)
{
    struct top *top = calloc(1, sizeof(*top));
    if (!top)
        return cmd_fail("top", "no memory");
    top->path = "/run/mete/admin.sock";
    int result = parse(argc, argv, top);
    if (result == 0) {
        const struct sigaction action = {.sa_handler = end};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        result = run(top);
    }
    free(top);
    return result == HELPED ? 0 : result;
}
