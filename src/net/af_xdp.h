/* The inside of the AF_XDP backend, for its two files: net/af_xdp.c, and net/af_xdp_rest.c with
 * what happens to answers that wait when nothing comes in. */
#ifndef METE_NET_AF_XDP_H
#define METE_NET_AF_XDP_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/frame.h"
#include "net/io.h"
#include "net/xdp_queue.h"

#define AF_XDP_MAX_SOCKETS 16u
#define AF_XDP_CARRY_LEAST 16u /* answers; for fewer at once nobody waits */

struct arrival {
    struct frame frame;
    uint8_t *bytes;
    bool is_sent;       /* the frame is not ours any more */
    bool is_carried;    /* it came in exchange for an answer, */
    uint32_t word;      /* in this frame; */
    uint64_t address;   /* else in this one */
    struct msghdr path; /* name: the peer; control: the headers it came under */
};

struct af_xdp {
    struct io io;
    struct io_counters counters;
    struct io *sockets;
    bool has_socket_batch;
    bool is_paused;
    unsigned turns; /* batches of the rings since the sockets were looked at */
    unsigned queue_count;
    unsigned next_queue;
    bool is_ring_first; /* in turn: neither way in keeps the other waiting */
    struct {            /* answers that wait */
        unsigned surplus;
        unsigned looks, skips, next_skips;
    } carry;
    struct xdp_queue *queues[XDP_MAX_QUEUES];
    unsigned poll_count; /* queues, then sockets */
    struct pollfd polls[XDP_MAX_QUEUES + AF_XDP_MAX_SOCKETS];
    unsigned arrival_count;
    struct xdp_queue *arrival_queue;
    struct arrival arrivals[IO_BATCH];
    struct io_message messages[IO_BATCH];
};

/* What came in, by either way; at most a batch. */
int af_xdp_receive_frames(struct af_xdp *xdp);
/* What came in exchange for answers. One that was not taken goes by itself, as soon as there is
 * room. */
void af_xdp_take_carried(struct af_xdp *xdp, unsigned queue_index);

/* Whether answers wait for questions, or questions for us, or the program is at it. */
bool af_xdp_is_carrying(const struct af_xdp *xdp);

/* Nothing has come in. Returns how many questions there are after all; 0 with af_xdp_is_carrying()
 * still true: they are to be looked for again without sleeping. */
int af_xdp_rest(struct af_xdp *xdp, bool may_sleep);

/* On the way to rest or to the end: what the program has handed over before is still ours, and
 * nothing is for it to take any more. Returns how many questions there are; 0: all is done. */
int af_xdp_drain(struct af_xdp *xdp);

#endif
