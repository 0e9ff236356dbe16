/* One of the files that know libbpf and libxdp: program, link and sockets of an interface.
 *
 * The link comes first and the sockets are entered into its map last: until then the program finds
 * no socket and everything goes on into the kernel, so nothing is lost on the way. libxdp's own way
 * of attaching (a dispatcher that several programs share) is not used: what it attaches stays when
 * the process is killed. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "net/xdp_parts.h"
#include "net/xdp_program.h"

_Static_assert(XDP_MAX_TARGETS == XDP_PROGRAM_MAX_TARGETS, "all fit into the program");

#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* of Linux 6.17; before it the kernel sends 32 frames a call */
#endif

#define BUSY_TRIES 20u /* the queues of a daemon that has just died are still being taken down */
#define BUSY_PAUSE_NS 50000000l

static int be_silent(void)
{
    return 0;
}

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
    (void)level, (void)format, (void)arguments;
    return be_silent();
}

static int print_libxdp(enum libxdp_print_level level, const char *format, va_list arguments)
{
    (void)level, (void)format, (void)arguments;
    return be_silent();
}

/* ---- the interface ---- */

static int read_mac(int any_socket, const char *interface, uint8_t *ret_mac)
{
    struct ifreq request = {0};
    strncpy(request.ifr_name, interface, sizeof(request.ifr_name) - 1);
    if (ioctl(any_socket, SIOCGIFHWADDR, &request) < 0)
        return -errno;
    memcpy(ret_mac, request.ifr_hwaddr.sa_data, 6);
    return 0;
}

/* Who does not tell has one. */
static unsigned count_queues(int any_socket, const char *interface)
{
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    struct ifreq request = {.ifr_data = (char *)&channels};
    strncpy(request.ifr_name, interface, sizeof(request.ifr_name) - 1);
    if (ioctl(any_socket, SIOCETHTOOL, &request) < 0)
        return 1;
    unsigned count = channels.combined_count + channels.rx_count;
    return count < 1 ? 1 : count < XDP_MAX_QUEUES ? count : XDP_MAX_QUEUES;
}

static int look_at_interface(const struct xdp_open_options *options, struct xdp *xdp,
                             struct xdp_program *program)
{
    int any_socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any_socket < 0)
        return -errno;
    int result = read_mac(any_socket, options->interface, program->mac);
    unsigned there = count_queues(any_socket, options->interface);
    close(any_socket);
    if (result)
        return result;
    if (options->queues > there)
        return -ERANGE;
    xdp->facts.queues = options->queues ? options->queues : there;
    return 0;
}

/* ---- the program ---- */

static int load_program(struct xdp_program *text, struct xdp *xdp)
{
    struct bpf_insn *insns = calloc(XDP_PROGRAM_MAX_INSNS, sizeof(*insns));
    if (!insns)
        return -ENOMEM;
    if (xdp->sockets_map < 0)
        xdp->sockets_map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "mete_sockets", sizeof(uint32_t),
                                          sizeof(int), xdp->facts.queues, NULL);
    if (xdp->sockets_map >= 0) {
        text->sockets_map = xdp->sockets_map;
        text->carry_map = xdp->carry_map;
        const unsigned count = xdp_program_write(text, insns);
        /* frames in several pieces too, which jumbo MTUs need; before Linux 5.18 there are none */
        LIBBPF_OPTS(bpf_prog_load_opts, options, .prog_flags = BPF_F_XDP_HAS_FRAGS);
        xdp->program = bpf_prog_load(BPF_PROG_TYPE_XDP, "mete", "GPL", insns, count, &options);
        if (xdp->program == -EINVAL)
            xdp->program = bpf_prog_load(BPF_PROG_TYPE_XDP, "mete", "GPL", insns, count, NULL);
    }
    free(insns);
    return xdp->sockets_map < 0 ? xdp->sockets_map : xdp->program < 0 ? xdp->program : 0;
}

/* Where it cannot be had, answers go by themselves. */
static void make_carry(struct xdp *xdp)
{
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
    const size_t size = xdp->facts.queues * sizeof(struct xdp_carry_shared);
    int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "mete_carry", sizeof(uint32_t),
                             sizeof(struct xdp_carry_shared), xdp->facts.queues, &options);
    if (map < 0)
        return;
    void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, map, 0);
    if (area == MAP_FAILED) {
        close(map);
        return;
    }
    xdp->carry_map = map;
    xdp->carried = area;
    xdp->carried_size = size;
}

/* A generic program has a buffer of the kernel's in hand anyway, and zero-copy has nothing to save.
 */
void xdp_begin_carrying(struct xdp *xdp)
{
    if (xdp->carried_size < xdp->facts.queues * sizeof(*xdp->carried) ||
        xdp->facts.mode != XDP_ATTACH_NATIVE || xdp->facts.is_zero_copy)
        return;
    for (unsigned i = 0; i < xdp->facts.queues; i++) {
        xdp_carry_init(&xdp->queues[i].carry, &xdp->carried[i]);
        xdp->queues[i].carries = true;
    }
    xdp->facts.carries = true;
}

static int attach_as(struct xdp *xdp, int interface_index, enum xdp_attach mode)
{
    LIBBPF_OPTS(bpf_link_create_opts, options,
                .flags = mode == XDP_ATTACH_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
    int link = -EBUSY;
    for (unsigned i = 0; i < BUSY_TRIES && link == -EBUSY; i++) {
        if (i)
            nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
        link = bpf_link_create(xdp->program, interface_index, BPF_XDP, &options);
    }
    if (link < 0)
        return link;
    xdp->link = link;
    xdp->facts.mode = mode;
    return 0;
}

static int attach(struct xdp *xdp, int interface_index, enum xdp_attach wish)
{
    if (wish != XDP_ATTACH_AUTO)
        return attach_as(xdp, interface_index, wish);
    int result = attach_as(xdp, interface_index, XDP_ATTACH_NATIVE);
    if (result == 0 || result == -EBUSY || result == -EPERM)
        return result;
    return attach_as(xdp, interface_index, XDP_ATTACH_GENERIC);
}

/* ---- the sockets ---- */

uint32_t xdp_queue_room(uint32_t ring)
{
    return 2 * ring * XDP_FRAME_BYTES;
}

uint32_t xdp_queue_size(uint32_t ring)
{
    return xdp_queue_room(ring) + (uint32_t)(sizeof(struct xdp_left) + 2 * ring * sizeof(uint32_t));
}

/* Shared, so that it can go over to another process; else it is memory like any other. */
static int make_memory(struct xdp_queue *queue)
{
    const uint32_t size = xdp_queue_size(queue->ring);
    int fd = memfd_create("mete-frames", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    void *area = ftruncate(fd, size) < 0
                     ? MAP_FAILED
                     : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (area == MAP_FAILED) {
        close(fd);
        return -ENOMEM;
    }
    queue->memory = fd;
    queue->frames = area;
    queue->room = xdp_queue_room(queue->ring);
    queue->size = size;
    queue->left = (void *)(queue->frames + queue->room);
    queue->free = queue->left->free;
    return 0;
}

static int make_umem(struct xdp_queue *queue)
{
    const struct xsk_umem_config config = {
        .fill_size = queue->ring,
        .comp_size = queue->ring,
        .frame_size = XDP_FRAME_BYTES,
        .frame_headroom = XDP_HEADROOM_BYTES,
    };
    int result = make_memory(queue);
    if (result)
        return result;
    result = xsk_umem__create(&queue->umem, queue->frames, queue->room, &queue->fill, &queue->done,
                              &config);
    if (result)
        queue->umem = NULL;
    return result;
}

static void give_frames(struct xdp_queue *queue)
{
    uint32_t at = 0;
    for (uint32_t i = queue->ring; i < 2 * queue->ring; i++)
        queue->free[queue->free_count++] = i * XDP_FRAME_BYTES;
    if (xsk_ring_prod__reserve(&queue->fill, queue->ring, &at) != queue->ring)
        return; /* cannot be: it is empty, and as large */
    for (uint32_t i = 0; i < queue->ring; i++)
        *xsk_ring_prod__fill_addr(&queue->fill, at + i) = (uint64_t)i * XDP_FRAME_BYTES;
    xsk_ring_prod__submit(&queue->fill, queue->ring);
}

static int open_queue(struct xdp *xdp, const char *interface, struct xdp_queue *queue)
{
    const struct xsk_socket_config config = {
        .rx_size = queue->ring,
        .tx_size = queue->ring,
        .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
        .bind_flags = (uint16_t)(XDP_USE_NEED_WAKEUP |
                                 (xdp->facts.mode == XDP_ATTACH_GENERIC ? XDP_COPY : 0)),
    };
    int result = make_umem(queue);
    if (result)
        return result;
    result = xsk_socket__create(&queue->socket, interface, queue->number, queue->umem,
                                &queue->receive, &queue->transmit, &config);
    if (result) {
        queue->socket = NULL;
        return result;
    }
    queue->fd = xsk_socket__fd(queue->socket);
    const uint32_t at_once = XDP_SEND_BUDGET;
    setsockopt(queue->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &at_once, sizeof(at_once)); /* a wish */
    give_frames(queue);
    *queue->left = (struct xdp_left){
        .layout = XDP_LEFT_LAYOUT,
        .interface_index = (uint32_t)xdp->interface_index,
        .queue_count = xdp->facts.queues,
        .queue = queue->number,
        .ring = queue->ring,
        .mode = xdp->facts.mode,
    };
    struct xdp_options facts = {0};
    socklen_t len = sizeof(facts);
    if (getsockopt(queue->fd, SOL_XDP, XDP_OPTIONS, &facts, &len) == 0)
        xdp->facts.is_zero_copy = facts.flags & XDP_OPTIONS_ZEROCOPY;
    return 0;
}

static void close_queue(struct xdp_queue *queue)
{
    if (queue->socket)
        xsk_socket__delete(queue->socket);
    if (queue->umem)
        xsk_umem__delete(queue->umem);
    xdp_queue_unmap(queue);
    if (queue->frames) {
        munmap(queue->frames, queue->size);
        close(queue->memory);
    }
    memset(queue, 0, sizeof(*queue));
}

static int open_queues(struct xdp *xdp, const struct xdp_open_options *options)
{
    xdp->queues = calloc(xdp->facts.queues, sizeof(*xdp->queues));
    if (!xdp->queues)
        return -ENOMEM;
    for (unsigned i = 0; i < xdp->facts.queues; i++) {
        struct xdp_queue *queue = &xdp->queues[i];
        int result = -EBUSY;
        for (unsigned try = 0; try < BUSY_TRIES && result == -EBUSY; try++) {
            if (try)
                nanosleep(&(struct timespec){.tv_nsec = BUSY_PAUSE_NS}, NULL);
            close_queue(queue);
            queue->number = i;
            queue->ring = options->ring ? options->ring : XDP_RING;
            result = open_queue(xdp, options->interface, queue);
        }
        if (result)
            return result;
    }
    for (uint32_t i = 0; i < xdp->facts.queues; i++) {
        int result = bpf_map_update_elem(xdp->sockets_map, &i, &xdp->queues[i].fd, 0);
        if (result)
            return result;
    }
    return 0;
}

/* ---- all of it ---- */

int xdp_load(const struct xdp_open_options *options, struct xdp *xdp, enum xdp_step *ret_step)
{
    struct xdp_program text = {
        .vlan = options->vlan,
        .targets = options->targets,
        .target_count = options->target_count,
    };
    libbpf_set_print(print_libbpf);
    libxdp_set_print(print_libxdp);
    *ret_step = XDP_STEP_INTERFACE;
    xdp->interface_index = (int)if_nametoindex(options->interface);
    if (xdp->interface_index == 0)
        return -ENODEV;
    int result = look_at_interface(options, xdp, &text);
    if (result)
        return result;
    *ret_step = XDP_STEP_PROGRAM;
    if (options->carry)
        make_carry(xdp);
    return load_program(&text, xdp);
}

static int open_all(const struct xdp_open_options *options, struct xdp *xdp,
                    enum xdp_step *ret_step)
{
    int result = xdp_load(options, xdp, ret_step);
    if (result)
        return result;
    *ret_step = XDP_STEP_ATTACH;
    result = attach(xdp, xdp->interface_index, options->mode);
    if (result)
        return result;
    *ret_step = XDP_STEP_SOCKET;
    result = open_queues(xdp, options);
    if (!result)
        xdp_begin_carrying(xdp);
    return result;
}

int xdp_open(const struct xdp_open_options *options, struct xdp **ret_xdp, enum xdp_step *ret_step)
{
    *ret_step = XDP_STEP_MEMORY;
    struct xdp *xdp = calloc(1, sizeof(*xdp));
    if (!xdp)
        return -ENOMEM;
    xdp->sockets_map = xdp->program = xdp->link = xdp->carry_map = -1;
    int result = open_all(options, xdp, ret_step);
    if (result) {
        xdp_close(xdp);
        return result;
    }
    *ret_xdp = xdp;
    return 0;
}

struct xdp_facts xdp_facts(const struct xdp *xdp)
{
    return xdp->facts;
}

/* The link first: what comes now is the kernel's again. */
void xdp_close(struct xdp *xdp)
{
    if (!xdp)
        return;
    const int descriptors[] = {xdp->link, xdp->program, xdp->sockets_map, xdp->carry_map};
    for (unsigned i = 0; i < sizeof(descriptors) / sizeof(descriptors[0]); i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    for (unsigned i = 0; xdp->queues && i < xdp->facts.queues; i++)
        close_queue(&xdp->queues[i]);
    if (xdp->carried)
        munmap(xdp->carried, xdp->carried_size);
    free(xdp->queues);
    free(xdp);
}
