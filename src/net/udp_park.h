/* Datagrams that wait for a grant: copies of what asks for exact keys of which neither enough is in
 * hand nor is it known that there is no more (engine/shared.h).
 *
 * Nothing of a parked datagram was charged, paid for or claimed as a repeat; when it is tried again
 * it is recognized and verified as if it came now. It is tried when the grant it waits for changes,
 * and answered at the latest after `wait_ns`, by what its rule says of a lost store. A retry of the
 * same bytes that comes meanwhile waits beside it and finds a repeat.
 *
 * Bounded: UDP_PARK_MAX datagrams; what finds no room is answered as if it had waited.
 *
 * Threads: the worker's, as struct udp. */
#ifndef METE_NET_UDP_PARK_H
#define METE_NET_UDP_PARK_H

#include "engine/shared.h"
#include "net/replies.h"
#include "net/udp.h"

#define UDP_PARK_MAX 4096u
#define UDP_PARK_LOOK_NS 200000u /* how often the worker looks while something waits */
#define UDP_PARK_ASK_NS 4000000u /* without an answer it asks again */

struct udp_parked {
    uint8_t bytes[METE_WIRE_MAX_BYTES];
    uint32_t len;
    bool is_done; /* answered, but the bytes may still be on their way */
    uint64_t until_ns;
    uint64_t asked_ns;
    struct engine_wait wait;
    struct reply_path path;
};

struct udp_park {
    uint64_t wait_ns;
    uint32_t count, free_count, done_count;
    bool is_last;                 /* of this try: nothing waits any longer */
    uint16_t order[UDP_PARK_MAX]; /* who waits, the first first */
    uint16_t free[UDP_PARK_MAX];
    uint16_t done[UDP_PARK_MAX];  /* free when what was queued is sent */
    uint16_t batch[UDP_REQUESTS]; /* who is tried, by message */
    struct io_message messages[UDP_REQUESTS];
    struct udp_parked items[UDP_PARK_MAX];
};

/* In zeroed memory of the caller's. */
void udp_park_init(struct udp_park *park, uint64_t wait_ns);

/* Does the datagram charge an exact rule? */
bool udp_park_concerns(const struct udp_request *request);

/* The request is claimed, and its checks are the only ones gathered. True: it has to wait, its
 * claim is withdrawn and its answer UDP_ANSWER_PARKED. False: judge it now. */
bool udp_park_try(struct udp *udp, struct udp_request *request, const struct instant *now);

/* Tries those again that may have what they wait for; queues their answers with io_reply(), so
 * io_send() must follow before the next call. is_last: answers all. */
void udp_park_retry(struct udp *udp, struct io *io, const struct instant *now, bool is_last);

static inline bool udp_park_is_empty(const struct udp_park *park)
{
    return !park || park->count + park->done_count == 0;
}

#endif
