#include "doors/resp_write.h"

#include <string.h>

#include "doors/loop.h"

#define ERROR_BYTES 200u

/* Digit by digit: six of these make an answer, and printf() would take most of its time. */
static void put_head(struct loop_output *out, char kind, int64_t number)
{
    char text[RESP_VALUE_BYTES];
    size_t at = sizeof(text);
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    text[--at] = '\n';
    text[--at] = '\r';
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0)
        text[--at] = '-';
    text[--at] = kind;
    loop_put(out, text + at, sizeof(text) - at);
}

void resp_write_array(struct loop_output *out, size_t count)
{
    put_head(out, '*', (int64_t)count);
}

void resp_write_map(struct loop_output *out, unsigned protocol, size_t pairs)
{
    if (protocol == 3)
        put_head(out, '%', (int64_t)pairs);
    else
        put_head(out, '*', (int64_t)pairs * 2);
}

void resp_write_integer(struct loop_output *out, int64_t number)
{
    put_head(out, ':', number);
}

void resp_write_bulk(struct loop_output *out, const void *bytes, size_t len)
{
    put_head(out, '$', (int64_t)len);
    loop_put(out, bytes, len);
    loop_put(out, "\r\n", 2);
}

void resp_write_text(struct loop_output *out, const char *text)
{
    resp_write_bulk(out, text, strlen(text));
}

void resp_write_null(struct loop_output *out, unsigned protocol)
{
    if (protocol == 3)
        loop_put(out, "_\r\n", 3);
    else
        loop_put(out, "$-1\r\n", 5);
}

void resp_write_simple(struct loop_output *out, const char *text)
{
    loop_put(out, "+", 1);
    loop_put(out, text, strlen(text));
    loop_put(out, "\r\n", 2);
}

void resp_write_error(struct loop_output *out, const char *text)
{
    char line[ERROR_BYTES + 3] = "-";
    size_t len = 1;
    for (; text[len - 1] && len <= ERROR_BYTES; len++)
        line[len] = text[len - 1] >= 0x20 && text[len - 1] < 0x7f ? text[len - 1] : '?';
    line[len++] = '\r';
    line[len++] = '\n';
    loop_put(out, line, len);
}
