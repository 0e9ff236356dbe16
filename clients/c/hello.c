/* HELLO: asked beside the first request of a server without secrets, before it under one.
 *
 * A round of HELLO sends one datagram, and further ones while nobody answers and somebody waits:
 * the same bytes again, or, where secrets are to be tried, the next try. Each try of a round has
 * its nonce and sequence, so a late answer to an earlier one is as good. An answer says the
 * server's boot id; under a secret that makes the key, and another key than before means that
 * nothing in flight will verify any more: all of it is asked anew. Only such an answer is believed.
 * RESTARTED is unsigned and leads to a HELLO, one each HINT_NS at most, and to nothing else.
 *
 * One thread at a time. */
#include "internal.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#define HINT_NS 10000000ll

/* Sends the try that hello->at names; a try of this round that was sent goes as it was. */
static void send_try(struct mete_client *client, struct server *server, int64_t now_ns)
{
    struct hello *hello = &server->hello;
    struct hello_try *try = &hello->tries[hello->at];
    uint8_t bytes[METE_WIRE_HELLO_BYTES] = {0};
    if (!try->is_sent) {
        *try = (struct hello_try){.sequence = client->sequence++, .is_sent = true};
        randombytes_buf(try->nonce, sizeof(try->nonce));
    }
    struct mete_header header = {.type = METE_HELLO,
                                 .n = 1,
                                 .entry_bytes = 32,
                                 .tenant = client->tenant,
                                 .client = client->client_id,
                                 .sequence = try->sequence,
                                 .secret = METE_WIRE_NO_SECRET};
    if (client->vault)
        mete_secrets_of_try(client, hello->at, &header.secret);
    mete_wire_encode_header(bytes, &header);
    memcpy(bytes + METE_WIRE_HEADER_BYTES, try->nonce, sizeof(try->nonce));
    try->tag =
        mete_wire_sign_request(bytes, sizeof(bytes), mete_secrets_hello_key(client, hello->at));
    hello->in_flight = false; /* a refusal reported now is not about this one */
    int error = mete_send_bytes(client, server, bytes, sizeof(bytes), 0);
    hello->sent_ns = now_ns;
    hello->sends++;
    if (error) {
        mete_hello_fail(client, server, error);
        return;
    }
    hello->in_flight = true;
    client->stats.sent_datagrams++;
    client->stats.hellos++;
    server->stats.sent_datagrams++;
    /* Each way is tried once before any waits longer. */
    unsigned doublings =
        hello->sends > mete_secrets_tries(client) ? hello->sends - mete_secrets_tries(client) : 0;
    hello->retry_ns = now_ns + (mete_health_retry_ns(client, server) << doublings);
    mete_arm(client, hello->retry_ns);
}

void mete_hello_begin(struct mete_client *client, struct server *server, int64_t now_ns)
{
    struct hello *hello = &server->hello;
    if (hello->in_flight && now_ns < hello->deadline_ns)
        return;
    if (hello->in_flight)
        mete_hello_fail(client, server, 0);
    memset(hello->tries, 0, sizeof(hello->tries));
    hello->sends = 0;
    hello->error = 0;
    hello->is_missed = false;
    hello->begun_ns = now_ns;
    hello->deadline_ns = now_ns + client->timeout_ns;
    mete_arm(client, hello->deadline_ns);
    if (client->server_count > 1)
        mete_arm(client, now_ns + mete_health_miss_ns(client, server));
    send_try(client, server, now_ns);
}

void mete_hello_hint(struct mete_client *client, struct server *server, int64_t now_ns)
{
    server->hello.is_hinted = now_ns < server->hello.hint_from_ns;
    if (server->hello.is_hinted) { /* not now, but not forgotten: it may be true this time */
        mete_arm(client, server->hello.hint_from_ns);
        return;
    }
    server->hello.hint_from_ns = now_ns + HINT_NS;
    mete_hello_begin(client, server, now_ns);
}

/* The next round begins with the next try, so that each has its turn, however short a round. */
void mete_hello_fail(struct mete_client *client, struct server *server, int error)
{
    struct hello *hello = &server->hello;
    hello->in_flight = false;
    hello->failed = true;
    hello->error = error;
    if (!error)
        hello->at = (uint8_t)((hello->at + 1u) % mete_secrets_tries(client));
    else
        mete_place_held(client, server, error);
}

void mete_hello_take_clock(struct mete_client *client, struct server *server,
                           const struct mete_result_header *header, int64_t now_ns)
{
    (void)client;
    server->clock_known = true;
    server->clock_ms = header->clock_ms;
    server->clock_at_ns = now_ns;
    server->boot = header->boot;
    if (server->hello.known && server->hello.boot != header->boot)
        server->hello.wanted = true; /* another life of the server may have another seed */
}

/* RESTARTED for a HELLO: its secret is not the server's, if it is true. The others are tried, each
 * once, so it does no harm if it is not. */
static bool take_refusal(struct mete_client *client, struct server *server, unsigned index,
                         uint64_t tag)
{
    struct hello *hello = &server->hello;
    struct hello_try *try = &hello->tries[index];
    unsigned next = (index + 1) % mete_secrets_tries(client);
    if (tag != try->tag || try->was_refused || hello->tries[next].is_sent)
        return false;
    try->was_refused = true;
    hello->at = (uint8_t)next;
    send_try(client, server, mete_now_ns());
    return true;
}

static void take_result(struct mete_client *client, struct server *server, const uint8_t *bytes,
                        const struct mete_result_header *header)
{
    struct hello *hello = &server->hello;
    struct mete_hello_result result = mete_wire_decode_hello_result(bytes);
    bool is_restart = hello->known && hello->boot_id != result.boot_id;
    bool is_other_key = mete_secrets_key(client, server, hello->at, result.boot_id);
    client->stats.restarts += is_restart;
    client->seed_known = true;
    client->seed =
        result.masked_seed ^ mete_secrets_pad(client, hello->at, hello->tries[hello->at].nonce);
    hello->known = true;
    hello->boot_id = result.boot_id;
    hello->repeat_ms = result.repeat_ms;
    hello->boot = header->boot;
    if (is_other_key)
        mete_flight_again_all(client, server);
    mete_place_held(client, server, 0);
}

bool mete_hello_take(struct mete_client *client, struct server *server, const uint8_t *bytes,
                     size_t len, const struct mete_result_header *header)
{
    struct hello *hello = &server->hello;
    unsigned index = 0, count = mete_secrets_tries(client);
    while (index < count &&
           (!hello->tries[index].is_sent || hello->tries[index].sequence != header->sequence))
        index++;
    if (!hello->in_flight || index == count)
        return false;
    if (header->type == METE_RESTARTED)
        return take_refusal(client, server, index, mete_wire_tag(bytes, len));
    bool is_status = header->flags & METE_RESULT_STATUS;
    if ((is_status ? header->n != 0 : header->n != 1 || header->flags) ||
        !mete_wire_verify_result(bytes, len, hello->tries[index].tag,
                                 mete_secrets_hello_key(client, index)))
        return false;
    int64_t now_ns = mete_now_ns();
    hello->at = (uint8_t)index;
    hello->in_flight = false;
    hello->failed = is_status;
    hello->wanted = false;
    if (is_status) { /* it knows no HELLO: subjects travel as they are, */
        mete_hello_take_clock(client, server, header, now_ns);
        mete_place_held(client, server, ENOTSUP); /* and who needs more has no way left */
        return true;
    }
    take_result(client, server, bytes, header);
    mete_hello_take_clock(client, server, header, now_ns);
    mete_health_answered(client, server, hello->sends == 1 ? now_ns - hello->sent_ns : -1, now_ns);
    return true;
}

/* Silence: on to the next try, or the same again; after a while that of a server that is not well.
 */
void mete_hello_tick(struct mete_client *client, struct server *server, int64_t now_ns)
{
    struct hello *hello = &server->hello;
    if (hello->is_hinted && now_ns >= hello->hint_from_ns)
        mete_hello_hint(client, server, now_ns);
    else if (hello->is_hinted)
        mete_arm(client, hello->hint_from_ns);
    if (!hello->in_flight)
        return;
    if (now_ns >= hello->deadline_ns) {
        mete_hello_fail(client, server, 0);
        if (server->held.count)
            mete_hello_begin(client, server, now_ns);
        return;
    }
    mete_arm(client, hello->deadline_ns);
    int64_t miss_ns = hello->begun_ns + mete_health_miss_ns(client, server);
    if (client->server_count > 1 && !hello->is_missed) {
        if (now_ns < miss_ns) {
            mete_arm(client, miss_ns);
        } else {
            hello->is_missed = true;
            if (server->held.count && !hello->known)
                mete_health_suspect(client, server, now_ns); /* it was silent to several */
            else
                mete_health_missed(client, server, now_ns);
        }
    }
    if (!client->vault && !server->held.count)
        return;
    if (now_ns >= hello->retry_ns && mete_retry_pay(client)) {
        hello->at = (uint8_t)((hello->at + 1u) % mete_secrets_tries(client));
        send_try(client, server, now_ns);
    } else if (now_ns >= hello->retry_ns) {
        hello->retry_ns = now_ns + mete_health_retry_ns(client, server);
    }
    mete_arm(client, hello->retry_ns);
}
