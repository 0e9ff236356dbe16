/* The gRPC door under load: mete.v1.Limiter/Check, or with --ask "DOMAIN KEY={}" Envoy's
 * ShouldRateLimit of any server.
 *
 * The first call of a connection fills the table of header compression, so that those after it need
 * one byte for each header, as gRPC's clients have it. Two places of a request hold its stream.
 * What is heard is whole frames; an answer ends with its trailers, and the message stands before
 * them. Answers must come in the order of the calls; mete's do. The window for answers is given
 * once: enough for some 40 million on a connection. */
#include <stdio.h>
#include <string.h>

#include "cmd/bench.h"
#include "cmd/bench_door.h"

enum { DATA, HEADERS, SETTINGS = 4, GOAWAY = 7, WINDOW_UPDATE = 8 };

#define END_STREAM 1u
#define END_HEADERS 4u
#define HEAD 9u
#define PREFIX 5u
#define MOST_TEXT 100u /* of a path, rule, domain, key: one byte holds a length */

static bool put(struct door_request *request, const void *bytes, size_t len)
{
    if (len > sizeof(request->bytes) - request->len)
        return false;
    memcpy(request->bytes + request->len, bytes, len);
    request->len += len;
    return true;
}

static void write_stream(uint8_t *head, uint32_t stream)
{
    for (unsigned i = 0; i < 4; i++)
        head[5 + i] = (uint8_t)(stream >> (24 - 8 * i));
}

static bool put_frame(struct door_request *request, uint8_t type, uint8_t flags,
                      const struct door_request *payload)
{
    uint8_t head[HEAD] = {0, (uint8_t)(payload->len >> 8), (uint8_t)payload->len, type, flags};
    if (type == DATA || type == HEADERS)
        write_stream(head, 1);
    return put(request, head, HEAD) && put(request, payload->bytes, payload->len);
}

/* ---- headers ---- */

static const char *path_of(const struct door_words *words)
{
    return words->ask ? "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
                      : "/mete.v1.Limiter/Check";
}

/* A header that the table keeps: of a name by its number, or of one that is written. */
static bool put_literal(struct door_request *block, uint8_t index, const char *name,
                        const char *value)
{
    const uint8_t first = 0x40 | index, name_len = (uint8_t)strlen(name),
                  value_len = (uint8_t)strlen(value);
    return strlen(value) <= MOST_TEXT && put(block, &first, 1) &&
           (index || (put(block, &name_len, 1) && put(block, name, name_len))) &&
           put(block, &value_len, 1) && put(block, value, value_len);
}

static bool put_first_headers(const struct door_words *words, struct door_request *block)
{
    static const uint8_t post_http[] = {0x83, 0x86};
    const char *key = words->key ? words->key : "";
    return put(block, post_http, 2) && put_literal(block, 4, "", path_of(words)) &&
           put_literal(block, 1, "", "bench") && put_literal(block, 31, "", "application/grpc") &&
           put_literal(block, 0, "te", "trailers") &&
           (!*key || put_literal(block, 0, "x-api-key", key));
}

/* The same by their places in the table: the last that was kept is 62. */
static bool put_headers(const struct door_words *words, struct door_request *block)
{
    static const uint8_t without[] = {0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe};
    static const uint8_t with[] = {0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe};
    return words->key ? put(block, with, sizeof(with)) : put(block, without, sizeof(without));
}

/* ---- messages ---- */

static bool put_field(struct door_request *message, uint8_t number, const void *bytes, size_t len)
{
    const uint8_t head[2] = {(uint8_t)(number << 3 | 2), (uint8_t)len};
    return len <= MOST_TEXT && put(message, head, 2) && put(message, bytes, len);
}

/* "DOMAIN KEY={}": one descriptor. */
static bool put_envoy(const char *text, struct door_request *message)
{
    static const char subject[DOOR_SUBJECT_BYTES + 1] = "----------------";
    struct door_request entry = {.len = 0}, descriptor = {.len = 0};
    const char *blank = strchr(text, ' '), *equals = blank ? strchr(blank, '=') : NULL;
    if (!equals || strcmp(equals, "={}") != 0)
        return false;
    const bool fits = put_field(&entry, 1, blank + 1, (size_t)(equals - blank) - 1) &&
                      put_field(&entry, 2, subject, DOOR_SUBJECT_BYTES) &&
                      put_field(&descriptor, 1, entry.bytes, entry.len) &&
                      put_field(message, 1, text, (size_t)(blank - text)) &&
                      put_field(message, 2, descriptor.bytes, descriptor.len);
    message->subject_at = message->len - DOOR_SUBJECT_BYTES; /* what was put last */
    return fits;
}

static bool put_check(const struct door_words *words, struct door_request *message)
{
    static const char subject[DOOR_SUBJECT_BYTES + 1] = "----------------";
    bool fits = put_field(message, 2, words->rule, strlen(words->rule)) &&
                put_field(message, 3, subject, DOOR_SUBJECT_BYTES);
    message->subject_at = message->len - DOOR_SUBJECT_BYTES;
    uint8_t cost[6] = {6 << 3};
    size_t len = 1;
    for (uint32_t left = words->cost;; left >>= 7) {
        cost[len++] = (uint8_t)(left & 0x7f) | (left > 0x7f ? 0x80 : 0);
        if (left <= 0x7f)
            break;
    }
    return fits && put(message, cost, len);
}

static bool put_call(const struct door_words *words, const struct door_request *block,
                     struct door_request *request)
{
    struct door_request message = {.len = 0}, data = {.len = 0};
    const bool fits = words->ask ? put_envoy(words->ask, &message) : put_check(words, &message);
    const uint8_t prefix[PREFIX] = {0, 0, 0, 0, (uint8_t)message.len};
    if (!fits || message.len > UINT8_MAX || !put(&data, prefix, PREFIX) ||
        !put(&data, message.bytes, message.len) || !put_frame(request, HEADERS, END_HEADERS, block))
        return false;
    request->subject_at = request->len + HEAD + PREFIX + message.subject_at;
    return put_frame(request, DATA, END_STREAM, &data);
}

static bool begin(const struct door_words *words, struct door_request *ret_request)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const struct door_request settings = {.bytes = {0, 4, 0x7f, 0xff, 0xff, 0xff}, .len = 6};
    const struct door_request window = {.bytes = {0x7f, 0xff, 0, 0}, .len = 4};
    struct door_request block = {.len = 0};
    struct door_words first = *words;
    first.cost = 0; /* takes nothing */
    *ret_request = (struct door_request){.len = 0};
    return put(ret_request, preface, sizeof(preface) - 1) &&
           put_frame(ret_request, SETTINGS, 0, &settings) &&
           put_frame(ret_request, WINDOW_UPDATE, 0, &window) && put_first_headers(words, &block) &&
           put_call(&first, &block, ret_request);
}

static void number(uint8_t *bytes, uint64_t position)
{
    const uint32_t stream = (uint32_t)(2 * position + 3);
    write_stream(bytes, stream);
    write_stream(bytes + HEAD + bytes[2], stream); /* the block is below 256 bytes */
}

static bool ask(const struct door_words *words, struct door_request *ret_request)
{
    struct door_request block = {.len = 0};
    *ret_request = (struct door_request){.len = 0};
    if (!put_headers(words, &block) || !put_call(words, &block, ret_request))
        return false;
    number(ret_request->bytes, 0);
    return true;
}

/* ---- answers ---- */

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_number)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        const uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_number = value;
            return true;
        }
    }
    return false;
}

/* google.protobuf.Duration. */
static uint64_t read_duration(const uint8_t *at, const uint8_t *end)
{
    uint64_t tag, value, ns = 0;
    while (read_varint(&at, end, &tag) && read_varint(&at, end, &value))
        ns += tag >> 3 == 1 ? value * 1000000000u : value;
    return ns;
}

/* Fields of a Verdict, or of a RateLimitResponse the overall code. */
static bool read_message(const struct door_words *words, const uint8_t *at, const uint8_t *end,
                         struct door_answer *answer)
{
    uint64_t tag, value;
    while (at < end) {
        if (!read_varint(&at, end, &tag) || !read_varint(&at, end, &value))
            return false;
        const uint8_t *inside = at;
        if ((tag & 7) == 2 && value > (uint64_t)(end - at))
            return false;
        if ((tag & 7) == 2)
            at += value;
        if (words->ask)
            answer->is_allowed |= tag == (1 << 3) && value == 1; /* OK */
        else if (tag == (1 << 3))
            answer->is_allowed = value;
        else if (tag == (3 << 3))
            answer->remaining = (uint32_t)value;
        else if (tag == (6 << 3 | 2))
            answer->reset_after_ns = read_duration(inside, at);
        else if (tag == (11 << 3 | 2))
            answer->status = METE_STATUS_TABLE_FULL;
    }
    return true;
}

static enum door_heard hear(const struct door_words *words, const uint8_t *bytes, size_t len,
                            size_t *ret_used, struct door_answer *ret_answer)
{
    bool has_message = false;
    size_t at = 0;
    *ret_answer = (struct door_answer){.status = METE_STATUS_OK};
    while (len - at >= HEAD) {
        const uint8_t *head = bytes + at, *payload = head + HEAD;
        const size_t size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (head[3] > WINDOW_UPDATE || head[3] == GOAWAY || size > 16384)
            return DOOR_BROKEN;
        if (len - at < HEAD + size)
            break;
        at += HEAD + size;
        if (head[3] == DATA) {
            if (size < PREFIX || !read_message(words, payload + PREFIX, payload + size, ret_answer))
                return DOOR_BROKEN;
            has_message = true;
        }
        if (head[3] != HEADERS || !(head[4] & END_STREAM))
            continue;
        if (!has_message && words->rule) /* a status alone: refused */
            ret_answer->status = METE_STATUS_COUNT;
        *ret_used = at;
        return DOOR_WHOLE;
    }
    return DOOR_HALF;
}

const struct bench_door bench_door_grpc = {
    .name = "grpc",
    .server = "127.0.0.1:6386",
    .begin = begin,
    .ask = ask,
    .number = number,
    .hear = hear,
};
