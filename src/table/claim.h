/* The slow half of table_find_or_claim(): the key was not found. Only table/ includes this. */
#ifndef METE_TABLE_CLAIM_H
#define METE_TABLE_CLAIM_H

#include "table/table.h"

/* FOUND, CLAIMED or FULL, as table_find_or_claim(). Kept out of line: its window of claims needs a
 * large frame, which the fast half should not pay for. */
__attribute__((noinline)) enum table_result
claim_entry(struct table *table, const struct table_probe *probe, const struct table_taker *taker,
            const struct instant *now, struct table_ref *ret_ref);

#endif
