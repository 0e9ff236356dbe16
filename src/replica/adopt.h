/* What a node makes of a merged value: a state of its own table. adopt.c says how. */
#ifndef METE_REPLICA_ADOPT_H
#define METE_REPLICA_ADOPT_H

#include <stdint.h>

#include "core/instant.h"
#include "core/limit.h"
#include "table/table.h"

/* The name of the window that a state's last charge went to: names the store's cell. 0: buckets. */
uint64_t adopt_window(const struct limit *limit, uint64_t state);

/* The state with a view (of delta_settle()) of that window in it; unchanged if the window has
 * passed. */
uint64_t adopt_state(const struct limit *limit, uint64_t state, uint64_t window, uint64_t view);

/* Puts it into the table. A key that the table has no room for stays unknown. */
void adopt_view(struct table *table, const struct table_probe *probe, const struct limit *limit,
                uint64_t window, uint64_t view, const struct instant *now);

#endif
