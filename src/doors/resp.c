#include "doors/resp.h"

#include "doors/resp_commands.h"
#include "doors/resp_questions.h"
#include "doors/resp_write.h"

/* Room for the answers of all that is gathered, and one of any command more? */
static bool has_room(const struct resp_session *session)
{
    const struct loop_output *out = session->out;
    return out->size - out->len >= session->batch->count * RESP_VERDICT_BYTES + RESP_REPLY_BYTES;
}

static void write_broken(struct resp_session *session, const struct resp_command *command)
{
    char error[128] = "ERR ";
    size_t at = 4;
    resp_settle(session);
    for (const char *text = command->error; *text && at < sizeof(error) - 1; text++)
        error[at++] = *text;
    resp_write_error(session->out, error);
}

static enum loop_result consume(const struct loop_call *call, struct loop_input *in,
                                struct loop_output *out)
{
    struct resp_batch batch;
    struct resp_session session = {.call = call, .state = call->state, .out = out, .batch = &batch};
    struct resp_command command;
    batch.count = 0;
    resp_identify(&session);
    for (;;) {
        size_t used = 0;
        if (batch.count == RESP_BATCH || !has_room(&session))
            resp_settle(&session);
        if (!has_room(&session))
            break;
        enum resp_parse_result result =
            resp_parse(in->bytes + in->used, in->len - in->used, &command, &used);
        in->has_half = result == RESP_HALF && in->used < in->len;
        if (result == RESP_HALF)
            break;
        if (result == RESP_BROKEN) {
            write_broken(&session, &command);
            return LOOP_CLOSE;
        }
        in->used += used;
        if (command.count > 0 && !resp_run(&session, &command))
            return LOOP_CLOSE;
    }
    resp_settle(&session);
    return LOOP_GO_ON;
}

const struct loop_protocol resp_protocol = {
    .name = "resp",
    .reply_bytes = RESP_REPLY_BYTES,
    .full = "-ERR max number of clients reached; doors.connections says how many\r\n",
    .late = "-ERR half a command and then silence; closing\r\n",
    .consume = consume,
};
