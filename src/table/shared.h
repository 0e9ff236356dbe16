/* Entries of keys that several nodes share: pending, dirty, share.
 *
 * In the meta word of a live entry stand, besides what table.h tells,
 *   pending  units charged since the last drain, less those given back; signed, 24 bits
 *   dirty    somebody pushed the entry to a ring (replica/ring.h), so that it will be drained
 *   parity   flips with every drain: a restart tells by it whether one happened
 *   share    the node's part of the limit as an exponent (core/share.h), or TABLE_SHARE_GRANT: then
 *            the state is a grant (core/grant.h)
 * They change together with the state, by the same compare-and-swap, so that no unit is ever
 * admitted and not pending, or pending twice.
 *
 * Guarantee: the units that table_swap_charged() added = those that table_drain() took + those that
 * were handed out (struct table_spilled) + those pending; a charge that table_pending_fits()
 * refused is the caller's to tell. An entry with pending is not freed by the sweep, and whoever
 * takes its place hands its pending out first. Only upkeep that purges the entries of an owner that
 * is gone (owners.h) drops what they have pending.
 *
 * Threads: table_drain(), table_sweep_pending(): one, the replication thread. All else any. */
#ifndef METE_TABLE_SHARED_H
#define METE_TABLE_SHARED_H

#include "core/share.h"
#include "table/table.h"

#define TABLE_SHARE_GRANT 63u
#define TABLE_PENDING_MAX ((1 << 23) - 1) /* and -TABLE_PENDING_MAX */

/* ---- who charges ---- */

/* Of a live entry as it was seen; a claimed one has none of these. */
uint8_t table_share(const struct table_ref *ref);
int32_t table_pending(const struct table_ref *ref);
bool table_is_dirty(const struct table_ref *ref);

struct table_charge {
    uint64_t state; /* to put in place; may be 0, the entry stays live */
    int32_t units;  /* added to pending */
    uint8_t share;
    bool drops_pending; /* what was pending is the caller's: it tells of it by itself */
    bool marks_dirty;   /* there is room to push it */
};

/* Does pending + units fit its bits? (With drops_pending: do the units?) */
bool table_pending_fits(const struct table_ref *ref, int64_t units);

/* table_swap() that also charges. ref is a FOUND or a CLAIMED entry. False: somebody was faster.
 * The entry turned dirty if marks_dirty and it was not: then the caller pushes its index. */
bool table_swap_charged(struct table *table, const struct table_ref *ref,
                        const struct table_charge *charge);

/* The same of a FOUND entry that has units pending, or none, and room for so many more; its share
 * stays. */
bool table_swap_more(const struct table_ref *ref, uint64_t state, uint32_t units, bool marks_dirty);

/* Forgets a FOUND entry with all it has pending, which is the caller's then. */
bool table_swap_forget(struct table *table, const struct table_ref *ref);

uint64_t table_index(const struct table *table, const struct table_ref *ref);

/* ---- the replication thread ---- */

struct table_drained {
    struct key key;
    uint32_t owner;
    int32_t units;  /* what was pending */
    uint64_t state; /* after the last charge */
    uint8_t share;
    bool parity; /* of the entry from now on */
};

/* Takes what is pending of the entry at an index: pending -> 0, dirty -> 0, parity flipped, all at
 * once. If nothing is pending and it is not dirty, nothing is written. False: no live entry stands
 * there. The index may have changed hands: then this is the new key's. */
bool table_drain(struct table *table, uint64_t index, struct table_drained *ret_drained);

/* What table_drain() would give, without taking it. */
bool table_look(const struct table *table, uint64_t index, struct table_drained *ret_look);

/* Puts a view in place of ref's state and share; pending, dirty and parity stay. ref is FOUND or
 * CLAIMED (by table_find_or_claim_by(), TABLE_REFUSE). A claimed entry with state 0 is withdrawn.
 * False: somebody was faster; find again, and compute the state again from what is pending then. */
bool table_adopt(struct table *table, const struct table_ref *ref, uint64_t state, uint8_t share);

/* Looks at `groups` groups from *cursor on for entries that have pending and are not dirty: a ring
 * was full; or that have pending at all: who drains had no room for them. Writes at most `size` of
 * their indices, and stops early when they are full. Returns how many. */
uint32_t table_sweep_pending(struct table *table, uint64_t *cursor, uint32_t groups, bool all,
                             uint64_t *ret_indices, uint32_t size);

#endif
