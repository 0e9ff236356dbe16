#include "sys/handover.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAGIC 0x6574656du /* "mete", as its bytes lie */

struct head {
    uint32_t magic;
    uint16_t kind;
    uint16_t fd_count;
    uint32_t len;
    uint32_t zero;
};
_Static_assert(sizeof(struct head) == 16, "as sys/handover.h says");

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(HANDOVER_MAX_FDS * sizeof(int))];
};

/* 0: ready, or hung up, which the next call tells. */
static int wait_for(int fd, short events, int patience_ms)
{
    struct pollfd polled = {.fd = fd, .events = events};
    for (;;) {
        int ready = poll(&polled, 1, patience_ms);
        if (ready > 0)
            return 0;
        if (ready == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

int handover_send_bytes(int fd, const void *bytes, size_t len, int patience_ms)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t put = send(fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        int result = put < 0 ? wait_for(fd, POLLOUT, patience_ms) : 0;
        if (result)
            return result;
        at += put < 0 ? 0 : put;
        len -= put < 0 ? 0 : (size_t)put;
    }
    return 0;
}

int handover_receive_bytes(int fd, void *ret_bytes, size_t len, int patience_ms)
{
    char *at = ret_bytes;
    while (len > 0) {
        ssize_t got = recv(fd, at, len, MSG_DONTWAIT);
        if (got == 0)
            return -ECONNRESET;
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        int result = got < 0 ? wait_for(fd, POLLIN, patience_ms) : 0;
        if (result)
            return result;
        at += got < 0 ? 0 : got;
        len -= got < 0 ? 0 : (size_t)got;
    }
    return 0;
}

static int send_head(int fd, const struct handover_message *message, int patience_ms)
{
    struct head head = {
        .magic = MAGIC,
        .kind = message->kind,
        .fd_count = message->fd_count,
        .len = message->len,
    };
    union control control;
    struct iovec iov = {.iov_base = &head, .iov_len = sizeof(head)};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (message->fd_count) {
        const size_t size = message->fd_count * sizeof(int);
        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *first = CMSG_FIRSTHDR(&header);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(first), message->fds, size);
    }
    for (;;) {
        ssize_t put = sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put == (ssize_t)sizeof(head))
            return 0;
        if (put >= 0) /* no stream socket cuts 16 bytes, unless somebody else's bytes fill it */
            return -EIO;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        int result = errno == EAGAIN ? wait_for(fd, POLLOUT, patience_ms) : 0;
        if (result)
            return result;
    }
}

int handover_send(int fd, const struct handover_message *message, int patience_ms)
{
    if (message->fd_count > HANDOVER_MAX_FDS || message->len > HANDOVER_MAX_BYTES)
        return -EMSGSIZE;
    int result = send_head(fd, message, patience_ms);
    return result ? result : handover_send_bytes(fd, message->bytes, message->len, patience_ms);
}

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

/* The descriptors that came with a head; all that came, whatever the head says of them. */
static unsigned take_fds(struct msghdr *header, int *ret_fds)
{
    unsigned count = 0;
    for (struct cmsghdr *one = CMSG_FIRSTHDR(header); one; one = CMSG_NXTHDR(header, one)) {
        if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t size = one->cmsg_len - CMSG_LEN(0);
        memcpy(ret_fds + count, CMSG_DATA(one), size); /* there was no room for more */
        count += (unsigned)(size / sizeof(int));
    }
    return count;
}

static int receive_head(int fd, struct handover_room *room, struct head *ret_head, int patience_ms)
{
    union control control;
    struct iovec iov = {.iov_base = ret_head, .iov_len = sizeof(*ret_head)};
    struct msghdr header = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control),
    };
    ssize_t got;
    do {
        int result = wait_for(fd, POLLIN, patience_ms);
        if (result)
            return result;
        got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && (errno == EAGAIN || errno == EINTR));
    if (got <= 0)
        return got < 0 ? -errno : -ECONNRESET;
    room->fd_count = (uint16_t)take_fds(&header, room->fds);
    if (got == (ssize_t)sizeof(*ret_head) && ret_head->magic == MAGIC &&
        ret_head->fd_count == room->fd_count && ret_head->len <= HANDOVER_MAX_BYTES &&
        !(header.msg_flags & MSG_CTRUNC))
        return 0;
    close_all(room->fds, room->fd_count);
    memcpy(room->bytes, ret_head, (size_t)got);
    room->len = (uint32_t)got;
    return -EBADMSG;
}

int handover_receive(int fd, struct handover_room *ret_room, int patience_ms)
{
    struct head head;
    int result = receive_head(fd, ret_room, &head, patience_ms);
    if (result)
        return result;
    result = handover_receive_bytes(fd, ret_room->bytes, head.len, patience_ms);
    if (result) {
        close_all(ret_room->fds, ret_room->fd_count);
        return result;
    }
    ret_room->kind = head.kind;
    ret_room->len = head.len;
    return 0;
}
