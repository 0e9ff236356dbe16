/* Questions to the engine, as commands of the RESP door: gathered from one pipeline, decided by one
 * call, answered in the order in which they came.
 *
 * A question is judged whole when it is gathered: what is wrong with it is answered by one -ERR in
 * its place, after the answers of all before it. Whatever else writes to the session's output has
 * to call resp_settle() first. Called by the loop's thread. */
#ifndef METE_DOORS_RESP_QUESTIONS_H
#define METE_DOORS_RESP_QUESTIONS_H

#include "doors/resp_throttle.h"

struct resp_command;
struct resp_session;

#define RESP_BATCH 64u          /* questions of one call */
#define RESP_VERDICT_BYTES 192u /* of the longest answer to one: six values */

struct resp_question {
    bool is_throttle; /* else by rule */
    struct throttle throttle;
};

struct resp_batch { /* gathered and not decided yet; they point into what was received */
    unsigned count;
    struct check checks[RESP_BATCH];
    struct resp_question questions[RESP_BATCH];
    struct answer answers[RESP_BATCH];
};

/* Decides what is gathered and writes the answers. Nothing gathered is nothing done. */
void resp_settle(struct resp_session *session);

/* Each gathers one command of as many words as resp_commands says, or writes its error. The batch
 * has room for one more, the output for its answer. */
void resp_ask_cell(struct resp_session *session, const struct resp_command *command);
void resp_ask_crab(struct resp_session *session, const struct resp_command *command);
void resp_ask_check(struct resp_session *session, const struct resp_command *command);
void resp_ask_peek(struct resp_session *session, const struct resp_command *command);
void resp_ask_refund(struct resp_session *session, const struct resp_command *command);
void resp_ask_reset(struct resp_session *session, const struct resp_command *command);
void resp_ask_acquire(struct resp_session *session, const struct resp_command *command);
void resp_ask_renew(struct resp_session *session, const struct resp_command *command);
void resp_ask_release(struct resp_session *session, const struct resp_command *command);

#endif
