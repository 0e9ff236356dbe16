#include "doors/resp_commands.h"

#include <stdio.h>
#include <string.h>

#include "doors/resp_questions.h"
#include "doors/resp_write.h"

/* What a connection has to show. The last two are of questions, which are gathered. */
enum needs { NEEDS_NOTHING, NEEDS_LOGIN, NEEDS_CHECK, NEEDS_MANAGE };

struct entry { /* of the list of commands */
    const char *name;
    unsigned least, most; /* words, with its name */
    enum needs needs;
    void (*run)(struct resp_session *session, const struct resp_command *command);
    const char *usage;
};

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
    {"CL.THROTTLE", 5, 6, NEEDS_CHECK, resp_ask_cell, "key max_burst count period [quantity]"},
    {"THROTTLE", 5, 6, NEEDS_CHECK, resp_ask_crab, "key max_burst count period [quantity]"},
    {"METE.CHECK", 3, 4, NEEDS_CHECK, resp_ask_check, "rule subject [cost]"},
    {"METE.PEEK", 3, 4, NEEDS_CHECK, resp_ask_peek, "rule subject [cost]"},
    {"METE.REFUND", 3, 4, NEEDS_MANAGE, resp_ask_refund, "rule subject [cost]"},
    {"METE.RESET", 3, 3, NEEDS_MANAGE, resp_ask_reset, "rule subject"},
    {"METE.ACQUIRE", 4, 5, NEEDS_CHECK, resp_ask_acquire, "rule subject lease [cost]"},
    {"METE.RENEW", 4, 4, NEEDS_CHECK, resp_ask_renew, "rule subject lease"},
    {"METE.RELEASE", 4, 4, NEEDS_CHECK, resp_ask_release, "rule subject lease"},
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
    if (error || entry->needs < NEEDS_CHECK)
        resp_settle(session); /* answers stay in order, and a login speaks for what follows */
    if (error) {
        resp_write_error(session->out, error);
        return true;
    }
    entry->run(session, command);
    return entry->run != run_quit;
}
