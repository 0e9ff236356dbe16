/* The backend for kernels and containers without io_uring: recvmmsg, sendmmsg, ppoll.
 *
 * Under load one receive and one send system call per batch; ppoll only when a receive found
 * nothing. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "net/control.h"
#include "net/io.h"

#define MMSG_MAX_SOCKETS 16u
#define MMSG_REPLIES 256u

/* What a received message came with; message->peer_header points here. */
struct arrival {
    struct msghdr header;
    struct sockaddr_in6 peer;
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
};

struct reply {
    struct iovec bytes;
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
    uint32_t segment;
};

struct mmsg {
    struct io io;
    struct io_counters counters;
    unsigned socket_count;
    unsigned next_socket; /* where the next receive looks first: no socket starves */
    struct pollfd sockets[MMSG_MAX_SOCKETS];
    uint8_t *buffers;
    size_t buffers_size;
    struct mmsghdr headers[IO_BATCH];
    struct iovec room[IO_BATCH];
    struct arrival arrivals[IO_BATCH];
    struct io_message messages[IO_BATCH];
    unsigned reply_count;
    uint32_t reply_socket;
    struct mmsghdr reply_headers[MMSG_REPLIES];
    struct reply replies[MMSG_REPLIES];
};

/* Buffers start at different cache sets: a stride of exactly 64 KiB would map all first lines to
 * one. */
#define MMSG_STRIDE (IO_BUFFER_BYTES + 320u)

static int mmsg_open(const struct io_options *options, struct io **ret_io)
{
    if (options->socket_count == 0 || options->socket_count > MMSG_MAX_SOCKETS)
        return -EINVAL;
    struct mmsg *mmsg = aligned_alloc(64, (sizeof(*mmsg) + 63) & ~(size_t)63);
    if (!mmsg)
        return -ENOMEM;
    memset(mmsg, 0, sizeof(*mmsg));
    mmsg->io.operations = &mmsg_operations;
    mmsg->buffers_size = (size_t)IO_BATCH * MMSG_STRIDE;
    mmsg->buffers = mmap(NULL, mmsg->buffers_size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (mmsg->buffers == MAP_FAILED) {
        free(mmsg);
        return -ENOMEM;
    }
    mmsg->socket_count = options->socket_count;
    for (unsigned i = 0; i < options->socket_count; i++)
        mmsg->sockets[i] = (struct pollfd){.fd = options->sockets[i], .events = POLLIN};
    for (unsigned i = 0; i < IO_BATCH; i++) {
        mmsg->room[i] = (struct iovec){mmsg->buffers + (size_t)i * MMSG_STRIDE, IO_BUFFER_BYTES};
        mmsg->arrivals[i].header.msg_iov = &mmsg->room[i];
        mmsg->arrivals[i].header.msg_iovlen = 1;
    }
    *ret_io = &mmsg->io;
    return 0;
}

/* A refused answer is reported on the socket of the next receive; it is nobody's fault here. */
static bool is_passing(int error)
{
    return error == EAGAIN || error == EINTR || error == ECONNREFUSED || error == ENOBUFS ||
           error == ENOMEM || error == EHOSTUNREACH || error == ENETUNREACH;
}

static int receive_from(struct mmsg *mmsg, uint32_t socket)
{
    for (unsigned i = 0; i < IO_BATCH; i++) {
        struct msghdr *header = &mmsg->headers[i].msg_hdr;
        *header = mmsg->arrivals[i].header;
        header->msg_name = &mmsg->arrivals[i].peer;
        header->msg_namelen = sizeof(mmsg->arrivals[i].peer);
        header->msg_control = mmsg->arrivals[i].control;
        header->msg_controllen = sizeof(mmsg->arrivals[i].control);
    }
    int count = recvmmsg(mmsg->sockets[socket].fd, mmsg->headers, IO_BATCH, MSG_DONTWAIT, NULL);
    if (count < 0) {
        if (!is_passing(errno))
            return -errno;
        mmsg->counters.receive_errors += errno != EAGAIN && errno != EINTR;
        return 0;
    }
    for (unsigned i = 0; i < (unsigned)count; i++) {
        struct msghdr *header = &mmsg->headers[i].msg_hdr;
        uint32_t segment = control_read_segment(header);
        uint32_t len = mmsg->headers[i].msg_len;
        mmsg->messages[i] = (struct io_message){
            .data = mmsg->room[i].iov_base,
            .len = len,
            .segment = segment && segment < len ? segment : len,
            .truncated = header->msg_flags & MSG_TRUNC,
            .peer = header->msg_name,
            .socket = socket,
            .buffer = i,
            .peer_header = header,
        };
    }
    return count;
}

static int receive_now(struct mmsg *mmsg)
{
    for (unsigned tried = 0; tried < mmsg->socket_count; tried++) {
        uint32_t socket = mmsg->next_socket;
        mmsg->next_socket = (socket + 1) % mmsg->socket_count;
        int count = receive_from(mmsg, socket);
        if (count)
            return count;
    }
    return 0;
}

static int mmsg_receive(struct io *io, uint64_t wait_ns, struct io_message **ret_messages)
{
    struct mmsg *mmsg = (struct mmsg *)io;
    int count = receive_now(mmsg);
    if (count == 0 && wait_ns) {
        struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                                .tv_nsec = (long)(wait_ns % 1000000000u)};
        int ready = ppoll(mmsg->sockets, mmsg->socket_count, &wait, NULL);
        if (ready > 0)
            count = receive_now(mmsg);
        else if (ready < 0 && errno != EINTR)
            count = -errno;
    }
    *ret_messages = mmsg->messages;
    return count;
}

/* Sends the segments of a reply one by one, where the device cannot take them joined. */
static void send_plainly(struct mmsg *mmsg, const struct msghdr *joined, const struct reply *reply)
{
    struct msghdr header = *joined;
    struct iovec bytes;
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
    header.msg_iov = &bytes;
    header.msg_control = control;
    struct msghdr source = *joined;
    control_write_reply(&header, &source, 0);
    for (size_t at = 0; at < reply->bytes.iov_len; at += reply->segment) {
        size_t left = reply->bytes.iov_len - at;
        bytes.iov_base = (uint8_t *)reply->bytes.iov_base + at;
        bytes.iov_len = left < reply->segment ? left : reply->segment;
        if (sendmsg(mmsg->sockets[mmsg->reply_socket].fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            mmsg->counters.send_errors++;
    }
    mmsg->counters.send_plain++;
}

static void flush(struct mmsg *mmsg)
{
    int fd = mmsg->sockets[mmsg->reply_socket].fd;
    for (unsigned at = 0; at < mmsg->reply_count;) {
        int sent = sendmmsg(fd, mmsg->reply_headers + at, mmsg->reply_count - at,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            at += (unsigned)sent;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (mmsg->replies[at].segment &&
            (errno == EIO || errno == EINVAL || errno == EMSGSIZE)) /* as in io_uring.c */
            send_plainly(mmsg, &mmsg->reply_headers[at].msg_hdr, &mmsg->replies[at]);
        else
            mmsg->counters.send_errors++;
        at++; /* this one is lost or done; the others need not be */
    }
    mmsg->reply_count = 0;
}

static void mmsg_reply(struct io *io, const struct io_message *message, uint32_t offset,
                       uint32_t len, uint32_t segment)
{
    struct mmsg *mmsg = (struct mmsg *)io;
    if (mmsg->reply_count == MMSG_REPLIES ||
        (mmsg->reply_count && mmsg->reply_socket != message->socket))
        flush(mmsg);
    mmsg->reply_socket = message->socket;
    struct msghdr *received = message->peer_header;
    struct reply *reply = &mmsg->replies[mmsg->reply_count];
    struct msghdr *header = &mmsg->reply_headers[mmsg->reply_count++].msg_hdr;
    reply->bytes = (struct iovec){message->data + offset, len};
    reply->segment = segment < len ? segment : 0;
    *header = (struct msghdr){
        .msg_name = received->msg_name,
        .msg_namelen = received->msg_namelen,
        .msg_iov = &reply->bytes,
        .msg_iovlen = 1,
        .msg_control = reply->control,
    };
    control_write_reply(header, received, reply->segment);
}

static void mmsg_send(struct io *io)
{
    struct mmsg *mmsg = (struct mmsg *)io;
    if (mmsg->reply_count)
        flush(mmsg);
}

static void mmsg_close(struct io *io)
{
    struct mmsg *mmsg = (struct mmsg *)io;
    munmap(mmsg->buffers, mmsg->buffers_size);
    free(mmsg);
}

static struct io_counters mmsg_counters(const struct io *io)
{
    return ((const struct mmsg *)io)->counters;
}

const struct io_operations mmsg_operations = {
    .name = "mmsg",
    .open = mmsg_open,
    .receive = mmsg_receive,
    .reply = mmsg_reply,
    .send = mmsg_send,
    .close = mmsg_close,
    .counters = mmsg_counters,
};
