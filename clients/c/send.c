/* Signing and sending, one datagram or several by one system call.
 *
 * Several: one buffer that the kernel cuts (UDP_SEGMENT), so all but the last must be of one size.
 * Where the kernel or the path refuses that, each goes by itself and nobody is told. One thread at
 * a time. */
#include "internal.h"

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

bool mete_send_can_segment(int fd)
{
    int none = 0; /* a kernel without it would send a control message's datagrams as one */
    return setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof(none)) == 0;
}

/* Sends one datagram. A refusal that the socket reports here is about an earlier datagram: what is
 * in flight is given up, and this one gets its own try. A full socket is waited for until
 * wait_until_ns. Results: 0 or the errno. */
int mete_send_bytes(struct mete_client *client, struct server *server, const uint8_t *bytes,
                    size_t len, int64_t wait_until_ns)
{
    bool refused = false;
    for (;;) {
        if (send(server->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len) {
            client->stats.sends++;
            return 0;
        }
        int error = errno;
        if (error == EINTR)
            continue;
        if (error == ECONNREFUSED && !refused) {
            refused = true;
            mete_flight_fail_all(client, server, error);
            continue;
        }
        int64_t left_ns = wait_until_ns - mete_now_ns();
        if (error != EAGAIN || left_ns <= 0)
            return error;
        struct pollfd writable = {.fd = server->fd, .events = POLLOUT};
        struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
        ppoll(&writable, 1, &left, NULL);
    }
}

/* Fills what every datagram has: who, which, when. */
static void stamp(struct mete_client *client, const struct server *server,
                  struct mete_header *header, int64_t now_ns)
{
    header->tenant = client->tenant;
    header->client = client->client_id;
    header->sequence = client->sequence++;
    header->secret = client->vault ? server->secret_index : METE_WIRE_NO_SECRET;
    header->boot = server->boot;
    header->clock_ms = 0;
    if (server->clock_known) {
        int64_t elapsed_ms = (now_ns - server->clock_at_ns) / 1000000;
        header->clock_ms = server->clock_ms + (uint32_t)elapsed_ms;
        header->clock_ms += header->clock_ms == 0; /* 0 would say: unknown */
    }
}

/* What nobody waits for (error 0) or what could not be sent. */
static void drop(struct mete_client *client, struct batch *batch, int error)
{
    for (unsigned i = 0; i < batch->header.n; i++) {
        client->checks[batch->checks[i]].batched = false;
        mete_place_lost(client, batch->checks[i], true, error);
    }
    batch->header.n = 0;
}

static void count_sent(struct mete_client *client, struct server *server, struct batch *batch,
                       int64_t now_ns)
{
    mete_flight_begin(client, server, batch, now_ns);
    client->stats.sent_datagrams++;
    client->stats.sent_checks += batch->header.n;
    server->stats.sent_datagrams++;
    batch->header.n = 0;
}

/* How many of the next batches one send can carry: all of one size, the last may be smaller. */
static unsigned segments(const struct mete_client *client, const struct server *server,
                         struct batch *const *batches, unsigned count)
{
    unsigned n = 1;
    if (!client->join_ns || !server->can_segment)
        return n;
    while (n < count && batches[n]->len == batches[0]->len)
        n++;
    return n < count && batches[n]->len < batches[0]->len ? n + 1 : n;
}

/* Returns false if nothing was sent: each may then be tried by itself. */
static bool send_segments(struct mete_client *client, struct server *server,
                          struct batch *const *batches, unsigned count)
{
    struct iovec vectors[READY_MAX + BATCH_COUNT];
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control = {0};
    struct msghdr message = {.msg_iov = vectors,
                             .msg_iovlen = count,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    uint16_t size = (uint16_t)batches[0]->len;
    for (unsigned i = 0; i < count; i++)
        vectors[i] = (struct iovec){.iov_base = batches[i]->bytes, .iov_len = batches[i]->len};
    control.header.cmsg_level = IPPROTO_UDP;
    control.header.cmsg_type = UDP_SEGMENT;
    control.header.cmsg_len = CMSG_LEN(sizeof(size));
    memcpy(CMSG_DATA(&control.header), &size, sizeof(size));
    while (sendmsg(server->fd, &message, MSG_NOSIGNAL) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == ECONNREFUSED) /* about an earlier one, as in mete_send_bytes() */
            mete_flight_fail_all(client, server, errno);
        else if (errno != EAGAIN && errno != ENOBUFS)
            server->can_segment = false;
        return false;
    }
    client->stats.sends++;
    return true;
}

int mete_send(struct mete_client *client, struct server *server, struct batch *const *batches,
              unsigned count)
{
    struct batch *signed_ones[READY_MAX + BATCH_COUNT];
    unsigned signed_count = 0;
    int sent = 0;
    int64_t now_ns = mete_now_ns();
    for (unsigned i = 0; i < count; i++) {
        struct batch *batch = batches[i];
        if (batch->deadline_ns <= now_ns) {
            drop(client, batch, 0);
            continue;
        }
        stamp(client, server, &batch->header, now_ns);
        batch->len = mete_wire_request_bytes(batch->header.n, batch->header.entry_bytes);
        mete_wire_encode_header(batch->bytes, &batch->header);
        batch->tag = mete_wire_sign_request(batch->bytes, batch->len, server->mac);
        signed_ones[signed_count++] = batch;
    }
    for (unsigned i = 0, n; i < signed_count; i += n) {
        n = segments(client, server, signed_ones + i, signed_count - i);
        bool joined = n > 1 && send_segments(client, server, signed_ones + i, n);
        for (unsigned j = i; j < i + n; j++) {
            struct batch *batch = signed_ones[j];
            int error = joined ? 0
                               : mete_send_bytes(client, server, batch->bytes, batch->len,
                                                 batch->blocking ? batch->deadline_ns : 0);
            sent += error == 0;
            if (error)
                drop(client, batch, error);
            else
                count_sent(client, server, batch, now_ns);
        }
    }
    if (sent && server->hello.wanted)
        mete_hello_begin(client, server, now_ns);
    return sent;
}
