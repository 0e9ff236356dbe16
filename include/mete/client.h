/* libmete: ask a mete server from C.
 *
 * Two forms over one object. Blocking: mete_client_check() and its kin send one datagram and wait,
 * at most until the deadline. Non-blocking: mete_client_submit() queues checks, mete_client_fd()
 * becomes readable when answers are there, mete_client_process() delivers them to callbacks; what
 * is submitted between two flushes and looks alike travels in one datagram.
 *
 * Threads: an object belongs to one thread at a time, without any lock of its own; make one per
 * thread (some 600 bytes for each check in flight, 32 kB and a socket for each server). Only what
 * one object is given travels together. So an application with few busy threads opens one in each,
 * and each joins its own; one with many threads that ask now and then gives the questions to a
 * thread that owns an object (a queue, an eventfd beside mete_client_fd() in its poll), which then
 * joins them all, and wakes the asker from the callback. No thread is ever started, but by
 * mete_lease_open(). After fork()
 * the child's first call takes a new socket, client id and sequence, so parent and child never get
 * each other's answers; what the parent had in flight or queued stays the parent's: the child never
 * calls back for it. (After vfork() or clone() with shared memory the child must not touch the
 * object.)
 *
 * Memory: all of it is taken at open. Signals: a call goes on after EINTR.
 *
 * No answer before the deadline is not an error: the verdict is then the fallback that was chosen
 * at open, and answer.source says so.
 *
 * Silence: a server that recognises repeats (HELLO tells) gets the very same bytes again, after a
 * wait that follows the measured round trip, and charges them once; any other never gets anything
 * twice. All datagrams beyond the first of each are at most a tenth of those, and ten more, however
 * many are lost.
 *
 * Several servers: each key (rule and subject) has an order of them, the same in all clients that
 * are given the same addresses as text; its checks go to the first that is well. A server that
 * stays silent three times in a row, or whose port nobody has, is suspect: its keys go to the next
 * in their order, and back, more and more of them in a second, once it answers the HELLO that is
 * sent to it each second. A check whose server is silent for half of the deadline, or less where
 * the round trip is short, is asked of the next one, as a new request: it may then be charged on
 * both, which is the price of an answer in time. The first answer counts. With ALL_OR_NOTHING all
 * requests go to the server of the first one. The servers must be nodes of one namespace. */
#ifndef METE_CLIENT_H
#define METE_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* all that libmete.so exports is in this file */

struct mete_client;

enum mete_fallback {
    METE_FALLBACK_ALLOW, /* the default: a limiter that is away must not take its users down */
    METE_FALLBACK_DENY,
    METE_FALLBACK_LOCAL, /* a token bucket in this process, per client object (not per subject) */
};

enum mete_source {
    METE_SOURCE_SERVER = 0,  /* the server decided */
    METE_SOURCE_TIMEOUT = 1, /* fallback: no answer before the deadline */
    METE_SOURCE_STATUS = 2, /* fallback: the server answered with a status that decides nothing (all
                               but OK, TABLE_FULL and those of leases; see status) */
    METE_SOURCE_SEND = 3,   /* fallback: the datagram could not be sent (mete_errno says why), or
                               nobody listens there (ECONNREFUSED, known before the deadline) */
};

#define METE_NEVER UINT64_MAX

struct mete_answer {
    int allowed;             /* 1 or 0: what the caller should do */
    enum mete_source source; /* who says so */
    uint8_t status;          /* enum mete_status of wire.h */
    uint8_t flags;           /* enum mete_verdict_flag of wire.h */
    int mete_errno;          /* METE_SOURCE_SEND: errno */
    uint32_t remaining;
    uint32_t granted;        /* units charged, as far as the answer tells (AT_MOST: exactly) */
    uint64_t retry_after_us; /* denied: sleep this long, METE_NEVER: do not; jitter is added. Denied
                                by METE_FALLBACK_DENY: the time-out */
    uint64_t delay_us;       /* allowed by a queue: serve after this long */
    uint64_t reset_after_us; /* until the full quota is back, or METE_NEVER */
};

#define METE_SERVERS_MAX 16
#define METE_SECRET_MAX 64

struct mete_client_options {
    const char *server;         /* "127.0.0.1:6383", "[::1]:6383"; NULL: 127.0.0.1:6383. A name is
                                   looked up once, in open, which may then wait; IPv4 is preferred.
                                   Several: with commas between them */
    const char *const *servers; /* instead: server_count of them */
    unsigned server_count;      /* at most METE_SERVERS_MAX, each another */
    const char *tenant;         /* NULL: "default" */
    const void *secret;       /* the tenant's, its bytes as they are; NULL: none. They are copied */
    size_t secret_len;        /* 1..METE_SECRET_MAX */
    const void *other_secret; /* tried where the first is not believed (while they are changed) */
    size_t other_secret_len;
    uint8_t secret_index; /* place of the first in the server's list, 0 or 1; only where to begin:
                             both are tried */
    uint32_t timeout_us;  /* deadline of a blocking call and of each submitted check; 0: 20,000 */
    enum mete_fallback fallback;
    uint32_t local_per_second; /* METE_FALLBACK_LOCAL: its rate ... */
    uint32_t local_burst;      /* ... and burst; 0: as the rate */
    uint32_t jitter_percent;   /* added at random to retry_after_us, 0..100 of it; default 10 (set
                                  METE_NO_JITTER for none) */
    uint32_t max_in_flight;    /* submitted checks not yet called back; 0: 1,024; at most 2^20 */
    uint32_t ipv6_prefix;      /* mete_subject_of_address(): bits of an IPv6 address kept; 0: 64 */
    uint32_t join_us;          /* submitted checks wait so long at most for others to travel with
                                  (see mete_client_submit()); 0: until flush or process; at most
                                  timeout_us. 20 to 200 is usual */
};
#define METE_NO_JITTER UINT32_MAX

struct mete_request {
    const char *rule; /* name; or NULL and rule_id */
    uint32_t rule_id;
    const void *subject; /* bytes */
    size_t subject_len;
    uint32_t cost; /* 0: asks without taking */
    uint8_t flags; /* of wire.h: PEEK, SHADOW, AT_MOST, INLINE_LIMIT, MIN_RESULT (the answer may
                      then be `allowed` alone); ALL_OR_NOTHING only in
                      mete_client_check_many(), and not with AT_MOST. Refund and reset take
                      INLINE_LIMIT and MIN_RESULT only */
    uint32_t limit_count; /* with INLINE_LIMIT */
    uint32_t limit_burst;
    uint64_t limit_period_ns;
};

/* Results: 0 and *ret_client, -EINVAL (an address or option that cannot be), -ENOMEM, or the
 * negative errno of a system call. Sends nothing yet. */
int mete_client_open(const struct mete_client_options *options, struct mete_client **ret_client);
void mete_client_close(struct mete_client *client);

/* Blocking. Results: 0 and *ret_answer (a fallback is an answer too: see its source), or -EINVAL
 * (no rule, no subject, a flag that does not go here; a subject may have any length from 1). */
int mete_client_check(struct mete_client *client, const char *rule, const void *subject,
                      size_t subject_len, uint32_t cost, struct mete_answer *ret_answer);
int mete_client_ask(struct mete_client *client, const struct mete_request *request,
                    struct mete_answer *ret_answer);
int mete_client_refund(struct mete_client *client, const struct mete_request *request,
                       struct mete_answer *ret_answer);
int mete_client_reset(struct mete_client *client, const struct mete_request *request,
                      struct mete_answer *ret_answer);
/* 1..25 requests, same flags for all (those of the first); answers in order. One datagram for each
 * server, but for long subjects under rules that must see them, which may need several; with
 * ALL_OR_NOTHING it is one datagram always, or the fallback with status NEED_SUBJECT.
 * ALL_OR_NOTHING charged all of them if and only if all are allowed. Results: as above, -E2BIG
 * (count). */
int mete_client_check_many(struct mete_client *client, const struct mete_request *requests,
                           unsigned count, struct mete_answer *ret_answers);

/* Leases of a concurrency rule: request->cost slots of its limit, held until they are released or
 * the rule's lease is over. reset_after_us is what is left of it: renew before, best after a third.
 * All blocking; results as above (-EINVAL: a flag other than SHADOW, and that in acquire only).
 *
 * A lease has an id, a random number that its holder chooses; with it all three may be asked again
 * and nothing happens twice. *lease_id 0: acquire chooses one and writes it there. After an acquire
 * without an answer (source is not METE_SOURCE_SERVER) the lease may be held or not: ask again with
 * the same id, or release it. A renewal or release of a lease that is not held is not allowed, and
 * status says UNKNOWN_LEASE or EXPIRED_LEASE; with source METE_SOURCE_SERVER, so that is no
 * fallback. */
int mete_client_acquire(struct mete_client *client, const struct mete_request *request,
                        uint64_t *lease_id, struct mete_answer *ret_answer);
int mete_client_renew(struct mete_client *client, const struct mete_request *request,
                      uint64_t lease_id, struct mete_answer *ret_answer);
int mete_client_release(struct mete_client *client, const struct mete_request *request,
                        uint64_t lease_id, struct mete_answer *ret_answer);

/* The same, kept up by a thread of its own: open acquires, the thread renews after each third of
 * the lease and acquires again what was lost (a server that was restarted knows no leases), close
 * releases and ends the thread. It makes a client object of its own of the options, which need not
 * outlive the call, nor need the request. Results: 0; *ret_lease is NULL unless a slot was granted,
 * which *ret_answer tells (with the fallback ALLOW and no answer it may say allowed without one);
 * -EINVAL, -ENOMEM, or the negative errno of a system call. A child after fork has no such thread
 * and must leave the object alone. */
struct mete_lease;
int mete_lease_open(const struct mete_client_options *options, const struct mete_request *request,
                    struct mete_lease **ret_lease, struct mete_answer *ret_answer);
/* 1 while the slots are held for certain, by the time that the server granted; 0 when the lease has
 * run out without an answer, or another took its place. Any thread. */
int mete_lease_is_held(struct mete_lease *lease);
/* Waits for one answer at most. NULL is well. */
void mete_lease_close(struct mete_lease *lease);

/* Non-blocking. */
typedef void mete_answer_fn(void *context, const struct mete_answer *answer);

/* Queues one check; on_answer is called from a later mete_client_process(), exactly once, with the
 * answer or the fallback. It may submit, flush and ask on the same object, but neither process nor
 * close it. The subject is copied. What is full leaves at once; the rest waits for flush or
 * process. With join_us process is no reason to leave: what is open waits until it is full, or
 * join_us are over, or fewer than two datagrams are in flight (then waiting would only leave the
 * server idle), and full datagrams that are ready while many are in flight leave in one send
 * (UDP_SEGMENT, where the kernel knows it). So submit, process and a poll for
 * mete_client_next_deadline_us() are all that it takes; time passes only in calls, so a poll that
 * rounds up to milliseconds makes milliseconds of it: use ppoll(). Results: 0, -EAGAIN
 * (max_in_flight reached; or a subject of more than 111 bytes, 95 with an inline limit, while the
 * server's answer to the first HELLO is still awaited: process, then try again), -EINVAL, or after
 * fork the negative errno of a system call. */
int mete_client_submit(struct mete_client *client, const struct mete_request *request,
                       mete_answer_fn *on_answer, void *context);
/* Sends what is queued, whatever join_us says. Returns the number of datagrams sent. */
int mete_client_flush(struct mete_client *client);
/* To poll for reading; stays the same until close. In a forked child: until its first call, which
 * takes a new one. (With several servers it is an epoll descriptor, which can be polled as well.)
 */
int mete_client_fd(const struct mete_client *client);
/* Flushes (with join_us: what is due), takes the answers that are there, expires what is past its
 * deadline, calls on_answer for each. Never blocks. Returns the number of callbacks made. */
int mete_client_process(struct mete_client *client);
/* Microseconds until process has to be called without anything to read (for poll's time-out): the
 * next deadline, retry or change of server or, with join_us, the end of that; -1 if nothing is
 * queued or in flight. */
int64_t mete_client_next_deadline_us(const struct mete_client *client);

/* Counters of this object. */
struct mete_client_stats {
    uint64_t sent_datagrams; /* HELLO among them */
    uint64_t sent_checks;
    uint64_t answers;    /* checks that the server answered, with a decision or a status */
    uint64_t timeouts;   /* checks given up at their deadline */
    uint64_t dropped;    /* datagrams that came but were no good answer, or came too late */
    uint64_t sends;      /* system calls that sent the datagrams; fewer than those when joined */
    uint64_t retries;    /* datagrams that were sent again as they were */
    uint64_t fail_overs; /* checks that were asked of another server as well */
    uint64_t hellos;     /* HELLO sent, retries of it included */
    uint64_t restarts;   /* servers seen to have begun another life */
};
struct mete_client_stats mete_client_stats(const struct mete_client *client);

/* One server as this object sees it. */
struct mete_server_stats {
    const char *address;    /* valid until close */
    unsigned share_percent; /* of its keys that it gets; 0: suspect, 100: well */
    int is_known;           /* it has answered a HELLO */
    uint32_t round_trip_us; /* smoothed; 0: not measured */
    uint64_t sent_datagrams;
    uint64_t answers; /* datagrams */
    uint64_t misses;  /* times it was silent for too long */
};
/* index from 0, in the order of the options. Results: 0, or -EINVAL: no such server. */
int mete_client_server_stats(const struct mete_client *client, unsigned index,
                             struct mete_server_stats *ret_stats);

/* The subject to use for an address: IPv4 whole (4 bytes), IPv6 cut to ipv6_prefix bits (16 bytes,
 * the rest 0), v4-mapped as IPv4. address is a struct sockaddr_in or sockaddr_in6. Returns bytes
 * written to out (room for 16), or 0 for another family. */
struct sockaddr;
size_t mete_subject_of_address(const struct mete_client *client, const struct sockaddr *address,
                               uint8_t *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
