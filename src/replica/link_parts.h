/* What the files of the link share; nobody else includes it.
 *
 *   link.c          the interface, events, what is due when
 *   link_hello.c    what is said to a Redis before it is used: password, database, slots, function
 *   link_cluster.c  which Redis has which partition
 *   link_reply.c    what a reply means
 *   link_beat.c     the node's id, who else is there
 *   link_fault.c    what an error means, in one line
 *   link_peer.c     one connection            link_message.c  what a batch looks like
 *   link_reach.c    to where to connect       link_resolve.c  names, on threads of their own
 *   link_tls.c, redis.c, link_script.c                        what the libraries are wrapped in */
#ifndef METE_REPLICA_LINK_PARTS_H
#define METE_REPLICA_LINK_PARTS_H

#include "config/redis_url.h"
#include "replica/link.h"
#include "replica/link_message.h"
#include "replica/link_peer.h"
#include "replica/link_script.h"

#define LINK_MAX_PEERS LINK_RESOLVER_SLOTS
#define LINK_RESOLVED UINT32_MAX /* among the indices of epoll: a lookup has ended */
#define LINK_NOBODY (-1)
#define LINK_MS 1000000ull
#define LONGEST_WAIT_NS (1000 * LINK_MS)
#define LINK_BEAT_NS (1000 * LINK_MS)
#define LINK_ALIVE_NS (4000 * LINK_MS) /* longer than a dead node is believed to live */

struct link_partition {
    uint32_t slot;
    int peer; /* who has it, or LINK_NOBODY */
    int ask;  /* who is to be asked once instead, or LINK_NOBODY */
    bool is_under_way, has_failed;
    uint64_t sequence;
    uint64_t retry_at_ns, backoff_ns;
};

struct link {
    struct redis_url url;
    char namespace_name[LINK_MAX_NAMESPACE + 1];
    char user[64];
    char *password; /* in locked memory, or NULL */
    struct link_tls_context *tls;
    struct link_resolver *resolver;
    struct link_script script;
    char sha[41]; /* of the script, once it is loaded */
    struct link_message *message;
    uint64_t timeout_ns, told_us;
    int epoll;
    uint32_t partition_count, failed_count;
    struct link_partition *partitions;

    struct link_peer peers[LINK_MAX_PEERS];
    uint32_t peer_count, turn; /* turn: whose replies are looked at next */
    bool is_cluster, is_script;
    int home;             /* standalone: the one of the seeds that is used */
    uint32_t home_slot;   /* of what belongs to the namespace */
    int home_peer;        /* who has that slot, or LINK_NOBODY */
    bool wants_map;       /* the slot map is known to be wrong */
    uint64_t map_next_ns; /* not asked for before */

    uint64_t node_id, token, taken_since_ns, beat_next_ns;
    uint32_t node_count;
    bool is_claimed, is_beating, is_leaving, has_left, is_taken, says_taken;
    enum link_fault node_fault; /* what a beat or a batch found wrong */
    char node_text[320];
    uint64_t foreign_until_ns;

    struct link_state state;
    uint64_t said_ns; /* when the state was last told */
    bool has_news;
    uint64_t jitter;
    struct batch_answer answer;
};

/* link_hello.c. Begins after connecting, and again where the function is gone. */
void hello_begin(struct link *link, uint32_t index, uint64_t now_ns);
void hello_load(struct link *link, uint32_t index, uint64_t now_ns);
void hello_on_reply(struct link *link, uint32_t index, const struct peer_call *call,
                    const struct redis_value *reply, uint64_t now_ns);

/* link_cluster.c */
uint32_t cluster_slot(const char *tag);
void cluster_use_home(struct link *link);
void cluster_read_map(struct link *link, uint32_t index, const struct redis_value *map);
void cluster_mark_wanted(struct link *link);
void cluster_refresh(struct link *link, uint64_t now_ns);
/* "MOVED 866 10.0.0.2:6379" or "ASK ...": false if it is neither. */
bool cluster_redirect(struct link *link, uint32_t partition, const char *text, uint32_t index);

/* link_beat.c */
void beat_send(struct link *link, uint64_t now_ns);
void beat_on_reply(struct link *link, uint32_t index, const struct redis_value *reply,
                   uint64_t now_ns);

/* link_reach.c. Has a peer that is closed, or whose name is being looked up, connected. */
void reach_peer(struct link *link, uint32_t index, uint64_t now_ns);

/* link_reply.c. True: there is an answer for the caller, in link->answer. */
bool reply_take(struct link *link, uint32_t index, const struct peer_call *call,
                const struct redis_value *reply, uint64_t now_ns);

/* link_fault.c */
enum link_fault fault_of_error(const char *text);
void fault_set(struct link *link, uint32_t index, enum link_fault fault, const char *detail);
void fault_set_node(struct link *link, enum link_fault fault, const char *detail);
/* Looks at all of it and says whether there is news. */
void fault_sum_up(struct link *link, uint64_t now_ns);

/* link.c */
void link_call_merge_name(const struct link *link, bool is_beat, struct link_call *ret_call);
/* Closes a connection, fails what was under way, and waits before the next try. */
void link_drop_peer(struct link *link, uint32_t index, uint64_t now_ns);
void link_fail_partition(struct link *link, uint32_t index);
void link_flush_peer(struct link *link, uint32_t index);
uint64_t link_wait_longer(struct link *link, uint64_t *backoff_ns, uint64_t first_ns,
                          uint64_t most_ns);

#endif
