/* Silence: the same bytes again, and another server.
 *
 * A datagram that is not answered is sent again as it was, if the server recognises repeats: only
 * then is it charged once. Its bytes are not kept but made again, from the header that was kept and
 * from checks that all still wait, so they are the same; if they cannot be, nothing is sent. This
 * is done within half of the server's window W, 100 ms at most, of the first time: what arrives
 * within W is recognised, and the network may have kept the first one for a while as well.
 *
 * Retries and changes of server are paid from an account that each datagram sent for the first time
 * adds a tenth to, and that holds ten at most. So when everything is lost the traffic grows by a
 * tenth, and does not double. Only the move away from a server that has become suspect is free:
 * that server is then asked nothing more.
 *
 * One thread at a time. */
#include "internal.h"

#define PRICE 10u /* tenths */
#define WINDOW_MAX_NS 100000000ll

bool mete_retry_pay(struct mete_client *client)
{
    if (client->account < PRICE)
        return false;
    client->account -= PRICE;
    return true;
}

/* A wait with up to a quarter more, so that what was lost together does not come again together. */
static int64_t spread(struct mete_client *client, int64_t wait_ns)
{
    return wait_ns + (wait_ns >> 2) * (mete_client_random(client) >> 16) / 65536;
}

/* Until when the same bytes may be sent again: 0 if never. */
static int64_t window_ns(const struct server *server)
{
    int64_t half_ns = server->hello.known ? server->hello.repeat_ms * 500000ll : 0;
    return half_ns < WINDOW_MAX_NS ? half_ns : WINDOW_MAX_NS;
}

void mete_retry_plan(struct mete_client *client, struct flight *flight)
{
    const struct server *server = &client->servers[flight->server];
    client->account += client->account < METE_ACCOUNT_MAX;
    if (window_ns(server)) {
        flight->retry_ns = flight->sent_ns + spread(client, mete_health_retry_ns(client, server));
        mete_arm(client, flight->retry_ns);
    }
    if (client->server_count > 1) {
        flight->miss_ns = flight->sent_ns + mete_health_miss_ns(client, server);
        mete_arm(client, flight->miss_ns);
    }
}

/* Whether the flight's bytes can be made again. */
static bool is_whole(const struct mete_client *client, const struct flight *flight)
{
    return flight->waiting == flight->header.n &&
           (flight->header.flags & METE_FLAG_RAW_SUBJECT || flight->seed == client->seed);
}

static void send_again(struct mete_client *client, struct server *server, struct flight *flight)
{
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    size_t len = mete_wire_request_bytes(flight->header.n, flight->header.entry_bytes);
    mete_wire_encode_header(bytes, &flight->header);
    for (uint32_t leg = flight->first; leg != NONE;) {
        const struct check *check = &client->checks[leg / LEGS];
        struct mete_entry entry =
            mete_datagram_entry(client, check, flight->header.flags & METE_FLAG_RAW_SUBJECT);
        mete_wire_encode_entry(bytes, &flight->header, check->positions[leg % LEGS], &entry);
        leg = check->legs[leg % LEGS].next;
    }
    if (mete_wire_sign_request(bytes, len, server->mac) != flight->tag || !mete_retry_pay(client))
        return;
    flight->tries++; /* before a refusal may end it */
    if (mete_send_bytes(client, server, bytes, len, 0))
        return;
    client->stats.retries++;
    client->stats.sent_datagrams++;
    server->stats.sent_datagrams++;
}

static void retry(struct mete_client *client, struct flight *flight, int64_t now_ns)
{
    struct server *server = &client->servers[flight->server];
    int64_t next_ns = spread(client, mete_health_retry_ns(client, server) << flight->tries);
    flight->retry_ns = now_ns + next_ns;
    if (flight->retry_ns - flight->sent_ns >= window_ns(server) ||
        flight->retry_ns >= flight->deadline_ns)
        flight->retry_ns = INT64_MAX;
    if (now_ns - flight->sent_ns < window_ns(server) && now_ns < flight->deadline_ns &&
        is_whole(client, flight))
        send_again(client, server, flight);
}

/* Whether the check has no younger way to an answer than this one, and a server to go to. */
static bool can_move(const struct mete_client *client, uint32_t leg)
{
    const struct check *check = &client->checks[leg / LEGS];
    return check->newest == leg % LEGS && !check->batched && !check->queue &&
           mete_place_pick(client, check->choice, check->tried, true);
}

/* All of its checks that can; for_free, or paid as one more datagram. */
static void move(struct mete_client *client, const struct flight *flight, bool for_free)
{
    bool is_paid = for_free;
    for (uint32_t leg = flight->first; leg != NONE;) {
        uint32_t next = client->checks[leg / LEGS].legs[leg % LEGS].next;
        if (can_move(client, leg)) {
            if (!is_paid && !mete_retry_pay(client))
                return;
            is_paid = true;
            client->stats.fail_overs++;
            mete_place_again(client, leg / LEGS, HOME_ANY);
        }
        leg = next;
    }
}

void mete_retry_leave(struct mete_client *client, const struct server *server)
{
    for (uint32_t i = 0; i < client->flight_fresh; i++)
        if (client->flights[i].first != NONE && client->flights[i].server == server->index)
            move(client, &client->flights[i], true);
    uint32_t next;
    for (uint32_t index = server->held.head; index != NONE; index = next) {
        const struct check *check = &client->checks[index];
        next = check->links[LINK_QUEUE].next;
        if (!mete_place_pick(client, check->choice, check->tried, true))
            continue;
        client->stats.fail_overs++;
        mete_place_again(client, index, HOME_ANY);
    }
}

void mete_retry_expired(struct mete_client *client, uint32_t index, int64_t now_ns)
{
    for (unsigned leg = 0; leg < LEGS; leg++) {
        uint32_t index_of_flight = client->checks[index].legs[leg].flight;
        if (index_of_flight == NONE || client->server_count > 1)
            continue; /* with several, its own time has come before */
        mete_health_missed(client, client->servers, now_ns);
    }
}

static void look_at(struct mete_client *client, struct flight *flight, int64_t now_ns)
{
    struct server *server = &client->servers[flight->server];
    if (flight->miss_ns <= now_ns) {
        flight->miss_ns = INT64_MAX;
        mete_health_missed(client, server, now_ns);
        if (server->health.share)
            move(client, flight, false);
    }
    mete_arm(client, flight->miss_ns);
    if (flight->retry_ns <= now_ns)
        retry(client, flight, now_ns);
    if (flight->first != NONE)
        mete_arm(client, flight->retry_ns);
}

/* Flights end here, but none begins. */
void mete_retry_tick(struct mete_client *client, int64_t now_ns)
{
    if (now_ns < client->timer_ns)
        return;
    client->timer_ns = INT64_MAX;
    for (uint32_t i = 0; i < client->server_count; i++)
        mete_hello_tick(client, &client->servers[i], now_ns);
    for (uint32_t i = 0; i < client->flight_fresh; i++)
        if (client->flights[i].first != NONE)
            look_at(client, &client->flights[i], now_ns);
}
