/* Bytes from outside made fit to be shown: a log line may hold anything, escape sequences that
 * terminals obey and broken UTF-8 included. UTF-8 as of RFC 3629: shortest forms only, no
 * surrogates, up to U+10FFFF; the C1 controls U+0080 to U+009F count as controls. Any thread. */
#include "cmd/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Bytes of the UTF-8 sequence at text, 0 if it is none; *ret_code is its code point. */
static size_t decode(const char *text, size_t len, uint32_t *ret_code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char first = (unsigned char)text[0];
    const size_t count = first < 0x80             ? 1
                         : (first & 0xe0) == 0xc0 ? 2
                         : (first & 0xf0) == 0xe0 ? 3
                         : (first & 0xf8) == 0xf0 ? 4
                                                  : 0;
    if (count == 0 || count > len)
        return 0;
    uint32_t code = count == 1 ? first : first & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) {
        const unsigned char next = (unsigned char)text[i];
        if ((next & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (next & 0x3fu);
    }
    if (code < smallest[count] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return count;
}

static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

void printable_format(const char *text, size_t len, char *buffer, size_t size)
{
    const size_t room = size - sizeof("...");
    size_t used = 0;
    size_t at = 0;

    while (at < len) {
        char piece[8];
        uint32_t code = 0;
        size_t count = decode(text + at, len - at, &code);
        size_t piece_len = count;
        if (count == 0 || is_control(code)) {
            piece_len = (size_t)snprintf(piece, sizeof(piece), "\\x%02x", (unsigned char)text[at]);
            count = 1;
        } else {
            memcpy(piece, text + at, count);
        }
        if (used + piece_len > room)
            break;
        memcpy(buffer + used, piece, piece_len);
        used += piece_len;
        at += count;
    }
    snprintf(buffer + used, size - used, "%s", at < len ? "..." : "");
}

void printable_print_json(const char *text, size_t len, FILE *out)
{
    fputc('"', out);
    for (size_t at = 0; at < len;) {
        uint32_t code = 0;
        const size_t count = decode(text + at, len - at, &code);
        if (count == 0)
            fputs("\\ufffd", out);
        else if (is_control(code))
            fprintf(out, "\\u%04x", (unsigned)code);
        else if (code == '"' || code == '\\')
            fprintf(out, "\\%c", (char)code);
        else
            fwrite(text + at, 1, count, out);
        at += count == 0 ? 1 : count;
    }
    fputc('"', out);
}

void printable_print_field(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    if (text)
        printable_print_json(text, strlen(text), stdout);
    else
        printf("null");
    printf(", ");
}
