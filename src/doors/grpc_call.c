#include "doors/grpc_call.h"

#include <stdlib.h>
#include <string.h>

#include "doors/grpc_methods.h"

#define NS_PER_S 1000000000ull

static void buffer_init(struct grpc_buffer *buffer)
{
    buffer->bytes = buffer->small;
    buffer->len = 0;
    buffer->size = GRPC_SMALL;
}

static void buffer_deinit(struct grpc_buffer *buffer)
{
    if (buffer->bytes != buffer->small)
        free(buffer->bytes);
    buffer_init(buffer);
}

static bool buffer_reserve(struct grpc_buffer *buffer, uint32_t size)
{
    if (size <= buffer->size)
        return true;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return false;
    memcpy(bytes, buffer->bytes, buffer->len);
    if (buffer->bytes != buffer->small)
        free(buffer->bytes);
    buffer->bytes = bytes;
    buffer->size = size;
    return true;
}

void grpc_call_init(struct grpc_call *call, int32_t stream_id)
{
    memset(call, 0, offsetof(struct grpc_call, in));
    call->stream_id = stream_id;
    call->http_status = 200;
    call->timeout_ns = UINT64_MAX;
    buffer_init(&call->in);
    buffer_init(&call->out);
    call->in_wanted = call->out_sent = 0;
}

void grpc_call_deinit(struct grpc_call *call)
{
    buffer_deinit(&call->in);
    buffer_deinit(&call->out);
}

void grpc_call_refuse(struct grpc_call *call, enum grpc_status status, const char *why)
{
    if (call->why)
        return;
    call->status = (uint8_t)status;
    call->why = why;
}

/* ---- headers ---- */

static bool is(struct grpc_text text, const char *what)
{
    return text.len == strlen(what) && memcmp(text.at, what, text.len) == 0;
}

static bool starts_with(struct grpc_text text, const char *what)
{
    return text.len >= strlen(what) && memcmp(text.at, what, strlen(what)) == 0;
}

bool grpc_parse_timeout(struct grpc_text text, uint64_t *ret_ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {{'H', 3600 * NS_PER_S}, {'M', 60 * NS_PER_S}, {'S', NS_PER_S},
                 {'m', 1000000},         {'u', 1000},          {'n', 1}};
    uint64_t number = 0;
    if (text.len < 2 || text.len > 9)
        return false;
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text.at[i] - '0');
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].unit != text.at[text.len - 1])
            continue;
        *ret_ns = number > UINT64_MAX / units[i].ns ? UINT64_MAX - 1 : number * units[i].ns;
        return true;
    }
    return false;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *text, uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

bool grpc_parse_trace(struct grpc_text text, struct grpc_call *call)
{
    static const uint8_t none[16] = {0};
    uint8_t version, flags, trace[16], parent[8];
    if (text.len < 55 || text.at[2] != '-' || text.at[35] != '-' || text.at[52] != '-' ||
        !read_hex(text.at, &version, 1) || !read_hex(text.at + 3, trace, 16) ||
        !read_hex(text.at + 36, parent, 8) || !read_hex(text.at + 53, &flags, 1))
        return false;
    if (version == 0xff || (version == 0 && text.len != 55) || memcmp(trace, none, 16) == 0 ||
        memcmp(parent, none, 8) == 0)
        return false;
    memcpy(call->trace_id, trace, 16);
    memcpy(call->parent_id, parent, 8);
    call->has_trace = true;
    call->is_sampled = flags & 1;
    return true;
}

static bool take_key(struct grpc_call *call, struct grpc_text key, struct grpc_text *ret_key)
{
    if (call->has_key || key.len == 0 || key.len > GRPC_MAX_KEY) {
        call->is_bad_key = true;
        return true;
    }
    call->has_key = true;
    *ret_key = key;
    return false;
}

static bool take_authorization(struct grpc_call *call, struct grpc_text value,
                               struct grpc_text *ret_key)
{
    if (!starts_with(value, "Bearer ") && !starts_with(value, "bearer ")) {
        call->is_bad_key = true;
        return true;
    }
    return take_key(call, (struct grpc_text){value.at + 7, value.len - 7}, ret_key);
}

/* "application/grpc", with "+proto" or parameters behind it. */
static bool is_grpc_type(struct grpc_text value)
{
    const struct grpc_text rest = {value.at + 16, value.len - 16};
    if (!starts_with(value, "application/grpc"))
        return false;
    return rest.len == 0 || *rest.at == ';' || is(rest, "+proto") || starts_with(rest, "+proto;");
}

bool grpc_call_take_header(struct grpc_call *call, struct grpc_text name, struct grpc_text value,
                           struct grpc_text *ret_key)
{
    call->header_bytes += (uint32_t)(name.len + value.len + 32);
    if (call->header_bytes > GRPC_MAX_HEADERS) {
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED, "the headers are above 8192 bytes");
        return true;
    }
    switch (name.len) { /* a length says which it can be: most headers are none of ours */
    case 5:
        if (is(name, ":path")) {
            call->has_method = true;
            call->method = grpc_methods_find(value);
        }
        break;
    case 7:
        if (is(name, ":method"))
            call->is_post = is(value, "POST");
        break;
    case 9:
        if (is(name, "x-api-key"))
            return take_key(call, value, ret_key);
        break;
    case 11:
        if (is(name, "traceparent"))
            grpc_parse_trace(value, call);
        break;
    case 12:
        if (is(name, "content-type")) {
            call->is_type_good = is_grpc_type(value) && !call->has_type;
            call->has_type = true;
        } else if (is(name, "grpc-timeout")) {
            call->is_bad_timeout |= !grpc_parse_timeout(value, &call->timeout_ns);
        }
        break;
    case 13:
        if (is(name, "authorization"))
            return take_authorization(call, value, ret_key);
        if (is(name, "grpc-encoding"))
            call->is_encoded = !is(value, "identity");
        break;
    }
    return true;
}

void grpc_call_judge_headers(struct grpc_call *call)
{
    if (!call->is_post)
        call->http_status = 405;
    else if (!call->is_type_good)
        call->http_status = 415;
    if (call->http_status != 200)
        grpc_call_refuse(call, GRPC_UNKNOWN, "this is no call of gRPC");
    else if (!call->method)
        grpc_call_refuse(call, GRPC_UNIMPLEMENTED, "there is no such method here");
    else if (call->is_encoded)
        grpc_call_refuse(call, GRPC_UNIMPLEMENTED, "messages are not compressed here");
    else if (call->is_bad_timeout)
        grpc_call_refuse(call, GRPC_INVALID_ARGUMENT, "grpc-timeout is no number with a unit");
    else if (call->is_bad_key)
        grpc_call_refuse(call, GRPC_UNAUTHENTICATED,
                         "one API key is needed: authorization: Bearer KEY, or x-api-key: KEY");
    else if (call->timeout_ns == 0)
        grpc_call_refuse(call, GRPC_DEADLINE_EXCEEDED, "there was no time for an answer");
}

/* ---- messages ---- */

/* The 5 bytes before a message. False: not all there yet, or refused. */
static bool take_prefix(struct grpc_call *call, const uint8_t **bytes, size_t *len)
{
    while (call->prefix_len < GRPC_PREFIX && *len) {
        call->prefix[call->prefix_len++] = *(*bytes)++;
        --*len;
    }
    if (call->prefix_len < GRPC_PREFIX)
        return false;
    const uint8_t *prefix = call->prefix;
    const uint32_t wanted = (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 |
                            (uint32_t)prefix[3] << 8 | prefix[4];
    if (prefix[0] == 1)
        grpc_call_refuse(call, GRPC_INTERNAL, "a message is compressed, though no header says so");
    else if (prefix[0])
        grpc_call_refuse(call, GRPC_INTERNAL, "a message begins with flags that there are not");
    else if (wanted > GRPC_MAX_MESSAGE)
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED, "a message is above 16384 bytes");
    else if (!buffer_reserve(&call->in, wanted))
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED, "no memory for the message");
    call->in_wanted = wanted;
    return !call->why;
}

int grpc_call_take_data(struct grpc_call *call, const uint8_t **bytes, size_t *len)
{
    if (call->why || *len == 0)
        return 0;
    if (call->prefix_len == GRPC_PREFIX && call->in.len == call->in_wanted) {
        call->prefix_len = 0; /* the one before is done with */
        call->in.len = 0;
    }
    if (call->prefix_len < GRPC_PREFIX && !take_prefix(call, bytes, len))
        return 0;
    const uint32_t missing = call->in_wanted - call->in.len;
    const uint32_t part = *len < missing ? (uint32_t)*len : missing;
    memcpy(call->in.bytes + call->in.len, *bytes, part);
    call->in.len += part;
    *bytes += part;
    *len -= part;
    if (call->in.len < call->in_wanted)
        return 0;
    call->message_count++;
    return 1;
}

void grpc_call_end(struct grpc_call *call)
{
    const bool is_whole = call->prefix_len == GRPC_PREFIX && call->in.len == call->in_wanted;
    call->has_ended = true;
    if (call->prefix_len && !is_whole)
        grpc_call_refuse(call, GRPC_INTERNAL, "the last message is not whole");
    else if (call->method && !call->method->is_stream && call->message_count != 1)
        grpc_call_refuse(call, GRPC_INTERNAL, "this call takes one message");
}

uint8_t *grpc_call_put(struct grpc_call *call, uint32_t len)
{
    struct grpc_buffer *out = &call->out;
    if (call->out_sent == out->len)
        call->out_sent = out->len = 0;
    if (out->len + GRPC_PREFIX + len > GRPC_MAX_OUT)
        return NULL;
    if (out->len + GRPC_PREFIX + len > out->size) {
        uint32_t size = 2 * out->size;
        while (size < out->len + GRPC_PREFIX + len)
            size *= 2;
        if (!buffer_reserve(out, size))
            return NULL;
    }
    uint8_t *at = out->bytes + out->len;
    at[0] = 0;
    for (unsigned i = 0; i < 4; i++)
        at[1 + i] = (uint8_t)(len >> (24 - 8 * i));
    out->len += GRPC_PREFIX + len;
    return at + GRPC_PREFIX;
}
