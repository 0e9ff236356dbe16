/* What the files of the C client share.
 *
 * One object holds four things: the servers (for each its socket and what HELLO and its answers
 * told), the checks that were asked for, the datagrams that are being filled and those in flight.
 *
 *   submit / ask -> check -> server -> batch -> flight -> answer -> check finished -> callback
 *                     ^ adrift <- refused, silent, restarted, STALE, NEED_SUBJECT <-'
 *
 * A check is the caller's question with its deadline. A batch is an open datagram, sent when full
 * or flushed. A flight is what is kept of a datagram that was sent: header, tag and its checks in
 * order; a leg is a check's place in one, and a check has two at most, so that a second server can
 * be asked while the first may still answer. Checks that wait for a server's HELLO are held; those
 * that have to go out again are adrift until mete_place_adrift(). Only that and the callers' own
 * checks fill batches: what receives, what sends and what looks at timers only marks. So a check
 * in an open batch has no leg, but for the moment between being placed again and the flush that
 * follows at once.
 *
 * Checks and flights live in fixed arrays and are named by their index; an index beyond
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
#define LEGS 2u           /* datagrams that one check can be in at a time */
#define SECRETS_MAX 2u
#define TRIES_MAX 4u /* each secret as the server's newest and as its older one */
#define NONCE_BYTES 16u
#define SHARE_WHOLE 1000u
#define METE_ACCOUNT_MAX 100u /* tenths of datagrams */
#define ENTRIES_BYTES (METE_WIRE_MAX_BYTES - METE_WIRE_HEADER_BYTES - METE_WIRE_TAG_BYTES)

enum check_state {
    CHECK_WAITING,  /* no answer yet */
    CHECK_FINISHED, /* answer there, to be delivered by process */
    CHECK_FREE
};

struct link {
    uint32_t next, previous;
};

enum link_kind {
    LINK_LIFE, /* `waiting` or `finished` */
    LINK_QUEUE /* `adrift` or a server's `held` */
};

struct check_list {
    uint32_t head, tail, count;
};

/* Named by check * LEGS + which. */
struct leg {
    uint32_t flight; /* NONE: not in use */
    uint32_t next;   /* leg in the same flight */
};

struct check {
    struct link links[2];
    struct check_list *queue; /* NULL: neither adrift nor held */
    struct leg legs[LEGS];
    uint8_t positions[LEGS]; /* in their datagrams */
    uint8_t newest;          /* leg that was taken last */
    uint8_t state;           /* enum check_state */
    uint8_t type;
    uint8_t flags;   /* without RAW_SUBJECT */
    bool blocking;   /* answer goes to *(struct mete_answer *)context, else through on_answer */
    bool batched;    /* in a batch that was not sent yet */
    bool raw;        /* travelled with its subject */
    bool was_stale;  /* has been sent again after STALE */
    bool is_again;   /* goes out again, so it waits for no company */
    bool has_key;    /* a subject too long to keep, hashed already */
    uint8_t home;    /* adrift: the server to go to, HOME_ANY: the best not yet tried */
    uint16_t tried;  /* bit per server */
    uint64_t choice; /* hash by which its server is chosen; 0 with one server */
    int64_t deadline_ns;
    mete_answer_fn *on_answer;
    void *context;
    size_t subject_len;
    const void *long_subject; /* the caller's, of a blocking call */
    struct mete_entry entry;  /* rule, cost, inline limit; key of a subject too long to keep */
    uint8_t subject[METE_WIRE_MAX_RAW_SUBJECT]; /* kept if it fits, to hash or send again */
    struct mete_answer answer;
};
#define HOME_ANY 0xffu

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
    struct mete_header header;
    uint64_t tag;
    uint64_t seed;       /* its keys were made with */
    int64_t sent_ns;     /* the first time */
    int64_t deadline_ns; /* of the check that may wait longest */
    int64_t retry_ns;    /* the next time for the same bytes; INT64_MAX: never */
    int64_t miss_ns;     /* when its server counts as silent; INT64_MAX: nobody asks */
    uint32_t first;      /* leg; NONE: not in use */
    uint32_t next;       /* in its bucket, or of the free list */
    uint8_t server;
    uint8_t waiting; /* checks that still do */
    uint8_t tries;   /* times sent */
};

struct hello_try {
    uint32_t sequence;
    uint64_t tag;
    uint8_t nonce[NONCE_BYTES];
    bool is_sent, was_refused; /* in this round; refused: RESTARTED came, a hint only */
};

struct hello {
    bool known;     /* it was answered: clock, boot and the rest below are valid */
    bool wanted;    /* send one with the next datagram */
    bool in_flight; /* a round of tries, until deadline_ns */
    bool failed;    /* the last round had no answer, */
    bool is_missed; /* this one has been counted as a miss */
    bool is_hinted; /* RESTARTED came too soon after the last one: a HELLO at hint_from_ns */
    int error;      /* because the socket said this; 0: it said nothing */
    struct hello_try tries[TRIES_MAX];
    uint8_t at;    /* the try that was sent last, or that was answered */
    uint8_t sends; /* in this round */
    int64_t begun_ns, sent_ns, deadline_ns;
    int64_t retry_ns;
    int64_t hint_from_ns; /* no RESTARTED leads to a HELLO before */
    uint64_t boot_id;
    uint32_t repeat_ms; /* W; 0: the server does not know repeats, so nothing is ever sent twice */
    uint16_t boot;      /* boot bits it came with */
};

/* Answers alone say how a server is: see health.c. */
struct health {
    uint32_t share;             /* of its keys that it gets, of SHARE_WHOLE; 0: suspect */
    uint32_t misses;            /* in a row */
    int64_t missed_ns;          /* the last one counted */
    int64_t returning_ns;       /* since when its share grows */
    int64_t probe_ns;           /* the next HELLO to a suspect one */
    int64_t srtt_ns, rttvar_ns; /* RFC 6298; srtt 0: nothing measured yet */
};

struct server {
    int fd;
    struct sockaddr_storage address;
    socklen_t address_len;
    char name[272]; /* its address as text, "host:port": who it is to all clients alike */
    uint64_t identity;
    uint8_t index;
    bool can_segment;
    const struct mete_mac_key *mac; /* NULL: no secret, or none proved yet */
    uint8_t secret_index;           /* as the server counts them */
    uint16_t boot;
    bool clock_known;
    uint32_t clock_ms;   /* the server's ... */
    int64_t clock_at_ns; /* ... when ours was this */
    struct hello hello;
    struct health health;
    struct check_list held;          /* until it answers HELLO */
    struct batch *open[BATCH_COUNT]; /* being filled */
    struct batch *ready[READY_MAX];  /* full, in the order they were filled; spare ones behind */
    uint32_t ready_count;
    uint32_t batch_oldest;
    int64_t due_ns; /* the earliest of those that are open or ready */
    uint32_t flight_count;
    struct mete_server_stats stats;
};

/* In memory that is locked and never dumped; see secrets.c. */
struct vault {
    uint8_t secrets[SECRETS_MAX][METE_SECRET_MAX];
    size_t lens[SECRETS_MAX];
    struct mete_mac_key hello_macs[SECRETS_MAX];
    struct mete_mac_key macs[METE_SERVERS_MAX];
};

struct mete_client {
    int fd;                 /* of the one server, or an epoll descriptor over all */
    volatile uint8_t *life; /* 1; a page that fork leaves empty in the child. NULL: compare pid */
    pid_t pid;
    uint32_t tenant, client_id, sequence;

    struct server *servers;
    uint32_t server_count;
    uint32_t unwell_count; /* servers with less than their whole share */
    struct vault *vault;   /* NULL: no secret */
    uint32_t secret_count;
    uint8_t first_index; /* of the first secret, as the server counts them */
    bool seed_known;
    uint64_t seed; /* the tenant's, the same on all servers of a namespace */
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
    struct check_list adrift[2]; /* to be sent again: submitted ones, the blocking call's */
    struct batch *batches;
    int64_t join_ns; /* 0: what is full is sent at once, the rest by flush and process */
    struct inbox *inbox;
    struct flight *flights;
    uint32_t flight_free, flight_fresh, flight_count;
    uint32_t *buckets; /* flights by sequence */
    uint32_t bucket_mask;
    int64_t timer_ns; /* nothing has to be looked at before; may be too early */
    uint32_t account; /* tenths of datagrams that may be sent beyond the first of each */
    struct mete_client_stats stats;
};

/* Linux counts a suspended machine in this clock, and so does the server's. */
static inline int64_t mete_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static inline void mete_arm(struct mete_client *client, int64_t at_ns)
{
    if (at_ns < client->timer_ns)
        client->timer_ns = at_ns;
}

/* blocking.c */

/* Asks and waits; all with the flags of the first. lease_id: of the lease types. */
void mete_ask(struct mete_client *client, uint8_t type, uint64_t lease_id,
              const struct mete_request *requests, unsigned count, struct mete_answer *ret_answers);

/* client.c */

/* To be called first by every public call: after a fork it gives the child a life of its own.
 * Results: 0, or a negative errno (no socket to be had). */
int mete_client_revive(struct mete_client *client);
/* Forgets all checks, batches and flights, without callbacks. */
void mete_client_forget(struct mete_client *client);
/* 32 random bits, only to spread waits. */
uint32_t mete_client_random(struct mete_client *client);

/* address.c */

/* Takes memory for the servers that the options name, and looks up their names. Results: 0,
 * -EINVAL, -ENOMEM. */
int mete_address_take(struct mete_client *client, const struct mete_client_options *options);
/* A new connected socket; the old one, if any, is closed. Results: 0 or a negative errno. */
int mete_address_connect(struct server *server);

/* secrets.c */

/* Results: 0, -EINVAL, -ENOMEM. */
int mete_secrets_take(struct mete_client *client, const struct mete_client_options *options);
/* Wipes them. */
void mete_secrets_drop(struct mete_client *client);
/* How many ways there are to say HELLO, and what a way is: a secret and its place in the server's
 * list. Without a secret it is one way. */
unsigned mete_secrets_tries(const struct mete_client *client);
unsigned mete_secrets_of_try(const struct mete_client *client, unsigned try_index,
                             uint8_t *ret_index);
/* The key of HELLO by that way; NULL: no secret. */
const struct mete_mac_key *mete_secrets_hello_key(const struct mete_client *client,
                                                  unsigned try_index);
/* What HELLO's seed is masked with. */
uint64_t mete_secrets_pad(const struct mete_client *client, unsigned try_index,
                          const uint8_t nonce[NONCE_BYTES]);
/* Makes the server's key for a boot id. Returns whether it is another one than before. */
bool mete_secrets_key(struct mete_client *client, struct server *server, unsigned try_index,
                      uint64_t boot_id);

/* hello.c */

/* Sends a HELLO unless one is in flight. */
void mete_hello_begin(struct mete_client *client, struct server *server, int64_t now_ns);
/* The server seems to be another one than before: somebody said so, who may lie. */
void mete_hello_hint(struct mete_client *client, struct server *server, int64_t now_ns);
/* Returns whether it was of any use. */
bool mete_hello_take(struct mete_client *client, struct server *server, const uint8_t *bytes,
                     size_t len, const struct mete_result_header *header);
/* The socket or the deadline says that there will be no answer. */
void mete_hello_fail(struct mete_client *client, struct server *server, int error);
/* Looks at its timers. */
void mete_hello_tick(struct mete_client *client, struct server *server, int64_t now_ns);
void mete_hello_take_clock(struct mete_client *client, struct server *server,
                           const struct mete_result_header *header, int64_t now_ns);

/* health.c */

/* The wait after which silence is worth a retry, and the one after which it is a miss. */
int64_t mete_health_retry_ns(const struct mete_client *client, const struct server *server);
int64_t mete_health_miss_ns(const struct mete_client *client, const struct server *server);
/* An answer came; rtt_ns below 0: to something that was sent more than once. */
void mete_health_answered(struct mete_client *client, struct server *server, int64_t rtt_ns,
                          int64_t now_ns);
void mete_health_missed(struct mete_client *client, struct server *server, int64_t now_ns);
/* At once, without waiting for more. */
void mete_health_suspect(struct mete_client *client, struct server *server, int64_t now_ns);
/* Probes suspect servers and gives back shares; to be called now and then. */
void mete_health_tick(struct mete_client *client);

/* place.c */

/* The hash that chooses the check's server. */
uint64_t mete_place_choice(uint32_t rule, const void *subject, size_t subject_len);
/* The server for it among those not in `tried`; with well_only, NULL if none of them is well. */
struct server *mete_place_pick(const struct mete_client *client, uint64_t choice, uint16_t tried,
                               bool well_only);
/* Puts checks, MANY_MAX at most, into batches, each at its server; what cannot be sent is given up.
 * With `whole` (ALL_OR_NOTHING) they are one datagram at one server. */
void mete_place(struct mete_client *client, const uint32_t *indices, unsigned count, bool whole);
/* Sets a check adrift. */
void mete_place_again(struct mete_client *client, uint32_t index, unsigned home);
/* One way to an answer is gone: on to the next server, if it was the newest way; given up if it was
 * the last. error 0: its deadline is over, so there is no next. */
void mete_place_lost(struct mete_client *client, uint32_t index, bool was_newest, int error);
/* What was held until the server's HELLO was answered goes to it or, if the error says that this
 * will not happen, is lost. */
void mete_place_held(struct mete_client *client, struct server *server, int error);
/* Sends what is adrift, to the last: the blocking call's, or the rest (then with the open batches
 * that are due). */
void mete_place_adrift(struct mete_client *client, bool blocking);

/* retry.c */

/* Plans the timers of a flight that was just sent. */
void mete_retry_plan(struct mete_client *client, struct flight *flight);
/* Looks at all timers that are due: retries, silent servers, HELLO. Sets checks adrift. */
void mete_retry_tick(struct mete_client *client, int64_t now_ns);
/* A check is past its deadline: whom it was in flight to has missed it. */
void mete_retry_expired(struct mete_client *client, uint32_t index, int64_t now_ns);
/* The server is suspect: who waits for it alone goes on to another. */
void mete_retry_leave(struct mete_client *client, const struct server *server);
/* Whether one datagram more than the first of each may be sent; if so, it is paid for. */
bool mete_retry_pay(struct mete_client *client);

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
/* Gives up what is past its deadline. */
void mete_check_expire(struct mete_client *client, int64_t now_ns);
void mete_check_enqueue(struct mete_client *client, struct check_list *list, uint32_t index);
/* Out of whatever queue it is in. */
void mete_check_unqueue(struct mete_client *client, uint32_t index);

/* flights.c */

/* The batch was sent: a leg for each of its checks. now_ns is when it was. */
void mete_flight_begin(struct mete_client *client, const struct server *server,
                       const struct batch *batch, int64_t now_ns);
/* Index, or NONE. */
uint32_t mete_flight_find(const struct mete_client *client, uint32_t sequence);
/* Ends it; ret_waiting (room for METE_WIRE_MAX_CHECKS) has the check of each entry, NONE for those
 * that no longer wait. Returns the number of entries. */
unsigned mete_flight_end(struct mete_client *client, uint32_t flight, uint32_t *ret_waiting);
/* The check waits no longer; flights without any that does end. */
void mete_flight_leave(struct mete_client *client, uint32_t index);
/* Ends all that is in flight to a server, a HELLO too: the socket says that nobody gets it. */
void mete_flight_fail_all(struct mete_client *client, struct server *server, int error);
/* Ends all that is in flight to a server and sets its checks adrift, to ask the same one anew. */
void mete_flight_again_all(struct mete_client *client, const struct server *server);

/* datagram.c */

/* XXH3-128 with the tenant's seed. */
void mete_datagram_key(const struct mete_client *client, const void *subject, size_t subject_len,
                       struct mete_entry *ret_entry);
/* The check's entry in either form, as it travels. */
struct mete_entry mete_datagram_entry(const struct mete_client *client, const struct check *check,
                                      bool raw);
/* Whether the checks can go to this server without anything that only HELLO tells. */
bool mete_datagram_can_leave(const struct mete_client *client, const struct server *server,
                             const uint32_t *indices, unsigned count);
/* Puts checks into batches of the server, in one datagram if they fit; a batch that is full is
 * sent. Returns false, and adds nothing, if they do not fit and `whole` asks for one datagram. */
bool mete_datagram_add(struct mete_client *client, struct server *server, const uint32_t *indices,
                       unsigned count, bool whole);
/* As add for a submitted check by itself. */
void mete_datagram_add_one(struct mete_client *client, struct server *server, uint32_t index);
/* Sends the open batches, those of the blocking form or the others. Returns datagrams sent. */
int mete_datagram_flush(struct mete_client *client, bool blocking);
/* Sends the open batches of the non-blocking form that have been joined for long enough and all
 * that are full. Whatever check is past its deadline at now_ns is in no batch afterwards. Returns
 * datagrams sent. */
int mete_datagram_flush_due(struct mete_client *client, int64_t now_ns);
/* When the next one is due; INT64_MAX: nothing waits. */
int64_t mete_datagram_due_ns(const struct mete_client *client);
/* The rule answered NEED_SUBJECT. */
void mete_datagram_remember_rule(struct mete_client *client, uint32_t rule);

/* send.c */

/* Signs and sends batches and empties them; with join_ns several in one system call where their
 * sizes allow. What nobody waits for any more is not sent: it would be charged for nothing. Returns
 * datagrams sent. */
int mete_send(struct mete_client *client, struct server *server, struct batch *const *batches,
              unsigned count);
/* Sends one datagram; see send.c. Results: 0 or the errno. */
int mete_send_bytes(struct mete_client *client, struct server *server, const uint8_t *bytes,
                    size_t len, int64_t wait_until_ns);
/* Whether the kernel knows how to cut one send into datagrams. */
bool mete_send_can_segment(int fd);

/* receive.c */

/* Memory for mete_receive(); NULL: none to be had. */
struct inbox *mete_inbox_create(void);

/* Takes what the sockets have, at most so many datagrams that it cannot take for ever. */
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
