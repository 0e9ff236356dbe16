/* Which server a check goes to, now and when one of them does not answer.
 *
 * Rendezvous hashing (Thaler and Ravishankar, 1998): every server has a weight for every key, a
 * hash of both, and the highest one wins. So each key has an order of all servers that every client
 * computes alike; a server that is left out moves its own keys only, each to its next. The hash of
 * the key is over rule and subject without the tenant's seed, because the choice comes before the
 * seed is known and must not change with it. A server that is coming back has some of its keys
 * only, those whose weight says so: the same ones until it gets more.
 *
 * One thread at a time. */
#include "internal.h"

#include <errno.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t mete_place_choice(uint32_t rule, const void *subject, size_t subject_len)
{
    return XXH3_64bits_withSeed(subject, subject_len, rule);
}

/* The finalizer of MurmurHash3 (Appleby): every bit of the input moves every bit of the output. */
static uint64_t weigh(uint64_t choice, uint64_t identity)
{
    uint64_t x = choice ^ identity;
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

struct server *mete_place_pick(const struct mete_client *client, uint64_t choice, uint16_t tried,
                               bool well_only)
{
    if (client->server_count == 1)
        return tried ? NULL : client->servers;
    struct server *best = NULL, *best_well = NULL;
    uint64_t best_weight = 0, best_well_weight = 0;
    for (uint32_t i = 0; i < client->server_count; i++) {
        struct server *server = &client->servers[i];
        if (tried >> i & 1)
            continue;
        uint64_t weight = weigh(choice, server->identity);
        if (!best || weight > best_weight) {
            best = server;
            best_weight = weight;
        }
        /* the low bits have no part in who wins */
        if (weight % SHARE_WHOLE < server->health.share &&
            (!best_well || weight > best_well_weight)) {
            best_well = server;
            best_well_weight = weight;
        }
    }
    return best_well || well_only ? best_well : best;
}

static void give_up(struct mete_client *client, uint32_t index, int error)
{
    enum mete_source source = error ? METE_SOURCE_SEND : METE_SOURCE_TIMEOUT;
    mete_check_give_up(client, index, source, METE_STATUS_OK, error);
}

static void place_at(struct mete_client *client, struct server *server, const uint32_t *indices,
                     unsigned count, bool whole)
{
    bool can_leave = mete_datagram_can_leave(client, server, indices, count);
    for (unsigned i = 0; i < count; i++) {
        client->checks[indices[i]].tried |= (uint16_t)(1u << server->index);
        if (!can_leave)
            mete_check_enqueue(client, &server->held, indices[i]);
    }
    if (!can_leave)
        mete_hello_begin(client, server, mete_now_ns());
    else if (!mete_datagram_add(client, server, indices, count, whole))
        for (unsigned i = 0; i < count; i++)
            mete_check_give_up(client, indices[i], METE_SOURCE_STATUS, METE_STATUS_NEED_SUBJECT, 0);
}

static struct server *server_of(struct mete_client *client, const struct check *check)
{
    if (check->home != HOME_ANY)
        return &client->servers[check->home];
    return mete_place_pick(client, check->choice, check->tried, false);
}

void mete_place(struct mete_client *client, const uint32_t *indices, unsigned count, bool whole)
{
    if (client->server_count == 1) { /* most have one, and ask by one that can leave at once */
        struct server *server = client->servers;
        if (count == 1 && client->seed_known && (server->mac || !client->vault)) {
            client->checks[indices[0]].tried = 1;
            mete_datagram_add_one(client, server, indices[0]);
        } else {
            place_at(client, server, indices, count, whole);
        }
        return;
    }
    struct server *servers[MANY_MAX];
    for (unsigned i = 0; i < count; i++)
        servers[i] = whole && i ? servers[0] : server_of(client, &client->checks[indices[i]]);
    for (uint32_t s = 0; s < client->server_count; s++) {
        uint32_t its[MANY_MAX];
        unsigned its_count = 0;
        for (unsigned i = 0; i < count; i++)
            if (servers[i] == &client->servers[s])
                its[its_count++] = indices[i];
        if (its_count)
            place_at(client, &client->servers[s], its, its_count, whole);
    }
}

void mete_place_again(struct mete_client *client, uint32_t index, unsigned home)
{
    struct check *check = &client->checks[index];
    mete_check_unqueue(client, index);
    check->home = (uint8_t)home;
    check->is_again = true;
    mete_check_enqueue(client, &client->adrift[check->blocking], index);
}

void mete_place_lost(struct mete_client *client, uint32_t index, bool was_newest, int error)
{
    const struct check *check = &client->checks[index];
    if (check->state != CHECK_WAITING || check->batched || check->queue)
        return;
    bool can_move =
        error && was_newest && mete_place_pick(client, check->choice, check->tried, true);
    client->stats.fail_overs += can_move;
    if (can_move)
        mete_place_again(client, index, HOME_ANY);
    else if (check->legs[0].flight == NONE && check->legs[1].flight == NONE)
        give_up(client, index, error);
}

void mete_place_held(struct mete_client *client, struct server *server, int error)
{
    while (server->held.count) {
        uint32_t index = server->held.head;
        mete_check_unqueue(client, index);
        if (error)
            mete_place_lost(client, index, true, error);
        else
            mete_place_again(client, index, server->index);
    }
}

/* A blocking call's checks go together where they can; all of them have the same flags. */
static void place_all(struct mete_client *client, struct check_list *list)
{
    uint32_t together[MANY_MAX];
    unsigned count = 0;
    while (list->count) {
        uint32_t index = list->head;
        mete_check_unqueue(client, index);
        if (client->checks[index].blocking)
            together[count++] = index;
        else
            mete_place(client, &index, 1, false);
    }
    if (count)
        mete_place(client, together, count,
                   client->checks[together[0]].flags & METE_FLAG_ALL_OR_NOTHING);
}

/* More than once: sending may show that a server is gone. Each time what is left has one server
 * less to go to. */
void mete_place_adrift(struct mete_client *client, bool blocking)
{
    while (client->adrift[blocking].count) {
        place_all(client, &client->adrift[blocking]);
        if (blocking)
            mete_datagram_flush(client, true);
        else
            mete_datagram_flush_due(client, mete_now_ns());
    }
}
