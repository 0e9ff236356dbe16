/* Copies of entries while others charge them, for who writes the table down; and putting them into
 * another table, where every key stands elsewhere.
 *
 * Each copy is of one instant, as any reader's (pair.h); two copies are of two instants, and a key
 * that moved meanwhile may be copied twice: who puts it back keeps the one that owes more. Left
 * out is what is at rest, what nobody decided yet, grants (core/grant.h: what is not spent of them
 * was charged where it was granted) and what is pending, which is told within milliseconds.
 *
 * A lease names its key's entry by its place, which means nothing elsewhere: its copy holds that
 * entry's key. Counts of slots are not copied; they are the sum of their leases.
 *
 * Any thread may copy, while nobody gives rows to other owners (owners.h). */
#ifndef METE_TABLE_COPY_H
#define METE_TABLE_COPY_H

#include "core/instant.h"
#include "table/table.h"

struct table_copied { /* 32 bytes */
    struct key key;
    uint64_t state;
    uint32_t owner; /* row */
    uint8_t share;
    uint8_t zero[3];
};

struct table_copied_lease { /* 48 bytes */
    struct key key;         /* the lease's own */
    struct key of;          /* of the entry that counts it */
    uint64_t expires_ms;    /* of the table's clock */
    uint32_t slots;
    uint32_t owner;
};

struct table_copies {
    struct table_copied *entries;
    struct table_copied_lease *leases;
    uint32_t entry_count, entry_size;
    uint32_t lease_count, lease_size;
};

/* Looks at up to `groups` groups from *cursor on, adds copies, moves the cursor. Stops early when a
 * list might not hold one more group. False: the end of the table is reached. */
bool table_copy(struct table *table, uint64_t *cursor, uint32_t groups, const struct instant *now,
                struct table_copies *copies);

enum table_put { TABLE_PUT, TABLE_PUT_AGAIN, TABLE_PUT_FULL };

/* Puts a copy, its state of now's clocks and not 0, into the table; copied->owner is a row of this
 * one, not of a concurrency rule. AGAIN: the key was there, and has the state that owes more. FULL:
 * no entry could be had. Before any worker runs. */
enum table_put table_put(struct table *table, const struct table_copied *copied,
                         const struct instant *now);

/* The same of a lease of a concurrency rule, with 1 to LIMIT_SLOTS_MAX slots; its key's count
 * becomes as many more. FULL also for more slots than there can be. */
enum table_put table_put_lease(struct table *table, const struct table_copied_lease *copied,
                               const struct instant *now);

/* ---- of table/ alone ---- */

/* The lease that stands in this entry; false if none does, or it just ended. */
bool table_copy_lease(const struct table *table, const struct table_entry *entry,
                      struct table_copied_lease *ret_copied);

#endif
