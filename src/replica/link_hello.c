/* What is said to a Redis before it is used, one thing at a time so that each error has one
 * meaning:
 *
 *   AUTH [user] password     if there is a password
 *   SELECT database          if it is not 0
 *   CLUSTER SLOTS            a map: this is a Cluster; an error: it is not
 *   FUNCTION LOAD library    or, where Redis knows no functions, SCRIPT LOAD
 *
 * A library that is there already is as good as loaded: its name has the hash of its text. A
 * replica refuses the library; it can still tell the map. Where the function is found gone later,
 * the last step is taken again. */
#include "replica/link_parts.h"

#include <stdio.h>
#include <string.h>

static void say(struct link *link, uint32_t index, enum peer_call_kind kind, int count,
                const char *const *words, uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];
    size_t lens[4];

    for (int i = 0; i < count; i++)
        lens[i] = strlen(words[i]);
    if (peer_expect(peer, kind, 0, now_ns) == 0)
        redis_format(&peer->out, count, words, lens);
    link_flush_peer(link, index);
}

void hello_load(struct link *link, uint32_t index, uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];
    const struct link_script *script = &link->script;
    const char *words[] = {"FUNCTION", "LOAD", script->library.bytes};
    size_t lens[] = {8, 4, script->library.len};

    if (link->is_script) {
        words[0] = "SCRIPT";
        lens[0] = 6;
        words[2] = script->text;
        lens[2] = script->len;
    }
    peer->state = PEER_GREETING;
    peer->since_ns = now_ns;
    if (peer_expect(peer, CALL_LOAD, 0, now_ns) == 0)
        redis_format(&peer->out, 3, words, lens);
    link_flush_peer(link, index);
}

static void ask_slots(struct link *link, uint32_t index, uint64_t now_ns)
{
    const char *words[] = {"CLUSTER", "SLOTS"};
    say(link, index, CALL_SLOTS, 2, words, now_ns);
}

static void select_database(struct link *link, uint32_t index, uint64_t now_ns)
{
    char number[16];
    const char *words[] = {"SELECT", number};

    if (link->url.database == 0) {
        ask_slots(link, index, now_ns);
        return;
    }
    snprintf(number, sizeof(number), "%u", link->url.database);
    say(link, index, CALL_SELECT, 2, words, now_ns);
}

void hello_begin(struct link *link, uint32_t index, uint64_t now_ns)
{
    link->peers[index].out.holds_secret = link->password != NULL;
    if (!link->password) {
        select_database(link, index, now_ns);
    } else if (link->user[0]) {
        const char *words[] = {"AUTH", link->user, link->password};
        say(link, index, CALL_AUTH, 3, words, now_ns);
    } else {
        const char *words[] = {"AUTH", link->password};
        say(link, index, CALL_AUTH, 2, words, now_ns);
    }
}

static void refuse(struct link *link, uint32_t index, const char *text, uint64_t now_ns)
{
    fault_set(link, index, fault_of_error(text), text);
    link_drop_peer(link, index, now_ns);
}

static void be_ready(struct link *link, uint32_t index)
{
    struct link_peer *peer = &link->peers[index];

    peer->state = PEER_READY;
    peer->backoff_ns = 0;
    peer->fault = LINK_FINE;
    if (!link->is_cluster && link->home != (int)index)
        link->home = (int)index;
    if (!link->is_cluster)
        cluster_use_home(link);
}

/* An error here mostly means that there is no Cluster, or no right to ask, which only a Cluster
 * needs: its redirections will tell. */
static void on_slots(struct link *link, uint32_t index, const struct redis_value *reply,
                     uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];

    if (reply->kind == REDIS_KIND_ARRAY) {
        cluster_read_map(link, index, reply);
    } else if (reply->kind == REDIS_KIND_ERROR) {
        const enum link_fault fault = fault_of_error(reply->text);
        if (fault == LINK_PASSWORD || fault == LINK_LOADING || fault == LINK_BUSY) {
            refuse(link, index, reply->text, now_ns);
            return;
        }
        if (fault == LINK_RIGHTS && link->is_cluster) {
            refuse(link, index, reply->text, now_ns);
            return;
        }
    }
    if (peer->state == PEER_GREETING)
        hello_load(link, index, now_ns);
}

static void on_load(struct link *link, uint32_t index, const struct redis_value *reply,
                    uint64_t now_ns)
{
    struct link_peer *peer = &link->peers[index];

    if (reply->kind == REDIS_KIND_ERROR && !strstr(reply->text, "already exists")) {
        const enum link_fault fault = fault_of_error(reply->text);
        if (fault == LINK_OLD && !link->is_script) {
            link->is_script = link->state.is_script = true;
            hello_load(link, index, now_ns);
        } else if (strncmp(reply->text, "READONLY", 8) == 0 && link->is_cluster) {
            peer->is_replica = true;
            be_ready(link, index);
        } else {
            refuse(link, index, reply->text, now_ns);
        }
        return;
    }
    if (link->is_script && reply->kind == REDIS_KIND_TEXT)
        snprintf(link->sha, sizeof(link->sha), "%s", reply->text);
    be_ready(link, index);
}

void hello_on_reply(struct link *link, uint32_t index, const struct peer_call *call,
                    const struct redis_value *reply, uint64_t now_ns)
{
    switch (call->kind) {
    case CALL_AUTH:
        if (reply->kind == REDIS_KIND_ERROR)
            refuse(link, index, reply->text, now_ns);
        else
            select_database(link, index, now_ns);
        break;
    case CALL_SELECT:
        if (reply->kind == REDIS_KIND_ERROR)
            refuse(link, index, reply->text, now_ns);
        else
            ask_slots(link, index, now_ns);
        break;
    case CALL_SLOTS:
        on_slots(link, index, reply, now_ns);
        break;
    case CALL_LOAD:
        on_load(link, index, reply, now_ns);
        break;
    case CALL_BEAT:
    case CALL_ASKING:
    case CALL_MERGE:
        break;
    }
}
