#include "doors/resp.h"

#include "doors/resp_commands.h"
#include "doors/resp_write.h"

static enum loop_result consume(const struct loop_call *call, struct loop_input *in,
                                struct loop_output *out)
{
    struct resp_session session = {.call = call, .state = call->state, .out = out};
    struct resp_command command;
    resp_identify(&session);
    while (out->size - out->len >= RESP_REPLY_BYTES) {
        size_t used = 0;
        enum resp_parse_result result =
            resp_parse(in->bytes + in->used, in->len - in->used, &command, &used);
        in->has_half = result == RESP_HALF && in->used < in->len;
        if (result == RESP_HALF)
            break;
        if (result == RESP_BROKEN) {
            char error[128] = "ERR ";
            size_t at = 4;
            for (const char *text = command.error; *text && at < sizeof(error) - 1; text++)
                error[at++] = *text;
            resp_write_error(out, error);
            return LOOP_CLOSE;
        }
        in->used += used;
        if (command.count > 0 && !resp_run(&session, &command))
            return LOOP_CLOSE;
    }
    return LOOP_GO_ON;
}

const struct loop_protocol resp_protocol = {
    .name = "resp",
    .reply_bytes = RESP_REPLY_BYTES,
    .full = "-ERR max number of clients reached; doors.connections says how many\r\n",
    .late = "-ERR half a command and then silence; closing\r\n",
    .consume = consume,
};
