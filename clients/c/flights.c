/* What is in flight: for each datagram sent its header, its tag and its checks in order.
 *
 * Found by sequence number in a table of chains: answers may come in any order, and blocking calls
 * take sequence numbers while older datagrams still wait. One thread at a time. */
#include "internal.h"

static struct leg *leg_at(const struct mete_client *client, uint32_t leg)
{
    return &client->checks[leg / LEGS].legs[leg % LEGS];
}

/* A place among the flights. When nothing is in flight all places are fresh again, so that what
 * looks at all of them (retry.c) looks at as many as there are at a time. */
static uint32_t take(struct mete_client *client)
{
    uint32_t index = client->flight_free;
    if (client->flight_count == 0) {
        client->flight_free = NONE;
        client->flight_fresh = 0;
        index = NONE;
    }
    if (index == NONE)
        index = client->flight_fresh++;
    else
        client->flight_free = client->flights[index].next;
    client->flight_count++;
    return index;
}

/* Takes a leg out of its flight. Mostly it is at the front: checks leave by their deadlines. */
static void leave(struct mete_client *client, uint32_t leg)
{
    uint32_t index = leg_at(client, leg)->flight;
    struct flight *flight = &client->flights[index];
    uint32_t *link = &flight->first;
    while (*link != leg)
        link = &leg_at(client, *link)->next;
    *link = leg_at(client, leg)->next;
    leg_at(client, leg)->flight = NONE;
    flight->waiting--;
    uint32_t none_waiting[METE_WIRE_MAX_CHECKS];
    if (flight->first == NONE)
        mete_flight_end(client, index, none_waiting);
}

/* A leg for the check: the one that is free, else the older one. */
static inline uint32_t take_leg(struct mete_client *client, uint32_t index)
{
    struct check *check = &client->checks[index];
    uint8_t leg = check->newest;
    if (check->legs[leg].flight != NONE)
        leg ^= 1u;
    if (check->legs[leg].flight != NONE)
        leave(client, index * LEGS + leg);
    check->newest = leg;
    return index * LEGS + leg;
}

void mete_flight_begin(struct mete_client *client, const struct server *server,
                       const struct batch *batch, int64_t now_ns)
{
    uint32_t index = take(client);
    uint32_t *bucket = &client->buckets[batch->header.sequence & client->bucket_mask];
    struct flight *flight = &client->flights[index];
    *flight = (struct flight){
        .header = batch->header,
        .tag = batch->tag,
        .seed = client->seed,
        .sent_ns = now_ns,
        .deadline_ns = batch->deadline_ns,
        .retry_ns = INT64_MAX,
        .miss_ns = INT64_MAX,
        .first = NONE,
        .next = *bucket,
        .server = server->index,
        .waiting = batch->header.n,
        .tries = 1,
    };
    *bucket = index;
    client->servers[server->index].flight_count++;
    for (unsigned i = batch->header.n; i-- > 0;) {
        struct check *check = &client->checks[batch->checks[i]];
        uint32_t leg = take_leg(client, batch->checks[i]);
        *leg_at(client, leg) = (struct leg){.flight = index, .next = flight->first};
        flight->first = leg;
        check->positions[leg % LEGS] = (uint8_t)i;
        check->batched = false;
        check->raw = batch->header.flags & METE_FLAG_RAW_SUBJECT;
    }
    mete_retry_plan(client, flight);
}

uint32_t mete_flight_find(const struct mete_client *client, uint32_t sequence)
{
    uint32_t index = client->buckets[sequence & client->bucket_mask];
    while (index != NONE && client->flights[index].header.sequence != sequence)
        index = client->flights[index].next;
    return index;
}

unsigned mete_flight_end(struct mete_client *client, uint32_t index, uint32_t *ret_waiting)
{
    struct flight *flight = &client->flights[index];
    uint32_t *link = &client->buckets[flight->header.sequence & client->bucket_mask];
    while (*link != index)
        link = &client->flights[*link].next;
    *link = flight->next;
    for (unsigned i = 0; i < flight->header.n; i++)
        ret_waiting[i] = NONE;
    for (uint32_t leg = flight->first; leg != NONE; leg = leg_at(client, leg)->next) {
        ret_waiting[client->checks[leg / LEGS].positions[leg % LEGS]] = leg / LEGS;
        leg_at(client, leg)->flight = NONE;
    }
    client->flight_count--;
    client->servers[flight->server].flight_count--;
    flight->first = NONE;
    flight->next = client->flight_free;
    client->flight_free = index;
    return flight->header.n;
}

void mete_flight_leave(struct mete_client *client, uint32_t index)
{
    for (unsigned leg = 0; leg < LEGS; leg++)
        if (client->checks[index].legs[leg].flight != NONE)
            leave(client, index * LEGS + leg);
}

void mete_flight_fail_all(struct mete_client *client, struct server *server, int error)
{
    if (server->hello.in_flight)
        mete_hello_fail(client, server, error);
    mete_health_suspect(client, server, mete_now_ns());
    for (uint32_t index = 0; index < client->flight_fresh; index++) {
        const struct flight *flight = &client->flights[index];
        if (flight->first == NONE || flight->server != server->index)
            continue;
        uint32_t checks[METE_WIRE_MAX_CHECKS];
        bool was_newest[METE_WIRE_MAX_CHECKS];
        for (uint32_t leg = flight->first; leg != NONE; leg = leg_at(client, leg)->next) {
            const struct check *check = &client->checks[leg / LEGS];
            was_newest[check->positions[leg % LEGS]] = check->newest == leg % LEGS;
        }
        unsigned n = mete_flight_end(client, index, checks);
        for (unsigned i = 0; i < n; i++)
            if (checks[i] != NONE)
                /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): each leg wrote one */
                mete_place_lost(client, checks[i], was_newest[i], error);
    }
}

void mete_flight_again_all(struct mete_client *client, const struct server *server)
{
    for (uint32_t index = 0; index < client->flight_fresh; index++) {
        const struct flight *flight = &client->flights[index];
        if (flight->first == NONE || flight->server != server->index)
            continue;
        uint32_t checks[METE_WIRE_MAX_CHECKS];
        unsigned n = mete_flight_end(client, index, checks);
        for (unsigned i = 0; i < n; i++)
            /* NOLINTNEXTLINE: n of them are filled */
            if (checks[i] != NONE && !client->checks[checks[i]].queue &&
                !client->checks[checks[i]].batched)
                mete_place_again(client, checks[i], server->index);
    }
}
