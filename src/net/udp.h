/* The UDP front-end: a decoder and an encoder around engine_check_batch(). It decides which
 * datagrams are believed (proto-spec/protocol.md 5), gathers their checks, and writes the answers
 * over them.
 *
 * Threads: a struct udp belongs to its worker. */
#ifndef METE_NET_UDP_H
#define METE_NET_UDP_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "mete/wire.h"
#include "net/io.h"

/* Gathered before the engine is asked: at least one datagram's, enough to overlap cache misses, and
 * few enough that checks, answers and the datagrams stay in the first-level cache. */
#define UDP_CHECKS 128u
#define UDP_REQUESTS 128u
_Static_assert(UDP_CHECKS >= METE_WIRE_MAX_CHECKS, "a datagram fits");

struct udp_request { /* one believed datagram, waiting for its answers */
    struct mete_header header;
    uint64_t tag;
    uint8_t *bytes; /* where it stands in its message, its answer will not pass its end */
    uint32_t len;
    uint32_t message; /* index of its message */
    uint16_t first_check;
    uint8_t check_count; /* 0: answered by `status` (or HELLO) */
    uint8_t status;
};

struct udp {
    const struct config *config;
    struct engine *engine;
    struct counters *counters;
    uint64_t boot_id;
    uint32_t request_count;
    uint32_t check_count;
    struct udp_request requests[UDP_REQUESTS];
    struct check checks[UDP_CHECKS];
    struct answer answers[UDP_CHECKS];
    struct limit inline_limits[UDP_CHECKS];
};

void udp_init(struct udp *udp, const struct config *config, struct engine *engine,
              struct counters *counters, uint64_t boot_id);

/* Judges count messages at one instant and queues their answers with io_reply(). */
void udp_judge(struct udp *udp, struct io *io, const struct io_message *messages, uint32_t count,
               const struct instant *now);

/* Writes the answer to one request over its bytes; returns its length, never more than
 * request->len. For tests; udp_judge() calls it. */
size_t udp_encode(const struct udp *udp, const struct udp_request *request,
                  const struct answer *answers, const struct instant *now, uint8_t *out);

#endif
