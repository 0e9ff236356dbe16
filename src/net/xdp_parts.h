/* What an open interface is made of: shared by the files that know libxdp, net/xdp_open.c and
 * net/af_xdp.c. */
#ifndef METE_NET_XDP_PARTS_H
#define METE_NET_XDP_PARTS_H

#include <stdint.h>
#include <xdp/xsk.h>

#include "net/xdp.h"
#include "net/xdp_carry.h"

struct xdp_program;

/* A frame has room for the kernel's own 256 bytes, ours, and a datagram of 1232 bytes with its
 * headers. There are twice as many as may wait: the others are on their way out, or answers whose
 * question has gone. */
#define XDP_FRAME_BYTES 2048u
/* Puts the payload behind Ethernet, IPv4 and UDP at a multiple of 16. */
#define XDP_HEADROOM_BYTES 6u
#define XDP_DATA_OFFSET (256u + XDP_HEADROOM_BYTES)

#define XDP_SEND_BUDGET 64u /* frames that one call sends in copy mode: a batch */

/* Behind the frames, in the same memory, which is shared with who takes the queue over: what that
 * one must know of it. */
struct xdp_left {
    uint64_t layout; /* XDP_LEFT_LAYOUT */
    uint32_t interface_index, queue_count, queue, ring, mode;
    uint32_t free_count; /* when the worker was last at rest */
    uint32_t free[];     /* offsets of frames that nobody has: room for all of them */
};
#define XDP_LEFT_LAYOUT 0x31706478657465ull /* "etexdp1" */

struct xdp_queue {
    unsigned number;
    int memory; /* descriptor of the frames and of what is left behind them */
    uint8_t *frames;
    struct xdp_left *left;
    struct xsk_umem *umem;
    struct xsk_socket *socket;
    int fd;
    uint32_t ring;             /* entries of each ring; half of the frames */
    uint32_t room;             /* frames, in bytes */
    uint32_t size;             /* all of the memory */
    struct xsk_ring_prod fill; /* free frames, for the kernel to receive into */
    struct xsk_ring_cons done; /* frames that were sent */
    struct xsk_ring_cons receive;
    struct xsk_ring_prod transmit;
    uint32_t unsent; /* handed to the kernel and not known to have left */
    uint32_t free_count;
    uint32_t *free;        /* of what is left */
    uint64_t drops_before; /* of the process that had it before */
    bool carries;
    struct xdp_carry carry;
    struct { /* rings of a queue that was passed; else libxdp has them */
        void *address;
        size_t size;
    } maps[4];
};

struct xdp {
    int sockets_map, program, link; /* descriptors; -1: none */
    int carry_map;
    struct xdp_carry_shared *carried; /* of all queues; NULL: none */
    size_t carried_size;
    int interface_index;
    struct xdp_facts facts;
    struct xdp_queue *queues;
};

/* ---- of net/xdp_open.c, for net/xdp_pass.c ---- */

/* The interface's MAC and queues; the program for it, over the map that there is, else a new one.
 * Results as xdp_open(). */
int xdp_load(const struct xdp_open_options *options, struct xdp *xdp, enum xdp_step *ret_step);
/* Once mode and queues are known: whether answers are carried. */
void xdp_begin_carrying(struct xdp *xdp);
uint32_t xdp_queue_room(uint32_t ring);
uint32_t xdp_queue_size(uint32_t ring);

/* ---- of net/xdp_pass.c, for the worker that has the queue ---- */

/* Nobody touches it from here on: what it takes to go on with it is written down. */
void xdp_queue_leave(struct xdp_queue *queue);
/* It goes on as it was left, here or in another process. */
void xdp_queue_take_up(struct xdp_queue *queue);
uint64_t xdp_queue_drops(const struct xdp_queue *queue); /* what found no room, ever */
void xdp_queue_unmap(struct xdp_queue *queue);

#endif
