#include "doors/channel.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "doors/tls.h"

int channel_open(struct channel *channel, int fd, struct tls_context *context, const char *alpn)
{
    struct tls *tls = context ? tls_open(context, fd, alpn) : NULL;
    if (context && !tls)
        return -ENOMEM;
    *channel = (struct channel){.fd = fd, .tls = tls};
    return 0;
}

ssize_t channel_read(struct channel *channel, void *ret_bytes, size_t size)
{
    if (channel->tls)
        return tls_read(channel->tls, ret_bytes, size);
    const ssize_t got = recv(channel->fd, ret_bytes, size, 0);
    return got >= 0 ? got : errno == EINTR ? -EAGAIN : -errno;
}

ssize_t channel_write(struct channel *channel, const void *bytes, size_t len)
{
    if (channel->tls)
        return tls_write(channel->tls, bytes, len);
    ssize_t put;
    do
        put = send(channel->fd, bytes, len, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put >= 0 ? put : -errno;
}

uint32_t channel_events(const struct channel *channel, bool wishes_to_write)
{
    const bool is_shaking_hands = channel->tls && !tls_is_ready(channel->tls);
    return (is_shaking_hands ? tls_wants_write(channel->tls) : wishes_to_write) ? EPOLLOUT
                                                                                : EPOLLIN;
}

bool channel_has_pending(const struct channel *channel)
{
    return channel->tls && tls_has_pending(channel->tls);
}

bool channel_is_ready(const struct channel *channel)
{
    return !channel->tls || tls_is_ready(channel->tls);
}

void channel_finish(struct channel *channel)
{
    if (channel->tls)
        tls_finish(channel->tls);
    shutdown(channel->fd, SHUT_WR);
}

bool channel_drain(struct channel *channel, void *room, size_t size)
{
    const ssize_t got = recv(channel->fd, room, size, 0); /* below TLS: nobody looks at it */
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

void channel_close(struct channel *channel)
{
    if (channel->tls)
        tls_finish(channel->tls); /* twice is once */
    tls_close(channel->tls);
    close(channel->fd);
    *channel = (struct channel){.fd = -1};
}
