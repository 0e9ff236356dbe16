/* Leases: entries that only their holder, or the end of their time, lets go of.
 *
 * Two kinds of entries work together, both of ENTRY_LEASE, so that neither is evicted or swept away
 * as an entry at rest:
 *
 *   the key's entry   state = the count of its slots in flight, below 2^20; gone when it is 0
 *   a lease           an entry of its own, its key made of the key and the lease id:
 *     state  0..22  low bits of the position of the key's entry in the table
 *           23..63  instant at which it expires, in ms of the table's clock, rounded up; never 0
 *     meta  34..43  high bits of that position   \  where other entries have share and pending:
 *           44..63  slots that it holds          /  no other node ever hears of a single lease
 *
 * A count is below every lease's state, so that one is never taken for the other, not even if a
 * tenant makes up keys on purpose.
 *
 * Invariant: the count of a key's entry is at least the sum of the slots of the leases that name
 * it. Who wants a lease adds to the count first; who swaps a lease out, which one thread does,
 * takes its slots off afterwards. So while a lease stands, and until its slots are off, the count
 * is above 0 and the entry stays in its place: a position is enough to name it. The exception are
 * entries of an owner that is gone (owners.h): these are freed in any order, their rows get no new
 * owner before all of them are gone and every thread has passed a quiet point, and so a lease whose
 * key's entry is gone finds one that is empty or of another owner, and leaves it alone.
 *
 * Expired leases. A bit per group says "there may be a lease"; table_sweep_leases() looks at those
 * groups only, so that all are passed within a second however large the table is, at a cost that
 * goes by the number of leases. The bits are 1/1024 of the entries' memory.
 *   A bit is set after its lease stands; the sweep clears it, looks at the group again, and sets it
 *   again if it finds a lease there. Both write first and read then, with a full barrier between:
 *   either who grants sees the bit cleared and sets it, or the sweep sees the lease (Dekker).
 *
 * Any thread may call anything here. */
#ifndef METE_TABLE_LEASE_H
#define METE_TABLE_LEASE_H

#include "table/table.h"

/* Where the lease of an id on a key would stand: the probe of its entry, from that of the key's. */
struct table_probe table_probe_lease(const struct table *table, const struct table_probe *key,
                                     uint64_t lease_id);

/* The slots in flight that an entry of a key counts; above LIMIT_SLOTS_MAX it is not a count. */
static inline uint64_t table_count_of(const struct table_ref *ref)
{
    return ref->state;
}

/* Puts count in place of what was seen, as table_swap(): 0 frees the entry. */
bool table_swap_count(struct table *table, const struct table_ref *ref, uint64_t count);

struct table_lease {
    struct table_ref ref; /* as it was seen */
    uint64_t expires_ms;  /* of the table's clock; held before that instant, not at it */
    uint64_t position;    /* of the key's entry */
    uint32_t slots;
};

/* The position of a key's entry, for the leases on it. */
uint64_t table_position(const struct table *table, const struct table_ref *ref);

/* TABLE_FOUND: *ret_lease is a lease, expired or not. TABLE_ABSENT: there is none. TABLE_FULL: an
 * entry stands there that is not a lease (a made-up key). */
enum table_result table_find_lease(struct table *table, const struct table_probe *probe,
                                   struct table_lease *ret_lease);

/* Puts the lease in place of lease->ref, a claimed entry or the lease as it was before. False:
 * somebody was faster. */
bool table_swap_lease(struct table *table, const struct table_lease *lease);

/* Ends the lease and takes its slots off its key's entry. False: somebody was faster, and did. */
bool table_end_lease(struct table *table, const struct table_lease *lease);

/* Takes slots that were added for a lease that did not come about off the key's entry. */
void table_return_slots(struct table *table, uint64_t position, uint32_t owner, uint32_t slots);

/* The slots in flight of the key whose entry stands there; 0 if it is gone. */
uint64_t table_count_at(const struct table *table, uint64_t position, uint32_t owner);

static inline bool table_lease_is_over(const struct table_lease *lease, uint64_t now_ns)
{
    return lease->expires_ms <= now_ns / 1000000;
}

/* Pieces of the table that table_sweep_leases() takes. */
uint32_t table_lease_piece_count(const struct table *table);

/* Ends what has expired in the pieces [first, first + count). Returns how many leases that were. */
uint32_t table_sweep_leases(struct table *table, uint32_t first, uint32_t count, uint64_t now_ns);

#endif
