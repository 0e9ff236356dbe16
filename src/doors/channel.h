/* A connected socket that does not block, plain or under TLS, for the doors' loops. What epoll is
 * to wait for is channel_events(). One thread. */
#ifndef METE_DOORS_CHANNEL_H
#define METE_DOORS_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tls;
struct tls_context;

struct channel {
    int fd;          /* -1: none */
    struct tls *tls; /* NULL: plain */
};

/* fd becomes the channel's. context NULL: plain; alpn as tls_open() takes it. Results: 0, or
 * -ENOMEM and fd is the caller's. */
int channel_open(struct channel *channel, int fd, struct tls_context *context, const char *alpn);

/* As recv(2) and send(2): bytes, 0 for the end, -EAGAIN, or another negative errno after which only
 * channel_close() may follow; -EOPNOTSUPP: plain HTTP where TLS should be. */
ssize_t channel_read(struct channel *channel, void *ret_bytes, size_t size);
ssize_t channel_write(struct channel *channel, const void *bytes, size_t len);

/* EPOLLIN or EPOLLOUT: what the channel needs to go on, the wish being to write or else to read. */
uint32_t channel_events(const struct channel *channel, bool wishes_to_write);

/* Is there something to read that epoll will not tell of? */
bool channel_has_pending(const struct channel *channel);

/* May requests come? Under TLS: is the handshake done? */
bool channel_is_ready(const struct channel *channel);

/* Nothing more will be written; what is read from now on is thrown away by channel_drain(): true as
 * long as the peer has not ended it. */
void channel_finish(struct channel *channel);
bool channel_drain(struct channel *channel, void *room, size_t size);

void channel_close(struct channel *channel);

#endif
