/* The UDP front-end: a decoder and an encoder around engine_check_batch(). It decides which
 * datagrams are believed (udp_believe.c), tells repeats (udp_repeat.c), gathers their checks
 * (udp_gather.c) and writes the answers over them (udp_encode.c); udp.c is the order of it all.
 *
 * Threads: a struct udp belongs to its worker. */
#ifndef METE_NET_UDP_H
#define METE_NET_UDP_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/quota.h"
#include "engine/repeat.h"
#include "mete/wire.h"
#include "net/io.h"
#include "net/keys.h"
#include "net/shed.h"
#include "net/tags.h"

/* Gathered before the engine is asked: at least one datagram's, enough to overlap cache misses, and
 * few enough that checks, answers and the datagrams stay in the first-level cache. */
#define UDP_CHECKS 128u
#define UDP_REQUESTS 128u                         /* whose tags are computed side by side */
#define UDP_WORDS (UDP_CHECKS / 2 + UDP_REQUESTS) /* 32 bits per check, in whole words */
_Static_assert(UDP_CHECKS >= METE_WIRE_MAX_CHECKS, "a datagram fits");

/* RESTARTED, the one answer to what is not believed: a hundred at once, then one in 1/900 s, and
 * so never more than a thousand in any second. */
#define UDP_RESTARTED_BURST 100u
#define UDP_RESTARTED_EVERY_NS (1000000000u / 900u + 1)

/* What a batch is judged by; published together, never held beyond a batch. */
struct udp_policy {
    const struct config *config;
    const struct tenant_keys *keys;          /* of config->tenants, in their order */
    struct secret_counters *secret_counters; /* by tenant->inline_index; this worker's */
};

_Static_assert(COUNTER_SECRETS == CONFIG_MAX_SECRETS, "each secret is counted");

enum udp_repeat {
    UDP_REPEAT_UNKNOWN, /* it charges nothing, or nobody looks for repeats */
    UDP_REPEAT_CLAIMED, /* the first: to be finished */
    UDP_REPEAT_KNOWN,   /* here before: asked again as a peek */
};

enum udp_answer {
    UDP_ANSWER_CHECKS, /* the engine's answers */
    UDP_ANSWER_HELLO,
    UDP_ANSWER_STATUS,
    UDP_ANSWER_RESTARTED,
    UDP_ANSWER_PARKED,  /* later: it waits for a grant */
    UDP_ANSWER_NONE,    /* the same bytes are being answered this moment */
    UDP_ANSWER_DROPPED, /* not believed, and counted so */
};

struct udp_request { /* one datagram of the right form, from a tenant that we know */
    struct mete_header header;
    const struct tenant *tenant;
    const struct mete_mac_key *key; /* NULL: without a secret */
    uint64_t tag;
    uint8_t *bytes; /* where it stands in its message, its answer will not pass its end; then the
                       answer */
    uint32_t len;
    uint32_t message; /* index of its message */
    uint16_t first_check;
    uint8_t check_count; /* 0 unless UDP_ANSWER_CHECKS */
    uint8_t answer;      /* enum udp_answer */
    uint8_t status;      /* of UDP_ANSWER_STATUS */
    uint8_t repeat;      /* enum udp_repeat */
    uint8_t claim;       /* index in udp->claims, if it charges */
    uint16_t first_word; /* UDP_REPEAT_KNOWN: what was decided, in udp->words */
};
_Static_assert(UDP_REQUESTS <= 256, "claims are numbered by 8 bits");

struct udp_options { /* all stay the caller's */
    struct engine *engine;
    struct counters *counters;
    struct repeat_set *repeats; /* shared by the workers; NULL: repeats are not looked for */
    struct quota *quota;        /* NULL: no tenant has a limit on its checks */
    struct udp_park *park;      /* NULL: nothing waits for grants */
    uint64_t boot_id;
};

struct udp {
    struct udp_policy policy;
    struct udp_options given;
    struct shed *shed;        /* NULL: nothing is left out */
    uint64_t restarted_at_ns; /* the instant that the RESTARTED already sent stand for */
    uint32_t request_count;
    uint32_t check_count;
    uint32_t word_count; /* of words in use */
    uint64_t words[UDP_WORDS];
    uint32_t claim_count;
    struct repeat_claim claims[UDP_REQUESTS]; /* of the requests that are decided together */
    struct udp_request requests[UDP_REQUESTS];
    const struct io_message *messages; /* that the requests are of */
    bool is_retry;                     /* they are parked ones */
    uint32_t out_message;              /* the last one answered, */
    uint8_t *out;                      /* and where its next answer goes */
    bool has_lanes;                    /* see net/tags.h */
    struct tags_job jobs[UDP_REQUESTS];
    uint64_t tags[UDP_REQUESTS];
    struct check checks[UDP_CHECKS];
    struct answer answers[UDP_CHECKS];
    struct limit inline_limits[UDP_CHECKS];
};

void udp_init(struct udp *udp, const struct udp_policy *policy, const struct udp_options *options);

/* From now on judge by these. What was before is not looked at again. */
static inline void udp_use(struct udp *udp, const struct config *config,
                           const struct tenant_keys *keys)
{
    udp->policy.config = config;
    udp->policy.keys = keys;
}

/* Judges count messages at one instant and queues their answers with io_reply(). */
void udp_judge(struct udp *udp, struct io *io, const struct io_message *messages, uint32_t count,
               const struct instant *now);

/* The same of what udp->requests holds already. */
void udp_answer_all(struct udp *udp, struct io *io, const struct io_message *messages,
                    const struct instant *now);

/* Has the datagram the form, the tenant and, as far as it has one, the key of something that could
 * be believed? Fills request, but for its place among messages and checks. Result:
 * COUNTER_RECEIVED, or why it is dropped. */
enum counter udp_recognize(struct udp *udp, uint8_t *bytes, uint32_t len, bool is_trusted,
                           struct udp_request *request);

/* With udp->shed: is the datagram left out, before anything else is done for it? COUNTER_RECEIVED:
 * no, or its answer is SHED now; else why. */
enum counter udp_shed(struct udp *udp, struct udp_request *request, const struct instant *now);

/* Verifies the tags of all requests, and says for each how it is to be answered. */
void udp_believe_all(struct udp *udp, const struct instant *now);

/* Pays for the requests out of their tenants' limits on checks and claims them before they are
 * charged. What is not to be charged gets another answer. */
void udp_claim_all(struct udp *udp, const struct instant *now, struct udp_request *requests,
                   uint32_t count);

/* As if it had not been claimed: it is not to be charged now. */
void udp_withdraw(struct udp *udp, const struct instant *now, struct udp_request *request);

/* Appends the request's checks to udp->checks. */
void udp_gather(struct udp *udp, struct udp_request *request);

/* Makes the gathered checks of a repeat ones that charge nothing. */
void udp_ask_again(const struct udp *udp, const struct udp_request *request, struct check *checks);

/* When the engine has answered: remembers the decisions, or restores what was remembered. */
void udp_settle_repeat(struct udp *udp, const struct udp_request *request);

/* Writes the answer to one request to out, over or before its bytes; returns its length, never more
 * than request->len. Its tag is udp_sign_all()'s. */
size_t udp_encode(const struct udp *udp, const struct udp_request *request,
                  const struct answer *answers, const struct instant *now, uint8_t *out);

/* Puts the tags of all answers in place: request->bytes, request->len. */
void udp_sign_all(struct udp *udp);

/* The server's clock as the wire has it: ms, wraps, never 0. */
static inline uint32_t udp_clock_ms(const struct instant *now)
{
    uint32_t clock_ms = (uint32_t)(now->now_ns / 1000000);
    return clock_ms ? clock_ms : 1;
}

static inline void udp_tally(struct udp *udp, enum counter counter, uint64_t amount)
{
    counter_add(&udp->given.counters->cell[counter], amount);
}

#endif
