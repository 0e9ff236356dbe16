/* What a reply to a batch or a heartbeat means: an answer, a refusal, a redirection. */
#include "replica/link_parts.h"

#include <stdio.h>
#include <string.h>

#define FIRST_REFUSED_NS (2 * LINK_MS)

static bool is_gone(const char *text)
{
    return strncmp(text, "NOSCRIPT", 8) == 0 || strstr(text, "Function not found") != NULL;
}

/* Redis refused a call of the function. */
static void on_refused(struct link *link, uint32_t index, const char *text, uint64_t now_ns)
{
    const enum link_fault fault = fault_of_error(text);

    if (is_gone(text)) {
        if (link->peers[index].state == PEER_READY)
            hello_load(link, index, now_ns);
        return;
    }
    if (strncmp(text, "TRYAGAIN", 8) == 0)
        return; /* its slot is on the move: nothing is wrong */
    if (fault == LINK_FOREIGN) {
        link->foreign_until_ns = now_ns + 1000 * LINK_MS;
        fault_set_node(link, fault, text);
        return;
    }
    fault_set(link, index, fault, text);
    if (fault == LINK_INCOMPLETE || fault == LINK_READ_ONLY)
        link->wants_map = link->is_cluster;
    if (fault == LINK_PASSWORD || fault == LINK_LOADING ||
        (fault == LINK_READ_ONLY && strstr(text, "READONLY")))
        link_drop_peer(link, index, now_ns);
}

static bool on_answer(struct link *link, uint32_t index, uint32_t at,
                      const struct redis_value *reply, uint64_t now_ns)
{
    struct link_partition *partition = &link->partitions[at];
    uint32_t foreign;
    char detail[64];

    if (reply->kind != REDIS_KIND_TEXT ||
        link_message_parse(reply->text, reply->len, &link->answer, &foreign)) {
        fault_set(link, index, LINK_GARBAGE, "answer to a batch");
        return false;
    }
    if (foreign > 0) {
        snprintf(detail, sizeof(detail), "in partition %u, key %u of a batch", at, foreign);
        link->foreign_until_ns = now_ns + 1000 * LINK_MS;
        fault_set_node(link, LINK_FOREIGN, detail);
    }
    link->peers[index].fault = LINK_FINE;
    link->answer.partition = at;
    link->answer.sequence = partition->sequence;
    link->answer.node_count = link->node_count;
    partition->is_under_way = false;
    partition->backoff_ns = partition->retry_at_ns = 0;
    link->state.answered++;
    return true;
}

/* True: there is an answer for the caller. */
static bool on_merge_reply(struct link *link, uint32_t index, uint32_t at,
                           const struct redis_value *reply, uint64_t now_ns)
{
    struct link_partition *partition = &link->partitions[at];

    if (reply->kind != REDIS_KIND_ERROR && on_answer(link, index, at, reply, now_ns))
        return true;
    const bool is_redirected =
        reply->kind == REDIS_KIND_ERROR && cluster_redirect(link, at, reply->text, index);
    const uint64_t wait_ns = link_wait_longer(link, &partition->backoff_ns, FIRST_REFUSED_NS,
                                              is_redirected ? 50 * LINK_MS : LONGEST_WAIT_NS);
    if (!is_redirected || partition->backoff_ns > FIRST_REFUSED_NS)
        partition->retry_at_ns = now_ns + wait_ns;
    link_fail_partition(link, at);
    if (!is_redirected && reply->kind == REDIS_KIND_ERROR)
        on_refused(link, index, reply->text, now_ns);
    return false;
}

static void on_beat_error(struct link *link, uint32_t index, const char *text, uint64_t now_ns)
{
    link->is_beating = false;
    if (strncmp(text, "MOVED ", 6) == 0 || strncmp(text, "ASK ", 4) == 0) {
        link->wants_map = true;
        if (!link->is_cluster) { /* a Cluster whose map we may not read */
            fault_set(link, index, LINK_RIGHTS, "this is a Cluster, and CLUSTER SLOTS was refused");
        }
        return;
    }
    if (fault_of_error(text) == LINK_RIGHTS)
        link->is_claimed = false; /* no batch until nothing can refuse the middle of one */
    on_refused(link, index, text, now_ns);
}

bool reply_take(struct link *link, uint32_t index, const struct peer_call *call,
                const struct redis_value *reply, uint64_t now_ns)
{
    switch (call->kind) {
    case CALL_MERGE:
        return on_merge_reply(link, index, call->partition, reply, now_ns);
    case CALL_BEAT:
        if (reply->kind == REDIS_KIND_ERROR)
            on_beat_error(link, index, reply->text, now_ns);
        else
            beat_on_reply(link, index, reply, now_ns);
        return false;
    case CALL_ASKING:
        return false;
    case CALL_AUTH:
    case CALL_SELECT:
    case CALL_SLOTS:
    case CALL_LOAD:
        hello_on_reply(link, index, call, reply, now_ns);
        return false;
    }
    return false;
}
