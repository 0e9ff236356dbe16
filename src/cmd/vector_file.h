/* A golden datagram in a file: parsed into fields and bytes, and what a decoder found compared with
 * them in the order of the file. proto-spec/vectors/README.md describes the format. One thread. */
#ifndef METE_CMD_VECTOR_FILE_H
#define METE_CMD_VECTOR_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_FILE_BYTES 65536u
#define MAX_LINES 256u
#define MAX_DATAGRAM_BYTES 2048u
#define MAX_FIELD_BYTES 4096u

struct line {
    const char *key;
    const char *value;
};

struct vector { /* one file */
    const char *path;
    char text[MAX_FILE_BYTES];
    struct line lines[MAX_LINES]; /* all but hex */
    size_t count;
    size_t next; /* the field that is compared next */
    uint8_t bytes[MAX_DATAGRAM_BYTES];
    size_t len;
    bool failed;
};

/* Reads and splits a file. 0, with vector->failed and a line on stdout if it is not of the format,
 * or a negative errno. */
int vector_load(struct vector *vector, const char *path);

/* One line on stdout, "FILE: FIELD: ...", and the vector has failed. */
void vector_fail(struct vector *vector, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The next field of the file must be `key` and say what is formatted. */
void vector_expect(struct vector *vector, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* No field is left. */
void vector_expect_end(struct vector *vector);

/* The bytes of the file are these. */
void vector_expect_bytes(struct vector *vector, const uint8_t *bytes, size_t len);

/* The value of the first line with that key, or "". */
const char *vector_find(const struct vector *vector, const char *key);

/* Hexadecimal digits, blanks between bytes allowed. Bytes written, or -1. */
int vector_parse_hex(const char *text, uint8_t *ret_bytes, size_t size);

#endif
