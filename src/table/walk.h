/* Going through a table that is in use: for copies of it. What is seen of an entry is of one
 * instant; entries come and go meanwhile.
 *
 * Any thread. */
#ifndef METE_TABLE_WALK_H
#define METE_TABLE_WALK_H

#include "table/table.h"

enum table_item_kind {
    TABLE_ITEM_STATE, /* of the owner's algorithm; or a grant, if is_grant */
    TABLE_ITEM_COUNT, /* slots in flight of a key */
    TABLE_ITEM_LEASE, /* one of them; its key is the lease's */
};

struct table_item {
    struct key key;
    uint32_t owner; /* row */
    uint8_t kind;   /* enum table_item_kind */
    uint8_t share;  /* exponent, of a key that several nodes share */
    bool is_grant;
    int32_t pending;
    uint64_t state;      /* STATE: as an algorithm has it; COUNT: the count */
    uint64_t expires_ms; /* LEASE */
    uint64_t position;   /* LEASE: of its key's entry. STATE, COUNT: its own */
    uint32_t slots;      /* LEASE */
};

/* Room for one call: TABLE_GROUP_ENTRIES per group. Looks at `groups` groups from *cursor on and
 * moves it; stops at the end of the table. Returns how many items there are. */
uint32_t table_walk(struct table *table, uint64_t *cursor, uint32_t groups,
                    struct table_item *ret_items);
bool table_walk_is_over(const struct table *table, uint64_t cursor);

/* Does the row belong to somebody, so that table_owner_at() says to whom? */
bool table_owner_is_used(const struct table *table, uint32_t row);

#endif
