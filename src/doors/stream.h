/* A connected socket that does not block, plain or under TLS, for the doors' loops. What epoll is
 * to wait for is stream_events(). One thread. */
#ifndef METE_DOORS_STREAM_H
#define METE_DOORS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tls;
struct tls_context;

struct stream {
    int fd;          /* -1: none */
    struct tls *tls; /* NULL: plain */
};

/* fd becomes the stream's. context NULL: plain; alpn as tls_open() takes it. Results: 0, or -ENOMEM
 * and fd is the caller's. */
int stream_open(struct stream *stream, int fd, struct tls_context *context, const char *alpn);

/* As recv(2) and send(2): bytes, 0 for the end, -EAGAIN, or another negative errno after which only
 * stream_close() may follow; -EOPNOTSUPP: plain HTTP where TLS should be. */
ssize_t stream_read(struct stream *stream, void *ret_bytes, size_t size);
ssize_t stream_write(struct stream *stream, const void *bytes, size_t len);

/* EPOLLIN or EPOLLOUT: what the stream needs to go on, the wish being to write or else to read. */
uint32_t stream_events(const struct stream *stream, bool wishes_to_write);

/* Is there something to read that epoll will not tell of? */
bool stream_has_pending(const struct stream *stream);

/* May requests come? Under TLS: is the handshake done? */
bool stream_is_ready(const struct stream *stream);

/* Nothing more will be written; what is read from now on is thrown away by stream_drain(): true as
 * long as the peer has not ended it. */
void stream_finish(struct stream *stream);
bool stream_drain(struct stream *stream, void *room, size_t size);

void stream_close(struct stream *stream);

#endif
