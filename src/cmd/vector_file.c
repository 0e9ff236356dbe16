/* Files of golden datagrams: see vector_file.h. */
#include "cmd/vector_file.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void vector_fail(struct vector *vector, const char *field, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("%s: %s: ", vector->path, field);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
    vector->failed = true;
}

int vector_parse_hex(const char *text, uint8_t *ret_bytes, size_t size)
{
    size_t len = 0;
    return sodium_hex2bin(ret_bytes, size, text, strlen(text), " ", &len, NULL) ? -1 : (int)len;
}

const char *vector_find(const struct vector *vector, const char *key)
{
    for (size_t i = 0; i < vector->count; i++)
        if (strcmp(vector->lines[i].key, key) == 0)
            return vector->lines[i].value;
    return "";
}

void vector_expect(struct vector *vector, const char *key, const char *format, ...)
{
    char value[MAX_FIELD_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof(value), format, arguments);
    va_end(arguments);
    if (vector->next == vector->count) {
        vector_fail(vector, key, "the file has no such line; decoded '%s'", value);
        return;
    }
    const struct line *line = &vector->lines[vector->next++];
    if (strcmp(line->key, key) != 0)
        vector_fail(vector, key, "the file has '%s' here", line->key);
    else if (strcmp(line->value, value) != 0)
        vector_fail(vector, key, "expected '%s', decoded '%s'", line->value, value);
}

void vector_expect_end(struct vector *vector)
{
    if (vector->next < vector->count)
        vector_fail(vector, vector->lines[vector->next].key,
                    "nothing of the datagram is left for this line");
}

void vector_expect_bytes(struct vector *vector, const uint8_t *bytes, size_t len)
{
    if (len != vector->len) {
        vector_fail(vector, "hex", "expected %zu bytes, encoded %zu", vector->len, len);
        return;
    }
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != vector->bytes[i]) {
            vector_fail(vector, "hex", "expected %02x at byte %zu, encoded %02x", vector->bytes[i],
                        i, bytes[i]);
            return;
        }
}

/* 0, or a negative errno. */
static int read_text(const char *path, char *ret_text, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    size_t len = fread(ret_text, 1, size, file);
    int error = ferror(file) ? -EIO : len == size ? -EFBIG : 0;
    fclose(file);
    if (error)
        return error;
    ret_text[len] = '\0';
    return 0;
}

/* Splits the text into lines of key and value, and bytes. */
static void parse_lines(struct vector *vector)
{
    char *rest = vector->text;
    for (char *text; (text = strsep(&rest, "\n"));) {
        text[strcspn(text, "#")] = '\0';
        for (size_t len = strlen(text); len && strchr(" \r\t", text[len - 1]);)
            text[--len] = '\0';
        if (!*text)
            continue;
        char *value = strchr(text, ':');
        if (!value || vector->count == MAX_LINES) {
            vector_fail(vector, text, "not 'key: value', or a line too many");
            return;
        }
        *value++ = '\0';
        value += strspn(value, " ");
        if (strcmp(text, "hex") != 0) {
            vector->lines[vector->count++] = (struct line){text, value};
            continue;
        }
        int len =
            vector_parse_hex(value, vector->bytes + vector->len, MAX_DATAGRAM_BYTES - vector->len);
        if (len < 0) {
            vector_fail(vector, "hex", "'%s' is not hexadecimal, or too much of it", value);
            return;
        }
        vector->len += (size_t)len;
    }
}

static void skip_preamble(struct vector *vector)
{
    static const char preamble[] = " kind case answer request request_tag mac_key secret boot_id ";
    char key[32];
    for (; vector->next < vector->count; vector->next++) {
        snprintf(key, sizeof(key), " %s ", vector->lines[vector->next].key);
        if (!strstr(preamble, key))
            return;
    }
}

int vector_load(struct vector *vector, const char *path)
{
    memset(vector, 0, sizeof(*vector));
    vector->path = path;
    int error = read_text(path, vector->text, sizeof(vector->text));
    if (error)
        return error;
    parse_lines(vector);
    skip_preamble(vector);
    return 0;
}
