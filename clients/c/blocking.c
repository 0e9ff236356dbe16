/* The blocking form: send, wait until the deadline, give up with the fallback.
 *
 * Answers to submitted checks that arrive meanwhile are kept for process, and so is what has to be
 * asked again for them. One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <poll.h>

static const uint8_t ask_flags = METE_FLAG_PEEK | METE_FLAG_SHADOW | METE_FLAG_AT_MOST |
                                 METE_FLAG_INLINE_LIMIT | METE_FLAG_MIN_RESULT;

/* Waits until something is there or something has to be done, at most until the deadline. Returns
 * whether there is time left. */
static bool wait_readable(const struct mete_client *client, int64_t deadline_ns)
{
    int64_t now_ns = mete_now_ns();
    int64_t until_ns = client->timer_ns < deadline_ns ? client->timer_ns : deadline_ns;
    int64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    if (deadline_ns <= now_ns)
        return false;
    struct pollfd readable = {.fd = client->fd, .events = POLLIN};
    struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    ppoll(&readable, 1, &left, NULL);
    return true;
}

/* All of them, with the fallback, before any of them became a check. */
static void answer_none(struct mete_client *client, uint8_t type,
                        const struct mete_request *requests, unsigned count, int error,
                        struct mete_answer *ret_answers)
{
    for (unsigned i = 0; i < count; i++) {
        struct check check = {
            .type = type, .flags = requests[0].flags, .entry.cost = requests[i].cost};
        ret_answers[i] = mete_answer_fallback(client, &check, METE_SOURCE_SEND, mete_now_ns());
        ret_answers[i].mete_errno = error;
    }
}

void mete_ask(struct mete_client *client, uint8_t type, uint64_t lease_id,
              const struct mete_request *requests, unsigned count, struct mete_answer *ret_answers)
{
    int64_t deadline_ns = mete_now_ns() + client->timeout_ns;
    int error = -mete_client_revive(client);
    if (error) {
        answer_none(client, type, requests, count, error, ret_answers);
        return;
    }
    mete_health_tick(client);
    bool whole = requests[0].flags & METE_FLAG_ALL_OR_NOTHING;
    uint32_t checks[MANY_MAX];
    for (unsigned i = 0; i < count; i++) {
        struct mete_request request = requests[i];
        request.flags = requests[0].flags;
        checks[i] = mete_check_take(client, type, &request, deadline_ns);
        client->checks[checks[i]].context = &ret_answers[i];
        client->checks[checks[i]].entry.lease = lease_id;
        if (whole) /* all of them to one server, the next one too */
            client->checks[checks[i]].choice = client->checks[checks[0]].choice;
    }
    client->blocking = count;
    mete_place(client, checks, count, whole);
    mete_datagram_flush(client, true);
    mete_place_adrift(client, true);
    while (client->blocking && wait_readable(client, deadline_ns)) {
        mete_receive(client);
        mete_retry_tick(client, mete_now_ns());
        mete_place_adrift(client, true);
    }
    int64_t now_ns = client->blocking ? mete_now_ns() : 0;
    for (unsigned i = 0; i < count && client->blocking; i++) {
        if (client->checks[checks[i]].state != CHECK_WAITING)
            continue;
        mete_retry_expired(client, checks[i], now_ns);
        mete_check_give_up(client, checks[i], METE_SOURCE_TIMEOUT, METE_STATUS_OK, 0);
    }
}

int mete_client_ask(struct mete_client *client, const struct mete_request *request,
                    struct mete_answer *ret_answer)
{
    if (mete_check_validate(METE_CHECK, request, ask_flags))
        return -EINVAL;
    mete_ask(client, METE_CHECK, 0, request, 1, ret_answer);
    return 0;
}

int mete_client_check(struct mete_client *client, const char *rule, const void *subject,
                      size_t subject_len, uint32_t cost, struct mete_answer *ret_answer)
{
    struct mete_request request = {
        .rule = rule, .subject = subject, .subject_len = subject_len, .cost = cost};
    return mete_client_ask(client, &request, ret_answer);
}

int mete_client_refund(struct mete_client *client, const struct mete_request *request,
                       struct mete_answer *ret_answer)
{
    if (mete_check_validate(METE_REFUND, request, ask_flags))
        return -EINVAL;
    mete_ask(client, METE_REFUND, 0, request, 1, ret_answer);
    return 0;
}

int mete_client_reset(struct mete_client *client, const struct mete_request *request,
                      struct mete_answer *ret_answer)
{
    if (mete_check_validate(METE_RESET, request, ask_flags))
        return -EINVAL;
    mete_ask(client, METE_RESET, 0, request, 1, ret_answer);
    return 0;
}

int mete_client_check_many(struct mete_client *client, const struct mete_request *requests,
                           unsigned count, struct mete_answer *ret_answers)
{
    if (count == 0 || count > MANY_MAX)
        return -E2BIG;
    for (unsigned i = 0; i < count; i++) {
        struct mete_request request = requests[i];
        request.flags = requests[0].flags;
        if (mete_check_validate(METE_CHECK, &request, ask_flags | METE_FLAG_ALL_OR_NOTHING))
            return -EINVAL;
    }
    mete_ask(client, METE_CHECK, 0, requests, count, ret_answers);
    if (requests[0].flags & METE_FLAG_ALL_OR_NOTHING)
        mete_answer_settle_group(client, ret_answers, count);
    return 0;
}
