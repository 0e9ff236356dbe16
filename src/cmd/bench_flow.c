/* Sockets of the load generator. A send is one sendmmsg(), or joined one sendmsg() with UDP_SEGMENT
 * for each run of equal datagrams: the kernel's cost of a send is then shared by up to 64 of them.
 * The slots of a joined send need not be neighbours, the kernel gathers them. */
#include "cmd/bench_flow.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cmd/bench_stream.h"
#include "core/key.h"

#define LINE 64u              /* datagrams begin on a cache line */
#define JOIN_MAX_BYTES 65000u /* of one joined send; the limit is 65,507 */
#define JOIN_BUFFER_BYTES 65536u
#define JOIN_MESSAGES 16u
#define SOCKET_BUFFER_BYTES (2 << 20)

_Static_assert(FLOW_MESSAGES <= 64, "UDP_MAX_SEGMENTS of older kernels");

/* All that never changes is written once: header but sequence, clock and n, rule and cost of each
 * entry. */
static void fill_template(const struct bench_options *options, const struct bench_server *server,
                          uint32_t client, uint8_t *bytes)
{
    const struct mete_header header = {
        .type = METE_CHECK,
        .n = (uint8_t)options->batch,
        .secret = server->secret,
        .boot = server->boot,
        .tenant = key_name_id(options->tenant, strlen(options->tenant)),
        .client = client,
        .entry_bytes = METE_WIRE_ENTRY_BYTES,
    };
    const struct mete_entry entry = {
        .rule = key_name_id(options->rule, strlen(options->rule)),
        .cost = options->cost,
    };
    mete_wire_encode_header(bytes, &header);
    for (unsigned i = 0; i < options->batch; i++)
        mete_wire_encode_entry(bytes, &header, i, &entry);
}

static int open_socket(const struct bench_server *server, bool join)
{
    const int bytes = SOCKET_BUFFER_BYTES, on = 1;
    const int fd = socket(server->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)); /* as far as the system lets us */
    if ((join && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) < 0) ||
        connect(fd, (const struct sockaddr *)&server->address, server->address_len) < 0) {
        const int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int flow_open(const struct bench_options *options, const struct bench_server *server,
              struct flow *ret_flow)
{
    const size_t len = server->door
                           ? server->request.len
                           : mete_wire_request_bytes(options->batch, METE_WIRE_ENTRY_BYTES);
    struct flow flow = {
        .fd = -1,
        .outstanding = options->outstanding,
        .stride = (unsigned)((len + LINE - 1) & ~(size_t)(LINE - 1)),
        .batch = options->batch,
        .free_count = options->outstanding,
        .in_order = options->rate || server->door,
    };
    uint32_t random[2]; /* client id, first sequence number */
    int error = -ENOMEM;

    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return -EIO;
    flow.base = random[1];
    flow.free = calloc(flow.outstanding, sizeof(*flow.free));
    flow.slots = calloc(flow.outstanding, sizeof(*flow.slots));
    flow.subjects = calloc((size_t)flow.outstanding * flow.batch, sizeof(*flow.subjects));
    flow.datagrams = aligned_alloc(LINE, (size_t)flow.outstanding * flow.stride);
    if (!flow.free || !flow.slots || !flow.subjects || !flow.datagrams)
        goto fail;
    for (unsigned i = 0; i < flow.outstanding; i++) {
        flow.free[i] = (uint16_t)(flow.outstanding - 1 - i);
        flow.slots[i].sequence = flow.base + i - FLOW_SLOTS; /* the first use is generation 0 */
        if (!server->door)
            fill_template(options, server, random[0], flow_datagram(&flow, i));
    }
    if (!server->door)
        memcpy(flow.rule_and_cost, flow.datagrams + METE_WIRE_HEADER_BYTES,
               sizeof(flow.rule_and_cost));
    error = server->door ? stream_open(server, &flow) : open_socket(server, options->join);
    flow.fd = error;
    if (error < 0)
        goto fail;
    *ret_flow = flow;
    return 0;
fail:
    flow_close(&flow);
    return error;
}

void flow_close(struct flow *flow)
{
    if (flow->fd >= 0)
        close(flow->fd);
    stream_close(flow);
    free(flow->free);
    free(flow->slots);
    free(flow->subjects);
    free(flow->datagrams);
}

int flow_io_open(bool join, struct flow_io **ret_io)
{
    struct flow_io *io = calloc(1, sizeof(*io));
    if (!io)
        return -ENOMEM;
    io->join = join;
    io->message_count = join ? JOIN_MESSAGES : FLOW_MESSAGES;
    io->buffer_bytes = join ? JOIN_BUFFER_BYTES : METE_WIRE_MAX_BYTES + 48; /* whole lines */
    io->buffers = aligned_alloc(LINE, io->message_count * io->buffer_bytes);
    if (!io->buffers) {
        free(io);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < io->message_count; i++) {
        io->receive_parts[i] = (struct iovec){io->buffers + i * io->buffer_bytes, io->buffer_bytes};
        io->receives[i].msg_hdr.msg_iov = &io->receive_parts[i];
        io->receives[i].msg_hdr.msg_iovlen = 1;
    }
    *ret_io = io;
    return 0;
}

void flow_io_close(struct flow_io *io)
{
    if (io)
        free(io->buffers);
    free(io);
}

/* Makes one message of the parts from `first` on that may go in one: equal ones and at most one
 * shorter at the end. Returns their number. */
static unsigned join_parts(struct flow_io *io, unsigned first, unsigned count, unsigned message)
{
    const size_t size = io->send_parts[first].iov_len;
    size_t total = size;
    unsigned n = 1;
    while (first + n < count && io->send_parts[first + n].iov_len <= size &&
           io->send_parts[first + n - 1].iov_len == size &&
           total + io->send_parts[first + n].iov_len <= JOIN_MAX_BYTES)
        total += io->send_parts[first + n++].iov_len;

    struct msghdr *header = &io->sends[message].msg_hdr;
    *header = (struct msghdr){.msg_iov = &io->send_parts[first], .msg_iovlen = n};
    if (n > 1) {
        header->msg_control = io->send_controls[message];
        header->msg_controllen = sizeof(io->send_controls[message]);
        struct cmsghdr *control = CMSG_FIRSTHDR(header);
        const uint16_t segment = (uint16_t)size;
        control->cmsg_level = IPPROTO_UDP;
        control->cmsg_type = UDP_SEGMENT;
        control->cmsg_len = CMSG_LEN(sizeof(segment));
        memcpy(CMSG_DATA(control), &segment, sizeof(segment));
    }
    return n;
}

unsigned flow_next_slot(const struct flow *flow)
{
    if (!flow->in_order)
        return flow->free[flow->free_count - 1];
    const unsigned slot = flow->oldest + flow_used(flow);
    return slot < flow->outstanding ? slot : slot - flow->outstanding;
}

void flow_send(struct flow *flow, struct flow_io *io, const uint16_t *slots, unsigned count)
{
    unsigned messages = 0;
    if (flow->stream) {
        stream_send(flow, slots, count);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        io->send_parts[i] =
            (struct iovec){flow_datagram(flow, slots[i]), flow->slots[slots[i]].len};
    for (unsigned i = 0; i < count; messages++) {
        if (io->join) {
            i += join_parts(io, i, count, messages);
        } else {
            io->sends[messages].msg_hdr =
                (struct msghdr){.msg_iov = &io->send_parts[i], .msg_iovlen = 1};
            i++;
        }
    }
    /* An error of an earlier datagram (the port was unreachable) is told once and is not of this
     * one: try again; what still fails is passed over. */
    bool again = true;
    for (unsigned at = 0; at < messages;) {
        const int sent = sendmmsg(flow->fd, io->sends + at, messages - at, MSG_NOSIGNAL);
        if (sent > 0) {
            at += (unsigned)sent;
        } else if (errno != EINTR) {
            io->refused += errno == ECONNREFUSED;
            io->unsendable += !again;
            at += !again;
            again = !again;
        }
    }
}

unsigned flow_receive(struct flow *flow, struct flow_io *io)
{
    if (io->join) {
        for (unsigned i = 0; i < io->message_count; i++) {
            io->receives[i].msg_hdr.msg_control = io->receive_controls[i];
            io->receives[i].msg_hdr.msg_controllen = sizeof(io->receive_controls[i]);
        }
    }
    const int count = recvmmsg(flow->fd, io->receives, io->message_count, MSG_DONTWAIT, NULL);
    io->refused += count < 0 && errno == ECONNREFUSED;
    return count > 0 ? (unsigned)count : 0;
}

unsigned flow_segment(const struct flow_io *io, unsigned message)
{
    struct msghdr *header = (struct msghdr *)&io->receives[message].msg_hdr;
    if (io->join)
        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
            if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                int size;
                memcpy(&size, CMSG_DATA(c), sizeof(size));
                if (size > 0)
                    return (unsigned)size;
            }
    return io->receives[message].msg_len;
}
