/* Which datagrams are believed, in the order of proto-spec/protocol.md section 5. Nothing of a
 * datagram is used for more than finding its key before its tag is verified. */
#include "net/udp.h"

static const enum counter wire_counters[] = {
    [METE_WIRE_BAD_LENGTH] = COUNTER_BAD_LENGTH,   [METE_WIRE_BAD_MAGIC] = COUNTER_BAD_MAGIC,
    [METE_WIRE_BAD_VERSION] = COUNTER_BAD_VERSION, [METE_WIRE_BAD_SIZES] = COUNTER_BAD_SIZES,
    [METE_WIRE_BAD_COUNT] = COUNTER_BAD_COUNT,     [METE_WIRE_BAD_TYPE] = COUNTER_BAD_TYPE,
};

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
    case METE_ACQUIRE:
        return !(flags & ~(FLAGS_ALWAYS | METE_FLAG_SHADOW));
    case METE_RENEW:
    case METE_RELEASE:
        return !(flags & ~FLAGS_ALWAYS);
    default:
        return false;
    }
}

static bool has_good_subjects(const struct udp_request *request)
{
    const struct mete_header *header = &request->header;
    if (!(header->flags & METE_FLAG_RAW_SUBJECT))
        return true;
    struct mete_entry entry;
    for (uint32_t i = 0; i < header->n; i++)
        if (mete_wire_decode_entry(request->bytes, header, i, &entry))
            return false;
    return true;
}

/* A tag that does not verify may come from a client that has not noticed our restart: it signs for
 * another boot id. Whether it is one nobody can tell, so the hint is unsigned, short and rare. A
 * HELLO needs no boot id, so a bad one has no such excuse. */
static enum counter doubt(struct udp *udp, const struct instant *now, struct udp_request *request)
{
    if (request->header.boot == (uint16_t)udp->given.boot_id || request->header.type == METE_HELLO)
        return COUNTER_BAD_TAG;
    uint64_t burst_ns = (uint64_t)(UDP_RESTARTED_BURST - 1) * UDP_RESTARTED_EVERY_NS;
    uint64_t at_ns = udp->restarted_at_ns;
    at_ns = at_ns > now->now_ns ? at_ns : now->now_ns;
    if (at_ns - now->now_ns > burst_ns)
        return COUNTER_BAD_TAG;
    udp->restarted_at_ns = at_ns + UDP_RESTARTED_EVERY_NS;
    udp_tally(udp, COUNTER_BAD_TAG, 1);
    request->answer = UDP_ANSWER_RESTARTED;
    return COUNTER_RECEIVED;
}

/* Is the clock that the datagram carries within what a repeat is known for? */
static bool is_stale(const struct udp *udp, const struct udp_request *request,
                     const struct instant *now)
{
    const struct mete_header *header = &request->header;
    if (!udp->given.repeats)
        return false;
    if (!request->key && header->boot && header->boot != (uint16_t)udp->given.boot_id)
        return true; /* of another life, whose clock was another one */
    if (header->clock_ms == 0)
        return request->key != NULL; /* unknown: a first datagram on a trusted path */
    return !repeat_is_fresh(udp->given.repeats, header->clock_ms, udp_clock_ms(now));
}

static enum counter answer_status(struct udp_request *request, enum mete_status status)
{
    request->answer = UDP_ANSWER_STATUS;
    request->status = (uint8_t)status;
    return COUNTER_RECEIVED;
}

/* COUNTER_RECEIVED: by this key, or by the path that it came by. */
static enum counter find_key(const struct udp *udp, bool is_trusted, struct udp_request *request)
{
    const struct mete_header *header = &request->header;
    const struct tenant *tenant = request->tenant;
    request->key = NULL;
    if (header->secret == METE_WIRE_NO_SECRET)
        return is_trusted ? COUNTER_RECEIVED : COUNTER_UNTRUSTED;
    if (header->secret >= tenant->secret_count)
        return COUNTER_BAD_TAG;
    const struct tenant_keys *keys = &udp->policy.keys[tenant - udp->policy.config->tenants];
    request->key =
        header->type == METE_HELLO ? &keys->hello[header->secret] : &keys->boot[header->secret];
    return COUNTER_RECEIVED;
}

enum counter udp_recognize(struct udp *udp, uint8_t *bytes, uint32_t len, bool is_trusted,
                           struct udp_request *request)
{
    enum mete_wire form = mete_wire_decode_header(bytes, len, &request->header);
    if (form != METE_WIRE_OK)
        return wire_counters[form];
    request->tenant = config_find_tenant(udp->policy.config, request->header.tenant);
    if (!request->tenant)
        return COUNTER_UNKNOWN_TENANT;
    request->bytes = bytes;
    request->len = len;
    request->tag = mete_wire_tag(bytes, len);
    request->first_check = 0;
    request->check_count = 0;
    request->answer = UDP_ANSWER_CHECKS;
    request->status = METE_STATUS_OK;
    return find_key(udp, is_trusted, request);
}

/* tag: what the datagram's should be. COUNTER_RECEIVED: it is believed, or answered by a hint. */
static enum counter verify(struct udp *udp, uint64_t tag, const struct instant *now,
                           struct udp_request *request)
{
    bool is_good = mete_mac_equal(tag, request->tag);
    if (!request->key)
        return is_good ? COUNTER_RECEIVED : COUNTER_BAD_TAG;
    if (!is_good)
        return doubt(udp, now, request);
    struct secret_counters *counters = &udp->policy.secret_counters[request->tenant->inline_index];
    counter_add(&counters->used[request->header.secret], 1);
    return COUNTER_RECEIVED;
}

static enum counter believe(struct udp *udp, uint64_t tag, const struct instant *now,
                            struct udp_request *request)
{
    enum counter fate = verify(udp, tag, now, request);
    if (fate != COUNTER_RECEIVED || request->answer != UDP_ANSWER_CHECKS)
        return fate; /* or a hint, or what was shed */
    if (!is_supported(&request->header))
        return answer_status(request, METE_STATUS_UNSUPPORTED);
    if (request->header.type == METE_HELLO) { /* changes nothing, so it may come again */
        request->answer = UDP_ANSWER_HELLO;
        return COUNTER_RECEIVED;
    }
    if (!has_good_subjects(request))
        return COUNTER_BAD_SUBJECT;
    if (is_stale(udp, request, now))
        return answer_status(request, METE_STATUS_STALE);
    return COUNTER_RECEIVED;
}

/* In jobs and tags those under a secret stand in their order. */
static void compute_tags(struct udp *udp)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < udp->request_count; i++) {
        const struct udp_request *request = &udp->requests[i];
        if (request->key)
            udp->jobs[count++] = (struct tags_job){
                .key = request->key,
                .bytes = request->bytes,
                .len = request->len - METE_WIRE_TAG_BYTES,
            };
    }
    tags_compute(udp->has_lanes, udp->jobs, count, udp->tags);
}

void udp_believe_all(struct udp *udp, const struct instant *now)
{
    compute_tags(udp);
    unsigned next = 0;
    for (uint32_t i = 0; i < udp->request_count; i++) {
        struct udp_request *request = &udp->requests[i];
        uint64_t tag = request->key
                           ? udp->tags[next++]
                           : mete_wire_make_request_tag(request->bytes, request->len, NULL);
        bool is_judged = request->answer == UDP_ANSWER_CHECKS; /* and not left out */
        enum counter fate = believe(udp, tag, now, request);
        bool is_forged = fate == COUNTER_BAD_TAG || request->answer == UDP_ANSWER_RESTARTED;
        if (udp->shed && is_judged && is_forged)
            shed_take_forged(udp->shed, &request->header);
        if (fate == COUNTER_RECEIVED)
            continue;
        udp_tally(udp, fate, 1);
        request->answer = UDP_ANSWER_DROPPED;
    }
}
