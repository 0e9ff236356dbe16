/* HTTP answers into a buffer of fixed size. What does not fit marks the buffer as overflown instead
 * of being written in part; who fills it asks once, at the end. Pure. Any thread. */
#ifndef METE_DOORS_HTTP_WRITE_H
#define METE_DOORS_HTTP_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_out {
    char *bytes;
    size_t size, len;
    bool has_overflown;
};

void http_put(struct http_out *out, const void *bytes, size_t len);
void http_print(struct http_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A JSON string with its quotes. Bytes that are no UTF-8 are shown as U+FFFD. */
void http_put_json(struct http_out *out, const char *text, size_t len);

/* Microseconds, rounded up; null for UINT64_MAX. */
void http_put_us(struct http_out *out, uint64_t ns);

/* "OK", "Too Many Requests", ...; of a status that is not known the class. */
const char *http_reason(unsigned status);

/* A whole answer: status line, Date is left out (RFC 9110, 6.6.1: no clock is asked for), the
 * headers given as lines, Content-Type if there is one, Content-Length, Connection, body. Of an
 * answer to HEAD the body is only counted. */
struct http_answer {
    unsigned status;
    const struct http_out *headers; /* lines with their CR LF, or NULL */
    const char *type;               /* or NULL */
    const char *body;
    size_t body_len;
    bool closes;
    bool is_head;
};
void http_put_answer(struct http_out *out, const struct http_answer *answer);

#endif
