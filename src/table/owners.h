/* Owner rows that outlive a configuration.
 *
 * A row belongs to a (tenant, rule, override) for as long as configurations name it, so that
 * entries and usage, which go by row, survive a reload. A configuration is bound in one change:
 *
 *   owners_begin(), owners_take() for each of its owners, owners_commit()  then publish it, and
 *   owners_settle()   when nobody uses the configuration before any more
 *   owners_upkeep()   in pieces, until it says that nothing is left
 *   owners_reclaim()  when, once more, everybody has passed a quiet point
 *
 * Same owner, same kind of limit (algorithm, and a window's length): same row. Numbers that changed
 * are stored into it, and upkeep cuts each of its entries once, to at most a full bucket of the new
 * limit. Another kind means another row, which starts fresh. Entries of rows that nobody names any
 * more are freed; after the last quiet point no thread has such a row's number in its hands, and
 * the row is free again.
 *
 * Threads: one, the table's owner. Others may find, claim, swap and sweep meanwhile. */
#ifndef METE_TABLE_OWNERS_H
#define METE_TABLE_OWNERS_H

#include "table/table.h"

#define OWNERS_NONE UINT32_MAX

struct owners_change;

/* Results: 0, -ENOMEM. */
int owners_begin(struct table *table, struct owners_change **ret_change);

/* The row of an owner, found or new; each owner once. For a row that is found the region is the one
 * it has. Results: 0, -ENOSPC (no row is free), -EINVAL (the region lies outside of the table). */
int owners_take(struct owners_change *change, const struct table_owner *owner, uint32_t *ret_row);

/* Either ends the change. An aborted one has left no trace. */
void owners_abort(struct owners_change *change);
void owners_commit(struct owners_change *change);

/* Is told of a row, and of the row that the same owner has now or OWNERS_NONE. */
typedef void owners_row_fn(void *context, uint32_t row, uint32_t successor);

/* Nobody charges for what the last commit left out any more: on_left is told of each such row. */
void owners_settle(struct table *table, owners_row_fn *on_left, void *context);

/* The instant of now; upkeep asks after it has read an entry, so that no debt can be younger than
 * it, and cutting gives nothing back. */
typedef uint64_t owners_clock_fn(void *context);

/* Looks at the next `groups` groups of the table. False: nothing was left to do. */
bool owners_upkeep(struct table *table, uint32_t groups, owners_clock_fn *now_ns, void *context);

/* Are there rows whose entries are all gone? Then owners_reclaim(), after a quiet point of every
 * thread that checks or sweeps; on_free is told of each row before it is free. */
bool owners_has_emptied(const struct table *table);
void owners_reclaim(struct table *table, owners_row_fn *on_free, void *context);

/* May entries of one limit be judged by the other, as far as a row is asked? */
bool owners_is_same_kind(const struct limit *a, const struct limit *b);

/* Rows that a change could still take. */
uint32_t owners_free_count(const struct table *table);

/* table_region_reserve(), remembered under the tenant; ids in rising order. -EINVAL if not. */
int owners_reserve_region(struct table *table, uint32_t tenant_id, uint64_t entries);
/* The tenant's region, or the shared rest if it was given none. */
struct table_region owners_region(const struct table *table, uint32_t tenant_id);

/* Is the region at an index, from 1 on, the tenant's, of a size for so many entries? */
bool owners_is_region(const struct table *table, uint32_t index, uint32_t tenant_id,
                      uint64_t entries);
uint32_t owners_region_count(const struct table *table); /* with the shared rest */

/* Of the table's making. */
struct owners;
int owners_create(uint32_t row_count, struct owners **ret_owners);
void owners_destroy(struct owners *owners);

#endif
