/* The checks that were asked for: taking a place for one, finishing it, calling back, deadlines.
 *
 * All submitted checks wait equally long, so the list in the order of submission is also the order
 * of their deadlines and expiry looks at its head only. One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static inline void list_push(struct mete_client *client, struct check_list *list,
                             enum link_kind kind, uint32_t index)
{
    client->checks[index].links[kind] = (struct link){.next = NONE, .previous = list->tail};
    if (list->tail == NONE)
        list->head = index;
    else
        client->checks[list->tail].links[kind].next = index;
    list->tail = index;
    list->count++;
}

static inline void list_remove(struct mete_client *client, struct check_list *list,
                               enum link_kind kind, uint32_t index)
{
    struct link link = client->checks[index].links[kind];
    if (link.previous == NONE)
        list->head = link.next;
    else
        client->checks[link.previous].links[kind].next = link.next;
    if (link.next == NONE)
        list->tail = link.previous;
    else
        client->checks[link.next].links[kind].previous = link.previous;
    list->count--;
}

void mete_check_enqueue(struct mete_client *client, struct check_list *list, uint32_t index)
{
    client->checks[index].queue = list;
    list_push(client, list, LINK_QUEUE, index);
}

void mete_check_unqueue(struct mete_client *client, uint32_t index)
{
    struct check *check = &client->checks[index];
    if (check->queue)
        list_remove(client, check->queue, LINK_QUEUE, index);
    check->queue = NULL;
}

int mete_check_validate(uint8_t type, const struct mete_request *request, uint8_t flags_allowed)
{
    if (mete_type_is_lease(type))
        flags_allowed &= type == METE_ACQUIRE ? METE_FLAG_SHADOW : 0;
    else if (type != METE_CHECK)
        flags_allowed &= METE_FLAG_INLINE_LIMIT | METE_FLAG_MIN_RESULT;
    const uint8_t clash = METE_FLAG_ALL_OR_NOTHING | METE_FLAG_AT_MOST;
    bool has_rule = request->rule ? request->rule[0] != '\0' : request->rule_id != 0;
    return has_rule && request->subject && request->subject_len &&
                   !(request->flags & ~flags_allowed) && (request->flags & clash) != clash
               ? 0
               : -EINVAL;
}

uint32_t mete_check_take(struct mete_client *client, uint8_t type,
                         const struct mete_request *request, int64_t deadline_ns)
{
    uint32_t index = client->check_free;
    if (index == NONE)
        index = client->check_fresh++;
    else
        client->check_free = client->checks[index].links[LINK_LIFE].next;
    struct check *check = &client->checks[index];
    memset(check, 0, offsetof(struct check, entry)); /* what follows is written before it is read */
    check->legs[0].flight = check->legs[1].flight = NONE;
    check->home = HOME_ANY;
    check->state = CHECK_WAITING;
    check->blocking = true;
    check->type = type;
    check->flags = request->flags;
    check->deadline_ns = deadline_ns;
    check->subject_len = request->subject_len;
    check->entry = (struct mete_entry){
        .rule =
            request->rule ? mete_name_id(request->rule, strlen(request->rule)) : request->rule_id,
        .cost = request->cost,
        .limit_count = request->limit_count,
        .limit_burst = request->limit_burst,
        .limit_period_ns = request->limit_period_ns,
    };
    if (request->subject_len <= sizeof(check->subject))
        memcpy(check->subject, request->subject, request->subject_len);
    else
        check->long_subject = request->subject;
    if (client->server_count > 1)
        check->choice =
            mete_place_choice(check->entry.rule, request->subject, request->subject_len);
    return index;
}

void mete_check_enlist(struct mete_client *client, uint32_t index, mete_answer_fn *on_answer,
                       void *context)
{
    struct check *check = &client->checks[index];
    check->blocking = false;
    if (check->long_subject) { /* the caller's, gone when submit returns */
        mete_datagram_key(client, check->long_subject, check->subject_len, &check->entry);
        check->has_key = true;
        check->long_subject = NULL;
    }
    check->on_answer = on_answer;
    check->context = context;
    client->submitted++;
    list_push(client, &client->waiting, LINK_LIFE, index);
}

static void release(struct mete_client *client, uint32_t index)
{
    struct check *check = &client->checks[index];
    if (!check->blocking)
        client->submitted--;
    check->state = CHECK_FREE;
    check->links[LINK_LIFE].next = client->check_free;
    client->check_free = index;
}

void mete_check_finish(struct mete_client *client, uint32_t index, const struct mete_answer *answer)
{
    struct check *check = &client->checks[index];
    if (check->queue)
        mete_check_unqueue(client, index);
    if (check->legs[0].flight != NONE || check->legs[1].flight != NONE)
        mete_flight_leave(client, index);
    if (answer->source == METE_SOURCE_TIMEOUT)
        client->stats.timeouts++;
    if (answer->source == METE_SOURCE_SERVER || answer->source == METE_SOURCE_STATUS)
        client->stats.answers++;
    if (!check->blocking) {
        check->answer = *answer;
        check->state = CHECK_FINISHED;
        list_remove(client, &client->waiting, LINK_LIFE, index);
        list_push(client, &client->finished, LINK_LIFE, index);
        return;
    }
    *(struct mete_answer *)check->context = *answer;
    client->blocking--;
    release(client, index);
}

void mete_check_give_up(struct mete_client *client, uint32_t index, enum mete_source source,
                        uint8_t status, int error)
{
    struct mete_answer answer =
        mete_answer_fallback(client, &client->checks[index], source, mete_now_ns());
    answer.status = status;
    answer.mete_errno = error;
    mete_check_finish(client, index, &answer);
}

/* Only what is finished now: a callback may submit something that fails at once, and so on. */
int mete_check_deliver(struct mete_client *client)
{
    uint32_t count = client->finished.count;
    int called = 0;
    for (uint32_t i = 0; i < count && client->finished.head != NONE; i++) {
        uint32_t index = client->finished.head;
        struct check *check = &client->checks[index];
        struct mete_answer answer = check->answer;
        mete_answer_fn *on_answer = check->on_answer;
        void *context = check->context;
        list_remove(client, &client->finished, LINK_LIFE, index);
        release(client, index);
        on_answer(context, &answer);
        called++;
    }
    return called;
}

void mete_check_expire(struct mete_client *client, int64_t now_ns)
{
    while (client->waiting.head != NONE &&
           client->checks[client->waiting.head].deadline_ns <= now_ns) {
        uint32_t index = client->waiting.head;
        mete_retry_expired(client, index, now_ns);
        mete_check_give_up(client, index, METE_SOURCE_TIMEOUT, METE_STATUS_OK, 0);
    }
}
