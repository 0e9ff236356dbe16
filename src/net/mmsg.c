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
#include <sys/un.h>
#include <time.h>

#include "net/control.h"
#include "net/io.h"
#include "net/replies.h"

#define MMSG_MAX_SOCKETS 16u

/* What a received message came with; message->peer_header points here. */
struct arrival {
    struct msghdr header;
    union {
        struct sockaddr_in6 inet;
        struct sockaddr_un local;
    } peer;
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
};

struct mmsg {
    struct io io;
    struct io_counters counters;
    unsigned socket_count;
    unsigned next_socket; /* where the next receive looks first: no socket starves */
    uint32_t full;        /* bit per socket whose last receive took all that there was room for */
    struct pollfd sockets[MMSG_MAX_SOCKETS];
    bool is_unix[MMSG_MAX_SOCKETS];
    bool is_paused;
    uint8_t *buffers;
    size_t buffers_size;
    struct mmsghdr headers[IO_BATCH];
    struct iovec room[IO_BATCH];
    struct arrival arrivals[IO_BATCH];
    struct io_message messages[IO_BATCH];
    struct replies replies;
    struct mmsghdr reply_headers[REPLIES_MAX];
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
    mmsg->is_paused = options->is_paused;
    for (unsigned i = 0; i < options->socket_count; i++) {
        mmsg->sockets[i] = (struct pollfd){.fd = options->sockets[i], .events = POLLIN};
        mmsg->is_unix[i] = io_is_unix(options->sockets[i]);
    }
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
    bool is_unix = mmsg->is_unix[socket];
    for (unsigned i = 0; i < IO_BATCH; i++) {
        struct msghdr *header = &mmsg->headers[i].msg_hdr;
        *header = mmsg->arrivals[i].header;
        header->msg_name = &mmsg->arrivals[i].peer;
        header->msg_namelen = sizeof(mmsg->arrivals[i].peer);
        header->msg_control = is_unix ? NULL : mmsg->arrivals[i].control;
        header->msg_controllen = is_unix ? 0 : sizeof(mmsg->arrivals[i].control);
    }
    int count = recvmmsg(mmsg->sockets[socket].fd, mmsg->headers, IO_BATCH, MSG_DONTWAIT, NULL);
    if (count < 0) {
        if (!is_passing(errno))
            return -errno;
        mmsg->counters.receive_errors += errno != EAGAIN && errno != EINTR;
        count = 0;
    }
    mmsg->full &= ~(1u << socket);
    mmsg->full |= (uint32_t)(count == (int)IO_BATCH) << socket;
    for (unsigned i = 0; i < (unsigned)count; i++) {
        struct msghdr *header = &mmsg->headers[i].msg_hdr;
        uint32_t segment = control_read_segment(header);
        uint32_t len = mmsg->headers[i].msg_len;
        mmsg->messages[i] = (struct io_message){
            .data = mmsg->room[i].iov_base,
            .len = len,
            .segment = segment && segment < len ? segment : len,
            .truncated = header->msg_flags & MSG_TRUNC,
            .peer = header->msg_namelen ? header->msg_name : &io_nobody,
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
    int count = mmsg->is_paused ? 0 : receive_now(mmsg);
    if (count == 0 && wait_ns && !mmsg->is_paused) {
        struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                                .tv_nsec = (long)(wait_ns % 1000000000u)};
        int ready = ppoll(mmsg->sockets, mmsg->socket_count, &wait, NULL);
        if (ready > 0)
            count = receive_now(mmsg);
        else if (ready < 0 && errno != EINTR)
            count = -errno;
    }
    io->has_more = mmsg->full != 0;
    *ret_messages = mmsg->messages;
    return count;
}

/* Sends count answers that leave by one socket. */
static void send_run(struct mmsg *mmsg, const struct reply *replies, unsigned count)
{
    int fd = mmsg->sockets[replies->socket].fd;
    for (unsigned i = 0; i < count; i++)
        mmsg->reply_headers[i].msg_hdr = replies[i].header;
    for (unsigned at = 0; at < count;) {
        int sent = sendmmsg(fd, mmsg->reply_headers + at, count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            at += (unsigned)sent;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (replies_is_join_error(&replies[at], errno)) {
            mmsg->counters.send_errors += replies_send_plainly(&replies[at], fd);
            mmsg->counters.send_plain++;
        } else {
            mmsg->counters.send_errors++;
        }
        at++; /* this one is lost or done; the others need not be */
    }
}

static void mmsg_send(struct io *io)
{
    struct mmsg *mmsg = (struct mmsg *)io;
    struct replies *replies = &mmsg->replies;
    replies_finish(replies);
    for (unsigned at = 0, end; at < replies->count; at = end) {
        end = at + 1;
        while (end < replies->count && replies->items[end].socket == replies->items[at].socket)
            end++;
        send_run(mmsg, &replies->items[at], end - at);
    }
    replies_clear(replies);
}

static void mmsg_reply(struct io *io, const struct io_message *message, uint32_t offset,
                       uint32_t len, uint32_t segment)
{
    struct mmsg *mmsg = (struct mmsg *)io;
    if (replies_are_full(&mmsg->replies))
        mmsg_send(io);
    replies_add(&mmsg->replies, message, offset, len, segment);
}

static void mmsg_close(struct io *io)
{
    struct mmsg *mmsg = (struct mmsg *)io;
    munmap(mmsg->buffers, mmsg->buffers_size);
    free(mmsg);
}

/* Between two receives nothing is in hand. */
static int mmsg_pause(struct io *io)
{
    ((struct mmsg *)io)->is_paused = true;
    return 0;
}

static void mmsg_resume(struct io *io)
{
    ((struct mmsg *)io)->is_paused = false;
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
    .pause = mmsg_pause,
    .resume = mmsg_resume,
};
