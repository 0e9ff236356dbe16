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
 * (net/xdp_carry.h): see "answers that wait".
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "net/frame.h"
#include "net/io.h"
#include "net/xdp_queue.h"

#define XDP_TURNS 16u
#define XDP_SOCKET (1u << 16) /* io_message.socket: this, and the queue's place among ours */
#define MAX_SOCKETS 16u

#define CARRY_LEAST 16u /* answers; for fewer at once nobody waits */
#define CARRY_SHARE 8u  /* of what finds no answer waiting, one in so many adds to those that wait \
                         */
#define CARRY_WAIT_NS 100000l /* most that an answer waits while the worker sleeps */
#define CARRY_LOOKS 32u       /* the same for a worker that does not sleep: so many looks */
#define CARRY_MOST_SKIPS 64u  /* sleeps in vain are not repeated for so many times */

_Static_assert(XDP_DATA_OFFSET + FRAME_MAX_HEADERS + 1232 <= XDP_FRAME_BYTES, "a datagram fits");
_Static_assert(XDP_CARRY_LEAST_BYTES <= FRAME_ETHERNET_BYTES + FRAME_IPV4_BYTES + FRAME_UDP_BYTES,
               "every question may be carried");

struct arrival {
    struct frame frame;
    uint8_t *bytes;
    bool is_sent;       /* the frame is not ours any more */
    bool is_carried;    /* it came in exchange for an answer, */
    uint32_t word;      /* in this frame; */
    uint64_t address;   /* else in this one */
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
    bool is_ring_first; /* in turn: neither way in keeps the other waiting */
    struct {            /* answers that wait */
        unsigned surplus;
        unsigned looks, skips, next_skips;
    } carry;
    struct xdp_queue *queues[XDP_MAX_QUEUES];
    unsigned poll_count; /* queues, then sockets */
    struct pollfd polls[XDP_MAX_QUEUES + MAX_SOCKETS];
    unsigned arrival_count;
    struct xdp_queue *arrival_queue;
    struct arrival arrivals[IO_BATCH];
    struct io_message messages[IO_BATCH];
};

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

/* What came in exchange for answers. One that was not taken goes by itself, as soon as there is
 * room. */
static void take_carried(struct af_xdp *xdp, unsigned queue_index)
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

static int receive_frames(struct af_xdp *xdp)
{
    for (unsigned tried = 0; tried < xdp->queue_count; tried++) {
        const unsigned index = xdp->next_queue;
        struct xdp_queue *queue = xdp->queues[index];
        xdp->next_queue = index + 1 < xdp->queue_count ? index + 1 : 0;
        if (queue->carries) {
            if (xdp->is_ring_first)
                take_received(xdp, index);
            xdp->is_ring_first = !xdp->is_ring_first;
            take_carried(xdp, index);
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

/* ---- answers that wait ----
 *
 * Each answer gets one chance to be carried: a time in which the worker had nothing to do and
 * frames could come in. When that comes to nothing it goes by itself, and so do all after
 * XDP_CARRY_AGES batches. How many wait is to be as many as come in at one time: of those left over
 * half go by themselves, and of frames that found none waiting one in CARRY_SHARE adds its answer.
 * (If all did, and a number of frames went round between us and clients that wait for answers, all
 * of them would end up here, as answers that wait for a question that cannot come.)
 *
 * An idle server's answers never wait: fewer than CARRY_LEAST at once do not. */

/* Whether answers wait for questions, or questions for us, or the program is at it. */
static bool is_carrying(const struct af_xdp *xdp)
{
    for (unsigned i = 0; i < xdp->queue_count; i++)
        if (xdp->queues[i]->carries && !xdp_carry_is_empty(&xdp->queues[i]->carry))
            return true;
    return false;
}

static bool are_enough_waiting(const struct af_xdp *xdp)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < xdp->queue_count; i++)
        if (xdp->queues[i]->carries)
            count += xdp_carry_waiting(&xdp->queues[i]->carry);
    return count >= CARRY_LEAST;
}

/* Sends what `take_back` has taken back. Returns how many questions came meanwhile; only if there
 * are none it has been sent already. */
static int send_alone(struct af_xdp *xdp, void (*take_back)(struct xdp_carry *carry))
{
    for (unsigned i = 0; i < xdp->queue_count; i++)
        if (xdp->queues[i]->carries)
            take_back(&xdp->queues[i]->carry);
    int count = receive_frames(xdp);
    for (unsigned i = 0; i < xdp->queue_count && !count; i++)
        xdp_queue_send(xdp->queues[i], &xdp->counters);
    return count;
}

static void set_asleep(struct af_xdp *xdp, bool is_asleep)
{
    for (unsigned i = 0; i < xdp->queue_count; i++)
        if (xdp->queues[i]->carries)
            xdp_carry_set_asleep(&xdp->queues[i]->carry, is_asleep);
}

/* Sleeps until a frame comes, or not long. Where nothing comes it is not tried again for a while.
 */
static int sleep_briefly(struct af_xdp *xdp)
{
    const struct timespec wait = {.tv_nsec = CARRY_WAIT_NS};
    if (xdp->carry.skips) {
        xdp->carry.skips--;
        return 0;
    }
    set_asleep(xdp, true);
    int count = receive_frames(xdp);
    if (!count)
        ppoll(xdp->polls, xdp->poll_count, &wait, NULL);
    set_asleep(xdp, false);
    count = count ? count : receive_frames(xdp);
    if (count) {
        xdp->carry.next_skips = 0;
        return count;
    }
    const unsigned next = 2 * xdp->carry.next_skips + 1;
    xdp->carry.next_skips = next < CARRY_MOST_SKIPS ? next : CARRY_MOST_SKIPS;
    xdp->carry.skips = xdp->carry.next_skips;
    return 0;
}

/* Nothing has come in. Returns how many questions there are after all; 0 with is_carrying() still
 * true: they are to be looked for again without sleeping. */
static int rest(struct af_xdp *xdp, bool may_sleep)
{
    int count = 0;
    if (xdp->carry.looks == 0) {
        count = send_alone(xdp, xdp_carry_thin);
        if (!count && are_enough_waiting(xdp)) {
            sched_yield(); /* to who receives for the interface, if it wants this core */
            count = receive_frames(xdp);
        }
    }
    if (!count && are_enough_waiting(xdp)) {
        if (may_sleep)
            count = sleep_briefly(xdp);
        else if (xdp->carry.looks++ < CARRY_LOOKS)
            return 0;
    }
    xdp->carry.looks = 0;
    return count ? count : send_alone(xdp, xdp_carry_take_back);
}

/* On the way to rest: what the program has handed over before is still ours, and nothing is for it
 * to take any more. */
static int drain(struct af_xdp *xdp)
{
    for (unsigned i = 0; i < xdp->queue_count; i++) {
        struct xdp_queue *queue = xdp->queues[i];
        if (!queue->carries)
            continue;
        xdp_carry_take_back(&queue->carry);
        xdp->arrival_queue = queue;
        while (!xdp_carry_is_empty(&queue->carry)) { /* not long: until the program has copied */
            take_carried(xdp, i);
            if (xdp->arrival_count)
                return (int)xdp->arrival_count;
            xdp_queue_send(queue, &xdp->counters);
        }
        xdp_queue_leave(queue);
    }
    return 0;
}

static int af_xdp_receive(struct io *io, uint64_t wait_ns, struct io_message **ret_messages)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    if (xdp->is_paused) {
        *ret_messages = xdp->messages;
        return drain(xdp);
    }
    int count = receive_now(xdp, ret_messages);
    if (count == 0 && is_carrying(xdp))
        count = rest(xdp, wait_ns > 0);
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
    if (!queue->carries || xdp->arrival_count < CARRY_LEAST || len > XDP_CARRY_FRAME_BYTES ||
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

/* The queues are who opened them's to close. No answer stays behind in them. */
static void af_xdp_close(struct io *io)
{
    struct af_xdp *xdp = (struct af_xdp *)io;
    while (!xdp->is_paused && drain(xdp))
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
