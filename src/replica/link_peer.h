/* One connection to one Redis: a socket that does not block, what is to be written, and the calls
 * whose replies are still to come, in order. link_peer.c says how. One thread. */
#ifndef METE_REPLICA_LINK_PEER_H
#define METE_REPLICA_LINK_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "config/redis_url.h"
#include "replica/link_resolve.h"
#include "replica/link_tls.h"
#include "replica/redis.h"

enum peer_state {
    PEER_CLOSED,
    PEER_RESOLVING, /* the name's addresses are awaited */
    PEER_CONNECTING,
    PEER_GREETING, /* link_hello.c speaks */
    PEER_READY,
};

enum peer_call_kind {
    CALL_AUTH,
    CALL_SELECT,
    CALL_SLOTS,
    CALL_LOAD,
    CALL_BEAT,
    CALL_ASKING, /* the reply is dropped */
    CALL_MERGE,
};

struct peer_call {
    enum peer_call_kind kind;
    uint32_t partition; /* CALL_MERGE */
    uint64_t since_ns;
};

struct link_peer {
    struct redis_address address;
    struct link_addresses found; /* when it was last looked up */
    enum peer_state state;
    int fd;
    struct link_tls *tls;
    struct redis_buffer out;
    size_t written; /* of out */
    struct redis_reader *reader;
    struct peer_call *calls; /* a ring */
    uint32_t call_size, call_first, call_count;
    bool may_have_replies;
    bool is_wanted;       /* has slots, or is asked for them */
    bool is_watching_out; /* epoll tells when there is room to write */
    bool is_replica;      /* refuses writes: good for the slot map only */
    bool is_broken;       /* reading or writing failed: to be closed when its replies are read */
    int broken;           /* by this error */
    int fault;            /* enum link_fault, and its line */
    char text[320];
    uint64_t since_ns; /* of resolving, then of connecting */
    uint64_t retry_at_ns, backoff_ns;
    uint64_t bytes_in, bytes_out;
    char problem[224]; /* why the last call failed */
};

/* Results: 0, -ENOMEM. calls: how many replies may be outstanding. */
int peer_init(struct link_peer *peer, const struct redis_address *address, uint32_t calls);
void peer_deinit(struct link_peer *peer);

/* Begins to connect, to the addresses found or to the path, and watches the socket in this epoll
 * under this index. tls: NULL for none.
 * Results: 0; a negative errno with problem set, the peer closed. */
int peer_connect(struct link_peer *peer, struct link_tls_context *tls, int epoll, uint32_t index);

/* Reads and writes what can be. If that fails, is_broken is set, with broken (-EPROTO: not TLS, or
 * not Redis; or another negative errno) and problem. */
void peer_io(struct link_peer *peer, int epoll, uint32_t index);

/* The next reply, for the caller to free, and the call it answers. Results: 1, 0 (none is there),
 * -EPROTO with problem set. */
int peer_next_reply(struct link_peer *peer, struct redis_value **ret_reply,
                    struct peer_call *ret_call);

/* Notes that a call was put into out. -ENOMEM: too many are outstanding. */
int peer_expect(struct link_peer *peer, enum peer_call_kind kind, uint32_t partition,
                uint64_t now_ns);

/* The oldest call without a reply; NULL if there is none. */
const struct peer_call *peer_oldest(const struct link_peer *peer);

/* Takes the oldest call off, unanswered; false if there is none. */
bool peer_drop_call(struct link_peer *peer, struct peer_call *ret_call);

/* Gives the socket back and forgets what was to be written and read. Calls stay, to be dropped. */
void peer_close(struct link_peer *peer);

#endif
