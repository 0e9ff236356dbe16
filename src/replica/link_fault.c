/* What an error means, and what an operator should do about it: one line each. A fault stays until
 * what it was about works; the worst that stands is what is told, at most once a second. */
#include "replica/link_parts.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *says, *advice;
} faults[] = {
    [LINK_FINE] = {"fine", "connected", ""},
    [LINK_STARTING] = {"starting", "not connected yet", ""},
    [LINK_UNREACHABLE] = {"unreachable", "no connection",
                          "is Redis running there, and is redis.url right?"},
    [LINK_INSECURE] = {"insecure", "TLS failed",
                       "does Redis speak TLS on this port, and does redis.ca_file name who signed "
                       "its certificate for this host?"},
    [LINK_GARBAGE] = {"garbage", "what answers is not Redis",
                      "redis.url must name a Redis port (rediss:// if it speaks TLS)"},
    [LINK_PASSWORD] = {"password", "user or password refused",
                       "check redis.user and redis.password_file"},
    [LINK_DATABASE] = {"database", "database refused",
                       "redis.url must end in /0, or in a number below `databases` of Redis; a "
                       "Cluster has only /0"},
    [LINK_RIGHTS] = {"rights", "the user may not do what is needed",
                     "give it the rights that proto-spec/redis.md lists (ACL SETUSER)"},
    [LINK_OLD] = {"old", "this Redis runs neither functions nor scripts",
                  "Redis 5 or later is needed, with EVALSHA not renamed"},
    [LINK_LOADING] = {"loading", "Redis is loading its data set", "nothing to do but wait"},
    [LINK_BUSY] = {"busy", "another program's script keeps Redis busy",
                   "SCRIPT KILL or FUNCTION KILL ends it"},
    [LINK_MEMORY] = {"memory", "Redis is out of memory",
                     "raise its maxmemory; with an eviction policy limits may be forgotten"},
    [LINK_READ_ONLY] = {"read-only", "Redis takes no writes",
                        "redis.url must name the master, and its disk must be writable"},
    [LINK_INCOMPLETE] = {"incomplete", "the Cluster does not serve all of its slots",
                         "CLUSTER INFO says what is missing"},
    [LINK_FOREIGN] = {"foreign", "a key of this namespace holds something else",
                      "choose another `namespace`, or delete what another program put there"},
    [LINK_PARTITIONS] = {"partitions", "the namespace has another number of partitions",
                         "set redis.partitions to it on all nodes, or choose another `namespace`"},
    [LINK_TAKEN] = {"taken", "another running process has this node's id",
                    "was the table file or redis.node_id copied? A new id is taken"},
    [LINK_MIXED] = {"mixed", "another version of mete shares this namespace",
                    "fine during an upgrade; else bring all nodes to one version"},
    [LINK_OTHER] = {"other", "Redis refused", ""},
};

const char *link_fault_name(enum link_fault fault)
{
    return faults[fault].name;
}

static const struct {
    const char *word;
    enum link_fault fault;
} words[] = {
    {"WRONGPASS", LINK_PASSWORD},
    {"NOAUTH", LINK_PASSWORD},
    {"called without any password configured", LINK_PASSWORD},
    {"no password is set", LINK_PASSWORD},
    {"invalid password", LINK_PASSWORD},
    {"DB index", LINK_DATABASE},
    {"SELECT is not allowed", LINK_DATABASE},
    {"NOPERM", LINK_RIGHTS},
    {"The user executing the script", LINK_RIGHTS},
    {"LOADING", LINK_LOADING},
    {"OOM ", LINK_MEMORY},
    {"BUSY", LINK_BUSY},
    {"READONLY", LINK_READ_ONLY},
    {"MISCONF", LINK_READ_ONLY},
    {"NOREPLICAS", LINK_READ_ONLY},
    {"CLUSTERDOWN", LINK_INCOMPLETE},
    {"MASTERDOWN", LINK_INCOMPLETE},
    {"TRYAGAIN", LINK_INCOMPLETE},
    {"METEFOREIGN", LINK_FOREIGN},
    {"WRONGTYPE", LINK_FOREIGN},
    {"after non deterministic", LINK_OLD},
    {"unknown command", LINK_OLD},
};

enum fault_place { FAULT_WORDS = sizeof(words) / sizeof(words[0]) };

/* Older versions wrap what a script ran into in a text of their own, so a word may stand anywhere.
 */
enum link_fault fault_of_error(const char *text)
{
    for (int i = 0; i < FAULT_WORDS; i++)
        if (strstr(text, words[i].word))
            return words[i].fault;
    return LINK_OTHER;
}

/* A name in Redis is bytes; a line of a log is not. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static void describe(char *text, size_t size, const char *where, enum link_fault fault,
                     const char *detail)
{
    const bool has_detail = detail && *detail;

    snprintf(text, size, "%s: %s%s%.120s%s%s%s", where, faults[fault].says, has_detail ? " (" : "",
             has_detail ? detail : "", has_detail ? ")" : "", *faults[fault].advice ? "; " : "",
             faults[fault].advice);
    make_printable(text);
}

void fault_set(struct link *link, uint32_t index, enum link_fault fault, const char *detail)
{
    struct link_peer *peer = &link->peers[index];
    char where[REDIS_MAX_HOST + 10];

    peer->fault = (int)fault;
    describe(peer->text, sizeof(peer->text),
             redis_address_text(&peer->address, where, sizeof(where)), fault, detail);
}

void fault_set_node(struct link *link, enum link_fault fault, const char *detail)
{
    char where[LINK_MAX_NAMESPACE + 16];

    link->node_fault = fault;
    snprintf(where, sizeof(where), "namespace %s", link->namespace_name);
    describe(link->node_text, sizeof(link->node_text), where, fault, detail);
}

/* Of the connections that are needed, the one that is worst off: what was said last of it. */
static const struct link_peer *worst_peer(const struct link *link)
{
    for (uint32_t i = 0; i < link->peer_count; i++) {
        const struct link_peer *peer = &link->peers[i];
        if (peer->is_wanted && peer->fault != LINK_FINE && peer->fault != LINK_STARTING)
            return peer;
    }
    return NULL;
}

static void count_peers(struct link *link)
{
    link->state.peers = link->state.peers_ready = 0;
    for (uint32_t i = 0; i < link->peer_count; i++) {
        link->state.peers += link->peers[i].is_wanted;
        link->state.peers_ready += link->peers[i].state == PEER_READY;
    }
}

void fault_sum_up(struct link *link, uint64_t now_ns)
{
    const struct link_peer *worst = worst_peer(link);
    struct link_state *state = &link->state;
    enum link_fault fault = LINK_FINE;
    char fine[320];
    const char *text = fine;

    count_peers(link);
    /* not before it was said: what is said is held back for a while */
    if (link->node_fault == LINK_FOREIGN && state->fault == LINK_FOREIGN &&
        now_ns > link->foreign_until_ns)
        link->node_fault = LINK_FINE;
    if (worst) {
        fault = (enum link_fault)worst->fault;
        text = worst->text;
    } else if (link->node_fault != LINK_FINE) {
        fault = link->node_fault;
        text = link->node_text;
    } else if (!link->is_claimed) {
        fault = LINK_STARTING;
    }
    if (text == fine)
        snprintf(fine, sizeof(fine), "%s%s%s, %u node%s in namespace %s", faults[fault].says,
                 link->is_cluster ? " to a Cluster" : "",
                 link->is_script ? " (without functions)" : "", link->node_count,
                 link->node_count == 1 ? "" : "s", link->namespace_name);
    if (fault == state->fault)
        return; /* what was said of it first is what counts: details change with every try */
    if (link->said_ns != 0 && fault != LINK_FINE && now_ns < link->said_ns + 1000 * LINK_MS)
        return;
    if (fault == LINK_FINE && state->fault != LINK_STARTING &&
        now_ns < link->said_ns + 200 * LINK_MS)
        return;
    state->fault = fault;
    state->since_ns = now_ns;
    snprintf(state->text, sizeof(state->text), "%s", text);
    link->said_ns = now_ns;
    link->has_news = fault != LINK_STARTING;
}
