/* mete check: ask a server once, with the same client library that services use, and tell the
 * answer to a human (one line), a program (--json) and a shell (the exit status).
 *
 * Only a decision of the server is told as one: no fallback, no jitter. */
#include "cmd/ask.h"
#include "cmd/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mete/client.h"
#include "mete/wire.h"

static const char usage[] =
    "usage: mete check RULE SUBJECT [OPTION...]\n"
    "\n"
    "Asks a server whether SUBJECT may spend under RULE, and takes what it asks for.\n"
    "\n"
    "  --cost N            units to take, default 1; 0 asks without taking\n"
    "  --peek              ask without taking\n"
    "  --at-most           take what is there, up to the cost\n"
    "  --refund            give the cost back instead\n"
    "  --reset             forget what the subject spent instead\n"
    "  --server HOST:PORT  default 127.0.0.1:6383; IPv6 as [::1]:6383; several, with commas\n"
    "                      between them: the one that the subject belongs to\n"
    "  --tenant NAME       default \"default\"\n"
    "  --secret-file FILE  the tenant's secret; without it only servers that trust this\n"
    "                      address answer\n"
    "  --timeout MS        how long to wait for the answer, default 1000\n"
    "  --json              one object: rule, subject, cost, allowed (null: nobody decided), "
    "status,\n"
    "                      remaining, granted, delay_us, retry_after_us (null: never),\n"
    "                      reset_after_us (null: never), source (server, status, timeout, send)\n"
    "  --help\n"
    "\n"
    "A SUBJECT that begins with - goes behind --.\n"
    "\n"
    "exit status: 0 allowed, 1 denied, 2 wrong use or a question the server cannot decide "
    "(unknown\n"
    "rule, say), 3 no answer\n"
    "\n"
    "  mete check demo alice\n"
    "  mete check demo alice --cost 5 --peek\n"
    "  mete check login 192.0.2.7 --server 10.0.0.5:6383 --tenant acme --secret-file acme.key\n";

struct question {
    struct ask_server server;
    const char *rule, *subject;
    uint64_t cost;
    bool peek, at_most, refund, reset, json;
};

static const char *outcome(const struct question *question, const struct mete_answer *answer)
{
    if (!answer->allowed)
        return "denied";
    return question->refund ? "refunded" : question->reset ? "reset" : "allowed";
}

/* Why a denied check will never pass. */
static void print_never(const struct question *question, const struct mete_answer *answer)
{
    if (answer->remaining == 0 && answer->reset_after_us == 0)
        printf(", never: the rule lets nothing pass");
    else
        printf(", never: cost %" PRIu64 " exceeds what can ever pass at once", question->cost);
}

static void print_human(const struct question *question, const struct mete_answer *answer)
{
    char text[64];
    if (answer->status == METE_STATUS_TABLE_FULL) {
        printf("%s  undecided: the server's table is full, and this is what it does then\n",
               outcome(question, answer));
        return;
    }
    printf("%s  ", outcome(question, answer));
    if (answer->flags & METE_VERDICT_GRANTED)
        printf("%" PRIu32 " of %" PRIu64 " granted, ", answer->granted, question->cost);
    if (answer->remaining == UINT32_MAX)
        printf("no limit");
    else
        printf("%" PRIu32 " left", answer->remaining);
    if (answer->delay_us)
        printf(", serve after %s", ask_format_wait(answer->delay_us, text, sizeof(text)));
    if (!answer->allowed && answer->retry_after_us == METE_NEVER)
        print_never(question, answer);
    else if (!answer->allowed)
        printf(", retry after %s", ask_format_wait(answer->retry_after_us, text, sizeof(text)));
    if (answer->reset_after_us == METE_NEVER)
        printf(", never full again");
    else if (answer->reset_after_us && answer->retry_after_us != METE_NEVER)
        printf(", full again in %s", ask_format_wait(answer->reset_after_us, text, sizeof(text)));
    if (answer->flags & METE_VERDICT_WOULD_DENY)
        printf(", shadow rule: would be denied");
    if (answer->flags & METE_VERDICT_DEGRADED)
        printf(", decided without the other nodes");
    putchar('\n');
}

/* Bytes as a JSON string; what is not UTF-8 is taken as Latin-1. */
static json_t *json_text(const char *bytes)
{
    json_t *text = json_string(bytes);
    if (text)
        return text;
    size_t len = strlen(bytes), at = 0;
    char *wide = malloc(2 * len + 1);
    if (!wide)
        return json_null();
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte >= 0x80)
            wide[at++] = (char)(0xc0 | byte >> 6);
        wide[at++] = (char)(byte >= 0x80 ? 0x80 | (byte & 0x3f) : byte);
    }
    text = json_stringn(wide, at);
    free(wide);
    return text;
}

static json_t *json_wait(uint64_t us)
{
    return us == METE_NEVER ? json_null() : json_integer((json_int_t)us);
}

static void print_json(const struct question *question, const struct mete_answer *answer)
{
    static const char *const sources[] = {"server", "timeout", "status", "send"};
    bool decided = answer->source == METE_SOURCE_SERVER;
    bool answered = decided || answer->source == METE_SOURCE_STATUS;
    json_t *object = json_object();
    json_object_set_new(object, "rule", json_text(question->rule));
    json_object_set_new(object, "subject", json_text(question->subject));
    json_object_set_new(object, "cost", json_integer((json_int_t)question->cost));
    json_object_set_new(object, "allowed", decided ? json_boolean(answer->allowed) : json_null());
    json_object_set_new(object, "status",
                        answered ? json_string(ask_status_name(answer->status)) : json_null());
    json_object_set_new(object, "remaining", json_integer(decided ? answer->remaining : 0));
    json_object_set_new(object, "granted", json_integer(decided ? answer->granted : 0));
    json_object_set_new(object, "delay_us", json_wait(decided ? answer->delay_us : 0));
    json_object_set_new(object, "retry_after_us", json_wait(decided ? answer->retry_after_us : 0));
    json_object_set_new(object, "reset_after_us", json_wait(decided ? answer->reset_after_us : 0));
    json_object_set_new(object, "source", json_string(sources[answer->source]));
    if (decided && answer->flags & METE_VERDICT_DEGRADED)
        json_object_set_new(object, "degraded", json_true());
    json_dumpf(object, stdout, JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(object);
}

/* One option with its argument in optarg. 0 or EXIT_USAGE. */
static int take_option(int option, struct question *question)
{
    switch (option) {
    case 'c':
        return cmd_number("check", "--cost", optarg, 0, UINT32_MAX, &question->cost);
    case 'p':
        question->peek = true;
        return 0;
    case 'a':
        question->at_most = true;
        return 0;
    case 'r':
        question->refund = true;
        return 0;
    case 'R':
        question->reset = true;
        return 0;
    case 'j':
        question->json = true;
        return 0;
    default:
        return ask_take_option(&question->server, option);
    }
}

/* Results: 0, EXIT_USAGE after saying why, or -1: help was asked for. */
static int parse(int argc, char **argv, struct question *question)
{
    static const struct option options[] = {
        {"cost", required_argument, NULL, 'c'},
        {"peek", no_argument, NULL, 'p'},
        {"at-most", no_argument, NULL, 'a'},
        {"refund", no_argument, NULL, 'r'},
        {"reset", no_argument, NULL, 'R'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        ASK_OPTIONS,
        {0},
    };
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h')
            return -1;
        if (option == '?' || option == ':')
            return cmd_bad_option("check", option, argv, options);
        if (take_option(option, question))
            return EXIT_USAGE;
    }
    if (argc - optind != 2)
        return cmd_fail("check", "needs RULE and SUBJECT, not %d words; `mete check --help`",
                        argc - optind);
    question->rule = argv[optind];
    question->subject = argv[optind + 1];
    if (!question->rule[0] || !question->subject[0])
        return cmd_fail("check", "the %s is empty", question->rule[0] ? "subject" : "rule");
    if (question->refund + question->reset + (question->peek || question->at_most) > 1)
        return cmd_fail("check", "--refund, --reset and --peek or --at-most exclude each other");
    return 0;
}

static int ask(const struct question *question, struct mete_client *client,
               struct mete_answer *ret_answer)
{
    struct mete_request request = {
        .rule = question->rule,
        .subject = question->subject,
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): parse() has seen to a subject */
        .subject_len = strlen(question->subject),
        .cost = (uint32_t)question->cost,
        .flags = (uint8_t)((question->peek ? METE_FLAG_PEEK : 0) |
                           (question->at_most ? METE_FLAG_AT_MOST : 0)),
    };
    return question->refund  ? mete_client_refund(client, &request, ret_answer)
           : question->reset ? mete_client_reset(client, &request, ret_answer)
                             : mete_client_ask(client, &request, ret_answer);
}

int cmd_check(int argc, char **argv)
{
    struct question question = {.server = ask_server("check"), .cost = 1};
    int error = parse(argc, argv, &question);
    if (error) {
        if (error < 0)
            fputs(usage, stdout);
        return error < 0 ? 0 : error;
    }
    struct mete_client *client;
    error = ask_open(&question.server, &client);
    if (error)
        return error;
    struct mete_answer answer;
    error = ask(&question, client, &answer);
    mete_client_close(client);
    if (error)
        return cmd_fail("check", "cannot ask: %s", strerror(-error));
    if (question.json)
        print_json(&question, &answer);
    if (answer.source == METE_SOURCE_STATUS)
        return ask_explain_status(&question.server, question.rule, answer.status);
    if (answer.source != METE_SOURCE_SERVER)
        return ask_explain_no_answer(&question.server, &answer);
    if (!question.json)
        print_human(&question, &answer);
    return answer.allowed ? EXIT_ALLOWED : EXIT_DENIED;
}
