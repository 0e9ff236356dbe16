/* Once a second a node says that it is there, and hears how many are. The same call claims its id:
 * who finds it held by another process that is alive has a copy of that one's file, or was started
 * twice. A process that was killed leaves its id held for 3 s, so a claim waits for a little longer
 * before it is given up. Until the id is claimed and the number of partitions agrees, no batch is
 * sent. */
#include "replica/link_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void beat_send(struct link *link, uint64_t now_ns)
{
    const int at = link->home_peer;
    const struct link_beat beat = {.node_id = link->node_id,
                                   .token = link->token,
                                   .partitions = link->partition_count,
                                   .version = link->script.version,
                                   .leaves = link->is_leaving,
                                   .told_us = link->told_us};
    struct link_call call;

    if (at == LINK_NOBODY || link->is_beating || link->is_taken || now_ns < link->beat_next_ns ||
        link->peers[at].state != PEER_READY || link->peers[at].is_replica ||
        link->peers[at].is_broken)
        return;
    struct link_peer *peer = &link->peers[at];
    link_call_merge_name(link, true, &call);
    if (peer_expect(peer, CALL_BEAT, 0, now_ns) != 0)
        return;
    link->is_beating = true;
    link->beat_next_ns = now_ns + (link->is_claimed ? LINK_BEAT_NS : LINK_BEAT_NS / 4);
    link_message_format_beat(link->message, &call, &beat, &peer->out);
    link_flush_peer(link, (uint32_t)at);
}

static void on_taken(struct link *link, uint64_t now_ns)
{
    char detail[48];

    if (link->taken_since_ns == 0)
        link->taken_since_ns = now_ns;
    if (!link->is_claimed && now_ns - link->taken_since_ns < LINK_ALIVE_NS)
        return; /* what a process that was killed left behind looks the same */
    link->is_claimed = false;
    link->is_taken = link->says_taken = true;
    snprintf(detail, sizeof(detail), "node id %" PRIx64, link->node_id);
    fault_set_node(link, LINK_TAKEN, detail);
}

static void on_claimed(struct link *link, const struct redis_value *live,
                       const struct redis_value *other)
{
    link->taken_since_ns = 0;
    link->is_claimed = !link->is_leaving;
    link->has_left = link->is_leaving;
    link->node_count = live->integer < 1       ? 1u
                       : live->integer > 65535 ? 65535u
                                               : (uint32_t)live->integer;
    if (other->len > 0) {
        char detail[96];
        snprintf(detail, sizeof(detail), "node and its version: %.60s", other->text);
        fault_set_node(link, LINK_MIXED, detail);
    } else if (link->node_fault != LINK_FOREIGN) {
        link->node_fault = LINK_FINE;
    }
}

void beat_on_reply(struct link *link, uint32_t index, const struct redis_value *reply,
                   uint64_t now_ns)
{
    char detail[64];

    link->is_beating = false;
    if (reply->kind != REDIS_KIND_ARRAY || reply->count != 4 ||
        reply->items[0]->kind != REDIS_KIND_TEXT || reply->items[1]->kind != REDIS_KIND_INTEGER ||
        reply->items[3]->kind != REDIS_KIND_TEXT) {
        fault_set(link, index, LINK_GARBAGE, "answer to a heartbeat");
        return;
    }
    const char *wrong = reply->items[0]->text;
    link->peers[index].fault = LINK_FINE;
    if (strcmp(wrong, "taken") == 0) {
        on_taken(link, now_ns);
    } else if (strcmp(wrong, "partitions") == 0) {
        link->is_claimed = false;
        snprintf(detail, sizeof(detail), "%.20s there, %u here", reply->items[3]->text,
                 link->partition_count);
        fault_set_node(link, LINK_PARTITIONS, detail);
    } else {
        on_claimed(link, reply->items[1], reply->items[3]);
    }
}
