/* What is not believed yet: entries of a mapping that was taken up (resume.h).
 *
 * Until a group was looked at, nobody may use what it says: table_trust_*() look at it first, then
 * it is trusted for good. Upkeep goes through the rest, and when all is trusted the check that is
 * left on the way of each question is one load that says NULL.
 *
 * An entry is plausible for its owner if the row is in use, the key's window reaches the entry, and
 * the state is one that the row's limits could have made until now:
 *   buckets    a tat of at most now + tau
 *   windows    an index of at most one ahead of now, counts of at most the limit
 *   calendars  a period that ends within 367 days, or never; a count of at most the limit
 *   grants     only of an exact rule, units of at most the limit
 *   leases     only of a concurrency rule; counts are those of the leases that stand
 * Limits are the largest that the row had since its entries were last cut (struct table_row).
 *
 * Two threads may look at one group at the same time: each change is a compare-and-swap from
 * exactly what was there before the restart, and leads to a later generation. Who meets that
 * generation again would have to sleep through 256 reuses of the entry.
 *
 * Any thread may call anything here but create and destroy. */
#ifndef METE_TABLE_DOUBTS_H
#define METE_TABLE_DOUBTS_H

#include "table/mapping.h"

struct doubts;

/* Results: 0, -ENOMEM. now is the instant of the restart: nothing doubted is younger. */
int doubts_create(struct table *table, const struct instant *now, uint64_t silence_ns);
void doubts_destroy(struct doubts *doubts); /* NULL is fine */

/* Does the entry stand where a key of its owner is looked for, and is the owner's row in use? */
bool doubts_is_placed(const struct table *table, const struct table_entry *entry, uint64_t meta);

void doubts_trust_group(struct table *table, uint32_t group);
void doubts_trust_window(struct table *table, const struct table_probe *probe);

static inline bool table_has_doubts(const struct table *table)
{
    /* acquire, with the release in table_settle_doubts(): without doubts all is as they left it */
    return __atomic_load_n(&table->doubts, __ATOMIC_ACQUIRE) != NULL;
}

static inline void table_trust_group(struct table *table, uint32_t group)
{
    if (__builtin_expect(table_has_doubts(table), 0))
        doubts_trust_group(table, group);
}

static inline void table_trust_window(struct table *table, const struct table_probe *probe)
{
    if (__builtin_expect(table_has_doubts(table), 0))
        doubts_trust_window(table, probe);
}

#endif
