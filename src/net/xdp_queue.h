/* Frames and rings of one queue of an interface, as net/af_xdp.c moves them: who has a frame that
 * is in no ring, and how frames get on and off the wire.
 *
 * Threads: the worker that has the queue. */
#ifndef METE_NET_XDP_QUEUE_H
#define METE_NET_XDP_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "net/io.h"
#include "net/xdp_parts.h"

static inline void xdp_queue_free(struct xdp_queue *queue, uint64_t address)
{
    queue->free[queue->free_count++] = (uint32_t)address & ~(XDP_FRAME_BYTES - 1);
}

/* To be sent by xdp_queue_send(). False: it waits for too many already. */
static inline bool xdp_queue_transmit(struct xdp_queue *queue, uint64_t address, uint32_t len)
{
    uint32_t at = 0;
    if (!xsk_ring_prod__reserve(&queue->transmit, 1, &at))
        return false;
    *xsk_ring_prod__tx_desc(&queue->transmit, at) = (struct xdp_desc){.addr = address, .len = len};
    queue->unsent++;
    return true;
}

/* The same for a copy of what stands elsewhere. False: as above, or no frame is free. */
bool xdp_queue_transmit_copy(struct xdp_queue *queue, const uint8_t *bytes, uint32_t len);

/* Free frames for the kernel to receive into. */
void xdp_queue_refill(struct xdp_queue *queue);

/* Has the kernel send what is in the transmit ring. */
void xdp_queue_kick(struct xdp_queue *queue, struct io_counters *counters);

/* What was transmitted goes, what was sent is free again, what is free is to be received into. */
void xdp_queue_send(struct xdp_queue *queue, struct io_counters *counters);

#endif
