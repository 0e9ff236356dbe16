/* Answers that wait to be sent, joined by peer. Shared by the backends.
 *
 * A send costs ten times what an answer costs, and under load one batch holds several questions of
 * one peer, each in a message of its own. So what goes to one peer in datagrams of one size becomes
 * one send, cut into datagrams by the kernel (UDP_SEGMENT) and gathered from where the answers
 * stand; nothing is copied. Answers to one peer keep their order as long as their sizes are the
 * same; the protocol lets them overtake each other.
 *
 * Threads: one. */
#ifndef METE_NET_REPLIES_H
#define METE_NET_REPLIES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "net/control.h"
#include "net/frame.h"
#include "net/io.h"

#define REPLIES_MAX 256u

struct reply_part {
    struct iovec bytes;
    uint32_t next; /* index + 1; 0: the last */
};

struct reply {            /* one send */
    struct msghdr header; /* complete after replies_finish() */
    uint32_t socket;
    uint32_t segment;     /* bytes of each datagram, the last may be shorter */
    uint32_t len;         /* of all of them */
    uint32_t first, last; /* parts */
    uint32_t part_count;
    uint32_t source_bytes; /* of control, in front */
    bool is_joined;        /* after replies_finish(): more than one datagram */
    _Alignas(struct cmsghdr) uint8_t control[CONTROL_BYTES];
};

struct replies {
    unsigned count;
    unsigned part_count;
    struct reply items[REPLIES_MAX];
    struct reply_part parts[REPLIES_MAX];
    struct iovec bytes[REPLIES_MAX]; /* of the parts, send by send */
    uint16_t latest[64];             /* by peer: the last send to it, index + 1, or another's */
};

static inline bool replies_are_full(const struct replies *replies)
{
    return replies->part_count == REPLIES_MAX;
}

/* As io_reply(). Not when full. */
void replies_add(struct replies *replies, const struct io_message *message, uint32_t offset,
                 uint32_t len, uint32_t segment);

#define REPLY_PATH_BYTES (CONTROL_BYTES + 8u)
_Static_assert(FRAME_MAX_HEADERS <= REPLY_PATH_BYTES, "net/af_xdp.c puts them there");

/* Where an answer goes that is given when the message's buffer is somebody else's. */
struct reply_path {
    struct msghdr header; /* points into this struct */
    union {
        struct sockaddr any;
        struct sockaddr_in6 inet;
        struct sockaddr_un local;
    } name;
    /* or the headers of a frame */
    _Alignas(struct cmsghdr) uint8_t control[REPLY_PATH_BYTES];
    uint32_t socket;
};

void replies_keep_path(const struct io_message *message, struct reply_path *ret_path);

/* The message that these bytes, one datagram, would be if they came that way now. */
struct io_message replies_message(struct reply_path *path, uint8_t *bytes, uint32_t len);

/* Makes items[0..count) ready to be sent. */
void replies_finish(struct replies *replies);

/* Forgets all; what a joined send could not do was done or is given up. */
void replies_clear(struct replies *replies);

/* Sends one datagram after the other what the device cannot take joined, by plain system calls.
 * Returns the number that the kernel refused. */
unsigned replies_send_plainly(const struct reply *reply, int fd);

/* Could this failure come from joining alone? Some devices cannot take UDP_SEGMENT (EIO, EINVAL),
 * and a segment above the path's MTU cannot be cut there (EMSGSIZE, once EINVAL). */
bool replies_is_join_error(const struct reply *reply, int error);

#endif
