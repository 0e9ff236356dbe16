/* The non-blocking form: submit, flush, process. Joining is in datagram.c, deadlines in checks.c.
 * One thread at a time; callbacks run inside process, on the caller's thread. */
#include "internal.h"

#include <errno.h>
#include <string.h>

static const uint8_t submit_flags = METE_FLAG_PEEK | METE_FLAG_SHADOW | METE_FLAG_AT_MOST |
                                    METE_FLAG_INLINE_LIMIT | METE_FLAG_MIN_RESULT;

/* A subject that can travel only as a key has to wait for the tenant's seed; without an answer to
 * HELLO it gets the fallback, so that it does not wait for ever. */
static int submit_without_seed(struct mete_client *client, const struct mete_request *request,
                               mete_answer_fn *on_answer, void *context)
{
    int64_t now_ns = mete_now_ns();
    uint32_t rule =
        request->rule ? mete_name_id(request->rule, strlen(request->rule)) : request->rule_id;
    struct server *server = mete_place_pick(
        client, mete_place_choice(rule, request->subject, request->subject_len), 0, false);
    mete_hello_begin(client, server, now_ns);
    if (!server->hello.failed)
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
    if (!client->seed_known &&
        !mete_wire_entry_raw(METE_CHECK, request->flags, request->subject_len))
        return submit_without_seed(client, request, on_answer, context);
    int64_t now_ns = mete_now_ns();
    uint32_t index = mete_check_take(client, METE_CHECK, request, now_ns + client->timeout_ns);
    mete_check_enlist(client, index, on_answer, context);
    mete_place(client, &index, 1, false);
    if (client->join_ns && mete_datagram_due_ns(client) <= now_ns)
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
    mete_retry_tick(client, now_ns);
    mete_place_adrift(client, false);
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
    mete_health_tick(client);
    if (client->join_ns)
        return process_joining(client);
    mete_datagram_flush(client, false);
    mete_receive(client);
    int64_t now_ns = mete_now_ns();
    mete_retry_tick(client, now_ns);
    mete_place_adrift(client, false);
    mete_check_expire(client, now_ns);
    return mete_check_deliver(client);
}

/* Of the checks, or of a HELLO that -EAGAIN is about. INT64_MAX: there is none. */
static int64_t first_deadline_ns(const struct mete_client *client)
{
    if (client->waiting.head != NONE)
        return client->checks[client->waiting.head].deadline_ns;
    if (!client->seed_known)
        for (uint32_t i = 0; i < client->server_count; i++)
            if (client->servers[i].hello.in_flight)
                return client->servers[i].hello.deadline_ns;
    return INT64_MAX;
}

int64_t mete_client_next_deadline_us(const struct mete_client *client)
{
    int64_t deadline_ns = first_deadline_ns(client);
    if (client->finished.count || client->adrift[false].count)
        return 0;
    if (deadline_ns == INT64_MAX)
        return -1;
    if (client->timer_ns < deadline_ns)
        deadline_ns = client->timer_ns;
    int64_t due_ns = client->join_ns ? mete_datagram_due_ns(client) : INT64_MAX;
    if (due_ns != INT64_MAX && client->flight_count < FLIGHTS_BUSY)
        return 0;
    if (due_ns < deadline_ns)
        deadline_ns = due_ns;
    int64_t left_ns = deadline_ns - mete_now_ns();
    return left_ns > 0 ? (left_ns + 999) / 1000 : 0;
}
