/* What owners.c and upkeep.c share: the state of every row. */
#ifndef METE_TABLE_OWNERS_STATE_H
#define METE_TABLE_OWNERS_STATE_H

#include "table/owners.h"

/*            commit            settle           upkeep          reclaim
 *   FREE ------------> USED
 *   USED, CUTTING ---> CHANGED ------> CUTTING -------> USED
 *   any in use ------> LEFT ---------> PURGING -------> EMPTIED ------> FREE */
enum owner_state {
    OWNER_FREE,
    OWNER_USED,
    OWNER_CHANGED, /* in use; its numbers are new */
    OWNER_CUTTING, /* in use; until `until` entries may owe more than a full bucket */
    OWNER_LEFT,    /* a configuration that is going still names it */
    OWNER_PURGING, /* until `until` there may be entries */
    OWNER_EMPTIED, /* somebody may still have its number in hand */
};

struct owners {
    uint32_t row_count;
    uint32_t pending_count; /* rows that are CUTTING or PURGING */
    uint32_t emptied_count;
    uint64_t position;   /* of upkeep: groups looked at so far */
    uint64_t next_until; /* the smallest `until` of the pending ones */
    uint64_t *until;     /* per row: the position that ends its pass */
    uint32_t *successors;
    uint8_t *states; /* enum owner_state */
};

static inline bool owner_is_used(uint8_t state)
{
    return state == OWNER_USED || state == OWNER_CHANGED || state == OWNER_CUTTING;
}

#endif
