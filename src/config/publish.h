/* Publication: how a new configuration reaches running workers, and when the old one may go.
 *
 * A reader (worker) takes the current policy at the start of every batch, uses it until the batch
 * is answered and keeps no pointer into it. Between batches it holds nothing: that is its quiet
 * point. The writer stores the new policy and waits until every reader has passed a quiet point
 * since; then nobody can hold the old one, and it may be freed. Readers lock nothing, wait for
 * nobody, and pay two loads and two stores of lines that nobody else writes.
 *
 * Source: quiescent-state-based reclamation, as urcu's QSBR flavour has it (Desnoyers, McKenney,
 * Stern, Dagenais, Walpole, "User-Level Implementations of Read-Copy Update", IEEE TPDS 23/2, 2012)
 * with its membarrier(2) in place of the readers' fence.
 *
 *   reader  leave:  (1) seen = AWAY                              release
 *           enter:  (2) e = epoch                                acquire
 *                   (3) seen = e                                 release
 *                   (4) policy = current                         acquire
 *   writer  swap:   (5) current = new
 *                   (6) epoch = E, one more than before          release
 *           wait:   (7) membarrier: every reader passes a full fence between its call and return
 *                   (8) for every reader: until seen is AWAY or at least E    acquire
 *
 * After (8) no reader uses what was current before (5). For a reader whose seen was read
 *   at least E: its (2) saw (6), so its (4), later in the same enter, saw (5) or newer; and what it
 *            did with the old policy stands before its (3), whose release pairs with (8).
 *   AWAY:    what it did before stands before its (1), which pairs with (8). An enter of it that
 *            was under way had its (3) not visible at (8). Had (3) stood before the reader's fence
 *            of (7), (8) would have seen it or something later. So (3), and with it (4), stand
 *            behind that fence, and the fence behind (5): (4) sees (5) or newer. This is why the
 *            compiler must not exchange (3) and (4), and the processor may.
 * A system that refuses membarrier has no AWAY: seen begins as an epoch, leave does nothing, the
 * first case is the only one, and the writer waits until every reader has come back from its sleep
 * (a worker does so at least every tenth of a second).
 *
 * Threads: create, swap, wait and destroy by one writer; enter and leave of reader i by thread i.
 */
#ifndef METE_CONFIG_PUBLISH_H
#define METE_CONFIG_PUBLISH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct policy; /* what is published; the reader knows what stands in it */

#define PUBLISH_AWAY 0u

struct publish_reader {
    _Atomic uint64_t seen;
} __attribute__((aligned(128))); /* two lines: the prefetcher takes pairs */

struct publish {
    const struct policy *_Atomic current;
    _Atomic uint64_t epoch; /* from 1 */
    bool has_barrier;
    unsigned reader_count;
    struct publish_reader readers[];
};

/* Results: 0, -ENOMEM. */
int publish_create(unsigned reader_count, const struct policy *first, struct publish **ret_publish);
/* When all readers are gone. The current policy stays the caller's. */
void publish_destroy(struct publish *publish);

/* The policy to use until publish_leave(), or until the next enter. */
static inline const struct policy *publish_enter(struct publish *publish, unsigned reader)
{
    uint64_t epoch = atomic_load_explicit(&publish->epoch, memory_order_acquire);
    atomic_store_explicit(&publish->readers[reader].seen, epoch, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* (3) before (4), with the writer's membarrier */
    return atomic_load_explicit(&publish->current, memory_order_acquire);
}

/* Nothing is held any more; before a sleep, so that nobody waits for it. */
static inline void publish_leave(struct publish *publish, unsigned reader)
{
    if (publish->has_barrier)
        atomic_store_explicit(&publish->readers[reader].seen, PUBLISH_AWAY, memory_order_release);
}

/* For ever: the reader's thread ends, and enters no more. */
void publish_quit(struct publish *publish, unsigned reader);

/* Stores the new policy and returns the old one, which readers may use until publish_wait(). */
const struct policy *publish_swap(struct publish *publish, const struct policy *policy);

/* Returns when every reader has passed a quiet point since the call. */
void publish_wait(struct publish *publish);

#endif
