#include "doors/stream.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "doors/tls.h"

int stream_open(struct stream *stream, int fd, struct tls_context *context, const char *alpn)
{
    struct tls *tls = context ? tls_open(context, fd, alpn) : NULL;
    if (context && !tls)
        return -ENOMEM;
    *stream = (struct stream){.fd = fd, .tls = tls};
    return 0;
}

ssize_t stream_read(struct stream *stream, void *ret_bytes, size_t size)
{
    if (stream->tls)
        return tls_read(stream->tls, ret_bytes, size);
    const ssize_t got = recv(stream->fd, ret_bytes, size, 0);
    return got >= 0 ? got : errno == EINTR ? -EAGAIN : -errno;
}

ssize_t stream_write(struct stream *stream, const void *bytes, size_t len)
{
    if (stream->tls)
        return tls_write(stream->tls, bytes, len);
    ssize_t put;
    do
        put = send(stream->fd, bytes, len, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put >= 0 ? put : -errno;
}

uint32_t stream_events(const struct stream *stream, bool wishes_to_write)
{
    const bool is_shaking_hands = stream->tls && !tls_is_ready(stream->tls);
    return (is_shaking_hands ? tls_wants_write(stream->tls) : wishes_to_write) ? EPOLLOUT : EPOLLIN;
}

bool stream_has_pending(const struct stream *stream)
{
    return stream->tls && tls_has_pending(stream->tls);
}

bool stream_is_ready(const struct stream *stream)
{
    return !stream->tls || tls_is_ready(stream->tls);
}

void stream_finish(struct stream *stream)
{
    if (stream->tls)
        tls_finish(stream->tls);
    shutdown(stream->fd, SHUT_WR);
}

bool stream_drain(struct stream *stream, void *room, size_t size)
{
    const ssize_t got = recv(stream->fd, room, size, 0); /* below TLS: nobody looks at it */
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

void stream_close(struct stream *stream)
{
    if (stream->tls)
        tls_finish(stream->tls); /* twice is once */
    tls_close(stream->tls);
    close(stream->fd);
    *stream = (struct stream){.fd = -1};
}
