/* What an HTTP request asks for: from a JSON body, or from a query. Strict: a field that is not
 * known is refused by its name, and a number that is not meant is never made into another.
 *
 * http_ask.c is the only file of the doors that knows jansson, which takes memory while it reads
 * (at most some hundred times the body) and gives it back with http_ask_release(). Any thread. */
#ifndef METE_DOORS_HTTP_ASK_H
#define METE_DOORS_HTTP_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "doors/http_parse.h"

#define HTTP_MAX_CHECKS 64u
#define HTTP_MAX_SUBJECT 1024u

struct http_item {
    struct http_text rule;
    struct http_text subject; /* any bytes */
    uint32_t cost;            /* 1 if nothing was said */
    uint64_t lease;           /* if ask->has_lease and not lacks_lease */
};

struct http_ask {
    struct http_item items[HTTP_MAX_CHECKS];
    unsigned count;
    bool is_list;        /* {"checks": [...]}, though it may hold one */
    bool is_atomic;      /* all or none is charged */
    bool denies_by_403;  /* ?deny=403 */
    struct http_text by; /* the header that has the subject; len 0: the subject is there */
    bool has_lease;      /* it is about one */
    bool lacks_lease;    /* but does not say which */
    void *root;          /* what the texts point into */
    char decoded[HTTP_MAX_SUBJECT + 256];
    char error[256]; /* one line: which field, what would be right */
};

/* {rule, subject, cost?} or {checks: [{rule, subject, cost?}, ...], atomic?}; about a lease {rule,
 * subject, cost?, lease?}, the lease as up to 16 hex digits (a number would lose some in many a
 * reader of JSON). Result: 0, or -EINVAL or -ENOMEM with ask->error. After 0 the ask needs
 * http_ask_release().
 */
int http_ask_read_json(struct http_text body, bool has_lease, struct http_ask *ask);

/* rule=, subject= or by=, cost=, deny=403, each at most once, then path= with whatever is behind
 * it: some proxies append the path of the request. Results as above. */
int http_ask_read_query(struct http_text query, struct http_ask *ask);

void http_ask_release(struct http_ask *ask);

#endif
