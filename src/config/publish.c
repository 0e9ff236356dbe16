#include "config/publish.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAIT_YIELDS 64u      /* a batch takes microseconds ... */
#define WAIT_PAUSE_NS 50000l /* ... unless its thread was put aside */

static long membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0);
}

int publish_create(unsigned reader_count, const struct policy *first, struct publish **ret_publish)
{
    const size_t align = _Alignof(struct publish_reader);
    const size_t size = sizeof(struct publish) + reader_count * sizeof(struct publish_reader);
    struct publish *publish = aligned_alloc(align, (size + align - 1) / align * align);

    if (!publish)
        return -ENOMEM;
    atomic_init(&publish->current, first);
    atomic_init(&publish->epoch, 1);
    publish->has_barrier = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
    publish->reader_count = reader_count;
    for (unsigned i = 0; i < reader_count; i++)
        atomic_init(&publish->readers[i].seen, publish->has_barrier ? PUBLISH_AWAY : 1);
    *ret_publish = publish;
    return 0;
}

void publish_destroy(struct publish *publish)
{
    free(publish);
}

void publish_quit(struct publish *publish, unsigned reader)
{
    /* release, as in publish_leave(); without an enter to come no barrier is needed */
    atomic_store_explicit(&publish->readers[reader].seen, PUBLISH_AWAY, memory_order_release);
}

const struct policy *publish_swap(struct publish *publish, const struct policy *policy)
{
    /* release: who loads the pointer sees what it points to */
    const struct policy *old =
        atomic_exchange_explicit(&publish->current, policy, memory_order_acq_rel);
    return old;
}

void publish_wait(struct publish *publish)
{
    /* Only this thread writes it. release: who sees the epoch sees the pointer stored before. */
    const uint64_t epoch = atomic_load_explicit(&publish->epoch, memory_order_relaxed) + 1;
    atomic_store_explicit(&publish->epoch, epoch, memory_order_release);
    if (publish->has_barrier)
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    for (unsigned i = 0; i < publish->reader_count; i++) {
        for (unsigned tries = 0;; tries++) {
            const uint64_t seen =
                atomic_load_explicit(&publish->readers[i].seen, memory_order_acquire);
            if (seen == PUBLISH_AWAY || seen >= epoch)
                break;
            if (tries < WAIT_YIELDS)
                sched_yield();
            else
                nanosleep(&(struct timespec){.tv_nsec = WAIT_PAUSE_NS}, NULL);
        }
    }
}
