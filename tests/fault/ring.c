/* Faults of io_uring: submissions that are refused, sends that fail, a queue of completions that is
 * too short. What the kernel does on its own account is left to the kernel. */
#include <errno.h>
#include <liburing.h>
#include <sys/socket.h>

#include "fault/fault.h"

#define SHORT_QUEUE 16u

int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                      struct io_uring_params *params)
{
    if (fault_is_on(FAULT_CQ))
        entries = params->cq_entries = SHORT_QUEUE;
    return __real_io_uring_queue_init_params(entries, ring, params);
}

static void look_for_overflow(const struct io_uring *ring)
{
    if (fault_is_on(FAULT_CQ) && IO_URING_READ_ONCE(*ring->sq.kflags) & IORING_SQ_CQ_OVERFLOW)
        fault_count(FAULT_CQ);
}

/* Sends that wait to be submitted: now and then one with more control data than the kernel takes,
 * which it answers as when it has no buffers. */
static void spoil_sends(struct io_uring *ring)
{
    struct io_uring_sq *sq = &ring->sq;
    bool has_sends = false;

    for (unsigned at = sq->sqe_tail - io_uring_sq_ready(ring); at != sq->sqe_tail; at++) {
        const struct io_uring_sqe *sqe = &sq->sqes[at & sq->ring_mask];

        has_sends |= sqe->opcode == IORING_OP_SENDMSG;
        if (sqe->opcode == IORING_OP_SENDMSG && fault_is_due(FAULT_ENOBUFS))
            ((struct msghdr *)(uintptr_t)sqe->addr)->msg_controllen = (size_t)1 << 40;
    }
    if (has_sends)
        fault_delay();
}

/* 0, or what the submission is to fail with. */
static int before(struct io_uring *ring)
{
    if (fault_is_due(FAULT_EAGAIN))
        return -EAGAIN;
    look_for_overflow(ring);
    spoil_sends(ring);
    return 0;
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
    int result = before(ring);

    result = result ? result : __real_io_uring_submit(ring);
    look_for_overflow(ring);
    return result;
}

int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                                            unsigned count, struct __kernel_timespec *timeout,
                                            sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                                            unsigned count, struct __kernel_timespec *timeout,
                                            sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                                            unsigned count, struct __kernel_timespec *timeout,
                                            sigset_t *mask)
{
    int result = before(ring);

    if (!result)
        result = __real_io_uring_submit_and_wait_timeout(ring, ret_cqe, count, timeout, mask);
    look_for_overflow(ring);
    return result;
}

int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
    int result = before(ring);

    return result ? result : __real_io_uring_submit_and_get_events(ring);
}
