#include "doors/http_check.h"

#include <inttypes.h>
#include <string.h>

#include "doors/http_verdict.h"
#include "doors/login.h"

#define PROBLEM "application/problem+json"
#define QUOTA_EXCEEDED "https://iana.org/assignments/http-problem-types#quota-exceeded"

struct exchange { /* one request under way */
    struct http_door *door;
    const struct http_request *request;
    const struct loop_call *call;
    struct http_out *out;
    struct http_out headers, body;
    bool is_head;
    struct login login;
};

static void answer(struct exchange *exchange, unsigned status, const char *type)
{
    const struct http_answer whole = {
        .status = status,
        .headers = &exchange->headers,
        .type = type,
        .body = exchange->body.bytes,
        .body_len = exchange->body.len,
        .closes = !exchange->request->keeps_alive,
        .is_head = exchange->is_head,
    };
    http_put_answer(exchange->out, &whole);
}

/* {"type":"about:blank","title":"Not Found","status":404,"detail":"..."} */
static void problem(struct exchange *exchange, unsigned status, const char *detail)
{
    http_print(&exchange->body,
               "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":",
               http_reason(status), status);
    http_put_json(&exchange->body, detail, strlen(detail));
    http_put(&exchange->body, "}\n", 2);
    answer(exchange, status, PROBLEM);
}

/* ---- who asks ---- */

static bool find_key(const struct http_request *request, struct http_text *ret_key,
                     enum http_found *ret_found)
{
    static const char bearer[] = "Bearer ";
    struct http_text authorization = {NULL, 0};
    enum http_found plain = http_find(request, "x-api-key", ret_key);
    enum http_found scheme = http_find(request, "authorization", &authorization);
    *ret_found = plain;
    if (scheme == HTTP_ABSENT)
        return plain != HTTP_TWICE;
    if (plain != HTTP_ABSENT || scheme == HTTP_TWICE || authorization.len < sizeof(bearer) - 1)
        return false;
    const struct http_text start = {authorization.at, sizeof(bearer) - 1};
    if (!http_is_like(start, bearer))
        return false;
    *ret_key = (struct http_text){authorization.at + start.len, authorization.len - start.len};
    *ret_found = HTTP_FOUND;
    return true;
}

/* Fills in the tenant and what may be asked; false: answered by 401 or 400. */
static bool recognise(struct exchange *exchange)
{
    const struct config *config = exchange->call->config;
    struct http_text key;
    enum http_found found;
    if (!find_key(exchange->request, &key, &found)) {
        problem(exchange, 400,
                "one API key is needed: Authorization: Bearer KEY, or X-Api-Key: KEY");
        return false;
    }
    uint8_t hash[LOGIN_HASH_BYTES];
    bool is_known = false;
    if (found == HTTP_FOUND) {
        login_hash(key.at, key.len, hash);
        is_known = login_find(config, hash, &exchange->login);
    } else {
        is_known = login_find_without_key(exchange->call, &exchange->login);
    }
    if (is_known)
        return true;
    http_print(&exchange->headers, "WWW-Authenticate: Bearer\r\n");
    problem(exchange, 401,
            found == HTTP_FOUND
                ? "this API key is not known"
                : "an API key is needed: Authorization: Bearer KEY, or X-Api-Key: KEY");
    return false;
}

/* ---- what is asked ---- */

static void fill_checks(struct exchange *exchange, enum operation operation)
{
    struct http_door *door = exchange->door;
    const struct tenant *tenant = exchange->login.tenant;
    for (unsigned i = 0; i < door->ask.count; i++) {
        const struct http_item *item = &door->ask.items[i];
        door->checks[i] = (struct check){
            .tenant = tenant,
            .key = key_of_subject(item->subject.at, item->subject.len, *tenant->seed),
            .subject = item->subject.at,
            .subject_len = (uint32_t)item->subject.len,
            .rule_id = key_name_id(item->rule.at, item->rule.len),
            .cost = item->cost,
            .operation = (uint8_t)operation,
        };
    }
    if (door->ask.is_atomic && operation == OPERATION_CHECK)
        door->checks[0].group_count = (uint8_t)door->ask.count;
}

static bool has_quota(struct exchange *exchange)
{
    const struct tenant *tenant = exchange->login.tenant;
    const struct http_door *door = exchange->door;
    return !quota_is_set(&tenant->checks) ||
           quota_take(exchange->call->quota, tenant->inline_index, &tenant->checks, door->ask.count,
                      exchange->call->now->now_ns);
}

/* Asked before anything is charged: a list with a name that is wrong is wrong as a whole. */
static bool has_rules(struct exchange *exchange, enum operation operation)
{
    const struct http_ask *ask = &exchange->door->ask;
    char detail[128];
    for (unsigned i = 0; i < ask->count; i++) {
        const struct http_text rule = ask->items[i].rule;
        const struct rule *found =
            config_find_rule(exchange->login.tenant, key_name_id(rule.at, rule.len));
        const bool is_lease = found && found->limit.algorithm == ALGORITHM_CONCURRENCY;
        if (found && (!is_lease || operation == OPERATION_PEEK))
            continue;
        snprintf(detail, sizeof(detail),
                 is_lease ? "rule '%.*s' needs a lease; this door can only peek at it"
                          : "the tenant has no rule '%.*s'",
                 (int)rule.len, rule.at);
        problem(exchange, found ? 400 : 404, detail);
        return false;
    }
    return true;
}

/* What is decided, and may not go on, is 429; what could not be decided and may not, 503. */
static unsigned status_of(const struct exchange *exchange, enum operation operation)
{
    const struct http_door *door = exchange->door;
    unsigned status = 200;
    for (unsigned i = 0; i < door->ask.count; i++) {
        const struct answer *answer = &door->answers[i];
        if (http_is_allowed(answer))
            continue;
        if (answer->status != METE_STATUS_OK)
            return 503;
        if (operation == OPERATION_CHECK)
            status = 429;
    }
    return status;
}

static void put_results(struct exchange *exchange)
{
    const struct http_door *door = exchange->door;
    bool all = true;
    for (unsigned i = 0; i < door->ask.count; i++)
        all &= http_is_allowed(&door->answers[i]);
    http_print(&exchange->body, "\"allowed\":%s,\"results\":[", all ? "true" : "false");
    for (unsigned i = 0; i < door->ask.count; i++) {
        http_put(&exchange->body, ",", i != 0);
        http_put_verdict(&exchange->body, &door->checks[i], &door->answers[i]);
    }
    http_put(&exchange->body, "]", 1);
}

/* The verdicts as a body, behind the members of a problem if there is one. */
static void put_body(struct exchange *exchange, unsigned status, unsigned deciding)
{
    const struct http_door *door = exchange->door;
    const struct rule *rule = door->checks[deciding].rule;
    http_put(&exchange->body, "{", 1);
    if (status != 200)
        http_print(&exchange->body, "\"type\":\"%s\",\"title\":\"%s\",\"status\":%u,",
                   status == 429 ? QUOTA_EXCEEDED : "about:blank", http_reason(status), status);
    if (status == 429 && rule)
        http_print(&exchange->body, "\"violated-policies\":[\"%.*s\"],",
                   (int)strcspn(rule->name, "["), rule->name);
    if (door->ask.is_list)
        put_results(exchange);
    else
        http_put_verdict_members(&exchange->body, &door->checks[0], &door->answers[0]);
    http_put(&exchange->body, "}\n", 2);
}

static void decide(struct exchange *exchange, enum operation operation, bool is_for_proxy)
{
    struct http_door *door = exchange->door;
    if (!has_rules(exchange, operation))
        return;
    if (!has_quota(exchange)) {
        problem(exchange, 429, "the tenant asks for more checks than it may");
        return;
    }
    fill_checks(exchange, operation);
    engine_check_batch(exchange->call->engine, door->checks, door->ask.count, exchange->call->now,
                       door->answers);
    const unsigned deciding = http_deciding(door->checks, door->answers, door->ask.count);
    const unsigned status = status_of(exchange, operation);
    http_put_headers(&exchange->headers, &door->checks[deciding], &door->answers[deciding]);
    if (!is_for_proxy)
        put_body(exchange, status, deciding);
    if (is_for_proxy)
        answer(exchange, status == 429 && door->ask.denies_by_403 ? 403 : status, NULL);
    else
        answer(exchange, status, status == 200 ? "application/json" : PROBLEM);
}

static void serve_ask(struct exchange *exchange, enum operation operation, bool is_for_proxy)
{
    struct http_ask *ask = &exchange->door->ask;
    const bool manages = operation == OPERATION_REFUND || operation == OPERATION_RESET;
    if (!recognise(exchange))
        return;
    if (manages ? !exchange->login.may_manage : !exchange->login.may_check) {
        problem(exchange, 403,
                manages ? "this API key may not manage" : "this API key may not check");
        return;
    }
    const int result = is_for_proxy ? http_ask_read_query(exchange->request->query, ask)
                                    : http_ask_read_json(exchange->request->body, ask);
    if (result) {
        problem(exchange, 400, ask->error);
        return;
    }
    if (ask->is_atomic && operation != OPERATION_CHECK)
        problem(exchange, 400, "atomic: only a check can be");
    else
        decide(exchange, operation, is_for_proxy);
    http_ask_release(ask);
}

/* ---- which path ---- */

static void serve_check(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_CHECK, false);
}

static void serve_proxy(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_CHECK, true);
}

static void serve_peek(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_PEEK, false);
}

static void serve_refund(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_REFUND, false);
}

static void serve_reset(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_RESET, false);
}

static void serve_usage(struct exchange *exchange)
{
    const struct http_door *door = exchange->door;
    if (!recognise(exchange))
        return;
    if (!exchange->login.may_manage) {
        problem(exchange, 403, "this API key may not manage");
        return;
    }
    door->usage(door->usage_context, exchange->login.tenant, &exchange->body);
    if (!exchange->body.has_overflown) {
        answer(exchange, 200, "application/json");
        return;
    }
    exchange->body.len = 0;
    exchange->body.has_overflown = false;
    problem(exchange, 503,
            "the tenant has more rules than one answer holds; `mete stats` shows them");
}

/* The door is opened when the workers serve, so to be there is to be ready. */
static void serve_health(struct exchange *exchange)
{
    http_put(&exchange->body, "ok\n", 3);
    answer(exchange, 200, "text/plain");
}

static const struct route {
    const char *path;
    void (*get)(struct exchange *exchange);
    void (*post)(struct exchange *exchange);
} ROUTES[] = {
    {"/check", serve_proxy, serve_check}, {"/peek", NULL, serve_peek},
    {"/refund", NULL, serve_refund},      {"/reset", NULL, serve_reset},
    {"/usage", serve_usage, NULL},        {"/healthz", serve_health, NULL},
    {"/readyz", serve_health, NULL},
};
#define ROUTE_COUNT (sizeof(ROUTES) / sizeof(ROUTES[0]))

static void serve_route(struct exchange *exchange, const struct route *route)
{
    const struct http_text method = exchange->request->method;
    exchange->is_head = http_is(method, "HEAD");
    if (route->get && (exchange->is_head || http_is(method, "GET"))) {
        route->get(exchange);
    } else if (route->post && http_is(method, "POST")) {
        route->post(exchange);
    } else {
        http_print(&exchange->headers, "Allow: %s%s%s\r\n", route->get ? "GET, HEAD" : "",
                   route->get && route->post ? ", " : "", route->post ? "POST" : "");
        problem(exchange, 405, "this path is not asked so; see Allow");
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
    problem(&exchange, 404,
            "there is no such path; /check, /peek, /refund, /reset, /usage, "
            "/healthz and /readyz are");
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
        .type = PROBLEM,
        .body = bytes,
        .body_len = body.len,
        .closes = true,
    };
    http_put_answer(out, &whole);
}
