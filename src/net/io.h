/* Datagrams in and answers out: the one interface between a worker and the kernel.
 *
 * Three backends behind it, io_uring (net/io_uring.c), recvmmsg/sendmmsg (net/mmsg.c) and AF_XDP
 * (net/af_xdp.c), chosen at start; the indirect call is paid once per batch. The worker sees views
 * of payloads, never sockets.
 *
 * A message is one buffer as the kernel delivered it: one datagram, or (UDP_GRO) several of one
 * size from one peer, back to back. Answers are written over the requests, from the front: an
 * answer is never longer than its request, so answer i never reaches request i + 1. A run of
 * answers of one size is one io_reply(); the runs of one peer become one UDP_SEGMENT send.
 *
 * Threads: an io belongs to one thread from io_open() to io_close(). */
#ifndef METE_NET_IO_H
#define METE_NET_IO_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct io;
struct xdp;

#define IO_BATCH 64u                /* most messages of one io_receive() */
#define IO_MAX_SEGMENTS 64u         /* datagrams the kernel joins into one message */
#define IO_BUFFER_BYTES (64u << 10) /* what a joined message may fill */

struct io_message {
    uint8_t *data;
    uint32_t len;
    uint32_t segment; /* size of each datagram but perhaps the last; len if there is only one */
    bool truncated;   /* longer than the buffer: the rest is lost, do not judge it */
    const struct sockaddr *peer; /* who asked, of family AF_UNSPEC if nobody can be answered (an
                                    unbound UNIX socket); valid until io_send() */
    /* the backend's own */
    uint32_t socket;
    uint32_t buffer;
    void *peer_header;
};

enum io_backend { IO_BACKEND_IO_URING, IO_BACKEND_MMSG, IO_BACKEND_AF_XDP };

struct io_options {
    const int *sockets; /* bound, non-blocking; UDP or UNIX datagrams; stay the caller's */
    unsigned socket_count;
    unsigned buffers; /* of IO_BUFFER_BYTES each; a power of two */
    bool is_paused;   /* to begin with: nothing is taken from the sockets before io_resume() */
    /* AF_XDP: every worker_count-th queue of the interface from the worker-th on; stays the
     * caller's */
    struct xdp *xdp;
    unsigned worker, worker_count;
};

struct io_counters {
    uint64_t send_errors; /* answers the kernel refused (their peers see a lost datagram) */
    uint64_t send_plain;  /* joined sends that had to be sent one by one */
    uint64_t receive_errors;
    uint64_t carried;       /* answers that left in the frames of questions (net/xdp_carry.h) */
    uint64_t receive_drops; /* datagrams that the kernel had no room for, off the sockets */
};

struct io_operations {
    const char *name;
    int (*open)(const struct io_options *options, struct io **ret_io);
    int (*receive)(struct io *io, uint64_t wait_ns, struct io_message **ret_messages);
    void (*reply)(struct io *io, const struct io_message *message, uint32_t offset, uint32_t len,
                  uint32_t segment);
    void (*send)(struct io *io);
    void (*close)(struct io *io);
    struct io_counters (*counters)(const struct io *io);
    int (*pause)(struct io *io);
    void (*resume)(struct io *io);
};

/* What a backend gives as the peer that has no address. */
extern const struct sockaddr io_nobody;

/* Whether a socket is of the family AF_UNIX. Such ones get no control messages: there is nothing in
 * them for us, and descriptors that a peer passes would be ours to close. */
bool io_is_unix(int socket);

struct io { /* first member of each backend's own */
    const struct io_operations *operations;
    bool has_more; /* the last receive took all that it had room for: more may be waiting */
};

/* Results: 0; -ENOSYS, -EPERM or -EINVAL when the kernel has no such backend (io_uring forbidden or
 * too old); -ENOMEM; other negative errno. */
int io_open(enum io_backend backend, const struct io_options *options, struct io **ret_io);

/* Waits at most wait_ns for the first message (0: does not wait), then takes what is there, at most
 * IO_BATCH. Returns their number and *ret_messages (valid until io_send()), 0 on time-out or a
 * signal, or a negative errno that will not go away by itself. Every receive that returned messages
 * must be followed by an io_send(). */
static inline int io_receive(struct io *io, uint64_t wait_ns, struct io_message **ret_messages)
{
    return io->operations->receive(io, wait_ns, ret_messages);
}

/* As io_receive(), but looks for spin_ns before it sleeps: a wake-up costs more than most answers,
 * and a core that has nothing else to do can spare it. */
int io_receive_spinning(struct io *io, uint64_t spin_ns, uint64_t wait_ns,
                        struct io_message **ret_messages);

/* Queues len bytes at message->data + offset as the answer to the message's peer, from the address
 * that was asked: one datagram if segment >= len, else datagrams of segment bytes (the last may be
 * shorter). The bytes must stay until io_send(). */
static inline void io_reply(struct io *io, const struct io_message *message, uint32_t offset,
                            uint32_t len, uint32_t segment)
{
    io->operations->reply(io, message, offset, len, segment);
}

/* Sends what was queued and gives the buffers of the last receive back. An answer that the socket
 * cannot take now is dropped and counted: waiting would hold up everyone else. */
static inline void io_send(struct io *io)
{
    io->operations->send(io);
}

/* From here on nothing is taken from the sockets, which somebody else may read: what arrives waits
 * in them. What was taken before is still to come: io_receive() does not wait any more, and returns
 * 0 when there is none left. Results: 0; -EOPNOTSUPP (this backend, or this kernel, cannot), and
 * nothing has changed; both end at io_resume(). */
static inline int io_pause(struct io *io)
{
    return io->operations->pause ? io->operations->pause(io) : -EOPNOTSUPP;
}

static inline void io_resume(struct io *io)
{
    io->operations->resume(io);
}

static inline void io_close(struct io *io)
{
    io->operations->close(io);
}

extern const struct io_operations io_uring_operations;
extern const struct io_operations mmsg_operations;
extern const struct io_operations af_xdp_operations;

#endif
