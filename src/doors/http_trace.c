#include "doors/http_trace.h"

#include <stdio.h>
#include <string.h>

#include "doors/http_verdict.h"
#include "obs/trace.h"
#include "sys/clock.h"

static const char *name_of(enum operation operation, bool is_for_proxy)
{
    switch (operation) {
    case OPERATION_PEEK:
        return "POST /peek";
    case OPERATION_REFUND:
        return "POST /refund";
    case OPERATION_RESET:
        return "POST /reset";
    case OPERATION_ACQUIRE:
        return "POST /acquire";
    case OPERATION_RENEW:
        return "POST /renew";
    case OPERATION_RELEASE:
        return "POST /release";
    default:
        return is_for_proxy ? "GET /check" : "POST /check";
    }
}

void http_trace(struct exchange *exchange, enum operation operation, bool is_for_proxy,
                unsigned deciding, unsigned status)
{
    const struct http_door *door = exchange->door;
    struct trace_context context = {.is_there = false};
    struct http_text text;
    if (!door->ring)
        return;
    if (http_find(exchange->request, "traceparent", &text) == HTTP_FOUND)
        trace_parse(text.at, text.len, &context);
    struct trace_span *span =
        trace_wants(door->ring, &context) ? trace_begin(door->ring, &context) : NULL;
    if (!span)
        return;
    const struct check *check = &door->checks[deciding];
    span->kind = TRACE_HTTP;
    span->status = (uint16_t)status;
    span->start_ns = exchange->call->now->wall_ns;
    span->end_ns = clock_real_ns();
    if (span->end_ns < span->start_ns)
        span->end_ns = span->start_ns;
    span->name = name_of(operation, is_for_proxy);
    snprintf(span->tenant, sizeof(span->tenant), "%s", exchange->login.tenant->name);
    if (check->rule)
        snprintf(span->rule, sizeof(span->rule), "%.*s", (int)strcspn(check->rule->name, "["),
                 check->rule->name);
    span->checks = door->ask.count;
    span->cost = check->cost;
    span->remaining = door->answers[deciding].remaining;
    span->is_allowed = http_is_allowed(&door->answers[deciding]);
    trace_end(door->ring);
}
