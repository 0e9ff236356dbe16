/* HTTP on the doors' loop: whole requests out of the bytes, their answers into the bytes. */
#include "doors/http_check.h"

_Static_assert(HTTP_MAX_REQUEST <= LOOP_INPUT_BYTES, "the largest request fits");
_Static_assert(HTTP_MAX_ANSWER <= LOOP_OUTPUT_BYTES, "the largest answer fits");

static enum loop_result consume(const struct loop_call *call, struct loop_input *in,
                                struct loop_output *out)
{
    struct http_door *door = call->context;
    while (in->used < in->len && out->size - out->len >= HTTP_MAX_ANSWER) {
        struct http_out answer = {
            .bytes = (char *)out->bytes + out->len,
            .size = out->size - out->len,
        };
        size_t used = 0;
        enum http_parsed parsed = http_parse((const char *)in->bytes + in->used, in->len - in->used,
                                             &door->request, &used);
        if (parsed == HTTP_MORE) {
            in->has_half = true;
            return LOOP_GO_ON;
        }
        if (parsed == HTTP_WHOLE)
            http_serve(door, &door->request, call, &answer);
        else
            http_serve_refused(&door->request, &answer);
        in->used = parsed == HTTP_WHOLE ? in->used + used : in->len;
        if (answer.has_overflown) /* cannot be: the sizes of http_check.h say so */
            return LOOP_CLOSE;
        out->len += answer.len;
        if (!door->request.keeps_alive)
            return LOOP_CLOSE;
    }
    return LOOP_GO_ON;
}

const struct loop_protocol http_protocol = {
    .name = "http",
    .alpn = "http/1.1",
    .plain = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n"
             "Connection: close\r\n\r\nthis port speaks TLS\r\n",
    .reply_bytes = HTTP_MAX_ANSWER,
    .full = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    .late = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    .consume = consume,
};
