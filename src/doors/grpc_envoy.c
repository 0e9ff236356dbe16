/* Envoy's rate limit service: descriptors to checks, verdicts to statuses. config/descriptors.h
 * says which rule a descriptor finds, proto-spec/frontends.md what the answer means. */
#include <envoy/service/ratelimit/v3/rls.pb-c.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/descriptors.h"
#include "doors/grpc_methods.h"

typedef Envoy__Service__Ratelimit__V3__RateLimitRequest request_t;
typedef Envoy__Service__Ratelimit__V3__RateLimitResponse response_t;
typedef Envoy__Service__Ratelimit__V3__RateLimitResponse__RateLimit limit_t;
typedef Envoy__Service__Ratelimit__V3__RateLimitResponse__DescriptorStatus status_t;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor descriptor_t;
typedef Envoy__Extensions__Common__Ratelimit__V3__RateLimitDescriptor__RateLimitOverride override_t;
typedef Envoy__Service__Ratelimit__V3__RateLimitResponse__RateLimit__Unit unit_t;
typedef Envoy__Config__Core__V3__HeaderValue header_t;

#define OK ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__CODE__OK
#define OVER ENVOY__SERVICE__RATELIMIT__V3__RATE_LIMIT_RESPONSE__CODE__OVER_LIMIT
#define NS_PER_S 1000000000ull
#define MAX_HEADERS 4u
#define HEADER_SIZE 24u

struct asked {        /* what became of one descriptor */
    int16_t check;    /* its position among the job's checks; -1: no rule, nothing to judge */
    uint64_t unit_ns; /* of a limit that came with the request, and its count */
    uint32_t count;
    bool is_peek;
};

struct detail { /* of a job */
    struct asked asked[GRPC_JOB_CHECKS];
};

/* Seconds of the units, in the order of both enums; 0: unknown. A month has 30 days, as there. */
static const uint32_t UNIT_SECONDS[] = {0, 1, 60, 3600, 86400, 2592000, 31536000, 604800};
enum { UNIT_SECOND = 1, UNIT_DAY = 4, UNIT_MONTH = 5, UNIT_YEAR = 6, UNIT_WEEK = 7 };

/* ---- the question ---- */

/* One value of a subject. False: no room. */
static bool put_part(char *subject, size_t size, size_t *len, const void *bytes, size_t count)
{
    const char *from = bytes;
    if (*len + 2 * count + 1 > size)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (from[i] == '|' || from[i] == '\\')
            subject[(*len)++] = '\\';
        subject[(*len)++] = from[i];
    }
    return true;
}

/* What a node gives to the subject: the value, or of a shared one its own text. */
static bool put_node(const struct descriptor *node, const ProtobufCBinaryData *value, char *subject,
                     size_t size, size_t *len)
{
    if (!node->is_shared || node->kind == DESCRIPTOR_EXACT)
        return put_part(subject, size, len, value->data, value->len);
    return put_part(subject, size, len, node->value, node->value_len) &&
           put_part(subject, size, len, "*", 1);
}

/* Goes down the tree and makes the subject. NULL: there is no limit. */
static const struct rule *find_rule(struct grpc_batch *batch, const struct grpc_job *job,
                                    const descriptor_t *asked, struct grpc_text *ret_subject)
{
    const struct descriptors *level = job->tenant->descriptors;
    const struct descriptor *node = NULL;
    size_t size = 1, len = 0;
    for (size_t i = 0; i < asked->n_entries; i++)
        size += 2 * asked->entries[i]->value.len + 2 * DESCRIPTORS_MAX_TEXT + 4;
    char *subject = NULL;
    for (size_t i = 0; i < asked->n_entries; i++) {
        const ProtobufCBinaryData key = asked->entries[i]->key, value = asked->entries[i]->value;
        node = descriptors_find(level, key.data, key.len, value.data, value.len);
        if (!node)
            return NULL;
        if (asked->n_entries == 1 && (!node->is_shared || node->kind == DESCRIPTOR_EXACT)) {
            *ret_subject = (struct grpc_text){value.len ? (const char *)value.data : "", value.len};
            return node->rule;
        }
        if (!subject)
            subject = grpc_arena_take(&batch->arena, size);
        if (!subject)
            return NULL;
        if (i)
            subject[len++] = '|';
        put_node(node, &value, subject, size, &len);
        level = node->below;
    }
    *ret_subject = (struct grpc_text){subject, len};
    return node ? node->rule : NULL;
}

/* The subject of a limit that comes with the request: "key=value|key=value". */
static bool make_inline_subject(struct grpc_batch *batch, const descriptor_t *asked,
                                struct grpc_text *ret_subject)
{
    size_t size = 1, len = 0;
    for (size_t i = 0; i < asked->n_entries; i++)
        size += 2 * (asked->entries[i]->key.len + asked->entries[i]->value.len) + 4;
    char *subject = grpc_arena_take(&batch->arena, size);
    if (!subject)
        return false;
    for (size_t i = 0; i < asked->n_entries; i++) {
        const ProtobufCBinaryData key = asked->entries[i]->key, value = asked->entries[i]->value;
        if (i)
            subject[len++] = '|';
        put_part(subject, size, &len, key.data, key.len);
        subject[len++] = '=';
        put_part(subject, size, &len, value.data, value.len);
    }
    *ret_subject = (struct grpc_text){subject, len};
    return true;
}

/* A bucket of as many units as the limit has, filled at its rate: windows would need a row of the
 * table for each length. False: refused. */
static bool compile_override(struct grpc_call *call, const override_t *override,
                             struct asked *asked, struct limit *ret_limit)
{
    const unsigned unit = (unsigned) override->unit;
    const uint32_t times = override->unit_multiplier ? override->unit_multiplier->value : 1;
    if (unit == 0 || unit > UNIT_YEAR || times == 0 || times > UINT32_MAX / 16) {
        grpc_call_refuse(call, GRPC_INVALID_ARGUMENT, "limit: its unit is none");
        return false;
    }
    asked->count = override->requests_per_unit;
    asked->unit_ns = (uint64_t)UNIT_SECONDS[unit] * times * NS_PER_S;
    const struct limit_spec spec = {
        .algorithm = ALGORITHM_TOKEN_BUCKET,
        .count = override->requests_per_unit,
        .period_ns = asked->unit_ns,
    };
    *ret_limit = (struct limit){.algorithm = ALGORITHM_DENY};
    if (spec.count == 0)
        return true;
    const enum limit_error error = limit_compile(&spec, ret_limit);
    if (error == LIMIT_RATE_TOO_HIGH)
        *ret_limit = (struct limit){.algorithm = ALGORITHM_UNLIMITED};
    else if (error != LIMIT_OK)
        grpc_call_refuse(call, GRPC_INVALID_ARGUMENT, "limit: it takes more than ten years");
    ret_limit->keeps_tat = 1;
    return error == LIMIT_OK || error == LIMIT_RATE_TOO_HIGH;
}

/* What one descriptor takes: its own number, else the request's, where 0 stands for 1. */
static void fill_cost(const request_t *request, const descriptor_t *descriptor, struct check *check,
                      struct asked *asked)
{
    uint64_t hits = request->hits_addend ? request->hits_addend : 1;
    if (descriptor->hits_addend)
        hits = descriptor->hits_addend->value;
    check->operation = descriptor->is_negative_hits ? OPERATION_REFUND : OPERATION_CHECK;
    check->cost = hits > UINT32_MAX ? UINT32_MAX : (uint32_t)hits;
    asked->is_peek = hits == 0;
    if (hits == 0) { /* would one pass? */
        check->operation = OPERATION_PEEK;
        check->cost = 1;
    }
}

static void add_descriptor(struct grpc_batch *batch, struct grpc_job *job, unsigned at,
                           const struct login *login)
{
    const request_t *request = job->message;
    const descriptor_t *descriptor = request->descriptors[at];
    struct asked *asked = &((struct detail *)job->detail)->asked[at];
    const struct rule *rule = NULL;
    struct grpc_text subject = {"", 0};
    *asked = (struct asked){.check = -1};
    if (descriptor->is_negative_hits && !login->may_manage) {
        grpc_call_refuse(job->call, GRPC_PERMISSION_DENIED, "this API key may not give back");
        return;
    }
    if (!descriptor->limit)
        rule = find_rule(batch, job, descriptor, &subject);
    else if (!make_inline_subject(batch, descriptor, &subject))
        grpc_call_refuse(job->call, GRPC_RESOURCE_EXHAUSTED, "the message is too large");
    if (!rule && !descriptor->limit)
        return;
    asked->check = (int16_t)job->check_count;
    struct check *check = grpc_add_check(batch, job); /* there are as many as descriptors */
    *check = (struct check){
        .tenant = job->tenant,
        .key = key_of_subject(subject.at, subject.len, *job->tenant->seed),
        .subject = subject.at,
        .subject_len = (uint32_t)subject.len,
        .rule_id = rule ? rule->id : key_name_id("envoy", 5),
        .has_inline_limit = !rule,
    };
    fill_cost(request, descriptor, check, asked);
    if (rule)
        return;
    struct limit *limit = &batch->inline_limits[check - batch->checks];
    if (compile_override(job->call, descriptor->limit, asked, limit))
        check->limit = limit;
    check->rule_id ^= (uint32_t)(asked->unit_ns / NS_PER_S) * 2654435761u;
}

/* All that take are charged, or none; what gives back stands by itself, behind them. */
static void make_group(struct grpc_batch *batch, struct grpc_job *job)
{
    struct detail *detail = job->detail;
    struct check *checks = &batch->checks[job->first_check];
    unsigned count = 0;
    for (unsigned i = 0; i < job->check_count; i++) {
        if (checks[i].operation == OPERATION_REFUND)
            continue;
        if (i != count) { /* swapped with a refund, and so are the descriptors' positions */
            const struct check taken = checks[i];
            const unsigned requested = (unsigned)((request_t *)job->message)->n_descriptors;
            checks[i] = checks[count];
            checks[count] = taken;
            for (unsigned j = 0; j < requested; j++) {
                int16_t *at = &detail->asked[j].check;
                *at = *at == (int16_t)i ? (int16_t)count : *at == (int16_t)count ? (int16_t)i : *at;
            }
        }
        count++;
    }
    if (count > 1)
        checks[0].group_count = (uint8_t)count;
}

/* False: refused. */
static bool judge_request(struct grpc_call *call, const request_t *request)
{
    if (!request)
        grpc_call_refuse(call, GRPC_INTERNAL, "the message is no RateLimitRequest");
    else if (request->domain.len == 0)
        grpc_call_refuse(call, GRPC_INVALID_ARGUMENT, "domain: is empty; a tenant's name");
    else if (request->n_descriptors == 0)
        grpc_call_refuse(call, GRPC_INVALID_ARGUMENT, "descriptors: is empty; at least one");
    else if (request->n_descriptors > GRPC_JOB_CHECKS)
        grpc_call_refuse(call, GRPC_INVALID_ARGUMENT, "descriptors: there are more than 64");
    return !call->why;
}

static void prepare(struct grpc_batch *batch, struct grpc_job *job, const struct grpc_buffer *in)
{
    struct grpc_call *call = job->call;
    request_t *request = grpc_arena_decode(
        &batch->arena, &envoy__service__ratelimit__v3__rate_limit_request__descriptor, in->bytes,
        in->len);
    struct login login;
    if (!judge_request(call, request))
        return;
    const struct grpc_text domain = {(const char *)request->domain.data, request->domain.len};
    job->message = request;
    job->detail = grpc_arena_take(&batch->arena, sizeof(struct detail));
    job->tenant = grpc_identify(batch, job, domain, &login);
    if (call->why)
        return;
    if (!job->detail) {
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED, "the message is too large");
        return;
    }
    if (job->tenant && !login.may_check) {
        grpc_call_refuse(call, GRPC_PERMISSION_DENIED, "this API key may not check");
        return;
    }
    for (unsigned i = 0; i < request->n_descriptors; i++) {
        ((struct detail *)job->detail)->asked[i] = (struct asked){.check = -1};
        if (job->tenant) /* an unknown domain has no limits */
            add_descriptor(batch, job, i, &login);
    }
    if (call->why || !job->tenant || !grpc_take_quota(batch, job))
        return;
    if (!job->tenant->charges_each)
        make_group(batch, job);
}

/* ---- the answer ---- */

struct piece { /* of one descriptor */
    status_t status;
    limit_t limit;
    Google__Protobuf__UInt32Value times;
    Google__Protobuf__Duration reset;
};

struct headers {
    header_t *pointers[MAX_HEADERS], items[MAX_HEADERS];
    char texts[MAX_HEADERS][HEADER_SIZE];
};

/* count per period in the largest unit that divides it; below a second, per second. */
static void fill_unit(uint64_t count, uint64_t period_ns, limit_t *limit,
                      Google__Protobuf__UInt32Value *times)
{
    static const unsigned units[] = {UNIT_YEAR, UNIT_MONTH, UNIT_WEEK, UNIT_DAY, 3, 2, UNIT_SECOND};
    limit->requests_per_unit = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        const uint64_t unit_ns = UNIT_SECONDS[units[i]] * NS_PER_S;
        if (period_ns == 0 || period_ns % unit_ns != 0)
            continue;
        limit->unit = (unit_t)units[i];
        if (period_ns == unit_ns)
            return;
        google__protobuf__uint32_value__init(times);
        times->value = (uint32_t)(period_ns / unit_ns);
        limit->unit_multiplier = times;
        return;
    }
    if (period_ns) {
        const unsigned __int128 per_s = (unsigned __int128)count * NS_PER_S / period_ns;
        limit->requests_per_unit = per_s > UINT32_MAX ? UINT32_MAX : (uint32_t)per_s;
        limit->unit = (unit_t)UNIT_SECOND;
    }
}

static void fill_limit(const struct check *check, const struct asked *asked, limit_t *limit,
                       Google__Protobuf__UInt32Value *times)
{
    static const unsigned calendar_units[] = {UNIT_DAY, UNIT_WEEK, UNIT_MONTH, UNIT_YEAR};
    const struct rule *rule = check->rule;
    envoy__service__ratelimit__v3__rate_limit_response__rate_limit__init(limit);
    if (!rule) {
        fill_unit(asked->count, asked->unit_ns, limit, times);
        return;
    }
    limit->name =
        (ProtobufCBinaryData){.len = strcspn(rule->name, "["), .data = (uint8_t *)rule->name};
    if (rule->calendar) {
        limit->requests_per_unit = rule->limit.burst;
        limit->unit = (unit_t)calendar_units[rule->calendar->per];
    } else {
        fill_unit(rule->spec.count, rule->spec.period_ns, limit, times);
    }
}

static bool is_allowed(const struct answer *answer)
{
    return answer->flags & METE_VERDICT_ALLOW;
}

static void fill_piece(const struct check *check, const struct answer *answer,
                       const struct asked *asked, struct piece *piece)
{
    status_t *status = &piece->status;
    status->code = is_allowed(answer) ? OK : OVER;
    if (answer->status != METE_STATUS_OK)
        return;
    if (check->limit->algorithm == ALGORITHM_UNLIMITED) {
        status->limit_remaining = UINT32_MAX;
        return;
    }
    fill_limit(check, asked, &piece->limit, &piece->times);
    status->current_limit = &piece->limit;
    status->limit_remaining = answer->remaining;
    if (answer->reset_after_ns == NEVER)
        return;
    google__protobuf__duration__init(&piece->reset);
    piece->reset.seconds = (int64_t)(answer->reset_after_ns / NS_PER_S);
    piece->reset.nanos = (int32_t)(answer->reset_after_ns % NS_PER_S);
    status->duration_until_reset = &piece->reset;
}

static void add_header(response_t *response, struct headers *headers, const char *name,
                       uint64_t number)
{
    const size_t at = response->n_response_headers_to_add++;
    header_t *header = &headers->items[at];
    char *text = headers->texts[at];
    envoy__config__core__v3__header_value__init(header);
    const int len = snprintf(text, HEADER_SIZE, "%" PRIu64, number);
    header->key = (ProtobufCBinaryData){.len = strlen(name), .data = (uint8_t *)(uintptr_t)name};
    header->value = (ProtobufCBinaryData){.len = (size_t)len, .data = (uint8_t *)text};
    headers->pointers[at] = header;
    response->response_headers_to_add = headers->pointers;
}

static uint64_t seconds_up(uint64_t ns)
{
    return ns / NS_PER_S + (ns % NS_PER_S != 0);
}

/* Of the first check that was denied, else of the one with least remaining. */
static void add_headers(const struct grpc_batch *batch, const struct grpc_job *job,
                        response_t *response, struct headers *headers)
{
    const struct check *checks = &batch->checks[job->first_check];
    const struct answer *verdicts = &batch->answers[job->first_check];
    int deciding = -1;
    for (unsigned i = 0; i < job->check_count; i++) {
        if (verdicts[i].status != METE_STATUS_OK ||
            checks[i].limit->algorithm == ALGORITHM_UNLIMITED)
            continue;
        if (deciding < 0 || !is_allowed(&verdicts[i]) ||
            verdicts[i].remaining < verdicts[deciding].remaining)
            deciding = (int)i;
        if (!is_allowed(&verdicts[i]))
            break;
    }
    if (deciding < 0)
        return;
    const struct answer *verdict = &verdicts[deciding];
    add_header(response, headers, "x-ratelimit-limit", checks[deciding].limit->burst);
    add_header(response, headers, "x-ratelimit-remaining", verdict->remaining);
    if (verdict->reset_after_ns != NEVER)
        add_header(response, headers, "x-ratelimit-reset", seconds_up(verdict->reset_after_ns));
    if (!is_allowed(verdict) && verdict->retry_after_ns != NEVER)
        add_header(response, headers, "retry-after", seconds_up(verdict->retry_after_ns));
}

static void put_response(struct grpc_call *call, const response_t *response)
{
    const size_t len =
        envoy__service__ratelimit__v3__rate_limit_response__get_packed_size(response);
    uint8_t *out = grpc_call_put(call, (uint32_t)len);
    if (out)
        envoy__service__ratelimit__v3__rate_limit_response__pack(response, out);
    else
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
}

static void finish(struct grpc_batch *batch, struct grpc_job *job)
{
    const request_t *request = job->message;
    const struct detail *detail = job->detail;
    const size_t mark = batch->arena.used, count = request->n_descriptors;
    struct piece *pieces = grpc_arena_take(&batch->arena, count * sizeof(*pieces));
    status_t **statuses = grpc_arena_take(&batch->arena, count * sizeof(*statuses));
    struct headers headers;
    response_t response;
    if (!pieces || !statuses) {
        grpc_call_refuse(job->call, GRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
        return;
    }
    envoy__service__ratelimit__v3__rate_limit_response__init(&response);
    response.overall_code = OK;
    response.n_statuses = count;
    response.statuses = statuses;
    for (size_t i = 0; i < count; i++) {
        const uint32_t at = job->first_check + (uint32_t)detail->asked[i].check;
        status_t *status = statuses[i] = &pieces[i].status;
        envoy__service__ratelimit__v3__rate_limit_response__descriptor_status__init(status);
        status->code = OK;
        if (detail->asked[i].check >= 0)
            fill_piece(&batch->checks[at], &batch->answers[at], &detail->asked[i], &pieces[i]);
        if (status->code == OVER)
            response.overall_code = OVER;
    }
    if (job->tenant && job->tenant->adds_headers)
        add_headers(batch, job, &response, &headers);
    put_response(job->call, &response);
    batch->arena.used = mark;
}

const struct grpc_method grpc_envoy_methods[] = {
    {.path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
     .prepare = prepare,
     .finish = finish},
    {.path = NULL},
};
