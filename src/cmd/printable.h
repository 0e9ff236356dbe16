/* Bytes from outside made fit to be shown. */
#ifndef METE_CMD_PRINTABLE_H
#define METE_CMD_PRINTABLE_H

#include <stddef.h>
#include <stdio.h>

/* Text for a terminal, in buffer of size (at least 8): control bytes and what is not UTF-8 become
 * \xNN; if not all of it fits it ends with "...". Terminated. */
void printable_format(const char *text, size_t len, char *buffer, size_t size);

/* A JSON string with its quotes. What is not UTF-8 becomes U+FFFD, byte by byte. */
void printable_print_json(const char *text, size_t len, FILE *out);

/* "name": "text" or null, and a comma, to stdout: a field of an object that goes on. */
void printable_print_field(const char *name, const char *text);

#endif
