/* What an open interface is made of: shared by the files that know libxdp, net/xdp_open.c and
 * net/af_xdp.c. */
#ifndef METE_NET_XDP_PARTS_H
#define METE_NET_XDP_PARTS_H

#include <stdint.h>
#include <xdp/xsk.h>

#include "net/xdp.h"

/* A frame has room for the kernel's own 256 bytes, ours, and a datagram of 1232 bytes with its
 * headers. There are twice as many as may wait: the others are on their way out, or answers whose
 * question has gone. */
#define XDP_FRAME_BYTES 2048u
/* Puts the payload behind Ethernet, IPv4 and UDP at a multiple of 16. */
#define XDP_HEADROOM_BYTES 6u
#define XDP_DATA_OFFSET (256u + XDP_HEADROOM_BYTES)

#define XDP_SEND_BUDGET 64u /* frames that one call sends in copy mode: a batch */

struct xdp_queue {
    unsigned number;
    uint8_t *frames;
    struct xsk_umem *umem;
    struct xsk_socket *socket;
    int fd;
    uint32_t ring;             /* entries of each ring; half of the frames */
    uint32_t room;             /* frames, in bytes */
    struct xsk_ring_prod fill; /* free frames, for the kernel to receive into */
    struct xsk_ring_cons done; /* frames that were sent */
    struct xsk_ring_cons receive;
    struct xsk_ring_prod transmit;
    uint32_t unsent; /* handed to the kernel and not known to have left */
    uint32_t free_count;
    uint32_t *free; /* offsets of frames that nobody has: room for all of them */
};

struct xdp {
    int sockets_map, program, link; /* descriptors; -1: none */
    struct xdp_facts facts;
    struct xdp_queue *queues;
};

#endif
