/* The AF_XDP backend: datagrams that an XDP program takes off an interface (net/xdp.h), and beside
 * them the ordinary sockets, by net/mmsg.c: what the program leaves to the kernel (other
 * interfaces, fragments, options, queues that nobody reads, the UNIX socket) comes there and is
 * answered from there.
 *
 * A datagram is judged where the kernel put it and answered in the same frame: headers turned
 * around, lengths and checksums mended (net/frame.h). A frame goes round: free ring, receive ring,
 * here, transmit ring, done ring, free ring; nothing is copied here. An answer whose question's
 * frame has gone meanwhile (net/udp_park.h) is copied into a free frame.
 *
 * With `af_xdp.carry` most answers leave by another way, in the frames of the next questions
 * (net/xdp_carry.h): net/af_xdp_rest.c.
 *
 * While the rings are busy the sockets are looked at every XDP_TURNS batches only, because that is
 * a system call; when the rings are empty both are waited for. In copy mode sending is one too, for
 * a batch (32 frames before Linux 6.17): that is the backend's cost. */
#include <errno.h>
#include <linux/if_xdp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "net/af_xdp.h"

#define XDP_TURNS 16u
#define XDP_SOCKET (1u << 16) /* io_message.socket: this, and the queue's place among ours */
#define CARRY_SHARE 8u        /* see net/af_xdp_rest.c */

_Static_assert(XDP_DATA_OFFSET + FRAME_MAX_HEADERS + 1232 <= XDP_FRAME_BYTES, "a datagram fits");
_Static_assert(XDP_CARRY_LEAST_BYTES <= FRAME_ETHERNET_BYTES + FRAME_IPV4_BYTES + FRAME_UDP_BYTES,
               "every question may be carried");

/* ---- receiving ---- */

/* Returns where it is written down, if it is a datagram, else NULL. */
static struct arrival *take_bytes(struct af_xdp *xdp, unsigned queue_index, uint8_t *bytes,
                                  uint32_t len)
{
    const unsigned place = xdp->arrival_count;
    struct arrival *arrival = &xdp->arrivals[place];
    const struct frame *frame = &arrival->frame;
    if (frame_decode(bytes, len, &arrival->frame) != FRAME_OK) {
        xdp->counters.receive_errors++;
        return NULL;
    }
    arrival->bytes = bytes;
    arrival->is_sent = arrival->is_carried = false;
    arrival->path = (struct msghdr){
        .msg_name = &arrival->frame.peer,
        .msg_namelen =
            frame->peer.any.sa_family == AF_INET ? sizeof(frame->peer.v4) : sizeof(frame->peer.v6),
        .msg_control = bytes,
        .msg_controllen = frame->headers,
    };
    xdp->messages[place] = (struct io_message){
        .data = bytes + frame->headers,
        .len = frame->len,
        .segment = frame->len,
        .peer = &frame->peer.any,
        .socket = XDP_SOCKET | queue_index,
        .buffer = place + 1,
        .peer_header = &arrival->path,
    };
    xdp->arrival_count++;
    return arrival;
}

/* From the receive ring. */
static void take_received(struct af_xdp *xdp, unsigned queue_index)
{
    struct xdp_queue *queue = xdp->queues[queue_index];
    uint32_t at;
    uint32_t count = xsk_ring_cons__peek(&queue->receive, IO_BATCH - xdp->arrival_count, &at);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *bytes =
            queue->frames + xsk_ring_cons__rx_desc(&queue->receive, at + i)->addr;
        __builtin_prefetch(bytes);
        __builtin_prefetch(bytes + 64);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct xdp_desc *descriptor = xsk_ring_cons__rx_desc(&queue->receive, at + i);
        struct arrival *arrival =
            take_bytes(xdp, queue_index, queue->frames + descriptor->addr, descriptor->len);
        if (arrival)
            arrival->address = descriptor->addr;
        else
            xdp_queue_free(queue, descriptor->addr);
    }
    if (count)
        xsk_ring_cons__release(&queue->receive, count);
}

void af_xdp_take_carried(struct af_xdp *xdp, unsigned queue_index)
{
    struct xdp_queue *queue = xdp->queues[queue_index];
    struct xdp_carry *carry = &queue->carry;
    uint32_t word;
    while (xdp->arrival_count < IO_BATCH && (word = xdp_carry_peek(carry))) {
        uint8_t *bytes = xdp_carry_frame(carry, word);
        const uint32_t len = xdp_carry_len(word);
        if (word & XDP_CARRY_UNSENT && !xdp_queue_transmit_copy(queue, bytes, len))
            return;
        xdp_carry_take(carry);
        xdp->counters.carried += word & XDP_CARRY_CAME ? 1 : 0;
        struct arrival *arrival =
            word & XDP_CARRY_CAME ? take_bytes(xdp, queue_index, bytes, len) : NULL;
        if (!arrival) {
            xdp_carry_free(carry, word);
            continue;
        }
        arrival->is_carried = true;
        arrival->word = word;
    }
}

int af_xdp_receive_frames(struct af_xdp *xdp)
{
    for (unsigned tried = 0; tried < xdp->queue_count; tried++) {
        const unsigned index = xdp->next_queue;
        struct xdp_queue *queue = xdp->queues[index];
        xdp->next_queue = index + 1 < xdp->queue_count ? index + 1 : 0;
        if (queue->carries) {
            if (xdp->is_ring_first)
                take_received(xdp, index);
            xdp->is_ring_first = !xdp->is_ring_first;
            af_xdp_take_carried(xdp, index);
        }
        take_received(xdp, index);
        xdp->arrival_queue = queue;
        if (xdp->arrival_count)
            return (int)xdp->arrival_count;
        xdp_queue_refill(queue);
    }
    return 0;
}

static int receive_sockets(struct af_xdp *xdp, struct io_message **ret_messages)
{
    int count = io_receive(xdp->sockets, 0, ret_messages);
    xdp->turns = 0;
    xdp->has_socket_batch = count > 0;
    return count;
}

static int receive_now(struct af_xdp *xdp, struct io_message **ret_messages)
{
    if (xdp->turns++ >= XDP_TURNS) {
        int count = receive_sockets(xdp, ret_messages);
        if (count)
            return count;
    }
    *ret_messages = xdp->messages;
    return af_xdp_receive_frames(xdp);
}

static bool is_any_socket_ready(const struct af_xdp *xdp)
{
    for (unsigned i = xdp->queue_count; i < xdp->poll_count; i++)
        if (xdp->polls[i].revents)
            return true;
    return false;
}

/* The rings are empty. Asks for the sockets only if something is there. */
static int wait_for_any(struct af_xdp *xdp, uint64_t wait_ns, struct io_message **ret_messages)
{
    const struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                                  .tv_nsec = (long)(wait_ns % 1000000000u)};
    int ready = ppoll(xdp->polls, xdp->poll_count, &wait, NULL);
    if (ready <= 0)
        return ready == 0 || errno == EINTR ? 0 : -errno;
    if (is_any_socket_ready(xdp)) {
        int count = receive_sockets(xdp, ret_messages);
        if (count)
            return count;
    }
    *ret_messages = xdp->messages;
    return af_xdp_receive_frames(xdp);
}

static int af_xdp_receive(struct io *io, uint64_t wait_ns, struct io_message **ret_messages)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    if (xdp->is_paused) {
        *ret_messages = xdp->messages;
        return af_xdp_drain(xdp);
    }
    int count = receive_now(xdp, ret_messages);
    if (count == 0 && af_xdp_is_carrying(xdp))
        count = af_xdp_rest(xdp, wait_ns > 0);
    if (count == 0)
        count = wait_ns && !af_xdp_is_carrying(xdp) ? wait_for_any(xdp, wait_ns, ret_messages)
                                                    : receive_sockets(xdp, ret_messages);
    io->has_more = count >= (int)IO_BATCH;
    return count;
}

/* ---- answering ---- */

/* From a copy of the question and of the headers it came under. */
static bool answer_anew(struct xdp_queue *queue, const struct msghdr *path, const uint8_t *payload,
                        uint32_t len)
{
    const uint32_t headers = (uint32_t)path->msg_controllen;
    if (!queue->free_count)
        return false;
    const uint64_t address = queue->free[queue->free_count - 1] + XDP_DATA_OFFSET;
    uint8_t *bytes = queue->frames + address;
    memcpy(bytes, path->msg_control, headers);
    memcpy(bytes + headers, payload, len);
    if (!xdp_queue_transmit(queue, address, frame_answer(bytes, headers, len)))
        return false;
    queue->free_count--;
    return true;
}

static bool answer_carried(const struct af_xdp *xdp, struct xdp_queue *queue,
                           struct arrival *arrival, uint32_t len)
{
    if (xdp->is_paused)
        return xdp_queue_transmit_copy(queue, arrival->bytes, len);
    xdp_carry_offer(&queue->carry, arrival->word, len);
    return arrival->is_sent = true;
}

/* Whether the answer to a question out of the receive ring is to wait, and has room to. */
static bool offer(struct af_xdp *xdp, struct xdp_queue *queue, const uint8_t *bytes, uint32_t len)
{
    uint32_t word;
    if (!queue->carries || xdp->arrival_count < AF_XDP_CARRY_LEAST || len > XDP_CARRY_FRAME_BYTES ||
        xdp->is_paused || xdp->carry.surplus++ % CARRY_SHARE ||
        !xdp_carry_get(&queue->carry, &word))
        return false;
    memcpy(xdp_carry_frame(&queue->carry, word), bytes, len);
    xdp_carry_offer(&queue->carry, word, len);
    return true;
}

static bool answer_in_place(struct af_xdp *xdp, struct xdp_queue *queue, struct arrival *arrival,
                            uint32_t payload_len)
{
    const uint32_t len = frame_answer(arrival->bytes, arrival->frame.headers, payload_len);
    if (arrival->is_carried)
        return answer_carried(xdp, queue, arrival, len);
    if (offer(xdp, queue, arrival->bytes, len))
        return true; /* the frame is free after the batch */
    return arrival->is_sent = xdp_queue_transmit(queue, arrival->address, len);
}

/* A frame is one datagram, so its answer is one: segments do not come here. */
static void af_xdp_reply(struct io *io, const struct io_message *message, uint32_t offset,
                         uint32_t len, uint32_t segment)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    if (!(message->socket & XDP_SOCKET)) {
        xdp->has_socket_batch = true;
        io_reply(xdp->sockets, message, offset, len, segment);
        return;
    }
    struct xdp_queue *queue = xdp->queues[message->socket & ~XDP_SOCKET];
    bool is_done;
    if (message->buffer) {
        is_done = answer_in_place(xdp, queue, &xdp->arrivals[message->buffer - 1], len);
    } else {
        is_done = answer_anew(queue, message->peer_header, message->data + offset, len);
    }
    xdp->counters.send_errors += !is_done;
}

static void leave_queues(struct af_xdp *xdp)
{
    for (unsigned i = 0; i < xdp->queue_count; i++)
        xdp_queue_leave(xdp->queues[i]);
}

/* Without an answer, or with one that went in another frame. */
static void free_arrival(struct xdp_queue *queue, const struct arrival *arrival)
{
    if (arrival->is_carried)
        xdp_carry_free(&queue->carry, arrival->word);
    else
        xdp_queue_free(queue, arrival->address);
}

static void af_xdp_send(struct io *io)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    for (unsigned i = 0; i < xdp->arrival_count; i++)
        if (!xdp->arrivals[i].is_sent)
            free_arrival(xdp->arrival_queue, &xdp->arrivals[i]);
    xdp->arrival_count = 0;
    for (unsigned i = 0; i < xdp->queue_count; i++) {
        if (xdp->queues[i]->carries)
            xdp_carry_publish(&xdp->queues[i]->carry);
        xdp_queue_send(xdp->queues[i], &xdp->counters);
    }
    if (xdp->has_socket_batch)
        io_send(xdp->sockets);
    xdp->has_socket_batch = false;
    if (xdp->is_paused)
        leave_queues(xdp);
}

/* Between two receives no frame is in hand: each is in a ring, or nobody has it. */
static int af_xdp_pause(struct io *io)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    int result = io_pause(xdp->sockets);
    if (result)
        return result;
    xdp->is_paused = true;
    leave_queues(xdp);
    return 0;
}

static void af_xdp_resume(struct io *io)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    for (unsigned i = 0; i < xdp->queue_count; i++) {
        xdp_queue_take_up(xdp->queues[i]);
        xdp_queue_kick(xdp->queues[i],
                       &xdp->counters); /* what the one before could not send at once */
    }
    xdp->is_paused = false;
    io_resume(xdp->sockets);
}

/* ---- open and close ---- */

/* The queues of all workers are dealt out in turn. */
static int take_queues(struct af_xdp *xdp, const struct io_options *options)
{
    struct xdp *interface = options->xdp;
    for (unsigned i = options->worker; i < interface->facts.queues; i += options->worker_count) {
        struct xdp_queue *queue = &interface->queues[i];
        xdp->polls[xdp->poll_count++] = (struct pollfd){.fd = queue->fd, .events = POLLIN};
        if (queue->carries)
            prctl(PR_SET_TIMERSLACK, 1ul); /* or a short sleep is twice as long */
        xdp->queues[xdp->queue_count++] = queue;
    }
    if (options->socket_count > AF_XDP_MAX_SOCKETS)
        return -EINVAL;
    for (unsigned i = 0; i < options->socket_count; i++)
        xdp->polls[xdp->poll_count++] =
            (struct pollfd){.fd = options->sockets[i], .events = POLLIN};
    return 0;
}

static int af_xdp_open(const struct io_options *options, struct io **ret_io)
{
    if (!options->xdp || !options->worker_count)
        return -EINVAL;
    struct af_xdp *xdp = calloc(1, sizeof(*xdp));
    if (!xdp)
        return -ENOMEM;
    xdp->io.operations = &af_xdp_operations;
    xdp->is_paused = options->is_paused;
    int result = take_queues(xdp, options);
    if (!result)
        result = io_open(IO_BACKEND_MMSG, options, &xdp->sockets);
    if (result) {
        free(xdp);
        return result;
    }
    *ret_io = &xdp->io;
    return 0;
}

/* The queues are who opened them's to close. No answer stays behind in them. */
static void af_xdp_close(struct io *io)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    while (!xdp->is_paused && af_xdp_drain(xdp))
        xdp->arrival_count = 0; /* came after the end */
    for (unsigned i = 0; i < xdp->queue_count && !xdp->is_paused; i++)
        xdp_queue_send(xdp->queues[i], &xdp->counters);
    io_close(xdp->sockets);
    free(xdp);
}

static struct io_counters af_xdp_counters(const struct io *io)
{
    const struct af_xdp *xdp = (const struct af_xdp *)io;
    struct io_counters counters = xdp->sockets->operations->counters(xdp->sockets);
    counters.send_errors += xdp->counters.send_errors;
    counters.receive_errors += xdp->counters.receive_errors;
    counters.carried = xdp->counters.carried;
    for (unsigned i = 0; i < xdp->queue_count; i++)
        counters.receive_drops += xdp_queue_drops(xdp->queues[i]) - xdp->queues[i]->drops_before;
    return counters;
}

const struct io_operations af_xdp_operations = {
    .name = "af_xdp",
    .open = af_xdp_open,
    .receive = af_xdp_receive,
    .reply = af_xdp_reply,
    .send = af_xdp_send,
    .close = af_xdp_close,
    .counters = af_xdp_counters,
    .pause = af_xdp_pause,
    .resume = af_xdp_resume,
};
