/* The doors' loop: one thread that serves many stream connections for any protocol.
 *
 * A protocol is one function over bytes: it takes what whole requests there are, asks the engine
 * and writes the answers. The loop does the rest: accepting, reading, joined writing, limits and
 * time. What is pipelined is answered by one write per readable event. While answers wait to be
 * written, nothing more is read: who does not read its answers cannot make us keep them.
 *
 * Who is closed for what it sent is first told why: the loop goes on reading for a moment, and
 * throws away, because a close with bytes unread would make the peer's system forget our last
 * words.
 *
 * Limits: connections (one more is told so and closed); LOOP_INPUT_BYTES of a request and
 * LOOP_OUTPUT_BYTES of answers per connection; idle_ns without a byte in either direction, and as
 * long from the first byte of a request to its last, however slowly they drip, and for a handshake
 * of TLS. All memory is taken by loop_open(), 48 KiB and a few hundred bytes per connection; only
 * TLS takes what it needs per connection when that comes.
 *
 * It judges as a worker does: with an engine and counter cells of its own, by what is published
 * (config/publish.h), at one instant per batch of events. Between two batches it holds nothing of a
 * configuration; so protocols keep ids and hashes in their state, never pointers.
 *
 * Threads: open, start, stop, join and close by the main thread; all else is the loop's. */
#ifndef METE_DOORS_LOOP_H
#define METE_DOORS_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "config/publish.h"
#include "engine/engine.h"
#include "engine/quota.h"
#include "engine/shared.h"
#include "obs/assert.h"
#include "obs/latency.h"
#include "sys/clock.h"

#define LOOP_INPUT_BYTES 16384u
#define LOOP_OUTPUT_BYTES 32768u
#define LOOP_STATE_BYTES 192u /* of a protocol, per connection */
#define LOOP_MAX_LISTENERS 8u

struct loop_input { /* what has arrived and is not taken yet */
    const uint8_t *bytes;
    size_t len;
    size_t used;   /* the protocol's answer: that much of it is done with */
    bool has_half; /* and this: what is left is the beginning of a request */
    bool has_more; /* and this: out was full; call again when it is written, whatever has come */
};

struct loop_output { /* answers; the protocol appends */
    uint8_t *bytes;
    size_t len;
    size_t size;
};

struct tls_peer;

struct loop_call { /* what holds during one call of a protocol */
    struct engine *engine;
    const struct config *config;
    struct quota *quota;
    const struct instant *now;
    bool is_local;                       /* loopback or a UNIX socket */
    const struct sockaddr_storage *peer; /* AF_UNIX: no address */
    const struct tls_peer *certificate;  /* that the client showed, or NULL */
    void *state;                         /* LOOP_STATE_BYTES, zero for a new connection */
    uint64_t connection;                 /* its number, from 1 */
    void *context;                       /* of the protocol's listener */
};

enum loop_result { LOOP_GO_ON, LOOP_CLOSE };
enum loop_reason { LOOP_TICK, LOOP_STOP };

struct loop_protocol {
    const char *name;
    const char *alpn;   /* its name under TLS, or NULL */
    const char *plain;  /* who speaks plain HTTP where TLS should be is told; NULL: nothing */
    size_t reply_bytes; /* of the longest answer to one request, at most LOOP_OUTPUT_BYTES */
    const char *full;   /* what one connection too many is told; "" for nothing */
    const char *late;   /* what who sent half a request is told before the close; "" for nothing */
    /* A request that fills the input and is not whole closes the connection: answer it before.
     * Takes requests as long as there is a whole one and out has room for reply_bytes. Bytes of
     * half a request stay. LOOP_CLOSE: when out is written. */
    enum loop_result (*consume)(const struct loop_call *call, struct loop_input *in,
                                struct loop_output *out);
    /* Of protocols that speak unasked, else NULL. LOOP_TICK: ten times a second, while no answers
     * wait; who is silent for too long is then its business. LOOP_STOP: the last words. */
    enum loop_result (*wake)(const struct loop_call *call, enum loop_reason reason,
                             struct loop_output *out);
    /* The connection is gone; call has no engine, config and now. NULL: nothing to free. */
    void (*end)(const struct loop_call *call);
};

struct loop_options {
    struct publish *publish;
    unsigned reader; /* of publish, and index of the engine */
    unsigned thread_count;
    const struct config *config; /* to start with */
    struct table *table;
    struct counters *counters;
    struct rule_counters *rule_counters;
    struct sampler *sampler;      /* or NULL */
    struct quota quota;           /* with credits of its own */
    struct engine_shared *shared; /* its own way to the other nodes, or NULL */
    unsigned connections;
    uint64_t idle_ns;
    bool is_held; /* to begin with: nobody is let in before loop_go_on() */
};

struct loop;

/* Results: 0, -ENOMEM, or another negative errno. Raises RLIMIT_NOFILE as far as that is allowed
 * and needed. */
int loop_open(const struct loop_options *options, struct loop **ret_loop);

/* Serves a listening socket, which becomes the loop's. Before loop_start(). Results: 0, -ENOSPC, or
 * another negative errno; the socket stays the caller's then. */
int loop_add(struct loop *loop, int fd, const struct loop_protocol *protocol, void *context);

/* Usage and latencies of what comes by the listener that was added last go into cells of its own;
 * without this, usage goes into the loop's and latencies nowhere. Before loop_start(). */
void loop_count_apart(struct loop *loop, struct rule_counters *rule_counters,
                      struct latency *latency);

/* The same under TLS, with the certificates of the configuration that is published when a
 * connection comes; while that has none, connections are closed. */
int loop_add_tls(struct loop *loop, int fd, const struct loop_protocol *protocol, void *context);

/* Results: 0, or a negative errno. */
int loop_start(struct loop *loop);

/* Has the loop let nobody in, end its connections (each when it is answered, for a fifth of a
 * second at most; who knocks meanwhile waits) and come to rest: then it touches no table.
 * loop_wait_held() returns when it has, so that several loops can do that at once; loop_go_on()
 * ends it. NULL is nothing. */
void loop_hold(struct loop *loop);
void loop_wait_held(struct loop *loop);
void loop_go_on(struct loop *loop);

/* Ends and joins the thread if there is one, closes all sockets, frees. NULL is nothing. */
void loop_close(struct loop *loop);

/* Appends to what a protocol answers. The protocol has seen to the room. */
static inline void loop_put(struct loop_output *out, const void *bytes, size_t len)
{
    ASSERT(len <= out->size - out->len);
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

#endif
