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
 * While the rings are busy the sockets are looked at every XDP_TURNS batches only, because that is
 * a system call; when the rings are empty both are waited for. In copy mode sending is one too, for
 * a batch (32 frames before Linux 6.17): that is the backend's cost. */
#include <errno.h>
#include <linux/if_xdp.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "net/frame.h"
#include "net/io.h"
#include "net/xdp_parts.h"

#define XDP_TURNS 16u
#define XDP_KICKS 8u          /* most system calls to send one batch */
#define XDP_SOCKET (1u << 16) /* io_message.socket: this, and the queue's place among ours */
#define MAX_SOCKETS 16u
#define XDP_CARRY_LEAST 16u /* answers of a batch; fewer go by themselves */

_Static_assert(XDP_DATA_OFFSET + FRAME_MAX_HEADERS + 1232 <= XDP_FRAME_BYTES, "a datagram fits");

struct arrival {
    struct frame frame;
    uint64_t address; /* of the frame's first byte */
    bool is_sent;
    bool is_carried;    /* it came in exchange for an answer: */
    uint32_t word;      /* in this frame of net/xdp_carry.h */
    struct msghdr path; /* name: the peer; control: the headers it came under */
};

struct af_xdp {
    struct io io;
    struct io_counters counters;
    struct io *sockets;
    bool has_socket_batch;
    bool is_paused;
    unsigned turns; /* batches of the rings since the sockets were looked at */
    unsigned queue_count;
    unsigned next_queue;
    bool is_ring_first; /* in turn: neither keeps the other waiting */
    struct xdp_queue *queues[XDP_MAX_QUEUES];
    unsigned poll_count; /* queues, then sockets */
    struct pollfd polls[XDP_MAX_QUEUES + MAX_SOCKETS];
    unsigned arrival_count;
    struct xdp_queue *arrival_queue;
    struct arrival arrivals[IO_BATCH];
    struct io_message messages[IO_BATCH];
};

/* ---- frames ---- */

static void free_frame(struct xdp_queue *queue, uint64_t address)
{
    queue->free[queue->free_count++] = (uint32_t)address & ~(XDP_FRAME_BYTES - 1);
}

static void collect_done(struct xdp_queue *queue)
{
    uint32_t at = 0;
    uint32_t count = xsk_ring_cons__peek(&queue->done, queue->ring, &at);
    for (uint32_t i = 0; i < count; i++)
        free_frame(queue, *xsk_ring_cons__comp_addr(&queue->done, at + i));
    if (count)
        xsk_ring_cons__release(&queue->done, count);
}

/* The latest freed go first: they are in the cache. */
static void refill(struct xdp_queue *queue)
{
    uint32_t at = 0;
    uint32_t count = xsk_prod_nb_free(&queue->fill, queue->ring);
    count = count < queue->free_count ? count : queue->free_count;
    if (!count || !xsk_ring_prod__reserve(&queue->fill, count, &at))
        return;
    for (uint32_t i = 0; i < count; i++)
        *xsk_ring_prod__fill_addr(&queue->fill, at + i) = queue->free[--queue->free_count];
    xsk_ring_prod__submit(&queue->fill, count);
}

static bool transmit(struct xdp_queue *queue, uint64_t address, uint32_t len)
{
    uint32_t at = 0;
    if (!xsk_ring_prod__reserve(&queue->transmit, 1, &at))
        return false;
    *xsk_ring_prod__tx_desc(&queue->transmit, at) = (struct xdp_desc){.addr = address, .len = len};
    queue->unsent++;
    return true;
}

/* ---- receiving ---- */

/* Returns where it is written down, if it is a datagram, else NULL. */
static struct arrival *take_bytes(struct af_xdp *xdp, unsigned queue_index, uint8_t *bytes,
                                  uint32_t len)
{
    const unsigned place = xdp->arrival_count;
    struct arrival *arrival = &xdp->arrivals[place];
    if (frame_decode(bytes, len, &arrival->frame) != FRAME_OK) {
        xdp->counters.receive_errors++;
        return NULL;
    }
    const struct frame *frame = &arrival->frame;
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
            free_frame(queue, descriptor->addr);
    }
    if (count)
        xsk_ring_cons__release(&queue->receive, count);
}

/* An answer that no question's frame took goes by itself. False: there is no room for it now. */
static bool send_unsent(struct xdp_queue *queue, uint32_t word)
{
    const uint32_t len = xdp_carry_len(word);
    if (!queue->free_count)
        return false;
    const uint64_t address = queue->free[queue->free_count - 1] + XDP_DATA_OFFSET;
    memcpy(queue->frames + address, xdp_carry_frame(&queue->carry, word), len);
    if (!transmit(queue, address, len))
        return false;
    queue->free_count--;
    return true;
}

/* What came in exchange for answers. */
static void take_carried(struct af_xdp *xdp, unsigned queue_index)
{
    struct xdp_queue *queue = xdp->queues[queue_index];
    struct xdp_carry *carry = &queue->carry;
    uint32_t word;
    while (xdp->arrival_count < IO_BATCH && (word = xdp_carry_peek(carry))) {
        if (word & XDP_CARRY_UNSENT) {
            if (!send_unsent(queue, word))
                return;
            xdp_carry_take(carry);
            xdp_carry_free(carry, word);
            continue;
        }
        xdp_carry_take(carry);
        struct arrival *arrival =
            take_bytes(xdp, queue_index, xdp_carry_frame(carry, word), xdp_carry_len(word));
        carry->carried++;
        if (arrival) {
            arrival->is_carried = true;
            arrival->word = word;
        } else {
            xdp_carry_free(carry, word);
        }
    }
}

static int receive_frames(struct af_xdp *xdp)
{
    for (unsigned tried = 0; tried < xdp->queue_count; tried++) {
        const unsigned index = xdp->next_queue;
        struct xdp_queue *queue = xdp->queues[index];
        xdp->next_queue = index + 1 < xdp->queue_count ? index + 1 : 0;
        if (queue->carries && xdp->is_ring_first)
            take_received(xdp, index);
        if (queue->carries)
            take_carried(xdp, index);
        xdp->is_ring_first = !xdp->is_ring_first;
        take_received(xdp, index);
        xdp->arrival_queue = queue;
        if (xdp->arrival_count)
            return (int)xdp->arrival_count;
        refill(queue);
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
    return receive_frames(xdp);
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
    return receive_frames(xdp);
}

/* In copy mode the call sends; else it wakes the driver, if it asked for that. What the device
 * cannot take now stays in the ring for the next batch, or for the next poll(), which sends too. */
static void kick(struct af_xdp *xdp, struct xdp_queue *queue)
{
    for (unsigned i = 0; i < XDP_KICKS; i++) {
        if (!xsk_ring_prod__needs_wakeup(&queue->transmit))
            return;
        if (sendto(queue->fd, NULL, 0, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0) >= 0)
            return;
        if (errno != EAGAIN && errno != EINTR) {
            xdp->counters.send_errors += errno != EBUSY && errno != ENOBUFS;
            return;
        }
    }
}

static void send_queue(struct af_xdp *xdp, struct xdp_queue *queue)
{
    if (queue->unsent) {
        xsk_ring_prod__submit(&queue->transmit, queue->unsent);
        queue->unsent = 0;
        kick(xdp, queue);
    }
    collect_done(queue);
    refill(queue);
}

/* Whether answers wait for questions, or questions for us, or the program is at it. */
static bool is_carrying(const struct af_xdp *xdp)
{
    for (unsigned i = 0; i < xdp->queue_count; i++)
        if (xdp->queues[i]->carries && !xdp_carry_is_empty(&xdp->queues[i]->carry))
            return true;
    return false;
}

static uint32_t count_waiting(const struct af_xdp *xdp)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < xdp->queue_count; i++)
        if (xdp->queues[i]->carries)
            count += xdp_carry_waiting(&xdp->queues[i]->carry);
    return count;
}

/* Nothing is there to do but answers that wait. */
static int finish_carrying(struct af_xdp *xdp)
{
    int count = 0;
    if (count_waiting(xdp) >= XDP_CARRY_LEAST) {
        sched_yield();
        count = receive_frames(xdp);
    }
    if (count)
        return count;
    for (unsigned i = 0; i < xdp->queue_count; i++)
        if (xdp->queues[i]->carries)
            xdp_carry_take_back(&xdp->queues[i]->carry);
    count = receive_frames(xdp);
    for (unsigned i = 0; i < xdp->queue_count && !count; i++)
        send_queue(xdp, xdp->queues[i]);
    return count;
}

static int af_xdp_receive(struct io *io, uint64_t wait_ns, struct io_message **ret_messages)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    if (xdp->is_paused)
        return 0;
    int count = receive_now(xdp, ret_messages);
    if (count == 0 && is_carrying(xdp))
        count = finish_carrying(xdp);
    if (count == 0)
        count = wait_ns && !is_carrying(xdp) ? wait_for_any(xdp, wait_ns, ret_messages)
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
    if (!transmit(queue, address, frame_answer(bytes, headers, len)))
        return false;
    queue->free_count--;
    return true;
}

static bool answer_in_place(struct af_xdp *xdp, struct xdp_queue *queue, struct arrival *arrival,
                            uint32_t payload_len)
{
    uint8_t *bytes = arrival->path.msg_control;
    const uint32_t len = frame_answer(bytes, arrival->frame.headers, payload_len);
    uint32_t word;
    if (arrival->is_carried) {
        xdp_carry_offer(&queue->carry, arrival->word, len);
        arrival->is_sent = true;
    } else if (queue->carries && xdp->arrival_count >= XDP_CARRY_LEAST &&
               len <= XDP_CARRY_FRAME_BYTES && xdp_carry_get(&queue->carry, &word)) {
        memcpy(xdp_carry_frame(&queue->carry, word), bytes, len);
        xdp_carry_offer(&queue->carry, word, len);
        return true; /* the frame is free after the batch */
    } else {
        arrival->is_sent = transmit(queue, arrival->address, len);
    }
    return arrival->is_sent;
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

/* Without an answer, or with one that went in another frame. */
static void free_arrival(struct xdp_queue *queue, const struct arrival *arrival)
{
    if (arrival->is_carried)
        xdp_carry_free(&queue->carry, arrival->word);
    else
        free_frame(queue, arrival->address);
}

static void leave_queues(struct af_xdp *xdp)
{
    for (unsigned i = 0; i < xdp->queue_count; i++)
        xdp_queue_leave(xdp->queues[i]);
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
        send_queue(xdp, xdp->queues[i]);
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
        kick(xdp, xdp->queues[i]); /* what the one before could not send at once */
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
        xdp->queues[xdp->queue_count++] = queue;
    }
    if (options->socket_count > MAX_SOCKETS)
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

/* The queues are who opened them's to close. */
static void af_xdp_close(struct io *io)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    io_close(xdp->sockets);
    free(xdp);
}

static struct io_counters af_xdp_counters(const struct io *io)
{
    const struct af_xdp *xdp = (const struct af_xdp *)io;
    struct io_counters counters = xdp->sockets->operations->counters(xdp->sockets);
    counters.send_errors += xdp->counters.send_errors;
    counters.receive_errors += xdp->counters.receive_errors;
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
