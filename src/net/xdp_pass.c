/* One of the files that know libbpf and libxdp: an open interface goes over to another process.
 *
 * Program, sockets and frames are the very same: the link, the map, and of each queue the AF_XDP
 * socket and the memory of its frames are passed by descriptor, and the new process maps rings and
 * frames again. So what arrives while neither serves waits in the receive ring, as it waits in a
 * socket, and nobody has to give anything up before the other has it: a queue has one AF_XDP
 * socket, and a process without privileges could not open one again.
 *
 * Who has which frame stands in the rings, but for those that nobody has. Their list lies behind
 * the frames, and its length is written there when the worker comes to rest; where it stands in
 * each ring the kernel knows, for a worker at rest has handed over all that it took.
 *
 * The program is loaded anew, for the addresses of the new configuration, and put in the old one's
 * place at once (bpf(2), BPF_LINK_UPDATE) when the old process has said that it is over. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/xdp_parts.h"
#include "obs/assert.h"

#define ROLE_ROOM 32u

/* ---- descriptors ---- */

void xdp_each_descriptor(const struct xdp *xdp, xdp_each_fn *each, void *context)
{
    char role[ROLE_ROOM];
    each(context, "xdp-link", xdp->link);
    each(context, "xdp-map", xdp->sockets_map);
    for (unsigned i = 0; i < xdp->facts.queues; i++) {
        snprintf(role, sizeof(role), "xdp-socket-%u", i);
        each(context, role, xdp->queues[i].fd);
        snprintf(role, sizeof(role), "xdp-memory-%u", i);
        each(context, role, xdp->queues[i].memory);
    }
}

void xdp_passed_init(struct xdp_passed *passed)
{
    memset(passed, 0xff, sizeof(*passed)); /* -1 in every place */
}

bool xdp_passed_add(struct xdp_passed *passed, const char *role, int fd)
{
    unsigned queue;
    if (strcmp(role, "xdp-link") == 0)
        passed->link = fd;
    else if (strcmp(role, "xdp-map") == 0)
        passed->sockets_map = fd;
    else if (sscanf(role, "xdp-socket-%2u", &queue) == 1 && queue < XDP_MAX_QUEUES)
        passed->sockets[queue] = fd;
    else if (sscanf(role, "xdp-memory-%2u", &queue) == 1 && queue < XDP_MAX_QUEUES)
        passed->memories[queue] = fd;
    else
        return false;
    return true;
}

/* ---- frames and rings ---- */

static int map_frames(struct xdp_queue *queue, const struct xdp_open_options *options)
{
    const uint32_t ring = options->ring ? options->ring : XDP_RING;
    const uint32_t size = xdp_queue_size(ring);
    struct stat stat;
    if (fstat(queue->memory, &stat) < 0)
        return -errno;
    if (stat.st_size != size)
        return -EXDEV;
    void *area =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, queue->memory, 0);
    if (area == MAP_FAILED)
        return -errno;
    queue->frames = area;
    queue->ring = ring;
    queue->room = xdp_queue_room(ring);
    queue->size = size;
    queue->left = (void *)(queue->frames + queue->room);
    queue->free = queue->left->free;
    return 0;
}

/* One ring of the socket's. ret: as libxdp fills it, for its inline functions. */
static int map_ring(struct xdp_queue *queue, unsigned place, const struct xdp_ring_offset *offset,
                    off_t page, size_t entry_size, struct xsk_ring_prod *ret)
{
    const size_t size = offset->desc + queue->ring * entry_size;
    char *map =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, queue->fd, page);
    if (map == MAP_FAILED)
        return -errno;
    queue->maps[place].address = map;
    queue->maps[place].size = size;
    *ret = (struct xsk_ring_prod){
        .mask = queue->ring - 1,
        .size = queue->ring,
        .producer = (void *)(map + offset->producer),
        .consumer = (void *)(map + offset->consumer),
        .flags = (void *)(map + offset->flags),
        .ring = map + offset->desc,
    };
    return 0;
}

_Static_assert(sizeof(struct xsk_ring_prod) == sizeof(struct xsk_ring_cons), "the same fields");

static int map_rings(struct xdp_queue *queue)
{
    struct xdp_mmap_offsets offsets;
    struct xsk_ring_prod done = {0}, receive = {0};
    socklen_t len = sizeof(offsets);
    if (getsockopt(queue->fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &len) < 0)
        return -errno;
    if (len != sizeof(offsets)) /* of a kernel before 5.4 */
        return -ENOSYS;
    int result = map_ring(queue, 0, &offsets.fr, (off_t)XDP_UMEM_PGOFF_FILL_RING, sizeof(uint64_t),
                          &queue->fill);
    if (!result)
        result = map_ring(queue, 1, &offsets.cr, (off_t)XDP_UMEM_PGOFF_COMPLETION_RING,
                          sizeof(uint64_t), &done);
    if (!result)
        result =
            map_ring(queue, 2, &offsets.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc), &receive);
    if (!result)
        result = map_ring(queue, 3, &offsets.tx, (off_t)XDP_PGOFF_TX_RING, sizeof(struct xdp_desc),
                          &queue->transmit);
    memcpy(&queue->done, &done, sizeof(done));
    memcpy(&queue->receive, &receive, sizeof(receive));
    return result;
}

void xdp_queue_unmap(struct xdp_queue *queue)
{
    if (!queue->maps[0].address)
        return;
    for (unsigned i = 0; i < sizeof(queue->maps) / sizeof(queue->maps[0]); i++)
        if (queue->maps[i].address)
            munmap(queue->maps[i].address, queue->maps[i].size);
    close(queue->fd);
}

uint64_t xdp_queue_drops(const struct xdp_queue *queue)
{
    struct xdp_statistics statistics = {0};
    socklen_t len = sizeof(statistics);
    if (getsockopt(queue->fd, SOL_XDP, XDP_STATISTICS, &statistics, &len) < 0)
        return 0;
    return statistics.rx_dropped + statistics.rx_ring_full + statistics.rx_fill_ring_empty_descs;
}

/* ---- rest ---- */

void xdp_queue_leave(struct xdp_queue *queue)
{
    queue->left->free_count = queue->free_count;
}

/* What this end of each ring counts on from; that the other end got on it sees when it looks. */
void xdp_queue_take_up(struct xdp_queue *queue)
{
    struct xsk_ring_prod *ours[] = {&queue->fill, &queue->transmit};
    struct xsk_ring_cons *kernels[] = {&queue->done, &queue->receive};
    for (unsigned i = 0; i < 2; i++) {
        ours[i]->cached_cons = ours[i]->cached_prod = *ours[i]->producer;
        kernels[i]->cached_cons = kernels[i]->cached_prod = *kernels[i]->consumer;
    }
    queue->free_count = queue->left->free_count;
}

/* ---- all of it ---- */

static bool is_alike(const struct xdp *xdp, const struct xdp_queue *queue,
                     const struct xdp_open_options *options)
{
    const struct xdp_left *left = queue->left;
    ASSERT(left); /* by map_frames() */
    return left->layout == XDP_LEFT_LAYOUT && left->queue == queue->number &&
           left->ring == queue->ring && left->queue_count == xdp->facts.queues &&
           left->interface_index == (uint32_t)xdp->interface_index &&
           left->free_count <= 2 * left->ring &&
           (options->mode == XDP_ATTACH_AUTO || left->mode == options->mode);
}

static int adopt_queue(struct xdp *xdp, const struct xdp_open_options *options,
                       struct xdp_queue *queue)
{
    int result = map_frames(queue, options);
    if (!result && !is_alike(xdp, queue, options))
        result = -EXDEV;
    if (!result)
        result = map_rings(queue);
    if (result)
        return result;
    struct xdp_options facts = {0};
    socklen_t len = sizeof(facts);
    if (getsockopt(queue->fd, SOL_XDP, XDP_OPTIONS, &facts, &len) == 0)
        xdp->facts.is_zero_copy = facts.flags & XDP_OPTIONS_ZEROCOPY;
    xdp->facts.mode = queue->left->mode;
    queue->drops_before = xdp_queue_drops(queue);
    return 0;
}

static int adopt_all(const struct xdp_open_options *options, const struct xdp_passed *passed,
                     struct xdp *xdp, enum xdp_step *ret_step)
{
    unsigned count = 0;
    int result = xdp_load(options, xdp, ret_step);
    if (result)
        return result;
    *ret_step = XDP_STEP_SOCKET;
    while (count < XDP_MAX_QUEUES && passed->sockets[count] >= 0 && passed->memories[count] >= 0)
        count++;
    if (count == 0 || passed->link < 0 || (options->queues && options->queues != count))
        return -EXDEV;
    xdp->facts.queues = count;
    xdp->queues = calloc(count, sizeof(*xdp->queues));
    if (!xdp->queues)
        return -ENOMEM;
    for (unsigned i = 0; i < count && !result; i++) {
        xdp->queues[i].number = i;
        xdp->queues[i].fd = passed->sockets[i];
        xdp->queues[i].memory = passed->memories[i];
        result = adopt_queue(xdp, options, &xdp->queues[i]);
    }
    if (!result)
        xdp_begin_carrying(xdp);
    return result;
}

int xdp_adopt(const struct xdp_open_options *options, const struct xdp_passed *passed,
              struct xdp **ret_xdp, enum xdp_step *ret_step)
{
    *ret_step = XDP_STEP_MEMORY;
    struct xdp *xdp = calloc(1, sizeof(*xdp));
    if (!xdp)
        return -ENOMEM;
    xdp->program = xdp->carry_map = -1;
    xdp->link = passed->link;
    xdp->sockets_map = passed->sockets_map;
    int result = adopt_all(options, passed, xdp, ret_step);
    if (result) {
        xdp_close(xdp);
        return result;
    }
    *ret_xdp = xdp;
    return 0;
}

int xdp_take_over(struct xdp *xdp)
{
    return bpf_link_update(xdp->link, xdp->program, NULL);
}
