/* From datagrams to answers. Everything that arrives is checked (form, type, sequence, tag bound to
 * the request's tag, number of entries) and dropped and counted if it does not fit: a late answer,
 * a stranger's, a forged one. One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static void take_clock(struct mete_client *client, const struct mete_result_header *header)
{
    client->clock_known = true;
    client->clock_ms = header->clock_ms;
    client->clock_at_ns = mete_now_ns();
    client->boot = header->boot;
    if (client->hello.known && client->hello.boot != header->boot)
        client->hello.wanted = true; /* another life of the server may have another seed */
}

/* Returns whether it was the answer to our HELLO. */
static bool take_hello(struct mete_client *client, const uint8_t *bytes, size_t len,
                       const struct mete_result_header *header)
{
    struct hello *hello = &client->hello;
    if (!hello->in_flight || header->sequence != hello->sequence ||
        !mete_wire_verify_result(bytes, len, hello->tag, client->mac))
        return false;
    bool is_status = header->flags & METE_RESULT_STATUS;
    if (is_status ? header->n != 0 : header->n != 1 || header->flags)
        return false;
    take_clock(client, header);
    hello->in_flight = false;
    hello->failed = is_status;
    hello->wanted = false;
    if (is_status)
        return true; /* it knows no HELLO: subjects travel as they are */
    struct mete_hello_result result = mete_wire_decode_hello_result(bytes);
    hello->known = true;
    hello->seed = result.masked_seed; /* without a secret the mask is 0 */
    hello->boot_id = result.boot_id;
    hello->features = result.features;
    hello->repeat_ms = result.repeat_ms;
    hello->ahead_ms = result.ahead_ms;
    hello->boot = header->boot;
    return true;
}

/* A status for the datagram as a whole. STALE has told the server's clock: that is worth one more
 * datagram, and nothing was charged. */
static void take_status(struct mete_client *client, const uint32_t *waiting, unsigned n,
                        uint8_t status, bool whole)
{
    uint32_t again[METE_WIRE_MAX_CHECKS];
    unsigned again_count = 0;
    for (unsigned i = 0; i < n; i++) {
        if (waiting[i] == NONE)
            continue;
        struct check *check = &client->checks[waiting[i]];
        if (status == METE_STATUS_STALE && !check->was_stale) {
            check->was_stale = true;
            again[again_count++] = waiting[i];
        } else {
            mete_check_give_up(client, waiting[i], METE_SOURCE_STATUS, status, 0);
        }
    }
    if (again_count && !mete_datagram_add_together(client, again, again_count, whole))
        for (unsigned i = 0; i < again_count; i++)
            mete_check_give_up(client, again[i], METE_SOURCE_STATUS, status, 0);
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

/* With `whole` (ALL_OR_NOTHING) nothing was charged if one entry needs its subject: all go again.
 */
static void take_verdicts(struct mete_client *client, const uint8_t *bytes,
                          const struct mete_result_header *header, const uint32_t *waiting,
                          bool whole)
{
    uint32_t again[METE_WIRE_MAX_CHECKS];
    unsigned again_count = 0;
    bool all_again = false;
    for (unsigned i = 0; i < header->n; i++) {
        struct mete_verdict verdict = verdict_at(bytes, header, i);
        if (waiting[i] == NONE || !needs_subject(&client->checks[waiting[i]], &verdict))
            continue;
        mete_datagram_remember_rule(client, client->checks[waiting[i]].entry.rule);
        all_again = whole;
    }
    for (unsigned i = 0; i < header->n; i++) {
        struct mete_verdict verdict = verdict_at(bytes, header, i);
        if (waiting[i] == NONE)
            continue;
        const struct check *check = &client->checks[waiting[i]];
        if (all_again || needs_subject(check, &verdict)) {
            again[again_count++] = waiting[i];
            continue;
        }
        struct mete_answer answer = mete_answer_verdict(client, check, &verdict);
        mete_check_finish(client, waiting[i], &answer);
    }
    if (again_count && !mete_datagram_add_together(client, again, again_count, whole))
        for (unsigned i = 0; i < again_count; i++)
            mete_check_give_up(client, again[i], METE_SOURCE_STATUS, METE_STATUS_NEED_SUBJECT, 0);
}

/* Returns whether it was of any use. */
static bool take(struct mete_client *client, const uint8_t *bytes, size_t len)
{
    struct mete_result_header header;
    if (mete_wire_decode_result(bytes, len, &header) != METE_WIRE_OK)
        return false;
    if (header.type == (METE_HELLO | METE_RESULT))
        return take_hello(client, bytes, len, &header);
    uint32_t index = mete_flight_find(client, header.sequence);
    if (index == NONE)
        return false;
    const struct flight flight = client->flights[index];
    if (header.type == METE_RESTARTED) { /* unsigned: believed only as far as to say hello */
        if (header.n || mete_wire_tag(bytes, len) != flight.tag)
            return false;
        client->hello.wanted = true;
        return true;
    }
    bool is_status = header.flags & METE_RESULT_STATUS;
    if (header.type != (flight.type | METE_RESULT) ||
        (is_status ? header.n != 0 || header.detail == METE_STATUS_OK : header.n != flight.n) ||
        (header.flags & METE_RESULT_MIN && !(flight.flags & METE_FLAG_MIN_RESULT)) ||
        !mete_wire_verify_result(bytes, len, flight.tag, client->mac))
        return false;
    take_clock(client, &header);
    uint32_t waiting[METE_WIRE_MAX_CHECKS];
    unsigned n = mete_flight_end(client, index, waiting);
    bool whole = flight.flags & METE_FLAG_ALL_OR_NOTHING;
    if (is_status)
        take_status(client, waiting, n, header.detail, whole);
    else
        take_verdicts(client, bytes, &header, waiting, whole);
    return true;
}

/* Fewer than asked for: there are no more, or an error that the next call tells (and poll). */
void mete_receive(struct mete_client *client)
{
    struct inbox *inbox = client->inbox;
    for (unsigned calls = 0; calls < RECEIVE_CALLS; calls++) {
        int count = recvmmsg(client->fd, inbox->messages, RECEIVE_MANY, MSG_DONTWAIT, NULL);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0 && errno != EINTR)
            mete_flight_fail_all(client, errno);
        for (int i = 0; i < count; i++)
            if (!take(client, inbox->bytes[i], inbox->messages[i].msg_len))
                client->stats.dropped++;
        if (count >= 0 && count < (int)RECEIVE_MANY)
            return;
    }
}
