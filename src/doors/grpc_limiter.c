/* mete.v1.Limiter (proto-spec/mete.proto): the engine's own terms over gRPC. */
#include <mete.pb-c.h>
#include <string.h>

#include "doors/grpc_methods.h"

typedef Mete__V1__CheckRequest request_t;
typedef Mete__V1__LeaseRequest lease_t;
typedef Mete__V1__BatchRequest batch_t;
typedef Mete__V1__Verdict verdict_t;

#define NS_PER_S 1000000000ull

/* ---- the question ---- */

static struct grpc_text text_of(ProtobufCBinaryData data)
{
    return (struct grpc_text){data.len ? (const char *)data.data : "", data.len};
}

/* The subject, or "subject|resource" with both escaped, as descriptors with two values are. */
static bool make_subject(struct grpc_batch *batch, struct grpc_text subject,
                         struct grpc_text resource, struct grpc_text *ret_subject)
{
    const struct grpc_text parts[2] = {subject, resource};
    *ret_subject = subject;
    if (resource.len == 0)
        return true;
    char *text = grpc_arena_take(&batch->arena, 2 * (subject.len + resource.len) + 1);
    size_t len = 0;
    if (!text)
        return false;
    for (unsigned i = 0; i < 2; i++) {
        if (i)
            text[len++] = '|';
        for (size_t j = 0; j < parts[i].len; j++) {
            if (parts[i].at[j] == '|' || parts[i].at[j] == '\\')
                text[len++] = '\\';
            text[len++] = parts[i].at[j];
        }
    }
    *ret_subject = (struct grpc_text){text, len};
    return true;
}

/* False: refused. */
static bool identify(struct grpc_batch *batch, struct grpc_job *job, struct grpc_text name,
                     enum operation operation)
{
    struct grpc_call *call = job->call;
    const bool manages = operation == OPERATION_REFUND || operation == OPERATION_RESET;
    struct login login;
    job->tenant = grpc_identify(batch, job, name, &login);
    if (call->why)
        return false;
    if (!job->tenant)
        grpc_call_refuse(call, GRPC_NOT_FOUND, "there is no such tenant");
    else if (manages && !login.may_manage)
        grpc_call_refuse(call, GRPC_PERMISSION_DENIED, "this API key may not manage");
    else if (!manages && !login.may_check)
        grpc_call_refuse(call, GRPC_PERMISSION_DENIED, "this API key may not check");
    return !call->why;
}

static void judge_rule(struct grpc_job *job, const struct check *check)
{
    const struct rule *rule = config_find_rule(job->tenant, check->rule_id);
    const bool is_lease = check->operation >= OPERATION_ACQUIRE;
    if (!rule)
        grpc_call_refuse(job->call, GRPC_NOT_FOUND, "the tenant has no such rule");
    else if (is_lease && rule->limit.algorithm != ALGORITHM_CONCURRENCY)
        grpc_call_refuse(job->call, GRPC_FAILED_PRECONDITION, "this rule has no leases");
    else if (!is_lease && rule->limit.algorithm == ALGORITHM_CONCURRENCY &&
             check->operation != OPERATION_PEEK && check->cost)
        grpc_call_refuse(job->call, GRPC_FAILED_PRECONDITION,
                         "this rule needs a lease: Acquire, Renew, Release");
}

static void add_check(struct grpc_batch *batch, struct grpc_job *job, const lease_t *asked,
                      enum operation operation)
{
    const struct grpc_text rule = text_of(asked->rule);
    const bool is_set = asked->amount_case == METE__V1__LEASE_REQUEST__AMOUNT_COST;
    struct grpc_text subject;
    /* both cases of the union are bytes */
    const struct grpc_text who =
        asked->who_case ? text_of(asked->subject_bytes) : (struct grpc_text){"", 0};
    if (!make_subject(batch, who, text_of(asked->resource), &subject)) {
        grpc_call_refuse(job->call, GRPC_RESOURCE_EXHAUSTED, "the message is too large");
        return;
    }
    struct check *check = grpc_add_check(batch, job);
    *check = (struct check){
        .tenant = job->tenant,
        .key = key_of_subject(subject.at, subject.len, *job->tenant->seed),
        .subject = subject.at,
        .subject_len = (uint32_t)subject.len,
        .rule_id = key_name_id(rule.at, rule.len),
        .cost = is_set ? asked->cost : 1,
        .lease_id = asked->lease,
        .operation = (uint8_t)operation,
    };
    judge_rule(job, check);
}

/* The same fields under the same names: one kind of question for what follows. */
static lease_t lease_of(const request_t *request)
{
    return (lease_t){
        .tenant = request->tenant,
        .rule = request->rule,
        .resource = request->resource,
        .who_case = (Mete__V1__LeaseRequest__WhoCase)request->who_case,
        .subject_bytes = request->subject_bytes,
        .amount_case = (Mete__V1__LeaseRequest__AmountCase)request->amount_case,
        .cost = request->cost,
    };
}

static void prepare_asked(struct grpc_batch *batch, struct grpc_job *job, const lease_t *asked,
                          enum operation operation)
{
    if (!identify(batch, job, text_of(asked->tenant), operation))
        return;
    add_check(batch, job, asked, operation);
    if (!job->call->why)
        grpc_take_quota(batch, job);
}

static void prepare_request(struct grpc_batch *batch, struct grpc_job *job,
                            const struct grpc_buffer *in, enum operation operation)
{
    const request_t *request =
        grpc_arena_decode(&batch->arena, &mete__v1__check_request__descriptor, in->bytes, in->len);
    if (!request) {
        grpc_call_refuse(job->call, GRPC_INTERNAL, "the message is no CheckRequest");
        return;
    }
    const lease_t asked = lease_of(request);
    prepare_asked(batch, job, &asked, operation);
}

static void prepare_lease(struct grpc_batch *batch, struct grpc_job *job,
                          const struct grpc_buffer *in, enum operation operation)
{
    const lease_t *asked =
        grpc_arena_decode(&batch->arena, &mete__v1__lease_request__descriptor, in->bytes, in->len);
    if (asked)
        prepare_asked(batch, job, asked, operation);
    else
        grpc_call_refuse(job->call, GRPC_INTERNAL, "the message is no LeaseRequest");
}

static void prepare_batch(struct grpc_batch *batch, struct grpc_job *job,
                          const struct grpc_buffer *in)
{
    const batch_t *asked =
        grpc_arena_decode(&batch->arena, &mete__v1__batch_request__descriptor, in->bytes, in->len);
    struct grpc_call *call = job->call;
    job->message = (void *)(uintptr_t)asked;
    if (!asked)
        grpc_call_refuse(call, GRPC_INTERNAL, "the message is no BatchRequest");
    else if (asked->n_checks == 0 || asked->n_checks > GRPC_JOB_CHECKS)
        grpc_call_refuse(call, GRPC_INVALID_ARGUMENT, "checks: 1 to 64 are possible");
    if (!asked || call->why ||
        !identify(batch, job, text_of(asked->checks[0]->tenant), OPERATION_CHECK))
        return;
    for (size_t i = 0; i < asked->n_checks && !call->why; i++) {
        const lease_t one = lease_of(asked->checks[i]);
        if (one.tenant.len &&
            (one.tenant.len != asked->checks[0]->tenant.len ||
             memcmp(one.tenant.data, asked->checks[0]->tenant.data, one.tenant.len) != 0))
            grpc_call_refuse(call, GRPC_INVALID_ARGUMENT, "checks: they name several tenants");
        else
            add_check(batch, job, &one, OPERATION_CHECK);
    }
    if (!call->why && grpc_take_quota(batch, job) && asked->all_or_nothing && asked->n_checks > 1)
        batch->checks[job->first_check].group_count = (uint8_t)asked->n_checks;
}

#define PREPARE(name, kind, operation)                                                             \
    static void prepare_##name(struct grpc_batch *batch, struct grpc_job *job,                     \
                               const struct grpc_buffer *in)                                       \
    {                                                                                              \
        prepare_##kind(batch, job, in, operation);                                                 \
    }
PREPARE(check, request, OPERATION_CHECK)
PREPARE(peek, request, OPERATION_PEEK)
PREPARE(refund, request, OPERATION_REFUND)
PREPARE(reset, request, OPERATION_RESET)
PREPARE(acquire, lease, OPERATION_ACQUIRE)
PREPARE(renew, lease, OPERATION_RENEW)
PREPARE(release, lease, OPERATION_RELEASE)

/* ---- the answer ---- */

struct piece { /* one verdict and what it points to */
    verdict_t verdict;
    Google__Protobuf__Duration retry, reset, delay;
    Google__Protobuf__Timestamp time;
};

static Google__Protobuf__Duration *put_duration(Google__Protobuf__Duration *duration, uint64_t ns)
{
    google__protobuf__duration__init(duration);
    duration->seconds = (int64_t)(ns / NS_PER_S);
    duration->nanos = (int32_t)(ns % NS_PER_S);
    return duration;
}

static const char *undecided(uint8_t status)
{
    switch (status) {
    case METE_STATUS_TABLE_FULL:
        return "table_full";
    case METE_STATUS_UNKNOWN_LEASE:
        return "unknown_lease";
    case METE_STATUS_EXPIRED_LEASE:
        return "expired_lease";
    default:
        return "unsupported";
    }
}

static void fill_numbers(const struct check *check, const struct answer *answer,
                         const struct instant *now, struct piece *piece)
{
    verdict_t *verdict = &piece->verdict;
    const uint64_t wait_ns = answer->retry_after_ns;
    if (check->limit && check->limit->algorithm != ALGORITHM_UNLIMITED)
        verdict->limit = check->limit->burst;
    verdict->remaining = answer->remaining;
    verdict->granted = answer->granted;
    verdict->would_deny = (answer->flags & METE_VERDICT_WOULD_DENY) != 0;
    verdict->not_charged = (answer->flags & METE_VERDICT_NOT_CHARGED) != 0;
    if (answer->flags & METE_VERDICT_DELAY)
        verdict->delay = put_duration(&piece->delay, wait_ns);
    else if (!verdict->allowed && wait_ns != NEVER)
        verdict->retry_after = put_duration(&piece->retry, wait_ns);
    if (answer->reset_after_ns == NEVER)
        return;
    verdict->reset_after = put_duration(&piece->reset, answer->reset_after_ns);
    const uint64_t at_ns = now->wall_ns + answer->reset_after_ns;
    google__protobuf__timestamp__init(&piece->time);
    piece->time.seconds = (int64_t)(at_ns / NS_PER_S);
    piece->time.nanos = (int32_t)(at_ns % NS_PER_S);
    verdict->reset_time = &piece->time;
}

static void fill_verdict(const struct grpc_batch *batch, uint32_t at, struct piece *piece)
{
    const struct answer *answer = &batch->answers[at];
    verdict_t *verdict = &piece->verdict;
    mete__v1__verdict__init(verdict);
    verdict->allowed = (answer->flags & METE_VERDICT_ALLOW) != 0;
    if (answer->status == METE_STATUS_OK) {
        fill_numbers(&batch->checks[at], answer, batch->loop->now, piece);
        return;
    }
    const char *why = undecided(answer->status);
    verdict->undecided =
        (ProtobufCBinaryData){.len = strlen(why), .data = (uint8_t *)(uintptr_t)why};
}

static void put_message(struct grpc_call *call, const ProtobufCMessage *message)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *out = grpc_call_put(call, (uint32_t)len);
    if (out)
        protobuf_c_message_pack(message, out);
    else
        grpc_call_refuse(call, GRPC_RESOURCE_EXHAUSTED, "too many answers are not read");
}

static void finish_one(struct grpc_batch *batch, struct grpc_job *job)
{
    struct piece piece;
    fill_verdict(batch, job->first_check, &piece);
    put_message(job->call, &piece.verdict.base);
}

static void finish_batch(struct grpc_batch *batch, struct grpc_job *job)
{
    const size_t mark = batch->arena.used, count = job->check_count;
    struct piece *pieces = grpc_arena_take(&batch->arena, count * sizeof(*pieces));
    verdict_t **verdicts = grpc_arena_take(&batch->arena, count * sizeof(*verdicts));
    Mete__V1__BatchResponse response = METE__V1__BATCH_RESPONSE__INIT;
    if (!pieces || !verdicts) {
        grpc_call_refuse(job->call, GRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
        return;
    }
    response.allowed = true;
    response.n_verdicts = count;
    response.verdicts = verdicts;
    for (uint32_t i = 0; i < count; i++) {
        fill_verdict(batch, job->first_check + i, &pieces[i]);
        verdicts[i] = &pieces[i].verdict;
        response.allowed &= pieces[i].verdict.allowed;
    }
    put_message(job->call, &response.base);
    batch->arena.used = mark;
}

const struct grpc_method grpc_limiter_methods[] = {
    {"/mete.v1.Limiter/Check", false, false, prepare_check, finish_one},
    {"/mete.v1.Limiter/Peek", false, false, prepare_peek, finish_one},
    {"/mete.v1.Limiter/Refund", false, false, prepare_refund, finish_one},
    {"/mete.v1.Limiter/Reset", false, false, prepare_reset, finish_one},
    {"/mete.v1.Limiter/Acquire", false, false, prepare_acquire, finish_one},
    {"/mete.v1.Limiter/Renew", false, false, prepare_renew, finish_one},
    {"/mete.v1.Limiter/Release", false, false, prepare_release, finish_one},
    {"/mete.v1.Limiter/Batch", false, false, prepare_batch, finish_batch},
    {"/mete.v1.Limiter/CheckStream", true, false, prepare_check, finish_one},
    {.path = NULL},
};
