/* What a service does with the C client, all forms, against a real server: argv[1] is its address.
 * The limits are inline and give one unit a day, so the numbers do not depend on how long this
 * takes. Prints the first thing that is wrong and exits 1. */
#include <mete/client.h>
#include <mete/wire.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SUBJECTS 300
#define CHECKS 5
#define BURST 3

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("client_probe.c:%d: not true: %s\n", __LINE__, #condition);                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

struct tally {
    unsigned answers, allowed;
};

static struct mete_request daily(const char *subject, uint32_t cost)
{
    return (struct mete_request){.rule = "probe",
                                 .subject = subject,
                                 .subject_len = strlen(subject),
                                 .cost = cost,
                                 .flags = METE_FLAG_INLINE_LIMIT,
                                 .limit_count = 1,
                                 .limit_burst = BURST,
                                 .limit_period_ns = 86400000000000ull};
}

static void on_answer(void *context, const struct mete_answer *answer)
{
    struct tally *tally = context;
    EXPECT(answer->source == METE_SOURCE_SERVER && answer->status == METE_STATUS_OK);
    tally->answers++;
    tally->allowed += answer->allowed != 0;
    if (!answer->allowed)
        EXPECT(answer->remaining == 0 && answer->retry_after_us > 3600000000ull);
}

/* 1,500 checks of 300 subjects, with a window of 256: each subject has exactly its burst. */
static void probe_submitted(struct mete_client *client)
{
    static struct tally tallies[SUBJECTS];
    unsigned submitted = 0, answered = 0;
    while (answered < SUBJECTS * CHECKS) {
        char subject[32];
        snprintf(subject, sizeof(subject), "submitted %u", submitted % SUBJECTS);
        struct mete_request request = daily(subject, 1);
        if (submitted < SUBJECTS * CHECKS &&
            !mete_client_submit(client, &request, on_answer, &tallies[submitted % SUBJECTS])) {
            submitted++;
            continue;
        }
        int called = mete_client_process(client);
        struct pollfd readable = {.fd = mete_client_fd(client), .events = POLLIN};
        answered += (unsigned)called;
        if (!called)
            poll(&readable, 1, (int)(mete_client_next_deadline_us(client) / 1000) + 1);
    }
    for (unsigned i = 0; i < SUBJECTS; i++)
        EXPECT(tallies[i].answers == CHECKS && tallies[i].allowed == BURST);
    EXPECT(mete_client_next_deadline_us(client) == -1);
    struct mete_client_stats stats = mete_client_stats(client);
    EXPECT(stats.answers == SUBJECTS * CHECKS && stats.timeouts == 0);
    EXPECT(stats.dropped <=
           stats.retries); /* of a datagram that was sent twice one answer is late */
    EXPECT(stats.sent_datagrams < SUBJECTS * CHECKS / 10);
}

static void probe_blocking(struct mete_client *client)
{
    struct mete_answer answer, answers[3];
    struct mete_request one = daily("blocking", 1), many[3];
    EXPECT(mete_client_ask(client, &one, &answer) == 0 && answer.source == METE_SOURCE_SERVER);
    EXPECT(answer.allowed && answer.remaining == 2 && answer.granted == 1);
    for (unsigned i = 0; i < 3; i++) {
        many[i] = one;
        many[i].flags |= METE_FLAG_ALL_OR_NOTHING;
    }
    EXPECT(mete_client_check_many(client, many, 3, answers) == 0);
    EXPECT(!answers[0].allowed || !answers[1].allowed || !answers[2].allowed);
    one.flags |= METE_FLAG_PEEK;
    EXPECT(mete_client_ask(client, &one, &answer) == 0 && answer.remaining == 2);
    one = daily("blocking", 7);
    one.flags |= METE_FLAG_AT_MOST;
    EXPECT(mete_client_ask(client, &one, &answer) == 0 && answer.granted == 2);
    one = daily("blocking", 1);
    EXPECT(mete_client_refund(client, &one, &answer) == 0 && answer.allowed);
    EXPECT(mete_client_ask(client, &one, &answer) == 0 && answer.allowed);
    EXPECT(mete_client_ask(client, &one, &answer) == 0 && !answer.allowed);
    EXPECT(mete_client_reset(client, &one, &answer) == 0 && answer.allowed);
    one.cost = BURST + 1;
    EXPECT(mete_client_ask(client, &one, &answer) == 0 && answer.retry_after_us == METE_NEVER);
    one.cost = BURST;
    EXPECT(mete_client_ask(client, &one, &answer) == 0 && answer.allowed);
}

/* Two processes on one object: the child's answers are its own, and they share the bucket. */
static void probe_fork(struct mete_client *client)
{
    struct mete_answer answer;
    struct mete_request request = daily("fork", 1);
    EXPECT(mete_client_ask(client, &request, &answer) == 0 && answer.remaining == 2);
    pid_t pid = fork();
    if (pid == 0) {
        EXPECT(mete_client_ask(client, &request, &answer) == 0 && answer.remaining == 1);
        exit(0);
    }
    int status;
    EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT(mete_client_ask(client, &request, &answer) == 0 && answer.remaining == 0);
}

int main(int argc, char **argv)
{
    struct mete_client_options options = {
        .server = argc > 1 ? argv[1] : NULL, .timeout_us = 30000000, .max_in_flight = 256};
    struct mete_client *client;
    EXPECT(mete_client_open(&options, &client) == 0);
    probe_submitted(client);
    probe_blocking(client);
    probe_fork(client);
    mete_client_close(client);
    return 0;
}
