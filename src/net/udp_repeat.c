/* Datagrams that were here before: claimed before they are charged, and answered as the first time.
 *
 * What is remembered of a datagram is one bit per check, did it pass, or with AT_MOST the units
 * that it was granted (1 for a cost of 0, all of them for what a full table let pass). A repeat is
 * asked as a peek; its statuses come out the same by themselves, and what was remembered is put
 * over the decisions, so that only the numbers are of now. */
#include "net/udp.h"

#define GRANTED_BITS 32u

static bool is_charging(const struct udp_request *request)
{
    return request->answer == UDP_ANSWER_CHECKS &&
           !(request->header.type == METE_CHECK && request->header.flags & METE_FLAG_PEEK);
}

static bool is_at_most(const struct udp_request *request)
{
    return request->header.type == METE_CHECK && request->header.flags & METE_FLAG_AT_MOST;
}

static uint32_t bits_of(const struct udp_request *request)
{
    return request->header.n * (is_at_most(request) ? GRANTED_BITS : 1);
}

/* Tags are one tenant's, so that none can meet another's, whatever it signs; and without a secret,
 * where the tag is client and sequence alone, at least of one type, flags and count. The tenant
 * stands in the low half of what is multiplied: in the high half only half of the set's secret
 * would reach the product, and who signs for two tenants could find that by trying. */
static uint64_t tag_of(const struct udp *udp, const struct udp_request *request)
{
    uint64_t head = mete_wire_get64(request->bytes); /* magic, type, flags, n, tenant */
    return request->tag + (head << 32 | head >> 32) * (udp->given.repeats->secret[0] | 1);
}

/* Does it count towards a limit on checks? A release only makes room. */
static bool is_limited(const struct udp_request *request)
{
    return quota_is_set(&request->tenant->checks) && request->header.type != METE_RELEASE;
}

/* Of the tenant's limit on checks. Before the datagram is looked for among repeats: a flood would
 * make that set forget the others'. And not before it is this datagram's turn: of copies in one
 * batch each gives back what it took before the next one takes. */
static bool pay(struct udp *udp, const struct instant *now, const struct udp_request *request)
{
    const struct tenant *tenant = request->tenant;
    return !is_limited(request) || quota_take(udp->given.quota, tenant->inline_index,
                                              &tenant->checks, request->header.n, now->now_ns);
}

/* A tenant pays for a datagram once. Whoever copies one and sends it again and again within the
 * window would else use up the limit of a tenant whose secret it does not have. */
static void give_back(struct udp *udp, const struct instant *now, const struct udp_request *request)
{
    const struct tenant *tenant = request->tenant;
    if (is_limited(request))
        quota_give(udp->given.quota, tenant->inline_index, &tenant->checks, request->header.n,
                   now->now_ns);
}

static void make_claim(const struct udp *udp, const struct instant *now,
                       const struct udp_request *request, struct repeat_claim *claim)
{
    claim->tag = tag_of(udp, request);
    claim->sent_ms = request->header.clock_ms;
    claim->now_ms = udp_clock_ms(now);
    claim->bit_count = bits_of(request);
}

/* Is it claimed together with others: in the set, and nothing to be paid first? */
static bool is_joined(const struct udp *udp, const struct udp_request *request)
{
    return udp->given.repeats && is_charging(request) && !is_limited(request);
}

static void settle_claim(struct udp *udp, struct udp_request *request, uint32_t first_word)
{
    const struct repeat_claim *claim = &udp->claims[request->claim];
    switch ((enum repeat_result)claim->result) {
    case REPEAT_NEW:
        request->repeat = UDP_REPEAT_CLAIMED;
        break;
    case REPEAT_KNOWN:
        request->repeat = UDP_REPEAT_KNOWN;
        request->first_word = (uint16_t)(first_word + claim->first_word);
        break;
    case REPEAT_OPEN: /* another worker, or an earlier one of this batch, is about to answer it */
        request->answer = UDP_ANSWER_NONE;
        break;
    case REPEAT_STALE:
        request->answer = UDP_ANSWER_STATUS;
        request->status = METE_STATUS_STALE;
        break;
    }
}

/* One whose tenant has a limit on its checks. */
static void claim_limited(struct udp *udp, const struct instant *now, struct udp_request *request)
{
    struct repeat_claim *claim = &udp->claims[udp->claim_count];
    uint32_t first_word = udp->word_count;
    if (!pay(udp, now, request)) {
        request->answer = UDP_ANSWER_STATUS;
        request->status = METE_STATUS_LIMITED;
        return;
    }
    if (!udp->given.repeats || !is_charging(request))
        return;
    make_claim(udp, now, request, claim);
    request->claim = (uint8_t)udp->claim_count++;
    udp->word_count += repeat_claim_all(udp->given.repeats, claim, 1, &udp->words[udp->word_count]);
    settle_claim(udp, request, first_word);
    if (request->repeat != UDP_REPEAT_CLAIMED)
        give_back(udp, now, request);
}

void udp_claim_all(struct udp *udp, const struct instant *now, struct udp_request *requests,
                   uint32_t count)
{
    bool has_limited = false;
    udp->claim_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct udp_request *request = &requests[i];
        request->repeat = UDP_REPEAT_UNKNOWN;
        if (request->answer != UDP_ANSWER_CHECKS)
            continue;
        if (is_joined(udp, request)) {
            make_claim(udp, now, request, &udp->claims[udp->claim_count]);
            request->claim = (uint8_t)udp->claim_count++;
        } else if (is_limited(request)) {
            has_limited = true;
            if (udp->given.repeats && is_charging(request))
                repeat_prefetch(udp->given.repeats, tag_of(udp, request));
        }
    }
    if (udp->claim_count)
        udp->word_count =
            repeat_claim_all(udp->given.repeats, udp->claims, udp->claim_count, udp->words);
    for (uint32_t i = 0; i < count; i++)
        if (requests[i].answer == UDP_ANSWER_CHECKS && is_joined(udp, &requests[i]))
            settle_claim(udp, &requests[i], 0);
    for (uint32_t i = 0; has_limited && i < count; i++)
        if (requests[i].answer == UDP_ANSWER_CHECKS && is_limited(&requests[i]))
            claim_limited(udp, now, &requests[i]);
}

void udp_withdraw(struct udp *udp, const struct instant *now, struct udp_request *request)
{
    if (request->repeat == UDP_REPEAT_CLAIMED)
        repeat_withdraw(udp->given.repeats, &udp->claims[request->claim]);
    request->repeat = UDP_REPEAT_UNKNOWN;
    give_back(udp, now, request);
}

static uint32_t get_bits(const uint64_t *words, unsigned index, bool is_wide)
{
    if (is_wide)
        return (uint32_t)(words[index / 2] >> index % 2 * GRANTED_BITS);
    return words[index / 64] >> index % 64 & 1;
}

static void put_bits(uint64_t *words, unsigned index, bool is_wide, uint32_t value)
{
    if (is_wide)
        words[index / 2] |= (uint64_t)value << index % 2 * GRANTED_BITS;
    else
        words[index / 64] |= (uint64_t)value << index % 64;
}

/* What passed keeps no cost: its peek is never denied, and a queue's delay is what lies ahead. What
 * was denied is asked as it is, for its wait. */
void udp_ask_again(const struct udp *udp, const struct udp_request *request, struct check *checks)
{
    const uint64_t *words = &udp->words[request->first_word];
    for (unsigned i = 0; i < request->check_count; i++) {
        checks[i].group_count = 0;
        if (mete_type_is_lease(request->header.type)) {
            checks[i].operation = OPERATION_LOOK;
            continue;
        }
        checks[i].operation = OPERATION_PEEK;
        if (get_bits(words, i, is_at_most(request)))
            checks[i].cost = 0;
    }
}

static bool is_shadow(const struct check *check)
{
    return check->shadow || (check->rule && check->rule->shadow);
}

/* The bytes still stand: answers are written when all are settled. */
static uint32_t cost_of(const struct udp_request *request, unsigned index)
{
    const struct mete_header *header = &request->header;
    return mete_wire_get32(request->bytes + header->header_bytes + index * header->entry_bytes + 4);
}

/* The delay of a queue without what this very check added to it the first time. */
static uint64_t delay_before(const struct check *check, uint32_t cost, uint64_t delay_ns)
{
    uint64_t own_ns = cost * check->limit->interval / LIMIT_TICKS_PER_NS;
    return delay_ns > own_ns ? delay_ns - own_ns : 0;
}

/* passed: the bit that was remembered, or the units. */
static void restore(const struct udp_request *request, const struct check *check, uint32_t cost,
                    uint32_t passed, struct answer *answer)
{
    if (!passed) {
        bool passes_now = answer->flags & METE_VERDICT_ALLOW;
        answer->flags = is_shadow(check) ? METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY : 0;
        if (passes_now)
            answer->retry_after_ns = 0;
        return;
    }
    bool is_delayed = answer->flags & METE_VERDICT_DELAY && request->header.type == METE_CHECK;
    answer->retry_after_ns = is_delayed ? delay_before(check, cost, answer->retry_after_ns) : 0;
    answer->flags = METE_VERDICT_ALLOW;
    if (is_at_most(request)) {
        answer->flags |= METE_VERDICT_GRANTED;
        answer->granted = cost ? passed : 0;
    } else if (answer->retry_after_ns) {
        answer->flags |= METE_VERDICT_DELAY;
    }
}

/* The lease was looked at (OPERATION_LOOK), and may have come or gone since the first time. */
static void restore_lease(const struct udp_request *request, const struct check *check, bool passed,
                          struct answer *answer)
{
    bool is_expired = answer->status == METE_STATUS_EXPIRED_LEASE;
    if (answer->status != METE_STATUS_OK && !is_expired)
        return; /* of the rule, not of the lease */
    answer->status = METE_STATUS_OK;
    if (passed) {
        bool is_held = answer->flags & METE_VERDICT_ALLOW;
        answer->flags = METE_VERDICT_ALLOW;
        answer->retry_after_ns = 0;
        if (!is_held || request->header.type == METE_RELEASE)
            answer->reset_after_ns = 0;
    } else if (request->header.type == METE_ACQUIRE) {
        answer->flags = is_shadow(check) ? METE_VERDICT_ALLOW | METE_VERDICT_WOULD_DENY : 0;
        answer->reset_after_ns = 0;
        if (is_shadow(check))
            answer->retry_after_ns = 0;
    } else {
        *answer = (struct answer){.status = is_expired ? METE_STATUS_EXPIRED_LEASE
                                                       : METE_STATUS_UNKNOWN_LEASE};
    }
}

/* Puts what was decided the first time over what the peeks say. */
static void restore_all(const struct udp *udp, const struct udp_request *request,
                        struct answer *answers)
{
    const uint64_t *words = &udp->words[request->first_word];
    const struct check *checks = &udp->checks[request->first_check];
    unsigned count = request->check_count;
    unsigned denier = count;
    for (unsigned i = 0; i < count; i++) {
        if (mete_type_is_lease(request->header.type))
            restore_lease(request, &checks[i], get_bits(words, i, false), &answers[i]);
        else if (answers[i].status == METE_STATUS_OK)
            restore(request, &checks[i], cost_of(request, i),
                    get_bits(words, i, is_at_most(request)), &answers[i]);
        if (denier == count && !(answers[i].flags & METE_VERDICT_ALLOW))
            denier = i;
        answers[i].flags |= METE_VERDICT_REPEAT;
    }
    if (request->header.flags & METE_FLAG_ALL_OR_NOTHING && denier < count)
        for (unsigned i = 0; i < count; i++)
            if (i != denier)
                answers[i].flags |= METE_VERDICT_NOT_CHARGED;
}

/* Leaves the decisions for whoever comes with the same bytes. */
static void finish(struct udp *udp, const struct udp_request *request, const struct answer *answers)
{
    const struct repeat_claim *claim = &udp->claims[request->claim];
    uint64_t words[REPEAT_WORDS];
    bool at_most = is_at_most(request);
    memset(words, 0, (claim->bit_count + 63) / 64 * sizeof(words[0]));
    for (unsigned i = 0; i < request->check_count; i++) {
        uint8_t flags = answers[i].flags;
        uint32_t cost = cost_of(request, i);
        bool passed = flags & METE_VERDICT_ALLOW && !(flags & METE_VERDICT_WOULD_DENY);
        uint32_t granted = flags & METE_VERDICT_GRANTED && cost ? answers[i].granted : cost + !cost;
        put_bits(words, i, at_most, at_most && passed ? granted : passed);
    }
    repeat_finish(udp->given.repeats, claim, words);
}

void udp_settle_repeat(struct udp *udp, const struct udp_request *request)
{
    struct answer *answers = &udp->answers[request->first_check];
    if (request->repeat == UDP_REPEAT_CLAIMED)
        finish(udp, request, answers);
    else if (request->repeat == UDP_REPEAT_KNOWN)
        restore_all(udp, request, answers);
}
