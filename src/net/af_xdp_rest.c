/* What becomes of answers that wait for questions (net/xdp_carry.h) when nothing comes in.
 *
 * Each answer gets one chance to be carried: a time in which the worker had nothing to do and
 * frames could come in. When that comes to nothing it goes by itself, and so do all after
 * XDP_CARRY_AGES batches. How many wait is to be as many as come in at one time: of those left over
 * half go by themselves, and of frames that found none waiting one in CARRY_SHARE adds its answer.
 * (If all did, and a number of frames went round between us and clients that wait for answers, all
 * of them would end up here, as answers that wait for a question that cannot come.)
 *
 * An idle server's answers never wait: fewer than AF_XDP_CARRY_LEAST at once do not. */
#include <poll.h>
#include <sched.h>
#include <time.h>

#include "net/af_xdp.h"

#define CARRY_WAIT_NS 100000l /* most that an answer waits while the worker sleeps */
#define CARRY_LOOKS 32u       /* the same for a worker that does not sleep: so many looks */
#define CARRY_MOST_SKIPS 64u  /* sleeps in vain are not repeated for so many times */

bool af_xdp_is_carrying(const struct af_xdp *xdp)
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
    return count >= AF_XDP_CARRY_LEAST;
}

/* Sends what `take_back` has taken back. Returns how many questions came meanwhile; only if there
 * are none it has been sent already. */
static int send_alone(struct af_xdp *xdp, void (*take_back)(struct xdp_carry *carry))
{
    for (unsigned i = 0; i < xdp->queue_count; i++)
        if (xdp->queues[i]->carries)
            take_back(&xdp->queues[i]->carry);
    int count = af_xdp_receive_frames(xdp);
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
    int count = af_xdp_receive_frames(xdp);
    if (!count)
        ppoll(xdp->polls, xdp->poll_count, &wait, NULL);
    set_asleep(xdp, false);
    count = count ? count : af_xdp_receive_frames(xdp);
    if (count) {
        xdp->carry.next_skips = 0;
        return count;
    }
    const unsigned next = 2 * xdp->carry.next_skips + 1;
    xdp->carry.next_skips = next < CARRY_MOST_SKIPS ? next : CARRY_MOST_SKIPS;
    xdp->carry.skips = xdp->carry.next_skips;
    return 0;
}

int af_xdp_rest(struct af_xdp *xdp, bool may_sleep)
{
    int count = 0;
    if (xdp->carry.looks == 0) {
        count = send_alone(xdp, xdp_carry_thin);
        if (!count && are_enough_waiting(xdp)) {
            sched_yield(); /* to who receives for the interface, if it wants this core */
            count = af_xdp_receive_frames(xdp);
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

int af_xdp_drain(struct af_xdp *xdp)
{
    for (unsigned i = 0; i < xdp->queue_count; i++) {
        struct xdp_queue *queue = xdp->queues[i];
        if (!queue->carries)
            continue;
        xdp_carry_take_back(&queue->carry);
        xdp->arrival_queue = queue;
        while (!xdp_carry_is_empty(&queue->carry)) { /* not long: until the program has copied */
            af_xdp_take_carried(xdp, i);
            if (xdp->arrival_count)
                return (int)xdp->arrival_count;
            xdp_queue_send(queue, &xdp->counters);
        }
        xdp_queue_leave(queue);
    }
    return 0;
}
