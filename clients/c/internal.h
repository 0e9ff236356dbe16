/* What the files of the C client share.
 *
 * One object holds four things: who it is to the server (socket, client id, sequence, what HELLO
 * told), the checks that were asked for, the datagrams that are being filled and those in flight.
 *
 *   submit / ask -> check -> batch -> flight -> answer -> check finished -> callback / caller
 *
 * A check is the caller's question with its deadline. A batch is an open datagram, sent when full
 * or flushed. A flight is what is kept of a datagram that was sent: sequence, tag and its checks in
 * order. Checks and flights live in fixed arrays and are named by their index; an index beyond
 * `..._fresh` was never used, so memory that is not needed is never touched.
 *
 * Nothing here is shared between objects. */
#ifndef METE_CLIENTS_C_INTERNAL_H
#define METE_CLIENTS_C_INTERNAL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include "mete/client.h"
#include "mete/wire.h"

#define NONE UINT32_MAX
#define MANY_MAX 25u      /* requests in one blocking call */
#define BATCH_COUNT 4u    /* kinds of datagram that are filled side by side */
#define READY_MAX 16u     /* full datagrams that wait to leave in one send */
#define RECEIVE_MANY 16u  /* datagrams taken by one system call */
#define SUBJECT_RULES 16u /* rules remembered that must see the subject */
#define ENTRIES_BYTES (METE_WIRE_MAX_BYTES - METE_WIRE_HEADER_BYTES - METE_WIRE_TAG_BYTES)

enum check_state {
    CHECK_WAITING,  /* no answer yet */
    CHECK_FINISHED, /* answer there, to be delivered by process */
    CHECK_FREE
};

struct check {
    uint32_t next, previous; /* in `waiting`, `finished` or the free list */
    uint32_t flight;         /* NONE: in no datagram in flight */
    uint32_t next_in_flight;
    uint8_t position; /* in its datagram */
    enum check_state state;
    bool blocking;  /* answer goes to *(struct mete_answer *)context, else through on_answer */
    bool raw;       /* travelled with its subject */
    bool was_stale; /* has been sent again after STALE */
    uint8_t type;
    uint8_t flags; /* without RAW_SUBJECT */
    int64_t deadline_ns;
    mete_answer_fn *on_answer;
    void *context;
    struct mete_entry entry; /* rule, cost, inline limit; key of a subject too long to keep */
    size_t subject_len;
    uint8_t subject[METE_WIRE_MAX_RAW_SUBJECT]; /* kept if it fits, to hash or send again */
    struct mete_answer answer;
};

struct check_list {
    uint32_t head, tail, count;
};

struct batch {
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    uint32_t checks[METE_WIRE_MAX_CHECKS];
    struct mete_header header; /* n 0: not in use */
    int64_t deadline_ns;       /* of the check that may wait longest */
    int64_t due_ns;            /* when the check that came first has been joined for long enough */
    uint64_t tag;
    size_t len;
    bool blocking;
};

struct inbox;

struct flight {
    uint64_t tag;
    uint32_t sequence;
    uint32_t first; /* of its checks that wait; NONE: not in use */
    uint32_t next;  /* in its bucket, or of the free list */
    uint8_t type, flags, n;
};

struct hello {
    bool known;     /* seed and the rest below are valid */
    bool wanted;    /* send one with the next datagram */
    bool in_flight; /* until deadline_ns */
    bool failed;    /* the last one had no answer, */
    int error;      /* because the socket said this; 0: it said nothing */
    uint32_t sequence;
    uint64_t tag;
    int64_t deadline_ns;
    uint64_t seed;
    uint64_t boot_id;
    uint64_t features;  /* request types served, bit t for type t */
    uint32_t repeat_ms; /* W; 0: the server does not know repeats, so nothing is ever sent twice */
    uint32_t ahead_ms;
    uint16_t boot; /* boot bits it came with */
};

struct mete_client {
    int fd;
    struct sockaddr_storage address;
    socklen_t address_len;
    volatile uint8_t *life; /* 1; a page that fork leaves empty in the child. NULL: compare pid */
    pid_t pid;

    uint32_t tenant, client_id, sequence;
    const struct mete_mac_key *mac; /* NULL: no secret */
    uint8_t secret;
    uint16_t boot;
    bool clock_known;
    uint32_t clock_ms;   /* the server's ... */
    int64_t clock_at_ns; /* ... when ours was this */
    struct hello hello;
    uint32_t subject_rules[SUBJECT_RULES];
    uint32_t subject_rule_count; /* ever remembered; the oldest is overwritten */

    int64_t timeout_ns;
    enum mete_fallback fallback;
    int64_t local_interval_ns; /* of one unit */
    uint32_t local_burst;
    int64_t local_tat_ns;
    uint32_t jitter_percent;
    uint32_t ipv6_prefix;
    uint64_t random;

    uint32_t max_in_flight;
    uint32_t submitted; /* checks of the non-blocking form that hold a place */
    uint32_t blocking;  /* checks of the blocking call that wait */
    struct check *checks;
    uint32_t check_free, check_fresh;
    struct check_list waiting; /* submitted ones, by deadline */
    struct check_list finished;
    struct batch *batches;
    struct batch *open[BATCH_COUNT]; /* being filled */
    struct batch *ready[READY_MAX];  /* full, in the order they were filled; spare ones behind */
    uint32_t ready_count;
    uint32_t batch_oldest;
    int64_t join_ns; /* 0: what is full is sent at once, the rest by flush and process */
    int64_t due_ns;  /* the earliest of those that are open or ready */
    bool can_segment;
    struct inbox *inbox;
    struct flight *flights;
    uint32_t flight_free, flight_fresh, flight_count;
    uint32_t *buckets; /* flights by sequence */
    uint32_t bucket_mask;
    struct mete_client_stats stats;
};

/* Linux counts a suspended machine in this clock, and so does the server's. */
static inline int64_t mete_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* client.c */

/* To be called first by every public call: after a fork it gives the child a life of its own.
 * Results: 0, or a negative errno (no socket to be had). */
int mete_client_revive(struct mete_client *client);
/* Forgets all checks, batches and flights, without callbacks. */
void mete_client_forget(struct mete_client *client);

/* checks.c */

/* Results: 0, -EINVAL: not a request that this type can be asked with. */
int mete_check_validate(uint8_t type, const struct mete_request *request, uint8_t flags_allowed);
/* A place for the request; the caller has made sure that there is one. */
uint32_t mete_check_take(struct mete_client *client, uint8_t type,
                         const struct mete_request *request, int64_t deadline_ns);
/* Makes it a submitted one, with a deadline of its own. */
void mete_check_enlist(struct mete_client *client, uint32_t index, mete_answer_fn *on_answer,
                       void *context);
void mete_check_finish(struct mete_client *client, uint32_t index,
                       const struct mete_answer *answer);
/* Finishes with the fallback. */
void mete_check_give_up(struct mete_client *client, uint32_t index, enum mete_source source,
                        uint8_t status, int error);
/* Calls back for what is finished now. Returns the number of callbacks. */
int mete_check_deliver(struct mete_client *client);
/* Gives up what is past its deadline, a HELLO too. */
void mete_check_expire(struct mete_client *client, int64_t now_ns);

/* flights.c */

void mete_flight_begin(struct mete_client *client, const struct batch *batch, uint64_t tag);
/* Index, or NONE. */
uint32_t mete_flight_find(const struct mete_client *client, uint32_t sequence);
/* Ends it; ret_waiting (room for METE_WIRE_MAX_CHECKS) has the check of each entry, NONE for those
 * that no longer wait. Returns the number of entries. */
unsigned mete_flight_end(struct mete_client *client, uint32_t flight, uint32_t *ret_waiting);
/* One of its checks waits no longer; without any it ends. */
void mete_flight_leave(struct mete_client *client, uint32_t index);
/* Gives up all that is in flight: the socket says that nobody gets it. */
void mete_flight_fail_all(struct mete_client *client, int error);

/* datagram.c */

/* XXH3-128 with the tenant's seed. */
void mete_datagram_key(const struct mete_client *client, const void *subject, size_t subject_len,
                       struct mete_entry *ret_entry);
/* Puts a check into a batch; a batch that is full is sent. */
void mete_datagram_add(struct mete_client *client, uint32_t index);
/* As add for several, in one datagram if they fit. Returns false, and adds nothing, if they do
 * not and `whole` asks for one datagram or none. */
bool mete_datagram_add_together(struct mete_client *client, const uint32_t *indices, unsigned count,
                                bool whole);
/* Sends the open batches, those of the blocking form or the others. Returns datagrams sent. */
int mete_datagram_flush(struct mete_client *client, bool blocking);
/* Sends the open batches of the non-blocking form that have been joined for long enough and all
 * that are full. Whatever check is past its deadline at now_ns is in no batch afterwards. Returns
 * datagrams sent. */
int mete_datagram_flush_due(struct mete_client *client, int64_t now_ns);
/* The rule answered NEED_SUBJECT. */
void mete_datagram_remember_rule(struct mete_client *client, uint32_t rule);

/* send.c */

/* Signs and sends batches and empties them; with join_ns several in one system call where their
 * sizes allow. What nobody waits for any more is not sent: it would be charged for nothing. Returns
 * datagrams sent. */
int mete_send(struct mete_client *client, struct batch *const *batches, unsigned count);
/* Whether the kernel knows how to cut one send into datagrams. */
bool mete_send_can_segment(int fd);
/* Sends a HELLO unless one is in flight. */
void mete_send_hello(struct mete_client *client, int64_t now_ns);

/* receive.c */

/* Memory for mete_receive(); NULL: none to be had. */
struct inbox *mete_inbox_create(void);

/* Takes what the socket has, at most so many datagrams that it cannot take for ever. */
void mete_receive(struct mete_client *client);

/* answer.c */

struct mete_answer mete_answer_fallback(struct mete_client *client, const struct check *check,
                                        enum mete_source source, int64_t now_ns);
/* Of an ALL_OR_NOTHING group of which not all passed: what the local bucket took for some of them
 * goes back. */
void mete_answer_settle_group(struct mete_client *client, struct mete_answer *answers,
                              unsigned count);
struct mete_answer mete_answer_verdict(struct mete_client *client, const struct check *check,
                                       const struct mete_verdict *verdict);

#endif
