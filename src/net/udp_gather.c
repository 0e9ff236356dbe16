/* From believed datagrams to the engine's questions. */
#include "net/udp.h"

_Static_assert(OPERATION_RELEASE - OPERATION_ACQUIRE == METE_RELEASE - METE_ACQUIRE &&
                   OPERATION_RENEW - OPERATION_ACQUIRE == METE_RENEW - METE_ACQUIRE,
               "lease operations are in the order of their types");

static enum operation operation_of(const struct mete_header *header)
{
    if (header->type == METE_REFUND)
        return OPERATION_REFUND;
    if (header->type == METE_RESET)
        return OPERATION_RESET;
    if (mete_type_is_lease(header->type))
        return OPERATION_ACQUIRE + (header->type - METE_ACQUIRE); /* in the same order */
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
    check->lease_id = entry->lease;
    check->operation = (uint8_t)operation_of(header);
    check->at_most = header->flags & METE_FLAG_AT_MOST;
    check->shadow = header->flags & METE_FLAG_SHADOW;
    check->has_inline_limit = header->flags & METE_FLAG_INLINE_LIMIT;
    check->group_count = 0;
    check->subject = header->flags & METE_FLAG_RAW_SUBJECT ? entry->subject : NULL;
    check->subject_len = entry->subject_len;
    if (header->flags & METE_FLAG_RAW_SUBJECT)
        check->key = key_of_subject(entry->subject, entry->subject_len, *tenant->seed);
    else
        check->key = (struct key){.low = entry->key_low, .high = entry->key_high};
    if (check->has_inline_limit)
        check->limit = compile_inline(entry, &udp->inline_limits[at]);
}

void udp_gather(struct udp *udp, struct udp_request *request)
{
    const struct mete_header *header = &request->header;
    request->first_check = (uint16_t)udp->check_count;
    request->check_count = header->n;
    for (uint32_t i = 0; i < header->n; i++) {
        struct mete_entry entry = {0};
        mete_wire_decode_entry(request->bytes, header, i, &entry); /* was decoded before */
        fill_check(udp, udp->check_count + i, request->tenant, header, &entry);
    }
    if (header->flags & METE_FLAG_ALL_OR_NOTHING)
        udp->checks[udp->check_count].group_count = header->n;
    if (request->repeat == UDP_REPEAT_KNOWN)
        udp_ask_again(udp, request, &udp->checks[udp->check_count]);
    udp->check_count += header->n;
}
