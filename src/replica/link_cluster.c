/* Which Redis has which partition. A single Redis has all; in a Cluster each partition lies in the
 * slot that its hash tag makes, and the map of slots says whose that is.
 *
 * The map is read at every connect, when a redirection shows that it is wrong, and again and again
 * while one that has slots of ours cannot be reached: that is how a fail-over is noticed. Whoever
 * is known may be asked for it. Source: the Redis Cluster specification. */
#include "replica/link_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CRC-16/XMODEM over the tag. */
uint32_t cluster_slot(const char *tag)
{
    uint32_t crc = 0;

    for (; *tag; tag++) {
        crc ^= (uint32_t)(uint8_t)*tag << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    return crc % 16384;
}

void cluster_mark_wanted(struct link *link)
{
    for (uint32_t i = 0; i < link->peer_count; i++)
        link->peers[i].is_wanted = link->is_cluster && link->wants_map;
    for (uint32_t i = 0; i < link->partition_count; i++) {
        const struct link_partition *partition = &link->partitions[i];
        if (partition->peer != LINK_NOBODY)
            link->peers[partition->peer].is_wanted = true;
        if (partition->ask != LINK_NOBODY)
            link->peers[partition->ask].is_wanted = true;
    }
    if (link->home_peer != LINK_NOBODY)
        link->peers[link->home_peer].is_wanted = true;
}

void cluster_use_home(struct link *link)
{
    for (uint32_t i = 0; i < link->partition_count; i++)
        link->partitions[i].peer = link->home;
    link->home_peer = link->home;
    cluster_mark_wanted(link);
}

static int find_peer(struct link *link, const struct redis_address *address)
{
    for (uint32_t i = 0; i < link->peer_count; i++)
        if (redis_address_equal(&link->peers[i].address, address))
            return (int)i;
    uint32_t at = link->peer_count;
    if (at == LINK_MAX_PEERS)
        return LINK_NOBODY;
    if (peer_init(&link->peers[at], address, 2 * link->partition_count + 16))
        return LINK_NOBODY;
    link->peers[at].fault = LINK_STARTING;
    link->peer_count++;
    return (int)at;
}

/* [host, port, ...] of a node; no host: the one that was asked. */
static int peer_of_node(struct link *link, uint32_t index, const struct redis_value *node)
{
    struct redis_address address = {0};

    if (node->kind != REDIS_KIND_ARRAY || node->count < 2 ||
        node->items[1]->kind != REDIS_KIND_INTEGER || node->items[1]->integer < 1 ||
        node->items[1]->integer > 65535)
        return LINK_NOBODY;
    const struct redis_value *host = node->items[0];
    const bool is_named = host->kind == REDIS_KIND_TEXT && host->len > 0 && host->text[0] != '?';
    snprintf(address.host, sizeof(address.host), "%s",
             is_named ? host->text : link->peers[index].address.host);
    snprintf(address.port, sizeof(address.port), "%d", (int)node->items[1]->integer);
    return find_peer(link, &address);
}

static void give_slots(struct link *link, int peer, int64_t first, int64_t last)
{
    for (uint32_t i = 0; i < link->partition_count; i++)
        if (link->partitions[i].slot >= first && link->partitions[i].slot <= last)
            link->partitions[i].peer = peer;
    if (link->home_slot >= first && link->home_slot <= last)
        link->home_peer = peer;
}

void cluster_read_map(struct link *link, uint32_t index, const struct redis_value *map)
{
    link->is_cluster = link->state.is_cluster = true;
    link->wants_map = false;
    for (uint32_t i = 0; i < link->partition_count; i++)
        link->partitions[i].peer = LINK_NOBODY;
    link->home_peer = LINK_NOBODY;
    for (size_t i = 0; i < map->count; i++) {
        const struct redis_value *range = map->items[i];
        if (range->kind != REDIS_KIND_ARRAY || range->count < 3 ||
            range->items[0]->kind != REDIS_KIND_INTEGER ||
            range->items[1]->kind != REDIS_KIND_INTEGER)
            continue;
        const int peer = peer_of_node(link, index, range->items[2]);
        for (size_t replica = 3; replica < range->count; replica++)
            peer_of_node(link, index, range->items[replica]);
        if (peer != LINK_NOBODY) {
            link->peers[peer].is_replica = false;
            give_slots(link, peer, range->items[0]->integer, range->items[1]->integer);
        }
    }
    for (uint32_t i = 0; i < link->partition_count; i++)
        link->wants_map |= link->partitions[i].peer == LINK_NOBODY;
    cluster_mark_wanted(link);
}

/* Is one that has slots of ours not there? */
static bool misses_someone(const struct link *link)
{
    for (uint32_t i = 0; i < link->partition_count; i++) {
        const int peer = link->partitions[i].peer;
        if (peer == LINK_NOBODY || link->peers[peer].state != PEER_READY ||
            link->peers[peer].is_replica)
            return true;
    }
    return false;
}

void cluster_refresh(struct link *link, uint64_t now_ns)
{
    static const char *const words[] = {"CLUSTER", "SLOTS"};
    static const size_t lens[] = {7, 5};

    if (!link->is_cluster || now_ns < link->map_next_ns)
        return;
    if (!link->wants_map && misses_someone(link)) {
        link->wants_map = true;
        cluster_mark_wanted(link);
    }
    if (!link->wants_map)
        return;
    link->map_next_ns = now_ns + 200 * LINK_MS;
    for (uint32_t i = 0; i < link->peer_count; i++) {
        const uint32_t index = (link->turn + i) % link->peer_count;
        struct link_peer *peer = &link->peers[index];
        if (peer->state != PEER_READY || peer->is_broken)
            continue;
        if (peer_expect(peer, CALL_SLOTS, 0, now_ns) == 0 &&
            redis_format(&peer->out, 2, words, lens) == 0)
            link_flush_peer(link, index);
        link->turn = index + 1;
        return;
    }
}

bool cluster_redirect(struct link *link, uint32_t partition, const char *text, uint32_t index)
{
    struct redis_address address;
    const bool is_ask = strncmp(text, "ASK ", 4) == 0;

    if (!is_ask && strncmp(text, "MOVED ", 6) != 0)
        return false;
    link->state.redirects++;
    const char *where = strchr(text + (is_ask ? 4 : 6), ' ');
    if (!where)
        return true;
    where++;
    if (where[0] == ':') { /* no host: the one that was asked */
        address = link->peers[index].address;
        snprintf(address.port, sizeof(address.port), "%.5s", where + 1);
    } else if (redis_address_parse(where, strlen(where), &address, NULL, 0)) {
        return true;
    }
    const int peer = find_peer(link, &address);
    if (is_ask) {
        link->partitions[partition].ask = peer;
    } else {
        link->is_cluster = link->state.is_cluster = true;
        if (peer != LINK_NOBODY)
            link->partitions[partition].peer = peer;
        link->wants_map = true;
    }
    cluster_mark_wanted(link);
    return true;
}
