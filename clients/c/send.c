/* Signing and sending, one datagram or several by one system call; and the HELLO.
 *
 * Several: one buffer that the kernel cuts (UDP_SEGMENT), so all but the last must be of one size.
 * Where the kernel or the path refuses that, each goes by itself and nobody is told. One thread at
 * a time. */
#include "internal.h"

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sodium.h>
#include <string.h>
#include <sys/uio.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define HELLO_NONCE_BYTES 16u

bool mete_send_can_segment(int fd)
{
    int none = 0; /* a kernel without it would send a control message's datagrams as one */
    return setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof(none)) == 0;
}

/* Sends one datagram. A refusal that the socket reports here is about an earlier datagram: what is
 * in flight is given up, and this one gets its own try. A full socket is waited for until
 * wait_until_ns. Results: 0 or the errno. */
static int send_bytes(struct mete_client *client, const uint8_t *bytes, size_t len,
                      int64_t wait_until_ns)
{
    bool refused = false;
    for (;;) {
        if (send(client->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len) {
            client->stats.sends++;
            return 0;
        }
        int error = errno;
        if (error == EINTR)
            continue;
        if (error == ECONNREFUSED && !refused) {
            refused = true;
            mete_flight_fail_all(client, error);
            continue;
        }
        int64_t left_ns = wait_until_ns - mete_now_ns();
        if (error != EAGAIN || left_ns <= 0)
            return error;
        struct pollfd writable = {.fd = client->fd, .events = POLLOUT};
        struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
        ppoll(&writable, 1, &left, NULL);
    }
}

/* Fills what every datagram has: who, which, when. */
static void stamp(struct mete_client *client, struct mete_header *header, int64_t now_ns)
{
    header->tenant = client->tenant;
    header->client = client->client_id;
    header->sequence = client->sequence++;
    header->secret = client->secret;
    header->boot = client->boot;
    header->clock_ms = 0;
    if (client->clock_known) {
        int64_t elapsed_ms = (now_ns - client->clock_at_ns) / 1000000;
        header->clock_ms = client->clock_ms + (uint32_t)elapsed_ms;
        header->clock_ms += header->clock_ms == 0; /* 0 would say: unknown */
    }
}

void mete_send_hello(struct mete_client *client, int64_t now_ns)
{
    struct hello *hello = &client->hello;
    if (hello->in_flight && now_ns < hello->deadline_ns)
        return;
    hello->failed |= hello->in_flight;
    uint8_t bytes[METE_WIRE_HELLO_BYTES] = {0};
    struct mete_header header = {.type = METE_HELLO, .n = 1, .entry_bytes = 32};
    stamp(client, &header, now_ns);
    mete_wire_encode_header(bytes, &header);
    randombytes_buf(bytes + METE_WIRE_HEADER_BYTES, HELLO_NONCE_BYTES);
    hello->sequence = header.sequence;
    hello->tag = mete_wire_sign_request(bytes, sizeof(bytes), client->mac);
    hello->deadline_ns = now_ns + client->timeout_ns;
    hello->in_flight = false; /* a refusal reported now is not about this one */
    hello->error = send_bytes(client, bytes, sizeof(bytes), 0);
    hello->in_flight = hello->error == 0;
    hello->failed |= !hello->in_flight;
    client->stats.sent_datagrams += hello->in_flight;
}

/* Who nobody waits for, or what could not be sent. */
static void drop(struct mete_client *client, struct batch *batch, enum mete_source source,
                 int error)
{
    for (unsigned i = 0; i < batch->header.n; i++)
        mete_check_give_up(client, batch->checks[i], source, METE_STATUS_OK, error);
    batch->header.n = 0;
}

static void count_sent(struct mete_client *client, struct batch *batch)
{
    mete_flight_begin(client, batch, batch->tag);
    client->stats.sent_datagrams++;
    client->stats.sent_checks += batch->header.n;
    batch->header.n = 0;
}

/* How many of the next batches one send can carry: all of one size, the last may be smaller. */
static unsigned segments(const struct mete_client *client, struct batch *const *batches,
                         unsigned count)
{
    unsigned n = 1;
    if (!client->join_ns || !client->can_segment)
        return n;
    while (n < count && batches[n]->len == batches[0]->len)
        n++;
    return n < count && batches[n]->len < batches[0]->len ? n + 1 : n;
}

/* Returns false if nothing was sent: each may then be tried by itself. */
static bool send_segments(struct mete_client *client, struct batch *const *batches, unsigned count)
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
    while (sendmsg(client->fd, &message, MSG_NOSIGNAL) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == ECONNREFUSED) /* about an earlier one, as in send_bytes() */
            mete_flight_fail_all(client, errno);
        else if (errno != EAGAIN && errno != ENOBUFS)
            client->can_segment = false;
        return false;
    }
    client->stats.sends++;
    return true;
}

int mete_send(struct mete_client *client, struct batch *const *batches, unsigned count)
{
    struct batch *signed_ones[READY_MAX + BATCH_COUNT];
    unsigned signed_count = 0;
    int sent = 0;
    int64_t now_ns = mete_now_ns();
    for (unsigned i = 0; i < count; i++) {
        struct batch *batch = batches[i];
        if (batch->deadline_ns <= now_ns) {
            drop(client, batch, METE_SOURCE_TIMEOUT, 0);
            continue;
        }
        stamp(client, &batch->header, now_ns);
        batch->len = mete_wire_request_bytes(batch->header.n, batch->header.entry_bytes);
        mete_wire_encode_header(batch->bytes, &batch->header);
        batch->tag = mete_wire_sign_request(batch->bytes, batch->len, client->mac);
        signed_ones[signed_count++] = batch;
    }
    for (unsigned i = 0, n; i < signed_count; i += n) {
        n = segments(client, signed_ones + i, signed_count - i);
        bool joined = n > 1 && send_segments(client, signed_ones + i, n);
        for (unsigned j = i; j < i + n; j++) {
            struct batch *batch = signed_ones[j];
            int error = joined ? 0
                               : send_bytes(client, batch->bytes, batch->len,
                                            batch->blocking ? batch->deadline_ns : 0);
            sent += error == 0;
            if (error)
                drop(client, batch, METE_SOURCE_SEND, error);
            else
                count_sent(client, batch);
        }
    }
    if (sent && client->hello.wanted)
        mete_send_hello(client, now_ns);
    return sent;
}
