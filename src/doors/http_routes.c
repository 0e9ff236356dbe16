/* Which path of the HTTP door is served by what. */
#include "doors/http_exchange.h"

static void serve_usage(struct exchange *exchange)
{
    const struct http_door *door = exchange->door;
    if (!http_permit(exchange, true))
        return;
    door->usage(door->usage_context, exchange->login.tenant, &exchange->body);
    if (!exchange->body.has_overflown) {
        http_respond(exchange, 200, "application/json");
        return;
    }
    exchange->body.len = 0;
    exchange->body.has_overflown = false;
    http_problem(exchange, 503,
                 "the tenant has more rules than one answer holds; `mete stats` shows them");
}

/* The door is opened when the workers serve, so to be there is to be ready. */
static void serve_health(struct exchange *exchange)
{
    http_put(&exchange->body, "ok\n", 3);
    http_respond(exchange, 200, "text/plain");
}

static const struct route {
    const char *path;
    void (*get)(struct exchange *exchange);
    void (*post)(struct exchange *exchange);
} ROUTES[] = {
    {"/check", http_serve_proxy, http_serve_check},
    {"/peek", NULL, http_serve_peek},
    {"/refund", NULL, http_serve_refund},
    {"/reset", NULL, http_serve_reset},
    {"/acquire", NULL, http_serve_acquire},
    {"/renew", NULL, http_serve_renew},
    {"/release", NULL, http_serve_release},
    {"/echo", http_serve_echo, http_serve_echo},
    {"/usage", serve_usage, NULL},
    {"/healthz", serve_health, NULL},
    {"/readyz", serve_health, NULL},
    {"/openapi.json", http_serve_openapi, NULL},
    {"/docs", http_serve_docs, NULL},
};
#define ROUTE_COUNT (sizeof(ROUTES) / sizeof(ROUTES[0]))

/* Some proxies ask by the method of the request that they ask about; a body they do not send. */
static bool is_for_proxy(const struct exchange *exchange, const struct route *route)
{
    return route->get == http_serve_proxy && exchange->request->query.len &&
           exchange->request->body.len == 0;
}

static void serve_route(struct exchange *exchange, const struct route *route)
{
    const struct http_text method = exchange->request->method;
    exchange->is_head = http_is(method, "HEAD");
    if (is_for_proxy(exchange, route) ||
        (route->get && (exchange->is_head || http_is(method, "GET")))) {
        route->get(exchange);
    } else if (route->post && http_is(method, "POST")) {
        route->post(exchange);
    } else {
        http_print(&exchange->headers, "Allow: %s%s%s\r\n", route->get ? "GET, HEAD" : "",
                   route->get && route->post ? ", " : "", route->post ? "POST" : "");
        http_problem(exchange, 405, "this path is not asked so; see Allow");
    }
}

void http_serve(struct http_door *door, const struct http_request *request,
                const struct loop_call *call, struct http_out *out)
{
    struct exchange exchange = {
        .door = door,
        .request = request,
        .call = call,
        .out = out,
        .headers = {.bytes = door->header_bytes, .size = sizeof(door->header_bytes)},
        .body = {.bytes = door->body_bytes, .size = sizeof(door->body_bytes)},
    };
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        if (http_is(request->path, ROUTES[i].path) &&
            (ROUTES[i].get != serve_usage || door->usage)) {
            serve_route(&exchange, &ROUTES[i]);
            return;
        }
    exchange.is_head = http_is(request->method, "HEAD");
    http_problem(&exchange, 404, "there is no such path; GET /docs shows those there are");
}

void http_serve_refused(const struct http_request *request, struct http_out *out)
{
    char bytes[256];
    struct http_out body = {.bytes = bytes, .size = sizeof(bytes)};
    http_print(&body,
               "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":\"%s\"}\n",
               http_reason(request->status), request->status, request->why);
    const struct http_answer whole = {
        .status = request->status,
        .type = HTTP_PROBLEM,
        .body = bytes,
        .body_len = body.len,
        .closes = true,
    };
    http_put_answer(out, &whole);
}
