#include "doors/resp_questions.h"

#include <stdio.h>
#include <string.h>

#include "doors/resp_commands.h"
#include "doors/resp_write.h"

/* ---- answers ---- */

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

static void answer_rule(struct loop_output *out, const struct answer *answer)
{
    resp_write_array(out, 5);
    resp_write_integer(out, (answer->flags & METE_VERDICT_ALLOW) != 0);
    resp_write_integer(out, answer->remaining);
    resp_write_integer(out, milliseconds(answer->retry_after_ns));
    resp_write_integer(out, milliseconds(answer->reset_after_ns));
    resp_write_text(out, status_text(answer->status));
}

static void answer_throttle(struct loop_output *out, const struct throttle *throttle,
                            const struct answer *answer)
{
    int64_t numbers[5];
    if (answer->status != METE_STATUS_OK && !(answer->flags & METE_VERDICT_ALLOW)) {
        resp_write_error(out, "ERR the table is full; table.entries makes it larger");
        return;
    }
    throttle_reply(throttle, answer, numbers);
    resp_write_array(out, 5);
    for (unsigned i = 0; i < 5; i++)
        resp_write_integer(out, numbers[i]);
}

void resp_settle(struct resp_session *session)
{
    struct resp_batch *batch = session->batch;
    if (batch->count == 0)
        return;
    engine_check_batch(session->call->engine, batch->checks, batch->count, session->call->now,
                       batch->answers);
    for (unsigned i = 0; i < batch->count; i++) {
        const struct resp_question *question = &batch->questions[i];
        if (question->is_throttle)
            answer_throttle(session->out, &question->throttle, &batch->answers[i]);
        else
            answer_rule(session->out, &batch->answers[i]);
    }
    batch->count = 0;
}

static void refuse(struct resp_session *session, const char *error)
{
    resp_settle(session);
    resp_write_error(session->out, error);
}

/* ---- questions ---- */

/* Gathers the check, if the tenant may ask for more of them now; what is given back is always
 * taken. */
static void gather(struct resp_session *session, const struct check *check,
                   const struct resp_word *subject)
{
    const struct tenant *tenant = session->login.tenant;
    const struct loop_call *call = session->call;
    struct check *slot = &session->batch->checks[session->batch->count];
    if (check->operation != OPERATION_RELEASE && quota_is_set(&tenant->checks) &&
        !quota_take(call->quota, tenant->inline_index, &tenant->checks, 1, call->now->now_ns)) {
        counter_add(&call->engine->counters->cell[COUNTER_LIMITED], 1);
        refuse(session, "LIMITED the tenant asks for more checks than it may");
        return;
    }
    *slot = *check;
    slot->tenant = tenant;
    slot->subject = subject->bytes;
    slot->subject_len = (uint32_t)subject->len;
    slot->key = key_of_subject(subject->bytes, subject->len, *tenant->seed);
    session->batch->count++;
}

static void ask_throttle(struct resp_session *session, const struct resp_command *command,
                         enum throttle_kind kind, const char *rule)
{
    struct resp_question *question = &session->batch->questions[session->batch->count];
    const char *error =
        throttle_parse(kind, &command->words[2], command->count - 2, &question->throttle);
    if (error) {
        char line[160];
        snprintf(line, sizeof(line), "ERR %s: %s", rule, error);
        refuse(session, line);
        return;
    }
    const struct check check = {
        .rule_id = key_name_id(rule, strlen(rule)),
        .cost = question->throttle.cost,
        .operation = OPERATION_CHECK,
        .has_inline_limit = true,
        .limit = &question->throttle.limit,
    };
    question->is_throttle = true;
    gather(session, &check, &command->words[1]);
}

void resp_ask_cell(struct resp_session *session, const struct resp_command *command)
{
    ask_throttle(session, command, THROTTLE_CELL, "cl.throttle");
}

void resp_ask_crab(struct resp_session *session, const struct resp_command *command)
{
    ask_throttle(session, command, THROTTLE_CRAB, "throttle");
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
        refuse(session, "ERR cost is not a whole number from 0 to 4294967295");
        return false;
    }
    *ret_cost = (uint32_t)cost;
    return true;
}

static void ask_rule(struct resp_session *session, const struct resp_command *command,
                     struct check *check)
{
    const struct resp_word *rule = &command->words[1];
    check->rule_id = key_name_id((const char *)rule->bytes, rule->len);
    session->batch->questions[session->batch->count].is_throttle = false;
    gather(session, check, &command->words[2]);
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
        refuse(session, "ERR lease is not a whole number from 0 to 2^64 - 1");
    else if (read_cost(session, command, 4, &check.cost))
        ask_rule(session, command, &check);
}

void resp_ask_check(struct resp_session *session, const struct resp_command *command)
{
    by_rule(session, command, OPERATION_CHECK);
}

void resp_ask_peek(struct resp_session *session, const struct resp_command *command)
{
    by_rule(session, command, OPERATION_PEEK);
}

void resp_ask_refund(struct resp_session *session, const struct resp_command *command)
{
    by_rule(session, command, OPERATION_REFUND);
}

void resp_ask_reset(struct resp_session *session, const struct resp_command *command)
{
    by_rule(session, command, OPERATION_RESET);
}

void resp_ask_acquire(struct resp_session *session, const struct resp_command *command)
{
    by_lease(session, command, OPERATION_ACQUIRE);
}

void resp_ask_renew(struct resp_session *session, const struct resp_command *command)
{
    by_lease(session, command, OPERATION_RENEW);
}

void resp_ask_release(struct resp_session *session, const struct resp_command *command)
{
    by_lease(session, command, OPERATION_RELEASE);
}
