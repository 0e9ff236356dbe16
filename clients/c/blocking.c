/* The blocking form: send, wait until the deadline, give up with the fallback.
 *
 * Answers to submitted checks that arrive meanwhile are kept for process. Nothing is sent a second
 * time while the server does not recognise repeats (hello.repeat_ms is 0): a repeat would then be a
 * second charge. One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <poll.h>

static const uint8_t ask_flags = METE_FLAG_PEEK | METE_FLAG_SHADOW | METE_FLAG_AT_MOST |
                                 METE_FLAG_INLINE_LIMIT | METE_FLAG_MIN_RESULT;

/* Waits until something is there or the deadline is over. Returns whether there is time left. */
static bool wait_readable(const struct mete_client *client, int64_t deadline_ns)
{
    int64_t left_ns = deadline_ns - mete_now_ns();
    if (left_ns <= 0)
        return false;
    struct pollfd readable = {.fd = client->fd, .events = POLLIN};
    struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    ppoll(&readable, 1, &left, NULL);
    return true;
}

/* Whether the requests can go in one datagram without the tenant's seed. */
static bool fits_raw(uint8_t type, const struct mete_request *requests, unsigned count)
{
    unsigned longest = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned bytes = mete_wire_entry_raw(type, requests[0].flags, requests[i].subject_len);
        if (bytes == 0)
            return false;
        longest = bytes > longest ? bytes : longest;
    }
    return count * longest <= ENTRIES_BYTES;
}

/* Asks for the seed and waits for it. 0, ETIMEDOUT, or the errno that came instead. */
static int wait_for_seed(struct mete_client *client, int64_t deadline_ns)
{
    mete_send_hello(client, mete_now_ns());
    while (!client->hello.known && client->hello.in_flight && wait_readable(client, deadline_ns))
        mete_receive(client);
    if (client->hello.known)
        return 0;
    return client->hello.error ? client->hello.error : ETIMEDOUT;
}

/* All of them, with the fallback, before any of them became a check. */
static void answer_none(struct mete_client *client, uint8_t type,
                        const struct mete_request *requests, unsigned count, int error,
                        struct mete_answer *ret_answers)
{
    enum mete_source source = error == ETIMEDOUT ? METE_SOURCE_TIMEOUT : METE_SOURCE_SEND;
    for (unsigned i = 0; i < count; i++) {
        struct check check = {
            .type = type, .flags = requests[0].flags, .entry.cost = requests[i].cost};
        ret_answers[i] = mete_answer_fallback(client, &check, source, mete_now_ns());
        ret_answers[i].mete_errno = source == METE_SOURCE_SEND ? error : 0;
        client->stats.timeouts += source == METE_SOURCE_TIMEOUT;
    }
}

static void ask(struct mete_client *client, uint8_t type, const struct mete_request *requests,
                unsigned count, struct mete_answer *ret_answers)
{
    int64_t deadline_ns = mete_now_ns() + client->timeout_ns;
    int error = -mete_client_revive(client);
    if (!error && !client->hello.known && !fits_raw(type, requests, count))
        error = wait_for_seed(client, deadline_ns);
    if (error) {
        answer_none(client, type, requests, count, error, ret_answers);
        return;
    }
    uint32_t checks[MANY_MAX];
    for (unsigned i = 0; i < count; i++) {
        struct mete_request request = requests[i];
        request.flags = requests[0].flags;
        checks[i] = mete_check_take(client, type, &request, deadline_ns);
        client->checks[checks[i]].context = &ret_answers[i];
    }
    client->blocking = count;
    if (!mete_datagram_add_together(client, checks, count,
                                    requests[0].flags & METE_FLAG_ALL_OR_NOTHING)) {
        for (unsigned i = 0; i < count; i++)
            mete_check_give_up(client, checks[i], METE_SOURCE_STATUS, METE_STATUS_NEED_SUBJECT, 0);
        return;
    }
    mete_datagram_flush(client, true);
    while (client->blocking && wait_readable(client, deadline_ns)) {
        mete_receive(client);
        mete_datagram_flush(client, true); /* what has to be asked again */
    }
    for (unsigned i = 0; i < count && client->blocking; i++) {
        if (client->checks[checks[i]].state != CHECK_WAITING)
            continue;
        mete_flight_leave(client, checks[i]);
        mete_check_give_up(client, checks[i], METE_SOURCE_TIMEOUT, METE_STATUS_OK, 0);
    }
}

int mete_client_ask(struct mete_client *client, const struct mete_request *request,
                    struct mete_answer *ret_answer)
{
    if (mete_check_validate(METE_CHECK, request, ask_flags))
        return -EINVAL;
    ask(client, METE_CHECK, request, 1, ret_answer);
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
    ask(client, METE_REFUND, request, 1, ret_answer);
    return 0;
}

int mete_client_reset(struct mete_client *client, const struct mete_request *request,
                      struct mete_answer *ret_answer)
{
    if (mete_check_validate(METE_RESET, request, ask_flags))
        return -EINVAL;
    ask(client, METE_RESET, request, 1, ret_answer);
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
    ask(client, METE_CHECK, requests, count, ret_answers);
    if (requests[0].flags & METE_FLAG_ALL_OR_NOTHING)
        mete_answer_settle_group(client, ret_answers, count);
    return 0;
}
