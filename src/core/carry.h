/* A state from one run of the machine to the next.
 *
 * A table's clock counts from the start of a process, so after a restart an instant of before means
 * something else; after a reboot not even the machine's own clock goes on, and only wall time does.
 * What is carried over is what a state says at one instant, which has two names: `from` by the
 * clocks of before and `to` by those of now.
 *
 *   buckets    keep their backlog at that instant, cut to a full bucket of the limit of now
 *              (gcra_cut(): what a reload does)
 *   windows    keep their counts in the window that they were taken in, looked up by its whole
 *              number, so that an index that wraps is not mistaken for a later one
 *   calendars  say when their period ends, in wall time: they stay as they are
 *   leases     keep the time they have left, rounded up to a millisecond
 *
 * What is at rest then is 0. Guarantee: under the same limit a state that was carried over answers
 * at `to`, and ever after, as it would have answered at `from`. Where wall time went back, `from`
 * is the instant of the copy: a bucket owes what it owed then, and a window that lies ahead of
 * now's counts as the present one, as everywhere (fixed_window.c), so nobody gains. Pure; any
 * thread. */
#ifndef METE_CORE_CARRY_H
#define METE_CORE_CARRY_H

#include "core/instant.h"
#include "core/limit.h"

struct carry {
    uint64_t copied_wall_ns; /* when the state was read: by it windows are told from each other */
    uint64_t from_now_ns;    /* by the table's clock of before */
    struct instant to;       /* the same instant by the clocks of now */
};

/* Not for concurrency, whose states are counts of leases. */
uint64_t carry_state(const struct carry *carry, const struct limit *limit, uint64_t state);

/* The instant at which a lease ends, in ms of the table's clock; 0: it has ended. */
uint64_t carry_lease_ms(const struct carry *carry, uint64_t expires_ms);

#endif
