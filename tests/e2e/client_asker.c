/* A client that asks when it is told: argv[1] is its servers, argv[2] its deadline in ms, argv[3]
 * and argv[4] its secrets, if any. Each line on standard input is a subject to ask for, or
 * "stats"; each gets a line:
 *
 *   SOURCE ALLOWED REMAINING                    source: server, timeout, status, send
 *   RESTARTS RETRIES FAIL_OVERS SHARE SHARE...   the share of each server in percent */
#include <mete/client.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_stats(const struct mete_client *client)
{
    struct mete_client_stats stats = mete_client_stats(client);
    struct mete_server_stats server;
    printf("%llu %llu %llu", (unsigned long long)stats.restarts, (unsigned long long)stats.retries,
           (unsigned long long)stats.fail_overs);
    for (unsigned i = 0; !mete_client_server_stats(client, i, &server); i++)
        printf(" %u", server.share_percent);
    printf("\n");
}

static void ask(struct mete_client *client, const char *subject)
{
    static const char *const sources[] = {"server", "timeout", "status", "send"};
    struct mete_request request = {.rule = "asker",
                                   .subject = subject,
                                   .subject_len = strlen(subject),
                                   .cost = 1,
                                   .flags = 8, /* INLINE_LIMIT: a unit a day, a hundred at once */
                                   .limit_count = 1,
                                   .limit_burst = 100,
                                   .limit_period_ns = 86400000000000ull};
    struct mete_answer answer;
    if (mete_client_ask(client, &request, &answer))
        exit(1);
    printf("%s %d %u\n", sources[answer.source], answer.allowed, answer.remaining);
}

int main(int argc, char **argv)
{
    struct mete_client_options options = {0};
    struct mete_client *client;
    char line[256];
    if (argc < 3)
        return 2;
    options.server = argv[1];
    options.timeout_us = (uint32_t)strtoul(argv[2], NULL, 10) * 1000;
    options.fallback = METE_FALLBACK_DENY;
    if (argc > 3) {
        options.secret = argv[3];
        options.secret_len = strlen(argv[3]);
    }
    if (argc > 4) {
        options.other_secret = argv[4];
        options.other_secret_len = strlen(argv[4]);
    }
    if (mete_client_open(&options, &client))
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "stats") == 0)
            print_stats(client);
        else
            ask(client, line);
    }
    mete_client_close(client);
    return 0;
}
