#include "net/xdp_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define XDP_KICKS 8u /* most system calls to send one batch */

bool xdp_queue_transmit_copy(struct xdp_queue *queue, const uint8_t *bytes, uint32_t len)
{
    if (!queue->free_count)
        return false;
    const uint64_t address = queue->free[queue->free_count - 1] + XDP_DATA_OFFSET;
    if (!xdp_queue_transmit(queue, address, len))
        return false;
    queue->free_count--;
    memcpy(queue->frames + address, bytes, len);
    return true;
}

static void collect_done(struct xdp_queue *queue)
{
    uint32_t at = 0;
    uint32_t count = xsk_ring_cons__peek(&queue->done, queue->ring, &at);
    for (uint32_t i = 0; i < count; i++)
        xdp_queue_free(queue, *xsk_ring_cons__comp_addr(&queue->done, at + i));
    if (count)
        xsk_ring_cons__release(&queue->done, count);
}

/* The latest freed go first: they are in the cache. */
void xdp_queue_refill(struct xdp_queue *queue)
{
    uint32_t at = 0;
    uint32_t count = xsk_prod_nb_free(&queue->fill, queue->ring);
    count = count < queue->free_count ? count : queue->free_count;
    if (!count || !xsk_ring_prod__reserve(&queue->fill, count, &at))
        return;
    for (uint32_t i = 0; i < count; i++)
        *xsk_ring_prod__fill_addr(&queue->fill, at + i) = queue->free[--queue->free_count];
    xsk_ring_prod__submit(&queue->fill, count);
}

/* In copy mode the call sends; else it wakes the driver, if it asked for that. What the device
 * cannot take now stays in the ring for the next batch, or for the next poll(), which sends too. */
void xdp_queue_kick(struct xdp_queue *queue, struct io_counters *counters)
{
    for (unsigned i = 0; i < XDP_KICKS; i++) {
        if (!xsk_ring_prod__needs_wakeup(&queue->transmit))
            return;
        if (sendto(queue->fd, NULL, 0, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0) >= 0)
            return;
        if (errno != EAGAIN && errno != EINTR) {
            counters->send_errors += errno != EBUSY && errno != ENOBUFS;
            return;
        }
    }
}

void xdp_queue_send(struct xdp_queue *queue, struct io_counters *counters)
{
    if (queue->unsent) {
        xsk_ring_prod__submit(&queue->transmit, queue->unsent);
        queue->unsent = 0;
        xdp_queue_kick(queue, counters);
    }
    collect_done(queue);
    xdp_queue_refill(queue);
}
