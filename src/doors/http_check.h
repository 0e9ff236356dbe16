/* The tenants' door over HTTP: which path asks what, who may, and one call of the engine.
 *
 *   POST /check /peek    {rule, subject, cost?} or {checks: [...], atomic?}    200, 429; peek: 200
 *   GET  /check          ?rule=&subject=&cost=&deny=403, for proxies: no body  200, 429 or 403
 *   POST /refund /reset  as check; need a key that may manage                  200
 *   POST /acquire /renew /release   {rule, subject, cost?, lease?}             200, 429, 404, 410
 *   GET, POST /echo      says back a message, so often as a client may         200, 429
 *   GET  /usage          of the own tenant; needs a key that may manage        200
 *   GET  /healthz /readyz /openapi.json /docs                                  200
 *
 * A key comes as `Authorization: Bearer KEY` or `X-Api-Key: KEY`. Its SHA-256 is looked up
 * in a time that tells nothing of the keys there are. Without a key it is the tenant of the
 * client's certificate, if there is one, else `default`, if the peer is this machine and that
 * tenant has no keys.
 *
 * Threads: a struct http_door belongs to one. */
#ifndef METE_DOORS_HTTP_CHECK_H
#define METE_DOORS_HTTP_CHECK_H

#include "doors/http_ask.h"
#include "doors/http_parse.h"
#include "doors/http_write.h"
#include "doors/loop.h"

#define HTTP_HEADER_BYTES 1024u
#define HTTP_BODY_BYTES (24u << 10)
#define HTTP_MAX_ANSWER (HTTP_BODY_BYTES + HTTP_HEADER_BYTES + 512u)

/* Usage of a tenant as one JSON object. */
typedef void http_usage_fn(void *context, const struct tenant *tenant, struct http_out *out);

struct http_door {
    http_usage_fn *usage; /* given, with its context; NULL: there is no /usage */
    void *usage_context;
    /* its own */
    struct http_request request;
    struct http_ask ask;
    struct check checks[HTTP_MAX_CHECKS];
    struct answer answers[HTTP_MAX_CHECKS];
    char header_bytes[HTTP_HEADER_BYTES];
    char body_bytes[HTTP_BODY_BYTES];
};

/* Answers one whole request. out has room for HTTP_MAX_ANSWER. */
void http_serve(struct http_door *door, const struct http_request *request,
                const struct loop_call *call, struct http_out *out);

/* Answers what http_parse() refused. */
void http_serve_refused(const struct http_request *request, struct http_out *out);

/* The protocol for the doors' loop; its context is a struct http_door. */
extern const struct loop_protocol http_protocol;

#endif
