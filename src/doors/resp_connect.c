/* What clients say at connect: who they are, which protocol, what they are called. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "doors/resp_commands.h"
#include "doors/resp_write.h"

bool resp_word_is(const struct resp_word *word, const char *text)
{
    return word->len == strlen(text) &&
           strncasecmp((const char *)word->bytes, text, word->len) == 0;
}

unsigned resp_protocol_of(const struct resp_session *session)
{
    return session->state->protocol == 3 ? 3 : 2;
}

void resp_identify(struct resp_session *session)
{
    const struct resp_state *state = session->state;
    const struct config *config = session->call->config;
    session->login = (struct login){.tenant = NULL};
    if (state->has_key)
        login_find_again(config, state->tenant_id, state->hash, &session->login);
    else
        login_find_without_key(session->call, &session->login);
}

/* The name `default` is what clients say who were given a key alone: then the key tells. */
static bool log_in(struct resp_session *session, const struct resp_word *name,
                   const struct resp_word *key)
{
    struct resp_state *state = session->state;
    struct login login;
    uint8_t hash[LOGIN_HASH_BYTES];
    login_hash(key->bytes, key->len, hash);
    if (!login_find(session->call->config, hash, &login))
        return false;
    if (name && !resp_word_is(name, "default") &&
        (name->len != strlen(login.tenant->name) ||
         memcmp(name->bytes, login.tenant->name, name->len) != 0))
        return false;
    memcpy(state->hash, hash, sizeof(hash));
    state->tenant_id = login.tenant->id;
    state->has_key = true;
    session->login = login;
    return true;
}

static void write_wrong_key(struct loop_output *out)
{
    resp_write_error(out, "WRONGPASS no such API key, or not of that tenant");
}

void resp_auth(struct resp_session *session, const struct resp_command *command)
{
    const struct resp_word *name = command->count == 3 ? &command->words[1] : NULL;
    if (log_in(session, name, &command->words[command->count - 1]))
        resp_write_simple(session->out, "OK");
    else
        write_wrong_key(session->out);
}

/* Names are shown to people: printable, without blanks. */
static bool set_name(struct resp_state *state, const struct resp_word *word)
{
    if (word->len > RESP_MAX_NAME)
        return false;
    for (size_t i = 0; i < word->len; i++)
        if (word->bytes[i] <= ' ' || word->bytes[i] > '~')
            return false;
    memcpy(state->name, word->bytes, word->len);
    state->name_len = (uint8_t)word->len;
    return true;
}

static const char bad_name[] = "ERR a client's name is at most 64 printable letters without blanks";

/* HELLO's options, applied to copies so that one mistake changes nothing. Returns NULL or an error.
 */
static const char *apply_hello(struct resp_session *session, const struct resp_command *command)
{
    const struct resp_word *words = command->words;
    for (unsigned i = 2; i < command->count;) {
        const unsigned left = command->count - i;
        if (resp_word_is(&words[i], "AUTH") && left >= 3) {
            if (!log_in(session, &words[i + 1], &words[i + 2]))
                return "WRONGPASS no such API key, or not of that tenant";
            i += 3;
        } else if (resp_word_is(&words[i], "SETNAME") && left >= 2) {
            if (!set_name(session->state, &words[i + 1]))
                return bad_name;
            i += 2;
        } else {
            return "ERR HELLO takes a protocol, AUTH tenant key, SETNAME name";
        }
    }
    return NULL;
}

static void write_hello(struct resp_session *session)
{
    struct loop_output *out = session->out;
    resp_write_map(out, resp_protocol_of(session), 7);
    resp_write_text(out, "server");
    resp_write_text(out, "mete");
    resp_write_text(out, "version");
    resp_write_text(out, METE_VERSION);
    resp_write_text(out, "proto");
    resp_write_integer(out, resp_protocol_of(session));
    resp_write_text(out, "id");
    resp_write_integer(out, (int64_t)session->call->connection);
    resp_write_text(out, "mode");
    resp_write_text(out, "standalone");
    resp_write_text(out, "role");
    resp_write_text(out, "master");
    resp_write_text(out, "modules");
    resp_write_array(out, 0);
}

void resp_hello(struct resp_session *session, const struct resp_command *command)
{
    const struct resp_state before = *session->state;
    const struct resp_word *words = command->words;
    if (command->count > 1 && !resp_word_is(&words[1], "2") && !resp_word_is(&words[1], "3")) {
        resp_write_error(session->out, "NOPROTO unsupported protocol version; 2 and 3 are there");
        return;
    }
    const char *error = apply_hello(session, command);
    if (!error && !session->login.tenant)
        error = "NOAUTH this door needs an API key: HELLO 3 AUTH tenant key";
    if (error) {
        *session->state = before;
        resp_identify(session);
        resp_write_error(session->out, error);
        return;
    }
    if (command->count > 1)
        session->state->protocol = (uint8_t)(words[1].bytes[0] - '0');
    write_hello(session);
}

void resp_client(struct resp_session *session, const struct resp_command *command)
{
    const struct resp_word *what = &command->words[1];
    struct resp_state *state = session->state;
    if (resp_word_is(what, "SETINFO") && command->count == 4)
        /* NOLINTNEXTLINE(bugprone-branch-clone): another question each */
        resp_write_simple(session->out, "OK");
    else if (resp_word_is(what, "ID") && command->count == 2)
        resp_write_integer(session->out, (int64_t)session->call->connection);
    else if (resp_word_is(what, "GETNAME") && command->count == 2 && state->name_len)
        resp_write_bulk(session->out, state->name, state->name_len);
    else if (resp_word_is(what, "GETNAME") && command->count == 2)
        resp_write_null(session->out, resp_protocol_of(session));
    else if (!resp_word_is(what, "SETNAME") || command->count != 3)
        resp_write_error(session->out, "ERR CLIENT takes SETINFO attribute value, SETNAME name, "
                                       "GETNAME, ID");
    else if (set_name(state, &command->words[2]))
        resp_write_simple(session->out, "OK");
    else
        resp_write_error(session->out, bad_name);
}

void resp_info(struct resp_session *session, const struct resp_command *command)
{
    static const char text[] = "# Server\r\nserver_name:mete\r\nmete_version:" METE_VERSION "\r\n"
                               "redis_mode:standalone\r\nloading:0\r\n";
    (void)command;
    resp_write_text(session->out, text);
}
