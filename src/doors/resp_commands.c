#include "doors/resp_commands.h"

#include <stdio.h>
#include <string.h>

#include "doors/resp_throttle.h"
#include "doors/resp_write.h"

enum needs { NEEDS_NOTHING, NEEDS_LOGIN, NEEDS_CHECK, NEEDS_MANAGE };

struct entry { /* of the list of commands */
    const char *name;
    unsigned least, most; /* words, with its name */
    enum needs needs;
    void (*run)(struct resp_session *session, const struct resp_command *command);
    const char *usage;
};

/* ---- questions ---- */

/* Asks the engine, if the tenant may ask for more checks now; what is given back is always taken.
 */
static bool ask(struct resp_session *session, struct check *check, const struct resp_word *subject,
                struct answer *ret_answer)
{
    const struct tenant *tenant = session->login.tenant;
    const struct loop_call *call = session->call;
    if (check->operation != OPERATION_RELEASE && quota_is_set(&tenant->checks) &&
        !quota_take(call->quota, tenant->inline_index, &tenant->checks, 1, call->now->now_ns)) {
        counter_add(&call->engine->counters->cell[COUNTER_LIMITED], 1);
        resp_write_error(session->out, "LIMITED the tenant asks for more checks than it may");
        return false;
    }
    check->tenant = tenant;
    check->subject = subject->bytes;
    check->subject_len = (uint32_t)subject->len;
    check->key = key_of_subject(subject->bytes, subject->len, *tenant->seed);
    engine_check_batch(call->engine, check, 1, call->now, ret_answer);
    return true;
}

static void throttle(struct resp_session *session, const struct resp_command *command,
                     enum throttle_kind kind, const char *rule)
{
    struct throttle throttle;
    struct answer answer;
    int64_t numbers[5];
    const char *error = throttle_parse(kind, &command->words[2], command->count - 2, &throttle);
    if (error) {
        char line[160];
        snprintf(line, sizeof(line), "ERR %s: %s", rule, error);
        resp_write_error(session->out, line);
        return;
    }
    struct check check = {
        .rule_id = key_name_id(rule, strlen(rule)),
        .cost = throttle.cost,
        .operation = OPERATION_CHECK,
        .has_inline_limit = true,
        .limit = &throttle.limit,
    };
    if (!ask(session, &check, &command->words[1], &answer))
        return;
    if (answer.status != METE_STATUS_OK && !(answer.flags & METE_VERDICT_ALLOW)) {
        resp_write_error(session->out, "ERR the table is full; table.entries makes it larger");
        return;
    }
    throttle_reply(&throttle, &answer, numbers);
    resp_write_array(session->out, 5);
    for (unsigned i = 0; i < 5; i++)
        resp_write_integer(session->out, numbers[i]);
}

static void run_cell(struct resp_session *session, const struct resp_command *command)
{
    throttle(session, command, THROTTLE_CELL, "cl.throttle");
}

static void run_crab(struct resp_session *session, const struct resp_command *command)
{
    throttle(session, command, THROTTLE_CRAB, "throttle");
}

/* Milliseconds, up; -1 for never. */
static int64_t milliseconds(uint64_t ns)
{
    return ns == NEVER ? -1 : (int64_t)(ns / 1000000 + (ns % 1000000 != 0));
}

static const char *status_text(uint8_t status)
{
    switch (status) {
    case METE_STATUS_OK:
        return "ok";
    case METE_STATUS_UNKNOWN_RULE:
        return "unknown_rule";
    case METE_STATUS_TABLE_FULL:
        return "table_full";
    case METE_STATUS_UNSUPPORTED:
        return "unsupported";
    case METE_STATUS_UNKNOWN_LEASE:
        return "unknown_lease";
    case METE_STATUS_EXPIRED_LEASE:
        return "expired_lease";
    default:
        return "refused";
    }
}

static bool read_number(const struct resp_word *word, uint64_t most, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < word->len; i++) {
        const uint8_t digit = (uint8_t)(word->bytes[i] - '0');
        if (digit > 9 || number > (most - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return word->len > 0;
}

/* What stands at this place of the command, if it is that long: a cost, else 1. */
static bool read_cost(struct resp_session *session, const struct resp_command *command, unsigned at,
                      uint32_t *ret_cost)
{
    uint64_t cost = 1;
    if (command->count > at && !read_number(&command->words[at], UINT32_MAX, &cost)) {
        resp_write_error(session->out, "ERR cost is not a whole number from 0 to 4294967295");
        return false;
    }
    *ret_cost = (uint32_t)cost;
    return true;
}

static void ask_rule(struct resp_session *session, const struct resp_command *command,
                     struct check *check)
{
    const struct resp_word *rule = &command->words[1];
    struct answer answer;
    check->rule_id = key_name_id((const char *)rule->bytes, rule->len);
    if (!ask(session, check, &command->words[2], &answer))
        return;
    resp_write_array(session->out, 5);
    resp_write_integer(session->out, (answer.flags & METE_VERDICT_ALLOW) != 0);
    resp_write_integer(session->out, answer.remaining);
    resp_write_integer(session->out, milliseconds(answer.retry_after_ns));
    resp_write_integer(session->out, milliseconds(answer.reset_after_ns));
    resp_write_text(session->out, status_text(answer.status));
}

static void by_rule(struct resp_session *session, const struct resp_command *command,
                    enum operation operation)
{
    struct check check = {.operation = (uint8_t)operation};
    if (read_cost(session, command, 3, &check.cost))
        ask_rule(session, command, &check);
}

static void by_lease(struct resp_session *session, const struct resp_command *command,
                     enum operation operation)
{
    struct check check = {.operation = (uint8_t)operation};
    if (!read_number(&command->words[3], UINT64_MAX, &check.lease_id))
        resp_write_error(session->out, "ERR lease is not a whole number from 0 to 2^64 - 1");
    else if (read_cost(session, command, 4, &check.cost))
        ask_rule(session, command, &check);
}

static void run_check(struct resp_session *session, const struct resp_command *command)
{
    by_rule(session, command, OPERATION_CHECK);
}

static void run_peek(struct resp_session *session, const struct resp_command *command)
{
    by_rule(session, command, OPERATION_PEEK);
}

static void run_refund(struct resp_session *session, const struct resp_command *command)
{
    by_rule(session, command, OPERATION_REFUND);
}

static void run_reset(struct resp_session *session, const struct resp_command *command)
{
    by_rule(session, command, OPERATION_RESET);
}

static void run_acquire(struct resp_session *session, const struct resp_command *command)
{
    by_lease(session, command, OPERATION_ACQUIRE);
}

static void run_renew(struct resp_session *session, const struct resp_command *command)
{
    by_lease(session, command, OPERATION_RENEW);
}

static void run_release(struct resp_session *session, const struct resp_command *command)
{
    by_lease(session, command, OPERATION_RELEASE);
}

/* ---- courtesies ---- */

static void run_ping(struct resp_session *session, const struct resp_command *command)
{
    if (command->count == 1)
        resp_write_simple(session->out, "PONG");
    else
        resp_write_bulk(session->out, command->words[1].bytes, command->words[1].len);
}

static void run_echo(struct resp_session *session, const struct resp_command *command)
{
    resp_write_bulk(session->out, command->words[1].bytes, command->words[1].len);
}

static void run_select(struct resp_session *session, const struct resp_command *command)
{
    if (resp_word_is(&command->words[1], "0"))
        resp_write_simple(session->out, "OK");
    else
        resp_write_error(session->out, "ERR DB index is out of range; there is 0 only");
}

/* Clients ask what commands there are to complete and to route them; none needs it. */
static void run_command(struct resp_session *session, const struct resp_command *command)
{
    if (command->count > 1 && resp_word_is(&command->words[1], "COUNT"))
        resp_write_integer(session->out, 0);
    else if (command->count > 1 && resp_word_is(&command->words[1], "DOCS"))
        resp_write_map(session->out, resp_protocol_of(session), 0);
    else
        resp_write_array(session->out, 0);
}

static void run_quit(struct resp_session *session, const struct resp_command *command)
{
    (void)command;
    resp_write_simple(session->out, "OK");
}

static void run_forget(struct resp_session *session, const struct resp_command *command)
{
    (void)command;
    *session->state = (struct resp_state){.protocol = 2};
    resp_identify(session);
    resp_write_simple(session->out, "RESET");
}

/* ---- the list ---- */

static const struct entry entries[] = {
    {"CL.THROTTLE", 5, 6, NEEDS_CHECK, run_cell, "key max_burst count period [quantity]"},
    {"THROTTLE", 5, 6, NEEDS_CHECK, run_crab, "key max_burst count period [quantity]"},
    {"METE.CHECK", 3, 4, NEEDS_CHECK, run_check, "rule subject [cost]"},
    {"METE.PEEK", 3, 4, NEEDS_CHECK, run_peek, "rule subject [cost]"},
    {"METE.REFUND", 3, 4, NEEDS_MANAGE, run_refund, "rule subject [cost]"},
    {"METE.RESET", 3, 3, NEEDS_MANAGE, run_reset, "rule subject"},
    {"METE.ACQUIRE", 4, 5, NEEDS_CHECK, run_acquire, "rule subject lease [cost]"},
    {"METE.RENEW", 4, 4, NEEDS_CHECK, run_renew, "rule subject lease"},
    {"METE.RELEASE", 4, 4, NEEDS_CHECK, run_release, "rule subject lease"},
    {"AUTH", 2, 3, NEEDS_NOTHING, resp_auth, "[tenant] key"},
    {"HELLO", 1, 8, NEEDS_NOTHING, resp_hello, "[2|3 [AUTH tenant key] [SETNAME name]]"},
    {"QUIT", 1, 1, NEEDS_NOTHING, run_quit, ""},
    {"RESET", 1, 1, NEEDS_NOTHING, run_forget, ""},
    {"PING", 1, 2, NEEDS_LOGIN, run_ping, "[message]"},
    {"ECHO", 2, 2, NEEDS_LOGIN, run_echo, "message"},
    {"SELECT", 2, 2, NEEDS_LOGIN, run_select, "0"},
    {"INFO", 1, RESP_MAX_WORDS, NEEDS_LOGIN, resp_info, "[section ...]"},
    {"COMMAND", 1, RESP_MAX_WORDS, NEEDS_LOGIN, run_command, "[COUNT | DOCS]"},
    {"CLIENT", 2, 4, NEEDS_LOGIN, resp_client, "SETINFO|SETNAME|GETNAME|ID"},
};
#define ENTRY_COUNT (sizeof(entries) / sizeof(entries[0]))

static const struct entry *find(const struct resp_word *name)
{
    for (size_t i = 0; i < ENTRY_COUNT; i++)
        if (resp_word_is(name, entries[i].name))
            return &entries[i];
    return NULL;
}

/* NULL, or why the command is not run. */
static const char *refuse(const struct resp_session *session, const struct resp_command *command,
                          const struct entry *entry, char *line, size_t size)
{
    if (!entry) {
        const struct resp_word *name = &command->words[0];
        snprintf(line, size,
                 "ERR unknown command '%.*s'; CL.THROTTLE, THROTTLE, METE.CHECK, PEEK, "
                 "REFUND and RESET are there",
                 name->len < 40 ? (int)name->len : 40, (const char *)name->bytes);
        return line;
    }
    if (entry->needs != NEEDS_NOTHING && !session->login.tenant)
        return "NOAUTH this door needs an API key: AUTH [tenant] key";
    if (entry->needs == NEEDS_MANAGE && !session->login.may_manage)
        return "NOPERM this API key may not manage";
    if (entry->needs == NEEDS_CHECK && !session->login.may_check)
        return "NOPERM this API key may not check";
    if (command->count < entry->least || command->count > entry->most) {
        snprintf(line, size, "ERR wrong number of arguments; usage: %s %s", entry->name,
                 entry->usage);
        return line;
    }
    return NULL;
}

bool resp_run(struct resp_session *session, const struct resp_command *command)
{
    char line[200];
    const struct entry *entry = find(&command->words[0]);
    const char *error = refuse(session, command, entry, line, sizeof(line));
    if (error) {
        resp_write_error(session->out, error);
        return true;
    }
    entry->run(session, command);
    return entry->run != run_quit;
}
