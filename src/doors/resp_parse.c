#include "doors/resp_parse.h"

#include <stdbool.h>
#include <string.h>

struct reader {
    const uint8_t *bytes;
    size_t len, at;
    const char *error;
};

static enum resp_parse_result broken(struct reader *reader, const char *error)
{
    reader->error = error;
    return RESP_BROKEN;
}

/* A number of digits up to most, and CRLF behind it. */
static enum resp_parse_result read_number(struct reader *reader, size_t most, const char *too_much,
                                          size_t *ret_number)
{
    size_t number = 0, at = reader->at;
    for (; at < reader->len && reader->bytes[at] != '\r'; at++) {
        const uint8_t digit = (uint8_t)(reader->bytes[at] - '0');
        if (digit > 9)
            return broken(reader, "Protocol error: a length is not a number");
        number = number * 10 + digit;
        if (number > most)
            return broken(reader, too_much);
        if (at - reader->at > 16)
            return broken(reader, "Protocol error: a length has too many digits");
    }
    if (at + 2 > reader->len)
        return RESP_HALF;
    if (at == reader->at || reader->bytes[at + 1] != '\n')
        return broken(reader, "Protocol error: a length is not a number and CRLF");
    reader->at = at + 2;
    *ret_number = number;
    return RESP_WHOLE;
}

static enum resp_parse_result read_bulk(struct reader *reader, struct resp_word *ret_word)
{
    size_t len = 0;
    if (reader->at == reader->len)
        return RESP_HALF;
    if (reader->bytes[reader->at] == '*')
        return broken(reader, "Protocol error: an array inside of a command; send bulk strings");
    if (reader->bytes[reader->at] != '$')
        return broken(reader, "Protocol error: a command is an array of bulk strings ('$')");
    reader->at++;
    enum resp_parse_result result = read_number(
        reader, RESP_MAX_BULK, "Protocol error: a bulk string is above 4096 bytes", &len);
    if (result != RESP_WHOLE)
        return result;
    if (reader->len - reader->at < len + 2)
        return RESP_HALF;
    if (memcmp(reader->bytes + reader->at + len, "\r\n", 2) != 0)
        return broken(reader, "Protocol error: no CRLF behind a bulk string");
    *ret_word = (struct resp_word){.bytes = reader->bytes + reader->at, .len = len};
    reader->at += len + 2;
    return RESP_WHOLE;
}

static enum resp_parse_result read_array(struct reader *reader, struct resp_command *command)
{
    size_t count = 0;
    reader->at = 1;
    enum resp_parse_result result = read_number(
        reader, RESP_MAX_WORDS, "Protocol error: a command has at most 64 words", &count);
    for (size_t i = 0; result == RESP_WHOLE && i < count; i++)
        result = read_bulk(reader, &command->words[i]);
    if (result == RESP_WHOLE)
        command->count = (unsigned)count;
    return result;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static enum resp_parse_result read_inline(struct reader *reader, struct resp_command *command)
{
    const uint8_t *newline = memchr(reader->bytes, '\n', reader->len);
    if (!newline)
        return RESP_HALF;
    reader->at = (size_t)(newline - reader->bytes) + 1;
    size_t end = reader->at - 1;
    if (end > 0 && reader->bytes[end - 1] == '\r')
        end--;
    for (size_t at = 0; at < end;) {
        const uint8_t quote = reader->bytes[at];
        if (is_blank(quote)) {
            at++;
            continue;
        }
        if (command->count == RESP_MAX_WORDS)
            return broken(reader, "Protocol error: a command has at most 64 words");
        const bool is_quoted = quote == '"' || quote == '\'';
        const size_t start = at + is_quoted;
        for (at = start;
             at < end && (is_quoted ? reader->bytes[at] != quote : !is_blank(reader->bytes[at]));)
            at++;
        if (is_quoted && at == end)
            return broken(reader, "Protocol error: a quote has no end");
        if (at - start > RESP_MAX_BULK)
            return broken(reader, "Protocol error: a word is above 4096 bytes");
        command->words[command->count++] =
            (struct resp_word){.bytes = reader->bytes + start, .len = at - start};
        at += is_quoted;
    }
    return RESP_WHOLE;
}

enum resp_parse_result resp_parse(const uint8_t *bytes, size_t len,
                                  struct resp_command *ret_command, size_t *ret_used)
{
    struct reader reader = {
        .bytes = bytes,
        .len = len < RESP_MAX_COMMAND ? len : RESP_MAX_COMMAND,
    };
    ret_command->count = 0;
    ret_command->error = NULL;
    if (len == 0)
        return RESP_HALF;
    enum resp_parse_result result =
        bytes[0] == '*' ? read_array(&reader, ret_command) : read_inline(&reader, ret_command);
    if (result == RESP_HALF && len >= RESP_MAX_COMMAND)
        result = broken(&reader, "Protocol error: a command is above 16000 bytes");
    if (result == RESP_WHOLE)
        *ret_used = reader.at;
    ret_command->error = reader.error;
    return result;
}
