/* One connection of a doors' loop: bytes in, requests answered, bytes out. Only doors/loop.c
 * includes this beside connection.c; the loop's thread calls. */
#ifndef METE_DOORS_CONNECTION_H
#define METE_DOORS_CONNECTION_H

#include <semaphore.h>
#include <sys/epoll.h>

#include "doors/loop.h"
#include "doors/channel.h"

#define DRAIN_NS 500000000ull

enum { TAG_CONNECTION, TAG_LISTENER, TAG_STOP };

struct connection {
    struct channel channel; /* fd -1: free */
    uint32_t next_free;
    const struct listener *listener;
    bool is_local;
    bool is_closing;  /* as soon as what is there is written */
    bool is_draining; /* nothing more will be written */
    bool has_more;    /* the protocol has more to say than there was room for */
    uint32_t events;  /* that epoll waits for */
    uint64_t number;
    uint64_t active_ns;       /* boot time of the last byte in or out */
    uint64_t unread_since_ns; /* when the first of the answers that wait could not be written */
    uint64_t half_since_ns;   /* of the first byte of half a request; 0: none is there */
    size_t in_len;
    size_t out_len, out_sent;
    struct sockaddr_storage peer;
    _Alignas(16) uint8_t state[LOOP_STATE_BYTES];
};

struct listener {
    int fd;
    bool is_paused; /* no descriptor was left */
    bool is_short;  /* since then nobody who waited was let in without that */
    bool has_tls;
    const struct loop_protocol *protocol;
    void *context;
    struct rule_counters *rule_counters;
    struct latency *latency; /* or NULL */
};

struct loop {
    struct loop_options options;
    int epoll_fd, stop_fd;
    bool is_stopping, is_started;
    bool is_leaving;      /* nobody is let in; what stands is ended */
    uint64_t leave_by_ns; /* boot time at which what is not ended then stays as it is */
    bool is_held;         /* the main thread's: the thread is at rest, or was told to come to it */
    bool is_gone;         /* given before `go`: the loop is to end */
    sem_t at_rest, go;
    struct listener listeners[LOOP_MAX_LISTENERS];
    unsigned listener_count;
    struct connection *connections;
    uint8_t *buffers; /* input, then output, of each connection */
    size_t buffers_size;
    uint32_t first_free; /* connection_count: none */
    uint64_t accepted;
    pthread_t thread;
    struct engine engine;
    struct wall wall;
    struct instant now;
    struct sampling timed;          /* turns of connections whose latency is looked at */
    uint64_t boot_ns, next_look_ns; /* of now; when look() is due */
    uint64_t stop_ns; /* boot time until which last words may be read; 0: not stopping */
};

/* What the descriptor's events are marked with. */
static inline uint64_t connection_tag(unsigned kind, size_t index)
{
    return (uint64_t)kind << 32 | index;
}

/* An accepted socket becomes a connection, or is told that there is no room for one, and closed. */
void connection_take(struct loop *loop, const struct listener *listener, int fd,
                     const struct sockaddr_storage *peer);

/* Its descriptor is ready. */
void connection_serve(struct loop *loop, struct connection *connection);

/* Now and then: ends it if it is silent for too long or needs too long for one request; lets its
 * protocol speak unasked. */
void connection_look_at(struct loop *loop, struct connection *connection);

/* Answers what has come; then ends it, unless half a request is there or answers wait. */
void connection_leave(struct loop *loop, struct connection *connection);

/* Is half a request there, or do answers wait? */
bool connection_is_busy(const struct connection *connection);

/* The last words of its protocol, if that has any. */
void connection_say_goodbye(struct loop *loop, struct connection *connection);

void connection_drop(struct loop *loop, struct connection *connection);

#endif
