#include "doors/http_write.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void http_put(struct http_out *out, const void *bytes, size_t len)
{
    if (out->has_overflown || len > out->size - out->len) {
        out->has_overflown = true;
        return;
    }
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

void http_print(struct http_out *out, const char *format, ...)
{
    va_list arguments;
    size_t room = out->size - out->len;
    if (out->has_overflown)
        return;
    va_start(arguments, format);
    int len = vsnprintf(out->bytes + out->len, room, format, arguments);
    va_end(arguments);
    if (len < 0 || (size_t)len >= room)
        out->has_overflown = true;
    else
        out->len += (size_t)len;
}

/* How many bytes the UTF-8 sequence at text has; 0: it is none (RFC 3629). */
static size_t sequence_len(const unsigned char *text, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t count = text[0] < 0x80             ? 1
                   : (text[0] & 0xe0) == 0xc0 ? 2
                   : (text[0] & 0xf0) == 0xe0 ? 3
                   : (text[0] & 0xf8) == 0xf0 ? 4
                                              : 0;
    if (count == 0 || count > len)
        return 0;
    uint32_t code = count == 1 ? text[0] : text[0] & (0xffu >> (count + 1));
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3fu);
    }
    bool is_good = code >= least[count] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return is_good ? count : 0;
}

void http_put_json(struct http_out *out, const char *text, size_t len)
{
    http_put(out, "\"", 1);
    for (size_t i = 0; i < len;) {
        size_t count = sequence_len((const unsigned char *)text + i, len - i);
        unsigned char byte = (unsigned char)text[i];
        if (count == 0)
            http_put(out, "\\ufffd", 6);
        else if (byte == '"' || byte == '\\')
            http_print(out, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            http_print(out, "\\u%04x", byte);
        else
            http_put(out, text + i, count);
        i += count ? count : 1;
    }
    http_put(out, "\"", 1);
}

void http_put_us(struct http_out *out, uint64_t ns)
{
    if (ns == UINT64_MAX)
        http_put(out, "null", 4);
    else
        http_print(out, "%" PRIu64, ns / 1000 + (ns % 1000 != 0));
}

const char *http_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } REASONS[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(REASONS) / sizeof(REASONS[0]); i++)
        if (REASONS[i].status == status)
            return REASONS[i].reason;
    return status < 500 ? "Refused" : "Internal Server Error";
}

void http_put_answer(struct http_out *out, const struct http_answer *answer)
{
    http_print(out, "HTTP/1.1 %u %s\r\n", answer->status, http_reason(answer->status));
    if (answer->headers)
        http_put(out, answer->headers->bytes, answer->headers->len);
    if (answer->headers && answer->headers->has_overflown)
        out->has_overflown = true;
    if (answer->type)
        http_print(out, "Content-Type: %s\r\n", answer->type);
    http_print(out, "Content-Length: %zu\r\n%s\r\n", answer->body_len,
               answer->closes ? "Connection: close\r\n" : "");
    if (!answer->is_head)
        http_put(out, answer->body, answer->body_len);
}
