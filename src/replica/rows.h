/* What a node knows of the keys it shares, beyond what fits their entries: a fixed number of rows,
 * found by key, owner and window. rows.c says how they are given out. One thread. */
#ifndef METE_REPLICA_ROWS_H
#define METE_REPLICA_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/key.h"
#include "replica/delta.h"
#include "table/table.h"

#define ROWS_PROBES 16u
#define ROWS_NONE UINT32_MAX

enum row_place {
    ROW_QUIET,     /* nothing to tell */
    ROW_WAITING,   /* in its partition's list */
    ROW_IN_FLIGHT, /* in its partition's batch; may have something to tell again */
    ROW_LINGERING, /* nothing to tell, but used so recently that it is read now and then */
};

struct row {
    struct key key;
    uint64_t window; /* its name (core/share.h) */
    uint32_t owner;  /* row of the table */
    uint32_t tenant_id, rule_id;
    uint64_t override;
    struct limit limit; /* the owner's, when it was last looked at */
    struct delta delta;
    uint64_t index;       /* of the entry, as last seen */
    uint64_t used_ns;     /* charged or asked for here */
    uint64_t answered_ns; /* 0: nothing is known of the store's */
    uint64_t granted_ns;  /* is_kept: when the oldest of those units were asked for */
    uint64_t demand;      /* of this node: merge_demand() */
    uint64_t demand_of_all;
    uint64_t demand_us;         /* at this instant of the store */
    uint64_t past, past_of_all; /* the same of the window before, when this one began */
    uint64_t past_us;
    float alpha; /* share of the limit */
    uint32_t wanted, sent_wanted;
    uint32_t asked, sent_asked; /* exact: units wanted as a grant */
    uint32_t previous, next;    /* in the list it is in */
    uint16_t partition;
    uint8_t share;   /* alpha as it stands in the entry */
    uint8_t answers; /* so far, up to SETTLING_ANSWERS */
    uint8_t reads;   /* flushes in which it is read though there is nothing to tell */
    uint8_t place;   /* enum row_place */
    /* 0 or 1; not bool, for what a process that ended left here may be anything */
    uint8_t is_used;
    uint8_t is_carried; /* alpha is of another window */
    uint8_t is_kept;    /* units of a grant may have to go back */
    uint8_t is_urgent;  /* in the list before those that are not */
    uint8_t patience;   /* answers for which room that nobody expected is taken slowly */
};

struct rows {
    struct row *rows;
    uint32_t count;
    uint32_t used_count;
    uint32_t partitions;
    size_t size;
};

/* Results: 0, -ENOMEM. */
int rows_create(struct rows *rows, uint32_t count, uint32_t partitions);
/* The same in memory of the caller's, count rows of it, which stays its: with what it holds. */
void rows_use(struct rows *rows, void *memory, uint32_t count, uint32_t partitions);
void rows_destroy(struct rows *rows);

/* NULL: unknown. */
struct row *rows_find(struct rows *rows, struct key key, uint32_t owner, uint64_t window);

/* Found, or a new one of which nothing is known; NULL if each place holds something to tell. owner
 * is what the table has in that row. */
struct row *rows_find_or_claim(struct rows *rows, struct key key, uint32_t owner_row,
                               const struct table_owner *owner, uint64_t window);

/* The rows of a key in all windows: *cursor is 0 at first. NULL: no more. */
struct row *rows_next_of_key(struct rows *rows, struct key key, uint32_t owner, uint32_t *cursor);

/* Has it something to tell? */
bool row_is_pending(const struct row *row);

/* Doubly linked lists of rows. */
struct rows_list {
    uint32_t first, last, count;
};

void rows_list_init(struct rows_list *list);
void rows_list_append(struct rows *rows, struct rows_list *list, struct row *row);
void rows_list_prepend(struct rows *rows, struct rows_list *list, struct row *row);
void rows_list_remove(struct rows *rows, struct rows_list *list, struct row *row);

#endif
