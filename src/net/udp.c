#include "net/udp.h"

#include "obs/assert.h"

static const enum counter wire_counters[] = {
    [METE_WIRE_BAD_LENGTH] = COUNTER_BAD_LENGTH,   [METE_WIRE_BAD_MAGIC] = COUNTER_BAD_MAGIC,
    [METE_WIRE_BAD_VERSION] = COUNTER_BAD_VERSION, [METE_WIRE_BAD_SIZES] = COUNTER_BAD_SIZES,
    [METE_WIRE_BAD_COUNT] = COUNTER_BAD_COUNT,     [METE_WIRE_BAD_TYPE] = COUNTER_BAD_TYPE,
};

void udp_init(struct udp *udp, const struct config *config, struct engine *engine,
              struct counters *counters, uint64_t boot_id)
{
    udp->config = config;
    udp->engine = engine;
    udp->counters = counters;
    udp->boot_id = boot_id;
    udp->request_count = 0;
    udp->check_count = 0;
}

static void tally(struct udp *udp, enum counter counter, uint64_t amount)
{
    counter_add(&udp->counters->cell[counter], amount);
}

/* ---- in: what is believed, and what it asks ---- */

#define FLAGS_ALWAYS (METE_FLAG_RAW_SUBJECT | METE_FLAG_MIN_RESULT | METE_FLAG_IGNORABLE)

/* The table of flags in proto-spec/registry.md. */
static bool is_supported(const struct mete_header *header)
{
    uint8_t flags = header->flags;
    switch (header->type) {
    case METE_CHECK:
        return (flags & (METE_FLAG_ALL_OR_NOTHING | METE_FLAG_AT_MOST)) !=
               (METE_FLAG_ALL_OR_NOTHING | METE_FLAG_AT_MOST);
    case METE_REFUND:
    case METE_RESET:
        return !(flags & ~(FLAGS_ALWAYS | METE_FLAG_INLINE_LIMIT));
    case METE_HELLO:
        return !(flags & ~METE_FLAG_IGNORABLE);
    default:
        return false; /* leases among them */
    }
}

static enum operation operation_of(const struct mete_header *header)
{
    if (header->type == METE_REFUND)
        return OPERATION_REFUND;
    if (header->type == METE_RESET)
        return OPERATION_RESET;
    if (header->flags & METE_FLAG_PEEK)
        return OPERATION_PEEK;
    return header->flags & METE_FLAG_AT_MOST ? OPERATION_AT_MOST : OPERATION_CHECK;
}

/* An entry's own limit, compiled to where it lives until the answer; NULL if it cannot be. */
static const struct limit *compile_inline(const struct mete_entry *entry, struct limit *ret_limit)
{
    struct limit_spec spec = {
        .algorithm = ALGORITHM_TOKEN_BUCKET,
        .count = entry->limit_count,
        .period_ns = entry->limit_period_ns,
        .burst = entry->limit_burst,
    };
    if (limit_compile(&spec, ret_limit) != LIMIT_OK)
        return NULL;
    ret_limit->keeps_tat = 1;
    return ret_limit;
}

static void fill_check(struct udp *udp, uint32_t at, const struct tenant *tenant,
                       const struct mete_header *header, const struct mete_entry *entry)
{
    struct check *check = &udp->checks[at];
    check->tenant = tenant;
    check->rule_id = entry->rule;
    check->cost = entry->cost;
    check->operation = (uint8_t)operation_of(header);
    check->at_most = header->flags & METE_FLAG_AT_MOST;
    check->shadow = header->flags & METE_FLAG_SHADOW;
    check->has_inline_limit = header->flags & METE_FLAG_INLINE_LIMIT;
    check->group_count = 0;
    check->subject = header->flags & METE_FLAG_RAW_SUBJECT ? entry->subject : NULL;
    check->subject_len = entry->subject_len;
    if (header->flags & METE_FLAG_RAW_SUBJECT)
        check->key = key_of_subject(entry->subject, entry->subject_len, tenant->seed);
    else
        check->key = (struct key){.low = entry->key_low, .high = entry->key_high};
    if (check->has_inline_limit)
        check->limit = compile_inline(entry, &udp->inline_limits[at]);
}

/* Appends the request's checks; false if a raw subject does not fit its entry. */
static bool gather(struct udp *udp, struct udp_request *request, const struct tenant *tenant)
{
    const struct mete_header *header = &request->header;
    for (uint32_t i = 0; i < header->n; i++) {
        struct mete_entry entry;
        if (mete_wire_decode_entry(request->bytes, header, i, &entry))
            return false;
        fill_check(udp, udp->check_count + i, tenant, header, &entry);
    }
    if (header->flags & METE_FLAG_ALL_OR_NOTHING)
        udp->checks[udp->check_count].group_count = header->n;
    request->first_check = (uint16_t)udp->check_count;
    request->check_count = header->n;
    udp->check_count += header->n;
    return true;
}

/* COUNTER_RECEIVED: believed, and in the list. Anything else is why it is dropped. */
static enum counter take(struct udp *udp, uint8_t *bytes, uint32_t len, bool is_trusted,
                         uint32_t message)
{
    struct udp_request *request = &udp->requests[udp->request_count];
    enum mete_wire form = mete_wire_decode_header(bytes, len, &request->header);
    if (form != METE_WIRE_OK)
        return wire_counters[form];
    const struct tenant *tenant = config_find_tenant(udp->config, request->header.tenant);
    if (!tenant)
        return COUNTER_UNKNOWN_TENANT;
    if (request->header.secret != METE_WIRE_NO_SECRET)
        return COUNTER_BAD_TAG; /* no tenant has that secret */
    if (!is_trusted)
        return COUNTER_UNTRUSTED; /* no secret: believed where the path itself is */
    if (!mete_wire_verify_request(bytes, len, NULL))
        return COUNTER_BAD_TAG;
    request->tag = mete_wire_tag(bytes, len);
    request->bytes = bytes;
    request->len = len;
    request->message = message;
    request->check_count = 0;
    request->status = METE_STATUS_OK;
    if (!is_supported(&request->header))
        request->status = METE_STATUS_UNSUPPORTED;
    else if (request->header.type != METE_HELLO && !gather(udp, request, tenant))
        return COUNTER_BAD_SUBJECT;
    udp->request_count++;
    return COUNTER_RECEIVED;
}

/* ---- out: answers, in place ---- */

static bool fits_min(const struct answer *answers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (answers[i].status != METE_STATUS_OK ||
            answers[i].flags & ~(METE_VERDICT_ALLOW | METE_VERDICT_NOT_CHARGED))
            return false;
    return true;
}

static void encode_bitmap(uint8_t *out, const struct answer *answers, unsigned count)
{
    uint8_t *bitmap = out + METE_WIRE_RESULT_HEADER_BYTES;
    memset(bitmap, 0, (count + 63) / 64 * 8);
    for (unsigned i = 0; i < count; i++)
        if (answers[i].flags & METE_VERDICT_ALLOW)
            bitmap[i / 8] |= (uint8_t)(1u << i % 8);
}

static void encode_answer(uint8_t *out, unsigned index, const struct answer *answer)
{
    struct mete_verdict verdict = {.status = answer->status, .flags = answer->flags};
    if (answer->status == METE_STATUS_OK) {
        enum mete_unit retry_unit = METE_UNIT_COUNT;
        enum mete_unit reset_unit;
        verdict.remaining = answer->remaining;
        verdict.retry_after = answer->flags & METE_VERDICT_GRANTED
                                  ? answer->granted
                                  : mete_wire_time(answer->retry_after_ns, &retry_unit);
        verdict.reset_after = mete_wire_time(answer->reset_after_ns, &reset_unit);
        verdict.unit = (uint8_t)(retry_unit | reset_unit << 4);
    }
    mete_wire_encode_verdict(out, index, &verdict);
}

static unsigned find_denier(const struct answer *answers, unsigned count)
{
    unsigned i = 0;
    while (i < count && answers[i].flags & (METE_VERDICT_ALLOW | METE_VERDICT_NOT_CHARGED))
        i++;
    return i;
}

static void encode_hello(const struct udp *udp, const struct udp_request *request,
                         const struct instant *now, uint8_t *out)
{
    const struct tenant *tenant = config_find_tenant(udp->config, request->header.tenant);
    struct mete_hello_result hello = {
        .boot_id = udp->boot_id,
        .masked_seed = tenant->seed, /* without a secret the pad is 0 */
        .wall_ms = now->wall_ns / 1000000,
        .features = 1u << METE_CHECK | 1u << METE_REFUND | 1u << METE_RESET | 1u << METE_HELLO,
    };
    mete_wire_encode_hello_result(out, &hello);
}

size_t udp_encode(const struct udp *udp, const struct udp_request *request,
                  const struct answer *answers, const struct instant *now, uint8_t *out)
{
    struct mete_header asked = request->header; /* out may lie over it */
    unsigned n = request->check_count;
    uint32_t clock_ms = (uint32_t)(now->now_ns / 1000000);
    struct mete_result_header header = {
        .type = asked.type | METE_RESULT,
        .n = asked.n,
        .sequence = asked.sequence,
        .clock_ms = clock_ms ? clock_ms : 1, /* 0 means unknown */
        .boot = (uint16_t)udp->boot_id,
    };
    if (request->status != METE_STATUS_OK) {
        header.n = 0;
        header.flags = METE_RESULT_STATUS;
        header.detail = request->status;
    } else if (asked.flags & METE_FLAG_MIN_RESULT && fits_min(answers, n)) {
        header.flags = METE_RESULT_MIN;
        encode_bitmap(out, answers, n);
    } else if (asked.type == METE_HELLO) {
        encode_hello(udp, request, now, out);
    } else {
        for (unsigned i = 0; i < n; i++)
            encode_answer(out, i, &answers[i]);
    }
    if (asked.flags & METE_FLAG_ALL_OR_NOTHING && request->status == METE_STATUS_OK) {
        unsigned denier = find_denier(answers, n);
        if (denier < n) {
            header.flags |= METE_RESULT_DENIED_AT;
            header.detail = (uint8_t)denier;
        }
    }
    mete_wire_encode_result_header(out, &header);
    size_t len = mete_wire_result_bytes(header.type, header.flags, header.n);
    ASSERT(len <= request->len); /* never more out than in */
    mete_wire_sign_result(out, len, request->tag, NULL);
    return len;
}

/* Answers that follow each other with one size to one message are one run, one send. */
struct run {
    uint32_t message;
    uint32_t offset; /* in the message's bytes */
    uint32_t len;
    uint32_t segment;
};

static void close_run(struct io *io, const struct io_message *messages, struct run *run)
{
    if (run->len)
        io_reply(io, &messages[run->message], run->offset, run->len, run->segment);
    run->offset += run->len;
    run->len = 0;
}

static void add_to_run(struct io *io, const struct io_message *messages, struct run *run,
                       uint32_t len)
{
    /* A shorter answer may end a run, as the last segment of a joined send may be shorter. */
    bool is_open = run->len % run->segment == 0 && run->len / run->segment < IO_MAX_SEGMENTS;
    if (run->len && (len > run->segment || !is_open))
        close_run(io, messages, run);
    if (!run->len)
        run->segment = len;
    run->len += len;
}

static void answer_all(struct udp *udp, struct io *io, const struct io_message *messages,
                       const struct instant *now)
{
    engine_check_batch(udp->engine, udp->checks, udp->check_count, now, udp->answers);
    struct run run = {.message = UINT32_MAX, .segment = 1};
    for (uint32_t i = 0; i < udp->request_count; i++) {
        struct udp_request *request = &udp->requests[i];
        if (request->message != run.message) {
            close_run(io, messages, &run);
            /* A message cut by the end of the list goes on behind what was already answered: at the
             * start of this request, which is never before the end of an earlier answer. */
            run = (struct run){
                .message = request->message,
                .offset = (uint32_t)(request->bytes - messages[request->message].data),
                .segment = 1,
            };
        }
        uint8_t *out = messages[run.message].data + run.offset + run.len;
        size_t len = udp_encode(udp, request, udp->answers + request->first_check, now, out);
        add_to_run(io, messages, &run, (uint32_t)len);
        tally(udp, COUNTER_HELLO,
              request->header.type == METE_HELLO && request->status == METE_STATUS_OK);
        tally(udp, COUNTER_UNSUPPORTED, request->status == METE_STATUS_UNSUPPORTED);
    }
    close_run(io, messages, &run);
    tally(udp, COUNTER_ANSWERED, udp->request_count);
    udp->request_count = 0;
    udp->check_count = 0;
}

void udp_judge(struct udp *udp, struct io *io, const struct io_message *messages, uint32_t count,
               const struct instant *now)
{
    uint64_t received = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct io_message *message = &messages[i];
        if (message->truncated || message->len == 0) {
            received++;
            tally(udp, COUNTER_BAD_LENGTH, 1);
            continue;
        }
        bool is_trusted = config_is_trusted(udp->config, message->peer);
        for (uint32_t at = 0; at < message->len; at += message->segment) {
            uint32_t left = message->len - at;
            uint32_t len = left < message->segment ? left : message->segment;
            if (udp->request_count == UDP_REQUESTS ||
                udp->check_count + METE_WIRE_MAX_CHECKS > UDP_CHECKS)
                answer_all(udp, io, messages, now);
            enum counter fate = take(udp, message->data + at, len, is_trusted, i);
            if (fate != COUNTER_RECEIVED)
                tally(udp, fate, 1);
            received++;
        }
    }
    if (udp->request_count)
        answer_all(udp, io, messages, now);
    tally(udp, COUNTER_RECEIVED, received);
}
