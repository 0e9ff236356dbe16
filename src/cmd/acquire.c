/* mete acquire: hold slots of a concurrency rule while a command runs.
 *
 * One thread: it waits for the command's end, for signals to pass on, and for the time to renew.
 * The lease has one id from the first try to the release, so that a try without an answer takes
 * nothing twice. However this ends, the slots are given back; if it is killed, they come back by
 * themselves when the lease is over. */
#include "cmd/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd/ask.h"
#include "config/config.h"
#include "mete/wire.h"

static const char usage[] =
    "usage: mete acquire RULE SUBJECT [OPTION...] -- COMMAND [ARGUMENT...]\n"
    "\n"
    "Runs COMMAND while it holds a slot that SUBJECT has under RULE, an algorithm: concurrency. "
    "The\n"
    "slot is renewed after each third of its lease and released when COMMAND ends.\n"
    "\n"
    "  --cost N            slots to hold, default 1\n"
    "  --wait TIME         wait for a slot so long, as 10s, 500ms, 5m; default 0: be denied at "
    "once\n"
    "  --server HOST:PORT  default 127.0.0.1:6383; IPv6 as [::1]:6383; several, with commas\n"
    "                      between them: the one that the subject belongs to\n"
    "  --tenant NAME       default \"default\"\n"
    "  --secret-file FILE  the tenant's secret; without it only servers that trust this\n"
    "                      address answer\n"
    "  --timeout MS        how long to wait for each answer, default 1000\n"
    "  --help\n"
    "\n"
    "INT, TERM, HUP and QUIT are passed on to COMMAND. Should the slot be lost, because no server\n"
    "answered for a whole lease, it is said on stderr, and COMMAND goes on.\n"
    "\n"
    "exit status: COMMAND's own, 128 + N if signal N ended it, 127 or 126 if it could not be run;\n"
    "1 denied, 2 wrong use or bad input, 3 the server did not answer\n"
    "\n"
    "  mete acquire backups host7 --wait 10m -- tar -cf /mnt/home.tar /home\n";

#define POLL_LEAST_NS 10000000u /* between two tries to get a slot: doubled up to */
#define POLL_MOST_NS 500000000u
#define RELEASE_TRIES 3u
#define SECOND_NS 1000000000ll

struct acquire {
    struct ask_server server;
    struct mete_request request;
    uint64_t wait_ns;
    char **command;
    struct mete_client *client;
    uint64_t lease_id;
    bool may_hold;    /* a try had no answer, or was granted */
    bool is_shadow;   /* allowed without a slot */
    bool is_lost;     /* that was said */
    int64_t third_ns; /* of the lease */
    int64_t until_ns; /* held until then */
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* "10s", "500ms", 0. */
static int parse_wait(const char *text, uint64_t *ret_ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ms", 1000000},
                 {"s", 1000000000},
                 {"m", 60000000000},
                 {"h", 3600 * 1000000000ull},
                 {"d", 86400 * 1000000000ull}};
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    bool is_number = *text >= '0' && *text <= '9' && errno == 0 && number <= 1000000;
    for (size_t i = 0; is_number && i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(end, units[i].name) == 0) {
            *ret_ns = number * units[i].ns;
            return 0;
        }
    if (is_number && number == 0 && *end == '\0') {
        *ret_ns = 0;
        return 0;
    }
    return cmd_fail("acquire", "--wait: '%.64s' is not a time like 10s, 500ms or 5m", text);
}

/* Results: 0, EXIT_USAGE after saying why, or -1: help was asked for. */
static int parse(int argc, char **argv, struct acquire *acquire)
{
    static const struct option options[] = {
        {"cost", required_argument, NULL, 'c'},
        {"wait", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        ASK_OPTIONS,
        {0},
    };
    uint64_t cost = 1;
    int option, error = 0;
    opterr = 0;
    while (!error && (option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h')
            return -1;
        if (option == '?' || option == ':')
            return cmd_bad_option("acquire", option, argv, options);
        if (option == 'c')
            error = cmd_number("acquire", "--cost", optarg, 1, UINT32_MAX, &cost);
        else if (option == 'w')
            error = parse_wait(optarg, &acquire->wait_ns);
        else
            error = ask_take_option(&acquire->server, option);
    }
    if (error)
        return error;
    if (argc - optind < 3)
        return cmd_fail("acquire", "needs RULE, SUBJECT and behind -- a COMMAND; see --help");
    acquire->request = (struct mete_request){
        .rule = argv[optind],
        .subject = argv[optind + 1],
        .subject_len = strlen(argv[optind + 1]),
        .cost = (uint32_t)cost,
    };
    acquire->command = argv + optind + 2;
    if (!argv[optind][0] || !argv[optind + 1][0])
        return cmd_fail("acquire", "the %s is empty", argv[optind][0] ? "subject" : "rule");
    return 0;
}

/* ---- the slot ---- */

static void take_lease(struct acquire *acquire, const struct mete_answer *answer, int64_t asked_ns)
{
    int64_t lease_ns = (int64_t)answer->reset_after_us * 1000;
    acquire->third_ns = lease_ns / 3;
    acquire->until_ns = asked_ns + lease_ns;
    acquire->is_shadow = answer->flags & METE_VERDICT_WOULD_DENY;
}

/* Waits, but for a signal that shall end this. Returns it, or 0. */
static int pause_for(int64_t wait_ns, const sigset_t *signals)
{
    struct timespec wait = {.tv_sec = wait_ns / SECOND_NS, .tv_nsec = wait_ns % SECOND_NS};
    int number;
    do
        number = sigtimedwait(signals, NULL, &wait);
    while (number == SIGCHLD || (number < 0 && errno == EINTR));
    return number > 0 ? number : 0;
}

/* Half of it to all of it, so that those who wait do not come together. */
static int64_t jittered(int64_t wait_ns)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random))
        return wait_ns;
    return wait_ns / 2 + wait_ns / 2 * (random >> 8) / (1 << 24);
}

static int deny(const struct acquire *acquire, const struct mete_answer *answer)
{
    if (answer->retry_after_us == METE_NEVER)
        fprintf(stderr, "mete acquire: denied: %" PRIu32 " slots are more than the rule has\n",
                acquire->request.cost);
    else if (answer->status == METE_STATUS_TABLE_FULL)
        fputs("mete acquire: denied: the server's table is full\n", stderr);
    else
        fprintf(stderr, "mete acquire: denied: %" PRIu32 " free, %" PRIu32 " wanted\n",
                answer->remaining, acquire->request.cost);
    return EXIT_DENIED;
}

/* Tries until there is a slot or the wait is over. 0: it is held; else the exit status. */
static int queue(struct acquire *acquire, const sigset_t *signals)
{
    int64_t end_ns = now_ns() + (int64_t)acquire->wait_ns;
    int64_t poll_ns = POLL_LEAST_NS;
    for (;;) {
        struct mete_answer answer;
        int64_t asked_ns = now_ns();
        int error =
            mete_client_acquire(acquire->client, &acquire->request, &acquire->lease_id, &answer);
        if (error)
            return cmd_fail("acquire", "cannot ask: %s", strerror(-error));
        if (answer.source == METE_SOURCE_STATUS)
            return answer.status == METE_STATUS_UNSUPPORTED
                       ? cmd_fail("acquire",
                                  "rule '%s' has no slots: its algorithm is not "
                                  "concurrency",
                                  acquire->request.rule)
                       : ask_explain_status(&acquire->server, acquire->request.rule, answer.status);
        bool is_answered = answer.source == METE_SOURCE_SERVER;
        acquire->may_hold = acquire->may_hold || !is_answered || answer.allowed;
        if (is_answered && answer.allowed) {
            take_lease(acquire, &answer, asked_ns);
            return 0;
        }
        int64_t left_ns = end_ns - now_ns();
        if (left_ns <= 0 || (is_answered && answer.retry_after_us == METE_NEVER))
            return is_answered ? deny(acquire, &answer)
                               : ask_explain_no_answer(&acquire->server, &answer);
        int64_t wait_ns = jittered(poll_ns);
        int number = pause_for(wait_ns < left_ns ? wait_ns : left_ns, signals);
        if (number)
            return 128 + number;
        poll_ns = poll_ns * 2 < POLL_MOST_NS ? poll_ns * 2 : POLL_MOST_NS;
    }
}

static void say_lost(struct acquire *acquire, const char *why)
{
    if (!acquire->is_lost)
        fprintf(stderr, "mete acquire: the slot is lost: %s; the command goes on without it\n",
                why);
    acquire->is_lost = true;
}

/* Renews; what the server does not know any more is acquired again, if there is room. */
static void keep_up(struct acquire *acquire)
{
    struct mete_answer answer;
    int64_t asked_ns = now_ns();
    mete_client_renew(acquire->client, &acquire->request, acquire->lease_id, &answer);
    if (answer.source == METE_SOURCE_SERVER && !answer.allowed) {
        asked_ns = now_ns();
        mete_client_acquire(acquire->client, &acquire->request, &acquire->lease_id, &answer);
    }
    bool is_answered = answer.source == METE_SOURCE_SERVER;
    if (is_answered && answer.allowed) {
        if (acquire->is_lost)
            fputs("mete acquire: the slot is held again\n", stderr);
        acquire->is_lost = false;
        take_lease(acquire, &answer, asked_ns);
    } else if (is_answered) {
        say_lost(acquire, "the server has given it to others");
    } else if (now_ns() >= acquire->until_ns) {
        say_lost(acquire, "no server answered for a whole lease");
    }
}

static void release(struct acquire *acquire)
{
    struct mete_answer answer = {.source = METE_SOURCE_TIMEOUT};
    for (unsigned i = 0; i < RELEASE_TRIES && answer.source == METE_SOURCE_TIMEOUT; i++)
        mete_client_release(acquire->client, &acquire->request, acquire->lease_id, &answer);
}

/* ---- the command ---- */

static void run_command(const struct acquire *acquire, const sigset_t *mask)
{
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(acquire->command[0], acquire->command);
    int error = errno;
    cmd_fail("acquire", "%s: %s", acquire->command[0], strerror(error));
    _exit(error == ENOENT ? 127 : 126);
}

/* A third of the lease, or after a renewal without an answer a third of what is left. */
static int64_t renew_after_ns(const struct acquire *acquire)
{
    int64_t left_ns = acquire->until_ns - now_ns();
    int64_t wait_ns = acquire->third_ns;
    if (left_ns > 0 && left_ns < 2 * acquire->third_ns)
        wait_ns = left_ns / 3;
    return wait_ns > 1000000 ? wait_ns : 1000000;
}

/* Until the command has ended. Returns its exit status as a shell tells it. */
static int wait_for(struct acquire *acquire, pid_t child, const sigset_t *signals)
{
    int64_t renew_at_ns = now_ns() + renew_after_ns(acquire);
    for (;;) {
        int status;
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        int64_t left_ns = renew_at_ns - now_ns();
        if (left_ns <= 0 && !acquire->is_shadow)
            keep_up(acquire);
        if (left_ns <= 0)
            renew_at_ns = now_ns() + renew_after_ns(acquire);
        left_ns = renew_at_ns - now_ns();
        left_ns = left_ns > 0 ? left_ns : 0;
        struct timespec wait = {.tv_sec = left_ns / SECOND_NS, .tv_nsec = left_ns % SECOND_NS};
        siginfo_t info;
        int number = sigtimedwait(signals, &info, &wait);
        /* what the terminal sends, the command has got as well */
        if (number > 0 && number != SIGCHLD && info.si_code != SI_KERNEL)
            kill(child, number);
    }
}

static int hold_and_run(struct acquire *acquire, const sigset_t *signals, const sigset_t *mask)
{
    int status = queue(acquire, signals);
    if (status == 0) {
        pid_t child = fork();
        if (child == 0)
            run_command(acquire, mask);
        status = child < 0 ? cmd_fail("acquire", "cannot run %s: %s", acquire->command[0],
                                      strerror(errno))
                           : wait_for(acquire, child, signals);
    }
    if (acquire->may_hold && !acquire->is_shadow)
        release(acquire);
    return status;
}

int cmd_acquire(int argc, char **argv)
{
    static const int passed_on[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct acquire acquire = {.server = ask_server("acquire")};
    int error = parse(argc, argv, &acquire);
    if (error) {
        if (error < 0)
            fputs(usage, stdout);
        return error < 0 ? 0 : error;
    }
    error = ask_open(&acquire.server, &acquire.client);
    if (error)
        return error;
    sigset_t signals, mask;
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
        sigaddset(&signals, passed_on[i]);
    sigprocmask(SIG_BLOCK, &signals, &mask);
    int status = hold_and_run(&acquire, &signals, &mask);
    mete_client_close(acquire.client);
    return status;
}
