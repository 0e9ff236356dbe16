/* The words of a lease's entry: lease.h draws them. Only lease.c and resume_leases.c include this.
 */
#ifndef METE_TABLE_LEASE_WORDS_H
#define METE_TABLE_LEASE_WORDS_H

#include "table/entry.h"
#include "table/lease.h"

#define LEASE_POSITION_LOW_BITS 23u
#define LEASE_POSITION_HIGH_BITS 10u
#define LEASE_POSITION_HIGH_SHIFT META_SHARE_SHIFT
#define LEASE_SLOTS_SHIFT (LEASE_POSITION_HIGH_SHIFT + LEASE_POSITION_HIGH_BITS)
#define LEASE_SLOTS_BITS 20u
#define LEASE_STATE_MIN ((uint64_t)1 << LEASE_POSITION_LOW_BITS)
#define LEASE_POSITION_LOW_MASK (LEASE_STATE_MIN - 1)

_Static_assert(TABLE_MAX_ENTRIES == 1ull << (LEASE_POSITION_LOW_BITS + LEASE_POSITION_HIGH_BITS),
               "every entry has a position");
_Static_assert(LEASE_SLOTS_SHIFT + LEASE_SLOTS_BITS == 64, "slots end where meta does");
_Static_assert(LIMIT_SLOTS_MAX < 1u << LEASE_SLOTS_BITS, "as many slots as a limit may have");
_Static_assert(LIMIT_SLOTS_MAX < LEASE_STATE_MIN, "no count looks like a lease");

static inline bool lease_is(struct pair pair)
{
    return meta_kind(pair.meta) == ENTRY_LEASE && pair.state >= LEASE_STATE_MIN;
}

static inline struct table_lease lease_unpack(struct table_entry *entry, struct pair pair)
{
    uint64_t high = pair.meta >> LEASE_POSITION_HIGH_SHIFT & ((1u << LEASE_POSITION_HIGH_BITS) - 1);

    return (struct table_lease){
        .ref = {.entry = entry, .state = pair.state, .meta = pair.meta},
        .expires_ms = pair.state >> LEASE_POSITION_LOW_BITS,
        .position = high << LEASE_POSITION_LOW_BITS | (pair.state & LEASE_POSITION_LOW_MASK),
        .slots = (uint32_t)(pair.meta >> LEASE_SLOTS_SHIFT),
    };
}

static inline struct pair lease_pack(const struct table_lease *lease)
{
    return (struct pair){
        .state = lease->expires_ms << LEASE_POSITION_LOW_BITS |
                 (lease->position & LEASE_POSITION_LOW_MASK),
        .meta = meta_held(lease->ref.meta) |
                lease->position >> LEASE_POSITION_LOW_BITS << LEASE_POSITION_HIGH_SHIFT |
                (uint64_t)lease->slots << LEASE_SLOTS_SHIFT,
    };
}

#endif
