/* The non-blocking form: submit, flush, process. Joining is in datagram.c, deadlines in checks.c.
 * One thread at a time; callbacks run inside process, on the caller's thread. */
#include "internal.h"

#include <errno.h>

static const uint8_t submit_flags = METE_FLAG_PEEK | METE_FLAG_SHADOW | METE_FLAG_AT_MOST |
                                    METE_FLAG_INLINE_LIMIT | METE_FLAG_MIN_RESULT;

/* A subject that can travel only as a key has to wait for the tenant's seed; without an answer to
 * HELLO it gets the fallback, so that it does not wait for ever. */
static int submit_without_seed(struct mete_client *client, const struct mete_request *request,
                               mete_answer_fn *on_answer, void *context)
{
    int64_t now_ns = mete_now_ns();
    mete_send_hello(client, now_ns);
    if (!client->hello.failed)
        return -EAGAIN;
    uint32_t index = mete_check_take(client, METE_CHECK, request, now_ns + client->timeout_ns);
    mete_check_enlist(client, index, on_answer, context);
    mete_check_give_up(client, index, METE_SOURCE_TIMEOUT, METE_STATUS_OK, 0);
    return 0;
}

int mete_client_submit(struct mete_client *client, const struct mete_request *request,
                       mete_answer_fn *on_answer, void *context)
{
    if (!on_answer || mete_check_validate(METE_CHECK, request, submit_flags))
        return -EINVAL;
    int error = mete_client_revive(client);
    if (error)
        return error;
    if (client->submitted >= client->max_in_flight)
        return -EAGAIN;
    if (!client->hello.known &&
        !mete_wire_entry_raw(METE_CHECK, request->flags, request->subject_len))
        return submit_without_seed(client, request, on_answer, context);
    int64_t now_ns = mete_now_ns();
    uint32_t index = mete_check_take(client, METE_CHECK, request, now_ns + client->timeout_ns);
    mete_check_enlist(client, index, on_answer, context);
    mete_datagram_add(client, index);
    if (client->join_ns && client->due_ns <= now_ns)
        mete_datagram_flush_due(client, now_ns);
    return 0;
}

int mete_client_flush(struct mete_client *client)
{
    return mete_client_revive(client) ? 0 : mete_datagram_flush(client, false);
}

/* With fewer datagrams in flight an open one does not wait: one for the server to work on and one
 * on its way keep both ends awake, and waking costs more than the send that joining saves. */
#define FLIGHTS_BUSY 2u

/* As process without joining, but what is open goes only when it is due or too little is in flight.
 * That is asked after the callbacks, which are where most of the next checks come from. */
static int process_joining(struct mete_client *client)
{
    mete_receive(client);
    int64_t now_ns = mete_now_ns();
    mete_datagram_flush_due(client, now_ns); /* first, so that nothing expires in a batch */
    mete_check_expire(client, now_ns);
    int called = mete_check_deliver(client);
    if (client->flight_count < FLIGHTS_BUSY)
        mete_datagram_flush(client, false);
    else
        mete_datagram_flush_due(client, mete_now_ns());
    return called;
}

int mete_client_process(struct mete_client *client)
{
    if (mete_client_revive(client))
        return 0;
    if (client->join_ns)
        return process_joining(client);
    mete_datagram_flush(client, false);
    mete_receive(client);
    mete_datagram_flush(client, false); /* what has to be asked again */
    mete_check_expire(client, mete_now_ns());
    return mete_check_deliver(client);
}

int64_t mete_client_next_deadline_us(const struct mete_client *client)
{
    int64_t deadline_ns = INT64_MAX;
    if (client->finished.count)
        return 0;
    if (client->waiting.head != NONE)
        deadline_ns = client->checks[client->waiting.head].deadline_ns;
    else if (client->hello.in_flight && !client->hello.known)
        deadline_ns = client->hello.deadline_ns;
    else
        return -1;
    if (client->join_ns && client->due_ns != INT64_MAX && client->flight_count < FLIGHTS_BUSY)
        return 0;
    if (client->join_ns && client->due_ns < deadline_ns)
        deadline_ns = client->due_ns;
    int64_t left_ns = deadline_ns - mete_now_ns();
    return left_ns > 0 ? (left_ns + 999) / 1000 : 0;
}
