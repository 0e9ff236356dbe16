/* mete usage: what is left of a tenant's rules for a subject, asked as any client asks, without
 * charging; or, without a subject, what the daemon has counted for them, over its admin socket. */
#include "cmd/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/ask.h"
#include "doors/admin.h"
#include "mete/wire.h"

static const char usage[] =
    "usage: mete usage TENANT [RULE] [SUBJECT] [OPTION...]\n"
    "\n"
    "With SUBJECT: what is left of RULE for it, without charging. RULE may be several, with "
    "commas\n"
    "between them, or '*' for all that the tenant has (told by the admin socket); they are asked\n"
    "together. Without SUBJECT: what TENANT, or RULE of it, has used since the daemon's start.\n"
    "\n"
    "  --server HOST:PORT  default 127.0.0.1:6383; with SUBJECT\n"
    "  --secret-file FILE  the tenant's secret; without it only servers that trust this\n"
    "                      address answer\n"
    "  --timeout MS        how long to wait for the answer, default 1000\n"
    "  --admin PATH        the daemon's listen.admin (default /run/mete/admin.sock); without\n"
    "                      SUBJECT, and for '*'\n"
    "  --json              an array, one object per rule. With SUBJECT: rule, status, remaining\n"
    "                      (null: no limit), retry_after_us for one unit (null: never),\n"
    "                      reset_after_us (null: never). Without: rule, allowed, denied,\n"
    "                      would_deny, units, live (subjects that owe something)\n"
    "  --help\n"
    "\n"
    "exit status: 0 done, 2 wrong use or bad input, 3 the server did not answer\n"
    "\n"
    "  mete usage acme '*' alice\n"
    "  mete usage acme login,api alice --json\n"
    "  mete usage acme\n";

#define RULES_MAX 1024u
#define MANY 25u /* of one blocking call */

struct query {
    struct ask_server server;
    const char *rule, *subject; /* NULL: not given */
    const char *admin;
    bool json;
    char *names[RULES_MAX];
    unsigned name_count;
};

/* Results: 0, EXIT_USAGE after saying why, or -1: help was asked for. */
static int parse(int argc, char **argv, struct query *query)
{
    static const struct option options[] = {
        {"admin", required_argument, NULL, 'a'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {"server", required_argument, NULL, 's'},
        {"secret-file", required_argument, NULL, 'S'},
        {"timeout", required_argument, NULL, 't'},
        {0},
    };
    int option, error = 0;
    opterr = 0;
    while (!error && (option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h')
            return -1;
        if (option == '?' || option == ':')
            return cmd_bad_option("usage", option, argv, options);
        if (option == 'a')
            query->admin = optarg;
        else if (option == 'j')
            query->json = true;
        else
            error = ask_take_option(&query->server, option);
    }
    if (error)
        return error;
    int words = argc - optind;
    if (words < 1 || words > 3)
        return cmd_fail(
            "usage", "needs TENANT, and takes RULE and SUBJECT, not %d words; see --help", words);
    for (int i = optind; i < argc; i++)
        if (!argv[i][0])
            return cmd_fail("usage", "the %s is empty",
                            i == optind       ? "tenant"
                            : i == optind + 1 ? "rule"
                                              : "subject");
    query->server.tenant = argv[optind];
    query->rule = words > 1 ? argv[optind + 1] : NULL;
    query->subject = words > 2 ? argv[optind + 2] : NULL;
    return 0;
}

/* ---- the admin socket ---- */

/* The daemon's counters; NULL after saying why, with *ret_status. */
static json_t *load_stats(const struct query *query, int *ret_status)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    int error = out ? admin_ask(query->admin, "stats json", out) : -ENOMEM;
    if (out)
        fclose(out);
    json_t *stats = error ? NULL : json_loadb(text, size, 0, NULL);
    free(text);
    *ret_status = EXIT_NO_ANSWER;
    if (error)
        cmd_fail("usage", "no daemon answers at %s: %s; %s", query->admin, strerror(-error),
                 error == -EACCES ? "only the user it runs as may ask it"
                                  : "is it running, and is that its listen.admin?");
    else if (!stats)
        cmd_fail("usage", "%s: what answers there is no mete of this version", query->admin);
    return stats;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static bool is_wanted(const struct query *query, const json_t *rule)
{
    const char *name = text_of(rule, "rule");
    return strcmp(text_of(rule, "tenant"), query->server.tenant) == 0 &&
           (!query->rule || strcmp(query->rule, "*") == 0 || strcmp(query->rule, name) == 0);
}

static int explain_nothing(const struct query *query, const json_t *rules)
{
    size_t i;
    json_t *rule;
    json_array_foreach(rules, i, rule)
    {
        if (strcmp(text_of(rule, "tenant"), query->server.tenant) == 0)
            return cmd_fail("usage", "tenant '%s' has no rule '%s'", query->server.tenant,
                            query->rule);
    }
    return cmd_fail("usage", "the server has no tenant '%s' with rules", query->server.tenant);
}

static const char *const NUMBERS[] = {"allowed", "denied", "would_deny", "units", "live"};
#define NUMBER_COUNT (sizeof(NUMBERS) / sizeof(NUMBERS[0]))

static void print_used(const json_t *rule)
{
    printf("%-32s", text_of(rule, "rule"));
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        printf(" %14" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(rule, NUMBERS[i])));
    putchar('\n');
}

static json_t *used_json(json_t *rule)
{
    json_t *object = json_object();
    json_object_set(object, "rule", json_object_get(rule, "rule"));
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        json_object_set(object, NUMBERS[i], json_object_get(rule, NUMBERS[i]));
    return object;
}

static void print_array(json_t *array)
{
    json_dumpf(array, stdout, JSON_PRESERVE_ORDER);
    putchar('\n');
}

static int show_used(const struct query *query)
{
    int status;
    json_t *stats = load_stats(query, &status), *rule, *array = json_array();
    if (!stats) {
        json_decref(array);
        return status;
    }
    const json_t *rules = json_object_get(stats, "rules");
    size_t i;
    unsigned count = 0;
    json_array_foreach(rules, i, rule)
    {
        if (!is_wanted(query, rule))
            continue;
        if (query->json)
            json_array_append_new(array, used_json(rule));
        else if (count == 0)
            printf("%-32s %14s %14s %14s %14s %14s\n", "rule", NUMBERS[0], NUMBERS[1], NUMBERS[2],
                   NUMBERS[3], NUMBERS[4]);
        if (!query->json)
            print_used(rule);
        count++;
    }
    status = count ? 0 : explain_nothing(query, rules);
    if (count && query->json)
        print_array(array);
    json_decref(array);
    json_decref(stats);
    return status;
}

/* ---- the names of the rules that are asked ---- */

static int add_name(struct query *query, const char *name, size_t len)
{
    if (len == 0)
        return cmd_fail("usage", "'%.64s' names an empty rule", query->rule);
    if (query->name_count == RULES_MAX)
        return cmd_fail("usage", "more than %u rules", RULES_MAX);
    char *copy = strndup(name, len);
    if (!copy)
        return cmd_fail("usage", "out of memory");
    query->names[query->name_count++] = copy;
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): cmd_usage() frees the names */
    return 0;
}

/* All that the tenant has, as the daemon says. */
static int add_all_names(struct query *query)
{
    int status;
    json_t *stats = load_stats(query, &status), *rule;
    if (!stats)
        return status;
    const json_t *rules = json_object_get(stats, "rules");
    size_t i;
    status = 0;
    json_array_foreach(rules, i, rule)
    {
        const char *name = text_of(rule, "rule");
        if (status == 0 && is_wanted(query, rule) && name[0] != '(') /* inline limits have none */
            status = add_name(query, name, strlen(name));
    }
    if (status == 0 && query->name_count == 0)
        status = explain_nothing(query, rules);
    json_decref(stats);
    return status;
}

static int add_names(struct query *query)
{
    if (strcmp(query->rule, "*") == 0)
        return add_all_names(query);
    for (const char *name = query->rule;; name++) {
        size_t len = strcspn(name, ",");
        int status = add_name(query, name, len);
        name += len;
        if (status || !*name)
            return status;
    }
}

/* ---- what is left ---- */

static json_t *wait_json(uint64_t us)
{
    return us == METE_NEVER ? json_null() : json_integer((json_int_t)us);
}

static void add_left(json_t *array, const char *name, const struct mete_answer *answer)
{
    json_t *object = json_object();
    json_object_set_new(object, "rule", json_string(name));
    json_object_set_new(object, "status", json_string(ask_status_name(answer->status)));
    if (answer->source == METE_SOURCE_SERVER) {
        json_object_set_new(object, "remaining",
                            answer->remaining == UINT32_MAX ? json_null()
                                                            : json_integer(answer->remaining));
        json_object_set_new(object, "retry_after_us",
                            wait_json(answer->allowed ? 0 : answer->retry_after_us));
        json_object_set_new(object, "reset_after_us", wait_json(answer->reset_after_us));
    }
    json_array_append_new(array, object);
}

static void print_left(const char *name, const struct mete_answer *answer)
{
    char text[64];
    printf("%-32s", name);
    if (answer->source != METE_SOURCE_SERVER) {
        printf(" %14s\n", ask_status_name(answer->status));
        return;
    }
    if (answer->remaining == UINT32_MAX)
        printf(" %14s", "no limit");
    else
        printf(" %9" PRIu32 " left", answer->remaining);
    if (!answer->allowed && answer->retry_after_us == METE_NEVER)
        printf(", never more");
    else if (!answer->allowed)
        printf(", next in %s", ask_format_wait(answer->retry_after_us, text, sizeof(text)));
    if (answer->reset_after_us == METE_NEVER)
        printf(", never full again");
    else if (answer->reset_after_us)
        printf(", full in %s", ask_format_wait(answer->reset_after_us, text, sizeof(text)));
    putchar('\n');
}

/* Asks about names[first..] in one call, adds what is left to the array or prints it. 0 or the exit
 * status. */
static int ask_many(const struct query *query, struct mete_client *client, unsigned first,
                    json_t *array)
{
    struct mete_request requests[MANY];
    struct mete_answer answers[MANY];
    unsigned count = query->name_count - first < MANY ? query->name_count - first : MANY;
    for (unsigned i = 0; i < count; i++)
        requests[i] = (struct mete_request){
            .rule = query->names[first + i],
            .subject = query->subject,
            .subject_len = strlen(query->subject),
            .cost = 1,
            .flags = METE_FLAG_PEEK,
        };
    int error = mete_client_check_many(client, requests, count, answers);
    if (error)
        return cmd_fail("usage", "cannot ask: %s", strerror(-error));
    for (unsigned i = 0; i < count; i++) {
        if (answers[i].source == METE_SOURCE_TIMEOUT || answers[i].source == METE_SOURCE_SEND)
            return ask_explain_no_answer(&query->server, &answers[i]);
        if (answers[i].status == METE_STATUS_UNKNOWN_RULE)
            return ask_explain_status(&query->server, query->names[first + i], answers[i].status);
        if (array)
            add_left(array, query->names[first + i], &answers[i]);
        else
            print_left(query->names[first + i], &answers[i]);
    }
    return 0;
}

static int show_left(struct query *query)
{
    struct mete_client *client;
    int status = add_names(query);
    if (status == 0)
        status = ask_open(&query->server, &client);
    if (status)
        return status;
    json_t *array = query->json ? json_array() : NULL;
    for (unsigned first = 0; first < query->name_count && status == 0; first += MANY)
        status = ask_many(query, client, first, array);
    mete_client_close(client);
    if (array && status == 0)
        print_array(array);
    json_decref(array);
    return status;
}

int cmd_usage(int argc, char **argv)
{
    struct query query = {.server = ask_server("usage"), .admin = "/run/mete/admin.sock"};
    int status = parse(argc, argv, &query);
    if (status) {
        if (status < 0)
            fputs(usage, stdout);
        return status < 0 ? 0 : status;
    }
    status = query.subject ? show_left(&query) : show_used(&query);
    for (unsigned i = 0; i < query.name_count; i++)
        free(query.names[i]);
    return status;
}
