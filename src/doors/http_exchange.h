/* One HTTP request under way: what every path of the door needs to answer it. Only the files that
 * serve paths include this. The doors' thread. */
#ifndef METE_DOORS_HTTP_EXCHANGE_H
#define METE_DOORS_HTTP_EXCHANGE_H

#include "doors/http_check.h"
#include "doors/login.h"

#define HTTP_PROBLEM "application/problem+json"

struct exchange { /* one request under way */
    struct http_door *door;
    const struct http_request *request;
    const struct loop_call *call;
    struct http_out *out;
    struct http_out headers, body;
    bool is_head;
    struct login login;
};

/* Writes the whole answer: the headers and the body that were put so far. type may be NULL. */
void http_respond(struct exchange *exchange, unsigned status, const char *type);

/* {"type":"about:blank","title":"Not Found","status":404,"detail":"..."} */
void http_problem(struct exchange *exchange, unsigned status, const char *detail);

/* Fills in login; false: answered by 401 or 400. */
bool http_recognise(struct exchange *exchange);

/* The same, and 403 if the login may not: manage, or else check. */
bool http_permit(struct exchange *exchange, bool manages);

/* May the tenant ask for so many checks more? False: answered by 429. */
bool http_has_quota(struct exchange *exchange, unsigned count);

/* The paths. */
void http_serve_check(struct exchange *exchange);
void http_serve_proxy(struct exchange *exchange);
void http_serve_peek(struct exchange *exchange);
void http_serve_refund(struct exchange *exchange);
void http_serve_reset(struct exchange *exchange);
void http_serve_acquire(struct exchange *exchange);
void http_serve_renew(struct exchange *exchange);
void http_serve_release(struct exchange *exchange);
void http_serve_echo(struct exchange *exchange);
void http_serve_openapi(struct exchange *exchange);
void http_serve_docs(struct exchange *exchange);

#endif
