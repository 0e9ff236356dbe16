/* The io_uring backend, and the only file that knows liburing.
 *
 * One multishot recvmsg per socket fills buffers of a provided ring; answers are sent from the very
 * buffers they arrived in. One io_uring_enter() per batch: it sends the answers of the last batch,
 * then takes what has arrived since. The sends never wait (MSG_DONTWAIT), so they are done when
 * that call returns, and only then the buffers go back into the ring.
 *
 * What the kernel taught (io_uring_enter(2), io_uring_prep_recvmsg_multishot(3)):
 * - a completion without F_MORE ends the multishot, whatever its result: a datagram of length zero
 * does, and so does ENOBUFS when the ring is empty. Arm again every time;
 * - wait for one completion, not for several: wake-ups are lazy, and a wait for 8 on one socket
 * sleeps until the time-out;
 * - SINGLE_ISSUER binds the ring to the thread that made it, so io_open() runs on the worker. */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>

#include "net/control.h"
#include "net/io.h"
#include "net/replies.h"

#define URING_MAX_SOCKETS 16u
#define URING_SQ_ENTRIES 256u
#define URING_CQ_ENTRIES 4096u
#define URING_BUFFER_GROUP 0
#define URING_REST_LOOKS 1000u /* for the ends of receives that were cancelled: one is enough */

/* A buffer holds io_uring's header (16), the peer's address (32), control (80) and the payload,
 * which so starts at a multiple of 16. The stride is not a power of two: buffers then start in
 * different cache sets. */
#define URING_NAME_BYTES 32u
#define URING_CONTROL_BYTES 80u
#define URING_PREFIX_BYTES (16u + URING_NAME_BYTES + URING_CONTROL_BYTES)
#define URING_STRIDE (URING_PREFIX_BYTES + IO_BUFFER_BYTES + 192u)
_Static_assert(sizeof(struct io_uring_recvmsg_out) == 16, "part of the prefix");
_Static_assert(URING_NAME_BYTES + URING_CONTROL_BYTES > sizeof(struct sockaddr_un), "it fits too");
_Static_assert(CONTROL_BYTES <= URING_CONTROL_BYTES, "both control messages fit");
_Static_assert(URING_STRIDE % 64 == 0 && URING_STRIDE / 64 % 2 == 1, "odd in cache lines");

/* user_data: a receive carries the number of its socket; a send this bit, its place in replies and
 * the number of the submission, because a failure may be reaped after its place was given anew. */
#define URING_SEND (1ull << 32)
#define URING_SENT_AGAIN (1ull << 33) /* a failed joined send that was made up for */
#define URING_SUBMISSION_SHIFT 34u

struct uring {
    struct io io;
    struct io_counters counters;
    struct io_uring ring;
    struct io_uring_buf_ring *buffer_ring;
    unsigned buffer_count;
    uint8_t *buffers;
    size_t buffers_size;
    unsigned socket_count;
    int sockets[URING_MAX_SOCKETS];
    struct msghdr receive_header; /* what the multishot leaves room for */
    struct msghdr unix_header;    /* the same room, all of it for the name */
    uint64_t unix_sockets;        /* bit per socket */
    uint64_t unarmed;             /* bit per socket whose multishot ended */
    bool is_paused;
    unsigned message_count; /* of the last receive */
    struct io_message messages[IO_BATCH];
    struct msghdr arrivals[IO_BATCH]; /* control of each, for the answer */
    uint32_t submission;              /* of replies, counts up, below 2^30 */
    struct replies replies;
};

static int setup_ring(struct io_uring *ring)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                 IORING_SETUP_R_DISABLED,
        .cq_entries = URING_CQ_ENTRIES,
    };
    int result = io_uring_queue_init_params(URING_SQ_ENTRIES, ring, &params);
    if (result == -EINVAL) { /* before Linux 6.1 */
        params = (struct io_uring_params){
            .flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
            .cq_entries = URING_CQ_ENTRIES,
        };
        result = io_uring_queue_init_params(URING_SQ_ENTRIES, ring, &params);
    }
    return result;
}

/* A ring can open files and connect anywhere, past a filter of system calls. From here on this one
 * receives and sends on its sockets, and can be taken down. */
static int restrict_ring(struct io_uring *ring)
{
    const uint8_t calls[] = {IORING_OP_RECVMSG, IORING_OP_SENDMSG, IORING_OP_NOP};
    const uint8_t registers[] = {IORING_REGISTER_SYNC_CANCEL, IORING_UNREGISTER_FILES,
                                 IORING_UNREGISTER_RING_FDS};
    struct io_uring_restriction list[sizeof(calls) + sizeof(registers) + 1] = {
        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
         .sqe_flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS}};
    unsigned count = 1;
    for (unsigned i = 0; i < sizeof(calls); i++)
        list[count++] =
            (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = calls[i]};
    for (unsigned i = 0; i < sizeof(registers); i++)
        list[count++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP,
                                                      .register_op = registers[i]};
    /* liburing 2.3 declares functions for these two and does not export them */
    unsigned fd = (unsigned)ring->ring_fd;
    int result = io_uring_register(fd, IORING_REGISTER_RESTRICTIONS, list, count);
    return result ? result : io_uring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static void give_buffer(struct uring *uring, unsigned buffer, unsigned ahead)
{
    io_uring_buf_ring_add(uring->buffer_ring, uring->buffers + (size_t)buffer * URING_STRIDE,
                          URING_PREFIX_BYTES + IO_BUFFER_BYTES, (unsigned short)buffer,
                          io_uring_buf_ring_mask(uring->buffer_count), (int)ahead);
}

static int setup_buffers(struct uring *uring, unsigned count)
{
    uring->buffer_count = count;
    uring->buffers_size = (size_t)count * URING_STRIDE;
    uring->buffers = mmap(NULL, uring->buffers_size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (uring->buffers == MAP_FAILED)
        return -ENOMEM;
    size_t ring_size = count * sizeof(struct io_uring_buf);
    uring->buffer_ring = mmap(NULL, ring_size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (uring->buffer_ring == MAP_FAILED) {
        uring->buffer_ring = NULL;
        return -ENOMEM;
    }
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)uring->buffer_ring,
        .ring_entries = count,
        .bgid = URING_BUFFER_GROUP,
    };
    int result = io_uring_register_buf_ring(&uring->ring, &registration, 0);
    if (result)
        return result;
    io_uring_buf_ring_init(uring->buffer_ring);
    for (unsigned i = 0; i < count; i++)
        give_buffer(uring, i, i);
    io_uring_buf_ring_advance(uring->buffer_ring, (int)count);
    return 0;
}

static struct io_uring_sqe *take_sqe(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (!sqe) {
        io_uring_submit(&uring->ring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

static void arm(struct uring *uring, unsigned socket)
{
    struct io_uring_sqe *sqe = take_sqe(uring);
    if (!sqe)
        return; /* stays unarmed; the next receive tries again */
    struct msghdr *header =
        uring->unix_sockets >> socket & 1 ? &uring->unix_header : &uring->receive_header;
    io_uring_prep_recvmsg_multishot(sqe, (int)socket, header, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFER_GROUP;
    io_uring_sqe_set_data64(sqe, socket);
    uring->unarmed &= ~(1ull << socket);
}

static void arm_all(struct uring *uring)
{
    for (unsigned socket = 0; uring->unarmed && socket < uring->socket_count; socket++)
        if (uring->unarmed & 1ull << socket)
            arm(uring, socket);
}

/* A kernel without multishot receives says so at once. */
static int probe(struct uring *uring)
{
    arm_all(uring);
    int result = io_uring_submit(&uring->ring);
    if (result < 0)
        return result;
    io_uring_get_events(&uring->ring);
    struct io_uring_cqe *cqe;
    if (io_uring_peek_cqe(&uring->ring, &cqe) == 0 && cqe->res < 0 && cqe->res != -ENOBUFS)
        return cqe->res;
    return 0;
}

/* -ENOENT: there were none. */
static int end_receives(struct uring *uring)
{
    struct io_uring_sync_cancel_reg all = {
        .fd = -1,
        .flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
        .timeout = {.tv_sec = 1},
    };
    return io_uring_register_sync_cancel(&uring->ring, &all);
}

/* The kernel lets go of a ring's sockets some time after the ring is gone; a daemon that is started
 * at once would find its port busy. So the receives are ended and the sockets given back first. */
static void release_sockets(struct uring *uring)
{
    end_receives(uring); /* Linux 6.0; before, the wait is longer */
    io_uring_get_events(&uring->ring);
    io_uring_unregister_files(&uring->ring);
}

static void uring_close(struct io *io)
{
    struct uring *uring = (struct uring *)io;
    release_sockets(uring);
    io_uring_queue_exit(&uring->ring);
    if (uring->buffer_ring)
        munmap(uring->buffer_ring, uring->buffer_count * sizeof(struct io_uring_buf));
    if (uring->buffers && uring->buffers != MAP_FAILED)
        munmap(uring->buffers, uring->buffers_size);
    free(uring);
}

/* What the receives took before they ended comes with their completions. A kernel that has no
 * multishot receives has no such cancelling either: a paused ring needs no other probe. */
static int uring_pause(struct io *io)
{
    struct uring *uring = (struct uring *)io;
    io_uring_submit(&uring->ring); /* what is to be armed is armed now, and not later */
    int result = end_receives(uring);
    if (result < 0 && result != -ENOENT)
        return result == -EINVAL ? -EOPNOTSUPP : result;
    uring->is_paused = true;
    return 0;
}

static void uring_resume(struct io *io)
{
    ((struct uring *)io)->is_paused = false;
}

static int uring_open(const struct io_options *options, struct io **ret_io)
{
    if (options->socket_count == 0 || options->socket_count > URING_MAX_SOCKETS)
        return -EINVAL;
    struct uring *uring = aligned_alloc(64, (sizeof(*uring) + 63) & ~(size_t)63);
    if (!uring)
        return -ENOMEM;
    memset(uring, 0, sizeof(*uring));
    uring->io.operations = &io_uring_operations;
    uring->socket_count = options->socket_count;
    memcpy(uring->sockets, options->sockets, options->socket_count * sizeof(int));
    uring->unarmed = (1ull << options->socket_count) - 1;
    uring->receive_header.msg_namelen = URING_NAME_BYTES;
    uring->receive_header.msg_controllen = URING_CONTROL_BYTES;
    uring->unix_header.msg_namelen = URING_NAME_BYTES + URING_CONTROL_BYTES;
    for (unsigned i = 0; i < options->socket_count; i++)
        uring->unix_sockets |= (uint64_t)io_is_unix(options->sockets[i]) << i;
    int result = setup_ring(&uring->ring);
    if (result) {
        free(uring);
        return result;
    }
    result = setup_buffers(uring, options->buffers);
    if (!result)
        result = io_uring_register_files(&uring->ring, options->sockets, options->socket_count);
    if (!result) {
        io_uring_register_ring_fd(&uring->ring); /* spares a table look-up; older kernels refuse */
        result = restrict_ring(&uring->ring);
    }
    if (!result)
        result = options->is_paused ? uring_pause(&uring->io) : probe(uring);
    if (result) {
        uring_close(&uring->io);
        return result;
    }
    *ret_io = &uring->io;
    return 0;
}

static void take_message(struct uring *uring, const struct io_uring_cqe *cqe)
{
    unsigned buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    uint8_t *bytes = uring->buffers + (size_t)buffer * URING_STRIDE;
    unsigned at = uring->message_count++;
    struct io_message *message = &uring->messages[at];
    struct io_uring_recvmsg_out *out =
        io_uring_recvmsg_validate(bytes, cqe->res, &uring->receive_header);
    *message =
        (struct io_message){.data = bytes, .buffer = buffer, .truncated = true, .peer = &io_nobody};
    if (!out)
        return;
    bool is_unix = uring->unix_sockets >> cqe->user_data & 1;
    uint32_t name_room = URING_NAME_BYTES + (is_unix ? URING_CONTROL_BYTES : 0);
    uring->arrivals[at] = (struct msghdr){
        .msg_name = bytes + 16,
        .msg_namelen = out->namelen < name_room ? out->namelen : name_room,
        .msg_control = bytes + 16 + URING_NAME_BYTES,
        .msg_controllen = out->controllen,
    };
    uint32_t segment = out->controllen ? control_read_segment(&uring->arrivals[at]) : 0;
    uint32_t len = io_uring_recvmsg_payload_length(out, cqe->res, &uring->receive_header);
    message->data = bytes + URING_PREFIX_BYTES;
    message->len = len;
    message->segment = segment && segment < len ? segment : len;
    message->truncated = out->flags & MSG_TRUNC;
    message->peer = out->namelen ? (const struct sockaddr *)(bytes + 16) : &io_nobody;
    message->socket = (uint32_t)cqe->user_data;
    message->peer_header = &uring->arrivals[at];
}

static bool is_join_error(const struct uring *uring, const struct io_uring_cqe *cqe)
{
    return !(cqe->user_data & URING_SENT_AGAIN) &&
           cqe->user_data >> URING_SUBMISSION_SHIFT == uring->submission &&
           replies_is_join_error(&uring->replies.items[(uint32_t)cqe->user_data], -cqe->res);
}

static void on_receive_end(struct uring *uring, const struct io_uring_cqe *cqe)
{
    uring->unarmed |= 1ull << cqe->user_data;
    if (cqe->res < 0 && cqe->res != -ENOBUFS && cqe->res != -ECANCELED)
        uring->counters.receive_errors++;
}

/* Takes completions until the batch is full or there are no more. */
static void reap(struct uring *uring)
{
    struct io_uring_cqe *cqe;
    while (uring->message_count < IO_BATCH && io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
        if (cqe->user_data & URING_SEND) {
            uring->counters.send_errors += !(cqe->user_data & URING_SENT_AGAIN);
        } else {
            if (cqe->flags & IORING_CQE_F_BUFFER)
                take_message(uring, cqe);
            if (!(cqe->flags & IORING_CQE_F_MORE))
                on_receive_end(uring, cqe);
        }
        io_uring_cqe_seen(&uring->ring, cqe);
    }
}

/* Would entering the kernel bring anything? Without TASKRUN_FLAG nobody can tell. */
static bool has_work(const struct uring *uring)
{
    const struct io_uring *ring = &uring->ring;
    return uring->unarmed || io_uring_sq_ready(ring) ||
           !(ring->flags & IORING_SETUP_TASKRUN_FLAG) ||
           IO_URING_READ_ONCE(*ring->sq.kflags) & IORING_SQ_TASKRUN;
}

/* Nothing is armed again; what ended has left its completions behind. */
static int receive_rest(struct uring *uring, struct io_message **ret_messages)
{
    const uint64_t all = (1ull << uring->socket_count) - 1;
    uring->message_count = 0;
    for (unsigned i = 0; i < URING_REST_LOOKS && !uring->message_count; i++) {
        io_uring_get_events(&uring->ring);
        reap(uring);
        if (uring->unarmed == all)
            break;
    }
    *ret_messages = uring->messages;
    return (int)uring->message_count;
}

static int uring_receive(struct io *io, uint64_t wait_ns, struct io_message **ret_messages)
{
    struct uring *uring = (struct uring *)io;
    if (uring->is_paused)
        return receive_rest(uring, ret_messages);
    arm_all(uring);
    uring->message_count = 0;
    reap(uring);
    if (uring->message_count == 0) {
        if (!wait_ns && !has_work(uring))
            return 0;
        arm_all(uring); /* what ended while reaping: a wait without it would sleep to its end */
        struct __kernel_timespec wait = {.tv_sec = (long long)(wait_ns / 1000000000u),
                                         .tv_nsec = (long long)(wait_ns % 1000000000u)};
        struct io_uring_cqe *cqe;
        int result = wait_ns ? io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &wait, NULL)
                             : io_uring_submit_and_get_events(&uring->ring);
        if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN &&
            result != -EBUSY)
            return result;
        reap(uring);
    }
    io->has_more = uring->message_count >= uring->buffer_count;
    *ret_messages = uring->messages;
    return (int)uring->message_count;
}

/* What the kernel did not take (no memory for a request) may not stay in the queue: its bytes
 * become another's when the buffers go back. */
static void drop_unsubmitted(struct uring *uring)
{
    struct io_uring_sq *sq = &uring->ring.sq;
    for (unsigned at = sq->sqe_tail - io_uring_sq_ready(&uring->ring); at != sq->sqe_tail; at++) {
        struct io_uring_sqe *sqe = &sq->sqes[at & sq->ring_mask];
        if (!(sqe->user_data & URING_SEND))
            continue; /* a receive; it keeps what it points to */
        io_uring_prep_nop(sqe);
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = URING_SEND;
        uring->counters.send_errors++;
    }
}

static void queue_reply(struct uring *uring, unsigned at)
{
    const struct reply *reply = &uring->replies.items[at];
    struct io_uring_sqe *sqe = take_sqe(uring);
    if (!sqe) {
        uring->counters.send_errors++;
        return;
    }
    io_uring_prep_sendmsg(sqe, (int)reply->socket, &reply->header, MSG_DONTWAIT | MSG_NOSIGNAL);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, URING_SEND | at |
                                     (uint64_t)uring->submission << URING_SUBMISSION_SHIFT);
}

/* What the device could not take joined, as long as the answers are still there. */
static void make_up_for_joined(struct uring *uring)
{
    unsigned head;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        if (cqe->user_data & URING_SEND && is_join_error(uring, cqe)) {
            const struct reply *reply = &uring->replies.items[(uint32_t)cqe->user_data];
            uring->counters.send_errors +=
                replies_send_plainly(reply, uring->sockets[reply->socket]);
            uring->counters.send_plain++;
            cqe->user_data |= URING_SENT_AGAIN;
        }
    }
}

static void submit_replies(struct uring *uring)
{
    bool has_joined = false;
    replies_finish(&uring->replies);
    for (unsigned i = 0; i < uring->replies.count; i++) {
        queue_reply(uring, i);
        has_joined |= uring->replies.items[i].is_joined;
    }
    io_uring_submit(&uring->ring);
    if (io_uring_sq_ready(&uring->ring))
        drop_unsubmitted(uring);
    if (has_joined)
        make_up_for_joined(uring);
    uring->submission = (uring->submission + 1) & (UINT32_MAX >> 2);
    replies_clear(&uring->replies);
}

static void uring_reply(struct io *io, const struct io_message *message, uint32_t offset,
                        uint32_t len, uint32_t segment)
{
    struct uring *uring = (struct uring *)io;
    if (replies_are_full(&uring->replies))
        submit_replies(uring);
    replies_add(&uring->replies, message, offset, len, segment);
}

static void uring_send(struct io *io)
{
    struct uring *uring = (struct uring *)io;
    if (uring->replies.count)
        submit_replies(uring);
    for (unsigned i = 0; i < uring->message_count; i++)
        give_buffer(uring, uring->messages[i].buffer, i);
    io_uring_buf_ring_advance(uring->buffer_ring, (int)uring->message_count);
    uring->message_count = 0;
}

static struct io_counters uring_counters(const struct io *io)
{
    return ((const struct uring *)io)->counters;
}

const struct io_operations io_uring_operations = {
    .name = "io_uring",
    .open = uring_open,
    .receive = uring_receive,
    .reply = uring_reply,
    .send = uring_send,
    .close = uring_close,
    .counters = uring_counters,
    .pause = uring_pause,
    .resume = uring_resume,
};
