/* HTTP/1.1 requests from bytes (RFC 9110 and 9112), for what a limiter needs and no more.
 *
 * Strict where leniency lets two readers of one stream disagree about where a request ends: lines
 * end in CR LF, there is no folding and no space before a colon, one Host, one Content-Length of
 * digits alone, never beside a Transfer-Encoding. Bodies have a length (chunked ones are refused by
 * 411). What is refused closes the connection: nothing behind it is believed.
 *
 * A request is parsed from its first byte each time until it is whole; its size is bounded, and
 * nothing is copied. Pure. Any thread. */
#ifndef METE_DOORS_HTTP_PARSE_H
#define METE_DOORS_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_MAX_HEAD 8192u /* request line and headers */
#define HTTP_MAX_HEADERS 64u
#define HTTP_MAX_BODY 8192u
#define HTTP_MAX_REQUEST (HTTP_MAX_HEAD + HTTP_MAX_BODY)

struct http_text { /* a part of the bytes that were given */
    const char *at;
    size_t len;
};

struct http_header {
    struct http_text name, value; /* value without space around it */
};

struct http_request {
    struct http_text method;
    struct http_text path;  /* as sent, without the query */
    struct http_text query; /* without the question mark; at is NULL if there is none */
    struct http_header headers[HTTP_MAX_HEADERS];
    unsigned header_count;
    struct http_text body;
    bool keeps_alive; /* the connection may carry another request */
    /* of a refused one */
    unsigned status; /* to answer by, 400 and up */
    const char *why;
};

enum http_parsed {
    HTTP_MORE,    /* no whole request is there yet */
    HTTP_WHOLE,   /* *ret_used bytes were one */
    HTTP_REFUSED, /* answer by status and why, then close */
};

/* Results: every enum http_parsed. */
enum http_parsed http_parse(const char *bytes, size_t len, struct http_request *ret_request,
                            size_t *ret_used);

bool http_is(struct http_text text, const char *word);
/* Without regard to case. */
bool http_is_like(struct http_text text, const char *word);

enum http_found { HTTP_ABSENT, HTTP_FOUND, HTTP_TWICE };
/* The value of a header that may stand once; *ret_value is the first. Results: every enum
 * http_found. */
enum http_found http_find(const struct http_request *request, const char *name,
                          struct http_text *ret_value);

/* The next `name=value` of a query, still encoded; false: there is none. */
bool http_next_parameter(struct http_text *query, struct http_text *ret_name,
                         struct http_text *ret_value);

/* Undoes %XX, and + for a space, into at most size bytes. Result: how many, or -1: a % without two
 * hex digits, or too long. */
long http_decode(struct http_text text, char *ret_bytes, size_t size);

#endif
