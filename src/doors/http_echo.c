/* /echo: says back what it was told, so often as the rule `doors.echo` lets each client. A
 * demonstration of what a limited service does, from who is asking to the headers of the answer.
 *
 * The client is who X-Client-Id says, else the address of the connection (http_client.h). */
#include <string.h>

#include "doors/http_client.h"
#include "doors/http_exchange.h"
#include "doors/http_verdict.h"

#define MAX_CLIENT 255u
#define MAX_MESSAGE 2048u /* as JSON it is six times as long at most */

_Static_assert(6 * (MAX_MESSAGE + MAX_CLIENT) + 1024 <= HTTP_BODY_BYTES, "any echo fits");

/* False: answered by 400. */
static bool find_client(struct exchange *exchange, char room[HTTP_CLIENT_SIZE],
                        struct http_text *ret_client)
{
    const enum http_found found = http_find(exchange->request, "x-client-id", ret_client);
    if (found == HTTP_TWICE || (found == HTTP_FOUND && ret_client->len > MAX_CLIENT)) {
        http_problem(exchange, 400, "X-Client-Id: one of at most 255 bytes is needed, or none");
        return false;
    }
    if (found == HTTP_ABSENT || ret_client->len == 0)
        *ret_client = (struct http_text){room, http_client_of_peer(exchange->call->peer, room)};
    return true;
}

/* The body, else the parameter `message`. Result: 0, or the status of a refusal. */
static unsigned find_message(const struct http_request *request, char room[MAX_MESSAGE],
                             struct http_text *ret_message)
{
    struct http_text query = request->query, name, value;
    *ret_message = request->body;
    if (request->body.len > MAX_MESSAGE)
        return 413;
    if (request->body.len || !query.at)
        return 0;
    while (http_next_parameter(&query, &name, &value)) {
        if (!http_is(name, "message"))
            continue;
        const long len = http_decode(value, room, MAX_MESSAGE);
        if (len < 0)
            return 400;
        *ret_message = (struct http_text){room, (size_t)len};
        return 0;
    }
    return 0;
}

static void put_echo(struct exchange *exchange, unsigned status, struct http_text client,
                     struct http_text message)
{
    struct http_out *body = &exchange->body;
    http_put(body, "{", 1);
    if (status != 200)
        http_print(body, "\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,",
                   http_reason(status), status);
    http_print(body, "\"client\":");
    http_put_json(body, client.at, client.len);
    http_print(body, ",\"message\":");
    http_put_json(body, message.at, message.len);
    http_put(body, ",", 1);
    http_put_verdict_members(body, &exchange->door->checks[0], &exchange->door->answers[0]);
    http_put(body, "}\n", 2);
}

static void echo(struct exchange *exchange, uint32_t rule_id, struct http_text client,
                 struct http_text message)
{
    struct http_door *door = exchange->door;
    const struct tenant *tenant = exchange->login.tenant;
    door->checks[0] = (struct check){
        .tenant = tenant,
        .key = key_of_subject(client.at, client.len, *tenant->seed),
        .subject = client.at,
        .subject_len = (uint32_t)client.len,
        .rule_id = rule_id,
        .cost = 1,
        .operation = OPERATION_CHECK,
    };
    engine_check_batch(exchange->call->engine, door->checks, 1, exchange->call->now, door->answers);
    const struct answer *answer = &door->answers[0];
    const unsigned status = http_is_allowed(answer)            ? 200
                            : answer->status == METE_STATUS_OK ? 429
                                                               : 503;
    http_put_headers(&exchange->headers, exchange->call->config->http_headers, &door->checks[0],
                     answer);
    put_echo(exchange, status, client, message);
    http_respond(exchange, status, status == 200 ? "application/json" : HTTP_PROBLEM);
}

void http_serve_echo(struct exchange *exchange)
{
    const char *name = exchange->call->config->echo_rule;
    char client_room[HTTP_CLIENT_SIZE], message_room[MAX_MESSAGE];
    struct http_text client, message;
    if (!http_permit(exchange, false) || !find_client(exchange, client_room, &client))
        return;
    const uint32_t rule_id = name ? key_name_id(name, strlen(name)) : 0;
    const struct rule *rule = name ? config_find_rule(exchange->login.tenant, rule_id) : NULL;
    if (!rule || rule->limit.algorithm == ALGORITHM_CONCURRENCY) {
        http_problem(exchange, 404, "the tenant has no rule of the name that doors.echo says");
        return;
    }
    const unsigned refused = find_message(exchange->request, message_room, &message);
    if (refused)
        http_problem(exchange, refused, "a message of at most 2048 bytes is needed");
    else if (http_has_quota(exchange, 1))
        echo(exchange, rule_id, client, message);
}
