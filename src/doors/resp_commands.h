/* What each command of the RESP door does. A command is judged whole before it has any effect: a
 * mistake in it is one -ERR and nothing else. Called by the loop's thread. */
#ifndef METE_DOORS_RESP_COMMANDS_H
#define METE_DOORS_RESP_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "doors/login.h"
#include "doors/loop.h"
#include "doors/resp_parse.h"

#define RESP_MAX_NAME 64u
#define RESP_REPLY_BYTES (RESP_MAX_BULK + 512u) /* the longest answer: an ECHO, or HELLO */

struct resp_state {   /* of a connection */
    uint8_t protocol; /* 2 or 3; 0 for a new connection, which means 2 */
    bool has_key;     /* hash and tenant_id are set */
    uint8_t name_len;
    uint32_t tenant_id;
    uint8_t hash[LOGIN_HASH_BYTES];
    char name[RESP_MAX_NAME]; /* CLIENT SETNAME */
};
_Static_assert(sizeof(struct resp_state) <= LOOP_STATE_BYTES, "as the loop provides it");

struct resp_session { /* of one batch of commands */
    const struct loop_call *call;
    struct resp_state *state;
    struct login login; /* tenant NULL: nobody */
    struct loop_output *out;
    struct resp_batch *batch; /* of resp_questions.h */
};

/* Answers one command of at least one word, or gathers it to be answered by resp_settle(). out has
 * room for RESP_REPLY_BYTES beside what is gathered. False: it was the connection's last. */
bool resp_run(struct resp_session *session, const struct resp_command *command);

/* Who the connection speaks for, by the configuration of now. */
void resp_identify(struct resp_session *session);

/* The parts of it, in resp_connect.c: what clients say before and beside their questions. */
void resp_auth(struct resp_session *session, const struct resp_command *command);
void resp_hello(struct resp_session *session, const struct resp_command *command);
void resp_client(struct resp_session *session, const struct resp_command *command);
void resp_info(struct resp_session *session, const struct resp_command *command);

bool resp_word_is(const struct resp_word *word, const char *text); /* in any case of letters */
unsigned resp_protocol_of(const struct resp_session *session);

#endif
