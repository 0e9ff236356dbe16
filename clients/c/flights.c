/* What is in flight: for each datagram sent its sequence, its tag and its checks in order.
 *
 * Found by sequence number in a table of chains: answers may come in any order, and blocking calls
 * take sequence numbers while older datagrams still wait. One thread at a time. */
#include "internal.h"

void mete_flight_begin(struct mete_client *client, const struct batch *batch, uint64_t tag)
{
    uint32_t index = client->flight_free;
    if (index == NONE)
        index = client->flight_fresh++;
    else
        client->flight_free = client->flights[index].next;
    uint32_t *bucket = &client->buckets[batch->header.sequence & client->bucket_mask];
    client->flights[index] = (struct flight){
        .tag = tag,
        .sequence = batch->header.sequence,
        .first = batch->checks[0],
        .next = *bucket,
        .type = batch->header.type,
        .flags = batch->header.flags,
        .n = batch->header.n,
    };
    client->flight_count++;
    *bucket = index;
    for (unsigned i = 0; i < batch->header.n; i++) {
        struct check *check = &client->checks[batch->checks[i]];
        check->flight = index;
        check->position = (uint8_t)i;
        check->next_in_flight = i + 1 < batch->header.n ? batch->checks[i + 1] : NONE;
        check->raw = batch->header.flags & METE_FLAG_RAW_SUBJECT;
    }
}

uint32_t mete_flight_find(const struct mete_client *client, uint32_t sequence)
{
    uint32_t index = client->buckets[sequence & client->bucket_mask];
    while (index != NONE && client->flights[index].sequence != sequence)
        index = client->flights[index].next;
    return index;
}

unsigned mete_flight_end(struct mete_client *client, uint32_t index, uint32_t *ret_waiting)
{
    struct flight *flight = &client->flights[index];
    uint32_t *link = &client->buckets[flight->sequence & client->bucket_mask];
    while (*link != index)
        link = &client->flights[*link].next;
    *link = flight->next;
    for (unsigned i = 0; i < flight->n; i++)
        ret_waiting[i] = NONE;
    for (uint32_t next = flight->first; next != NONE; next = client->checks[next].next_in_flight) {
        ret_waiting[client->checks[next].position] = next;
        client->checks[next].flight = NONE;
    }
    client->flight_count--;
    flight->first = NONE;
    flight->next = client->flight_free;
    client->flight_free = index;
    return flight->n;
}

/* Checks leave by their deadlines, so mostly from the front of the chain. */
void mete_flight_leave(struct mete_client *client, uint32_t index)
{
    struct check *check = &client->checks[index];
    if (check->flight == NONE)
        return;
    struct flight *flight = &client->flights[check->flight];
    uint32_t *link = &flight->first;
    while (*link != index)
        link = &client->checks[*link].next_in_flight;
    *link = check->next_in_flight;
    uint32_t none_waiting[METE_WIRE_MAX_CHECKS];
    if (flight->first == NONE)
        mete_flight_end(client, check->flight, none_waiting);
    check->flight = NONE;
}

void mete_flight_fail_all(struct mete_client *client, int error)
{
    if (client->hello.in_flight) {
        client->hello.in_flight = false;
        client->hello.failed = true;
        client->hello.error = error;
    }
    for (uint32_t flight = 0; flight < client->flight_fresh; flight++) {
        uint32_t checks[METE_WIRE_MAX_CHECKS];
        if (client->flights[flight].first == NONE)
            continue;
        unsigned n = mete_flight_end(client, flight, checks);
        for (unsigned i = 0; i < n; i++)
            if (checks[i] != NONE)
                mete_check_give_up(client, checks[i], METE_SOURCE_SEND, METE_STATUS_OK, error);
    }
}
