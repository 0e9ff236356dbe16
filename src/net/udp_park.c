#include "net/udp_park.h"

_Static_assert(UDP_PARK_MAX <= UINT16_MAX, "items are numbered by 16 bits");

void udp_park_init(struct udp_park *park, uint64_t wait_ns)
{
    park->wait_ns = wait_ns;
    park->free_count = UDP_PARK_MAX;
    for (uint32_t i = 0; i < UDP_PARK_MAX; i++)
        park->free[i] = (uint16_t)(UDP_PARK_MAX - 1 - i);
}

bool udp_park_concerns(const struct udp_request *request)
{
    const struct mete_header *header = &request->header;
    if (!request->tenant->has_exact || request->answer != UDP_ANSWER_CHECKS ||
        header->type != METE_CHECK || header->flags & (METE_FLAG_PEEK | METE_FLAG_INLINE_LIMIT))
        return false;
    for (uint32_t i = 0; i < header->n; i++) {
        struct mete_entry entry = {0};
        mete_wire_decode_entry(request->bytes, header, i, &entry); /* was decoded before */
        const struct rule *rule = config_find_rule(request->tenant, entry.rule);
        if (rule && rule->limit.sync == SYNC_EXACT)
            return true;
    }
    return false;
}

/* The item of a request that was parked before, else a new one. NULL: no room. */
static struct udp_parked *take_item(struct udp *udp, const struct udp_request *request,
                                    const struct instant *now)
{
    struct udp_park *park = udp->given.park;
    if (udp->is_retry)
        return &park->items[park->batch[request->message]];
    if (!park->free_count || !park->wait_ns)
        return NULL;
    uint16_t index = park->free[--park->free_count];
    struct udp_parked *item = &park->items[index];
    memcpy(item->bytes, request->bytes, request->len);
    item->len = request->len;
    item->until_ns = now->now_ns + park->wait_ns;
    item->asked_ns = now->now_ns;
    replies_keep_path(&udp->messages[request->message], &item->path);
    park->order[park->count++] = index;
    udp_tally(udp, COUNTER_PARKED, 1);
    return item;
}

static bool has_waited(const struct udp_park *park, const struct udp_parked *item,
                       const struct instant *now)
{
    return park->is_last || now->now_ns >= item->until_ns;
}

bool udp_park_try(struct udp *udp, struct udp_request *request, const struct instant *now)
{
    struct udp_park *park = udp->given.park;
    struct engine *engine = udp->given.engine;
    struct engine_wait wait;
    if (request->answer != UDP_ANSWER_CHECKS || request->repeat == UDP_REPEAT_KNOWN)
        return false; /* it charges nothing */
    struct udp_parked *item = udp->is_retry ? &park->items[park->batch[request->message]] : NULL;
    bool is_over = item && has_waited(park, item, now);
    bool asks = !item || now->now_ns - item->asked_ns >= UDP_PARK_ASK_NS;
    if (!engine_must_wait(engine, udp->checks, udp->check_count, now, asks && !is_over, &wait))
        return false;
    item = is_over ? NULL : take_item(udp, request, now);
    engine->shared->has_waited = !item;
    if (!item)
        return false;
    item->asked_ns = asks ? now->now_ns : item->asked_ns;
    item->wait = wait;
    item->is_done = false;
    udp_withdraw(udp, now, request);
    request->answer = UDP_ANSWER_PARKED;
    return true;
}

/* ---- again ---- */

static bool is_due(const struct udp *udp, const struct udp_parked *item, const struct instant *now)
{
    return has_waited(udp->given.park, item, now) ||
           now->now_ns - item->asked_ns >= UDP_PARK_ASK_NS ||
           engine_has_news(udp->given.engine, &item->wait);
}

static void add_to_batch(struct udp *udp, uint16_t index)
{
    struct udp_park *park = udp->given.park;
    struct udp_parked *item = &park->items[index];
    uint32_t at = udp->request_count;
    struct udp_request *request = &udp->requests[at];
    park->batch[at] = index;
    park->messages[at] = replies_message(&item->path, item->bytes, item->len);
    item->is_done = true; /* unless it has to wait again */
    bool is_trusted = config_is_trusted(udp->policy.config, park->messages[at].peer);
    enum counter fate = udp_recognize(udp, item->bytes, item->len, is_trusted, request);
    request->message = at;
    if (fate == COUNTER_RECEIVED)
        udp->request_count++;
    else
        udp_tally(udp, fate, 1); /* by what was loaded meanwhile */
}

/* What was answered leaves the queue. */
static void settle(struct udp_park *park)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < park->count; i++) {
        uint16_t index = park->order[i];
        if (park->items[index].is_done)
            park->done[park->done_count++] = index;
        else
            park->order[kept++] = index;
    }
    park->count = kept;
}

void udp_park_retry(struct udp *udp, struct io *io, const struct instant *now, bool is_last)
{
    struct udp_park *park = udp->given.park;
    while (park->done_count)
        park->free[park->free_count++] = park->done[--park->done_count];
    park->is_last = is_last;
    udp->is_retry = true;
    for (uint32_t i = 0; i < park->count; i++) {
        if (is_due(udp, &park->items[park->order[i]], now))
            add_to_batch(udp, park->order[i]);
        if (udp->request_count == UDP_REQUESTS)
            udp_answer_all(udp, io, park->messages, now);
    }
    if (udp->request_count)
        udp_answer_all(udp, io, park->messages, now);
    udp->is_retry = false;
    settle(park);
}
