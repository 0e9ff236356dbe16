/* HTTP/2 under the calls of one connection. grpc_h2.c is the only file that knows nghttp2, which
 * sees bytes and memory, never sockets.
 *
 * What a connection may cost is bounded: GRPC_MAX_STREAMS calls, their headers and messages
 * (grpc_call.h), and control frames (PING, SETTINGS, RST_STREAM, WINDOW_UPDATE, empty DATA, ...)
 * from a budget that time and answered calls fill again. Who uses that up, or sends a header block
 * that unpacks to very much, is told ENHANCE_YOUR_CALM and closed.
 *
 * Threads: the loop's. */
#ifndef METE_DOORS_GRPC_H2_H
#define METE_DOORS_GRPC_H2_H

#include "doors/grpc_call.h"
#include "doors/loop.h"

#define GRPC_MAX_STREAMS 128u
#define GRPC_CONTROL_BURST 1000
#define GRPC_CONTROL_MOST 10000
#define GRPC_CONTROL_PER_ANSWER 4
#define GRPC_CONTROL_PER_S 100

struct nghttp2_session;

struct grpc_link { /* one connection */
    struct grpc_door *door;
    struct nghttp2_session *session;
    struct grpc_call *calls;
    uint64_t frame_ns; /* table's clock of the last whole frame */
    uint64_t refill_ns;
    int control; /* frames that may still come */
    bool is_pinged;
    bool is_leaving;     /* GOAWAY is sent: what comes is thrown away */
    const uint8_t *left; /* the rest of a frame that found no room */
    size_t left_len;
    uint8_t key_len; /* of the API key that came last, and its hash */
    uint8_t key[GRPC_MAX_KEY], key_hash[32];
};
_Static_assert(GRPC_MAX_KEY == 256, "longer ones are refused; 256 itself is not remembered");

/* What the door does with calls; on_message and on_end may answer at once or later. */
struct grpc_h2_handler {
    void (*on_message)(struct grpc_door *door, struct grpc_call *call);
    void (*on_end)(struct grpc_door *door,
                   struct grpc_call *call); /* refused, or the client's end */
};

struct grpc_h2; /* what all connections share: callbacks and options of nghttp2, spare calls */

/* Results: 0, -ENOMEM. */
int grpc_h2_create(const struct grpc_h2_handler *handler, struct grpc_h2 **ret_h2);
void grpc_h2_destroy(struct grpc_h2 *h2);

/* Results: 0, -ENOMEM. */
int grpc_h2_open(struct grpc_h2 *h2, struct grpc_door *door, uint64_t now_ns,
                 struct grpc_link **ret_link);
void grpc_h2_close(struct grpc_h2 *h2, struct grpc_link *link);

/* Takes all bytes. False: the connection is to be closed after what grpc_h2_give() has. */
bool grpc_h2_take(struct grpc_link *link, const uint8_t *bytes, size_t len, uint64_t now_ns);

/* Appends what is to be sent. True: there is more than room. */
bool grpc_h2_give(struct grpc_link *link, struct loop_output *out);

/* Nothing more is to be said or heard. */
bool grpc_h2_is_done(const struct grpc_link *link);

/* Sends what the call has in out; with is_closing the status follows. A refused call that has not
 * answered gets its status alone. */
void grpc_h2_answer(struct grpc_call *call);

/* No new calls: GOAWAY, which names the last call that was looked at. */
void grpc_h2_leave(struct grpc_link *link);
void grpc_h2_ping(struct grpc_link *link);

/* A call that a batch no longer knows; freed if its stream is gone, too. */
void grpc_h2_release(struct grpc_h2 *h2, struct grpc_call *call);

#endif
