/* What a tenant asks of the engine: checks, and the leases of a concurrency rule. One call of it
 * per request, whose verdicts are the whole answer. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "doors/http_client.h"
#include "doors/http_exchange.h"
#include "doors/http_trace.h"
#include "doors/http_verdict.h"

#define QUOTA_EXCEEDED "https://iana.org/assignments/http-problem-types#quota-exceeded"

static bool is_lease_operation(enum operation operation)
{
    return operation >= OPERATION_ACQUIRE;
}

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
            .lease_id = item->lease,
            .operation = (uint8_t)operation,
        };
    }
    if (door->ask.is_atomic && operation == OPERATION_CHECK)
        door->checks[0].group_count = (uint8_t)door->ask.count;
}

/* NULL, or why this rule is not asked so. */
static const char *judge_rule(const struct rule *rule, enum operation operation)
{
    if (!rule)
        return "the tenant has no rule '%.*s'";
    const bool has_leases = rule->limit.algorithm == ALGORITHM_CONCURRENCY;
    if (has_leases && !is_lease_operation(operation) && operation != OPERATION_PEEK)
        return "rule '%.*s' is held by leases: /acquire, /renew, /release; and /peek";
    if (!has_leases && is_lease_operation(operation))
        return "rule '%.*s' has no leases; /check asks it";
    return NULL;
}

/* Asked before anything is charged: a list with a name that is wrong is wrong as a whole. */
static bool has_rules(struct exchange *exchange, enum operation operation)
{
    const struct http_ask *ask = &exchange->door->ask;
    char detail[160];
    for (unsigned i = 0; i < ask->count; i++) {
        const struct http_text name = ask->items[i].rule;
        const struct rule *rule =
            config_find_rule(exchange->login.tenant, key_name_id(name.at, name.len));
        const char *problem = judge_rule(rule, operation);
        if (!problem)
            continue;
        snprintf(detail, sizeof(detail), problem, (int)name.len, name.at);
        http_problem(exchange, rule ? 400 : 404, detail);
        return false;
    }
    return true;
}

/* What is decided, and may not go on, is 429; what could not be decided and may not, 503; a lease
 * that is not there, 404; one that was, 410. */
static unsigned status_of(const struct exchange *exchange, enum operation operation)
{
    const struct http_door *door = exchange->door;
    unsigned status = 200;
    for (unsigned i = 0; i < door->ask.count; i++) {
        const struct answer *answer = &door->answers[i];
        if (http_is_allowed(answer))
            continue;
        if (answer->status == METE_STATUS_UNKNOWN_LEASE)
            return 404;
        if (answer->status == METE_STATUS_EXPIRED_LEASE)
            return 410;
        if (answer->status != METE_STATUS_OK)
            return 503;
        if (operation == OPERATION_CHECK || operation == OPERATION_ACQUIRE)
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
    if (door->ask.has_lease)
        http_print(&exchange->body, "\"lease\":\"%016" PRIx64 "\",", door->checks[0].lease_id);
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
    if (operation != OPERATION_RELEASE && !http_has_quota(exchange, door->ask.count))
        return;
    fill_checks(exchange, operation);
    engine_check_batch(exchange->call->engine, door->checks, door->ask.count, exchange->call->now,
                       door->answers);
    const unsigned deciding = http_deciding(door->checks, door->answers, door->ask.count);
    const unsigned status = status_of(exchange, operation);
    http_trace(exchange, operation, is_for_proxy, deciding, status);
    http_put_headers(&exchange->headers, exchange->call->config->http_headers,
                     &door->checks[deciding], &door->answers[deciding]);
    if (!is_for_proxy)
        put_body(exchange, status, deciding);
    if (is_for_proxy)
        http_respond(exchange, status == 429 && door->ask.denies_by_403 ? 403 : status, NULL);
    else
        http_respond(exchange, status, status == 200 ? "application/json" : HTTP_PROBLEM);
}

/* Of an ACQUIRE that names none: a number that nobody guesses. False: answered. */
static bool draw_lease(struct exchange *exchange)
{
    struct http_item *item = &exchange->door->ask.items[0];
    if (getrandom(&item->lease, sizeof(item->lease), GRND_NONBLOCK) == (ssize_t)sizeof(item->lease))
        return true;
    http_problem(exchange, 503, "there are no random numbers yet; name a lease");
    return false;
}

/* Who is asked about, where a proxy says it by a header. False: answered by 400. */
static bool find_subject(struct exchange *exchange, char room[HTTP_CLIENT_SIZE])
{
    struct http_ask *ask = &exchange->door->ask;
    struct http_text value = {NULL, 0};
    char detail[160], name[80];
    if (ask->by.len == 0)
        return true;
    snprintf(name, sizeof(name), "%.*s", (int)ask->by.len, ask->by.at);
    const enum http_found found = http_find(exchange->request, name, &value);
    if (found == HTTP_FOUND && value.len && value.len <= HTTP_MAX_SUBJECT) {
        ask->items[0].subject = http_client_of_header(value, room);
        return true;
    }
    snprintf(detail, sizeof(detail), "by: one header '%s' of 1 to %u bytes is needed", name,
             HTTP_MAX_SUBJECT);
    http_problem(exchange, 400, detail);
    return false;
}

static void serve_ask(struct exchange *exchange, enum operation operation, bool is_for_proxy)
{
    struct http_ask *ask = &exchange->door->ask;
    char room[HTTP_CLIENT_SIZE];
    if (!http_permit(exchange, operation == OPERATION_REFUND || operation == OPERATION_RESET))
        return;
    const int result = is_for_proxy ? http_ask_read_query(exchange->request->query, ask)
                                    : http_ask_read_json(exchange->request->body,
                                                         is_lease_operation(operation), ask);
    if (result) {
        http_problem(exchange, result == -ENOMEM ? 503 : 400, ask->error);
        return;
    }
    if (ask->is_atomic && operation != OPERATION_CHECK)
        http_problem(exchange, 400, "atomic: only a check can be");
    else if (ask->lacks_lease && operation != OPERATION_ACQUIRE)
        http_problem(exchange, 400, "lease: is missing");
    else if (find_subject(exchange, room) && (!ask->lacks_lease || draw_lease(exchange)))
        decide(exchange, operation, is_for_proxy);
    http_ask_release(ask);
}

/* ---- the paths ---- */

void http_serve_check(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_CHECK, false);
}

void http_serve_proxy(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_CHECK, true);
}

void http_serve_peek(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_PEEK, false);
}

void http_serve_refund(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_REFUND, false);
}

void http_serve_reset(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_RESET, false);
}

void http_serve_acquire(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_ACQUIRE, false);
}

void http_serve_renew(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_RENEW, false);
}

void http_serve_release(struct exchange *exchange)
{
    serve_ask(exchange, OPERATION_RELEASE, false);
}
