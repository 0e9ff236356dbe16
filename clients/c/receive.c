/* From datagrams to answers. Everything that arrives is checked (form, type, sequence, tag bound to
 * the request's tag, number of entries) and dropped and counted if it does not fit: a late answer,
 * a stranger's, a forged one. One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define RECEIVE_CALLS 16 /* in one go; the caller then looks at the clock */

struct inbox {
    struct mmsghdr messages[RECEIVE_MANY];
    struct iovec vectors[RECEIVE_MANY];
    /* one that is too long shows by its length */
    uint8_t bytes[RECEIVE_MANY][METE_WIRE_MAX_BYTES + 8];
};

struct inbox *mete_inbox_create(void)
{
    struct inbox *inbox = calloc(1, sizeof(*inbox));
    for (unsigned i = 0; inbox && i < RECEIVE_MANY; i++) {
        inbox->vectors[i] = (struct iovec){inbox->bytes[i], sizeof(inbox->bytes[i])};
        inbox->messages[i].msg_hdr =
            (struct msghdr){.msg_iov = &inbox->vectors[i], .msg_iovlen = 1};
    }
    return inbox;
}

/* A status for the datagram as a whole. STALE has told the server's clock: that is worth one more
 * datagram, and nothing was charged. */
static void take_status(struct mete_client *client, const struct server *server,
                        const uint32_t *waiting, unsigned n, uint8_t status)
{
    for (unsigned i = 0; i < n; i++) {
        if (waiting[i] == NONE)
            continue;
        struct check *check = &client->checks[waiting[i]];
        if (status == METE_STATUS_STALE && !check->was_stale) {
            check->was_stale = true;
            mete_place_again(client, waiting[i], server->index);
        } else {
            mete_check_give_up(client, waiting[i], METE_SOURCE_STATUS, status, 0);
        }
    }
}

static struct mete_verdict verdict_at(const uint8_t *bytes, const struct mete_result_header *header,
                                      unsigned index)
{
    if (!(header->flags & METE_RESULT_MIN))
        return mete_wire_decode_verdict(bytes, index);
    bool allowed = mete_wire_decode_min(bytes, index);
    return (struct mete_verdict){.flags = allowed ? METE_VERDICT_ALLOW : 0};
}

/* NEED_SUBJECT is worth another datagram if the subject has not travelled yet and can. */
static bool needs_subject(const struct check *check, const struct mete_verdict *verdict)
{
    return verdict->status == METE_STATUS_NEED_SUBJECT && !check->raw &&
           mete_wire_entry_raw(check->type, check->flags, check->subject_len) != 0;
}

/* With ALL_OR_NOTHING nothing was charged if one entry needs its subject: all go again. */
static void take_verdicts(struct mete_client *client, const struct server *server,
                          const uint8_t *bytes, const struct mete_result_header *header,
                          const uint32_t *waiting)
{
    bool all_again = false;
    for (unsigned i = 0; i < header->n; i++) {
        struct mete_verdict verdict = verdict_at(bytes, header, i);
        if (waiting[i] == NONE || !needs_subject(&client->checks[waiting[i]], &verdict))
            continue;
        const struct check *check = &client->checks[waiting[i]];
        mete_datagram_remember_rule(client, check->entry.rule);
        all_again = check->flags & METE_FLAG_ALL_OR_NOTHING;
    }
    for (unsigned i = 0; i < header->n; i++) {
        struct mete_verdict verdict = verdict_at(bytes, header, i);
        if (waiting[i] == NONE)
            continue;
        const struct check *check = &client->checks[waiting[i]];
        if (all_again || needs_subject(check, &verdict)) {
            mete_place_again(client, waiting[i], server->index);
            continue;
        }
        struct mete_answer answer = mete_answer_verdict(client, check, &verdict);
        mete_check_finish(client, waiting[i], &answer);
    }
}

/* Returns whether it was of any use. */
static bool take(struct mete_client *client, struct server *server, const uint8_t *bytes,
                 size_t len)
{
    struct mete_result_header header;
    if (mete_wire_decode_result(bytes, len, &header) != METE_WIRE_OK)
        return false;
    uint32_t index = mete_flight_find(client, header.sequence);
    if (index == NONE) /* a HELLO is no flight, and shares its numbers with none */
        return (header.type == (METE_HELLO | METE_RESULT) || header.type == METE_RESTARTED) &&
               mete_hello_take(client, server, bytes, len, &header);
    const struct flight flight = client->flights[index];
    if (flight.server != server->index)
        return false;
    int64_t now_ns = mete_now_ns();
    if (header.type == METE_RESTARTED) { /* unsigned: believed only as far as to say hello */
        if (mete_wire_tag(bytes, len) != flight.tag)
            return false;
        mete_hello_hint(client, server, now_ns);
        return true;
    }
    bool is_status = header.flags & METE_RESULT_STATUS;
    if (header.type != (flight.header.type | METE_RESULT) ||
        (is_status ? header.n != 0 || header.detail == METE_STATUS_OK
                   : header.n != flight.header.n) ||
        (header.flags & METE_RESULT_MIN && !(flight.header.flags & METE_FLAG_MIN_RESULT)) ||
        !mete_wire_verify_result(bytes, len, flight.tag, server->mac))
        return false;
    mete_hello_take_clock(client, server, &header, now_ns);
    mete_health_answered(client, server, flight.tries == 1 ? now_ns - flight.sent_ns : -1, now_ns);
    uint32_t waiting[METE_WIRE_MAX_CHECKS];
    unsigned n = mete_flight_end(client, index, waiting);
    if (is_status)
        take_status(client, server, waiting, n, header.detail);
    else
        take_verdicts(client, server, bytes, &header, waiting);
    return true;
}

/* Fewer than asked for: there are no more, or an error that the next call tells (and poll). */
static void receive_from(struct mete_client *client, struct server *server)
{
    struct inbox *inbox = client->inbox;
    for (unsigned calls = 0; calls < RECEIVE_CALLS; calls++) {
        int count = recvmmsg(server->fd, inbox->messages, RECEIVE_MANY, MSG_DONTWAIT, NULL);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0 && errno != EINTR)
            mete_flight_fail_all(client, server, errno);
        for (int i = 0; i < count; i++)
            if (!take(client, server, inbox->bytes[i], inbox->messages[i].msg_len))
                client->stats.dropped++;
        if (count >= 0 && count < (int)RECEIVE_MANY)
            return;
    }
}

void mete_receive(struct mete_client *client)
{
    if (client->server_count == 1) {
        receive_from(client, client->servers);
        return;
    }
    struct epoll_event events[METE_SERVERS_MAX];
    int count = epoll_wait(client->fd, events, METE_SERVERS_MAX, 0);
    for (int i = 0; i < count; i++)
        receive_from(client, &client->servers[events[i].data.u32]);
}
