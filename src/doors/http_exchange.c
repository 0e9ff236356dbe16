#include "doors/http_exchange.h"

#include <string.h>

void http_respond(struct exchange *exchange, unsigned status, const char *type)
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

void http_problem(struct exchange *exchange, unsigned status, const char *detail)
{
    http_print(&exchange->body,
               "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":",
               http_reason(status), status);
    http_put_json(&exchange->body, detail, strlen(detail));
    http_put(&exchange->body, "}\n", 2);
    http_respond(exchange, status, HTTP_PROBLEM);
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

bool http_recognise(struct exchange *exchange)
{
    const struct config *config = exchange->call->config;
    struct http_text key;
    enum http_found found;
    if (!find_key(exchange->request, &key, &found)) {
        http_problem(exchange, 400,
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
    http_problem(exchange, 401,
                 found == HTTP_FOUND
                     ? "this API key is not known"
                     : "an API key is needed: Authorization: Bearer KEY, or X-Api-Key: KEY");
    return false;
}

bool http_permit(struct exchange *exchange, bool manages)
{
    if (!http_recognise(exchange))
        return false;
    if (manages ? exchange->login.may_manage : exchange->login.may_check)
        return true;
    http_problem(exchange, 403,
                 manages ? "this API key may not manage" : "this API key may not check");
    return false;
}

bool http_has_quota(struct exchange *exchange, unsigned count)
{
    const struct loop_call *call = exchange->call;
    const struct tenant *tenant = exchange->login.tenant;
    if (!quota_is_set(&tenant->checks) ||
        quota_take(call->quota, tenant->inline_index, &tenant->checks, count, call->now->now_ns))
        return true;
    counter_add(&call->engine->counters->cell[COUNTER_LIMITED], 1);
    http_problem(exchange, 429, "the tenant asks for more checks than it may");
    return false;
}
