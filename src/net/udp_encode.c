/* Answers, in place: each is written over the request it answers and is never longer than it. */
#include "net/udp.h"

#include "obs/assert.h"

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
    const struct tenant *tenant = request->tenant;
    const struct repeat_set *repeats = udp->given.repeats;
    uint64_t pad = 0;
    if (request->key)
        pad = keys_pad(&tenant->secrets[request->header.secret],
                       request->bytes + request->header.header_bytes);
    struct mete_hello_result hello = {
        .boot_id = udp->given.boot_id,
        .masked_seed = pad ^ *tenant->seed,
        .wall_ms = now->wall_ns / 1000000,
        .repeat_ms = repeats ? repeats->window_ms : 0,
        .ahead_ms = repeats ? repeats->ahead_ms : 0,
        .features = 1u << METE_CHECK | 1u << METE_REFUND | 1u << METE_RESET | 1u << METE_ACQUIRE |
                    1u << METE_RENEW | 1u << METE_RELEASE | 1u << METE_HELLO,
    };
    mete_wire_encode_hello_result(out, &hello);
}

static void encode_checks(const struct udp_request *request, const struct answer *answers,
                          struct mete_result_header *header, uint8_t *out)
{
    uint8_t flags = request->header.flags; /* out may lie over the request */
    unsigned n = request->check_count;
    if (flags & METE_FLAG_MIN_RESULT && fits_min(answers, n)) {
        header->flags = METE_RESULT_MIN;
        encode_bitmap(out, answers, n);
    } else {
        for (unsigned i = 0; i < n; i++)
            encode_answer(out, i, &answers[i]);
    }
    if (flags & METE_FLAG_ALL_OR_NOTHING) {
        unsigned denier = find_denier(answers, n);
        if (denier < n) {
            header->flags |= METE_RESULT_DENIED_AT;
            header->detail = (uint8_t)denier;
        }
    }
}

static size_t encode_restarted(const struct udp *udp, const struct udp_request *request,
                               uint8_t *out)
{
    struct mete_result_header header = {
        .type = METE_RESTARTED,
        .sequence = request->header.sequence,
        .boot = (uint16_t)udp->given.boot_id,
    };
    mete_wire_encode_result_header(out, &header);
    return mete_wire_result_bytes(header.type, 0, 0);
}

size_t udp_encode(const struct udp *udp, const struct udp_request *request,
                  const struct answer *answers, const struct instant *now, uint8_t *out)
{
    if (request->answer == UDP_ANSWER_RESTARTED)
        return encode_restarted(udp, request, out);
    struct mete_result_header header = {
        .type = request->header.type | METE_RESULT,
        .n = request->header.n,
        .sequence = request->header.sequence,
        .clock_ms = udp_clock_ms(now),
        .boot = (uint16_t)udp->given.boot_id,
    };
    if (request->answer == UDP_ANSWER_STATUS) {
        header.n = 0;
        header.flags = METE_RESULT_STATUS;
        header.detail = request->status;
    } else if (request->answer == UDP_ANSWER_HELLO) {
        encode_hello(udp, request, now, out);
    } else {
        encode_checks(request, answers, &header, out);
    }
    mete_wire_encode_result_header(out, &header);
    size_t len = mete_wire_result_bytes(header.type, header.flags, header.n);
    ASSERT(len <= request->len); /* never more out than in */
    return len;
}

static bool is_answered(const struct udp_request *request)
{
    return request->answer < UDP_ANSWER_PARKED;
}

static uint8_t *tag_at(const struct udp_request *request)
{
    return request->bytes + request->len - METE_WIRE_TAG_BYTES;
}

void udp_sign_all(struct udp *udp)
{
    unsigned count = 0;
    uint8_t *places[UDP_REQUESTS];
    for (uint32_t i = 0; i < udp->request_count; i++) {
        const struct udp_request *request = &udp->requests[i];
        if (!is_answered(request))
            continue;
        if (!request->key || request->answer == UDP_ANSWER_RESTARTED) {
            /* without a secret, and in the hint that nothing signs: the request's own tag */
            mete_wire_put64(tag_at(request), request->tag);
            continue;
        }
        places[count] = tag_at(request);
        udp->jobs[count++] = (struct tags_job){
            .key = request->key,
            .bytes = request->bytes,
            .len = request->len - METE_WIRE_TAG_BYTES,
            .has_request_tag = true,
            .request_tag = request->tag,
        };
    }
    tags_compute(udp->has_lanes, udp->jobs, count, udp->tags);
    for (unsigned i = 0; i < count; i++)
        mete_wire_put64(places[i], udp->tags[i]);
}
